"""Traffic for softflowd to read, and single datagrams whose times are chosen."""

import socket
import struct


def checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload):
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(destination),
    )  # fmt: skip
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def write_pcap(path, end):
    """UDP conversations that end at `end` (Unix seconds). Returns octets from client to server by server port."""
    octets = {}
    packets = []
    for number, port in enumerate((53, 123, 4500)):
        client, server = f"192.0.2.{10 + number}", f"198.51.100.{20 + number}"
        sizes = [100 + 7 * number + packet for packet in range(5)]
        octets[port] = sum(28 + size for size in sizes)
        for packet, size in enumerate(sizes):
            at = end - 10 + 2 * packet
            for sender, receiver, ports in ((client, server, (40_000 + number, port)), (server, client, (port, 40_000 + number))):
                datagram = struct.pack("!HHHH", *ports, 8 + size, 0) + bytes(size)
                packets.append((at, bytes(12) + b"\x08\x00" + ipv4(sender, receiver, 17, datagram)))
    packets.sort(key=lambda packet: packet[0])
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at, frame in packets:
            file.write(struct.pack("<IIII", int(at), int(at % 1 * 1e6), len(frame), len(frame)) + frame)
    return octets


def v5(now, flows, sequence=0, engine=0):
    """A NetFlow v5 datagram of TCP flows: (source, destination, start, end, octets), an end being (address, port)."""
    uptime = 10_000_000
    header = struct.pack("!HHIIIIBBH", 5, len(flows), uptime, int(now), int(now % 1 * 1e9), sequence, 0, engine, 0)
    records = []
    for source, destination, start, end, octets in flows:
        first, last = (uptime - round((now - at) * 1000) for at in (start, end))
        records.append(struct.pack(
            "!4s4s4sHHIIIIHHBBBBHHBBH",
            *(socket.inet_aton(address) for address in (source[0], destination[0], "192.0.2.1")),
            1, 2, 1000, octets, first, last, source[1], destination[1], 0, 0x1B, 6, 0, 64500, 64501, 24, 24, 0,
        ))  # fmt: skip
    return header + b"".join(records)


def send_v5(port, now, start, end, destination_port, octets, sequence=0, engine=0, sender=None):
    """Sends a NetFlow v5 datagram with one TCP flow that began and ended at these Unix seconds."""
    flow = (("192.0.2.77", 50_000), ("198.51.100.77", destination_port), start, end, octets)
    datagram = v5(now, [flow], sequence, engine)
    if sender:
        sender.sendto(datagram, ("127.0.0.1", port))
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(datagram, ("127.0.0.1", port))


class Exporter:
    """Sends from a loopback address of its own."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.sequence = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, port, now, flows):
        self.socket.sendto(v5(now, flows, self.sequence), ("127.0.0.1", port))
        self.sequence += len(flows)


def sflow_counters(interface, sequence, octets):
    """A datagram of an sFlow agent that counts one interface: it received so many octets, and sent twice as many."""
    direction = struct.Struct("!Q5I")
    record = (
        struct.pack("!IIQII", interface, 6, 10_000_000_000, 1, 3)
        + direction.pack(octets, sequence, 2, 3, 4, 5)
        + struct.pack("!I", 0)
        + direction.pack(2 * octets, sequence, 2, 3, 4, 5)
        + struct.pack("!I", 2)
    )
    # Sequence, source and one record of format 1.
    sample = struct.pack("!IIII", sequence, interface, 1, 1) + struct.pack("!I", len(record)) + record
    agent = socket.inet_aton("192.0.2.200")
    header = struct.pack("!II4sIIII", 5, 1, agent, 9, sequence, 1000 * sequence, 1)
    return header + struct.pack("!II", 2, len(sample)) + sample


TCP, UDP = 6, 17
SYN, RST, ACK = 0x02, 0x04, 0x10


def v5_datagram(now, records, sequence=0):
    """A NetFlow v5 datagram of at most 30 flows that ended a second ago.

    Each is source, destination, their ports, protocol, TCP flags, packets, octets.
    """
    uptime = 10_000_000
    datagram = struct.pack("!HHIIIIBBH", 5, len(records), uptime, int(now), int(now % 1 * 1e9), sequence, 0, 0, 0)
    for source, destination, source_port, destination_port, protocol, flags, packets, octets in records:
        datagram += struct.pack(
            "!4s4s4sHHIIIIHHBBBBHHBBH",
            *(socket.inet_aton(address) for address in (source, destination, "0.0.0.0")),
            1, 2, packets, octets, uptime - 3_000, uptime - 1_000, source_port, destination_port, 0, flags, protocol,
            0, 0, 0, 0, 0, 0,
        )  # fmt: skip
    return datagram
