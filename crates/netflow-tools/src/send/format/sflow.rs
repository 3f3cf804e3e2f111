//! sFlow v5: a flow is reported as one sampled packet, of which the agent sends the first octets.

use std::net::{IpAddr, Ipv4Addr};

use netflow_wire::sflow::{DataSource, FlowRecord, Interface, RawHeader, Router};
use netflow_wire::write::{SflowHeader, SflowSample, SflowWriter, WriteError};

use super::super::flows::Flow;
use super::{Patch, Prepared};
use crate::traffic::{TCP, UDP};

/// One packet in so many is sampled.
pub(super) const SAMPLING_RATE: u32 = 1_000;
/// Octets before the first sample, of an agent with an IPv4 address.
pub(super) const HEADER_OCTETS: usize = 28;
/// Octets of a packet that the agent sends.
const SAMPLED: usize = 128;
/// Tag and length, the sample's fields, and two records: a header (tag, length, four words) and a route of IPv6.
pub(super) const MAX_SAMPLE_OCTETS: usize = 8 + 32 + (8 + 16 + SAMPLED) + (8 + 28);

/// The link layer of a header: Ethernet (the sFlow specification, `header_protocol`).
const ETHERNET: u32 = 1;

pub(super) fn prepare(flows: &[Flow]) -> Result<Prepared, WriteError> {
    let mut writer = SflowWriter::new(&SflowHeader {
        agent: Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ..SflowHeader::default()
    });
    for flow in flows {
        let frame_octets = frame_octets(flow);
        let packet = packet(flow, frame_octets);
        let sample = SflowSample {
            sampling_rate: SAMPLING_RATE,
            source: DataSource { kind: 0, index: 9 },
            input: Interface::Index(flow.input.into()),
            output: Interface::Index(flow.output.into()),
            ..SflowSample::default()
        };
        writer.flow(&sample, |records| {
            records
                .record(&FlowRecord::RawHeader(RawHeader {
                    protocol: ETHERNET,
                    // With its checksum, which is taken off.
                    frame_length: frame_octets as u32 + 4,
                    stripped: 4,
                    octets: &packet,
                }))
                .record(&FlowRecord::Router(Router {
                    next_hop: Some(flow.next_hop),
                    source_mask: 16,
                    destination_mask: 24,
                }));
        });
    }
    let octets = writer.finish()?;
    let mut patches = Vec::with_capacity(flows.len());
    let mut at = HEADER_OCTETS;
    for _ in flows {
        // Tag, length, sequence, source, rate, pool.
        patches.push(Patch::Sample {
            sequence_at: at + 8,
            pool_at: at + 20,
        });
        let length = octets
            .get(at + 4..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |length| u32::from_be_bytes(*length));
        at += 8 + length as usize;
    }
    Ok(Prepared {
        octets,
        patches,
        flows: flows.len() as u32,
    })
}

/// Octets of the packet that stands for the flow: its average one, with Ethernet's header.
fn frame_octets(flow: &Flow) -> usize {
    let headers = if flow.source.is_ipv6() { 40 } else { 20 } + transport_octets(flow);
    let packet = (flow.octets / flow.packets.max(1)) as usize;
    14 + packet.max(headers)
}

fn transport_octets(flow: &Flow) -> usize {
    if flow.protocol == TCP { 20 } else { 8 }
}

/// The first octets of a frame of that length.
fn packet(flow: &Flow, frame_octets: usize) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let ip_octets = (frame_octets - 14) as u16;
    match (flow.source, flow.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend_from_slice(&[0x86, 0xdd]);
            let word = 6_u32 << 28 | u32::from(flow.tos) << 20;
            packet.extend_from_slice(&word.to_be_bytes());
            packet.extend_from_slice(&(ip_octets - 40).to_be_bytes());
            packet.extend_from_slice(&[flow.protocol, 61]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            packet.extend_from_slice(&[0x08, 0x00]);
            let start = packet.len();
            packet.extend_from_slice(&[0x45, flow.tos]);
            packet.extend_from_slice(&ip_octets.to_be_bytes());
            packet.extend_from_slice(&[0, 1, 0x40, 0, 61, flow.protocol, 0, 0]);
            packet.extend_from_slice(&super::v4(source).octets());
            packet.extend_from_slice(&super::v4(destination).octets());
            let checksum = internet_checksum(&packet[start..]).to_be_bytes();
            packet[start + 10..start + 12].copy_from_slice(&checksum);
        }
    }
    match flow.protocol {
        TCP => {
            packet.extend_from_slice(&flow.source_port.to_be_bytes());
            packet.extend_from_slice(&flow.destination_port.to_be_bytes());
            // Sequence and acknowledgement; a packet in the middle: PSH and ACK.
            packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff]);
            packet.extend_from_slice(&[0; 4]);
        }
        UDP => {
            let udp_octets = (frame_octets - packet.len()) as u16;
            for word in [flow.source_port, flow.destination_port, udp_octets, 0] {
                packet.extend_from_slice(&word.to_be_bytes());
            }
        }
        // ICMP: type, code, checksum, identifier, number.
        _ => {
            packet.extend_from_slice(&flow.destination_port.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 1, 0, 1]);
        }
    }
    packet.resize(frame_octets.min(SAMPLED), 0);
    packet
}

/// RFC 1071.
fn internet_checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
