//! Whose records they are: one resource for each exporter, and the device behind a relay or NAT.

use std::sync::Arc;

use netflow_wire::sflow::{DataSource, FlowRecord, RawHeader};
use netflow_wire::write::{Field, SflowHeader, SflowSample, SflowWriter};
use netflow2traces::config::ServiceName;
use netflow2traces::translate::enrich::networks::Networks;
use serde_json::{Value, json};

use super::rig::{
    Rig, f, ipfix, options, record, resource_attributes, resources, rig, rig_with, spans, v5_flows,
    v5_header, v9,
};

const AGENT: &str = "netflow.exporter.agent";
const FLOW: [Field; 2] = [f(8, 4), f(12, 4)];

fn sflow(agent: Option<[u8; 4]>) -> Vec<u8> {
    let frame = [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, 0, 53, 0, 53, 0,
        8, 0, 0,
    ];
    let header = SflowHeader {
        agent: agent.map(Into::into),
        ..SflowHeader::default()
    };
    let sample = SflowSample {
        source: DataSource { kind: 0, index: 1 },
        ..SflowSample::default()
    };
    let mut datagram = SflowWriter::new(&header);
    datagram.flow(&sample, |records| {
        records.record(&FlowRecord::RawHeader(RawHeader {
            protocol: 11,
            frame_length: 28,
            stripped: 0,
            octets: &frame,
        }));
    });
    datagram.finish().expect("fits")
}

#[test]
fn netflow_and_sflow_without_agent_share_a_resource() {
    let mut rig = rig();
    for octets in [
        v5_flows(&v5_header(), 1),
        sflow(None),
        v5_flows(&v5_header(), 1),
        sflow(None),
    ] {
        rig.take("192.0.2.1:2055", &octets);
    }
    let batches = rig.flush();
    assert_eq!(batches.len(), 1);
    assert_eq!(resources(&batches[0]), ["192.0.2.1"]);
    let found = spans(&batches[0]);
    let versions = ["netflow.version", "sflow.version"];
    for version in versions {
        let of = found
            .iter()
            .filter(|span| span.name == "netflow.flow" && !span.get(version).is_null());
        assert_eq!(of.count(), 2, "{version}");
    }
    // An agent that is named is a device of its own.
    for octets in [v5_flows(&v5_header(), 1), sflow(Some([10, 0, 0, 1]))] {
        rig.take("192.0.2.1:2055", &octets);
    }
    let batches = rig.flush();
    assert_eq!(resources(&batches[0]), ["192.0.2.1", "192.0.2.1"]);
}

/// What a record of the flow's two addresses alone says.
fn agent(rig: &mut Rig, domain: u32) -> Value {
    let message = record(ipfix(domain), &FLOW, |r| {
        r.ipv4([192, 0, 2, 7]).ipv4([192, 0, 2, 8]);
    });
    rig.flow(&message).get(AGENT).clone()
}

#[test]
fn a_record_names_the_exporter_behind_a_relay() {
    let of = |field: Field, octets: &[u8]| {
        let message = record(ipfix(1), &[FLOW[0], FLOW[1], field], |r| {
            r.ipv4([192, 0, 2, 7]).ipv4([192, 0, 2, 8]).bytes(octets);
        });
        rig().flow(&message).get(AGENT).clone()
    };
    let six = 0xfd_u128 << 120 | 1;
    assert_eq!(of(f(130, 4), &[10, 0, 0, 1]), "10.0.0.1");
    assert_eq!(of(f(131, 16), &six.to_be_bytes()), "fd00::1");
    assert_eq!(of(f(403, 4), &[10, 0, 0, 2]), "10.0.0.2");
    assert_eq!(of(f(404, 16), &six.to_be_bytes()), "fd00::1");
    // Of the exporter of a mediator and the original one the latter; of two families the one that is used.
    let fields = [FLOW[0], f(130, 4), f(131, 16), f(403, 4)];
    let write = |original: [u8; 4]| {
        record(v9(1), &fields, |r| {
            r.ipv4([192, 0, 2, 7]).ipv4([0; 4]).ipv6(six).ipv4(original);
        })
    };
    assert_eq!(rig().flow(&write([10, 0, 0, 3])).get(AGENT), "10.0.0.3");
    assert_eq!(rig().flow(&write([0; 4])).get(AGENT), "fd00::1");
}

#[test]
fn options_name_the_exporter_of_a_domain() {
    let mut rig = rig();
    assert_eq!(agent(&mut rig, 5), Value::Null);
    // As Juniper's inline jflow does: by exporting process, the other family zero.
    let told = options(ipfix(5), &[f(144, 4)], &[f(130, 4), f(131, 16)], |r| {
        r.u32(1).ipv4([10, 0, 0, 1]).ipv6(0_u128);
    });
    assert!(rig.flows(&told).is_empty());
    assert_eq!(agent(&mut rig, 5), "10.0.0.1");
    assert_eq!(
        agent(&mut rig, 6),
        Value::Null,
        "another domain may be another device's"
    );
    // A domain that the scope names.
    let told = options(ipfix(5), &[f(149, 4)], &[f(130, 4)], |r| {
        r.u32(6).ipv4([10, 0, 0, 2]);
    });
    rig.spans(&told);
    assert_eq!(agent(&mut rig, 6), "10.0.0.2");
    assert_eq!(agent(&mut rig, 5), "10.0.0.1");
}

#[test]
fn an_exporter_that_names_itself_says_nothing_new() {
    let mut rig = rig();
    let told = |address: [u8; 4]| {
        options(ipfix(5), &[f(144, 4)], &[f(130, 4)], |r| {
            r.u32(1).ipv4(address);
        })
    };
    rig.spans(&told([192, 0, 2, 1]));
    assert_eq!(agent(&mut rig, 5), Value::Null);
    rig.spans(&told([10, 0, 0, 9]));
    assert_eq!(agent(&mut rig, 5), "10.0.0.9");
    // Later values replace earlier ones, and zero is no exporter.
    rig.spans(&told([0; 4]));
    assert_eq!(agent(&mut rig, 5), "10.0.0.9");
    rig.spans(&told([192, 0, 2, 1]));
    assert_eq!(agent(&mut rig, 5), Value::Null);
}

#[test]
fn options_of_one_template_or_interface_name_no_exporter() {
    let mut rig = rig();
    for scope in [145, 10, 130] {
        rig.spans(&options(ipfix(5), &[f(scope, 4)], &[f(130, 4)], |r| {
            r.u32(1).ipv4([10, 0, 0, 1]);
        }));
    }
    assert_eq!(agent(&mut rig, 5), Value::Null);
}

#[test]
fn two_exporters_behind_one_address_are_told_apart_by_their_ports() {
    let mut rig = rig();
    let told = |address: [u8; 4]| {
        options(ipfix(0), &[f(144, 4)], &[f(130, 4)], |r| {
            r.u32(1).ipv4(address);
        })
    };
    let flow = record(ipfix(0), &FLOW, |r| {
        r.ipv4([192, 0, 2, 7]).ipv4([192, 0, 2, 8]);
    });
    rig.take("192.0.2.1:1000", &told([10, 0, 0, 1]));
    rig.take("192.0.2.1:2000", &told([10, 0, 0, 2]));
    rig.take("192.0.2.1:1000", &flow);
    rig.take("192.0.2.1:2000", &flow);
    let found: Vec<_> = rig.flush().iter().flat_map(spans).collect();
    let flows = found.iter().filter(|span| span.name == "netflow.flow");
    let agents: Vec<_> = flows.map(|span| span.get(AGENT).clone()).collect();
    assert_eq!(agents, ["10.0.0.1", "10.0.0.2"]);
}

fn name_networks(rig: &mut Rig, file: &str) {
    let networks = Networks::parse(file, None).expect("a file that can be used");
    rig.translator().name_networks(Some(Arc::new(networks)));
}

/// The service, the name and the network of each resource that spans stand under.
fn named(rig: &mut Rig) -> Vec<[Value; 3]> {
    let batches = rig.flush();
    let resources = batches.iter().flat_map(resource_attributes);
    let keys = [
        "service.name",
        "netflow.exporter.name",
        "netflow.exporter.network",
    ];
    resources
        .map(|resource| keys.map(|key| resource[key].clone()))
        .collect()
}

#[test]
fn the_service_may_be_the_exporter_by_its_name_else_its_address() {
    let mut rig = rig_with(|config| config.service_name = ServiceName::Exporter);
    let datagram = v5_flows(&v5_header(), 1);
    rig.take("192.0.2.1:2055", &datagram);
    assert_eq!(
        named(&mut rig),
        [[json!("192.0.2.1"), Value::Null, Value::Null]]
    );
    name_networks(
        &mut rig,
        "192.0.2.0/24,office\n192.0.2.1,edge-1\n10.0.0.1,leaf-7\n",
    );
    rig.take("192.0.2.1:2055", &datagram);
    rig.take("192.0.2.2:2055", &datagram);
    rig.take("198.51.100.1:2055", &datagram);
    // A name of the network isn't one of the exporter: others are in it too.
    assert_eq!(
        named(&mut rig),
        [
            [json!("edge-1"), json!("edge-1"), json!("edge-1")],
            [json!("192.0.2.2"), Value::Null, json!("office")],
            [json!("198.51.100.1"), Value::Null, Value::Null],
        ]
    );
    // sFlow: the service is the agent; the other names are of the exporter that sent it.
    rig.take("192.0.2.2:6343", &sflow(Some([10, 0, 0, 1])));
    rig.take("192.0.2.1:6343", &sflow(Some([10, 0, 0, 2])));
    assert_eq!(
        named(&mut rig),
        [
            [json!("leaf-7"), Value::Null, json!("office")],
            [json!("10.0.0.2"), json!("edge-1"), json!("edge-1")],
        ]
    );
}

#[test]
fn a_resource_follows_the_names_even_in_the_middle_of_a_batch() {
    let mut rig = rig();
    let (datagram, sample) = (v5_flows(&v5_header(), 2), sflow(Some([10, 0, 0, 1])));
    for file in [
        "192.0.2.1,old\n",
        "192.0.2.1,a-much-longer-name\n",
        "192.0.2.1,a-much-longer-name\n",
        "10.0.0.0/8,other\n",
    ] {
        name_networks(&mut rig, file);
        rig.take("192.0.2.1:2055", &datagram);
        rig.take("192.0.2.1:2055", &sample);
    }
    let batches = rig.flush();
    assert_eq!(batches.len(), 1);
    // Every span is there, under the name that held when it came.
    assert_eq!(spans(&batches[0]).len(), 4 * (5 + 4));
    let names: Vec<_> = resource_attributes(&batches[0])
        .iter()
        .filter(|resource| resource[AGENT].is_null())
        .map(|resource| resource["netflow.exporter.name"].clone())
        .collect();
    assert_eq!(
        names,
        [
            json!("old"),
            json!("a-much-longer-name"),
            json!("a-much-longer-name"),
            Value::Null
        ]
    );
    // The service stays, unless it is to be the exporter.
    let services: Vec<_> = resource_attributes(&batches[0])
        .iter()
        .map(|resource| resource["service.name"].clone())
        .collect();
    assert!(services.iter().all(|name| name == "netflow-to-traces"));
}

#[test]
fn the_longest_names_leave_room_for_spans() {
    let mut rig = rig_with(|config| config.service_name = ServiceName::Exporter);
    let name = "n".repeat(256);
    name_networks(&mut rig, &format!("2001:db8::1,{name}\n"));
    rig.take("[2001:db8::1]:2055", &sflow(Some([10, 0, 0, 1])));
    rig.take("[2001:db8::1]:2055", &v5_flows(&v5_header(), 1));
    let named = named(&mut rig);
    assert_eq!(named[0], [json!("10.0.0.1"), json!(name), json!(name)]);
    assert_eq!(named[1], [json!(name), json!(name), json!(name)]);
}
