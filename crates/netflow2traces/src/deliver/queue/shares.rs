//! Who makes room in a full queue: the exporters whose spans take the largest share of what waits, the oldest first.
//! Batches mix exporters, so that an exporter's groups are cut out of them; what stays is not encoded again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

use otlp_wire::groups::{self, Group};
use otlp_wire::{EncodedBatch, UnixNanos};

use super::State;
use crate::deliver::counters::Count;

/// In the resource of each exporter's spans.
const EXPORTER: &str = "netflow.exporter.address";
/// At least this part of the queue's capacity is made free at once, so that not every batch has to look for room.
const AT_ONCE: usize = 32;

/// An exporter, by a hash of its address.
type Exporter = u64;

/// A batch that waits, with what each exporter has in it once that was asked for.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) batch: EncodedBatch,
    shares: Option<Box<[(Exporter, usize)]>>,
}

impl From<EncodedBatch> for Queued {
    fn from(batch: EncodedBatch) -> Self {
        Self {
            batch,
            shares: None,
        }
    }
}

impl Queued {
    pub(super) const fn oldest(&self) -> UnixNanos {
        self.batch.oldest
    }

    fn shares(&mut self) -> &[(Exporter, usize)] {
        self.shares.get_or_insert_with(|| {
            let mut shares = HashMap::new();
            for (exporter, group) in groups_of(&self.batch) {
                *shares.entry(exporter).or_default() += group.octets();
            }
            shares.into_iter().collect()
        })
    }

    /// Cuts these exporters, which are sorted, out; gives what was taken, or `None` if that is everything.
    fn cut(&mut self, exporters: &[Exporter]) -> Option<Count> {
        let groups = groups_of(&self.batch).into_iter();
        let taken = groups.filter(|(exporter, _)| exporters.binary_search(exporter).is_ok());
        let taken: Vec<Group> = taken.map(|(_, group)| group).collect();
        let (left, out) = groups::without(&self.batch, &taken)?;
        *self = left.into();
        Some(Count::of(&out))
    }
}

/// The groups of a batch; one that can't be read is one group of nobody.
fn groups_of(batch: &EncodedBatch) -> Vec<(Exporter, Group)> {
    let groups = groups::groups(&batch.octets, EXPORTER).unwrap_or_default();
    let hashed = |(group, address): (Group, &[u8])| {
        let mut hasher = DefaultHasher::new();
        hasher.write(address);
        (hasher.finish(), group)
    };
    groups.into_iter().map(hashed).collect()
}

/// What was dropped to make room.
#[derive(Debug, Default)]
pub(super) struct Freed {
    pub(super) octets: usize,
    pub(super) spans: Count,
    /// That are gone whole.
    pub(super) batches: u64,
}

impl Freed {
    fn whole(&mut self, batch: &EncodedBatch) {
        self.octets += batch.octets.len();
        self.spans = self.spans.plus(Count::of(batch));
        self.batches += 1;
    }
}

impl State {
    /// Frees so many octets, if there are so many. The exporters with more than an equal share give way.
    pub(super) fn make_room(&mut self, octets: usize, capacity: usize) -> Freed {
        let wanted = octets.max(capacity / AT_ONCE);
        let mut excess = self.excess(wanted);
        let mut freed = Freed::default();
        // What was tried before is older than the rest.
        self.waiting.retain_live(|queued| {
            freed.octets >= wanted || give_way(queued, &mut excess, &mut freed)
        });
        self.batches.retain_mut(|queued| {
            freed.octets >= wanted || give_way(queued, &mut excess, &mut freed)
        });
        self.octets -= freed.octets;
        freed
    }

    /// Octets of each exporter beyond a level that all others stay below; together at least `wanted`, if there are so many.
    fn excess(&mut self, wanted: usize) -> HashMap<Exporter, usize> {
        let mut totals: HashMap<Exporter, usize> = HashMap::new();
        for queued in self.waiting.live().chain(&mut self.batches) {
            for (exporter, octets) in queued.shares() {
                *totals.entry(*exporter).or_default() += octets;
            }
        }
        let mut sorted: Vec<usize> = totals.values().copied().collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let level = level(&sorted, wanted);
        totals.retain(|_, octets| {
            *octets = octets.saturating_sub(level);
            *octets > 0
        });
        totals
    }
}

/// The highest level beyond which these, the largest first, have together at least `wanted`.
fn level(sorted: &[usize], wanted: usize) -> usize {
    let mut sum = 0;
    for (at, octets) in sorted.iter().enumerate() {
        sum += octets;
        let next = sorted.get(at + 1).copied().unwrap_or(0);
        let count = at + 1;
        // Beyond `next` these have `sum - count * next`.
        if sum - count * next >= wanted {
            return (sum - wanted) / count;
        }
    }
    0
}

/// Cuts out of a batch what goes beyond exporters' shares; whether something of it stays.
fn give_way(queued: &mut Queued, excess: &mut HashMap<Exporter, usize>, freed: &mut Freed) -> bool {
    let shares = queued.shares();
    let (mut going, mut stay) = (Vec::new(), shares.is_empty());
    for (exporter, octets) in shares {
        match excess.get_mut(exporter) {
            Some(left) if *left > 0 => {
                *left = left.saturating_sub(*octets);
                going.push(*exporter);
            }
            _ => stay = true,
        }
    }
    if going.is_empty() {
        return true;
    }
    going.sort_unstable();
    let before = queued.batch.octets.len();
    let spans = if stay { queued.cut(&going) } else { None };
    match spans {
        Some(spans) => {
            freed.octets += before - queued.batch.octets.len();
            freed.spans = freed.spans.plus(spans);
            true
        }
        None => {
            freed.whole(&queued.batch);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_takes_from_the_largest_alone() {
        assert_eq!(level(&[100, 10, 5], 20), 80);
        assert_eq!(level(&[100, 90, 5], 20), 85);
        assert_eq!(level(&[10, 10, 10], 6), 8);
        assert_eq!(level(&[10, 10], 20), 0);
        assert_eq!(level(&[10, 10], 100), 0);
        assert_eq!(level(&[], 1), 0);
    }
}
