//! The end: what is queued is delivered until the deadline, the rest is counted.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use netflow2traces::config::Protocol;
use netflow2traces::deliver::{Count, Delivery};
use tonic::Code;

use crate::backend::{FakeBackend, Reply};
use crate::{AMPLE, assert_settled, batch, count, finish, grpc_to, ids_of, otlp, start, to, until};

#[tokio::test]
async fn a_drain_delivers_what_is_queued_and_takes_no_more() {
    let backend = FakeBackend::grpc().start().await;
    let batches: Vec<_> = (0..50).map(|_| batch(5, 0)).collect();
    let delivery = start(&grpc_to(&backend), &batches);
    let totals = finish(&delivery).await;
    assert_eq!(totals.accepted, count(250, 50));
    assert_eq!(totals.lost(), Count::default());
    assert_eq!(backend.accepted_ids(), ids_of(&batches));
    delivery.queue().push(batch(5, 0));
    assert_eq!(delivery.counters().dropped.shutdown.load(), count(5, 1));
    assert!(delivery.counters().totals().balanced());
}

#[tokio::test]
async fn a_drain_retries() {
    let script = [
        Reply::Grpc(Code::Unavailable, ""),
        Reply::Grpc(Code::Unavailable, ""),
    ];
    let backend = FakeBackend::grpc().script(script).start().await;
    let delivery = start(&grpc_to(&backend), &[batch(5, 0)]);
    assert_eq!(finish(&delivery).await.accepted, count(5, 1));
}

#[tokio::test]
async fn at_the_deadline_the_rest_is_counted() {
    let script = std::iter::repeat_n(Reply::Silence, 10);
    let backend = FakeBackend::grpc().script(script).start().await;
    let batches: Vec<_> = (0..6).map(|_| batch(5, 0)).collect();
    let delivery = start(&grpc_to(&backend), &batches);
    backend.wait_for_arrivals(2).await;
    let totals = delivery
        .drain(Instant::now() + Duration::from_millis(100))
        .await;
    assert_settled(&delivery, totals);
    assert_eq!(delivery.counters().dropped.shutdown.load(), count(30, 6));
    assert_eq!(totals.lost(), count(30, 6));
}

/// A pause of a minute, asked for so many times.
async fn pausing(times: usize) -> (FakeBackend, Delivery) {
    let asked = Reply::GrpcRetryInfo(Code::Unavailable, Duration::from_secs(60));
    let script = std::iter::repeat_n(asked, times);
    let backend = FakeBackend::grpc().script(script).start().await;
    let delivery = start(&grpc_to(&backend), &[batch(5, 0)]);
    until("a failure", || {
        delivery.counters().failures.load(Relaxed) == 1
    })
    .await;
    (backend, delivery)
}

#[tokio::test]
async fn at_the_end_a_pause_that_the_backend_asked_for_is_cut_short_for_one_attempt() {
    let (backend, delivery) = pausing(1).await;
    assert_eq!(finish(&delivery).await.accepted, count(5, 1));
    assert_eq!(backend.arrivals(), 2);
}

#[tokio::test]
async fn a_second_pause_at_the_end_is_honoured() {
    let (backend, delivery) = pausing(2).await;
    let deadline = Instant::now() + Duration::from_millis(500);
    let totals = delivery.drain(deadline).await;
    assert_settled(&delivery, totals);
    assert_eq!(totals.dropped, count(5, 1));
    assert_eq!(backend.arrivals(), 2);
}

#[tokio::test]
async fn a_second_drain_ends_the_first_at_once() {
    let backend = FakeBackend::grpc().script([Reply::Silence]).start().await;
    let delivery = start(&grpc_to(&backend), &[batch(5, 0)]);
    backend.wait_for_arrivals(1).await;
    let begin = Instant::now();
    let (first, second) =
        tokio::join!(delivery.drain(begin + AMPLE), delivery.drain(begin + AMPLE));
    assert!(begin.elapsed() < AMPLE / 2);
    assert_eq!(first, second);
    assert_settled(&delivery, first);
    assert_eq!(first.dropped, count(5, 1));
}

#[tokio::test]
async fn an_abort_ends_a_drain_at_once() {
    let backend = FakeBackend::grpc().script([Reply::Silence]).start().await;
    let delivery = start(&grpc_to(&backend), &[batch(5, 0)]);
    backend.wait_for_arrivals(1).await;
    let (handle, begin) = (delivery.abort_handle(), Instant::now());
    let (totals, ()) = tokio::join!(delivery.drain(begin + AMPLE), async { handle.abort() });
    assert!(begin.elapsed() < AMPLE / 2);
    assert_settled(&delivery, totals);
}

#[tokio::test]
async fn a_stage_that_is_dropped_ends_and_balances() {
    let endpoint = "http://127.0.0.1:9".parse().unwrap();
    let delivery = start(&to(otlp(Protocol::Grpc, endpoint)), &[batch(5, 0)]);
    let counters = delivery.counters();
    until("a failure", || counters.failures.load(Relaxed) > 0).await;
    drop(delivery);
    until("the end", || counters.in_flight.load() == Count::default()).await;
    assert_eq!(counters.totals().lost(), count(5, 1));
    assert!(counters.totals().balanced());
}
