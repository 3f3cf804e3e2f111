//! Stage 2 without sockets: datagrams in, batches out and dropped. Flows a second of one core.
//!
//! 30-record v5 datagrams, 28-record v9 and IPFIX IPv4, 14-record IPFIX IPv6, 10 rich records of IPFIX, 7-sample
//! sFlow, with the attributes of a level. The second rate is octets written: what an attribute costs beside another
//! level is seen there.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use netflow_wire::sflow::{DataSource, FlowRecord, Interface, RawHeader, Router, Switch};
use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, SflowHeader, SflowSample, SflowWriter, V5Header, V5Record,
    V9Header, v5,
};
use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
use netflow2traces::receive::wall_clock;
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;

fn main() {
    divan::main();
}

const NOW: u32 = 1_700_000_000;
const UPTIME_MS: u32 = 1_000_000;

/// A number of the right size that differs from record to record.
fn spread(index: u32) -> u32 {
    index.wrapping_mul(2_654_435_761)
}

fn v5_datagram() -> Vec<u8> {
    let records: Vec<_> = (0..30)
        .map(|index| {
            let x = spread(index);
            V5Record {
                source: Ipv4Addr::from(0x0a00_0000 | x >> 8),
                destination: Ipv4Addr::from(0xc0a8_0000 | x & 0xffff),
                next_hop: Ipv4Addr::new(10, 255, 0, 1),
                input: 1 + (x & 0x3f) as u16,
                output: 1 + (x >> 6 & 0x3f) as u16,
                packets: 1 + (x >> 20),
                octets: 64 + (x >> 10),
                first_ms: UPTIME_MS - 60_000 + (x & 0x3fff),
                last_ms: UPTIME_MS - 1_000 + (x & 0xff),
                source_port: (x >> 3) as u16,
                destination_port: 443,
                tcp_flags: 0x1b,
                protocol: if x & 1 == 0 { 6 } else { 17 },
                tos: 0,
                source_as: 64_512,
                destination_as: 15_169,
                source_mask: 24,
                destination_mask: 16,
            }
        })
        .collect();
    let header = V5Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: NOW,
        sampling_mode: 1,
        sampling_interval: 100,
        ..V5Header::default()
    };
    v5(&header, &records).expect("fits")
}

const fn field(element: u16, length: u16) -> Field {
    Field {
        element,
        enterprise: 0,
        length,
    }
}

const COMMON: [Field; 11] = [
    field(7, 2),
    field(11, 2),
    field(4, 1),
    field(1, 8),
    field(2, 8),
    field(10, 4),
    field(14, 4),
    field(16, 4),
    field(17, 4),
    field(5, 1),
    field(6, 1),
];

fn fields(v6: bool, times: [Field; 2]) -> Vec<Field> {
    let addresses = if v6 {
        [field(27, 16), field(28, 16), field(62, 16)]
    } else {
        [field(8, 4), field(12, 4), field(15, 4)]
    };
    addresses.into_iter().chain(COMMON).chain(times).collect()
}

fn data(
    message: &mut MessageWriter,
    records: u32,
    v6: bool,
    times: impl Fn(u32) -> [u64; 2],
    octets: usize,
) {
    message.data_set(256, |set| {
        for index in 0..records {
            let x = spread(index);
            set.record(|record| {
                if v6 {
                    let address = |low: u32| {
                        Ipv6Addr::from(
                            0x2001_0db8_0a0b_0000_0000_0000_0000_0000_u128
                                | u128::from(spread(low)) << 40
                                | u128::from(low),
                        )
                    };
                    record
                        .ipv6(address(x))
                        .ipv6(address(x >> 7))
                        .ipv6(address(1));
                } else {
                    record
                        .ipv4(0x0a00_0000 | x >> 8)
                        .ipv4(0xc0a8_0000 | x & 0xffff)
                        .ipv4(0x0aff_0001);
                }
                record
                    .u16((x >> 3) as u16)
                    .u16(443)
                    .u8(if x & 1 == 0 { 6 } else { 17 })
                    .u64(u64::from(64 + (x >> 10)))
                    .u64(u64::from(1 + (x >> 20)))
                    .u32(1 + (x & 0x3f))
                    .u32(1 + (x >> 6 & 0x3f))
                    .u32(64_512)
                    .u32(15_169)
                    .u8(0)
                    .u8(0x1b);
                for time in times(x) {
                    record.uint(time, octets);
                }
            });
        }
    });
}

fn v9_datagrams() -> [Vec<u8>; 2] {
    let header = V9Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: NOW,
        ..V9Header::default()
    };
    let fields = fields(false, [field(22, 4), field(21, 4)]);
    let mut template = MessageWriter::v9(header);
    template.template(256, &fields);
    let mut message = MessageWriter::v9(header);
    message.declare(256, &fields);
    let times = |x: u32| {
        [
            u64::from(UPTIME_MS - 60_000 + (x & 0x3fff)),
            u64::from(UPTIME_MS - 900),
        ]
    };
    data(&mut message, 28, false, times, 4);
    [
        template.finish().expect("fits"),
        message.finish().expect("fits"),
    ]
}

fn ipfix_datagrams(v6: bool) -> [Vec<u8>; 2] {
    let header = IpfixHeader {
        export_time: NOW,
        ..IpfixHeader::default()
    };
    let fields = fields(v6, [field(152, 8), field(153, 8)]);
    let mut template = MessageWriter::ipfix(header);
    template.template(256, &fields);
    let mut message = MessageWriter::ipfix(header);
    message.declare(256, &fields);
    let times = |x: u32| {
        let end = u64::from(NOW) * 1000;
        [end - 60_000 + u64::from(x & 0x3fff), end - 900]
    };
    data(&mut message, if v6 { 14 } else { 28 }, v6, times, 8);
    [
        template.finish().expect("fits"),
        message.finish().expect("fits"),
    ]
}

/// What a router with many features on sends: 41 fields, some of them variable in length, and its options.
fn rich_datagrams() -> [Vec<u8>; 4] {
    let header = IpfixHeader {
        export_time: NOW,
        ..IpfixHeader::default()
    };
    let fields: Vec<_> = fields(false, [field(152, 8), field(153, 8)])
        .into_iter()
        .chain(
            [
                (61, 1),
                (9, 1),
                (13, 1),
                (58, 2),
                (59, 2),
                (56, 6),
                (80, 6),
                (18, 4),
                (136, 1),
                (89, 1),
                (225, 4),
                (226, 4),
                (227, 2),
                (228, 2),
                (230, 1),
                (70, 3),
                (71, 3),
                (234, 4),
                (235, 4),
                (95, 4),
                (302, 4),
                (148, 8),
                (195, 1),
                (192, 1),
                (371, 65_535),
            ]
            .map(|(element, length)| field(element, length)),
        )
        .collect();
    let mut templates = MessageWriter::ipfix(header);
    templates
        .template(256, &fields)
        .options_template(257, &[field(10, 4)], &[field(82, 16)])
        .options_template(258, &[field(302, 4)], &[field(305, 4), field(306, 4)]);
    let mut interfaces = MessageWriter::ipfix(header);
    interfaces.declare(257, &[field(10, 4), field(82, 16)]);
    interfaces.data_set(257, |set| {
        for index in 1..=64_u32 {
            let mut name = [0; 16];
            name[..7].copy_from_slice(b"xe-0/0/");
            name[7..9].copy_from_slice(&[b'0' + (index / 10) as u8, b'0' + (index % 10) as u8]);
            set.record(|record| {
                record.u32(index).bytes(&name);
            });
        }
    });
    let mut samplers = MessageWriter::ipfix(header);
    samplers.declare(258, &[field(302, 4), field(305, 4), field(306, 4)]);
    samplers.data_set(258, |set| {
        set.record(|record| {
            record.u32(1).u32(1).u32(999);
        });
    });
    let mut message = MessageWriter::ipfix(header);
    message.declare(256, &fields);
    message.data_set(256, |set| {
        for index in 0..10 {
            let x = spread(index);
            let end = u64::from(NOW) * 1000;
            set.record(|record| {
                record
                    .ipv4(0x0a00_0000 | x >> 8)
                    .ipv4(0xc0a8_0000 | x & 0xffff)
                    .ipv4(0x0aff_0001)
                    .u16((x >> 3) as u16)
                    .u16(443)
                    .u8(6)
                    .u64(u64::from(64 + (x >> 10)))
                    .u64(u64::from(1 + (x >> 20)))
                    .u32(1 + (x & 0x3f))
                    .u32(1 + (x >> 6 & 0x3f))
                    .u32(64_512)
                    .u32(15_169)
                    .u8(0)
                    .u8(0x1b)
                    .u64(end - 60_000 + u64::from(x & 0x3fff))
                    .u64(end - 900)
                    .u8((x & 1) as u8)
                    .u8(24)
                    .u8(16)
                    .u16(30)
                    .u16(31)
                    .bytes(&[2, 0, 0, 0, 0, 1])
                    .bytes(&[2, 0, 0, 0, 0, 2])
                    .ipv4(0x0aff_0002)
                    .u8(1 + (x & 3) as u8)
                    .u8(64)
                    .ipv4(0xcb00_7101)
                    .ipv4(0xc0a8_0000 | x & 0xffff)
                    .u16((x >> 5) as u16)
                    .u16(443)
                    .u8(1)
                    .bytes(&[0x12, 0x34, 0x50])
                    .bytes(&[0x12, 0x35, 0x51])
                    .u32(7)
                    .u32(8)
                    .u32(0x0300_01bb)
                    .u32(1)
                    .u64(u64::from(x) << 20)
                    .u8(10)
                    .u8(63)
                    .variable(b"alice@example.net");
            });
        }
    });
    [templates, interfaces, samplers, message].map(|mut message| message.finish().expect("fits"))
}

/// What a switch sends of TCP in a VLAN: 128 octets of each packet, and what it knows of VLANs and routes.
fn sflow_datagram() -> Vec<u8> {
    let mut writer = SflowWriter::new(&SflowHeader::default());
    for index in 0..7 {
        let x = spread(index);
        let mut header = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 30, 8, 0];
        header.extend_from_slice(&[0x45, 0, 5, 0xdc, 0, 1, 0x40, 0, 61, 6, 0, 0]);
        header.extend_from_slice(&(0x0a00_0000 | x >> 8).to_be_bytes());
        header.extend_from_slice(&(0xc0a8_0000 | x & 0xffff).to_be_bytes());
        header.extend_from_slice(&((x >> 3) as u16).to_be_bytes());
        header.extend_from_slice(&[1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18]);
        header.resize(128, 0);
        let sample = SflowSample {
            sequence: index,
            sampling_rate: 1000,
            source: DataSource { kind: 0, index: 3 },
            input: Interface::Index(3),
            output: Interface::Index(1 + (x & 0x3f)),
            ..SflowSample::default()
        };
        writer.flow(&sample, |records| {
            records
                .record(&FlowRecord::RawHeader(RawHeader {
                    protocol: 1,
                    frame_length: 1522,
                    stripped: 4,
                    octets: &header,
                }))
                .record(&FlowRecord::Switch(Switch {
                    source_vlan: Some(30),
                    source_priority: Some(0),
                    destination_vlan: Some(31),
                    destination_priority: Some(0),
                }))
                .record(&FlowRecord::Router(Router {
                    next_hop: Some(Ipv4Addr::new(10, 255, 0, 1).into()),
                    source_mask: 24,
                    destination_mask: 16,
                }));
        });
    }
    writer.finish().expect("fits")
}

/// Translates the last of `datagrams` over and over, the others once before.
fn run(bencher: Bencher<'_, '_>, level: AttributeLevel, datagrams: &[Vec<u8>], flows: usize) {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded =
        config::load(Purpose::Run, &sources, &Machine::read()).expect("defaults are sound");
    let config = config::Translate {
        attributes: level,
        ..loaded.config.translate
    };
    let mut translator = Translator::new(&config, wall_clock, Ids::new([7; 32]));
    let source = "192.0.2.1:2055".parse().expect("an address");
    let now = Instant::now();
    for octets in datagrams {
        translator.on_datagram(
            &Datagram {
                octets,
                source,
                received_at: wall_clock(),
            },
            now,
        );
    }
    let octets = datagrams.last().expect("some");
    let per_iteration = 100;
    let counters = translator.counters();
    // What a datagram becomes.
    translator.flush();
    while translator.poll_batch(now).is_some() {}
    let before = (counters.batch_octets.value(), counters.flow_spans.value());
    translator.on_datagram(
        &Datagram {
            octets,
            source,
            received_at: UnixNanos(1),
        },
        now,
    );
    translator.flush();
    while translator.poll_batch(now).is_some() {}
    let written = (counters.batch_octets.value() - before.0) as usize;
    assert_eq!(counters.flow_spans.value() - before.1, flows as u64);
    bencher
        .counter(ItemsCount::new(flows * per_iteration))
        .counter(BytesCount::new(written * per_iteration))
        .bench_local(|| {
            for _ in 0..per_iteration {
                translator.on_datagram(
                    &Datagram {
                        octets,
                        source,
                        received_at: UnixNanos(1),
                    },
                    now,
                );
                while let Some(batch) = translator.poll_batch(now) {
                    divan::black_box(batch);
                }
            }
        });
}

const LEVELS: [AttributeLevel; 2] = [AttributeLevel::Minimal, AttributeLevel::Standard];

#[divan::bench(args = LEVELS)]
fn netflow_v5(bencher: Bencher<'_, '_>, level: AttributeLevel) {
    run(bencher, level, &[v5_datagram()], 30);
}

#[divan::bench(args = LEVELS)]
fn netflow_v9(bencher: Bencher<'_, '_>, level: AttributeLevel) {
    run(bencher, level, &v9_datagrams(), 28);
}

#[divan::bench(args = LEVELS)]
fn ipfix_ipv4(bencher: Bencher<'_, '_>, level: AttributeLevel) {
    run(bencher, level, &ipfix_datagrams(false), 28);
}

#[divan::bench(args = LEVELS)]
fn ipfix_ipv6(bencher: Bencher<'_, '_>, level: AttributeLevel) {
    run(bencher, level, &ipfix_datagrams(true), 14);
}

/// 41 elements.
#[divan::bench(args = [AttributeLevel::Minimal, AttributeLevel::Standard, AttributeLevel::All])]
fn ipfix_rich(bencher: Bencher<'_, '_>, level: AttributeLevel) {
    run(bencher, level, &rich_datagrams(), 10);
}

#[divan::bench(args = LEVELS)]
fn sflow(bencher: Bencher<'_, '_>, level: AttributeLevel) {
    run(bencher, level, &[sflow_datagram()], 7);
}
