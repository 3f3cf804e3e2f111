"""Captures, and one capture made of them all.

Every exporter of every capture gets an address of its own under 127.0.0.0/8, so that nothing that one teaches
holds for another, and so that the same datagrams can be sent to a collector on this machine.
"""

import os
import socket
import struct

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class Datagram:
    """A UDP payload: its case, its place there, and who sends it in the merged capture."""

    def __init__(self, case, number, source, port, payload):
        self.case, self.number, self.source, self.port, self.payload = case, number, source, port, payload

    @property
    def version(self):
        if self.payload[:4] == b"\0\0\0\5":
            return "sflow"
        return int.from_bytes(self.payload[:2], "big")


def read(path):
    """(source address, source port, destination port, payload) of each packet: Ethernet, IPv4, UDP."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\xd4\xc3\xb2\xa1":
        raise SystemExit("%s is no little-endian pcap" % path)
    offset = 24
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset + 8)
        packet = data[offset + 16:offset + 16 + length]
        offset += 16 + length
        if packet[12:14] != b"\x08\x00" or packet[14] != 0x45 or packet[23] != 17:
            raise SystemExit("%s: a packet that is not IPv4 and UDP" % path)
        source, destination = struct.unpack_from("!HH", packet, 34)
        yield socket.inet_ntoa(packet[26:30]), source, destination, packet[42:]


def merge(paths, more=()):
    """The datagrams of the captures one behind another, then those of `more`: (case, payload) of an exporter each."""
    merged, addresses = [], {}

    def add(case, number, address, source, payload):
        known = addresses.setdefault((case, address), len(addresses) + 1)
        exporter = "127.%d.%d.1" % (100 + (known >> 8), known & 0xFF)
        merged.append(Datagram(case, number, exporter, max(source, 1024), payload))

    for path in paths:
        case = os.path.basename(path)[:-len(".pcap")]
        for number, (address, source, _, payload) in enumerate(read(path), 1):
            add(case, number, address, source, payload)
    for case, payload in more:
        add(case, 1, None, 50_000, payload)
    return merged


def write(datagrams, path, every_set=False):
    """As a capture, to the port that tshark knows. `every_set`: tshark takes a v9 header's count for one of FlowSets
    and stops there; a count that is never reached makes it read them all."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for index, datagram in enumerate(datagrams):
            payload = datagram.payload
            if every_set and datagram.version == 9:
                payload = payload[:2] + b"\xff\xff" + payload[4:]
            port = 6343 if datagram.version == "sflow" else 2055
            packet = frame((datagram.source, datagram.port), ("127.0.0.1", port), payload)
            file.write(struct.pack("<IIII", 1_700_000_000, index, len(packet), len(packet)) + packet)


def frame(source, destination, payload):
    """Ethernet without addresses, as on loopback, with the headers of IPv4 and UDP."""
    udp = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0x4000, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
    return bytes(12) + b"\x08\x00" + ip + udp + payload
