"""Daemons that read from a real broker what a relay wrote: every record arrives, whoever has its partition."""

import collections
import json
import signal
import socket
import struct
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kafka import INSTALLED, Broker, Relay
import otlp
from harness import Daemon, Folder, Process, Replay, answers, captures, free_port, program, until

CAPTURES = captures()
PARTITIONS = 6
EXPORTERS = 12


def said(span):
    """Exporter, times and attributes of a flow; times that come from when it was received are left out."""
    received = time.time_ns() - 3_600 * 10**9
    times = [instant if instant < received else None for instant in (span.start, span.end)]
    attributes = sorted((key, value) for key, value in span.attributes if key != "netflow.exporter.port")
    return otlp.of(span, "netflow.exporter.address"), tuple(times), tuple(attributes)


class Sink:
    """A backend that keeps the flow spans of what it was sent over OTLP/HTTP as JSON."""

    def __init__(self):
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.take(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                try:
                    self.end_headers()
                    self.wfile.write(b"{}")
                except ConnectionError:
                    self.close_connection = True  # who sent it was killed

            def log_message(self, *_):
                pass

        self.lock = threading.Lock()
        self.flows = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def take(self, request):
        flows = [span for span in otlp.spans([request]) if span.name == "netflow.flow"]
        with self.lock:
            self.flows.extend(flows)

    def count(self):
        with self.lock:
            return len(self.flows)

    def numbers(self):
        """How often each number arrived that `Numbered` sent."""
        with self.lock:
            return collections.Counter(otlp.of(span, "netflow.flow.bytes") for span in self.flows)

    def contents(self):
        """What each exporter's flows say, in any order."""
        with self.lock:
            return collections.Counter(said(span) for span in self.flows)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Worker(Daemon):
    """A real daemon with NETFLOW_INPUT=kafka; it binds no port for exporters."""

    def __init__(self, folder, name, broker, sink, **settings):
        self.admin = free_port()
        environment = {
            "PATH": "/usr/bin:/bin",
            "NETFLOW_INPUT": "kafka",
            "NETFLOW_KAFKA_BROKERS": broker.address,
            "NETFLOW_ADMIN_PORT": str(self.admin),
            "NETFLOW_WORKERS": "2",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
            "LOG_FORMAT": "json",
            **settings,
        }
        self.process = Process(name, [program(), "run"], folder, environment)

    def wait_ready(self):
        self.process.wait_until("ready", lambda: answers(f"http://127.0.0.1:{self.admin}/readyz"), 90)

    def partitions(self):
        return self.metric("netflow_kafka_partitions")

    def kill(self):
        self.process.child.send_signal(signal.SIGKILL)
        self.process.child.wait()


class Numbered:
    """Sends v9 flows that each have a number of their own, from several exporters; each sends its template once."""

    FIELDS = ((8, 4), (12, 4), (1, 4))

    def __init__(self, relay, exporters=EXPORTERS):
        self.relay, self.target = relay, ("127.0.0.1", relay.port)
        self.sent = self.datagrams = 0
        self.sockets, self.sequences = [], [0] * exporters
        for exporter in range(exporters):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind((f"127.99.0.{exporter + 1}", 0))
            self.sockets.append(sender)
        fields = b"".join(struct.pack("!HH", *field) for field in self.FIELDS)
        template = struct.pack("!HHHH", 0, 8 + len(fields), 256, len(self.FIELDS)) + fields
        for exporter in range(exporters):
            self.datagram(exporter, template)

    def datagram(self, exporter, sets):
        header = struct.pack("!HHIIII", 9, 1, 60_000, int(time.time()), self.sequences[exporter], 1)
        self.sequences[exporter] += 1
        self.put(exporter, header + sets)

    def put(self, exporter, octets):
        """A socket's buffer holds some hundred datagrams."""
        self.sockets[exporter].sendto(octets, self.target)
        self.datagrams += 1
        if self.datagrams % 100 == 0:
            self.relay.wait_received(self.datagrams)

    def send(self, flows):
        for _ in range(flows):
            self.sent += 1
            record = struct.pack("!4s4sI", b"\x0a\0\0\1", b"\x0a\0\0\2", self.sent)
            self.datagram(self.sent % len(self.sockets), struct.pack("!HH", 256, 4 + len(record)) + record)

    def garbage(self):
        for exporter in range(len(self.sockets)):
            self.put(exporter, struct.pack("!HHI", 9, 1, 60_000))
            self.put(exporter, struct.pack("!HI", 77, 1))

    def close(self):
        for sender in self.sockets:
            sender.close()


@unittest.skipUnless(INSTALLED, "no broker: tests/kafka/broker.sh install")
class Workers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Folder("kafka-workers")
        cls.addClassCleanup(cls.place.remove)
        cls.broker = Broker(cls.place.path)
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        folder = Folder("workers")
        self.addCleanup(folder.remove)
        self.folder = folder.path
        self.sink = Sink()
        self.addCleanup(self.sink.close)
        # Of this test alone.
        self.names = {
            "NETFLOW_KAFKA_TOPIC": f"{self._testMethodName[:60]}-datagrams",
            "NETFLOW_KAFKA_TEMPLATES_TOPIC": f"{self._testMethodName[:60]}-templates",
        }
        self.broker.topic(self.names["NETFLOW_KAFKA_TOPIC"], PARTITIONS)
        self.broker.topic(self.names["NETFLOW_KAFKA_TEMPLATES_TOPIC"], PARTITIONS, "cleanup.policy=compact")
        self.relay = Relay(self.folder, self.broker, NETFLOW_KAFKA_TOPIC=self.names["NETFLOW_KAFKA_TOPIC"])
        self.addCleanup(self.relay.process.stop)
        self.workers = 0

    def worker(self, **settings):
        self.workers += 1
        worker = Worker(
            self.folder, f"worker-{self.workers}", self.broker, self.sink, **{**self.names, **settings}
        )
        self.addCleanup(worker.process.stop)
        worker.wait_ready()
        return worker

    def wait_shared(self, *workers):
        """Until each has something to read, and nothing is left to others."""

        def shared():
            shares = [worker.partitions() for worker in workers]
            return all(shares) and sum(shares) == PARTITIONS and shares

        return until("partitions are shared", shared, 120)

    def numbered(self):
        numbered = Numbered(self.relay)
        self.addCleanup(numbered.close)
        return numbered

    def wait_all(self, numbered, seconds=180):
        """Until every flow has arrived; returns how many came more than once."""
        expected = set(range(1, numbered.sent + 1))

        def missing():
            return len(expected - set(self.sink.numbers()))

        until(f"all {numbered.sent} flows arrive", lambda: missing() == 0 or None, seconds, 0.3)
        numbers = self.sink.numbers()
        self.assertEqual(set(numbers), expected)
        return sum(numbers.values()) - len(expected)

    def check_counted(self, duplicates, workers):
        """What came twice was counted, by the worker that let go of it: it may hear of that after another has read it again."""

        def counted():
            return sum(worker.metric("netflow_kafka_messages_uncommitted_total") for worker in workers)

        until(f"{duplicates} flows that came twice are counted", lambda: duplicates <= counted() or None, 60)

    def check_waited(self, *workers):
        """No data waited for its template."""
        self.assertEqual([worker.metric("netflow_sets_waited_total") for worker in workers], [0] * len(workers))

    def test_two_workers_deliver_all_captures_as_one_machine_does(self):
        if CAPTURES is None:
            self.skipTest("no captures: set NETFLOW_CAPTURES")
        alone = Sink()
        self.addCleanup(alone.close)
        direct = Daemon(
            self.folder,
            name="direct",
            OTEL_EXPORTER_OTLP_ENDPOINT=alone.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/json",
        )
        self.addCleanup(direct.process.stop)
        workers = [self.worker(), self.worker()]
        self.wait_shared(*workers)
        datagrams = 0
        for number, path in enumerate(sorted(CAPTURES.glob("*.pcap"))):
            for target in (self.relay, direct):
                sent = Replay(path, number).send(target.port)
                target.wait_received(datagrams + sent)
            datagrams += sent
        direct.wait_delivered()
        expected = alone.contents()
        flows = sum(expected.values())
        until("all flows", lambda: self.sink.count() >= flows or None, 180)
        for worker in workers:
            worker.wait_delivered()
        found = self.sink.contents()
        differences = [(expected - found).total(), (found - expected).total()]
        examples = list((expected - found).items())[:2] + list((found - expected).items())[:2]
        self.assertEqual(differences, [0, 0], examples)
        shares = [worker.metric("netflow_kafka_messages_total") for worker in workers]
        self.assertEqual(sum(shares), datagrams)
        self.assertTrue(all(shares), shares)
        print(f"captures: {datagrams} datagrams, {flows} flows, shared {shares}")

    def test_another_takes_over_from_one_that_is_killed(self):
        first, second = self.worker(), self.worker()
        self.wait_shared(first, second)
        numbered = self.numbered()
        numbered.send(2_000)
        until("flows", lambda: self.sink.count() >= 2_000, 60)
        numbered.send(2_000)
        first.kill()
        numbered.send(2_000)
        began = time.monotonic()
        duplicates = self.wait_all(numbered)
        took = time.monotonic() - began
        self.assertEqual(second.partitions(), PARTITIONS)
        self.check_waited(second)
        self.assertGreater(second.metric("netflow_kafka_exporter_states_total", outcome="restored"), 0)
        print(f"killed: {numbered.sent} flows sent, all arrived, {duplicates} twice; taken over in {took:.0f} s")

    def test_a_broker_that_restarts_loses_nothing(self):
        workers = [self.worker(), self.worker()]
        self.wait_shared(*workers)
        numbered = self.numbered()
        for end in (self.broker.stop, self.broker.kill):
            numbered.send(1_000)
            end()
            numbered.send(1_000)
            self.broker.start()
            duplicates = self.wait_all(numbered)
        self.check_counted(duplicates, workers)
        self.check_waited(*workers)
        print(f"broker stopped, and killed: {numbered.sent} flows sent, all arrived, {duplicates} twice")

    def test_workers_come_and_go_under_load(self):
        workers = [self.worker()]
        numbered = self.numbered()
        stop = threading.Event()

        def load():
            while not stop.is_set():
                numbered.send(50)
                time.sleep(0.05)

        sender = threading.Thread(target=load)
        sender.start()
        try:
            workers.append(self.worker())
            self.wait_shared(*workers)
            workers.append(self.worker())
            self.wait_shared(*workers)
            gone = workers.pop(0)
            self.assertEqual(gone.process.stop(), 0, gone.process.tail())
            self.wait_shared(*workers)
        finally:
            stop.set()
            sender.join()
        duplicates = self.wait_all(numbered)
        self.check_counted(duplicates, workers)
        self.check_waited(*workers)
        print(f"workers came and went: {numbered.sent} flows sent, all arrived, {duplicates} twice")

    def test_a_poisoned_datagram_stops_no_partition(self):
        worker = self.worker()
        numbered = self.numbered()
        numbered.send(100)
        numbered.garbage()
        numbered.send(100)
        self.assertEqual(self.wait_all(numbered), 0)
        self.assertEqual(worker.metric("netflow_packet_errors_total"), 2 * EXPORTERS)
        self.assertEqual(worker.process.stop(), 0, worker.process.tail())
        # All is committed: another has nothing to read.
        another = self.worker()
        until("all partitions", lambda: another.partitions() == PARTITIONS, 60)
        numbered.send(1)
        self.assertEqual(self.wait_all(numbered), 0)
        self.assertEqual(another.metric("netflow_kafka_messages_total"), 1)
        self.check_waited(another)

    def test_another_group_reads_all_once_more(self):
        worker = self.worker()
        numbered = self.numbered()
        numbered.send(300)
        self.wait_all(numbered)
        worker.process.stop()
        again = self.worker(NETFLOW_KAFKA_GROUP="again")
        until("every flow twice", lambda: self.sink.count() >= 600, 60)
        self.assertEqual(set(self.sink.numbers().values()), {2})
        self.assertEqual(again.metric("netflow_kafka_messages_total"), 300 + EXPORTERS)


if __name__ == "__main__":
    unittest.main()
