"""What a million flows cost in each tier: one daemon alone; relay, broker and worker.

    NETFLOW_BINARY=target/release/netflow2traces tests/kafka/run.sh cost

Processor time of each process, user and system, while `netflow2traces send` sends at an even rate. Spans are written and not
delivered (OTEL_TRACES_EXPORTER=none): delivery costs the same in a daemon and in a worker (docs/performance.md).
"""

import os
import unittest

from kafka import INSTALLED, Broker, Relay
from harness import Daemon, Folder, send, until
from test_workers import PARTITIONS, Worker

RATE = int(os.environ.get("RATE", "60000"))
FLOWS = int(os.environ.get("FLOWS", "900000"))
PROTOCOLS = os.environ.get("PROTOCOLS", "v5 v9 ipfix").split()
TICKS = os.sysconf("SC_CLK_TCK")


class NoSink:
    endpoint = ""


def cpu(pid):
    """Seconds of user and system time that a process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def child_of(leader):
    """The process of a group that has used most: a script leads the broker's."""
    used = {}
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.getpgid(int(entry)) == leader:
                used[int(entry)] = cpu(entry)
        except OSError:
            pass
    return max(used, key=used.get)


def rss(pid):
    """Largest resident memory in MB."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


@unittest.skipUnless(INSTALLED, "no broker: tests/kafka/broker.sh install")
class Cost(unittest.TestCase):
    def measure(self, what, processes, port, protocol, done):
        before = [cpu(pid) for pid in processes.values()]
        sent = send(
            "--protocol", protocol, "--flows-per-packet", "24", "--exporters", "16", "--rate", RATE, "--count", FLOWS,
            "--to", f"127.0.0.1:{port}",
        )
        flows = sent["flow_records"]
        until(f"{what}: {flows} flows", lambda: done() >= flows * 0.999, 120)
        for (name, pid), used in zip(processes.items(), before, strict=True):
            cost = (cpu(pid) - used) / flows * 1e6
            print(f"{protocol} {what} {name}: {cost:.3f} CPU-s/Mflow, {rss(pid)} MB")

    def test_tiers(self):
        folder = Folder("kafka-cost")
        self.addCleanup(folder.remove)
        broker = Broker(folder.path)
        self.addCleanup(broker.stop)
        with open(folder.path / "broker" / "pid") as pid:
            broker_pid = child_of(int(pid.read()))
        for protocol in PROTOCOLS:
            with self.subTest(protocol):
                own = folder.path / protocol
                own.mkdir()
                self.tier(own, broker, broker_pid, protocol)

    def tier(self, folder, broker, broker_pid, protocol):
        alone = Daemon(folder, name=f"alone-{protocol}", NETFLOW_WORKERS="1", OTEL_TRACES_EXPORTER="none")
        self.addCleanup(alone.process.stop)
        pids = {"daemon": alone.process.child.pid}
        self.measure("alone", pids, alone.port, protocol, lambda: alone.metric("netflow_flows_total"))
        alone.process.stop()
        names = {
            "NETFLOW_KAFKA_TOPIC": f"datagrams-{protocol}",
            "NETFLOW_KAFKA_TEMPLATES_TOPIC": f"templates-{protocol}",
        }
        broker.topic(names["NETFLOW_KAFKA_TOPIC"], PARTITIONS)
        broker.topic(names["NETFLOW_KAFKA_TEMPLATES_TOPIC"], PARTITIONS, "cleanup.policy=compact")
        relay = Relay(folder, broker, NETFLOW_KAFKA_TOPIC=names["NETFLOW_KAFKA_TOPIC"], NETFLOW_WORKERS="1")
        self.addCleanup(relay.process.stop)
        worker = Worker(
            folder, f"worker-{protocol}", broker, NoSink, NETFLOW_WORKERS="1", OTEL_TRACES_EXPORTER="none", **names
        )
        self.addCleanup(worker.process.stop)
        worker.wait_ready()
        until("all partitions", lambda: worker.partitions() == PARTITIONS, 60)
        pids = {"relay": relay.process.child.pid, "broker": broker_pid, "worker": worker.process.child.pid}
        self.measure("tiers", pids, relay.port, protocol, lambda: worker.metric("netflow_flows_total"))
        relay.process.stop()
        worker.process.stop()


if __name__ == "__main__":
    unittest.main()
