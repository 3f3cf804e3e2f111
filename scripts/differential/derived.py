"""Datagrams made for the values that a collector derives: sampled counts, ICMP types and codes, times.

Each case is an exporter's, and holds what tshark or nfdump derive too; docs/differential.md says where they differ.
"""

import ipaddress
import struct

# When all are exported, and received.
NOW = 1_700_000_000
UPTIME = 1_000_000
WRAP = 1 << 32
SAMPLING, SAMPLER = 512, 513
# (element, octets); reverse elements and those of vendors aren't derived from.
FLOW = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4)]


def flow(protocol=6, ports=(1234, 80)):
    return ["192.0.2.1", "198.51.100.2", *ports, protocol, 1000, 10]


def octets(value, length):
    if isinstance(value, str):
        return ipaddress.ip_address(value).packed
    return value if isinstance(value, bytes) else value.to_bytes(length, "big")


def record(fields, values):
    return b"".join(octets(value, length) for (_, length), value in zip(fields, values, strict=True))


def flow_set(number, body):
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", number, 4 + len(body)) + body


def specifiers(fields):
    return b"".join(struct.pack(">HH", *field) for field in fields)


class Version9:
    @staticmethod
    def message(*sets, uptime=UPTIME):
        return struct.pack(">HHIIII", 9, len(sets), uptime, NOW, 1, 1) + b"".join(sets)

    @staticmethod
    def template(number, fields):
        return flow_set(0, struct.pack(">HH", number, len(fields)) + specifiers(fields))

    @staticmethod
    def options(number, fields):
        scope = [(1, 4)]
        return flow_set(1, struct.pack(">HHH", number, 4, 4 * len(fields)) + specifiers(scope + fields))


class Ipfix:
    @staticmethod
    def message(*sets, uptime=None):
        body = b"".join(sets)
        return struct.pack(">HHIII", 10, 16 + len(body), NOW, 0, 1) + body

    @staticmethod
    def template(number, fields):
        return flow_set(2, struct.pack(">HH", number, len(fields)) + specifiers(fields))

    @staticmethod
    def options(number, fields):
        scope = [(144, 4)]
        return flow_set(3, struct.pack(">HHH", number, 1 + len(fields), 1) + specifiers(scope + fields))


def told(version, fields, *records):
    """Options data of the whole exporter."""
    body = b"".join(record([(0, 4), *fields], [1, *values]) for values in records)
    return [version.options(SAMPLING, fields), flow_set(SAMPLING, body)]


def flows(version, more, *records):
    fields = FLOW + more
    body = b"".join(record(fields, values) for values in records)
    return [version.template(256, fields), flow_set(256, body)]


def version5(*records, sampling=0, uptime=UPTIME):
    header = struct.pack(">HHIIIIBBH", 5, len(records), uptime, NOW, 0, 0, 0, 0, sampling)
    return header + b"".join(records)


def fixed(protocol=6, ports=(1234, 80), first=UPTIME - 10_000, last=UPTIME - 1000):
    addresses = b"".join(octets(address, 4) for address in ("192.0.2.1", "198.51.100.2", "0.0.0.0"))
    return addresses + struct.pack(
        ">HHIIIIHHBBBBHHBBH", 1, 2, 10, 1000, first, last, *ports, 0, 0x10, protocol, 0, 0, 0, 0, 0, 0)


def sampling():
    """What nfdump renormalises: v5's header, elements 34, 48 to 50, 302 to 306, and a sampler of each record."""
    yield "header", version5(fixed(), sampling=0x4000 | 100)
    yield "header-none", version5(fixed(), sampling=0)
    for name, version in (("v9", Version9), ("ipfix", Ipfix)):
        yield name + "-interval", version.message(
            *told(version, [(34, 4), (35, 1)], [200, 2]), *flows(version, [], flow()))
        yield name + "-samplers", version.message(
            *told(version, [(48, 1), (49, 1), (50, 4)], [1, 2, 100], [2, 2, 1000]),
            *flows(version, [(48, 1)], [*flow(), 1], [*flow(), 2]))
        yield name + "-selectors", version.message(
            *told(version, [(302, 4), (304, 2), (305, 4), (306, 4)], [7, 1, 1, 99]),
            *flows(version, [(302, 4)], [*flow(), 7]))
        yield name + "-random", version.message(
            *told(version, [(302, 4), (304, 2), (309, 4), (310, 4)], [7, 3, 1, 256]),
            *flows(version, [(302, 4)], [*flow(), 7]))


def icmp():
    """Types and codes of elements of their own, and of the destination port."""
    pairs = [(8, 0), (0, 0), (3, 3), (3, 1), (11, 0), (5, 1)]
    yield "port", version5(*(fixed(1, (0, kind << 8 | code)) for kind, code in pairs))
    for name, version in (("v9", Version9), ("ipfix", Ipfix)):
        yield name + "-combined", version.message(
            *flows(version, [(32, 2)], *([*flow(1, (0, 0)), kind << 8 | code] for kind, code in pairs), [*flow(6), 0]))
        yield name + "-apart", version.message(
            *flows(version, [(176, 1), (177, 1)], *([*flow(1, (0, 0)), *pair] for pair in pairs)))


def times():
    """Uptimes about a wrap and before the exporter's start, and absolute times of each unit."""
    def ntp(seconds, fraction):
        return (seconds + 2_208_988_800) << 32 | fraction

    uptimes = [(UPTIME - 10_000, UPTIME - 1000), (UPTIME - 1000, UPTIME - 1000), (0, UPTIME), (UPTIME - 500, UPTIME + 1500)]
    yield "v5", version5(*(fixed(first=first, last=last) for first, last in uptimes))
    yield "v5-wrap", version5(fixed(first=WRAP - 5000, last=3000), uptime=10_000)
    yield "v9", Version9.message(*flows(Version9, [(22, 4), (21, 4)], *([*flow(), *pair] for pair in uptimes)))
    yield "v9-wrap", Version9.message(
        *flows(Version9, [(22, 4), (21, 4)], [*flow(), WRAP - 5000, 3000], [*flow(), WRAP - 9000, WRAP - 8000]), uptime=10_000)
    for name, version in (("v9", Version9), ("ipfix", Ipfix)):
        yield name + "-milliseconds", version.message(
            *flows(version, [(152, 8), (153, 8)], [*flow(), NOW * 1000 - 5000, NOW * 1000 - 1]))
        yield name + "-seconds", version.message(*flows(version, [(150, 4), (151, 4)], [*flow(), NOW - 5, NOW - 1]))
        yield name + "-microseconds", version.message(
            *flows(version, [(154, 8), (155, 8)], [*flow(), ntp(NOW - 5, 1 << 31), ntp(NOW - 1, 1 << 30)]))
    yield "ipfix-uptimes", Ipfix.message(
        *told(Ipfix, [(160, 8)], [NOW * 1000 - UPTIME]),
        *flows(Ipfix, [(22, 4), (21, 4)], [*flow(), UPTIME - 10_000, UPTIME - 1000]))


def datagrams():
    """(case, datagram) of all of them; each is of an exporter of its own."""
    for group in (sampling, icmp, times):
        for name, payload in group():
            yield "derived-%s-%s" % (group.__name__, name), payload
