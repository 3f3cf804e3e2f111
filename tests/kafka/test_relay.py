"""The relay before a real broker: every datagram of every capture stands in the topic, unchanged and in order."""

import collections
import json
import socket
import struct
import unittest

from kafka import INSTALLED, Broker, Relay
from harness import Folder, Replay, captures, get_json, payloads, until

CAPTURES = captures()


@unittest.skipUnless(INSTALLED, "no broker: tests/kafka/broker.sh install")
class TheRelay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Folder("kafka-relay")
        cls.addClassCleanup(cls.place.remove)
        cls.broker = Broker(cls.place.path)
        cls.addClassCleanup(cls.broker.stop)

    def start(self, topic, partitions=3, **settings):
        self.broker.topic(topic, partitions)
        folder = Folder("relay")
        self.addCleanup(folder.remove)
        relay = Relay(folder.path, self.broker, NETFLOW_KAFKA_TOPIC=topic, **settings)
        self.addCleanup(relay.process.stop)
        return relay

    def check_stop(self, relay):
        """It ends with exit code 0, and its accounts balance."""
        status = get_json(f"http://127.0.0.1:{relay.admin}/api/status")
        account = next(each for each in status["accounts"] if each["name"] == "datagrams")
        self.assertEqual(account["difference"], 0, account)
        totals = relay.stop()
        self.assertEqual(relay.process.child.returncode, 0, relay.process.tail())
        self.assertEqual(totals["relay_dropped"], 0)
        return totals

    def of_exporters(self, topic):
        """The payloads of each exporter in the order in which the topic has them, and all messages."""
        found, partitions = collections.defaultdict(list), {}
        messages = self.broker.messages(topic)
        for message in messages:
            found[message.key].append(message.value)
            self.assertEqual(partitions.setdefault(message.key, message.partition), message.partition)
        return found, messages

    def test_every_datagram_of_all_captures_is_in_the_topic_in_order(self):
        if CAPTURES is None:
            self.skipTest("no captures: set NETFLOW_CAPTURES")
        relay = self.start("captures")
        expected, ports, datagrams = collections.defaultdict(list), collections.defaultdict(set), 0
        for number, path in enumerate(sorted(CAPTURES.glob("*.pcap"))):
            replay = Replay(path, number)
            datagrams += replay.send(relay.port)
            for address, _port, payload in payloads(path):
                expected[replay.addresses[address]].append(payload)
            for (address, _port), own in replay.ports.items():
                ports[replay.addresses[address]].add(str(own))
            relay.wait_received(datagrams)
        relay.wait_relayed(datagrams)
        totals = self.check_stop(relay)
        self.assertEqual(totals["relayed"], datagrams)
        found, messages = self.of_exporters("captures")
        self.assertEqual(len(messages), datagrams)
        self.assertEqual(found, expected)
        for message in messages:
            self.assertIn(message.headers["port"], ports[message.key])
            self.assertEqual(message.headers["local_port"], str(relay.port))
            self.assertEqual(message.headers["transport"], "udp")
            self.assertEqual(int(message.headers["received_at"]) // 1_000_000, message.timestamp)
        print(f"relayed: {datagrams} datagrams of {len(expected)} exporters")

    def test_messages_of_connections_are_relayed(self):
        relay = self.start("connections", NETFLOW_LISTEN_TCP_PORT="0")
        status = get_json(f"http://127.0.0.1:{relay.admin}/api/status")
        listening = status["receive"]["connections"]
        port = int(json.dumps(listening).partition("127.0.0.1:")[2].partition('"')[0])
        sent = [struct.pack("!HHIII", 10, 16, 1_700_000_000, number, 7) for number in range(50)]
        with socket.create_connection(("127.0.0.1", port)) as exporter:
            own = str(exporter.getsockname()[1])
            exporter.sendall(b"".join(sent))
            relay.wait_relayed(len(sent))
        self.check_stop(relay)
        found, messages = self.of_exporters("connections")
        self.assertEqual(found, {"127.0.0.1": sent})
        self.assertEqual(
            {(m.headers["transport"], m.headers["port"], m.headers["local_port"]) for m in messages},
            {("tcp", own, str(port))},
        )

    def test_nothing_is_lost_while_the_broker_restarts(self):
        relay = self.start("restarts")
        expected = collections.defaultdict(list)
        sent = 0

        def send(count):
            nonlocal sent
            for _ in range(count):
                address = f"127.88.0.{1 + sent % 20}"
                payload = struct.pack("!HI", 5, sent)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
                    exporter.bind((address, 0))
                    exporter.sendto(payload, ("127.0.0.1", relay.port))
                expected[address].append(payload)
                sent += 1

        for end in (self.broker.stop, self.broker.kill):
            send(500)
            relay.wait_relayed(sent)
            end()
            send(500)
            relay.process.wait_until("the outage is seen", lambda: relay.metric("netflow_relay_up") == 0)
            self.assertEqual(relay.metric("netflow_relay_waiting"), 500)
            self.broker.start()
            relay.wait_relayed(sent)
            relay.process.wait_until("the end is seen", lambda: relay.metric("netflow_relay_up") == 1)
        self.check_stop(relay)
        found, messages = self.of_exporters("restarts")
        self.assertEqual(len(messages), sent)
        self.assertEqual(found, expected)
        print(f"broker stopped, and killed: {sent} datagrams sent, {len(messages)} in the topic")

    def secure(self, topic, mechanism, **settings):
        return self.start(
            topic,
            **{
                "NETFLOW_KAFKA_BROKERS": self.broker.secure,
                "NETFLOW_KAFKA_TLS": "true",
                "NETFLOW_KAFKA_TLS_CA": str(self.broker.authority),
                "NETFLOW_KAFKA_SASL_MECHANISM": mechanism,
                "NETFLOW_KAFKA_SASL_USERNAME": "flows",
                "NETFLOW_KAFKA_SASL_PASSWORD": "s3cret",
                **settings,
            },
        )

    def test_connections_are_encrypted_and_logged_in(self):
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            with self.subTest(mechanism=mechanism):
                relay = self.secure(mechanism, mechanism)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
                    exporter.sendto(b"flows", ("127.0.0.1", relay.port))
                relay.wait_relayed(1)
                self.check_stop(relay)
                self.assertEqual([message.value for message in self.broker.messages(mechanism)], [b"flows"])

    def test_a_wrong_password_and_an_unknown_authority_are_named(self):
        for case, settings in {
            "password": {"NETFLOW_KAFKA_SASL_PASSWORD": "wrong"},
            "authority": {"NETFLOW_KAFKA_TLS_CA": ""},
        }.items():
            with self.subTest(case=case):
                relay = self.secure(f"wrong-{case}", "SCRAM-SHA-512", **settings)
                until("the log names it", lambda: "NETFLOW_KAFKA_SASL_PASSWORD" in relay.process.text())
                self.assertNotIn('"wrong"', relay.process.text())
                self.assertEqual(relay.metric("netflow_relay_up"), 0)

    def test_what_finds_no_room_and_what_waits_at_the_end_are_counted(self):
        relay = self.start("full", NETFLOW_QUEUE_SIZE="2MiB")
        self.broker.stop()
        self.addCleanup(self.broker.start)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
            for sent in range(1, 4_001):
                exporter.sendto(struct.pack("!HI", 9, sent) + bytes(1_400), ("127.0.0.1", relay.port))
                if sent % 100 == 0:
                    relay.wait_received(sent)
        waiting, dropped = relay.metric("netflow_relay_waiting"), relay.dropped()
        self.assertGreater(dropped, 0)
        self.assertEqual(waiting + dropped, 4_000)
        until("the log says so", lambda: "the queue is full" in relay.process.text(), 30)
        totals = relay.stop()
        self.assertEqual((totals["relay_dropped"], totals["relayed"]), (4_000, 0))
        self.assertEqual(relay.process.child.returncode, 1)


if __name__ == "__main__":
    unittest.main()
