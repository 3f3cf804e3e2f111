#!/usr/bin/env python3
"""What a real Tempo takes: rates put to it through the daemon, and what became of the spans. Not a test; it measures.

    BACKEND_TEMPO=… tests/backends/limits.py [SECONDS-EACH [RUN]...]       a table, as docs/backends.md has it

Everything is on loopback; each run ends by itself. Sender, daemon and Tempo share the processors: look at processor
seconds for each million spans rather than at rates. "Dropped by us" is what the queue had no room for while Tempo was
slow.
"""

import os
import re
import sys
import time
from pathlib import Path

from harness import REPOSITORY, Daemon, Folder, send
from tempo import BINARY, Tempo

# As a Tempo is first started: everything else is its default.
DEFAULT = """
server:
  http_listen_port: 3200
  log_level: warn
distributor:
  receivers:
    otlp:
      protocols:
        grpc:
          endpoint: 0.0.0.0:4317
        http:
          endpoint: 0.0.0.0:4318
storage:
  trace:
    backend: local
    local:
      path: /var/tempo/blocks
    wal:
      path: /var/tempo/wal
usage_report:
  reporting_enabled: false
# http://mimir:9009/api/v1/push
"""

# Name, configuration, datagrams a second, flow records of each, settings of the daemon.
RUNS = [
    ("default", "default", 400, 1, {}),
    ("default", "default", 1_500, 1, {}),
    ("default", "default", 3_000, 1, {}),
    ("default", "default", 300, 24, {}),
    ("default", "default", 1_500, 24, {}),
    ("ours", "ours", 1_500, 1, {}),
    ("ours", "ours", 3_000, 1, {}),
    ("ours", "ours", 300, 24, {}),
    ("ours", "ours", 1_500, 24, {}),
    ("ours, minimal", "ours", 1_500, 24, {"NETFLOW_ATTRIBUTES": "minimal"}),
    ("ours, gzip", "ours", 1_500, 24, {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}),
    ("ours, zstd", "ours", 1_500, 24, {"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}),
    ("ours, no generator", "no generator", 1_500, 24, {}),
]
# limits.py SECONDS N… runs only these of them, from 0.


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def octets_below(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(configuration, datagrams, flows, settings, seconds):
    folder = Folder("limits")
    changes = []
    if configuration == "no generator":
        changes.append(("processors: [span-metrics, service-graphs, local-blocks]", "processors: []"))
    tempo = daemon = None
    try:
        tempo = Tempo(folder.path, config=DEFAULT if configuration == "default" else None, changes=changes)
        daemon = Daemon(folder.path, OTEL_EXPORTER_OTLP_ENDPOINT=tempo.endpoint(), **settings)
        pid = tempo.process.child.pid
        began, used = time.monotonic(), processor_seconds(pid)
        sent = send(
            "--to", f"127.0.0.1:{daemon.port}", "--exporters", 8, "--flows-per-packet", flows,
            "--rate", datagrams * flows, "--duration", f"{seconds}s",
        )  # fmt: skip
        rate = sent["datagrams"] / (time.monotonic() - began)
        daemon.wait_received(sent["datagrams"])
        daemon.wait_delivered(seconds=300)
        taken = time.monotonic() - began
        totals = daemon.stop()
        discarded = {
            reason: int(tempo.metric("tempo_discarded_spans_total", reason))
            for reason in ("live_traces_exceeded", "rate_limited", "trace_too_large")
        }
        spans = tempo.metric("tempo_distributor_spans_received_total")
        octets = tempo.metric("tempo_distributor_bytes_received_total")
        used = processor_seconds(pid) - used
        memory = peak_memory(pid)
        try:
            tempo.flush()
            on_disk = f"{octets_below(folder.path / 'tempo' / 'blocks') / spans:.0f}"
        except AssertionError:
            on_disk = "?"  # a busy machine takes longer
        flow_spans = totals["flow_spans"]
        return {
            "datagrams/s": f"{rate:.0f}",
            "spans/s": f"{spans / taken:.0f}",
            "MB/s": f"{octets / taken / 1e6:.1f}",
            "delivered after": f"{taken:.0f} s",
            "dropped by us": f"{100 * totals['flow_spans_dropped'] / flow_spans:.0f} %",
            "refused for good": f"{100 * totals['flow_spans_rejected'] / flow_spans:.0f} %",
            "taken and discarded": f"{100 * discarded['live_traces_exceeded'] / max(1, spans):.0f} %",
            "CPU-s/Mspan": f"{used / spans * 1e6:.1f}",
            "RSS, MB": f"{memory:.0f}",
            "octets a span": f"{octets / spans:.0f}",
            "on disk": on_disk,
        }
    finally:
        for each in (daemon and daemon.process, tempo):
            if each:
                each.stop()
        folder.remove()


def main():
    if not BINARY:
        sys.exit("no Tempo: set BACKEND_TEMPO to what tests/backends/build.sh tempo says")
    if not (REPOSITORY / "tempo.yaml").exists():
        sys.exit("no tempo.yaml")
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    headed = False
    chosen = [RUNS[int(number)] for number in sys.argv[2:]] or RUNS
    for name, configuration, datagrams, flows, settings in chosen:
        row = {"Tempo": name, "asked": f"{datagrams} × {flows}"}
        row |= run(configuration, datagrams, flows, settings, seconds)
        if not headed:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
            headed = True
        print("| " + " | ".join(row.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
