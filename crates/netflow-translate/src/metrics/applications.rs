//! Names of applications, as exporters report them, by number.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

/// Marks the number of an application's name among ports.
const NAMED: u32 = 1 << 31;

/// The names that have a series. A name's number is a part of its keyed hash: names without a series need no room, however
/// many an exporter invents.
#[derive(Debug)]
pub(super) struct Applications {
    /// The same of all workers.
    hasher: RandomState,
    names: HashMap<u32, Arc<str>, RandomState>,
}

impl Applications {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            names: HashMap::default(),
        }
    }

    /// The number of a name, and whether the name is kept; `None` if another name has the number, which is as rare as
    /// equal hashes of 31 bits among as many names as a view has series.
    pub(super) fn number(&self, name: &str) -> Option<(u32, bool)> {
        let number = NAMED | self.hasher.hash_one(name) as u32;
        match self.names.get(&number) {
            Some(kept) if **kept == *name => Some((number, true)),
            Some(_) => None,
            None => Some((number, false)),
        }
    }

    /// Keeps the name of a number that has a series.
    #[cold]
    pub(super) fn keep(&mut self, number: u32, name: &str) {
        self.names.insert(number, name.into());
    }

    /// Keeps only the names of these numbers.
    pub(super) fn retain(&mut self, numbers: impl Iterator<Item = u32>) {
        let numbers: HashSet<u32, RandomState> = numbers.collect();
        self.names.retain(|number, _| numbers.contains(number));
    }

    /// The name of a number that is one of a name.
    pub(super) fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.names.get(&number)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
