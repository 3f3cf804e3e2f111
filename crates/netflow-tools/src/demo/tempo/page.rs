//! A trace as a page for browsers: its spans as a tree, each with its attributes. No script, nothing from elsewhere.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::header;
use otlp_wire::messages::{AnyValue, KeyValue, Span, any_value::Value};

use super::ApiError;
use super::by_id::stored_trace;
use crate::demo::store::{Batch, StoredTrace, TraceStore};

/// Spans that a browser shows without effort.
const MAX_SPANS: usize = 1000;
/// Steps of indentation; deeper spans stand as far in as these.
const MAX_DEPTH: usize = 8;

/// Texts are escaped; this forbids whatever could be loaded or run nevertheless.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{max-width:70rem;margin:0 auto;padding:1rem;font:14px/1.5 system-ui,sans-serif}\
h1{font-size:1.2rem;overflow-wrap:anywhere}ol{list-style:none;margin:0;padding:0}\
summary{padding:.25rem .4rem;cursor:pointer;overflow-wrap:anywhere}\
summary:hover{background:light-dark(#eef1f4,#262c33)}\
time,.at{color:light-dark(#57616b,#9ca8b3)}\
table{margin:.2rem 0 .8rem 1.4rem;border-collapse:collapse;font:12px/1.5 ui-monospace,monospace}\
th,td{padding:.1rem 1rem .1rem 0;text-align:start;vertical-align:top;font-weight:400;overflow-wrap:anywhere}\
th{color:light-dark(#57616b,#9ca8b3)}";

pub(super) async fn page(
    State(store): State<TraceStore>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let trace = stored_trace(&store, &id)?;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Html(html(&trace))).into_response())
}

fn html(trace: &StoredTrace) -> String {
    let id = hex(&trace.id);
    let rows = tree(trace);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Trace {id}</title><style>{STYLE}</style></head><body><main>\
         <h1>Trace {id}</h1><p>{} spans in the demo's backend, {} from <time>{}</time>. \
         <a href=\"/api/traces/{id}\">The same as JSON</a></p><ol>\n",
        rows.len(),
        milliseconds(trace.end.saturating_sub(trace.start)),
        utc(trace.start),
    );
    for (depth, batch, span) in rows.iter().take(MAX_SPANS) {
        let _infallible = write!(
            text,
            "<li style=\"margin-inline-start:{}rem\"><details><summary>{} <span class=\"at\">at {}, for {}</span></summary><table>",
            depth.min(&MAX_DEPTH) * 2,
            escaped(&title(span)),
            milliseconds(span.start_time_unix_nano.saturating_sub(trace.start)),
            milliseconds(
                span.end_time_unix_nano
                    .saturating_sub(span.start_time_unix_nano)
            ),
        );
        let own = [
            ("name", span.name.clone()),
            ("span id", hex(&span.span_id)),
            ("starts", utc(span.start_time_unix_nano)),
            ("ends", utc(span.end_time_unix_nano)),
        ];
        let status = span.status.iter().map(|status| status.message.clone());
        let status = status.filter(|message| !message.is_empty());
        for (key, value) in own
            .into_iter()
            .chain(status.map(|message| ("status", message)))
        {
            row(&mut text, key, &value);
        }
        let resource = batch.origin.resource.attributes.iter();
        for KeyValue { key, value, .. } in span.attributes.iter().chain(resource) {
            row(&mut text, key, &plain(value.as_ref()));
        }
        text.push_str("</table></details></li>\n");
    }
    text.push_str("</ol>");
    if rows.len() > MAX_SPANS {
        let _infallible = write!(text, "<p>Only the first {MAX_SPANS} spans are shown.</p>");
    }
    text.push_str("</main></body></html>\n");
    text
}

fn row(text: &mut String, key: &str, value: &str) {
    let (key, value) = (escaped(key), escaped(value));
    let _infallible = write!(
        text,
        "<tr><th scope=\"row\">{key}</th><td>{value}</td></tr>"
    );
}

/// Spans in the order of a tree, earlier ones first, each with its depth. A span without a known parent is a root.
fn tree(trace: &StoredTrace) -> Vec<(usize, &Batch, &Span)> {
    let mut spans: Vec<(&Batch, &Span)> = trace
        .batches
        .iter()
        .flat_map(|batch| batch.spans.iter().map(move |span| (batch, span)))
        .collect();
    spans.sort_by_key(|(_, span)| std::cmp::Reverse(span.start_time_unix_nano));
    let places: HashMap<&[u8], usize> = spans
        .iter()
        .enumerate()
        .map(|(at, (_, span))| (span.span_id.as_slice(), at))
        .collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut roots = Vec::new();
    for (at, (_, span)) in spans.iter().enumerate() {
        match places.get(span.parent_span_id.as_slice()) {
            Some(&parent) if parent != at => children[parent].push(at),
            _ => roots.push(at),
        }
    }
    let mut rows = Vec::with_capacity(spans.len());
    // What was pushed last comes first: the earliest. Each span has one parent, so that no one is met twice.
    let mut open: Vec<(usize, usize)> = roots.into_iter().map(|at| (0, at)).collect();
    while let Some((depth, at)) = open.pop() {
        let (batch, span) = spans[at];
        rows.push((depth, batch, span));
        open.extend(children[at].iter().map(|child| (depth + 1, *child)));
    }
    rows
}

/// A flow's ends, or the span's name.
fn title(span: &Span) -> String {
    let end = |side: &str| {
        let of = |name: &str| {
            let key = format!("{side}.{name}");
            let found = span
                .attributes
                .iter()
                .find(|attribute| attribute.key == key);
            found.map(|attribute| plain(attribute.value.as_ref()))
        };
        let address = of("address")?;
        Some(match of("port") {
            Some(port) if address.contains(':') => format!("[{address}]:{port}"),
            Some(port) => format!("{address}:{port}"),
            None => address,
        })
    };
    match (end("source"), end("destination")) {
        (Some(source), Some(destination)) => format!("{source} → {destination}"),
        _ => span.name.clone(),
    }
}

fn plain(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(bool)) => bool.to_string(),
        Some(Value::IntValue(int)) => int.to_string(),
        Some(Value::DoubleValue(float)) => float.to_string(),
        Some(Value::BytesValue(octets)) => hex(octets),
        Some(Value::ArrayValue(list)) => {
            let values: Vec<_> = list.values.iter().map(|value| plain(Some(value))).collect();
            values.join(", ")
        }
        Some(Value::KvlistValue(list)) => {
            let pair = |pair: &KeyValue| format!("{}={}", pair.key, plain(pair.value.as_ref()));
            let values: Vec<_> = list.values.iter().map(pair).collect();
            values.join(", ")
        }
        _ => String::new(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}

fn milliseconds(nanos: u64) -> String {
    format!("{}.{:03} ms", nanos / 1_000_000, nanos / 1_000 % 1_000)
}

fn utc(nanos: u64) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    humantime::format_rfc3339_nanos(at).to_string()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
