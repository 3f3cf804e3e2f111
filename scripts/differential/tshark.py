"""tshark's reading: flow records by frame, each field with what tshark shows and its octets."""

import calendar
import collections
import ipaddress
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

SECOND = 10**9
UPTIMES = {"cflow.timestart": "start", "cflow.timeend": "end"}
TIMES = {"cflow.abstimestart": "start", "cflow.abstimeend": "end"}


class Record:
    """A flow: (name, shown, octets) of each of its fields in order, and the times that come of them."""

    def __init__(self):
        self.fields, self.times = [], {}

    def octets(self, *names):
        return [octets for name, _, octets in self.fields if name in names]

    def shown(self, *names):
        return [shown for name, shown, _ in self.fields if name in names]


class Frame:
    def __init__(self):
        self.records = []
        # Why tshark may have left something out.
        self.reasons = set()


def read(capture):
    """The frames of a capture, by number."""
    command = ["tshark", "-n", "-r", capture, "-T", "pdml", "-d", "udp.port==2055,cflow",
               "-o", "cflow.max_template_fields:1000"]
    ended = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    frames, state = {}, State()
    for _, packet in ElementTree.iterparse(ended.stdout):
        if packet.tag != "packet":
            continue
        number = int(packet.find("./proto[@name='frame']/field[@name='frame.number']").get("show"))
        frames[number] = state.frame(packet)
        packet.clear()
    if ended.wait() != 0:
        sys.exit("tshark ended with status %d" % ended.returncode)
    return frames


class State:
    """What tshark shows in one packet and another needs: options templates, and when exporters started."""

    def __init__(self):
        self.options, self.started = set(), {}

    def frame(self, packet):
        frame = Frame()
        if packet.find(".//field[@name='_ws.malformed.expert']") is not None or \
                packet.find(".//field[@name='_ws.type_length.mismatch']") is not None:
            frame.reasons.add("refused")
        if packet.find(".//field[@name='cflow.no_template_found']") is not None:
            frame.reasons.add("late")
        source = [packet.find(".//field[@name='%s']" % name).get("show") for name in ("ip.src", "udp.srcport")]
        for message in packet.iterfind("./proto[@name='cflow']"):
            self.message(message, source, frame)
        for datagram in packet.iterfind("./proto[@name='sflow']"):
            for sample in datagram.iterfind("./field"):
                if sample.find("./field[@name='sflow_245.sampletype']") is not None:
                    record = sflow_sample(sample)
                    if record:
                        frame.records.append(record)
        return frame

    def message(self, message, source, frame):
        def number(name):
            field = message.find(".//field[@name='cflow.%s']" % name)
            return None if field is None else int(field.get("value"), 16)

        version = number("version")
        domain = number("source_id") if version == 9 else number("od_id")
        scope = (source[0], version, domain)
        exported = (number("unix_secs") or number("exporttime") or 0) * SECOND + (number("unix_nsecs") or 0)
        uptime = number("sysuptime")
        boot = None if uptime is None else exported - uptime * 10**6
        for part in [message, *message.iterfind("./field")]:
            for template in part.iterfind("./field"):
                found = re.match(r"(Options )?Template \(Id = (\d+)", template.get("show") or "")
                if found:
                    known = (scope, source[1], int(found[2]))
                    (self.options.add if found[1] else self.options.discard)(known)
            set_id = part.find("./field[@name='cflow.flowset_id']")
            is_options = set_id is not None and (scope, source[1], int(set_id.get("show"))) in self.options
            if part is message and version in (9, 10):
                continue
            for flow in part.iterfind("./field"):
                if flow.get("name") != "" or not (flow.get("show") or "").startswith(("Flow ", "pdu ")):
                    continue
                record = record_of(flow)
                started = [octets for name, _, octets in record.fields if name == "cflow.sys_init_time"]
                if is_options:
                    if started:
                        self.started[scope] = int.from_bytes(started[-1], "big") * 10**6
                    continue
                own = int.from_bytes(started[0], "big") * 10**6 if started else self.started.get(scope)
                times_of(flow, record, boot if boot is not None else own, exported, version)
                frame.records.append(record)


def record_of(part):
    record = Record()
    for field in part.iter("field"):
        octets = field.get("value") or ""
        # Parts of an octet have a value that is a number, with an odd count of digits or a sign.
        if field is not part and field.get("name") and re.fullmatch("[0-9A-Fa-f]+", octets):
            value = bytes.fromhex(octets.rjust(len(octets) + len(octets) % 2, "0"))
            record.fields.append((field.get("name"), field.get("show"), value))
    return record


def times_of(flow, record, boot, exported, version):
    """Start and end in nanoseconds: of absolute ones the finest, else uptimes from when the exporter started."""
    told = collections.defaultdict(list)
    for field in flow.iter("field"):
        name, shown, octets = field.get("name"), field.get("show"), field.get("value")
        side = UPTIMES.get(name) or TIMES.get(name)
        if not side:
            continue
        # An uptime of zero is shown as an absolute time.
        if name in UPTIMES or len(octets) == 8 and int(octets, 16) == 0:
            at = None
            if boot is not None:
                at = boot + int(octets, 16) * 10**6
                if version != 10:
                    # Modulo 2^32 ms, half of it on each side of the export.
                    ago = ((exported - at) // 10**6) & 0xFFFFFFFF
                    ago -= (1 << 32) if ago > 0x7FFFFFFF else 0
                    at = exported - ago * 10**6
            told[side].append((0, at))
        else:
            told[side].append((len(octets), absolute(shown)))
    for side, times in told.items():
        record.times[side] = max(times, key=lambda time: time[0])[1]


def absolute(shown):
    """`Nov 22, 2026 12:49:08.631000000 UTC`"""
    day, _, fraction = shown.removesuffix(" UTC").rpartition(".")
    return calendar.timegm(time.strptime(day, "%b %d, %Y %H:%M:%S")) * SECOND + int(fraction.ljust(9, "0")[:9])


def sflow_sample(sample):
    """A flow sample; counters have no packet."""
    kind = sample.find("./field[@name='sflow_245.sampletype']").get("show")
    if kind not in ("1", "3", "5"):
        return None
    return record_of(sample)
