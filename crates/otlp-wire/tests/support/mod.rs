//! Requests of the generated types: strategies for property tests, and short ways to build one.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A request of one `ResourceSpans` with one `ScopeSpans`.
pub(crate) fn request_of(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans("a", spans)],
    }
}

/// The spans of one exporter, whose name is the only attribute of the resource.
pub(crate) fn resource_spans(exporter: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text_attribute("exporter", exporter)],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "n".into(),
                ..Default::default()
            }),
            spans,
            schema_url: "s".into(),
        }],
        schema_url: "r".into(),
    }
}

pub(crate) fn text_attribute(key: &str, text: &str) -> KeyValue {
    attribute(key, Value::StringValue(text.into()))
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        key_strindex: 0,
    }
}

/// Any request that the JSON reader of the generated types can read back in full.
pub(crate) fn requests() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (option::of(scopes()), vec(spans(), 0..5), texts()).prop_map(
        |(scope, spans, schema_url)| ScopeSpans {
            scope,
            spans,
            schema_url,
        },
    );
    let resource_spans = (option::of(resources()), vec(scope_spans, 0..4), texts()).prop_map(
        |(resource, scope_spans, schema_url)| ResourceSpans {
            resource,
            scope_spans,
            schema_url,
        },
    );
    vec(resource_spans, 0..4)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        3 => vec(any::<char>(), 0..12).prop_map(String::from_iter),
        1 => Just(String::from("netflow.flow")),
        1 => "[\\x00-\\x7f]{0,40}",
    ]
}

fn ids() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![1; 16]), vec(any::<u8>(), 0..=16)]
}

/// Doubles that serde_json reads to the last bit: eighths.
fn doubles() -> impl Strategy<Value = f64> {
    any::<i32>().prop_map(|value| f64::from(value) / 8.0)
}

fn values() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        texts().prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        doubles().prop_map(|value| Some(Value::DoubleValue(value))),
        vec(any::<u8>(), 0..130).prop_map(|octets| Some(Value::BytesValue(octets))),
        Just(None),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 4, |inner| {
        let array =
            vec(inner.clone(), 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        let list = vec((texts(), option::of(inner)), 0..4).prop_map(|entries| {
            let values = entries
                .into_iter()
                .map(|(key, value)| KeyValue {
                    key,
                    value,
                    key_strindex: 0,
                })
                .collect();
            Value::KvlistValue(KeyValueList { values })
        });
        prop_oneof![array, list].prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let entry = (
        texts(),
        option::weighted(0.9, values()),
        prop_oneof![9 => Just(0), 1 => any::<i32>()],
    )
        .prop_map(|(key, value, key_strindex)| KeyValue {
            key,
            value,
            key_strindex,
        });
    vec(entry, 0..4)
}

fn resources() -> impl Strategy<Value = Resource> {
    let entity_ref = (texts(), texts(), vec(texts(), 0..3), vec(texts(), 0..3)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys,
        },
    );
    (attributes(), any::<u32>(), vec(entity_ref, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    )
}

fn scopes() -> impl Strategy<Value = InstrumentationScope> {
    (texts(), texts(), attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    (any::<u64>(), texts(), attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn links() -> impl Strategy<Value = Link> {
    (
        ids(),
        ids(),
        texts(),
        attributes(),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
                trace_id,
                span_id,
                trace_state,
                attributes,
                dropped_attributes_count,
                flags,
            },
        )
}

pub(crate) fn spans() -> impl Strategy<Value = Span> {
    let status = (texts(), prop_oneof![0..3, any::<i32>()])
        .prop_map(|(message, code)| Status { message, code });
    let head = (ids(), ids(), texts(), ids(), any::<u32>(), texts());
    let times = (prop_oneof![0..6, any::<i32>()], any::<u64>(), any::<u64>());
    let rest = (
        attributes(),
        vec(events(), 0..2),
        vec(links(), 0..2),
        option::of(status),
    );
    let dropped = prop_oneof![Just([0; 3]), any::<[u32; 3]>()];
    (head, times, rest, dropped).prop_map(|(head, times, rest, dropped)| {
        let (trace_id, span_id, trace_state, parent_span_id, flags, name) = head;
        let (kind, start_time_unix_nano, end_time_unix_nano) = times;
        let (attributes, events, links, status) = rest;
        let [
            dropped_attributes_count,
            dropped_events_count,
            dropped_links_count,
        ] = dropped;
        Span {
            trace_id,
            span_id,
            trace_state,
            parent_span_id,
            flags,
            name,
            kind,
            start_time_unix_nano,
            end_time_unix_nano,
            attributes,
            dropped_attributes_count,
            events,
            dropped_events_count,
            links,
            dropped_links_count,
            status,
        }
    })
}
