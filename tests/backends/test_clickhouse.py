"""The queries that docs/queries.md prints for ClickHouse, as they are printed, against chDB, which is ClickHouse as a library.

The table has the columns of the Collector's clickhouseexporter, which keeps every attribute as text. Its rows are spans
that the daemon sends as OTLP/JSON, of traffic that is invented here; what the queries must find is worked out from it.
"""

import http.server
import json
import os
import re
import sys
import threading
import time
import unittest
from collections import Counter

import harness
import otlp
import traffic
from harness import REPOSITORY, Daemon, Folder

if os.environ.get("BACKEND_CHDB"):
    sys.path.insert(0, os.environ["BACKEND_CHDB"])
try:
    from chdb.session import Session
except ImportError:
    Session = None

TABLE = """
CREATE TABLE otel_traces (
    Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
    SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String), ScopeName String, ScopeVersion String,
    SpanAttributes Map(LowCardinality(String), String), Duration UInt64,
    StatusCode LowCardinality(String), StatusMessage String
) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, Timestamp)
"""
SERVER, CLIENT, OTHER, SCANNER = "198.51.100.19", "10.20.0.17", "10.20.0.18", "198.51.100.66"
STRANGER = "203.0.113.9"
# Source, destination, their ports, protocol, TCP flags, packets, bytes.
FLOWS = [
    (CLIENT, SERVER, 50_001, 445, traffic.TCP, 0x1B, 10, 7_000),
    (CLIENT, SERVER, 50_002, 445, traffic.TCP, 0x1B, 20, 30_000),
    (SERVER, CLIENT, 445, 50_001, traffic.TCP, 0x1B, 30, 400_000),
    (OTHER, SERVER, 50_003, 445, traffic.TCP, 0x1B, 2, 500),
    (OTHER, SERVER, 50_004, 443, traffic.TCP, 0x1B, 2, 600),
    (STRANGER, "192.0.2.5", 50_005, 53, traffic.UDP, 0, 1, 80),
    *[(SCANNER, "192.0.2.5", 40_000, port, traffic.TCP, traffic.SYN, 1, 40) for port in range(1, 151)],
]


def queries():
    """The SQL of the page, by the comment that each begins with."""
    page = (REPOSITORY / "docs" / "queries.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    return {re.match(r"-- (.*)", block).group(1): block for block in blocks}


class Receiver(http.server.BaseHTTPRequestHandler):
    """OTLP/HTTP that keeps what it gets."""

    def do_POST(self):
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def text(of):
    """A value as the exporter keeps it."""
    kind, content = of
    return json.dumps(content) if kind in ("bool", "array", "kvlist") else str(content)


def row(span):
    resource = {key: text(value) for key, value in span.resource}
    return {
        "Timestamp": f"{span.start // 10**9}.{span.start % 10**9:09}",
        "TraceId": span.trace,
        "SpanId": span.id,
        "ParentSpanId": span.parent,
        "SpanName": span.name,
        "SpanKind": ["Unspecified", "Internal", "Server", "Client"][span.kind],
        "ServiceName": resource["service.name"],
        "ResourceAttributes": resource,
        "ScopeName": span.scope[0] or "",
        "ScopeVersion": span.scope[1] or "",
        "SpanAttributes": {key: text(value) for key, value in span.attributes},
        "Duration": span.end - span.start,
        "StatusCode": ["Unset", "Ok", "Error"][span.status[0]],
        "StatusMessage": span.status[1],
    }


@unittest.skipUnless(Session, "chDB isn't installed")
class Queries(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder("clickhouse")
        cls.addClassCleanup(cls.folder.remove)
        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        receiver.requests = []
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        cls.addClassCleanup(receiver.server_close)
        cls.addClassCleanup(receiver.shutdown)
        daemon = Daemon(
            cls.folder.path,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/json",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.server_port}",
        )
        try:
            with traffic.Exporter("127.77.200.1") as exporter:
                for first in range(0, len(FLOWS), 30):
                    datagram = traffic.v5_datagram(time.time(), FLOWS[first : first + 30], first)
                    exporter.socket.sendto(datagram, ("127.0.0.1", daemon.port))
            daemon.wait_received(-(-len(FLOWS) // 30))
            daemon.wait_delivered()
        finally:
            daemon.stop()
        rows = [row(span) for span in otlp.spans(receiver.requests)]
        cls.session = Session(str(cls.folder.path / "chdb"))
        cls.addClassCleanup(cls.session.close)
        cls.session.query(TABLE)
        lines = "\n".join(json.dumps(row) for row in rows)
        cls.session.query(f"INSERT INTO otel_traces FORMAT JSONEachRow {lines}")

    def ask(self, name):
        """The rows that a printed query finds, as tuples of text."""
        lines = str(self.session.query(queries()[name], "JSONCompactEachRow")).splitlines()
        return [tuple(str(value) for value in json.loads(line)) for line in lines]

    def test_every_flow_is_a_row(self):
        count = self.session.query("SELECT count() FROM otel_traces WHERE SpanName = 'netflow.flow'", "CSV")
        self.assertEqual(int(str(count)), len(FLOWS))

    def test_hosts_that_talked_to_a_service(self):
        flows, octets = Counter(), Counter()
        for source, destination, _, port, _, _, _, size in FLOWS:
            if (destination, port) == (SERVER, 445):
                flows[source] += 1
                octets[source] += size
        expected = [(source, str(flows[source]), str(octets[source])) for source, _ in octets.most_common()]
        self.assertEqual(self.ask("Which hosts talked to this address on this port"), expected)

    def test_both_directions(self):
        found = self.ask("Both directions of a conversation")
        pairs = {(CLIENT, SERVER), (SERVER, CLIENT)}
        expected = [flow for flow in FLOWS if flow[:2] in pairs]
        key = lambda flow: (flow[0], str(flow[2]), flow[1], str(flow[3]), str(flow[7]))
        self.assertEqual(Counter(row[1:] for row in found), Counter(key(flow) for flow in expected))

    def test_a_network(self):
        expected = Counter()
        for source, destination, *_, size in FLOWS:
            if source.startswith("10.20.") and not destination.startswith("10."):
                expected[destination] += size
        self.assertEqual(
            self.ask("Where a network sent its traffic"),
            [(destination, str(size)) for destination, size in expected.most_common()],
        )

    def test_top_talkers(self):
        expected = Counter()
        for source, destination, *_, size in FLOWS:
            expected[source, destination] += size
        found = self.ask("Top talkers")
        self.assertEqual(found, [(*pair, str(size)) for pair, size in expected.most_common(10)])

    def test_scans(self):
        self.assertEqual(self.ask("Scans of ports or hosts"), [(SCANNER, "1", "150", "150")])

    def test_bits_per_second_of_each_exporter(self):
        found = self.ask("Bits per second of each exporter, by minute")
        self.assertEqual({exporter for _, exporter, _ in found}, {"127.77.200.1"})
        self.assertAlmostEqual(
            sum(float(rate) for *_, rate in found), sum(flow[7] for flow in FLOWS) * 8 / 60, places=6
        )

    def test_each_printed_query_is_tried(self):
        asked = set(re.findall(r'self\.ask\("(.*?)"\)', (harness.HERE / "test_clickhouse.py").read_text()))
        self.assertEqual(set(queries()), asked)
