"""A real Zipkin with spans in memory, and the Collector that gives it what it receives over OTLP."""

import shutil
import time

from harness import HERE, Process, accepts, answers, backend_binary, free_port, get_json

JAR = backend_binary("zipkin")
COLLECTOR = backend_binary("zipkin_collector")
# Why the tests of this Zipkin can't be run; None: they can.
MISSING = (
    "no Java" if not shutil.which("java")
    else None if JAR and COLLECTOR
    else "no Zipkin: tests/backends/build.sh zipkin zipkin_collector"
)  # fmt: skip
HOUR_MS = 3_600_000


class Zipkin:
    """Zipkin on a free port, behind a Collector on another."""

    def __init__(self, folder):
        port, self.grpc = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.server = Process(
            "zipkin",
            ["java", "-Xmx384m", "-jar", JAR, "--armeria.ports[0].ip=127.0.0.1", f"--armeria.ports[0].port={port}",
             "--armeria.ports[0].protocols[0]=http"],
            folder,
        )  # fmt: skip
        text = (HERE / "zipkin_collector" / "config.yaml.in").read_text()
        config = folder / "zipkin_collector.yaml"
        config.write_text(text.replace("@GRPC@", str(self.grpc)).replace("@ZIPKIN@", str(port)))
        self.collector = Process("zipkin_collector", [COLLECTOR, "--config", config], folder)
        try:
            self.server.wait_until("is healthy", lambda: answers(f"{self.url}/health"), seconds=120)
            self.collector.wait_until("listens", lambda: accepts(self.grpc))
        except AssertionError:
            self.stop()
            raise

    def endpoint(self):
        return f"http://127.0.0.1:{self.grpc}"

    def edges(self):
        """Calls and errors by client and server, of all spans of the last hours."""
        asked = {"endTs": int(time.time() * 1000) + HOUR_MS, "lookback": 48 * HOUR_MS}
        links = get_json(f"{self.url}/api/v2/dependencies", asked)
        return {(link["parent"], link["child"]): (link["callCount"], link.get("errorCount", 0)) for link in links}

    def stop(self):
        self.collector.stop()
        self.server.stop()
