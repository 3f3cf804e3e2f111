"""A real broker, the relay before it, and what stands in its topics, for the tests beside this file."""

import base64
import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "backends"))

from harness import Daemon, until  # noqa: E402

Message = namedtuple("Message", "partition offset timestamp key value headers")

SCRIPT = HERE / "broker.sh"
INSTALLED = os.environ.get("KAFKA_HOME")


class Broker:
    """One node on loopback; its data outlives `stop` and `kill`."""

    def __init__(self, folder):
        self.folder = Path(folder) / "broker"
        self.address = self.run("start")
        self.secure = (self.folder / "secure").read_text().strip()
        self.authority = self.folder / "ca.pem"

    def run(self, verb, *arguments):
        command = [str(SCRIPT), verb, str(self.folder), *[str(each) for each in arguments]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=180, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}")
        return done.stdout.strip()

    def topic(self, name, partitions, *options):
        self.run("topic", name, partitions, *options)

    def start(self):
        self.run("start")

    def stop(self):
        self.run("stop")

    def kill(self):
        self.run("kill")

    def messages(self, topic):
        """All messages of a topic, each partition's in their order, as Kafka's own client reads them."""
        command = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{INSTALLED}/libs/*", str(HERE / "Dump.java")]
        done = subprocess.run(
            [*command, self.address, topic], capture_output=True, text=True, timeout=180, check=False
        )
        if done.returncode != 0:
            raise AssertionError(f"Dump.java: {done.returncode}: {done.stderr}")
        return [message(json.loads(line)) for line in done.stdout.splitlines()]


def message(of):
    key, value = (of[name] and base64.b64decode(of[name]) for name in ("key", "value"))
    headers = {name: base64.b64decode(text).decode() for name, text in of["headers"].items()}
    return Message(of["partition"], of["offset"], of["timestamp"], key and key.decode(), value, headers)


class Relay(Daemon):
    """The real `netflow2traces relay` on free ports."""

    def __init__(self, folder, broker, **settings):
        settings = {"NETFLOW_KAFKA_BROKERS": broker.address, **settings}
        super().__init__(folder, name="relay", command="relay", **settings)

    def relayed(self):
        return self.metric("netflow_relay_messages_total")

    def dropped(self):
        return self.metric("netflow_relay_dropped_total")

    def wait_relayed(self, datagrams, seconds=90):
        until(f"{datagrams} datagrams are relayed", lambda: self.relayed() >= datagrams, seconds)
