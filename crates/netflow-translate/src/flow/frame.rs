//! Attributes out of the headers of a sampled packet: sFlow's raw headers, and the sections of packets that
//! NetFlow v9 and IPFIX records carry (RFC 5477, section 8.5).
//!
//! A section fills only attributes that its record has no element for.

use std::net::IpAddr;

use crate::attributes::names::Name;
use crate::attributes::vocabulary::Attributes;
use crate::config::AttributeLevel;
use crate::filter::{FlowView, Number, Place};
use crate::plan::sampling::{Scaling, scaled};
use crate::plan::{Family, Op};
use netflow_wire::frame::{Frame, LinkType, Packet, Tunnel, TunnelKind};
use netflow_wire::{Template, unsigned};

/// Attributes that a frame may give, as a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wanted(u16);

macro_rules! wanted {
    ($($name:ident = $bit:literal, $of:ident;)*) => {
        impl Wanted {
            $(pub(crate) const $name: Self = Self(1 << $bit);)*
            /// Each with the name by which a plan has it.
            const EACH: &[(Self, Name)] = &[
                $((Self::$name, Name::$of),)*
            ];
        }
    };
}

wanted! {
    SOURCE_ADDRESS = 0, SourceAddress;
    SOURCE_PORT = 1, SourcePort;
    DESTINATION_ADDRESS = 2, DestinationAddress;
    DESTINATION_PORT = 3, DestinationPort;
    PROTOCOL = 4, Transport;
    NETWORK_TYPE = 5, NetworkType;
    TCP_FLAGS = 6, TcpFlags;
    TOS = 7, Tos;
    ICMP_TYPE = 8, IcmpType;
    ICMP_CODE = 9, IcmpCode;
    VLAN = 10, VlanInput;
    SOURCE_MAC = 11, SourceMac;
    DESTINATION_MAC = 12, DestinationMac;
    LABELS = 13, MplsLabel1;
    TUNNEL = 14, TunnelType;
}

impl Wanted {
    /// Those of a level that `is_told` doesn't know.
    pub(crate) fn new(level: AttributeLevel, is_told: impl Fn(Name) -> bool) -> Self {
        let wanted = Self::EACH
            .iter()
            .filter(|(_, name)| name.level() <= level && !is_told(*name));
        Self(wanted.fold(0, |all, (one, _)| all | one.0))
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline]
    pub(crate) const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

/// Names of a packet that isn't the span's own.
pub(crate) struct PacketNames {
    pub(crate) source_address: Name,
    pub(crate) source_port: Name,
    pub(crate) destination_address: Name,
    pub(crate) destination_port: Name,
    pub(crate) protocol: Name,
}

const INNER: PacketNames = PacketNames {
    source_address: Name::TunnelInnerSourceAddress,
    source_port: Name::TunnelInnerSourcePort,
    destination_address: Name::TunnelInnerDestinationAddress,
    destination_port: Name::TunnelInnerDestinationPort,
    protocol: Name::TunnelInnerProtocol,
};

fn set_absent(number: Number, value: u64, view: &mut FlowView<'_>) {
    if view.stored(number).is_none() {
        view.set(number, value);
    }
}

/// Fills in what a frame says and isn't known.
pub(crate) fn fill(frame: &Frame, view: &mut FlowView<'_>) {
    if let Some(packet) = &frame.packet {
        for (place, address) in [
            (Place::Source, packet.source),
            (Place::Destination, packet.destination),
        ] {
            if view.address(place).is_none() {
                view.set_address(place, address.into());
            }
        }
        let transport = &packet.transport;
        let numbers = [
            (
                Number::SourcePort,
                transport.ports.map(|[port, _]| u64::from(port)),
            ),
            (
                Number::DestinationPort,
                transport.ports.map(|[_, port]| u64::from(port)),
            ),
            (Number::Protocol, Some(u64::from(packet.protocol))),
            (Number::TcpFlags, transport.tcp_flags.map(u64::from)),
            (Number::Tos, Some(u64::from(packet.tos))),
            (
                Number::IcmpType,
                transport.icmp.map(|[kind, _]| u64::from(kind)),
            ),
            (
                Number::IcmpCode,
                transport.icmp.map(|[_, code]| u64::from(code)),
            ),
        ];
        for (number, value) in numbers {
            if let Some(value) = value {
                set_absent(number, value, view);
            }
        }
    }
    if let Some(vlan) = frame.vlans.as_slice().first() {
        set_absent(Number::InputVlan, u64::from(*vlan), view);
    }
    if let Some(macs) = &frame.macs {
        let number = |octets: [u8; 6]| {
            octets
                .iter()
                .fold(0, |all, octet| all << 8 | u64::from(*octet))
        };
        set_absent(Number::SourceMac, number(macs.source), view);
        set_absent(Number::DestinationMac, number(macs.destination), view);
    }
}

/// Writes counts that a packet stands for, and what they are estimated to be.
pub(crate) fn write_counts(
    bytes: Option<u64>,
    packets: Option<u64>,
    scaling: Scaling,
    out: &mut Attributes<'_, '_>,
) {
    let factor = scaling.factor.unwrap_or(1);
    if let Some(bytes) = bytes {
        out.unsigned(Name::Bytes, scaled(bytes, factor));
    }
    if let Some(packets) = packets {
        out.unsigned(Name::Packets, scaled(packets, factor));
    }
    let Some(interval) = scaling.estimate else {
        return;
    };
    if let Some(bytes) = bytes {
        out.unsigned(Name::EstimatedBytes, scaled(bytes, interval));
    }
    if let Some(packets) = packets {
        out.unsigned(Name::EstimatedPackets, scaled(packets, interval));
    }
}

/// Writes the wanted attributes that a frame has.
pub(crate) fn write(frame: &Frame, wanted: Wanted, out: &mut Attributes<'_, '_>) {
    if let Some(packet) = &frame.packet {
        write_packet(packet, wanted, out);
    }
    if let (true, Some(vlan)) = (wanted.has(Wanted::VLAN), frame.vlans.as_slice().first()) {
        out.unsigned(Name::VlanInput, u64::from(*vlan));
    }
    if let Some(macs) = &frame.macs {
        if wanted.has(Wanted::SOURCE_MAC) {
            out.mac(Name::SourceMac, macs.source);
        }
        if wanted.has(Wanted::DESTINATION_MAC) {
            out.mac(Name::DestinationMac, macs.destination);
        }
    }
    if wanted.has(Wanted::LABELS) {
        write_labels(frame.labels.as_slice(), out);
    }
    if let (true, Some(tunnel)) = (wanted.has(Wanted::TUNNEL), &frame.tunnel) {
        write_tunnel(tunnel, out);
    }
}

fn write_packet(packet: &Packet, wanted: Wanted, out: &mut Attributes<'_, '_>) {
    if wanted.has(Wanted::SOURCE_ADDRESS) {
        out.address(Name::SourceAddress, packet.source);
    }
    let transport = &packet.transport;
    if let (true, Some([port, _])) = (wanted.has(Wanted::SOURCE_PORT), transport.ports) {
        out.unsigned(Name::SourcePort, u64::from(port));
    }
    if wanted.has(Wanted::DESTINATION_ADDRESS) {
        out.address(Name::DestinationAddress, packet.destination);
    }
    if let (true, Some([_, port])) = (wanted.has(Wanted::DESTINATION_PORT), transport.ports) {
        out.unsigned(Name::DestinationPort, u64::from(port));
    }
    if wanted.has(Wanted::PROTOCOL) {
        out.writer
            .encoded(out.words.protocols.attributes(packet.protocol));
    }
    if wanted.has(Wanted::NETWORK_TYPE) {
        let family = match packet.source {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        out.writer.encoded(out.words.values.network_type(family));
    }
    if let (true, Some(flags)) = (wanted.has(Wanted::TCP_FLAGS), transport.tcp_flags) {
        out.unsigned(Name::TcpFlags, u64::from(flags));
    }
    if wanted.has(Wanted::TOS) {
        out.unsigned(Name::Tos, u64::from(packet.tos));
    }
    if let Some([kind, code]) = transport.icmp {
        if wanted.has(Wanted::ICMP_TYPE) {
            out.unsigned(Name::IcmpType, u64::from(kind));
        }
        if wanted.has(Wanted::ICMP_CODE) {
            out.unsigned(Name::IcmpCode, u64::from(code));
        }
    }
}

pub(crate) fn write_labels(labels: &[u32], out: &mut Attributes<'_, '_>) {
    for (number, label) in labels.iter().enumerate() {
        if let Some(name) = Name::mpls_label(number) {
            out.unsigned(name, u64::from(*label));
        }
    }
}

fn write_tunnel(tunnel: &Tunnel, out: &mut Attributes<'_, '_>) {
    out.text(Name::TunnelType, tunnel.kind.name());
    if let Some(id) = tunnel.id {
        let key = match tunnel.kind {
            TunnelKind::Gre => Name::TunnelKey,
            _ => Name::TunnelVni,
        };
        out.unsigned(key, u64::from(id));
    }
    if let Some(packet) = &tunnel.packet {
        write_other_packet(packet, &INNER, out);
    }
}

/// Addresses, ports and protocol of a packet that isn't the span's own.
pub(crate) fn write_other_packet(
    packet: &Packet,
    names: &PacketNames,
    out: &mut Attributes<'_, '_>,
) {
    out.address(names.source_address, packet.source);
    out.address(names.destination_address, packet.destination);
    out.unsigned(names.protocol, u64::from(packet.protocol));
    if let Some([source, destination]) = packet.transport.ports {
        out.unsigned(names.source_port, u64::from(source));
        out.unsigned(names.destination_port, u64::from(destination));
    }
}

/// A template's section of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramePlan {
    section: u16,
    link: LinkType,
    /// dataLinkFrameType (408).
    frame_type: Option<u16>,
    /// sectionOffset (409), or layer2packetSectionOffset (102).
    offset: Option<u16>,
    /// dataLinkFrameSize (312), or layer2packetSectionSize (103).
    size: Option<u16>,
    /// sectionExportedOctets (410): what lies behind so many octets of the section is padding.
    exported: Option<u16>,
    wanted: Wanted,
    /// The record has no counters: it reports one packet (RFC 5476, section 6.5.2).
    bytes: bool,
    packets: bool,
}

/// Elements that hold a section from the first octet of a header on: the more headers, the better.
const SECTIONS: [(u16, LinkType); 4] = [
    (315, LinkType::Ethernet),
    (104, LinkType::Ethernet),
    (313, LinkType::Ip),
    (317, LinkType::Ip),
];
/// dataLinkFrameType: Ethernet.
const ETHERNET: u64 = 1;

impl FramePlan {
    /// What a section adds to the steps that a template has; `None` without a section.
    pub(crate) fn new(template: &Template, level: AttributeLevel, ops: &[Op]) -> Option<Self> {
        let field = |element: u16| {
            let found = template.fields.iter().position(|field| {
                field.enterprise == 0 && field.element == element && field.length > 0
            })?;
            u16::try_from(found).ok()
        };
        let (section, link) = SECTIONS
            .iter()
            .find_map(|(element, link)| Some((field(*element)?, *link)))?;
        let is_told = |name: Name| {
            let mut names = ops.iter().map(|op| op.name);
            // A stack of labels is one thing: the record's aren't mixed with the section's.
            match name {
                Name::MplsLabel1 => names.any(Name::is_mpls_label),
                // Nor are a record's tunnel and the section's.
                Name::TunnelType => names.any(Name::is_tunnel_inner),
                _ => names.any(|told| told == name),
            }
        };
        Some(Self {
            section,
            link,
            frame_type: field(408).filter(|_| link == LinkType::Ethernet),
            offset: field(409).or_else(|| field(102)),
            size: (field(312).or_else(|| field(103))).filter(|_| link == LinkType::Ethernet),
            exported: field(410),
            wanted: Wanted::new(level, is_told),
            bytes: !is_told(Name::Bytes),
            packets: !is_told(Name::Packets),
        })
    }

    /// The packet in the section of one record, if the section begins with a header that can be read.
    fn frame<'a>(&self, field: impl Fn(u16) -> &'a [u8]) -> Option<Frame> {
        let number = |index: Option<u16>| index.map(|index| unsigned(field(index)));
        let octets = field(self.section);
        let is_elsewhere = number(self.offset).is_some_and(|offset| offset != 0)
            || number(self.frame_type).is_some_and(|kind| kind != ETHERNET);
        if octets.is_empty() || is_elsewhere {
            return None;
        }
        let exported = number(self.exported).and_then(|octets| usize::try_from(octets).ok());
        let exported = exported.unwrap_or(octets.len()).min(octets.len());
        let octets = octets.get(..exported).unwrap_or_default();
        Some(Frame::read(self.link, octets))
    }

    /// The packet's length, if the record has no bytes of its own.
    fn bytes<'a>(&self, frame: &Frame, field: impl Fn(u16) -> &'a [u8]) -> Option<u64> {
        let size = self.size.map(|index| unsigned(field(index)));
        let size = size.filter(|size| *size > 0);
        let size = size.map(|size| size.max(frame.least_octets().unwrap_or(0)));
        let length = || Some(u64::from(frame.packet?.length));
        size.or_else(length).filter(|_| self.bytes)
    }

    /// Fills in what the section of one record says and the record doesn't.
    pub(crate) fn fill<'a>(&self, field: impl Fn(u16) -> &'a [u8], view: &mut FlowView<'_>) {
        let Some(frame) = self.frame(&field) else {
            return;
        };
        fill(&frame, view);
        if let Some(bytes) = self.bytes(&frame, field) {
            set_absent(Number::Bytes, bytes, view);
        }
        set_absent(Number::Packets, 1, view);
    }

    /// The packet in the section of one record, its bytes where the record has none, and whether the record stands for
    /// that one packet.
    pub(crate) fn counts<'a>(
        &self,
        field: impl Fn(u16) -> &'a [u8],
    ) -> Option<(Frame, Option<u64>, bool)> {
        let frame = self.frame(&field)?;
        Some((frame, self.bytes(&frame, field), self.packets))
    }

    /// Writes what the section of one record says.
    pub(crate) fn write<'a>(
        &self,
        field: impl Fn(u16) -> &'a [u8],
        scaling: Scaling,
        out: &mut Attributes<'_, '_>,
    ) {
        let Some(frame) = self.frame(&field) else {
            return;
        };
        write(&frame, self.wanted, out);
        let bytes = self.bytes(&frame, field);
        write_counts(bytes, self.packets.then_some(1), scaling, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_is_not_wanted() {
        let wanted = Wanted::new(AttributeLevel::Minimal, |name| name == Name::SourcePort);
        assert!(wanted.has(Wanted::SOURCE_ADDRESS));
        assert!(!wanted.has(Wanted::SOURCE_PORT));
        assert!(!wanted.has(Wanted::TOS));
        assert!(!wanted.without(Wanted::PROTOCOL).has(Wanted::PROTOCOL));
    }
}
