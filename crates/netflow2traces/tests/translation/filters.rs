//! Filters over random records of every protocol, against a plain evaluation of what the unfiltered spans say.

use netflow_wire::sflow::{DataSource, FlowRecord, RawHeader};
use netflow_wire::write::{
    SflowHeader, SflowSample, SflowWriter, V1Header, V1Record, V5Record, V7Header, V7Record, v1,
    v5, v7,
};
use netflow2traces::config::{AttributeLevel, Selection};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::rig::{SECONDS, UPTIME_MS, f, ipfix, record, rig_with, v5_header, v9};

#[derive(Clone, Copy, Debug)]
enum Protocol {
    V1,
    V5,
    V7,
    V9,
    Ipfix,
    Sflow,
}

/// A flow as its exporter means it; not every protocol says all of it.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: [u8; 4],
    destination: [u8; 4],
    ports: [u16; 2],
    protocol: u8,
    flags: u8,
    tos: u8,
    bytes: u32,
    packets: u32,
    interfaces: [u16; 2],
    systems: [u16; 2],
}

impl Flow {
    fn v5(&self) -> V5Record {
        V5Record {
            source: self.source.into(),
            destination: self.destination.into(),
            source_port: self.ports[0],
            destination_port: self.ports[1],
            protocol: self.protocol,
            tcp_flags: self.flags,
            tos: self.tos,
            octets: self.bytes,
            packets: self.packets,
            input: self.interfaces[0],
            output: self.interfaces[1],
            source_as: self.systems[0],
            destination_as: self.systems[1],
            ..V5Record::default()
        }
    }

    fn datagram(&self, protocol: Protocol) -> Vec<u8> {
        let message = match protocol {
            Protocol::V1 => {
                let (header, flow) = (V1Header::default(), self.v5());
                let header = V1Header {
                    sys_uptime_ms: UPTIME_MS,
                    unix_secs: SECONDS,
                    ..header
                };
                let record = V1Record {
                    source: flow.source,
                    destination: flow.destination,
                    source_port: flow.source_port,
                    destination_port: flow.destination_port,
                    protocol: flow.protocol,
                    tcp_flags: flow.tcp_flags,
                    tos: flow.tos,
                    octets: flow.octets,
                    packets: flow.packets,
                    input: flow.input,
                    output: flow.output,
                    ..V1Record::default()
                };
                return v1(&header, &[record]).expect("fits");
            }
            Protocol::V5 => return v5(&v5_header(), &[self.v5()]).expect("fits"),
            Protocol::V7 => {
                let header = V7Header {
                    sys_uptime_ms: UPTIME_MS,
                    unix_secs: SECONDS,
                    ..V7Header::default()
                };
                let record = V7Record {
                    flow: self.v5(),
                    ..V7Record::default()
                };
                return v7(&header, &[record]).expect("fits");
            }
            Protocol::Sflow => return self.sflow(),
            Protocol::V9 => v9(1),
            Protocol::Ipfix => ipfix(1),
        };
        let fields = [
            f(8, 4),
            f(12, 4),
            f(7, 2),
            f(11, 2),
            f(4, 1),
            f(6, 1),
            f(5, 1),
            f(1, 4),
            f(2, 4),
            f(10, 2),
            f(14, 2),
            f(16, 2),
            f(17, 2),
        ];
        record(message, &fields, |record| {
            let [source_port, destination_port] = self.ports;
            record
                .bytes(&self.source)
                .bytes(&self.destination)
                .u16(source_port)
                .u16(destination_port)
                .u8(self.protocol)
                .u8(self.flags)
                .u8(self.tos)
                .u32(self.bytes)
                .u32(self.packets)
                .u16(self.interfaces[0])
                .u16(self.interfaces[1])
                .u16(self.systems[0])
                .u16(self.systems[1]);
        })
    }

    /// A sampled packet of IPv4, with as much of the transport's header as TCP has.
    fn sflow(&self) -> Vec<u8> {
        let mut packet = vec![0x45, self.tos, 0, 40, 0, 0, 0, 0, 64, self.protocol, 0, 0];
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(self.ports.map(u16::to_be_bytes).concat());
        packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, self.flags, 0, 0, 0, 0, 0, 0]);
        let sample = SflowSample {
            source: DataSource { kind: 0, index: 1 },
            ..SflowSample::default()
        };
        let mut datagram = SflowWriter::new(&SflowHeader::default());
        datagram.flow(&sample, |records| {
            records.record(&FlowRecord::RawHeader(RawHeader {
                protocol: 11,
                frame_length: self.bytes,
                stripped: 0,
                octets: &packet,
            }));
        });
        datagram.finish().expect("fits")
    }
}

/// What a comparison is of: its words, and the keys of which one is enough.
type Subject = (&'static str, &'static [&'static str]);

const NUMBERS: &[Subject] = &[
    ("src port", &["source.port"]),
    ("dst port", &["destination.port"]),
    ("port", &["source.port", "destination.port"]),
    ("proto", &["network.protocol.number"]),
    ("bytes", &["netflow.flow.bytes"]),
    ("packets", &["netflow.flow.packets"]),
    ("in if", &["netflow.interface.input"]),
    ("out if", &["netflow.interface.output"]),
    ("src as", &["netflow.src_as"]),
    ("as", &["netflow.src_as", "netflow.dst_as"]),
    ("tos", &["netflow.tos"]),
    ("icmp-type", &["netflow.icmp.type"]),
    ("icmp-code", &["netflow.icmp.code"]),
    ("version", &["netflow.version"]),
];

const ADDRESSES: &[Subject] = &[
    ("src net", &["source.address"]),
    ("dst net", &["destination.address"]),
    ("net", &["source.address", "destination.address"]),
];

#[derive(Clone, Debug)]
enum Tree {
    Number(Subject, &'static str, u64),
    /// An address, and octets of it that count.
    Net(Subject, [u8; 4], usize),
    Flags(&'static str, u64),
    Not(Box<Self>),
    Both(Box<Self>, Box<Self>),
    Either(Box<Self>, Box<Self>),
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Number((words, _), comparison, value) => format!("{words} {comparison} {value}"),
            Self::Net((words, _), [a, b, c, d], octets) => {
                format!("{words} {a}.{b}.{c}.{d}/{}", octets * 8)
            }
            Self::Flags(letters, _) => format!("flags {letters}"),
            Self::Not(inner) => format!("not ({})", inner.text()),
            Self::Both(one, other) => format!("({}) and ({})", one.text(), other.text()),
            Self::Either(one, other) => format!("({}) or ({})", one.text(), other.text()),
        }
    }

    fn holds(&self, says: &Value) -> bool {
        match self {
            Self::Number((_, keys), comparison, value) => {
                let any = |holds: fn(u64, u64) -> bool| {
                    let numbers = keys.iter().filter_map(|key| says[key].as_u64());
                    numbers.into_iter().any(|number| holds(number, *value))
                };
                match *comparison {
                    "=" => any(|number, value| number == value),
                    "!=" => !any(|number, value| number == value),
                    "<" => any(|number, value| number < value),
                    "<=" => any(|number, value| number <= value),
                    ">" => any(|number, value| number > value),
                    _ => any(|number, value| number >= value),
                }
            }
            Self::Net((_, keys), net, octets) => keys.iter().any(|key| {
                let address: Option<std::net::Ipv4Addr> =
                    says[key].as_str().and_then(|text| text.parse().ok());
                address.is_some_and(|address| address.octets()[..*octets] == net[..*octets])
            }),
            Self::Flags(_, mask) => {
                says["network.protocol.number"] == 6
                    && says["netflow.tcp_flags"]
                        .as_u64()
                        .is_some_and(|flags| flags & mask == *mask)
            }
            Self::Not(inner) => !inner.holds(says),
            Self::Both(one, other) => one.holds(says) && other.holds(says),
            Self::Either(one, other) => one.holds(says) || other.holds(says),
        }
    }
}

/// Few values, so that flows and filters meet.
fn value() -> impl Strategy<Value = u8> {
    select(vec![0_u8, 1, 2, 5, 6, 8, 9, 10, 17, 255])
}

fn address() -> impl Strategy<Value = [u8; 4]> {
    select(vec![
        [10, 0, 0, 1],
        [10, 0, 9, 9],
        [192, 0, 2, 1],
        [198, 51, 100, 7],
    ])
}

fn flow() -> impl Strategy<Value = Flow> {
    let ends = (address(), address());
    let numbers = prop::array::uniform9(value());
    (ends, numbers, select(vec![1_u8, 6, 17, 47]), any::<u8>()).prop_map(
        |((source, destination), numbers, protocol, flags)| {
            let [
                from,
                to,
                tos,
                bytes,
                packets,
                input,
                output,
                source_as,
                destination_as,
            ] = numbers;
            Flow {
                source,
                destination,
                ports: [from, to].map(u16::from),
                protocol,
                flags,
                tos,
                bytes: u32::from(bytes),
                packets: u32::from(packets),
                interfaces: [input, output].map(u16::from),
                systems: [source_as, destination_as].map(u16::from),
            }
        },
    )
}

fn tree() -> impl Strategy<Value = Tree> {
    let comparison = select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let number = (select(NUMBERS), comparison, value()).prop_map(|(of, comparison, value)| {
        // Others are refused.
        let value = match of.0 {
            "version" => [1, 5, 7, 9, 10][usize::from(value) % 5],
            _ => value,
        };
        Tree::Number(of, comparison, value.into())
    });
    let net = (select(ADDRESSES), address(), 1..=4_usize)
        .prop_map(|(of, net, octets)| Tree::Net(of, net, octets));
    let flags = select(vec![("S", 2), ("SA", 0x12), ("F", 1), ("R", 4)])
        .prop_map(|(letters, mask)| Tree::Flags(letters, mask));
    let leaf = prop_oneof![4 => number, 2 => net, 1 => flags];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let two = (inner.clone(), inner.clone())
            .prop_map(|(one, other)| (Box::new(one), Box::new(other)));
        prop_oneof![
            inner.prop_map(|inner| Tree::Not(Box::new(inner))),
            two.clone().prop_map(|(one, other)| Tree::Both(one, other)),
            two.prop_map(|(one, other)| Tree::Either(one, other)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filters_select_what_their_meaning_does_of_records_of_every_protocol(
        filters in vec(tree(), 4),
        flows in vec(flow(), 4),
    ) {
        use Protocol::{Ipfix, Sflow, V1, V5, V7, V9};
        let mut all = rig_with(|config| config.attributes = AttributeLevel::All);
        let mut filtered: Vec<_> = filters
            .iter()
            .map(|tree| {
                let filter = tree.text().parse().expect("a filter");
                rig_with(|config| {
                    config.selection = Selection { filter: Some(filter), ..Selection::default() };
                })
            })
            .collect();
        for (flow, protocol) in flows.iter().flat_map(|flow| [V1, V5, V7, V9, Ipfix, Sflow].map(|protocol| (flow, protocol))) {
            let datagram = flow.datagram(protocol);
            let says = all.flow(&datagram).attributes;
            for (tree, rig) in filters.iter().zip(&mut filtered) {
                let kept = rig.flows(&datagram).len();
                prop_assert_eq!(kept, usize::from(tree.holds(&says)), "{}\n{:?}: {:#}", tree.text(), protocol, says);
            }
        }
    }
}
