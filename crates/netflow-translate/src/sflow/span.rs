//! One sampled packet to one Span.

use std::net::IpAddr;

use netflow_wire::sflow::{FlowSample, Interface, discard_reason};
use otlp_wire::{SpanWriter, UnixNanos};

use super::seen::Seen;
use crate::attributes::names::Name;
use crate::attributes::vocabulary::{Attributes, Vocabulary};
use crate::config::AttributeLevel;
use crate::enrich::interfaces::OfExporter;
use crate::filter::{FlowView, Number, Place};
use crate::flow::Flow;
use crate::flow::frame::{
    self, PacketNames, Wanted, write_counts, write_labels, write_other_packet,
};
use crate::flow::fronts::Format;
use crate::metrics::{Direction, FlowCounts, FlowFacts, Reverse, Wants};
use crate::plan::sampling::{ConfiguredSampling, Origin, Scaling, scaled};
use crate::plan::times::{FlowTimes, TimeSpan};

/// What every sample of a datagram shares.
pub(super) struct SampleContext<'a> {
    pub(super) words: &'static Vocabulary,
    pub(super) wants: &'a SampleWants,
    pub(super) level: AttributeLevel,
    pub(super) sampling: &'a ConfiguredSampling,
    /// `NETFLOW_INTERFACES`, of this exporter.
    pub(super) interfaces: Option<&'a OfExporter>,
    /// When the datagram came: sFlow has no time.
    pub(super) received_at: UnixNanos,
}

/// What each level wants of a frame.
#[derive(Debug)]
pub(super) struct SampleWants {
    minimal: Wanted,
    standard: Wanted,
}

/// A sampled packet, with what its sample's records say of it.
#[derive(Clone, Copy)]
pub(super) struct SampledFlow<'a> {
    sample: &'a FlowSample<'a>,
    seen: &'a Seen<'a>,
    context: &'a SampleContext<'a>,
}

/// Of the header that is put on, or was taken off.
const TUNNEL: PacketNames = PacketNames {
    source_address: Name::TunnelSourceAddress,
    source_port: Name::TunnelSourcePort,
    destination_address: Name::TunnelDestinationAddress,
    destination_port: Name::TunnelDestinationPort,
    protocol: Name::TunnelProtocol,
};

impl SampleWants {
    pub(super) fn new() -> Self {
        Self {
            minimal: Wanted::new(AttributeLevel::Minimal, |_| false),
            standard: Wanted::new(AttributeLevel::Standard, |_| false),
        }
    }
}

impl<'a> SampledFlow<'a> {
    pub(super) fn new(
        sample: &'a FlowSample<'a>,
        seen: &'a Seen<'a>,
        context: &'a SampleContext<'a>,
    ) -> Self {
        Self {
            sample,
            seen,
            context,
        }
    }
}

impl Flow for SampledFlow<'_> {
    fn format(&self) -> Format {
        Format::Sflow
    }

    fn time_span(&self) -> TimeSpan {
        TimeSpan {
            start: self.context.received_at,
            end: self.context.received_at,
            suspect: false,
        }
    }

    fn times(&self) -> FlowTimes {
        FlowTimes {
            start: self.context.received_at,
            end: self.context.received_at,
            told_start: None,
            told_end: None,
            suspect: false,
        }
    }

    fn interval(&self) -> Option<(u64, Origin)> {
        let rate = self.sample.sampling_rate;
        let configured = self.context.sampling.interval(|| metered_at(self.sample));
        match configured {
            // Discarded packets are all reported, not sampled.
            Some(interval) if rate.is_some() => Some((interval, Origin::Config)),
            _ => rate
                .filter(|rate| *rate > 0)
                .map(|rate| (u64::from(rate), Origin::Record)),
        }
    }

    fn agent(&self) -> Option<IpAddr> {
        None
    }

    fn has_systems(&self) -> [bool; 2] {
        [self.seen.gateway.is_some(); 2]
    }

    fn counts(&self, interval: u64) -> FlowCounts {
        let index = |interface| match interface {
            Interface::Index(index) => index,
            _ => 0,
        };
        FlowCounts {
            input: index(self.sample.input),
            output: index(self.sample.output),
            direction: direction(self.sample),
            bytes: scaled(u64::from(self.seen.octets.unwrap_or(0)), interval),
            packets: scaled(1, interval),
            duration: 0,
        }
    }

    fn reverse(&self, _: u64) -> Option<Reverse> {
        None
    }

    fn facts<'a>(&'a self, interval: u64, wants: Wants, facts: &mut FlowFacts<'a>) {
        let (source_as, destination_as) = ases(self.seen).unwrap_or_default();
        *facts = FlowFacts {
            is_sampled: interval > 1,
            source_as,
            destination_as,
            ..FlowFacts::from(self.counts(interval))
        };
        let wants_packet = wants.addresses || wants.transport;
        if let (true, Some(packet)) = (wants_packet, &self.seen.frame.packet) {
            facts.fill_from(packet);
        }
    }

    fn ends(&self) -> [Option<IpAddr>; 2] {
        let packet = self.seen.frame.packet.as_ref();
        [
            packet.map(|packet| packet.source),
            packet.map(|packet| packet.destination),
        ]
    }

    fn fill(&self, view: &mut FlowView<'_>) {
        let Self { sample, seen, .. } = *self;
        let next_hop = next_hop(seen);
        if let Some(address) = next_hop {
            view.set_address(Place::NextHop, address.into());
        }
        let index = |interface| match interface {
            Interface::Index(index) => Some(u64::from(index)),
            _ => None,
        };
        let (source_as, destination_as) = ases(seen).unzip();
        let direction = direction(sample).map(|direction| match direction {
            Direction::Ingress => 0,
            Direction::Egress => 1,
        });
        let numbers = [
            (Number::Bytes, seen.octets.map(u64::from)),
            (Number::Packets, Some(1)),
            (Number::InputInterface, index(sample.input)),
            (Number::OutputInterface, index(sample.output)),
            (Number::SourceAs, source_as.map(u64::from)),
            (Number::DestinationAs, destination_as.map(u64::from)),
            (
                Number::SourceMask,
                seen.router.map(|router| u64::from(router.source_mask)),
            ),
            (
                Number::DestinationMask,
                seen.router.map(|router| u64::from(router.destination_mask)),
            ),
            (Number::InputVlan, input_vlan(seen).map(u64::from)),
            (
                Number::OutputVlan,
                seen.switch
                    .and_then(|switch| switch.destination_vlan)
                    .map(u64::from),
            ),
            (Number::Direction, direction),
        ];
        for (number, value) in numbers {
            if let Some(value) = value {
                view.set(number, value);
            }
        }
        frame::fill(&seen.frame, view);
    }

    fn write(&self, scaling: Scaling, _: &mut Vec<u8>, writer: &mut SpanWriter<'_>) {
        let Self {
            sample,
            seen,
            context,
        } = *self;
        let out = &mut Attributes {
            words: context.words,
            writer,
        };
        write_minimal(sample, seen, scaling, out);
        if context.level >= AttributeLevel::Standard {
            let vlan = input_vlan(seen);
            let labels = seen
                .mpls
                .filter(|_| seen.frame.labels.as_slice().is_empty());
            let mut wanted = context.wants.standard;
            if vlan.is_some() {
                wanted = wanted.without(Wanted::VLAN);
            }
            frame::write(&seen.frame, wanted, out);
            write_standard(sample, seen, vlan, out);
            if let Some(interfaces) = context.interfaces {
                write_interface_names(sample, interfaces, out);
            }
            if let Some(mpls) = labels {
                write_labels(mpls.input.as_slice(), out);
            }
        } else {
            frame::write(&seen.frame, context.wants.minimal, out);
        }
        if context.level >= AttributeLevel::All {
            write_detail(sample, seen, out);
        }
    }
}

fn write_minimal(
    flow: &FlowSample<'_>,
    seen: &Seen<'_>,
    scaling: Scaling,
    out: &mut Attributes<'_, '_>,
) {
    write_counts(seen.octets.map(u64::from), Some(1), scaling, out);
    if let Some(address) = next_hop(seen) {
        out.address(Name::NextHop, address);
    }
    // Only a format that is an index names an interface as NetFlow does.
    if let Interface::Index(index) = flow.input {
        out.unsigned(Name::InterfaceInput, u64::from(index));
    }
    if let Interface::Index(index) = flow.output {
        out.unsigned(Name::InterfaceOutput, u64::from(index));
    }
    if let Some((source, destination)) = ases(seen) {
        out.unsigned(Name::SourceAs, u64::from(source));
        out.unsigned(Name::DestinationAs, u64::from(destination));
    }
}

fn write_interface_names(
    flow: &FlowSample<'_>,
    interfaces: &OfExporter,
    out: &mut Attributes<'_, '_>,
) {
    for (name, interface) in [
        (Name::InterfaceInputName, flow.input),
        (Name::InterfaceOutputName, flow.output),
    ] {
        if let Interface::Index(index) = interface
            && let Some(text) = interfaces.name(index)
        {
            out.text(name, text);
        }
    }
}

/// Of the router's next hop and that of the label switched path the first is closer to NetFlow's.
fn next_hop(seen: &Seen<'_>) -> Option<IpAddr> {
    let of_router = seen.router.and_then(|router| router.next_hop);
    of_router.or_else(|| seen.mpls.and_then(|mpls| mpls.next_hop))
}

/// Source and destination AS: a source without one (0 is none, RFC 7607) and an empty path are the router's own AS.
fn ases(seen: &Seen<'_>) -> Option<(u32, u32)> {
    let gateway = seen.gateway.as_ref()?;
    let own = gateway.router_as;
    let source = match gateway.source_as {
        0 => own,
        source => source,
    };
    Some((source, gateway.destination_as.unwrap_or(own)))
}

/// The VLAN that a switch says goes before the frame's tag, unless it says 0 and there is a tag.
fn input_vlan(seen: &Seen<'_>) -> Option<u32> {
    let told = seen.switch?.source_vlan?;
    let has_tag = !seen.frame.vlans.as_slice().is_empty();
    (told != 0 || !has_tag).then_some(told)
}

fn write_standard(
    flow: &FlowSample<'_>,
    seen: &Seen<'_>,
    vlan: Option<u32>,
    out: &mut Attributes<'_, '_>,
) {
    let direction = match direction(flow) {
        Some(Direction::Ingress) => out.words.values.direction(0),
        Some(Direction::Egress) => out.words.values.direction(1),
        None => None,
    };
    if let Some(encoded) = direction {
        out.writer.encoded(encoded);
    }
    if let Some(router) = &seen.router {
        out.unsigned(Name::SourceMask, u64::from(router.source_mask));
        out.unsigned(Name::DestinationMask, u64::from(router.destination_mask));
    }
    if let Some(vlan) = vlan {
        out.unsigned(Name::VlanInput, u64::from(vlan));
    }
    if let Some(vlan) = seen.switch.and_then(|switch| switch.destination_vlan) {
        out.unsigned(Name::VlanOutput, u64::from(vlan));
    }
    if let Some(address) = seen.gateway.and_then(|gateway| gateway.next_hop) {
        out.address(Name::BgpNextHop, address);
    }
    if let Some(nat) = &seen.nat {
        if let Some(address) = nat.source {
            out.address(Name::NatSourceAddress, address);
        }
        if let Some(address) = nat.destination {
            out.address(Name::NatDestinationAddress, address);
        }
    }
    if let Some(ports) = &seen.nat_ports {
        out.unsigned(Name::NatSourcePort, u64::from(ports.source));
        out.unsigned(Name::NatDestinationPort, u64::from(ports.destination));
    }
    if let Some(user) = &seen.user {
        let name = if user.source.is_empty() {
            user.destination
        } else {
            user.source
        };
        out.exported_text(Name::User, name);
    }
    if let Some(tunnel) = &seen.tunnel {
        write_other_packet(&tunnel.header.packet(), &TUNNEL, out);
    }
    // A network identifier in the frame's own tunnel is written with it.
    let id = seen.frame.tunnel.and_then(|tunnel| tunnel.id);
    if let (Some(vni), None) = (&seen.vni, id) {
        out.unsigned(Name::TunnelVni, u64::from(vni.vni));
    }
    let reason = match (flow.reason, flow.output) {
        (Some(reason), _) | (None, Interface::Discarded(reason)) => Some(reason),
        _ => None,
    };
    if let Some(reason) = reason {
        match discard_reason(reason) {
            Some(name) => out.text(Name::SflowDiscardReason, name),
            None => write_number_as_text(Name::SflowDiscardReason, reason, out),
        }
    }
    if let Interface::Multiple(interfaces) = flow.output {
        out.unsigned(Name::SflowOutputInterfaces, u64::from(interfaces));
    }
}

/// The interfaces that a sample may have been taken at, the likelier one first.
fn metered_at(sample: &FlowSample<'_>) -> [Option<u64>; 2] {
    let index = |interface| match interface {
        Interface::Index(index) => Some(u64::from(index)),
        _ => None,
    };
    let (input, output) = (index(sample.input), index(sample.output));
    let source = (sample.source.kind == 0).then_some(u64::from(sample.source.index));
    match source {
        Some(source) if output == Some(source) => [output, input],
        _ => [input.or(source), output],
    }
}

/// The direction in which the packet passed what sampled it, where that is one of its two interfaces.
fn direction(flow: &FlowSample<'_>) -> Option<Direction> {
    if flow.source.kind != 0 {
        return None;
    }
    let sampled = Interface::Index(flow.source.index);
    match (flow.input == sampled, flow.output == sampled) {
        (true, false) => Some(Direction::Ingress),
        (false, true) => Some(Direction::Egress),
        _ => None,
    }
}

fn write_number_as_text(name: Name, number: u32, out: &mut Attributes<'_, '_>) {
    let mut digits = [0; 20];
    let len = otlp_wire::text::put_decimal(&mut digits, u64::from(number));
    let digits = digits.get(..len).unwrap_or_default();
    out.text(name, str::from_utf8(digits).unwrap_or_default());
}

fn write_detail(flow: &FlowSample<'_>, seen: &Seen<'_>, out: &mut Attributes<'_, '_>) {
    let mut number = |name: Name, value: Option<u32>| {
        if let Some(value) = value {
            out.unsigned(name, u64::from(value));
        }
    };
    if let Some(packet) = &seen.frame.packet {
        number(Name::IpTtl, packet.ttl.map(u32::from));
        number(Name::FlowLabel, packet.flow_label);
        number(Name::FragmentOffset, packet.fragment_offset.map(u32::from));
        number(Name::IpTotalLength, Some(packet.length));
    }
    number(Name::EthernetType, seen.frame.ethertype.map(u32::from));
    let customer = seen.frame.vlans.as_slice().get(1).copied();
    number(Name::CustomerVlan, customer.map(u32::from));
    number(Name::SflowSampleSequence, Some(flow.sequence));
    number(Name::SflowSamplePool, flow.pool);
    number(Name::SflowSampleDrops, Some(flow.drops));
    number(Name::SflowSourceType, Some(flow.source.kind));
    number(Name::SflowSourceIndex, Some(flow.source.index));
    if let Some(raw) = &seen.raw {
        number(Name::SflowHeaderProtocol, Some(raw.protocol));
        number(Name::SflowHeaderStripped, Some(raw.stripped));
    }
    if let Some(switch) = &seen.switch {
        number(Name::SflowVlanInputPriority, switch.source_priority);
        number(Name::SflowVlanOutputPriority, switch.destination_priority);
    }
    if let Some(gateway) = &seen.gateway {
        number(Name::SflowRouterAs, Some(gateway.router_as));
        number(Name::SflowSourcePeerAs, Some(gateway.source_peer_as));
        number(Name::SflowDestinationPeerAs, gateway.destination_peer_as);
    }
    // Where the source has no user, the destination's is `netflow.user`.
    if let Some(user) = seen.user.filter(|user| !user.source.is_empty()) {
        out.exported_text(Name::SflowDestinationUser, user.destination);
    }
    if let Some(url) = &seen.url {
        out.exported_text(Name::SflowUrl, url.url);
        out.exported_text(Name::SflowUrlHost, url.host);
    }
}

#[cfg(test)]
mod tests {
    use netflow_wire::ie;

    use super::*;

    #[test]
    fn details_of_elements_have_their_names() {
        for (name, element) in [
            (Name::IpTtl, 192),
            (Name::FlowLabel, 31),
            (Name::FragmentOffset, 88),
            (Name::IpTotalLength, 224),
            (Name::EthernetType, 256),
            (Name::CustomerVlan, 245),
        ] {
            let element = ie::lookup(0, element).unwrap().name;
            let key = format!("ipfix.{}", ie::snake_case(element));
            assert_eq!(name.netflow(), Some(&*key));
        }
    }
}
