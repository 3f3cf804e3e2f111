//! Datagrams put together of their IP fragments, bounded in count, octets and age.
//!
//! Fragments may come in any order and twice. Fragments that overlap otherwise cost their datagram: honest
//! senders don't make them (RFC 5722, section 3).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use otlp_wire::UnixNanos;

use super::ip::{Addresses, Fragment};
use super::skipped::Skipped;

/// Datagrams that wait for fragments.
const MAX_WAITING: usize = 1024;
/// Octets of all that wait.
const MAX_OCTETS: usize = 8 * 1024 * 1024;
/// What a fragment costs besides its octets, about.
const FRAGMENT_OVERHEAD: usize = 128;
/// RFC 8200, section 4.5; more than RFC 791 recommends.
const MAX_AGE: Duration = Duration::from_secs(60);
/// The longest payload of an IP packet.
const MAX_DATAGRAM: usize = 65_535;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    addresses: Addresses,
    id: u32,
}

/// A datagram that came in fragments.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Whole {
    pub(super) protocol: u8,
    pub(super) octets: Vec<u8>,
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: BTreeMap<usize, Box<[u8]>>,
    /// Of the first fragment.
    protocol: Option<u8>,
    /// Where the last fragment ends.
    total: Option<usize>,
    /// Octets of all pieces.
    octets: usize,
    since: Option<UnixNanos>,
    first_frame: u64,
}

#[derive(Debug, Default)]
pub(super) struct Fragments {
    waiting: HashMap<Key, Waiting>,
    /// Oldest first; may name datagrams that are whole by now.
    order: VecDeque<Key>,
    /// Octets and overhead of all pieces.
    cost: usize,
}

impl Fragments {
    /// Takes a fragment in; gives the datagram if it is whole by that. What is given up is passed to `skip` with
    /// the frame of its first fragment.
    pub(super) fn add(
        &mut self,
        fragment: &Fragment<'_>,
        at: Option<UnixNanos>,
        frame: u64,
        mut skip: impl FnMut(Skipped, u64),
    ) -> Option<Whole> {
        self.expire(at, &mut skip);
        let key = Key {
            addresses: fragment.addresses,
            id: fragment.id,
        };
        let end = fragment.offset + fragment.octets.len();
        let is_odd = !fragment.is_last && !fragment.octets.len().is_multiple_of(8);
        if fragment.is_cut {
            skip(Skipped::FragmentCut, frame);
            return None;
        }
        if is_odd || fragment.octets.is_empty() || end > MAX_DATAGRAM {
            skip(Skipped::Malformed, frame);
            return None;
        }
        let waiting = self.waiting.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Waiting {
                since: at,
                first_frame: frame,
                ..Waiting::default()
            }
        });
        match waiting.take(fragment) {
            Taken::Twice => {}
            Taken::Added => self.cost += fragment.octets.len() + FRAGMENT_OVERHEAD,
            Taken::Overlap => {
                let frame = waiting.first_frame;
                self.forget(&key);
                skip(Skipped::FragmentOverlap, frame);
                return None;
            }
        }
        if self.waiting.get(&key).is_some_and(Waiting::is_whole) {
            return self.forget(&key).and_then(Waiting::assemble);
        }
        while self.waiting.len() > MAX_WAITING || self.cost > MAX_OCTETS {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(given_up) = self.forget(&oldest) {
                skip(Skipped::FragmentMissing, given_up.first_frame);
            }
        }
        // Keys of whole datagrams leave with those before them, or here.
        if self.order.len() > 2 * MAX_WAITING {
            self.order.retain(|key| self.waiting.contains_key(key));
        }
        None
    }

    /// Gives up all that wait.
    pub(super) fn give_up(&mut self, mut skip: impl FnMut(Skipped, u64)) {
        while let Some(oldest) = self.order.pop_front() {
            if let Some(given_up) = self.forget(&oldest) {
                skip(Skipped::FragmentMissing, given_up.first_frame);
            }
        }
    }

    fn expire(&mut self, at: Option<UnixNanos>, skip: &mut impl FnMut(Skipped, u64)) {
        let Some(at) = at else {
            return;
        };
        while let Some(oldest) = self.order.front() {
            let is_old = match self.waiting.get(oldest) {
                None => true,
                Some(Waiting {
                    since: Some(since), ..
                }) => u128::from(at.0.saturating_sub(since.0)) > MAX_AGE.as_nanos(),
                Some(_) => false,
            };
            if !is_old {
                break;
            }
            let oldest = *oldest;
            self.order.pop_front();
            if let Some(given_up) = self.forget(&oldest) {
                skip(Skipped::FragmentMissing, given_up.first_frame);
            }
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.cost -= waiting.octets + waiting.pieces.len() * FRAGMENT_OVERHEAD;
        Some(waiting)
    }
}

enum Taken {
    Added,
    Twice,
    Overlap,
}

impl Waiting {
    fn take(&mut self, fragment: &Fragment<'_>) -> Taken {
        let (start, end) = (fragment.offset, fragment.offset + fragment.octets.len());
        if let Some(known) = self.pieces.get(&start)
            && **known == *fragment.octets
        {
            return Taken::Twice;
        }
        let before = self.pieces.range(..=start).next_back();
        let overlaps_before = before.is_some_and(|(at, octets)| at + octets.len() > start);
        let overlaps_behind = self
            .pieces
            .range(start..)
            .next()
            .is_some_and(|(at, _)| *at < end);
        let past_total = self.total.is_some_and(|total| end > total);
        let last_too_short = fragment.is_last
            && self
                .pieces
                .last_key_value()
                .is_some_and(|(at, octets)| at + octets.len() > end);
        if overlaps_before || overlaps_behind || past_total || last_too_short {
            return Taken::Overlap;
        }
        if fragment.is_last {
            self.total = Some(end);
        }
        if start == 0 {
            self.protocol = Some(fragment.protocol);
        }
        self.octets += fragment.octets.len();
        self.pieces.insert(start, fragment.octets.into());
        Taken::Added
    }

    fn is_whole(&self) -> bool {
        // Pieces don't overlap, so that as many octets as the whole has are the whole.
        self.total == Some(self.octets)
    }

    fn assemble(self) -> Option<Whole> {
        let mut octets = Vec::with_capacity(self.octets);
        for piece in self.pieces.values() {
            octets.extend_from_slice(piece);
        }
        Some(Whole {
            protocol: self.protocol?,
            octets,
        })
    }
}
