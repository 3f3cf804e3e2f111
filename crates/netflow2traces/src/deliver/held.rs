//! A batch in flight. It is settled exactly once: accepted, rejected, discarded, dropped for a
//! reason or split; if its task ends before, it goes back to the spool, or counts as dropped at shutdown where there
//! is none. If its task panics it goes back to the queue; when that happens again, it counts as dropped because it can't
//! be sent. So no span can leave without a counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use otlp_wire::EncodedBatch;
use tracing::error;

use super::counters::{Count, DropReason};
use super::queue::{Queue, Spooled};
use super::spool::format::Position;

/// A batch that left the queue, with its entry in the books.
#[derive(Debug)]
pub(super) struct Held {
    batch: EncodedBatch,
    queue: Arc<Queue>,
    /// Its entry in the spool, if it has one.
    entry: Option<Arc<Entry>>,
    settled: bool,
}

/// An entry of the spool, shared by the pieces of its batch: it is needed until all of them are settled.
#[derive(Debug)]
struct Entry {
    position: Position,
    queue: Arc<Queue>,
    /// A piece was not settled.
    needed: AtomicBool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.needed.load(Relaxed) {
            self.queue.counters().spool.batches.fetch_add(1, Relaxed);
        } else {
            self.queue.settled(self.position);
        }
    }
}

impl Held {
    pub(super) fn new(batch: EncodedBatch, queue: &Arc<Queue>) -> Self {
        Self::with(batch, queue, None)
    }

    /// A batch of the spool.
    pub(super) fn spooled(spooled: Spooled, queue: &Arc<Queue>) -> Self {
        let Spooled { batch, position } = spooled;
        let entry = Arc::new(Entry {
            position,
            queue: Arc::clone(queue),
            needed: AtomicBool::new(false),
        });
        let counters = queue.counters();
        let held = Self::with(batch, queue, Some(entry));
        counters.spooled.subtract(Count::of(&held.batch));
        counters.spool.batches.fetch_sub(1, Relaxed);
        held
    }

    fn with(batch: EncodedBatch, queue: &Arc<Queue>, entry: Option<Arc<Entry>>) -> Self {
        queue.counters().in_flight.add(Count::of(&batch));
        Self {
            batch,
            queue: Arc::clone(queue),
            entry,
            settled: false,
        }
    }

    pub(super) const fn batch(&self) -> &EncodedBatch {
        &self.batch
    }

    /// All accepted but so many, which the backend rejected.
    pub(super) fn accept_but(self, rejected_spans: u64) {
        let all = Count::of(&self.batch);
        let rejected = all.share(rejected_spans);
        let counters = self.queue.counters();
        counters.rejected.add(rejected);
        counters.accepted.add(all.minus(rejected));
        self.settle();
    }

    pub(super) fn reject(self) {
        self.queue.counters().rejected.add(Count::of(&self.batch));
        self.settle();
    }

    pub(super) fn discard(self) {
        self.queue.counters().discarded.add(Count::of(&self.batch));
        self.settle();
    }

    pub(super) fn drop_for(self, reason: DropReason) {
        let dropped = self.queue.counters().dropped.by(reason);
        dropped.add(Count::of(&self.batch));
        self.settle();
    }

    /// The two halves, or the batch itself if it has but one span.
    pub(super) fn split(self) -> Result<(Self, Self), Self> {
        match otlp_wire::split(&self.batch) {
            Some((first, second)) => {
                let half = |batch| Self::with(batch, &self.queue, self.entry.clone());
                let halves = (half(first), half(second));
                self.settle();
                Ok(halves)
            }
            None => Err(self),
        }
    }

    fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let count = Count::of(&self.batch);
        if !self.settled {
            let batch = std::mem::take(&mut self.batch);
            let panicked = std::thread::panicking();
            if panicked && self.queue.is_suspect(&batch) {
                self.queue.counters().dropped.encoding.add(count);
                error!(
                    spans = count.all(),
                    "a batch is dropped: sending it has panicked twice"
                );
            } else if let Some(entry) = &self.entry {
                entry.needed.store(true, Relaxed);
                let position = entry.position;
                // Only as a whole: its pieces share the entry.
                let retry = panicked && Arc::strong_count(entry) == 1;
                self.queue
                    .return_spooled(Spooled { batch, position }, retry);
            } else if panicked {
                self.queue.return_panicked(batch);
            } else if self.queue.return_live(batch).is_some() {
                self.queue.counters().dropped.shutdown.add(count);
            }
        }
        self.queue.counters().in_flight.subtract(count);
    }
}
