//! The heaviest of all workers.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::{TopKey, address};

/// What a row of the view is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TopKind {
    /// From a source to a destination, with transport and the server's port.
    Conversation,
    /// From a source, whatever the destination.
    Source,
    /// To a destination, whatever the source.
    Destination,
}

impl TopKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Conversation, Self::Source, Self::Destination];

    /// The word of the label `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// The sums of one worker, or of all.
#[derive(Clone, Debug, Default)]
pub struct TopReading {
    /// In the order of [`TopKind::ALL`].
    pub(super) sums: [Vec<TopSum>; TopKind::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TopSum {
    pub(super) key: TopKey,
    /// `None`: one that is new.
    pub(super) exporter: Option<u64>,
    pub(super) bytes: u64,
}

/// One of the heaviest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TopRow {
    /// What it is about.
    pub kind: TopKind,
    /// Not of a destination.
    pub source: Option<IpAddr>,
    /// Not of a source.
    pub destination: Option<IpAddr>,
    /// IANA's number; of a conversation whose protocol is known.
    pub transport: Option<u8>,
    /// The server's, of a conversation that has ports.
    pub port: Option<u16>,
    /// Estimated; of the last minute.
    pub bytes: u64,
}

impl TopReading {
    /// Adds what another worker counted.
    pub(in crate::metrics) fn append(&mut self, other: Self) {
        for (sums, mut others) in self.sums.iter_mut().zip(other.sums) {
            sums.append(&mut others);
        }
    }

    /// The heaviest of each kind, heaviest first. While others wait, no exporter has more than three quarters of them,
    /// nor have all that are new.
    #[must_use]
    pub fn heaviest(&self, limit: usize) -> Vec<TopRow> {
        let kinds = TopKind::ALL.into_iter().zip(&self.sums);
        let rows = kinds.flat_map(|(kind, sums)| {
            let rows = heaviest(sums, limit).into_iter();
            rows.map(move |(key, bytes)| row(kind, key, bytes))
        });
        rows.collect()
    }
}

fn row(kind: TopKind, key: TopKey, bytes: u64) -> TopRow {
    let has_ends = kind == TopKind::Conversation;
    TopRow {
        kind,
        source: address(key.source),
        destination: address(key.destination),
        transport: u8::try_from(key.transport).ok().filter(|_| has_ends),
        port: Some(key.port).filter(|port| *port != 0),
        bytes,
    }
}

fn heaviest(sums: &[TopSum], limit: usize) -> Vec<(TopKey, u64)> {
    let mut by_exporter: HashMap<(TopKey, Option<u64>), u64, RandomState> = HashMap::default();
    for sum in sums {
        let bytes = by_exporter.entry((sum.key, sum.exporter)).or_default();
        *bytes = bytes.saturating_add(sum.bytes);
    }
    /// Bytes of all exporters, and the exporter that reported most of them.
    #[derive(Default)]
    struct Whole {
        bytes: u64,
        most: u64,
        exporter: Option<u64>,
    }
    let mut wholes: HashMap<TopKey, Whole, RandomState> = HashMap::default();
    for ((key, exporter), bytes) in by_exporter {
        let whole = wholes.entry(key).or_default();
        whole.bytes = whole.bytes.saturating_add(bytes);
        if bytes >= whole.most {
            (whole.most, whole.exporter) = (bytes, exporter);
        }
    }
    let mut wholes: Vec<(TopKey, Whole)> = wholes.into_iter().collect();
    wholes.retain(|(_, whole)| whole.bytes > 0);
    wholes.sort_unstable_by_key(|(key, whole)| (Reverse(whole.bytes), *key));
    let share = (limit - limit / 4).max(1);
    let mut held: HashMap<Option<u64>, usize> = HashMap::new();
    let (mut rows, mut beyond) = (Vec::new(), Vec::new());
    for (key, whole) in wholes {
        if rows.len() >= limit {
            break;
        }
        let held = held.entry(whole.exporter).or_default();
        if *held < share {
            *held += 1;
            rows.push((key, whole.bytes));
        } else if beyond.len() < limit {
            beyond.push((key, whole.bytes));
        }
    }
    let room = limit.saturating_sub(rows.len());
    rows.extend(beyond.into_iter().take(room));
    rows.sort_unstable_by_key(|(key, bytes)| (Reverse(*bytes), *key));
    rows
}
