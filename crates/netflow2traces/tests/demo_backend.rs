//! The demo's backend as its clients see it: OTLP in by gRPC and HTTP, Tempo's API out.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use netflow2traces::demo::{Backend, BackendError, BackendOptions, StoreLimits};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, TracesData, span, status,
};
use prost::Message;
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;

/// 2023-11-14 22:13:20 UTC.
const T0: u64 = 1_700_000_000_000_000_000;

#[tokio::test]
async fn spans_come_by_grpc_and_leave_by_id() {
    let backend = start(BackendOptions::default()).await;
    for (trace, encoding) in [
        (1, None),
        (2, Some(CompressionEncoding::Gzip)),
        (3, Some(CompressionEncoding::Zstd)),
    ] {
        let mut client = grpc_client(&backend).await;
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        let response = client
            .export(request(trace, "10.0.0.1", 443))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(response.partial_success, None);
        let body = json_of(&backend, &format!("/api/traces/{}", id(trace))).await;
        assert_eq!(body, tempo_form(trace), "as Tempo writes it");
    }
    backend.shutdown().await;
}

#[tokio::test]
async fn spans_come_by_http_in_every_encoding() {
    let backend = start(BackendOptions::default()).await;
    let protobuf = |trace| request(trace, "10.0.0.1", 443).encode_to_vec();
    let gzip = |octets: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(octets).unwrap();
        encoder.finish().unwrap()
    };
    let json = serde_json::to_vec(&request(5, "10.0.0.1", 443)).unwrap();
    for (trace, body, media_type, encoding) in [
        (1, protobuf(1), "application/x-protobuf", None),
        (
            2,
            gzip(&protobuf(2)),
            "application/x-protobuf",
            Some("gzip"),
        ),
        (
            3,
            zstd::encode_all(&*protobuf(3), 1).unwrap(),
            "application/x-protobuf",
            Some("zstd"),
        ),
        (
            4,
            protobuf(4),
            "Application/X-Protobuf; x=y",
            Some("identity"),
        ),
        (5, json, "application/json", None),
    ] {
        let (status, headers, body) = post(&backend, body, media_type, encoding).await;
        assert_eq!(status, StatusCode::OK, "trace {trace}");
        if media_type == "application/json" {
            assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        } else {
            assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
            let response = ExportTraceServiceResponse::decode(body).unwrap();
            assert_eq!(response.partial_success, None);
        }
        let (status, _, _) = get(&backend, &format!("/api/traces/{}", id(trace)), &[]).await;
        assert_eq!(status, StatusCode::OK, "trace {trace}");
    }
    assert_eq!(backend.store.totals().spans_accepted, 10);
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_right_status() {
    let options = BackendOptions {
        max_body: 4096,
        ..BackendOptions::default()
    };
    let backend = start(options).await;
    let protobuf = "application/x-protobuf";
    let bomb = zstd::encode_all(&*vec![0; 1 << 20], 1).unwrap();
    for (body, media_type, encoding, expected, text) in [
        (
            vec![0xff; 9],
            protobuf,
            None,
            400,
            "ExportTraceServiceRequest",
        ),
        (
            vec![1, 2, 3],
            protobuf,
            Some("gzip"),
            400,
            "content encoding",
        ),
        (Vec::new(), protobuf, Some("br"), 415, "gzip, zstd"),
        (
            Vec::new(),
            "text/plain",
            None,
            415,
            "application/x-protobuf",
        ),
        (vec![0; 5000], protobuf, None, 413, "4096"),
        (bomb, protobuf, Some("zstd"), 413, "4096"),
        (
            b"{".to_vec(),
            "application/json",
            None,
            400,
            "ExportTraceServiceRequest",
        ),
    ] {
        let (status, _, body) = post(&backend, body, media_type, encoding).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status.as_u16(), expected, "{body}");
        assert!(body.contains(text), "{body}");
    }
    // tonic answers a message above its bound with OUT_OF_RANGE.
    let mut client = grpc_client(&backend).await;
    let mut big = request(1, "10.0.0.1", 443);
    big.resource_spans[0].schema_url = "x".repeat(5000);
    assert_eq!(
        client.export(big).await.unwrap_err().code(),
        tonic::Code::OutOfRange
    );
    assert_eq!(backend.store.totals().spans_accepted, 0);
}

#[tokio::test]
async fn malformed_ids_are_a_partial_success() {
    let backend = start(BackendOptions::default()).await;
    let mut request = request(1, "10.0.0.1", 443);
    request.resource_spans[0].scope_spans[0].spans[1]
        .span_id
        .clear();
    let response = grpc_client(&backend)
        .await
        .export(request)
        .await
        .unwrap()
        .into_inner();
    let partial = response.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("16 octets"));
}

#[tokio::test]
async fn trace_by_id_has_every_form() {
    let backend = start(BackendOptions::default()).await;
    backend
        .store
        .insert(request(7, "10.0.0.1", 443).resource_spans);
    let expected = TracesData {
        resource_spans: request(7, "10.0.0.1", 443).resource_spans,
    };

    let protobuf = [("accept", "application/protobuf")];
    let (_, headers, body) = get(&backend, &format!("/api/traces/{}", id(7)), &protobuf).await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/protobuf");
    assert_eq!(TracesData::decode(body).unwrap(), expected);

    let (_, _, body) = get(&backend, &format!("/api/v2/traces/{}", id(7)), &protobuf).await;
    // TraceByIDResponse: field 1 is the trace.
    assert_eq!(body[0], 0x0a);
    let trace = TracesData::decode_length_delimited(body.slice(1..)).unwrap();
    assert_eq!(trace, expected);

    let body = json_of(&backend, &format!("/api/v2/traces/{}", id(7))).await;
    assert_eq!(body["trace"]["resourceSpans"], tempo_form(7)["batches"]);

    // Leading zeros may be left out.
    let mut short = request(8, "10.0.0.1", 443);
    for span in &mut short.resource_spans[0].scope_spans[0].spans {
        span.trace_id = 0xabc_u128.to_be_bytes().to_vec();
    }
    backend.store.insert(short.resource_spans);
    assert_eq!(
        get(&backend, "/api/traces/abc", &[]).await.0,
        StatusCode::OK
    );

    for (path, status, text) in [
        (format!("/api/traces/{}", id(9)), 404, "not found"),
        (format!("/api/v2/traces/{}", id(9)), 404, "not found"),
        ("/api/traces/xyz".to_owned(), 400, "hexadecimal"),
        (format!("/api/traces/{}0", id(9)), 400, "32"),
        ("/api/traces/0".to_owned(), 400, "zeros"),
        ("/api/nothing".to_owned(), 404, "/api/search"),
    ] {
        let (found, _, body) = get(&backend, &path, &[]).await;
        assert_eq!(found.as_u16(), status, "{path}");
        assert!(
            String::from_utf8_lossy(&body).contains(text),
            "{path}: {body:?}"
        );
    }
}

#[tokio::test]
async fn search_finds_by_tags_and_by_selector() {
    let backend = start(BackendOptions::default()).await;
    backend
        .store
        .insert(request(1, "10.0.0.1", 443).resource_spans);
    backend
        .store
        .insert(request(2, "10.0.0.1", 53).resource_spans);
    backend
        .store
        .insert(request(3, "10.0.0.2", 443).resource_spans);

    for (query, expected) in [
        ("", vec![3, 2, 1]),
        ("tags=destination.port%3D443", vec![3, 1]),
        (
            "tags=destination.port=443%20netflow.exporter.address=10.0.0.1",
            vec![1],
        ),
        ("tags=network.transport=%22TCP%22", vec![3, 2, 1]),
        (
            "q=%7B%20span.destination.port%20%3D%20443%20%7D",
            vec![3, 1],
        ),
        (
            "q=%7B+span.destination.port+%3D+443+%26%26+\
             resource.netflow.exporter.address+%3D+%2210.0.0.1%22+%7D",
            vec![1],
        ),
        ("q=%7B%7D&limit=2", vec![3, 2]),
        (
            "q=%7Bname=%22netflow.export%22%20%26%26%20kind=internal%7D&limit=1",
            vec![3],
        ),
        ("tags=destination.port=1", vec![]),
        ("minDuration=2s", vec![3, 2, 1]),
        ("minDuration=2001ms", vec![]),
        ("maxDuration=1.9s", vec![]),
        ("start=1700000000&end=1700000001", vec![3, 2, 1]),
        ("start=1700000003&end=1700000009", vec![]),
        ("start=1600000000&end=1600000001", vec![]),
    ] {
        let body = json_of(&backend, &format!("/api/search?{query}")).await;
        let found: Vec<&str> = traces(&body)
            .iter()
            .map(|trace| trace["traceID"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = expected.into_iter().map(id).collect();
        assert_eq!(found, expected, "{query}");
    }

    let body = json_of(&backend, "/api/search?q=%7Bspan.destination.port=53%7D").await;
    let span_set = json!({
        "matched": 1,
        "spans": [{
            "spanID": "0202020202020202",
            "name": "netflow.flow",
            "startTimeUnixNano": (T0 + 500_000_000).to_string(),
            "durationNanos": "1500000000",
            "attributes": [{ "key": "destination.port", "value": { "intValue": "53" } }],
        }],
    });
    let expected = json!({
        "traces": [{
            "traceID": id(2),
            "rootServiceName": "netflow-to-traces",
            "rootTraceName": "netflow.export",
            "startTimeUnixNano": T0.to_string(),
            "durationMs": 2000,
            "spanSet": span_set,
            "spanSets": [span_set],
        }],
        "metrics": { "inspectedTraces": 3 },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn wrong_searches_get_a_sentence() {
    let backend = start(BackendOptions::default()).await;
    for (query, text) in [
        ("q=%7Bspan.a%3E1%7D", "understands equalities joined by &&"),
        ("q=garbage", "a { was expected"),
        ("q=%7B%7D&tags=a%3Db", "can't be used together"),
        ("tags=a", "KEY=VALUE"),
        ("limit=0", "invalid limit"),
        ("limit=many", "a number above 0"),
        ("spss=-1", "invalid spss"),
        ("minDuration=fast", "invalid minDuration"),
        ("maxDuration=1", "100ms"),
        ("start=yesterday", "seconds since 1970"),
    ] {
        let (status, headers, body) = get(&backend, &format!("/api/search?{query}"), &[]).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(
            headers[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with("text/plain")
        );
        assert!(body.contains(text), "{query}: {body}");
    }
}

#[tokio::test]
async fn what_grafana_asks_is_answered() {
    let backend = start(BackendOptions::default()).await;
    backend
        .store
        .insert(request(1, "10.0.0.1", 443).resource_spans);
    backend
        .store
        .insert(request(2, "10.0.0.1", 53).resource_spans);

    for (path, text) in [("/ready", "ready\n"), ("/api/echo", "echo")] {
        let (status, _, body) = get(&backend, path, &[]).await;
        assert_eq!(
            (status, &*body),
            (StatusCode::OK, text.as_bytes()),
            "{path}"
        );
    }
    let info = json_of(&backend, "/api/status/buildinfo").await;
    assert!(info["version"].as_str().unwrap().starts_with("2."));

    let names = json_of(&backend, "/api/search/tags?scope=span").await;
    assert_eq!(
        names["tagNames"],
        json!(["destination.port", "network.transport"])
    );
    let names = json_of(&backend, "/api/v2/search/tags").await;
    assert_eq!(names["scopes"][0]["name"], "resource");
    let resource = json!(["netflow.exporter.address", "service.name"]);
    assert_eq!(names["scopes"][0]["tags"], resource);
    let values = json_of(&backend, "/api/search/tag/destination.port/values").await;
    assert_eq!(values["tagValues"], json!(["443", "53"]));
    let values = json_of(&backend, "/api/v2/search/tag/span.destination.port/values").await;
    let expected = json!([{ "type": "int", "value": "443" }, { "type": "int", "value": "53" }]);
    assert_eq!(values["tagValues"], expected);
    let values = json_of(&backend, "/api/v2/search/tag/resource.service.name/values").await;
    let expected = json!([{ "type": "string", "value": "netflow-to-traces" }]);
    assert_eq!(values["tagValues"], expected);
    let values = json_of(&backend, "/api/v2/search/tag/status/values").await;
    assert_eq!(
        values["tagValues"],
        json!([{ "type": "keyword", "value": "ok" }])
    );
    assert_eq!(
        get(&backend, "/api/v2/search/tag/a/values", &[]).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        get(&backend, "/api/search/tags?scope=x", &[]).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn bounds_hold_and_the_oldest_leaves() {
    let limits = StoreLimits {
        octets: 64 << 10,
        traces: 10,
    };
    let backend = start(BackendOptions {
        limits,
        ..BackendOptions::default()
    })
    .await;
    let mut client = grpc_client(&backend).await;
    for trace in 1..=30 {
        client
            .export(request(trace, "10.0.0.1", 443))
            .await
            .unwrap();
        let totals = backend.store.totals();
        assert!(totals.traces <= 10 && totals.octets <= 64 << 10);
    }
    assert_eq!(backend.store.totals().traces_evicted, 20);
    let evicted = format!("/api/traces/{}", id(20));
    assert_eq!(get(&backend, &evicted, &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        get(&backend, &format!("/api/traces/{}", id(21)), &[])
            .await
            .0,
        StatusCode::OK
    );
    let body = json_of(&backend, "/api/search?limit=100").await;
    assert_eq!(traces(&body).len(), 10);
}

#[tokio::test]
async fn who_waits_for_spans_is_woken() {
    let backend = start(BackendOptions::default()).await;
    let mut totals = backend.store.subscribe();
    backend
        .store
        .insert(request(1, "10.0.0.1", 443).resource_spans);
    let came = totals.wait_for(|totals| totals.spans_accepted == 2);
    tokio::time::timeout(Duration::from_secs(10), came)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn port_in_use_names_the_flag() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let api = taken.local_addr().unwrap();
    let error = Backend::start(BackendOptions {
        api,
        ..BackendOptions::default()
    })
    .await
    .expect_err("the port is taken");
    assert!(matches!(error, BackendError::ApiInUse { address } if address == api));
    let text = error.to_string();
    assert!(
        text.contains("--http-port") && text.contains(&api.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn shutdown_ends_all_listeners_in_spite_of_idle_connections() {
    let backend = start(BackendOptions::default()).await;
    let addresses = [
        backend.api_address,
        backend.grpc_address,
        backend.http_address,
    ];
    let idle: Vec<_> = addresses
        .iter()
        .map(|address| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let _client = grpc_client(&backend).await;
    tokio::time::timeout(Duration::from_secs(20), backend.shutdown())
        .await
        .unwrap();
    drop(idle);
    for address in addresses {
        assert!(std::net::TcpStream::connect(address).is_err(), "{address}");
    }
}

async fn start(options: BackendOptions) -> Backend {
    let api = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Backend::start(BackendOptions { api, ..options })
        .await
        .unwrap()
}

async fn grpc_client(backend: &Backend) -> TraceServiceClient<tonic::transport::Channel> {
    TraceServiceClient::connect(format!("http://{}", backend.grpc_address))
        .await
        .unwrap()
}

/// The id of a trace by its number, in hexadecimal.
fn id(trace: u8) -> String {
    format!("{trace:02x}").repeat(16)
}

/// A trace of two spans: the export of a datagram and a flow.
fn request(trace: u8, exporter: &str, port: i64) -> ExportTraceServiceRequest {
    let span = |number: u8, parent: u8, name: &str, start: u64, end: u64, attributes| Span {
        trace_id: vec![trace; 16],
        span_id: vec![number; 8],
        parent_span_id: if parent == 0 {
            Vec::new()
        } else {
            vec![parent; 8]
        },
        name: name.to_owned(),
        kind: span::SpanKind::Internal as i32,
        start_time_unix_nano: T0 + start * 1_000_000,
        end_time_unix_nano: T0 + end * 1_000_000,
        attributes,
        status: Some(Status {
            message: String::new(),
            code: status::StatusCode::Ok as i32,
        }),
        ..Span::default()
    };
    let flow = vec![
        attribute("destination.port", Attribute::IntValue(port)),
        attribute(
            "network.transport",
            Attribute::StringValue("tcp".to_owned()),
        ),
    ];
    let spans = vec![
        span(1, 0, "netflow.export", 0, 1, Vec::new()),
        span(2, 1, "netflow.flow", 500, 2000, flow),
    ];
    let scope = InstrumentationScope {
        name: "netflow2traces".to_owned(),
        ..Default::default()
    };
    let resource = Resource {
        attributes: vec![
            attribute(
                "service.name",
                Attribute::StringValue("netflow-to-traces".to_owned()),
            ),
            attribute(
                "netflow.exporter.address",
                Attribute::StringValue(exporter.to_owned()),
            ),
        ],
        ..Resource::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// The same trace as Tempo writes it in JSON.
fn tempo_form(trace: u8) -> Value {
    let base64 = |octets: &[u8]| base64::engine::general_purpose::STANDARD.encode(octets);
    json!({ "batches": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "netflow-to-traces" } },
            { "key": "netflow.exporter.address", "value": { "stringValue": "10.0.0.1" } },
        ]},
        "scopeSpans": [{
            "scope": { "name": "netflow2traces" },
            "spans": [
                {
                    "traceId": base64(&[trace; 16]),
                    "spanId": base64(&[1; 8]),
                    "name": "netflow.export",
                    "kind": "SPAN_KIND_INTERNAL",
                    "startTimeUnixNano": T0.to_string(),
                    "endTimeUnixNano": (T0 + 1_000_000).to_string(),
                    "status": { "code": "STATUS_CODE_OK" },
                },
                {
                    "traceId": base64(&[trace; 16]),
                    "spanId": base64(&[2; 8]),
                    "parentSpanId": base64(&[1; 8]),
                    "name": "netflow.flow",
                    "kind": "SPAN_KIND_INTERNAL",
                    "startTimeUnixNano": (T0 + 500_000_000).to_string(),
                    "endTimeUnixNano": (T0 + 2_000_000_000).to_string(),
                    "attributes": [
                        { "key": "destination.port", "value": { "intValue": "443" } },
                        { "key": "network.transport", "value": { "stringValue": "tcp" } },
                    ],
                    "status": { "code": "STATUS_CODE_OK" },
                },
            ],
        }],
    }]})
}

fn attribute(key: &str, value: Attribute) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn traces(body: &Value) -> &Vec<Value> {
    body["traces"].as_array().unwrap()
}

async fn json_of(backend: &Backend, path: &str) -> Value {
    let (status, _, body) = get(backend, path, &[]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body:?}");
    serde_json::from_slice(&body).unwrap()
}

async fn get(
    backend: &Backend,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, Bytes) {
    let mut request = Request::get(format!("http://{}{path}", backend.api_address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request.body(Full::default()).unwrap()).await
}

async fn post(
    backend: &Backend,
    body: Vec<u8>,
    media_type: &str,
    encoding: Option<&str>,
) -> (StatusCode, HeaderMap, Bytes) {
    let mut request = Request::post(format!("http://{}/v1/traces", backend.http_address))
        .header(header::CONTENT_TYPE, media_type);
    if let Some(encoding) = encoding {
        request = request.header(header::CONTENT_ENCODING, encoding);
    }
    send(request.body(Full::from(body)).unwrap()).await
}

async fn send(request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, Bytes) {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let answer = async {
        let (parts, body) = client.request(request).await.unwrap().into_parts();
        (
            parts.status,
            parts.headers,
            body.collect().await.unwrap().to_bytes(),
        )
    };
    tokio::time::timeout(Duration::from_secs(30), answer)
        .await
        .unwrap()
}
