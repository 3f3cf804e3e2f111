//! NetFlow v9 and IPFIX: a template for IPv4 and one for IPv6, and records of fixed length.

use std::net::IpAddr;

use netflow_wire::write::{Field, IpfixHeader, MessageWriter, V9Header, WriteError};

use super::super::Protocol;
use super::super::flows::Flow;
use super::{Patch, Prepared};

const IPV4: u16 = 256;
const IPV6: u16 = 257;

/// Octets of a Set's header.
const SET_HEADER: usize = 4;

const ADDRESSES_V4: [Field; 3] = [
    Field::new(8, 4),  // sourceIPv4Address
    Field::new(12, 4), // destinationIPv4Address
    Field::new(15, 4), // ipNextHopIPv4Address
];
const ADDRESSES_V6: [Field; 3] = [
    Field::new(27, 16), // sourceIPv6Address
    Field::new(28, 16), // destinationIPv6Address
    Field::new(62, 16), // ipNextHopIPv6Address
];
const UPTIMES: [Field; 2] = [
    Field::new(22, 4), // flowStartSysUpTime
    Field::new(21, 4), // flowEndSysUpTime
];
const UNIX_MILLIS: [Field; 2] = [
    Field::new(152, 8), // flowStartMilliseconds
    Field::new(153, 8), // flowEndMilliseconds
];
const REST: [Field; 11] = [
    Field::new(7, 2),  // sourceTransportPort
    Field::new(11, 2), // destinationTransportPort
    Field::new(4, 1),  // protocolIdentifier
    Field::new(6, 1),  // tcpControlBits
    Field::new(5, 1),  // ipClassOfService
    Field::new(2, 4),  // packetDeltaCount
    Field::new(1, 4),  // octetDeltaCount
    Field::new(10, 4), // ingressInterface
    Field::new(14, 4), // egressInterface
    Field::new(16, 4), // bgpSourceAsNumber
    Field::new(17, 4), // bgpDestinationAsNumber
];

/// Octets of the rest before the packets.
const BEFORE_SIZE: usize = 7;

/// Addresses, then times, then the rest.
fn fields(protocol: Protocol, is_v6: bool) -> Vec<Field> {
    let addresses = if is_v6 { ADDRESSES_V6 } else { ADDRESSES_V4 };
    let times = match protocol {
        Protocol::V9 => UPTIMES,
        _ => UNIX_MILLIS,
    };
    addresses.into_iter().chain(times).chain(REST).collect()
}

pub(super) fn record_octets(protocol: Protocol, is_v6: bool) -> usize {
    let fields = fields(protocol, is_v6);
    fields.iter().map(|field| usize::from(field.length)).sum()
}

fn message(protocol: Protocol) -> MessageWriter {
    match protocol {
        Protocol::V9 => MessageWriter::v9(V9Header::default()),
        _ => MessageWriter::ipfix(IpfixHeader::default()),
    }
}

/// A datagram of both templates.
pub(super) fn templates(protocol: Protocol) -> Result<Vec<u8>, WriteError> {
    message(protocol)
        .templates(&[
            (IPV4, &fields(protocol, false)),
            (IPV6, &fields(protocol, true)),
        ])
        .finish()
}

pub(super) fn prepare(protocol: Protocol, flows: &[Flow]) -> Result<Prepared, WriteError> {
    let is_v6 = flows.first().is_some_and(|flow| flow.source.is_ipv6());
    let (template, address) = if is_v6 { (IPV6, 16) } else { (IPV4, 4) };
    let fields = fields(protocol, is_v6);
    let mut message = message(protocol);
    message.declare(template, &fields);
    let mut at = message.octets() + SET_HEADER + 3 * address;
    let times = if protocol == Protocol::V9 { 8 } else { 16 };
    let mut patches = Vec::with_capacity(3 * flows.len());
    message.data_set(template, |set| {
        for flow in flows {
            set.record(|record| {
                for address in [flow.source, flow.destination, flow.next_hop] {
                    match address {
                        IpAddr::V4(address) => record.ipv4(address),
                        IpAddr::V6(address) => record.ipv6(address),
                    };
                }
                let ages = [flow.first_age_ms, flow.last_age_ms];
                match protocol {
                    Protocol::V9 => record.u32(0).u32(0),
                    _ => record.u64(0).u64(0),
                };
                for (position, age_ms) in (0..).zip(ages) {
                    patches.push(match protocol {
                        Protocol::V9 => Patch::Uptime {
                            at: at + 4 * position,
                            age_ms,
                        },
                        _ => Patch::UnixMillis {
                            at: at + 8 * position,
                            age_ms,
                        },
                    });
                }
                patches.push(Patch::Size {
                    at: at + times + BEFORE_SIZE,
                    size: flow.size,
                });
                record.u16(flow.source_port).u16(flow.destination_port);
                record.u8(flow.protocol).u8(flow.tcp_flags).u8(flow.tos);
                record.u32(flow.packets).u32(flow.octets);
                record.u32(flow.input.into()).u32(flow.output.into());
                record
                    .u32(flow.source_as.into())
                    .u32(flow.destination_as.into());
            });
            at += record_octets(protocol, is_v6);
        }
    });
    Ok(Prepared {
        octets: message.finish()?,
        patches,
        flows: flows.len() as u32,
    })
}
