//! One sampled packet to one Span.

use std::net::IpAddr;

use netflow_wire::sflow::{FlowSample, Interface, discard_reason};
use otlp_wire::{Key, SpanFront, SpanKind, SpanWriter, UnixNanos};

use super::seen::Seen;
use crate::config::AttributeLevel;
use crate::flow::Flow;
use crate::flow::frame::{
    self, PacketKeys, Wanted, write_address, write_labels, write_other_packet,
};
use crate::metrics::{Direction, FlowFacts};
use crate::plan::record::write_text;
use crate::plan::sampling::{Origin, scaled};
use crate::plan::times::FlowTimes;

/// What every sample of a datagram shares.
pub(super) struct SampleContext<'a> {
    pub(super) fronts: &'a SampleFronts,
    pub(super) level: AttributeLevel,
    /// `NETFLOW_SAMPLING_OVERRIDE` for this exporter.
    pub(super) sampling: Option<u64>,
    /// When the datagram came: sFlow has no time.
    pub(super) received_at: UnixNanos,
}

/// The encoded front of these spans, and what each level wants of a frame.
#[derive(Debug)]
pub(super) struct SampleFronts {
    front: SpanFront,
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

struct Keys {
    bytes: Key,
    packets: Key,
    next_hop: Key,
    input: Key,
    output: Key,
    source_as: Key,
    destination_as: Key,
    direction: Key,
    source_mask: Key,
    destination_mask: Key,
    vlan_input: Key,
    vlan_output: Key,
    bgp_next_hop: Key,
    nat_source_address: Key,
    nat_source_port: Key,
    nat_destination_address: Key,
    nat_destination_port: Key,
    user: Key,
    tunnel_vni: Key,
    tunnel: PacketKeys,
    discard_reason: Key,
    outputs: Key,
    detail: DetailKeys,
}

/// Of level `all`.
struct DetailKeys {
    ip_ttl: Key,
    flow_label: Key,
    fragment_offset: Key,
    ip_total_length: Key,
    ethertype: Key,
    customer_vlan: Key,
    sequence: Key,
    pool: Key,
    drops: Key,
    source_kind: Key,
    source_index: Key,
    header_protocol: Key,
    header_stripped: Key,
    source_priority: Key,
    destination_priority: Key,
    router_as: Key,
    source_peer_as: Key,
    destination_peer_as: Key,
    destination_user: Key,
    url: Key,
    url_host: Key,
}

static KEYS: Keys = Keys {
    bytes: Key::literal("netflow.flow.bytes"),
    packets: Key::literal("netflow.flow.packets"),
    next_hop: Key::literal("netflow.nexthop"),
    input: Key::literal("netflow.interface.input"),
    output: Key::literal("netflow.interface.output"),
    source_as: Key::literal("netflow.src_as"),
    destination_as: Key::literal("netflow.dst_as"),
    direction: Key::literal("network.io.direction"),
    source_mask: Key::literal("netflow.src_mask"),
    destination_mask: Key::literal("netflow.dst_mask"),
    vlan_input: Key::literal("netflow.vlan.input"),
    vlan_output: Key::literal("netflow.vlan.output"),
    bgp_next_hop: Key::literal("netflow.bgp_nexthop"),
    nat_source_address: Key::literal("netflow.nat.source.address"),
    nat_source_port: Key::literal("netflow.nat.source.port"),
    nat_destination_address: Key::literal("netflow.nat.destination.address"),
    nat_destination_port: Key::literal("netflow.nat.destination.port"),
    user: Key::literal("netflow.user"),
    tunnel_vni: Key::literal("netflow.tunnel.vni"),
    tunnel: PacketKeys {
        source_address: Key::literal("netflow.tunnel.source.address"),
        source_port: Key::literal("netflow.tunnel.source.port"),
        destination_address: Key::literal("netflow.tunnel.destination.address"),
        destination_port: Key::literal("netflow.tunnel.destination.port"),
        protocol: Key::literal("netflow.tunnel.protocol"),
    },
    discard_reason: Key::literal("sflow.discard.reason"),
    outputs: Key::literal("sflow.output.interfaces"),
    detail: DetailKeys {
        ip_ttl: Key::literal("ipfix.ip_ttl"),
        flow_label: Key::literal("ipfix.flow_label_ipv6"),
        fragment_offset: Key::literal("ipfix.fragment_offset"),
        ip_total_length: Key::literal("ipfix.ip_total_length"),
        ethertype: Key::literal("ipfix.ethernet_type"),
        customer_vlan: Key::literal("ipfix.dot1q_customer_vlan_id"),
        sequence: Key::literal("sflow.sample.sequence"),
        pool: Key::literal("sflow.sample.pool"),
        drops: Key::literal("sflow.sample.drops"),
        source_kind: Key::literal("sflow.source.type"),
        source_index: Key::literal("sflow.source.index"),
        header_protocol: Key::literal("sflow.header.protocol"),
        header_stripped: Key::literal("sflow.header.stripped"),
        source_priority: Key::literal("sflow.vlan.input.priority"),
        destination_priority: Key::literal("sflow.vlan.output.priority"),
        router_as: Key::literal("sflow.router_as"),
        source_peer_as: Key::literal("sflow.src_peer_as"),
        destination_peer_as: Key::literal("sflow.dst_peer_as"),
        destination_user: Key::literal("sflow.dst_user"),
        url: Key::literal("sflow.url"),
        url_host: Key::literal("sflow.url.host"),
    },
};

impl SampleFronts {
    pub(super) fn new() -> Self {
        // The name and the attribute are short: the front always has room for them.
        let front = SpanFront::new("netflow.flow", SpanKind::Internal, true)
            .and_then(|front| {
                front.with_attribute("sflow.version", i64::from(netflow_wire::sflow::VERSION))
            })
            .expect("fits the front's room");
        Self {
            front,
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
    fn front(&self) -> &SpanFront {
        &self.context.fronts.front
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
        match self.context.sampling {
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

    fn facts(&self, interval: u64) -> FlowFacts {
        let index = |interface| match interface {
            Interface::Index(index) => index,
            _ => 0,
        };
        FlowFacts {
            input: index(self.sample.input),
            output: index(self.sample.output),
            direction: direction(self.sample),
            bytes: scaled(u64::from(self.seen.octets.unwrap_or(0)), interval),
            packets: scaled(1, interval),
            duration: 0,
        }
    }

    fn write(&self, factor: Option<u64>, _: &mut Vec<u8>, writer: &mut SpanWriter<'_>) {
        let Self {
            sample,
            seen,
            context,
        } = *self;
        write_minimal(sample, seen, factor.unwrap_or(1), writer);
        if context.level >= AttributeLevel::Standard {
            let vlan = input_vlan(seen);
            let labels = seen
                .mpls
                .filter(|_| seen.frame.labels.as_slice().is_empty());
            let mut wanted = context.fronts.standard;
            if vlan.is_some() {
                wanted = wanted.without(Wanted::VLAN);
            }
            frame::write(&seen.frame, wanted, writer);
            write_standard(sample, seen, vlan, writer);
            if let Some(mpls) = labels {
                write_labels(mpls.input.as_slice(), writer);
            }
        } else {
            frame::write(&seen.frame, context.fronts.minimal, writer);
        }
        if context.level >= AttributeLevel::All {
            write_detail(sample, seen, writer);
        }
    }
}

fn write_minimal(flow: &FlowSample<'_>, seen: &Seen<'_>, factor: u64, writer: &mut SpanWriter<'_>) {
    if let Some(octets) = seen.octets {
        writer.unsigned(&KEYS.bytes, scaled(u64::from(octets), factor));
    }
    writer.unsigned(&KEYS.packets, scaled(1, factor));
    // Of the router's next hop and that of the label switched path the first is closer to NetFlow's.
    let next_hop = seen.router.and_then(|router| router.next_hop);
    let next_hop = next_hop.or_else(|| seen.mpls.and_then(|mpls| mpls.next_hop));
    if let Some(address) = next_hop {
        write_address(&KEYS.next_hop, address, writer);
    }
    // Only a format that is an index names an interface as NetFlow does.
    if let Interface::Index(index) = flow.input {
        writer.unsigned(&KEYS.input, u64::from(index));
    }
    if let Interface::Index(index) = flow.output {
        writer.unsigned(&KEYS.output, u64::from(index));
    }
    if let Some(gateway) = &seen.gateway {
        // A source without an AS (0 is none, RFC 7607) and an empty path are the router's own AS.
        let own = gateway.router_as;
        let source = if gateway.source_as == 0 {
            own
        } else {
            gateway.source_as
        };
        writer.unsigned(&KEYS.source_as, u64::from(source));
        let destination = gateway.destination_as.unwrap_or(own);
        writer.unsigned(&KEYS.destination_as, u64::from(destination));
    }
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
    writer: &mut SpanWriter<'_>,
) {
    match direction(flow) {
        Some(Direction::Ingress) => writer.text(&KEYS.direction, "receive"),
        Some(Direction::Egress) => writer.text(&KEYS.direction, "transmit"),
        None => {}
    }
    if let Some(router) = &seen.router {
        writer.unsigned(&KEYS.source_mask, u64::from(router.source_mask));
        writer.unsigned(&KEYS.destination_mask, u64::from(router.destination_mask));
    }
    if let Some(vlan) = vlan {
        writer.unsigned(&KEYS.vlan_input, u64::from(vlan));
    }
    if let Some(vlan) = seen.switch.and_then(|switch| switch.destination_vlan) {
        writer.unsigned(&KEYS.vlan_output, u64::from(vlan));
    }
    if let Some(address) = seen.gateway.and_then(|gateway| gateway.next_hop) {
        write_address(&KEYS.bgp_next_hop, address, writer);
    }
    if let Some(nat) = &seen.nat {
        if let Some(address) = nat.source {
            write_address(&KEYS.nat_source_address, address, writer);
        }
        if let Some(address) = nat.destination {
            write_address(&KEYS.nat_destination_address, address, writer);
        }
    }
    if let Some(ports) = &seen.nat_ports {
        writer.unsigned(&KEYS.nat_source_port, u64::from(ports.source));
        writer.unsigned(&KEYS.nat_destination_port, u64::from(ports.destination));
    }
    if let Some(user) = &seen.user {
        let name = if user.source.is_empty() {
            user.destination
        } else {
            user.source
        };
        write_text(&KEYS.user, name, writer);
    }
    if let Some(tunnel) = &seen.tunnel {
        write_other_packet(&tunnel.header.packet(), &KEYS.tunnel, writer);
    }
    // A network identifier in the frame's own tunnel is written with it.
    let id = seen.frame.tunnel.and_then(|tunnel| tunnel.id);
    if let (Some(vni), None) = (&seen.vni, id) {
        writer.unsigned(&KEYS.tunnel_vni, u64::from(vni.vni));
    }
    let reason = match (flow.reason, flow.output) {
        (Some(reason), _) | (None, Interface::Discarded(reason)) => Some(reason),
        _ => None,
    };
    if let Some(reason) = reason {
        match discard_reason(reason) {
            Some(name) => writer.text(&KEYS.discard_reason, name),
            None => write_number_as_text(&KEYS.discard_reason, reason, writer),
        }
    }
    if let Interface::Multiple(interfaces) = flow.output {
        writer.unsigned(&KEYS.outputs, u64::from(interfaces));
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

fn write_number_as_text(key: &Key, number: u32, writer: &mut SpanWriter<'_>) {
    let mut digits = [0; 20];
    let len = otlp_wire::text::put_decimal(&mut digits, u64::from(number));
    let digits = digits.get(..len).unwrap_or_default();
    writer.text(key, str::from_utf8(digits).unwrap_or_default());
}

fn write_detail(flow: &FlowSample<'_>, seen: &Seen<'_>, writer: &mut SpanWriter<'_>) {
    let keys = &KEYS.detail;
    let mut number = |key: &Key, value: Option<u32>| {
        if let Some(value) = value {
            writer.unsigned(key, u64::from(value));
        }
    };
    if let Some(packet) = &seen.frame.packet {
        number(&keys.ip_ttl, packet.ttl.map(u32::from));
        number(&keys.flow_label, packet.flow_label);
        number(&keys.fragment_offset, packet.fragment_offset.map(u32::from));
        number(&keys.ip_total_length, Some(packet.length));
    }
    number(&keys.ethertype, seen.frame.ethertype.map(u32::from));
    let customer = seen.frame.vlans.as_slice().get(1).copied();
    number(&keys.customer_vlan, customer.map(u32::from));
    number(&keys.sequence, Some(flow.sequence));
    number(&keys.pool, flow.pool);
    number(&keys.drops, Some(flow.drops));
    number(&keys.source_kind, Some(flow.source.kind));
    number(&keys.source_index, Some(flow.source.index));
    if let Some(raw) = &seen.raw {
        number(&keys.header_protocol, Some(raw.protocol));
        number(&keys.header_stripped, Some(raw.stripped));
    }
    if let Some(switch) = &seen.switch {
        number(&keys.source_priority, switch.source_priority);
        number(&keys.destination_priority, switch.destination_priority);
    }
    if let Some(gateway) = &seen.gateway {
        number(&keys.router_as, Some(gateway.router_as));
        number(&keys.source_peer_as, Some(gateway.source_peer_as));
        number(&keys.destination_peer_as, gateway.destination_peer_as);
    }
    // Where the source has no user, the destination's is `netflow.user`.
    if let Some(user) = seen.user.filter(|user| !user.source.is_empty()) {
        write_text(&keys.destination_user, user.destination, writer);
    }
    if let Some(url) = &seen.url {
        write_text(&keys.url, url.url, writer);
        write_text(&keys.url_host, url.host, writer);
    }
}

#[cfg(test)]
mod tests {
    use netflow_wire::ie;

    use super::*;

    #[test]
    fn details_of_elements_have_their_names() {
        let keys = &KEYS.detail;
        for (key, element) in [
            (&keys.ip_ttl, 192),
            (&keys.flow_label, 31),
            (&keys.fragment_offset, 88),
            (&keys.ip_total_length, 224),
            (&keys.ethertype, 256),
            (&keys.customer_vlan, 245),
        ] {
            let name = ie::lookup(0, element).unwrap().name;
            assert_eq!(key.name(), format!("ipfix.{}", ie::snake_case(name)));
        }
    }
}
