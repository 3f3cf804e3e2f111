//! A batch with a receipt: whatever becomes of it, its source hears of it once.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netflow2traces::config::{Deliver, Exporter, Protocol, SpoolMode};
use netflow2traces::deliver::Delivery;
use otlp_wire::{EncodedBatch, Receipt, Settled, Source};
use tonic::Code;

use crate::backend::{FakeBackend, Reply};
use crate::fair::mixed;
use crate::spool::{fresh, spooled};
use crate::{batch, finish, grpc_to, http_to, otlp, start, to, until};
use Settled::{Delivered, Dropped, Spooled, Stopped};

/// What the source has heard, by the number of the batch.
#[derive(Debug, Default)]
struct Books(Mutex<BTreeMap<u64, Vec<Settled>>>);

impl Source for Books {
    fn settled(&self, number: u64, outcome: Settled) {
        let mut books = self.0.lock().unwrap();
        books.entry(number).or_default().push(outcome);
    }
}

impl Books {
    fn heard(&self) -> Vec<(u64, Vec<Settled>)> {
        self.0.lock().unwrap().clone().into_iter().collect()
    }
}

/// Pushes the batches, numbered from 0, each with a receipt.
fn push(delivery: &Delivery, batches: Vec<EncodedBatch>) -> Arc<Books> {
    let books = Arc::<Books>::default();
    for (number, mut batch) in (0..).zip(batches) {
        let source: Arc<dyn Source> = books.clone();
        batch.receipt = Some(Receipt::new(source, number));
        delivery.queue().push(batch);
    }
    books
}

/// Each of so many batches has met the same.
fn all(batches: u64, outcome: Settled) -> Vec<(u64, Vec<Settled>)> {
    (0..batches).map(|number| (number, vec![outcome])).collect()
}

async fn outcomes(config: &Deliver, batches: Vec<EncodedBatch>) -> Vec<(u64, Vec<Settled>)> {
    let delivery = start(config, &[]);
    let books = push(&delivery, batches);
    finish(&delivery).await;
    books.heard()
}

#[tokio::test]
async fn an_acknowledged_batch_is_delivered_and_so_is_one_that_was_accepted_in_part() {
    let script = [Reply::Ok, Reply::Partial(3, "three"), Reply::Ok];
    let backend = FakeBackend::grpc().script(script).start().await;
    let batches = (0..3).map(|_| batch(20, 0)).collect();
    assert_eq!(
        outcomes(&grpc_to(&backend), batches).await,
        all(3, Delivered)
    );
}

#[tokio::test]
async fn a_batch_that_is_retried_is_settled_by_the_last_attempt() {
    let script = [Reply::Grpc(Code::Unavailable, "later"), Reply::CutAnswer];
    let backend = FakeBackend::grpc().script(script).start().await;
    let config = grpc_to(&backend);
    assert_eq!(
        outcomes(&config, vec![batch(20, 0)]).await,
        all(1, Delivered)
    );
    assert!(backend.arrivals() >= 3);
}

#[tokio::test]
async fn a_batch_that_is_refused_for_good_is_dropped() {
    let script = [Reply::Grpc(Code::InvalidArgument, "never")];
    let backend = FakeBackend::grpc().script(script).start().await;
    let config = grpc_to(&backend);
    assert_eq!(outcomes(&config, vec![batch(20, 0)]).await, all(1, Dropped));
}

#[tokio::test]
async fn what_is_discarded_on_purpose_counts_as_delivered() {
    let mut config = to(otlp(Protocol::Grpc, "http://127.0.0.1:9".parse().unwrap()));
    config.exporter = Exporter::None;
    assert_eq!(
        outcomes(&config, vec![batch(20, 0)]).await,
        all(1, Delivered)
    );
}

#[tokio::test]
async fn a_batch_that_is_split_is_settled_with_its_last_piece_and_by_the_worst() {
    // The whole, then its halves.
    let too_large = || Reply::Http(413, Vec::new(), b"");
    for (second, outcome) in [(Reply::Ok, Delivered), (Reply::http(400), Dropped)] {
        let script = [too_large(), Reply::Ok, second];
        let backend = FakeBackend::http().script(script).start().await;
        let mut config = http_to(&backend);
        config.concurrency = 1;
        let heard = outcomes(&config, vec![batch(20, 1_000)]).await;
        assert_eq!(heard, all(1, outcome));
        assert!(backend.arrivals() >= 3);
    }
    // A single span that is too large can't be split.
    let backend = FakeBackend::http()
        .script((0..20).map(|_| too_large()))
        .start()
        .await;
    let heard = outcomes(&http_to(&backend), vec![batch(1, 1_000)]).await;
    assert_eq!(heard, all(1, Dropped));
}

#[tokio::test]
async fn half_of_a_batch_that_waits_keeps_the_batch_unsettled() {
    let too_large = Reply::Http(413, Vec::new(), b"");
    let script = [too_large, Reply::Ok, Reply::Held];
    let backend = FakeBackend::http().script(script).start().await;
    let mut config = http_to(&backend);
    config.concurrency = 1;
    let delivery = start(&config, &[]);
    let books = push(&delivery, vec![batch(20, 1_000)]);
    backend.wait_for_arrivals(3).await;
    assert_eq!(books.heard(), []);
    backend.release(1);
    finish(&delivery).await;
    assert_eq!(books.heard(), all(1, Delivered));
}

#[tokio::test]
async fn a_batch_on_the_disk_is_spooled_and_its_delivery_reports_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let backend = FakeBackend::grpc().start().await;
    let config = spooled(grpc_to(&backend), directory.path(), SpoolMode::Always);
    let delivery = start(&config, &[]);
    let books = push(&delivery, fresh(5, 5, 100));
    let counters = delivery.counters();
    until("delivery", || counters.accepted.load().work == 5).await;
    finish(&delivery).await;
    assert_eq!(books.heard(), all(5, Spooled));
}

#[tokio::test]
async fn a_stop_spools_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let away = to(otlp(Protocol::Grpc, "http://127.0.0.1:9".parse().unwrap()));
    let config = spooled(away, directory.path(), SpoolMode::Overflow);
    let delivery = start(&config, &[]);
    let books = push(&delivery, fresh(5, 5, 100));
    delivery.drain(Instant::now()).await;
    assert_eq!(books.heard(), all(5, Spooled));
}

#[tokio::test]
async fn what_a_stop_leaves_undelivered_is_stopped_and_may_come_again() {
    let script = std::iter::repeat_n(Reply::Silence, 10);
    let backend = FakeBackend::grpc().script(script).start().await;
    let delivery = start(&grpc_to(&backend), &[]);
    let books = push(&delivery, (0..6).map(|_| batch(5, 0)).collect());
    backend.wait_for_arrivals(2).await;
    let deadline = Instant::now() + Duration::from_millis(50);
    delivery.drain(deadline).await;
    assert_eq!(books.heard(), all(6, Stopped));
    let late = push(&delivery, vec![batch(5, 0)]);
    assert_eq!(late.heard(), all(1, Stopped));
}

#[tokio::test]
async fn what_makes_room_in_a_full_queue_is_dropped_whether_whole_or_cut() {
    let backend = FakeBackend::grpc().script([Reply::Held]).start().await;
    let mut config = grpc_to(&backend);
    config.concurrency = 1;
    config.queue_size = 100_000;
    let delivery = start(&config, &[]);
    let books = push(&delivery, vec![batch(1, 0)]);
    backend.wait_for_arrivals(1).await;
    let batches = (0..60).map(|_| {
        let (light, heavy) = (batch(1, 10), batch(10, 400));
        mixed(&[("192.0.2.1", &light), ("192.0.2.2", &heavy)])
    });
    let full = push(&delivery, batches.collect());
    let counters = delivery.counters();
    assert!(counters.dropped.queue_full.load().flow > 0);
    backend.release(1);
    finish(&delivery).await;
    assert_eq!(books.heard(), all(1, Delivered));
    let heard = full.heard();
    assert_eq!(heard.len(), 60);
    assert!(heard.iter().all(|(_, outcomes)| outcomes.len() == 1));
    let dropped = heard.iter().filter(|(_, outcome)| outcome[0] == Dropped);
    let dropped = dropped.count() as u64;
    // Of most that lost their heavy half, the light one arrived.
    assert!(dropped > 20 && dropped < 60, "{dropped}");
    assert!(counters.accepted.load().work > 1 + (60 - dropped) * 2);
    assert_eq!(counters.queued_batches.load(Relaxed), 0);
}
