//! What requests carry besides spans.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use netflow2traces::config::{Compression, Protocol};

use crate::backend::FakeBackend;
use crate::{batch, deliver, otlp, to};

fn tenant() -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (
            HeaderName::from_static("x-scope-orgid"),
            HeaderValue::from_static("tenant-1"),
        ),
        (
            HeaderName::from_static("authorization"),
            HeaderValue::from_static("Bearer secret"),
        ),
        (
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("text/plain"),
        ),
    ]
}

const USER_AGENT: &str = concat!("netflow2traces/", env!("CARGO_PKG_VERSION"));

#[tokio::test]
async fn grpc_requests_carry_what_the_protocol_and_the_user_want() {
    let backend = FakeBackend::grpc().start().await;
    let mut otlp = otlp(Protocol::Grpc, backend.endpoint(""));
    otlp.headers = tenant();
    otlp.timeout = Duration::from_millis(9_500);
    otlp.compression = Compression::Gzip;
    deliver(&to(otlp), &[batch(1, 0)]).await;
    let headers = &backend.received()[0].headers;
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "9500m"),
        ("grpc-encoding", "gzip"),
        ("user-agent", USER_AGENT),
        ("x-scope-orgid", "tenant-1"),
        ("authorization", "Bearer secret"),
    ] {
        assert_eq!(headers.get(name).expect(name), value);
    }
}

#[tokio::test]
async fn http_requests_carry_what_the_protocol_and_the_user_want() {
    for (protocol, media_type) in [
        (Protocol::HttpProtobuf, "application/x-protobuf"),
        (Protocol::HttpJson, "application/json"),
    ] {
        let backend = FakeBackend::http().start().await;
        let mut otlp = otlp(protocol, backend.endpoint("/otlp/v1/traces"));
        otlp.headers = tenant();
        otlp.compression = Compression::Zstd;
        deliver(&to(otlp), &[batch(1, 0)]).await;
        let received = &backend.received()[0];
        assert_eq!(received.path, "/otlp/v1/traces");
        for (name, value) in [
            ("content-type", media_type),
            ("content-encoding", "zstd"),
            ("user-agent", USER_AGENT),
            ("x-scope-orgid", "tenant-1"),
            ("authorization", "Bearer secret"),
            ("host", &backend.address.to_string()),
        ] {
            assert_eq!(received.headers.get(name).expect(name), value);
        }
        assert!(received.headers.contains_key("content-length"));
    }
}
