use std::time::Duration;

use super::*;
use crate::template::FieldSpecifier;

const SECOND: Duration = Duration::from_secs(1);

fn key(port: u16, id: u16) -> TemplateKey {
    TemplateKey {
        session: Session::udp(port),
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
        self.cache.learn(
            key(port, id),
            template(id, fields),
            None,
            self.now,
            &self.limits,
        )
    }

    /// Fields of what is found.
    fn find(&mut self, port: u16, id: u16) -> Option<usize> {
        let found = self.cache.find(key(port, id), None, self.now, &self.limits);
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
    let learning = c.cache.learn(key(1, 256), options, None, c.now, &c.limits);
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
        assert!(c.cache.find(other, None, c.now, &c.limits).is_none());
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

#[test]
fn after_a_restart_a_template_is_not_used_until_it_is_sent_again() {
    let mut c = cache();
    c.learn(1, 256, 2);
    c.learn(1, 257, 3);
    c.learn(2, 256, 2);
    c.cache
        .set_trusted(Session::udp(1), Version::Ipfix, 1, false);
    // Not even that of another port.
    assert_eq!((c.find(1, 256), c.find(1, 257)), (None, None));
    assert_eq!(c.find(2, 256), Some(2));
    assert_eq!(c.find(3, 257), None);
    assert_eq!(c.learn(1, 257, 3), Learning::Refreshed);
    assert_eq!((c.find(1, 256), c.find(1, 257)), (None, Some(3)));
    c.cache
        .set_trusted(Session::udp(1), Version::Ipfix, 1, true);
    assert_eq!(c.find(1, 256), Some(2));
}

#[test]
fn another_port_does_not_serve_across_a_restart() {
    let mut c = cache();
    let at = |ms, seconds: u64| {
        Some(Uptime {
            ms,
            export_time: seconds * 1_000_000_000,
        })
    };
    let learnt = at(1_000_000, 1000);
    c.cache
        .learn(key(1, 256), template(256, 2), learnt, c.now, &c.limits);
    let found = |port, uptime| {
        let found = c.cache.find(key(port, 256), uptime, c.now, &c.limits);
        found.is_some()
    };
    // A minute later it has been up for five seconds.
    let restarted = at(5000, 1060);
    assert!(!found(2, restarted));
    // What holds for the port itself is judged by its own session.
    assert!(found(1, restarted));
    for (uptime, why) in [
        (at(1_060_000, 1060), "a minute later"),
        (at(940_000, 940), "a minute before: it waited"),
        (at(992_000, 1000), "a clock that was set by a few seconds"),
        (at(4_000_000_000, 1060), "another engine, up for longer"),
        (None, "IPFIX"),
    ] {
        assert!(found(2, uptime), "{why}");
    }
    let mut c = cache();
    let top = at(u32::MAX - 1000, 1000);
    c.cache
        .learn(key(1, 256), template(256, 2), top, c.now, &c.limits);
    let wrapped = c
        .cache
        .find(key(2, 256), at(59_000, 1060), c.now, &c.limits);
    assert!(wrapped.is_some());
}
