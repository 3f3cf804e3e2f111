//! Batches whose request failed: each waits for its time, while others go first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use otlp_wire::EncodedBatch;

use super::shares::Queued;
use super::{Queue, State};
use crate::deliver::counters::Count;
use crate::deliver::in_flight::Entry;
use crate::deliver::sizes::History;

/// When a batch is to be tried again.
#[derive(Clone, Copy, Debug)]
pub(in crate::deliver) struct Later {
    pub(in crate::deliver) from: Instant,
    pub(in crate::deliver) history: History,
    /// No suspect is tried before this has passed.
    pub(in crate::deliver) pause: Duration,
}

impl Later {
    pub(in crate::deliver) const fn at(from: Instant, history: History) -> Self {
        Self {
            from,
            history,
            pause: Duration::ZERO,
        }
    }
}

/// A batch that waits, with its entry in the spool if it has one.
#[derive(Debug)]
pub(in crate::deliver) struct Postponed {
    batch: Queued,
    entry: Option<Arc<Entry>>,
    history: History,
}

impl Postponed {
    pub(in crate::deliver) fn new(
        batch: EncodedBatch,
        entry: Option<Arc<Entry>>,
        history: History,
    ) -> Self {
        Self {
            batch: batch.into(),
            entry,
            history,
        }
    }

    pub(in crate::deliver) fn into_parts(self) -> (EncodedBatch, Option<Arc<Entry>>, History) {
        (self.batch.batch, self.entry, self.history)
    }

    const fn batch(&self) -> &EncodedBatch {
        &self.batch.batch
    }

    fn octets(&self) -> usize {
        self.batch().octets.len()
    }

    /// Its octets count as the queue's.
    pub(super) fn live_octets(&self) -> Option<usize> {
        self.entry.is_none().then(|| self.octets())
    }

    pub(super) fn count(&self) -> Count {
        Count::of(self.batch())
    }
}

/// By the time from which each may be tried, then in the order they came.
type ByTime = BTreeMap<(Instant, u64), Postponed>;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    others: ByTime,
    /// Those that fail while others pass: only one of them is tried at a time.
    suspects: ByTime,
    number: u64,
    /// Of batches that are in the spool; the others' count as the queue's.
    spooled_octets: usize,
    suspect_is_out: bool,
    suspects_from: Option<Instant>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.others.is_empty() && self.suspects.is_empty()
    }

    /// Octets of batches that are in the spool too.
    pub(super) const fn spooled_octets(&self) -> usize {
        self.spooled_octets
    }

    fn insert(&mut self, postponed: Postponed, from: Instant) {
        self.number += 1;
        if postponed.entry.is_some() {
            self.spooled_octets += postponed.octets();
        }
        let waiting = if postponed.history.suspect {
            &mut self.suspects
        } else {
            &mut self.others
        };
        waiting.insert((from, self.number), postponed);
    }

    fn removed(&mut self, postponed: Postponed) -> Postponed {
        if postponed.entry.is_some() {
            self.spooled_octets -= postponed.octets();
        }
        postponed
    }

    /// A batch whose time has come.
    fn take_other(&mut self, now: Instant) -> Option<Postponed> {
        let first = self.others.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let postponed = first.remove();
        Some(self.removed(postponed))
    }

    /// A suspect whose time has come, if no other is out.
    fn take_suspect(&mut self, now: Instant) -> Option<Postponed> {
        if self.suspect_is_out || self.suspects_from.is_some_and(|from| from > now) {
            return None;
        }
        let first = self.suspects.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let postponed = first.remove();
        self.suspect_is_out = true;
        Some(self.removed(postponed))
    }

    /// When one of them may be tried, if only time keeps it.
    pub(super) fn next(&self) -> Option<Instant> {
        let first = |waiting: &ByTime| waiting.first_key_value().map(|((from, _), _)| *from);
        let suspect = first(&self.suspects).filter(|_| !self.suspect_is_out);
        let suspect = suspect.max(suspect.and(self.suspects_from));
        match (first(&self.others), suspect) {
            (Some(other), Some(suspect)) => Some(other.min(suspect)),
            (other, suspect) => other.or(suspect),
        }
    }

    /// The time of all has come.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.suspects_from = None;
        for waiting in [&mut self.others, &mut self.suspects] {
            let all = std::mem::take(waiting).into_iter();
            *waiting = all
                .map(|((from, number), postponed)| ((from.min(now), number), postponed))
                .collect();
        }
    }

    /// Takes the batch that waits for longest of those in memory alone, or of those in the spool.
    fn evict(&mut self, spooled: bool) -> Option<Postponed> {
        let take = |waiting: &mut ByTime| {
            let of_kind = waiting
                .iter()
                .filter(|(_, postponed)| postponed.entry.is_some() == spooled);
            let (key, _) = of_kind.min_by_key(|((_, number), _)| *number)?;
            let key = *key;
            waiting.remove(&key)
        };
        let postponed = take(&mut self.suspects).or_else(|| take(&mut self.others))?;
        Some(self.removed(postponed))
    }

    /// Takes the batch that waits for longest of those that are in memory alone.
    pub(super) fn evict_unspooled(&mut self) -> Option<EncodedBatch> {
        self.evict(false).map(|postponed| postponed.batch.batch)
    }

    /// Takes the batches that are in the spool too.
    pub(super) fn take_spooled(&mut self) -> Vec<Arc<Entry>> {
        let mut taken = Vec::new();
        while let Some(Postponed { entry, .. }) = self.evict(true) {
            taken.extend(entry);
        }
        taken
    }

    /// Those in memory alone.
    pub(super) fn live(&mut self) -> impl Iterator<Item = &mut Queued> {
        let all = self.suspects.values_mut().chain(self.others.values_mut());
        all.filter(|postponed| postponed.entry.is_none())
            .map(|postponed| &mut postponed.batch)
    }

    /// Of these, keeps those that are to stay.
    pub(super) fn retain_live(&mut self, mut stays: impl FnMut(&mut Queued) -> bool) {
        for waiting in [&mut self.suspects, &mut self.others] {
            waiting.retain(|_, postponed| postponed.entry.is_some() || stays(&mut postponed.batch));
        }
    }

    fn take_all(&mut self) -> impl Iterator<Item = Postponed> + use<> {
        self.spooled_octets = 0;
        let (suspects, others) = (
            std::mem::take(&mut self.suspects),
            std::mem::take(&mut self.others),
        );
        suspects.into_values().chain(others.into_values())
    }
}

impl State {
    /// A batch that was postponed, if it is its turn: suspects one at a time; the others before new batches, for they
    /// are older, but after them while nothing passes, so that every batch is tried once before one is tried twice.
    pub(super) fn next_suspect(&mut self, away: bool, now: Instant) -> Option<Postponed> {
        if away {
            return None;
        }
        self.waiting.take_suspect(now)
    }

    pub(super) fn next_postponed(&mut self, now: Instant) -> Option<Postponed> {
        self.waiting.take_other(now)
    }

    /// While the backend is away a suspect is as good as any.
    pub(super) fn last_resort(&mut self, now: Instant) -> Option<Postponed> {
        self.waiting
            .take_other(now)
            .or_else(|| self.waiting.take_suspect(now))
    }
}

impl Queue {
    /// Takes a batch back that failed. Where there is no room it is dropped and counted: of the spool's batches, which
    /// wait in memory too, those that have waited longest make room if `others_pass`; while nothing passes no more are
    /// read.
    pub(in crate::deliver) fn postpone(&self, postponed: Postponed, later: Later) {
        let (count, octets) = (postponed.count(), postponed.octets());
        let mut lost = Vec::new();
        {
            let mut state = self.lock();
            let others_pass = postponed.history.suspect;
            if postponed.entry.is_some() {
                self.counters.spooled.add(count);
            } else {
                self.count_in(count, octets);
                state.octets += octets;
            }
            if !later.pause.is_zero() && postponed.history.suspect {
                state.waiting.suspects_from = Some(later.from + later.pause);
            }
            state.waiting.insert(postponed, later.from);
            while others_pass
                && state.waiting.spooled_octets > self.spooled_capacity()
                && let Some(oldest) = state.waiting.evict(true)
            {
                lost.push(oldest);
            }
        }
        for lost in lost {
            self.counters.spooled.subtract(lost.count());
            self.counters.dropped.queue_full.add(lost.count());
        }
        self.spool_waker.notify_one();
        self.arrived.notify_waiters();
    }

    /// Octets of the spool's batches that may wait in memory for another attempt.
    pub(super) const fn spooled_capacity(&self) -> usize {
        self.capacity / 4
    }

    /// The next of the postponed batches in memory alone that makes room for others.
    pub(super) fn evict_postponed(&self, state: &mut State) -> Option<EncodedBatch> {
        let batch = state.waiting.evict_unspooled()?;
        self.count_out(Count::of(&batch), batch.octets.len());
        state.octets -= batch.octets.len();
        Some(batch)
    }

    /// The suspect that was out is settled, or waits again.
    pub(in crate::deliver) fn suspect_is_back(&self) {
        self.lock().waiting.suspect_is_out = false;
        self.arrived.notify_waiters();
    }

    /// The senders have ended: what waits for another attempt is as any other batch, or as any other in the spool.
    pub(in crate::deliver) fn recall(&self) {
        let mut spooled = Vec::new();
        {
            let mut state = self.lock();
            for Postponed { batch, entry, .. } in state.waiting.take_all() {
                match entry {
                    Some(entry) => spooled.push((entry, batch)),
                    None => {
                        let batch = batch.batch;
                        let older = |other: &&Queued| other.oldest() < batch.oldest;
                        let place = state.batches.iter().take_while(older).count();
                        state.batches.insert(place, batch.into());
                    }
                }
            }
        }
        for (entry, batch) in spooled {
            let batch = batch.batch;
            self.counters.spooled.subtract(Count::of(&batch));
            entry.give_back(batch);
        }
    }

    pub(super) fn count_in(&self, count: Count, octets: usize) {
        self.counters.queued.add(count);
        self.counters
            .queued_octets
            .fetch_add(octets as u64, Relaxed);
        self.counters.queued_batches.fetch_add(1, Relaxed);
    }

    pub(super) fn count_out(&self, count: Count, octets: usize) {
        self.counters.queued.subtract(count);
        self.counters
            .queued_octets
            .fetch_sub(octets as u64, Relaxed);
        self.counters.queued_batches.fetch_sub(1, Relaxed);
    }
}
