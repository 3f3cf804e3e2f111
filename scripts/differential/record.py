"""Records what `netflow2traces send` sends: testdata/differential/send-*.pcap.

    python3 scripts/differential/record.py PROGRAM [FOLDER]
"""

import os
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402

RUNS = {
    "send-v1": ["--protocol", "v1"],
    "send-v5": ["--protocol", "v5", "--exporters", "2"],
    "send-v7": ["--protocol", "v7"],
    "send-v9": ["--protocol", "v9", "--ip", "both", "--exporters", "2"],
    "send-ipfix": ["--protocol", "ipfix", "--ip", "both", "--exporters", "2"],
    "send-sflow": ["--protocol", "sflow", "--ip", "both"],
}
COUNT = 40


def main():
    program = sys.argv[1]
    folder = sys.argv[2] if len(sys.argv) > 2 else os.path.join(corpus.ROOT, "testdata", "differential")
    for name, options in RUNS.items():
        datagrams = received(program, options)
        # The usual port, whichever was free: tshark goes by it.
        port = 6343 if name == "send-sflow" else 2055
        with open(os.path.join(folder, name + ".pcap"), "wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
            for index, (source, payload) in enumerate(datagrams):
                frame = corpus.frame(source, ("127.0.0.1", port), payload)
                file.write(struct.pack("<IIII", 1_700_000_000, index, len(frame), len(frame)) + frame)


def received(program, options):
    with socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.bind(("127.0.0.1", 0))
        to = "127.0.0.1:%d" % receiver.getsockname()[1]
        command = [program, "send", "--to", to, "--count", str(COUNT), "--flows-per-packet", "10", "--seed", "1"]
        subprocess.run(command + options, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        datagrams = []
        receiver.settimeout(0.2)
        while True:
            try:
                payload, source = receiver.recvfrom(65535)
            except TimeoutError:
                return datagrams
            datagrams.append((source, payload))


if __name__ == "__main__":
    main()
