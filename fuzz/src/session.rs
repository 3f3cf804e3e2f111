//! A sequence of datagrams from one exporter: what is held stays within its limits, whatever comes, and
//! every Set that waits is decoded, dropped or still waiting.

use std::time::{Duration, Instant};

use netflow_wire::{Decoder, Limits, Message, Session};

use super::message::{Counts, most_calls};
use super::sequence::steps;

/// Small, so that short inputs reach them.
fn limits() -> Limits {
    Limits {
        max_templates: 6,
        max_template_fields: 40,
        template_lifetime: Duration::from_secs(300),
        max_held_sets: 5,
        max_held_octets: 200,
        max_held_age: Duration::from_secs(100),
        ..Limits::default()
    }
}

pub fn run(input: &[u8]) {
    let limits = limits();
    let mut decoder = Decoder::<(), ()>::default();
    let mut now = Instant::now();
    let (mut waited, mut ready, mut expired) = (0, 0, 0);
    for step in steps(input) {
        now += Duration::from_secs(u64::from(step.seconds));
        let Ok(message) = Message::parse(step.octets) else {
            continue;
        };
        let mut counts = Counts::default();
        let held = decoder.waiting().0;
        decoder.read(
            Session::udp(step.port),
            &message,
            &(),
            now,
            &limits,
            &mut counts,
        );
        let most = most_calls(step.octets.len()) + held;
        assert!(counts.calls <= most, "{counts:?}, at most {most}");
        let mut late = counts.late;
        while let Some(set) = decoder.next_ready(now, &limits) {
            let before = counts.data_sets;
            decoder.read_held(&set, now, &limits, &mut counts);
            assert_eq!(
                counts.data_sets,
                before + 1,
                "a Set that is ready has a template"
            );
            late += 1;
        }
        assert!(late <= held + counts.waiting);
        waited += counts.waiting;
        expired += counts.expired;
        ready += late;

        if step.flags & 1 == 1 {
            decoder.expire(now, &limits, |_| expired += 1);
            for (_, known) in decoder.templates().iter() {
                assert!(now - known.refreshed <= limits.template_lifetime);
            }
        }
        let templates = decoder.templates();
        assert!(templates.len() <= limits.max_templates);
        assert_eq!(templates.len(), templates.iter().count());
        let fields: usize = templates
            .iter()
            .map(|(_, known)| known.template.fields.len())
            .sum();
        // One alone may have more fields than all together should.
        assert!(fields <= limits.max_template_fields || templates.len() == 1);
        let (sets, octets) = decoder.waiting();
        assert!(sets <= limits.max_held_sets && octets <= limits.max_held_octets);
        assert_eq!(waited, ready + expired + sets);
    }
    now += limits.template_lifetime + limits.max_held_age + Duration::from_secs(1);
    decoder.expire(now, &limits, |_| expired += 1);
    assert!(decoder.templates().is_empty());
    assert_eq!(decoder.waiting(), (0, 0));
    assert_eq!(waited, ready + expired);
}
