//! Conversations: the flows of one pair of endpoints, in both directions, under one trace id.
//!
//! The id is a keyed hash of the protocol, of both endpoints in an order that doesn't depend on the direction, and of the
//! window of time in which the flow ended. With the same key it is the same on every replica and after a restart. The
//! exporter is no part of it: routers on the way of one connection share its trace.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use otlp_wire::{TraceId, UnixNanos};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::metrics::Endpoints;
use crate::translator::Translator;

/// Records of one trace: backends bound the size of a trace (Tempo to some megabytes).
pub(crate) const MAX_RECORDS: u32 = 1000;
/// Counts in a row of the sketch, a power of two.
const COUNTS: usize = 1 << 15;
/// Workers that count at the same time.
const MAX_WORKERS: u32 = 256;
/// A clock that goes back by more was set; one datagram of a worker that lags behind is never so old.
const CLOCK_SET: Duration = Duration::from_secs(3600);

/// Gives flows the trace ids of their conversations.
#[derive(Debug)]
pub(crate) struct Conversations {
    key: [u8; 16],
    /// Nanoseconds.
    window: u64,
    counts: Arc<ConversationCounts>,
}

impl Conversations {
    pub(crate) fn new(key: [u8; 16], window: Duration) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            key,
            window: window.max(1),
            counts: Arc::default(),
        }
    }

    /// Counts together with the other workers.
    pub(crate) fn share(&mut self, counts: &Arc<ConversationCounts>) {
        self.counts = Arc::clone(counts);
    }

    /// The trace of a flow that ended at `end`; `None` where its endpoints aren't known.
    pub(crate) fn trace(
        &self,
        ends: &Endpoints,
        end: UnixNanos,
        received_at: UnixNanos,
    ) -> Option<TraceId> {
        self.counts.turn(received_at.0 / self.window, self.window);
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
        let before = self.counts.count(id);
        if before < MAX_RECORDS {
            return Some(trace_id(id));
        }
        // The id moves on, so that no trace grows without bound.
        hasher.write_u32(before / MAX_RECORDS);
        Some(trace_id(hasher.finish128().as_u128()))
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

impl Translator {
    /// Counts the records of conversations together with other workers.
    #[must_use]
    pub fn with_conversations(mut self, counts: &Arc<ConversationCounts>) -> Self {
        self.writing.shape.share(counts);
        self
    }
}

/// How many records each trace of a conversation has, over all workers: exporters on the way of one connection may belong
/// to several. Without locks.
#[derive(Debug, Default)]
pub struct ConversationCounts {
    /// The window that is counted now, by the time of receiving.
    current: AtomicU64,
    /// Of even windows and of odd ones: of the current one and of the one before.
    sketches: [Sketch; 2],
}

impl ConversationCounts {
    /// Begins a new window, and forgets the counts of the one before the last.
    #[inline]
    fn turn(&self, now: u64, window: u64) {
        let current = self.current.load(Ordering::Relaxed);
        if now != current {
            self.turn_from(current, now, window);
        }
    }

    #[cold]
    fn turn_from(&self, current: u64, now: u64, window: u64) {
        let back = current.saturating_sub(now).saturating_mul(window);
        if now < current && u128::from(back) <= CLOCK_SET.as_nanos() {
            return;
        }
        let (order, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        let turned = self.current.compare_exchange(current, now, order, failed);
        if turned.is_err() {
            return;
        }
        self.of(now).clear();
        if now != current + 1 {
            self.of(now + 1).clear();
        }
    }

    fn of(&self, window: u64) -> &Sketch {
        let [even, odd] = &self.sketches;
        if window.is_multiple_of(2) { even } else { odd }
    }

    /// Counts one more record of an id; how many there were, or a few more.
    fn count(&self, id: u128) -> u32 {
        let current = self.current.load(Ordering::Relaxed);
        let before = self.of(current).add(id);
        before.saturating_add(self.of(current + 1).read(id))
    }
}

/// Counts by id in bounded room: two counts each, of which the smaller one is the better. It may say too much where ids
/// share both, never too little.
#[derive(Debug, Default)]
struct Sketch {
    /// Made when the first flow comes.
    rows: [OnceLock<Box<[AtomicU32]>>; 2],
}

impl Sketch {
    fn cells(&self, id: u128) -> [Option<&AtomicU32>; 2] {
        let mask = COUNTS - 1;
        let places = [id as usize & mask, (id >> 64) as usize & mask];
        let [first, second] = &self.rows;
        [(first, places[0]), (second, places[1])].map(|(row, place)| {
            let row = row.get_or_init(|| (0..COUNTS).map(|_| AtomicU32::new(0)).collect());
            row.get(place)
        })
    }

    /// How often an id was counted before.
    fn add(&self, id: u128) -> u32 {
        let add =
            |cell: Option<&AtomicU32>| cell.map_or(0, |cell| cell.fetch_add(1, Ordering::Relaxed));
        let [one, other] = self.cells(id).map(add);
        // Each row gives every number once, but a choice between them may give one twice. So near to each other, both may be
        // of this id alone, counted by several workers at once: then the first row alone says it.
        if one.abs_diff(other) < MAX_WORKERS {
            one
        } else {
            one.min(other)
        }
    }

    fn read(&self, id: u128) -> u32 {
        let read = |cell: Option<&AtomicU32>| cell.map_or(0, |cell| cell.load(Ordering::Relaxed));
        let [one, other] = self.cells(id).map(read);
        one.min(other)
    }

    fn clear(&self) {
        let cells = self.rows.iter().filter_map(OnceLock::get).flatten();
        cells.for_each(|cell| cell.store(0, Ordering::Relaxed));
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

    fn of(conversations: &Conversations, ends: &Endpoints, end: u64) -> TraceId {
        let now = UnixNanos(NOW);
        conversations.trace(ends, UnixNanos(end), now).unwrap()
    }

    #[test]
    fn both_directions_and_later_records_share_a_trace_until_the_window_ends() {
        let all = conversations(7);
        let there = of(&all, &ends(CLIENT, SERVER), NOW);
        assert_eq!(of(&all, &ends(SERVER, CLIENT), NOW + 5), there);
        let window = WINDOW.as_nanos() as u64;
        let next = (NOW / window + 1) * window;
        assert_eq!(of(&all, &ends(CLIENT, SERVER), next - 1), there);
        assert_ne!(of(&all, &ends(CLIENT, SERVER), next), there);
    }

    #[test]
    fn other_ports_protocols_and_keys_are_other_traces() {
        let all = conversations(7);
        let first = of(&all, &ends(CLIENT, SERVER), NOW);
        let crossed = ends((CLIENT.0, SERVER.1), (SERVER.0, CLIENT.1));
        let udp = Endpoints {
            protocol: Some(17),
            ..ends(CLIENT, SERVER)
        };
        for other in [crossed, udp, ends(CLIENT, (SERVER.0, 444))] {
            assert_ne!(of(&all, &other, NOW), first);
        }
        let (same, other) = (conversations(7), conversations(8));
        assert_eq!(of(&same, &ends(CLIENT, SERVER), NOW), first);
        assert_ne!(of(&other, &ends(CLIENT, SERVER), NOW), first);
    }

    #[test]
    fn no_trace_exceeds_its_bound_under_a_million_records_of_one_pair() {
        let all = conversations(7);
        let mut records = HashMap::<_, u32>::new();
        for number in 0..1_000_000 {
            let (one, other) = if number % 2 == 0 {
                (CLIENT, SERVER)
            } else {
                (SERVER, CLIENT)
            };
            *records.entry(of(&all, &ends(one, other), NOW)).or_default() += 1;
        }
        assert!(records.values().all(|count| *count <= MAX_RECORDS));
        assert_eq!(records.len(), 1000);
    }

    #[test]
    fn a_turn_of_the_window_forgets_no_count_of_the_one_before() {
        let all = conversations(7);
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
    fn workers_that_count_at_once_keep_the_bound_together() {
        let shared = Arc::default();
        let worker = || {
            let mut own = conversations(7);
            own.share(&shared);
            let pair = ends(CLIENT, SERVER);
            (0..50_000).map(move |_| of(&own, &pair, NOW))
        };
        let mut records = HashMap::<_, u32>::new();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| worker().collect::<Vec<_>>()))
                .collect();
            for worker in workers {
                for id in worker.join().unwrap() {
                    *records.entry(id).or_default() += 1;
                }
            }
        });
        assert!(records.values().all(|count| *count <= MAX_RECORDS));
        assert!(records.len() <= 201, "{}", records.len());
    }

    #[test]
    fn a_worker_that_lags_behind_forgets_nothing_and_a_clock_set_back_begins_anew() {
        let all = conversations(7);
        let pair = ends(CLIENT, SERVER);
        let nanos = |window: Duration| window.as_nanos() as u64;
        let at = |received| {
            all.trace(&pair, UnixNanos(NOW), UnixNanos(received))
                .unwrap()
        };
        let first = at(NOW);
        for _ in 0..MAX_RECORDS / 2 {
            at(NOW - nanos(WINDOW));
            at(NOW);
        }
        assert_ne!(at(NOW), first);
        let before = NOW - nanos(CLOCK_SET) - 2 * nanos(WINDOW);
        assert_eq!(at(before), first);
    }

    #[test]
    fn without_endpoints_there_is_no_conversation() {
        let all = conversations(7);
        let none = Endpoints::default();
        assert_eq!(all.trace(&none, UnixNanos(NOW), UnixNanos(NOW)), None);
    }
}
