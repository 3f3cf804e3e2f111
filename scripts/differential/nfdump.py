"""nfdump's reading: the datagrams are sent to nfcapd on this machine, and nfdump prints what it kept."""

import collections
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

# Octets sent before nfcapd must have taken them.
WINDOW = 100_000


def read(datagrams):
    """Lists of records by exporter address, in the order they came. A name stands in a record if nfdump keeps it for the
    template."""
    datagrams = [datagram for datagram in datagrams if datagram.version != "sflow"]
    with tempfile.TemporaryDirectory() as folder:
        collect(datagrams, folder, os.path.join(folder, "flows"))
        made = subprocess.run(
            ["nfdump", "-R", os.path.join(folder, "flows"), "-q", "-o", "json"], env={**os.environ, "TZ": "UTC"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if made.returncode != 0:
        sys.exit("nfdump: " + made.stderr.decode(errors="replace"))
    exporters = collections.defaultdict(list)
    for record in listed(made.stdout.decode(errors="replace")):
        exporters[record["ip4_router"]].append(record)
    return exporters


def listed(text):
    """The records that nfdump prints: with -q it leaves the brackets of its list out. Without any it says so in words."""
    if "{" not in text:
        return []
    return json.loads("[%s]" % text.strip().strip("[],"))


def collect(datagrams, folder, flows):
    """Lets nfcapd keep what the datagrams hold in a new folder `flows`; its log goes to `folder`."""
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.mkdir(flows)
    with open(os.path.join(folder, "log"), "wb") as log:
        collector = subprocess.Popen(
            ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", flows, "-t", "3600", "-B", "1000000"], stdout=log,
            stderr=log)
        try:
            wait(lambda: queued(port) is not None, "nfcapd listens")
            send(datagrams, port)
            collector.send_signal(2)
            collector.wait(20)
        finally:
            if collector.poll() is None:
                collector.kill()


def send(datagrams, port):
    sockets, window = {}, 0
    for datagram in datagrams:
        source = (datagram.source, datagram.port)
        if source not in sockets:
            sockets[source] = socket.socket(type=socket.SOCK_DGRAM)
            sockets[source].bind(source)
        sockets[source].sendto(datagram.payload, ("127.0.0.1", port))
        window += len(datagram.payload) + 512
        if window > WINDOW:
            wait(lambda: queued(port) == 0, "nfcapd takes what was sent")
            window = 0
    wait(lambda: queued(port) == 0, "nfcapd takes what was sent")
    time.sleep(0.2)
    for one in sockets.values():
        one.close()


def queued(port):
    """Octets that wait in the socket on the port; `None`: nobody listens."""
    with open("/proc/net/udp") as file:
        for line in file:
            words = line.split()
            if words[1].endswith(":%04X" % port):
                return int(words[4].split(":")[1], 16)
    return None


def wait(is_so, what):
    for _ in range(1000):
        if is_so():
            return
        time.sleep(0.01)
    sys.exit("gave up waiting that " + what)
