"""From UDP to a real Tempo, started with the repository's tempo.yaml: what was sent is found, whole.

Needs BACKEND_TEMPO, as run.sh sets it.
"""

import collections
import shutil
import subprocess
import time
import unittest

import otlp
import traffic
from harness import CASES, REPOSITORY, Daemon, Folder, captures, decode, free_port, send, until
from tempo import BINARY, Tempo

CAPTURES = captures()


def quoted(value):
    return value if isinstance(value, int) else f'"{value}"'


@unittest.skipUnless(BINARY, "no Tempo: tests/backends/build.sh tempo")
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

    def daemon(self, service, protocol="grpc", **settings):
        daemon = Daemon(
            self.own_folder,
            name=service,
            OTEL_SERVICE_NAME=service,
            OTEL_EXPORTER_OTLP_ENDPOINT=self.tempo.endpoint(protocol),
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            **settings,
        )
        self.addCleanup(daemon.process.stop)
        return daemon

    def finish(self, daemon, datagrams):
        """Stops the daemon when all is delivered; nothing may have been lost at Tempo."""
        daemon.wait_received(datagrams)
        daemon.wait_delivered()
        totals = daemon.stop()
        for counter in ("kernel_drops", "flow_spans_rejected", "flow_spans_dropped"):
            self.assertEqual(totals[counter], 0, counter)
        self.assertEqual(self.tempo.metric("tempo_discarded_spans_total"), 0)
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
                got = self.spans_of(case, sum(span.name == "netflow.export" for span in told))
                told_spans = collections.Counter(map(otlp.content, told))
                got_spans = collections.Counter(map(otlp.content, got))
                self.assertEqual(
                    [*(told_spans - got_spans).elements()][:2] + [*(got_spans - told_spans).elements()][:2], []
                )
                flows = [span for span in got if span.name == "netflow.flow"]
                for flow in flows[:: max(1, len(flows) // 3)]:
                    self.check_found(case, flow)

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
            query = f'{{ resource.service.name = "softflowd" && span.destination.port = {port} }}'
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
                        self.check_found("softflowd", span)
            self.assertEqual(versions, {5, 9, 10})

    def test_flows_of_half_an_hour_are_found_by_time_and_counted(self):
        """What tempo.yaml raises the slack for: a flow that began 30 minutes ago and ended 90 seconds ago."""
        before = self.tempo.metric("tempo_metrics_generator_spans_received_total")
        discarded = self.tempo.metric("tempo_metrics_generator_spans_discarded_total")
        daemon = self.daemon("long")
        now = time.time()
        traffic.send_v5(daemon.port, now, start=now - 1800, end=now - 90, destination_port=5201, octets=123_456_789)
        self.finish(daemon, 1)
        query = '{ resource.service.name = "long" && span.destination.port = 5201 }'
        until("the flow", lambda: self.tempo.search(query), seconds=30)
        until(
            "the flow by the time it began",
            lambda: self.tempo.search(query, start=int(now - 1860), end=int(now - 1700)),
            seconds=30,
        )
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
        spans = self.spans_of("blocks", traces)
        self.tempo.flush()
        again = self.spans_of("blocks", traces)
        self.assertEqual(sorted(again), sorted(spans))
        flows = [span for span in again if span.name == "netflow.flow"]
        self.assertEqual(len(flows), 2_000)
        for flow in flows[::400]:
            self.check_found("blocks", flow)

    def test_json_is_taken(self):
        daemon = self.daemon("json", "http/json", OTEL_EXPORTER_OTLP_COMPRESSION="zstd")
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 200, "--rate", "5k")
        totals = self.finish(daemon, sent["datagrams"])
        spans = self.spans_of("json", totals["datagrams_decoded"])
        self.assertEqual(sum(span.name == "netflow.flow" for span in spans), 200)


@unittest.skipUnless(BINARY, "no Tempo: tests/backends/build.sh tempo")
class TempoThatLimits(unittest.TestCase):
    """The rate limit of Tempo, low enough to be met here."""

    def start(self, limit, *changes, protocol="grpc", **settings):
        folder = Folder("tempo-limits")
        self.addCleanup(folder.remove)
        tempo = Tempo(
            folder.path,
            changes=[
                ("rate_limit_bytes: 100000000", f"rate_limit_bytes: {limit}"),
                ("burst_size_bytes: 100000000", f"burst_size_bytes: {limit}"),
                *changes,
            ],
        )
        self.addCleanup(tempo.stop)
        daemon = Daemon(
            folder.path,
            OTEL_EXPORTER_OTLP_ENDPOINT=tempo.endpoint(protocol),
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            **settings,
        )
        self.addCleanup(daemon.process.stop)
        return tempo, daemon

    def check(self, *changes):
        tempo, daemon = self.start(1_000_000, *changes, NETFLOW_MAX_REQUEST_SIZE="256KiB")
        # Some 8 MB of spans at a megabyte a second.
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 10_000, "--rate", "20k")
        daemon.wait_received(sent["datagrams"])
        daemon.wait_delivered(seconds=90)
        refused = tempo.metric("tempo_discarded_spans_total", "rate_limited")
        return daemon.stop(), refused

    def test_with_retry_after_every_span_arrives(self):
        totals, refused = self.check()
        self.assertGreater(refused, 0, "the limit was met")
        self.assertEqual((totals["flow_spans_accepted"], totals["flow_spans_rejected"]), (10_000, 0))

    def test_without_it_refused_spans_are_counted_as_such(self):
        totals, refused = self.check(("retry_after_on_resource_exhausted: 1s", "retry_after_on_resource_exhausted: 0s"))
        self.assertGreater(refused, 0, "the limit was met")
        self.assertGreater(totals["flow_spans_rejected"], 0)
        self.assertEqual(totals["flow_spans_accepted"] + totals["flow_spans_rejected"], 10_000)

    def test_a_request_over_the_burst_is_split(self):
        """It can't pass at any time, whatever Tempo says of coming again."""
        for protocol in ("grpc", "http/protobuf"):
            with self.subTest(protocol=protocol):
                _, daemon = self.start(300_000, protocol=protocol, OTEL_BSP_SCHEDULE_DELAY="3000")
                sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 3_000, "--rate", "20k")
                daemon.wait_received(sent["datagrams"])
                daemon.wait_delivered(seconds=90)
                self.assertGreater(daemon.metric("netflow_batch_splits_total"), 0)
                totals = daemon.stop()
                self.assertEqual((totals["flow_spans_accepted"], totals["flow_spans_rejected"]), (3_000, 0))


if __name__ == "__main__":
    unittest.main()
