"""Compares filters and totals of `netflow2traces decode` with nfdump on the same flows.

    python3 scripts/differential/selection.py [--program PROGRAM] [FILE.pcap...]

Without a file: the captures of testdata that hold NetFlow or IPFIX. nfdump's collector is sent the datagrams; then both
programs run the same filters, and the flows that each selects must be the same, field by field. The totals by source and
destination must be equal, and so must their order. The exit status is 0 when both agree, 1 when they don't, 2 when a
program is absent or fails.
"""

import argparse
import collections
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
import nfdump  # noqa: E402

# Where both languages have the same words and the same meaning. To nfdump a flow without ports has port 0, so that ports
# stand beside a protocol that has them. nfdump 1.7.1 finds no AS numbers, and takes IPFIX's flowStartSysUpTime for the
# end.
FILTERS = [
    "any",
    "not any",
    "proto tcp",
    "proto udp",
    "proto icmp or proto icmp6",
    "inet",
    "inet6",
    "(proto tcp or proto udp) and src port < 1024",
    "(proto tcp or proto udp) and dst port > 1023",
    "port 53",
    "port in [53 80 443]",
    "src net 10.0.0.0/8",
    "not src net 10.0.0.0/8",
    "net 127.0.0.0/8 and proto tcp",
    "bytes > 1k",
    "bytes < 200 and packets < 3",
    "packets > 10",
    "inet and duration > 6",
    "flags S and not flags R",
    "in if 1 or out if 2",
    "dst net 10.16.0.0/16 and dst port > 40000 and proto udp",
    "tos 0",
    "bpp > 100",
    "(port 443 or port 80) and not proto udp",
    "src ip in [127.0.0.2 127.0.0.3]",
    "icmp-type 8",
]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--program", default=os.path.join(
        os.environ.get("CARGO_TARGET_DIR", os.path.join(corpus.ROOT, "target")), "debug", "netflow2traces"))
    options = parser.parse_args()
    absent = [tool for tool in (options.program, "nfcapd", "nfdump") if not shutil.which(tool)]
    if absent:
        print("not installed: " + ", ".join(absent), file=sys.stderr)
        sys.exit(2)
    files = options.files or sorted(glob.glob(os.path.join(corpus.ROOT, "testdata", "*", "*.pcap")))
    datagrams = [datagram for datagram in corpus.merge(files) if datagram.version != "sflow"]
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        capture, flows = os.path.join(folder, "all.pcap"), os.path.join(folder, "flows")
        corpus.write(datagrams, capture)
        nfdump.collect(datagrams, folder, flows)
        selected = 0
        for text in FILTERS:
            ours, theirs = of_decode(options.program, capture, text), of_nfdump(flows, text)
            selected += sum(ours.values())
            if ours != theirs:
                different += 1
                print("different: %s: only ours %s, only nfdump's %s" % (
                    text, some(ours - theirs), some(theirs - ours)))
        ours, theirs = totals(options.program, capture), nfdump_totals(flows)
        if ours != theirs:
            different += 1
            print("different: totals: only ours %s, only nfdump's %s" % (
                some(collections.Counter(ours) - collections.Counter(theirs)),
                some(collections.Counter(theirs) - collections.Counter(ours))))
    print("%d filters selected %d flows, %d totals compared, %d differences" % (
        len(FILTERS), selected, len(ours), different))
    if not selected or not ours:
        print("nothing was compared", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if different else 0)


def some(counter):
    return "%d %s" % (sum(counter.values()), sorted(counter.elements(), key=str)[:3])


def run(arguments):
    ended = subprocess.run(arguments, env={**os.environ, "TZ": "UTC"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           check=False)
    if ended.returncode > 1:
        print("%s: %s" % (arguments[0], ended.stderr.decode(errors="replace")), file=sys.stderr)
        sys.exit(2)
    return ended.stdout.decode(errors="replace")


def of_decode(program, capture, text):
    """Flows that match, as often as each occurs."""
    lines = run([program, "decode", "--format", "json", "--filter", text, capture]).splitlines()
    return collections.Counter(
        flow(record["exporter"], record["attributes"],
             ("source.address", "destination.address", "source.port", "destination.port", "network.protocol.number",
              "netflow.flow.bytes", "netflow.flow.packets"))
        for record in map(json.loads, lines))


def of_nfdump(flows, text):
    records = nfdump.listed(run(["nfdump", "-R", flows, "-q", "-o", "json", text]))
    found = collections.Counter()
    for record in records:
        names = ("src4_addr", "dst4_addr") if "src4_addr" in record else ("src6_addr", "dst6_addr")
        found[flow(record["ip4_router"], record, names + ("src_port", "dst_port", "proto", "in_bytes", "in_packets"))] += 1
    return found


def flow(exporter, values, names):
    """Ports of ICMP are left out: each program has type and code elsewhere."""
    found = [values.get(name, 0) for name in names]
    if found[4] in (1, 58):
        found[2:4] = [0, 0]
    return (exporter, *found)


def totals(program, capture):
    lines = run([program, "decode", "--format", "csv", "--top", "1000000", "--by", "src,dst", capture]).splitlines()
    rows = [line.split(",") for line in lines[1:]]
    return sorted((row[0], row[1], int(row[4]), int(row[3]), int(row[2])) for row in rows)


def nfdump_totals(flows):
    lines = run(["nfdump", "-R", flows, "-q", "-N", "-6", "-A", "srcip,dstip", "-o", "fmt:%sa,%da,%byt,%pkt,%fl"]).splitlines()
    rows = [[cell.strip() for cell in line.split(",")] for line in lines if line.count(",") == 4]
    return sorted((row[0], row[1], int(row[2]), int(row[3]), int(row[4])) for row in rows)


if __name__ == "__main__":
    main()
