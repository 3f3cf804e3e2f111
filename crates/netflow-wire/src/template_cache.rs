//! The Templates of one exporter: learnt, compiled at their first data, replaced, expired, bounded.
//!
//! A Template belongs to a Transport Session (the exporter's port stands for it) and an Observation Domain
//! (RFC 7011, section 8). Routers change ports and spread line cards over several, so a look-up that misses
//! asks the exporter's other ports, and believes them only if all that know the ID agree.

use std::cell::{Cell, OnceCell};
use std::hash::BuildHasher;
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
    /// Compiled once for it, when its first data comes: a datagram may hold thousands of Templates.
    plan: OnceCell<P>,
    /// When it was last sent.
    pub refreshed: Instant,
    /// In a cell, so that a look-up needs no exclusive borrow: lists look other Templates up meanwhile.
    used: Cell<Instant>,
    /// A keyed hash of the definition: whether ports agree is told without reading their Templates.
    fingerprint: u64,
}

impl<P> Learnt<P> {
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

/// The ports under which an ID is known, nearly always one.
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
    /// Takes a definition in.
    pub fn learn(
        &mut self,
        key: TemplateKey,
        template: Template,
        now: Instant,
        limits: &Limits,
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
        let sessions = self.sessions.entry(key.any_port()).or_default();
        if let [port] = *sessions.ports.as_slice() {
            let only = TemplateKey { port, ..key };
            if let Some(known) = self.learnt.get(&only) {
                sessions.count(known.fingerprint);
            }
        }
        if !sessions.ports.is_empty() {
            sessions.count(fingerprint);
        }
        sessions.ports.push(key.port);
        self.learnt.insert(
            key,
            Box::new(Learnt {
                template,
                plan: OnceCell::new(),
                refreshed: now,
                used: Cell::new(now),
                fingerprint,
            }),
        );
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

    /// The key under another port, if every port that knows the ID means the same by it. What is too old
    /// counts until [`expire`](Self::expire) forgets it: data then waits a little longer, but a look-up
    /// costs the same however many ports there are.
    fn under_another_port(
        &self,
        key: TemplateKey,
        now: Instant,
        limits: &Limits,
    ) -> Option<TemplateKey> {
        let sessions = self.sessions.get(&key.any_port())?;
        if !sessions.agree() {
            return None;
        }
        let keys = sessions.ports.iter().rev();
        keys.map(|port| TemplateKey { port: *port, ..key })
            .find(|key| {
                let known = self.learnt.get(key);
                known.is_some_and(|known| !is_expired(known, now, limits))
            })
    }

    pub(crate) fn forget_plans(&mut self) {
        for known in self.learnt.values_mut() {
            known.plan = OnceCell::new();
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

    fn forget(&mut self, key: TemplateKey) {
        let Some(known) = self.learnt.remove(&key) else {
            return;
        };
        self.fields -= known.template.fields.len();
        if let Some(sessions) = self.sessions.get_mut(&key.any_port()) {
            sessions.ports.retain(|port| *port != key.port);
            sessions.discount(known.fingerprint);
            match sessions.ports.len() {
                0 => _ = self.sessions.remove(&key.any_port()),
                1 => sessions.definitions = HashMap::default(),
                _ => {}
            }
        }
    }
}

fn fingerprint(keyed: &RandomState, template: &Template) -> u64 {
    keyed.hash_one((template.scope_fields, &template.fields))
}

fn is_expired<P>(known: &Learnt<P>, now: Instant, limits: &Limits) -> bool {
    now.saturating_duration_since(known.refreshed) > limits.template_lifetime
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::template::FieldSpecifier;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(port: u16, id: u16) -> TemplateKey {
        TemplateKey {
            port,
            version: Version::Ipfix,
            domain: 1,
            id,
        }
    }

    /// A Template of so many fields of four octets.
    fn template(id: u16, fields: usize) -> Template {
        let fields = vec![FieldSpecifier::iana(8, 4); fields];
        Template::new(Version::Ipfix, id, None, fields)
    }

    struct Cache {
        cache: TemplateCache<usize>,
        limits: Limits,
        now: Instant,
        compiled: usize,
    }

    impl Cache {
        fn new(limits: Limits) -> Self {
            Self {
                cache: TemplateCache::default(),
                limits,
                now: Instant::now(),
                compiled: 0,
            }
        }

        fn learn(&mut self, port: u16, id: u16, fields: usize) -> Learning {
            self.cache
                .learn(key(port, id), template(id, fields), self.now, &self.limits)
        }

        /// Fields of what is found.
        fn find(&mut self, port: u16, id: u16) -> Option<usize> {
            let found = self.cache.find(key(port, id), self.now, &self.limits);
            found.map(|known| {
                let plan = *known.plan(|template| {
                    self.compiled += 1;
                    template.fields.len()
                });
                assert_eq!(plan, known.template.fields.len());
                plan
            })
        }
    }

    fn cache() -> Cache {
        Cache::new(Limits::default())
    }

    #[test]
    fn a_definition_is_compiled_once_and_not_before_its_data() {
        let mut c = cache();
        assert_eq!(c.learn(1, 256, 2), Learning::New);
        assert_eq!(c.learn(1, 256, 2), Learning::Refreshed);
        assert_eq!(c.compiled, 0);
        for _ in 0..2 {
            assert_eq!(c.find(1, 256), Some(2));
            assert_eq!(c.compiled, 1);
        }
        c.cache.forget_plans();
        assert_eq!(c.compiled, 1);
        assert_eq!(c.find(1, 256), Some(2));
        assert_eq!(c.compiled, 2);
    }

    #[test]
    fn redefinition_replaces() {
        let mut c = cache();
        c.learn(1, 256, 2);
        assert_eq!(c.find(1, 256), Some(2));
        assert_eq!(c.learn(1, 256, 3), Learning::Replaced);
        assert_eq!((c.find(1, 256), c.cache.len()), (Some(3), 1));
        assert_eq!(c.compiled, 2);
    }

    #[test]
    fn an_options_template_of_the_same_fields_is_another_definition() {
        let mut c = cache();
        c.learn(1, 256, 2);
        let fields = template(256, 2).fields;
        let options = Template::new(Version::Ipfix, 256, Some(1), fields);
        let learning = c.cache.learn(key(1, 256), options, c.now, &c.limits);
        assert_eq!(learning, Learning::Replaced);
    }

    #[test]
    fn another_port_serves_if_it_is_the_only_one() {
        let mut c = cache();
        c.learn(1, 256, 2);
        assert_eq!(c.find(2, 256), Some(2));
        assert_eq!(c.find(2, 257), None);
    }

    #[test]
    fn other_ports_serve_only_if_all_agree() {
        let mut c = cache();
        c.learn(1, 256, 2);
        c.learn(2, 256, 2);
        assert_eq!(c.find(3, 256), Some(2));
        c.learn(4, 256, 5);
        assert_eq!(c.find(3, 256), None);
        assert_eq!((c.find(1, 256), c.find(4, 256)), (Some(2), Some(5)));
        // The odd one comes round.
        assert_eq!(c.learn(4, 256, 2), Learning::Replaced);
        assert_eq!(c.find(3, 256), Some(2));
        // All of them change, one after another.
        for (port, expected) in [(1, None), (2, None), (4, Some(7))] {
            c.learn(port, 256, 7);
            assert_eq!(c.find(3, 256), expected, "after port {port}");
        }
    }

    #[test]
    fn version_and_domain_are_never_crossed() {
        let mut c = cache();
        c.learn(1, 256, 2);
        for other in [
            TemplateKey {
                domain: 2,
                ..key(1, 256)
            },
            TemplateKey {
                version: Version::V9,
                ..key(1, 256)
            },
        ] {
            assert!(c.cache.find(other, c.now, &c.limits).is_none());
        }
    }

    #[test]
    fn a_port_that_disagreed_no_longer_counts_once_it_is_forgotten() {
        let mut c = cache();
        c.learn(1, 256, 5);
        c.now += SECOND;
        c.learn(2, 256, 2);
        c.learn(3, 256, 2);
        assert_eq!(c.find(9, 256), None);
        c.now += c.limits.template_lifetime;
        assert_eq!(c.cache.expire(c.now, &c.limits), 1);
        assert_eq!(c.find(9, 256), Some(2));
    }

    #[test]
    fn the_last_of_several_ports_serves_alone_again() {
        let mut c = cache();
        c.learn(1, 256, 5);
        c.now += SECOND;
        c.learn(2, 256, 2);
        c.now += c.limits.template_lifetime;
        c.cache.expire(c.now, &c.limits);
        assert_eq!(c.find(9, 256), Some(2));
        c.learn(2, 256, 3);
        c.learn(4, 256, 3);
        assert_eq!(c.find(9, 256), Some(3));
        c.learn(4, 256, 4);
        assert_eq!(c.find(9, 256), None);
    }

    #[test]
    fn a_template_not_sent_again_in_time_is_forgotten() {
        let mut c = cache();
        c.learn(1, 256, 2);
        c.now += c.limits.template_lifetime;
        assert_eq!(c.find(1, 256), Some(2));
        c.now += SECOND;
        assert_eq!((c.find(1, 256), c.find(2, 256)), (None, None));
        assert_eq!(c.cache.expire(c.now, &c.limits), 1);
        assert!(c.cache.is_empty());
        assert_eq!(c.learn(1, 256, 2), Learning::New);
    }

    #[test]
    fn sending_again_prolongs_and_use_does_not() {
        let mut c = cache();
        c.learn(1, 256, 2);
        c.learn(1, 257, 2);
        c.now += c.limits.template_lifetime / 2 + SECOND;
        assert_eq!(c.learn(1, 256, 2), Learning::Refreshed);
        assert_eq!(c.find(1, 257), Some(2));
        c.now += c.limits.template_lifetime / 2;
        assert_eq!((c.find(1, 256), c.find(1, 257)), (Some(2), None));
    }

    #[test]
    fn an_expired_template_sent_again_is_new() {
        let mut c = cache();
        c.learn(1, 256, 2);
        c.learn(1, 257, 2);
        c.now += c.limits.template_lifetime + SECOND;
        assert_eq!(c.learn(1, 256, 2), Learning::New);
        assert_eq!(c.learn(1, 257, 3), Learning::New);
        assert_eq!((c.find(1, 256), c.find(1, 257)), (Some(2), Some(3)));
    }

    #[test]
    fn the_template_unused_for_longest_makes_room() {
        let mut c = Cache::new(Limits {
            max_templates: 4,
            ..Limits::default()
        });
        for id in 256..260 {
            c.learn(1, id, 1);
            c.now += SECOND;
        }
        // The first is used again; then the second is the oldest.
        assert_eq!(c.find(1, 256), Some(1));
        c.now += SECOND;
        c.learn(1, 300, 1);
        assert_eq!((c.cache.len(), c.cache.evicted()), (4, 1));
        assert_eq!(c.find(1, 257), None);
        for id in [256, 258, 259, 300] {
            assert_eq!(c.find(1, id), Some(1), "{id}");
        }
    }

    #[test]
    fn fields_of_all_templates_are_bounded_together() {
        let mut c = Cache::new(Limits {
            max_template_fields: 100,
            ..Limits::default()
        });
        for id in 256..266 {
            c.learn(1, id, 10);
            c.now += SECOND;
        }
        assert_eq!(c.cache.len(), 10);
        // A known one grows: the others make room, never itself.
        assert_eq!(c.learn(1, 256, 35), Learning::Replaced);
        assert_eq!(c.find(1, 256), Some(35));
        let held: usize = c
            .cache
            .iter()
            .map(|(_, known)| known.template.fields.len())
            .sum();
        assert_eq!((held, c.cache.evicted()), (95, 3));
        assert_eq!(c.find(1, 257), None);
        // And makes room again when it shrinks.
        c.learn(1, 256, 1);
        c.learn(1, 900, 39);
        assert_eq!((c.cache.len(), c.cache.evicted()), (8, 3));
    }

    #[test]
    fn one_template_is_always_held() {
        let mut c = Cache::new(Limits {
            max_templates: 0,
            max_template_fields: 0,
            ..Limits::default()
        });
        c.learn(1, 256, 9);
        assert_eq!(c.find(1, 256), Some(9));
        c.learn(1, 257, 9);
        assert_eq!((c.find(1, 256), c.find(1, 257)), (None, Some(9)));
    }

    #[test]
    fn nothing_stays_of_what_is_forgotten() {
        let mut c = Cache::new(Limits {
            max_templates: 8,
            ..Limits::default()
        });
        for round in 0..50_u16 {
            c.learn(round, 256 + round % 3, 1 + usize::from(round % 5));
            c.now += SECOND;
            assert!(c.cache.len() <= 8);
        }
        c.now += c.limits.template_lifetime * 2;
        assert_eq!(c.cache.expire(c.now, &c.limits), 8);
        assert!(c.cache.sessions.is_empty());
        assert_eq!(c.cache.fields, 0);
    }
}
