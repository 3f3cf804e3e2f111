//! Requests that can never pass as they are hold up no others, and arrive in parts that pass.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use netflow2traces::config::{Deliver, Protocol, SpoolMode};
use netflow2traces::deliver::Delivery;
use otlp_wire::EncodedBatch;
use tonic::Code;

use crate::backend::{FakeBackend, Reply, Setup};
use crate::spool::{fresh, spooled};
use crate::{batch, count, finish, ids_of, otlp, start, to, until};

/// A device on the way lets larger requests die.
const LIMIT: usize = 200_000;

/// The ways in which large requests die.
fn deaths() -> [(bool, Reply); 7] {
    [
        (false, Reply::CutRequest),
        (false, Reply::http(502)),
        (false, Reply::http(504)),
        (false, Reply::Silence),
        (true, Reply::CutRequest),
        (true, Reply::Grpc(Code::Unavailable, "upstream reset")),
        (true, Reply::Silence),
    ]
}

fn setup(grpc: bool) -> Setup {
    if grpc {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    }
}

fn config(grpc: bool, backend: &FakeBackend) -> Deliver {
    let mut otlp = if grpc {
        otlp(Protocol::Grpc, backend.endpoint(""))
    } else {
        otlp(Protocol::HttpProtobuf, backend.endpoint("/v1/traces"))
    };
    otlp.timeout = Duration::from_millis(300);
    to(otlp)
}

/// Of about 600,000 octets each.
fn large(batches: usize) -> Vec<EncodedBatch> {
    (0..batches).map(|_| batch(30, 20_000)).collect()
}

fn small(batches: usize) -> Vec<EncodedBatch> {
    (0..batches).map(|_| batch(5, 0)).collect()
}

/// Waits until the backend has accepted all of these, whatever else.
async fn wait_for(backend: &FakeBackend, batches: &[EncodedBatch]) {
    let wanted = ids_of(batches);
    until("all to be accepted", || {
        let accepted = backend.accepted_ids();
        wanted.iter().all(|id| accepted.binary_search(id).is_ok())
    })
    .await;
}

#[tokio::test]
async fn large_requests_that_die_on_the_way_arrive_in_parts_and_hold_up_no_others() {
    for (grpc, reply) in deaths() {
        let backend = setup(grpc).over(LIMIT, reply.clone()).start().await;
        let mut config = config(grpc, &backend);
        config.concurrency = 4;
        let (large, small) = (large(6), small(20));
        let delivery = start(&config, &large);
        until("a failure", || {
            delivery.counters().failures.load(Relaxed) > 0
        })
        .await;
        for batch in &small {
            delivery.queue().push(batch.clone());
        }
        wait_for(&backend, &small).await;
        wait_for(&backend, &large).await;
        let totals = finish(&delivery).await;
        assert_eq!(totals.accepted, count(280, 26), "{reply:?}");
        let limit = delivery.request_limit().load(Relaxed);
        assert!((64 << 10..300_000).contains(&limit), "{reply:?}: {limit}");
    }
}

#[tokio::test]
async fn with_one_connection_others_pass_between_the_failures() {
    for (grpc, reply) in [(false, Reply::Silence), (true, Reply::CutRequest)] {
        let backend = setup(grpc).over(LIMIT, reply.clone()).start().await;
        let mut config = config(grpc, &backend);
        config.concurrency = 1;
        let (large, small) = (large(3), small(20));
        let delivery = start(&config, &large);
        for batch in &small {
            delivery.queue().push(batch.clone());
        }
        wait_for(&backend, &small).await;
        wait_for(&backend, &large).await;
        assert_eq!(
            finish(&delivery).await.accepted,
            count(190, 23),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_span_that_never_passes_is_isolated_and_arrives_when_it_may() {
    let poisonous = batch(20, 0);
    let id = ids_of(std::slice::from_ref(&poisonous))[7].1.clone();
    let backend = FakeBackend::http()
        .poison(id.clone(), Reply::http(503))
        .start()
        .await;
    let mut config = config(false, &backend);
    config.concurrency = 1;
    let delivery = start(&config, std::slice::from_ref(&poisonous));
    let alone = |delivery: &Delivery| {
        let totals = delivery.counters().totals();
        totals.accepted.all() >= 20 && totals.accepted.all() % 6 == 2
    };
    // Others pass meanwhile, so that the batch is known to fail for a reason of its own.
    let mut others = Vec::new();
    while !alone(&delivery) {
        let accepted = delivery.counters().accepted.load();
        others.push(batch(5, 0));
        delivery.queue().push(others[others.len() - 1].clone());
        until("another to pass", || {
            delivery.counters().accepted.load() != accepted
        })
        .await;
    }
    let accepted = backend.accepted_ids();
    assert!(!accepted.iter().any(|(_, span)| *span == id));
    backend.heals();
    wait_for(&backend, &[poisonous]).await;
    wait_for(&backend, &others).await;
    finish(&delivery).await;
}

#[tokio::test]
async fn what_a_spool_holds_arrives_in_parts_after_a_restart() {
    for mode in [SpoolMode::Always, SpoolMode::Overflow] {
        let directory = tempfile::tempdir().unwrap();
        let backend = FakeBackend::http()
            .over(LIMIT, Reply::CutRequest)
            .start()
            .await;
        let mut config = spooled(config(false, &backend), directory.path(), mode);
        config.concurrency = 2;
        let (large, small) = (fresh(4, 30, 20_000), fresh(10, 5, 0));
        // The first run ends at once: nothing has passed.
        let delivery = start(&config, &large);
        let totals = delivery.drain(std::time::Instant::now()).await;
        assert_eq!(totals.spooled, count(120, 4), "{mode:?}: {totals:?}");
        drop(delivery);
        let delivery = start(&config, &small);
        wait_for(&backend, &small).await;
        wait_for(&backend, &large).await;
        let totals = finish(&delivery).await;
        assert_eq!(totals.accepted, count(170, 14), "{mode:?}: {totals:?}");
        assert_eq!(totals.spooled, count(0, 0), "{mode:?}");
    }
}
