//! Sums by key and exporter in bounded room.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::RandomState;

/// The end of a chain: no place has this number.
const NOWHERE: u16 = u16::MAX;
/// With smaller shares than this, all exporters are one: else every prune would forget each of them.
const MIN_SHARE: usize = 8;

/// What is summed by.
pub(super) trait SumKey: Copy + Eq {
    /// Adds itself to a keyed hash.
    fn write(&self, hash: &mut impl std::hash::Hasher);
    /// What else it says, in less than a hash has.
    fn beside(&self) -> u64 {
        0
    }
}

/// What one exporter said of a key since it has a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum<K> {
    pub(super) key: K,
    /// The keyed hash of the exporter.
    pub(super) exporter: u64,
    pub(super) bytes: u64,
    /// The low half of its keyed hash.
    hash: u32,
    /// The place of the next sum of its chain.
    next: u16,
    /// Of the exporter, while this pane is counted; 0: one that is new.
    pub(super) group: u16,
}

impl<K> Sum<K> {
    pub(super) fn new(hash: u64, key: K, exporter: u64, group: u16, bytes: u64) -> Self {
        Self {
            key,
            exporter,
            bytes,
            hash: hash as u32,
            next: NOWHERE,
            group,
        }
    }
}

impl<K: Copy> Sum<K> {
    /// A number that no sender can foresee.
    pub(super) fn chance(&self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }

    /// The same of so many bytes.
    pub(super) fn of(&self, bytes: u64) -> Self {
        Self { bytes, ..*self }
    }
}

/// Sums that stay above the level of their exporter when it rises, at least; an exporter that holds one place in `e`
/// loses at most `e / HELD` of the bytes that it reported from any one sum.
pub(super) const HELD: usize = 1024;

/// Up to `SUMS` sums of one kind in one pane, each at a place; `SUMS` is a power of two.
///
/// Each exporter has a level, which only rises. A sum reaches above the level by its bytes when it gets its place, and
/// higher by those that are added later; once the level has reached it, it may lose its place to a new sum. When no such
/// sum is left, the levels of the exporters that hold their fair share of places rise so far that of the sums of a full
/// table [`HELD`] reach as high: they pay for what any other has lost.
#[derive(Debug)]
pub(super) struct Table<K, const SUMS: usize> {
    /// The first place of each chain; empty until there is a sum.
    chains: Vec<u16>,
    sums: Vec<Sum<K>>,
    /// How high each sum reaches: as a difference to a level, for it may wrap around.
    heights: Vec<u64>,
    /// Where the next sum that may lose its place is looked for.
    hand: usize,
}

impl<K, const SUMS: usize> Default for Table<K, SUMS> {
    fn default() -> Self {
        Self {
            chains: Vec::new(),
            sums: Vec::new(),
            heights: Vec::new(),
            hand: 0,
        }
    }
}

/// The levels of the exporters in the tables of one kind, of which one is counted into; and room to find them.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// By group.
    levels: Vec<u64>,
    groups: Vec<Group>,
    /// What each sum has above its level, group by group.
    left: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    sums: usize,
    /// Where the next of its sums goes.
    next: usize,
}

impl Levels {
    /// For a table without sums.
    pub(super) fn reset(&mut self) {
        self.levels.clear();
    }

    /// For a table of so many sums of one exporter.
    fn make_room(&mut self, sums: usize) {
        if self.left.capacity() < sums {
            self.left.reserve_exact(sums);
            self.levels.reserve(1);
        }
    }

    #[inline(always)]
    fn of(&self, group: u16) -> u64 {
        let level = self.levels.get(usize::from(group));
        level.copied().unwrap_or(0)
    }
}

/// How far a sum is above its level. Both move by less than half of their range between two looks at them.
#[inline(always)]
fn above(height: u64, level: u64) -> u64 {
    height
        .wrapping_sub(level)
        .cast_signed()
        .max(0)
        .cast_unsigned()
}

/// How high a sum is that has so much above its level.
#[inline(always)]
fn height(level: u64, above: u64) -> u64 {
    level.wrapping_add(above.min(i64::MAX.cast_unsigned()))
}

impl<K: SumKey, const SUMS: usize> Table<K, SUMS> {
    /// Each is of sums whose hashes end alike.
    const CHAINS: usize = 2 * SUMS;

    #[inline(always)]
    fn chain(hash: u32) -> usize {
        hash as usize & (Self::CHAINS - 1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Sum<K>> {
        self.sums.iter()
    }

    /// A new sum takes the place of another.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.sums.len() == SUMS
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    pub(super) fn clear(&mut self) {
        self.chains.fill(NOWHERE);
        self.sums.clear();
        self.heights.clear();
        self.hand = 0;
    }

    /// Adds to a sum that has a place; `false`: it has none.
    #[inline(always)]
    pub(super) fn add(&mut self, more: &Sum<K>, levels: &Levels) -> bool {
        let Some(first) = self.chains.get(Self::chain(more.hash)) else {
            return false;
        };
        let mut at = usize::from(*first);
        while let Some(sum) = self.sums.get_mut(at) {
            if sum.hash == more.hash && sum.exporter == more.exporter && sum.key == more.key {
                sum.bytes = sum.bytes.saturating_add(more.bytes);
                if let Some(high) = self.heights.get_mut(at) {
                    let level = levels.of(sum.group);
                    *high = height(level, above(*high, level).saturating_add(more.bytes));
                }
                return true;
            }
            at = usize::from(sum.next);
        }
        false
    }

    /// Gives a sum that has no place one; `gone` gets the sum that loses it.
    #[inline(always)]
    pub(super) fn insert(&mut self, sum: Sum<K>, levels: &mut Levels, gone: impl FnOnce(&Sum<K>)) {
        let at = if self.sums.len() < SUMS {
            self.push(sum, levels)
        } else {
            let at = self.replaceable(levels);
            self.unlink(at);
            if let Some(old) = self.sums.get(at) {
                gone(old);
            }
            at
        };
        let first = self.chains.get_mut(Self::chain(sum.hash));
        let (Some(first), Some(place), Some(high)) =
            (first, self.sums.get_mut(at), self.heights.get_mut(at))
        else {
            return;
        };
        *high = height(levels.of(sum.group), sum.bytes);
        *place = Sum {
            next: *first,
            ..sum
        };
        *first = at as u16;
    }

    #[cold]
    fn push(&mut self, sum: Sum<K>, levels: &mut Levels) -> usize {
        levels.make_room(SUMS);
        self.chains.resize(Self::CHAINS, NOWHERE);
        self.sums.push(sum);
        self.heights.push(0);
        self.sums.len() - 1
    }

    /// The place of a sum that its level has reached.
    #[inline(always)]
    fn replaceable(&mut self, levels: &mut Levels) -> usize {
        loop {
            let heights = self.heights.get(self.hand..).unwrap_or_default();
            let sums = self.sums.get(self.hand..).unwrap_or_default();
            let mut rest = heights.iter().zip(sums);
            let found = rest.position(|(high, sum)| above(*high, levels.of(sum.group)) == 0);
            if let Some(found) = found {
                let at = self.hand + found;
                self.hand = at + 1;
                return at;
            }
            self.hand = 0;
            self.raise(levels);
        }
    }

    /// Takes a sum out of its chain.
    #[inline(always)]
    fn unlink(&mut self, at: usize) {
        let Some(sum) = self.sums.get(at) else { return };
        let (next, own) = (sum.next, at as u16);
        let Some(first) = self.chains.get_mut(Self::chain(sum.hash)) else {
            return;
        };
        if *first == own {
            *first = next;
            return;
        }
        let mut before = usize::from(*first);
        while let Some(sum) = self.sums.get_mut(before) {
            if sum.next == own {
                sum.next = next;
                return;
            }
            before = usize::from(sum.next);
        }
    }

    /// Raises the level of each exporter that holds its fair share or more, so that its heaviest sums alone are above it;
    /// all that are new are one. At least one sum isn't above its level any more.
    #[cold]
    fn raise(&mut self, levels: &mut Levels) {
        let Levels {
            levels,
            groups,
            left,
        } = levels;
        let first = self.sums.first().map_or(0, |sum| sum.group);
        if self.sums.iter().all(|sum| sum.group == first) {
            let first = usize::from(first);
            if levels.len() <= first {
                levels.resize(first + 1, 0);
            }
            left.clear();
            let level = levels[first];
            left.extend(self.heights.iter().map(|high| above(*high, level)));
            levels[first] = level.wrapping_add(Self::reached(left));
            return;
        }
        groups.clear();
        for sum in &self.sums {
            let group = usize::from(sum.group);
            if group >= groups.len() {
                groups.resize(group + 1, Group::default());
            }
            groups[group].sums += 1;
        }
        if levels.len() < groups.len() {
            levels.resize(groups.len(), 0);
        }
        let mut end = 0;
        for group in groups.iter_mut() {
            group.next = end;
            end += group.sums;
        }
        left.clear();
        left.resize(end, 0);
        for (sum, high) in self.sums.iter().zip(&self.heights) {
            let group = usize::from(sum.group);
            left[groups[group].next] = above(*high, levels[group]);
            groups[group].next += 1;
        }
        let exporters = groups.iter().filter(|group| group.sums > 0).count();
        let share = self.sums.len() / exporters.max(1);
        if share < MIN_SHARE {
            let reached = Self::reached(left);
            for level in levels {
                *level = level.wrapping_add(reached);
            }
            return;
        }
        for (group, level) in groups.iter().zip(levels) {
            if group.sums > 0 && group.sums >= share {
                let sums = left.get_mut(group.next - group.sums..group.next);
                *level = level.wrapping_add(Self::reached(sums.unwrap_or_default()));
            }
        }
    }

    /// What one in `SUMS / HELD` of these has at least.
    fn reached(sums: &mut [u64]) -> u64 {
        let heavier = sums.len().div_ceil(SUMS / HELD);
        let at = sums.len() - heavier;
        match sums {
            [] => 0,
            sums => *sums.select_nth_unstable(at).1,
        }
    }
}

/// The keyed hash of a sum.
#[inline]
pub(super) fn sum_hash<K: SumKey>(hasher: &RandomState, key: &K, exporter: u64) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write_u64(exporter ^ key.beside());
    key.write(&mut hash);
    hash.finish()
}
