//! The view `top`: the heaviest conversations, sources and destinations of the last minute, in bounded memory.
//!
//! Bytes are summed in panes of ten seconds, by exporter. In a full table a new sum takes the place of one that doesn't
//! reach above the level of its exporter; levels rise to the median of the sums when there is none: a summary of heavy
//! hitters after Misra and Gries, with weights (Anderson et al., "A High-Performance Algorithm for Identifying Frequent
//! Items in Data Streams", 2017), whose sums go one at a time. A sum is too small by at most what [`Table`] says. Of an
//! exporter that sends very many records without a place, some of the small ones stand for others ([`SmallRecords`]).
//!
//! A record touches one sum, that of its conversation. What a conversation has summed up when it loses its place goes to
//! the sums of its source and of its destination; to read those, what conversations still have is added.

mod heaviest;
mod small;
mod table;

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::series::address_key;
use super::{FlowFacts, Reverse, UNKNOWN_PROTOCOL};
use crate::flow::roles::End;

use self::heaviest::TopSum;
pub use self::heaviest::{TopKind, TopReading, TopRow};
use self::small::SmallRecords;
use self::table::{Levels, Sum, SumKey, Table, sum_hash};

/// Seconds of a pane.
pub(super) const PANE: u64 = 10;
/// Panes that an answer adds up: the current one and those before it.
const PANES: u32 = 6;

/// Conversations that a pane has places for.
const CONVERSATIONS: usize = 4096;
/// Sources, and destinations, likewise.
const ENDS: usize = 2048;

/// Records that are looked up at once.
const WAITING: usize = 32;

/// An address, as the series have it.
type AddressKey = [u64; 2];

/// The two ends; zeros stand for what a sum isn't about.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct TopKey {
    source: AddressKey,
    destination: AddressKey,
    /// IANA's number of the protocol, or 256 where it isn't known.
    transport: u16,
    /// The server's; 0: none.
    port: u16,
}

impl TopKey {
    fn of_source(source: AddressKey) -> Self {
        Self {
            source,
            ..Self::default()
        }
    }

    fn of_destination(destination: AddressKey) -> Self {
        Self {
            destination,
            ..Self::default()
        }
    }
}

impl SumKey for TopKey {
    #[inline]
    fn write(&self, hash: &mut impl Hasher) {
        self.source.write(hash);
        self.destination.write(hash);
    }

    #[inline]
    fn beside(&self) -> u64 {
        u64::from(self.transport) << 16 | u64::from(self.port)
    }
}

impl SumKey for AddressKey {
    #[inline]
    fn write(&self, hash: &mut impl Hasher) {
        let [high, low] = *self;
        hash.write_u64(high);
        hash.write_u64(low);
    }
}

/// Ten seconds.
#[derive(Debug, Default)]
struct Pane {
    number: u32,
    conversations: Table<TopKey, CONVERSATIONS>,
    /// Without what `conversations` has.
    sources: Table<AddressKey, ENDS>,
    /// Likewise.
    destinations: Table<AddressKey, ENDS>,
}

/// An exporter that reported in an earlier pane.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The last of these panes.
    seen: u32,
    /// Its number in the current pane, from 1 on.
    group: u16,
}

/// The exporter of the records that are counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct By {
    /// Its keyed hash.
    exporter: u64,
    /// 0: one that is new.
    group: u16,
}

/// Of the tables of the pane that is counted into.
#[derive(Debug, Default)]
struct PaneLevels {
    conversations: Levels,
    sources: Levels,
    destinations: Levels,
}

/// The heavy hitters of one worker.
#[derive(Debug)]
pub(super) struct Top {
    hasher: RandomState,
    /// By number, modulo their count.
    panes: [Pane; PANES as usize],
    /// By their keyed hash; no more than all panes have sums.
    known: HashMap<u64, Known, RandomState>,
    /// The pane that is counted into.
    current: u32,
    levels: PaneLevels,
    small: SmallRecords,
    /// Records of conversations that aren't counted yet: many are looked up at once, so that none waits for the memory of
    /// another.
    waiting: Vec<Sum<TopKey>>,
}

impl Top {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            known: HashMap::with_hasher(hasher.clone()),
            hasher,
            panes: Default::default(),
            current: 0,
            levels: PaneLevels::default(),
            small: SmallRecords::default(),
            waiting: Vec::with_capacity(WAITING),
        }
    }

    /// Begins to count records of an exporter, which its keyed hash stands for.
    pub(super) fn begin(&mut self, exporter: u64, pane: u32) -> By {
        if pane > self.current {
            self.turn(pane);
        }
        let known = self.known.get(&exporter);
        By {
            exporter,
            group: known.map_or(0, |known| known.group),
        }
    }

    /// Counts the other direction of a biflow.
    #[cold]
    pub(super) fn count_reverse(
        &mut self,
        flow: &FlowFacts<'_>,
        reverse: Reverse,
        server: End,
        by: By,
    ) {
        self.count(&flow.reversed(reverse), server.other(), by);
    }

    /// Counts a record.
    #[inline(always)]
    pub(super) fn count(&mut self, flow: &FlowFacts<'_>, server: End, by: By) {
        if flow.bytes == 0 {
            return;
        }
        let ends = &flow.ends;
        let (Some(source), Some(destination)) = (ends.source, ends.destination) else {
            return self.count_one_end(flow, by);
        };
        let key = TopKey {
            source: address_key(source),
            destination: address_key(destination),
            transport: ends.protocol.map_or(UNKNOWN_PROTOCOL as u16, u16::from),
            port: match server {
                End::Source => ends.source_port,
                End::Destination => ends.destination_port,
            },
        };
        let hash = sum_hash(&self.hasher, &key, by.exporter);
        let sum = Sum::new(hash, key, by.exporter, by.group, flow.bytes);
        self.waiting.push(sum);
        if self.waiting.len() >= WAITING {
            self.settle();
        }
    }

    /// Counts what waits.
    #[inline(never)]
    fn settle(&mut self) {
        let Some(pane) = self.panes.get_mut((self.current % PANES) as usize) else {
            return;
        };
        for sum in &self.waiting {
            let (conversations, levels) = (&mut pane.conversations, &self.levels.conversations);
            if conversations.add(sum, levels) {
                continue;
            }
            let bytes = match conversations.is_full() {
                true => self.small.stands_for(sum.group, sum.bytes, sum.chance()),
                false => Some(sum.bytes),
            };
            if let Some(bytes) = bytes {
                pane.insert(&self.hasher, sum, bytes, &mut self.levels);
            }
        }
        self.waiting.clear();
    }

    /// Counts a record that has an address at one end at most.
    #[cold]
    fn count_one_end(&mut self, flow: &FlowFacts<'_>, by: By) {
        let Some(pane) = self.panes.get_mut((self.current % PANES) as usize) else {
            return;
        };
        let levels = &mut self.levels;
        for (table, address, levels) in [
            (&mut pane.sources, flow.ends.source, &mut levels.sources),
            (
                &mut pane.destinations,
                flow.ends.destination,
                &mut levels.destinations,
            ),
        ] {
            if let Some(address) = address {
                let (address, bytes) = (address_key(address), flow.bytes);
                add(
                    table,
                    &self.hasher,
                    address,
                    (by.exporter, by.group),
                    bytes,
                    levels,
                );
            }
        }
    }

    /// Begins a pane, and remembers which exporters the one before it had.
    #[cold]
    fn turn(&mut self, pane: u32) {
        self.settle();
        if let Some(ended) = self.panes.get((self.current % PANES) as usize) {
            let seen = ended.number;
            let known = |exporter| (exporter, Known { seen, group: 0 });
            self.known.extend(ended.exporters().map(known));
        }
        self.known
            .retain(|_, known| known.seen.saturating_add(PANES) >= pane);
        for (known, number) in self.known.values_mut().zip(1..=u16::MAX) {
            known.group = number;
        }
        self.current = pane;
        if let Some(next) = self.panes.get_mut((pane % PANES) as usize) {
            next.number = pane;
            next.conversations.clear();
            next.sources.clear();
            next.destinations.clear();
        }
        self.levels.conversations.reset();
        self.levels.sources.reset();
        self.levels.destinations.reset();
        self.small.reset();
    }

    /// What the last minute had, up to and with this pane.
    pub(super) fn read(&mut self, pane: u32) -> TopReading {
        self.settle();
        let recent = self.panes.iter();
        let recent = recent.filter(|of| of.number.saturating_add(PANES) > pane);
        let mut reading = TopReading::default();
        for pane in recent {
            let [conversations, sources, destinations] = &mut reading.sums;
            let sum = |key, exporter: u64, bytes| TopSum {
                key,
                exporter: self.known.contains_key(&exporter).then_some(exporter),
                bytes,
            };
            for of in pane.conversations.iter() {
                let (key, exporter, bytes) = (of.key, of.exporter, of.bytes);
                conversations.push(sum(key, exporter, bytes));
                sources.push(sum(TopKey::of_source(key.source), exporter, bytes));
                destinations.push(sum(
                    TopKey::of_destination(key.destination),
                    exporter,
                    bytes,
                ));
            }
            let of_sources = pane.sources.iter();
            sources.extend(of_sources.map(|of| {
                let key = TopKey::of_source(of.key);
                sum(key, of.exporter, of.bytes)
            }));
            let of_destinations = pane.destinations.iter();
            destinations.extend(of_destinations.map(|of| {
                let key = TopKey::of_destination(of.key);
                sum(key, of.exporter, of.bytes)
            }));
        }
        reading
    }
}

impl Pane {
    /// Gives a conversation a place; one that loses its own goes to its source and its destination.
    #[inline(never)]
    fn insert(
        &mut self,
        hasher: &RandomState,
        sum: &Sum<TopKey>,
        bytes: u64,
        levels: &mut PaneLevels,
    ) {
        let Self {
            sources,
            destinations,
            conversations,
            ..
        } = self;
        let PaneLevels {
            conversations: own,
            sources: of_sources,
            destinations: of_destinations,
        } = levels;
        conversations.insert(sum.of(bytes), own, |gone| {
            let (key, exporter, group) = (gone.key, gone.exporter, gone.group);
            let by = (exporter, group);
            add(sources, hasher, key.source, by, gone.bytes, of_sources);
            add(
                destinations,
                hasher,
                key.destination,
                by,
                gone.bytes,
                of_destinations,
            );
        });
    }

    fn exporters(&self) -> impl Iterator<Item = u64> {
        let conversations = self.conversations.iter().map(|sum| sum.exporter);
        let ends = [&self.sources, &self.destinations];
        let ends = ends.into_iter().flat_map(|table| table.iter());
        conversations.chain(ends.map(|sum| sum.exporter))
    }
}

/// Adds to the sum of one end.
#[inline(never)]
fn add(
    table: &mut Table<AddressKey, ENDS>,
    hasher: &RandomState,
    address: AddressKey,
    (exporter, group): (u64, u16),
    bytes: u64,
    levels: &mut Levels,
) {
    let hash = sum_hash(hasher, &address, exporter);
    let sum = Sum::new(hash, address, exporter, group, bytes);
    if !table.add(&sum, levels) {
        table.insert(sum, levels, |_| {});
    }
}

fn address(key: AddressKey) -> Option<IpAddr> {
    (key != [0, 0]).then(|| super::SeriesKey::new(key, 0, 0).exporter())
}

#[cfg(test)]
mod tests;
