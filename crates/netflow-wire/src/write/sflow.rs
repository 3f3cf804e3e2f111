//! sFlow version 5 datagrams ("sFlow Version 5", sflow.org).

use std::net::{IpAddr, Ipv4Addr};

use super::WriteError;
use crate::frame::{MAX_LABELS, Stack};
use crate::sflow::{
    DataSource, DirectionCounters, FlowKind, FlowRecord, Gateway, Interface, InterfaceCounters,
    SampledIp, TunnelHeader, VERSION,
};

/// The header of a datagram. The number of samples is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SflowHeader {
    /// The agent's address; `None` is one it doesn't know.
    pub agent: Option<IpAddr>,
    /// Sub-agent.
    pub sub_agent: u32,
    /// Datagrams that the sub-agent sent before.
    pub sequence: u32,
    /// Milliseconds since the device started.
    pub uptime_ms: u32,
}

impl Default for SflowHeader {
    fn default() -> Self {
        Self {
            agent: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            sub_agent: 0,
            sequence: 0,
            uptime_ms: 0,
        }
    }
}

/// A flow sample without its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SflowSample {
    /// Its form. The plain one has 30 bits for an interface, and 24 for the source.
    pub kind: FlowKind,
    /// Samples of the source before this one.
    pub sequence: u32,
    /// What sampled.
    pub source: DataSource,
    /// One packet in so many; not of discarded packets.
    pub sampling_rate: u32,
    /// Packets that could have been sampled; not of discarded packets.
    pub pool: u32,
    /// Samples dropped.
    pub drops: u32,
    /// Where the packet came in.
    pub input: Interface,
    /// Where it went out.
    pub output: Interface,
    /// Of discarded packets only.
    pub reason: u32,
}

impl Default for SflowSample {
    fn default() -> Self {
        Self {
            kind: FlowKind::Flow,
            sequence: 0,
            source: DataSource { kind: 0, index: 1 },
            sampling_rate: 1,
            pool: 0,
            drops: 0,
            input: Interface::Index(1),
            output: Interface::Index(2),
            reason: 0,
        }
    }
}

/// Builds one datagram, sample by sample.
#[derive(Clone, Debug)]
pub struct SflowWriter {
    octets: Vec<u8>,
    /// Where the number of samples stands.
    count_at: usize,
    samples: u32,
}

impl SflowWriter {
    /// Begins a datagram.
    #[must_use]
    pub fn new(header: &SflowHeader) -> Self {
        let mut octets = Vec::new();
        word(&mut octets, VERSION);
        address(&mut octets, header.agent);
        for value in [header.sub_agent, header.sequence, header.uptime_ms] {
            word(&mut octets, value);
        }
        let count_at = octets.len();
        word(&mut octets, 0);
        Self {
            octets,
            count_at,
            samples: 0,
        }
    }

    /// A sampled packet.
    pub fn flow(
        &mut self,
        sample: &SflowSample,
        records: impl FnOnce(&mut SflowRecords<'_>),
    ) -> &mut Self {
        let mut body = Vec::new();
        let out = &mut body;
        word(out, sample.sequence);
        let DataSource { kind, index } = sample.source;
        if sample.kind == FlowKind::Flow {
            word(out, kind << 24 | index & 0x00ff_ffff);
        } else {
            word(out, kind);
            word(out, index);
        }
        if sample.kind != FlowKind::Discarded {
            word(out, sample.sampling_rate);
            word(out, sample.pool);
        }
        word(out, sample.drops);
        for (format, value) in [interface(sample.input), interface(sample.output)] {
            match sample.kind {
                FlowKind::Flow => word(out, format << 30 | value & 0x3fff_ffff),
                FlowKind::Expanded => {
                    word(out, format);
                    word(out, value);
                }
                FlowKind::Discarded => word(out, value),
            }
        }
        let format = match sample.kind {
            FlowKind::Flow => 1,
            FlowKind::Expanded => 3,
            FlowKind::Discarded => {
                word(out, sample.reason);
                5
            }
        };
        let count_at = body.len();
        word(&mut body, 0);
        let mut writer = SflowRecords {
            octets: &mut body,
            records: 0,
        };
        records(&mut writer);
        let count = writer.records;
        patch(&mut body, count_at, count);
        self.sample(0, format, &body)
    }

    /// A counter sample without records.
    pub fn counters(&mut self, sequence: u32, source: DataSource) -> &mut Self {
        let mut body = Vec::new();
        for value in [sequence, source.kind, source.index, 0] {
            word(&mut body, value);
        }
        self.sample(0, 4, &body)
    }

    /// A counter sample of one interface. Counters that are `None` have all bits set.
    pub fn interface_counters(&mut self, sequence: u32, counters: &InterfaceCounters) -> &mut Self {
        const ETHERNET: u32 = 6;
        const FULL_DUPLEX: u32 = 1;
        const UP: u32 = 3;
        let mut record = Vec::new();
        let out = &mut record;
        word(out, counters.index);
        word(out, ETHERNET);
        long(out, counters.speed);
        word(out, FULL_DUPLEX);
        word(out, UP);
        direction(out, &counters.received);
        // Packets of unknown protocols.
        word(out, 0);
        direction(out, &counters.transmitted);
        // Promiscuous mode.
        word(out, 2);
        let mut body = Vec::new();
        for value in [sequence, 0, counters.index, 1] {
            word(&mut body, value);
        }
        tagged(&mut body, 0, 1, &record);
        self.sample(0, 4, &body)
    }

    /// A sample of any format and content.
    pub fn sample(&mut self, enterprise: u32, format: u32, content: &[u8]) -> &mut Self {
        tagged(&mut self.octets, enterprise, format, content);
        self.samples = self.samples.saturating_add(1);
        self
    }

    /// The finished datagram; the writer is left empty.
    ///
    /// # Errors
    /// [`WriteError::MessageTooLong`] if it is longer than UDP can carry.
    pub fn finish(&mut self) -> Result<Vec<u8>, WriteError> {
        let mut octets = std::mem::take(&mut self.octets);
        if octets.len() > usize::from(u16::MAX) {
            return Err(WriteError::MessageTooLong {
                octets: octets.len(),
            });
        }
        patch(&mut octets, self.count_at, self.samples);
        Ok(octets)
    }
}

/// Writes the records of one flow sample.
#[derive(Debug)]
pub struct SflowRecords<'w> {
    octets: &'w mut Vec<u8>,
    records: u32,
}

impl SflowRecords<'_> {
    /// A record. An AS path is written as one sequence of its first and its last AS.
    pub fn record(&mut self, record: &FlowRecord<'_>) -> &mut Self {
        let mut body = Vec::new();
        let out = &mut body;
        let format = match record {
            FlowRecord::RawHeader(raw) => {
                for value in [raw.protocol, raw.frame_length, raw.stripped] {
                    word(out, value);
                }
                opaque(out, raw.octets);
                1
            }
            FlowRecord::Ethernet(ethernet) => {
                word(out, ethernet.length);
                fixed(out, &ethernet.macs.source);
                fixed(out, &ethernet.macs.destination);
                word(out, ethernet.ethertype);
                2
            }
            FlowRecord::Ip(ip) => {
                sampled_ip(out, ip);
                if ip.source.is_ipv4() { 3 } else { 4 }
            }
            FlowRecord::Switch(switch) => {
                for value in [
                    switch.source_vlan,
                    switch.source_priority,
                    switch.destination_vlan,
                    switch.destination_priority,
                ] {
                    word(out, value.unwrap_or(u32::MAX));
                }
                1001
            }
            FlowRecord::Router(router) => {
                address(out, router.next_hop);
                word(out, router.source_mask);
                word(out, router.destination_mask);
                1002
            }
            FlowRecord::Gateway(gateway) => {
                write_gateway(out, gateway);
                1003
            }
            FlowRecord::User(user) => {
                word(out, user.source_charset);
                opaque(out, user.source);
                word(out, user.destination_charset);
                opaque(out, user.destination);
                1004
            }
            FlowRecord::Url(url) => {
                word(out, url.direction);
                opaque(out, url.url);
                opaque(out, url.host);
                1005
            }
            FlowRecord::Mpls(mpls) => {
                address(out, mpls.next_hop);
                labels(out, &mpls.input);
                labels(out, &mpls.output);
                1006
            }
            FlowRecord::Nat(nat) => {
                address(out, nat.source);
                address(out, nat.destination);
                1007
            }
            FlowRecord::NatPorts(ports) => {
                word(out, ports.source);
                word(out, ports.destination);
                1020
            }
            FlowRecord::Tunnel(TunnelHeader { egress, header }) => {
                sampled_ip(out, header);
                match (egress, header.source.is_ipv4()) {
                    (true, true) => 1023,
                    (false, true) => 1024,
                    (true, false) => 1025,
                    (false, false) => 1026,
                }
            }
            FlowRecord::Vni(vni) => {
                word(out, vni.vni);
                if vni.egress { 1029 } else { 1030 }
            }
            FlowRecord::Other {
                enterprise,
                format,
                octets,
            } => return self.raw(*enterprise, *format, octets),
        };
        self.raw(0, format, &body)
    }

    /// A record of any format and content.
    pub fn raw(&mut self, enterprise: u32, format: u32, content: &[u8]) -> &mut Self {
        tagged(self.octets, enterprise, format, content);
        self.records = self.records.saturating_add(1);
        self
    }
}

fn write_gateway(out: &mut Vec<u8>, gateway: &Gateway) {
    address(out, gateway.next_hop);
    for value in [gateway.router_as, gateway.source_as, gateway.source_peer_as] {
        word(out, value);
    }
    let path = [gateway.destination_peer_as, gateway.destination_as];
    let path: Vec<u32> = path.into_iter().flatten().collect();
    if path.is_empty() {
        word(out, 0);
    } else {
        // One segment, an AS_SEQUENCE.
        word(out, 1);
        word(out, 2);
        word(out, length(path.len()));
        path.iter().for_each(|number| word(out, *number));
    }
    // No communities; the usual local preference.
    word(out, 0);
    word(out, 100);
}

fn sampled_ip(out: &mut Vec<u8>, ip: &SampledIp) {
    word(out, ip.length);
    word(out, u32::from(ip.protocol));
    bare_address(out, ip.source);
    bare_address(out, ip.destination);
    for value in [ip.ports[0], ip.ports[1]] {
        word(out, u32::from(value));
    }
    word(out, u32::from(ip.tcp_flags));
    word(out, u32::from(ip.tos));
}

/// Entries with the bottom of the stack marked.
fn labels(out: &mut Vec<u8>, labels: &Stack<u32, MAX_LABELS>) {
    let labels = labels.as_slice();
    word(out, length(labels.len()));
    for (left, label) in (0..labels.len()).rev().zip(labels) {
        word(out, label << 12 | u32::from(left == 0) << 8);
    }
}

fn interface(interface: Interface) -> (u32, u32) {
    match interface {
        Interface::Index(index) => (0, index),
        Interface::Internal => (0, Interface::INTERNAL),
        Interface::Discarded(reason) => (1, reason),
        Interface::Multiple(interfaces) => (2, interfaces),
        Interface::Unknown { format, value } => (format, value),
    }
}

fn tagged(out: &mut Vec<u8>, enterprise: u32, format: u32, content: &[u8]) {
    word(out, enterprise << 12 | format & 0xfff);
    opaque(out, content);
}

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn opaque(out: &mut Vec<u8>, octets: &[u8]) {
    word(out, length(octets.len()));
    fixed(out, octets);
}

/// Octets and their padding.
fn fixed(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(octets);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn address(out: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        None => word(out, 0),
        Some(address) => {
            word(out, if address.is_ipv4() { 1 } else { 2 });
            bare_address(out, address);
        }
    }
}

fn bare_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

fn length(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

fn patch(octets: &mut [u8], at: usize, value: u32) {
    if let Some(to) = octets.get_mut(at..at.saturating_add(4)) {
        to.copy_from_slice(&value.to_be_bytes());
    }
}

fn long(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_be_bytes());
}

fn direction(out: &mut Vec<u8>, counters: &DirectionCounters) {
    long(out, counters.octets.unwrap_or(u64::MAX));
    for count in [
        counters.unicast,
        counters.multicast,
        counters.broadcast,
        counters.discards,
        counters.errors,
    ] {
        word(out, count.unwrap_or(u32::MAX));
    }
}
