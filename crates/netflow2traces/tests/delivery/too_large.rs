//! Backends with a limit on requests: batches are split until they fit, every span arrives once.

use std::sync::atomic::Ordering::Relaxed;

use netflow2traces::config::{Compression, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::Code;

use crate::backend::{FakeBackend, Reply};
use crate::{batch, count, deliver, finish, grpc_to, http_to, ids_of, otlp, start, to, until};

const KIB: usize = 1024;

#[tokio::test]
async fn grpc_limits_are_met_and_learnt_from_the_message() {
    let backend = FakeBackend::grpc().max_body(100 * KIB).start().await;
    let batches = [batch(300, KIB), batch(300, KIB)];
    let mut config = grpc_to(&backend);
    config.concurrency = 1;
    let delivery = start(&config, &batches);
    let totals = finish(&delivery).await;
    assert_eq!(totals.accepted, count(600, 2));
    assert_eq!(backend.accepted_ids(), ids_of(&batches));
    assert_eq!(delivery.request_limit().load(Relaxed), 100 * KIB);
    // Only the first request was refused; what came later was split before.
    assert_eq!(backend.arrivals(), backend.received().len() + 1);
}

#[tokio::test]
async fn http_limits_are_met_and_learnt_by_halving() {
    let backend = FakeBackend::http().max_body(200 * KIB).start().await;
    let batches = [batch(300, KIB), batch(300, KIB)];
    let mut config = http_to(&backend);
    config.concurrency = 1;
    let delivery = start(&config, &batches);
    let totals = finish(&delivery).await;
    assert_eq!(totals.accepted, count(600, 2));
    assert_eq!(backend.accepted_ids(), ids_of(&batches));
    let learnt = delivery.request_limit().load(Relaxed);
    assert!((150 * KIB..=200 * KIB).contains(&learnt), "{learnt}");
    assert_eq!(backend.arrivals(), backend.received().len() + 1);
}

#[tokio::test]
async fn compressed_and_json_requests_are_split_too() {
    for (protocol, compression) in [
        (Protocol::Grpc, Compression::Gzip),
        (Protocol::HttpProtobuf, Compression::Zstd),
        (Protocol::HttpJson, Compression::None),
    ] {
        let setup = match protocol {
            Protocol::Grpc => FakeBackend::grpc(),
            _ => FakeBackend::http(),
        };
        let backend = setup.max_body(80 * KIB).start().await;
        let mut otlp = otlp(protocol, backend.endpoint(""));
        otlp.compression = compression;
        let batches = [batch(300, KIB)];
        let totals = deliver(&to(otlp), &batches).await;
        assert_eq!(totals.accepted, count(300, 1), "{protocol:?}");
        assert_eq!(backend.accepted_ids(), ids_of(&batches));
    }
}

#[tokio::test]
async fn a_status_that_says_so_splits() {
    for reply in [
        Reply::Grpc(
            Code::ResourceExhausted,
            "grpc: received message larger than max (9 vs. 4)",
        ),
        Reply::Grpc(Code::Unknown, "Payload Too Large"),
        Reply::Http(413, Vec::new(), b""),
    ] {
        let backend = FakeBackend::grpc().script([reply]).start().await;
        let batches = [batch(10, 0)];
        let delivery = start(&grpc_to(&backend), &batches);
        let totals = finish(&delivery).await;
        assert_eq!(totals.accepted, count(10, 1));
        assert_eq!(backend.accepted_ids(), ids_of(&batches));
        assert_eq!(backend.arrivals(), 3);
        assert_eq!(delivery.counters().splits.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn the_collectors_way_to_say_it_splits() {
    let reply = Reply::Http(
        400,
        vec![("content-type", "text/plain")],
        b"http: request body too large",
    );
    let backend = FakeBackend::http().script([reply]).start().await;
    let totals = deliver(&http_to(&backend), &[batch(10, 0)]).await;
    assert_eq!(totals.accepted, count(10, 1));
    assert_eq!(backend.arrivals(), 3);
}

#[tokio::test]
async fn rate_limits_do_not_split() {
    let reply = Reply::Grpc(
        Code::ResourceExhausted,
        "RATE_LIMITED: ingestion rate limit (local: 15000000 bytes, global: 0 bytes) exceeded while adding 5000000 bytes",
    );
    let backend = FakeBackend::grpc().script([reply]).start().await;
    let delivery = start(&grpc_to(&backend), &[batch(10, 0)]);
    let totals = finish(&delivery).await;
    assert_eq!(totals.rejected, count(10, 1));
    assert_eq!(backend.arrivals(), 1);
    assert_eq!(delivery.request_limit().load(Relaxed), 2 << 20);
}

#[tokio::test]
async fn a_single_span_too_large_is_dropped_and_its_neighbours_are_not() {
    let backend = FakeBackend::grpc().max_body(100 * KIB).start().await;
    let (good, bad) = (batch(10, KIB), batch(1, 200 * KIB));
    let mut config = grpc_to(&backend);
    config.concurrency = 1;
    let delivery = start(&config, &[bad, good]);
    until("both", || {
        delivery.counters().accepted.load() == count(10, 2)
    })
    .await;
    let totals = finish(&delivery).await;
    assert_eq!(totals.dropped, count(1, 0));
    assert_eq!(delivery.counters().dropped.too_large.load(), count(1, 0));
}

#[tokio::test]
async fn a_backend_that_refuses_every_size_does_not_make_requests_tiny() {
    let script = std::iter::repeat_n(Reply::http(413), 1000);
    let backend = FakeBackend::http().script(script).start().await;
    let delivery = start(&http_to(&backend), &[batch(20, 10 * KIB)]);
    let totals = finish(&delivery).await;
    assert_eq!(totals.dropped, count(20, 1));
    assert_eq!(delivery.request_limit().load(Relaxed), 64 * KIB);
}

/// Some servers answer by the `content-length` alone and close without reading the body.
#[tokio::test]
async fn a_413_before_the_body_was_read_splits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 64];
            let _ = stream.read(&mut head).await;
            let answer =
                b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    let config = to(otlp(Protocol::HttpProtobuf, endpoint.parse().unwrap()));
    let delivery = start(&config, &[batch(3, 2 << 20)]);
    let totals = finish(&delivery).await;
    assert_eq!(totals.dropped, count(3, 1));
    assert_eq!(delivery.counters().dropped.too_large.load(), count(3, 1));
    server.abort();
}
