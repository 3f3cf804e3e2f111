//! State by exporter address, bounded: a new source is on probation until it has sent something decodable, and, where
//! there is no room, until it was seen twice, some time apart. Sources on probation make room for each other before any
//! proven one goes; of the proven ones those go that are seen least. So a flood of invented sources, each used once,
//! displaces nobody, and one of sources that come back displaces others of its kind.

pub(crate) mod activity;
pub(crate) mod admission;
pub(crate) mod alerts;
mod glimpses;
pub(crate) mod metadata;
pub(crate) mod report;
pub(crate) mod resource;
pub(crate) mod saved;
pub(crate) mod sequence;
pub(crate) mod strangers;

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
use crate::exporter::glimpses::Glimpses;
use crate::exporter::metadata::ExporterMetadata;
use crate::exporter::sequence::{Reboot, SequenceKey, Sequences};
use crate::metrics::ExporterFlows;
use crate::plan::compiled::Compiled;
use crate::plan::sampling::ConfiguredSampling;

/// Sources that are not proven yet.
const MAX_ON_PROBATION: usize = 1024;
/// Times at which an exporter is seen count once in so much time.
const APART: Duration = Duration::from_secs(1);
/// So often at most: an exporter that was seen more often isn't kept for longer.
const MAX_CREDIT: u8 = 15;
/// Exporters that are looked at for the one that goes.
const CANDIDATES: usize = 64;

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
    pub(crate) sampling: ConfiguredSampling,
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
    first_seen: Instant,
    last_seen: Instant,
    /// What it took when it was last weighed.
    weight: usize,
    /// When it was last saved.
    pub(crate) saved: Option<Instant>,
    /// It stands in the row of those to be saved.
    pub(crate) to_be_saved: bool,
    /// Something it sent was decodable, and it has a place of its own.
    proven: bool,
    /// Seen since the hand of the clock last passed.
    referenced: bool,
    /// How often it was seen, less how often the hand has passed in vain since.
    credit: u8,
    /// When it was last given some.
    credited: Option<Instant>,
}

impl Exporter {
    pub(crate) fn last_seen(&self) -> Instant {
        self.last_seen
    }

    /// It was last seen at `then`; who is restored waits for being seen.
    pub(crate) fn restored(&mut self, then: Instant) {
        self.last_seen = then;
        self.referenced = false;
        self.credited = None;
    }

    #[inline]
    fn seen(&mut self, now: Instant) {
        self.last_seen = now;
        self.referenced = true;
        let counts = |then| now.saturating_duration_since(then) >= APART;
        if self.credited.is_none_or(counts) {
            self.credited = Some(now);
            self.credit = (self.credit + 1).min(MAX_CREDIT);
        }
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
    fn sampling(&self, address: IpAddr) -> ConfiguredSampling;
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
    glimpses: Glimpses,
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
            glimpses: Glimpses::default(),
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
                first_seen: now,
                last_seen: now,
                weight: 0,
                saved: None,
                to_be_saved: false,
                proven: false,
                referenced: true,
                credit: 0,
                credited: Some(now),
            })
        });
        exporter.seen(now);
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

    /// The exporter has sent something decodable. Gives it a place of its own if there is room, or if it was seen before,
    /// some time ago; whether it has.
    pub(crate) fn prove(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(exporter) = self.by_address.get_mut(&address) else {
            return false;
        };
        if exporter.proven {
            return false;
        }
        let has_room = self.proven.len() < self.max_proven && self.weight <= self.max_weight / 2;
        let known_for = now.saturating_duration_since(exporter.first_seen);
        if !has_room && known_for < APART && !self.glimpses.seen_before(address, now) {
            return false;
        }
        exporter.proven = true;
        // A second chance is for those that are seen again.
        exporter.referenced = false;
        exporter.credit = 0;
        self.probation.retain(|other| *other != address);
        while self.proven.len() >= self.max_proven {
            self.displace(None);
        }
        self.proven.push_back(address);
        true
    }

    /// Evicts the first proven exporter under the clock's hand that was neither seen since the hand last passed nor has
    /// credit, or of a number of them the one with the least; not the one to keep.
    fn displace(&mut self, keep: Option<IpAddr>) {
        let candidates = CANDIDATES.min(self.proven.len());
        let mut least: Option<(u8, usize)> = None;
        for looked_at in 0..candidates {
            let Some(candidate) = self.proven.pop_front() else {
                return;
            };
            let Some(exporter) = self.by_address.get_mut(&candidate) else {
                return;
            };
            if keep != Some(candidate) {
                if !exporter.referenced && exporter.credit == 0 {
                    return self.evict(candidate);
                }
                let standing = exporter.credit + u8::from(exporter.referenced);
                if least.is_none_or(|(fewest, _)| standing < fewest) {
                    least = Some((standing, looked_at));
                }
                if !std::mem::take(&mut exporter.referenced) {
                    exporter.credit -= 1;
                }
            }
            self.proven.push_back(candidate);
        }
        if let Some((_, looked_at)) = least {
            let at = self.proven.len() - candidates + looked_at;
            if let Some(gone) = self.proven.remove(at) {
                self.evict(gone);
            }
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
                Some(oldest) if oldest != address || self.probation.is_empty() => {
                    self.evict(oldest);
                }
                // The one that has grown is the last of them to go.
                Some(grown) => self.probation.push_back(grown),
                None => self.displace(Some(address)),
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

        fn sampling(&self, _: IpAddr) -> ConfiguredSampling {
            ConfiguredSampling::default()
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
            self.table.prove(address(n), self.now);
        }

        /// It comes twice, some time apart.
        fn records_twice(&mut self, n: u32) {
            self.records(n);
            self.now += APART;
            self.records(n);
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
        t.records_twice(4);
        assert_eq!([1, 2, 3, 4].map(|n| t.knows(n)), [true, false, true, true]);
    }

    /// Invented sources that each send one good datagram.
    #[test]
    fn a_flood_of_sources_used_once_displaces_nobody() {
        let mut t = test(8);
        for n in 1..=8 {
            t.records(n);
        }
        for n in 100..10_000 {
            t.records(n);
            t.now += Duration::from_millis(1);
            assert!(t.table.len() <= 16);
        }
        assert!((1..=8).all(|n| t.knows(n)));
    }

    /// Invented sources that come back.
    #[test]
    fn an_exporter_that_keeps_sending_outlives_a_flood_of_others() {
        let mut t = test(100);
        for _ in 0..10 {
            t.records(1);
            t.now += APART * 6;
        }
        for n in 100..5_000 {
            t.records_twice(n);
            if n % 100 == 0 {
                t.records(1);
            }
            assert!(t.knows(1), "after {n}");
            assert!(t.table.len() <= 200);
        }
    }

    #[test]
    fn one_that_comes_back_is_recognised_though_its_state_is_gone() {
        let mut t = test(8);
        for n in 1..=8 {
            t.records(n);
        }
        t.records(50);
        for n in 100..200 {
            t.records(n);
        }
        assert!(!t.knows(50));
        t.now += APART * 6;
        t.records(50);
        assert!(t.table.find(address(50)).is_some_and(|it| it.is_proven()));
    }

    #[test]
    fn one_that_comes_twice_always_has_a_place() {
        let mut t = test(1);
        for n in 1..=4 {
            t.records_twice(n);
            assert!(t.table.find(address(n)).is_some_and(|it| it.is_proven()));
            assert!(t.table.len() <= 2);
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
        // One that is not proven displaces no one that is.
        t.heavy(3, 20);
        assert_eq!([1, 2, 3].map(|n| t.knows(n)), [true, false, false]);
        t.records_twice(3);
        t.heavy(3, 20);
        assert_eq!([1, 2, 3].map(|n| t.knows(n)), [false, false, true]);
        t.table
            .expire(t.now + Duration::from_secs(9), Duration::from_secs(1));
        assert_eq!((t.table.len(), t.table.weight), (0, 0));
    }
}
