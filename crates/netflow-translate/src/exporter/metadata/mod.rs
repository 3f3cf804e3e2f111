//! What an exporter's options data say: names, sampling, when it started.
//!
//! Held by exporter and Observation Domain, bounded in entries and octets; when full, what is new is not
//! taken, and counted.

mod samplers;

use std::cell::Cell;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use netflow_wire::Session;

pub(crate) use self::samplers::{Metered, Sampler, Samplers, Scope};
use crate::attributes::application_id::ApplicationId;
use crate::enrich::fields::Fields;
use crate::exporter::saved::{SavedAgent, SavedDomain};
use crate::plan::elements::ElementTypes;

/// Names of one kind in one domain.
const MAX_NAMES: usize = 16 * 1024;
/// Octets of one name.
const MAX_NAME: usize = 256;

/// Octets of all names of one exporter, with [`ENTRY`] for each: its domains share it.
const MAX_OCTETS: usize = 16 << 20;
/// What a table takes for an entry besides its name.
const ENTRY: usize = 88;
/// Observation Domains of one exporter that are kept separately.
const MAX_DOMAINS: usize = 1024;

/// What is known of one Observation Domain.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    interfaces: HashMap<u64, Box<str>, RandomState>,
    vrfs: HashMap<u64, Box<str>, RandomState>,
    applications: HashMap<u128, Box<str>, RandomState>,
    samplers: Samplers,
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
    /// What was reported and not known before.
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
) -> Option<Put<V>> {
    if table.get(&key) == Some(&value) {
        return None;
    }
    let needed = ENTRY + value.octets();
    let (may_stand, freed) = match table.get(&key) {
        Some(before) => (true, ENTRY + before.octets()),
        None => (table.len() < MAX_NAMES, 0),
    };
    if !may_stand || needed > room.left + freed {
        room.refused += 1;
        return None;
    }
    room.octets = room.octets + needed - freed;
    room.left = room.left + freed - needed;
    room.changes += 1;
    Some(Put {
        before: table.insert(key, value),
    })
}

/// A table has changed.
struct Put<V> {
    /// What stood there before.
    before: Option<V>,
}

/// An application id as one number: engine, enterprise number, selector.
fn application_key(id: &[u8]) -> Option<u128> {
    let id = ApplicationId::read(id)?;
    let enterprise = u128::from(id.enterprise.unwrap_or(0));
    Some(u128::from(id.engine) << 96 | enterprise << 64 | u128::from(id.selector))
}

impl Metadata {
    pub(crate) fn interface(&self, index: u64) -> Option<&str> {
        self.interfaces.get(&index).map(AsRef::as_ref)
    }

    /// Some interface has a name.
    pub(crate) fn names_interfaces(&self) -> bool {
        !self.interfaces.is_empty()
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

    /// Takes in how what `scope` names samples.
    pub(crate) fn sample(&mut self, scope: Scope, sampler: Sampler) {
        self.samplers.learn(scope, sampler, &mut self.room);
    }

    /// The exporter started at `init_time`; 0 says nothing.
    pub(crate) fn started(&mut self, init_time: u64) {
        if init_time == 0 {
            return;
        }
        let before = self.init_time.replace(init_time);
        self.room.changes += u64::from(before != self.init_time);
    }

    fn save(&self, domain: Option<u32>) -> SavedDomain {
        fn names<K: Copy>(table: &HashMap<K, Box<str>, RandomState>) -> Vec<(K, Box<str>)> {
            let names = table.iter().map(|(key, name)| (*key, name.clone()));
            names.collect()
        }
        SavedDomain {
            domain,
            init_time: self.init_time,
            interfaces: names(&self.interfaces),
            vrfs: names(&self.vrfs),
            applications: names(&self.applications),
            samplers: self.samplers.save(),
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
        self.samplers.restore(&saved.samplers, room);
        self.init_time = saved.init_time.filter(|init_time| *init_time > 0);
    }
}

/// What is known of one exporter: by domain, and of all domains together for domains without data of their own.
#[derive(Debug, Default)]
pub(crate) struct ExporterMetadata {
    domains: HashMap<u32, Metadata, RandomState>,
    any: Metadata,
    /// Who metered, by session and domain: several exporters may share an address and number their domains alike.
    agents: HashMap<(Session, u32), IpAddr, RandomState>,
    agents_refused: u64,
    /// Of all of them.
    octets: usize,
    /// Likewise.
    changes: u64,
    /// ICMP's code stands before its type in destination ports, by what the exporter sent last.
    pub(crate) icmp_swapped: Cell<bool>,
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
    /// Nothing is known but what the operator has defined.
    pub(crate) fn new(fields: Option<Arc<Fields>>) -> Self {
        Self {
            types: ElementTypes::new(fields),
            ..Self::default()
        }
    }

    /// The interval of all samplers, or of any of them: for people, not for records.
    pub(crate) fn some_sampler(&self) -> Option<u64> {
        Some(self.any.samplers.any()?.interval)
    }

    /// What holds in `domain`.
    pub(crate) fn of(&self, domain: u32) -> DomainMetadata<'_> {
        DomainMetadata {
            domain: self.domains.get(&domain),
            any: &self.any,
        }
    }

    /// Octets of everything in it but the element types.
    pub(crate) fn weigh(&self) -> usize {
        // A table has room for up to 16 entries for each 7 in it.
        let domain = size_of::<(u32, Metadata)>() * 16 / 7;
        self.octets + self.domains.len() * domain + self.agents.len() * ENTRY
    }

    /// Entries that found no room, since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.any.room.refused + self.agents_refused
    }

    /// Who metered what comes in a session and domain, if it was reported.
    #[inline]
    pub(crate) fn agent(&self, session: Session, domain: u32) -> Option<IpAddr> {
        if self.agents.is_empty() {
            return None;
        }
        self.agents.get(&(session, domain)).copied()
    }

    pub(crate) fn name_agent(&mut self, session: Session, domain: u32, agent: IpAddr) {
        let key = (session, domain);
        if self.agents.len() >= MAX_DOMAINS && !self.agents.contains_key(&key) {
            self.agents_refused += 1;
            return;
        }
        if self.agents.insert(key, agent) != Some(agent) {
            self.changes += 1;
        }
    }

    /// Forgets those of a session that has ended.
    pub(crate) fn end_session(&mut self, session: Session) {
        self.agents.retain(|(of, _), _| *of != session);
    }

    /// All that were named.
    pub(crate) fn agents(&self) -> impl Iterator<Item = SavedAgent> {
        self.agents
            .iter()
            .map(|(&(session, domain), &agent)| SavedAgent {
                session,
                domain,
                agent,
            })
    }

    /// How often something new was reported.
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

    /// Takes back what [`save`](Self::save) gave, within the bounds for options data.
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

    /// An interface's name as reported for any domain.
    pub(crate) fn interface_name(&self, index: u32) -> Option<&str> {
        self.any.interface(u64::from(index))
    }

    /// Lets `learn` record what was reported in `domain`.
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
    /// Something was said of sampling, in this domain or in another one.
    pub(crate) fn knows_sampling(&self) -> bool {
        self.any.samplers.is_known()
    }

    /// The sampler that holds for a record; see [`Samplers::find`]. Ids are scoped by domain: another domain's
    /// table counts only where the own one has none, as with line cards for which the chassis reports options.
    #[inline]
    pub(crate) fn sampler(&self, record: &Metered) -> Option<Sampler> {
        let own = self.domain.filter(|domain| domain.samplers.is_known());
        own.unwrap_or(self.any).samplers.find(record)
    }

    /// What was reported for the domain, otherwise for any domain.
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
mod tests;
