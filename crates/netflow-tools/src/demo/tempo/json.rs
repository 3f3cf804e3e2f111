//! OTLP messages as Tempo writes them in JSON: protobuf's own JSON mapping, in which ids are base64,
//! 64-bit numbers are text, enumerations are names, and what has its default value is left out.
//! (OTLP/JSON differs from it: hexadecimal ids and numbers for enumerations.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use otlp_wire::messages::{
    AnyValue, InstrumentationScope, KeyValue, Span, Status,
    any_value::Value as Attribute,
    span::{Event, Link, SpanKind},
    status::StatusCode,
};
use serde_json::{Map, Value, json};

use crate::demo::query;
use crate::demo::store::{Batch, StoredTrace};

/// The batches of a trace: `batches` of `/api/traces`, `resourceSpans` of `/api/v2/traces`.
pub(super) fn batches(trace: &StoredTrace) -> Value {
    trace.batches.iter().map(batch).collect()
}

/// A list of attributes.
pub(super) fn attributes(attributes: &[(String, query::Value<'_>)]) -> Value {
    let each = attributes.iter().map(|(key, value)| {
        let value = match value {
            query::Value::Int(int) => json!({ "intValue": int.to_string() }),
            query::Value::Float(float) => json!({ "doubleValue": double(*float) }),
            query::Value::Bool(bool) => json!({ "boolValue": bool }),
            text => json!({ "stringValue": text.to_text() }),
        };
        json!({ "key": key, "value": value })
    });
    each.collect()
}

fn batch(batch: &Batch) -> Value {
    let origin = &batch.origin;
    let mut resource = Object::default();
    resource.list(
        "attributes",
        origin.resource.attributes.iter().map(key_value),
    );
    resource.count(
        "droppedAttributesCount",
        origin.resource.dropped_attributes_count,
    );
    let mut scope_spans = Object::default();
    if let Some(scope) = &origin.scope {
        scope_spans
            .0
            .insert("scope".to_owned(), instrumentation_scope(scope));
    }
    scope_spans.list("spans", batch.spans.iter().map(span));
    scope_spans.text("schemaUrl", &origin.scope_schema_url);
    let mut out = Object::default();
    out.0
        .insert("resource".to_owned(), Value::Object(resource.0));
    out.list("scopeSpans", std::iter::once(Value::Object(scope_spans.0)));
    out.text("schemaUrl", &origin.resource_schema_url);
    Value::Object(out.0)
}

fn instrumentation_scope(scope: &InstrumentationScope) -> Value {
    let mut out = Object::default();
    out.text("name", &scope.name);
    out.text("version", &scope.version);
    out.list("attributes", scope.attributes.iter().map(key_value));
    out.count("droppedAttributesCount", scope.dropped_attributes_count);
    Value::Object(out.0)
}

fn span(span: &Span) -> Value {
    let mut out = Object::default();
    out.octets("traceId", &span.trace_id);
    out.octets("spanId", &span.span_id);
    out.text("traceState", &span.trace_state);
    out.octets("parentSpanId", &span.parent_span_id);
    out.count("flags", span.flags);
    out.text("name", &span.name);
    if span.kind() != SpanKind::Unspecified {
        out.text("kind", span.kind().as_str_name());
    }
    out.nanos("startTimeUnixNano", span.start_time_unix_nano);
    out.nanos("endTimeUnixNano", span.end_time_unix_nano);
    out.list("attributes", span.attributes.iter().map(key_value));
    out.count("droppedAttributesCount", span.dropped_attributes_count);
    out.list("events", span.events.iter().map(event));
    out.count("droppedEventsCount", span.dropped_events_count);
    out.list("links", span.links.iter().map(link));
    out.count("droppedLinksCount", span.dropped_links_count);
    if let Some(known) = &span.status {
        out.0.insert("status".to_owned(), status(known));
    }
    Value::Object(out.0)
}

fn status(status: &Status) -> Value {
    let mut out = Object::default();
    out.text("message", &status.message);
    if status.code() != StatusCode::Unset {
        out.text("code", status.code().as_str_name());
    }
    Value::Object(out.0)
}

fn event(event: &Event) -> Value {
    let mut out = Object::default();
    out.nanos("timeUnixNano", event.time_unix_nano);
    out.text("name", &event.name);
    out.list("attributes", event.attributes.iter().map(key_value));
    out.count("droppedAttributesCount", event.dropped_attributes_count);
    Value::Object(out.0)
}

fn link(link: &Link) -> Value {
    let mut out = Object::default();
    out.octets("traceId", &link.trace_id);
    out.octets("spanId", &link.span_id);
    out.text("traceState", &link.trace_state);
    out.list("attributes", link.attributes.iter().map(key_value));
    out.count("droppedAttributesCount", link.dropped_attributes_count);
    out.count("flags", link.flags);
    Value::Object(out.0)
}

fn key_value(attribute: &KeyValue) -> Value {
    let mut out = Object::default();
    out.text("key", &attribute.key);
    if let Some(value) = &attribute.value {
        out.0.insert("value".to_owned(), any_value(value));
    }
    Value::Object(out.0)
}

/// Nesting is as deep as prost decoded it, which is at most its recursion limit of 100.
fn any_value(value: &AnyValue) -> Value {
    match &value.value {
        Some(Attribute::StringValue(text)) => json!({ "stringValue": text }),
        Some(Attribute::BoolValue(bool)) => json!({ "boolValue": bool }),
        Some(Attribute::IntValue(int)) => json!({ "intValue": int.to_string() }),
        Some(Attribute::DoubleValue(float)) => json!({ "doubleValue": double(*float) }),
        Some(Attribute::BytesValue(octets)) => json!({ "bytesValue": BASE64.encode(octets) }),
        Some(Attribute::ArrayValue(array)) => {
            let mut out = Object::default();
            out.list("values", array.values.iter().map(any_value));
            json!({ "arrayValue": out.0 })
        }
        Some(Attribute::KvlistValue(list)) => {
            let mut out = Object::default();
            out.list("values", list.values.iter().map(key_value));
            json!({ "kvlistValue": out.0 })
        }
        _ => json!({}),
    }
}

/// JSON has no numbers that aren't finite; protobuf's mapping has names for them.
fn double(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

/// A message whose fields with default values are left out.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value.into());
        }
    }

    fn octets(&mut self, key: &str, value: &[u8]) {
        self.text(key, &BASE64.encode(value));
    }

    fn count(&mut self, key: &str, value: u32) {
        if value != 0 {
            self.0.insert(key.to_owned(), value.into());
        }
    }

    fn nanos(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.text(key, &value.to_string());
        }
    }

    fn list(&mut self, key: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.collect();
        if !values.is_empty() {
            self.0.insert(key.to_owned(), Value::Array(values));
        }
    }
}
