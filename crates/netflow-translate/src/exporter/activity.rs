//! What an exporter has sent since it is known: plain numbers, written once for each datagram.

use netflow_wire::Header;
use otlp_wire::UnixNanos;

use crate::counters::traffic::Protocol;

/// Counts of one exporter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    pub(crate) datagrams: u64,
    pub(crate) octets: u64,
    pub(crate) flows: u64,
    /// Datagrams that were refused, and those with a Set that could not be used.
    pub(crate) rejected: u64,
    /// Datagrams over `NETFLOW_MAX_RATE_PER_EXPORTER`.
    pub(crate) rate_limited: u64,
    /// In the units of [`lost_unit`].
    pub(crate) lost: [u64; 4],
    /// A bit for each [`Protocol`].
    protocols: u8,
    pub(crate) first_at: UnixNanos,
    pub(crate) last_at: UnixNanos,
    /// The exporter's clock less ours, in nanoseconds, by its last message that tells a time.
    pub(crate) clock_ahead: Option<i64>,
    /// By the last header that tells it (v5).
    pub(crate) header_sampling: Option<u64>,
}

/// What sequence numbers count, in the order of [`Activity::lost`].
pub(crate) const LOST_UNITS: [&str; 4] = ["flows", "messages", "records", "datagrams"];

fn lost_unit(protocol: Protocol) -> usize {
    match protocol {
        Protocol::V9 => 1,
        Protocol::Ipfix => 2,
        Protocol::Sflow => 3,
        _ => 0,
    }
}

impl Activity {
    /// A datagram whose header could be read.
    #[inline]
    pub(crate) fn read(
        &mut self,
        protocol: Protocol,
        octets: usize,
        flows: u32,
        lost: Option<u64>,
        received_at: UnixNanos,
    ) {
        if self.datagrams == 0 {
            self.first_at = received_at;
        }
        self.last_at = received_at;
        self.datagrams += 1;
        self.octets += octets as u64;
        self.flows += u64::from(flows);
        self.protocols |= 1 << protocol as u8;
        if let Some(units) = lost {
            self.lost[lost_unit(protocol)] += units;
        }
    }

    /// What its message says besides.
    #[inline]
    pub(crate) fn told(&mut self, header: &Header, received_at: UnixNanos) {
        self.clock_ahead = Some(header.export_time.wrapping_sub(received_at.0).cast_signed());
        if let Some(sampling) = header.sampling {
            self.header_sampling = Some(u64::from(sampling.interval)).filter(|n| *n > 0);
        }
    }

    /// By what was read.
    pub(crate) fn protocols(&self) -> Vec<&'static str> {
        let seen = Protocol::ALL.into_iter();
        seen.filter(|protocol| self.protocols & 1 << *protocol as u8 != 0)
            .map(Protocol::as_str)
            .collect()
    }
}
