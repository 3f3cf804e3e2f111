//! Sums by key and exporter in bounded room.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Sums of a table: as many as 2048 buckets hold.
pub(super) const MAX_SUMS: usize = 1792;
/// With smaller shares than this, all exporters are one: else every prune would forget each of them.
const MIN_SHARE: usize = 8;

/// What is summed by.
pub(super) trait SumKey: Copy + Eq {
    /// Adds itself to a keyed hash.
    fn write(&self, hash: &mut impl std::hash::Hasher);
}

/// What one exporter said of a key since it has a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum<K> {
    pub(super) key: K,
    /// Of the exporter, while this pane is counted; 0: one that is new.
    pub(super) group: u16,
    /// The keyed hash of the exporter.
    pub(super) exporter: u64,
    pub(super) bytes: u64,
    /// What was taken off: a sum of which nothing is left loses its place.
    off: u64,
}

impl<K> Sum<K> {
    pub(super) fn new(key: K, exporter: u64, group: u16, bytes: u64) -> Self {
        Self {
            key,
            group,
            exporter,
            bytes,
            off: 0,
        }
    }
}

/// Sums of one kind in one pane. Each median that is taken off came off at least half of an exporter's sums; an exporter
/// that holds one place in `e` therefore loses at most `2 e / MAX_SUMS` of the bytes that it reported from any one sum.
#[derive(Debug)]
pub(super) struct Table<K>(HashTable<Sum<K>>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

/// Room for a prune, which every table uses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By group: its sums, and then the median that is taken off.
    groups: Vec<Group>,
    /// What is left of each sum, group by group.
    left: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    sums: usize,
    /// Where the next of its sums goes.
    next: usize,
    median: u64,
}

impl<K: SumKey> Table<K> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sum<K>> {
        self.0.iter()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds to a sum that has a place; `false`: it has none.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, key: &K, exporter: u64, bytes: u64) -> bool {
        let is_meant = |sum: &Sum<K>| sum.exporter == exporter && sum.key == *key;
        match self.0.find_mut(hash, is_meant) {
            Some(sum) => {
                sum.bytes = sum.bytes.saturating_add(bytes);
                true
            }
            None => false,
        }
    }

    /// Gives a sum that has no place one; `gone` gets those that lose theirs.
    #[inline(never)]
    pub(super) fn insert(
        &mut self,
        hasher: &RandomState,
        hash: u64,
        sum: Sum<K>,
        scratch: &mut Scratch,
        gone: impl FnMut(&Sum<K>),
    ) {
        if self.0.len() >= MAX_SUMS {
            self.make_room(scratch, gone);
        }
        let rehash = |sum: &Sum<K>| sum_hash(hasher, &sum.key, sum.exporter);
        self.0.insert_unique(hash, sum, rehash);
    }

    /// Takes the median off the sums of each exporter that holds its fair share or more; all that are new are one.
    #[cold]
    fn make_room(&mut self, scratch: &mut Scratch, mut gone: impl FnMut(&Sum<K>)) {
        let Scratch { groups, left } = scratch;
        groups.clear();
        for sum in &self.0 {
            let group = usize::from(sum.group);
            if group >= groups.len() {
                groups.resize(group + 1, Group::default());
            }
            groups[group].sums += 1;
        }
        let exporters = groups.iter().filter(|group| group.sums > 0).count();
        let share = self.0.len() / exporters.max(1);
        let is_one = share < MIN_SHARE;
        let mut end = 0;
        for group in groups.iter_mut() {
            group.next = end;
            end += group.sums;
        }
        left.clear();
        left.resize(end, 0);
        for sum in &self.0 {
            let group = &mut groups[usize::from(sum.group)];
            left[group.next] = sum.bytes.saturating_sub(sum.off);
            group.next += 1;
        }
        if is_one {
            let median = median(left);
            groups.iter_mut().for_each(|group| group.median = median);
        } else {
            let heavy = groups.iter_mut();
            for group in heavy.filter(|group| group.sums > 0 && group.sums >= share) {
                let sums = left.get_mut(group.next - group.sums..group.next);
                group.median = median(sums.unwrap_or_default());
            }
        }
        self.0.retain(|sum| {
            sum.off = sum
                .off
                .saturating_add(groups[usize::from(sum.group)].median);
            let stays = sum.off < sum.bytes;
            if !stays {
                gone(sum);
            }
            stays
        });
    }
}

fn median(sums: &mut [u64]) -> u64 {
    let middle = sums.len() / 2;
    match sums {
        [] => 0,
        sums => *sums.select_nth_unstable(middle).1,
    }
}

/// The keyed hash of a sum.
#[inline]
pub(super) fn sum_hash<K: SumKey>(hasher: &RandomState, key: &K, exporter: u64) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write_u64(exporter);
    key.write(&mut hash);
    hash.finish()
}
