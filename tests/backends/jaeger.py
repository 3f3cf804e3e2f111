"""A real Jaeger with traces in memory, and questions to its query service, of both versions."""

import json
import time
import urllib.error

import otlp
from harness import HERE, Process, answers, backend_binary, free_port, get_json

BINARY = backend_binary("jaeger")
# Where Jaeger writes what it found odd of a span.
WARNINGS = "@jaeger@warnings"


class Jaeger:
    """Jaeger on free ports."""

    def __init__(self, folder, max_traces=20_000, clock_skew="0s"):
        self.max_traces = max_traces
        self.query, self.grpc, self.otlp_http = free_port(), free_port(), free_port()
        text = (HERE / "jaeger" / "config.yaml.in").read_text()
        for word, replacement in {
            "@MAX_TRACES@": max_traces,
            "@CLOCK_SKEW@": clock_skew,
            "@QUERY@": self.query,
            "@QUERY_GRPC@": free_port(),
            "@GRPC@": self.grpc,
            "@HTTP@": self.otlp_http,
        }.items():
            text = text.replace(word, str(replacement))
        config = folder / "jaeger.yaml"
        config.write_text(text)
        self.process = Process("jaeger", [BINARY, "--config", config], folder)
        self.url = f"http://127.0.0.1:{self.query}"
        self.process.wait_until("is ready", lambda: answers(f"{self.url}/api/v3/services"))

    def endpoint(self, protocol="grpc"):
        return f"http://127.0.0.1:{self.grpc if protocol == 'grpc' else self.otlp_http}"

    def services(self):
        return get_json(f"{self.url}/api/v3/services").get("services", [])

    def operations(self, service):
        """Names of a service's spans, each with its kind."""
        answer = get_json(f"{self.url}/api/v3/operations", {"service": service})
        return sorted((each["name"], each.get("spanKind", "")) for each in answer.get("operations", []))

    def spans(self, service, operation="netflow.export", raw=False):
        """All spans of the traces that have this operation, whenever it was, as the third API tells them: in OTLP."""
        asked = {
            "query.service_name": service,
            "query.operation_name": operation,
            "query.start_time_min": "1970-01-01T00:00:00Z",
            "query.start_time_max": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
            "query.num_traces": self.max_traces,
            "query.raw_traces": "true" if raw else "false",
        }
        try:
            answer = get_json(f"{self.url}/api/v3/traces", asked)
        except urllib.error.HTTPError as error:
            if error.code == 404:  # none, says Jaeger
                return []
            raise
        return list(otlp.spans([answer["result"]]))

    def trace(self, identifier):
        """All spans of a trace by its id."""
        return list(otlp.spans([get_json(f"{self.url}/api/v3/traces/{identifier}")["result"]]))

    def search(self, service, tags=None, **parameters):
        """Traces as the page asks for them (the second API): a list of JSON. Times are in microseconds."""
        asked = {"service": service, "start": 1, "limit": self.max_traces, **parameters}
        if tags:
            asked["tags"] = json.dumps({key: str(value) for key, value in tags.items()})
        return get_json(f"{self.url}/api/traces", asked)["data"]

    def stop(self):
        self.process.stop()
