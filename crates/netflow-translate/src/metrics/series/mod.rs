//! The series of one view in one worker: a table of bounded size, keyed by numbers of fixed width.
//!
//! Below the bound a series exists from its first record. At it, a new one counts into the overflow series until it was
//! seen in two different minutes; then it takes the place of one that lies idle, or of one of an exporter that holds
//! more than its quarter. The bound is shared by all workers through [`Room`], without a lock.

mod room;
mod store;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use otlp_wire::{SpanId, TraceId, UnixNanos};

pub(crate) use self::room::Room;
use self::store::Store;
use super::candidates::Candidates;
use super::{Counting, FlowCounts};

/// Minutes after which a series that wasn't touched goes.
const EXPIRY: u32 = 60;
/// Minutes after which a series that wasn't touched makes room for one that waits.
const IDLE: u32 = 5;

/// An exporter's address as the octets of an IPv6 address; of an IPv4 one the mapped form.
#[inline(always)]
pub(crate) fn address_key(address: IpAddr) -> [u64; 2] {
    const MAPPED: u64 = 0xffff_0000_0000;
    match address {
        IpAddr::V4(address) => [0, MAPPED | u64::from(address.to_bits())],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

/// What a series is of: its exporter, and two numbers whose meaning is the view's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SeriesKey {
    exporter: [u64; 2],
    /// An interface, a network, a protocol, ….
    pub first: u32,
    /// A direction, a network, a service, ….
    pub second: u32,
}

impl SeriesKey {
    pub(crate) fn new(exporter: [u64; 2], first: u32, second: u32) -> Self {
        Self {
            exporter,
            first,
            second,
        }
    }

    /// Both of its numbers as one.
    #[inline(always)]
    fn numbers(&self) -> u64 {
        u64::from(self.first) << 32 | u64::from(self.second)
    }

    /// The exporter's address.
    #[must_use]
    pub fn exporter(&self) -> IpAddr {
        let [high, low] = self.exporter;
        let bits = u128::from(high) << 64 | u128::from(low);
        std::net::Ipv6Addr::from_bits(bits).to_canonical()
    }
}

/// The keyed hash of an exporter, made once for a datagram.
pub(crate) fn exporter_hash(hasher: &RandomState, [high, low]: [u64; 2]) -> u64 {
    hasher.hash_one((high, low))
}

/// 2^64 by the golden ratio: neighbouring numbers multiplied by it lie far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// One of `1 << bits` places. It needs no hash that resists an attack where what stands at a place says whether it is the
/// one that is meant: who makes others share a place makes their own way longer.
#[inline(always)]
pub(super) const fn spread(mixed: u64, bits: u32) -> usize {
    (mixed.wrapping_mul(SPREAD) >> (u64::BITS - bits)) as usize
}

/// The keyed hash of a series of that exporter.
#[inline]
fn hash(hasher: &RandomState, exporter: u64, key: &SeriesKey) -> u64 {
    hasher.hash_one(exporter ^ key.numbers())
}

fn whole_hash(hasher: &RandomState, key: &SeriesKey) -> u64 {
    hash(hasher, exporter_hash(hasher, key.exporter), key)
}

/// A kept record that a series counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exemplar {
    /// Of its span.
    pub trace_id: TraceId,
    /// Of its span.
    pub span_id: SpanId,
    /// Estimated.
    pub bytes: u64,
    /// When it was received.
    pub received_at: UnixNanos,
}

/// What a record adds to a series, or several records do.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    /// Records; 0 of the other direction of a biflow, whose record is counted already.
    pub(crate) flows: u64,
    /// Nanoseconds.
    pub(crate) duration: u64,
    /// A request without an answer.
    pub(crate) failed: bool,
    /// Its span, if it is kept.
    pub(crate) span: Option<&'a (TraceId, SpanId)>,
    /// Bytes of the record whose span that is.
    pub(crate) largest: u64,
    /// When that record was received.
    pub(crate) received_at: UnixNanos,
}

impl<'a> Addition<'a> {
    #[inline(always)]
    pub(super) fn new(
        flow: FlowCounts,
        span: Option<&'a (TraceId, SpanId)>,
        counting: &Counting,
    ) -> Self {
        Self {
            bytes: flow.bytes,
            packets: flow.packets,
            flows: 1,
            duration: flow.duration,
            failed: false,
            span,
            largest: flow.bytes,
            received_at: counting.received_at,
        }
    }

    /// Of the other direction of a biflow, with its bytes and packets but without a record of its own.
    pub(super) fn reverse(
        reversed: FlowCounts,
        span: Option<&'a (TraceId, SpanId)>,
        counting: &Counting,
    ) -> Self {
        Self {
            flows: 0,
            ..Self::new(reversed, span, counting)
        }
    }

    /// Both directions of a biflow.
    pub(super) fn with(&self, reverse: &Self) -> Self {
        let bytes = self.bytes.wrapping_add(reverse.bytes);
        Self {
            bytes,
            largest: bytes,
            packets: self.packets.wrapping_add(reverse.packets),
            ..*self
        }
    }
}

/// Sums over records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Estimated.
    pub bytes: u64,
    /// Estimated.
    pub packets: u64,
    /// Records.
    pub flows: u64,
}

/// What a series adds up.
pub trait Tally: Copy + Default + PartialEq + std::fmt::Debug {
    /// Takes in a record.
    fn add(&mut self, addition: &Addition<'_>);
    /// The sum of both.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

impl Tally for Totals {
    #[inline]
    fn add(&mut self, addition: &Addition<'_>) {
        self.bytes = self.bytes.wrapping_add(addition.bytes);
        self.packets = self.packets.wrapping_add(addition.packets);
        self.flows = self.flows.wrapping_add(addition.flows);
    }

    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.wrapping_add(other.bytes),
            packets: self.packets.wrapping_add(other.packets),
            flows: self.flows.wrapping_add(other.flows),
        }
    }
}

/// A series as it is kept. What every record touches stands in the first 64 octets.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Series<T> {
    key: SeriesKey,
    totals: T,
    /// A kept record of at least so many bytes is the current minute's exemplar.
    needed: u64,
    /// The minute of `needed`.
    minute: u32,
    /// The minute of the last record.
    touched: u32,
    /// Of `minute`; none: no record of it was kept.
    current: Option<Exemplar>,
    /// Of the minute before.
    previous: Option<Exemplar>,
}

impl<T: Tally> Series<T> {
    fn new(key: SeriesKey, minute: u32) -> Self {
        Self {
            key,
            totals: T::default(),
            needed: 0,
            minute,
            touched: minute,
            current: None,
            previous: None,
        }
    }

    #[inline(always)]
    fn add(&mut self, addition: &Addition<'_>, minute: u32) {
        self.totals.add(addition);
        self.touched = self.touched.max(minute);
        if let Some(span) = addition.span
            && (addition.largest >= self.needed || minute > self.minute)
        {
            self.keep(span, addition.largest, addition.received_at, minute);
        }
    }

    #[inline(never)]
    fn keep(
        &mut self,
        &(trace_id, span_id): &(TraceId, SpanId),
        bytes: u64,
        received_at: UnixNanos,
        minute: u32,
    ) {
        if minute > self.minute {
            let is_next = minute == self.minute + 1;
            self.previous = self.current.take().filter(|_| is_next);
            self.minute = minute;
        }
        self.needed = bytes.saturating_add(1);
        self.current = Some(Exemplar {
            trace_id,
            span_id,
            bytes,
            received_at,
        });
    }

    /// The largest of the current and the previous minute.
    fn exemplar(&self, minute: u32) -> Option<Exemplar> {
        let (current, previous) = match minute.saturating_sub(self.minute) {
            0 => (self.current, self.previous),
            1 => (self.current, None),
            _ => (None, None),
        };
        let both = current.into_iter().chain(previous);
        both.max_by_key(|exemplar| exemplar.bytes)
    }
}

/// The series of a view in one worker.
#[derive(Debug)]
pub(crate) struct SeriesTable<T = Totals>
where
    T: Tally,
{
    room: Arc<Room>,
    hasher: RandomState,
    table: Store<T>,
    /// Series of each exporter.
    held: HashMap<[u64; 2], u32, RandomState>,
    overflow: Series<T>,
    expired: T,
    candidates: Candidates,
    /// Series that may make room, the first to go last; made at most once a minute.
    victims: Vec<SeriesKey>,
    victims_made: Option<u32>,
}

/// A series as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesReading<T = Totals> {
    /// `None`: the overflow series.
    pub key: Option<SeriesKey>,
    /// What the exporter calls it, of an application that it names.
    pub name: Option<Arc<str>>,
    /// Since the series began.
    pub totals: T,
    /// The largest kept record of the current and the previous minute.
    pub exemplar: Option<Exemplar>,
}

impl<T: Tally> SeriesTable<T> {
    pub(crate) fn new(room: Arc<Room>, hasher: RandomState) -> Self {
        Self {
            room,
            table: Store::new(hasher.clone()),
            hasher,
            held: HashMap::default(),
            overflow: Series::new(SeriesKey::new([0, 0], 0, 0), 0),
            expired: T::default(),
            candidates: Candidates::default(),
            victims: Vec::new(),
            victims_made: None,
        }
    }

    /// Counts a record; `exporter` is the hash of the key's exporter by the table's hasher.
    #[inline(always)]
    pub(crate) fn count(
        &mut self,
        exporter: u64,
        key: SeriesKey,
        addition: &Addition<'_>,
        minute: u32,
    ) {
        match self.table.get_mut(exporter, key) {
            Some(series) => series.add(addition, minute),
            None => self.count_new(exporter, key, addition, minute),
        }
    }

    #[inline(never)]
    fn count_new(&mut self, exporter: u64, key: SeriesKey, addition: &Addition<'_>, minute: u32) {
        let hash = hash(&self.hasher, exporter, &key);
        if self.admits(key, exporter, hash, minute) {
            let mut series = Series::new(key, minute);
            series.add(addition, minute);
            self.table.insert(hash, series);
            *self.held.entry(key.exporter).or_default() += 1;
        } else {
            self.overflow.add(addition, minute);
        }
    }

    /// Whether there is a place for a new series; if so, it is taken.
    fn admits(&mut self, key: SeriesKey, exporter: u64, hash: u64, minute: u32) -> bool {
        if self.room.take() {
            return true;
        }
        if !self.candidates.asked_before(exporter, hash, minute) {
            return false;
        }
        let has_share = self.holds(key.exporter) < self.quarter();
        if has_share && self.room.take_granted() {
            return true;
        }
        if self.evict(minute, !has_share) {
            return true;
        }
        if has_share {
            self.room.claim();
        }
        false
    }

    fn quarter(&self) -> u32 {
        (self.room.max() / 4).max(1)
    }

    fn holds(&self, exporter: [u64; 2]) -> u32 {
        self.held.get(&exporter).copied().unwrap_or(0)
    }

    /// Removes a series that must make room, so that its place is free; `false` if there is none.
    fn evict(&mut self, minute: u32, only_idle: bool) -> bool {
        self.find_victims(minute);
        while let Some(key) = self.victims.pop() {
            let Some(series) = self.table.get(&key) else {
                continue;
            };
            let is_idle = minute.saturating_sub(series.touched) >= IDLE;
            if only_idle && !is_idle {
                // Those that are idle come first: there are no more of them.
                self.victims.push(key);
                return false;
            }
            if is_idle || self.holds(key.exporter) > self.quarter() {
                self.remove(key);
                return true;
            }
        }
        false
    }

    fn find_victims(&mut self, minute: u32) {
        if self.victims_made.is_some_and(|made| made >= minute) {
            return;
        }
        self.victims_made = Some(minute);
        let quarter = self.quarter();
        let mut found: Vec<(bool, bool, u32, SeriesKey)> = self
            .table
            .iter()
            .map(|series| {
                let is_heavy = self.holds(series.key.exporter) > quarter;
                let is_idle = minute.saturating_sub(series.touched) >= IDLE;
                (is_idle, is_heavy, series.touched, series.key)
            })
            .filter(|(is_idle, is_heavy, ..)| *is_idle || *is_heavy)
            .collect();
        // The first to go last: idle ones of heavy exporters, idle ones, others of heavy exporters; oldest first.
        found.sort_unstable_by_key(|(is_idle, is_heavy, touched, key)| {
            (*is_idle, *is_heavy, std::cmp::Reverse(*touched), *key)
        });
        self.victims.clear();
        self.victims.extend(found.into_iter().map(|(.., key)| key));
    }

    /// Takes a series out; its place stays taken.
    fn remove(&mut self, key: SeriesKey) {
        if let Some(series) = self.table.remove(&key) {
            self.expired = self.expired.plus(series.totals);
            release(&mut self.held, key.exporter);
        }
    }

    /// Forgets series that nothing touched for an hour, and gives up places that others wait for.
    pub(crate) fn sweep(&mut self, minute: u32) {
        let series = self.table.iter();
        let old = series.filter(|series| minute.saturating_sub(series.touched) >= EXPIRY);
        let old: Vec<SeriesKey> = old.map(|series| series.key).collect();
        for key in old {
            self.remove(key);
            self.room.give_back();
        }
        for _ in 0..self.room.claims() {
            if !self.evict(minute, false) {
                break;
            }
            self.room.grant();
        }
    }

    /// What a series adds up, if it has a place.
    pub(crate) fn totals_mut(&mut self, exporter: u64, key: &SeriesKey) -> Option<&mut T> {
        let series = self.table.get_mut(exporter, *key)?;
        Some(&mut series.totals)
    }

    /// Of all series.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &SeriesKey> {
        self.table.iter().map(|series| &series.key)
    }

    /// Series that exist.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Every series and the overflow series, if it counted anything. Changes nothing.
    pub(crate) fn read(&self, minute: u32) -> ViewReading<T> {
        let reading = |series: &Series<T>, key| SeriesReading {
            key,
            name: None,
            totals: series.totals,
            exemplar: series.exemplar(minute),
        };
        let overflow =
            (self.overflow.totals != T::default()).then(|| reading(&self.overflow, None));
        let series = self.table.iter();
        let series = series.map(|series| reading(series, Some(series.key)));
        ViewReading {
            series: series.chain(overflow).collect(),
            expired: self.expired,
        }
    }
}

impl<T: Tally> Drop for SeriesTable<T> {
    fn drop(&mut self) {
        for _ in 0..self.len() {
            self.room.give_back();
        }
    }
}

fn release(held: &mut HashMap<[u64; 2], u32, RandomState>, exporter: [u64; 2]) {
    if let Some(count) = held.get_mut(&exporter) {
        *count -= 1;
        if *count == 0 {
            held.remove(&exporter);
        }
    }
}

/// A view as it is read, of one worker or of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewReading<T = Totals> {
    /// In no order, until workers are merged.
    pub series: Vec<SeriesReading<T>>,
    /// What series counted that are gone.
    pub expired: T,
}

impl<T: Tally> ViewReading<T> {
    /// Brings the readings of several workers together, each series once, in the order of their keys; the overflow
    /// series is the last.
    pub(crate) fn merge(readings: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for reading in readings {
            all.series.extend(reading.series);
            all.expired = all.expired.plus(reading.expired);
        }
        all.series
            .sort_by_key(|series| (series.key.is_none(), series.key));
        all.series.dedup_by(|later, first| {
            let same = later.key == first.key;
            if same {
                first.totals = first.totals.plus(later.totals);
                let both = first.exemplar.into_iter().chain(later.exemplar);
                first.exemplar = both.max_by_key(|exemplar| exemplar.bytes);
            }
            same
        });
        all
    }
}

#[cfg(test)]
mod tests;
