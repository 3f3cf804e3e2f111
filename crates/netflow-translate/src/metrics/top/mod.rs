//! The view `top`: the heaviest conversations, sources and destinations of the last minute, in bounded memory.
//!
//! Bytes are summed in panes of ten seconds, by exporter. In a full table a new sum takes the place of one that doesn't
//! reach above the level of its exporter; levels rise to the median of the sums when there is none: a summary of heavy
//! hitters after Misra and Gries, with weights (Anderson et al., "A High-Performance Algorithm for Identifying Frequent
//! Items in Data Streams", 2017), whose sums go one at a time. A sum is never too large, and too small by at most what
//! [`Table`] says.
//!
//! A record touches one sum, that of its conversation. What a conversation has summed up when it loses its place goes to
//! the sums of its source and of its destination; to read those, what conversations still have is added.

mod heaviest;
mod table;

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::series::address_key;
use super::{FlowFacts, UNKNOWN_PROTOCOL};
use crate::flow::roles::End;

use self::heaviest::TopSum;
pub use self::heaviest::{TopKind, TopReading, TopRow};
use self::table::{Levels, Sum, SumKey, Table, sum_hash};

/// Seconds of a pane.
pub(super) const PANE: u64 = 10;
/// Panes that an answer adds up: the current one and those before it.
const PANES: u32 = 6;

/// Conversations that a pane has places for.
const CONVERSATIONS: usize = 4096;
/// Sources, and destinations, likewise.
const ENDS: usize = 2048;

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
}

impl Top {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            known: HashMap::with_hasher(hasher.clone()),
            hasher,
            panes: Default::default(),
            current: 0,
            levels: PaneLevels::default(),
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

    /// Counts a record.
    pub(super) fn count(&mut self, flow: &FlowFacts<'_>, server: End, by: By) {
        if flow.bytes == 0 {
            return;
        }
        let Some(pane) = self.panes.get_mut((self.current % PANES) as usize) else {
            return;
        };
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
        let (conversations, levels) = (&mut pane.conversations, &self.levels.conversations);
        if !conversations.add(hash, &key, by.exporter, flow.bytes, levels) {
            let sum = Sum::new(key, by.exporter, by.group, flow.bytes);
            pane.insert(&self.hasher, hash, sum, &mut self.levels);
        }
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
                let sum = Sum::new(address_key(address), by.exporter, by.group, flow.bytes);
                add(table, &self.hasher, sum, levels);
            }
        }
    }

    /// Begins a pane, and remembers which exporters the one before it had.
    #[cold]
    fn turn(&mut self, pane: u32) {
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
    }

    /// What the last minute had, up to and with this pane. Changes nothing.
    pub(super) fn read(&self, pane: u32) -> TopReading {
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
        hash: u64,
        sum: Sum<TopKey>,
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
        conversations.insert(hash, sum, own, |gone| {
            let (key, exporter, group) = (gone.key, gone.exporter, gone.group);
            let end = |address| Sum::new(address, exporter, group, gone.bytes);
            add(sources, hasher, end(key.source), of_sources);
            add(destinations, hasher, end(key.destination), of_destinations);
        });
    }

    fn exporters(&self) -> impl Iterator<Item = u64> {
        let conversations = self.conversations.iter().map(|sum| sum.exporter);
        let ends = [&self.sources, &self.destinations];
        let ends = ends.into_iter().flat_map(|table| table.iter());
        conversations.chain(ends.map(|sum| sum.exporter))
    }
}

/// Adds a sum to those of one end.
#[inline(never)]
fn add(
    table: &mut Table<AddressKey, ENDS>,
    hasher: &RandomState,
    sum: Sum<AddressKey>,
    levels: &mut Levels,
) {
    let hash = sum_hash(hasher, &sum.key, sum.exporter);
    if !table.add(hash, &sum.key, sum.exporter, sum.bytes, levels) {
        table.insert(hash, sum, levels, |_| {});
    }
}

fn address(key: AddressKey) -> Option<IpAddr> {
    (key != [0, 0]).then(|| super::SeriesKey::new(key, 0, 0).exporter())
}

#[cfg(test)]
mod tests;
