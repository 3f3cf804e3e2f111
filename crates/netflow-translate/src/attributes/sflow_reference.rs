//! The tables of `docs/sflow.md`: what each name holds for a sample, with the keys and types of the vocabulary.

use std::fmt::Write as _;

use crate::attributes::names::{Name, ValueType};

/// Names whose values come from the same place, and from where.
type Row = (&'static [Name], &'static str);

const SAMPLE: &[Row] = &[
    (
        &[
            Name::SourceAddress,
            Name::SourcePort,
            Name::DestinationAddress,
            Name::DestinationPort,
            Name::Transport,
            Name::ProtocolNumber,
            Name::NetworkType,
            Name::TcpFlags,
            Name::Tos,
            Name::IcmpType,
            Name::IcmpCode,
            Name::SourceMac,
            Name::DestinationMac,
        ],
        "the packet's headers (raw header), otherwise what the agent decoded (sampled Ethernet, IPv4, IPv6)",
    ),
    (
        &[Name::Bytes],
        "the frame's length on the wire, otherwise the IP packet's",
    ),
    (&[Name::Packets], "1"),
    (
        &[Name::InterfaceInput, Name::InterfaceOutput],
        "the sample, if it names one interface; absent for the device itself (0x3fffffff), for several interfaces, and \
         for a discarded packet",
    ),
    (
        &[Name::Direction],
        "`receive` or `transmit`, if one of the two interfaces took the sample",
    ),
    (
        &[Name::NextHop, Name::SourceMask, Name::DestinationMask],
        "extended router; the next hop otherwise from extended MPLS",
    ),
    (
        &[Name::SourceAs, Name::DestinationAs],
        "extended gateway: the source's AS, the last AS of the path to the destination. A source without one (0) and an \
         empty path are the router's own AS",
    ),
    (&[Name::BgpNextHop], "extended gateway"),
    (
        &[Name::VlanInput, Name::VlanOutput],
        "extended switch; the input VLAN otherwise from the frame's outermost tag",
    ),
    (
        &[Name::MplsLabel1],
        "and further labels: the frame, otherwise the incoming stack of extended MPLS",
    ),
    (
        &[
            Name::NatSourceAddress,
            Name::NatDestinationAddress,
            Name::NatSourcePort,
            Name::NatDestinationPort,
        ],
        "extended NAT, extended NAT port",
    ),
    (
        &[Name::User],
        "extended user: the source's, otherwise the destination's",
    ),
    (
        &[Name::EstimatedBytes, Name::EstimatedPackets],
        "bytes and packets times the interval; absent with `NETFLOW_SCALE_SAMPLED=true`",
    ),
    (
        &[Name::SamplingInterval, Name::SamplingOrigin],
        "the sample's own rate (`record`), unless `NETFLOW_SAMPLING_OVERRIDE` (`config`) has one for the exporter. \
         Discarded packets are not sampled: all are reported, without an interval",
    ),
];

const STANDARD: &[Row] = &[
    (
        &[Name::SflowDiscardReason],
        "why a packet was discarded: sFlow's name (`ttl_exceeded`, `acl`, `blackhole_route`), or the number as text if it \
         has no name",
    ),
    (
        &[Name::SflowOutputInterfaces],
        "the number of interfaces through which the packet left, if it isn't one; 0: several, number unknown",
    ),
];

const ALL: &[Row] = &[
    (
        &[
            Name::SflowSampleSequence,
            Name::SflowSamplePool,
            Name::SflowSampleDrops,
        ],
        "counters of the sample's source: previous samples, packets that could have been sampled, dropped samples",
    ),
    (
        &[Name::SflowSourceType, Name::SflowSourceIndex],
        "the source of the sample: 0 interface, 1 VLAN, 2 physical entity; and its number",
    ),
    (
        &[Name::SflowHeaderProtocol, Name::SflowHeaderStripped],
        "the kind of header (1 Ethernet, 11 IPv4, 12 IPv6), and the number of bytes removed from the frame",
    ),
    (
        &[Name::SflowVlanInputPriority, Name::SflowVlanOutputPriority],
        "802.1p",
    ),
    (
        &[
            Name::SflowRouterAs,
            Name::SflowSourcePeerAs,
            Name::SflowDestinationPeerAs,
        ],
        "the router's own AS, and its neighbours towards source and destination",
    ),
    (
        &[Name::SflowDestinationUser],
        "the user at the destination, if there is one at the source too",
    ),
    (&[Name::SflowUrl, Name::SflowUrlHost], "extended URL"),
    (
        &[
            Name::IpTtl,
            Name::FlowLabel,
            Name::FragmentOffset,
            Name::IpTotalLength,
            Name::EthernetType,
            Name::CustomerVlan,
        ],
        "fields of the headers; the fragment's offset in units of 8 octets",
    ),
];

const TUNNEL: &[Row] = &[
    (
        &[Name::TunnelType],
        "`gre`, `vxlan`, `geneve`, `ipip`, `6in4`, `4in6`, `6in6`",
    ),
    (
        &[Name::TunnelVni],
        "network identifier of VXLAN and Geneve, or of sFlow's extended VNI",
    ),
    (&[Name::TunnelKey], "GRE's key"),
    (
        &[
            Name::TunnelInnerSourceAddress,
            Name::TunnelInnerSourcePort,
            Name::TunnelInnerDestinationAddress,
            Name::TunnelInnerDestinationPort,
            Name::TunnelInnerProtocol,
        ],
        "of the packet in the tunnel",
    ),
];

const OUTER: &[Row] = &[(
    &[
        Name::TunnelSourceAddress,
        Name::TunnelSourcePort,
        Name::TunnelDestinationAddress,
        Name::TunnelDestinationPort,
        Name::TunnelProtocol,
    ],
    "of the outer header that is added or was removed",
)];

/// The tables by their names in `docs/sflow.md`.
const TABLES: [(&str, &[Row]); 5] = [
    ("sample", SAMPLE),
    ("standard", STANDARD),
    ("all", ALL),
    ("tunnel", TUNNEL),
    ("outer", OUTER),
];

/// `docs/sflow.md` with its tables made anew: each stands between a line that names it and one that ends it.
#[must_use]
pub fn sflow_reference(document: &str) -> String {
    let mut text = String::new();
    let mut is_table = false;
    for line in document.lines() {
        is_table &= !line.starts_with("<!-- end of ");
        if !is_table {
            let _ = writeln!(text, "{line}");
        }
        let named = line.strip_prefix("<!-- generated table: ");
        let name = named.and_then(|rest| rest.split_whitespace().next());
        let table = TABLES.iter().find(|(own, _)| Some(*own) == name);
        if let Some((_, rows)) = table {
            is_table = true;
            push_table(&mut text, rows);
        }
    }
    text
}

fn push_table(text: &mut String, rows: &[Row]) {
    text.push_str("\n| attribute | under `flow` | type | value |\n|---|---|---|---|\n");
    for (names, value) in rows {
        let keys = |key: fn(Name) -> Option<&'static str>| {
            let keys = names.iter().filter_map(|name| key(*name));
            let keys: Vec<_> = keys.map(|key| format!("`{key}`")).collect();
            keys.join(", ")
        };
        let netflow = keys(Name::netflow);
        // Where both schemas have the same keys, they stand once.
        let flow = Some(keys(Name::flow)).filter(|flow| *flow != netflow);
        let mut types: Vec<_> = names.iter().map(|name| word(name.value_type())).collect();
        types.sort_unstable();
        types.dedup();
        let (flow, types) = (flow.unwrap_or_default(), types.join(", "));
        let _ = writeln!(text, "| {netflow} | {flow} | {types} | {value} |");
    }
    text.push('\n');
}

fn word(value: ValueType) -> &'static str {
    match value {
        ValueType::Int => "int",
        ValueType::Text => "string",
        ValueType::Bool => "bool",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_sflow_and_of_tunnels_is_in_one_table() {
        let listed = |name: &Name| {
            let rows = TABLES.iter().flat_map(|(_, rows)| rows.iter());
            rows.filter(|(names, _)| names.contains(name)).count()
        };
        for name in Name::ALL {
            let key = name.netflow().unwrap_or_default();
            let is_own = key.starts_with("sflow.") || key.starts_with("netflow.tunnel.");
            assert_eq!(listed(name).max(usize::from(!is_own)), 1, "{key}");
        }
    }
}
