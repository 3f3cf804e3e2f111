"""OTLP/JSON, flat: one `Span` for each span of a request, in a form that two of them can be compared in."""

import base64
from collections import namedtuple

# `attributes` and `resource` are tuples of (key, value); a value says its type: ("int", 443).
Span = namedtuple("Span", "name trace id parent kind start end status attributes resource scope")

KINDS = {
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "STATUS_CODE_OK": 1,
    "STATUS_CODE_ERROR": 2,
}


def value(of):
    """An AnyValue as (type, value)."""
    (kind, content), *more = of.items() or [("empty", None)]
    assert not more, of
    if kind == "intValue":
        return ("int", int(content))
    if kind == "doubleValue":
        return ("double", float(content))
    if kind == "arrayValue":
        return ("array", tuple(value(item) for item in content.get("values", [])))
    if kind == "kvlistValue":
        return ("kvlist", attributes(content.get("values", [])))
    return (kind.removesuffix("Value"), content)


def attributes(of):
    return tuple((item["key"], value(item.get("value", {}))) for item in of)


def identifier(text, octets):
    """An id in hexadecimal; Tempo tells it in base64."""
    return text if len(text) in (0, 2 * octets) else base64.b64decode(text, validate=True).hex()


def spans(requests):
    """All spans of ExportTraceServiceRequests, or of Tempo's traces."""
    for request in requests:
        for of_resource in request.get("resourceSpans") or request.get("batches") or []:
            resource = attributes(of_resource.get("resource", {}).get("attributes", []))
            for of_scope in of_resource.get("scopeSpans", []):
                scope = of_scope.get("scope", {})
                for span in of_scope.get("spans") or []:  # Jaeger leaves none of a scope that came twice
                    status = span.get("status", {})
                    kind = span.get("kind", 0)
                    code = status.get("code", 0)
                    yield Span(
                        span["name"],
                        identifier(span["traceId"], 16),
                        identifier(span["spanId"], 8),
                        identifier(span.get("parentSpanId", ""), 8),
                        KINDS.get(kind, kind),
                        int(span["startTimeUnixNano"]),
                        int(span["endTimeUnixNano"]),
                        (KINDS.get(code, code), status.get("message", "")),
                        attributes(span.get("attributes", [])),
                        resource,
                        (scope.get("name"), scope.get("version")),
                    )


def of(span, key):
    """Value of an attribute, or of one of the resource."""
    for name, (_, content) in span.attributes + span.resource:
        if name == key:
            return content
    return None


def content(span):
    """What a span says, without ids, times of the work, and what depends on who sent it."""
    timed = span.name == "netflow.flow" and of(span, "netflow.version") is not None
    times = {"netflow.flow.start_unix_nano": span.start, "netflow.flow.end_unix_nano": span.end}
    skipped = {"netflow.exporter.address", "netflow.exporter.port", "netflow.lost"}
    return (
        span.name,
        span.kind,
        (span.start, span.end) if timed else None,
        span.status[0],
        tuple(
            sorted(
                (key, value)
                for key, (_, value) in span.attributes
                if key not in skipped and times.get(key) != value
            )
        ),
    )
