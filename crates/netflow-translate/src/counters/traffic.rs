//! What comes in, by protocol, and how it is distributed: counted once for each datagram, by seven stores of the
//! only writer.

use netflow_wire::Version;

use crate::counters::Counter;
use crate::counters::Histogram;

/// Octets of a datagram: headers alone; the smaller and larger halves of what fits into an Ethernet frame (1,472
/// octets by IPv4); jumbo frames; fragments.
const SIZE_BOUNDS: [u64; 10] = [64, 128, 256, 512, 768, 1024, 1280, 1472, 9000, 65_535];
/// Flow records: none; v5 has at most 30 in a datagram, v7 27, v1 24.
const FLOW_BOUNDS: [u64; 9] = [0, 1, 5, 10, 20, 30, 50, 100, 500];

/// Whose datagram it is, by its first octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    V1,
    V5,
    V7,
    V9,
    Ipfix,
    Sflow,
    /// The header could not be read.
    Unknown,
}

impl Protocol {
    pub const ALL: [Self; 7] = [
        Self::V1,
        Self::V5,
        Self::V7,
        Self::V9,
        Self::Ipfix,
        Self::Sflow,
        Self::Unknown,
    ];

    /// The value of the metric label `version`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V5 => "v5",
            Self::V7 => "v7",
            Self::V9 => "v9",
            Self::Ipfix => "ipfix",
            Self::Sflow => "sflow",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Self::V1,
            Version::V5 => Self::V5,
            Version::V7 => Self::V7,
            Version::V9 => Self::V9,
            Version::Ipfix => Self::Ipfix,
        }
    }
}

/// The counts of one protocol.
#[derive(Debug, Default)]
pub struct ProtocolCounters {
    /// Datagrams taken in.
    pub datagrams: Counter,
    /// Octets of their payloads.
    pub octets: Counter,
    /// Flow records in Sets and samples that could be decoded, whatever their outcome.
    pub flows: Counter,
}

/// The traffic of one worker.
#[derive(Debug)]
pub struct Traffic {
    protocols: [ProtocolCounters; Protocol::ALL.len()],
    /// Octets of each datagram, of any protocol.
    pub datagram_octets: Histogram<{ SIZE_BOUNDS.len() }>,
    /// Flow records of each datagram whose header could be read, without those of Sets that waited.
    pub datagram_flows: Histogram<{ FLOW_BOUNDS.len() }>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            protocols: Default::default(),
            datagram_octets: Histogram::new(&SIZE_BOUNDS),
            datagram_flows: Histogram::new(&FLOW_BOUNDS),
        }
    }
}

impl Traffic {
    /// The counts of a protocol.
    #[must_use]
    pub fn of(&self, protocol: Protocol) -> &ProtocolCounters {
        &self.protocols[protocol as usize]
    }

    /// Counts a datagram that was read.
    #[inline]
    pub(crate) fn read(&self, protocol: Protocol, octets: usize, flows: u32) {
        let counters = self.of(protocol);
        counters.datagrams.add(1);
        counters.octets.add(octets as u64);
        counters.flows.add(u64::from(flows));
        self.datagram_octets.record(octets as u64);
        self.datagram_flows.record(u64::from(flows));
    }

    /// Counts flow records that had waited for their template.
    pub(crate) fn read_late(&self, protocol: Protocol, flows: u32) {
        self.of(protocol).flows.add(u64::from(flows));
    }

    /// Counts a datagram whose header could not be read.
    #[cold]
    pub(crate) fn refused(&self, octets: usize) {
        let counters = self.of(Protocol::Unknown);
        counters.datagrams.add(1);
        counters.octets.add(octets as u64);
        self.datagram_octets.record(octets as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_counts_of_its_own() {
        let traffic = Traffic::default();
        for (index, protocol) in Protocol::ALL.into_iter().enumerate() {
            traffic.read(protocol, 100 + index, 3);
        }
        for (index, protocol) in Protocol::ALL.into_iter().enumerate() {
            let counters = traffic.of(protocol);
            assert_eq!(counters.datagrams.value(), 1, "{protocol:?}");
            assert_eq!(counters.octets.value(), 100 + index as u64);
        }
        assert_eq!(traffic.datagram_flows.distribution().count(), 7);
    }
}
