//! State by exporter address, bounded: a new source is on probation until it has sent something decodable,
//! and sources on probation make room for each other before any proven one goes.

pub(crate) mod activity;
pub(crate) mod admission;
pub(crate) mod alerts;
pub(crate) mod metadata;
pub(crate) mod report;
pub(crate) mod resource;
pub(crate) mod saved;
pub(crate) mod sequence;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use netflow_wire::{Decoder, Header};
use otlp_wire::{ResourceFront, UnixNanos};

use crate::batch::Membership;
use crate::exporter::activity::Activity;
use crate::exporter::admission::{Bucket, Rate};
use crate::exporter::alerts::{Alerts, Lines};
use crate::exporter::metadata::ExporterMetadata;
use crate::exporter::sequence::{Reboot, SequenceKey, Sequences};
use crate::metrics::ExporterFlows;
use crate::plan::compiled::Compiled;

/// Sources that have not sent anything decodable yet.
const MAX_ON_PROBATION: usize = 1024;

/// What all exporters of a worker may make it keep, in octets as [`Exporter::weigh`] estimates them: sources can
/// be forged, so that the bounds of one exporter bound nothing.
const MAX_WEIGHT: usize = 512 << 20;
/// What a field of a template takes with its part of the plan, a template besides its fields, a sequence count, a
/// described element.
const FIELD_WEIGHT: usize = 128;
const TEMPLATE_WEIGHT: usize = 512;
const SEQUENCE_WEIGHT: usize = 224;
const TYPE_WEIGHT: usize = 128;

/// Between two compilations of an exporter's templates for its own descriptions of elements.
const RECOMPILE_INTERVAL: Duration = Duration::from_secs(1);

/// What is kept with a Set that waits for its template.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) port: u16,
    pub(crate) received_at: UnixNanos,
    /// Octets of the datagram.
    pub(crate) octets: usize,
}

#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) decoder: Decoder<Compiled, Arrival>,
    pub(crate) metadata: ExporterMetadata,
    pub(crate) sequences: Sequences,
    pub(crate) front: Arc<ResourceFront>,
    pub(crate) address: Box<str>,
    pub(crate) member: Membership,
    /// `NETFLOW_SAMPLING_OVERRIDE`.
    pub(crate) sampling: Option<u64>,
    /// When its last malformed datagram was shown as a span.
    pub(crate) error_shown: Option<Instant>,
    pub(crate) alerts: Alerts,
    /// It stands in the row of those whose late Sets are to be read.
    pub(crate) is_late: bool,
    pub(crate) activity: Activity,
    pub(crate) counted: ExporterFlows,
    bucket: Bucket,
    records: Bucket,
    recompiled: Option<Instant>,
    last_seen: Instant,
    /// What it took when it was last weighed.
    weight: usize,
    /// When it was last saved.
    pub(crate) saved: Option<Instant>,
    /// It stands in the row of those to be saved.
    pub(crate) to_be_saved: bool,
    /// Something it sent was decodable.
    proven: bool,
    /// Seen since the hand of the clock last passed.
    referenced: bool,
}

impl Exporter {
    pub(crate) fn last_seen(&self) -> Instant {
        self.last_seen
    }

    /// It was last seen at `then`; who is restored waits for being seen.
    pub(crate) fn restored(&mut self, then: Instant) {
        self.last_seen = then;
        self.referenced = false;
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether one more datagram keeps to the rate; if not, it is counted.
    #[inline]
    pub(crate) fn keeps_to(&mut self, rate: Option<Rate>, now: Instant) -> bool {
        let keeps = rate.is_none_or(|rate| self.bucket.take(rate, now));
        if !keeps {
            self.activity.rate_limited += 1;
            self.alerts.limited();
        }
        keeps
    }

    /// Judges a message's uptime: templates from before a restart are not trusted.
    pub(crate) fn judge_boot(
        &mut self,
        session: SequenceKey,
        header: &Header,
        now: Instant,
    ) -> Reboot {
        let reboot = self.sequences.of(session).boot.judge(header, now);
        let SequenceKey {
            port,
            version,
            domain,
        } = session;
        match reboot {
            Reboot::None => {}
            Reboot::Restarted => self.decoder.distrust(port, version, domain),
            Reboot::Engines => self.decoder.trust(port, version, domain),
        }
        reboot
    }

    /// Logs what began or ended since this was last called.
    pub(crate) fn say(&mut self, now: Instant, lines: &mut Lines) {
        self.alerts.say(&self.address, now, lines);
        if let Some(seconds) = self.counted.take_long() {
            self.alerts.long_flow(&self.address, seconds, lines);
        }
    }

    /// Flow records for which spans may be written now.
    pub(crate) fn records_left(&self, rate: Option<Rate>, now: Instant) -> u32 {
        rate.map_or(u32::MAX, |rate| self.records.left(rate, now))
    }

    /// Spans of so many flow records were written.
    pub(crate) fn count_records(&mut self, rate: Rate, records: u32, now: Instant) {
        self.records.take_all(rate, records, now);
    }

    /// About how many octets it takes by what it has sent, but for Sets that wait.
    fn weigh(&self) -> usize {
        let templates = self.decoder.templates();
        templates.fields() * FIELD_WEIGHT
            + templates.len() * TEMPLATE_WEIGHT
            + self.sequences.len() * SEQUENCE_WEIGHT
            + self.metadata.octets()
            + self.metadata.types.len() * TYPE_WEIGHT
    }

    /// Has the templates compiled anew if the exporter has described elements since, but not more than once in
    /// [`RECOMPILE_INTERVAL`]: descriptions can be forged too.
    pub(crate) fn recompile(&mut self, now: Instant) {
        let recently = self
            .recompiled
            .is_some_and(|then| now.saturating_duration_since(then) < RECOMPILE_INTERVAL);
        if !self.metadata.types_changed || recently {
            return;
        }
        self.metadata.types_changed = false;
        self.recompiled = Some(now);
        self.decoder.forget_plans();
    }
}

/// What makes a new exporter's state.
pub(crate) trait NewExporter {
    /// `agent` is the device that sampled, where its exporter is another.
    fn front(&self, address: &str, agent: Option<&str>) -> ResourceFront;
    fn sampling(&self, address: IpAddr) -> Option<u64>;
}

#[derive(Debug)]
pub(crate) struct ExporterTable {
    by_address: HashMap<IpAddr, Box<Exporter>, RandomState>,
    /// Oldest first; may name sources that are proven or gone by now.
    probation: VecDeque<IpAddr>,
    /// In the order of the clock's hand.
    proven: VecDeque<IpAddr>,
    max_proven: usize,
    max_on_probation: usize,
    /// What all of them took when they were last weighed.
    weight: usize,
    max_weight: usize,
    evicted: u64,
    /// Sets that waited at exporters that went, since they were last asked for.
    sets_gone: u64,
}

impl ExporterTable {
    pub(crate) fn new(max_exporters: usize) -> Self {
        let max_proven = max_exporters.max(1);
        Self {
            by_address: HashMap::default(),
            probation: VecDeque::new(),
            proven: VecDeque::new(),
            max_proven,
            max_on_probation: MAX_ON_PROBATION.min(max_proven),
            weight: 0,
            max_weight: MAX_WEIGHT,
            evicted: 0,
            sets_gone: 0,
        }
    }

    /// The state of an exporter, made if there is none.
    pub(crate) fn entry(
        &mut self,
        address: IpAddr,
        now: Instant,
        new: &impl NewExporter,
    ) -> &mut Exporter {
        if !self.by_address.contains_key(&address) {
            while self.probation.len() >= self.max_on_probation {
                if let Some(oldest) = self.probation.pop_front() {
                    self.evict(oldest);
                }
            }
            self.probation.push_back(address);
        }
        let exporter = self.by_address.entry(address).or_insert_with(|| {
            let text: Box<str> = address.to_string().into();
            Box::new(Exporter {
                decoder: Decoder::default(),
                metadata: ExporterMetadata::default(),
                sequences: Sequences::default(),
                front: Arc::new(new.front(&text, None)),
                address: text,
                member: Membership::default(),
                sampling: new.sampling(address),
                error_shown: None,
                alerts: Alerts::default(),
                is_late: false,
                activity: Activity::default(),
                counted: ExporterFlows::default(),
                bucket: Bucket::default(),
                records: Bucket::default(),
                recompiled: None,
                last_seen: now,
                weight: 0,
                saved: None,
                to_be_saved: false,
                proven: false,
                referenced: true,
            })
        });
        exporter.last_seen = now;
        exporter.referenced = true;
        exporter
    }

    /// The state of an exporter, if there is one.
    pub(crate) fn find(&mut self, address: IpAddr) -> Option<&mut Exporter> {
        self.by_address.get_mut(&address).map(Box::as_mut)
    }

    /// To be read.
    pub(crate) fn get(&self, address: IpAddr) -> Option<&Exporter> {
        self.by_address.get(&address).map(Box::as_ref)
    }

    /// The exporter has sent something decodable.
    pub(crate) fn prove(&mut self, address: IpAddr) {
        match self.by_address.get_mut(&address) {
            Some(exporter) if !exporter.proven => {
                exporter.proven = true;
                // A second chance is for those that are seen again.
                exporter.referenced = false;
            }
            _ => return,
        }
        self.probation.retain(|other| *other != address);
        while self.proven.len() >= self.max_proven {
            self.advance_hand(None);
        }
        self.proven.push_back(address);
    }

    /// Evicts the proven exporter under the clock's hand, unless it was seen since the hand last passed or is the
    /// one to keep.
    fn advance_hand(&mut self, keep: Option<IpAddr>) {
        let Some(candidate) = self.proven.pop_front() else {
            return;
        };
        match self.by_address.get_mut(&candidate) {
            Some(exporter) if exporter.referenced || keep == Some(candidate) => {
                exporter.referenced = false;
                self.proven.push_back(candidate);
            }
            _ => self.evict(candidate),
        }
    }

    /// Weighs an exporter that may have grown, and evicts others, those on probation first, while all together
    /// are too heavy.
    #[cold]
    pub(crate) fn settle(&mut self, address: IpAddr) {
        let Some(exporter) = self.by_address.get_mut(&address) else {
            return;
        };
        let weight = exporter.weigh();
        self.weight = self.weight - exporter.weight + weight;
        exporter.weight = weight;
        while self.weight > self.max_weight && self.by_address.len() > 1 {
            match self.probation.pop_front() {
                Some(oldest) if oldest != address => self.evict(oldest),
                Some(kept) if self.proven.is_empty() => self.probation.push_back(kept),
                kept => {
                    self.advance_hand(Some(address));
                    self.probation.extend(kept);
                }
            }
        }
    }

    fn evict(&mut self, address: IpAddr) {
        if let Some(gone) = self.by_address.remove(&address) {
            self.sets_gone += gone.decoder.waiting().0 as u64;
            self.weight -= gone.weight;
        }
        self.evicted += 1;
    }

    /// Forgets who was not seen for `idle`.
    pub(crate) fn expire(&mut self, now: Instant, idle: Duration) {
        let (sets_gone, weight) = (&mut self.sets_gone, &mut self.weight);
        self.by_address.retain(|_, exporter| {
            let keep = now.saturating_duration_since(exporter.last_seen) <= idle;
            if !keep {
                *sets_gone += exporter.decoder.waiting().0 as u64;
                *weight -= exporter.weight;
            }
            keep
        });
        self.probation
            .retain(|address| self.by_address.contains_key(address));
        self.proven
            .retain(|address| self.by_address.contains_key(address));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exporter> {
        self.by_address.values().map(Box::as_ref)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Exporter> {
        self.by_address.values_mut().map(Box::as_mut)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Sets that waited at exporters that went since this was last called.
    pub(crate) fn take_sets_gone(&mut self) -> u64 {
        std::mem::take(&mut self.sets_gone)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netflow_wire::Version;

    use super::*;

    struct Plain;

    impl NewExporter for Plain {
        fn front(&self, _: &str, _: Option<&str>) -> ResourceFront {
            ResourceFront::new([], "scope", "1")
        }

        fn sampling(&self, _: IpAddr) -> Option<u64> {
            None
        }
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(n))
    }

    struct Test {
        table: ExporterTable,
        now: Instant,
    }

    fn test(max_exporters: usize) -> Test {
        Test {
            table: ExporterTable::new(max_exporters),
            now: Instant::now(),
        }
    }

    impl Test {
        /// Something comes that isn't decodable.
        fn garbage(&mut self, n: u32) {
            self.table.entry(address(n), self.now, &Plain);
        }

        fn records(&mut self, n: u32) {
            self.garbage(n);
            self.table.prove(address(n));
        }

        fn knows(&mut self, n: u32) -> bool {
            self.table.find(address(n)).is_some()
        }
    }

    #[test]
    fn a_flood_of_garbage_evicts_no_proven_exporter() {
        let mut t = test(3);
        for n in 1..=3 {
            t.records(n);
        }
        for n in 100..5000 {
            t.garbage(n);
            assert!(t.table.len() <= 6);
        }
        assert!((1..=3).all(|n| t.knows(n)));
        assert_eq!(t.table.evicted(), 4900 - 3);
    }

    #[test]
    fn sources_on_probation_make_room_oldest_first() {
        let mut t = test(3);
        for n in 1..=5 {
            t.garbage(n);
        }
        assert_eq!(
            [1, 2, 3, 4, 5].map(|n| t.knows(n)),
            [false, false, true, true, true]
        );
        // What was proven meanwhile is out of their row.
        t.records(3);
        for n in 6..=8 {
            t.garbage(n);
        }
        assert!(t.knows(3) && !t.knows(4));
    }

    #[test]
    fn probation_is_bounded_however_many_exporters_are_allowed() {
        let mut t = test(1_000_000);
        for n in 0..3000 {
            t.garbage(n);
        }
        assert_eq!(t.table.len(), MAX_ON_PROBATION);
    }

    #[test]
    fn an_exporter_seen_again_has_a_second_chance() {
        let mut t = test(3);
        for n in 1..=3 {
            t.records(n);
        }
        t.records(1);
        t.records(3);
        t.records(4);
        assert_eq!([1, 2, 3, 4].map(|n| t.knows(n)), [true, false, true, true]);
    }

    /// Invented sources that each send one good datagram.
    #[test]
    fn an_exporter_that_keeps_sending_outlives_a_flood_of_others() {
        let mut t = test(8);
        t.records(1);
        for n in 100..10_000 {
            t.records(n);
            if n % 4 == 0 {
                t.records(1);
            }
            assert!(t.knows(1), "after {n}");
            assert!(t.table.len() <= 8);
        }
    }

    #[test]
    fn the_last_to_come_always_has_a_place() {
        let mut t = test(1);
        for n in 1..=4 {
            t.records(n);
            t.records(n);
            assert!(t.knows(n));
            assert_eq!(t.table.len(), 1);
        }
        assert_eq!(t.table.evicted(), 3);
    }

    #[test]
    fn who_was_not_seen_for_long_is_forgotten() {
        let mut t = test(8);
        let idle = Duration::from_secs(60);
        t.records(1);
        t.garbage(2);
        t.now += idle;
        t.garbage(3);
        t.table.expire(t.now, idle);
        assert_eq!(t.table.len(), 3);
        t.now += Duration::from_secs(1);
        t.table.expire(t.now, idle);
        assert_eq!([1, 2, 3].map(|n| t.knows(n)), [false, false, true]);
        assert_eq!((t.table.probation.len(), t.table.proven.len()), (1, 0));
    }

    impl Test {
        /// An exporter with so many sequence counts.
        fn heavy(&mut self, n: u32, counts: u32) {
            let exporter = self.table.entry(address(n), self.now, &Plain);
            for domain in 0..counts {
                exporter.sequences.of(SequenceKey {
                    port: 1,
                    version: Version::V9,
                    domain,
                });
            }
            self.table.settle(address(n));
        }
    }

    #[test]
    fn all_exporters_together_weigh_no_more_than_their_bound() {
        let mut t = test(1000);
        t.table.max_weight = 100 * SEQUENCE_WEIGHT;
        t.records(1);
        t.heavy(1, 10);
        for n in 100..1000 {
            t.records(n);
            t.heavy(n, 20);
            assert!(t.table.weight <= t.table.max_weight, "after {n}");
            // It goes on sending.
            t.garbage(1);
            assert!(t.knows(1), "after {n}");
        }
        let weights = t.table.iter().map(|exporter| exporter.weight);
        assert_eq!(weights.sum::<usize>(), t.table.weight);
    }

    #[test]
    fn sources_on_probation_go_first_when_all_are_too_heavy() {
        let mut t = test(1000);
        t.table.max_weight = 100 * SEQUENCE_WEIGHT;
        for n in 1..=4 {
            t.records(n);
            t.heavy(n, 10);
        }
        for n in 11..=16 {
            t.garbage(n);
            t.heavy(n, 10);
        }
        t.heavy(4, 30);
        assert!((1..=4).all(|n| t.knows(n)));
        assert_eq!(
            [11, 12, 13, 16].map(|n| t.knows(n)),
            [false, false, true, true]
        );
    }

    /// The one that grows is kept, even if it is alone too heavy.
    #[test]
    fn who_is_too_heavy_alone_is_alone() {
        let mut t = test(1000);
        t.table.max_weight = 10 * SEQUENCE_WEIGHT;
        t.records(1);
        t.garbage(2);
        t.heavy(3, 20);
        assert_eq!([1, 2, 3].map(|n| t.knows(n)), [false, false, true]);
        t.table
            .expire(t.now + Duration::from_secs(9), Duration::from_secs(1));
        assert_eq!((t.table.len(), t.table.weight), (0, 0));
    }
}
