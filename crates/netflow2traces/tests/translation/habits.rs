//! Habits of real devices: placeholders beside values, ICMP in ports, vendors' elements, stacks of zeros.

use std::sync::Arc;

use netflow_wire::write::{Field, Record};
use netflow2traces::config::AttributeLevel;
use netflow2traces::translate::enrich::fields::Fields;
use serde_json::{Value, json};

use super::rig::{Rig, Span, f, ipfix, options, record, rig, rig_with, v9};

const CISCO: u32 = 9;

fn flow(fields: &[Field], write: impl FnOnce(&mut Record)) -> Span {
    rig().flow(&record(ipfix(1), fields, write))
}

fn values<const N: usize>(span: &Span, keys: [&str; N]) -> [Value; N] {
    keys.map(|key| span.get(key).clone())
}

#[test]
fn a_candidate_that_is_zero_or_blank_yields_to_the_next() {
    let fields = [f(10, 4), f(252, 4), f(58, 2), f(243, 2), f(56, 6), f(81, 6)];
    let span = flow(&fields, |r| {
        r.u32(0).u32(7).u16(0).u16(100).bytes(&[0; 6]);
        r.mac([2, 0, 0, 0, 0, 1]);
    });
    let keys = [
        "netflow.interface.input",
        "netflow.vlan.input",
        "netflow.src_mac",
    ];
    assert_eq!(
        values(&span, keys),
        [json!(7), json!(100), json!("02:00:00:00:00:01")]
    );
    // Where none says more, the first is used as it is.
    let span = flow(&fields, |r| {
        r.u32(0).u32(0).u16(0).u16(0).mac([0; 6]).mac([0; 6]);
    });
    assert_eq!(
        values(&span, keys),
        [json!(0), json!(0), json!("00:00:00:00:00:00")]
    );
}

#[test]
fn of_names_and_ids_the_first_that_is_not_zero() {
    let fields = [
        f(233, 1),
        f(40005, 1),
        f(136, 1),
        f(136, 1),
        f(95, 4),
        f(95, 4),
    ];
    let span = rig().flow(&record(v9(1), &fields, |r| {
        r.u8(0).u8(2).u8(0).u8(3).u32(0).u32(0x0300_0050);
    }));
    let keys = [
        "netflow.firewall.event",
        "netflow.end_reason",
        "netflow.application.id",
    ];
    assert_eq!(
        values(&span, keys),
        [
            json!("flow_deleted"),
            json!("end_of_flow_detected"),
            json!("3:80")
        ]
    );
    let span = flow(&[f(61, 1), f(61, 1)], |r| {
        r.u8(0).u8(1);
    });
    assert_eq!(span.get("network.io.direction"), "transmit");
}

#[test]
fn of_a_repeated_element_the_first_that_is_not_zero() {
    let span = flow(&[f(58, 2), f(58, 2), f(7, 2), f(7, 2)], |r| {
        r.u16(0).u16(30).u16(0).u16(80);
    });
    assert_eq!(span.get("netflow.vlan.input"), 30);
    assert_eq!(span.get("source.port"), 80);
    // But a port that is there is the port, whatever others say.
    let span = flow(&[f(7, 2), f(180, 2)], |r| {
        r.u16(0).u16(53);
    });
    assert_eq!(span.get("source.port"), 0);
}

/// Type and code of a record of (protocol, source port, destination port).
fn icmp_in_port(rig: &mut Rig, protocol: u8, source: u16, destination: u16) -> [Value; 2] {
    let fields = [f(4, 1), f(7, 2), f(11, 2)];
    let span = rig.flow(&record(v9(1), &fields, |r| {
        r.u8(protocol).u16(source).u16(destination);
    }));
    values(&span, ["netflow.icmp.type", "netflow.icmp.code"])
}

#[test]
fn icmp_in_the_destination_port_is_a_pair_that_is_assigned() {
    let nothing = [Value::Null, Value::Null];
    let pair = |icmp_type: u8, code: u8| [json!(icmp_type), json!(code)];
    let mut rig = rig();
    assert_eq!(icmp_in_port(&mut rig, 1, 0, 0x0303), pair(3, 3));
    assert_eq!(icmp_in_port(&mut rig, 58, 0, 0x8800), pair(136, 0));
    for (protocol, source, destination) in
        [(1, 0, 0), (1, 77, 0x0800), (6, 0, 0x0800), (1, 0, 0xffff)]
    {
        assert_eq!(
            icmp_in_port(&mut rig, protocol, source, destination),
            nothing
        );
    }
    // Both orders of 0x0401 are assigned in ICMPv6: the one that was used before.
    assert_eq!(icmp_in_port(&mut rig, 58, 0, 0x0401), pair(4, 1));
    assert_eq!(icmp_in_port(&mut rig, 58, 0, 134), pair(134, 0));
    assert_eq!(icmp_in_port(&mut rig, 58, 0, 0x0401), pair(1, 4));
    assert_eq!(icmp_in_port(&mut rig, 58, 0, 0x8600), pair(134, 0));
    assert_eq!(icmp_in_port(&mut rig, 58, 0, 0x0401), pair(4, 1));
}

#[test]
fn icmps_own_elements_count_only_in_icmp_and_tell_the_protocol() {
    let keys = ["netflow.icmp.type", "network.transport"];
    let of = |protocol| {
        let span = flow(&[f(4, 1), f(176, 1), f(177, 1)], |r| {
            r.u8(protocol).u8(8).u8(0);
        });
        values(&span, keys)
    };
    assert_eq!(of(6), [Value::Null, json!("tcp")]);
    assert_eq!(of(1), [json!(8), json!("icmp")]);
    let span = flow(&[f(178, 1), f(179, 1)], |r| {
        r.u8(128).u8(0);
    });
    assert_eq!(values(&span, keys), [json!(128), json!("ipv6-icmp")]);
    // Ports speak of another protocol.
    let span = flow(&[f(7, 2), f(32, 2)], |r| {
        r.u16(443).u16(0);
    });
    assert_eq!(span.get("network.transport"), &Value::Null);
    // Zeros of its own yield to the port.
    let span = flow(&[f(4, 1), f(7, 2), f(11, 2), f(32, 2)], |r| {
        r.u8(1).u16(0).u16(0x0800).u16(0);
    });
    assert_eq!(span.get("netflow.icmp.type"), 8);
}

#[test]
fn labels_end_at_the_bottom_and_zeros_behind_it_are_none() {
    let labels = |entries: [[u8; 3]; 4]| {
        let fields = [f(70, 3), f(71, 3), f(72, 3), f(73, 3)];
        let span = flow(&fields, |r| {
            for entry in &entries {
                r.bytes(entry);
            }
        });
        let labels = (1..=4).map(|label| span.get(&format!("netflow.mpls.label.{label}")).clone());
        labels.map_while(|label| label.as_u64()).collect::<Vec<_>>()
    };
    let (hundred, bottom, zero, null) = ([0, 6, 0x40], [0, 0xc, 0x81], [0; 3], [0, 0, 1]);
    assert_eq!(labels([hundred, bottom, zero, zero]), [100, 200]);
    assert_eq!(labels([bottom, hundred, zero, zero]), [200]);
    assert_eq!(labels([zero, bottom, zero, zero]), [0, 200]);
    assert_eq!(labels([hundred, null, zero, zero]), [100, 0]);
    assert_eq!(labels([hundred, zero, zero, zero]), [100]);
    assert!(labels([zero; 4]).is_empty());
}

#[test]
fn a_prefix_has_its_length_and_no_bits_behind_it() {
    let keys = ["netflow.src_prefix", "netflow.dst_prefix"];
    let span = flow(&[f(44, 4), f(9, 1), f(169, 16), f(30, 1)], |r| {
        r.ipv4([192, 0, 2, 77])
            .u8(24)
            .ipv6(0x2001_0db8_u128 << 96)
            .u8(48);
    });
    assert_eq!(
        values(&span, keys),
        [json!("192.0.2.0/24"), json!("2001:db8::/48")]
    );
    // Of an address only if it is zero; without a length none; nor with one that no address has.
    let span = flow(&[f(8, 4), f(9, 1), f(12, 4), f(13, 1)], |r| {
        r.ipv4([0; 4]).u8(0).ipv4([192, 0, 2, 1]).u8(24);
    });
    assert_eq!(values(&span, keys), [json!("0.0.0.0/0"), Value::Null]);
    let span = flow(&[f(44, 4), f(45, 4), f(13, 1)], |r| {
        r.ipv4([192, 0, 2, 0]).ipv4([192, 0, 2, 0]).u8(33);
    });
    assert_eq!(values(&span, keys), [Value::Null, Value::Null]);
}

#[test]
fn what_users_look_for_is_at_standard() {
    let fields = [
        f(195, 1),
        f(361, 2),
        f(362, 2),
        f(363, 2),
        f(364, 2),
        f(82, 8),
        f(61, 1),
        Field::enterprise(3054, 111, 8),
        Field::enterprise(6876, 881, 4),
        Field::enterprise(6876, 887, 2),
    ];
    let span = flow(&fields, |r| {
        r.u8(46)
            .u16(1024)
            .u16(2047)
            .u16(1)
            .u16(1024)
            .text("eth1", 8)
            .u8(1);
        r.text("netflix", 8).ipv4([203, 0, 113, 7]).u16(443);
    });
    for (key, value) in [
        ("netflow.dscp", json!(46)),
        ("netflow.nat.port_block.start", json!(1024)),
        ("netflow.nat.port_block.end", json!(2047)),
        ("netflow.nat.port_block.step", json!(1)),
        ("netflow.nat.port_block.size", json!(1024)),
        ("netflow.interface.output.name", json!("eth1")),
        ("netflow.interface.input.name", Value::Null),
        ("netflow.application.name", json!("netflix")),
        ("netflow.tunnel.inner.source.address", json!("203.0.113.7")),
        ("netflow.tunnel.inner.destination.port", json!(443)),
    ] {
        assert_eq!(span.get(key), &value, "{key}");
    }
}

#[test]
fn antreas_pods_namespaces_and_nodes_are_at_standard_and_blank_ones_are_none() {
    const ANTREA: u32 = 56506;
    let keys = [
        "source.k8s.namespace.name",
        "source.k8s.pod.name",
        "source.k8s.node.name",
        "destination.k8s.namespace.name",
        "destination.k8s.pod.name",
        "destination.k8s.node.name",
        "destination.k8s.service.port_name",
    ];
    let fields = [100, 101, 104, 102, 103, 105, 109].map(|id| Field::enterprise(ANTREA, id, 8));
    let span = flow(&fields, |record| {
        for text in ["shop", "web-0", "node-1", "db", "pg-0", "", "db/pg"] {
            record.text(text, 8);
        }
    });
    assert_eq!(
        values(&span, keys),
        [
            json!("shop"),
            json!("web-0"),
            json!("node-1"),
            json!("db"),
            json!("pg-0"),
            Value::Null,
            json!("db/pg"),
        ]
    );
}

#[test]
fn ciscos_clients_and_servers_are_source_and_destination_in_both_versions() {
    let numbers = [12236, 12237, 12241, 8338, 8337, 1232];
    let lengths = [4, 4, 2, 8, 8, 2];
    let fields = |of: fn(u16, u16) -> Field| -> Vec<Field> {
        let pairs = numbers.into_iter().zip(lengths);
        pairs.map(|(number, length)| of(number, length)).collect()
    };
    let write = |r: &mut Record| {
        r.ipv4([192, 0, 2, 10]).ipv4([198, 51, 100, 20]).u16(443);
        r.u64(1000).u64(2000).u16(17);
    };
    let in_ipfix = fields(|number, length| Field::enterprise(CISCO, number, length));
    let in_v9 = fields(|number, length| f(0x8000 + number, length));
    for span in [
        rig().flow(&record(ipfix(1), &in_ipfix, write)),
        rig().flow(&record(v9(1), &in_v9, write)),
    ] {
        for (key, value) in [
            ("source.address", json!("192.0.2.10")),
            ("source.port", Value::Null),
            ("destination.address", json!("198.51.100.20")),
            ("destination.port", json!(443)),
            ("network.type", json!("ipv4")),
            ("netflow.flow.bytes", json!(1000)),
            ("netflow.flow.reverse.bytes", json!(2000)),
            ("netflow.security_group.source", json!(17)),
        ] {
            assert_eq!(span.get(key), &value, "{key}");
        }
    }
}

#[test]
fn a_running_total_says_so() {
    let key = "netflow.flow.cumulative";
    let total = |bytes: u64, post: u64| {
        let span = flow(&[f(85, 8), f(23, 8)], |r| {
            r.u64(bytes).u64(post);
        });
        span.get(key).clone()
    };
    assert_eq!(total(5000, 7), true);
    assert_eq!(total(0, 7), Value::Null);
    assert_eq!(total(0, 0), true);
    let span = flow(&[f(1, 8), f(85, 8)], |r| {
        r.u64(0).u64(5000);
    });
    assert_eq!(span.get(key), &Value::Null);
}

#[test]
fn estimates_are_counts_times_the_interval_and_one_where_nothing_says_so() {
    let keys = [
        "netflow.flow.estimated.bytes",
        "netflow.flow.estimated.packets",
    ];
    let sampled = [f(1, 4), f(2, 4), f(34, 4)];
    let write = |r: &mut Record| _ = r.u32(1500).u32(3).u32(100);
    let span = flow(&sampled, write);
    assert_eq!(values(&span, keys), [json!(150_000), json!(300)]);
    let span = flow(&[f(1, 4), f(2, 4)], |r| {
        r.u32(1500).u32(0);
    });
    assert_eq!(values(&span, keys), [json!(1500), json!(0)]);
    // Without a count there is no estimate of it.
    let span = flow(&[f(2, 4)], |r| {
        r.u32(3);
    });
    assert_eq!(values(&span, keys), [Value::Null, json!(3)]);
    let mut minimal = rig_with(|config| config.attributes = AttributeLevel::Minimal);
    let span = minimal.flow(&record(ipfix(1), &sampled, write));
    assert_eq!(values(&span, keys), [Value::Null, Value::Null]);
}

#[test]
fn scaled_counts_have_no_estimates_and_the_reverse_ones_are_scaled_too() {
    let fields = [
        f(1, 4),
        Field::reverse(1, 4),
        Field::reverse(2, 4),
        f(34, 4),
    ];
    let mut scaling = rig_with(|config| config.scale_sampled = true);
    let span = scaling.flow(&record(ipfix(1), &fields, |r| {
        r.u32(10).u32(20).u32(2).u32(100);
    }));
    for (key, value) in [
        ("netflow.flow.bytes", json!(1000)),
        ("netflow.flow.reverse.bytes", json!(2000)),
        ("netflow.flow.reverse.packets", json!(200)),
        ("netflow.flow.estimated.bytes", Value::Null),
    ] {
        assert_eq!(span.get(key), &value, "{key}");
    }
}

#[test]
fn names_of_options_data_stand_in_for_blank_ones_of_the_record() {
    let mut rig = rig();
    rig.spans(&options(ipfix(1), &[f(95, 4)], &[f(96, 8)], |r| {
        r.bytes(&[13, 0, 1, 197]).text("youtube", 8);
    }));
    rig.spans(&options(
        ipfix(1),
        &[f(10, 4)],
        &[f(82, 4), f(83, 8)],
        |r| {
            r.u32(5).text("    ", 4).text("Gi1/0/3", 8);
        },
    ));
    let fields = [f(95, 9), f(96, 8), f(82, 4), f(10, 4)];
    let span = rig.flow(&record(ipfix(1), &fields, |r| {
        r.bytes(&[13, 0, 0, 0, 0, 0, 0, 1, 197]).bytes(&[0; 8]);
        r.bytes(&[0; 4]).u32(5);
    }));
    for (key, value) in [
        ("netflow.application.id", "13:453"),
        ("netflow.application.name", "youtube"),
        ("netflow.interface.input.name", "Gi1/0/3"),
    ] {
        assert_eq!(span.get(key), value, "{key}");
    }
}

/// A rig with an operator's definitions.
fn rig_of(definitions: &str, level: AttributeLevel) -> Rig {
    rig_with(|config| {
        config.attributes = level;
        config.fields = Some(Arc::new(Fields::parse(definitions).expect("valid")));
    })
}

#[test]
fn an_operators_definitions_give_elements_names_types_and_attributes() {
    let text = "2,7733,sourcePodNamespace,string,source.k8s.namespace.name\n\
                2,7740,timeFlowRttNs,unsigned64\n2,7,queueDelay,unsigned32,acme.delay\n\
                0,64,ipv6ExtensionHeaders,octetArray,acme.headers\n";
    let fields = [
        Field::enterprise(2, 7733, 8),
        Field::enterprise(2, 7740, 8),
        Field::enterprise(2, 7, 4),
        f(64, 4),
        Field::enterprise(2, 8, 2),
    ];
    let keys = [
        "source.k8s.namespace.name",
        "ipfix.time_flow_rtt_ns",
        "acme.delay",
        "acme.headers",
        "ipfix.enterprise_2.8",
    ];
    let at = |level, namespace: &str| {
        let span = rig_of(text, level).flow(&record(ipfix(1), &fields, |r| {
            r.text(namespace, 8).u64(1500).u32(0).u32(0xff).u16(7);
        }));
        values(&span, keys)
    };
    let null = Value::Null;
    assert_eq!(
        at(AttributeLevel::Minimal, "shop"),
        [
            null.clone(),
            null.clone(),
            null.clone(),
            null.clone(),
            null.clone()
        ]
    );
    assert_eq!(
        at(AttributeLevel::Standard, "shop"),
        [
            json!("shop"),
            null.clone(),
            json!(0),
            json!("000000ff"),
            null.clone()
        ]
    );
    assert_eq!(
        at(AttributeLevel::All, "shop"),
        [
            json!("shop"),
            json!(1500),
            json!(0),
            json!("000000ff"),
            json!("0007")
        ]
    );
    // A blank name says nothing.
    assert_eq!(at(AttributeLevel::Standard, "  ")[0], null);
}

#[test]
fn an_attribute_of_several_elements_is_of_the_first_in_the_template() {
    let text = "2,7,one,unsigned32,acme.delay\n3,7,other,unsigned32,acme.delay\n\
                0,45100,type,unsigned32,acme.kind\n";
    let (one, other) = (Field::enterprise(2, 7, 4), Field::enterprise(3, 7, 4));
    let keys = ["acme.delay", "ipfix.other"];
    let mut rig = rig_of(text, AttributeLevel::All);
    let span = rig.flow(&record(ipfix(1), &[one, other], |r| {
        r.u32(1).u32(2);
    }));
    assert_eq!(values(&span, keys), [json!(1), json!(2)]);
    let span = rig_of(text, AttributeLevel::All).flow(&record(ipfix(1), &[other], |r| {
        r.u32(2);
    }));
    assert_eq!(values(&span, keys), [json!(2), Value::Null]);
    let span = rig.flow(&record(v9(1), &[f(45100, 4)], |r| {
        r.u32(9);
    }));
    assert_eq!(span.get("acme.kind"), 9);
}

#[test]
fn an_attribute_of_a_vendors_elements_may_be_of_another_vendors_too() {
    let text = "32473,7734,sourcePodName,string,source.k8s.pod.name\n";
    let own = Field::enterprise(32473, 7734, 8);
    let antreas = Field::enterprise(56506, 101, 8);
    let pods = |fields: &[Field]| {
        let span = rig_of(text, AttributeLevel::All).flow(&record(ipfix(1), fields, |record| {
            for field in fields {
                record.text(&format!("pod-{}", field.element), 8);
            }
        }));
        values(&span, ["source.k8s.pod.name", "ipfix.source_pod_name"])
    };
    assert_eq!(pods(&[own]), [json!("pod-7734"), Value::Null]);
    // In one record it is of the one that has it without the file.
    for both in [[own, antreas], [antreas, own]] {
        assert_eq!(pods(&both), [json!("pod-101"), json!("pod-7734")]);
    }
}

#[test]
fn what_an_attribute_shows_keeps_its_key() {
    let text = "0,1,mine,unsigned64,acme.bytes\n0,8,address,ipv4Address,acme.address\n";
    let span =
        rig_of(text, AttributeLevel::All).flow(&record(ipfix(1), &[f(1, 4), f(8, 4)], |r| {
            r.u32(1500).u32(0xc000_0201);
        }));
    let keys = [
        "netflow.flow.bytes",
        "acme.bytes",
        "source.address",
        "acme.address",
    ];
    assert_eq!(
        values(&span, keys),
        [json!(1500), Value::Null, json!("192.0.2.1"), Value::Null]
    );
}
