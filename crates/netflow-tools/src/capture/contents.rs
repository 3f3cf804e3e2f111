//! What a capture holds besides flow export, as far as it can be named.

use std::fmt;

use netflow_wire::foreign::{self, Foreign};
use netflow_wire::ie;

use netflow_wire::u16_at;

/// A kind of traffic that is no flow export over UDP.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Content {
    /// A protocol over UDP, known by its octets or its port.
    Udp(Foreign),
    /// Something else over UDP, to this port.
    UdpPort(u16),
    /// A protocol over TCP.
    Tcp(Foreign),
    /// IPFIX messages over TCP.
    IpfixOverTcp,
    /// Something else over TCP; the lower port of the two.
    TcpPort(u16),
    /// Another protocol over IP.
    Ip(u8),
    /// Another protocol than IP, by its EtherType.
    EtherType(u16),
    /// Another protocol than IP.
    Frame,
}

const TCP: u8 = 6;

impl Content {
    /// Of a UDP datagram that is no flow message.
    #[must_use]
    pub fn of_datagram(octets: &[u8], source_port: u16, destination_port: u16) -> Self {
        match foreign::guess(octets, &[source_port, destination_port]) {
            Some(foreign) => Self::Udp(foreign),
            None => Self::UdpPort(destination_port),
        }
    }

    /// Of an IP packet that isn't UDP, by what stands behind its IP header.
    pub(super) fn of_packet(protocol: u8, octets: &[u8]) -> Self {
        match Self::of_segment(octets) {
            Some(content) if protocol == TCP => content,
            _ => Self::Ip(protocol),
        }
    }

    fn of_segment(segment: &[u8]) -> Option<Self> {
        let (source, destination) = (u16_at(segment, 0)?, u16_at(segment, 2)?);
        let header = usize::from(segment.get(12)? >> 4) * 4;
        let payload = segment.get(header..).unwrap_or_default();
        let lower = source.min(destination);
        Some(match foreign::guess(payload, &[source, destination]) {
            _ if payload.starts_with(&[0, 10]) || lower == 4739 => Self::IpfixOverTcp,
            Some(foreign) => Self::Tcp(foreign),
            // Segments without a start of anything.
            None => match lower {
                80 | 8080 => Self::Tcp(Foreign::Http),
                443 => Self::Tcp(Foreign::Tls),
                53 => Self::Tcp(Foreign::Dns),
                514 | 601 => Self::Tcp(Foreign::Syslog),
                other => Self::TcpPort(other),
            },
        })
    }

    pub(super) fn of_frame(ether_type: Option<u16>) -> Self {
        ether_type.map_or(Self::Frame, Self::EtherType)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(foreign) => f.write_str(foreign.name()),
            Self::UdpPort(port) => write!(f, "unknown datagrams to UDP port {port}"),
            Self::Tcp(Foreign::Dns | Foreign::Syslog) => write!(f, "{} over TCP", self.foreign()),
            Self::Tcp(foreign) => f.write_str(foreign.name()),
            Self::IpfixOverTcp => f.write_str(
                "IPFIX over TCP, of which no message begins in a segment of the capture",
            ),
            Self::TcpPort(port) => write!(f, "TCP port {port}"),
            Self::Ip(protocol) => match ie::protocol_keyword(*protocol) {
                Some(keyword) => f.write_str(keyword),
                None => write!(f, "IP protocol {protocol}"),
            },
            Self::EtherType(0x0806) => f.write_str("ARP"),
            Self::EtherType(0x88cc) => f.write_str("LLDP"),
            Self::EtherType(length) if *length < 0x0600 => {
                f.write_str("802.3 frames such as spanning tree or CDP")
            }
            Self::EtherType(number) => write!(f, "EtherType {number:#06x}"),
            Self::Frame => f.write_str("frames of another protocol than IP"),
        }
    }
}

impl Content {
    fn foreign(&self) -> &'static str {
        match self {
            Self::Udp(foreign) | Self::Tcp(foreign) => foreign.name(),
            _ => "",
        }
    }
}
