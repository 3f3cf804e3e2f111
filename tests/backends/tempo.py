"""A Tempo that somebody runs, and what is asked of it.

    TEMPO_URL        its HTTP API, for example http://localhost:3200 of the compose file
    TEMPO_OTLP_GRPC  where it accepts spans over gRPC (default: TEMPO_URL's host, port 4317)
    TEMPO_OTLP_HTTP  the same over HTTP (default: port 4318)

Without TEMPO_URL the embedded backend of `netflow2traces demo` stands in: it has the same API for traces and searches.
"""

import os
import re
import time
import urllib.error
import urllib.parse

import otlp
from harness import Process, answers, free_port, get, get_json, program, until

URL = os.environ.get("TEMPO_URL", "").rstrip("/")


class Tempo:
    """The Tempo at TEMPO_URL, or the embedded backend. It may hold other traces: searches name their service."""

    def __init__(self, folder):
        self.process = None
        if URL:
            self.url = URL
            host = urllib.parse.urlsplit(URL).hostname
            self.grpc = os.environ.get("TEMPO_OTLP_GRPC") or f"http://{host}:4317"
            self.otlp_http = os.environ.get("TEMPO_OTLP_HTTP") or f"http://{host}:4318"
            until(f"{URL}/ready", lambda: answers(f"{URL}/ready"))
        else:
            self.embedded(folder)
        self.has_metrics = answers(f"{self.url}/metrics")

    def embedded(self, folder):
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "NETFLOW_LISTEN_HOST": "127.0.0.1",
            "NETFLOW_LISTEN_PORT": "0",
            "NETFLOW_ADMIN_PORT": "0",
        }
        command = [program(), "demo", "--no-traffic", "--http-port", port]
        self.process = Process("embedded", command, folder, environment)
        self.url = f"http://127.0.0.1:{port}"
        said = self.process.wait_until(
            "says where it accepts spans",
            lambda: re.search(r"(127\.0\.0\.1:\d+) \(gRPC\) and (127\.0\.0\.1:\d+) \(HTTP\)", self.process.text()),
        )
        self.grpc, self.otlp_http = (f"http://{address}" for address in said.groups())

    def endpoint(self, protocol="grpc"):
        return self.grpc if protocol == "grpc" else self.otlp_http

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
        """Sum of Tempo's own metric over the lines that contain `text`; None where it shows no metrics."""
        if not self.has_metrics:
            return None
        lines = get(f"{self.url}/metrics").splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith((name + "{", name + " ")) and text in line
        )

    def flush(self):
        """Writes what is in memory into blocks on the disk, and waits until they are there. False where it can't."""
        before = self.metric("tempo_ingester_blocks_flushed_total")
        if before is None:
            return False
        try:
            get(f"{self.url}/flush")
        except urllib.error.HTTPError:
            return False
        until(
            "a flushed block", lambda: self.metric("tempo_ingester_blocks_flushed_total") > before, seconds=60
        )
        return True

    def stop(self):
        if self.process:
            self.process.stop()
