//! State by exporter address, bounded: a new source is on probation until it has sent something decodable,
//! and sources on probation make room for each other before any proven one goes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use netflow_wire::{Decoder, Version};
use otlp_wire::{ResourceFront, UnixNanos};

use super::batch::Membership;
use super::knowledge::ExporterKnowledge;
use super::plan::SpanPlan;
use super::sequence::Sequence;
use crate::config::AttributeLevel;

/// Sources that have not sent anything decodable yet.
const MAX_ON_PROBATION: usize = 1024;
/// Counts of sequence numbers by exporter: its ports, versions and domains.
const MAX_SEQUENCES: usize = 4096;

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

/// A Transport Session's Observation Domain.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SequenceKey {
    pub(crate) port: u16,
    pub(crate) version: Version,
    pub(crate) domain: u32,
}

#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) decoder: Decoder<SpanPlan, Arrival>,
    pub(crate) knowledge: ExporterKnowledge,
    pub(crate) sequences: HashMap<SequenceKey, Sequence, RandomState>,
    pub(crate) front: Arc<ResourceFront>,
    pub(crate) address: Box<str>,
    pub(crate) member: Membership,
    /// `NETFLOW_SAMPLING_OVERRIDE`.
    pub(crate) sampling: Option<u64>,
    /// When its last malformed datagram was shown as a span.
    pub(crate) error_shown: Option<Instant>,
    /// It was said in the log that it is waited for.
    pub(crate) waiting_said: bool,
    recompiled: Option<Instant>,
    last_seen: Instant,
    /// Something it sent was decodable.
    proven: bool,
    /// Seen since the hand of the clock last passed.
    referenced: bool,
}

impl Exporter {
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Compiles the templates anew if the exporter has described elements since, but not more than once in
    /// [`RECOMPILE_INTERVAL`]: descriptions can be forged too.
    pub(crate) fn recompile(&mut self, level: AttributeLevel, now: Instant) {
        let recently = self
            .recompiled
            .is_some_and(|then| now.saturating_duration_since(then) < RECOMPILE_INTERVAL);
        if !self.knowledge.types_changed || recently {
            return;
        }
        self.knowledge.types_changed = false;
        self.recompiled = Some(now);
        let types = &self.knowledge.types;
        self.decoder
            .recompile(|template| SpanPlan::compile(template, level, types));
    }

    /// The count of a session and domain; `None` when there are too many of them.
    pub(crate) fn sequence(&mut self, key: SequenceKey) -> Option<&mut Sequence> {
        if self.sequences.len() >= MAX_SEQUENCES && !self.sequences.contains_key(&key) {
            return None;
        }
        Some(self.sequences.entry(key).or_default())
    }
}

/// What makes a new exporter's state.
pub(crate) trait NewExporter {
    fn front(&self, address: &str) -> ResourceFront;
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
    evicted: u64,
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
            evicted: 0,
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
                    self.by_address.remove(&oldest);
                    self.evicted += 1;
                }
            }
            self.probation.push_back(address);
        }
        let exporter = self.by_address.entry(address).or_insert_with(|| {
            let text: Box<str> = address.to_string().into();
            Box::new(Exporter {
                decoder: Decoder::default(),
                knowledge: ExporterKnowledge::default(),
                sequences: HashMap::default(),
                front: Arc::new(new.front(&text)),
                address: text,
                member: Membership::default(),
                sampling: new.sampling(address),
                error_shown: None,
                waiting_said: false,
                recompiled: None,
                last_seen: now,
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

    /// The exporter has sent something decodable.
    pub(crate) fn prove(&mut self, address: IpAddr) {
        match self.by_address.get_mut(&address) {
            Some(exporter) if !exporter.proven => exporter.proven = true,
            _ => return,
        }
        self.probation.retain(|other| *other != address);
        while self.proven.len() >= self.max_proven {
            // The hand gives a second chance to whoever was seen since it last passed.
            let Some(candidate) = self.proven.pop_front() else {
                break;
            };
            match self.by_address.get_mut(&candidate) {
                Some(exporter) if exporter.referenced => {
                    exporter.referenced = false;
                    self.proven.push_back(candidate);
                }
                _ => {
                    self.by_address.remove(&candidate);
                    self.evicted += 1;
                }
            }
        }
        self.proven.push_back(address);
    }

    /// Forgets who was not seen for `idle`.
    pub(crate) fn expire(&mut self, now: Instant, idle: Duration) {
        self.by_address
            .retain(|_, exporter| now.saturating_duration_since(exporter.last_seen) <= idle);
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
}
