//! IPv4, IPv6 with its extension headers, transports, tunnels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Frame, LinkType, Packet, Transport, Tunnel, TunnelKind, link};
use crate::octets::{u16_at, u32_at};

/// Extension headers followed in one packet.
const MAX_EXTENSIONS: usize = 8;

const VXLAN_PORT: u16 = 4789;
/// What Linux takes by default: it had VXLAN before the port was assigned.
const VXLAN_PORT_OF_LINUX: u16 = 8472;

const ICMP: u8 = 1;
const IPV4_IN: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const IPV6_IN: u8 = 41;
const GRE: u8 = 47;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// The packet at the front of `octets`, and what lies behind its headers: empty for a fragment that isn't the
/// first.
pub(super) fn packet(octets: &[u8]) -> Option<(Packet, &[u8])> {
    match octets.first()? >> 4 {
        4 => ipv4(octets),
        6 => ipv6(octets),
        _ => None,
    }
}

/// RFC 791, section 3.1.
fn ipv4(octets: &[u8]) -> Option<(Packet, &[u8])> {
    let header = octets.first_chunk::<20>()?;
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(u32_at(header, at)?)));
    let header_octets = usize::from(header[0] & 0x0f) * 4;
    let length = usize::from(u16_at(header, 2)?);
    let fragment = u16_at(header, 6)?;
    let (offset, more) = (fragment & 0x1fff, fragment & 0x2000 != 0);
    // Behind a short packet lies Ethernet's padding. A length of 0 is left to the network card to fill in.
    let end = match length {
        0 => octets.len(),
        _ => length.min(octets.len()),
    };
    let has_transport = offset == 0 && header_octets >= 20;
    let payload = octets
        .get(header_octets..end)
        .filter(|_| has_transport)
        .unwrap_or_default();
    let protocol = header[9];
    let packet = Packet {
        source: address(12)?,
        destination: address(16)?,
        protocol,
        tos: header[1],
        ttl: Some(header[8]),
        length: u32::from(u16_at(header, 2)?),
        flow_label: None,
        fragment_offset: (offset != 0 || more).then_some(offset),
        transport: transport(protocol, payload),
    };
    Some((packet, payload))
}

/// RFC 8200, sections 3 and 4.
fn ipv6(octets: &[u8]) -> Option<(Packet, &[u8])> {
    let header = octets.first_chunk::<40>()?;
    let address = |at: usize| {
        let octets: [u8; 16] = *header.get(at..)?.first_chunk()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let first = u32_at(header, 0)?;
    let length = u16_at(header, 4)?;
    let end = match length {
        0 => octets.len(),
        _ => (usize::from(length) + 40).min(octets.len()),
    };
    let behind = Extensions::follow(header[6], octets.get(40..end).unwrap_or_default());
    let packet = Packet {
        source: address(8)?,
        destination: address(24)?,
        protocol: behind.protocol,
        // Shifted down, the traffic class is the low octet.
        tos: (first >> 20 & 0xff) as u8,
        ttl: Some(header[7]),
        length: u32::from(length) + 40,
        flow_label: Some(first & 0x000f_ffff),
        fragment_offset: behind.fragment_offset,
        transport: transport(behind.protocol, behind.payload),
    };
    Some((packet, behind.payload))
}

/// What extension headers lead to.
struct Extensions<'a> {
    protocol: u8,
    fragment_offset: Option<u16>,
    /// Empty where the protocol's header isn't reached.
    payload: &'a [u8],
}

impl<'a> Extensions<'a> {
    fn follow(next_header: u8, octets: &'a [u8]) -> Self {
        let mut behind = Self {
            protocol: next_header,
            fragment_offset: None,
            payload: octets,
        };
        for _ in 0..MAX_EXTENSIONS {
            if behind.step().is_none() {
                break;
            }
        }
        if is_extension(behind.protocol) || behind.fragment_offset.is_some_and(|at| at != 0) {
            behind.payload = &[];
        }
        behind
    }

    /// One header further; `None` at the last that can be followed.
    fn step(&mut self) -> Option<()> {
        if !is_extension(self.protocol) || self.fragment_offset.is_some_and(|at| at != 0) {
            return None;
        }
        let (next, length) = (*self.payload.first()?, usize::from(*self.payload.get(1)?));
        let octets = match self.protocol {
            44 => {
                self.fragment_offset = Some(u16_at(self.payload, 2)? >> 3);
                8
            }
            // The Authentication Header counts words (RFC 4302, section 2.2).
            51 => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        self.protocol = next;
        self.payload = self.payload.get(octets..).unwrap_or_default();
        Some(())
    }
}

/// Hop-by-Hop, Routing, Fragment, Authentication, Destination, Mobility, HIP, Shim6.
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

fn transport(protocol: u8, octets: &[u8]) -> Transport {
    let mut transport = Transport::default();
    match protocol {
        TCP | UDP | DCCP | SCTP | UDP_LITE => {
            if let (Some(source), Some(destination)) = (u16_at(octets, 0), u16_at(octets, 2)) {
                transport.ports = Some([source, destination]);
            }
            if protocol == TCP {
                transport.tcp_flags = octets.get(13).copied();
            }
        }
        ICMP | ICMPV6 => transport.icmp = octets.first_chunk().copied(),
        _ => {}
    }
    transport
}

/// The tunnel that a packet's payload is.
pub(super) fn tunnel(outer: &Packet, payload: &[u8]) -> Option<Tunnel> {
    if payload.is_empty() {
        return None;
    }
    let plain = |kind| {
        Some(Tunnel {
            kind,
            id: None,
            packet: packet(payload).map(|(packet, _)| packet),
        })
    };
    match (outer.protocol, outer.source.is_ipv4()) {
        (IPV4_IN, true) => plain(TunnelKind::IpInIp),
        (IPV4_IN, false) => plain(TunnelKind::FourInSix),
        (IPV6_IN, true) => plain(TunnelKind::SixInFour),
        (IPV6_IN, false) => plain(TunnelKind::SixInSix),
        (GRE, _) => gre(payload),
        (UDP, _) => match outer.transport.ports?[1] {
            VXLAN_PORT => vxlan(payload.get(8..)?),
            VXLAN_PORT_OF_LINUX => vxlan_of_linux(payload.get(8..)?),
            6081 => geneve(payload.get(8..)?),
            _ => None,
        },
        _ => None,
    }
}

/// Version 0 only: version 1 is PPTP's and carries PPP without an EtherType (RFC 2637).
fn gre(octets: &[u8]) -> Option<Tunnel> {
    let (flags, ethertype) = (u16_at(octets, 0)?, u16_at(octets, 2)?);
    if flags & 7 != 0 {
        return None;
    }
    let mut at = 4;
    if flags & 0x8000 != 0 {
        at += 4;
    }
    let mut id = None;
    if flags & 0x2000 != 0 {
        id = u32_at(octets, at);
        at += 4;
    }
    if flags & 0x1000 != 0 {
        at += 4;
    }
    Some(Tunnel {
        kind: TunnelKind::Gre,
        id,
        packet: octets
            .get(at..)
            .and_then(|octets| carried(ethertype, octets)),
    })
}

fn vxlan(octets: &[u8]) -> Option<Tunnel> {
    // Without the flag the identifier isn't valid, and it isn't VXLAN (RFC 7348, section 5).
    if octets.first()? & 0x08 == 0 {
        return None;
    }
    Some(Tunnel {
        kind: TunnelKind::Vxlan,
        id: Some(u32_at(octets, 4)? >> 8),
        packet: octets
            .get(8..)
            .and_then(|octets| carried(ETHERNET_BRIDGING, octets)),
    })
}

/// Nothing assigns the port, so that all that is reserved must be zero.
fn vxlan_of_linux(octets: &[u8]) -> Option<Tunnel> {
    let is_plain = u32_at(octets, 0)? == 0x0800_0000 && *octets.get(7)? == 0;
    is_plain.then(|| vxlan(octets)).flatten()
}

fn geneve(octets: &[u8]) -> Option<Tunnel> {
    let first = *octets.first()?;
    if first >> 6 != 0 {
        return None;
    }
    let options = usize::from(first & 0x3f) * 4;
    Some(Tunnel {
        kind: TunnelKind::Geneve,
        id: Some(u32_at(octets, 4)? >> 8),
        packet: octets
            .get(8 + options..)
            .and_then(|payload| carried(u16_at(octets, 2)?, payload)),
    })
}

/// EtherType of a whole Ethernet frame (RFC 1701).
const ETHERNET_BRIDGING: u16 = 0x6558;

/// The packet in a tunnel; its link headers aren't kept.
fn carried(ethertype: u16, octets: &[u8]) -> Option<Packet> {
    let mut inner = Frame::default();
    let ip = match ethertype {
        ETHERNET_BRIDGING => link::find_ip(LinkType::Ethernet, octets, &mut inner),
        _ => link::by_ethertype(ethertype, octets, &mut inner),
    };
    packet(ip?).map(|(packet, _)| packet)
}
