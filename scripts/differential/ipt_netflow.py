"""Datagrams in the formats of ipt-netflow, a kernel module that can't be loaded everywhere: its templates and options data.

What they hold is made here; that the templates are its own is by its source, ipt_NETFLOW.c of version 2.6.
"""

import struct

import derived
from derived import flow_set, record, specifiers

# When the first message leaves, relative to the start of the exporter, in milliseconds.
UPTIME = 100_000
BASE9 = [(10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (4, 1), (5, 1)]
BASE_IPFIX = [(10, 4), (14, 4), (2, 4), (1, 4), (152, 8), (153, 8), (4, 1), (5, 1), (136, 1)]
IP4, IP6 = [(8, 4), (12, 4), (15, 4)], [(27, 16), (28, 16), (62, 16), (31, 3)]
PORTS = [(7, 2), (11, 2), (6, 2)]
MAC, VLAN9, VLAN_IPFIX, DIRECTION = [(56, 6), (80, 6)], [(58, 2)], [(243, 2), (244, 1)], [(61, 1)]
NAT = [(323, 8), (8, 4), (12, 4), (225, 4), (226, 4), (7, 2), (11, 2), (227, 2), (228, 2), (4, 1), (230, 1)]
FOUR = ["192.0.2.1", "198.51.100.2", "0.0.0.0"]
SIX = ["2001:db8::1", "2001:db8::2", "::", 0]
# Flows in each message: of two templates, and a NAT event.
FLOWS = 8


def template(kind, number, fields):
    return flow_set(kind, struct.pack(">HH", number, len(fields)) + specifiers(fields))


def options(version, number, scope, fields, *records):
    """An options template and its data."""
    if version == 9:
        told = flow_set(1, struct.pack(">HHH", number, 4 * len(scope), 4 * len(fields)) + specifiers(scope + fields))
    else:
        told = flow_set(3, struct.pack(">HHH", number, len(scope) + len(fields), len(scope)) + specifiers(scope + fields))
    return told + flow_set(number, b"".join(record(scope + fields, values) for values in records))


def version5(now, number, sequence):
    records = [derived.fixed(first=UPTIME - 9000, last=UPTIME - 1000) for _ in range(FLOWS)]
    header = struct.pack(">HHIIIIBBH", 5, FLOWS, UPTIME + 1000 * number, now + number, 0, sequence, 0, 0, 0x4000 | 10)
    return header + b"".join(records), FLOWS


def version9(now, number, sequence):
    ports, tail = [1234, 443, 0x1b], [bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2]), 7, 0]
    first = [1, 2, 10, 1000, UPTIME - 9000, UPTIME - 1000, 6, 0]
    four, six = BASE9 + IP4 + PORTS + MAC + VLAN9 + DIRECTION, BASE9 + IP6 + PORTS + MAC + VLAN9 + DIRECTION
    sets = []
    if number == 0:
        sets += [template(0, 257, four), template(0, 258, six),
                 options(9, 300, [(1, 4)], [(48, 1), (49, 1), (50, 4)], [0, 1, 1, 10]),
                 options(9, 301, [(2, 4)], [(82, 16)], [1, b"eth0".ljust(16, b"\0")], [2, b"eth1".ljust(16, b"\0")])]
    sets.append(flow_set(257, b"".join(record(four, first + FOUR + ports + tail) for _ in range(FLOWS // 2))))
    sets.append(flow_set(258, b"".join(record(six, first + SIX + ports + tail) for _ in range(FLOWS // 2))))
    header = struct.pack(">HHIIII", 9, 2 + FLOWS, UPTIME + 1000 * number, now + number, sequence, 0)
    return header + b"".join(sets), 1


def ipfix(now, number, sequence):
    ports, tail = [1234, 443, 0x1b], [bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2]), 7, 0, 0]
    at = 1000 * (now + number)
    first = [1, 2, 10, 1000, at - 9000, at - 1000, 6, 0, 3]
    four, six = (BASE_IPFIX + of + PORTS + MAC + VLAN_IPFIX + DIRECTION for of in (IP4, IP6))
    sets, told = [], 0
    if number == 0:
        sets += [template(2, 257, four), template(2, 258, six), template(2, 259, NAT),
                 options(10, 300, [(302, 2)], [(304, 1), (305, 4), (306, 4)], [1, 1, 1, 9]),
                 options(10, 301, [(149, 4)], [(160, 8)], [0, at - UPTIME]),
                 options(10, 302, [(10, 4)], [(82, 16)], [1, b"eth0".ljust(16, b"\0")])]
        told = 3
    sets.append(flow_set(257, b"".join(record(four, first + FOUR + ports + tail) for _ in range(FLOWS // 2))))
    sets.append(flow_set(258, b"".join(record(six, first + SIX + ports + tail) for _ in range(FLOWS // 2 - 1))))
    event = [at - 500, *FOUR[:2], "203.0.113.5", "198.51.100.2", 1234, 443, 40_000, 443, 6, 1]
    sets.append(flow_set(259, record(NAT, event)))
    body = b"".join(sets)
    return struct.pack(">HHIII", 10, 16 + len(body), now + number, sequence, 0) + body, FLOWS + told


def datagrams(version, now, count=5):
    """Messages a second apart, numbered as the version asks."""
    sequence = 0
    for number in range(count):
        octets_of, step = {5: version5, 9: version9, 10: ipfix}[version](now, number, sequence)
        sequence += step
        yield octets_of
