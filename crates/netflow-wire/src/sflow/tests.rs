use proptest::prelude::*;

use super::*;
use crate::frame::LinkType;

/// Octets of big-endian words.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A structure behind its format and length.
fn tagged(format: u32, body: &[u8]) -> Vec<u8> {
    let mut octets = words(&[format, body.len() as u32]);
    octets.extend_from_slice(body);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

fn datagram(samples: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = words(&[
        5,           // version
        1,           // an IPv4 address
        0xc000_0201, // 192.0.2.1
        17,          // sub-agent
        40_443,      // sequence
        1000,        // uptime in ms
        samples.len() as u32,
    ]);
    octets.extend(samples.concat());
    octets
}

fn flow_sample(records: &[Vec<u8>]) -> Vec<u8> {
    let mut body = words(&[
        9,           // sequence
        0x0000_0213, // source: interface 531
        16_000,      // one packet in so many
        1_354_622,   // pool
        2,           // drops
        531,         // input
        0x8000_0003, // output: three interfaces
        records.len() as u32,
    ]);
    body.extend(records.concat());
    tagged(1, &body)
}

fn flow(octets: &[u8]) -> FlowSample<'_> {
    let datagram = Datagram::parse(octets).unwrap();
    match datagram.samples().next().unwrap().unwrap() {
        Sample::Flow(flow) => flow,
        other => panic!("{other:?}"),
    }
}

fn record(format: u32, body: &[u8]) -> Result<(), SampleError> {
    let octets = datagram(&[flow_sample(&[tagged(format, body)])]);
    flow(&octets).records().next().unwrap().map(|_| ())
}

macro_rules! only {
    ($octets:expr, $kind:ident) => {
        match flow($octets).records().next().unwrap().unwrap() {
            FlowRecord::$kind(record) => record,
            other => panic!("{other:?}"),
        }
    };
}

#[test]
fn headers_with_either_address() {
    let octets = datagram(&[]);
    let header = Datagram::parse(&octets).unwrap().header;
    assert_eq!(header.agent.unwrap().to_string(), "192.0.2.1");
    assert_eq!((header.sub_agent, header.sequence), (17, 40_443));
    assert_eq!((header.uptime_ms, header.samples), (1000, 0));
    let octets = words(&[5, 2, 0x2001_0db8, 0, 0, 1, 0, 7, 8, 0]);
    let header = Datagram::parse(&octets).unwrap().header;
    assert_eq!(header.agent.unwrap().to_string(), "2001:db8::1");
    let octets = words(&[5, 0, 0, 7, 8, 0]);
    assert_eq!(Datagram::parse(&octets).unwrap().header.agent, None);
}

#[test]
fn bad_headers_cost_the_datagram() {
    let octets = datagram(&[]);
    for end in 0..octets.len() {
        let error = Datagram::parse(&octets[..end]).unwrap_err();
        assert_eq!(error, DatagramError::Truncated { octets: end });
    }
    let unknown = DatagramError::UnknownVersion { version: 4 };
    assert_eq!(Datagram::parse(&words(&[4, 1])).unwrap_err(), unknown);
    let unknown = DatagramError::UnknownAddressType { kind: 3 };
    assert_eq!(Datagram::parse(&words(&[5, 3])).unwrap_err(), unknown);
    assert!(Datagram::is_sflow(&octets));
    assert!(!Datagram::is_sflow(&[0, 5, 0, 1]));
}

#[test]
fn samples_of_every_form() {
    let expanded = words(&[
        1,
        0,
        1_000_100, // sequence, source
        16_383,
        70_839,
        0, // rate, pool, drops
        0,
        1_000_100, // input
        0,
        0x3fff_ffff, // output: the device itself
        0,           // records
    ]);
    let discarded = words(&[
        2, 0, 1, // sequence, source
        256, 1, 2, // drops, input, output
        258, 0, // reason, records
    ]);
    let octets = datagram(&[
        flow_sample(&[]),
        tagged(2, &words(&[5, 0x0100_0007, 0])), // counters of VLAN 7
        tagged(3, &expanded),
        tagged(4, &words(&[6, 2, 1000, 0])), // counters of entity 1000
        tagged(5, &discarded),
        tagged(4413 << 12 | 1, &[1, 2, 3]), // a vendor's, with an odd length
        tagged(2, &words(&[8, 0, 0])),
    ]);
    let datagram = Datagram::parse(&octets).unwrap();
    let samples: Vec<_> = datagram.samples().map(Result::unwrap).collect();
    assert_eq!(samples.len(), 7);
    let Sample::Flow(flow) = samples[0] else {
        panic!()
    };
    assert_eq!((flow.kind, flow.sequence), (FlowKind::Flow, 9));
    assert_eq!(
        flow.source,
        DataSource {
            kind: 0,
            index: 531
        }
    );
    assert_eq!(flow.sampling_rate, Some(16_000));
    assert_eq!(flow.input, Interface::Index(531));
    assert_eq!(flow.output, Interface::Multiple(3));
    let Sample::Counters(counters) = samples[1] else {
        panic!()
    };
    assert_eq!(counters.source, DataSource { kind: 1, index: 7 });
    let Sample::Flow(flow) = samples[2] else {
        panic!()
    };
    assert_eq!(flow.input, Interface::Index(1_000_100));
    assert_eq!(flow.output, Interface::Internal);
    assert!(matches!(samples[3], Sample::Counters(counters) if counters.source.index == 1000));
    let Sample::Flow(flow) = samples[4] else {
        panic!()
    };
    assert_eq!((flow.reason, flow.sampling_rate), (Some(258), None));
    assert_eq!(flow.output, Interface::Index(2));
    assert!(matches!(
        samples[5],
        Sample::Other {
            enterprise: 4413,
            format: 1
        }
    ));
    assert!(matches!(samples[6], Sample::Counters(_)));
}

#[test]
fn packed_interfaces() {
    assert_eq!(Interface::packed(7), Interface::Index(7));
    assert_eq!(Interface::packed(0x4000_0102), Interface::Discarded(258));
    assert_eq!(Interface::packed(0x3fff_ffff), Interface::Internal);
    let unknown = Interface::Unknown {
        format: 3,
        value: 1,
    };
    assert_eq!(Interface::packed(0xc000_0001), unknown);
}

#[test]
fn a_bad_sample_costs_itself() {
    let octets = datagram(&[
        tagged(1, &words(&[1, 2, 3])),
        flow_sample(&[]),
        tagged(2, &[]),
    ]);
    let parsed = Datagram::parse(&octets).unwrap();
    let mut samples = parsed.samples();
    let bad = SampleError::Malformed {
        offset: 28,
        format: 1,
    };
    assert_eq!(samples.next().unwrap().unwrap_err(), bad);
    assert!(matches!(samples.next(), Some(Ok(Sample::Flow(_)))));
    assert!(samples.next().unwrap().is_err());
    assert!(samples.next().is_none());

    // One that goes past the end, and a count of more than there are.
    let mut long = datagram(&[words(&[1, 400]), flow_sample(&[])]);
    let parsed = Datagram::parse(&long).unwrap();
    let errors: Vec<_> = parsed.samples().collect();
    assert_eq!(errors.len(), 1);
    assert!(matches!(
        errors[0],
        Err(SampleError::Truncated { offset: 28 })
    ));
    long.truncate(28);
    long[24..28].fill(0xff);
    assert_eq!(Datagram::parse(&long).unwrap().samples().count(), 1);
}

#[test]
fn a_bad_record_costs_itself() {
    let octets = datagram(&[flow_sample(&[
        tagged(1001, &words(&[1, 2, 3])),
        tagged(1002, &words(&[1, 0xc633_6401, 24, 16])),
        words(&[1001, 100]),
        tagged(1030, &words(&[5000])),
    ])]);
    let records: Vec<_> = flow(&octets).records().collect();
    assert_eq!(records.len(), 3);
    assert!(matches!(
        records[0],
        Err(SampleError::MalformedRecord { format: 1001, .. })
    ));
    assert!(matches!(records[1], Ok(FlowRecord::Router(_))));
    assert!(matches!(
        records[2],
        Err(SampleError::TruncatedRecord { offset: 112 })
    ));
}

#[test]
fn raw_headers() {
    // Six octets of a header, then two of padding.
    let body = [&words(&[1, 1518, 4, 6])[..], &[1, 2, 3, 4, 5, 6, 0, 0]].concat();
    let octets = datagram(&[flow_sample(&[tagged(1, &body)])]);
    let raw = only!(&octets, RawHeader);
    assert_eq!((raw.frame_length, raw.stripped), (1518, 4));
    assert_eq!(raw.octets, [1, 2, 3, 4, 5, 6]);
    assert_eq!(raw.link(), Some(LinkType::Ethernet));
    assert!(record(1, &words(&[1, 60, 4, 61])).is_err());
    assert!(record(1, &words(&[1, 60, 4, u32::MAX])).is_err());
}

#[test]
fn headers_that_the_agent_read() {
    let ethernet = [
        &words(&[504])[..],
        &[2, 0, 0, 0, 0, 1, 0, 0],
        &[2, 0, 0, 0, 0, 2, 0, 0],
        &words(&[0x0800]),
    ]
    .concat();
    let octets = datagram(&[flow_sample(&[tagged(2, &ethernet)])]);
    let ethernet = only!(&octets, Ethernet);
    assert_eq!(ethernet.macs.destination, [2, 0, 0, 0, 0, 2]);
    assert_eq!((ethernet.length, ethernet.ethertype), (504, 0x0800));

    let ipv4 = words(&[1344, 17, 0xc000_0201, 0xc633_6402, 46_622, 53, 0, 0x28]);
    let octets = datagram(&[flow_sample(&[tagged(3, &ipv4)])]);
    let packet = only!(&octets, Ip).packet();
    assert_eq!(packet.source.to_string(), "192.0.2.1");
    assert_eq!(packet.transport.ports, Some([46_622, 53]));
    assert_eq!(
        (packet.protocol, packet.tos, packet.length),
        (17, 0x28, 1344)
    );

    let ipv6 = words(&[
        72,
        6,
        0x2001_0db8,
        0,
        0,
        1,
        0x2001_0db8,
        0,
        0,
        2,
        1024,
        443,
        0x12,
        0,
    ]);
    let octets = datagram(&[flow_sample(&[tagged(4, &ipv6)])]);
    let packet = only!(&octets, Ip).packet();
    assert_eq!(packet.destination.to_string(), "2001:db8::2");
    assert_eq!(packet.transport.tcp_flags, Some(0x12));
    let octets = datagram(&[flow_sample(&[tagged(1024, &ipv4)])]);
    let tunnel = only!(&octets, Tunnel);
    assert!(!tunnel.egress);
}

/// XDR fills an address of six octets up to eight. Some switches don't: the record is four octets shorter then.
#[test]
fn addresses_that_are_not_filled_up_are_read() {
    let ethernet = [
        &words(&[504])[..],
        &[2, 0, 0, 0, 0, 1],
        &[2, 0, 0, 0, 0, 2],
        &words(&[0x0800]),
    ]
    .concat();
    let octets = datagram(&[flow_sample(&[tagged(2, &ethernet)])]);
    let ethernet = only!(&octets, Ethernet);
    assert_eq!(ethernet.macs.source, [2, 0, 0, 0, 0, 1]);
    assert_eq!(ethernet.macs.destination, [2, 0, 0, 0, 0, 2]);
    assert_eq!((ethernet.length, ethernet.ethertype), (504, 0x0800));
    for octets in [16, 19, 21, 23] {
        assert!(record(2, &vec![0; octets]).is_err(), "{octets}");
    }
}

#[test]
fn what_the_agent_knows() {
    let octets = datagram(&[flow_sample(&[tagged(
        1001,
        &words(&[100, 0, u32::MAX, u32::MAX]),
    )])]);
    let switch = only!(&octets, Switch);
    assert_eq!(switch.source_vlan, Some(100));
    assert_eq!(switch.destination_vlan, None);

    let gateway = words(&[
        1,
        0xc633_6402, // next hop
        64_500,
        0,
        64_501, // router, source and its peer
        2,      // segments
        2,
        2,
        64_502,
        64_503, // a sequence of two
        1,
        1,
        64_504, // a set of one
        0,
        100, // no communities, local preference
    ]);
    let octets = datagram(&[flow_sample(&[tagged(1003, &gateway)])]);
    let gateway = only!(&octets, Gateway);
    assert_eq!(gateway.next_hop.unwrap().to_string(), "198.51.100.2");
    assert_eq!((gateway.router_as, gateway.source_as), (64_500, 0));
    assert_eq!(gateway.destination_peer_as, Some(64_502));
    assert_eq!(gateway.destination_as, Some(64_504));
    let empty = words(&[1, 1, 64_500, 1, 2, 0, 0, 100]);
    let octets = datagram(&[flow_sample(&[tagged(1003, &empty)])]);
    assert_eq!(only!(&octets, Gateway).destination_as, None);

    let user = [&words(&[3, 5])[..], b"alice\0\0\0", &words(&[106, 0])].concat();
    let octets = datagram(&[flow_sample(&[tagged(1004, &user)])]);
    let user = only!(&octets, User);
    assert_eq!((user.source, user.destination), (&b"alice"[..], &b""[..]));

    let mpls = words(&[0, 2, 16 << 12, 32 << 12 | 0x100, 0]);
    let octets = datagram(&[flow_sample(&[tagged(1006, &mpls)])]);
    let mpls = only!(&octets, Mpls);
    assert_eq!(mpls.input.as_slice(), [16, 32]);
    assert!(mpls.output.as_slice().is_empty());

    let nat = words(&[1, 0x0a00_0001, 0]);
    let octets = datagram(&[flow_sample(&[tagged(1007, &nat)])]);
    let nat = only!(&octets, Nat);
    assert_eq!(nat.source.unwrap().to_string(), "10.0.0.1");
    assert_eq!(nat.destination, None);
}

#[test]
fn counts_within_records_are_bounded_by_octets() {
    let huge = u32::MAX;
    assert!(record(1003, &words(&[0, 1, 2, 3, 1, 2, huge])).is_err());
    assert!(record(1003, &words(&[0, 1, 2, 3, huge, 2, 0])).is_err());
    assert!(record(1006, &words(&[0, huge, 1])).is_err());
    assert!(record(1004, &words(&[3, huge])).is_err());
    assert!(record(1007, &words(&[9, 0, 0])).is_err());
}

/// Everything that can be asked of octets; the number of things found.
fn exhaust(octets: &[u8]) -> usize {
    let Ok(datagram) = Datagram::parse(octets) else {
        return 0;
    };
    let mut found = 0;
    for sample in datagram.samples() {
        found += 1;
        if let Ok(Sample::Flow(flow)) = sample {
            for record in flow.records() {
                found += 1;
                if let Ok(FlowRecord::RawHeader(raw)) = record {
                    let _ = raw.frame();
                }
            }
        }
    }
    found
}

proptest! {
    #[test]
    fn any_octets_are_bounded_work(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let octets = [&datagram(&[])[..24], &octets].concat();
        // Each sample or record found has 8 octets at least, but for the error at the end of each.
        prop_assert!(exhaust(&octets) <= octets.len() / 4 + 2);
    }

    #[test]
    fn changed_and_cut_datagrams_are_bounded_work(
        at in any::<prop::sample::Index>(),
        value in any::<[u8; 4]>(),
        end in any::<prop::sample::Index>(),
    ) {
        let gateway = words(&[1, 1, 2, 3, 4, 1, 2, 2, 5, 6, 0, 100]);
        let raw = [&words(&[1, 60, 4, 14])[..], &[2; 12], &[8, 0, 0, 0]].concat();
        let sample = flow_sample(&[tagged(1, &raw), tagged(1003, &gateway)]);
        let mut octets = datagram(&[sample.clone(), sample]);
        let at = at.index(octets.len() - 4);
        octets[at..at + 4].copy_from_slice(&value);
        let end = end.index(octets.len() + 1);
        prop_assert!(exhaust(&octets) <= octets.len() / 4);
        prop_assert!(exhaust(&octets[..end]) <= octets.len() / 4);
    }
}

fn address(seed: u64) -> IpAddr {
    if seed & 1 == 0 {
        IpAddr::from((seed as u32).to_be_bytes())
    } else {
        IpAddr::from((u128::from(seed) << 64 | 1).to_be_bytes())
    }
}

fn some_address(seed: u64) -> Option<IpAddr> {
    (!seed.is_multiple_of(5)).then(|| address(seed))
}

/// One record of each kind with numbers made of `seed`.
fn some_records(seed: u64, octets: &[u8]) -> Vec<FlowRecord<'_>> {
    use crate::frame::{Macs, Stack};
    let (low, high) = (seed as u32, (seed >> 32) as u32);
    let [a, b, c, d, ..] = seed.to_be_bytes();
    let ip = SampledIp {
        length: low,
        protocol: a,
        source: address(seed),
        destination: address(seed.wrapping_add(2)),
        ports: [high as u16, low as u16],
        tcp_flags: b,
        tos: c,
    };
    let mut labels = Stack::default();
    (0..low % 12).for_each(|label| labels.push(label));
    let path = !seed.is_multiple_of(3);
    vec![
        FlowRecord::RawHeader(RawHeader {
            protocol: low,
            frame_length: high,
            stripped: 4,
            octets,
        }),
        FlowRecord::Ethernet(Ethernet {
            length: low,
            macs: Macs {
                source: [a, b, c, d, 1, 2],
                destination: [d, c, b, a, 2, 1],
            },
            ethertype: high,
        }),
        FlowRecord::Ip(ip),
        FlowRecord::Switch(Switch {
            source_vlan: (low != u32::MAX).then_some(low),
            source_priority: None,
            destination_vlan: Some(u32::from(a)),
            destination_priority: Some(7),
        }),
        FlowRecord::Router(Router {
            next_hop: some_address(seed),
            source_mask: u32::from(a),
            destination_mask: u32::from(b),
        }),
        FlowRecord::Gateway(Gateway {
            next_hop: some_address(seed / 2),
            router_as: low,
            source_as: high,
            source_peer_as: 1,
            destination_peer_as: path.then_some(low),
            destination_as: path.then_some(high),
        }),
        FlowRecord::User(User {
            source_charset: 106,
            source: octets,
            destination_charset: 3,
            destination: &[],
        }),
        FlowRecord::Url(Url {
            direction: 1,
            url: octets,
            host: b"example.com",
        }),
        FlowRecord::Mpls(Mpls {
            next_hop: some_address(seed),
            input: labels,
            output: Stack::default(),
        }),
        FlowRecord::Nat(Nat {
            source: some_address(seed),
            destination: some_address(seed / 3),
        }),
        FlowRecord::NatPorts(NatPorts {
            source: low,
            destination: high,
        }),
        FlowRecord::Tunnel(TunnelHeader {
            egress: seed & 2 == 0,
            header: ip,
        }),
        FlowRecord::Vni(TunnelVni {
            egress: seed & 2 != 0,
            vni: low >> 8,
        }),
        FlowRecord::Other {
            enterprise: high >> 13,
            format: 77,
            octets,
        },
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(
        seeds in prop::collection::vec(any::<u64>(), 0..5),
        octets in prop::collection::vec(any::<u8>(), 0..64),
        interface in 0_u32..Interface::INTERNAL,
    ) {
        use crate::write::{SflowHeader, SflowSample, SflowWriter};
        let header = SflowHeader {
            agent: some_address(u64::from(interface)),
            sub_agent: 3,
            sequence: interface,
            uptime_ms: 9,
        };
        let mut writer = SflowWriter::new(&header);
        for seed in &seeds {
            let kind = [FlowKind::Flow, FlowKind::Expanded, FlowKind::Discarded][(seed % 3) as usize];
            let sample = SflowSample {
                kind,
                sequence: *seed as u32,
                source: DataSource { kind: 1, index: interface & 0xff_ffff },
                input: Interface::Index(interface),
                output: match kind {
                    FlowKind::Discarded => Interface::Internal,
                    _ => Interface::Multiple(interface),
                },
                ..SflowSample::default()
            };
            writer.flow(&sample, |records| {
                for record in some_records(*seed, &octets) {
                    records.record(&record);
                }
            });
            writer.counters(1, sample.source);
        }
        let written = writer.finish().unwrap();
        let datagram = Datagram::parse(&written).unwrap();
        prop_assert_eq!(datagram.header.agent, header.agent);
        prop_assert_eq!(datagram.header.samples as usize, seeds.len() * 2);
        let samples: Vec<_> = datagram.samples().map(Result::unwrap).collect();
        for (pair, seed) in samples.chunks(2).zip(&seeds) {
            let [Sample::Flow(flow), Sample::Counters(_)] = pair else {
                panic!("{pair:?}")
            };
            prop_assert_eq!(flow.sequence, *seed as u32);
            prop_assert_eq!(flow.input, Interface::Index(interface));
            let records: Vec<_> = flow.records().map(Result::unwrap).collect();
            let expected = some_records(*seed, &octets);
            prop_assert_eq!(records, expected);
        }
    }
}
