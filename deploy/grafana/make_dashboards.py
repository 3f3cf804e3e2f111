#!/usr/bin/env python3
"""Writes the dashboards beside this file: dashboards/*.json. Python's standard library is enough.

    deploy/grafana/make_dashboards.py            writes them
    deploy/grafana/make_dashboards.py --check    exit status 1 when one isn't what this would write

tests/backends/test_dashboards.py puts every panel's query to a real Tempo and a real Prometheus.
"""

import json
import sys
import urllib.parse
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "dashboards"
# Data sources are variables of each dashboard, so that it can be imported into any Grafana.
TEMPO = {"type": "tempo", "uid": "${traces}"}
MIMIR = {"type": "prometheus", "uid": "${metrics}"}

# Of the exporters that are chosen; a variable for several has a regular expression.
FLOWS = '{ name = "netflow.flow" && resource.netflow.exporter.address =~ "$exporter" }'
DATAGRAMS = '{ name = "netflow.export" && resource.netflow.exporter.address =~ "$exporter" }'
CALLS = 'traces_spanmetrics_calls_total{span_name="netflow.%s", netflow_exporter_address=~"$exporter"}'


def data_source(name, label, kind):
    return {
        "name": name,
        "label": label,
        "type": "datasource",
        "query": kind,
        "refresh": 1,
        "multi": False,
        "includeAll": False,
    }


DATA_SOURCES = [data_source("metrics", "Metrics", "prometheus"), data_source("traces", "Traces", "tempo")]


def promql(expression, legend="", instant=False, exemplar=False):
    return {
        "datasource": MIMIR,
        "expr": expression,
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
        **({"exemplar": True} if exemplar else {}),
        **({"format": "table"} if instant else {}),
    }


def flow_rate(view, by, selector="", times=8):
    """Bits a second of a view of the flow metrics, with the exemplars that open the spans behind them."""
    labels = ", ".join(filter(None, ('exporter=~"$exporter"', selector)))
    return f"sum by ({by}) (rate(netflow_{view}_bytes_total{{{labels}}}[$__rate_interval])) * {times}"


def spans_where(condition):
    """A link from a series to spans, in the time that the panel shows."""
    query = {
        "refId": "A",
        "queryType": "traceql",
        "tableType": "spans",
        "limit": 20,
        "query": condition
        + " | select(span.source.address, span.source.port, span.destination.address, span.destination.port, span.netflow.flow.bytes)",
    }
    panes = {"a": {"datasource": "TRACES", "queries": [query], "range": {"from": "FROM", "to": "TO"}}}
    encoded = urllib.parse.quote(json.dumps(panes, separators=(",", ":")), safe="{}$_")
    for name, variable in (("TRACES", "${traces}"), ("FROM", "${__from}"), ("TO", "${__to}")):
        encoded = encoded.replace(name, variable)
    return {"title": "Flows behind it", "url": f"/explore?schemaVersion=1&panes={encoded}", "targetBlank": True}


def spans_behind(condition):
    """A link from a series of an exporter to the spans that it counted."""
    return spans_where('{ resource.netflow.exporter.address = "${__field.labels.exporter}"' + condition + " }")


def traceql(query, step="1m", legend=""):
    """TraceQL metrics; sums are of one step each, hence a step of our own."""
    target = {
        "datasource": TEMPO,
        "queryType": "traceql",
        "query": query,
        "metricsQueryType": "range",
        "tableType": "traces",
        "step": step,
        "filters": [],
        "limit": 20,
    }
    if legend:
        target["legendFormat"] = legend
    return target


def search(query, limit=20, table="spans"):
    """TraceQL that finds spans."""
    return {
        "datasource": TEMPO,
        "queryType": "traceql",
        "query": query,
        "tableType": table,
        "filters": [],
        "limit": limit,
        "spss": 10,
    }


def panel(kind, title, *targets, unit="short", width=12, height=8, text="", stack=False, reduce="lastNotNull", link=None, **options):
    custom = {}
    if kind == "timeseries":
        custom = {
            "custom": {
                "fillOpacity": 20 if stack else 0,
                "lineWidth": 1,
                "showPoints": "never",
                "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            }
        }
        options = {
            "legend": {"displayMode": "table", "placement": "right", "calcs": ["mean", "max"], "sortBy": "Mean", "sortDesc": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
            **options,
        }
    elif kind in ("stat", "bargauge"):
        options = {"reduceOptions": {"calcs": [reduce], "fields": "", "values": False}, **options}
        if kind == "bargauge":
            options = {"orientation": "horizontal", "displayMode": "gradient", **options}
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": targets[0]["datasource"],
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, **({"links": [link]} if link else {}), **custom}, "overrides": []},
        "options": options,
        "targets": [{"refId": chr(ord("A") + number), **target} for number, target in enumerate(targets)],
        "_size": (width, height),
    }


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "_size": (24, 1)}


def variable(name, label, query, several):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": MIMIR,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 3,
        "multi": several,
        "includeAll": several,
        **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if several else {}),
    }


def exporter_variable(several):
    query = "label_values(traces_spanmetrics_calls_total{span_name=\"netflow.export\"}, netflow_exporter_address)"
    return variable("exporter", "Exporter", query, several)


def dashboard(title, description, panels, variables=(), since="now-30m"):
    placed, x, y, line = [], 0, 0, 0
    for number, each in enumerate(panels):
        width, height = each.pop("_size")
        if x + width > 24:
            x, y, line = 0, y + line, 0
        placed.append({"id": number + 1, "gridPos": {"x": x, "y": y, "w": width, "h": height}, **each})
        x, line = x + width, max(line, height)
    return {
        "title": title,
        "description": description,
        "tags": ["netflow2traces"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": since, "to": "now"},
        "timezone": "browser",
        "templating": {"list": [*DATA_SOURCES, *variables]},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "netflow2traces",
                "tags": ["netflow2traces"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": placed,
    }


OCTETS = "| sum_over_time(span.netflow.flow.estimated.bytes)"
PACKETS = "| sum_over_time(span.netflow.flow.estimated.packets)"
SAMPLED = "Each record's count times its sampling interval. With NETFLOW_SCALE_SAMPLED=true or NETFLOW_ATTRIBUTES=minimal spans don't have it: write netflow.flow.bytes or .packets in the query."
FOUND = "select(span.source.address, span.source.port, span.destination.address, span.destination.port, span.network.transport, span.netflow.flow.bytes, span.netflow.flow.packets)"


def flows():
    return dashboard(
        "Flows, from traces",
        "What the exporters reported: rates from span metrics, the rest by TraceQL from the flows themselves.",
        [
            panel("stat", "Flow records a second", promql(f"sum(rate({CALLS % 'flow'}[$__rate_interval]))"), width=6, height=4),
            panel("stat", "Datagrams a second", promql(f"sum(rate({CALLS % 'export'}[$__rate_interval]))"), width=6, height=4),
            panel("stat", "Exporters", promql(f"count(count by (netflow_exporter_address) ({CALLS % 'export'}))"), width=6, height=4),
            panel("stat", "Octets in a minute", traceql(f"{FLOWS} {OCTETS}"), unit="decbytes", width=6, height=4, text=SAMPLED),
            row("Rates"),
            panel(
                "timeseries", "Flow records by exporter",
                promql(f"sum by (netflow_exporter_address) (rate({CALLS % 'flow'}[$__rate_interval]))", "{{netflow_exporter_address}}"),
                unit="cps", stack=True,
            ),
            panel(
                "timeseries", "Flow records by transport",
                promql(f"sum by (network_transport) (rate({CALLS % 'flow'}[$__rate_interval]))", "{{network_transport}}"),
                unit="cps", stack=True,
            ),
            panel("timeseries", "Octets in a minute by exporter", traceql(f"{FLOWS} {OCTETS} by (resource.netflow.exporter.address)"), unit="decbytes", stack=True, text=SAMPLED),
            panel("timeseries", "Octets in a minute by transport", traceql(f"{FLOWS} {OCTETS} by (span.network.transport)"), unit="decbytes", stack=True, text=SAMPLED),
            panel("timeseries", "Octets in a minute by destination port", traceql(f"{FLOWS} {OCTETS} by (span.destination.port) | topk(10)"), unit="decbytes", text="The ten largest of each minute."),
            panel("timeseries", "Flow records by destination port", traceql(f"{FLOWS} | rate() by (span.destination.port) | topk(10)"), unit="cps", text="The ten largest of each minute."),
            panel("timeseries", "Flow records by protocol version", traceql(f"{FLOWS} | rate() by (span.netflow.version)"), unit="cps", stack=True),
            panel("timeseries", "Packets in a minute by exporter", traceql(f"{FLOWS} {PACKETS} by (resource.netflow.exporter.address)"), stack=True, text=SAMPLED),
            row("Who talks"),
            panel("bargauge", "Top sources", traceql(f"{FLOWS} {OCTETS} by (span.source.address) | topk(10)"), unit="decbytes", width=8, height=10, reduce="sum", text="Octets over the range shown, of the ten largest of each minute."),
            panel("bargauge", "Top destinations", traceql(f"{FLOWS} {OCTETS} by (span.destination.address) | topk(10)"), unit="decbytes", width=8, height=10, reduce="sum", text="Octets over the range shown, of the ten largest of each minute."),
            panel("bargauge", "Top conversations", traceql(f"{FLOWS} {OCTETS} by (span.source.address, span.destination.address) | topk(10)"), unit="decbytes", width=8, height=10, reduce="sum", text="Octets over the range shown, of the ten largest of each minute."),
            panel("timeseries", "Conversations", traceql(f"{FLOWS} {OCTETS} by (span.source.address, span.destination.address, span.destination.port) | topk(10)"), unit="decbytes", width=24),
            row("Records"),
            panel("table", "Large flows", search(f'{FLOWS[:-2]} && span.netflow.flow.bytes > 10000 }} | {FOUND}'), width=24, height=10, text="Of more than 10,000 octets; change the number in the query."),
            panel("table", "Datagrams that were not understood", search('{ name = "netflow.export" && status = error } | select(span.netflow.exporter.address, span.netflow.version, statusMessage)'), width=24, height=8),
        ],
        [exporter_variable(several=True)],
    )  # fmt: skip


def exporter():
    flow_time = 'histogram_quantile(%s, sum by (le) (rate(traces_spanmetrics_latency_bucket{span_name="netflow.flow", netflow_exporter_address=~"$exporter"}[$__rate_interval])))'
    return dashboard(
        "One exporter, from traces",
        "A router by its interfaces, neighbours and talkers, and how well its datagrams arrive.",
        [
            panel("stat", "Flow records a second", promql(f"sum(rate({CALLS % 'flow'}[$__rate_interval]))"), width=6, height=4),
            panel("stat", "Datagrams a second", promql(f"sum(rate({CALLS % 'export'}[$__rate_interval]))"), width=6, height=4),
            panel("stat", "Octets in a minute", traceql(f"{FLOWS} {OCTETS}"), unit="decbytes", width=6, height=4, text=SAMPLED),
            panel("stat", "Lost records or messages", traceql(f"{DATAGRAMS[:-2]} && span.netflow.lost > 0 }} | sum_over_time(span.netflow.lost)"), width=6, height=4, reduce="sum", text="Missing by sequence numbers over the range shown; nothing shown is nothing lost."),
            row("Traffic"),
            panel("timeseries", "Octets in a minute by input interface", traceql(f"{FLOWS} {OCTETS} by (span.netflow.interface.input)"), unit="decbytes", stack=True, text=SAMPLED),
            panel("timeseries", "Octets in a minute by output interface", traceql(f"{FLOWS} {OCTETS} by (span.netflow.interface.output)"), unit="decbytes", stack=True, text=SAMPLED),
            panel("timeseries", "Octets in a minute by transport", traceql(f"{FLOWS} {OCTETS} by (span.network.transport)"), unit="decbytes", stack=True, text=SAMPLED),
            panel("timeseries", "Octets in a minute by destination port", traceql(f"{FLOWS} {OCTETS} by (span.destination.port) | topk(10)"), unit="decbytes"),
            panel("timeseries", "Octets in a minute by source AS", traceql(f"{FLOWS} {OCTETS} by (span.netflow.src_as) | topk(10)"), unit="decbytes"),
            panel("timeseries", "Octets in a minute by destination AS", traceql(f"{FLOWS} {OCTETS} by (span.netflow.dst_as) | topk(10)"), unit="decbytes"),
            panel("timeseries", "Octets in a minute by next hop", traceql(f"{FLOWS} {OCTETS} by (span.netflow.nexthop) | topk(10)"), unit="decbytes"),
            panel("timeseries", "Packets in a minute by input interface", traceql(f"{FLOWS} {PACKETS} by (span.netflow.interface.input)"), stack=True, text=SAMPLED),
            row("Who talks"),
            panel("bargauge", "Top sources", traceql(f"{FLOWS} {OCTETS} by (span.source.address) | topk(10)"), unit="decbytes", width=8, height=10, reduce="sum"),
            panel("bargauge", "Top destinations", traceql(f"{FLOWS} {OCTETS} by (span.destination.address) | topk(10)"), unit="decbytes", width=8, height=10, reduce="sum"),
            panel("bargauge", "Top conversations", traceql(f"{FLOWS} {OCTETS} by (span.source.address, span.destination.address) | topk(10)"), unit="decbytes", width=8, height=10, reduce="sum"),
            row("How it exports"),
            panel("timeseries", "How long flows last", promql(flow_time % "0.5", "half are shorter"), promql(flow_time % "0.95", "95 % are shorter"), unit="s", text="Near the exporter's active timeout, long flows are cut into pieces."),
            panel("timeseries", "Records of a datagram", traceql(f"{DATAGRAMS} | avg_over_time(span.netflow.flow.count)")),
            panel("timeseries", "Octets of a datagram", traceql(f"{DATAGRAMS} | avg_over_time(span.netflow.packet.size_bytes)"), unit="decbytes"),
            panel("timeseries", "Time to decode a datagram", traceql('{ name = "netflow.parse_packet" && resource.netflow.exporter.address =~ "$exporter" } | quantile_over_time(duration, .5, .99)'), unit="s"),
            panel("table", "Datagrams", search(f"{DATAGRAMS} | select(span.netflow.version, span.netflow.flow.count, span.netflow.sequence, span.netflow.packet.size_bytes)"), width=24, height=10),
        ],
        [exporter_variable(several=False)],
    )  # fmt: skip


def daemon():
    own = 'instance=~"$instance"'

    def rate(metric, by="", extra=""):
        labels = ", ".join(filter(None, (own, extra)))
        return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{labels}}}[$__rate_interval]))"

    def now(metric, by=""):
        return f"sum{f' by ({by})' if by else ''} ({metric}{{{own}}})"

    query = "label_values(netflow_build_info, instance)"
    return dashboard(
        "The daemon's health",
        "What netflow2traces counts of itself at /metrics. docs/metrics.md of the project explains each.",
        [
            panel("stat", "Backend takes spans", promql(f"min(netflow_backend_up{{{own}}})"), width=4, height=4, text="1: yes. 0: requests fail, and spans wait in the queue."),
            panel("stat", "Datagrams a second", promql(rate("netflow_packets_total")), width=4, height=4),
            panel("stat", "Flow records a second", promql(rate("netflow_flows_total")), width=4, height=4),
            panel("stat", "Exporters", promql(now("netflow_exporters")), width=4, height=4),
            panel("stat", "Queue", promql(f"{now('netflow_queue_bytes')} / {now('netflow_queue_limit_bytes')}"), unit="percentunit", width=4, height=4, text="How full; at 100 % the oldest spans are dropped."),
            panel("stat", "Up for", promql(f"min(netflow_uptime_seconds{{{own}}})"), unit="s", width=4, height=4),
            row("Losses: each of these should be flat at zero"),
            panel("timeseries", "Dropped by the kernel", promql(rate("netflow_kernel_drops_total"), "datagrams"), unit="cps", width=8, text="A receive buffer was full: NETFLOW_RECEIVE_BUFFER and net.core.rmem_max."),
            panel("timeseries", "Missing by sequence numbers", promql(rate("netflow_lost_total", "unit"), "{{unit}}"), promql(rate("netflow_late_total", "unit"), "{{unit}}, came late"), unit="cps", width=8, text="Lost between exporter and here."),
            panel("timeseries", "Spans dropped and refused", promql(rate("netflow_spans_dropped_total", "reason"), "dropped: {{reason}}"), promql(rate("netflow_spans_rejected_total"), "refused by the backend"), unit="cps", width=8),
            panel("timeseries", "Datagrams refused", promql(rate("netflow_packet_errors_total", "reason"), "{{reason}}"), unit="cps", width=8),
            panel("timeseries", "Sets and samples that could not be used", promql(rate("netflow_set_errors_total", "reason"), "{{reason}}"), promql(rate("netflow_sample_errors_total", "reason"), "{{reason}}"), unit="cps", width=8),
            panel("timeseries", "Sets without a template", promql(now("netflow_sets_waiting"), "waiting"), promql(rate("netflow_sets_expired_total"), "expired a second"), promql(rate("netflow_sets_decoded_late_total"), "decoded late a second"), width=8),
            row("Work"),
            panel("timeseries", "Datagrams by version", promql(rate("netflow_packets_total", "version"), "{{version}}"), unit="cps", stack=True),
            panel("timeseries", "Datagrams by worker", promql(rate("netflow_worker_packets_total", "worker"), "worker {{worker}}"), unit="cps", stack=True, text="An exporter always has the same worker."),
            panel("timeseries", "Flow records by version", promql(rate("netflow_flows_total", "version"), "{{version}}"), unit="cps", stack=True),
            panel("timeseries", "Octets received", promql(rate("netflow_packet_bytes_total", "version"), "{{version}}"), unit="Bps", stack=True),
            panel("timeseries", "Octets of a datagram", promql(f"histogram_quantile(0.5, {rate('netflow_packet_size_bytes_bucket', 'le')})", "half are smaller"), promql(f"histogram_quantile(0.99, {rate('netflow_packet_size_bytes_bucket', 'le')})", "99 % are smaller"), unit="decbytes"),
            panel("timeseries", "Templates", promql(rate("netflow_templates_total", "event"), "{{event}}"), unit="cps"),
            row("Delivery"),
            panel("timeseries", "Spans", promql(rate("netflow_spans_total", "kind"), "made: {{kind}}"), promql(rate("netflow_spans_accepted_total", "kind"), "accepted: {{kind}}"), unit="cps"),
            panel("timeseries", "Requests", promql(rate("netflow_requests_total"), "sent"), promql(rate("netflow_request_retries_total"), "of these again"), promql(rate("netflow_request_failures_total"), "failed"), unit="reqps"),
            panel("timeseries", "Queue", promql(now("netflow_queue_bytes"), "waiting"), promql(now("netflow_queue_limit_bytes"), "room"), unit="bytes"),
            panel("timeseries", "In flight", promql(now("netflow_requests_in_flight"), "requests"), unit="short"),
            panel("timeseries", "Octets sent", promql(rate("netflow_request_encoded_bytes_total"), "before compression"), promql(rate("netflow_request_sent_bytes_total"), "as sent"), unit="Bps"),
            panel("timeseries", "Octets of a span", promql(f"{rate('netflow_batch_bytes_total')} / {rate('netflow_spans_total')}", "encoded"), unit="decbytes"),
        ],
        [
            {
                "name": "instance",
                "label": "Instance",
                "type": "query",
                "datasource": MIMIR,
                "query": {"query": query, "refId": "instances"},
                "definition": query,
                "refresh": 2,
                "sort": 1,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            }
        ],
    )  # fmt: skip


WANTS = "Needs the view {} in NETFLOW_METRICS."
DOT = "A dot on a line is the largest flow of its minute: it opens the span."
TOP = "topk(10, %s)"
FIVE_MINUTES = 'sum by (exporter, interface, direction) (rate(netflow_interface_bytes_total{exporter=~"$exporter", interface=~"$interface"}[5m])) * 8'
SPEED = 'on (exporter, interface) group_left () (netflow_interface_speed_bytes{exporter=~"$exporter", interface=~"$interface"} * 8)'
INTERFACES = flow_rate("interface", "exporter, interface, direction", 'interface=~"$interface"')
# A name where there is one.
NAMED = f"({INTERFACES}) * on (exporter, interface) group_left (name) netflow_interface_info or on (exporter, interface, direction) ({INTERFACES})"
AT_INTERFACE = " && (span.netflow.interface.input = ${__field.labels.interface} || span.netflow.interface.output = ${__field.labels.interface})"
EXPORTER = variable("exporter", "Exporter", "label_values(netflow_interface_bytes_total, exporter)", several=True)
INTERFACE = variable("interface", "Interface", 'label_values(netflow_interface_bytes_total{exporter=~"$exporter"}, interface)', several=True)


# Of each view that counts bytes, what found no series of its own.
OVERFLOW = " or ".join(
    f'label_replace(sum(rate(netflow_{view}_bytes_total{{otel_metric_overflow="true"}}[$__rate_interval])), "view", "{view}", "", "")'
    for view in ("interface", "exporter", "application", "network", "as", "country")
)


def rates(title, expression, legend, link=None, unit="bps", **more):
    """A panel of rates, with exemplars and a link to the flows behind a line."""
    return panel("timeseries", title, promql(expression, legend, exemplar=True), unit=unit, link=link, **more)


def overview():
    every = 'exporter=~"$exporter"'
    return dashboard(
        "Overview",
        "Bits a second of all flows, from flow metrics: complete whatever share of the spans is kept. " + DOT,
        [
            panel("stat", "Received by all interfaces", promql(f'sum(rate(netflow_interface_bytes_total{{{every}, direction="receive"}}[$__rate_interval])) * 8'), unit="bps", width=6, height=4, text="A flow that several exporters report counts at each."),
            panel("stat", "Flow records a second", promql(f'sum(rate(netflow_interface_flows_total{{{every}, direction="receive"}}[$__rate_interval]))'), width=6, height=4),
            panel("stat", "Exporters", promql(f"count(count by (exporter) (netflow_interface_bytes_total{{{every}}}))"), width=6, height=4),
            panel("stat", "Interfaces", promql(f"count(count by (exporter, interface) (netflow_interface_bytes_total{{{every}}}))"), width=6, height=4),
            rates("Bits a second by exporter", flow_rate("exporter", "exporter"), "{{exporter}}", spans_behind(""), stack=True, text=WANTS.format("exporter")),
            rates("The ten busiest interfaces", TOP % flow_rate("interface", "exporter, interface, direction"), "{{exporter}} {{interface}} {{direction}}", spans_behind(AT_INTERFACE), text="A click on a line leads to the flows behind it. " + DOT),
            rates("The ten largest applications", TOP % flow_rate("application", "exporter, transport, service"), "{{service}} ({{transport}}) {{exporter}}", spans_behind(' && span.network.transport = "${__field.labels.transport}"'), stack=True, text=WANTS.format("application")),
            rates("The ten largest pairs of networks", TOP % flow_rate("network", "exporter, source, destination"), "{{source}} → {{destination}} {{exporter}}", spans_behind(' && span.netflow.source.network = "${__field.labels.source}"'), text=WANTS.format("network")),
            row("How well it is measured"),
            panel("timeseries", "Lost on the way", promql(f"sum by (exporter, unit) (rate(netflow_exporter_lost_total{{{every}}}[$__rate_interval]))", "{{exporter}}, {{unit}}"), unit="cps", width=8, text="By sequence numbers. " + WANTS.format("exporter")),
            panel("timeseries", "Longest flow", promql(f"netflow_exporter_longest_flow_seconds{{{every}}}", "{{exporter}}"), unit="s", width=8, text="Above a minute, rates show peaks: set the active timeout of the router to 60 s. " + WANTS.format("exporter")),
            panel("timeseries", "Bytes without a series of their own", promql(f"{OVERFLOW} or vector(0)", "{{view}}"), unit="Bps", width=8, text="By view. If a line stays above zero, raise NETFLOW_METRICS_MAX_SERIES."),
        ],
        [EXPORTER],
    )  # fmt: skip


def interfaces():
    device = 'exporter=~"$exporter", interface=~"$interface"'
    return dashboard(
        "Exporter and interface",
        "How full links are, and what transit costs. " + DOT,
        [
            rates("Bits a second by interface", TOP % INTERFACES, "{{exporter}} {{interface}} {{direction}}", spans_behind(AT_INTERFACE), width=24, height=10, text="The ten busiest. A click on a line leads to the flows behind it."),
            rates("The same with names", TOP % f"({NAMED})", "{{exporter}} {{name}} {{direction}}", spans_behind(AT_INTERFACE), text="From NETFLOW_INTERFACES or the exporter's options data."),
            rates("Utilisation", f"({INTERFACES}) / {SPEED}", "{{exporter}} {{interface}} {{direction}}", spans_behind(AT_INTERFACE), unit="percentunit", text="Of the interfaces whose speed NETFLOW_INTERFACES has."),
            panel("table", "95th percentile of the month, bits a second", promql(f"quantile_over_time(0.95, ({FIVE_MINUTES})[30d:5m])", instant=True), unit="bps", text="Of averages over five minutes, as transit is billed. With deploy/prometheus/rules.yaml the recording rule answers faster."),
            panel("table", "95th percentile of the month, share of the speed", promql(f"quantile_over_time(0.95, ({FIVE_MINUTES})[30d:5m]) / {SPEED}", instant=True), unit="percentunit", text="Of the interfaces whose speed NETFLOW_INTERFACES has."),
            rates("Packets a second", TOP % f"sum by (exporter, interface, direction) (rate(netflow_interface_packets_total{{{device}}}[$__rate_interval]))", "{{exporter}} {{interface}} {{direction}}", spans_behind(AT_INTERFACE), unit="pps"),
            rates("Flow records a second", TOP % f"sum by (exporter, interface, direction) (rate(netflow_interface_flows_total{{{device}}}[$__rate_interval]))", "{{exporter}} {{interface}} {{direction}}", spans_behind(AT_INTERFACE), unit="cps"),
            row("As sFlow agents count"),
            panel("timeseries", "Bits a second by the device's counters", promql(f"rate(netflow_sflow_interface_receive_bytes_total{{{device}}}[5m]) * 8", "{{exporter}} {{interface}} receive"), promql(f"rate(netflow_sflow_interface_transmit_bytes_total{{{device}}}[5m]) * 8", "{{exporter}} {{interface}} transmit"), unit="bps", text="Not estimated from samples. " + WANTS.format("sflow_counters")),
            panel("timeseries", "Discards and errors", promql(f"rate(netflow_sflow_interface_receive_discards_total{{{device}}}[5m])", "{{exporter}} {{interface}} discarded, receive"), promql(f"rate(netflow_sflow_interface_transmit_discards_total{{{device}}}[5m])", "{{exporter}} {{interface}} discarded, transmit"), promql(f"rate(netflow_sflow_interface_receive_errors_total{{{device}}}[5m])", "{{exporter}} {{interface}} errors, receive"), promql(f"rate(netflow_sflow_interface_transmit_errors_total{{{device}}}[5m])", "{{exporter}} {{interface}} errors, transmit"), unit="pps", text=WANTS.format("sflow_counters")),
        ],
        [EXPORTER, INTERFACE],
        since="now-6h",
    )  # fmt: skip


def applications():
    of = "exporter, transport, service"
    link = spans_behind(' && span.network.transport = "${__field.labels.transport}"')
    names = "{{service}} ({{transport}}) {{exporter}}"
    share = flow_rate("application", "service") + " / ignoring (service) group_left () sum(" + flow_rate("application", "exporter") + ")"
    return dashboard(
        "Applications",
        "What the traffic is, by the exporter's application names or the server's port. " + WANTS.format("application"),
        [
            rates("Bits a second", TOP % flow_rate("application", of), names, link, width=24, height=10, stack=True, text=DOT),
            panel("bargauge", "Share of all traffic", promql(TOP % f"({share})", "{{service}}"), unit="percentunit"),
            rates("By transport", flow_rate("application", "exporter, transport"), "{{transport}} {{exporter}}", link, stack=True),
            rates("Packets a second", TOP % f'sum by ({of}) (rate(netflow_application_packets_total{{exporter=~"$exporter"}}[$__rate_interval]))', names, link, unit="pps"),
            rates("Flow records a second", TOP % f'sum by ({of}) (rate(netflow_application_flows_total{{exporter=~"$exporter"}}[$__rate_interval]))', names, link, unit="cps", text="Many short flows of one application: scans, or a resolver."),
        ],
        [EXPORTER],
    )  # fmt: skip


def networks():
    pairs = "exporter, source, destination"
    from_country = spans_behind(' && span.source.geo.country.iso_code = "${__field.labels.source}"')
    return dashboard(
        "Networks and AS",
        "Which networks of NETFLOW_NETWORKS, autonomous systems and countries exchange traffic. " + DOT,
        [
            rates("Networks", TOP % flow_rate("network", pairs), "{{source}} → {{destination}} {{exporter}}", spans_behind(' && span.netflow.source.network = "${__field.labels.source}"'), width=24, height=10, text="The ten largest pairs. " + WANTS.format("network")),
            rates("Sent by network", TOP % flow_rate("network", "exporter, source"), "{{source}} {{exporter}}", spans_behind(' && span.netflow.source.network = "${__field.labels.source}"'), stack=True),
            rates("Received by network", TOP % flow_rate("network", "exporter, destination"), "{{destination}} {{exporter}}", spans_behind(' && span.netflow.destination.network = "${__field.labels.destination}"'), stack=True),
            panel("timeseries", "Requests between networks", promql('sum by (client, server) (rate(traces_service_graph_request_total{exporter=~"$exporter"}[$__rate_interval]))', "{{client}} → {{server}}"), unit="reqps", text=WANTS.format("service_graph") + " Grafana's Service Graph tab draws the same numbers."),
            panel("timeseries", "Failed requests", promql('sum by (client, server) (rate(traces_service_graph_request_failed_total{exporter=~"$exporter"}[$__rate_interval]))', "{{client}} → {{server}}"), unit="reqps", text="Connections that nobody answered, or that were refused. " + WANTS.format("service_graph")),
            row("Autonomous systems"),
            rates("AS pairs", TOP % flow_rate("as", pairs), "AS{{source}} → AS{{destination}} {{exporter}}", spans_behind(" && span.netflow.src_as = ${__field.labels.source}"), width=24, height=10, text="The ten largest pairs. " + WANTS.format("as")),
            rates("Sent by AS", TOP % flow_rate("as", "exporter, source"), "AS{{source}} {{exporter}}", spans_behind(" && span.netflow.src_as = ${__field.labels.source}"), stack=True),
            rates("Received by AS", TOP % flow_rate("as", "exporter, destination"), "AS{{destination}} {{exporter}}", spans_behind(" && span.netflow.dst_as = ${__field.labels.destination}"), stack=True),
            row("Countries"),
            rates("Country pairs", TOP % flow_rate("country", pairs), "{{source}} → {{destination}} {{exporter}}", from_country, width=24, height=10, text="The ten largest pairs; unknown is every address that NETFLOW_GEOIP_COUNTRY doesn't have, such as private ones. " + WANTS.format("country")),
            rates("Sent by country", TOP % flow_rate("country", "exporter, source"), "{{source}} {{exporter}}", from_country, stack=True),
            rates("Received by country", TOP % flow_rate("country", "exporter, destination"), "{{destination}} {{exporter}}", spans_behind(' && span.destination.geo.country.iso_code = "${__field.labels.destination}"'), stack=True),
        ],
        [EXPORTER],
    )  # fmt: skip


def talkers():
    def top(kind, labels, rows=10):
        return f'topk({rows}, sum by ({labels}) (netflow_top_bytes{{kind="{kind}"}})) * 8 / 60'

    source = spans_where('{ span.source.address = "${__field.labels.source}" }')
    destination = spans_where('{ span.destination.address = "${__field.labels.destination}" }')
    both = spans_where('{ span.source.address = "${__field.labels.source}" && span.destination.address = "${__field.labels.destination}" }')
    return dashboard(
        "Top talkers",
        "The heaviest hosts and conversations of the last minute. " + WANTS.format("top") + " A click on a row leads to its flows.",
        [
            panel("bargauge", "Conversations", promql(top("conversation", "source, destination, transport, port", 20), "{{source}} → {{destination}} {{transport}} {{port}}"), unit="bps", width=24, height=12, link=both, text="The port is the server's. Each direction is a conversation of its own."),
            panel("bargauge", "Sources", promql(top("source", "source"), "{{source}}"), unit="bps", height=10, link=source),
            panel("bargauge", "Destinations", promql(top("destination", "destination"), "{{destination}}"), unit="bps", height=10, link=destination),
            row("Over time"),
            panel("timeseries", "Conversations over time", promql(top("conversation", "source, destination, transport, port"), "{{source}} → {{destination}} {{transport}} {{port}}"), unit="bps", width=24, link=both),
            panel("timeseries", "Sources over time", promql(top("source", "source"), "{{source}}"), unit="bps", link=source),
            panel("timeseries", "Destinations over time", promql(top("destination", "destination"), "{{destination}}"), unit="bps", link=destination),
        ],
    )  # fmt: skip


MADE = {
    "overview": overview(),
    "interfaces": interfaces(),
    "applications": applications(),
    "networks": networks(),
    "talkers": talkers(),
    "daemon": daemon(),
    "flows": flows(),
    "exporter": exporter(),
}


def main():
    stale = []
    for name, made in MADE.items():
        path = FOLDER / f"{name}.json"
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        if sys.argv[1:] == ["--check"]:
            if not path.exists() or path.read_text() != text:
                stale.append(str(path))
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"not as {sys.argv[0]} writes them: {', '.join(stale)}")


if __name__ == "__main__":
    main()
