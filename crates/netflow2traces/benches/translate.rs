//! Stage 2 without sockets: datagrams in, batches out and dropped. Flows a second of one core.
//!
//! 30-record v5 datagrams, 28-record v9 and IPFIX IPv4, 14-record IPFIX IPv6, 7-sample sFlow, with the attributes of
//! a level.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;
use netflow_wire::sflow::{DataSource, FlowRecord, Interface, RawHeader, Router, Switch};
use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, SflowHeader, SflowSample, SflowWriter, V5Header, V5Record,
    V9Header, v5,
};
use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
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

fn wall() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixNanos(since.map_or(0, |since| since.as_nanos() as u64))
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
    let mut translator = Translator::new(&config, wall, Ids::new([7; 32]));
    let source = "192.0.2.1:2055".parse().expect("an address");
    let now = Instant::now();
    for octets in datagrams {
        translator.on_datagram(
            &Datagram {
                octets,
                source,
                received_at: wall(),
            },
            now,
        );
    }
    let octets = datagrams.last().expect("some");
    let per_iteration = 100;
    bencher
        .counter(ItemsCount::new(flows * per_iteration))
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

#[divan::bench(args = LEVELS)]
fn sflow(bencher: Bencher<'_, '_>, level: AttributeLevel) {
    run(bencher, level, &[sflow_datagram()], 7);
}
