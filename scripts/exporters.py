#!/usr/bin/env python3
"""Lets real exporters send to a daemon, and looks at what it counted: all flows, nothing lost, no time suspect.

    python3 scripts/exporters.py [--program PROGRAM] [NAME...]

softflowd (v5, v9, IPFIX in all its time formats and with biflows, PSAMP), pmacctd (v5, v9, IPFIX, sampled too) and nfreplay
(v5, v9) read a capture of packets that this script makes; fprobe (v1, v5, v7) listens to packets on loopback, and needs
root. What ipt-netflow sends, a kernel module, is made in its formats and sent by `netflow2traces send`. A NAME chooses those that begin with it. What isn't installed is left out and said. The exit status is 0 when all
that ran is as it should be, 1 when something isn't, 2 when nothing could run.
"""

import argparse
import concurrent.futures
import glob
import ipaddress
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts", "differential"))
import corpus  # noqa: E402
import ipt_netflow  # noqa: E402

# The daemon's.
PROGRAM = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug", "netflow2traces")
# Not a tool that may be absent.
SELF = "netflow2traces"
# The longest that one exporter, or the daemon, may take for anything.
PATIENCE = 30


# ---------------------------------------------------------------- packets
def capture(path, end):
    """A capture of 300 conversations over the minute before `end`: TCP, UDP and ICMP over both families."""
    chance, packets = random.Random(1), []
    for flow in range(300):
        start, count = end - 60 + chance.random() * 50, chance.randint(1, 12)
        for number in range(count):
            packets.append((start + number * chance.random() / 2, packet(flow, number)))
    packets.sort()
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at, octets in packets:
            file.write(struct.pack("<IIII", int(at), int(at % 1 * 1e6), len(octets), len(octets)) + octets)


def packet(flow, number):
    port, four, six = 20000 + flow, ("192.0.2.%d" % (flow % 50 + 1), "198.51.100.7"), ("2001:db8::%x" % (flow + 1), "2001:db8:1::7")
    tcp = struct.pack(">HHIIBBHHH", port, 443, 1, 1, 0x50, 2 if number == 0 else 0x18, 1000, 0, 0) + bytes(100)
    udp = struct.pack(">HHHH", port, 53, 68, 0) + bytes(60)
    kind = flow % 6
    if kind < 2:
        return frame(6, four, tcp)
    if kind == 2:
        return frame(17, four, udp)
    if kind == 3:
        return frame(6, six, tcp)
    echo = struct.pack(">BBHHH", 128 if kind == 5 else 8, 0, 0, flow, number) + bytes(32)
    return frame(58, six, echo) if kind == 5 else frame(1, four, echo)


def frame(protocol, addresses, payload):
    source, destination = (ipaddress.ip_address(address).packed for address in addresses)
    if len(source) == 16:
        kind, header = 0x86DD, struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + source + destination
    else:
        kind = 0x800
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + source + destination
        total = sum(struct.unpack(">10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    return bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]) + struct.pack(">H", kind) + header + payload


def loopback_packets():
    """UDP between two addresses of loopback, for three seconds."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.3", 0))
            for octets in (10, 500, 900):
                sender.sendto(bytes(octets), ("127.0.0.2", 9))
        time.sleep(0.05)


# ---------------------------------------------------------------- the daemon
class Daemon:
    """A daemon on free ports that sends nothing on."""

    def __init__(self, program):
        self.port, self.admin = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        self.process = subprocess.Popen([program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={
            "NETFLOW_LISTEN_HOST": "127.0.0.1", "NETFLOW_LISTEN_PORT": str(self.port),
            "NETFLOW_ADMIN_PORT": str(self.admin), "NETFLOW_WORKERS": "1", "OTEL_TRACES_EXPORTER": "none"})

    def __enter__(self):
        wait(lambda: self.metrics() is not None, "the daemon answers")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def metrics(self):
        """Sums by name, over all labels."""
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.admin, timeout=PATIENCE) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        sums = {}
        for name, value in re.findall(r"^(netflow_\w+)(?:\{[^}]*\})? ([0-9.e+]+)", text, re.MULTILINE):
            sums[name] = sums.get(name, 0) + float(value)
        return sums

    def settled(self):
        """The counts once no more datagrams come."""
        before, quiet = None, 0
        deadline = time.monotonic() + PATIENCE
        while quiet < 3 and time.monotonic() < deadline:
            time.sleep(0.2)
            now = self.metrics() or {}
            quiet = quiet + 1 if before and now["netflow_packets_total"] == before["netflow_packets_total"] else 0
            before = now
        return before


def free_port(kind):
    with socket.socket(type=kind) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("waited in vain: " + what)
        time.sleep(0.05)


# ---------------------------------------------------------------- exporters
def run(*command, during=None):
    """Runs an exporter to its end, or for as long as `during` takes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if during:
            time.sleep(1)  # It says nowhere that it listens.
            during()
            process.terminate()
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()


def softflowd(*options):
    return lambda port, folder: run(
        "softflowd", "-d", "-r", os.path.join(folder, "packets.pcap"), "-n", "127.0.0.1:%d" % port, *options)


def pmacctd(version, *lines):
    def export(port, folder):
        path = os.path.join(folder, "pmacctd-%d.conf" % port)
        with open(path, "w") as file:
            file.write("\n".join([
                "daemonize: false", "pcap_savefile: " + os.path.join(folder, "packets.pcap"), "plugins: nfprobe[x]",
                "nfprobe_receiver[x]: 127.0.0.1:%d" % port, "nfprobe_version[x]: %d" % version,
                "aggregate: src_host, dst_host, src_port, dst_port, proto, tos, tcpflags",
                "plugin_pipe_size: 8388608", "plugin_buffer_size: 65536", *lines, ""]))
        # At the end of the file it waits to be stopped.
        run("pmacctd", "-f", path, during=lambda: time.sleep(3))
    return export


def fprobe(version):
    return lambda port, _: run(
        "fprobe", "-i", "lo", "-f", "host 127.0.0.2", "-n", str(version), "-l", "2", "-s", "1", "-g", "1", "-d", "1", "-e", "1",
        "127.0.0.1:%d" % port, during=lambda: (loopback_packets(), time.sleep(3)))


def nfreplay(version):
    def export(port, folder):
        flows = os.path.join(folder, "nfcapd-%d" % port)
        os.mkdir(flows)
        first = free_port(socket.SOCK_DGRAM)
        # Times in milliseconds: what nfcapd makes of uptimes before the exporter's start is 49.7 days off.
        run("nfcapd", "-b", "127.0.0.1", "-p", str(first), "-w", flows, "-t", "3600",
            during=lambda: (softflowd("-v", "10", "-A", "milli")(first, folder), time.sleep(2)))
        run("nfreplay", "-r", glob.glob(os.path.join(flows, "nfcapd.*"))[0], "-H", "127.0.0.1", "-p", str(port), "-v",
            str(version))
    return export


def ipt(version):
    def export(port, folder):
        path = os.path.join(folder, "ipt-netflow-%d.pcap" % version)
        payloads = ipt_netflow.datagrams(version, int(time.time()) - 5)
        corpus.write([corpus.Datagram("", number, "192.0.2.1", 50_000, payload)
                      for number, payload in enumerate(payloads, 1)], path)
        run(PROGRAM, "send", path, "--to", "127.0.0.1:%d" % port)
    return export


# By name: the tool, how to run it, and the fewest flows that it must report. Versions before 9 have no IPv6.
EXPORTERS = {
    "softflowd-v5": ("softflowd", softflowd("-v", "5"), 150),
    "softflowd-v9": ("softflowd", softflowd("-v", "9"), 250),
    "softflowd-v9-sampled": ("softflowd", softflowd("-v", "9", "-s", "10"), 50),
    "softflowd-ipfix": ("softflowd", softflowd("-v", "10"), 250),
    "softflowd-ipfix-sampled": ("softflowd", softflowd("-v", "10", "-s", "10"), 50),
    "softflowd-ipfix-biflows": ("softflowd", softflowd("-v", "10", "-b"), 250),
    **{"softflowd-ipfix-%s" % form: ("softflowd", softflowd("-v", "10", "-A", form), 250)
       for form in ("sec", "milli", "micro", "nano")},
    "softflowd-psamp": ("softflowd", softflowd("-v", "psamp"), 1500),
    **{"pmacctd-%s" % name: ("pmacctd", pmacctd(version), fewest)
       for name, version, fewest in (("v5", 5, 150), ("v9", 9, 250), ("ipfix", 10, 250))},
    **{"pmacctd-%s-sampled" % name: ("pmacctd", pmacctd(version, "sampling_rate: 10"), 50)
       for name, version in (("v5", 5), ("v9", 9), ("ipfix", 10))},
    "fprobe-v1": ("fprobe", fprobe(1), 10),
    "fprobe-v5": ("fprobe", fprobe(5), 10),
    "fprobe-v7": ("fprobe", fprobe(7), 10),
    **{"ipt-netflow-%s" % name: (SELF, ipt(version), 5 * ipt_netflow.FLOWS)
       for name, version in (("v5", 5), ("v9", 9), ("ipfix", 10))},
    "nfreplay-v5": ("nfreplay", nfreplay(5), 150),
    "nfreplay-v9": ("nfreplay", nfreplay(9), 250),
}
# What must be zero.
TROUBLES = (
    "netflow_lost_total", "netflow_late_total", "netflow_flow_times_suspect_total", "netflow_exporter_restarts_total",
    "netflow_packet_errors_total", "netflow_set_errors_total", "netflow_sets_waiting", "netflow_kernel_drops_total",
)


def judge(name, program, folder):
    """What is wrong, and a summary."""
    _, export, fewest = EXPORTERS[name]
    with Daemon(program) as daemon:
        export(daemon.port, folder)
        counts = daemon.settled()
    wrong = ["%s is %s" % (trouble, counts.get(trouble)) for trouble in TROUBLES if counts.get(trouble) != 0]
    flows = counts.get("netflow_flows_total", 0)
    if flows < fewest:
        wrong.append("%d flows, and at least %d were to come" % (flows, fewest))
    return wrong, "%d datagrams, %d flows" % (counts["netflow_packets_total"], flows)


def absent(tool):
    """Why an exporter can't run here."""
    if tool == SELF:
        return None
    if not shutil.which(tool):
        return tool + " is not installed"
    if tool == "nfreplay" and not (shutil.which("nfcapd") and shutil.which("softflowd")):
        return "nfreplay needs what nfcapd keeps of softflowd's flows"
    if tool == "fprobe" and os.geteuid() != 0:
        return "fprobe captures packets, which needs root"
    return None


def main():
    global PROGRAM
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--program", default=PROGRAM)
    options = parser.parse_args()
    PROGRAM = options.program
    if not shutil.which(options.program):
        print("%s is not built" % options.program, file=sys.stderr)
        sys.exit(2)
    os.environ["PATH"] += ":/usr/sbin"
    chosen = [name for name in EXPORTERS if not options.names or name.startswith(tuple(options.names))]
    failed, ran = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        capture(os.path.join(folder, "packets.pcap"), time.time() - 2)
        reasons = {name: absent(EXPORTERS[name][0]) for name in chosen}
        left_out = {because for because in reasons.values() if because}
        chosen = [name for name in chosen if not reasons[name]]
        # They wait more than they work.
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            judged = pool.map(lambda name: judge(name, options.program, folder), chosen)
        for name, (wrong, summary) in zip(chosen, judged):
            ran += 1
            failed += bool(wrong)
            print("%-26s %s%s" % (name, summary, "".join(": WRONG: " + "; ".join(wrong) if wrong else "")), flush=True)
    for because in sorted(left_out):
        print("left out: " + because)
        if os.environ.get("NETFLOW_LEFT_OUT"):
            with open(os.environ["NETFLOW_LEFT_OUT"], "a") as file:
                file.write("real exporters: %s (docs/exporters.md)\n" % because)
    print("%d of %d exporters are as they should be" % (ran - failed, ran))
    sys.exit(1 if failed else 0 if ran else 2)


if __name__ == "__main__":
    main()
