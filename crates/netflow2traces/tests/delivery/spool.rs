//! The disk queue beside the memory: an outage longer than the queue, what is new beside what is old, a stop and
//! the next run.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use netflow2traces::config::{Deliver, Protocol, Spool, SpoolMode};
use netflow2traces::deliver::{Count, Delivery};
use otlp_wire::EncodedBatch;
use tonic::Code;

use crate::backend::{FakeBackend, Reply};
use crate::failures::{endpoint_of, reserved_port};
use crate::{batch, count, finish, grpc_to, ids_of, otlp, start, to, until};

pub(crate) const MODES: [SpoolMode; 2] = [SpoolMode::Overflow, SpoolMode::Always];

pub(crate) fn spooled(mut config: Deliver, directory: &Path, mode: SpoolMode) -> Deliver {
    config.spool = Some(Spool {
        directory: directory.to_owned(),
        mode,
        max_size: 64 << 20,
        max_age: Duration::from_secs(86_400),
    });
    config
}

/// Batches of an arrival that is not too old.
pub(crate) fn fresh(batches: usize, flow_spans: u32, padding: usize) -> Vec<EncodedBatch> {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let make = |number| {
        let mut batch = batch(flow_spans, padding);
        batch.oldest.0 = u64::try_from(now.as_nanos()).unwrap() + number;
        batch
    };
    (0..batches as u64).map(make).collect()
}

/// What the operator sees in `NETFLOW_SPOOL_DIR` that takes room.
fn segments(directory: &Path) -> usize {
    let files = std::fs::read_dir(directory).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".segment")).count()
}

#[tokio::test]
async fn an_outage_longer_than_the_queue_loses_nothing() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let socket = reserved_port();
        let config = to(otlp(Protocol::Grpc, endpoint_of(&socket)));
        let mut config = spooled(config, directory.path(), mode);
        let batches = fresh(60, 5, 1_000);
        // Four batches in memory, sixty to come.
        config.queue_size = batches[0].octets.len() * 4;
        let delivery = start(&config, &[]);
        let counters = delivery.counters();
        for batch in &batches {
            delivery.queue().push(batch.clone());
            // As slow as a disk may be; else the memory is full before its thread has run.
            let room = || counters.queued_batches.load(Relaxed) < 3;
            until("room", room).await;
        }
        until("an outage", || counters.backend_away.load(Relaxed)).await;
        assert!(counters.totals().balanced());
        assert_eq!(counters.dropped.load(), Count::default());
        assert!(counters.spool.written_batches.load(Relaxed) >= 54);
        let backend = FakeBackend::grpc()
            .listener(socket.listen(64).unwrap())
            .start()
            .await;
        let totals = finish(&delivery).await;
        assert_eq!(totals.accepted, count(300, 60), "{mode:?}");
        assert_eq!(totals.spooled, Count::default());
        assert_eq!(backend.accepted_ids(), ids_of(&batches));
        assert_eq!(
            segments(directory.path()),
            0,
            "an empty spool takes no room"
        );
    }
}

#[tokio::test]
async fn old_batches_come_in_their_order_beside_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let away = to(otlp(Protocol::Grpc, "http://127.0.0.1:9".parse().unwrap()));
    let old = fresh(40, 5, 100);
    let delivery = start(&spooled(away, directory.path(), SpoolMode::Overflow), &old);
    let totals = delivery.drain(Instant::now()).await;
    assert_eq!(totals.spooled, count(200, 40));
    assert!(totals.balanced());
    drop(delivery);

    let backend = FakeBackend::grpc().script([Reply::Held]).start().await;
    let mut config = spooled(grpc_to(&backend), directory.path(), SpoolMode::Overflow);
    config.concurrency = 1;
    let new = fresh(40, 5, 100);
    // Pushed while the first request waits: all of the new ones wait beside the old ones.
    let delivery = start(&config, &[]);
    backend.wait_for_arrivals(1).await;
    for batch in &new {
        delivery.queue().push(batch.clone());
    }
    backend.release(1);
    let totals = finish(&delivery).await;
    assert_eq!(totals.recovered, count(200, 40));
    assert_eq!(totals.accepted, count(400, 80));
    let order = |batches: &[EncodedBatch]| -> Vec<usize> {
        let received = backend.received();
        let place = |batch| {
            let ids = ids_of(std::slice::from_ref(batch));
            let matches = |request: &crate::backend::Received| {
                let mut got = request.ids();
                got.sort();
                got == ids
            };
            received.iter().position(matches).expect("it arrived")
        };
        batches.iter().map(place).collect()
    };
    let (old, new) = (order(&old), order(&new));
    assert!(old.is_sorted(), "{old:?}");
    assert!(new.is_sorted(), "{new:?}");
    // In turn, as far as the disk's thread gets to run: neither waits until the other is through.
    let before = |these: &[usize], those: &[usize]| {
        let last = those.last().unwrap();
        these.iter().filter(|place| *place < last).count()
    };
    assert!(before(&old, &new) >= 5, "{old:?} beside {new:?}");
    assert!(before(&new, &old) >= 5, "{old:?} beside {new:?}");
}

#[tokio::test]
async fn a_stop_spools_the_rest_and_the_next_run_sends_the_same_octets() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let script = std::iter::repeat_n(Reply::Silence, 2);
        let backend = FakeBackend::grpc().script(script).start().await;
        let config = spooled(grpc_to(&backend), directory.path(), mode);
        let batches = fresh(9, 5, 100);
        let delivery = start(&config, &batches);
        backend.wait_for_arrivals(2).await;
        let totals = delivery.drain(Instant::now()).await;
        // The two in flight are in doubt: they are kept too.
        assert_eq!(totals.spooled, count(45, 9), "{mode:?}");
        assert_eq!(totals.lost(), Count::default());
        assert!(totals.balanced(), "{totals:?}");
        drop(delivery);

        let delivery = start(&config, &[]);
        until("all is accepted", || {
            delivery.counters().accepted.load().work == 9
        })
        .await;
        let totals = finish(&delivery).await;
        assert_eq!(totals.recovered, count(45, 9));
        assert_eq!(totals.pushed, Count::default());
        assert_eq!(totals.spooled, Count::default());
        assert_eq!(backend.accepted_ids(), ids_of(&batches));
        let received = backend.received();
        for silent in received.iter().filter(|request| !request.accepted) {
            let again = received.iter().filter(|request| request.accepted);
            assert_eq!(
                again
                    .filter(|again| again.request == silent.request)
                    .count(),
                1
            );
        }
    }
}

#[tokio::test]
async fn with_always_a_batch_is_written_before_it_is_sent_and_not_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let backend = FakeBackend::grpc().script([Reply::Silence]).start().await;
    let mut config = spooled(grpc_to(&backend), directory.path(), SpoolMode::Always);
    config.concurrency = 1;
    let delivery = start(&config, &fresh(1, 5, 100));
    backend.wait_for_arrivals(1).await;
    let counters = delivery.counters();
    assert_eq!(counters.spool.written_batches.load(Relaxed), 1);
    assert_eq!(segments(directory.path()), 1);
    delivery.abort_handle().abort();
    delivery.drain(Instant::now()).await;
    drop(delivery);

    let backend = FakeBackend::grpc().start().await;
    let delivery = start(
        &spooled(grpc_to(&backend), directory.path(), SpoolMode::Always),
        &[],
    );
    let counters = delivery.counters();
    until("the old one", || counters.accepted.load().work == 1).await;
    assert_eq!(counters.spool.replayed_batches.load(Relaxed), 1);
    for new in fresh(10, 5, 100) {
        let before = counters.accepted.load().work;
        delivery.queue().push(new);
        until("the next", || counters.accepted.load().work > before).await;
    }
    assert_eq!(counters.spool.written_batches.load(Relaxed), 10);
    assert_eq!(counters.spool.replayed_batches.load(Relaxed), 1);
    assert_eq!(finish(&delivery).await.accepted, count(55, 11));
}

#[tokio::test]
async fn a_batch_of_the_spool_that_is_split_stays_until_both_halves_are_settled() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let batches = fresh(1, 20, 1_000);
        let refused = Reply::Http(413, Vec::new(), b"");
        let backend = FakeBackend::http()
            .script([refused, Reply::Ok, Reply::Silence])
            .start()
            .await;
        let config = to(otlp(Protocol::HttpProtobuf, backend.endpoint("/v1/traces")));
        let mut config = spooled(config, directory.path(), mode);
        config.concurrency = 1;
        let delivery = start(&config, &batches);
        backend.wait_for_arrivals(3).await;
        let totals = delivery.drain(Instant::now()).await;
        assert!(totals.balanced(), "{totals:?}");
        assert_eq!(totals.accepted.plus(totals.spooled), count(20, 1));
        assert!(totals.accepted.all() > 0 && totals.spooled.all() > 0);
        drop(delivery);
        let delivery = start(&config, &[]);
        let wanted = if mode == SpoolMode::Always {
            // The entry was written whole.
            count(20, 1)
        } else {
            totals.spooled
        };
        until("the rest", || delivery.counters().accepted.load() == wanted).await;
        assert_eq!(finish(&delivery).await.recovered, wanted);
        let mut arrived = backend.accepted_ids();
        arrived.dedup();
        assert_eq!(arrived, ids_of(&batches), "{mode:?}");
    }
}

#[tokio::test]
async fn what_the_spool_can_not_hold_is_counted() {
    for mode in MODES {
        let directory = tempfile::tempdir().unwrap();
        let backend = FakeBackend::grpc().start().await;
        backend.answers(Some(Reply::Grpc(Code::Unavailable, "away")));
        let mut config = spooled(grpc_to(&backend), directory.path(), mode);
        let batches = fresh(100, 5, 2_000);
        config.queue_size = batches[0].octets.len() * 4;
        if let Some(spool) = &mut config.spool {
            spool.max_size = 300_000;
        }
        let delivery = start(&config, &[]);
        let counters = delivery.counters();
        for batch in &batches {
            delivery.queue().push(batch.clone());
            let room = || counters.queued_batches.load(Relaxed) < 3;
            until("room", room).await;
        }
        let dropped = counters.dropped.spool_full.load();
        assert!(dropped.work > 50, "{dropped:?}");
        assert!(counters.spool.octets.load(Relaxed) <= 300_000);
        backend.answers(None);
        let totals = finish(&delivery).await;
        assert_eq!(totals.dropped, dropped, "{mode:?}");
        assert_eq!(totals.accepted.plus(dropped), count(500, 100));
        // The newest are worth most.
        let newest = ids_of(&batches[95..]);
        let arrived = backend.accepted_ids();
        assert!(newest.iter().all(|id| arrived.contains(id)));
    }
}

#[tokio::test]
async fn what_is_damaged_on_disk_costs_itself_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let away = to(otlp(Protocol::Grpc, "http://127.0.0.1:9".parse().unwrap()));
    let batches = fresh(5, 5, 100);
    let config = spooled(away, directory.path(), SpoolMode::Overflow);
    start(&config, &batches).drain(Instant::now()).await;
    let file = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|known| known == "segment"))
        .unwrap();
    let mut octets = std::fs::read(&file).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 0xff;
    std::fs::write(&file, &octets).unwrap();

    let backend = FakeBackend::grpc().start().await;
    let config = spooled(grpc_to(&backend), directory.path(), SpoolMode::Overflow);
    let delivery = start(&config, &[]);
    until("the others", || {
        delivery.counters().accepted.load().work == 4
    })
    .await;
    let totals = finish(&delivery).await;
    assert_eq!(totals.recovered, count(25, 5));
    assert_eq!(
        delivery.counters().dropped.spool_unreadable.load(),
        count(5, 1)
    );
    assert!(totals.balanced());
}

#[tokio::test]
async fn a_directory_that_can_not_be_used_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let backend = FakeBackend::grpc().start().await;
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = spooled(grpc_to(&backend), &file, SpoolMode::Always);
    let error = Delivery::start(&config).map(drop).unwrap_err().to_string();
    assert!(error.contains("NETFLOW_SPOOL_DIR="), "{error}");
    let config = spooled(grpc_to(&backend), directory.path(), SpoolMode::Always);
    let first = start(&config, &[]);
    let error = Delivery::start(&config).map(drop).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    finish(&first).await;
    // The lock goes with the thread.
    finish(&start(&config, &[])).await;
}
