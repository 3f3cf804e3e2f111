#!/usr/bin/env python3
"""Compares what `netflow2traces decode` makes of captures with tshark's dissection, record by record.

    scripts/compare-tshark.py [--program PROGRAM] [--show N] FILE.pcap...

Without a file: those of testdata/captures. A record of ours meets one of tshark's in the same frame and in
the same order; every field that both have must be equal. docs/differential.md explains the differences that
are known, by kind. The exit status is 0 when there is no other difference, 1 when there is one, 2 when a
program is absent or fails.
"""

import argparse
import collections
import glob
import ipaddress
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PORTS = (2055, 4739, 9995, 9996, 6343)

# tshark's fields, in its order of preference, by our attribute. Values are taken from the octets.
NUMBERS = {
    "source.port": ("cflow.srcport", "cflow.udp_srcport", "cflow.tcp_srcport"),
    "destination.port": ("cflow.dstport", "cflow.udp_dstport", "cflow.tcp_dstport"),
    "network.protocol.number": ("cflow.protocol",),
    "netflow.flow.bytes": ("cflow.octets", "cflow.octets64"),
    "netflow.flow.packets": ("cflow.packets", "cflow.packets64"),
    "netflow.interface.input": ("cflow.inputint",),
    "netflow.interface.output": ("cflow.outputint",),
    "netflow.src_as": ("cflow.srcas",),
    "netflow.dst_as": ("cflow.dstas",),
    "netflow.src_mask": ("cflow.srcmask", "cflow.srcmaskv6"),
    "netflow.dst_mask": ("cflow.dstmask", "cflow.dstmaskv6"),
    "netflow.tos": ("cflow.tos",),
    "netflow.tcp_flags": ("cflow.tcpflags", "cflow.tcpflags16"),
}
ADDRESSES = {
    "source.address": ("cflow.srcaddr", "cflow.srcaddrv6"),
    "destination.address": ("cflow.dstaddr", "cflow.dstaddrv6"),
    "netflow.nexthop": ("cflow.nexthop", "cflow.nexthopv6"),
    "netflow.bgp_nexthop": ("cflow.bgpnexthop", "cflow.bgpnexthopv6"),
}
WANTED = {name for names in [*NUMBERS.values(), *ADDRESSES.values()] for name in names}

# Differences that docs/differential.md explains.
KNOWN = {
    "late": "data before its template, which tshark leaves undecoded",
    "refused": "tshark gives the frame up at an element of unusual length",
    "repeated": "the element stands in the record more than once: the first is taken",
    "family": "two address families in one record: the one in use is taken",
    "zero": "several counters, the first of them zero: the next is taken",
}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--program", default=os.path.join(
        os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug", "netflow2traces"))
    parser.add_argument("--show", type=int, default=10)
    options = parser.parse_args()
    files = options.files or sorted(glob.glob(os.path.join(ROOT, "testdata", "captures", "*.pcap")))
    kinds, unknown, compared = collections.Counter(), [], 0
    for file in files:
        ours = decoded(options.program, file)
        theirs, reasons = dissected(file)
        for frame in sorted(ours.keys() | theirs.keys()):
            for kind, what in differences(ours[frame], theirs[frame], reasons.get(frame)):
                if kind in KNOWN:
                    kinds[kind] += 1
                else:
                    unknown.append("%s frame %d: %s" % (os.path.basename(file), frame, what))
        compared += sum(map(len, ours.values()))
    print("%d records of %d files compared with tshark" % (compared, len(files)))
    for kind, count in sorted(kinds.items()):
        print("known: %s: %d (%s)" % (kind, count, KNOWN[kind]))
    for line in unknown[:options.show]:
        print("different: " + line)
    if unknown:
        print("%d differences are not explained" % len(unknown))
    sys.exit(1 if unknown else 0)


def run(command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        print("%s: %s" % (command[0], error), file=sys.stderr)
        sys.exit(2)


def decoded(program, file):
    """Our records by frame."""
    ended = run([program, "decode", file])
    if ended.returncode > 1:
        print("%s: %s" % (program, ended.stderr.decode(errors="replace")), file=sys.stderr)
        sys.exit(2)
    frames = collections.defaultdict(list)
    for line in ended.stdout.decode().splitlines():
        record = json.loads(line)
        frames[record["frame"]].append(record["attributes"])
    return frames


def dissected(file):
    """tshark's flow records by frame, each the octets of its fields by name; and why it left some out, by frame."""
    frames, reasons, options = collections.defaultdict(list), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "copy.pcap")
        # tshark takes a v9 header's count for one of FlowSets; in the copy it reads them all.
        made = run([sys.executable, os.path.join(ROOT, "scripts", "softflowd_recording.py"), "for-tshark", file, copy])
        command = ["tshark", "-n", "-r", copy if made.returncode == 0 else file, "-T", "pdml",
                   "-o", "cflow.max_template_fields:1000"]
        for port in PORTS:
            command += ["-d", "udp.port==%d,cflow" % port]
        ended = run(command)
    if ended.returncode != 0:
        print("tshark: %s" % ended.stderr.decode(errors="replace"), file=sys.stderr)
        sys.exit(2)
    for packet in ElementTree.fromstring(ended.stdout).iter("packet"):
        frame = int(packet.find("./proto[@name='frame']/field[@name='frame.number']").get("show"))
        if packet.find(".//field[@name='_ws.malformed.expert']") is not None:
            reasons[frame] = "refused"
        if packet.find(".//field[@name='cflow.no_template_found']") is not None:
            reasons[frame] = "late"
        source = [packet.find(".//field[@name='%s']" % name) for name in ("ip.src", "ipv6.src")]
        source = [field.get("show") for field in source if field is not None]
        for message in packet.iterfind("./proto[@name='cflow']"):
            domain = [message.find("./field[@name='cflow.%s']" % name) for name in ("source_id", "od_id")]
            scope = (*source, *(field.get("value") for field in domain if field is not None))
            for flows in sets_of(message, scope, options):
                frames[frame].extend(flows)
    return frames, reasons


def sets_of(message, scope, options):
    """The flow records of each Set; `options` remembers which templates are Options Templates."""
    yield [record for record in map(fields_of, message.iterfind("./field")) if record]
    for part in message.iterfind("./field"):
        for template in part.iterfind("./field"):
            found = re.match(r"(Options )?Template \(Id = (\d+)", template.get("show") or "")
            if found:
                options[scope, int(found[2])] = found[1] is not None
        set_id = part.find("./field[@name='cflow.flowset_id']")
        if set_id is not None and not options.get((scope, int(set_id.get("show")))):
            yield [record for record in map(fields_of, part.iterfind("./field")) if record]


def fields_of(flow):
    """The octets of the fields that are compared, if it is a flow."""
    record = collections.defaultdict(list)
    if flow.get("name") == "" and (flow.get("show") or "").startswith(("Flow ", "pdu ")):
        for field in flow.iter("field"):
            if field.get("name") in WANTED and field.get("value"):
                record[field.get("name")].append(bytes.fromhex(field.get("value")))
    return record


def differences(ours, theirs, reason):
    if len(ours) != len(theirs):
        return [(reason if len(theirs) < len(ours) else None, "%d records, tshark has %d" % (len(ours), len(theirs)))]
    found = []
    for index, (our, their) in enumerate(zip(ours, theirs), 1):
        for attribute, names in list(NUMBERS.items()) + list(ADDRESSES.items()):
            values = [value for name in names for value in their.get(name, [])]
            if attribute not in our or not values:
                continue
            number = attribute in NUMBERS
            read = [int.from_bytes(value, "big") if number else ipaddress.ip_address(value) for value in values]
            shown = our[attribute] if number else ipaddress.ip_address(our[attribute])
            if shown == read[0]:
                continue
            kind = None
            if shown in read:
                kind = "family" if not number else "zero" if read[0] == 0 else "repeated"
            found.append((kind, "record %d: %s is %s, tshark has %s" % (
                index, attribute, shown, ", ".join(map(str, read)))))
    return found


if __name__ == "__main__":
    main()
