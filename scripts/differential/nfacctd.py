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
                "print_output_file[all]: " + out, "print_output_file_append[all]: true", "print_refresh_time[all]: 3600",
                "nfacctd_time_new: true", ""]))
        with open(os.path.join(folder, "log"), "w+b") as log:
            collector = subprocess.Popen([NAME, "-f", configuration], stdout=log, stderr=log)
            try:
                wait(lambda: queued(port) is not None, "it listens")
                send(datagrams, port)
                wait(lambda: queued(port) == 0, "it takes what it was sent")
                # From its core to its plugin; it prints what it has when it ends.
                time.sleep(2)
                collector.send_signal(signal.SIGINT)
                wait(lambda: len(rows(out)) == len(datagrams), "it prints what it was sent")
                collector.wait(PATIENCE)
                return rows(out)
            except TimeoutError as error:
                log.seek(0)
                sys.exit("%s: %s: %s" % (NAME, error, log.read().decode(errors="replace")[-1000:]))
            finally:
                if collector.poll() is None:
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


def queued(port):
    """Octets that wait at a port; None if nobody listens."""
    with open("/proc/net/udp") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if fields[1].endswith(":%04X" % port):
                return int(fields[4].partition(":")[2], 16)
    return None


def wait(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain until " + what)
        time.sleep(0.1)
