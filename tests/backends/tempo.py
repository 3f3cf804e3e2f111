"""A real Tempo with the repository's own tempo.yaml, and questions to its HTTP API."""

import json
import re
import time

import otlp
from harness import REPOSITORY, Process, answers, backend_binary, free_port, get, get_json, until

BINARY = backend_binary("tempo")


def within(text, block, lines):
    """YAML with further lines at the beginning of a block of the top level, which it gets where it has none."""
    indented = "".join(f"  {line}\n" for line in lines)
    changed, times = re.subn(rf"^{block}:\n", lambda found: found[0] + indented, text, flags=re.MULTILINE)
    return changed if times else f"{text}\n{block}:\n{indented}"


class Tempo:
    """Tempo on free ports and in `folder`, with tempo.yaml as it is but for addresses and paths.

    `changes` are further (text, replacement) pairs; a text that isn't there is an error.
    """

    def __init__(self, folder, remote_write="http://127.0.0.1:9/nobody", changes=(), config=None):
        self.http = free_port()
        self.grpc = free_port()
        self.otlp_http = free_port()
        internal, gossip = free_port(), free_port()
        text = config or (REPOSITORY / "tempo.yaml").read_text()
        for old, new in (
            ("http_listen_port: 3200", f"http_listen_port: {self.http}"),
            ("0.0.0.0:4317", f"127.0.0.1:{self.grpc}"),
            ("0.0.0.0:4318", f"127.0.0.1:{self.otlp_http}"),
            ("/var/tempo", f"{folder}/tempo"),
            ("http://mimir:9009/api/v1/push", remote_write),
            *changes,
        ):
            if old not in text:
                raise AssertionError(f"no {old!r} in the configuration")
            text = text.replace(old, new)
        # Nothing outside of loopback, and no fixed port.
        for block, lines in {
            "server": ["http_listen_address: 127.0.0.1", "grpc_listen_address: 127.0.0.1", f"grpc_listen_port: {internal}"],
            "memberlist": ["bind_addr: [127.0.0.1]", f"bind_port: {gossip}"],
            "distributor": ["ring: {instance_addr: 127.0.0.1}"],
            "ingester": ["lifecycler: {address: 127.0.0.1}"],
            "metrics_generator": ["ring: {instance_addr: 127.0.0.1}"],
            "compactor": ["ring: {instance_addr: 127.0.0.1}"],
        }.items():
            text = within(text, block, lines)
        path = folder / "tempo.yaml"
        path.write_text(text)
        self.process = Process("tempo", [BINARY, f"-config.file={path}"], folder)
        self.url = f"http://127.0.0.1:{self.http}"
        self.process.wait_until("is ready", lambda: answers(f"{self.url}/ready"), seconds=120)

    def endpoint(self, protocol="grpc"):
        return f"http://127.0.0.1:{self.grpc if protocol == 'grpc' else self.otlp_http}"

    def search(self, query=None, tags=None, limit=5000, **parameters):
        """Ids of the traces that a search finds, as 32 digits."""
        asked = {"limit": limit, **parameters}
        if query:
            asked["q"] = query
        if tags:
            asked["tags"] = tags
        found = get_json(f"{self.url}/api/search", asked)
        return [trace["traceID"].rjust(32, "0") for trace in found.get("traces", [])]

    def trace(self, identifier):
        """All spans of a trace."""
        answer = get_json(f"{self.url}/api/v2/traces/{identifier}", headers={"Accept": "application/json"})
        return list(otlp.spans([answer["trace"]]))

    def series(self, query, seconds=600, step="15s"):
        """Series of TraceQL metrics over the last `seconds`."""
        now = int(time.time())
        answer = get_json(
            f"{self.url}/api/metrics/query_range",
            {"q": query, "start": now - seconds, "end": now + 5, "step": step},
        )
        return answer.get("series", [])

    def metric(self, name, text=""):
        """Sum of Tempo's own metric over the lines that contain `text`."""
        lines = get(f"{self.url}/metrics").splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith((name + "{", name + " ")) and text in line
        )

    def flush(self):
        """Writes what is in memory into blocks on the disk, and waits until they are there."""
        before = self.metric("tempo_ingester_blocks_flushed_total")
        get(f"{self.url}/flush")
        until(
            "a flushed block", lambda: self.metric("tempo_ingester_blocks_flushed_total") > before, seconds=60
        )

    def stop(self):
        self.process.stop()


def pretty(answer):
    return json.dumps(answer, indent=1)[:2000]
