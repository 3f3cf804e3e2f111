"""Two real Collectors behind one name, restarted one after the other under load: no span is lost, and within a minute
the load is spread again.

The daemon has an /etc/hosts of its own, which needs the right to mount. Needs BACKEND_COLLECTOR, as run.sh sets it.
"""

import collections
import json
import subprocess
import time
import unittest

import otlp
from harness import Daemon, Folder, Process, free_port, left_out, program, until
from test_collector import COLLECTOR, Collector

NAME = "backend.netflow.test"
HOSTS = ("127.0.0.2", "127.0.0.3")
MOUNT = 'mount --bind "$0" /etc/hosts && exec "$@"'
# Flows a second: some twenty requests a second.
RATE = 400
BALANCED_WITHIN = 60
# The shares are taken over so many seconds.
WINDOW = 6


class Replica:
    """A Collector on an address, started again and again; each run has a file of its own."""

    def __init__(self, folder, host, grpc, http):
        self.folder, self.host, self.grpc, self.http = folder, host, grpc, http
        self.runs = 0
        self.start()

    def start(self):
        self.runs += 1
        self.run = self.folder / f"{self.host}-{self.runs}"
        self.run.mkdir()
        self.collector = Collector(self.run, grpc=self.grpc, http=self.http, host=self.host)

    def stop(self):
        self.collector.process.stop()

    def written(self):
        """How much this run has got, in octets; no span is much longer than another."""
        file = self.run / "spans.jsonl"
        return file.stat().st_size if file.exists() else 0

    def ids(self):
        for file in self.folder.glob(f"{self.host}-*/spans.jsonl"):
            for span in otlp.spans(json.loads(line) for line in file.read_text().splitlines()):
                if span.name == "netflow.flow":
                    yield span.trace, span.id


@unittest.skipUnless(COLLECTOR, "no Collector: tests/backends/build.sh collector")
class RollingRestart(unittest.TestCase):
    def setUp(self):
        folder = Folder("replicas")
        self.addCleanup(folder.remove)
        self.folder = folder.path
        self.hosts = self.folder / "hosts"
        self.hosts.write_text("".join(f"{host} {NAME}\n" for host in HOSTS))
        self.through = ["unshare", "--mount", "sh", "-c", MOUNT, str(self.hosts)]
        can = subprocess.run([*self.through, "true"], capture_output=True, check=False)
        if can.returncode != 0:
            left_out("a rolling restart of real Collectors: this user can't mount")
            self.skipTest("this user can't mount")

    def shares(self, replicas):
        """Each replica's part of what arrives in the next seconds."""
        before = [replica.written() for replica in replicas]
        end = time.monotonic() + WINDOW
        until("the window's end", lambda: time.monotonic() >= end)
        got = [replica.written() - had for replica, had in zip(replicas, before, strict=True)]
        return [part / max(1, sum(got)) for part in got]

    def wait_balanced(self, what, replicas):
        """Until the load is within 60:40; returns the seconds that it took."""
        begin = time.monotonic()
        until(
            f"60:40 {what}",
            lambda: max(self.shares(replicas)) <= 0.6,
            seconds=BALANCED_WITHIN,
        )
        return time.monotonic() - begin

    def check_rolling_restart(self, protocol):
        grpc, http = free_port(), free_port()
        replicas = []
        for host in HOSTS:
            replica = Replica(self.folder, host, grpc, http)
            replicas.append(replica)
            self.addCleanup(replica.stop)
        daemon = Daemon(
            self.folder,
            through=self.through,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{NAME}:{grpc if protocol == 'grpc' else http}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_BSP_SCHEDULE_DELAY="50",
        )
        self.addCleanup(daemon.process.stop)
        load = Process(
            "send",
            [program(), "send", "--json", "--quiet", "--to", f"127.0.0.1:{daemon.port}", "--rate", RATE]
            + ["--flows-per-packet", 10, "--count", 10_000_000],
            self.folder,
        )
        self.addCleanup(load.stop)
        took = [self.wait_balanced("at the start", replicas)]
        for replica in replicas:
            other = next(each for each in replicas if each is not replica)
            replica.stop()
            had = other.written()
            until("the other one has it all", lambda o=other, h=had: o.written() > h + 100_000)
            replica.start()
            took.append(self.wait_balanced(f"after the restart of {replica.host}", replicas))
        load.stop()
        sent = json.loads(load.text().splitlines()[-1])
        daemon.wait_received(sent["datagrams"])
        daemon.wait_delivered()
        totals = daemon.stop()
        for replica in replicas:
            replica.stop()
        for counter in ("kernel_drops", "flow_spans_rejected", "flow_spans_dropped"):
            self.assertEqual(totals[counter], 0, counter)
        ids = collections.Counter(each for replica in replicas for each in replica.ids())
        self.assertEqual(totals["flow_spans_accepted"], sent["flow_records"])
        self.assertEqual(len(ids), sent["flow_records"])
        twice = sum(ids.values()) - len(ids)
        seconds = ", ".join(f"{each:.0f} s" for each in took)
        print(f"rolling restart over {protocol}: {len(ids)} flows, {twice} came twice; within 60:40 after {seconds}")

    def test_rolling_restart_over_grpc(self):
        self.check_rolling_restart("grpc")

    def test_rolling_restart_over_http(self):
        self.check_rolling_restart("http/protobuf")


if __name__ == "__main__":
    unittest.main()
