"""From UDP to the Tempo at TEMPO_URL (see tempo.py), or to the embedded backend: what was sent is found, whole.

Its limits have to be those of the repository's tempo.yaml. What the embedded backend can't say, such as Tempo's own
metrics, is asked of a real Tempo only.
"""

import collections
import os
import shutil
import subprocess
import time
import unittest

import otlp
import traffic
from harness import CASES, Daemon, Folder, captures, decode, send, until
from tempo import URL, Tempo

CAPTURES = captures()


def quoted(value):
    return value if isinstance(value, int) else f'"{value}"'


class FromUdpToTempo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = Folder("tempo")
        cls.addClassCleanup(folder.remove)
        cls.folder = folder.path
        cls.tempo = Tempo(cls.folder)
        cls.addClassCleanup(cls.tempo.stop)

    def setUp(self):
        folder = Folder("tempo-daemon")
        self.addCleanup(folder.remove)
        self.own_folder = folder.path
        # A Tempo that runs on may have spans of an earlier run.
        self.run = f"{os.getpid()}-{time.monotonic_ns()}"
        self.discarded = self.tempo.metric("tempo_discarded_spans_total")

    def daemon(self, case, protocol="grpc", **settings):
        service = f"{case}-{self.run}"
        daemon = Daemon(
            self.own_folder,
            name=case,
            OTEL_SERVICE_NAME=service,
            OTEL_EXPORTER_OTLP_ENDPOINT=self.tempo.endpoint(protocol),
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            **settings,
        )
        self.addCleanup(daemon.process.stop)
        daemon.service = service
        return daemon

    def finish(self, daemon, datagrams):
        """Stops the daemon when all is delivered; nothing may have been lost at Tempo."""
        daemon.wait_received(datagrams)
        daemon.wait_delivered()
        totals = daemon.stop()
        for counter in ("kernel_drops", "flow_spans_rejected", "flow_spans_dropped"):
            self.assertEqual(totals[counter], 0, counter)
        self.assertEqual(self.tempo.metric("tempo_discarded_spans_total"), self.discarded)
        return totals

    def spans_of(self, service, traces):
        """All spans of a service, by the ids of its traces, once there are so many traces."""
        query = f'{{ resource.service.name = "{service}" && name = "netflow.export" }}'
        found = until(
            f"{traces} traces of {service}",
            lambda: (ids := self.tempo.search(query)) and len(set(ids)) >= traces and ids,
            seconds=30,
        )
        self.assertEqual(len(set(found)), traces)
        return [span for identifier in found for span in self.tempo.trace(identifier)]

    def check_found(self, service, flow):
        """A flow's trace is found by what the flow says: by tags, and by TraceQL."""
        says = {key: value for key, (_, value) in flow.attributes}
        keys = [
            key
            for key in (
                "source.address",
                "source.port",
                "destination.address",
                "destination.port",
                "network.transport",
                "netflow.interface.input",
            )
            if key in says
        ]
        conditions = [f"span.{key} = {quoted(says[key])}" for key in keys]
        if says.get("netflow.flow.bytes", 0) > 0:
            conditions.append(f"span.netflow.flow.bytes > {says['netflow.flow.bytes'] - 1}")
        query = f'{{ resource.service.name = "{service}" && {" && ".join(conditions)} }}'
        self.assertIn(flow.trace, self.tempo.search(query), query)
        nothing = f'{{ resource.service.name = "{service}" && span.netflow.flow.bytes > 9000000000000000000 }}'
        self.assertEqual(self.tempo.search(nothing), [])
        # Tempo looks for tags among strings alone: numbers, as ports are, need TraceQL.
        strings = [key for key in keys if isinstance(says[key], str)]
        tags = " ".join([f'service.name="{service}"', *(f"{key}={quoted(says[key])}" for key in strings)])
        self.assertIn(flow.trace, self.tempo.search(tags=tags), tags)

    def test_captures_are_found_and_whole(self):
        if CAPTURES is None:
            self.skipTest("no captures: set NETFLOW_CAPTURES")
        for number, case in enumerate(CASES):
            with self.subTest(case=case):
                path = CAPTURES / f"{case}.pcap"
                daemon = self.daemon(case, ("grpc", "http/protobuf")[number % 2], NETFLOW_ATTRIBUTES="all")
                sent = send("--to", f"127.0.0.1:{daemon.port}", "--at-once", path)
                self.finish(daemon, sent["datagrams"])
                told = list(otlp.spans(decode(path, "all")))
                got = self.spans_of(daemon.service, sum(span.name == "netflow.export" for span in told))
                self.assertTrue(told)
                told_spans = collections.Counter(map(otlp.content, told))
                got_spans = collections.Counter(map(otlp.content, got))
                self.assertEqual(
                    [*(told_spans - got_spans).elements()][:2] + [*(got_spans - told_spans).elements()][:2], []
                )
                flows = [span for span in got if span.name == "netflow.flow"]
                for flow in flows[:: max(1, len(flows) // 3)]:
                    self.check_found(daemon.service, flow)

    def test_softflowd_is_found_in_the_range_of_its_flows(self):
        if not shutil.which("softflowd"):
            self.skipTest("softflowd isn't installed")
        daemon = self.daemon("softflowd")
        now = time.time()
        pcap = self.own_folder / "traffic.pcap"
        conversations = traffic.write_pcap(pcap, end=now - 5)
        for version in (5, 9, 10):
            subprocess.run(
                ["softflowd", "-r", pcap.name, "-a", "-v", str(version), "-n", f"127.0.0.1:{daemon.port}",
                 "-p", f"{version}.pid", "-c", f"{version}.ctl"],
                check=True, cwd=self.own_folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, timeout=60,
            )  # fmt: skip
        daemon.process.wait_until("flows", lambda: daemon.metric("netflow_flows_total") >= 3 * 2 * len(conversations))
        self.finish(daemon, 1)
        for port, octets in conversations.items():
            query = f'{{ resource.service.name = "{daemon.service}" && span.destination.port = {port} }}'
            within = {"start": int(now - 120), "end": int(now)}
            found = until(f"port {port}", lambda q=query, w=within: self.tempo.search(q, **w), seconds=30)
            self.assertEqual(self.tempo.search(query, start=int(now - 7200), end=int(now - 3600)), [])
            versions = set()
            for identifier in set(found):
                for span in self.tempo.trace(identifier):
                    if otlp.of(span, "destination.port") == port:
                        self.assertEqual(otlp.of(span, "netflow.flow.bytes"), octets, span)
                        self.assertLess(abs(span.end / 1e9 - (now - 5)), 30)
                        versions.add(otlp.of(span, "netflow.version"))
                        self.check_found(daemon.service, span)
            self.assertEqual(versions, {5, 9, 10})

    def test_flows_of_half_an_hour_are_found_by_time_and_counted(self):
        """What tempo.yaml raises the slack for: a flow that began 30 minutes ago and ended 90 seconds ago."""
        before = self.tempo.metric("tempo_metrics_generator_spans_received_total")
        discarded = self.tempo.metric("tempo_metrics_generator_spans_discarded_total")
        daemon = self.daemon("long")
        now = time.time()
        traffic.send_v5(daemon.port, now, start=now - 1800, end=now - 90, destination_port=5201, octets=123_456_789)
        self.finish(daemon, 1)
        query = f'{{ resource.service.name = "{daemon.service}" && span.destination.port = 5201 }}'
        until("the flow", lambda: self.tempo.search(query), seconds=30)
        until(
            "the flow by the time it began",
            lambda: self.tempo.search(query, start=int(now - 1860), end=int(now - 1700)),
            seconds=30,
        )
        if before is None:
            return
        until(
            "its spans at the generator",
            lambda: self.tempo.metric("tempo_metrics_generator_spans_received_total") >= before + 4,
            seconds=30,
        )
        self.assertEqual(self.tempo.metric("tempo_metrics_generator_spans_discarded_total"), discarded)

    def test_found_in_blocks_on_disk_too(self):
        """Blocks have the dedicated columns of tempo.yaml; what is in memory doesn't."""
        daemon = self.daemon("blocks", "http/protobuf", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--protocol", "v9", "--count", 2_000, "--rate", "20k")
        totals = self.finish(daemon, sent["datagrams"])
        traces = totals["datagrams_decoded"]
        spans = self.spans_of(daemon.service, traces)
        if URL and not self.tempo.flush():
            self.skipTest("this Tempo doesn't write its blocks when it is asked to")
        again = self.spans_of(daemon.service, traces)
        self.assertEqual(sorted(again), sorted(spans))
        flows = [span for span in again if span.name == "netflow.flow"]
        self.assertEqual(len(flows), 2_000)
        for flow in flows[::400]:
            self.check_found(daemon.service, flow)

    def test_json_is_accepted(self):
        daemon = self.daemon("json", "http/json", OTEL_EXPORTER_OTLP_COMPRESSION="zstd")
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 200, "--rate", "5k")
        totals = self.finish(daemon, sent["datagrams"])
        spans = self.spans_of(daemon.service, totals["datagrams_decoded"])
        self.assertEqual(sum(span.name == "netflow.flow" for span in spans), 200)


if __name__ == "__main__":
    unittest.main()
