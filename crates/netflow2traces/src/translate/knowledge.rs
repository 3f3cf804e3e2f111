//! What an exporter's options data say: names, sampling, when it started.
//!
//! Held by exporter and Observation Domain, bounded in entries and octets; when full, what is new is not
//! taken, and counted.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::elements::ElementTypes;

/// Names of one kind in one domain.
const MAX_NAMES: usize = 16 * 1024;
/// Octets of one name.
const MAX_NAME: usize = 256;

/// Observation Domains of one exporter that are told apart.
const MAX_DOMAINS: usize = 1024;

/// Sampling as an options record tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sampler {
    /// One packet in so many.
    pub(crate) interval: u64,
}

/// What is known of one Observation Domain.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    interfaces: HashMap<u64, Box<str>, RandomState>,
    vrfs: HashMap<u64, Box<str>, RandomState>,
    applications: HashMap<u64, Box<str>, RandomState>,
    samplers: HashMap<u64, Sampler, RandomState>,
    interface_samplers: HashMap<u64, Sampler, RandomState>,
    sampler: Option<Sampler>,
    /// Milliseconds since 1970 (element 160).
    init_time: Option<u64>,
    /// Entries not taken because a table was full.
    refused: u64,
}

fn put<V>(table: &mut HashMap<u64, V, RandomState>, key: u64, value: V, refused: &mut u64) {
    if table.len() < MAX_NAMES || table.contains_key(&key) {
        table.insert(key, value);
    } else {
        *refused += 1;
    }
}

/// An application id of up to 8 octets as one number; its length counts, for `03` and `0003` differ.
fn application_key(id: &[u8]) -> Option<u64> {
    if id.is_empty() || id.len() > 7 {
        return None;
    }
    Some(
        id.iter()
            .fold(id.len() as u64, |key, octet| key << 8 | u64::from(*octet)),
    )
}

impl Knowledge {
    pub(crate) fn interface(&self, index: u64) -> Option<&str> {
        self.interfaces.get(&index).map(AsRef::as_ref)
    }

    pub(crate) fn vrf(&self, id: u64) -> Option<&str> {
        self.vrfs.get(&id).map(AsRef::as_ref)
    }

    pub(crate) fn application(&self, id: &[u8]) -> Option<&str> {
        self.applications
            .get(&application_key(id)?)
            .map(AsRef::as_ref)
    }

    pub(crate) fn init_time(&self) -> Option<u64> {
        self.init_time
    }

    /// Sampling of a sampler, of an interface, of all.
    pub(crate) fn sampler(&self, id: Option<u64>, interface: Option<u64>) -> Option<Sampler> {
        id.and_then(|id| self.samplers.get(&id))
            .or_else(|| interface.and_then(|index| self.interface_samplers.get(&index)))
            .copied()
            .or(self.sampler)
    }

    pub(crate) fn name_interface(&mut self, index: u64, name: &[u8]) {
        if let Some(name) = text(name) {
            put(&mut self.interfaces, index, name, &mut self.refused);
        }
    }

    pub(crate) fn name_vrf(&mut self, id: u64, name: &[u8]) {
        if let Some(name) = text(name) {
            put(&mut self.vrfs, id, name, &mut self.refused);
        }
    }

    pub(crate) fn name_application(&mut self, id: &[u8], name: &[u8]) {
        if let (Some(key), Some(name)) = (application_key(id), text(name)) {
            put(&mut self.applications, key, name, &mut self.refused);
        }
    }

    /// Takes in how a sampler, an interface or the whole domain samples.
    pub(crate) fn sample(&mut self, id: Option<u64>, interface: Option<u64>, sampler: Sampler) {
        match (id, interface) {
            (Some(id), _) => put(&mut self.samplers, id, sampler, &mut self.refused),
            (None, Some(index)) => {
                put(
                    &mut self.interface_samplers,
                    index,
                    sampler,
                    &mut self.refused,
                );
            }
            (None, None) => self.sampler = Some(sampler),
        }
    }

    pub(crate) fn started(&mut self, init_time: u64) {
        self.init_time = Some(init_time);
    }
}

/// What is known of one exporter: by domain, and of all domains together for those that were told nothing.
#[derive(Debug, Default)]
pub(crate) struct ExporterKnowledge {
    domains: HashMap<u32, Knowledge, RandomState>,
    any: Knowledge,
    /// RFC 5610.
    pub(crate) types: ElementTypes,
    /// Types were learnt since the templates were compiled.
    pub(crate) types_changed: bool,
}

/// What holds in one domain.
#[derive(Clone, Copy)]
pub(crate) struct DomainKnowledge<'a> {
    domain: Option<&'a Knowledge>,
    any: &'a Knowledge,
}

impl ExporterKnowledge {
    /// What holds in `domain`.
    pub(crate) fn of(&self, domain: u32) -> DomainKnowledge<'_> {
        DomainKnowledge {
            domain: self.domains.get(&domain),
            any: &self.any,
        }
    }

    /// Lets `learn` write down what was told in `domain`.
    pub(crate) fn learn(&mut self, domain: u32, learn: impl Fn(&mut Knowledge)) {
        learn(&mut self.any);
        if self.domains.len() < MAX_DOMAINS || self.domains.contains_key(&domain) {
            learn(self.domains.entry(domain).or_default());
        }
    }
}

impl<'a> DomainKnowledge<'a> {
    /// What the domain was told, else what any domain was.
    #[inline]
    pub(crate) fn find<T>(&self, ask: impl Fn(&'a Knowledge) -> Option<T>) -> Option<T> {
        self.domain.and_then(&ask).or_else(|| ask(self.any))
    }
}

/// A name without the zeros and blanks that fill it up.
fn text(octets: &[u8]) -> Option<Box<str>> {
    let end = octets
        .iter()
        .position(|octet| *octet == 0)
        .unwrap_or(octets.len());
    let octets = octets.get(..end.min(MAX_NAME))?;
    let text = String::from_utf8_lossy(octets);
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}
