//! Attributes out of the headers of a sampled packet: sFlow's raw headers, and the sections of packets that
//! NetFlow v9 and IPFIX records carry (RFC 5477, section 8.5).
//!
//! A section fills only attributes that its record has no element for.

use std::net::IpAddr;

use netflow_wire::frame::{Frame, LinkType, MAX_LABELS, Packet, Tunnel, TunnelKind};
use netflow_wire::{Template, unsigned};
use otlp_wire::{Key, SpanWriter};

use crate::attributes::protocols::protocols;
use crate::config::AttributeLevel;
use crate::plan::Op;
use crate::plan::sampling::scaled;

/// Attributes that a frame may give, as a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wanted(u16);

macro_rules! wanted {
    ($($name:ident = $bit:literal, $level:ident, $key:literal;)*) => {
        impl Wanted {
            $(pub(crate) const $name: Self = Self(1 << $bit);)*
            /// Each with its level and the key by which a plan has it.
            const EACH: &[(Self, AttributeLevel, &str)] = &[
                $((Self::$name, AttributeLevel::$level, $key),)*
            ];
        }
    };
}

wanted! {
    SOURCE_ADDRESS = 0, Minimal, "source.address";
    SOURCE_PORT = 1, Minimal, "source.port";
    DESTINATION_ADDRESS = 2, Minimal, "destination.address";
    DESTINATION_PORT = 3, Minimal, "destination.port";
    PROTOCOL = 4, Minimal, "network.transport";
    NETWORK_TYPE = 5, Standard, "network.type";
    TCP_FLAGS = 6, Standard, "netflow.tcp_flags";
    TOS = 7, Standard, "netflow.tos";
    ICMP_TYPE = 8, Standard, "netflow.icmp.type";
    ICMP_CODE = 9, Standard, "netflow.icmp.code";
    VLAN = 10, Standard, "netflow.vlan.input";
    SOURCE_MAC = 11, Standard, "netflow.src_mac";
    DESTINATION_MAC = 12, Standard, "netflow.dst_mac";
    LABELS = 13, Standard, "netflow.mpls.label.1";
    TUNNEL = 14, Standard, "netflow.tunnel.type";
}

impl Wanted {
    /// Those of a level that `is_told` doesn't know.
    pub(crate) fn new(level: AttributeLevel, is_told: impl Fn(&str) -> bool) -> Self {
        let wanted = Self::EACH
            .iter()
            .filter(|(_, least, key)| *least <= level && !is_told(key));
        Self(wanted.fold(0, |all, (one, _, _)| all | one.0))
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline]
    pub(crate) const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

struct Keys {
    source_address: Key,
    source_port: Key,
    destination_address: Key,
    destination_port: Key,
    network_type: Key,
    tcp_flags: Key,
    tos: Key,
    icmp_type: Key,
    icmp_code: Key,
    vlan: Key,
    source_mac: Key,
    destination_mac: Key,
    labels: [Key; MAX_LABELS],
    bytes: Key,
    packets: Key,
    tunnel_type: Key,
    tunnel_vni: Key,
    tunnel_key: Key,
    inner: PacketKeys,
}

/// Keys of a packet that isn't the span's own.
pub(crate) struct PacketKeys {
    pub(crate) source_address: Key,
    pub(crate) source_port: Key,
    pub(crate) destination_address: Key,
    pub(crate) destination_port: Key,
    pub(crate) protocol: Key,
}

static KEYS: Keys = Keys {
    source_address: Key::literal("source.address"),
    source_port: Key::literal("source.port"),
    destination_address: Key::literal("destination.address"),
    destination_port: Key::literal("destination.port"),
    network_type: Key::literal("network.type"),
    tcp_flags: Key::literal("netflow.tcp_flags"),
    tos: Key::literal("netflow.tos"),
    icmp_type: Key::literal("netflow.icmp.type"),
    icmp_code: Key::literal("netflow.icmp.code"),
    vlan: Key::literal("netflow.vlan.input"),
    source_mac: Key::literal("netflow.src_mac"),
    destination_mac: Key::literal("netflow.dst_mac"),
    labels: [
        Key::literal("netflow.mpls.label.1"),
        Key::literal("netflow.mpls.label.2"),
        Key::literal("netflow.mpls.label.3"),
        Key::literal("netflow.mpls.label.4"),
        Key::literal("netflow.mpls.label.5"),
        Key::literal("netflow.mpls.label.6"),
        Key::literal("netflow.mpls.label.7"),
        Key::literal("netflow.mpls.label.8"),
        Key::literal("netflow.mpls.label.9"),
        Key::literal("netflow.mpls.label.10"),
    ],
    bytes: Key::literal("netflow.flow.bytes"),
    packets: Key::literal("netflow.flow.packets"),
    tunnel_type: Key::literal("netflow.tunnel.type"),
    tunnel_vni: Key::literal("netflow.tunnel.vni"),
    tunnel_key: Key::literal("netflow.tunnel.key"),
    inner: PacketKeys {
        source_address: Key::literal("netflow.tunnel.inner.source.address"),
        source_port: Key::literal("netflow.tunnel.inner.source.port"),
        destination_address: Key::literal("netflow.tunnel.inner.destination.address"),
        destination_port: Key::literal("netflow.tunnel.inner.destination.port"),
        protocol: Key::literal("netflow.tunnel.inner.protocol"),
    },
};

/// Writes the wanted attributes that a frame has.
pub(crate) fn write(frame: &Frame, wanted: Wanted, writer: &mut SpanWriter<'_>) {
    if let Some(packet) = &frame.packet {
        write_packet(packet, wanted, writer);
    }
    if let (true, Some(vlan)) = (wanted.has(Wanted::VLAN), frame.vlans.as_slice().first()) {
        writer.unsigned(&KEYS.vlan, u64::from(*vlan));
    }
    if let Some(macs) = &frame.macs {
        if wanted.has(Wanted::SOURCE_MAC) {
            writer.mac(&KEYS.source_mac, macs.source);
        }
        if wanted.has(Wanted::DESTINATION_MAC) {
            writer.mac(&KEYS.destination_mac, macs.destination);
        }
    }
    if wanted.has(Wanted::LABELS) {
        write_labels(frame.labels.as_slice(), writer);
    }
    if let (true, Some(tunnel)) = (wanted.has(Wanted::TUNNEL), &frame.tunnel) {
        write_tunnel(tunnel, writer);
    }
}

fn write_packet(packet: &Packet, wanted: Wanted, writer: &mut SpanWriter<'_>) {
    if wanted.has(Wanted::SOURCE_ADDRESS) {
        write_address(&KEYS.source_address, packet.source, writer);
    }
    let transport = &packet.transport;
    if let (true, Some([port, _])) = (wanted.has(Wanted::SOURCE_PORT), transport.ports) {
        writer.unsigned(&KEYS.source_port, u64::from(port));
    }
    if wanted.has(Wanted::DESTINATION_ADDRESS) {
        write_address(&KEYS.destination_address, packet.destination, writer);
    }
    if let (true, Some([_, port])) = (wanted.has(Wanted::DESTINATION_PORT), transport.ports) {
        writer.unsigned(&KEYS.destination_port, u64::from(port));
    }
    if wanted.has(Wanted::PROTOCOL) {
        writer.encoded(protocols().attributes(packet.protocol));
    }
    if wanted.has(Wanted::NETWORK_TYPE) {
        let family = if packet.source.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        };
        writer.text(&KEYS.network_type, family);
    }
    if let (true, Some(flags)) = (wanted.has(Wanted::TCP_FLAGS), transport.tcp_flags) {
        writer.unsigned(&KEYS.tcp_flags, u64::from(flags));
    }
    if wanted.has(Wanted::TOS) {
        writer.unsigned(&KEYS.tos, u64::from(packet.tos));
    }
    if let Some([kind, code]) = transport.icmp {
        if wanted.has(Wanted::ICMP_TYPE) {
            writer.unsigned(&KEYS.icmp_type, u64::from(kind));
        }
        if wanted.has(Wanted::ICMP_CODE) {
            writer.unsigned(&KEYS.icmp_code, u64::from(code));
        }
    }
}

#[inline]
pub(crate) fn write_address(key: &Key, address: IpAddr, writer: &mut SpanWriter<'_>) {
    match address {
        IpAddr::V4(address) => writer.ipv4(key, address.octets()),
        IpAddr::V6(address) => writer.ipv6(key, address.octets()),
    }
}

pub(crate) fn write_labels(labels: &[u32], writer: &mut SpanWriter<'_>) {
    for (key, label) in KEYS.labels.iter().zip(labels) {
        writer.unsigned(key, u64::from(*label));
    }
}

fn write_tunnel(tunnel: &Tunnel, writer: &mut SpanWriter<'_>) {
    writer.text(&KEYS.tunnel_type, tunnel.kind.name());
    if let Some(id) = tunnel.id {
        let key = match tunnel.kind {
            TunnelKind::Gre => &KEYS.tunnel_key,
            _ => &KEYS.tunnel_vni,
        };
        writer.unsigned(key, u64::from(id));
    }
    if let Some(packet) = &tunnel.packet {
        write_other_packet(packet, &KEYS.inner, writer);
    }
}

/// Addresses, ports and protocol of a packet that isn't the span's own.
pub(crate) fn write_other_packet(packet: &Packet, keys: &PacketKeys, writer: &mut SpanWriter<'_>) {
    write_address(&keys.source_address, packet.source, writer);
    write_address(&keys.destination_address, packet.destination, writer);
    writer.unsigned(&keys.protocol, u64::from(packet.protocol));
    if let Some([source, destination]) = packet.transport.ports {
        writer.unsigned(&keys.source_port, u64::from(source));
        writer.unsigned(&keys.destination_port, u64::from(destination));
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
        let is_told = |key: &str| {
            let mut keys = ops.iter().map(|op| op.key.name());
            // A stack of labels is one thing: the record's aren't mixed with the section's.
            match key {
                "netflow.mpls.label.1" => keys.any(|told| told.starts_with("netflow.mpls.label.")),
                _ => keys.any(|told| told == key),
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
            bytes: !is_told("netflow.flow.bytes"),
            packets: !is_told("netflow.flow.packets"),
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

    /// The bytes that the section of one record says, and whether the record stands for its one packet.
    pub(crate) fn counts<'a>(&self, field: impl Fn(u16) -> &'a [u8]) -> (Option<u64>, bool) {
        match self.frame(&field) {
            Some(frame) => (self.bytes(&frame, field), self.packets),
            None => (None, false),
        }
    }

    /// Writes what the section of one record says. `factor` multiplies counts.
    pub(crate) fn write<'a>(
        &self,
        field: impl Fn(u16) -> &'a [u8],
        factor: Option<u64>,
        writer: &mut SpanWriter<'_>,
    ) {
        let Some(frame) = self.frame(&field) else {
            return;
        };
        write(&frame, self.wanted, writer);
        let factor = factor.unwrap_or(1);
        if let Some(bytes) = self.bytes(&frame, field) {
            writer.unsigned(&KEYS.bytes, scaled(bytes, factor));
        }
        if self.packets {
            writer.unsigned(&KEYS.packets, scaled(1, factor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::table::ATTRIBUTES;

    #[test]
    fn keys_are_those_of_the_table() {
        for (_, level, key) in Wanted::EACH {
            let row = ATTRIBUTES.iter().find(|row| row.key == *key);
            assert!(
                row.map_or(key.starts_with("netflow.tunnel."), |row| row.level
                    == *level),
                "{key}"
            );
        }
    }

    #[test]
    fn what_is_told_is_not_wanted() {
        let wanted = Wanted::new(AttributeLevel::Minimal, |key| key == "source.port");
        assert!(wanted.has(Wanted::SOURCE_ADDRESS));
        assert!(!wanted.has(Wanted::SOURCE_PORT));
        assert!(!wanted.has(Wanted::TOS));
        assert!(!wanted.without(Wanted::PROTOCOL).has(Wanted::PROTOCOL));
    }
}
