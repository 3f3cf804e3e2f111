//! However much comes while the backend takes nothing: memory is bounded by the queue and the requests in flight.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[expect(unsafe_code, reason = "an allocator that counts")]
#[path = "support/allocator.rs"]
mod allocator;

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use allocator::{LIVE, PEAK};
use bytes::Bytes;
use netflow2traces::config::{Deliver, Exporter, Otlp, Spool, SpoolMode};
use netflow2traces::deliver::{Count, Delivery};
use otlp_wire::{EncodedBatch, UnixNanos};
use tokio::net::TcpListener;

const QUEUE: usize = 16 << 20;
const REQUEST: usize = 256 << 10;
const CONCURRENCY: usize = 4;
/// Batches beside the queue: in flight, read ahead of the senders by the spool, being read, and being pushed.
const BESIDE: usize = CONCURRENCY + 2 + 1 + 1;
/// Connections, the runtime, and what a test has around it.
const SLACK: usize = 3 << 20;
/// Many times what has room.
const BATCHES: usize = 20 * QUEUE / REQUEST;

fn batch() -> EncodedBatch {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    EncodedBatch {
        octets: Bytes::from(vec![7; REQUEST]),
        flow_spans: 100,
        work_spans: 3,
        oldest: UnixNanos(u64::try_from(now.unwrap().as_nanos()).unwrap()),
        receipt: None,
    }
}

/// The most octets that were held beyond those at the beginning.
async fn peak(mode: Option<SpoolMode>) -> usize {
    let directory = tempfile::tempdir().unwrap();
    // Takes connections and never reads: requests stay in flight.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Deliver {
        exporter: Exporter::Otlp(Otlp::plain_grpc(listener.local_addr().unwrap())),
        console_copy: false,
        queue_size: QUEUE,
        concurrency: CONCURRENCY,
        max_request_size: REQUEST,
        spool: mode.map(|mode| Spool {
            directory: directory.path().to_owned(),
            mode,
            max_size: 64 << 20,
            max_age: Duration::from_secs(3_600),
        }),
    };
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let delivery = Delivery::start(&config).unwrap();
    let queue = delivery.queue();
    let pushing = tokio::task::spawn_blocking(move || {
        for _ in 0..BATCHES {
            queue.push(batch());
            // So that the senders and the disk take part.
            std::thread::yield_now();
        }
    });
    pushing.await.unwrap();
    let totals = delivery.drain(Instant::now()).await;
    assert!(totals.balanced(), "{totals:?}");
    assert_eq!(totals.pushed.work, 3 * BATCHES as u64);
    assert_eq!(totals.accepted, Count::default());
    if mode.is_some() {
        assert!(totals.spooled.all() > 0);
    }
    PEAK.load(Relaxed) - before
}

/// One after the other, for there is one allocator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_by_the_queue_and_the_requests_in_flight() {
    let bound = QUEUE + BESIDE * REQUEST + SLACK;
    for mode in [None, Some(SpoolMode::Overflow), Some(SpoolMode::Always)] {
        let peak = peak(mode).await;
        println!(
            "{mode:?}: at most {} KiB, of {} KiB",
            peak >> 10,
            bound >> 10
        );
        assert!(peak <= bound, "{mode:?}: {peak} of {bound}");
        // It measures: the queue was as full as it gets.
        if mode.is_none() {
            assert!(peak >= QUEUE - REQUEST, "{peak}");
        }
    }
}
