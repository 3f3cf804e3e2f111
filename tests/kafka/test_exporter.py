"""`OTEL_TRACES_EXPORTER=kafka` before a real broker, read by a real Collector's Kafka receiver.

What the Collector writes equals what `decode` says of the same capture, as over OTLP (tests/backends/test_collector.py).
"""

import json
import unittest

from kafka import INSTALLED, Broker
from harness import HERE as BACKENDS
from harness import Daemon, Folder, Process, backend_binary, send, until

import otlp
import test_collector

COLLECTOR = backend_binary("kafka_collector")


class Collector:
    """A Collector that reads a topic from its start; its file exporter writes a line for each message."""

    def __init__(self, folder, broker, topic):
        self.folder, self.broker, self.topic = folder, broker, topic
        text = (BACKENDS / "kafka_collector" / "config.yaml.in").read_text()
        for word, replacement in {
            "@BROKER@": broker.address,
            "@GROUP@": f"collector-{topic}",
            "@TOPIC@": topic,
            "@FOLDER@": str(folder),
        }.items():
            text = text.replace(word, replacement)
        config = folder / "collector.yaml"
        config.write_text(text)
        self.process = Process("collector", [COLLECTOR, "--config", config], folder)

    def lines(self):
        written = self.folder / "spans.jsonl"
        return written.read_text().splitlines() if written.exists() else []

    def stop(self):
        """Stops it when it has read the whole topic; returns all spans that it wrote."""
        messages = len(self.broker.messages(self.topic))
        self.process.wait_until("the topic is read", lambda: len(self.lines()) >= messages)
        self.process.stop()
        return list(otlp.spans(json.loads(line) for line in self.lines()))


@unittest.skipUnless(INSTALLED, "no broker: tests/kafka/broker.sh install")
@unittest.skipUnless(COLLECTOR, "no Collector: tests/backends/build.sh kafka_collector")
class TheExporter(unittest.TestCase):
    check_captures = test_collector.ThroughTheCollector.check_captures
    check_ids = test_collector.ThroughTheCollector.check_ids
    check_score = test_collector.ThroughTheCollector.check_score
    differences = test_collector.ThroughTheCollector.differences

    @classmethod
    def setUpClass(cls):
        cls.place = Folder("kafka-exporter")
        cls.addClassCleanup(cls.place.remove)
        cls.broker = Broker(cls.place.path)
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        self.enter_folder()

    def enter_folder(self):
        folder = Folder("exporter")
        self.addCleanup(folder.remove)
        self.folder = folder.path

    def start(self, topic, compression="zstd", options=(), **settings):
        """A Collector and a daemon with a topic between them."""
        self.broker.topic(topic, 3, *options)
        collector = Collector(self.folder, self.broker, topic)
        self.addCleanup(collector.process.stop)
        daemon = Daemon(
            self.folder,
            OTEL_TRACES_EXPORTER="kafka",
            NETFLOW_KAFKA_BROKERS=self.broker.address,
            NETFLOW_KAFKA_TRACES_TOPIC=topic,
            NETFLOW_KAFKA_COMPRESSION=compression,
            **settings,
        )
        self.addCleanup(daemon.process.stop)
        return collector, daemon

    def test_captures(self):
        self.check_captures("captures", "zstd")

    def test_every_compression_is_read(self):
        for compression in ("none", "gzip", "snappy", "lz4"):
            with self.subTest(compression=compression):
                self.enter_folder()
                collector, daemon = self.start(f"spans-{compression}", compression)
                sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 500, "--rate", "10k")
                daemon.wait_received(sent["datagrams"])
                daemon.wait_delivered()
                daemon.stop()
                spans = collector.stop()
                self.assertEqual(sum(span.name == "netflow.flow" for span in spans), 500)

    def test_what_the_topic_refuses_as_too_large_is_split(self):
        # Compressed, requests would fit.
        collector, daemon = self.start(
            "small", "none", ["max.message.bytes=200000"], OTEL_BSP_SCHEDULE_DELAY="5000"
        )
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 5_000, "--rate", "20k")
        daemon.wait_received(sent["datagrams"])
        daemon.wait_delivered()
        self.assertGreater(daemon.metric("netflow_batch_splits_total"), 0)
        totals = daemon.stop()
        spans = collector.stop()
        self.assertEqual(totals["flow_spans_accepted"], 5_000)
        self.assertEqual(sum(span.name == "netflow.flow" for span in spans), 5_000)
        self.check_ids(spans)

    def test_a_broker_that_restarts_loses_no_span(self):
        collector, daemon = self.start("restarts")
        received = 0
        for end in (self.broker.stop, self.broker.kill):
            for phase in ("before", "away"):
                if phase == "away":
                    end()
                sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 1_000, "--rate", "10k")
                received += sent["datagrams"]
                daemon.wait_received(received)
                if phase == "before":
                    daemon.wait_delivered()
            daemon.process.wait_until("the outage is seen", lambda: daemon.metric("netflow_backend_up") == 0)
            self.broker.start()
            daemon.wait_delivered(120)
        totals = daemon.stop()
        self.assertEqual(daemon.process.child.returncode, 0)
        self.assertEqual(totals["flow_spans_accepted"], 4_000)
        spans = collector.stop()
        flows = {(span.trace, span.id) for span in spans if span.name == "netflow.flow"}
        self.assertEqual(len(flows), 4_000)

    def test_metrics_are_messages_of_their_topic(self):
        self.broker.topic("metrics", 1)
        daemon = Daemon(
            self.folder,
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="kafka",
            OTEL_METRIC_EXPORT_INTERVAL="200",
            NETFLOW_KAFKA_BROKERS=self.broker.address,
            NETFLOW_KAFKA_METRICS_TOPIC="metrics",
        )
        self.addCleanup(daemon.process.stop)
        daemon.process.wait_until(
            "metrics are accepted", lambda: daemon.metric("netflow_metrics_exports_total", outcome="accepted") > 1
        )
        daemon.stop()
        messages = self.broker.messages("metrics")
        self.assertGreater(len(messages), 1)
        for message in messages:
            self.assertIn(b"netflow_uptime_seconds", message.value)
            self.assertIn(b"service.name", message.value)

    def test_a_missing_topic_is_named_and_spans_wait_for_it(self):
        daemon = Daemon(
            self.folder,
            OTEL_TRACES_EXPORTER="kafka",
            NETFLOW_KAFKA_BROKERS=self.broker.address,
            NETFLOW_KAFKA_TRACES_TOPIC="missing",
        )
        self.addCleanup(daemon.process.stop)
        until("the log names it", lambda: "create the topic" in daemon.process.text())
        sent = send("--to", f"127.0.0.1:{daemon.port}", "--count", 100)
        daemon.wait_received(sent["datagrams"])
        self.broker.topic("missing", 1)
        daemon.wait_delivered(120)
        self.assertEqual(daemon.stop()["flow_spans_accepted"], 100)


if __name__ == "__main__":
    unittest.main()
