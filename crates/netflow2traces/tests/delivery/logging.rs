//! The log says what changed, once.

use std::sync::atomic::Ordering::Relaxed;

use netflow2traces::config::Protocol;
use tonic::Code;
use tracing::Level;

use crate::backend::{FakeBackend, Reply};
use crate::failures::{endpoint_of, reserved_port};
use crate::log::Log;
use crate::{batch, count, finish, grpc_to, otlp, start, to, until};

#[tokio::test]
async fn an_outage_is_two_lines() {
    let (log, _guard) = Log::begin(Level::INFO);
    let socket = reserved_port();
    let batches = [batch(5, 0), batch(5, 0), batch(5, 0)];
    let delivery = start(&to(otlp(Protocol::Grpc, endpoint_of(&socket))), &batches);
    until("failures", || {
        delivery.counters().failures.load(Relaxed) >= 4
    })
    .await;
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["level"], "WARN");
    let text = lines[0].to_string();
    assert!(text.contains("Connection refused"), "{text}");
    assert!(text.contains("nothing listens there"), "{text}");
    let _backend = FakeBackend::grpc()
        .listener(socket.listen(64).unwrap())
        .start()
        .await;
    finish(&delivery).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(lines[1]["level"], "INFO");
    assert_eq!(lines[1]["waiting_spans"], 18);
}

#[tokio::test]
async fn refusals_are_one_line_a_minute() {
    let (log, _guard) = Log::begin(Level::INFO);
    let script = std::iter::repeat_n(Reply::Grpc(Code::Unauthenticated, "no token"), 10);
    let backend = FakeBackend::grpc().script(script).start().await;
    let batches: Vec<_> = (0..10).map(|_| batch(5, 0)).collect();
    let delivery = start(&grpc_to(&backend), &batches);
    assert_eq!(finish(&delivery).await.rejected, count(50, 10));
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let text = lines[0].to_string();
    assert!(text.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{text}");
}

#[tokio::test]
async fn a_hiccup_is_no_line() {
    let (log, _guard) = Log::begin(Level::INFO);
    let backend = FakeBackend::grpc()
        .script([Reply::Grpc(Code::Unavailable, "busy")])
        .start()
        .await;
    let delivery = start(&grpc_to(&backend), &[batch(5, 0)]);
    assert_eq!(finish(&delivery).await.accepted, count(5, 1));
    assert!(log.lines().is_empty());
}
