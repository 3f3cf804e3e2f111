//! What the queue shares with the spool's thread: batches to be written, batches read back, and their outcomes.
//! One lock for both keeps the sums right.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use otlp_wire::EncodedBatch;

use super::shares::Queued;
use super::{Queue, State};
use crate::config::SpoolMode;
use crate::deliver::counters::{Count, DropReason};
use crate::deliver::spool::format::Position;

/// Batches that are read ahead of the senders.
const READ_AHEAD: usize = 2;

/// A batch of the spool, read back; or passed on from memory, for it was just written.
#[derive(Debug)]
pub(in crate::deliver) struct Spooled {
    pub(in crate::deliver) batch: EncodedBatch,
    pub(in crate::deliver) position: Position,
}

/// The spool's side of the queue.
#[derive(Debug)]
pub(super) struct SpoolSide {
    mode: SpoolMode,
    /// Senders take from the queue without the batch being written: in mode `always`, while the spool can't be written
    /// or is slower than the traffic.
    direct: bool,
    /// Read back; not in the queue's octets.
    replayed: VecDeque<Spooled>,
    /// The last batch that a sender took came from the spool.
    replayed_last: bool,
    /// Settled since the thread last looked.
    settled: Vec<Position>,
    /// Read, but not settled when its sender ended.
    returned: Vec<Spooled>,
    /// There are batches in the spool that have not been read, or one is being written.
    more: bool,
    writing: bool,
    finishing: bool,
    ended: bool,
}

/// What the spool's thread has to do.
#[derive(Debug, Default)]
pub(in crate::deliver) struct SpoolWork {
    pub(in crate::deliver) settled: Vec<Position>,
    /// To be written, the oldest of the queue. [`Queue::written`] or [`Queue::not_written`] must follow.
    pub(in crate::deliver) write: Option<EncodedBatch>,
    /// There is room for a batch that is read back.
    pub(in crate::deliver) read: bool,
    /// The end: all that is left is to be written.
    pub(in crate::deliver) finish: bool,
}

impl SpoolSide {
    /// Whether the oldest batch is to be written.
    fn wants_write(&self, octets: usize, capacity: usize) -> bool {
        self.finishing
            || match self.mode {
                SpoolMode::Always => true,
                SpoolMode::Overflow => octets > capacity / 2,
            }
    }
}

impl State {
    /// A batch of the spool, if it is its turn.
    pub(super) fn next_spooled(&mut self) -> Option<Spooled> {
        let live = self.senders_take() && !self.batches.is_empty();
        let spool_side = self.spool_side.as_mut()?;
        if live && spool_side.replayed_last {
            spool_side.replayed_last = false;
            return None;
        }
        let spooled = spool_side.replayed.pop_front()?;
        spool_side.replayed_last = true;
        Some(spooled)
    }

    /// Whether senders may take from the queue.
    pub(super) fn senders_take(&self) -> bool {
        let spool_side = self.spool_side.as_ref();
        spool_side
            .is_none_or(|spool_side| spool_side.direct || spool_side.mode == SpoolMode::Overflow)
    }

    /// Whether the spool has, or will have, something for the senders.
    pub(super) fn spool_has_more(&self) -> bool {
        let spool_side = self
            .spool_side
            .as_ref()
            .filter(|spool_side| !spool_side.ended);
        spool_side.is_some_and(|spool_side| {
            spool_side.more || spool_side.writing || !spool_side.replayed.is_empty()
        })
    }
}

impl Queue {
    /// Gives it a spool. Until the thread says otherwise, there is something inside.
    pub(in crate::deliver) fn with_spool(self, mode: SpoolMode) -> Self {
        self.lock().spool_side = Some(SpoolSide {
            mode,
            direct: false,
            replayed: VecDeque::new(),
            replayed_last: false,
            settled: Vec::new(),
            returned: Vec::new(),
            more: true,
            writing: false,
            finishing: false,
            ended: false,
        });
        self
    }

    /// The rest of a push: wakes the tasks that it concerns.
    pub(super) fn pushed_beside_spool(&self, mut state: MutexGuard<'_, State>) {
        let octets = state.octets;
        let Some(spool_side) = &mut state.spool_side else {
            return;
        };
        if spool_side.wants_write(octets, self.capacity) {
            self.spool_waker.notify_one();
        }
        // Sent unwritten rather than dropped.
        if octets > self.capacity / 4 * 3 && !spool_side.direct {
            spool_side.direct = true;
            self.arrived.notify_waiters();
        }
        if state.senders_take() {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Waits until there is something to do, but not after `until`. `readable` says whether the spool holds batches
    /// that can be read; nothing is given to write before `write_from`.
    pub(in crate::deliver) fn spool_work(
        &self,
        readable: bool,
        write_from: Option<Instant>,
        until: Instant,
    ) -> SpoolWork {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let (octets, capacity) = (state.octets, self.capacity);
            let State {
                batches,
                waiting,
                spool_side,
                ..
            } = &mut *state;
            let Some(spool_side) = spool_side else {
                return SpoolWork::default();
            };
            spool_side.more = readable;
            let may_write = spool_side.finishing || write_from.is_none_or(|from| from <= now);
            let write = may_write && spool_side.wants_write(octets, capacity);
            let write = if write {
                // What was tried before is the oldest.
                waiting
                    .evict_unspooled()
                    .or_else(|| batches.pop_front().map(|queued| queued.batch))
            } else {
                None
            };
            spool_side.writing = write.is_some();
            let read = readable && spool_side.replayed.len() < READ_AHEAD && !spool_side.finishing;
            let something =
                write.is_some() || read || spool_side.finishing || !spool_side.settled.is_empty();
            if something || until <= now {
                return SpoolWork {
                    settled: std::mem::take(&mut spool_side.settled),
                    write,
                    read,
                    finish: spool_side.finishing,
                };
            }
            if state.closed {
                // Tasks that wait for more learn that there is none.
                self.arrived.notify_waiters();
            }
            let left = match write_from {
                Some(from) if from > now => from.min(until),
                _ => until,
            }
            .saturating_duration_since(now);
            state = self
                .spool_waker
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The batch was written; it is in the spool, or lost to its limits, from here on.
    pub(in crate::deliver) fn written(&self, batch: &EncodedBatch, kept: bool) {
        let mut state = self.lock();
        if kept {
            self.counters.spooled.add(Count::of(batch));
        } else {
            self.counters.dropped.spool_full.add(Count::of(batch));
        }
        state.octets -= batch.octets.len();
        self.count_out(Count::of(batch), batch.octets.len());
        let octets = state.octets;
        if let Some(spool_side) = &mut state.spool_side {
            spool_side.writing = false;
            spool_side.more |= kept;
            if octets <= self.capacity / 2 {
                spool_side.direct = false;
            }
        }
    }

    /// The batch could not be written: it stays the oldest of the queue, and senders take from there.
    pub(in crate::deliver) fn not_written(&self, batch: EncodedBatch) {
        let mut state = self.lock();
        state.batches.push_front(batch.into());
        if let Some(spool_side) = &mut state.spool_side {
            spool_side.writing = false;
            spool_side.direct = true;
        }
        self.arrived.notify_waiters();
    }

    /// Offers a batch of the spool to the senders.
    pub(in crate::deliver) fn offer(&self, spooled: Spooled) {
        let mut state = self.lock();
        if let Some(spool_side) = &mut state.spool_side {
            spool_side.replayed.push_back(spooled);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Whether a batch waits to be written.
    pub(in crate::deliver) fn spool_wants_write(&self) -> bool {
        let state = self.lock();
        let spool_side = state
            .spool_side
            .as_ref()
            .filter(|_| !state.batches.is_empty());
        spool_side.is_some_and(|spool_side| spool_side.wants_write(state.octets, self.capacity))
    }

    /// Whether a batch that was just written may go to the senders from memory.
    pub(in crate::deliver) fn wants_pass(&self) -> bool {
        let state = self.lock();
        let spool_side = state.spool_side.as_ref();
        spool_side.is_some_and(|spool_side| {
            spool_side.replayed.len() < READ_AHEAD && !spool_side.finishing
        })
    }

    /// A batch of the spool is settled.
    pub(in crate::deliver) fn settled(&self, position: Position) {
        if let Some(spool_side) = &mut self.lock().spool_side {
            spool_side.settled.push(position);
        }
        self.spool_waker.notify_one();
    }

    /// A batch of the queue that was in flight when its sender ended. Where a spool will take it, it waits again;
    /// else it is given back.
    pub(in crate::deliver) fn return_live(&self, batch: EncodedBatch) -> Option<EncodedBatch> {
        let mut state = self.lock();
        if state
            .spool_side
            .as_ref()
            .is_none_or(|spool_side| spool_side.ended)
        {
            return Some(batch);
        }
        self.count_in(Count::of(&batch), batch.octets.len());
        state.octets += batch.octets.len();
        // Several may come back, in any order.
        let older = |other: &&Queued| other.oldest() < batch.oldest;
        let place = state.batches.iter().take_while(older).count();
        state.batches.insert(place, batch.into());
        None
    }

    /// A batch of the spool that was in flight when its sender ended: it is still in the spool.
    pub(in crate::deliver) fn return_spooled(&self, spooled: Spooled) {
        self.counters.spooled.add(Count::of(&spooled.batch));
        if let Some(spool_side) = &mut self.lock().spool_side {
            spool_side.returned.push(spooled);
        }
    }

    /// The senders have ended: what is in memory is to be written.
    pub(in crate::deliver) fn finish_spool(&self) {
        if let Some(spool_side) = &mut self.lock().spool_side {
            spool_side.finishing = true;
        }
        self.spool_waker.notify_one();
    }

    /// What senders returned, for the thread's end.
    pub(in crate::deliver) fn take_returned(&self) -> Vec<Spooled> {
        let mut state = self.lock();
        let spool_side = state.spool_side.as_mut();
        spool_side
            .map(|spool_side| std::mem::take(&mut spool_side.returned))
            .unwrap_or_default()
    }

    /// The thread has ended.
    pub(in crate::deliver) fn spool_ended(&self) {
        if let Some(spool_side) = &mut self.lock().spool_side {
            spool_side.ended = true;
            spool_side.direct = true;
            spool_side.replayed.clear();
        }
        self.arrived.notify_waiters();
    }

    /// The thread has panicked and begins anew: batches that it read will be read again, and senders take from memory
    /// until it works. Gives back the batch that it was writing, if there is one.
    pub(in crate::deliver) fn spool_restarts(&self, writing: Option<EncodedBatch>) {
        // An entry that is dropped locks the queue.
        let mut postponed = Vec::new();
        let mut state = self.lock();
        // They will be read again, whole.
        for entry in state.waiting.take_spooled() {
            entry.keep();
            postponed.push(entry);
        }
        let State {
            batches,
            spool_side,
            ..
        } = &mut *state;
        if let Some(spool_side) = spool_side {
            if let (true, Some(batch)) = (spool_side.writing, writing) {
                batches.push_front(batch.into());
            }
            spool_side.writing = false;
            spool_side.direct = true;
            spool_side.replayed.clear();
            spool_side.returned.clear();
            spool_side.settled.clear();
            spool_side.more = true;
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Waits for so long, but not beyond the beginning of the end; whether that has begun.
    pub(in crate::deliver) fn pause_spool(&self, pause: Duration) -> bool {
        let is_working = |state: &mut State| {
            state
                .spool_side
                .as_ref()
                .is_some_and(|spool_side| !spool_side.finishing)
        };
        let waited = self
            .spool_waker
            .wait_timeout_while(self.lock(), pause, is_working);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !is_working(&mut state)
    }

    /// Spans of the spool that are lost after all.
    pub(in crate::deliver) fn lose_spooled(&self, batch: &EncodedBatch, reason: DropReason) {
        self.counters.dropped.by(reason).add(Count::of(batch));
        self.counters.spooled.subtract(Count::of(batch));
    }
}
