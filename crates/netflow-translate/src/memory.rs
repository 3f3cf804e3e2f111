//! The memory that all workers together may keep for exporters: charged in coarse steps, without a lock.
//!
//! Half of it is shared out among the workers, so that what one of them is made to keep leaves the others room; the
//! other half goes to the worker that needs it first.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tracing::warn;

/// What is taken from the common half at once.
const STEP: usize = 256 << 10;
/// Between two warnings of one kind of loss, in seconds.
const SILENCE: u64 = 60;
/// Without a bound from outside: more than any configuration gives a worker.
const UNBOUNDED: usize = 512 << 20;

/// What all workers may keep for exporters: templates, options data, Sets that wait, sequences, the exporters
/// themselves, agents of sFlow.
#[derive(Debug)]
pub struct StateBudget {
    limit: usize,
    own: usize,
    common_left: AtomicUsize,
    used: AtomicUsize,
    /// When a loss was first looked for.
    began: OnceLock<Instant>,
    losses: [Loss; Losses::KINDS],
}

/// A kind of loss, over all workers.
#[derive(Debug, Default)]
struct Loss {
    /// Since it was last warned of.
    unsaid: AtomicU64,
    /// When that was, in seconds since the start and one more; 0: never.
    said: AtomicU64,
}

impl StateBudget {
    /// A budget of so many octets for so many workers.
    #[must_use]
    pub fn new(octets: usize, workers: usize) -> Arc<Self> {
        let own = octets / 2 / workers.max(1);
        Arc::new(Self {
            limit: octets,
            own,
            common_left: AtomicUsize::new(octets - own * workers.max(1)),
            used: AtomicUsize::new(0),
            began: OnceLock::new(),
            losses: Default::default(),
        })
    }

    /// Octets that may be kept.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Octets kept now, as they are estimated.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// A worker has lost so many more of a kind. Whichever worker finds that a minute has passed since the last
    /// warning gives the next one, for all of them.
    fn lost(&self, loss: &Loss, kind: Kind, number: u64, now: Instant) {
        loss.unsaid.fetch_add(number, Relaxed);
        let seconds = now
            .saturating_duration_since(*self.began.get_or_init(|| now))
            .as_secs()
            + 1;
        let said = loss.said.load(Relaxed);
        let is_due = said == 0 || seconds >= said + SILENCE;
        if loss.unsaid.load(Relaxed) > 0
            && is_due
            && loss
                .said
                .compare_exchange(said, seconds, Relaxed, Relaxed)
                .is_ok()
        {
            kind.warn(loss.unsaid.swap(0, Relaxed), self.limit);
        }
    }
}

/// What one worker keeps, of a budget that it shares with others.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<StateBudget>,
    /// Own and taken from the common half.
    allowed: usize,
    used: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self::new(StateBudget::new(UNBOUNDED, 1))
    }
}

impl Share {
    pub(crate) fn new(budget: Arc<StateBudget>) -> Self {
        Self {
            allowed: budget.own,
            used: 0,
            budget,
        }
    }

    /// The worker keeps so many octets now; whether it may.
    pub(crate) fn keep(&mut self, octets: usize) -> bool {
        if octets >= self.used {
            self.budget.used.fetch_add(octets - self.used, Relaxed);
        } else {
            self.budget.used.fetch_sub(self.used - octets, Relaxed);
        }
        self.used = octets;
        if octets > self.allowed {
            self.take(octets - self.allowed);
        } else if self.allowed > self.budget.own && octets + 2 * STEP < self.allowed {
            let back = (self.allowed - self.budget.own).min(self.allowed - octets - STEP);
            self.allowed -= back;
            self.budget.common_left.fetch_add(back, Relaxed);
        }
        octets <= self.allowed
    }

    /// Takes what is missing, and some more, from the common half, if it is there.
    fn take(&mut self, missing: usize) {
        let wanted = missing.next_multiple_of(STEP);
        let left = &self.budget.common_left;
        for octets in [wanted, missing] {
            let taken = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(octets));
            if taken.is_ok() {
                self.allowed += octets;
                return;
            }
        }
    }

    /// What the worker may keep, with what is left of the common half.
    pub(crate) fn most(&self) -> usize {
        self.allowed + self.budget.common_left.load(Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// A kind of loss that is warned of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    RecordsCut,
    ListsCut,
    RecordsRateLimited,
    ExportersForMemory,
}

impl Kind {
    const ALL: [Self; Losses::KINDS] = [
        Self::RecordsCut,
        Self::ListsCut,
        Self::RecordsRateLimited,
        Self::ExportersForMemory,
    ];

    #[cold]
    fn warn(self, number: u64, limit: usize) {
        match self {
            Self::RecordsCut => warn!(
                records = number,
                "flow records got no span: their datagrams had reached the limit of what one may cause (docs/bounds.md)"
            ),
            Self::ListsCut => warn!(
                attributes = number,
                "list attributes were cut: the lists or their datagrams are too large (docs/bounds.md)"
            ),
            Self::RecordsRateLimited => warn!(
                records = number,
                "flow records got no span: their exporters are over NETFLOW_MAX_RECORD_RATE_PER_EXPORTER"
            ),
            Self::ExportersForMemory => warn!(
                exporters = number,
                limit_bytes = limit,
                "exporters were forgotten, the least proven and largest first: the state of exporters reached its share of NETFLOW_MEMORY_LIMIT"
            ),
        }
    }
}

/// What one worker has reported of its losses.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    reported: [u64; Self::KINDS],
}

impl Losses {
    const KINDS: usize = 4;

    /// Reports what has been lost so far: records cut, lists cut, records over the rate, exporters forgotten for
    /// memory. To be called now and then.
    pub(crate) fn report(&mut self, so_far: [u64; Self::KINDS], share: &Share, now: Instant) {
        let budget = &share.budget;
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let (Some(loss), Some(before), Some(number)) = (
                budget.losses.get(index),
                self.reported.get_mut(index),
                so_far.get(index),
            ) else {
                continue;
            };
            let new = number.saturating_sub(std::mem::replace(before, *number));
            budget.lost(loss, kind, new, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn all_workers_together_keep_no_more_than_the_budget_and_each_has_a_part_for_itself() {
        let budget = StateBudget::new(64 * MIB, 2);
        let mut greedy = Share::new(Arc::clone(&budget));
        let mut modest = Share::new(Arc::clone(&budget));
        let mut kept = 0;
        while greedy.keep(kept + MIB / 10) {
            kept += MIB / 10;
        }
        // A quarter of its own and the common half.
        assert!((47 * MIB..=48 * MIB).contains(&kept), "{kept}");
        assert!(!modest.keep(17 * MIB) && modest.keep(16 * MIB));
        assert_eq!(budget.used(), kept + MIB / 10 + 16 * MIB);
        assert!(greedy.keep(MIB));
        assert!(modest.keep(47 * MIB), "what was given back");
        drop((greedy, modest));
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.common_left.load(Relaxed), 32 * MIB);
    }

    #[test]
    fn a_budget_is_used_up_to_its_last_step() {
        let budget = StateBudget::new(MIB + 1000, 1);
        let mut share = Share::new(budget);
        assert!(share.keep(MIB + 1000));
        assert!(!share.keep(MIB + 1001));
        assert_eq!(share.most(), MIB + 1000);
    }
}
