//! What options data say of an exporter, and the times of spans.

use std::time::Duration;

use netflow_wire::write::{Field, MessageWriter};
use netflow2traces::config::SpanTime;
use serde_json::Value;

use super::rig::{
    NANOS, Rig, SECONDS, Span, f, ipfix, options, record, rig, rig_with, v5_flows, v5_header, v9,
};

const SECOND: u64 = 1_000_000_000;

#[test]
fn interfaces_have_their_names() {
    let mut rig = rig();
    let flow = |rig: &mut Rig| {
        rig.flow(&record(v9(1), &[f(8, 4), f(10, 2), f(14, 2)], |r| {
            r.ipv4([192, 0, 2, 1]).u16(3).u16(4);
        }))
    };
    assert_eq!(
        flow(&mut rig).get("netflow.interface.input.name"),
        &Value::Null
    );
    // v9: scope "Interface"; a name filled up with zeros.
    let none = rig.flows(&options(v9(1), &[f(2, 4)], &[f(82, 16), f(83, 16)], |r| {
        r.u32(3).text("Gi0/3", 16).text("uplink", 16);
    }));
    assert!(none.is_empty(), "options are no flows");
    // IPFIX-like: the interface is a field; and in another domain.
    rig.spans(&options(v9(9), &[f(1, 4)], &[f(10, 4), f(83, 8)], |r| {
        r.u32(0).u32(4).text("lan", 8);
    }));
    let span = flow(&mut rig);
    assert_eq!(span.get("netflow.interface.input"), 3);
    assert_eq!(span.get("netflow.interface.input.name"), "Gi0/3");
    assert_eq!(span.get("netflow.interface.output.name"), "lan");
}

#[test]
fn applications_and_vrfs_have_their_names() {
    let mut rig = rig();
    rig.spans(&options(
        ipfix(1),
        &[f(95, 4)],
        &[Field::variable(96), f(94, 8)],
        |r| {
            r.bytes(&[3, 0, 0, 80]).variable(b"http").text("Web", 8);
        },
    ));
    rig.spans(&options(ipfix(1), &[f(234, 4)], &[f(236, 8)], |r| {
        r.u32(12).text("red", 8);
    }));
    let span = rig.flow(&record(ipfix(1), &[f(95, 4), f(234, 4), f(235, 4)], |r| {
        r.bytes(&[3, 0, 0, 80]).u32(12).u32(13);
    }));
    assert_eq!(span.get("netflow.application.id"), "3:80");
    assert_eq!(span.get("netflow.application.name"), "http");
    assert_eq!(span.get("netflow.vrf.input"), 12);
    assert_eq!(span.get("netflow.vrf.input.name"), "red");
    assert_eq!(span.get("netflow.vrf.output"), 13);
    assert_eq!(span.get("netflow.vrf.output.name"), &Value::Null);
}

#[test]
fn one_exporters_names_are_not_anothers() {
    let mut rig = rig();
    rig.spans(&options(v9(1), &[f(2, 4)], &[f(82, 8)], |r| {
        r.u32(3).text("Gi0/3", 8);
    }));
    let message = record(v9(1), &[f(8, 4), f(10, 2)], |r| {
        r.ipv4([192, 0, 2, 1]).u16(3);
    });
    rig.take("192.0.2.2:2055", &message);
    let spans: Vec<_> = rig.flush().iter().flat_map(super::rig::spans).collect();
    let flow = spans.iter().find(|span| span.name == "netflow.flow");
    assert_eq!(
        flow.expect("one").get("netflow.interface.input.name"),
        &Value::Null
    );
}

/// 21 and 22 of IPFIX count from 160, wherever that was said.
#[test]
fn the_init_time_makes_uptimes_times() {
    let uptimes = |r: &mut netflow_wire::write::Record| {
        r.u32(995_000).u32(999_000);
    };
    let fields = [f(22, 4), f(21, 4)];
    let mut rig = rig();
    let span = rig.flow(&record(ipfix(1), &fields, uptimes));
    assert_eq!(span.get("netflow.time.suspect"), true);
    assert_eq!((span.start, span.end), (NANOS - 4 * SECOND, NANOS));
    let boot_ms = (u64::from(SECONDS) - 1000) * 1000;
    rig.spans(&options(ipfix(2), &[f(149, 4)], &[f(160, 8)], |r| {
        r.u32(2).u64(boot_ms);
    }));
    let span = rig.flow(&record(ipfix(1), &fields, uptimes));
    assert_eq!(span.get("netflow.time.suspect"), &Value::Null);
    assert_eq!((span.start, span.end), (NANOS - 5 * SECOND, NANOS - SECOND));
}

/// Options data of one interface's name, a sampling interval and an application's name, ahead of its template.
fn options_without_template(message: &mut MessageWriter) {
    let fields = [f(10, 4), f(82, 8), f(34, 4), f(95, 4), f(96, 8)];
    message.declare(300, &fields).data_set(300, |set| {
        set.record(|r| {
            r.u32(3).text("uplink", 8).u32(50);
            r.u32(13 << 24 | 453).text("teams", 8);
        });
    });
}

fn their_template(message: &mut MessageWriter) {
    let fields = [f(82, 8), f(34, 4), f(95, 4), f(96, 8)];
    message.options_template(300, &[f(10, 4)], &fields);
}

/// A template and a record of interface 3 and application 453.
fn flow_of_both(message: &mut MessageWriter) {
    let fields = [f(8, 4), f(10, 4), f(95, 4)];
    message.template(256, &fields).data_set(256, |set| {
        set.record(|r| {
            r.ipv4([192, 0, 2, 1]).u32(3).u32(13 << 24 | 453);
        });
    });
}

fn assert_all_hold(span: &Span) {
    assert_eq!(span.get("netflow.interface.input.name"), "uplink");
    assert_eq!(span.get("netflow.sampling.interval"), 50);
    assert_eq!(span.get("netflow.application.name"), "teams");
}

#[test]
fn options_data_ahead_of_its_template_holds_for_the_flows_behind_it() {
    for start in [ipfix, v9] {
        let mut message = start(1);
        options_without_template(&mut message);
        their_template(&mut message);
        flow_of_both(&mut message);
        let mut rig = rig();
        assert_all_hold(&rig.flow(&message.finish().expect("fits")));
        let counters = rig.counters();
        assert_eq!(counters.sets_waited.value(), 1);
        assert_eq!(counters.sets_decoded_late.value(), 1);
    }
}

#[test]
fn options_data_of_an_earlier_message_holds_for_the_flows_behind_its_template() {
    let mut rig = rig();
    let mut message = ipfix(1);
    options_without_template(&mut message);
    assert!(rig.flows(&message.finish().expect("fits")).is_empty());
    let mut message = ipfix(1);
    their_template(&mut message);
    flow_of_both(&mut message);
    assert_all_hold(&rig.flow(&message.finish().expect("fits")));
    assert_eq!(rig.counters().sets_waiting.value(), 0);
}

#[test]
fn options_data_that_waited_holds_for_flows_that_waited_longer() {
    let mut rig = rig();
    let mut message = v9(1);
    let fields = [f(8, 4), f(10, 4), f(95, 4)];
    message.declare(256, &fields).data_set(256, |set| {
        set.record(|r| {
            r.ipv4([192, 0, 2, 1]).u32(3).u32(13 << 24 | 453);
        });
    });
    options_without_template(&mut message);
    assert!(rig.flows(&message.finish().expect("fits")).is_empty());
    let mut message = v9(1);
    message.template(256, &fields);
    their_template(&mut message);
    assert_all_hold(&rig.flow(&message.finish().expect("fits")));
}

fn own_times(span: &Span) -> (Value, Value) {
    let get = |key| span.get(key).clone();
    (
        get("netflow.flow.start_unix_nano"),
        get("netflow.flow.end_unix_nano"),
    )
}

/// A flow from five seconds to one before its export.
fn v5() -> Vec<u8> {
    v5_flows(&v5_header(), 1)
}

#[test]
fn a_span_has_the_flows_own_times() {
    let span = rig().flow(&v5());
    assert_eq!((span.start, span.end), (NANOS - 5 * SECOND, NANOS - SECOND));
    assert_eq!(own_times(&span), (Value::Null, Value::Null));
}

#[test]
fn or_the_time_it_was_received_with_its_own_beside() {
    let span = rig_with(|config| config.span_time = SpanTime::Received).flow(&v5());
    assert_eq!((span.start, span.end), (NANOS, NANOS));
    let own = (NANOS - 5 * SECOND, NANOS - SECOND);
    assert_eq!(own_times(&span), (own.0.into(), own.1.into()));
}

#[test]
fn or_its_own_times_unless_they_are_too_old() {
    let mut rig = rig_with(|config| {
        config.span_time = SpanTime::Clamped;
        config.span_max_age = Duration::from_secs(25);
    });
    rig.received_at = NANOS + 24 * SECOND;
    let span = rig.flow(&v5());
    assert_eq!((span.start, span.end), (NANOS - 5 * SECOND, NANOS - SECOND));
    assert_eq!(own_times(&span), (Value::Null, Value::Null));
    rig.received_at += 1;
    let span = rig.flow(&v5());
    let received = rig.received_at;
    assert_eq!((span.start, span.end), (received - 4 * SECOND, received));
    assert_eq!(span.get("netflow.flow.end_unix_nano"), NANOS - SECOND);
}

#[test]
fn implausible_times_survive_beside_usable_ones() {
    let fields = [f(150, 4), f(151, 4)];
    let span = rig().flow(&record(ipfix(1), &fields, |r| {
        r.u32(5).u32(9);
    }));
    assert_eq!(span.get("netflow.time.suspect"), true);
    assert_eq!((span.start, span.end), (NANOS - 4 * SECOND, NANOS));
    assert_eq!(own_times(&span), ((5 * SECOND).into(), (9 * SECOND).into()));
}

/// The wall clock of the collector has no say in what is plausible.
#[test]
fn times_are_judged_by_the_exporters_clock() {
    let mut rig = rig();
    rig.received_at = NANOS + 1_000_000 * SECOND;
    let span = rig.flow(&v5());
    assert_eq!(span.get("netflow.time.suspect"), &Value::Null);
    assert_eq!(span.end, NANOS - SECOND);
}
