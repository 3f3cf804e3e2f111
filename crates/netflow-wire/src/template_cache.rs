//! The Templates of one exporter: learnt, compiled once, replaced, expired, bounded.
//!
//! A Template belongs to a Transport Session (the exporter's port stands for it) and an Observation Domain
//! (RFC 7011, section 8). Routers change ports and spread line cards over several, so a look-up that misses
//! asks the exporter's other ports, and believes them only if all that know the ID agree.

use std::cell::Cell;
use std::time::Instant;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::Limits;
use crate::message::Version;
use crate::template::Template;

/// Where a Template holds good.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TemplateKey {
    /// The exporter's UDP port.
    pub port: u16,
    /// v9 and IPFIX number their Templates apart.
    pub version: Version,
    /// Observation Domain ID, v9's Source ID.
    pub domain: u32,
    /// Template ID.
    pub id: u16,
}

/// The same without the port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct AnyPort(Version, u32, u16);

impl TemplateKey {
    fn any_port(self) -> AnyPort {
        AnyPort(self.version, self.domain, self.id)
    }
}

/// A Template and what the caller compiled of it.
#[derive(Debug)]
pub struct Learnt<P> {
    /// The definition.
    pub template: Template,
    /// Compiled once for it.
    pub plan: P,
    /// When it was last sent.
    pub refreshed: Instant,
    /// In a cell, so that a look-up needs no exclusive borrow: lists look other Templates up meanwhile.
    used: Cell<Instant>,
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

/// All Templates of one exporter.
#[derive(Debug)]
pub struct TemplateCache<P> {
    learnt: HashMap<TemplateKey, Learnt<P>, RandomState>,
    /// Ports under which an ID is known; nearly always one.
    ports: HashMap<AnyPort, Vec<u16>, RandomState>,
    fields: usize,
    evicted: u64,
}

impl<P> Default for TemplateCache<P> {
    fn default() -> Self {
        Self {
            learnt: HashMap::default(),
            ports: HashMap::default(),
            fields: 0,
            evicted: 0,
        }
    }
}

impl<P> TemplateCache<P> {
    /// Takes a definition in; `compile` is called if it is new or different.
    pub fn learn(
        &mut self,
        key: TemplateKey,
        template: Template,
        now: Instant,
        limits: &Limits,
        compile: impl FnOnce(&Template) -> P,
    ) -> Learning {
        if let Some(known) = self.learnt.get_mut(&key) {
            let expired = is_expired(known, now, limits);
            known.refreshed = now;
            if known.template == template {
                return if expired {
                    Learning::New
                } else {
                    Learning::Refreshed
                };
            }
            self.fields = self.fields - known.template.fields.len() + template.fields.len();
            known.plan = compile(&template);
            known.template = template;
            self.make_room(key, limits);
            return if expired {
                Learning::New
            } else {
                Learning::Replaced
            };
        }
        let plan = compile(&template);
        self.fields += template.fields.len();
        self.learnt.insert(
            key,
            Learnt {
                template,
                plan,
                refreshed: now,
                used: Cell::new(now),
            },
        );
        let ports = self.ports.entry(key.any_port()).or_default();
        ports.push(key.port);
        self.make_room(key, limits);
        Learning::New
    }

    /// The Template that data under `key` follows.
    pub fn find(&self, key: TemplateKey, now: Instant, limits: &Limits) -> Option<&Learnt<P>> {
        let found = match self.learnt.get(&key) {
            Some(known) if !is_expired(known, now, limits) => known,
            _ => self
                .learnt
                .get(&self.under_another_port(key, now, limits)?)?,
        };
        found.used.set(now);
        Some(found)
    }

    /// The key under another port, if every port that knows the ID means the same by it.
    fn under_another_port(
        &self,
        key: TemplateKey,
        now: Instant,
        limits: &Limits,
    ) -> Option<TemplateKey> {
        let mut agreed: Option<(TemplateKey, &Template)> = None;
        for port in self.ports.get(&key.any_port())? {
            let key = TemplateKey { port: *port, ..key };
            match self.learnt.get(&key) {
                Some(known) if !is_expired(known, now, limits) => match agreed {
                    Some((_, template)) if *template != known.template => return None,
                    _ => agreed = Some((key, &known.template)),
                },
                _ => {}
            }
        }
        agreed.map(|(key, _)| key)
    }

    pub(crate) fn recompile(&mut self, mut compile: impl FnMut(&Template) -> P) {
        for known in self.learnt.values_mut() {
            known.plan = compile(&known.template);
        }
    }

    /// Forgets what has not been re-sent in time; returns how many.
    pub fn expire(&mut self, now: Instant, limits: &Limits) -> usize {
        let old: Vec<_> = self
            .learnt
            .iter()
            .filter(|(_, known)| is_expired(known, now, limits))
            .map(|(key, _)| *key)
            .collect();
        for key in &old {
            self.forget(*key);
        }
        old.len()
    }

    /// Templates held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.learnt.len()
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
        self.learnt.iter()
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

    fn forget(&mut self, key: TemplateKey) {
        let Some(known) = self.learnt.remove(&key) else {
            return;
        };
        self.fields -= known.template.fields.len();
        if let Some(ports) = self.ports.get_mut(&key.any_port()) {
            ports.retain(|port| *port != key.port);
            if ports.is_empty() {
                self.ports.remove(&key.any_port());
            }
        }
    }
}

fn is_expired<P>(known: &Learnt<P>, now: Instant, limits: &Limits) -> bool {
    now.saturating_duration_since(known.refreshed) > limits.template_lifetime
}
