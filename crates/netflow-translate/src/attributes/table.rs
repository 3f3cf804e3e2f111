//! THE table: which Information Elements become which span attribute, in the order they are written.
//!
//! A row's sources stand in order of preference; [`Pick`] says what decides when a record has several.

use netflow_wire::ie;

use crate::attributes::names::Name;

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
    /// The record's own name of the interface it was metered at, else what the exporter's options data say.
    InterfaceName,
    VrfName,
    ApplicationName,
    /// `address/length`, of a prefix or of an address that is zero, and its mask.
    Prefix,
    /// `true` where bytes or packets come from a running total.
    Cumulative,
}

impl Form {
    /// It reads one field: of several the first that isn't zero.
    pub(crate) fn is_of_one(self) -> bool {
        matches!(
            self,
            Self::Protocol
                | Self::Direction
                | Self::ValueName
                | Self::MplsLabel
                | Self::ApplicationId
                | Self::VrfName
        )
    }
}

/// The row of this key, if only elements of vendors have it: another vendor's element may have it too.
pub(crate) fn of_vendors(key: &str) -> Option<&'static Attribute> {
    let name = Name::of(key)?;
    let row = ATTRIBUTES.iter().find(|row| row.name == name)?;
    let is_vendors = |source: &Source| ![0, ie::REVERSE].contains(&source.0);
    row.sources.iter().all(is_vendors).then_some(row)
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    pub(crate) name: Name,
    pub(crate) form: Form,
    pub(crate) pick: Pick,
    pub(crate) sources: &'static [Source],
}

impl Attribute {
    /// A count of sampled packets or octets, which `NETFLOW_SCALE_SAMPLED` multiplies.
    pub(crate) fn is_count(&self) -> bool {
        matches!(
            self.name,
            Name::Bytes | Name::Packets | Name::ReverseBytes | Name::ReversePackets
        )
    }
}

const fn cisco(id: u16) -> Source {
    (ie::CISCO, id)
}

const fn ntop(id: u16) -> Source {
    (ie::NTOP, id)
}

/// Enterprise number of VMware.
const fn vmware(id: u16) -> Source {
    (6876, id)
}

/// Enterprise number of Ixia.
const fn ixia(id: u16) -> Source {
    (3054, id)
}

/// Enterprise number of Antrea.
const fn antrea(id: u16) -> Source {
    (56506, id)
}

const fn row(name: Name, form: Form, pick: Pick, sources: &'static [Source]) -> Attribute {
    Attribute {
        name,
        form,
        pick,
        sources,
    }
}

/// Attributes of `netflow.flow`, besides `netflow.version`, which is first and constant, and those of
/// sampling and time, which aren't one element each.
pub(crate) const ATTRIBUTES: &[Attribute] = &[
    row(
        Name::SourceAddress,
        Form::Address,
        Pick::Family,
        &[iana(8), iana(27), cisco(12236), cisco(12238)],
    ),
    row(
        Name::SourcePort,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(7), iana(180), iana(182), cisco(12240)],
    ),
    row(
        Name::DestinationAddress,
        Form::Address,
        Pick::Family,
        &[iana(12), iana(28), cisco(12237), cisco(12239)],
    ),
    row(
        Name::DestinationPort,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(11), iana(181), iana(183), cisco(12241)],
    ),
    row(Name::Transport, Form::Protocol, Pick::First, &[iana(4)]),
    row(
        Name::Bytes,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[
            iana(1),
            iana(85),
            iana(23),
            iana(231),
            cisco(8338),
            iana(352),
        ],
    ),
    row(
        Name::Packets,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(2), iana(86), iana(24), iana(298)],
    ),
    row(
        Name::NextHop,
        Form::Address,
        Pick::Family,
        &[iana(15), iana(62)],
    ),
    row(
        Name::InterfaceInput,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(10), iana(252)],
    ),
    row(
        Name::InterfaceOutput,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(14), iana(253)],
    ),
    row(Name::SourceAs, Form::Unsigned, Pick::First, &[iana(16)]),
    row(
        Name::DestinationAs,
        Form::Unsigned,
        Pick::First,
        &[iana(17)],
    ),
    row(
        Name::NetworkType,
        Form::NetworkType,
        Pick::First,
        &[
            iana(60),
            iana(8),
            iana(27),
            iana(12),
            iana(28),
            cisco(12236),
            cisco(12238),
            cisco(12237),
            cisco(12239),
        ],
    ),
    row(Name::Direction, Form::Direction, Pick::First, &[iana(61)]),
    row(Name::TcpFlags, Form::Unsigned, Pick::First, &[iana(6)]),
    row(Name::Tos, Form::Unsigned, Pick::First, &[iana(5)]),
    row(Name::Dscp, Form::Unsigned, Pick::First, &[iana(195)]),
    row(
        Name::SourceMask,
        Form::Unsigned,
        Pick::Family,
        &[iana(9), iana(29)],
    ),
    row(
        Name::DestinationMask,
        Form::Unsigned,
        Pick::Family,
        &[iana(13), iana(30)],
    ),
    row(
        Name::SourcePrefix,
        Form::Prefix,
        Pick::Family,
        &[iana(44), iana(170), iana(8), iana(27)],
    ),
    row(
        Name::DestinationPrefix,
        Form::Prefix,
        Pick::Family,
        &[iana(45), iana(169), iana(12), iana(28)],
    ),
    row(
        Name::IcmpType,
        Form::IcmpType,
        Pick::Family,
        &[iana(176), iana(178), iana(32), iana(139), iana(11)],
    ),
    row(
        Name::IcmpCode,
        Form::IcmpCode,
        Pick::Family,
        &[iana(177), iana(179), iana(32), iana(139), iana(11)],
    ),
    row(
        Name::VlanInput,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(58), iana(243)],
    ),
    row(
        Name::VlanOutput,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(59), iana(254)],
    ),
    row(
        Name::SourceMac,
        Form::Mac,
        Pick::FirstNonZero,
        &[iana(56), iana(81)],
    ),
    row(
        Name::DestinationMac,
        Form::Mac,
        Pick::FirstNonZero,
        &[iana(80), iana(57)],
    ),
    row(
        Name::BgpNextHop,
        Form::Address,
        Pick::Family,
        &[iana(18), iana(63)],
    ),
    row(Name::EndReason, Form::ValueName, Pick::First, &[iana(136)]),
    row(
        Name::ForwardingStatus,
        Form::Unsigned,
        Pick::First,
        &[iana(89)],
    ),
    row(
        Name::FirewallEvent,
        Form::ValueName,
        Pick::FirstNonZero,
        &[iana(233), iana(40005)],
    ),
    row(Name::NatEvent, Form::ValueName, Pick::First, &[iana(230)]),
    row(
        Name::NatSourceAddress,
        Form::Address,
        Pick::Family,
        &[iana(225), iana(281), iana(40001)],
    ),
    row(
        Name::NatSourcePort,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(227), iana(40003)],
    ),
    row(
        Name::NatDestinationAddress,
        Form::Address,
        Pick::Family,
        &[iana(226), iana(282), iana(40002)],
    ),
    row(
        Name::NatDestinationPort,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(228), iana(40004)],
    ),
    row(
        Name::NatPortBlockStart,
        Form::Unsigned,
        Pick::First,
        &[iana(361)],
    ),
    row(
        Name::NatPortBlockEnd,
        Form::Unsigned,
        Pick::First,
        &[iana(362)],
    ),
    row(
        Name::NatPortBlockStep,
        Form::Unsigned,
        Pick::First,
        &[iana(363)],
    ),
    row(
        Name::NatPortBlockSize,
        Form::Unsigned,
        Pick::First,
        &[iana(364)],
    ),
    row(
        Name::Cumulative,
        Form::Cumulative,
        Pick::First,
        &[iana(85), iana(86)],
    ),
    row(
        Name::ReverseBytes,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[reverse(1), reverse(85), iana(232), cisco(8337)],
    ),
    row(
        Name::ReversePackets,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[reverse(2), reverse(86), iana(299)],
    ),
    row(Name::MplsLabel1, Form::MplsLabel, Pick::First, &[iana(70)]),
    row(Name::MplsLabel2, Form::MplsLabel, Pick::First, &[iana(71)]),
    row(Name::MplsLabel3, Form::MplsLabel, Pick::First, &[iana(72)]),
    row(Name::MplsLabel4, Form::MplsLabel, Pick::First, &[iana(73)]),
    row(Name::MplsLabel5, Form::MplsLabel, Pick::First, &[iana(74)]),
    row(Name::MplsLabel6, Form::MplsLabel, Pick::First, &[iana(75)]),
    row(Name::MplsLabel7, Form::MplsLabel, Pick::First, &[iana(76)]),
    row(Name::MplsLabel8, Form::MplsLabel, Pick::First, &[iana(77)]),
    row(Name::MplsLabel9, Form::MplsLabel, Pick::First, &[iana(78)]),
    row(Name::MplsLabel10, Form::MplsLabel, Pick::First, &[iana(79)]),
    row(Name::VrfInput, Form::Unsigned, Pick::First, &[iana(234)]),
    row(Name::VrfInputName, Form::VrfName, Pick::First, &[iana(234)]),
    row(Name::VrfOutput, Form::Unsigned, Pick::First, &[iana(235)]),
    row(
        Name::VrfOutputName,
        Form::VrfName,
        Pick::First,
        &[iana(235)],
    ),
    row(
        Name::InterfaceInputName,
        Form::InterfaceName,
        Pick::FirstNonZero,
        &[iana(82), iana(83), iana(10), iana(252)],
    ),
    row(
        Name::InterfaceOutputName,
        Form::InterfaceName,
        Pick::FirstNonZero,
        &[iana(82), iana(83), iana(14), iana(253)],
    ),
    row(
        Name::ApplicationId,
        Form::ApplicationId,
        Pick::First,
        &[iana(95)],
    ),
    row(
        Name::ApplicationName,
        Form::ApplicationName,
        Pick::FirstNonZero,
        &[
            iana(96),
            iana(56701),
            iana(57591),
            ntop(119),
            ixia(111),
            iana(95),
        ],
    ),
    row(
        Name::User,
        Form::Text,
        Pick::FirstNonZero,
        &[iana(371), iana(40000), iana(56702)],
    ),
    row(
        Name::SecurityGroupSource,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(34000), cisco(1232)],
    ),
    row(
        Name::SecurityGroupDestination,
        Form::Unsigned,
        Pick::FirstNonZero,
        &[iana(34001), cisco(1233)],
    ),
    row(
        Name::TunnelInnerSourceAddress,
        Form::Address,
        Pick::Family,
        &[vmware(881), vmware(883)],
    ),
    row(
        Name::TunnelInnerSourcePort,
        Form::Unsigned,
        Pick::First,
        &[vmware(886)],
    ),
    row(
        Name::TunnelInnerDestinationAddress,
        Form::Address,
        Pick::Family,
        &[vmware(882), vmware(884)],
    ),
    row(
        Name::TunnelInnerDestinationPort,
        Form::Unsigned,
        Pick::First,
        &[vmware(887)],
    ),
    row(
        Name::TunnelInnerProtocol,
        Form::Unsigned,
        Pick::First,
        &[vmware(880)],
    ),
    // Not of the flow's family: the first that isn't zero.
    row(
        Name::SourcePodNamespace,
        Form::Text,
        Pick::First,
        &[antrea(100)],
    ),
    row(Name::SourcePod, Form::Text, Pick::First, &[antrea(101)]),
    row(Name::SourceNode, Form::Text, Pick::First, &[antrea(104)]),
    row(
        Name::DestinationPodNamespace,
        Form::Text,
        Pick::First,
        &[antrea(102)],
    ),
    row(
        Name::DestinationPod,
        Form::Text,
        Pick::First,
        &[antrea(103)],
    ),
    row(
        Name::DestinationNode,
        Form::Text,
        Pick::First,
        &[antrea(105)],
    ),
    row(
        Name::DestinationServicePort,
        Form::Text,
        Pick::First,
        &[antrea(109)],
    ),
    row(
        Name::ExporterAgent,
        Form::Address,
        Pick::FirstNonZero,
        &[iana(403), iana(404), iana(130), iana(131)],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for attribute in ATTRIBUTES {
            assert!(seen.insert(attribute.name), "{:?}", attribute.name);
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
                assert!(known.is_some(), "{:?} {id}", attribute.name);
            }
        }
    }
}
