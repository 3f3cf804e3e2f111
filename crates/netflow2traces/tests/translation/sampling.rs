//! One packet in how many: every way in which exporters say it.

use netflow_wire::write::{Field, Record, V5Header};
use netflow2traces::config::SamplingOverride;
use serde_json::{Value, json};

use super::rig::{Rig, Span, f, ipfix, options, record, rig, rig_with, v5_flows, v5_header, v9};

fn told(span: &Span) -> (Value, Value) {
    let get = |key| span.get(key).clone();
    (
        get("netflow.sampling.interval"),
        get("netflow.sampling.origin"),
    )
}

fn by(interval: u64, origin: &str) -> (Value, Value) {
    (json!(interval), json!(origin))
}

fn nothing() -> (Value, Value) {
    (Value::Null, Value::Null)
}

fn sampled_v5(interval: u16) -> Vec<u8> {
    let header = V5Header {
        sampling_mode: 1,
        sampling_interval: interval,
        ..v5_header()
    };
    v5_flows(&header, 1)
}

#[test]
fn v5_says_it_in_its_header() {
    assert_eq!(told(&rig().flow(&sampled_v5(100))), by(100, "header"));
    assert_eq!(told(&rig().flow(&sampled_v5(0))), nothing());
}

#[test]
fn a_record_says_it_in_any_form() {
    type Write = fn(&mut Record);
    let cases: [(&[Field], Write, u64); 8] = [
        (&[f(34, 4)], |r| _ = r.u32(64), 64),
        (&[f(50, 4)], |r| _ = r.u32(65), 65),
        // One looked at, 99 left out; two of ten.
        (&[f(305, 4), f(306, 4)], |r| _ = r.u32(1).u32(99), 100),
        (&[f(305, 4), f(306, 4)], |r| _ = r.u32(2).u32(8), 5),
        // So many of a population.
        (&[f(309, 4), f(310, 4)], |r| _ = r.u32(1).u32(1000), 1000),
        (&[f(309, 2), f(310, 2)], |r| _ = r.u16(3).u16(10), 3),
        (&[f(311, 8)], |r| _ = r.f64(0.01), 100),
        (&[f(311, 4)], |r| _ = r.bytes(&0.25_f32.to_be_bytes()), 4),
    ];
    for (fields, write, interval) in cases {
        let span = rig().flow(&record(ipfix(1), fields, write));
        assert_eq!(told(&span), by(interval, "record"), "{fields:?}");
    }
}

#[test]
fn what_tells_nothing_is_nothing() {
    type Write = fn(&mut Record);
    let cases: [(&[Field], Write); 6] = [
        (&[f(34, 4)], |r| _ = r.u32(0)),
        (&[f(305, 4), f(306, 4)], |r| _ = r.u32(0).u32(9)),
        (&[f(309, 4), f(310, 4)], |r| _ = r.u32(0).u32(9)),
        (&[f(309, 4), f(310, 4)], |r| _ = r.u32(9).u32(3)),
        (&[f(311, 8)], |r| _ = r.f64(f64::NAN)),
        (&[f(311, 8)], |r| _ = r.f64(-0.5)),
    ];
    for (fields, write) in cases {
        let span = rig().flow(&record(ipfix(1), fields, write));
        assert_eq!(told(&span), nothing(), "{fields:?}");
    }
}

/// A flow with a sampler id (48) and an input interface (10).
fn flow(rig: &mut Rig, domain: u32, sampler: u8, interface: u16) -> Span {
    let fields = [f(8, 4), f(48, 1), f(10, 2)];
    rig.flow(&record(v9(domain), &fields, |r| {
        r.ipv4([192, 0, 2, 1]).u8(sampler).u16(interface);
    }))
}

const SYSTEM: Field = f(1, 4);
const INTERFACE: Field = f(2, 4);

#[test]
fn options_say_it_for_all() {
    for element in [34, 50] {
        let mut rig = rig();
        let options = options(v9(1), &[SYSTEM], &[f(element, 4)], |r| {
            r.u32(0).u32(128);
        });
        assert!(rig.flows(&options).is_empty());
        assert_eq!(told(&flow(&mut rig, 1, 3, 4)), by(128, "options"));
        // Another domain of the exporter has no data of its own.
        assert_eq!(told(&flow(&mut rig, 2, 3, 4)), by(128, "options"));
    }
}

#[test]
fn options_say_it_in_psamp_terms() {
    type Write = fn(&mut Record);
    let cases: [(&[Field], Write, u64); 3] = [
        (
            &[f(305, 4), f(306, 4)],
            |r| _ = r.u32(0).u32(1).u32(511),
            512,
        ),
        (
            &[f(309, 4), f(310, 4)],
            |r| _ = r.u32(0).u32(1).u32(200),
            200,
        ),
        (&[f(311, 8)], |r| _ = r.u32(0).f64(0.001), 1000),
    ];
    for (fields, write, interval) in cases {
        let mut rig = rig();
        rig.spans(&options(ipfix(1), &[f(149, 4)], fields, write));
        let span = rig.flow(&record(ipfix(1), &[f(8, 4)], |r| {
            r.ipv4([192, 0, 2, 1]);
        }));
        assert_eq!(told(&span), by(interval, "options"), "{fields:?}");
    }
}

#[test]
fn a_sampler_has_its_own_interval() {
    let mut rig = rig();
    for (sampler, interval) in [(1, 10), (2, 20)] {
        rig.spans(&options(
            v9(1),
            &[SYSTEM],
            &[f(48, 1), f(49, 1), f(50, 4)],
            |r| {
                r.u32(0).u8(sampler).u8(2).u32(interval);
            },
        ));
    }
    assert_eq!(told(&flow(&mut rig, 1, 1, 7)), by(10, "options"));
    assert_eq!(told(&flow(&mut rig, 1, 2, 7)), by(20, "options"));
    assert_eq!(told(&flow(&mut rig, 1, 3, 7)), nothing());
    // Line cards often export under a domain of their own.
    assert_eq!(told(&flow(&mut rig, 99, 2, 7)), by(20, "options"));
    // Told anew.
    rig.spans(&options(v9(1), &[SYSTEM], &[f(48, 1), f(50, 4)], |r| {
        r.u32(0).u8(2).u32(21);
    }));
    assert_eq!(told(&flow(&mut rig, 1, 2, 7)), by(21, "options"));
}

#[test]
fn a_selector_is_a_sampler() {
    let mut rig = rig();
    rig.spans(&options(
        ipfix(1),
        &[f(302, 8)],
        &[f(304, 2), f(305, 4), f(306, 4)],
        |r| {
            r.u64(77).u16(1).u32(1).u32(63);
        },
    ));
    let span = rig.flow(&record(ipfix(1), &[f(8, 4), f(302, 4)], |r| {
        r.ipv4([192, 0, 2, 1]).u32(77);
    }));
    assert_eq!(told(&span), by(64, "options"));
}

#[test]
fn an_interface_has_its_own_interval() {
    let mut rig = rig();
    for (interface, interval) in [(7, 70), (8, 80)] {
        rig.spans(&options(v9(1), &[INTERFACE], &[f(34, 4)], |r| {
            r.u32(interface).u32(interval);
        }));
    }
    assert_eq!(told(&flow(&mut rig, 1, 0, 7)), by(70, "options"));
    assert_eq!(told(&flow(&mut rig, 1, 0, 8)), by(80, "options"));
    assert_eq!(told(&flow(&mut rig, 1, 0, 9)), nothing());
}

#[test]
fn the_domains_own_word_counts_more_than_anothers() {
    let mut rig = rig();
    for (domain, interval) in [(1, 10), (2, 20)] {
        rig.spans(&options(v9(domain), &[SYSTEM], &[f(34, 4)], |r| {
            r.u32(0).u32(interval);
        }));
    }
    assert_eq!(told(&flow(&mut rig, 1, 0, 0)), by(10, "options"));
    assert_eq!(told(&flow(&mut rig, 2, 0, 0)), by(20, "options"));
}

#[test]
fn a_domain_named_in_the_scope_is_the_one_described() {
    let mut rig = rig();
    for (domain, interval) in [(5, 100), (6, 1000)] {
        rig.spans(&options(v9(0), &[f(149, 4)], &[f(34, 4)], |r| {
            r.u32(domain).u32(interval);
        }));
    }
    assert_eq!(told(&flow(&mut rig, 5, 1, 1)), by(100, "options"));
    assert_eq!(told(&flow(&mut rig, 6, 1, 1)), by(1000, "options"));
}

#[test]
fn the_record_counts_more_than_options_and_the_operator_more_than_all() {
    let tell = |rig: &mut Rig| {
        rig.spans(&options(v9(1), &[SYSTEM], &[f(34, 4)], |r| {
            r.u32(0).u32(10);
        }));
        rig.flow(&record(v9(1), &[f(8, 4), f(34, 4)], |r| {
            r.ipv4([192, 0, 2, 1]).u32(20);
        }))
    };
    assert_eq!(told(&tell(&mut rig())), by(20, "record"));
    let overridden = |network: &str| {
        let exporters = network.parse().expect("a network");
        rig_with(|config| {
            config.sampling_override = vec![SamplingOverride {
                exporters,
                interface: None,
                interval: 30,
            }];
        })
    };
    assert_eq!(
        told(&tell(&mut overridden("192.0.2.0/24"))),
        by(30, "config")
    );
    assert_eq!(
        told(&tell(&mut overridden("192.0.2.2/32"))),
        by(20, "record")
    );
    assert_eq!(
        told(&overridden("192.0.2.1/32").flow(&sampled_v5(100))),
        by(30, "config")
    );
}

#[test]
fn counts_are_multiplied_on_request_and_say_so() {
    let mut scaling = rig_with(|config| config.scale_sampled = true);
    let span = scaling.flow(&sampled_v5(100));
    assert_eq!(span.get("netflow.flow.bytes"), 18_000);
    assert_eq!(span.get("netflow.flow.packets"), 300);
    assert_eq!(span.get("netflow.sampling.scaled"), true);
    // One in one is all of them.
    let span = scaling.flow(&sampled_v5(1));
    assert_eq!(span.get("netflow.flow.bytes"), 180);
    assert_eq!(span.get("netflow.sampling.scaled"), &Value::Null);

    let span = rig().flow(&sampled_v5(100));
    assert_eq!(span.get("netflow.flow.bytes"), 180);
    assert_eq!(span.get("netflow.sampling.scaled"), &Value::Null);
}

#[test]
fn a_scaled_count_stays_a_number() {
    let fields = [f(1, 8), f(34, 4)];
    let message = record(ipfix(1), &fields, |r| {
        r.u64(u64::MAX / 2).u32(1000);
    });
    let span = rig_with(|config| config.scale_sampled = true).flow(&message);
    assert_eq!(span.get("netflow.flow.bytes"), i64::MAX);
}
