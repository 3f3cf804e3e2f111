"""A real Collector and a real Jaeger behind a TCP proxy of ours (faulty.py) that resets, half-closes, delays and
blackholes: every span arrives once the fault ends, what arrives twice is counted, and while a fault holds for some
connections alone, no batch waits for it.

Needs BACKEND_COLLECTOR or BACKEND_JAEGER, as run.sh sets them.
"""

import collections
import json
import unittest

import otlp
from faulty import FAULTS, FaultyProxy
from harness import Daemon, Folder, send, until
from jaeger import BINARY as JAEGER
from jaeger import Jaeger
from test_collector import COLLECTOR, Collector

FLOWS = 1_500
PROTOCOLS = ("grpc", "http/protobuf")


class SpansOfCollector:
    def __init__(self, folder):
        self.backend = Collector(folder)
        self.port = {"grpc": self.backend.grpc, "http/protobuf": self.backend.http}
        self.stop = self.backend.process.stop
        self.written = folder / "spans.jsonl"

    def ids(self, service):
        """How often each flow of a service has arrived."""
        # The last line may be half written.
        lines = self.written.read_text().split("\n")[:-1] if self.written.exists() else []
        return collections.Counter(
            (span.trace, span.id)
            for span in otlp.spans(json.loads(line) for line in lines if service in line)
            if span.name == "netflow.flow" and otlp.of(span, "service.name") == service
        )


class SpansOfJaeger:
    def __init__(self, folder):
        self.backend = Jaeger(folder)
        self.port = {"grpc": self.backend.grpc, "http/protobuf": self.backend.otlp_http}
        self.stop = self.backend.stop

    def ids(self, service):
        return collections.Counter(
            (span.trace, span.id) for span in self.backend.spans(service, raw=True) if span.name == "netflow.flow"
        )


class Behind:
    """The tests, for each backend."""

    def setUp(self):
        folder = Folder("faults")
        self.addCleanup(folder.remove)
        self.folder = folder.path

    @classmethod
    def start_backend(cls, kind):
        folder = Folder("faults-backend")
        cls.addClassCleanup(folder.remove)
        cls.backend = kind(folder.path)
        cls.addClassCleanup(cls.backend.stop)

    def start(self, protocol, service, fault):
        proxy = FaultyProxy(self.backend.port[protocol])
        self.addCleanup(proxy.close)
        daemon = Daemon(
            self.folder,
            name=service,
            OTEL_SERVICE_NAME=service,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{proxy.port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_TIMEOUT="10000" if fault == "delay" else "1000",
        )
        self.addCleanup(daemon.process.stop)
        return proxy, daemon

    def send(self, daemon, sent, flows=FLOWS):
        """Some flows more; the number of datagrams so far."""
        more = send("--to", f"127.0.0.1:{daemon.port}", "--count", flows, "--rate", "10k")
        daemon.wait_received(sent + more["datagrams"])
        return sent + more["datagrams"]

    def finish(self, daemon, service, flows):
        """Stops the daemon: nothing was lost, and the backend has every flow. Returns how many came more than once."""
        totals = daemon.stop()
        self.assertEqual(totals["flow_spans_accepted"], flows)
        for counter in ("kernel_drops", "flow_spans_rejected", "flow_spans_dropped"):
            self.assertEqual(totals[counter], 0, counter)
        ids = until("every flow", lambda: len(found := self.backend.ids(service)) >= flows and found, seconds=30)
        self.assertEqual(len(ids), flows)
        return sum(ids.values()) - flows

    def check_fault(self, protocol, fault):
        service = f"{fault} {protocol}".replace(" ", "-").replace("/", "-")
        proxy, daemon = self.start(protocol, service, fault)
        sent = self.send(daemon, 0)
        daemon.wait_delivered()
        proxy.begin(fault)
        sent = self.send(daemon, sent)
        until("the fault", lambda: proxy.struck >= 3, seconds=30)
        if fault != "delay":
            daemon.process.wait_until("the fault is noticed", lambda: daemon.metric("netflow_backend_up") == 0)
        proxy.end()
        sent = self.send(daemon, sent)
        daemon.wait_delivered()
        again = daemon.metric("netflow_request_retries_total")
        twice = self.finish(daemon, service, 3 * FLOWS)
        print(f"{type(self).__name__}: {service}: {again} requests retried, {twice} of {3 * FLOWS} flows came twice")
        if fault == "delay":
            self.assertEqual((again, twice), (0, 0))

    def check_some(self, protocol, fault):
        """The fault holds for every other connection, and doesn't end."""
        service = f"some {fault} {protocol}".replace(" ", "-").replace("/", "-")
        proxy, daemon = self.start(protocol, service, fault)
        proxy.begin(fault, lambda number: number % 2 == 0)
        sent = 0
        for _ in range(3):
            sent = self.send(daemon, sent)
            daemon.wait_delivered(seconds=30)
        self.assertGreater(proxy.struck, 0)
        twice = self.finish(daemon, service, 3 * FLOWS)
        print(f"{type(self).__name__}: {service}: {twice} of {3 * FLOWS} flows came twice")


@unittest.skipUnless(COLLECTOR, "no Collector: tests/backends/build.sh collector")
class CollectorBehindFaults(Behind, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.start_backend(SpansOfCollector)


@unittest.skipUnless(JAEGER, "no Jaeger: tests/backends/build.sh jaeger")
class JaegerBehindFaults(Behind, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.start_backend(SpansOfJaeger)


def add_tests():
    for fault in FAULTS:
        for protocol in PROTOCOLS:
            name = f"{fault}_{protocol}".replace(" ", "_").replace("-", "_").replace("/", "_")

            def ends(self, protocol=protocol, fault=fault):
                self.check_fault(protocol, fault)

            def some(self, protocol=protocol, fault=fault):
                self.check_some(protocol, fault)

            for kind in (CollectorBehindFaults, JaegerBehindFaults):
                setattr(kind, f"test_{name}_ends", ends)
            setattr(CollectorBehindFaults, f"test_{name}_of_some_connections", some)


add_tests()

if __name__ == "__main__":
    unittest.main()
