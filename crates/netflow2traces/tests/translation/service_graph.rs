//! `NETFLOW_SERVICE_GRAPH=spans`: the graph that spans draw is the one that is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use netflow_wire::write::{Field, V5Record, v5};
use netflow2traces::config::{ServiceGraph, TraceShape, Translate};
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{FlowReading, Places, View};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use proptest::prelude::*;

use super::rig::{Rig, Span, UPTIME_MS, f, ipfix, record, rig_with, spans, v5_header};

const FILE: &str = "10.1.0.0/16,office\n10.2.0.0/16,shop\n10.3.0.0/16,Data centre\n";
const OWN_SERVICE: &str = "netflow-to-traces";
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;

fn graph(config: &mut Translate) {
    config.shape = TraceShape::Flow;
    config.service_graph = ServiceGraph::Spans;
}

fn rig() -> Rig {
    let mut rig = rig_with(graph);
    rig.count_flows(&Places::new(
        [View::ServiceGraph].into_iter().collect(),
        1000,
    ));
    let networks = Networks::parse(FILE, None).expect("valid");
    rig.translator().name_networks(Some(Arc::new(networks)));
    rig
}

/// Addresses of the networks 1 to 3 have names.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: (u8, u16),
    destination: (u8, u16),
    flags: u8,
}

fn v5_flows(flows: &[Flow]) -> Vec<u8> {
    let record = |flow: &Flow| V5Record {
        source: [10, flow.source.0, 0, 1].into(),
        destination: [10, flow.destination.0, 0, 1].into(),
        source_port: flow.source.1,
        destination_port: flow.destination.1,
        protocol: 6,
        tcp_flags: flow.flags,
        packets: 2,
        octets: 100,
        first_ms: UPTIME_MS - 5000,
        last_ms: UPTIME_MS - 1000,
        ..V5Record::default()
    };
    v5(&v5_header(), &flows.iter().map(record).collect::<Vec<_>>()).expect("fits")
}

/// A record of both directions, of which the destination began.
fn biflow(flow: &Flow) -> Vec<u8> {
    let fields = [
        f(8, 4),
        f(12, 4),
        f(7, 2),
        f(11, 2),
        f(4, 1),
        f(239, 1),
        f(1, 4),
        Field::enterprise(29_305, 1, 4),
    ];
    record(ipfix(1), &fields, |record| {
        record
            .bytes(&[10, flow.source.0, 0, 1])
            .bytes(&[10, flow.destination.0, 0, 1])
            .u16(flow.source.1)
            .u16(flow.destination.1)
            .u8(6)
            .u8(2)
            .u32(10)
            .u32(20);
    })
}

/// Of each edge the requests, and of these the failed ones.
type Edges = BTreeMap<(String, String), (u64, u64)>;

fn counted(reading: &FlowReading) -> Edges {
    let networks = reading.networks.as_ref().expect("names");
    let name = |number: u32| {
        let name = number
            .checked_sub(1)
            .and_then(|id| networks.names().get(id));
        name.unwrap_or("other").to_owned()
    };
    let mut edges = Edges::new();
    for series in &reading.graph.as_ref().expect("a graph").series {
        let key = series.key.expect("no overflow");
        let edge = edges.entry((name(key.first), name(key.second)));
        let (requests, failed) = edge.or_default();
        *requests += series.totals.requests;
        *failed += series.totals.failed;
    }
    edges
}

fn drawn(spans: &[Span]) -> Edges {
    let mut edges = Edges::new();
    for span in spans {
        let peer = span.get("peer.service");
        assert_eq!(peer, span.get("service.peer.name"));
        let Some(peer) = peer.as_str() else {
            assert_eq!(span.kind, SpanKind::Internal as i32);
            assert_eq!((span.service.as_str(), &span.error), (OWN_SERVICE, &None));
            continue;
        };
        assert_eq!(span.kind, SpanKind::Client as i32);
        let edge = edges.entry((span.service.clone(), peer.to_owned()));
        let (requests, failed) = edge.or_default();
        *requests += 1;
        *failed += u64::from(span.error.is_some());
    }
    edges
}

fn flow() -> impl Strategy<Value = Flow> {
    let port = prop_oneof![Just(443), Just(53), 1024..1030_u16, 49_152..49_160_u16];
    let end = || (0_u8..5, port.clone());
    let flags = prop_oneof![Just(SYN), Just(SYN_ACK), Just(0x1b), Just(0x04)];
    (end(), end(), flags).prop_map(|(source, destination, flags)| Flow {
        source,
        destination,
        flags,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn spans_draw_the_graph_that_is_counted(
        datagrams in prop::collection::vec((any::<bool>(), 1_u8..4, prop::collection::vec(flow(), 1..30)), 1..8),
    ) {
        let mut rig = rig();
        let mut flows = 0;
        let mut found = Vec::new();
        for (is_biflow, exporter, datagram) in &datagrams {
            let source = format!("192.0.2.{exporter}:2055");
            let (octets, records) = match is_biflow {
                true => (biflow(&datagram[0]), 1),
                false => (v5_flows(datagram), datagram.len()),
            };
            rig.take(&source, &octets);
            flows += records;
        }
        found.extend(rig.flush().iter().flat_map(spans));
        prop_assert_eq!(found.len(), flows);
        prop_assert_eq!(drawn(&found), counted(&rig.flow_metrics()));
    }
}

#[test]
fn a_request_goes_from_its_clients_network_to_its_servers() {
    let mut rig = rig();
    let there = Flow {
        source: (1, 50_000),
        destination: (3, 443),
        flags: SYN_ACK,
    };
    let back = Flow {
        source: there.destination,
        destination: there.source,
        ..there
    };
    let refused = Flow {
        source: (9, 50_001),
        destination: (2, 443),
        flags: SYN,
    };
    let found = rig.spans(&v5_flows(&[there, back, refused]));
    let edges: Vec<_> = drawn(&found).into_iter().collect();
    let edge = |client: &str, server: &str| (client.to_owned(), server.to_owned());
    assert_eq!(
        edges,
        [
            (edge("office", "Data centre"), (1, 0)),
            (edge("other", "shop"), (1, 1)),
        ]
    );
    // The answer is a span like any other.
    assert_eq!(found.len(), 3);
    // Its server began: the destination is the client.
    let found = rig.spans(&biflow(&back));
    let edges: Vec<_> = drawn(&found).into_iter().collect();
    assert_eq!(edges, [(edge("office", "Data centre"), (1, 0))]);
    // The exporter stays what it was.
    assert!(found.iter().all(|span| span.exporter == "192.0.2.1"));
}

#[test]
fn names_of_networks_may_be_long_and_many() {
    let mut rig = rig_with(|config| {
        graph(config);
        config.batch_max_octets = 16 * 1024;
    });
    let name = |network: u32| format!("{}{network}", "n".repeat(250));
    let line = |network: u32| {
        format!(
            "10.{}.{}.0/24,{}\n",
            network >> 8,
            network & 0xff,
            name(network)
        )
    };
    let file: String = (0..5_000).map(line).collect();
    let networks = Networks::parse(&file, None).expect("valid");
    rig.translator().name_networks(Some(Arc::new(networks)));
    let record = |network: u32| V5Record {
        source: std::net::Ipv4Addr::from(0x0a00_0001 | network << 8),
        destination: [10, 0, 0, 1].into(),
        source_port: 50_000,
        destination_port: 443,
        protocol: 6,
        ..V5Record::default()
    };
    let mut found = Vec::new();
    for first in (0..5_000).step_by(25) {
        let records: Vec<_> = (first..first + 25).map(record).collect();
        rig.take("192.0.2.1:2055", &v5(&v5_header(), &records).expect("fits"));
        found.extend(rig.poll().iter().flat_map(spans));
    }
    found.extend(rig.flush().iter().flat_map(spans));
    let clients: Vec<_> = found.iter().map(|span| span.service.clone()).collect();
    assert_eq!(clients, (0..5_000).map(name).collect::<Vec<_>>());
}

#[test]
fn without_the_setting_no_span_is_a_request() {
    let mut rig = rig_with(|config| config.shape = TraceShape::Flow);
    let flow = Flow {
        source: (1, 50_000),
        destination: (3, 443),
        flags: SYN,
    };
    let found = rig.spans(&v5_flows(&[flow]));
    assert!(drawn(&found).is_empty());
}
