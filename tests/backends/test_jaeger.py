"""From UDP to a real Jaeger: what was sent is found by both versions of its query API, whole, as a tree, in its times.

Needs BACKEND_JAEGER, as run.sh sets it.
"""

import collections
import time
import unittest

import otlp
from harness import CASES, REPOSITORY, Daemon, Folder, captures, decode, send, until
from jaeger import BINARY, WARNINGS, Jaeger
from traffic import Exporter

CAPTURES = captures()
# Recordings of our own, and those of others where they are.
RECORDED = sorted((REPOSITORY / "testdata").glob("*/*.pcap")) + [
    CAPTURES / f"{case}.pcap" for case in CASES if CAPTURES is not None
]
PARENTS = {
    "netflow.export": None,
    "netflow.parse_packet": "netflow.export",
    "netflow.process_flows": "netflow.export",
    "netflow.flow": "netflow.process_flows",
}
# Each in turn.
WAYS = [
    (protocol, compression)
    for compression in ("none", "gzip", "zstd")
    for protocol in ("grpc", "http/protobuf", "http/json")
]
# What a search by tags can ask for.
KEYS = ("source.address", "destination.address", "destination.port", "network.transport", "netflow.flow.bytes")
TYPES = {"int64": "int", "float64": "double", "string": "string", "bool": "bool"}
NO_TIME = "Negative duration detected"
SKEW = "clock skew adjustment disabled"


def as_sent(span):
    """A span without what Jaeger does to one that takes no time, as a flow of one packet: a nanosecond, and a warning."""
    warnings = [warning for _, warning in otlp.of(span, WARNINGS) or ()]
    for warning in warnings:
        if not (warning.startswith(NO_TIME) and span.end - span.start == 1):
            raise AssertionError(f"an unknown warning: {span}")
    attributes = tuple(each for each in span.attributes if each[0] != WARNINGS)
    return span._replace(attributes=attributes, end=span.start if warnings else span.end)


def tag(of):
    """Type and value of a tag on the page, where large numbers are text."""
    kind = TYPES.get(of["type"])
    return (kind, int(of["value"]) if kind == "int" else of["value"])


class WithDaemon(unittest.TestCase):
    def daemon(self, jaeger, folder, service, protocol="grpc", compression="none", **settings):
        daemon = Daemon(
            folder,
            name=service,
            OTEL_SERVICE_NAME=service,
            OTEL_EXPORTER_OTLP_ENDPOINT=jaeger.endpoint(protocol),
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_COMPRESSION=compression,
            **settings,
        )
        self.addCleanup(daemon.process.stop)
        return daemon

    def finish(self, daemon, datagrams):
        """Stops the daemon when all is delivered."""
        daemon.wait_received(datagrams)
        daemon.wait_delivered()
        totals = daemon.stop()
        for counter in ("kernel_drops", "flow_spans_rejected", "flow_spans_dropped"):
            self.assertEqual(totals[counter], 0, counter)
        return totals


@unittest.skipUnless(BINARY, "no Jaeger: tests/backends/build.sh jaeger")
class FromUdpToJaeger(WithDaemon):
    @classmethod
    def setUpClass(cls):
        folder = Folder("jaeger")
        cls.addClassCleanup(folder.remove)
        cls.folder = folder.path
        cls.jaeger = Jaeger(cls.folder)
        cls.addClassCleanup(cls.jaeger.stop)

    def setUp(self):
        folder = Folder("jaeger-daemon")
        self.addCleanup(folder.remove)
        self.own_folder = folder.path

    def spans_of(self, service, count):
        """All spans of a service once there are so many."""
        spans = until(
            f"{count} spans of {service}",
            lambda: (found := self.jaeger.spans(service)) and len(found) >= count and found,
            seconds=30,
        )
        self.assertEqual(len(spans), count)
        return [as_sent(span) for span in spans]

    def check_tree(self, spans):
        """Ids are unique, and every parent is there, in the same trace, and the one that it should be."""
        names = {(span.trace, span.id): span.name for span in spans}
        self.assertEqual(len(names), len(spans))
        for span in spans:
            expected = PARENTS[span.name]
            if expected is None:
                self.assertEqual(span.parent, "")
            else:
                self.assertEqual(names.get((span.trace, span.parent)), expected, span)

    def check_page(self, service, spans):
        """What Jaeger's page gets (the second API) is the same spans, in microseconds."""
        told = {}
        for trace in self.jaeger.search(service, operation="netflow.export"):
            self.assertFalse(trace["warnings"])
            for span in trace["spans"]:
                for warning in span["warnings"] or []:
                    self.assertTrue(
                        warning.startswith(NO_TIME) and span["duration"] == 0
                        or warning.startswith(SKEW),
                        span,
                    )  # fmt: skip
                parents = [
                    reference["spanID"] for reference in span["references"] if reference["refType"] == "CHILD_OF"
                ]
                process = trace["processes"][span["processID"]]
                self.assertEqual(process["serviceName"], service)
                tags = {each["key"]: tag(each) for each in span["tags"]}
                told[span["traceID"], span["spanID"]] = (span, parents, tags, process["tags"])
        self.assertEqual(set(told), {(span.trace, span.id) for span in spans})
        for span in spans:
            page, parents, tags, process = told[span.trace, span.id]
            self.assertEqual(page["operationName"], span.name)
            self.assertEqual(parents, [span.parent] if span.parent else [])
            self.assertEqual(page["startTime"], span.start // 1000)
            self.assertLessEqual(abs(page["duration"] - (span.end - span.start) / 1000), 1)
            self.assertEqual(tags["span.kind"], ("string", {1: "internal", 2: "server"}[span.kind]))
            for key, (kind, value) in span.attributes:
                if kind in TYPES.values():
                    self.assertEqual(tags[key], (kind, value), span)
            self.assertIn(
                otlp.of(span, "netflow.exporter.address"),
                [each["value"] for each in process if each["key"] == "netflow.exporter.address"],
            )

    def check_found(self, service, flow):
        """A flow's trace is found by what the flow says, alone and together, and not by what it doesn't."""
        says = {key: value for key, (_, value) in flow.attributes if key in KEYS}
        for tags in [{key: value} for key, value in says.items()] + [says]:
            found = {trace["traceID"] for trace in self.jaeger.search(service, tags, operation="netflow.flow")}
            self.assertIn(flow.trace, found, tags)
        exporter = otlp.of(flow, "netflow.exporter.address")
        by_resource = self.jaeger.search(service, {**says, "netflow.exporter.address": exporter})
        self.assertIn(flow.trace, {trace["traceID"] for trace in by_resource})
        self.assertEqual(self.jaeger.search(service, {**says, "netflow.flow.bytes": -1}), [])
        self.assertEqual(
            sorted(self.jaeger.trace(flow.trace)),
            sorted(span for span in self.jaeger.spans(service) if span.trace == flow.trace),
        )

    def test_captures_are_found_and_whole(self):
        compared = 0
        for number, path in enumerate(RECORDED):
            case = path.stem
            protocol, compression = WAYS[number % len(WAYS)]
            with self.subTest(case=case, protocol=protocol, compression=compression):
                daemon = self.daemon(
                    self.jaeger, self.own_folder, case, protocol, compression, NETFLOW_ATTRIBUTES="all"
                )
                sent = send("--to", f"127.0.0.1:{daemon.port}", "--at-once", path)
                self.finish(daemon, sent["datagrams"])
                told = list(otlp.spans(decode(path, "all")))
                got = self.spans_of(case, len(told))
                self.check_tree(got)
                told_spans = collections.Counter(map(otlp.content, told))
                got_spans = collections.Counter(map(otlp.content, got))
                self.assertEqual(
                    [*(told_spans - got_spans).elements()][:2] + [*(got_spans - told_spans).elements()][:2], []
                )
                self.check_page(case, got)
                flows = [span for span in got if span.name == "netflow.flow"]
                for flow in flows[:: max(1, len(flows) // 3)]:
                    self.check_found(case, flow)
                compared += len(got)
        print(f"compared at Jaeger: {compared} spans of {len(RECORDED)} captures")

    def test_all_that_send_invents_arrives_by_every_way(self):
        compared = 0
        versions = ("v5", "v9", "ipfix", "sflow")
        for number, (protocol, compression) in enumerate(WAYS):
            service = f"{protocol} {compression}"
            with self.subTest(way=service):
                daemon = self.daemon(self.jaeger, self.own_folder, f"way-{number}", protocol, compression)
                version = versions[number % len(versions)]
                sent = send(
                    "--to", f"127.0.0.1:{daemon.port}", "--protocol", version, "--count", 1_000, "--rate", "20k"
                )  # fmt: skip
                totals = self.finish(daemon, sent["datagrams"])
                spans = self.spans_of(f"way-{number}", totals["flow_spans_accepted"] + totals["work_spans"])
                self.assertEqual(sum(span.name == "netflow.flow" for span in spans), sent["flow_records"])
                self.check_tree(spans)
                self.check_page(f"way-{number}", spans)
                compared += len(spans)
        print(f"compared at Jaeger: {compared} spans of invented flows by {len(WAYS)} ways")

    def test_services_and_operations_are_listed(self):
        daemon = self.daemon(self.jaeger, self.own_folder, "listed")
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 30)
        self.finish(daemon, sent["datagrams"])
        until("the service", lambda: "listed" in self.jaeger.services(), seconds=30)
        names = until(
            "its spans' names", lambda: len(found := self.jaeger.operations("listed")) == 4 and found, seconds=30
        )
        self.assertEqual([name for name, _ in names], sorted(PARENTS))


@unittest.skipUnless(BINARY, "no Jaeger: tests/backends/build.sh jaeger")
class JaegerThatIsSetOtherwise(WithDaemon):
    def start(self, **settings):
        folder = Folder("jaeger-other")
        self.addCleanup(folder.remove)
        jaeger = Jaeger(folder.path, **settings)
        self.addCleanup(jaeger.stop)
        return jaeger, folder.path

    def test_the_oldest_traces_make_room(self):
        jaeger, folder = self.start(max_traces=20)
        daemon = self.daemon(jaeger, folder, "small")
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--protocol", "v5", "--flows-per-packet", 1, "--count", 50)
        self.finish(daemon, sent["datagrams"])
        spans = until("20 traces", lambda: len(found := jaeger.spans("small")) == 20 * 4 and found, seconds=30)
        self.assertEqual(len({span.trace for span in spans}), 20)

    def test_clocks_are_not_mended_where_the_resource_has_an_ip(self):
        """A flow begins before its parent; Jaeger takes that for a clock that is wrong, unless it knows the host."""
        jaeger, folder = self.start(clock_skew="1h")
        for service, resource, mended in (("without", "", 300), ("with", "ip=127.0.0.1", 0)):
            with self.subTest(service=service):
                daemon = self.daemon(jaeger, folder, service, OTEL_RESOURCE_ATTRIBUTES=resource)
                sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 300)
                totals = self.finish(daemon, sent["datagrams"])
                count = totals["flow_spans_accepted"] + totals["work_spans"]
                spans = until(
                    "all spans",
                    lambda s=service, n=count: len(found := jaeger.spans(s)) == n and found,
                    seconds=30,
                )
                starts = {span.id: span.start for span in spans}
                flows = {span.id: span for span in spans if span.name == "netflow.flow"}
                self.assertEqual(sum(span.start < starts[span.parent] for span in flows.values()), 300)
                page = [span for trace in jaeger.search(service) for span in trace["spans"]]
                adjusted = [span for span in page if any("adjusted by" in each for each in span["warnings"] or [])]
                self.assertEqual(len({span["spanID"] for span in adjusted} & set(flows)), mended)
                moved = [
                    span
                    for span in page
                    if span["spanID"] in flows and span["startTime"] != flows[span["spanID"]].start // 1000
                ]
                self.assertEqual(len(moved), mended)


@unittest.skipUnless(BINARY, "no Jaeger: tests/backends/build.sh jaeger")
class Conversations(WithDaemon):
    """NETFLOW_TRACE_SHAPE=conversation: what belongs to one TCP connection is one trace."""

    WINDOW = 600
    CLIENT, SERVER = ("192.0.2.77", 50_000), ("198.51.100.77", 443)

    def setUp(self):
        folder = Folder("jaeger-conversations")
        self.addCleanup(folder.remove)
        self.folder = folder.path
        self.jaeger = Jaeger(self.folder)
        self.addCleanup(self.jaeger.stop)
        # A whole second: with its fraction, v5's milliseconds could put the edge before the edge.
        self.now = int(time.time())
        # The last edge of a window: what ended before it is in one window, however long the test takes.
        self.edge = self.now // self.WINDOW * self.WINDOW

    def conversing(self, service, **settings):
        return self.daemon(
            self.jaeger,
            self.folder,
            service,
            NETFLOW_TRACE_SHAPE="conversation",
            NETFLOW_CONVERSATION_WINDOW=f"{self.WINDOW}s",
            NETFLOW_WORKERS="4",
            **settings,
        )

    def flow(self, source, destination, end):
        """Of ten seconds, with its end in seconds from the edge."""
        return (source, destination, self.edge + end - 10, self.edge + end, 1000)

    def exchange(self, daemon):
        """Both directions of a connection at two routers, and later records of it: three datagrams of six records."""
        there, back = (self.CLIENT, self.SERVER), (self.SERVER, self.CLIENT)
        with Exporter("127.0.0.2") as first, Exporter("127.0.0.3") as second:
            first.send(daemon.port, self.now, [self.flow(*there, -120), self.flow(*back, -119)])
            second.send(daemon.port, self.now, [self.flow(*there, -118), self.flow(*back, -117)])
            first.send(daemon.port, self.now, [self.flow(*there, -60), self.flow(*back, -1)])
        return 3

    def traces(self, service, count):
        """Ids of the traces of a service once it has so many spans, each with the spans of that service."""
        spans = until(
            f"{count} spans of {service}",
            lambda: len(found := self.jaeger.spans(service, operation="netflow.flow")) >= count and found,
            seconds=60,
        )
        spans = [span for span in spans if otlp.of(span, "service.name") == service]
        self.assertEqual(len(spans), count)
        by_trace = collections.defaultdict(list)
        for span in spans:
            self.assertEqual((span.name, span.parent), ("netflow.flow", ""))
            by_trace[span.trace].append(span)
        return by_trace

    def test_both_directions_and_later_records_are_one_trace(self):
        daemon = self.conversing("whole")
        datagrams = self.exchange(daemon)
        with Exporter("127.0.0.2") as exporter:
            # Another connection, and the same one in the next window.
            other = (self.CLIENT[0], self.CLIENT[1] + 1)
            exporter.send(daemon.port, self.now, [self.flow(other, self.SERVER, -60)])
            exporter.send(daemon.port, self.now, [self.flow(self.SERVER, self.CLIENT, 0)])
        self.finish(daemon, datagrams + 2)
        traces = self.traces("whole", 8)
        self.assertEqual(sorted(map(len, traces.values())), [1, 1, 6])
        conversation = max(traces.values(), key=len)
        ends = collections.Counter(otlp.of(span, "source.address") for span in conversation)
        self.assertEqual(ends, {self.CLIENT[0]: 3, self.SERVER[0]: 3})
        exporters = {otlp.of(span, "netflow.exporter.address") for span in conversation}
        self.assertEqual(exporters, {"127.0.0.2", "127.0.0.3"})
        # Jaeger shows it as one: by its id, and to whoever searches for either direction.
        identifier = conversation[0].trace
        self.assertEqual(len(self.jaeger.trace(identifier)), 6)
        for end, port in (self.CLIENT, self.SERVER):
            found = self.jaeger.search("whole", {"source.address": end, "source.port": port})
            self.assertIn(identifier, {trace["traceID"] for trace in found})

    def test_a_key_makes_the_same_trace_after_a_restart_and_at_another_instance(self):
        key, store = {"NETFLOW_CONVERSATION_KEY": "0123456789abcdef" * 2}, {
            "NETFLOW_TEMPLATE_STORE": str(self.folder / "templates")
        }
        ids = {}
        for service, settings in {
            "set": key,
            "set-again": key,
            "stored": store,
            "stored-again": store,
            "drawn": {},
        }.items():
            daemon = self.conversing(service, **settings)
            self.finish(daemon, self.exchange(daemon))
            (ids[service],) = self.traces(service, 6)
        self.assertEqual(ids["set"], ids["set-again"])
        self.assertEqual(ids["stored"], ids["stored-again"])
        self.assertEqual(len(set(ids.values())), 3)
        one, other = self.conversing("one", **key), self.conversing("other", **key)
        for instance in (one, other):
            self.finish(instance, self.exchange(instance))
            self.traces(instance.process.name, 6)
        together = self.jaeger.trace(ids["set"])
        self.assertEqual(len(together), 4 * 6)
        self.assertEqual(
            {otlp.of(span, "service.name") for span in together}, {"set", "set-again", "one", "other"}
        )

    def test_no_trace_outgrows_its_bound_whichever_exporters_report_it(self):
        daemon, records = self.conversing("busy", NETFLOW_ATTRIBUTES="minimal"), 12_000
        flows = [self.flow(self.CLIENT, self.SERVER, -60), self.flow(self.SERVER, self.CLIENT, -60)] * 15
        exporters = [Exporter(f"127.0.0.{last}") for last in range(2, 12)]
        datagrams = records // len(flows)
        for number in range(datagrams):
            exporters[number % len(exporters)].send(daemon.port, self.now, flows)
            if number % 100 == 99:
                daemon.wait_received(number + 1)
        for exporter in exporters:
            exporter.socket.close()
        self.finish(daemon, datagrams)
        sizes = sorted(map(len, self.traces("busy", records).values()))
        self.assertLessEqual(sizes[-1], 1_000)
        self.assertLessEqual(len(sizes), records // 1_000 + 2)
        print(f"a conversation of {records} records at Jaeger: {len(sizes)} traces of {sizes[0]} to {sizes[-1]} spans")


if __name__ == "__main__":
    unittest.main()
