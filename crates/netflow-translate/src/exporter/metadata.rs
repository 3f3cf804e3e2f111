//! What an exporter's options data say: names, sampling, when it started.
//!
//! Held by exporter and Observation Domain, bounded in entries and octets; when full, what is new is not
//! taken, and counted.

use std::hash::Hash;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::exporter::saved::{SavedAgent, SavedDomain};
use crate::plan::elements::ElementTypes;

/// Names of one kind in one domain.
const MAX_NAMES: usize = 16 * 1024;
/// Octets of one name.
const MAX_NAME: usize = 256;

/// Octets of all names of one exporter, with [`ENTRY`] for each: its domains share it.
const MAX_OCTETS: usize = 16 << 20;
/// What a table takes for an entry besides its name.
const ENTRY: usize = 64;
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
pub(crate) struct Metadata {
    interfaces: HashMap<u64, Box<str>, RandomState>,
    vrfs: HashMap<u64, Box<str>, RandomState>,
    applications: HashMap<u128, Box<str>, RandomState>,
    samplers: HashMap<u64, Sampler, RandomState>,
    interface_samplers: HashMap<u64, Sampler, RandomState>,
    sampler: Option<Sampler>,
    /// Milliseconds since 1970 (element 160).
    init_time: Option<u64>,
    room: Room,
}

/// What the tables of one domain take.
#[derive(Debug, Default)]
struct Room {
    octets: usize,
    /// What the exporter has left.
    left: usize,
    /// Entries not taken because a table or the room was full.
    refused: u64,
    /// What was told and not known before.
    changes: u64,
}

/// Octets that a value takes outside its table.
trait Outside {
    fn octets(&self) -> usize;
}

impl Outside for Box<str> {
    fn octets(&self) -> usize {
        self.len()
    }
}

impl Outside for Sampler {
    fn octets(&self) -> usize {
        0
    }
}

fn put<K: Eq + Hash, V: Outside + PartialEq>(
    table: &mut HashMap<K, V, RandomState>,
    key: K,
    value: V,
    room: &mut Room,
) {
    if table.get(&key) == Some(&value) {
        return;
    }
    let needed = ENTRY + value.octets();
    let (may_stand, freed) = match table.get(&key) {
        Some(before) => (true, ENTRY + before.octets()),
        None => (table.len() < MAX_NAMES, 0),
    };
    if !may_stand || needed > room.left + freed {
        room.refused += 1;
        return;
    }
    room.octets = room.octets + needed - freed;
    room.left = room.left + freed - needed;
    room.changes += 1;
    table.insert(key, value);
}

/// An application id of up to 15 octets as one number; its length counts, for `03` and `0003` differ. The longest
/// that RFC 6759 has, of a vendor's own engine, take 8 or a few more.
fn application_key(id: &[u8]) -> Option<u128> {
    if id.is_empty() || id.len() > 15 {
        return None;
    }
    Some(
        id.iter()
            .fold(id.len() as u128, |key, octet| key << 8 | u128::from(*octet)),
    )
}

impl Metadata {
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
            put(&mut self.interfaces, index, name, &mut self.room);
        }
    }

    pub(crate) fn name_vrf(&mut self, id: u64, name: &[u8]) {
        if let Some(name) = text(name) {
            put(&mut self.vrfs, id, name, &mut self.room);
        }
    }

    pub(crate) fn name_application(&mut self, id: &[u8], name: &[u8]) {
        if let (Some(key), Some(name)) = (application_key(id), text(name)) {
            put(&mut self.applications, key, name, &mut self.room);
        }
    }

    /// Takes in how a sampler, an interface or the whole domain samples.
    pub(crate) fn sample(&mut self, id: Option<u64>, interface: Option<u64>, sampler: Sampler) {
        match (id, interface) {
            (Some(id), _) => put(&mut self.samplers, id, sampler, &mut self.room),
            (None, Some(index)) => {
                put(&mut self.interface_samplers, index, sampler, &mut self.room);
            }
            (None, None) => {
                let before = self.sampler.replace(sampler);
                self.room.changes += u64::from(before != self.sampler);
            }
        }
    }

    pub(crate) fn started(&mut self, init_time: u64) {
        let before = self.init_time.replace(init_time);
        self.room.changes += u64::from(before != self.init_time);
    }

    fn save(&self, domain: Option<u32>) -> SavedDomain {
        fn names<K: Copy>(table: &HashMap<K, Box<str>, RandomState>) -> Vec<(K, Box<str>)> {
            let names = table.iter().map(|(key, name)| (*key, name.clone()));
            names.collect()
        }
        let intervals = |table: &HashMap<u64, Sampler, RandomState>| {
            let intervals = table.iter().map(|(key, sampler)| (*key, sampler.interval));
            intervals.collect()
        };
        SavedDomain {
            domain,
            init_time: self.init_time,
            interval: self.sampler.map(|sampler| sampler.interval),
            interfaces: names(&self.interfaces),
            vrfs: names(&self.vrfs),
            applications: names(&self.applications),
            samplers: intervals(&self.samplers),
            interface_samplers: intervals(&self.interface_samplers),
        }
    }

    fn restore(&mut self, saved: &SavedDomain) {
        fn put_names<K: Copy + Eq + Hash>(
            table: &mut HashMap<K, Box<str>, RandomState>,
            names: &[(K, Box<str>)],
            room: &mut Room,
        ) {
            for (key, name) in names.iter().filter(|(_, name)| name.len() <= MAX_NAME) {
                put(table, *key, name.clone(), room);
            }
        }
        let room = &mut self.room;
        put_names(&mut self.interfaces, &saved.interfaces, room);
        put_names(&mut self.vrfs, &saved.vrfs, room);
        put_names(&mut self.applications, &saved.applications, room);
        for (table, intervals) in [
            (&mut self.samplers, &saved.samplers),
            (&mut self.interface_samplers, &saved.interface_samplers),
        ] {
            for (key, interval) in intervals {
                let interval = (*interval).max(1);
                put(table, *key, Sampler { interval }, room);
            }
        }
        self.init_time = saved.init_time;
        self.sampler = saved.interval.map(|interval| Sampler {
            interval: interval.max(1),
        });
    }
}

/// What is known of one exporter: by domain, and of all domains together for those that were told nothing.
#[derive(Debug, Default)]
pub(crate) struct ExporterMetadata {
    domains: HashMap<u32, Metadata, RandomState>,
    any: Metadata,
    /// Who metered, by port and domain: several exporters may share an address and number their domains alike.
    agents: HashMap<(u16, u32), IpAddr, RandomState>,
    agents_refused: u64,
    /// Of all of them.
    octets: usize,
    /// Likewise.
    changes: u64,
    /// RFC 5610.
    pub(crate) types: ElementTypes,
    /// Types were learnt since the templates were compiled.
    pub(crate) types_changed: bool,
}

/// What holds in one domain.
#[derive(Clone, Copy)]
pub(crate) struct DomainMetadata<'a> {
    domain: Option<&'a Metadata>,
    any: &'a Metadata,
}

impl ExporterMetadata {
    /// The interval of all samplers, or of any of them: for people, not for records.
    pub(crate) fn some_sampler(&self) -> Option<u64> {
        let samplers = self.any.samplers.values();
        let any = samplers.chain(self.any.interface_samplers.values()).next();
        let sampler = self.any.sampler.as_ref().or(any)?;
        Some(sampler.interval)
    }

    /// What holds in `domain`.
    pub(crate) fn of(&self, domain: u32) -> DomainMetadata<'_> {
        DomainMetadata {
            domain: self.domains.get(&domain),
            any: &self.any,
        }
    }

    /// Octets of all entries, with what their tables take.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Entries that found no room, since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.any.room.refused + self.agents_refused
    }

    /// Who metered what comes from a port in a domain, if it was told.
    #[inline]
    pub(crate) fn agent(&self, port: u16, domain: u32) -> Option<IpAddr> {
        if self.agents.is_empty() {
            return None;
        }
        self.agents.get(&(port, domain)).copied()
    }

    pub(crate) fn name_agent(&mut self, port: u16, domain: u32, agent: IpAddr) {
        let key = (port, domain);
        if self.agents.len() >= MAX_DOMAINS && !self.agents.contains_key(&key) {
            self.agents_refused += 1;
            return;
        }
        if self.agents.insert(key, agent) != Some(agent) {
            self.changes += 1;
        }
    }

    /// All that were named.
    pub(crate) fn agents(&self) -> impl Iterator<Item = SavedAgent> {
        self.agents
            .iter()
            .map(|(&(port, domain), &agent)| SavedAgent {
                port,
                domain,
                agent,
            })
    }

    /// How often something was told that was not known before.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// All of it but the agents and the element types.
    pub(crate) fn save(&self) -> Vec<SavedDomain> {
        if self.domains.is_empty() {
            return Vec::new();
        }
        let domains = self.domains.iter();
        let domains = domains.map(|(domain, known)| known.save(Some(*domain)));
        std::iter::once(self.any.save(None))
            .chain(domains)
            .collect()
    }

    /// Takes back what [`save`](Self::save) gave, within the bounds that hold for what is told.
    pub(crate) fn restore(&mut self, saved: &[SavedDomain]) {
        for saved in saved {
            let known = match saved.domain {
                None => &mut self.any,
                Some(domain) => {
                    if self.domains.len() >= MAX_DOMAINS && !self.domains.contains_key(&domain) {
                        continue;
                    }
                    self.domains.entry(domain).or_default()
                }
            };
            let before = known.room.octets;
            known.room.left = MAX_OCTETS.saturating_sub(self.octets);
            known.restore(saved);
            self.octets = self.octets - before + known.room.octets;
        }
    }

    /// Lets `learn` write down what was told in `domain`.
    pub(crate) fn learn(&mut self, domain: u32, learn: impl Fn(&mut Metadata)) {
        let mut tell = |known: &mut Metadata| {
            let before = (known.room.octets, known.room.changes);
            known.room.left = MAX_OCTETS.saturating_sub(self.octets);
            learn(known);
            self.octets = self.octets - before.0 + known.room.octets;
            self.changes += known.room.changes - before.1;
        };
        tell(&mut self.any);
        if self.domains.len() < MAX_DOMAINS || self.domains.contains_key(&domain) {
            tell(self.domains.entry(domain).or_default());
        }
    }
}

impl<'a> DomainMetadata<'a> {
    /// What the domain was told, else what any domain was.
    #[inline]
    pub(crate) fn find<T>(&self, ask: impl Fn(&'a Metadata) -> Option<T>) -> Option<T> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(learn: impl Fn(&mut Metadata)) -> ExporterMetadata {
        let mut metadata = ExporterMetadata::default();
        metadata.learn(1, learn);
        metadata
    }

    fn interface(metadata: &ExporterMetadata, domain: u32, index: u64) -> Option<&str> {
        metadata.of(domain).find(|known| known.interface(index))
    }

    #[test]
    fn a_domain_knows_what_it_was_told_and_else_what_any_was() {
        let mut metadata = told(|known| known.name_interface(1, b"one"));
        metadata.learn(2, |known| known.name_interface(1, b"another"));
        assert_eq!(interface(&metadata, 1, 1), Some("one"));
        assert_eq!(interface(&metadata, 2, 1), Some("another"));
        assert_eq!(interface(&metadata, 3, 1), Some("another"));
        assert_eq!(interface(&metadata, 3, 2), None);
    }

    #[test]
    fn names_end_at_the_zeros_that_fill_them_up() {
        for (octets, name) in [
            (&b"Gi0/1\0\0\0"[..], Some("Gi0/1")),
            (b"  Gi0/1  ", Some("Gi0/1")),
            (b"Gi\xff1", Some("Gi\u{fffd}1")),
            (b"\0\0", None),
            (b"   ", None),
            (b"", None),
        ] {
            let metadata = told(|known| known.name_interface(1, octets));
            assert_eq!(interface(&metadata, 1, 1), name);
        }
        let metadata = told(|known| known.name_interface(1, &[b'x'; 5000]));
        assert_eq!(interface(&metadata, 1, 1).map(str::len), Some(MAX_NAME));
    }

    #[test]
    fn a_name_told_again_replaces() {
        let mut metadata = told(|known| known.name_vrf(1, b"red"));
        metadata.learn(1, |known| known.name_vrf(1, b"blue"));
        assert_eq!(metadata.of(1).find(|known| known.vrf(1)), Some("blue"));
    }

    #[test]
    fn applications_are_told_apart_by_the_length_of_their_id() {
        let metadata = told(|known| {
            known.name_application(&[3], b"short");
            known.name_application(&[0, 3], b"long");
        });
        let name = |id: &[u8]| {
            let known = metadata.of(1);
            known.find(|known| known.application(id)).map(str::to_owned)
        };
        assert_eq!(name(&[3]).as_deref(), Some("short"));
        assert_eq!(name(&[0, 3]).as_deref(), Some("long"));
        assert_eq!(name(&[0; 16]), None);
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn a_sampler_is_found_by_id_then_by_interface_then_for_all() {
        let sampler = |interval| Sampler { interval };
        let metadata = told(|known| {
            known.sample(None, None, sampler(10));
            known.sample(Some(1), None, sampler(20));
            known.sample(None, Some(1), sampler(30));
        });
        let find = |id, interface| {
            let found = metadata.of(1).find(|known| known.sampler(id, interface));
            found.map(|sampler| sampler.interval)
        };
        assert_eq!(find(Some(1), Some(1)), Some(20));
        assert_eq!(find(Some(2), Some(1)), Some(30));
        assert_eq!(find(Some(2), Some(2)), Some(10));
        assert_eq!(find(None, None), Some(10));
    }

    #[test]
    fn tables_are_bounded_and_what_is_known_still_changes() {
        let mut metadata = ExporterMetadata::default();
        for index in 0..MAX_NAMES as u64 + 10 {
            metadata.learn(1, |known| known.name_interface(index, b"name"));
        }
        assert_eq!(interface(&metadata, 1, MAX_NAMES as u64), None);
        metadata.learn(1, |known| known.name_interface(0, b"new"));
        assert_eq!(interface(&metadata, 1, 0), Some("new"));
        assert_eq!(metadata.any.room.refused, 10);
    }

    #[test]
    fn all_domains_of_an_exporter_share_one_room() {
        let mut metadata = ExporterMetadata::default();
        for entry in 0..400_000_u64 {
            let domain = (entry % 500) as u32;
            metadata.learn(domain, |known| {
                known.name_interface(entry / 500, &[b'x'; MAX_NAME]);
            });
        }
        let knowledge_of = metadata.domains.values().chain([&metadata.any]);
        let octets: usize = knowledge_of
            .map(|known| {
                let names = known.interfaces.values().map(|name| name.len());
                names.sum::<usize>()
            })
            .sum();
        assert!(octets <= 16 << 20, "{octets} octets of names");
        // What is known still changes, to something no longer.
        metadata.learn(0, |known| known.name_interface(0, b"new"));
        assert_eq!(interface(&metadata, 0, 0), Some("new"));
    }

    #[test]
    fn domains_are_bounded_and_the_others_know_what_any_was_told() {
        let mut metadata = ExporterMetadata::default();
        for domain in 0..MAX_DOMAINS as u32 + 5 {
            metadata.learn(domain, |known| known.name_vrf(u64::from(domain), b"red"));
        }
        assert_eq!(metadata.domains.len(), MAX_DOMAINS);
        let last = MAX_DOMAINS as u32 + 4;
        let name = metadata.of(last).find(|known| known.vrf(u64::from(last)));
        assert_eq!(name, Some("red"));
    }
}
