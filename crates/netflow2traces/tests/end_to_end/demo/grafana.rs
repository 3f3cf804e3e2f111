//! What Grafana's Tempo data source asks, in the form that it asks, read in the form that it reads:
//! "Save & test", searches of the builder and of the editor, completion of names and values, and
//! a trace that is opened.

use http::{StatusCode, header};
use netflow2traces::demo::{Backend, BackendOptions};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message;
use serde::Deserialize;
use serde_json::Value;

use super::rig::{T0, attribute, get, id, insert, json_of, request, start};

/// The numbers of 64 bits are texts, the milliseconds are 32 bits: another form is an error for all
/// that was found.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundTrace {
    #[serde(rename = "traceID")]
    trace_id: String,
    root_service_name: String,
    root_trace_name: String,
    start_time_unix_nano: String,
    duration_ms: u32,
    span_sets: Vec<SpanSet>,
}

#[derive(Debug, Deserialize)]
struct SpanSet {
    spans: Vec<FoundSpan>,
    matched: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundSpan {
    #[serde(rename = "spanID")]
    span_id: String,
    start_time_unix_nano: String,
    duration_nanos: String,
    #[serde(default)]
    attributes: Vec<FoundAttribute>,
}

#[derive(Debug, Deserialize)]
struct FoundAttribute {
    key: String,
    value: FoundValue,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FoundValue {
    string_value: Option<String>,
    int_value: Option<String>,
}

/// As a browser encodes a part of an address.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Two traces, to port 443 and to port 53.
async fn with_traces() -> Backend {
    let backend = start(BackendOptions::default()).await;
    for (trace, exporter, port) in [(1, "10.0.0.1", 443), (2, "10.0.0.2", 53)] {
        let request = request(trace, exporter, port);
        insert(&backend, &request);
    }
    backend
}

fn flow(request: &mut ExportTraceServiceRequest) -> &mut Span {
    &mut request.resource_spans[0].scope_spans[0].spans[1]
}

async fn search(backend: &Backend, query: &str) -> Vec<FoundTrace> {
    let (from, to) = (T0 / 1_000_000_000 - 3_600, T0 / 1_000_000_000 + 60);
    let query = encoded(query);
    let path = format!("/api/search?q={query}&limit=20&spss=3&start={from}&end={to}");
    let mut answer = json_of(backend, &path).await;
    serde_json::from_value(answer["traces"].take()).unwrap()
}

#[tokio::test]
async fn save_and_test_succeeds() {
    let backend = start(BackendOptions::default()).await;
    let (status, _, _) = get(&backend, "/api/echo", &[]).await;
    assert_eq!(status, StatusCode::OK);
    let info = json_of(&backend, "/api/status/buildinfo").await;
    let version = info["version"].as_str().unwrap();
    let parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert_eq!(parts.len(), 3, "{version} is a semantic version");
}

#[tokio::test]
async fn found_traces_have_the_form_that_is_read() {
    let backend = with_traces().await;
    let query = r#"{resource.service.name="netflow-to-traces" && span.destination.port>100} | select(span.network.transport)"#;
    let found = search(&backend, query).await;
    assert_eq!(found.len(), 1);
    let trace = &found[0];
    assert_eq!(trace.trace_id, id(1));
    assert_eq!(trace.root_service_name, "netflow-to-traces");
    assert_eq!(trace.root_trace_name, "netflow.export");
    assert_eq!(trace.start_time_unix_nano, T0.to_string());
    assert_eq!(trace.duration_ms, 2_000);
    assert_eq!(trace.span_sets[0].matched, 1);
    let span = &trace.span_sets[0].spans[0];
    assert_eq!(span.span_id, "02".repeat(8));
    assert_eq!(span.start_time_unix_nano, (T0 + 500_000_000).to_string());
    assert_eq!(span.duration_nanos, "1500000000");
    let value = |key: &str| {
        let found = span.attributes.iter().find(|it| it.key == key).unwrap();
        let value = &found.value;
        value.string_value.clone().or(value.int_value.clone())
    };
    assert_eq!(value("destination.port").as_deref(), Some("443"));
    assert_eq!(value("network.transport").as_deref(), Some("tcp"));
}

/// Flows of an old capture, replayed today: the trace lasts from then until now.
#[tokio::test]
async fn a_trace_of_decades_does_not_spoil_the_others() {
    let backend = with_traces().await;
    let mut long = request(3, "10.0.0.3", 443);
    flow(&mut long).start_time_unix_nano = T0 - 1_000_000_000 * 86_400 * 365 * 20;
    insert(&backend, &long);
    let found = search(&backend, "{span.destination.port=443}").await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].duration_ms, u32::MAX);
}

#[tokio::test]
async fn queries_of_the_builder_and_the_editor_are_understood() {
    let backend = with_traces().await;
    for (query, expected) in [
        ("{}", vec![2, 1]),
        (
            r#"{resource.service.name="netflow-to-traces" && name="netflow.flow"}"#,
            vec![2, 1],
        ),
        // Several values of one tag.
        (
            "{(span.destination.port=443 || span.destination.port=80)}",
            vec![1],
        ),
        (
            r#"{name=~"netflow\\.flow|netflow\\.export" && kind=internal}"#,
            vec![2, 1],
        ),
        (
            r#"{.netflow.exporter.address!~"10\\.0\\.0\\.1|x"}"#,
            vec![2],
        ),
        ("{traceDuration>1s && duration<1s}", vec![2, 1]),
        (
            "{status=ok && span:status=ok && trace:duration>100ms}",
            vec![2, 1],
        ),
        (
            r#"{span:name="netflow.flow"} with (most_recent=true)"#,
            vec![2, 1],
        ),
        (r#"{instrumentation:name="netflow2traces"}"#, vec![2, 1]),
        (r#"{span:parentID="0101010101010101"}"#, vec![2, 1]),
        (
            r#"{event:name="x" || link:spanID="y" || event.a=1 || link.a=1 || instrumentation.a=1}"#,
            vec![],
        ),
    ] {
        let found = search(&backend, query).await;
        let found: Vec<String> = found.into_iter().map(|trace| trace.trace_id).collect();
        let expected: Vec<String> = expected.into_iter().map(id).collect();
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn names_of_every_scope_are_reported() {
    let backend = with_traces().await;
    let mut other = request(3, "10.0.0.3", 443);
    flow(&mut other).events.push(Event {
        name: "seen".to_owned(),
        time_unix_nano: T0 + 750_000_000,
        attributes: vec![attribute("at", Attribute::IntValue(1))],
        ..Event::default()
    });
    flow(&mut other).links.push(Link {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        attributes: vec![attribute("to", Attribute::IntValue(1))],
        ..Link::default()
    });
    let scope = other.resource_spans[0].scope_spans[0]
        .scope
        .as_mut()
        .unwrap();
    scope
        .attributes
        .push(attribute("by", Attribute::IntValue(1)));
    insert(&backend, &other);

    let (from, to) = (T0 / 1_000_000_000 - 60, T0 / 1_000_000_000 + 60);
    let path = format!("/api/v2/search/tags?limit=5000&start={from}&end={to}");
    let answer = json_of(&backend, &path).await;
    let scopes = answer["scopes"].as_array().unwrap();
    let names = |scope: &str| -> Vec<&str> {
        let found = scopes.iter().find(|it| it["name"] == scope).unwrap();
        let tags = found["tags"].as_array().unwrap().iter();
        tags.map(|tag| tag.as_str().unwrap()).collect()
    };
    assert_eq!(names("span"), ["destination.port", "network.transport"]);
    assert_eq!(names("event"), ["at"]);
    assert_eq!(names("link"), ["to"]);
    assert_eq!(names("instrumentation"), ["by"]);
    assert!(names("intrinsic").contains(&"instrumentation:name"));

    for (query, expected) in [
        ("{event.at=1 && link.to=1 && instrumentation.by=1}", 1),
        (r#"{event:name="seen" && event:timeSinceStart=250ms}"#, 1),
        (
            r#"{link:spanID="0202020202020202" && link:traceID=~"0101.*"}"#,
            1,
        ),
        ("{event.at=2}", 0),
    ] {
        assert_eq!(search(&backend, query).await.len(), expected, "{query}");
    }
}

/// The data source encodes the name of a tag twice, and lists intrinsics of its own beside ours.
#[tokio::test]
async fn values_are_reported_for_every_name_that_can_be_chosen() {
    let backend = with_traces().await;
    for (tag, expected) in [
        ("span.destination.port", vec![("int", "443"), ("int", "53")]),
        (".destination.port", vec![("int", "443"), ("int", "53")]),
        (
            "resource.service.name",
            vec![("string", "netflow-to-traces")],
        ),
        (
            "name",
            vec![("string", "netflow.export"), ("string", "netflow.flow")],
        ),
        (
            "span:name",
            vec![("string", "netflow.export"), ("string", "netflow.flow")],
        ),
        ("status", vec![("keyword", "ok")]),
        ("span:kind", vec![("keyword", "internal")]),
        ("rootServiceName", vec![("string", "netflow-to-traces")]),
        ("trace:rootName", vec![("string", "netflow.export")]),
        ("instrumentation:name", vec![("string", "netflow2traces")]),
        ("instrumentation:version", vec![]),
        ("trace:duration", vec![]),
        ("span:parentID", vec![]),
        ("event:name", vec![]),
        ("event:timeSinceStart", vec![]),
        ("link:traceID", vec![]),
        ("event.a", vec![]),
        (r#"span."a key""#, vec![]),
    ] {
        let (once, query) = (encoded(tag), encoded("{name!=\"x\" && }"));
        for name in [encoded(&once), once] {
            let path = format!("/api/v2/search/tag/{name}/values?limit=5000&q={query}");
            let answer = json_of(&backend, &path).await;
            let told = answer["tagValues"].as_array().unwrap().iter();
            let told: Vec<(&str, &str)> = told
                .map(|it| (it["type"].as_str().unwrap(), it["value"].as_str().unwrap()))
                .collect();
            assert_eq!(told, expected, "{path}");
        }
    }
    // Its way back to the first version of the API.
    let path = format!(
        "/api/search/tag/{}/values",
        encoded(&encoded("service.name"))
    );
    let answer = json_of(&backend, &path).await;
    assert_eq!(answer["tagValues"][0], "netflow-to-traces");
}

#[tokio::test]
async fn a_trace_is_opened() {
    let backend = with_traces().await;
    let protobuf = [("accept", "application/protobuf")];
    for parameters in ["", "?start=1699999000&end=1700009000"] {
        let path = format!("/api/v2/traces/{}{parameters}", id(1));
        let (status, headers, body) = get(&backend, &path, &protobuf).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::CONTENT_TYPE], "application/protobuf");
        // TraceByIDResponse: the trace is field 1, whole; nothing says that it is partial.
        assert_eq!(body[0], 0x0a);
        let trace = TracesData::decode_length_delimited(body.slice(1..)).unwrap();
        assert_eq!(
            trace.resource_spans,
            request(1, "10.0.0.1", 443).resource_spans
        );
    }
    // What isn't there is asked for by the first version too, and then said to be missing.
    for path in [
        format!("/api/v2/traces/{}", id(9)),
        format!("/api/traces/{}", id(9)),
    ] {
        let (status, _, body) = get(&backend, &path, &protobuf).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(String::from_utf8_lossy(&body).contains("not found"));
    }
}

/// Rates and the like are Tempo's: the panel says so.
#[tokio::test]
async fn metrics_of_traces_are_refused_with_a_sentence() {
    let backend = with_traces().await;
    for path in ["query_range", "query"] {
        let query = encoded("{name=\"netflow.flow\"} | rate()");
        let path = format!("/api/metrics/{path}?q={query}&start=1&end=2&step=15s&exemplars=100");
        let (status, _, body) = get(&backend, &path, &[("accept", "application/json")]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(String::from_utf8_lossy(&body).contains("computes no metrics from traces"));
        assert!(serde_json::from_slice::<Value>(&body).is_err());
    }
}
