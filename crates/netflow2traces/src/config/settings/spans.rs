//! Settings: the shape of traces, and what their spans contain.

use std::time::Duration;

use super::{HOUR, SECOND};
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values::{self, choice};
use crate::config::{
    AttributeLevel, SamplerKind, Semconv, ServiceGraph, ServiceName, SpanName, SpanTime, TraceShape,
};

settings! { SPANS:
    TRACE_SHAPE: TraceShape {
        section: Spans,
        variables: ["NETFLOW_TRACE_SHAPE"],
        flag: "trace-shape",
        placeholder: "SHAPE",
        preset: Preset::Text("packet"),
        accepted: "packet, flow, conversation",
        summary: "What makes a trace",
        details: "`packet`: each datagram is a trace. Its root `netflow.export` describes how it was \
            processed, and each flow record in it is a span `netflow.flow`. `flow`: each record is \
            a trace of one span. `conversation`: the records of one pair of endpoints (addresses, \
            ports and protocol), in both directions and of all exporters, share a trace, at most \
            1,000 of them; a conversation has another trace in each `NETFLOW_CONVERSATION_WINDOW`. \
            With `flow` and `conversation` there are no spans about the work on a datagram.",
        parse: |text| choice(text, &[
            ("packet", TraceShape::Packet),
            ("flow", TraceShape::Flow),
            // Its settings are filled in when all are read.
            ("conversation", TraceShape::Conversation { window: Duration::ZERO, key: None }),
        ]),
    }
    CONVERSATION_WINDOW: Duration {
        section: Spans,
        variables: ["NETFLOW_CONVERSATION_WINDOW"],
        flag: "conversation-window",
        placeholder: "DURATION",
        preset: Preset::Text("10m"),
        accepted: "a duration from 10s to 24h, such as 10m",
        summary: "How long a conversation keeps its trace",
        details: "Applies to `NETFLOW_TRACE_SHAPE=conversation`. A flow belongs to the window in which it ended, so \
            a conversation that continues into the next window has two traces.",
        parse: |text| values::duration(text, 10 * SECOND..=24 * HOUR),
    }
    CONVERSATION_KEY: [u8; 16] {
        section: Spans,
        variables: ["NETFLOW_CONVERSATION_KEY"],
        flag: "conversation-key",
        placeholder: "KEY",
        preset: Preset::Nothing("random; kept with the template store if there is one"),
        accepted: "32 hexadecimal digits, such as those of openssl rand -hex 16",
        summary: "Key of the hash from which trace IDs of conversations are made",
        details: "With the same key on every replica, a conversation has the same trace on all of \
            them and after a restart.",
        secrecy: Secret,
        parse: values::key,
    }
    SPAN_NAME: SpanName {
        section: Spans,
        variables: ["NETFLOW_SPAN_NAME"],
        flag: "span-name",
        placeholder: "NAME",
        preset: Preset::Text("schema"),
        accepted: "schema, service",
        summary: "Name of flow spans",
        details: "`schema`: `netflow.flow`, or `flow_ipv4_tcp` and the like with `NETFLOW_SEMCONV=flow`. `service`: \
            the service of the server's port (`https`, `dns`), or the transport (`tcp`) if the port has none, so \
            that a list of traces is meaningful.",
        parse: |text| choice(text, &[
            ("schema", SpanName::Schema),
            ("service", SpanName::Service),
        ]),
    }
    NAMED_SERVICE: ServiceName {
        section: Spans,
        variables: ["NETFLOW_SERVICE_NAME"],
        flag: "service-name-of",
        placeholder: "WHOSE",
        preset: Preset::Text("fixed"),
        accepted: "fixed, exporter",
        summary: "Where the service name of spans comes from",
        details: "`fixed`: `OTEL_SERVICE_NAME` for all. `exporter`: the exporter's name, if a line of \
            `NETFLOW_NETWORKS` is for its address alone (`192.0.2.1,edge-1`), otherwise its address (sFlow: the agent's), \
            so that a backend's list of services shows the exporters.",
        parse: |text| choice(text, &[
            ("fixed", ServiceName::Fixed),
            ("exporter", ServiceName::Exporter),
        ]),
    }
    SERVICE_GRAPH: ServiceGraph {
        section: Spans,
        variables: ["NETFLOW_SERVICE_GRAPH"],
        flag: "service-graph",
        placeholder: "HOW",
        preset: Preset::Text("none"),
        accepted: "none, spans",
        summary: "Whether backends can draw a service graph from flow spans",
        details: "`spans` needs `NETFLOW_TRACE_SHAPE=flow`: the span of a request has the kind CLIENT, the network \
            of its client as `service.name` and the network of its server as `peer.service`, both by their names in \
            `NETFLOW_NETWORKS`, or `other`. Zipkin and the metrics generator of Tempo then draw the graph that the \
            view `service_graph` of `NETFLOW_METRICS` counts; docs/traces.md says how.",
        parse: |text| choice(text, &[
            ("none", ServiceGraph::None),
            ("spans", ServiceGraph::Spans),
        ]),
    }
    SPAN_TIME: SpanTime {
        section: Spans,
        variables: ["NETFLOW_SPAN_TIME"],
        flag: "span-time",
        placeholder: "TIME",
        preset: Preset::Text("flow"),
        accepted: "flow, received, clamped",
        summary: "When a flow's span starts and ends",
        details: "`flow`: the flow's own times. `received`: the time of processing. `clamped`: the flow's own times, \
            unless it ended longer ago than `NETFLOW_SPAN_MAX_AGE`; then its times are shifted so that it ends when \
            it was received. Choose `clamped` if your backend ignores spans of the past, as Tempo's metrics \
            generator does. If the span's times aren't the flow's own, `netflow.flow.start_unix_nano` and \
            `netflow.flow.end_unix_nano` have the flow's own times.",
        parse: |text| choice(text, &[
            ("flow", SpanTime::Flow),
            ("received", SpanTime::Received),
            ("clamped", SpanTime::Clamped),
        ]),
    }
    SPAN_MAX_AGE: Duration {
        section: Spans,
        variables: ["NETFLOW_SPAN_MAX_AGE"],
        flag: "span-max-age",
        placeholder: "DURATION",
        preset: Preset::Text("25s"),
        accepted: "a duration from 1s to 24h, such as 25s",
        summary: "How old a span may be with NETFLOW_SPAN_TIME=clamped",
        details: "The default fits the metrics generator of Tempo, which by default ignores spans \
            that ended more than 30 seconds ago.",
        parse: |text| values::duration(text, SECOND..=24 * HOUR),
    }
    ATTRIBUTES: AttributeLevel {
        section: Spans,
        variables: ["NETFLOW_ATTRIBUTES"],
        flag: "attributes",
        placeholder: "LEVEL",
        preset: Preset::Text("standard"),
        accepted: "minimal, standard, all",
        summary: "How many attributes a flow span has",
        details: "`minimal`: addresses, ports, protocol, counters, interfaces, next hop and AS \
            numbers. `standard`: also flags, VLANs, MAC addresses, NAT, MPLS, names, sampling \
            and more, where the exporter sends them. `all`: every other element too, as \
            `ipfix.<name>`. More attributes make larger spans.",
        parse: |text| choice(text, &[
            ("minimal", AttributeLevel::Minimal),
            ("standard", AttributeLevel::Standard),
            ("all", AttributeLevel::All),
        ]),
    }
    SEMCONV: Semconv {
        section: Spans,
        variables: ["NETFLOW_SEMCONV"],
        flag: "semconv",
        placeholder: "SCHEMA",
        preset: Preset::Text("netflow"),
        accepted: "netflow, flow, both",
        summary: "Which names attributes have",
        details: "`netflow`: `netflow.flow.bytes` and so on. `flow`: the names for network flows that the Mermin \
            project documents and OpenTelemetry's open proposals use, such as `flow.bytes.delta` and \
            `source.as.number`; attributes without such a name keep their `netflow` name. `both`: every attribute \
            under each of its names, for a transition period; spans become larger. docs/attributes.md has both names \
            of each attribute.",
        parse: |text| choice(text, &[
            ("netflow", Semconv::Netflow),
            ("flow", Semconv::Flow),
            ("both", Semconv::Both),
        ]),
    }
    TRACES_SAMPLER: SamplerKind {
        section: Spans,
        variables: ["OTEL_TRACES_SAMPLER"],
        flag: "traces-sampler",
        placeholder: "SAMPLER",
        preset: Preset::Text("always_on"),
        accepted: "always_on, always_off, traceidratio, parentbased_always_on, \
            parentbased_always_off, parentbased_traceidratio",
        summary: "Which traces to keep",
        details: "The decision is made for each trace as a whole. Records that the sampler leaves out are counted. \
            Flows have no parent spans in other systems, so the `parentbased_` forms do the same as the plain ones.",
        parse: |text| choice(text, &[
            ("always_on", SamplerKind::AlwaysOn),
            ("always_off", SamplerKind::AlwaysOff),
            ("traceidratio", SamplerKind::Ratio),
            ("parentbased_always_on", SamplerKind::AlwaysOn),
            ("parentbased_always_off", SamplerKind::AlwaysOff),
            ("parentbased_traceidratio", SamplerKind::Ratio),
        ]),
    }
    TRACES_SAMPLER_ARG: f64 {
        section: Spans,
        variables: ["OTEL_TRACES_SAMPLER_ARG"],
        flag: "traces-sampler-arg",
        placeholder: "SHARE",
        preset: Preset::Text("1.0"),
        accepted: "a number from 0 to 1",
        summary: "The share of traces that traceidratio keeps",
        details: "`0.1` keeps one trace in ten.",
        parse: values::ratio,
    }
}
