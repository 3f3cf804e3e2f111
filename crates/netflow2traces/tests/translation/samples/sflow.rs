//! Datagrams of sFlow.

use std::net::{IpAddr, Ipv4Addr};

use netflow_wire::frame::{MAX_LABELS, Stack};
use netflow_wire::sflow::{
    DataSource, FlowKind, FlowRecord, Gateway, Interface, Mpls, Nat, NatPorts, RawHeader, Router,
    SampledIp, Switch, TunnelHeader, TunnelVni, User,
};
use netflow_wire::write::{SflowHeader, SflowSample, SflowWriter};
use netflow2traces::config::{AttributeLevel, SamplingOverride};
use proptest::prelude::*;

use super::{
    FRAME, RECEIVED, Shown, assert_attributes, configuration, flows, shown, take, translator,
};

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn raw(octets: &[u8]) -> FlowRecord<'_> {
    FlowRecord::RawHeader(RawHeader {
        protocol: 1,
        frame_length: 1518,
        stripped: 4,
        octets,
    })
}

/// A sample of the packet that came in where it was sampled.
fn sample() -> SflowSample {
    SflowSample {
        sequence: 5,
        sampling_rate: 1000,
        source: DataSource { kind: 0, index: 1 },
        ..SflowSample::default()
    }
}

fn datagram(header: &SflowHeader, samples: &[(SflowSample, &[FlowRecord<'_>])]) -> Vec<u8> {
    let mut writer = SflowWriter::new(header);
    for (sample, records) in samples {
        writer.flow(sample, |to| {
            records.iter().for_each(|record| _ = to.record(record));
        });
    }
    writer.finish().expect("fits")
}

fn span(level: AttributeLevel, sample: SflowSample, records: &[FlowRecord<'_>]) -> Shown {
    let mut translator = translator(&configuration(level));
    let octets = datagram(&SflowHeader::default(), &[(sample, records)]);
    take(&mut translator, &octets);
    let mut spans = flows(&mut translator);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

#[test]
fn the_headers_of_a_sampled_packet() {
    let minimal = [
        ("sflow.version", "5"),
        ("source.address", "192.0.2.10"),
        ("source.port", "51000"),
        ("destination.address", "198.51.100.20"),
        ("destination.port", "443"),
        ("network.transport", "tcp"),
        ("network.protocol.number", "6"),
        ("netflow.flow.bytes", "1518"),
        ("netflow.flow.packets", "1"),
        ("netflow.interface.input", "1"),
        ("netflow.interface.output", "2"),
    ];
    let span_minimal = span(AttributeLevel::Minimal, sample(), &[raw(&FRAME)]);
    assert_attributes(&span_minimal.attributes, &minimal);
    assert_eq!(span_minimal.times, [RECEIVED; 2]);
    let standard = [
        ("network.type", "ipv4"),
        ("network.io.direction", "receive"),
        ("netflow.tcp_flags", "18"),
        ("netflow.tos", "40"),
        ("netflow.vlan.input", "30"),
        ("netflow.src_mac", "02:00:00:00:00:01"),
        ("netflow.dst_mac", "02:00:00:00:00:02"),
        ("netflow.flow.estimated.bytes", "1518000"),
        ("netflow.flow.estimated.packets", "1000"),
        ("netflow.sampling.interval", "1000"),
        ("netflow.sampling.origin", "record"),
    ];
    let standard = [&minimal[..], &standard].concat();
    let span_standard = span(AttributeLevel::Standard, sample(), &[raw(&FRAME)]);
    assert_attributes(&span_standard.attributes, &standard);
    let detail = [
        ("ipfix.ip_ttl", "61"),
        ("ipfix.ip_total_length", "1500"),
        ("ipfix.ethernet_type", "2048"),
        ("sflow.sample.sequence", "5"),
        ("sflow.sample.pool", "0"),
        ("sflow.sample.drops", "0"),
        ("sflow.source.type", "0"),
        ("sflow.source.index", "1"),
        ("sflow.header.protocol", "1"),
        ("sflow.header.stripped", "4"),
    ];
    let all = [&standard[..], &detail].concat();
    let span_all = span(AttributeLevel::All, sample(), &[raw(&FRAME)]);
    assert_attributes(&span_all.attributes, &all);
}

#[test]
fn what_the_agent_knows_of_the_packet() {
    let mut labels = Stack::<u32, MAX_LABELS>::default();
    labels.push(16);
    labels.push(1000);
    let outer = SampledIp {
        length: 1500,
        protocol: 47,
        source: ip(101),
        destination: ip(102),
        ports: [0, 0],
        tcp_flags: 0,
        tos: 0,
    };
    let records = [
        FlowRecord::Ip(SampledIp {
            length: 84,
            protocol: 17,
            source: ip(1),
            destination: ip(2),
            ports: [5000, 53],
            tcp_flags: 0,
            tos: 8,
        }),
        FlowRecord::Switch(Switch {
            source_vlan: Some(100),
            source_priority: Some(1),
            destination_vlan: None,
            destination_priority: None,
        }),
        FlowRecord::Router(Router {
            next_hop: Some(ip(3)),
            source_mask: 24,
            destination_mask: 16,
        }),
        FlowRecord::Gateway(Gateway {
            next_hop: Some(ip(4)),
            router_as: 64_500,
            source_as: 0,
            source_peer_as: 0,
            destination_peer_as: Some(64_501),
            destination_as: Some(64_502),
        }),
        FlowRecord::User(User {
            source_charset: 106,
            source: b"alice",
            destination_charset: 106,
            destination: b"",
        }),
        FlowRecord::Mpls(Mpls {
            next_hop: Some(ip(5)),
            input: labels,
            output: Stack::default(),
        }),
        FlowRecord::Nat(Nat {
            source: Some(ip(6)),
            destination: None,
        }),
        FlowRecord::NatPorts(NatPorts {
            source: 7,
            destination: 8,
        }),
        FlowRecord::Tunnel(TunnelHeader {
            egress: true,
            header: outer,
        }),
        FlowRecord::Vni(TunnelVni {
            egress: true,
            vni: 5000,
        }),
    ];
    let span = span(AttributeLevel::Standard, sample(), &records);
    assert_attributes(
        &span.attributes,
        &[
            ("sflow.version", "5"),
            ("source.address", "10.0.0.1"),
            ("source.port", "5000"),
            ("destination.address", "10.0.0.2"),
            ("destination.port", "53"),
            ("network.transport", "udp"),
            ("network.protocol.number", "17"),
            ("network.type", "ipv4"),
            ("network.io.direction", "receive"),
            ("netflow.flow.bytes", "84"),
            ("netflow.flow.packets", "1"),
            ("netflow.flow.estimated.bytes", "84000"),
            ("netflow.flow.estimated.packets", "1000"),
            ("netflow.nexthop", "10.0.0.3"),
            ("netflow.bgp_nexthop", "10.0.0.4"),
            ("netflow.interface.input", "1"),
            ("netflow.interface.output", "2"),
            ("netflow.src_as", "64500"),
            ("netflow.dst_as", "64502"),
            ("netflow.tcp_flags", "0"),
            ("netflow.tos", "8"),
            ("netflow.src_mask", "24"),
            ("netflow.dst_mask", "16"),
            ("netflow.vlan.input", "100"),
            ("netflow.user", "alice"),
            ("netflow.mpls.label.1", "16"),
            ("netflow.mpls.label.2", "1000"),
            ("netflow.nat.source.address", "10.0.0.6"),
            ("netflow.nat.source.port", "7"),
            ("netflow.nat.destination.port", "8"),
            ("netflow.tunnel.source.address", "10.0.0.101"),
            ("netflow.tunnel.source.port", "0"),
            ("netflow.tunnel.destination.address", "10.0.0.102"),
            ("netflow.tunnel.destination.port", "0"),
            ("netflow.tunnel.protocol", "47"),
            ("netflow.tunnel.vni", "5000"),
            ("netflow.sampling.interval", "1000"),
            ("netflow.sampling.origin", "record"),
        ],
    );
}

#[test]
fn interfaces_that_are_no_index() {
    let of = |kind, input, output, reason| {
        let sample = SflowSample {
            kind,
            input,
            output,
            reason,
            ..sample()
        };
        let mut attributes = span(AttributeLevel::Standard, sample, &[]).attributes;
        attributes.retain(|key, _| {
            ["netflow.interface", "sflow.discard", "sflow.output"]
                .iter()
                .any(|prefix| key.starts_with(prefix))
        });
        attributes
    };
    let many = of(
        FlowKind::Flow,
        Interface::Internal,
        Interface::Multiple(3),
        0,
    );
    assert_attributes(&many, &[("sflow.output.interfaces", "3")]);
    let (input, output) = (Interface::Index(7), Interface::Discarded(258));
    let discarded = [
        ("netflow.interface.input", "7"),
        ("sflow.discard.reason", "acl"),
    ];
    assert_attributes(&of(FlowKind::Expanded, input, output, 0), &discarded);
    let discarded = [
        ("netflow.interface.input", "7"),
        ("netflow.interface.output", "0"),
        ("sflow.discard.reason", "9999"),
    ];
    let output = Interface::Index(0);
    assert_attributes(&of(FlowKind::Discarded, input, output, 9999), &discarded);
}

#[test]
fn a_tunnel_in_the_frame() {
    let vxlan = [
        &[0x45, 0, 0, 100, 0, 0, 0, 0, 64, 17, 0, 0][..],
        &[192, 0, 2, 10, 198, 51, 100, 20],
        &[0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0], // UDP to 4789
        &[8, 0, 0, 0, 0, 0x13, 0x88, 0],    // VNI 5000
        &FRAME,
    ]
    .concat();
    let record = FlowRecord::RawHeader(RawHeader {
        protocol: 11,
        frame_length: 118,
        stripped: 18,
        octets: &vxlan,
    });
    let mut attributes = span(AttributeLevel::Standard, sample(), &[record]).attributes;
    assert_eq!(attributes["destination.port"], "4789");
    attributes.retain(|key, _| key.starts_with("netflow.tunnel."));
    assert_attributes(
        &attributes,
        &[
            ("netflow.tunnel.type", "vxlan"),
            ("netflow.tunnel.vni", "5000"),
            ("netflow.tunnel.inner.source.address", "192.0.2.10"),
            ("netflow.tunnel.inner.source.port", "51000"),
            ("netflow.tunnel.inner.destination.address", "198.51.100.20"),
            ("netflow.tunnel.inner.destination.port", "443"),
            ("netflow.tunnel.inner.protocol", "6"),
        ],
    );
}

#[test]
fn counts_are_scaled_by_the_samples_rate_or_the_operators() {
    let octets = datagram(&SflowHeader::default(), &[(sample(), &[raw(&FRAME)])]);
    let mut config = configuration(AttributeLevel::Standard);
    config.scale_sampled = true;
    let mut machine = translator(&config);
    take(&mut machine, &octets);
    let attributes = flows(&mut machine).remove(0).attributes;
    assert_eq!(attributes["netflow.flow.bytes"], "1518000");
    assert_eq!(attributes["netflow.flow.packets"], "1000");
    assert_eq!(attributes["netflow.sampling.scaled"], "true");

    config.sampling_override = vec![SamplingOverride {
        exporters: "192.0.2.0/24".parse().expect("a network"),
        interface: None,
        interval: 10,
    }];
    let mut machine = translator(&config);
    take(&mut machine, &octets);
    let attributes = flows(&mut machine).remove(0).attributes;
    assert_eq!(attributes["netflow.flow.packets"], "10");
    assert_eq!(attributes["netflow.sampling.origin"], "config");
}

#[test]
fn agents_behind_one_address_are_told_apart() {
    let mut machine = translator(&configuration(AttributeLevel::Standard));
    for (agent, sub_agent, sequence) in [(1, 0, 100), (2, 0, 7), (1, 1, 5), (1, 0, 104), (2, 0, 8)]
    {
        let header = SflowHeader {
            agent: Some(ip(agent)),
            sub_agent,
            sequence,
            uptime_ms: 1000,
        };
        take(
            &mut machine,
            &datagram(&header, &[(sample(), &[raw(&FRAME)])]),
        );
    }
    let spans = shown(&mut machine);
    assert_eq!(spans.len(), 5 * 4);
    let of_agent = |agent: &str| {
        let flows = spans.iter().filter(|span| {
            span.name == "netflow.flow" && span.resource["netflow.exporter.agent"] == agent
        });
        flows.count()
    };
    assert_eq!((of_agent("10.0.0.1"), of_agent("10.0.0.2")), (3, 2));
    assert!(
        spans
            .iter()
            .all(|span| span.resource["netflow.exporter.address"] == "192.0.2.1")
    );
    let exports: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "netflow.export")
        .collect();
    let lost: Vec<_> = exports
        .iter()
        .filter_map(|span| span.attributes.get("netflow.lost"))
        .collect();
    assert_eq!(lost, ["3"]);
    let fourth = exports
        .iter()
        .find(|span| span.attributes["netflow.sequence"] == "104");
    let mut attributes = fourth.expect("its export span").attributes.clone();
    attributes.remove("netflow.packet.size_bytes");
    assert_attributes(
        &attributes,
        &[
            ("sflow.version", "5"),
            ("netflow.exporter.address", "192.0.2.1"),
            ("netflow.exporter.port", "50000"),
            ("netflow.flow.count", "1"),
            ("netflow.sequence", "104"),
            ("netflow.observation_domain", "0"),
            ("netflow.exporter.uptime_ms", "1000"),
            ("netflow.lost", "3"),
        ],
    );
    let counters = machine.counters();
    assert_eq!(counters.lost_datagrams.value(), 3);
    assert_eq!(counters.exporters.value(), 1);
}

#[test]
fn everything_is_counted() {
    let mut machine = translator(&configuration(AttributeLevel::Standard));
    let mut writer = SflowWriter::new(&SflowHeader::default());
    writer
        .flow(&sample(), |records| {
            // Too short for a switch; then the frame, which is shown anyway.
            records.raw(0, 1001, &[0; 4]).record(&raw(&FRAME));
        })
        .counters(1, DataSource { kind: 0, index: 1 })
        .sample(4413, 1, &[0; 8])
        .sample(0, 1, &[0; 8]);
    take(&mut machine, &writer.finish().expect("fits"));
    take(&mut machine, &[0, 0, 0, 5, 0, 0, 0, 9]);
    take(&mut machine, &[0, 0, 0, 5, 0, 0]);
    let counters = machine.counters();
    let count = |name: &str| counters.each().find(|(field, _)| *field == name).unwrap().1;
    for (name, expected) in [
        ("datagrams_decoded", 1),
        ("datagrams_sflow", 1),
        ("datagrams_bad_agent", 1),
        ("datagrams_truncated", 1),
        ("flow_samples", 1),
        ("flow_spans", 1),
        ("counter_samples", 1),
        ("samples_unknown", 1),
        ("samples_malformed", 1),
        ("samples_truncated", 0),
        ("sample_records_malformed", 1),
        ("sample_records_truncated", 0),
    ] {
        assert_eq!(count(name), expected, "{name}");
    }
    assert_eq!(counters.datagrams_rejected(), 2);
    let spans = shown(&mut machine);
    let flow = spans.iter().find(|span| span.name == "netflow.flow");
    assert_eq!(flow.unwrap().attributes["destination.port"], "443");
    let export = spans.iter().find(|span| span.name == "netflow.export");
    let error = export.unwrap().error.as_deref().unwrap_or_default();
    assert!(error.contains("too short for format 1001"), "{error}");
}

#[test]
fn spans_fill_one_request_after_another() {
    let mut config = configuration(AttributeLevel::All);
    config.batch_max_octets = 8 << 10;
    config.batch_max_spans = 7;
    let mut machine = translator(&config);
    let records = [raw(&FRAME)];
    let samples = vec![(sample(), &records[..]); 40];
    let octets = datagram(&SflowHeader::default(), &samples);
    take(&mut machine, &octets);
    assert_eq!(shown(&mut machine).len(), 43);
    assert_eq!(machine.counters().records_too_large.value(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_datagram_is_accounted_for(
        octets in prop::collection::vec(any::<u8>(), 0..400),
        at in any::<prop::sample::Index>(),
        value in any::<[u8; 4]>(),
    ) {
        let mut machine = translator(&configuration(AttributeLevel::All));
        let records = [raw(&FRAME), raw(&octets)];
        let mut changed = datagram(&SflowHeader::default(), &[(sample(), &records[..]); 3]);
        let at = at.index(changed.len() - 4);
        changed[at..at + 4].copy_from_slice(&value);
        let random = [&changed[..24], &octets].concat();
        take(&mut machine, &changed);
        take(&mut machine, &random);
        let counters = machine.counters();
        prop_assert_eq!(counters.datagrams_decoded.value() + counters.datagrams_rejected(), 2);
        prop_assert_eq!(counters.flow_samples.value(), counters.flow_spans.value());
        prop_assert!(counters.flow_spans.value() <= 3 + octets.len() as u64 / 32);
    }
}
