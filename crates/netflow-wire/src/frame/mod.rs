//! What the headers of a sampled frame say: octets from a link, IP or MPLS header on in, a [`Frame`] out.
//!
//! A sample is the front of a packet and may end anywhere: what isn't there isn't said. Every loop is bounded,
//! nothing allocates. The outermost headers are the frame's own; one tunnel is looked into.

mod internet;
mod link;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

/// Tags kept of a stack of VLAN tags, the outermost first.
pub const MAX_VLANS: usize = 2;
/// Labels kept of an MPLS stack, the outermost first.
pub const MAX_LABELS: usize = 10;

/// What the first octet belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LinkType {
    /// IEEE 802.3.
    Ethernet,
    /// PPP with or without HDLC's address and control (RFC 1662).
    Ppp,
    /// An MPLS label stack (RFC 3032).
    Mpls,
    /// IPv4 or IPv6, as the version in it says.
    Ip,
}

/// The headers of a sampled frame.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Frame {
    /// Where a link header is Ethernet's.
    pub macs: Option<Macs>,
    /// EtherType behind the VLAN tags.
    pub ethertype: Option<u16>,
    /// VLAN identifiers.
    pub vlans: Stack<u16, MAX_VLANS>,
    /// Labels, without traffic class and TTL.
    pub labels: Stack<u32, MAX_LABELS>,
    /// Octets of the link's headers, if an IP header follows them.
    pub link_octets: usize,
    /// The outermost IP header and what follows it.
    pub packet: Option<Packet>,
    /// What that packet carries, if it is a tunnel's.
    pub tunnel: Option<Tunnel>,
}

/// Addresses of an Ethernet header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Macs {
    /// Source.
    pub source: [u8; 6],
    /// Destination.
    pub destination: [u8; 6],
}

/// An IP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Source address; of the same family as the destination.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IPv4: the protocol; IPv6: the next header behind all extension headers that could be followed.
    pub protocol: u8,
    /// Type of service or traffic class, with the two bits of ECN.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: Option<u8>,
    /// Octets of the packet with its headers, as the header says; of an IPv6 jumbogram 40.
    pub length: u32,
    /// IPv6.
    pub flow_label: Option<u32>,
    /// In units of 8 octets; `None` where the packet isn't a fragment.
    pub fragment_offset: Option<u16>,
    /// What follows; of fragments only the first has it.
    pub transport: Transport,
}

/// The front of a transport header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Transport {
    /// Source and destination of TCP, UDP, UDP-Lite, SCTP or DCCP.
    pub ports: Option<[u16; 2]>,
    /// The low 8 of TCP's flags.
    pub tcp_flags: Option<u8>,
    /// Type and code of ICMP or ICMPv6.
    pub icmp: Option<[u8; 2]>,
}

/// How a packet lies in another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TunnelKind {
    /// RFC 2784, RFC 2890.
    Gre,
    /// RFC 7348, on UDP port 4789 or 8472.
    Vxlan,
    /// RFC 8926, on UDP port 6081.
    Geneve,
    /// IPv4 in IPv4 (RFC 2003).
    IpInIp,
    /// IPv6 in IPv4 (RFC 4213).
    SixInFour,
    /// IPv4 in IPv6 (RFC 2473).
    FourInSix,
    /// IPv6 in IPv6 (RFC 2473).
    SixInSix,
}

impl TunnelKind {
    /// A short name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::IpInIp => "ipip",
            Self::SixInFour => "6in4",
            Self::FourInSix => "4in6",
            Self::SixInSix => "6in6",
        }
    }
}

/// A tunnel and the packet in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// Which it is.
    pub kind: TunnelKind,
    /// VXLAN's or Geneve's network identifier, GRE's key.
    pub id: Option<u32>,
    /// The packet carried, as far as the sample reaches; tunnels in it aren't looked into.
    pub packet: Option<Packet>,
}

/// The first few of a stack of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Stack<T, const N: usize> {
    values: [T; N],
    len: u8,
}

impl<T: Copy + PartialEq, const N: usize> PartialEq for Stack<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Copy + Eq, const N: usize> Eq for Stack<T, N> {}

impl<T: Copy + Default, const N: usize> Default for Stack<T, N> {
    fn default() -> Self {
        Self {
            values: [T::default(); N],
            len: 0,
        }
    }
}

impl<T: Copy, const N: usize> Stack<T, N> {
    /// Those kept, the outermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.values.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Puts a value beneath the others; what is too deep isn't kept.
    pub fn push(&mut self, value: T) {
        if let Some(to) = self.values.get_mut(usize::from(self.len)) {
            *to = value;
            self.len += 1;
        }
    }
}

impl Frame {
    /// Octets of the link's headers and the IP packet behind them, as its header says: the frame isn't shorter.
    #[must_use]
    pub fn least_octets(&self) -> Option<u64> {
        Some(self.link_octets as u64 + u64::from(self.packet?.length))
    }

    /// Reads the headers in `octets`, the front of a frame of a link.
    ///
    /// ```
    /// use netflow_wire::frame::{Frame, LinkType};
    ///
    /// let header = [
    ///     0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7, // IPv4
    ///     0xc0, 0x00, 0x01, 0xbb, // TCP: ports, and the sample ends
    /// ];
    /// let packet = Frame::read(LinkType::Ip, &header).packet.unwrap();
    /// assert_eq!(packet.destination.to_string(), "198.51.100.7");
    /// assert_eq!(packet.transport.ports, Some([0xc000, 443]));
    /// assert_eq!(packet.transport.tcp_flags, None);
    /// ```
    #[must_use]
    pub fn read(link: LinkType, octets: &[u8]) -> Self {
        let mut frame = Self::default();
        frame.read_in_place(link, octets);
        frame
    }

    /// As [`read`](Self::read), in place of another frame: a frame is too large to be copied for each packet.
    pub fn read_in_place(&mut self, link: LinkType, octets: &[u8]) {
        self.clear();
        let Some(ip) = link::find_ip(link, octets, self) else {
            return;
        };
        let Some((packet, payload)) = internet::packet(ip) else {
            return;
        };
        self.link_octets = octets.len() - ip.len();
        self.tunnel = internet::tunnel(&packet, payload);
        self.packet = Some(packet);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.macs = None;
        self.ethertype = None;
        self.vlans.clear();
        self.labels.clear();
        self.link_octets = 0;
        self.packet = None;
        self.tunnel = None;
    }
}
