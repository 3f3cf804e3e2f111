//! Spans as a backend got them, with their resource, and the shape that a datagram's trace has.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

use crate::backend::{FakeBackend, Received};

pub(crate) type Attributes = BTreeMap<String, Value>;

/// A span that the backend accepted.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) resource: Attributes,
    pub(crate) scope: String,
    pub(crate) attributes: Attributes,
    pub(crate) span: Span,
}

impl Seen {
    pub(crate) fn exporter(&self) -> &str {
        self.resource["netflow.exporter.address"].as_str().unwrap()
    }
}

/// All spans that were accepted, in the order of their arrival.
pub(crate) fn accepted(received: &[Received]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for request in received.iter().filter(|request| request.accepted) {
        for of_resource in &request.request.resource_spans {
            let resource = of_resource.resource.as_ref().unwrap();
            for of_scope in &of_resource.scope_spans {
                seen.extend(of_scope.spans.iter().map(|span| Seen {
                    resource: attributes(&resource.attributes),
                    scope: of_scope.scope.clone().unwrap_or_default().name,
                    attributes: attributes(&span.attributes),
                    span: span.clone(),
                }));
            }
        }
    }
    seen
}

pub(crate) fn named<'a>(spans: &'a [Seen], name: &str) -> Vec<&'a Seen> {
    let has_name = spans.iter().filter(|seen| seen.span.name == name);
    has_name.collect()
}

/// Waits for whole traces with so many flow spans, which is to be all there is.
pub(crate) async fn flows_at(backend: &FakeBackend, flows: usize) -> Vec<Seen> {
    backend
        .until("flow spans", |received| {
            let spans = accepted(received);
            named(&spans, "netflow.flow").len() >= flows && are_whole(&spans)
        })
        .await;
    let spans = accepted(&backend.received());
    assert_eq!(named(&spans, "netflow.flow").len(), flows);
    spans
}

/// Whether every flow's trace has its root: a batch may end within a trace.
fn are_whole(spans: &[Seen]) -> bool {
    let roots: BTreeSet<_> = named(spans, "netflow.export")
        .iter()
        .map(|root| root.span.trace_id.clone())
        .collect();
    spans.iter().all(|seen| roots.contains(&seen.span.trace_id))
}

/// Asserts the shape of every trace: the four kinds of span, their parents, their times within each
/// other's; ids that are not zero and unique. Gives the traces with the root first.
pub(crate) fn assert_traces(spans: &[Seen]) -> Vec<Vec<&Seen>> {
    let ids: BTreeSet<_> = spans.iter().map(|seen| &seen.span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "span ids are unique");
    let mut traces: BTreeMap<&[u8], Vec<&Seen>> = BTreeMap::new();
    for seen in spans {
        let span = &seen.span;
        assert!(span.trace_id.len() == 16 && span.trace_id.iter().any(|octet| *octet != 0));
        assert!(span.span_id.len() == 8 && span.span_id.iter().any(|octet| *octet != 0));
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        assert_eq!(span.kind, 1, "INTERNAL: {span:?}");
        assert_eq!(span.status.as_ref().unwrap().code, 1, "OK: {span:?}");
        assert_eq!(seen.scope, "netflow2traces");
        traces.entry(&span.trace_id).or_default().push(seen);
    }
    let mut traces: Vec<_> = traces.into_values().collect();
    for trace in &mut traces {
        trace.sort_by_key(|seen| match seen.span.name.as_str() {
            "netflow.export" => 0,
            "netflow.parse_packet" => 1,
            "netflow.process_flows" => 2,
            "netflow.flow" => 3,
            other => panic!("a span named {other}"),
        });
        let [export, parse, process, flows @ ..] = trace.as_slice() else {
            panic!("{trace:#?}");
        };
        assert_eq!(export.span.name, "netflow.export");
        assert_eq!(parse.span.name, "netflow.parse_packet");
        assert_eq!(process.span.name, "netflow.process_flows");
        assert!(flows.iter().all(|flow| flow.span.name == "netflow.flow"));
        assert!(export.span.parent_span_id.is_empty());
        for work in [parse, process] {
            assert_eq!(work.span.parent_span_id, export.span.span_id);
            assert!(export.span.start_time_unix_nano <= work.span.start_time_unix_nano);
            assert!(work.span.end_time_unix_nano <= export.span.end_time_unix_nano);
        }
        assert!(parse.span.end_time_unix_nano <= process.span.start_time_unix_nano);
        for flow in flows {
            assert_eq!(flow.span.parent_span_id, process.span.span_id);
        }
        let exporter = export.attributes["netflow.exporter.address"]
            .as_str()
            .unwrap();
        assert!(trace.iter().all(|seen| seen.exporter() == exporter));
        let count = export.attributes["netflow.flow.count"].as_u64();
        assert_eq!(count, Some(flows.len() as u64));
    }
    traces
}

pub(crate) fn attributes(attributes: &[KeyValue]) -> Attributes {
    let mut all = Attributes::new();
    for attribute in attributes {
        let known = all.insert(
            attribute.key.clone(),
            value(attribute.value.as_ref().unwrap()),
        );
        assert!(known.is_none(), "{} stands twice", attribute.key);
    }
    all
}

fn value(value: &AnyValue) -> Value {
    match value.value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.as_str().into(),
        any_value::Value::BoolValue(flag) => (*flag).into(),
        any_value::Value::IntValue(number) => (*number).into(),
        other => panic!("an attribute of this kind is not expected: {other:?}"),
    }
}
