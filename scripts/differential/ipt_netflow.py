"""Datagrams in the formats of ipt-netflow, a kernel module that can't be loaded everywhere: its templates and options data.

The order of elements is that of its source, ipt_NETFLOW.c; what they hold is made here.
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
MAC, VLAN9, VLAN_IPFIX, DIRECTION = [(80, 6), (56, 6)], [(58, 2)], [(243, 2), (244, 1)], [(61, 1)]
SAMPLER, SELECTOR = [(48, 1)], [(302, 2)]
NAT = [(323, 8), (8, 4), (12, 4), (225, 4), (226, 4), (7, 2), (11, 2), (227, 2), (228, 2), (4, 1), (230, 1)]
FOUR = ["192.0.2.1", "198.51.100.2", "0.0.0.0"]
SIX = ["2001:db8::1", "2001:db8::2", "::", 0]
MACS = [bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2])]
INTERFACE = [(10, 4), (82, 16), (83, 16)]
# Flows in each message: of two templates, and a NAT event.
FLOWS = 8


def name(text, length=16):
    return text.encode().ljust(length, b"\0")


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
    four, six = (of + PORTS + BASE9 + MAC + VLAN9 + DIRECTION + SAMPLER for of in (IP4, IP6))
    rest = [1234, 443, 0x1b, 1, 2, 10, 1000, UPTIME - 9000, UPTIME - 1000, 6, 0, *MACS, 7, 0, 1]
    sets = []
    if number == 0:
        sets += [template(0, 257, four), template(0, 258, six),
                 options(9, 300, [(1, 4)], [(48, 1), (49, 1), (50, 4)], [0, 1, 1, 10]),
                 options(9, 301, [(1, 4)], INTERFACE, [0, 1, name("eth0"), name("uplink")], [0, 2, name("eth1"), name("")])]
    sets.append(flow_set(257, b"".join(record(four, FOUR + rest) for _ in range(FLOWS // 2))))
    sets.append(flow_set(258, b"".join(record(six, SIX + rest) for _ in range(FLOWS // 2))))
    header = struct.pack(">HHIIII", 9, 2 + FLOWS, UPTIME + 1000 * number, now + number, sequence, 0)
    return header + b"".join(sets), 1


def ipfix(now, number, sequence):
    at = 1000 * (now + number)
    four, six = (of + PORTS + BASE_IPFIX + MAC + VLAN_IPFIX + DIRECTION + SELECTOR for of in (IP4, IP6))
    rest = [1234, 443, 0x1b, 1, 2, 10, 1000, at - 9000, at - 1000, 6, 0, 3, *MACS, 7, 0, 0, 1]
    sets, told = [], 0
    if number == 0:
        sets += [template(2, 257, four), template(2, 258, six), template(2, 259, NAT),
                 options(10, 300, [(149, 4)], [(302, 2), (390, 2), (396, 4), (397, 4)], [0, 1, 1, 1, 9]),
                 options(10, 301, [(149, 4)], [(160, 8), (300, 32), (152, 8), (153, 8)],
                         [0, at - UPTIME, name("ipt_NETFLOW", 32), at - UPTIME, at]),
                 options(10, 302, [(149, 4)], INTERFACE, [0, 1, name("eth0"), name("uplink")])]
        told = 3
    sets.append(flow_set(257, b"".join(record(four, FOUR + rest) for _ in range(FLOWS // 2))))
    sets.append(flow_set(258, b"".join(record(six, SIX + rest) for _ in range(FLOWS // 2 - 1))))
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
