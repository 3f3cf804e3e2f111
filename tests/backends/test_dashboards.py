"""Every query of every dashboard, and of its variables, returns data.

Queries for our own metrics are put to a real Prometheus, which scrapes the daemon. Queries in TraceQL, and those for the
span metrics that Tempo makes, need a Tempo: TEMPO_URL (see tempo.py), and METRICS_URL, the Prometheus API of where that
Tempo writes its metrics (http://localhost:9009/prometheus of the compose file). Without them these are left out.
"""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.parse

import harness
import traffic
from harness import REPOSITORY, Daemon, Folder, Process, answers, free_port, get_json, program, until
from tempo import URL, Tempo

GRAFANA = REPOSITORY / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
PROMETHEUS = os.environ.get("BACKEND_PROMETHEUS") or shutil.which("prometheus")
METRICS_URL = os.environ.get("METRICS_URL", "").rstrip("/") or None
# TraceQL that asks for metrics.
METRICS = re.compile(r"_over_time\(|\| *rate\(")


def panels(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def quick(rules):
    """The rules for a test of a minute: what looks back over minutes and a month looks back over seconds."""
    rules = re.sub(r"(interval|for): \w+", r"\1: 2s", rules)
    return re.sub(r"\[\w+\]", "[20s]", re.sub(r"\[30d\]", "[2m]", rules))


class Files(unittest.TestCase):
    """What can be said of the files alone."""

    def test_dashboards_are_as_their_script_writes_them(self):
        done = subprocess.run(
            [sys.executable, GRAFANA / "make_dashboards.py", "--check"], capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_data_sources_are_variables_that_the_provisioned_ones_fill(self):
        for folder in ("provisioning", "demo"):
            provisioned = (GRAFANA / folder / "datasources" / "datasources.yaml").read_text()
            kinds = set(re.findall(r"uid: \w+\n    type: (\w+)", provisioned))
            self.assertEqual(kinds, {"tempo", "prometheus"})
        for path in DASHBOARDS:
            dashboard = json.loads(path.read_text())
            known = {
                f"${{{variable['name']}}}": variable["query"]
                for variable in dashboard["templating"]["list"]
                if variable["type"] == "datasource"
            }
            for panel in panels(dashboard):
                for target in panel.get("targets", []):
                    source = target["datasource"]
                    self.assertEqual(known.get(source["uid"]), source["type"], f"{path.name}: {panel['title']}")

    @unittest.skipUnless(shutil.which("promtool"), "promtool isn't installed")
    def test_the_rules_of_prometheus_do_what_their_tests_say(self):
        done = subprocess.run(
            ["promtool", "test", "rules", "rules_test.yaml"],
            cwd=REPOSITORY / "deploy" / "prometheus", capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_what_tempo_writes_to_is_where_mimir_listens(self):
        port = re.search(r"http_listen_port: (\d+)", (REPOSITORY / "mimir.yaml").read_text()).group(1)
        for file in ("tempo.yaml", "deploy/prometheus/prometheus.yaml"):
            self.assertIn(f"url: http://mimir:{port}/api/v1/push", (REPOSITORY / file).read_text())

    @unittest.skipUnless(shutil.which("promtool"), "promtool isn't installed")
    def test_the_configurations_of_prometheus_are_valid(self):
        for path in (GRAFANA / "demo" / "prometheus.yaml", REPOSITORY / "deploy" / "prometheus" / "prometheus.yaml"):
            done = subprocess.run(
                ["promtool", "check", "config", "--agent", path] if "remote_write" in path.read_text()
                else ["promtool", "check", "config", path],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_panels_do_not_overlap(self):
        for path in DASHBOARDS:
            taken = {}
            for panel in json.loads(path.read_text())["panels"]:
                at = panel["gridPos"]
                for x in range(at["x"], at["x"] + at["w"]):
                    for y in range(at["y"], at["y"] + at["h"]):
                        self.assertLess(x, 24)
                        self.assertIsNone(taken.get((x, y)), f"{path.name}: {panel['title']}")
                        taken[x, y] = panel["title"]


@unittest.skipUnless(PROMETHEUS, "prometheus isn't installed")
class Queries(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = Folder("dashboards")
        cls.addClassCleanup(folder.remove)
        prometheus_port = free_port()
        cls.prometheus = f"http://127.0.0.1:{prometheus_port}"
        cls.tempo = Tempo(folder.path)
        cls.addClassCleanup(cls.tempo.stop)
        (folder.path / "networks.csv").write_text("10.0.0.0/8,office\n127.0.0.1,router\n")
        interfaces = (f"127.0.0.1,{index},eth{index},10G\n" for index in range(1, 1000))
        (folder.path / "interfaces.csv").write_text("".join(interfaces))
        cls.daemon = Daemon(
            folder.path,
            OTEL_EXPORTER_OTLP_ENDPOINT=cls.tempo.endpoint(),
            NETFLOW_METRICS="interface,exporter,application,network,as,country,service_graph,top,sflow_counters",
            # More interfaces report than have a place.
            NETFLOW_METRICS_MAX_SERIES="16",
            NETFLOW_NETWORKS=str(folder.path / "networks.csv"),
            NETFLOW_INTERFACES=str(folder.path / "interfaces.csv"),
        )
        cls.addClassCleanup(cls.daemon.process.stop)

        config = (REPOSITORY / "deploy" / "prometheus" / "prometheus.yaml").read_text()
        for old, new in (
            ("netflow2traces:9464", f"127.0.0.1:{cls.daemon.admin}"),
            ("tempo:3200", urllib.parse.urlsplit(cls.tempo.url).netloc),
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("http://mimir:9009/api/v1/push", "http://127.0.0.1:9/nobody"),
        ):
            assert old in config, old
            config = config.replace(old, new)
        path = folder.path / "prometheus.yaml"
        rules = folder.path / "rules.yaml"
        rules.write_text(quick((REPOSITORY / "deploy" / "prometheus" / "rules.yaml").read_text()))
        path.write_text(config.partition("remote_write:")[0] + f"\nrule_files: [{rules}]\n")
        cls.server = Process(
            "prometheus",
            [
                PROMETHEUS,
                f"--config.file={path}",
                f"--storage.tsdb.path={folder.path}/prometheus",
                f"--web.listen-address=127.0.0.1:{prometheus_port}",
                "--enable-feature=exemplar-storage",
            ],
            folder.path,
        )
        cls.addClassCleanup(cls.server.stop)
        cls.server.wait_until("is ready", lambda: answers(f"{cls.prometheus}/-/ready"))

        # Traffic as long as the queries are put: at most so long, and ended with the class.
        for name, protocol in (("v5", "v5"), ("v9", "v9"), ("ipfix", "ipfix"), ("sflow", "sflow")):
            sender = Process(
                f"send-{name}",
                [program(), "send", "--protocol", protocol, "--rate", "60", "--duration", "10m", "--quiet",
                 "--to", f"127.0.0.1:{cls.daemon.port}"],
                folder.path,
            )  # fmt: skip
            cls.addClassCleanup(sender.stop)
        cls.disturb()
        cls.count_interfaces()

    @classmethod
    def count_interfaces(cls):
        """An sFlow agent that counts its interfaces, which `send` doesn't: a sample a second."""
        ended = threading.Event()

        def count():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                second = 0
                while not ended.wait(1):
                    second += 1
                    for index in (1, 2, 3):
                        datagram = traffic.sflow_counters(index, second, octets=second * 1_000_000)
                        sender.sendto(datagram, ("127.0.0.1", cls.daemon.port))

        thread = threading.Thread(target=count)
        thread.start()
        cls.addClassCleanup(thread.join)
        cls.addClassCleanup(ended.set)

    @classmethod
    def disturb(cls):
        """What healthy traffic lacks: a datagram that isn't understood, a large flow, a gap in a sequence."""
        now = time.time()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"\x00\x05\x00\x01too short", ("127.0.0.1", cls.daemon.port))
            for sequence in (1_000, 1_007):
                traffic.send_v5(
                    cls.daemon.port, now, start=now - 9, end=now - 2, destination_port=443, octets=50_000_000,
                    sequence=sequence, engine=7, sender=sender,
                )  # fmt: skip

    def server_of(self, expression):
        """Whom to ask: the span metrics are where Tempo writes them. None if that isn't known."""
        return METRICS_URL if "traces_span" in expression else self.prometheus

    def values(self, label, metric):
        return get_json(f"{self.server_of(metric)}/api/v1/label/{label}/values", {"match[]": metric})["data"]

    def ask_prometheus(self, expression, seconds=120):
        now = time.time()
        answer = get_json(
            f"{self.server_of(expression)}/api/v1/query_range",
            {"query": expression, "start": now - seconds, "end": now, "step": 5},
        )
        return [
            series
            for series in answer["data"]["result"]
            if any(math.isfinite(float(value)) for _, value in series["values"])
        ]

    def can_be_asked(self, target):
        if target["datasource"]["type"] == "prometheus":
            return self.server_of(target["expr"]) is not None
        # The embedded backend answers searches only.
        return bool(URL) or not METRICS.search(target["query"])

    def ask_tempo(self, target):
        query = target["query"]
        if METRICS.search(query):
            series = self.tempo.series(query, seconds=300, step=target["step"])
            return [each for each in series if any(sample.get("value") for sample in each.get("samples", []))]
        return self.tempo.search(query, limit=target["limit"])

    def filled(self, text, exporter):
        text = text.replace("$__rate_interval", "20s").replace("$exporter", exporter).replace("$instance", ".*")
        # A month of what has run for a minute.
        text = text.replace("$interface", ".*").replace("[30d:5m]", "[2m:5s]")
        self.assertNotIn("$", text, "a variable that this test doesn't know")
        return text

    def check(self, path):
        dashboard = json.loads(path.read_text())
        variables = {
            variable["name"]: variable
            for variable in dashboard["templating"]["list"]
            if variable["type"] != "datasource"
        }
        for variable in variables.values():
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            metric = self.filled(metric, ".*")
            if self.server_of(metric) is None:
                continue
            values = until(
                f"values of {label}",
                lambda m=metric, n=label: self.values(n, m),
            )
            if variable["name"] == "exporter":
                self.assertIn("127.0.0.1", values)
        several = variables.get("exporter", {}).get("multi", True)
        asked = left_out = 0
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                if not self.can_be_asked(target):
                    left_out += 1
                    continue
                with self.subTest(dashboard=dashboard["title"], panel=panel["title"], query=target["refId"]):
                    exporter = ".*" if several else "127.0.0.1"
                    if target["datasource"]["type"] == "prometheus":
                        expression = self.filled(target["expr"], exporter)
                        until(expression, lambda e=expression: self.ask_prometheus(e), seconds=60, interval=0.5)
                    else:
                        own = {**target, "query": self.filled(target["query"], exporter)}
                        until(own["query"], lambda o=own: self.ask_tempo(o), seconds=60, interval=0.5)
                    asked += 1
        print(f"{dashboard['title']}: {asked} queries put")
        if left_out:
            harness.left_out(f"{left_out} queries of the dashboard {dashboard['title']}: TEMPO_URL and METRICS_URL aren't set")


    def test_an_exemplar_of_a_series_opens_the_span_of_a_flow_that_it_counted(self):
        series = "netflow_interface_bytes_total"

        def exemplars():
            now = time.time()
            answer = get_json(
                f"{self.prometheus}/api/v1/query_exemplars", {"query": series, "start": now - 300, "end": now + 5}
            )
            return [(each["seriesLabels"], one) for each in answer["data"] for one in each["exemplars"]]

        until("exemplars", exemplars)
        opened = 0
        for labels, exemplar in exemplars()[-20:]:
            with self.subTest(series=labels, exemplar=exemplar):
                identifier, span_id = exemplar["labels"]["trace_id"], exemplar["labels"]["span_id"]
                spans = until(identifier, lambda i=identifier: self.spans(i), seconds=20)
                flows = [span for span in spans if span.id == span_id]
                self.assertEqual([flow.name for flow in flows], ["netflow.flow"])
                attributes = {key: value for key, (_, value) in flows[0].attributes}
                if labels.get("otel_metric_overflow") == "true":
                    continue  # It stands for series of any exporter and direction.
                side = "input" if labels["direction"] == "receive" else "output"
                self.assertEqual(str(attributes[f"netflow.interface.{side}"]), labels["interface"])
                interval = attributes.get("netflow.sampling.interval", 1)
                self.assertEqual(attributes["netflow.flow.bytes"] * interval, float(exemplar["value"]))
                opened += 1
        self.assertGreater(opened, 0)

    def test_every_rule_returns_data(self):
        def rules():
            groups = get_json(f"{self.prometheus}/api/v1/rules")["data"]["groups"]
            found = [rule for group in groups for rule in group["rules"]]
            return found if found and all(rule["health"] == "ok" for rule in found) else None

        asked = 0
        for rule in until("rules that are evaluated", rules):
            # What an alert compares is there, whether it fires or not.
            expression = rule["name"] if rule["type"] == "recording" else re.split(r" (?:>|==) [0-9.]+$", rule["query"])[0]
            with self.subTest(rule=rule["name"]):
                until(expression, lambda e=expression: self.ask_prometheus(e), seconds=60, interval=0.5)
            asked += 1
        self.assertGreater(asked, 10)

    def test_a_view_with_more_series_than_places_alerts(self):
        def alerting():
            alerts = get_json(f"{self.prometheus}/api/v1/alerts")["data"]["alerts"]
            of_views = [alert for alert in alerts if alert["labels"]["alertname"] == "NetflowSeriesOverflow"]
            return {alert["labels"]["view"] for alert in of_views if alert["state"] == "firing"}

        until("an alert for interfaces", lambda: "interface" in alerting(), seconds=90, interval=0.5)
        # There is one exporter.
        self.assertNotIn("exporter", alerting())

    def spans(self, identifier):
        """Of a trace; none while it is on its way."""
        try:
            return self.tempo.trace(identifier)
        except urllib.error.HTTPError:
            return []

    def test_promql_of_the_documents(self):
        """Every line of a block of PromQL in docs/, and every query of a command there and in README.md, returns data."""
        asked = 0
        for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
            text = path.read_text()
            blocks = re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
            expressions = [line for block in blocks for line in block.splitlines()]
            for expression in expressions + re.findall(r"'query=([^']+)'", text):
                with self.subTest(document=path.name, query=expression):
                    until(expression, lambda e=expression: self.ask_prometheus(e), seconds=60, interval=0.5)
                asked += 1
        self.assertGreater(asked, 10)


def add_dashboard_tests():
    for path in DASHBOARDS:
        setattr(Queries, f"test_{path.stem}", lambda self, path=path: self.check(path))


add_dashboard_tests()

if __name__ == "__main__":
    unittest.main()
