//! Which of several: address families, repeated elements, counters, and the forms of ICMP.

use netflow_wire::write::{Field, Record};
use netflow2traces::config::AttributeLevel;
use serde_json::{Value, json};

use super::rig::{Rig, Span, f, ipfix, record, rig, rig_with, v5_header};

const V4: [Field; 2] = [f(8, 4), f(12, 4)];
const V6: [Field; 2] = [f(27, 16), f(28, 16)];

fn flow(fields: &[Field], write: impl FnOnce(&mut Record)) -> Span {
    rig().flow(&record(ipfix(1), fields, write))
}

fn addresses(span: &Span) -> [&str; 3] {
    ["source.address", "destination.address", "network.type"]
        .map(|key| span.get(key).as_str().unwrap_or("-"))
}

/// An IPv4 pair and an IPv6 pair, each there or zero.
fn dual(r: &mut Record, v4: bool, v6: bool) {
    let (a, b) = if v4 {
        ([192, 0, 2, 1], [192, 0, 2, 2])
    } else {
        ([0; 4], [0; 4])
    };
    let (c, d) = if v6 {
        (0xfd << 120 | 1, 0xfd << 120 | 2)
    } else {
        (0_u128, 0)
    };
    r.ipv4(a).ipv4(b).ipv6(c).ipv6(d);
}

const DUAL: [Field; 4] = [V4[0], V4[1], V6[0], V6[1]];
const AS_V4: [&str; 3] = ["192.0.2.1", "192.0.2.2", "ipv4"];
const AS_V6: [&str; 3] = ["fd00::1", "fd00::2", "ipv6"];

#[test]
fn of_two_families_the_one_that_is_not_zero() {
    assert_eq!(addresses(&flow(&DUAL, |r| dual(r, true, false))), AS_V4);
    assert_eq!(addresses(&flow(&DUAL, |r| dual(r, false, true))), AS_V6);
}

#[test]
fn of_two_families_the_one_that_element_60_names() {
    let fields = [&DUAL[..], &[f(60, 1)]].concat();
    for (version, expected) in [(4, AS_V4), (6, AS_V6)] {
        let span = flow(&fields, |r| {
            dual(r, true, true);
            r.u8(version);
        });
        assert_eq!(addresses(&span), expected);
    }
}

#[test]
fn masks_and_next_hops_follow_the_family() {
    let fields = [
        &DUAL[..],
        &[f(9, 1), f(29, 1), f(15, 4), f(62, 16), f(60, 1)],
    ]
    .concat();
    let span = |version| {
        flow(&fields, |r| {
            dual(r, true, true);
            r.u8(24)
                .u8(64)
                .ipv4([192, 0, 2, 9])
                .ipv6(9_u128)
                .u8(version);
        })
    };
    assert_eq!(span(4).get("netflow.src_mask"), 24);
    assert_eq!(span(4).get("netflow.nexthop"), "192.0.2.9");
    assert_eq!(span(6).get("netflow.src_mask"), 64);
    assert_eq!(span(6).get("netflow.nexthop"), "::9");
}

#[test]
fn an_address_of_zeros_is_an_address() {
    let span = flow(&V4, |r| {
        r.ipv4([0; 4]).ipv4([255; 4]);
    });
    assert_eq!(addresses(&span), ["0.0.0.0", "255.255.255.255", "ipv4"]);
    let span = flow(&V6, |r| {
        r.ipv6(0_u128).ipv6(0_u128);
    });
    assert_eq!(addresses(&span), ["::", "::", "ipv6"]);
}

#[test]
fn of_a_repeated_element_the_first() {
    let span = flow(&[f(8, 4), f(7, 2), f(8, 4), f(7, 2)], |r| {
        r.ipv4([192, 0, 2, 1]).u16(1).ipv4([10, 0, 0, 1]).u16(2);
    });
    assert_eq!(span.get("source.address"), "192.0.2.1");
    assert_eq!(span.get("source.port"), 1);
}

/// Templates for tunnels have a place for each header; without a tunnel the outer one's stays zero.
#[test]
fn of_a_repeated_address_the_first_that_is_not_zero() {
    let pairs = [V4[0], V4[1], V4[0], V4[1]];
    let span = flow(&pairs, |r| {
        r.ipv4([0; 4]).ipv4([0; 4]);
        r.ipv4([192, 0, 2, 1]).ipv4([192, 0, 2, 2]);
    });
    assert_eq!(addresses(&span), AS_V4);
    // The family's own goes before the other family's.
    let outer_and_inner = [&DUAL[..], &V6].concat();
    let span = flow(&outer_and_inner, |r| {
        dual(r, false, false);
        r.ipv6(0xfd << 120 | 1_u128).ipv6(0xfd << 120 | 2_u128);
    });
    assert_eq!(addresses(&span), AS_V6);
    let span = flow(&outer_and_inner, |r| {
        dual(r, true, false);
        r.ipv6(0xfd << 120 | 1_u128).ipv6(0xfd << 120 | 2_u128);
    });
    assert_eq!(addresses(&span), AS_V4);
}

/// Level `all` shows what the name doesn't: of a repeated element all but that one.
#[test]
fn the_other_addresses_of_a_repeated_element_are_shown_with_all() {
    let mut rig = rig_with(|config| config.attributes = AttributeLevel::All);
    let fields = [V4[0], V4[0], V4[0], V6[0]];
    let shown = |rig: &mut Rig, values: [[u8; 4]; 3]| {
        let span = rig.flow(&record(ipfix(1), &fields, |r| {
            for value in values {
                r.ipv4(value);
            }
            r.ipv6(0_u128);
        }));
        assert!(span.get("ipfix.source_ipv6_address").is_null());
        let keys = ["source.address", "ipfix.source_ipv4_address"];
        json!(keys.map(|key| span.get(key)))
    };
    let [one, two, three] = [[192, 0, 2, 1], [10, 0, 0, 2], [10, 0, 0, 3]];
    let of_three = shown(&mut rig, [one, two, three]);
    assert_eq!(of_three, json!(["192.0.2.1", ["10.0.0.2", "10.0.0.3"]]));
    let of_two = shown(&mut rig, [one, two, [0; 4]]);
    assert_eq!(of_two, json!(["192.0.2.1", "10.0.0.2"]));
    let without_the_outermost = shown(&mut rig, [[0; 4], two, [0; 4]]);
    assert_eq!(without_the_outermost, json!(["10.0.0.2", null]));
}

#[test]
fn of_several_counters_the_first_that_counted() {
    // 1 delta, 85 total, 23 post, 231 initiator, 352 layer 2.
    let cases: [(&[(u16, u64)], u64); 6] = [
        (&[(85, 9)], 9),
        (&[(352, 7), (85, 9)], 9),
        (&[(85, 0), (23, 5)], 5),
        (&[(85, 0), (231, 0)], 0),
        (&[(231, 4), (352, 8)], 4),
        // A delta that is there is what the flow adds to a sum.
        (&[(85, 9), (1, 0)], 0),
    ];
    for (values, expected) in cases {
        let fields: Vec<_> = values.iter().map(|(element, _)| f(*element, 8)).collect();
        let span = flow(&fields, |r| {
            for (_, value) in values {
                r.u64(*value);
            }
        });
        assert_eq!(span.get("netflow.flow.bytes"), expected, "{values:?}");
    }
}

#[test]
fn zero_is_a_value_and_absence_is_none() {
    let span = flow(&[f(7, 2), f(10, 4), f(2, 4)], |r| {
        r.u16(0).u32(0).u32(0);
    });
    for key in [
        "source.port",
        "netflow.interface.input",
        "netflow.flow.packets",
    ] {
        assert_eq!(span.get(key), 0, "{key}");
    }
    for key in [
        "destination.port",
        "netflow.interface.output",
        "netflow.flow.bytes",
    ] {
        assert_eq!(span.get(key), &Value::Null, "{key}");
    }
}

#[test]
fn reduced_and_odd_sizes_are_numbers() {
    let span = flow(&[f(1, 3), f(2, 5), f(7, 1), f(10, 7)], |r| {
        r.uint(70_000, 3).uint(1 << 33, 5).u8(80).uint(9, 7);
    });
    assert_eq!(span.get("netflow.flow.bytes"), 70_000);
    assert_eq!(span.get("netflow.flow.packets"), 1_u64 << 33);
    assert_eq!(span.get("source.port"), 80);
    assert_eq!(span.get("netflow.interface.input"), 9);
}

fn icmp(span: &Span) -> (Value, Value) {
    let get = |key| span.get(key).clone();
    (get("netflow.icmp.type"), get("netflow.icmp.code"))
}

#[test]
fn icmp_type_and_code_come_in_many_forms() {
    type Write = fn(&mut Record);
    let cases: [(&[Field], Write, (u64, u64)); 7] = [
        // The pair in one, each of its own, for both families; the destination port.
        (&[f(4, 1), f(32, 2)], |r| _ = r.u8(1).u16(0x0301), (3, 1)),
        (
            &[f(4, 1), f(139, 2)],
            |r| _ = r.u8(58).u16(0x8701),
            (135, 1),
        ),
        (
            &[f(4, 1), f(176, 1), f(177, 1)],
            |r| _ = r.u8(1).u8(11).u8(2),
            (11, 2),
        ),
        (
            &[f(4, 1), f(178, 1), f(179, 1)],
            |r| _ = r.u8(58).u8(128).u8(0),
            (128, 0),
        ),
        (&[f(4, 1), f(11, 2)], |r| _ = r.u8(1).u16(0x0800), (8, 0)),
        (&[f(4, 1), f(11, 2)], |r| _ = r.u8(58).u16(0x8600), (134, 0)),
        // Its own element counts more than the port.
        (
            &[f(4, 1), f(11, 2), f(32, 2)],
            |r| _ = r.u8(1).u16(0).u16(0x0303),
            (3, 3),
        ),
    ];
    for (fields, write, (kind, code)) in cases {
        assert_eq!(
            icmp(&flow(fields, write)),
            (kind.into(), code.into()),
            "{fields:?}"
        );
    }
}

#[test]
fn the_port_of_another_protocol_is_no_icmp() {
    let span = flow(&[f(4, 1), f(11, 2)], |r| {
        r.u8(6).u16(0x0800);
    });
    assert_eq!(icmp(&span), (Value::Null, Value::Null));
    assert_eq!(span.get("destination.port"), 0x0800);
}

#[test]
fn v5_has_icmp_in_the_destination_port() {
    let flow = netflow_wire::write::V5Record {
        protocol: 1,
        destination_port: 0x0b01,
        ..Default::default()
    };
    let octets = netflow_wire::write::v5(&v5_header(), &[flow]).expect("fits");
    assert_eq!(icmp(&rig().flow(&octets)), (11.into(), 1.into()));
}

#[test]
fn protocols_have_their_keyword() {
    for (number, name) in [(6, "tcp"), (58, "ipv6-icmp"), (253, "protocol-253")] {
        let span = rig().flow(&record(ipfix(1), &[f(4, 1)], |r| {
            r.u8(number);
        }));
        assert_eq!(span.get("network.transport"), name);
        assert_eq!(span.get("network.protocol.number"), number);
    }
}

#[test]
fn values_have_their_registrys_names() {
    let span = flow(&[f(136, 1), f(233, 1), f(61, 1)], |r| {
        r.u8(1).u8(3).u8(1);
    });
    assert_eq!(span.get("netflow.end_reason"), "idle_timeout");
    assert_eq!(span.get("netflow.firewall.event"), "flow_denied");
    assert_eq!(span.get("network.io.direction"), "transmit");
    let span = flow(&[f(136, 1), f(61, 1)], |r| {
        r.u8(99).u8(7);
    });
    assert_eq!(span.get("netflow.end_reason"), "99");
    assert_eq!(span.get("network.io.direction"), &Value::Null);
}
