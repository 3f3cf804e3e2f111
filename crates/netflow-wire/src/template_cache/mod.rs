//! The Templates of one exporter: learnt, compiled at their first data, replaced, expired, bounded.
//!
//! A Template belongs to a Transport Session and an Observation Domain (RFC 7011, section 8). Over UDP routers change
//! ports and spread line cards over several, so a look-up that misses asks the exporter's other ports, and believes
//! them only if all that know the ID agree, and if the exporter has not restarted since (it often has another port
//! then). Templates of a connection hold for it alone, until it ends.

mod uptime;

use std::cell::{Cell, OnceCell};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Instant;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

pub use self::uptime::Uptime;
use crate::limits::Limits;
use crate::message::Version;
use crate::session::Session;
use crate::template::Template;

/// Where a Template holds good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TemplateKey {
    /// In which it was sent.
    pub session: Session,
    /// v9 and IPFIX number their Templates apart.
    pub version: Version,
    /// Observation Domain ID, v9's Source ID.
    pub domain: u32,
    /// Template ID.
    pub id: u16,
}

impl Hash for TemplateKey {
    /// In two writes: every Set is looked up by it.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Session { transport, port } = self.session;
        let place = u64::from(self.domain) << 32 | u64::from(port) << 16 | u64::from(self.id);
        state.write_u64(place);
        state.write_u16((self.version as u16) << 8 | transport as u16);
    }
}

/// In a withdrawal they stand for all Templates, and for all Options Templates.
const TEMPLATE_SET: u16 = 2;
const OPTIONS_TEMPLATE_SET: u16 = 3;

/// Ports of an ID that one look-up asks.
const MAX_PORTS_ASKED: usize = 16;

/// The same over UDP without the port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct AnyPort(Version, u32, u16);

impl TemplateKey {
    fn any_port(self) -> AnyPort {
        AnyPort(self.version, self.domain, self.id)
    }

    /// The same over UDP from `port`.
    fn at(self, port: u16) -> Self {
        let session = Session::udp(port);
        Self { session, ..self }
    }
}

/// A Template and what the caller compiled of it.
#[derive(Debug)]
pub struct Learnt<P> {
    /// The definition.
    pub template: Template,
    /// Compiled once for it, when its first data comes: a datagram may hold thousands of Templates.
    plan: OnceCell<P>,
    /// When it was last sent.
    pub refreshed: Instant,
    /// What its message said, of NetFlow v9.
    uptime: Option<Uptime>,
    /// In a cell, so that a look-up needs no exclusive borrow: lists look other Templates up meanwhile.
    used: Cell<Instant>,
    /// Not learnt before a restart of the exporter.
    trusted: bool,
    /// A keyed hash of the definition: it shows whether ports agree without reading their Templates.
    fingerprint: u64,
}

impl<P> Learnt<P> {
    /// What the caller compiled of the definition, if it has.
    #[must_use]
    pub fn compiled(&self) -> Option<&P> {
        self.plan.get()
    }

    /// What the message that last sent it said of the exporter's uptime, of NetFlow v9.
    #[must_use]
    pub fn uptime(&self) -> Option<Uptime> {
        self.uptime
    }

    /// It was sent since the exporter last restarted.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// What the caller compiles of the definition; `compile` is called the first time.
    #[inline]
    pub fn plan(&self, compile: impl FnOnce(&Template) -> P) -> &P {
        self.plan.get_or_init(|| compile(&self.template))
    }
}

/// What a definition did to the cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Learning {
    /// Not known before.
    New,
    /// Known, and the same.
    Refreshed,
    /// Known, and different: data from here on follows the new one.
    Replaced,
}

/// The UDP ports under which an ID is known, nearly always one.
#[derive(Debug, Default)]
struct Sessions {
    ports: Vec<u16>,
    /// How many ports have each definition; empty while there is one port.
    definitions: HashMap<u64, u32, RandomState>,
}

impl Sessions {
    fn agree(&self) -> bool {
        self.definitions.len() <= 1
    }

    fn count(&mut self, fingerprint: u64) {
        *self.definitions.entry(fingerprint).or_default() += 1;
    }

    fn discount(&mut self, fingerprint: u64) {
        if let Some(ports) = self.definitions.get_mut(&fingerprint) {
            *ports -= 1;
            if *ports == 0 {
                self.definitions.remove(&fingerprint);
            }
        }
    }
}

/// All Templates of one exporter.
#[derive(Debug)]
pub struct TemplateCache<P> {
    /// Boxed: a table has up to four times the room of what is in it.
    learnt: HashMap<TemplateKey, Box<Learnt<P>>, RandomState>,
    sessions: HashMap<AnyPort, Sessions, RandomState>,
    fingerprints: RandomState,
    fields: usize,
    evicted: u64,
}

impl<P> Default for TemplateCache<P> {
    fn default() -> Self {
        Self {
            learnt: HashMap::default(),
            sessions: HashMap::default(),
            fingerprints: RandomState::default(),
            fields: 0,
            evicted: 0,
        }
    }
}

impl<P> TemplateCache<P> {
    /// Takes a definition in, with what its message said of the exporter's uptime.
    pub fn learn(
        &mut self,
        key: TemplateKey,
        template: Template,
        uptime: Option<Uptime>,
        now: Instant,
        limits: &Limits,
    ) -> Learning {
        if let Some(known) = self.learnt.get_mut(&key) {
            let expired = is_expired(key, known, now, limits);
            known.refreshed = now;
            known.uptime = uptime;
            known.trusted = true;
            if known.template == template {
                return if expired {
                    Learning::New
                } else {
                    Learning::Refreshed
                };
            }
            self.fields = self.fields - known.template.fields.len() + template.fields.len();
            let before = known.fingerprint;
            known.fingerprint = fingerprint(&self.fingerprints, &template);
            known.plan = OnceCell::new();
            known.template = template;
            if let Some(sessions) = self.sessions.get_mut(&key.any_port())
                && sessions.ports.len() > 1
            {
                sessions.discount(before);
                sessions.count(known.fingerprint);
            }
            self.make_room(key, limits);
            return if expired {
                Learning::New
            } else {
                Learning::Replaced
            };
        }
        let fingerprint = fingerprint(&self.fingerprints, &template);
        self.fields += template.fields.len();
        if !key.session.transport.has_connections() {
            let sessions = self.sessions.entry(key.any_port()).or_default();
            if let [port] = *sessions.ports.as_slice()
                && let Some(known) = self.learnt.get(&key.at(port))
            {
                sessions.count(known.fingerprint);
            }
            if !sessions.ports.is_empty() {
                sessions.count(fingerprint);
            }
            sessions.ports.push(key.session.port);
        }
        self.learnt.insert(
            key,
            Box::new(Learnt {
                template,
                plan: OnceCell::new(),
                refreshed: now,
                uptime,
                used: Cell::new(now),
                trusted: true,
                fingerprint,
            }),
        );
        self.make_room(key, limits);
        Learning::New
    }

    /// The Template that data under `key` follows, which came with `uptime`.
    pub fn find(
        &self,
        key: TemplateKey,
        uptime: Option<Uptime>,
        now: Instant,
        limits: &Limits,
    ) -> Option<&Learnt<P>> {
        let found = match self.learnt.get(&key) {
            Some(known) if !is_expired(key, known, now, limits) => {
                if !known.trusted {
                    return None;
                }
                known
            }
            _ => self
                .learnt
                .get(&self.under_another_port(key, uptime, now, limits)?)?,
        };
        found.used.set(now);
        Some(found)
    }

    /// The key under another port, if every port that knows the ID means the same by it. What is too old
    /// counts until [`expire`](Self::expire) forgets it: data then waits a little longer, but a look-up
    /// costs the same however many ports there are.
    fn under_another_port(
        &self,
        key: TemplateKey,
        uptime: Option<Uptime>,
        now: Instant,
        limits: &Limits,
    ) -> Option<TemplateKey> {
        let sessions = self.sessions.get(&key.any_port())?;
        if key.session.transport.has_connections() || !sessions.agree() {
            return None;
        }
        // The newest: where all of these are too old, the others nearly always are.
        let keys = sessions.ports.iter().rev().take(MAX_PORTS_ASKED);
        keys.map(|port| key.at(*port)).find(|key| {
            self.learnt.get(key).is_some_and(|known| {
                let uptimes = uptime.zip(known.uptime);
                known.trusted
                    && !is_expired(*key, known, now, limits)
                    && !uptimes.is_some_and(|(now, then)| now.is_after_restart(then))
            })
        })
    }

    /// Whether the Templates of a session are used: not those from before a restart. A Template that is re-sent is.
    pub(crate) fn set_trusted(
        &mut self,
        session: Session,
        version: Version,
        domain: u32,
        trusted: bool,
    ) {
        for (key, known) in &mut self.learnt {
            if (key.session, key.version, key.domain) == (session, version, domain) {
                known.trusted = trusted;
            }
        }
    }

    pub(crate) fn forget_plans(&mut self) {
        for known in self.learnt.values_mut() {
            known.plan = OnceCell::new();
        }
    }

    /// Forgets what has not been re-sent in time; returns how many.
    pub fn expire(&mut self, now: Instant, limits: &Limits) -> usize {
        self.forget_if(|key, known| is_expired(*key, known, now, limits))
    }

    /// Forgets the Templates of a session that has ended; returns how many.
    pub(crate) fn end_session(&mut self, session: Session) -> usize {
        self.forget_if(|key, _| key.session == session)
    }

    /// Forgets a Template that its exporter withdraws, or all that are Options Templates or all that are not (RFC 7011,
    /// section 8.1); returns how many.
    pub(crate) fn withdraw(&mut self, key: TemplateKey) -> usize {
        let scoped = match key.id {
            TEMPLATE_SET => false,
            OPTIONS_TEMPLATE_SET => true,
            _ => return usize::from(self.forget(key)),
        };
        self.forget_if(|known, learnt| {
            let same_place = TemplateKey {
                id: key.id,
                ..*known
            };
            same_place == key && learnt.template.scope_fields.is_some() == scoped
        })
    }

    fn forget_if(&mut self, mut gone: impl FnMut(&TemplateKey, &Learnt<P>) -> bool) -> usize {
        let known = self.learnt.iter();
        let gone: Vec<_> = known
            .filter(|(key, known)| gone(key, known))
            .map(|(key, _)| *key)
            .collect();
        for key in &gone {
            self.forget(*key);
        }
        gone.len()
    }

    /// Templates held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.learnt.len()
    }

    /// Their fields together.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// No Template is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.learnt.is_empty()
    }

    /// Templates that had to make room, since the start.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&TemplateKey, &Learnt<P>)> {
        self.learnt.iter().map(|(key, known)| (key, &**known))
    }

    fn make_room(&mut self, keep: TemplateKey, limits: &Limits) {
        while self.learnt.len() > limits.max_templates.max(1)
            || self.fields > limits.max_template_fields
        {
            // A full search, but an eighth goes at once, so that a flood of Templates pays it once in many.
            let mut by_use: Vec<_> = self
                .learnt
                .iter()
                .filter(|(key, _)| **key != keep)
                .map(|(key, known)| (known.used.get(), *key))
                .collect();
            if by_use.is_empty() {
                return;
            }
            let share = by_use.len().div_ceil(8);
            by_use.select_nth_unstable_by_key(share - 1, |(used, _)| *used);
            for (_, key) in by_use.into_iter().take(share) {
                self.forget(key);
                self.evicted += 1;
            }
        }
    }

    /// Whether it was known.
    fn forget(&mut self, key: TemplateKey) -> bool {
        let Some(known) = self.learnt.remove(&key) else {
            return false;
        };
        self.fields -= known.template.fields.len();
        if !key.session.transport.has_connections()
            && let Some(sessions) = self.sessions.get_mut(&key.any_port())
        {
            sessions.ports.retain(|port| *port != key.session.port);
            sessions.discount(known.fingerprint);
            match sessions.ports.len() {
                0 => _ = self.sessions.remove(&key.any_port()),
                1 => sessions.definitions = HashMap::default(),
                _ => {}
            }
        }
        true
    }
}

fn fingerprint(keyed: &RandomState, template: &Template) -> u64 {
    keyed.hash_one((template.scope_fields, &template.fields))
}

/// Over a connection a Template is sent once, and holds for as long as the connection does.
fn is_expired<P>(key: TemplateKey, known: &Learnt<P>, now: Instant, limits: &Limits) -> bool {
    now.saturating_duration_since(known.refreshed) > limits.template_lifetime
        && !key.session.transport.has_connections()
}

#[cfg(test)]
mod tests;
