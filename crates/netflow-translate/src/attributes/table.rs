//! THE table: which Information Elements become which span attribute, in the order they are written.
//!
//! A row's sources stand in order of preference; [`Pick`] says what decides when a record has several.

use netflow_wire::ie;

use crate::config::AttributeLevel;

/// An element by enterprise number and id. v9's vendor types stand under 0.
pub(crate) type Source = (u32, u16);

const fn iana(id: u16) -> Source {
    (0, id)
}

/// RFC 5103: the same element for the other direction.
const fn reverse(id: u16) -> Source {
    (ie::REVERSE, id)
}

/// What decides between several sources in one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pick {
    /// The first that the template has.
    First,
    /// The first that is not zero, else the first that the template has.
    FirstNonZero,
    /// IPv4 and IPv6 forms of one thing: the record's address family.
    Family,
}

/// How the value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Unsigned,
    Address,
    Mac,
    Text,
    /// `network.transport` and `network.protocol.number` at once.
    Protocol,
    /// `network.type`, of element 60 or of the addresses.
    NetworkType,
    /// `receive` or `transmit`.
    Direction,
    /// The registry's name of the value in snake case, else the number as text.
    ValueName,
    /// ICMP type or code: of an element of its own, of a pair, or of the destination port.
    IcmpType,
    IcmpCode,
    /// The label of an MPLS label stack entry, its upper 20 bits (RFC 3032).
    MplsLabel,
    /// `engine:selector` (RFC 6759).
    ApplicationId,
    /// What the exporter's options data say of the value.
    InterfaceName,
    VrfName,
    ApplicationName,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    pub(crate) key: &'static str,
    pub(crate) level: AttributeLevel,
    pub(crate) form: Form,
    pub(crate) pick: Pick,
    pub(crate) sources: &'static [Source],
}

impl Attribute {
    /// A count of sampled packets or octets, which `NETFLOW_SCALE_SAMPLED` multiplies.
    pub(crate) fn is_count(&self) -> bool {
        matches!(self.key, "netflow.flow.bytes" | "netflow.flow.packets")
    }
}

const fn row(
    level: AttributeLevel,
    key: &'static str,
    form: Form,
    pick: Pick,
    sources: &'static [Source],
) -> Attribute {
    Attribute {
        key,
        level,
        form,
        pick,
        sources,
    }
}

use AttributeLevel::{Minimal, Standard};

/// The device that metered, where another one sends its records: of a mediator (RFC 7119), a relay or a NAT. Options
/// data may tell it too, and in sFlow it stands in the resource.
pub(crate) const AGENT: &str = "netflow.exporter.agent";

/// Attributes of `netflow.flow`, besides `netflow.version`, which is first and constant, and those of
/// sampling and time, which aren't one element each.
pub(crate) const ATTRIBUTES: &[Attribute] = &[
    row(
        Minimal,
        "source.address",
        Form::Address,
        Pick::Family,
        &[iana(8), iana(27)],
    ),
    row(
        Minimal,
        "source.port",
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(7), iana(180), iana(182)],
    ),
    row(
        Minimal,
        "destination.address",
        Form::Address,
        Pick::Family,
        &[iana(12), iana(28)],
    ),
    row(
        Minimal,
        "destination.port",
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(11), iana(181), iana(183)],
    ),
    row(
        Minimal,
        "network.transport",
        Form::Protocol,
        Pick::First,
        &[iana(4)],
    ),
    row(
        Minimal,
        "netflow.flow.bytes",
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(1), iana(85), iana(23), iana(231), iana(352)],
    ),
    row(
        Minimal,
        "netflow.flow.packets",
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(2), iana(86), iana(24), iana(298)],
    ),
    row(
        Minimal,
        "netflow.nexthop",
        Form::Address,
        Pick::Family,
        &[iana(15), iana(62)],
    ),
    row(
        Minimal,
        "netflow.interface.input",
        Form::Unsigned,
        Pick::First,
        &[iana(10), iana(252)],
    ),
    row(
        Minimal,
        "netflow.interface.output",
        Form::Unsigned,
        Pick::First,
        &[iana(14), iana(253)],
    ),
    row(
        Minimal,
        "netflow.src_as",
        Form::Unsigned,
        Pick::First,
        &[iana(16)],
    ),
    row(
        Minimal,
        "netflow.dst_as",
        Form::Unsigned,
        Pick::First,
        &[iana(17)],
    ),
    row(
        Standard,
        "network.type",
        Form::NetworkType,
        Pick::First,
        &[iana(60), iana(8), iana(27), iana(12), iana(28)],
    ),
    row(
        Standard,
        "network.io.direction",
        Form::Direction,
        Pick::First,
        &[iana(61)],
    ),
    row(
        Standard,
        "netflow.tcp_flags",
        Form::Unsigned,
        Pick::First,
        &[iana(6)],
    ),
    row(
        Standard,
        "netflow.tos",
        Form::Unsigned,
        Pick::First,
        &[iana(5)],
    ),
    row(
        Standard,
        "netflow.src_mask",
        Form::Unsigned,
        Pick::Family,
        &[iana(9), iana(29)],
    ),
    row(
        Standard,
        "netflow.dst_mask",
        Form::Unsigned,
        Pick::Family,
        &[iana(13), iana(30)],
    ),
    row(
        Standard,
        "netflow.icmp.type",
        Form::IcmpType,
        Pick::Family,
        &[iana(176), iana(178), iana(32), iana(139), iana(11)],
    ),
    row(
        Standard,
        "netflow.icmp.code",
        Form::IcmpCode,
        Pick::Family,
        &[iana(177), iana(179), iana(32), iana(139), iana(11)],
    ),
    row(
        Standard,
        "netflow.vlan.input",
        Form::Unsigned,
        Pick::First,
        &[iana(58), iana(243)],
    ),
    row(
        Standard,
        "netflow.vlan.output",
        Form::Unsigned,
        Pick::First,
        &[iana(59), iana(254)],
    ),
    row(
        Standard,
        "netflow.src_mac",
        Form::Mac,
        Pick::First,
        &[iana(56), iana(81)],
    ),
    row(
        Standard,
        "netflow.dst_mac",
        Form::Mac,
        Pick::First,
        &[iana(80), iana(57)],
    ),
    row(
        Standard,
        "netflow.bgp_nexthop",
        Form::Address,
        Pick::Family,
        &[iana(18), iana(63)],
    ),
    row(
        Standard,
        "netflow.end_reason",
        Form::ValueName,
        Pick::First,
        &[iana(136)],
    ),
    row(
        Standard,
        "netflow.forwarding_status",
        Form::Unsigned,
        Pick::First,
        &[iana(89)],
    ),
    row(
        Standard,
        "netflow.firewall.event",
        Form::ValueName,
        Pick::First,
        &[iana(233), iana(40005)],
    ),
    row(
        Standard,
        "netflow.nat.event",
        Form::ValueName,
        Pick::First,
        &[iana(230)],
    ),
    row(
        Standard,
        "netflow.nat.source.address",
        Form::Address,
        Pick::Family,
        &[iana(225), iana(281), iana(40001)],
    ),
    row(
        Standard,
        "netflow.nat.source.port",
        Form::Unsigned,
        Pick::First,
        &[iana(227), iana(40003)],
    ),
    row(
        Standard,
        "netflow.nat.destination.address",
        Form::Address,
        Pick::Family,
        &[iana(226), iana(282), iana(40002)],
    ),
    row(
        Standard,
        "netflow.nat.destination.port",
        Form::Unsigned,
        Pick::First,
        &[iana(228), iana(40004)],
    ),
    row(
        Standard,
        "netflow.flow.reverse.bytes",
        Form::Unsigned,
        Pick::FirstNonZero,
        &[reverse(1), reverse(85), iana(232)],
    ),
    row(
        Standard,
        "netflow.flow.reverse.packets",
        Form::Unsigned,
        Pick::FirstNonZero,
        &[reverse(2), reverse(86), iana(299)],
    ),
    row(
        Standard,
        "netflow.mpls.label.1",
        Form::MplsLabel,
        Pick::First,
        &[iana(70)],
    ),
    row(
        Standard,
        "netflow.mpls.label.2",
        Form::MplsLabel,
        Pick::First,
        &[iana(71)],
    ),
    row(
        Standard,
        "netflow.mpls.label.3",
        Form::MplsLabel,
        Pick::First,
        &[iana(72)],
    ),
    row(
        Standard,
        "netflow.mpls.label.4",
        Form::MplsLabel,
        Pick::First,
        &[iana(73)],
    ),
    row(
        Standard,
        "netflow.mpls.label.5",
        Form::MplsLabel,
        Pick::First,
        &[iana(74)],
    ),
    row(
        Standard,
        "netflow.mpls.label.6",
        Form::MplsLabel,
        Pick::First,
        &[iana(75)],
    ),
    row(
        Standard,
        "netflow.mpls.label.7",
        Form::MplsLabel,
        Pick::First,
        &[iana(76)],
    ),
    row(
        Standard,
        "netflow.mpls.label.8",
        Form::MplsLabel,
        Pick::First,
        &[iana(77)],
    ),
    row(
        Standard,
        "netflow.mpls.label.9",
        Form::MplsLabel,
        Pick::First,
        &[iana(78)],
    ),
    row(
        Standard,
        "netflow.mpls.label.10",
        Form::MplsLabel,
        Pick::First,
        &[iana(79)],
    ),
    row(
        Standard,
        "netflow.vrf.input",
        Form::Unsigned,
        Pick::First,
        &[iana(234)],
    ),
    row(
        Standard,
        "netflow.vrf.input.name",
        Form::VrfName,
        Pick::First,
        &[iana(234)],
    ),
    row(
        Standard,
        "netflow.vrf.output",
        Form::Unsigned,
        Pick::First,
        &[iana(235)],
    ),
    row(
        Standard,
        "netflow.vrf.output.name",
        Form::VrfName,
        Pick::First,
        &[iana(235)],
    ),
    row(
        Standard,
        "netflow.interface.input.name",
        Form::InterfaceName,
        Pick::First,
        &[iana(10), iana(252)],
    ),
    row(
        Standard,
        "netflow.interface.output.name",
        Form::InterfaceName,
        Pick::First,
        &[iana(14), iana(253)],
    ),
    row(
        Standard,
        "netflow.application.id",
        Form::ApplicationId,
        Pick::First,
        &[iana(95)],
    ),
    row(
        Standard,
        "netflow.application.name",
        Form::ApplicationName,
        Pick::First,
        &[iana(96), iana(56701), iana(95)],
    ),
    row(
        Standard,
        "netflow.user",
        Form::Text,
        Pick::First,
        &[iana(371), iana(40000), iana(56702)],
    ),
    // Not of the flow's family: the first that isn't zero.
    row(
        Standard,
        AGENT,
        Form::Address,
        Pick::FirstNonZero,
        &[iana(403), iana(404), iana(130), iana(131)],
    ),
];

/// Whether level `minimal` shows an attribute of `netflow.flow`.
#[must_use]
pub fn is_minimal(key: &str) -> bool {
    // Of the header, of the protocol's row, and of times that can't be true.
    const BESIDES: [&str; 6] = [
        "netflow.version",
        "sflow.version",
        "network.protocol.number",
        "netflow.time.suspect",
        "netflow.flow.start_unix_nano",
        "netflow.flow.end_unix_nano",
    ];
    let mut rows = ATTRIBUTES.iter();
    BESIDES.contains(&key) || rows.any(|row| row.key == key && row.level == Minimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_fits_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for attribute in ATTRIBUTES {
            assert!(
                otlp_wire::Key::new(attribute.key).is_some(),
                "{}",
                attribute.key
            );
            assert!(seen.insert(attribute.key), "{}", attribute.key);
        }
    }

    #[test]
    fn every_source_is_a_known_element() {
        for attribute in ATTRIBUTES {
            for (enterprise, id) in attribute.sources {
                let known = if *enterprise == 0 {
                    ie::lookup_v9(*id)
                } else {
                    ie::lookup(*enterprise, *id)
                };
                assert!(known.is_some(), "{} {id}", attribute.key);
            }
        }
    }
}
