"""Processes of a backend test: a backend, the daemon before it, and what is sent to the daemon.

Everything listens on loopback and on free ports, works in a temporary folder, and is ended by its process id. Nothing
waits for time to pass: `until` asks again until a condition holds, and fails with the last answer at its deadline.
"""

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

# A case of each protocol, and of what makes spans unlike others: biflows, lists, NAT, IPv6, options, late templates.
CASES = [
    "nf1_softflowd_icmp",
    "nf5_juniper_mx80",
    "nf5_netgraph",
    "nf7_netflow_parser",
    "nf9_akvorado_nat",
    "nf9_cisco_asa_1",
    "nf9_cisco_asr9k_260",
    "nf9_cisco_wlc",
    "nf9_fortigate_521",
    "ipfix_barracuda",
    "ipfix_cisco_srv6_500",
    "ipfix_juniper_mx240_options",
    "ipfix_mikrotik",
    "ipfix_nokia_bras",
    "ipfix_telegraf_yaf",
    "ipfix_viptela",
]


def left_out(what):
    """Says that something isn't tested, also in the list that .ci/run prints at its end."""
    print(f"left out: {what}")
    if os.environ.get("NETFLOW_LEFT_OUT"):
        with open(os.environ["NETFLOW_LEFT_OUT"], "a") as listed:
            listed.write(f"{what}\n")


def program():
    """The netflow2traces under test: NETFLOW_BINARY, or the newest one that is built."""
    named = os.environ.get("NETFLOW_BINARY")
    if named:
        return named
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [target / profile / "netflow2traces" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    if not built:
        raise SystemExit("netflow2traces isn't built: cargo build -p netflow2traces")
    return str(max(built, key=lambda path: path.stat().st_mtime))


def backend_binary(name):
    """Path of a backend that tests/backends/build.sh has made, or None."""
    path = os.environ.get(f"BACKEND_{name.upper()}")
    return path if path and os.path.exists(path) else None


def captures():
    """Folder of the flow captures, or None."""
    folder = Path(os.environ.get("NETFLOW_CAPTURES", REPOSITORY.parent / "shared" / "captures"))
    return folder if folder.is_dir() else None


def free_port(kind=socket.SOCK_STREAM):
    """A port that nobody has at this moment. Another may take it before it is used: `Backend` then tries again."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, condition, seconds=60, interval=0.05):
    """Returns the first true answer of `condition`; AssertionError with its last answer at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}; last answer: {answer!r}")
        time.sleep(interval)


def get(url, parameters=None, headers=None, timeout=60):
    """Body of a GET; HTTPError tells what the server said."""
    if parameters:
        url = f"{url}?{urllib.parse.urlencode(parameters)}"
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:500]} ({url})"
        raise


def get_json(url, parameters=None, headers=None):
    return json.loads(get(url, parameters, headers))


def answers(url):
    """Whether a GET is answered with 200."""
    try:
        get(url, timeout=5)
        return True
    except (urllib.error.URLError, OSError):
        return False


def accepts(port, host="127.0.0.1"):
    """Whether something listens on a TCP port."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


class Process:
    """A child process with its output in a file."""

    def __init__(self, name, command, folder, environment=None):
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def tail(self):
        return "\n".join(self.text().splitlines()[-25:])

    def alive(self):
        """Raises when the process has ended."""
        if self.child.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")
        return True

    def wait_until(self, what, condition, seconds=60):
        try:
            return until(f"{self.name}: {what}", lambda: self.alive() and condition(), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def stop(self, seconds=30):
        """SIGTERM, then SIGKILL at the deadline. Returns the exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode


class Folder:
    """A temporary folder; NETFLOW_KEEP_RESULTS=1 keeps it and says where it is."""

    def __init__(self, name):
        self.path = Path(tempfile.mkdtemp(prefix=f"netflow-{name}-"))

    def remove(self):
        if os.environ.get("NETFLOW_KEEP_RESULTS") == "1":
            print(f"kept: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)


class Daemon:
    """The real netflow2traces on free ports; `through` is a program that runs it, `command` what it is to do."""

    def __init__(self, folder, name="daemon", through=(), command="run", **settings):
        self.admin = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "NETFLOW_LISTEN_HOST": "127.0.0.1",
            "NETFLOW_LISTEN_PORT": "0",
            "NETFLOW_ADMIN_PORT": str(self.admin),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "LOG_FORMAT": "json",
            **settings,
        }
        self.process = Process(name, [*through, program(), command], folder, environment)
        address = self.process.wait_until(
            "listens", lambda: re.search(r'listening for flow records","address":"([^"]+)"', self.process.text())
        )
        self.port = int(address.group(1).rpartition(":")[2])
        self.process.wait_until("admin server answers", lambda: answers(f"http://127.0.0.1:{self.admin}/livez"))

    def metric(self, name, **labels):
        """Sum of a metric's samples that have all these labels."""
        total = 0.0
        for line in get(f"http://127.0.0.1:{self.admin}/metrics").splitlines():
            sample = re.match(r"([a-z_]+)(?:\{(.*)\})? ([^ ]+)", line)
            if sample and sample.group(1) == name:
                text = sample.group(2) or ""
                if all(f'{key}="{value}"' in text for key, value in labels.items()):
                    total += float(sample.group(3))
        return int(total)

    def wait_received(self, datagrams):
        self.process.wait_until(
            f"{datagrams} datagrams", lambda: self.metric("netflow_worker_packets_total") >= datagrams
        )

    def wait_delivered(self, seconds=60):
        """Until nothing that was received is on its way to the backend."""

        def nothing_left():
            left = sum(
                self.metric(name)
                for name in ("netflow_spans_open", "netflow_spans_queued", "netflow_spans_in_flight")
            )
            return left == 0

        self.process.wait_until("everything is delivered", nothing_left, seconds)

    def stop(self):
        """Stops it; returns the totals that its last line has."""
        self.process.stop()
        lines = [line for line in self.process.text().splitlines() if '"message":"stopped"' in line]
        if not lines:
            raise AssertionError(f"no totals: {self.process.tail()}")
        return json.loads(lines[-1])


def send(*arguments):
    """Runs `netflow2traces send`; returns its totals."""
    command = [program(), "send", "--json", "--quiet", *[str(argument) for argument in arguments]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def decode(path, attributes):
    """What `netflow2traces decode --format otlp` says of a capture: a list of requests."""
    done = subprocess.run(
        [program(), "decode", "--format", "otlp", "--attributes", attributes, str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode not in (0, 1):  # 1: something wasn't understood, as in hostile captures
        raise AssertionError(f"decode {path}: {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def payloads(path):
    """Source address, source port and UDP payload of each packet of a classic pcap of Ethernet and IPv4."""
    data = Path(path).read_bytes()
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16 : at + 16 + length]
        at += 16 + length
        yield socket.inet_ntoa(frame[26:30]), struct.unpack_from("!H", frame, 34)[0], frame[42:]


class Replay:
    """Sends a capture so that each of its exporters has a loopback address of its own: 127.77.CASE.N."""

    def __init__(self, path, case):
        self.path = path
        self.case = case
        self.addresses = {}  # the capture's -> the one sent from
        self.ports = {}  # (the capture's address, port) -> the one sent from

    def send(self, port):
        """Sends all; returns how many datagrams."""
        sockets = {}
        sent = 0
        try:
            for address, source_port, payload in payloads(self.path):
                key = (address, source_port)
                if key not in sockets:
                    own = self.addresses.setdefault(address, f"127.77.{self.case}.{len(self.addresses) + 1}")
                    sender = sockets[key] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    try:
                        sender.bind((own, source_port if source_port > 1023 else 0))
                    except OSError:
                        sender.bind((own, 0))
                    self.ports[key] = sender.getsockname()[1]
                sockets[key].sendto(payload, ("127.0.0.1", port))
                sent += 1
        finally:
            for sender in sockets.values():
                sender.close()
        return sent
