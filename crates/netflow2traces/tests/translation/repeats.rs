//! Elements that a template repeats, and fields of several elements for one thing: the first that says something counts
//! (RFC 7011, section 8: the first is that of the outermost header).

use netflow_wire::write::{Field, Record};
use netflow2traces::config::AttributeLevel;
use serde_json::json;

use super::rig::{Span, f, ipfix, options, record, rig, rig_with, v9};

fn flow(fields: &[Field], write: impl FnOnce(&mut Record)) -> Span {
    rig().flow(&record(ipfix(1), fields, write))
}

#[test]
fn the_first_protocol_that_is_not_zero() {
    let fields = [f(4, 1), f(4, 1), f(7, 2), f(11, 2)];
    let span = flow(&fields, |r| _ = r.u8(0).u8(17).u16(0).u16(53));
    assert_eq!(span.get("network.transport"), "udp");
    assert_eq!(span.get("network.protocol.number"), 17);
    // Of a tunnel the outer one.
    let span = flow(&fields, |r| _ = r.u8(47).u8(6).u16(0).u16(0));
    assert_eq!(span.get("network.transport"), "gre");
    // What depends on the protocol sees the same one.
    let span = flow(&fields, |r| _ = r.u8(0).u8(1).u16(0).u16(0x0303));
    assert_eq!(span.get("netflow.icmp.type"), 3);
    let span = flow(&fields, |r| _ = r.u8(0).u8(0).u16(0).u16(0));
    assert_eq!(span.get("network.protocol.number"), 0);
}

#[test]
fn filters_see_what_the_span_shows() {
    let filter = Some("proto udp and direction egress".parse().expect("a filter"));
    let mut rig = rig_with(|config| config.selection.filter = filter);
    let fields = [f(4, 1), f(4, 1), f(61, 1), f(61, 1)];
    let record = |protocol, direction| {
        record(ipfix(1), &fields, |r| {
            r.u8(0).u8(protocol).u8(0).u8(direction);
        })
    };
    assert_eq!(rig.flows(&record(17, 1)).len(), 1);
    assert_eq!(rig.flows(&record(6, 1)).len(), 0);
    assert_eq!(rig.flows(&record(17, 0)).len(), 0);
}

#[test]
fn the_first_ip_version_that_is_one() {
    let fields = [f(60, 1), f(60, 1), f(8, 4), f(27, 16)];
    for (version, family, address) in [(4, "ipv4", "192.0.2.1"), (6, "ipv6", "2001:db8::1")] {
        let span = flow(&fields, |r| {
            r.u8(0).u8(version).ipv4([192, 0, 2, 1]);
            r.ipv6("2001:db8::1".parse::<std::net::Ipv6Addr>().expect("one"));
        });
        assert_eq!(span.get("network.type"), family);
        assert_eq!(span.get("source.address"), address);
    }
}

#[test]
fn the_first_label_and_the_first_vrf_that_are_not_zero() {
    let mut rig = rig();
    rig.spans(&options(ipfix(1), &[f(234, 4)], &[f(236, 8)], |r| {
        r.u32(7).text("red", 8);
    }));
    let fields = [f(70, 3), f(70, 3), f(71, 3), f(234, 4), f(234, 4)];
    let span = rig.flow(&record(ipfix(1), &fields, |r| {
        r.bytes(&[0; 3]).bytes(&[0, 6, 0x40]).bytes(&[0, 12, 0x81]);
        r.u32(0).u32(7);
    }));
    assert_eq!(span.get("netflow.mpls.label.1"), 100);
    assert_eq!(span.get("netflow.mpls.label.2"), 200);
    assert_eq!(span.get("netflow.vrf.input"), 7);
    assert_eq!(span.get("netflow.vrf.input.name"), "red");
}

#[test]
fn a_prefix_has_the_length_that_stands_in_its_place() {
    let fields = [f(44, 4), f(9, 1), f(44, 4), f(9, 1)];
    for (first, first_length, prefix) in [
        ([0; 4], 0, "192.0.2.0/24"),
        ([198, 51, 100, 0], 25, "198.51.100.0/25"),
    ] {
        let span = flow(&fields, |r| {
            r.ipv4(first).u8(first_length).ipv4([192, 0, 2, 0]).u8(24);
        });
        assert_eq!(span.get("netflow.src_prefix"), prefix);
    }
}

#[test]
fn the_first_interval_that_is_not_zero() {
    type Write = fn(&mut Record);
    let cases: [(&[Field], Write, u64); 4] = [
        (&[f(34, 4), f(34, 4)], |r| _ = r.u32(0).u32(64), 64),
        (
            &[f(305, 4), f(306, 4), f(305, 4), f(306, 4)],
            |r| _ = r.u32(0).u32(0).u32(1).u32(99),
            100,
        ),
        (
            &[f(304, 2), f(304, 2), f(305, 4), f(309, 4), f(310, 4)],
            |r| _ = r.u16(0).u16(3).u32(1).u32(1).u32(512),
            512,
        ),
        (&[f(311, 8), f(311, 8)], |r| _ = r.f64(0.0).f64(0.01), 100),
    ];
    for (fields, write, interval) in cases {
        let span = flow(fields, write);
        assert_eq!(
            span.get("netflow.sampling.interval"),
            interval,
            "{fields:?}"
        );
    }
}

#[test]
fn the_first_sampler_and_the_first_interface_that_are_not_zero() {
    let mut rig = rig();
    for (sampler, interval) in [(1, 10), (2, 20)] {
        let fields = [f(48, 1), f(50, 4)];
        rig.spans(&options(v9(1), &[f(1, 4)], &fields, |r| {
            r.u32(0).u8(sampler).u32(interval);
        }));
    }
    let scope = [f(10, 4), f(252, 4)];
    rig.spans(&options(
        v9(1),
        &scope,
        &[f(82, 8), f(82, 8), f(34, 4)],
        |r| {
            r.u32(0).u32(5).text("", 8).text("uplink", 8).u32(30);
        },
    ));
    let span = rig.flow(&record(v9(1), &[f(302, 4), f(48, 1)], |r| {
        r.u32(0).u8(2);
    }));
    assert_eq!(span.get("netflow.sampling.interval"), 20);
    let span = rig.flow(&record(v9(1), &[f(10, 4), f(10, 4)], |r| {
        r.u32(0).u32(5);
    }));
    assert_eq!(span.get("netflow.interface.input"), 5);
    assert_eq!(span.get("netflow.interface.input.name"), "uplink");
    assert_eq!(span.get("netflow.sampling.interval"), 30);
}

#[test]
fn every_count_of_both_directions_is_scaled() {
    let client = |element: u16| Field::new(0x8000 + element, 4);
    let cases: [(&[Field], bool); 3] = [
        (&[f(231, 4), f(298, 4), f(232, 4), f(299, 4)], true),
        (&[client(8338), f(298, 4), client(8337), f(299, 4)], false),
        (
            &[
                f(85, 4),
                f(86, 4),
                Field::reverse(85, 4),
                Field::reverse(86, 4),
            ],
            true,
        ),
    ];
    for (counts, is_ipfix) in cases {
        let fields: Vec<_> = counts.iter().copied().chain([f(34, 4)]).collect();
        let message = if is_ipfix { ipfix(1) } else { v9(1) };
        let mut rig = rig_with(|config| {
            config.scale_sampled = true;
            config.attributes = AttributeLevel::Standard;
        });
        let span = rig.flow(&record(message, &fields, |r| {
            r.u32(3).u32(2).u32(5).u32(4).u32(10);
        }));
        for (key, value) in [
            ("netflow.flow.bytes", 30),
            ("netflow.flow.packets", 20),
            ("netflow.flow.reverse.bytes", 50),
            ("netflow.flow.reverse.packets", 40),
        ] {
            assert_eq!(span.get(key), &json!(value), "{key} of {counts:?}");
        }
    }
}
