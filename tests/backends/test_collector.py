"""Through a real OpenTelemetry Collector: what its file exporter wrote equals what `decode` says of the same capture.

Every protocol and compression, every capture. Needs BACKEND_COLLECTOR, as run.sh sets it.
"""

import collections
import json
import re
import shutil
import subprocess
import sys
import unittest

import otlp
from harness import (
    HERE,
    REPOSITORY,
    Daemon,
    Folder,
    Process,
    Replay,
    accepts,
    backend_binary,
    captures,
    decode,
    free_port,
    send,
)

COLLECTOR = backend_binary("collector")
CAPTURES = captures()


class Collector:
    """A Collector on free ports whose file exporter writes to `folder`."""

    def __init__(self, folder, grpc_more="", http_more="", grpc=None, http=None, host="127.0.0.1"):
        self.folder = folder
        self.grpc = grpc or free_port()
        self.http = http or free_port()
        text = (HERE / "collector" / "config.yaml.in").read_text()
        for word, replacement in {
            "@HOST@": host,
            "@GRPC@": str(self.grpc),
            "@HTTP@": str(self.http),
            "@FOLDER@": str(folder),
            "@GRPC_MORE@": grpc_more,
            "@HTTP_MORE@": http_more,
        }.items():
            text = text.replace(word, replacement)
        config = folder / "collector.yaml"
        config.write_text(text)
        self.process = Process("collector", [COLLECTOR, "--config", config], folder)
        self.process.wait_until("listens", lambda: accepts(self.grpc, host) and accepts(self.http, host))

    def endpoint(self, protocol):
        return f"http://127.0.0.1:{self.grpc if protocol == 'grpc' else self.http}"

    def stop(self):
        """Stops it; returns all spans that it wrote."""
        self.process.stop()
        written = self.folder / "spans.jsonl"
        lines = written.read_text().splitlines() if written.exists() else []
        return list(otlp.spans(json.loads(line) for line in lines))


# Of the process, not of the capture.
OWN_RESOURCE = {"service.instance.id", "host.name"}


def comparable(span, addresses, ports):
    """A span without what differs from run to run: ids, times of the work, and the address it was sent from."""

    # `decode` always tells a flow's own times as attributes; the daemon only where the span's times are others.
    own_times = {"netflow.flow.start_unix_nano": span.start, "netflow.flow.end_unix_nano": span.end}

    def told(attributes):
        for key, (kind, content) in attributes:
            if key in OWN_RESOURCE or key in own_times and content == own_times[key]:
                continue
            if key == "netflow.exporter.address":
                content = addresses.get(content, content)
            elif key == "netflow.exporter.port":
                content = ports.get((otlp.of(span, "netflow.exporter.address"), content), content)
            yield key, (kind, content)

    # sFlow tells no times: its spans have the time of receipt. Work spans have that of the work.
    timed = span.name == "netflow.flow" and otlp.of(span, "netflow.version") is not None
    return (
        span.name,
        span.kind,
        span.start if timed else None,
        span.end if timed else None,
        span.status,
        tuple(told(span.attributes)),
        tuple(told(span.resource)),
        span.scope,
    )


def is_limited(span):
    """Spans of refused datagrams are made at most once a second: how many there are depends on the pace."""
    return span.name == "netflow.export" and span.status[0] == 2 and otlp.of(span, "netflow.flow.count") is None


@unittest.skipUnless(COLLECTOR, "no Collector: tests/backends/build.sh collector")
class ThroughTheCollector(unittest.TestCase):
    def setUp(self):
        folder = Folder("collector")
        self.addCleanup(folder.remove)
        self.folder = folder.path

    def start(self, protocol, compression="none", collector=None, **settings):
        """A Collector (or the one given) and a daemon that sends to it."""
        collector = collector or Collector(self.folder)
        self.addCleanup(collector.process.stop)
        daemon = Daemon(
            self.folder,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint(protocol),
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_COMPRESSION=compression,
            **settings,
        )
        self.addCleanup(daemon.process.stop)
        return collector, daemon

    def check_ids(self, spans):
        """Ids are unique and of full length, and every parent is there, in the same trace."""
        self.assertEqual(len({(span.trace, span.id) for span in spans}), len(spans))
        names = {(span.trace, span.id): span.name for span in spans}
        parents = {
            "netflow.export": None,
            "netflow.parse_packet": "netflow.export",
            "netflow.process_flows": "netflow.export",
            "netflow.flow": "netflow.process_flows",
        }
        for span in spans:
            self.assertRegex(span.trace, "^[0-9a-f]{32}$")
            self.assertRegex(span.id, "^[0-9a-f]{16}$")
            expected = parents[span.name]
            if expected is None:
                self.assertEqual(span.parent, "")
            else:
                self.assertEqual(names.get((span.trace, span.parent)), expected, span)

    def check_captures(self, protocol, compression):
        if CAPTURES is None:
            self.skipTest("no captures: set NETFLOW_CAPTURES")
        collector, daemon = self.start(protocol, compression, NETFLOW_ATTRIBUTES="all")
        replays, datagrams = {}, 0
        for number, path in enumerate(sorted(CAPTURES.glob("*.pcap"))):
            replays[path.stem] = replay = Replay(path, number)
            datagrams += replay.send(daemon.port)
            daemon.wait_received(datagrams)
        daemon.wait_delivered()
        totals = daemon.stop()
        for counter in ("kernel_drops", "flow_spans_rejected", "flow_spans_dropped"):
            self.assertEqual(totals[counter], 0, counter)
        spans = collector.stop()
        self.check_ids(spans)
        self.assertEqual(
            sum(span.name == "netflow.flow" for span in spans), totals["flow_spans_accepted"], "flow spans"
        )

        by_address = collections.defaultdict(list)
        for span in spans:
            by_address[otlp.of(span, "netflow.exporter.address")].append(span)
        for case, replay in replays.items():
            with self.subTest(case=case):
                back = {own: address for address, own in replay.addresses.items()}
                ports = {
                    (replay.addresses[address], own): port for (address, port), own in replay.ports.items()
                }
                got = [span for own in back for span in by_address.pop(own, [])]
                told = otlp.spans(decode(replay.path, "all"))
                differences = self.differences(
                    (comparable(span, {}, {}) for span in told if not is_limited(span)),
                    (comparable(span, back, ports) for span in got if not is_limited(span)),
                )
                if differences:
                    self.fail("\n".join(differences))
        self.assertEqual(list(by_address), [], "spans of exporters that were not sent")
        if protocol == "grpc" and compression == "gzip":
            self.check_score(replays)

    def differences(self, told, got):
        """The first few spans that only one side has."""
        told, got = collections.Counter(told), collections.Counter(got)
        lost = [f"only decoded: {span}" for span in (told - got).elements()]
        extra = [f"only received: {span}" for span in (got - told).elements()]
        return lost[:2] + extra[:2]

    def check_score(self, replays):
        """The captures' own judge, which knows nothing of our decoder, reads what the Collector wrote."""
        judge = CAPTURES / "score.py"
        if not judge.exists():
            return
        results = self.folder / "results"
        results.mkdir()
        cases = {own: case for case, replay in replays.items() for own in replay.addresses.values()}
        files = {case: open(results / f"{case}.otlp.jsonl", "w") for case in replays}
        for line in (self.folder / "spans.jsonl").read_text().splitlines():
            for of_resource in json.loads(line)["resourceSpans"]:
                address = dict(otlp.attributes(of_resource["resource"]["attributes"]))["netflow.exporter.address"][1]
                for of_scope in of_resource["scopeSpans"]:
                    for attribute in (each for span in of_scope["spans"] for each in span.get("attributes", [])):
                        # The judge puts labels in order by text.
                        attribute["key"] = re.sub(r"(?<=mpls\.label\.)(\d)$", r"0\1", attribute["key"])
                json.dump({"resourceSpans": [of_resource]}, files[cases[address]])
                files[cases[address]].write("\n")
        for file in files.values():
            file.close()
        judged = subprocess.run(
            [sys.executable, str(judge), str(CAPTURES), str(results)], capture_output=True, text=True, check=False
        )
        failed = [line for line in judged.stdout.splitlines() if "FAIL" in line or "NO RESULT" in line]
        print(f"judged by score.py: {judged.stdout.splitlines()[-1]}")
        self.assertEqual((judged.returncode, failed), (0, []), judged.stdout)

    def test_what_the_collector_refuses_as_too_large_is_split_grpc(self):
        self.check_too_large(
            "grpc", Collector(self.folder, grpc_more="        max_recv_msg_size_mib: 1"), "netflow_batch_splits_total"
        )

    def test_what_the_collector_refuses_as_too_large_is_split_http(self):
        self.check_too_large(
            "http/protobuf",
            Collector(self.folder, http_more="        max_request_body_size: 500000"),
            "netflow_batch_splits_total",
        )

    def check_too_large(self, protocol, collector, splits):
        # Batches of 2 MiB: many records, and a delay that doesn't end them before.
        collector, daemon = self.start(protocol, collector=collector, OTEL_BSP_SCHEDULE_DELAY="5000")
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 20_000, "--rate", "40k")
        daemon.wait_received(sent["datagrams"])
        daemon.wait_delivered()
        self.assertGreater(daemon.metric(splits), 0)
        totals = daemon.stop()
        spans = collector.stop()
        self.assertEqual(totals["flow_spans_accepted"], 20_000)
        self.assertEqual(sum(span.name == "netflow.flow" for span in spans), 20_000)
        self.check_ids(spans)

    def test_a_collector_that_restarts_gets_every_span_once_more_at_most(self):
        collector, daemon = self.start("grpc")
        first = send("--to", f"127.0.0.1:{daemon.port}", "--count", 2_000, "--rate", "20k")
        daemon.wait_received(first["datagrams"])
        daemon.wait_delivered()
        before = collector.stop()
        shutil.move(self.folder / "spans.jsonl", self.folder / "before.jsonl")
        second = send("--to", f"127.0.0.1:{daemon.port}", "--count", 2_000, "--rate", "20k")
        daemon.wait_received(first["datagrams"] + second["datagrams"])
        daemon.process.wait_until("the outage is seen", lambda: daemon.metric("netflow_backend_up") == 0)
        collector = Collector(self.folder, grpc=collector.grpc, http=collector.http)
        self.addCleanup(collector.process.stop)
        daemon.wait_delivered()
        totals = daemon.stop()
        after = collector.stop()
        self.assertEqual(totals["flow_spans_accepted"], 4_000)
        flows = [(span.trace, span.id) for span in before + after if span.name == "netflow.flow"]
        self.assertEqual(len(set(flows)), 4_000)


def add_capture_tests():
    for protocol in ("grpc", "http/protobuf", "http/json"):
        for compression in ("none", "gzip", "zstd"):
            name = f"test_captures_by_{protocol.replace('/', '_')}_{compression}"

            def test(self, protocol=protocol, compression=compression):
                self.check_captures(protocol, compression)

            setattr(ThroughTheCollector, name, test)


add_capture_tests()

if __name__ == "__main__":
    unittest.main()
