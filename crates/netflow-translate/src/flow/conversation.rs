//! Conversations: the flows of one pair of endpoints, in both directions, under one trace id.
//!
//! The id is a keyed hash of the protocol, of both endpoints in an order that doesn't depend on the direction, and of the
//! window of time in which the flow ended. With the same key it is the same on every replica and after a restart. The
//! exporter is no part of it: routers on the way of one connection share its trace.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::time::Duration;

use otlp_wire::{TraceId, UnixNanos};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::metrics::Endpoints;

/// Records of one trace: backends bound the size of a trace (Tempo to some megabytes).
pub(crate) const MAX_RECORDS: u32 = 1000;
/// Counts in a row of the sketch, a power of two.
const COUNTS: usize = 1 << 15;

/// Gives flows the trace ids of their conversations.
#[derive(Debug)]
pub(crate) struct Conversations {
    key: [u8; 16],
    /// Nanoseconds.
    window: u64,
    /// Of this window and of the one before, by the time of receiving.
    sketches: [Sketch; 2],
    /// Which window the first of them is of.
    current: u64,
}

impl Conversations {
    pub(crate) fn new(key: [u8; 16], window: Duration) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            key,
            window: window.max(1),
            sketches: [Sketch::default(), Sketch::default()],
            current: 0,
        }
    }

    /// The trace of a flow that ended at `end`; `None` where its endpoints aren't known.
    pub(crate) fn trace(
        &mut self,
        ends: &Endpoints,
        end: UnixNanos,
        received_at: UnixNanos,
    ) -> Option<TraceId> {
        self.turn(received_at);
        let (source, destination) = (ends.source?, ends.destination?);
        let source = (bits(source), ends.source_port);
        let destination = (bits(destination), ends.destination_port);
        let (low, high) = (source.min(destination), source.max(destination));
        let mut hasher = SipHasher13::new_with_key(&self.key);
        for (address, port) in [low, high] {
            hasher.write_u128(address);
            hasher.write_u16(port);
        }
        hasher.write_u16(ends.protocol.map_or(u16::MAX, u16::from));
        hasher.write_u64(end.0 / self.window);
        let id = hasher.finish128().as_u128();
        let before = self.count(id);
        if before < MAX_RECORDS {
            return Some(trace_id(id));
        }
        // The id moves on, so that no trace grows without bound.
        hasher.write_u32(before / MAX_RECORDS);
        Some(trace_id(hasher.finish128().as_u128()))
    }

    /// Begins a new window, and forgets the counts of the one before the last.
    fn turn(&mut self, received_at: UnixNanos) {
        let now = received_at.0 / self.window;
        if now == self.current {
            return;
        }
        self.sketches.swap(0, 1);
        self.sketches[0].clear();
        if now != self.current + 1 {
            self.sketches[1].clear();
        }
        self.current = now;
    }

    /// Counts one more record of an id; how many there were, or a few more.
    fn count(&mut self, id: u128) -> u32 {
        let [current, last] = &mut self.sketches;
        current.add(id).saturating_add(last.of(id))
    }
}

/// Never all zero; the random bits of OpenTelemetry's threshold sampling, the last 56, are the hash's own.
fn trace_id(id: u128) -> TraceId {
    id.max(1).to_be_bytes()
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Counts by id in bounded room: two counts each, of which the smaller one is the better. It may say too much where ids
/// share both, never too little.
#[derive(Debug, Default)]
struct Sketch {
    /// Made when the first flow comes.
    rows: [Vec<u32>; 2],
}

impl Sketch {
    fn places(id: u128) -> [usize; 2] {
        let mask = COUNTS - 1;
        [id as usize & mask, (id >> 64) as usize & mask]
    }

    /// How often an id was counted before.
    fn add(&mut self, id: u128) -> u32 {
        let mut before = u32::MAX;
        for (row, place) in self.rows.iter_mut().zip(Self::places(id)) {
            if row.is_empty() {
                row.resize(COUNTS, 0);
            }
            if let Some(count) = row.get_mut(place) {
                before = before.min(*count);
                *count = count.saturating_add(1);
            }
        }
        before
    }

    fn of(&self, id: u128) -> u32 {
        let counts = self.rows.iter().zip(Self::places(id));
        let counts = counts.map(|(row, place)| row.get(place).copied().unwrap_or(0));
        counts.min().unwrap_or(0)
    }

    fn clear(&mut self) {
        for row in &mut self.rows {
            row.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);
    const NOW: u64 = 1_700_000_000_000_000_000;

    fn conversations(key: u8) -> Conversations {
        Conversations::new([key; 16], WINDOW)
    }

    fn ends(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Endpoints {
        Endpoints {
            source: Some(source.0.into()),
            destination: Some(destination.0.into()),
            source_port: source.1,
            destination_port: destination.1,
            protocol: Some(6),
        }
    }

    const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 50_000);
    const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 443);

    fn of(conversations: &mut Conversations, ends: &Endpoints, end: u64) -> TraceId {
        let now = UnixNanos(NOW);
        conversations.trace(ends, UnixNanos(end), now).unwrap()
    }

    #[test]
    fn both_directions_and_later_records_share_a_trace_until_the_window_ends() {
        let mut all = conversations(7);
        let there = of(&mut all, &ends(CLIENT, SERVER), NOW);
        assert_eq!(of(&mut all, &ends(SERVER, CLIENT), NOW + 5), there);
        let window = WINDOW.as_nanos() as u64;
        let next = (NOW / window + 1) * window;
        assert_eq!(of(&mut all, &ends(CLIENT, SERVER), next - 1), there);
        assert_ne!(of(&mut all, &ends(CLIENT, SERVER), next), there);
    }

    #[test]
    fn other_ports_protocols_and_keys_are_other_traces() {
        let mut all = conversations(7);
        let first = of(&mut all, &ends(CLIENT, SERVER), NOW);
        let crossed = ends((CLIENT.0, SERVER.1), (SERVER.0, CLIENT.1));
        let udp = Endpoints {
            protocol: Some(17),
            ..ends(CLIENT, SERVER)
        };
        for other in [crossed, udp, ends(CLIENT, (SERVER.0, 444))] {
            assert_ne!(of(&mut all, &other, NOW), first);
        }
        let (mut same, mut other) = (conversations(7), conversations(8));
        assert_eq!(of(&mut same, &ends(CLIENT, SERVER), NOW), first);
        assert_ne!(of(&mut other, &ends(CLIENT, SERVER), NOW), first);
    }

    #[test]
    fn no_trace_exceeds_its_bound_under_a_million_records_of_one_pair() {
        let mut all = conversations(7);
        let mut records = HashMap::<_, u32>::new();
        for number in 0..1_000_000 {
            let (one, other) = if number % 2 == 0 {
                (CLIENT, SERVER)
            } else {
                (SERVER, CLIENT)
            };
            *records
                .entry(of(&mut all, &ends(one, other), NOW))
                .or_default() += 1;
        }
        assert!(records.values().all(|count| *count <= MAX_RECORDS));
        assert_eq!(records.len(), 1000);
    }

    #[test]
    fn a_turn_of_the_window_forgets_no_count_of_the_one_before() {
        let mut all = conversations(7);
        let pair = ends(CLIENT, SERVER);
        let late = UnixNanos(NOW + WINDOW.as_nanos() as u64);
        let mut records = HashMap::<_, u32>::new();
        for received in [UnixNanos(NOW), late] {
            for _ in 0..900 {
                let id = all.trace(&pair, UnixNanos(NOW), received).unwrap();
                *records.entry(id).or_default() += 1;
            }
        }
        assert!(
            records.values().all(|count| *count <= MAX_RECORDS),
            "{records:?}"
        );
    }

    #[test]
    fn without_endpoints_there_is_no_conversation() {
        let mut all = conversations(7);
        let none = Endpoints::default();
        assert_eq!(all.trace(&none, UnixNanos(NOW), UnixNanos(NOW)), None);
    }
}
