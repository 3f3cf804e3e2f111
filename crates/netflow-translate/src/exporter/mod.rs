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
mod weight;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use netflow_wire::{Decoder, Event, Header, Session, TemplateKey, Uptime};
use otlp_wire::{ResourceFront, UnixNanos};

use crate::batch::Membership;
use crate::exporter::activity::Activity;
use crate::exporter::admission::{Bucket, Rate};
use crate::exporter::alerts::{Alerts, Lines};
use crate::exporter::glimpses::Glimpses;
use crate::exporter::metadata::ExporterMetadata;
use crate::exporter::sequence::{Reboot, SequenceKey, Sequences};
use crate::memory::Share;
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

/// Between two compilations of an exporter's templates for its own descriptions of elements.
const RECOMPILE_INTERVAL: Duration = Duration::from_secs(1);

/// What is kept with a Set that waits for its template.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) session: Session,
    pub(crate) received_at: UnixNanos,
    /// Octets of the datagram or message.
    pub(crate) octets: usize,
}

#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) decoder: Decoder<Compiled, Arrival>,
    pub(crate) metadata: ExporterMetadata,
    pub(crate) sequences: Sequences,
    pub(crate) front: Arc<ResourceFront>,
    /// Of the names in it.
    front_version: u32,
    pub(crate) address: Box<str>,
    pub(crate) member: Membership,
    /// `NETFLOW_SAMPLING_OVERRIDE`.
    pub(crate) sampling: ConfiguredSampling,
    /// When its last malformed datagram was shown as a span.
    pub(crate) error_shown: Option<Instant>,
    pub(crate) alerts: Alerts,
    /// Where its last message came from, as the caller numbers it.
    pub(crate) origin: u32,
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
    /// Octets of plans compiled for it alone, since they were last counted anew.
    pub(crate) compiled: usize,
    /// When it was last saved.
    pub(crate) saved: Option<Instant>,
    /// It stands in the row of those to be saved.
    pub(crate) to_be_saved: bool,
    /// Something it sent was decodable, and it has a place of its own.
    proven: bool,
    /// Seen since the hand of the clock last passed.
    referenced: bool,
    /// How often it was seen, minus how often the hand has passed since.
    credit: u8,
    /// When it was last given some.
    credited: Option<Instant>,
}

impl Exporter {
    pub(crate) fn last_seen(&self) -> Instant {
        self.last_seen
    }

    /// Names have changed: its next spans stand under a new resource.
    #[cold]
    fn renew(&mut self, address: IpAddr, new: &impl NewExporter) {
        self.front_version = new.version();
        self.front = Arc::new(new.front(address, None));
        self.member = Membership::default();
    }

    /// It was last seen at `then`; a restored exporter counts once it is seen.
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

    /// How often it was seen lately.
    fn standing(&self) -> u8 {
        self.credit + u8::from(self.referenced)
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

    /// A template that was kept says how long the exporter had been up: a restart since then is noticed.
    pub(crate) fn restored_uptime(&mut self, key: &TemplateKey, uptime: Option<Uptime>) {
        if let Some(uptime) = uptime {
            let sequence = self.sequences.of(SequenceKey::of_template(key));
            sequence.boot.restore(uptime);
        }
    }

    /// Judges what a message says of restarts: templates of NetFlow v9 from before one are not trusted.
    pub(crate) fn judge_boot(&mut self, session: Session, header: &Header, now: Instant) -> Reboot {
        let key = SequenceKey::of(session, header);
        let reboot = self.sequences.of(key).boot.judge(header.into(), now);
        let (version, domain) = (header.version, header.observation_domain);
        match reboot {
            Reboot::None => {}
            // IPFIX has no uptime, and numbers alone are too little to leave data waiting.
            Reboot::Restarted if header.sys_uptime_ms.is_none() => {}
            Reboot::Restarted => self.decoder.distrust(session, version, domain),
            Reboot::Engines => self.decoder.trust(session, version, domain),
        }
        reboot
    }

    /// A connection of it has ended: what holds for that session alone is forgotten. How many templates went.
    pub(crate) fn end_session(&mut self, session: Session, event: impl FnMut(Event)) -> usize {
        self.sequences.end_session(session);
        self.metadata.end_session(session);
        self.decoder.end_session(session, event)
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
    /// Its resource. `agent` is the device that sampled, where its exporter is another.
    fn front(&self, address: IpAddr, agent: Option<IpAddr>) -> ResourceFront;
    /// Another number when [`front`](Self::front) may make something else of the same addresses.
    fn version(&self) -> u32;
    fn sampling(&self, address: IpAddr) -> ConfiguredSampling;
    /// What is known before the exporter has said anything.
    fn metadata(&self) -> ExporterMetadata {
        ExporterMetadata::default()
    }
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
    /// What else the worker keeps: agents of sFlow, plans that exporters share.
    beside: usize,
    share: Share,
    glimpses: Glimpses,
    evicted: u64,
    /// Of these, for the memory of all.
    evicted_for_memory: u64,
    /// Sets that waited at exporters that went, since they were last asked for.
    sets_gone: u64,
    /// Exporters that went and have sent over connections, likewise.
    disconnected: Vec<IpAddr>,
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
            beside: 0,
            share: Share::default(),
            glimpses: Glimpses::default(),
            evicted: 0,
            evicted_for_memory: 0,
            sets_gone: 0,
            disconnected: Vec::new(),
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
                metadata: new.metadata(),
                sequences: Sequences::default(),
                front: Arc::new(new.front(address, None)),
                front_version: new.version(),
                address: text,
                member: Membership::default(),
                sampling: new.sampling(address),
                error_shown: None,
                alerts: Alerts::default(),
                origin: 0,
                is_late: false,
                activity: Activity::default(),
                counted: ExporterFlows::default(),
                bucket: Bucket::default(),
                records: Bucket::default(),
                recompiled: None,
                first_seen: now,
                last_seen: now,
                weight: 0,
                compiled: 0,
                saved: None,
                to_be_saved: false,
                proven: false,
                referenced: true,
                credit: 0,
                credited: Some(now),
            })
        });
        exporter.seen(now);
        if exporter.front_version != new.version() {
            exporter.renew(address, new);
        }
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
        let has_room = self.proven.len() < self.max_proven && self.weight <= self.share.most() / 2;
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
            self.displace();
        }
        self.proven.push_back(address);
        true
    }

    /// Evicts the first proven exporter under the clock's hand that was neither seen since the hand last passed nor has
    /// credit, or of a number of them the one with the least.
    fn displace(&mut self) {
        let candidates = CANDIDATES.min(self.proven.len());
        let mut least: Option<(u8, usize)> = None;
        for looked_at in 0..candidates {
            let Some(candidate) = self.proven.pop_front() else {
                return;
            };
            let Some(exporter) = self.by_address.get_mut(&candidate) else {
                return;
            };
            if !exporter.referenced && exporter.credit == 0 {
                return self.evict(candidate);
            }
            let standing = exporter.standing();
            if least.is_none_or(|(fewest, _)| standing < fewest) {
                least = Some((standing, looked_at));
            }
            if !std::mem::take(&mut exporter.referenced) {
                exporter.credit -= 1;
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

    fn evict(&mut self, address: IpAddr) {
        if let Some(gone) = self.by_address.remove(&address) {
            self.sets_gone += gone.decoder.waiting().0 as u64;
            self.weight -= gone.weight;
            if gone.activity.has_connected() {
                self.disconnected.push(address);
            }
        }
        self.evicted += 1;
    }

    /// Forgets what was not seen for `idle`.
    pub(crate) fn expire(&mut self, now: Instant, idle: Duration) {
        self.retain(|exporter| now.saturating_duration_since(exporter.last_seen) <= idle);
    }

    /// Forgets all but those that are to stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Exporter) -> bool) {
        let (sets_gone, weight) = (&mut self.sets_gone, &mut self.weight);
        let disconnected = &mut self.disconnected;
        self.by_address.retain(|address, exporter| {
            let keep = stays(exporter);
            if !keep {
                *sets_gone += exporter.decoder.waiting().0 as u64;
                *weight -= exporter.weight;
                if exporter.activity.has_connected() {
                    disconnected.push(*address);
                }
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

    /// Exporters that went since this was last called, and have sent over connections.
    pub(crate) fn take_disconnected(&mut self) -> Vec<IpAddr> {
        std::mem::take(&mut self.disconnected)
    }

    /// Sets that waited at exporters that went since this was last called.
    pub(crate) fn take_sets_gone(&mut self) -> u64 {
        std::mem::take(&mut self.sets_gone)
    }
}

#[cfg(test)]
mod tests;
