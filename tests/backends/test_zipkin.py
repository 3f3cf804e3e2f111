"""The service graph of NETFLOW_SERVICE_GRAPH=spans in a real Zipkin, of `traces_service_graph_*`, and of the traffic: one graph.

Needs BACKEND_ZIPKIN, BACKEND_ZIPKIN_COLLECTOR and Java, as run.sh has them.
"""

import random
import re
import socket
import time
import unittest

import traffic
import zipkin
from harness import Daemon, Folder, get, send, until
from zipkin import Zipkin

# Zipkin writes names in lower case.
NETWORKS = """10.1.0.0/16,office
10.2.0.0/16,shop
10.3.0.0/16,data centre
10.3.9.0/24,backup
2001:db8::/32,six
10.20.0.0/16,clients
10.40.0.0/16,name servers
198.51.100.0/24,web
"""
ADDRESSES = {"office": "10.1.0.", "shop": "10.2.7.", "data centre": "10.3.1.", "backup": "10.3.9.", "other": "192.0.2."}
SERVICES = [(443, traffic.TCP), (53, traffic.UDP), (5432, traffic.TCP), (22, traffic.TCP), (123, traffic.UDP)]
SAMPLE = re.compile(r'(traces_service_graph_request_(?:failed_)?total)\{(.*)\} (\d+)')


def conversations(seed, count):
    """Flow records by exporter, and the edges that they are of: requests and failures by client and server."""
    chance = random.Random(seed)
    records, truth = {}, {}
    for _ in range(count):
        client, server = chance.choice(list(ADDRESSES)), chance.choice(list(ADDRESSES))
        port, protocol = chance.choice(SERVICES)
        ends = [ADDRESSES[client] + str(chance.randrange(1, 200)), ADDRESSES[server] + str(chance.randrange(1, 200))]
        ports = [chance.randrange(49_152, 65_536), port]
        outcome = chance.choices(["answered", "silence", "refused"], [8, 1, 1])[0] if protocol == traffic.TCP else "answered"
        flags = {"answered": (0x1B, 0x1B), "silence": (traffic.SYN, None), "refused": (traffic.SYN, traffic.RST | traffic.ACK)}[outcome]
        packets = 1 if outcome != "answered" else chance.randrange(4, 50)
        there, back = flags if protocol == traffic.TCP else (0, 0)
        of_exporter = records.setdefault(f"127.77.1.{chance.randrange(1, 4)}", [])
        of_exporter.append((*ends, *ports, protocol, there, packets, packets * (60 if packets == 1 else 700)))
        if back is not None:
            of_exporter.append((*ends[::-1], *ports[::-1], protocol, back, packets, packets * (40 if packets == 1 else 900)))
        calls, failures = truth.get((client, server), (0, 0))
        truth[client, server] = (calls + 1, failures + (outcome != "answered"))
    for of_exporter in records.values():
        chance.shuffle(of_exporter)
    return records, truth


@unittest.skipIf(zipkin.MISSING, zipkin.MISSING)
class ServiceGraph(unittest.TestCase):
    def setUp(self):
        folder = Folder("zipkin")
        self.addCleanup(folder.remove)
        self.zipkin = Zipkin(folder.path)
        self.addCleanup(self.zipkin.stop)
        (folder.path / "networks.csv").write_text(NETWORKS)
        self.daemon = Daemon(
            folder.path,
            OTEL_EXPORTER_OTLP_ENDPOINT=self.zipkin.endpoint(),
            NETFLOW_TRACE_SHAPE="flow",
            NETFLOW_SERVICE_GRAPH="spans",
            NETFLOW_NETWORKS=str(folder.path / "networks.csv"),
            NETFLOW_METRICS="service_graph",
        )
        self.addCleanup(self.daemon.process.stop)

    def counted(self):
        """The graph of the flow metrics, all exporters together."""
        edges = {}
        for name, labels, value in SAMPLE.findall(get(f"http://127.0.0.1:{self.daemon.admin}/metrics")):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            edge = labels["client"], labels["server"]
            calls, failures = edges.get(edge, (0, 0))
            if name.endswith("_failed_total"):
                edges[edge] = (calls, failures + int(value))
            else:
                edges[edge] = (calls + int(value), failures)
        return edges

    def drawn(self, calls):
        """Zipkin's graph, once so many calls are in it: spans are on their way through the Collector for a while."""

        def complete():
            edges = self.zipkin.edges()
            return edges if sum(count for count, _ in edges.values()) >= calls else None

        return until(f"{calls} calls", complete, seconds=60, interval=0.5)

    def test_the_graph_is_that_of_the_traffic(self):
        records, truth = conversations(seed=16, count=3_000)
        sent = 0
        for exporter, of_exporter in records.items():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((exporter, 0))
                for first in range(0, len(of_exporter), 25):
                    datagram = traffic.v5_datagram(time.time(), of_exporter[first : first + 25], sequence=first)
                    sender.sendto(datagram, ("127.0.0.1", self.daemon.port))
                    sent += 1
                    self.daemon.wait_received(sent)
        self.daemon.wait_delivered()
        self.assertEqual(self.counted(), truth)
        self.assertEqual(self.drawn(3_000), truth)
        print(f"compared at Zipkin: {len(truth)} edges of 3000 requests, {sum(each for _, each in truth.values())} failed")

    def test_the_graph_is_that_of_the_metrics_by_every_protocol(self):
        for protocol in ("v1", "v5", "v7", "v9", "ipfix", "sflow"):
            sent = send(
                "--to", f"127.0.0.1:{self.daemon.port}", "--protocol", protocol, "--count", 500, "--pattern", "mixed",
                "--rate", "5k",
            )  # fmt: skip
            self.daemon.wait_received(sent["datagrams"])
        self.daemon.wait_delivered()
        counted = self.counted()
        calls = sum(count for count, _ in counted.values())
        self.assertGreater(calls, 1_000)
        self.assertGreater(len(counted), 2)
        self.assertEqual(self.drawn(calls), counted)
        print(f"compared at Zipkin: {len(counted)} edges of {calls} requests by six protocols")


if __name__ == "__main__":
    unittest.main()
