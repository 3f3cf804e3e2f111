//! Datagrams of every protocol.

use netflow_wire::sflow::{DataSource, FlowRecord, Interface, RawHeader, Router, Switch};
use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, Record, SflowHeader, SflowSample, SflowWriter, V5Header,
    V5Record, V9Header, v5,
};

use super::{SECONDS, UPTIME_MS};

pub(crate) fn v5_datagram() -> Vec<u8> {
    v5_datagram_of([[192, 0, 2, 7]; 30])
}

/// Flows from each of these sources.
pub(crate) fn v5_datagram_of<const N: usize>(sources: [[u8; 4]; N]) -> Vec<u8> {
    let header = V5Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        sampling_interval: 100,
        ..V5Header::default()
    };
    let flows = sources.map(|source| V5Record {
        source: source.into(),
        destination: [198, 51, 100, 9].into(),
        packets: 3,
        octets: 180,
        first_ms: UPTIME_MS - 5000,
        last_ms: UPTIME_MS - 1000,
        protocol: 6,
        ..V5Record::default()
    });
    v5(&header, &flows).expect("fits")
}

pub(crate) const V4: [Field; 2] = [Field::new(8, 4), Field::new(12, 4)];
const V6: [Field; 2] = [Field::new(27, 16), Field::new(28, 16)];
pub(crate) const COMMON: [Field; 8] = [
    Field::new(7, 2),
    Field::new(11, 2),
    Field::new(4, 1),
    Field::new(1, 8),
    Field::new(2, 8),
    Field::new(10, 4),
    Field::new(136, 1),
    Field::new(56, 6),
];

pub(crate) fn common(record: &mut Record) -> &mut Record {
    record
        .u16(50_000)
        .u16(443)
        .u8(6)
        .u64(1500)
        .u64(3)
        .u32(7)
        .u8(1)
        .mac([2, 0, 0, 0, 0, 1])
}

/// A datagram with the template and an interface's name, and one with records only.
pub(crate) fn with_template(
    message: impl Fn() -> MessageWriter,
    fields: &[Field],
    write: impl Fn(&mut Record),
) -> [Vec<u8>; 2] {
    let options = [Field::new(10, 4), Field::new(82, 8), Field::new(34, 4)];
    let mut first = message();
    first
        .template(256, fields)
        .options_template(257, &options[..1], &options[1..])
        .data_set(257, |set| {
            set.record(|record| {
                record.u32(7).text("Gi0/7", 8).u32(100);
            });
        });
    let mut second = message();
    second.declare(256, fields).data_set(256, |set| {
        for _ in 0..14 {
            set.record(&write);
        }
    });
    [first, second].map(|mut message| message.finish().expect("fits"))
}

pub(crate) fn v9_message() -> MessageWriter {
    MessageWriter::v9(V9Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        ..V9Header::default()
    })
}

pub(crate) fn ipfix_message() -> MessageWriter {
    MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        ..IpfixHeader::default()
    })
}

fn v9_datagrams() -> [Vec<u8>; 2] {
    let times = [Field::new(22, 4), Field::new(21, 4)];
    let fields = [&V4[..], &COMMON, &times].concat();
    with_template(v9_message, &fields, |record| {
        record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
        common(record).u32(UPTIME_MS - 5000).u32(UPTIME_MS - 1000);
    })
}

fn ipfix_datagrams(addresses: [Field; 2], write: impl Fn(&mut Record)) -> [Vec<u8>; 2] {
    let times = [Field::new(152, 8), Field::new(153, 8)];
    let end = u64::from(SECONDS) * 1000;
    let fields = [&addresses[..], &COMMON, &times].concat();
    with_template(ipfix_message, &fields, |record| {
        write(record);
        common(record).u64(end - 5000).u64(end - 1000);
    })
}

/// Fields of variable length, long texts and such that aren't UTF-8, large numbers, values without a name.
fn rare_datagrams() -> [Vec<u8>; 2] {
    let rare = [
        Field::variable(371),
        Field::variable(460),
        Field::variable(461),
        Field::variable(96),
        Field::new(85, 8),
        Field::new(86, 8),
        Field::new(89, 1),
        Field::new(95, 4),
        Field::new(234, 4),
        Field::new(70, 3),
        Field::new(225, 4),
        Field::new(48, 1),
    ];
    let fields = [&V4[..], &COMMON, &rare].concat();
    with_template(ipfix_message, &fields, |record| {
        record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
        common(record)
            .variable("somebody@example.net ".repeat(6).as_bytes())
            .variable("https://example.net/".repeat(20).as_bytes())
            .variable(b"example\xff.net")
            .variable(b"caf\xe9")
            .u64(1 << 60)
            .u64(u64::MAX)
            .u8(0xff)
            .u32(0x0300_01bb)
            .u32(7)
            .bytes(&[0x12, 0x34, 0x51])
            .ipv4([203, 0, 113, 7])
            .u8(1);
    })
}

fn sflow_datagram() -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 30, 8, 0];
    header.extend_from_slice(&[0x45, 0, 5, 0xdc, 0, 1, 0x40, 0, 61, 6, 0, 0]);
    header.extend_from_slice(&[192, 0, 2, 7, 198, 51, 100, 9, 0xc3, 0x50, 1, 0xbb]);
    header.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18]);
    header.resize(128, 0);
    let mut writer = SflowWriter::new(&SflowHeader::default());
    for sequence in 0..7 {
        let sample = SflowSample {
            sequence,
            sampling_rate: 1000,
            source: DataSource { kind: 0, index: 7 },
            input: Interface::Index(7),
            output: Interface::Index(8),
            ..SflowSample::default()
        };
        writer.flow(&sample, |records| {
            records
                .record(&FlowRecord::RawHeader(RawHeader {
                    protocol: 1,
                    frame_length: 1518,
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
                    next_hop: Some([10, 255, 0, 1].into()),
                    source_mask: 24,
                    destination_mask: 16,
                }));
        });
    }
    // Counters of an interface: sequence, source, one record of format 1 with 22 words.
    let counters = [1_u32, 7, 1, 1, 88, 7]
        .into_iter()
        .chain([0; 21])
        .flat_map(u32::to_be_bytes);
    let counters: Vec<u8> = counters.collect();
    writer.sample(0, 2, &counters);
    writer.finish().expect("fits")
}

/// Each with the datagrams that teach its template, and at last the one that is counted.
pub(crate) fn inputs() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let ipv4 = ipfix_datagrams(V4, |record| {
        record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
    });
    let ipv6 = ipfix_datagrams(V6, |record| {
        record.ipv6(7_u128 << 96).ipv6(9_u128 << 96);
    });
    vec![
        ("v5", vec![v5_datagram()]),
        ("v9", v9_datagrams().into()),
        ("IPFIX, IPv4", ipv4.into()),
        ("IPFIX, IPv6", ipv6.into()),
        ("IPFIX, rare values", rare_datagrams().into()),
        ("sFlow", vec![sflow_datagram()]),
    ]
}
