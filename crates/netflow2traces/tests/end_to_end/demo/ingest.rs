//! OTLP in: gRPC and HTTP, compressed or not, and what is refused.

use std::io::Write as _;
use std::time::Duration;

use http::{StatusCode, header};
use netflow2traces::demo::BackendOptions;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::codec::CompressionEncoding;

use super::rig::{get, grpc_client, id, json_of, post, request, start, tempo_form};

const NO_METRICS: ExportMetricsServiceRequest = ExportMetricsServiceRequest {
    resource_metrics: Vec::new(),
};

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

/// More than are read at once, each larger than a window of HTTP/2.
#[tokio::test]
async fn many_large_requests_on_one_connection_are_all_answered() {
    let backend = start(BackendOptions::default()).await;
    let client = grpc_client(&backend).await;
    let mut exports = tokio::task::JoinSet::new();
    for trace in 1..=16 {
        let mut client = client.clone();
        let mut request = request(trace, "10.0.0.1", 443);
        let spans = &mut request.resource_spans[0].scope_spans[0].spans;
        spans[0].name = "n".repeat(3 << 20);
        exports.spawn(async move { client.export(request).await.map(drop) });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), exports.join_all());
    for outcome in all.await.expect("none waits for another") {
        outcome.unwrap();
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
    let mut big = request(1, "10.0.0.1", 443);
    big.resource_spans[0].schema_url = "x".repeat(5000);
    // Compressed it is a small message.
    for encoding in [None, Some(CompressionEncoding::Zstd)] {
        let mut client = grpc_client(&backend).await;
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        let refusal = client.export(big.clone()).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        // The daemon, which splits such a message, knows these words.
        let words = "received message larger than max";
        assert!(refusal.message().contains(words), "{refusal}");
    }
    let metrics = MetricsServiceClient::connect(format!("http://{}", backend.grpc_address));
    let refusal = metrics.await.unwrap().export(NO_METRICS).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::Unimplemented);
    assert!(refusal.message().contains("MetricsService"), "{refusal}");
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
