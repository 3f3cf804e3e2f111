//! Flow records: what an agent says of a sampled packet.

use std::net::IpAddr;

use super::error::SampleError;
use super::xdr::Xdr;
use crate::frame::{Frame, LinkType, MAX_LABELS, Macs, Packet, Stack, Transport};

/// Segments followed in one AS path.
const MAX_SEGMENTS: u32 = 64;

/// A record of a flow sample, by its number under enterprise 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FlowRecord<'a> {
    /// `sampled_header` (1).
    RawHeader(RawHeader<'a>),
    /// `sampled_ethernet` (2).
    Ethernet(Ethernet),
    /// `sampled_ipv4` (3) or `sampled_ipv6` (4).
    Ip(SampledIp),
    /// `extended_switch` (1001).
    Switch(Switch),
    /// `extended_router` (1002).
    Router(Router),
    /// `extended_gateway` (1003).
    Gateway(Gateway),
    /// `extended_user` (1004).
    User(User<'a>),
    /// `extended_url` (1005).
    Url(Url<'a>),
    /// `extended_mpls` (1006).
    Mpls(Mpls),
    /// `extended_nat` (1007).
    Nat(Nat),
    /// `extended_nat_port` (1020).
    NatPorts(NatPorts),
    /// `extended_ipv4_tunnel_egress` and its like (1023 to 1026).
    Tunnel(TunnelHeader),
    /// `extended_vni_egress` (1029) or `extended_vni_ingress` (1030).
    Vni(TunnelVni),
    /// Any other.
    Other {
        /// The vendor's enterprise number, 0 for sFlow's own.
        enterprise: u32,
        /// Of that enterprise.
        format: u32,
        /// Its data.
        octets: &'a [u8],
    },
}

/// The front of the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RawHeader<'a> {
    /// What link it was on: 1 Ethernet, 11 IPv4, 12 IPv6, ….
    pub protocol: u32,
    /// Octets of the frame before it was cut, with what was [stripped](Self::stripped).
    pub frame_length: u32,
    /// Octets of the frame that were taken off before the header was copied.
    pub stripped: u32,
    /// The front of what was left.
    pub octets: &'a [u8],
}

impl RawHeader<'_> {
    /// The kind of link, where it is one that is dissected.
    #[must_use]
    pub const fn link(&self) -> Option<LinkType> {
        match self.protocol {
            1 => Some(LinkType::Ethernet),
            // PPP and POS.
            7 | 14 => Some(LinkType::Ppp),
            11 | 12 => Some(LinkType::Ip),
            13 => Some(LinkType::Mpls),
            _ => None,
        }
    }

    /// What the headers say; nothing of a link that isn't dissected.
    #[must_use]
    pub fn frame(&self) -> Frame {
        self.link()
            .map_or_else(Frame::default, |link| Frame::read(link, self.octets))
    }

    /// As [`frame`](Self::frame), in place of another frame.
    pub fn read_frame(&self, frame: &mut Frame) {
        match self.link() {
            Some(link) => frame.read_in_place(link, self.octets),
            None => frame.clear(),
        }
    }
}

/// An Ethernet frame whose header was read by the agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ethernet {
    /// Octets of the frame.
    pub length: u32,
    /// Addresses.
    pub macs: Macs,
    /// EtherType.
    pub ethertype: u32,
}

/// A packet whose headers were read by the agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SampledIp {
    /// Octets of the IP packet.
    pub length: u32,
    /// Protocol or next header.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source and destination port, or what the protocol has in their place.
    pub ports: [u16; 2],
    /// TCP's flags.
    pub tcp_flags: u8,
    /// Type of service or traffic class.
    pub tos: u8,
}

impl SampledIp {
    /// The same as a dissected packet.
    #[must_use]
    pub const fn packet(&self) -> Packet {
        Packet {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            tos: self.tos,
            ttl: None,
            length: self.length,
            flow_label: None,
            fragment_offset: None,
            transport: Transport {
                ports: Some(self.ports),
                tcp_flags: Some(self.tcp_flags),
                icmp: None,
            },
        }
    }
}

/// VLANs by a switch's forwarding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Switch {
    /// 802.1Q VLAN of the incoming frame, where it is known.
    pub source_vlan: Option<u32>,
    /// 802.1p priority of the incoming frame.
    pub source_priority: Option<u32>,
    /// 802.1Q VLAN of the outgoing frame.
    pub destination_vlan: Option<u32>,
    /// 802.1p priority of the outgoing frame.
    pub destination_priority: Option<u32>,
}

/// A router's forwarding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Router {
    /// The next router, where it is known.
    pub next_hop: Option<IpAddr>,
    /// Prefix length of the source's route.
    pub source_mask: u32,
    /// Prefix length of the destination's route.
    pub destination_mask: u32,
}

/// What BGP knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gateway {
    /// The border router that the packet leaves by.
    pub next_hop: Option<IpAddr>,
    /// The router's own AS.
    pub router_as: u32,
    /// The AS that the source lies in; 0 where the agent names none.
    pub source_as: u32,
    /// The AS that handed the packet over.
    pub source_peer_as: u32,
    /// The first AS of the path to the destination.
    pub destination_peer_as: Option<u32>,
    /// The last AS of that path; `None` when it is empty, as to a destination within the router's own AS.
    pub destination_as: Option<u32>,
}

/// Who sent or receives, by name. Texts are as sent; their character set is an IANA MIBenum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct User<'a> {
    /// Character set of `source`.
    pub source_charset: u32,
    /// The user at the source; may be empty.
    pub source: &'a [u8],
    /// Character set of `destination`.
    pub destination_charset: u32,
    /// The user at the destination; may be empty.
    pub destination: &'a [u8],
}

/// What was requested over HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Url<'a> {
    /// 1: the source is the server, 2: the destination is.
    pub direction: u32,
    /// The request's target.
    pub url: &'a [u8],
    /// The `Host` header.
    pub host: &'a [u8],
}

/// Label stacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mpls {
    /// The next router, where it is known.
    pub next_hop: Option<IpAddr>,
    /// Labels of the packet as it came, the outermost first.
    pub input: Stack<u32, MAX_LABELS>,
    /// Labels as it left.
    pub output: Stack<u32, MAX_LABELS>,
}

/// Translated addresses; one that wasn't translated equals that of the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nat {
    /// Source.
    pub source: Option<IpAddr>,
    /// Destination.
    pub destination: Option<IpAddr>,
}

/// Translated ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NatPorts {
    /// Source.
    pub source: u32,
    /// Destination.
    pub destination: u32,
}

/// The outer header of a tunnel that the agent begins or ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelHeader {
    /// The header is put on at egress, else it was taken off at ingress.
    pub egress: bool,
    /// The header.
    pub header: SampledIp,
}

/// The network identifier of a tunnel that the agent begins or ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelVni {
    /// Put on at egress, else taken off at ingress.
    pub egress: bool,
    /// The identifier.
    pub vni: u32,
}

/// The records of a flow sample. A record that goes past its sample is the last.
#[derive(Clone, Debug)]
pub struct FlowRecords<'a> {
    left: u32,
    rest: Xdr<'a>,
}

impl<'a> FlowRecords<'a> {
    pub(super) fn new(left: u32, rest: Xdr<'a>) -> Self {
        Self { left, rest }
    }
}

impl<'a> Iterator for FlowRecords<'a> {
    type Item = Result<FlowRecord<'a>, SampleError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let offset = self.rest.offset();
        let Some((enterprise, format, body)) = self.rest.tagged() else {
            self.left = 0;
            return Some(Err(SampleError::TruncatedRecord { offset }));
        };
        let record = record(enterprise, format, body);
        Some(record.ok_or(SampleError::MalformedRecord { offset, format }))
    }
}

#[inline]
fn record(enterprise: u32, format: u32, mut body: Xdr<'_>) -> Option<FlowRecord<'_>> {
    let octets = body.rest();
    let xdr = &mut body;
    if enterprise != 0 {
        return Some(FlowRecord::Other {
            enterprise,
            format,
            octets,
        });
    }
    Some(match format {
        1 => {
            let [protocol, frame_length, stripped] = xdr.words()?;
            FlowRecord::RawHeader(RawHeader {
                protocol,
                frame_length,
                stripped,
                octets: xdr.opaque()?,
            })
        }
        2 => FlowRecord::Ethernet(ethernet(xdr)?),
        3 => FlowRecord::Ip(sampled_ip(xdr, Xdr::ipv4)?),
        4 => FlowRecord::Ip(sampled_ip(xdr, Xdr::ipv6)?),
        1001 => {
            let known = |word: u32| (word != u32::MAX).then_some(word);
            let [
                source_vlan,
                source_priority,
                destination_vlan,
                destination_priority,
            ] = xdr.words()?.map(known);
            FlowRecord::Switch(Switch {
                source_vlan,
                source_priority,
                destination_vlan,
                destination_priority,
            })
        }
        1002 => {
            let next_hop = xdr.address()?;
            let [source_mask, destination_mask] = xdr.words()?;
            FlowRecord::Router(Router {
                next_hop,
                source_mask,
                destination_mask,
            })
        }
        1003 => FlowRecord::Gateway(gateway(xdr)?),
        1004 => FlowRecord::User(User {
            source_charset: xdr.u32()?,
            source: xdr.opaque()?,
            destination_charset: xdr.u32()?,
            destination: xdr.opaque()?,
        }),
        1005 => FlowRecord::Url(Url {
            direction: xdr.u32()?,
            url: xdr.opaque()?,
            host: xdr.opaque()?,
        }),
        1006 => FlowRecord::Mpls(Mpls {
            next_hop: xdr.address()?,
            input: labels(xdr)?,
            output: labels(xdr)?,
        }),
        1007 => FlowRecord::Nat(Nat {
            source: xdr.address()?,
            destination: xdr.address()?,
        }),
        1020 => FlowRecord::NatPorts(NatPorts {
            source: xdr.u32()?,
            destination: xdr.u32()?,
        }),
        1023 | 1024 => FlowRecord::Tunnel(TunnelHeader {
            egress: format == 1023,
            header: sampled_ip(xdr, Xdr::ipv4)?,
        }),
        1025 | 1026 => FlowRecord::Tunnel(TunnelHeader {
            egress: format == 1025,
            header: sampled_ip(xdr, Xdr::ipv6)?,
        }),
        1029 | 1030 => FlowRecord::Vni(TunnelVni {
            egress: format == 1029,
            vni: xdr.u32()?,
        }),
        _ => FlowRecord::Other {
            enterprise,
            format,
            octets,
        },
    })
}

/// Octets of a `sampled_ethernet` whose addresses aren't filled up to eight octets, as Huawei's switches send it.
const PACKED_ETHERNET: usize = 4 + 6 + 6 + 4;

fn ethernet(xdr: &mut Xdr<'_>) -> Option<Ethernet> {
    let packed = xdr.rest().len() == PACKED_ETHERNET;
    let length = xdr.u32()?;
    let macs = match xdr.rest().first_chunk::<12>() {
        Some([a, b, c, d, e, f, g, h, i, j, k, l]) if packed => {
            xdr.fixed(12)?;
            Macs {
                source: [*a, *b, *c, *d, *e, *f],
                destination: [*g, *h, *i, *j, *k, *l],
            }
        }
        _ => Macs {
            source: xdr.mac()?,
            destination: xdr.mac()?,
        },
    };
    Some(Ethernet {
        length,
        macs,
        ethertype: xdr.u32()?,
    })
}

/// Numbers that the packet has in one or two octets stand in words.
fn sampled_ip<'a>(
    xdr: &mut Xdr<'a>,
    address: fn(&mut Xdr<'a>) -> Option<IpAddr>,
) -> Option<SampledIp> {
    let length = xdr.u32()?;
    let protocol = u8::try_from(xdr.u32()?).ok()?;
    let (source, destination) = (address(xdr)?, address(xdr)?);
    let mut port = || u16::try_from(xdr.u32()?).ok();
    let ports = [port()?, port()?];
    Some(SampledIp {
        length,
        protocol,
        source,
        destination,
        ports,
        tcp_flags: low_octet(xdr.u32()?),
        tos: low_octet(xdr.u32()?),
    })
}

fn low_octet(word: u32) -> u8 {
    let [.., low] = word.to_be_bytes();
    low
}

fn gateway(xdr: &mut Xdr<'_>) -> Option<Gateway> {
    let next_hop = xdr.address()?;
    let (router_as, source_as, source_peer_as) = (xdr.u32()?, xdr.u32()?, xdr.u32()?);
    let (mut first, mut last) = (None, None);
    let segments = xdr.u32()?;
    if segments > MAX_SEGMENTS {
        return None;
    }
    for _ in 0..segments {
        // AS_SET or AS_SEQUENCE, then its members: what counts is where the path ends.
        let _kind = xdr.u32()?;
        let members = usize::try_from(xdr.u32()?).ok()?;
        let octets = members.checked_mul(4)?;
        let mut members = Xdr::new(xdr.fixed(octets.min(xdr.rest().len() + 1))?, 0);
        first = first.or_else(|| {
            let mut members = members;
            members.u32()
        });
        if let Some(at) = members.rest().len().checked_sub(4) {
            members.fixed(at);
            last = members.u32();
        }
    }
    Some(Gateway {
        next_hop,
        router_as,
        source_as,
        source_peer_as,
        destination_peer_as: first,
        destination_as: last,
    })
}

/// A label stack: entries as in the packet, of which the labels are kept.
fn labels(xdr: &mut Xdr<'_>) -> Option<Stack<u32, MAX_LABELS>> {
    let entries = xdr.u32()?;
    let mut labels = Stack::default();
    if usize::try_from(entries).ok()? > xdr.rest().len() / 4 {
        return None;
    }
    for _ in 0..entries {
        labels.push(xdr.u32()? >> 12);
    }
    Some(labels)
}
