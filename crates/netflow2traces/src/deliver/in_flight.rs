//! A batch in flight. It is settled exactly once: accepted, rejected, discarded, dropped for a
//! reason, split, or given back to the queue for another attempt; if its task ends before, it goes back to the spool, or
//! counts as dropped at shutdown where there is none. If its task panics it goes back to the queue; when that happens
//! again, it counts as dropped because it can't be sent. So no span can leave without a counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use otlp_wire::{EncodedBatch, Settled};
use tracing::error;

use super::counters::{Count, DropReason};
use super::now;
use super::queue::{Later, Postponed, Queue, Spooled};
use super::sizes::History;
use super::spool::format::Position;

/// A batch that left the queue, with its entry in the books.
#[derive(Debug)]
pub(super) struct BatchInFlight {
    batch: EncodedBatch,
    count: Count,
    /// Octets that it may bring back to the queue.
    live_octets: u64,
    queue: Arc<Queue>,
    /// Its entry in the spool, if it has one.
    entry: Option<Arc<Entry>>,
    history: History,
    /// Held by a suspect and its pieces.
    turn: Option<Arc<Turn>>,
    settled: bool,
}

/// An entry of the spool, shared by the pieces of its batch: it is needed until all of them are settled.
#[derive(Debug)]
pub(super) struct Entry {
    position: Position,
    queue: Arc<Queue>,
    /// A piece was not settled.
    needed: AtomicBool,
}

impl Entry {
    /// A piece was not settled when its sender ended: the entry is still needed.
    pub(super) fn give_back(&self, batch: EncodedBatch) {
        self.needed.store(true, Relaxed);
        let position = self.position;
        self.queue.return_spooled(Spooled { batch, position });
    }

    /// A piece was not settled, and the spool will be read again.
    pub(super) fn keep(&self) {
        self.needed.store(true, Relaxed);
    }
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

/// The one suspect that is tried.
#[derive(Debug)]
struct Turn(Arc<Queue>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.suspect_is_back();
    }
}

impl BatchInFlight {
    pub(super) fn new(batch: EncodedBatch, queue: &Arc<Queue>) -> Self {
        Self::with(batch, queue, None, History::default(), None)
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
        let in_flight = Self::with(batch, queue, Some(entry), History::default(), None);
        counters.spooled.subtract(in_flight.count);
        counters.spool.batches.fetch_sub(1, Relaxed);
        in_flight
    }

    /// A batch that was tried before. A suspect holds its turn until it and all its pieces are done.
    pub(super) fn again(postponed: Postponed, queue: &Arc<Queue>) -> Self {
        let (batch, entry, history) = postponed.into_parts();
        let turn = history.suspect.then(|| Arc::new(Turn(Arc::clone(queue))));
        let is_spooled = entry.is_some();
        let in_flight = Self::with(batch, queue, entry, history, turn);
        if is_spooled {
            queue.counters().spooled.subtract(in_flight.count);
        }
        in_flight
    }

    fn with(
        batch: EncodedBatch,
        queue: &Arc<Queue>,
        entry: Option<Arc<Entry>>,
        history: History,
        turn: Option<Arc<Turn>>,
    ) -> Self {
        let count = Count::of(&batch);
        queue.counters().in_flight.add(count);
        let live_octets = if entry.is_none() {
            batch.octets.len()
        } else {
            0
        };
        let in_flight = &queue.counters().live_octets_in_flight;
        in_flight.fetch_add(live_octets as u64, Relaxed);
        Self {
            batch,
            count,
            live_octets: live_octets as u64,
            queue: Arc::clone(queue),
            entry,
            history,
            turn,
            settled: false,
        }
    }

    pub(super) const fn batch(&self) -> &EncodedBatch {
        &self.batch
    }

    pub(super) const fn history(&self) -> History {
        self.history
    }

    /// All accepted but so many, which the backend rejected.
    pub(super) fn accept_but(self, rejected_spans: u64) {
        let rejected = self.count.share(rejected_spans);
        let counters = self.queue.counters();
        counters.rejected.add(rejected);
        counters.accepted.add(self.count.minus(rejected));
        self.settle(Settled::Delivered);
    }

    pub(super) fn reject(self) {
        self.queue.counters().rejected.add(self.count);
        self.settle(Settled::Dropped);
    }

    pub(super) fn discard(self) {
        self.queue.counters().discarded.add(self.count);
        self.settle(Settled::Delivered);
    }

    pub(super) fn drop_for(self, reason: DropReason) {
        self.queue.counters().dropped.by(reason).add(self.count);
        self.settle(reason.outcome());
    }

    /// Gives it back to the queue for another attempt.
    pub(super) fn postpone(mut self, later: Later) {
        let batch = std::mem::take(&mut self.batch);
        let postponed = Postponed::new(batch, self.entry.take(), later.history);
        let queue = Arc::clone(&self.queue);
        // Counted twice for a moment rather than nowhere.
        queue.postpone(postponed, later);
        self.settled = true;
    }

    /// The two halves, or the batch itself if it has but one span.
    pub(super) fn split(self) -> Result<(Self, Self), Box<Self>> {
        match otlp_wire::split(&self.batch) {
            Some((first, second)) => {
                let half = |batch| {
                    let (entry, turn) = (self.entry.clone(), self.turn.clone());
                    Self::with(batch, &self.queue, entry, self.history, turn)
                };
                let halves = (half(first), half(second));
                // As its halves are.
                self.settle(Settled::Delivered);
                Ok(halves)
            }
            None => Err(Box::new(self)),
        }
    }

    fn settle(mut self, outcome: Settled) {
        self.batch.settle(outcome);
        self.settled = true;
    }
}

impl Drop for BatchInFlight {
    fn drop(&mut self) {
        if !self.settled {
            let batch = std::mem::take(&mut self.batch);
            let panicked = std::thread::panicking();
            if panicked && self.history.panicked {
                self.queue.counters().dropped.encoding.add(self.count);
                error!(
                    spans = self.count.all(),
                    "a batch is dropped: sending it panicked twice"
                );
            } else if panicked {
                let history = self.history.after_panic();
                let postponed = Postponed::new(batch, self.entry.take(), history);
                self.queue.postpone(postponed, Later::at(now(), history));
            } else if let Some(entry) = &self.entry {
                entry.give_back(batch);
            } else if let Some(mut batch) = self.queue.return_live(batch) {
                self.queue.counters().dropped.shutdown.add(self.count);
                batch.settle(DropReason::Shutdown.outcome());
            }
        }
        let counters = self.queue.counters();
        counters.in_flight.subtract(self.count);
        let in_flight = &counters.live_octets_in_flight;
        in_flight.fetch_sub(self.live_octets, Relaxed);
    }
}
