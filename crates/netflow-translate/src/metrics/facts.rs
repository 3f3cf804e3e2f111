//! What a flow says, as far as series are made of it.

use std::net::IpAddr;

use netflow_wire::frame::Packet;

use crate::flow::roles::End;
use crate::plan::sampling::scaled;

/// The direction in which a flow was metered (element 61).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// The two ends of a flow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Endpoints {
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    /// 0: none.
    pub(crate) source_port: u16,
    /// 0: none.
    pub(crate) destination_port: u16,
    /// IANA's number.
    pub(crate) protocol: Option<u8>,
}

/// What a flow says of its interfaces and its size: all that the view `interface` asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlowCounts {
    /// ifIndex; 0: none.
    pub(crate) input: u32,
    /// ifIndex; 0: none.
    pub(crate) output: u32,
    pub(crate) direction: Option<Direction>,
    /// The count times the sampling interval.
    pub(crate) bytes: u64,
    /// The count times the sampling interval.
    pub(crate) packets: u64,
    /// Nanoseconds; 0 where its times are not believed.
    pub(crate) duration: u64,
}

/// The other direction of a biflow (RFC 5103): what went from its destination to its source.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reverse {
    /// The count times the sampling interval.
    pub(crate) bytes: u64,
    /// The count times the sampling interval.
    pub(crate) packets: u64,
}

/// One flow record or sampled packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlowFacts<'a> {
    /// ifIndex; 0: none.
    pub(crate) input: u32,
    /// ifIndex; 0: none.
    pub(crate) output: u32,
    pub(crate) direction: Option<Direction>,
    /// The count times the sampling interval.
    pub(crate) bytes: u64,
    /// The count times the sampling interval.
    pub(crate) packets: u64,
    /// The interval is more than 1.
    pub(crate) is_sampled: bool,
    /// Its record counts both directions (RFC 5103).
    pub(crate) is_biflow: bool,
    /// `None`: nothing went the other way, or the record doesn't count it.
    pub(crate) reverse: Option<Reverse>,
    /// Nanoseconds; 0 where its times are not believed.
    pub(crate) duration: u64,
    pub(crate) ends: Endpoints,
    /// 0: unknown.
    pub(crate) source_as: u32,
    /// 0: unknown.
    pub(crate) destination_as: u32,
    /// The low octet of the flags of all packets, ORed.
    pub(crate) tcp_flags: Option<u8>,
    /// Of a biflow: its source began (element 239).
    pub(crate) initiator_is_source: Option<bool>,
    /// Which end is the server, where that is found out already.
    pub(crate) server: Option<End>,
    /// As the exporter names it.
    pub(crate) application: Option<&'a str>,
}

impl Direction {
    /// By the values of element 61.
    #[inline(always)]
    pub(crate) const fn of(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::Ingress),
            1 => Some(Self::Egress),
            _ => None,
        }
    }

    const fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

impl FlowCounts {
    /// Multiplies what was counted.
    #[inline(always)]
    pub(crate) fn scale(&mut self, interval: u64) {
        if interval > 1 {
            self.bytes = scaled(self.bytes, interval);
            self.packets = scaled(self.packets, interval);
        }
    }

    /// The same flow the other way: it came in where the flow went out.
    pub(crate) fn reversed(self, reverse: Reverse) -> Self {
        Self {
            input: self.output,
            output: self.input,
            direction: self.direction.map(Direction::opposite),
            bytes: reverse.bytes,
            packets: reverse.packets,
            duration: self.duration,
        }
    }
}

impl From<FlowCounts> for FlowFacts<'_> {
    #[inline(always)]
    fn from(counts: FlowCounts) -> Self {
        Self {
            input: counts.input,
            output: counts.output,
            direction: counts.direction,
            bytes: counts.bytes,
            packets: counts.packets,
            duration: counts.duration,
            ..Self::default()
        }
    }
}

impl FlowFacts<'_> {
    #[inline(always)]
    pub(crate) fn set_counts(&mut self, counts: FlowCounts) {
        self.input = counts.input;
        self.output = counts.output;
        self.direction = counts.direction;
        self.bytes = counts.bytes;
        self.packets = counts.packets;
        self.duration = counts.duration;
    }

    #[inline(always)]
    pub(crate) fn counts(&self) -> FlowCounts {
        FlowCounts {
            input: self.input,
            output: self.output,
            direction: self.direction,
            bytes: self.bytes,
            packets: self.packets,
            duration: self.duration,
        }
    }

    /// The same flow the other way.
    pub(crate) fn reversed(&self, reverse: Reverse) -> Self {
        let ends = &self.ends;
        Self {
            ends: Endpoints {
                source: ends.destination,
                destination: ends.source,
                source_port: ends.destination_port,
                destination_port: ends.source_port,
                protocol: ends.protocol,
            },
            source_as: self.destination_as,
            destination_as: self.source_as,
            reverse: None,
            ..Self::from(self.counts().reversed(reverse))
        }
    }

    /// What a packet says, where nothing else does.
    pub(crate) fn fill_from(&mut self, packet: &Packet) {
        let ends = &mut self.ends;
        ends.source = ends.source.or(Some(packet.source));
        ends.destination = ends.destination.or(Some(packet.destination));
        ends.protocol = ends.protocol.or(Some(packet.protocol));
        if let ([0, 0], Some([source, destination])) = (
            [ends.source_port, ends.destination_port],
            packet.transport.ports,
        ) {
            (ends.source_port, ends.destination_port) = (source, destination);
        }
        self.tcp_flags = self.tcp_flags.or(packet.transport.tcp_flags);
    }
}

/// What views and look-ups ask of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wants {
    /// Interfaces, bytes and packets.
    pub(crate) counts: bool,
    pub(crate) addresses: bool,
    /// Ports, protocol, flags, and which end began.
    pub(crate) transport: bool,
    pub(crate) autonomous_systems: bool,
    pub(crate) application: bool,
}
