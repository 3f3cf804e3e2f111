"""pmacct's reading of sampled counts: the datagrams are sent to nfacctd on this machine, which multiplies them."""

import collections
import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

NAME = "nfacctd"
# Seconds that it may take to print what it was sent.
PATIENCE = 40


def is_installed():
    return shutil.which(NAME) is not None


def read(datagrams):
    """(packets, bytes) of all flows by exporter address, as estimated by the sampling interval."""
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        out, configuration = os.path.join(folder, "out.csv"), os.path.join(folder, "nfacctd.conf")
        with open(configuration, "w") as file:
            file.write("\n".join([
                "daemonize: false", "nfacctd_ip: 127.0.0.1", "nfacctd_port: %d" % port, "nfacctd_renormalize: true",
                "plugins: print[all]", "aggregate[all]: peer_src_ip", "print_output[all]: csv",
                "print_output_file[all]: " + out, "print_output_file_append[all]: true", "print_refresh_time[all]: 1",
                "print_history[all]: 1m", "nfacctd_time_new: true", ""]))
        with open(os.path.join(folder, "log"), "w+b") as log:
            collector = subprocess.Popen([NAME, "-f", configuration], stdout=log, stderr=log)
            try:
                wait(lambda: is_bound(port), "it listens")
                send(datagrams, port)
                wait(lambda: len(rows(out)) == len(datagrams), "it prints what it was sent")
                # The flows of one datagram may stand in two turns of its print.
                time.sleep(2)
                return rows(out)
            except TimeoutError as error:
                log.seek(0)
                sys.exit("%s: %s: %s" % (NAME, error, log.read().decode(errors="replace")[-1000:]))
            finally:
                collector.send_signal(signal.SIGINT)
                try:
                    collector.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    collector.kill()


def send(datagrams, port):
    for datagram in datagrams:
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.bind((datagram.source, 0))
            sender.sendto(datagram.payload, ("127.0.0.1", port))


def rows(path):
    """What was printed so far; a line that isn't complete yet comes again later."""
    sums = collections.defaultdict(lambda: (0, 0))
    if not os.path.exists(path):
        return sums
    with open(path) as file:
        lines = [line for line in file.read().split("\n")[:-1] if not line.startswith("PEER_SRC_IP,PACKETS")]
    for exporter, packets, octets in csv.reader(lines):
        before = sums[exporter]
        sums[exporter] = (before[0] + int(packets), before[1] + int(octets))
    return sums


def is_bound(port):
    with open("/proc/net/udp") as file:
        return any(line.split()[1].endswith(":%04X" % port) for line in file.readlines()[1:])


def wait(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain until " + what)
        time.sleep(0.1)
