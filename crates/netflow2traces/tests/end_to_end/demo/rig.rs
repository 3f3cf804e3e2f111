//! A backend on free ports, traces to give it, and clients of its API.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use netflow2traces::demo::{Backend, BackendOptions};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span, status,
};
use otlp_wire::messages;
use prost::Message as _;
use serde_json::{Value, json};

/// 2023-11-14 22:13:20 UTC.
pub(crate) const T0: u64 = 1_700_000_000_000_000_000;

pub(crate) async fn start(options: BackendOptions) -> Backend {
    let api = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Backend::start(BackendOptions { api, ..options })
        .await
        .unwrap()
}

/// What came over the wire, without it.
pub(crate) fn insert(backend: &Backend, request: &ExportTraceServiceRequest) {
    let octets = request.encode_to_vec();
    let request = messages::ExportTraceServiceRequest::decode(octets.as_slice()).unwrap();
    backend.store.insert(request.resource_spans);
}

pub(crate) async fn grpc_client(
    backend: &Backend,
) -> TraceServiceClient<tonic::transport::Channel> {
    TraceServiceClient::connect(format!("http://{}", backend.grpc_address))
        .await
        .unwrap()
}

/// The id of a trace by its number, in hexadecimal.
pub(crate) fn id(trace: u8) -> String {
    format!("{trace:02x}").repeat(16)
}

/// A trace of two spans: the export of a datagram and a flow.
pub(crate) fn request(trace: u8, exporter: &str, port: i64) -> ExportTraceServiceRequest {
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
pub(crate) fn tempo_form(trace: u8) -> Value {
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

pub(crate) fn attribute(key: &str, value: Attribute) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

pub(crate) fn traces(body: &Value) -> &Vec<Value> {
    body["traces"].as_array().unwrap()
}

pub(crate) async fn json_of(backend: &Backend, path: &str) -> Value {
    let (status, _, body) = get(backend, path, &[]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body:?}");
    serde_json::from_slice(&body).unwrap()
}

pub(crate) async fn get(
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

pub(crate) async fn post(
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
