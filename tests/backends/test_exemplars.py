"""The exemplar of a spike opens the very flow that made it: counters in a real Prometheus, the span in a real Jaeger.

Needs BACKEND_JAEGER, and a Prometheus: the one on the path scrapes; BACKEND_PROMETHEUS3 gets the same over OTLP.
"""

import socket
import time
import unittest
import urllib.error

import traffic
from harness import Daemon, Folder, until
from jaeger import BINARY as JAEGER
from jaeger import Jaeger
from prometheus import BINARY, OTLP_BINARY, Prometheus

SPIKE = 700_000_000
PORT_OF_SPIKE = 8443


@unittest.skipUnless(JAEGER, "Jaeger isn't built")
class Exemplars(unittest.TestCase):
    def spike(self, metrics, **settings):
        """Starts all, sends small flows and a large one; gives what Prometheus and Jaeger make of it."""
        folder = Folder("exemplars")
        self.addCleanup(folder.remove)
        jaeger = Jaeger(folder.path)
        self.addCleanup(jaeger.stop)
        daemon = Daemon(
            folder.path,
            OTEL_EXPORTER_OTLP_ENDPOINT=jaeger.endpoint(),
            NETFLOW_METRICS="interface,exporter,application",
            **settings,
        )
        self.addCleanup(daemon.process.stop)
        prometheus = metrics(folder.path, daemon)
        now = time.time()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(40):
                is_spike = number == 20
                traffic.send_v5(
                    daemon.port, now, start=now - 9, end=now - 2, sequence=number, sender=sender,
                    destination_port=PORT_OF_SPIKE if is_spike else 443, octets=SPIKE if is_spike else 1_000 + number,
                )  # fmt: skip
        return prometheus, jaeger

    def opens_the_flow(self, prometheus, jaeger):
        sent = SPIKE + sum(1_000 + number for number in range(40) if number != 20)
        labels = {"exporter": "127.0.0.1", "interface": "1", "direction": "receive"}
        selector = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        series = f"netflow_interface_bytes_total{{{selector}}}"
        until("all bytes", lambda: [value for _, value in prometheus.query(series)] == [sent])
        found = until("the exemplar of the spike", lambda: [
            each for each in prometheus.exemplars(series) if float(each[1]["value"]) == SPIKE
        ])  # fmt: skip
        exemplar = found[-1][1]["labels"]

        def trace():
            try:
                return [span for span in jaeger.trace(exemplar["trace_id"]) if span.id == exemplar["span_id"]]
            except urllib.error.HTTPError:
                return []

        (flow,) = until("its span", trace)
        attributes = {key: value for key, (_, value) in flow.attributes}
        self.assertEqual(flow.name, "netflow.flow")
        self.assertEqual(attributes["netflow.flow.bytes"], SPIKE)
        self.assertEqual(attributes["destination.port"], PORT_OF_SPIKE)
        # The same flow stands behind every view that counted it.
        for view in ("exporter", "application"):
            behind = [one for _, one in prometheus.exemplars(f"netflow_{view}_bytes_total") if float(one["value"]) == SPIKE]
            self.assertEqual({one["labels"]["span_id"] for one in behind}, {exemplar["span_id"]}, view)

    @unittest.skipUnless(BINARY, "prometheus isn't installed")
    def test_of_a_prometheus_that_scrapes(self):
        def metrics(folder, daemon):
            own = folder / "prometheus"
            own.mkdir()
            prometheus = Prometheus(own, scrape=f"127.0.0.1:{daemon.admin}")
            self.addCleanup(prometheus.stop)
            return prometheus

        self.opens_the_flow(*self.spike(metrics))

    @unittest.skipUnless(OTLP_BINARY, "a Prometheus that accepts OTLP isn't built")
    def test_of_a_prometheus_that_gets_otlp(self):
        folder = Folder("prometheus3")
        self.addCleanup(folder.remove)
        prometheus = Prometheus(folder.path, binary=OTLP_BINARY)
        self.addCleanup(prometheus.stop)
        self.opens_the_flow(
            *self.spike(
                lambda *_: prometheus,
                OTEL_METRICS_EXPORTER="otlp",
                OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{prometheus.url}/api/v1/otlp/v1/metrics",
                OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="http/protobuf",
                OTEL_METRIC_EXPORT_INTERVAL="1000",
            )
        )


if __name__ == "__main__":
    unittest.main()
