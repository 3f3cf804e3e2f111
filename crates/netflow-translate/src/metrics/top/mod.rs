//! The view `top`: the heaviest conversations, sources and destinations of the last minute, in bounded memory.
//!
//! Bytes are summed in panes of ten seconds, by exporter. A full table takes the median off the sums of an exporter that
//! holds more than its fair share, and forgets those of which nothing is left: a summary of heavy hitters after Misra and
//! Gries, with weights (Anderson et al., "A High-Performance Algorithm for Identifying Frequent Items in Data Streams",
//! 2017). A sum is never too large, and too small by at most what [`TopTable`] says.

mod heaviest;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::series::address_key;
use super::{FlowFacts, UNKNOWN_PROTOCOL};
use crate::flow::roles::End;

use self::heaviest::TopSum;
pub use self::heaviest::{TopKind, TopReading, TopRow};

/// Seconds of a pane.
pub(super) const PANE: u64 = 10;
/// Panes that an answer adds up: the current one and those before it.
const PANES: u32 = 6;
/// Sums of a table: as many as 2048 buckets hold.
const MAX_SUMS: usize = 1792;
/// With smaller shares than this, all exporters are one: else every prune would forget each of them.
const MIN_SHARE: usize = 8;

/// The two ends; zeros stand for what a sum isn't about.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct TopKey {
    source: [u64; 2],
    destination: [u64; 2],
    /// IANA's number of the protocol, or 256 where it isn't known.
    transport: u16,
    /// The server's; 0: none.
    port: u16,
}

/// What one exporter said of a key.
#[derive(Clone, Copy, Debug)]
struct Sum {
    key: TopKey,
    /// The keyed hash of the exporter.
    exporter: u64,
    bytes: u64,
}

/// Sums of one kind in one pane. Each median that is taken off came off at least half of an exporter's sums; an exporter
/// that holds one place in `e` therefore loses at most `2 e / MAX_SUMS` of the bytes that it reported from any one sum.
#[derive(Debug, Default)]
struct TopTable(HashTable<Sum>);

/// Ten seconds.
#[derive(Debug, Default)]
struct Pane {
    number: u32,
    tables: [TopTable; TopKind::ALL.len()],
}

/// The heavy hitters of one worker.
#[derive(Debug)]
pub(super) struct Top {
    hasher: RandomState,
    /// By number, modulo their count.
    panes: [Pane; PANES as usize],
    /// Exporters that reported in an earlier pane, and in which at last.
    known: HashMap<u64, u32>,
    /// The pane that is counted into.
    current: u32,
}

impl Top {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            panes: Default::default(),
            known: HashMap::new(),
            current: 0,
        }
    }

    /// Counts a record of an exporter, which its keyed hash stands for.
    pub(super) fn count(&mut self, flow: &FlowFacts<'_>, server: End, exporter: u64, pane: u32) {
        if pane > self.current {
            self.turn(pane);
        }
        let ends = &flow.ends;
        let source = ends.source.map(address_key);
        let destination = ends.destination.map(address_key);
        let keys = [
            source.zip(destination).map(|(source, destination)| TopKey {
                source,
                destination,
                transport: ends.protocol.map_or(UNKNOWN_PROTOCOL as u16, u16::from),
                port: match server {
                    End::Source => ends.source_port,
                    End::Destination => ends.destination_port,
                },
            }),
            source.map(|source| TopKey {
                source,
                ..TopKey::default()
            }),
            destination.map(|destination| TopKey {
                destination,
                ..TopKey::default()
            }),
        ];
        let Self {
            hasher,
            panes,
            known,
            current,
        } = self;
        let Some(pane) = panes.get_mut((*current % PANES) as usize) else {
            return;
        };
        for (table, key) in pane.tables.iter_mut().zip(keys) {
            if let Some(key) = key {
                table.add(hasher, key, exporter, flow.bytes, known);
            }
        }
    }

    /// Begins a pane, and remembers which exporters the one before it had.
    #[cold]
    fn turn(&mut self, pane: u32) {
        if let Some(ended) = self.panes.get((self.current % PANES) as usize) {
            let sums = ended.tables.iter().flat_map(|table| &table.0);
            let exporters = sums.map(|sum| (sum.exporter, ended.number));
            self.known.extend(exporters);
        }
        self.known
            .retain(|_, seen| seen.saturating_add(PANES) >= pane);
        self.current = pane;
        if let Some(next) = self.panes.get_mut((pane % PANES) as usize) {
            next.number = pane;
            next.tables.iter_mut().for_each(|table| table.0.clear());
        }
    }

    /// What the last minute had, up to and with this pane. Changes nothing.
    pub(super) fn read(&self, pane: u32) -> TopReading {
        let recent = self.panes.iter();
        let recent = recent.filter(|of| of.number.saturating_add(PANES) > pane);
        let mut sums: [Vec<TopSum>; TopKind::ALL.len()] = Default::default();
        for pane in recent {
            for (sums, table) in sums.iter_mut().zip(&pane.tables) {
                sums.extend(table.0.iter().map(|sum| {
                    TopSum {
                        key: sum.key,
                        exporter: self
                            .known
                            .contains_key(&sum.exporter)
                            .then_some(sum.exporter),
                        bytes: sum.bytes,
                    }
                }));
            }
        }
        TopReading { sums }
    }
}

impl TopTable {
    #[inline]
    fn add(
        &mut self,
        hasher: &RandomState,
        key: TopKey,
        exporter: u64,
        bytes: u64,
        known: &HashMap<u64, u32>,
    ) {
        let hash = hash(hasher, &key, exporter);
        let found = self
            .0
            .find_mut(hash, |sum| sum.key == key && sum.exporter == exporter);
        match found {
            Some(sum) => sum.bytes = sum.bytes.saturating_add(bytes),
            None => self.add_new(
                hasher,
                Sum {
                    key,
                    exporter,
                    bytes,
                },
                known,
            ),
        }
    }

    #[inline(never)]
    fn add_new(&mut self, hasher: &RandomState, sum: Sum, known: &HashMap<u64, u32>) {
        if self.0.len() >= MAX_SUMS {
            self.make_room(known);
        }
        let rehash = |sum: &Sum| hash(hasher, &sum.key, sum.exporter);
        self.0.insert_unique(rehash(&sum), sum, rehash);
    }

    /// Takes the median off the sums of each exporter that holds its fair share or more; all that are new are one.
    #[cold]
    fn make_room(&mut self, known: &HashMap<u64, u32>) {
        let group = |sum: &Sum| known.contains_key(&sum.exporter).then_some(sum.exporter);
        let mut groups: HashMap<Option<u64>, Vec<u64>> = HashMap::new();
        for sum in &self.0 {
            groups.entry(group(sum)).or_default().push(sum.bytes);
        }
        let share = self.0.len() / groups.len().max(1);
        if share < MIN_SHARE {
            let mut all: Vec<u64> = groups.into_values().flatten().collect();
            let median = median(&mut all);
            self.take_off(|_| Some(median));
            return;
        }
        groups.retain(|_, sums| sums.len() >= share);
        let groups = groups.into_iter();
        let medians: HashMap<Option<u64>, u64> = groups
            .map(|(group, mut sums)| (group, median(&mut sums)))
            .collect();
        self.take_off(|sum| medians.get(&group(sum)).copied());
    }

    /// Takes something off sums; those go of which nothing is left.
    fn take_off(&mut self, off: impl Fn(&Sum) -> Option<u64>) {
        self.0.retain(|sum| match off(sum) {
            Some(off) => {
                sum.bytes = sum.bytes.saturating_sub(off);
                sum.bytes > 0
            }
            None => true,
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

#[inline]
fn hash(hasher: &RandomState, key: &TopKey, exporter: u64) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write_u64(exporter);
    for word in key.source.into_iter().chain(key.destination) {
        hash.write_u64(word);
    }
    hash.write_u32(u32::from(key.transport) << 16 | u32::from(key.port));
    hash.finish()
}

fn address(key: [u64; 2]) -> Option<IpAddr> {
    (key != [0, 0]).then(|| super::SeriesKey::new(key, 0, 0).exporter())
}

#[cfg(test)]
mod tests;
