//! What an exporter has sent since it is known: plain numbers, written once for each datagram.

use netflow_wire::Transport;
use otlp_wire::UnixNanos;

use crate::counters::traffic::Protocol;
use crate::flow::work::Read;

/// Counts of one exporter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    pub(crate) datagrams: u64,
    pub(crate) octets: u64,
    pub(crate) flows: u64,
    /// Datagrams that were refused, and those with a part that could not be used.
    pub(crate) rejected: u64,
    /// Datagrams over `NETFLOW_MAX_RATE_PER_EXPORTER`.
    pub(crate) rate_limited: u64,
    /// In the units of [`lost_unit`].
    pub(crate) lost: [u64; 4],
    /// A bit for each [`Protocol`].
    protocols: u8,
    /// A bit for each [`Transport`].
    transports: u8,
    pub(crate) first_at: UnixNanos,
    pub(crate) last_at: UnixNanos,
    /// The exporter's clock less ours, in nanoseconds, by its last message with a time.
    pub(crate) clock_ahead: Option<i64>,
    /// By the last header that has it (v5).
    pub(crate) header_sampling: Option<u64>,
}

/// What sequence numbers count, in the order of [`Activity::lost`].
pub(crate) const LOST_UNITS: [&str; 4] = ["flows", "messages", "records", "datagrams"];

pub(crate) fn lost_unit(protocol: Protocol) -> usize {
    match protocol {
        Protocol::V9 => 1,
        Protocol::Ipfix => 2,
        Protocol::Sflow => 3,
        _ => 0,
    }
}

impl Activity {
    /// A datagram that was read.
    #[inline]
    pub(crate) fn read(&mut self, read: &Read) {
        let (said, received_at) = (&read.said, read.arrival.received_at);
        if self.datagrams == 0 {
            self.first_at = received_at;
        }
        self.last_at = received_at;
        self.datagrams += 1;
        self.octets += read.arrival.octets as u64;
        self.flows += u64::from(read.outcome.flows);
        self.protocols |= 1 << said.protocol as u8;
        self.transports |= 1 << read.arrival.session.transport as u8;
        if let Some(units) = read.lost {
            self.lost[lost_unit(said.protocol)] += units;
        }
        if let Some(export_time) = said.export_time {
            self.clock_ahead = Some(export_time.wrapping_sub(received_at.0).cast_signed());
        }
        if let Some(interval) = said.sampling {
            self.header_sampling = Some(interval).filter(|interval| *interval > 0);
        }
        if read.outcome.problem.is_some() {
            self.rejected += 1;
        }
    }

    /// What was lost by sequence numbers, in the units of the protocols that were read.
    pub(crate) fn lost_by_unit(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let read = Protocol::ALL.into_iter();
        let read = read.filter(|protocol| self.protocols & 1 << *protocol as u8 != 0);
        let units = read.fold(0_u8, |units, protocol| units | 1 << lost_unit(protocol));
        let lost = LOST_UNITS.into_iter().zip(self.lost).enumerate();
        lost.filter(move |(unit, _)| units & 1 << unit != 0)
            .map(|(_, lost)| lost)
    }

    /// Whether something came over a connection.
    pub(crate) fn has_connected(&self) -> bool {
        let seen = |transport: &Transport| self.transports & 1 << *transport as u8 != 0;
        let mut connections = Transport::ALL.into_iter();
        connections.any(|transport| transport.has_connections() && seen(&transport))
    }

    /// How what was read came.
    pub(crate) fn transports(&self) -> Vec<&'static str> {
        let seen = Transport::ALL.into_iter();
        seen.filter(|transport| self.transports & 1 << *transport as u8 != 0)
            .map(Transport::as_str)
            .collect()
    }

    /// By what was read.
    pub(crate) fn protocols(&self) -> Vec<&'static str> {
        let seen = Protocol::ALL.into_iter();
        seen.filter(|protocol| self.protocols & 1 << *protocol as u8 != 0)
            .map(Protocol::as_str)
            .collect()
    }
}
