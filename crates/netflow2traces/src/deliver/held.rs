//! A batch in flight. It is settled exactly once: accepted, rejected, discarded, dropped for a
//! reason or split; if its task ends before, it counts as dropped at shutdown. So no span can leave
//! without a counter.

use std::sync::Arc;

use otlp_wire::EncodedBatch;

use super::counters::{Count, Counters, DropReason};

/// A batch that left the queue, with its entry in the books.
#[derive(Debug)]
pub(super) struct Held {
    batch: EncodedBatch,
    counters: Arc<Counters>,
    settled: bool,
}

impl Held {
    pub(super) fn new(batch: EncodedBatch, counters: Arc<Counters>) -> Self {
        counters.in_flight.add(Count::of(&batch));
        Self {
            batch,
            counters,
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
        self.counters.rejected.add(rejected);
        self.counters.accepted.add(all.minus(rejected));
        self.settle();
    }

    pub(super) fn reject(self) {
        self.counters.rejected.add(Count::of(&self.batch));
        self.settle();
    }

    pub(super) fn discard(self) {
        self.counters.discarded.add(Count::of(&self.batch));
        self.settle();
    }

    pub(super) fn drop_for(self, reason: DropReason) {
        self.counters.dropped.by(reason).add(Count::of(&self.batch));
        self.settle();
    }

    /// The two halves, or the batch itself if it has but one span.
    pub(super) fn split(self) -> Result<(Self, Self), Self> {
        match otlp_wire::split(&self.batch) {
            Some((first, second)) => {
                let halves = (
                    Self::new(first, Arc::clone(&self.counters)),
                    Self::new(second, Arc::clone(&self.counters)),
                );
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
            self.counters.dropped.shutdown.add(count);
        }
        self.counters.in_flight.subtract(count);
    }
}
