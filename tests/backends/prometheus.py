"""A real Prometheus on a free port: one that scrapes, or one that receives OTLP."""

import os
import shutil
import time

from harness import Process, answers, backend_binary, free_port, get_json

# Debian's, or any other on the path.
BINARY = os.environ.get("BACKEND_PROMETHEUS") or shutil.which("prometheus")
# One that accepts OTLP as version 3 does, built by build.sh.
OTLP_BINARY = backend_binary("prometheus3")


class Prometheus:
    """Started with exemplar storage. `scrape`: what it reads, once a second; None: it accepts OTLP metrics."""

    def __init__(self, folder, scrape=None, binary=None):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "prometheus.yaml"
        targets = "" if scrape is None else (
            "scrape_configs:\n  - job_name: netflow2traces\n    scrape_interval: 1s\n"
            f'    static_configs: [{{targets: ["{scrape}"]}}]\n'
        )  # fmt: skip
        config.write_text(targets or "global: {}\n")
        command = [
            binary or BINARY,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
        ]
        if scrape is None:
            command.append("--web.enable-otlp-receiver")
        self.process = Process("prometheus", command, folder)
        self.process.wait_until("is ready", lambda: answers(f"{self.url}/-/ready"))

    def query(self, expression):
        """Labels and value of each series now."""
        answer = get_json(f"{self.url}/api/v1/query", {"query": expression})
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def exemplars(self, expression, seconds=300):
        """Labels of the series, and each of its exemplars."""
        now = time.time()
        asked = {"query": expression, "start": now - seconds, "end": now + 5}
        answer = get_json(f"{self.url}/api/v1/query_exemplars", asked)
        return [(each["seriesLabels"], one) for each in answer["data"] for one in each["exemplars"]]

    def stop(self):
        self.process.stop()
