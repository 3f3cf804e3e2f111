//! From an IP packet to its UDP payload, or to the fragment that it is.
//!
//! Sources: RFC 791, RFC 768, RFC 8200.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netflow_wire::{u16_at, u32_at};

pub(super) const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const IPV6_HEADER: usize = 40;

/// What an IP packet holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ip<'a> {
    Udp(Udp<'a>),
    Fragment(Fragment<'a>),
    Other(Other<'a>),
    /// A header goes past the end, or contradicts itself.
    Malformed,
}

/// Something else than UDP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Other<'a> {
    pub(super) addresses: Addresses,
    pub(super) protocol: u8,
    /// What stands behind the IP header; nothing of a fragment.
    pub(super) octets: &'a [u8],
    /// The packet ends before this does.
    pub(super) is_cut: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Udp<'a> {
    /// Source and destination.
    pub(super) addresses: (SocketAddr, SocketAddr),
    pub(super) payload: &'a [u8],
    /// The packet ends before the payload does.
    pub(super) is_cut: bool,
}

/// Source and destination.
pub(super) type Addresses = (IpAddr, IpAddr);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fragment<'a> {
    pub(super) addresses: Addresses,
    pub(super) id: u32,
    /// Of what the whole begins with; in IPv6 only the first fragment's counts.
    pub(super) protocol: u8,
    /// Where in the whole it belongs, in octets.
    pub(super) offset: usize,
    pub(super) is_last: bool,
    pub(super) octets: &'a [u8],
    /// The packet ends before the fragment does.
    pub(super) is_cut: bool,
}

pub(super) fn read(packet: &[u8]) -> Ip<'_> {
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => ipv4(packet).unwrap_or(Ip::Malformed),
        Some(6) => ipv6(packet).unwrap_or(Ip::Malformed),
        _ => Ip::Malformed,
    }
}

fn ipv4(packet: &[u8]) -> Option<Ip<'_>> {
    let header = packet.get(..20)?;
    let header_octets = usize::from(header[0] & 0x0f) * 4;
    let total = match usize::from(u16_at(header, 2)?) {
        // Segmentation offload: the packet was captured before its length was known.
        0 => packet.len(),
        total => total,
    };
    if header_octets < 20 || total < header_octets {
        return None;
    }
    let address = |at: usize| {
        let octets: [u8; 4] = *header.get(at..)?.first_chunk()?;
        Some(IpAddr::from(Ipv4Addr::from(octets)))
    };
    let addresses = (address(12)?, address(16)?);
    let is_cut = total > packet.len();
    let octets = packet.get(header_octets..total.min(packet.len()))?;
    let protocol = header[9];
    let flags = u16_at(header, 6)?;
    let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    if offset == 0 && !more {
        return Some(payload(addresses, protocol, octets, is_cut));
    }
    if protocol != UDP {
        return Some(Ip::Other(Other {
            addresses,
            protocol,
            octets: &[],
            is_cut,
        }));
    }
    Some(Ip::Fragment(Fragment {
        addresses,
        id: u32::from(u16_at(header, 4)?),
        protocol,
        offset,
        is_last: !more,
        octets,
        is_cut,
    }))
}

fn ipv6(packet: &[u8]) -> Option<Ip<'_>> {
    let header = packet.get(..IPV6_HEADER)?;
    let address = |at: usize| {
        let octets: [u8; 16] = *header.get(at..)?.first_chunk()?;
        Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())
    };
    let addresses = (address(8)?, address(24)?);
    let end = match usize::from(u16_at(header, 4)?) {
        // A jumbogram, or segmentation offload.
        0 => packet.len(),
        length => IPV6_HEADER + length,
    };
    let is_cut = end > packet.len();
    let octets = packet.get(IPV6_HEADER..end.min(packet.len()))?;
    Some(payload(addresses, header[6], octets, is_cut))
}

/// What stands behind the IP header, or in a datagram put together of fragments.
pub(super) fn read_payload(addresses: Addresses, protocol: u8, octets: &[u8]) -> Ip<'_> {
    payload(addresses, protocol, octets, false)
}

fn payload(addresses: Addresses, protocol: u8, octets: &[u8], is_cut: bool) -> Ip<'_> {
    behind_extensions(addresses, protocol, octets, is_cut).unwrap_or(Ip::Malformed)
}

fn behind_extensions(
    addresses: Addresses,
    mut protocol: u8,
    mut octets: &[u8],
    is_cut: bool,
) -> Option<Ip<'_>> {
    loop {
        let header_octets = match protocol {
            UDP => return udp(addresses, octets, is_cut),
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6: in units of 8 octets.
            0 | 43 | 60 | 135 | 139 | 140 if addresses.0.is_ipv6() || protocol != 0 => {
                8 + usize::from(*octets.get(1)?) * 8
            }
            // Authentication: in units of 4 octets (RFC 4302, section 2.2).
            51 => 8 + usize::from(*octets.get(1)?) * 4,
            44 => {
                let word = u16_at(octets, 2)?;
                let fragment = Fragment {
                    addresses,
                    id: u32_at(octets, 4)?,
                    protocol: *octets.first()?,
                    offset: usize::from(word & 0xfff8),
                    is_last: word & 1 == 0,
                    octets: octets.get(8..)?,
                    is_cut,
                };
                if fragment.offset > 0 || !fragment.is_last {
                    return Some(Ip::Fragment(fragment));
                }
                // An atomic fragment (RFC 6946): the whole packet.
                8
            }
            _ => {
                return Some(Ip::Other(Other {
                    addresses,
                    protocol,
                    octets,
                    is_cut,
                }));
            }
        };
        protocol = *octets.first()?;
        octets = octets.get(header_octets..)?;
    }
}

fn udp(addresses: Addresses, octets: &[u8], packet_is_cut: bool) -> Option<Ip<'_>> {
    let length = match usize::from(u16_at(octets, 4)?) {
        // A jumbogram's (RFC 2675, section 4).
        0 => octets.len(),
        length => length,
    };
    if length < UDP_HEADER {
        return None;
    }
    let is_cut = length > octets.len();
    if is_cut && !packet_is_cut {
        return None;
    }
    let port = |at| u16_at(octets, at);
    let (source, destination) = (port(0)?, port(2)?);
    Some(Ip::Udp(Udp {
        addresses: (
            SocketAddr::new(addresses.0, source),
            SocketAddr::new(addresses.1, destination),
        ),
        payload: octets.get(UDP_HEADER..length.min(octets.len()))?,
        is_cut,
    }))
}
