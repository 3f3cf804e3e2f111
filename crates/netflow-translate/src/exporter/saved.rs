//! What is kept of exporters over a restart: templates and options data, as plain values. A worker gives those of
//! exporters that changed, and takes back what it gave.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netflow_wire::ie::AbstractDataType;
use netflow_wire::{Limits, Session, Template, TemplateKey, Uptime, Version};
use otlp_wire::UnixNanos;

use crate::exporter::Exporter;
use crate::translator::Translator;

/// Octets that one call of [`Translator::take_changes`] gives, about; the worker receives nothing meanwhile.
const SHARE: usize = 1 << 20;
/// Templates that were re-sent are saved when this part of their lifetime has passed.
const REFRESHES: u32 = 8;

/// All that is kept of one exporter.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedExporter {
    pub address: IpAddr,
    /// When it last sent something.
    pub seen: UnixNanos,
    pub templates: Vec<SavedTemplate>,
    /// What options data reported.
    pub domains: Vec<SavedDomain>,
    /// The metering devices, as reported in options data.
    pub agents: Vec<SavedAgent>,
    /// Elements that it has described (RFC 5610).
    pub types: Vec<SavedType>,
}

/// A template and where it holds good.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTemplate {
    pub session: Session,
    pub domain: u32,
    /// When it was last sent.
    pub refreshed: UnixNanos,
    /// How long the exporter had been up then, of NetFlow v9.
    pub uptime: Option<Uptime>,
    pub template: Template,
}

/// What is known of an Observation Domain, or of all together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedDomain {
    /// `None`: of all together.
    pub domain: Option<u32>,
    /// Milliseconds since 1970.
    pub init_time: Option<u64>,
    pub interfaces: Vec<(u64, Box<str>)>,
    pub vrfs: Vec<(u64, Box<str>)>,
    /// By their identifier's octets and number of octets, as one number.
    pub applications: Vec<(u128, Box<str>)>,
    pub samplers: Vec<SavedSampler>,
}

/// How something samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedSampler {
    pub of: SamplerOf,
    /// One packet in so many.
    pub interval: u64,
}

/// What options data said that a sampling interval holds for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SamplerOf {
    /// Everything without an entry of its own.
    All,
    /// A sampler.
    Id(u64),
    /// An interface.
    Interface(u64),
    /// A sampler at an interface.
    IdAndInterface { id: u64, interface: u64 },
    /// One direction at an interface; 0: at all of them.
    Direction { interface: u64, egress: bool },
    /// Records of a template.
    Template(u64),
    /// A part of the device that records don't name.
    Part(u64),
}

/// Who metered what comes in a session and Observation Domain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SavedAgent {
    pub session: Session,
    pub domain: u32,
    pub agent: IpAddr,
}

/// An element's description.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedType {
    pub enterprise: u32,
    pub element: u16,
    pub name: Box<str>,
    pub data_type: Option<AbstractDataType>,
}

/// A share of what changed.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub exporters: Vec<SavedExporter>,
    /// There are others.
    pub more: bool,
}

/// Exporters that changed since they were last saved, each once.
#[derive(Debug)]
pub(crate) struct Changes {
    row: VecDeque<IpAddr>,
    /// How old a refresh may become before it is saved.
    refresh: Duration,
}

impl Changes {
    fn new(lifetime: Duration) -> Self {
        Self {
            row: VecDeque::new(),
            refresh: lifetime / REFRESHES,
        }
    }

    /// Puts an exporter into the row if it has reported something new, or has refreshed a template long after it was
    /// last saved; whether it did.
    pub(crate) fn note(
        &mut self,
        address: IpAddr,
        exporter: &mut Exporter,
        is_news: bool,
        refreshed: bool,
        now: Instant,
    ) -> bool {
        let is_old = || {
            let saved = exporter.saved;
            saved.is_none_or(|saved| now.saturating_duration_since(saved) >= self.refresh)
        };
        if exporter.to_be_saved || !(is_news || refreshed && is_old()) {
            return false;
        }
        exporter.to_be_saved = true;
        self.row.push_back(address);
        true
    }
}

impl SavedExporter {
    /// About how many octets it takes.
    fn octets(&self) -> usize {
        let templates = self.templates.iter();
        let fields = templates.map(|saved| 64 + 8 * saved.template.fields.len());
        let names = self.domains.iter().map(|domain| {
            let names = [&domain.interfaces, &domain.vrfs].into_iter().flatten();
            let names = names.map(|(_, name)| 24 + name.len());
            let applications = domain.applications.iter();
            let names = names.chain(applications.map(|(_, name)| 32 + name.len()));
            64 + names.sum::<usize>() + 25 * domain.samplers.len()
        });
        256 + fields.sum::<usize>()
            + names.sum::<usize>()
            + 64 * self.types.len()
            + 24 * self.agents.len()
    }
}

impl Translator {
    /// From here on it is remembered which exporters changed, for [`take_changes`](Self::take_changes).
    pub fn keep_changes(&mut self) {
        self.changes
            .get_or_insert_with(|| Changes::new(self.limits.template_lifetime));
    }

    /// A share of the exporters that changed since they were last taken.
    pub fn take_changes(&mut self, now: Instant) -> Saved {
        let mut share = Saved::default();
        let Some(changes) = &mut self.changes else {
            return share;
        };
        let wall = self.writing.clock.now();
        let mut octets = 0;
        while octets < SHARE {
            let Some(address) = changes.row.pop_front() else {
                return share;
            };
            // It may have been evicted meanwhile; then what was saved before stays.
            if let Some(exporter) = self.exporters.find(address) {
                exporter.to_be_saved = false;
                exporter.saved = Some(now);
                let saved = save(address, exporter, now, wall, self.is_behind_relay);
                octets += saved.octets();
                share.exporters.push(saved);
            }
        }
        share.more = !changes.row.is_empty();
        share
    }

    /// Takes an exporter back, without what is older than its lifetime or larger than its bound; how many
    /// templates it has. It must not have sent anything yet.
    pub fn restore(&mut self, saved: SavedExporter, now: Instant) -> usize {
        let wall = self.writing.clock.now();
        let lifetime = self.limits.template_lifetime;
        let age = |then: UnixNanos| Duration::from_nanos(wall.0.saturating_sub(then.0));
        // Where the clock doesn't reach back so far, it lives a little longer.
        let instant = |then| now.checked_sub(age(then)).unwrap_or(now);
        let is_behind_relay = self.is_behind_relay;
        let outlives = |session| outlives_a_restart(session, is_behind_relay);
        let told = saved.domains.len() + saved.agents.len() + saved.types.len();
        let is_known = saved.templates.len() + told > 0;
        if !is_known || age(saved.seen) > lifetime || !self.allowed.allows(saved.address) {
            return 0;
        }
        let exporter = self.exporters.entry(saved.address, now, &self.writing);
        exporter.origin = self.origin;
        exporter.restored(instant(saved.seen));
        exporter.saved = Some(instant(saved.seen));
        exporter.metadata.restore(&saved.domains);
        for SavedAgent {
            session,
            domain,
            agent,
        } in saved.agents
        {
            if outlives(session) {
                exporter.metadata.name_agent(session, domain, agent);
            }
        }
        for told in &saved.types {
            let types = &mut exporter.metadata.types;
            types.learn(
                told.enterprise,
                told.element,
                told.name.as_bytes(),
                told.data_type,
            );
        }
        for saved in saved.templates {
            if !outlives(saved.session)
                || age(saved.refreshed) > lifetime
                || !is_usable(&saved.template, &self.limits)
            {
                continue;
            }
            let key = TemplateKey {
                session: saved.session,
                version: saved.template.version,
                domain: saved.domain,
                id: saved.template.id,
            };
            let refreshed = instant(saved.refreshed);
            // Behind a relay older messages may follow: that is no restart.
            let uptime = saved.uptime.filter(|_| !is_behind_relay);
            exporter.restored_uptime(&key, uptime);
            exporter
                .decoder
                .restore(key, saved.template, uptime, refreshed, &self.limits);
        }
        let templates = exporter.decoder.templates().len();
        self.prove(saved.address, now);
        self.settle(saved.address);
        templates
    }
}

/// A connection doesn't, and what was sent in it is sent anew in the next; unless a relay holds the connection.
fn outlives_a_restart(session: Session, is_behind_relay: bool) -> bool {
    is_behind_relay || !session.transport.has_connections()
}

/// What a message could have brought, too.
fn is_usable(template: &Template, limits: &Limits) -> bool {
    let empty = template.fields.iter().filter(|field| field.length == 0);
    matches!(template.version, Version::V9 | Version::Ipfix)
        && template.id >= 256
        && (1..=limits.max_fields).contains(&template.fields.len())
        && empty.count() <= limits.max_empty_fields
        && template
            .scope_fields
            .is_none_or(|scope| scope <= template.fields.len())
}

fn save(
    address: IpAddr,
    exporter: &Exporter,
    now: Instant,
    wall: UnixNanos,
    is_behind_relay: bool,
) -> SavedExporter {
    let outlives = |session| outlives_a_restart(session, is_behind_relay);
    let at = |then: Instant| {
        let age = now.saturating_duration_since(then).as_nanos();
        UnixNanos(
            wall.0
                .saturating_sub(u64::try_from(age).unwrap_or(u64::MAX)),
        )
    };
    let templates = exporter.decoder.templates().iter();
    let types = exporter.metadata.types.iter();
    let agents = exporter.metadata.agents();
    let agents = agents.filter(|named| outlives(named.session));
    SavedExporter {
        address,
        seen: at(exporter.last_seen()),
        templates: templates
            .filter(|(key, learnt)| outlives(key.session) && learnt.is_trusted())
            .map(|(key, learnt)| SavedTemplate {
                session: key.session,
                domain: key.domain,
                refreshed: at(learnt.refreshed),
                uptime: learnt.uptime(),
                template: learnt.template.clone(),
            })
            .collect(),
        domains: exporter.metadata.save(),
        agents: agents.collect(),
        types: types
            .map(|(enterprise, element, name, data_type)| SavedType {
                enterprise,
                element,
                name: name.into(),
                data_type,
            })
            .collect(),
    }
}
