#!/usr/bin/env python3
"""Steps of record-softflowd.sh (python3, standard library only).

usage: softflowd_recording.py traffic
       softflowd_recording.py record FILE.pcap
       softflowd_recording.py for-tshark FILE.pcap COPY.pcap
       softflowd_recording.py replay FILE.pcap
       softflowd_recording.py expected CASE TSHARK.json
       softflowd_recording.py agree FILE.expected.json NFDUMP.json
"""
import calendar
import functools
import http.server
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

COLLECTOR = ("127.0.0.1", 2055)
SERVER, CLIENT = "127.0.0.2", "127.0.0.3"


# ---------------------------------------------------------------- traffic
def traffic():
    """HTTP over both families, a DNS query with its answer, and a ping."""
    folder = tempfile.TemporaryDirectory()
    with open(os.path.join(folder.name, "page.html"), "w") as page:
        page.write("<p>flows</p>\n" * 300)
    for address, client in ((SERVER, CLIENT), ("::1", "::1")):
        http_server = serve_http(folder.name, address)
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{http_server.server_address[1]}/page.html"
        subprocess.run(["curl", "-gsf", "-o", "/dev/null", "--interface", client, url], check=True)
        http_server.shutdown()
    dns()
    ping()
    time.sleep(0.5)  # tcpdump reads in blocks


def serve_http(folder, address):
    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = Server((address, 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def dns():
    """example.org A: asked, and answered with 192.0.2.1."""
    question = b"\x07example\x03org\x00\x00\x01\x00\x01"
    query = struct.pack("!6H", 0x2055, 0x0100, 1, 0, 0, 0) + question
    answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("192.0.2.1")
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind((SERVER, 53))
        client.bind((CLIENT, 0))
        client.settimeout(5)
        client.sendto(query, (SERVER, 53))
        asked, asker = server.recvfrom(512)
        server.sendto(asked[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + question + answer, asker)
        client.recv(512)


def ping():
    """Three echo requests; the kernel replies."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.bind((CLIENT, 0))
        raw.settimeout(5)
        for sequence in range(3):
            body = struct.pack("!HH", 0x2055, sequence) + bytes(range(32))
            total = sum(struct.unpack(f"!{len(body) // 2}H", body)) + 0x0800
            total = (total & 0xFFFF) + (total >> 16)
            raw.sendto(struct.pack("!BBH", 8, 0, ~total & 0xFFFF) + body, (SERVER, 0))
            raw.recv(512)


# --------------------------------------------------------------- captures
def record(path):
    """Keeps the datagrams that come to the collector's port until none comes for two seconds."""
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, open(path, "wb") as file:
        receiver.bind(COLLECTOR)
        print("listening", flush=True)
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        receiver.settimeout(20)
        while True:
            try:
                payload, source = receiver.recvfrom(65535)
            except TimeoutError:
                return
            receiver.settimeout(2)
            now = time.time_ns()
            framed = frame(source, payload)
            file.write(struct.pack("<IIII", now // 10**9, now % 10**9 // 1000, len(framed), len(framed)))
            file.write(framed)


def frame(source, payload):
    """Ethernet without addresses, as on loopback, with the headers of IPv4 and UDP."""
    udp = struct.pack("!HHHH", source[1], COLLECTOR[1], 8 + len(payload), 0)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(COLLECTOR[0])
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0x4000, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
    return bytes(12) + b"\x08\x00" + ip + udp + payload


def payloads(path):
    with open(path, "rb") as file:
        data, offset = file.read(), 24
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset + 8)
        yield data[offset + 16 + 42 : offset + 16 + length]
        offset += 16 + length


def for_tshark(path, copy):
    """A copy for tshark, which takes a v9 header's count of records for one of FlowSets and stops there."""
    with open(path, "rb") as file:
        data, offset = bytearray(file.read()), 24
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset + 8)
        payload = offset + 16 + 42
        if data[payload : payload + 2] == b"\x00\x09":
            struct.pack_into("!H", data, payload + 2, 0xFFFF)
        offset += 16 + length
    with open(copy, "wb") as file:
        file.write(data)


def replay(path):
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for payload in payloads(path):
            sender.sendto(payload, COLLECTOR)
            time.sleep(0.05)
    time.sleep(0.5)


# ---------------------------------------------------------- what is expected
NUMBERS = {
    "cflow.srcport": "src_port", "cflow.dstport": "dst_port", "cflow.protocol": "protocol",
    "cflow.octets": "bytes", "cflow.packets": "packets", "cflow.inputint": "input_if",
    "cflow.outputint": "output_if", "cflow.srcas": "src_as", "cflow.dstas": "dst_as",
    "cflow.tos": "tos", "cflow.tcpflags": "tcp_flags", "cflow.srcmask": "src_mask",
    "cflow.dstmask": "dst_mask", "cflow.flow_end_reason": "flow_end_reason",
    "cflow.ip_version": "ip_version", "cflow.direction": "direction",
}
ADDRESSES = {
    "cflow.srcaddr": "src_addr", "cflow.srcaddrv6": "src_addr", "cflow.dstaddr": "dst_addr",
    "cflow.dstaddrv6": "dst_addr", "cflow.nexthop": "next_hop",
}


def expected(case, tshark):
    """The case's file, of tshark's reading."""
    records, octets = [], 0
    with open(tshark) as file:
        packets = json.load(file)
    for number, packet in enumerate(packets, 1):
        layers = packet["_source"]["layers"]
        octets += int(layers["udp"]["udp.length"]) - 8
        started = system_start(layers["cflow"])
        for flow in flows(layers["cflow"]):
            records.append(record_of(layers["cflow"], flat(flow), started, number))
    what = {
        "case": case,
        "what": "softflowd, as tshark reads it and nfdump confirms",
        "strict": True,
        "totals": {"datagrams": len(packets), "bytes": octets, "data_records": len(records)},
        "records": records,
        "optional_records": [],
    }
    print(json.dumps(what, indent=1))


def record_of(header, fields, started, number):
    record = {"version": int(header["cflow.version"])}
    for theirs, ours in NUMBERS.items():
        if theirs in fields:
            record[ours] = int(fields[theirs], 0)
    for theirs, ours in ADDRESSES.items():
        if theirs in fields:
            record[ours] = str(ipaddress.ip_address(fields[theirs]))
    if "cflow.icmp_type_code_ipv4" in fields:
        record["icmp_type"], record["icmp_code"] = divmod(int(fields["cflow.icmp_type_code_ipv4"], 0), 256)
    for side in ("start", "end"):
        # tshark shows an uptime of 0 as an absolute time, in 1970.
        assert f"cflow.time{side}" in fields or "1970" in fields[f"cflow.abstime{side}"]
        uptime = fields.get(f"cflow.time{side}", "0.0")
        record[f"{side}_time_unix_nano"] = started + nanoseconds(uptime)
    record["datagram"] = number
    return record


def system_start(header):
    """When the exporter's uptime was 0: element 160 of IPFIX, else export time less uptime."""
    if header["cflow.version"] == "10":
        (options,) = [part for part in parts(header) if "cflow.sys_init_time" in part]
        day, fraction = options["cflow.sys_init_time"].removesuffix(" UTC").split(".")
        seconds = calendar.timegm(time.strptime(day, "%b %d, %Y %H:%M:%S"))
        return nanoseconds(f"{seconds}.{fraction}")
    stamp = header["cflow.timestamp_tree"]
    exported = int(stamp["cflow.unix_secs"]) * 10**9 + int(stamp.get("cflow.unix_nsecs", 0))
    return exported - nanoseconds(header["cflow.sysuptime"])


def nanoseconds(seconds):
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


def flows(header):
    """The parts of the dissection that are flows."""
    return (part for part in parts(header) if any(name.startswith("cflow.srcaddr") for name in part))


def parts(layer):
    for value in layer.values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield part
                yield from parts(part)


def flat(part):
    fields = {}
    for key, value in part.items():
        if isinstance(value, dict):
            fields.update(flat(value))
        elif isinstance(value, str):
            fields.setdefault(key, value)
    return fields


def agree(expected_path, nfdump):
    """Ends with an error when nfdump has other flows, packets or octets."""
    with open(expected_path) as file:
        ours = sorted(map(flow_of_record, json.load(file)["records"]))
    with open(nfdump) as file:
        # With -q nfdump leaves the brackets of its list out.
        theirs = sorted(map(flow_of_nfdump, json.loads(f"[{file.read().strip().strip(',')}]")))
    if ours != theirs:
        sys.exit(f"tshark and nfdump disagree:\n{ours}\n{theirs}")


def flow_of_record(record):
    ports = (record.get("src_port", 0), record.get("dst_port", 0))
    if record["protocol"] == 1:  # nfdump has type and code where the destination port is
        ports = (0, 256 * record["icmp_type"] + record["icmp_code"] if "icmp_type" in record else ports[1])
    return (record["src_addr"], record["dst_addr"], *ports, record["protocol"], record["packets"], record["bytes"])


def flow_of_nfdump(flow):
    source = flow.get("src4_addr") or flow.get("src6_addr")
    destination = flow.get("dst4_addr") or flow.get("dst6_addr")
    ports = (flow.get("src_port", 0), flow.get("dst_port", 0))
    if flow["proto"] == 1:
        ports = (0, 256 * flow.get("icmp_type", 0) + flow.get("icmp_code", 0))
    return (source, destination, *ports, flow["proto"], flow["in_packets"], flow["in_bytes"])


def main():
    steps = {
        "traffic": traffic, "record": record, "for-tshark": for_tshark, "replay": replay,
        "expected": expected, "agree": agree,
    }
    if len(sys.argv) < 2 or sys.argv[1] not in steps:
        sys.exit(__doc__)
    steps[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
