//! THE vocabulary: what a span may say of a flow, each by an identity of its own, apart from its spelling.
//!
//! One line a name: level, type, and the key under `NETFLOW_SEMCONV=netflow` and, behind the bar, `flow` (the same key
//! where there is no bar; `none`: not written). The keys of `flow` are those of the documentation of the Mermin project
//! and of OpenTelemetry's open proposals (`source.as.number`), and ours where neither has one.
//!
//! Architecture invariant: whatever writes or reads attributes of flows names them by [`Name`].

use std::collections::HashMap;
use std::sync::LazyLock;

use otlp_wire::Key;

use crate::config::{AttributeLevel, Semconv};

/// The OTLP type of a value, as the documentation has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValueType {
    /// `int`
    Int,
    /// `string`
    Text,
    /// `bool`
    Bool,
}

macro_rules! spelling {
    (none) => {
        None
    };
    ($netflow:literal) => {
        Some($netflow)
    };
    ($netflow:tt, none) => {
        None
    };
    ($netflow:tt, $flow:literal) => {
        Some($flow)
    };
}

macro_rules! names {
    ($($name:ident: $level:ident, $kind:ident, $netflow:tt $(| $flow:tt)?;)*) => {
        /// What an attribute says.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Name {
            $($name,)*
        }

        const NAMES: &[Name] = &[$(Name::$name,)*];
        const LEVELS: [AttributeLevel; NAMES.len()] = [$(AttributeLevel::$level,)*];
        const TYPES: [ValueType; NAMES.len()] = [$(ValueType::$kind,)*];
        const NETFLOW: [Option<&str>; NAMES.len()] = [$(spelling!($netflow),)*];
        const FLOW: [Option<&str>; NAMES.len()] = [$(spelling!($netflow $(, $flow)?),)*];
    };
}

names! {
    SourceAddress: Minimal, Text, "source.address";
    SourcePort: Minimal, Int, "source.port";
    DestinationAddress: Minimal, Text, "destination.address";
    DestinationPort: Minimal, Int, "destination.port";
    Transport: Minimal, Text, "network.transport";
    ProtocolNumber: Minimal, Int, "network.protocol.number" | none;
    Bytes: Minimal, Int, "netflow.flow.bytes" | "flow.bytes.delta";
    Packets: Minimal, Int, "netflow.flow.packets" | "flow.packets.delta";
    NextHop: Minimal, Text, "netflow.nexthop";
    InterfaceInput: Minimal, Int, "netflow.interface.input";
    InterfaceOutput: Minimal, Int, "netflow.interface.output";
    SourceAs: Minimal, Int, "netflow.src_as" | "source.as.number";
    DestinationAs: Minimal, Int, "netflow.dst_as" | "destination.as.number";
    NetworkType: Standard, Text, "network.type";
    Direction: Standard, Text, "network.io.direction";
    TcpFlags: Standard, Int, "netflow.tcp_flags" | "flow.tcp.flags.bits";
    Tos: Standard, Int, "netflow.tos";
    Dscp: Standard, Int, "netflow.dscp";
    SourceMask: Standard, Int, "netflow.src_mask";
    DestinationMask: Standard, Int, "netflow.dst_mask";
    SourcePrefix: Standard, Text, "netflow.src_prefix";
    DestinationPrefix: Standard, Text, "netflow.dst_prefix";
    IcmpType: Standard, Int, "netflow.icmp.type" | "flow.icmp.type.id";
    IcmpCode: Standard, Int, "netflow.icmp.code" | "flow.icmp.code.id";
    VlanInput: Standard, Int, "netflow.vlan.input";
    VlanOutput: Standard, Int, "netflow.vlan.output";
    SourceMac: Standard, Text, "netflow.src_mac" | "source.mac";
    DestinationMac: Standard, Text, "netflow.dst_mac" | "destination.mac";
    BgpNextHop: Standard, Text, "netflow.bgp_nexthop";
    EndReason: Standard, Text, "netflow.end_reason" | "flow.end_reason";
    ForwardingStatus: Standard, Int, "netflow.forwarding_status";
    FirewallEvent: Standard, Text, "netflow.firewall.event";
    NatEvent: Standard, Text, "netflow.nat.event";
    NatSourceAddress: Standard, Text, "netflow.nat.source.address";
    NatSourcePort: Standard, Int, "netflow.nat.source.port";
    NatDestinationAddress: Standard, Text, "netflow.nat.destination.address";
    NatDestinationPort: Standard, Int, "netflow.nat.destination.port";
    NatPortBlockStart: Standard, Int, "netflow.nat.port_block.start";
    NatPortBlockEnd: Standard, Int, "netflow.nat.port_block.end";
    NatPortBlockStep: Standard, Int, "netflow.nat.port_block.step";
    NatPortBlockSize: Standard, Int, "netflow.nat.port_block.size";
    Cumulative: Standard, Bool, "netflow.flow.cumulative";
    ReverseBytes: Standard, Int, "netflow.flow.reverse.bytes" | "flow.reverse.bytes.delta";
    ReversePackets: Standard, Int, "netflow.flow.reverse.packets" | "flow.reverse.packets.delta";
    MplsLabel1: Standard, Int, "netflow.mpls.label.1";
    MplsLabel2: Standard, Int, "netflow.mpls.label.2";
    MplsLabel3: Standard, Int, "netflow.mpls.label.3";
    MplsLabel4: Standard, Int, "netflow.mpls.label.4";
    MplsLabel5: Standard, Int, "netflow.mpls.label.5";
    MplsLabel6: Standard, Int, "netflow.mpls.label.6";
    MplsLabel7: Standard, Int, "netflow.mpls.label.7";
    MplsLabel8: Standard, Int, "netflow.mpls.label.8";
    MplsLabel9: Standard, Int, "netflow.mpls.label.9";
    MplsLabel10: Standard, Int, "netflow.mpls.label.10";
    VrfInput: Standard, Int, "netflow.vrf.input";
    VrfInputName: Standard, Text, "netflow.vrf.input.name";
    VrfOutput: Standard, Int, "netflow.vrf.output";
    VrfOutputName: Standard, Text, "netflow.vrf.output.name";
    InterfaceInputName: Standard, Text, "netflow.interface.input.name";
    InterfaceOutputName: Standard, Text, "netflow.interface.output.name";
    ApplicationId: Standard, Text, "netflow.application.id";
    ApplicationName: Standard, Text, "netflow.application.name";
    User: Standard, Text, "netflow.user";
    SecurityGroupSource: Standard, Int, "netflow.security_group.source";
    SecurityGroupDestination: Standard, Int, "netflow.security_group.destination";
    SourcePodNamespace: Standard, Text, "source.k8s.namespace.name";
    SourcePod: Standard, Text, "source.k8s.pod.name";
    SourceNode: Standard, Text, "source.k8s.node.name";
    DestinationPodNamespace: Standard, Text, "destination.k8s.namespace.name";
    DestinationPod: Standard, Text, "destination.k8s.pod.name";
    DestinationNode: Standard, Text, "destination.k8s.node.name";
    DestinationServicePort: Standard, Text, "destination.k8s.service.port_name";
    ExporterAgent: Standard, Text, "netflow.exporter.agent";
    TunnelType: Standard, Text, "netflow.tunnel.type";
    TunnelVni: Standard, Int, "netflow.tunnel.vni";
    TunnelKey: Standard, Int, "netflow.tunnel.key";
    TunnelInnerSourceAddress: Standard, Text, "netflow.tunnel.inner.source.address";
    TunnelInnerSourcePort: Standard, Int, "netflow.tunnel.inner.source.port";
    TunnelInnerDestinationAddress: Standard, Text, "netflow.tunnel.inner.destination.address";
    TunnelInnerDestinationPort: Standard, Int, "netflow.tunnel.inner.destination.port";
    TunnelInnerProtocol: Standard, Int, "netflow.tunnel.inner.protocol";
    TunnelSourceAddress: Standard, Text, "netflow.tunnel.source.address";
    TunnelSourcePort: Standard, Int, "netflow.tunnel.source.port";
    TunnelDestinationAddress: Standard, Text, "netflow.tunnel.destination.address";
    TunnelDestinationPort: Standard, Int, "netflow.tunnel.destination.port";
    TunnelProtocol: Standard, Int, "netflow.tunnel.protocol";
    EstimatedBytes: Standard, Int, "netflow.flow.estimated.bytes";
    EstimatedPackets: Standard, Int, "netflow.flow.estimated.packets";
    SamplingInterval: Standard, Int, "netflow.sampling.interval";
    SamplingOrigin: Standard, Text, "netflow.sampling.origin";
    SamplingScaled: Minimal, Bool, "netflow.sampling.scaled";
    AdjustedBytes: Minimal, Int, "netflow.sample.adjusted_bytes";
    PeerService: Minimal, Text, "peer.service";
    PeerName: Minimal, Text, "service.peer.name";
    SourceCountry: Minimal, Text, "source.geo.country.iso_code";
    DestinationCountry: Minimal, Text, "destination.geo.country.iso_code";
    SourceOrganization: Minimal, Text, "source.as.organization.name";
    DestinationOrganization: Minimal, Text, "destination.as.organization.name";
    AsOrigin: Minimal, Text, "netflow.as.origin";
    FlowStart: Minimal, Int, "netflow.flow.start_unix_nano";
    FlowEnd: Minimal, Int, "netflow.flow.end_unix_nano";
    TimeSuspect: Minimal, Bool, "netflow.time.suspect";
    SflowDiscardReason: Standard, Text, "sflow.discard.reason";
    SflowOutputInterfaces: Standard, Int, "sflow.output.interfaces";
    IpTtl: All, Int, "ipfix.ip_ttl";
    FlowLabel: All, Int, "ipfix.flow_label_ipv6";
    FragmentOffset: All, Int, "ipfix.fragment_offset";
    IpTotalLength: All, Int, "ipfix.ip_total_length";
    EthernetType: All, Int, "ipfix.ethernet_type";
    CustomerVlan: All, Int, "ipfix.dot1q_customer_vlan_id";
    SflowSampleSequence: All, Int, "sflow.sample.sequence";
    SflowSamplePool: All, Int, "sflow.sample.pool";
    SflowSampleDrops: All, Int, "sflow.sample.drops";
    SflowSourceType: All, Int, "sflow.source.type";
    SflowSourceIndex: All, Int, "sflow.source.index";
    SflowHeaderProtocol: All, Int, "sflow.header.protocol";
    SflowHeaderStripped: All, Int, "sflow.header.stripped";
    SflowVlanInputPriority: All, Int, "sflow.vlan.input.priority";
    SflowVlanOutputPriority: All, Int, "sflow.vlan.output.priority";
    SflowRouterAs: All, Int, "sflow.router_as";
    SflowSourcePeerAs: All, Int, "sflow.src_peer_as";
    SflowDestinationPeerAs: All, Int, "sflow.dst_peer_as";
    SflowDestinationUser: All, Text, "sflow.dst_user";
    SflowUrl: All, Text, "sflow.url";
    SflowUrlHost: All, Text, "sflow.url.host";
}

impl Name {
    /// All of them, in the order of the documentation.
    pub const ALL: &[Self] = NAMES;

    /// The least level that writes it.
    #[must_use]
    pub const fn level(self) -> AttributeLevel {
        LEVELS[self as usize]
    }

    /// The type of its value.
    #[must_use]
    pub const fn value_type(self) -> ValueType {
        TYPES[self as usize]
    }

    /// Its key under `NETFLOW_SEMCONV=netflow`.
    #[must_use]
    pub const fn netflow(self) -> Option<&'static str> {
        NETFLOW[self as usize]
    }

    /// Its key under `NETFLOW_SEMCONV=flow`.
    #[must_use]
    pub const fn flow(self) -> Option<&'static str> {
        FLOW[self as usize]
    }

    /// The name that a key of either schema stands for.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        static BY_KEY: LazyLock<HashMap<&str, Name>> = LazyLock::new(|| {
            let keys = |name: &Name| [name.flow(), name.netflow()].map(|key| Some((key?, *name)));
            NAMES.iter().flat_map(keys).flatten().collect()
        });
        BY_KEY.get(key).copied()
    }

    /// Of the packet in a tunnel.
    pub(crate) fn is_tunnel_inner(self) -> bool {
        let inner = Self::TunnelInnerSourceAddress as usize..=Self::TunnelInnerProtocol as usize;
        inner.contains(&(self as usize))
    }

    pub(crate) fn is_mpls_label(self) -> bool {
        (Self::MplsLabel1 as usize..=Self::MplsLabel10 as usize).contains(&(self as usize))
    }

    /// The label at this place of a stack, counted from 0.
    pub(crate) fn mpls_label(number: usize) -> Option<Self> {
        let first = Self::MplsLabel1 as usize;
        let last = Self::MplsLabel10 as usize;
        let index = first.checked_add(number).filter(|index| *index <= last)?;
        NAMES.get(index).copied()
    }
}

/// The encoded keys of a schema. `both` has a second one for each name that the two schemas spell differently.
#[derive(Debug)]
pub(crate) struct Keys {
    first: [Option<Key>; NAMES.len()],
    second: Option<Box<[Option<Key>; NAMES.len()]>>,
}

impl Keys {
    pub(crate) fn new(semconv: Semconv) -> Self {
        let encoded = |keys: [Option<&'static str>; NAMES.len()]| {
            keys.map(|key| key.map(|key| Key::new(key).expect("a test encodes each")))
        };
        match semconv {
            Semconv::Netflow => Self {
                first: encoded(NETFLOW),
                second: None,
            },
            Semconv::Flow => Self {
                first: encoded(FLOW),
                second: None,
            },
            Semconv::Both => {
                let mut other = FLOW;
                for (flow, netflow) in other.iter_mut().zip(NETFLOW) {
                    *flow = flow.filter(|flow| netflow != Some(*flow));
                }
                Self {
                    first: encoded(NETFLOW),
                    second: Some(Box::new(encoded(other))),
                }
            }
        }
    }

    /// The keys of a name: none, one or two.
    #[inline(always)]
    pub(crate) fn of(&self, name: Name) -> impl Iterator<Item = &Key> {
        let second = self
            .second
            .as_ref()
            .and_then(|keys| keys[name as usize].as_ref());
        self.first[name as usize].iter().chain(second)
    }

    /// The key of a name that both schemas spell alike.
    #[inline(always)]
    pub(crate) fn only(&self, name: Name) -> Option<&Key> {
        debug_assert_eq!(name.netflow(), name.flow());
        self.first[name as usize].as_ref()
    }

    /// Gives both keys of a name to `with`, as far as it has them: faster than a loop over [`of`](Self::of).
    #[inline(always)]
    pub(crate) fn each(&self, name: Name, mut with: impl FnMut(&Key)) {
        if let Some(key) = &self.first[name as usize] {
            with(key);
        }
        if let Some(keys) = &self.second {
            second(keys, name, with);
        }
    }

    /// As text.
    pub(crate) fn text(&self, name: Name) -> impl Iterator<Item = &str> {
        self.of(name).map(Key::name)
    }
}

/// Apart, so that what is written stands once where it is inlined.
#[cold]
fn second(keys: &[Option<Key>; NAMES.len()], name: Name, with: impl FnOnce(&Key)) {
    if let Some(key) = &keys[name as usize] {
        with(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_encoded_and_stands_once_in_its_schema() {
        for keys in [NETFLOW, FLOW] {
            let mut seen = std::collections::HashSet::new();
            for key in keys.into_iter().flatten() {
                assert!(Key::new(key).is_some(), "{key}");
                assert!(seen.insert(key), "{key}");
            }
        }
        for name in Name::ALL {
            assert!(name.netflow().or(name.flow()).is_some(), "{name:?}");
        }
    }

    #[test]
    fn a_key_of_either_schema_finds_its_name() {
        for name in Name::ALL {
            for key in [name.netflow(), name.flow()].into_iter().flatten() {
                assert_eq!(Name::of(key), Some(*name), "{key}");
            }
        }
        assert_eq!(Name::of("netflow.nothing"), None);
    }

    #[test]
    fn both_writes_each_spelling_once() {
        let both = Keys::new(Semconv::Both);
        let keys = |name| both.text(name).collect::<Vec<_>>();
        assert_eq!(keys(Name::SourceAddress), ["source.address"]);
        assert_eq!(
            keys(Name::Bytes),
            ["netflow.flow.bytes", "flow.bytes.delta"]
        );
        assert_eq!(
            Keys::new(Semconv::Flow).text(Name::ProtocolNumber).count(),
            0
        );
    }

    #[test]
    fn labels_are_numbered() {
        assert_eq!(Name::mpls_label(0), Some(Name::MplsLabel1));
        assert_eq!(Name::mpls_label(9), Some(Name::MplsLabel10));
        assert_eq!(Name::mpls_label(10), None);
    }
}
