//! `NETFLOW_SEMCONV`: the same values under the keys of each schema, for every protocol.

use netflow_wire::sflow::{DataSource, FlowRecord, RawHeader};
use netflow_wire::write::{SflowHeader, SflowSample, SflowWriter};
use netflow2traces::config::{AttributeLevel, Semconv};
use netflow2traces::translate::Name;
use serde_json::Value;

use super::rig::{Rig, rig_with, v5_flows, v5_header};

fn rig(semconv: Semconv) -> Rig {
    rig_with(|config| {
        config.semconv = semconv;
        config.attributes = AttributeLevel::All;
    })
}

/// An IPv4 packet of TCP with SYN set, on a link of Ethernet.
fn sampled_syn() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1]);
    frame.extend_from_slice(&[198, 51, 100, 2, 0x1f, 0x90, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0]);
    frame.extend_from_slice(&[0x50, 2, 0, 0, 0, 0, 0, 0]);
    let sample = SflowSample {
        source: DataSource { kind: 0, index: 1 },
        ..SflowSample::default()
    };
    let mut datagram = SflowWriter::new(&SflowHeader::default());
    datagram.flow(&sample, |records| {
        records.record(&FlowRecord::RawHeader(RawHeader {
            protocol: 1,
            frame_length: 58,
            stripped: 4,
            octets: &frame,
        }));
    });
    datagram.finish().expect("fits")
}

fn attributes(semconv: Semconv, octets: &[u8]) -> serde_json::Map<String, Value> {
    let span = rig(semconv).flow(octets);
    span.attributes.as_object().expect("attributes").clone()
}

#[test]
fn each_schema_has_the_same_values_under_its_own_keys() {
    for octets in [v5_flows(&v5_header(), 1), sampled_syn()] {
        let netflow = attributes(Semconv::Netflow, &octets);
        let flow = attributes(Semconv::Flow, &octets);
        let both = attributes(Semconv::Both, &octets);
        let mut renamed = 0;
        for (key, value) in &netflow {
            assert_eq!(both.get(key), Some(value), "{key}");
            let Some(name) = Name::of(key) else {
                assert_eq!(flow.get(key), Some(value), "{key}");
                continue;
            };
            let Some(other) = name.flow() else { continue };
            assert_eq!(flow.get(other), Some(value), "{other}");
            assert_eq!(both.get(other), Some(value), "{other}");
            renamed += usize::from(other != key);
        }
        assert!(renamed >= 4, "{netflow:?}");
        assert!(!flow.contains_key("netflow.flow.bytes"));
        assert!(!flow.contains_key("network.protocol.number"));
        assert_eq!(flow["flow.bytes.delta"], netflow["netflow.flow.bytes"]);
        let keys = netflow.keys().chain(flow.keys());
        assert!(
            both.keys()
                .all(|key| keys.clone().any(|other| other == key))
        );
    }
}
