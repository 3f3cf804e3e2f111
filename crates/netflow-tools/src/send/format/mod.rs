//! Datagrams that are prepared once and sent many times: flows in, octets out with the places that change from
//! sending to sending.
//!
//! What changes is the header (export time, uptime, sequence, domain) and the times of the flows, which stay the
//! same distance behind the export, and their packets and octets, which are drawn anew.

mod fixed;
mod sflow;
mod templated;

use std::net::Ipv4Addr;

use netflow_wire::write::WriteError;

use super::Protocol;
use super::flows::{Flow, Size};
use crate::traffic::Sizes;

/// The longest UDP payload over IPv4.
pub(super) const MAX_PAYLOAD: usize = 65_507;
/// What fits an Ethernet frame with the headers of IPv4 and UDP.
const FRAME_PAYLOAD: usize = 1_472;

/// Where something stands in a datagram that changes when it is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patch {
    /// Milliseconds of uptime, so long before the export.
    Uptime { at: usize, age_ms: u32 },
    /// Milliseconds since 1970, so long before the export.
    UnixMillis { at: usize, age_ms: u32 },
    /// Packets and octets, of 32 bits each and one behind the other.
    Size { at: usize, size: Size },
    /// The sequence number of a sample of sFlow, and the packets it was chosen from.
    Sample { sequence_at: usize, pool_at: usize },
}

/// A datagram of flow records whose header is not filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Prepared {
    pub(super) octets: Vec<u8>,
    pub(super) patches: Vec<Patch>,
    pub(super) flows: u32,
}

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    /// When it is sent: milliseconds since 1970.
    pub(super) now_ms: u64,
    /// When the exporter started: milliseconds since 1970.
    pub(super) boot_ms: u64,
    pub(super) sequence: u32,
    /// Observation Domain, Source ID, engine type and id, sub-agent. v1 and v7 have none.
    pub(super) domain: u32,
    /// The agent's address of sFlow.
    pub(super) agent: Ipv4Addr,
    /// Samples before, of sFlow.
    pub(super) samples: u32,
    /// What the sizes of flows follow from; not zero.
    pub(super) random: u64,
}

impl Stamp {
    /// The next random bits: xorshift64* (Vigna, 2016).
    #[inline]
    fn bits(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Protocol {
    /// Flow records that one datagram may hold.
    pub(super) fn max_flows(self, is_v6: bool) -> usize {
        match self {
            Self::V1 => netflow_wire::write::V1_MAX_RECORDS,
            Self::V5 => netflow_wire::write::V5_MAX_RECORDS,
            Self::V7 => netflow_wire::write::V7_MAX_RECORDS,
            // Less the headers of the message and the Set.
            Self::V9 => (MAX_PAYLOAD - 24) / templated::record_octets(self, is_v6),
            Self::Ipfix => (MAX_PAYLOAD - 20) / templated::record_octets(self, is_v6),
            Self::Sflow => (MAX_PAYLOAD - sflow::HEADER_OCTETS) / sflow::MAX_SAMPLE_OCTETS,
        }
    }

    /// Flow records that fit an Ethernet frame.
    pub(super) fn usual_flows(self, is_v6: bool) -> usize {
        match self {
            Self::V1 => netflow_wire::write::V1_MAX_RECORDS,
            Self::V5 => netflow_wire::write::V5_MAX_RECORDS,
            Self::V7 => (FRAME_PAYLOAD - 24) / 52,
            Self::V9 => (FRAME_PAYLOAD - 24) / templated::record_octets(self, is_v6),
            Self::Ipfix => (FRAME_PAYLOAD - 20) / templated::record_octets(self, is_v6),
            Self::Sflow => (FRAME_PAYLOAD - sflow::HEADER_OCTETS) / sflow::MAX_SAMPLE_OCTETS,
        }
    }

    pub(super) fn has_templates(self) -> bool {
        matches!(self, Self::V9 | Self::Ipfix)
    }

    /// Whether datagrams say which of several exporters behind one address they are from.
    pub(super) fn has_domains(self) -> bool {
        matches!(self, Self::V5 | Self::V9 | Self::Ipfix | Self::Sflow)
    }

    pub(super) fn has_v6(self) -> bool {
        matches!(self, Self::V9 | Self::Ipfix | Self::Sflow)
    }

    /// How much the sequence number grows by a datagram of so many flow records.
    pub(super) fn sequence_units(self, flows: u32) -> u32 {
        match self {
            Self::V1 => 0,
            // Flows; Data Records (RFC 7011 section 3.1).
            Self::V5 | Self::V7 | Self::Ipfix => flows,
            // Export Packets (RFC 3954 section 5.1), whatever is in them; datagrams.
            Self::V9 | Self::Sflow => 1,
        }
    }

    /// Prepares a datagram. The flows are of one address family.
    pub(super) fn prepare(self, flows: &[Flow]) -> Result<Prepared, WriteError> {
        match self {
            Self::V1 | Self::V5 | Self::V7 => fixed::prepare(self, flows),
            Self::V9 | Self::Ipfix => templated::prepare(self, flows),
            Self::Sflow => sflow::prepare(flows),
        }
    }

    /// A datagram of nothing but the templates.
    pub(super) fn templates(self) -> Result<Vec<u8>, WriteError> {
        templated::templates(self)
    }

    /// Fills in the header of a datagram.
    pub(super) fn stamp_header(self, octets: &mut [u8], stamp: &Stamp) {
        let now_ms = self.export_time_ms(stamp.now_ms);
        let seconds = (now_ms / 1_000) as u32;
        let nanos = (now_ms % 1_000) as u32 * 1_000_000;
        let uptime = uptime_ms(stamp, now_ms, 0);
        let words: &[(usize, u32)] = match self {
            Self::V1 => &[(4, uptime), (8, seconds), (12, nanos)],
            Self::V7 => &[(4, uptime), (8, seconds), (12, nanos), (16, stamp.sequence)],
            Self::V5 => {
                // Engine type and id, before the sampling, which is none.
                let engine = stamp.domain << 16;
                &[
                    (4, uptime),
                    (8, seconds),
                    (12, nanos),
                    (16, stamp.sequence),
                    (20, engine),
                ]
            }
            Self::V9 => &[
                (4, uptime),
                (8, seconds),
                (12, stamp.sequence),
                (16, stamp.domain),
            ],
            Self::Ipfix => &[(4, seconds), (8, stamp.sequence), (12, stamp.domain)],
            Self::Sflow => &[
                (8, u32::from(stamp.agent)),
                (12, stamp.domain),
                (16, stamp.sequence),
                (20, uptime),
            ],
        };
        for &(at, word) in words {
            put(octets, at, word.to_be_bytes());
        }
    }

    /// Fills in what else changes.
    pub(super) fn stamp_records(
        self,
        octets: &mut [u8],
        patches: &[Patch],
        sizes: &Sizes,
        stamp: &mut Stamp,
    ) {
        let now_ms = self.export_time_ms(stamp.now_ms);
        let mut samples = stamp.samples;
        for patch in patches {
            match *patch {
                Patch::Uptime { at, age_ms } => {
                    put(octets, at, uptime_ms(stamp, now_ms, age_ms).to_be_bytes());
                }
                Patch::UnixMillis { at, age_ms } => {
                    put(octets, at, (now_ms - u64::from(age_ms)).to_be_bytes());
                }
                Patch::Size { at, size } => {
                    let (packets, all) = size.draw(sizes, stamp.bits());
                    let both = u64::from(packets) << 32 | u64::from(all);
                    put(octets, at, both.to_be_bytes());
                }
                Patch::Sample {
                    sequence_at,
                    pool_at,
                } => {
                    samples = samples.wrapping_add(1);
                    put(octets, sequence_at, samples.to_be_bytes());
                    let pool = samples.wrapping_mul(sflow::SAMPLING_RATE);
                    put(octets, pool_at, pool.to_be_bytes());
                }
            }
        }
    }

    /// The instant in a header. v9 and IPFIX have whole seconds, which uptime and the flows' times have
    /// to agree with to be exact.
    fn export_time_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::V9 | Self::Ipfix => now_ms - now_ms % 1_000,
            _ => now_ms,
        }
    }
}

/// Milliseconds since the exporter started, as so long before `now_ms`; wraps as sysUpTime does.
fn uptime_ms(stamp: &Stamp, now_ms: u64, age_ms: u32) -> u32 {
    now_ms
        .wrapping_sub(stamp.boot_ms)
        .wrapping_sub(u64::from(age_ms)) as u32
}

fn put<const N: usize>(octets: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(target) = octets.get_mut(at..at + N) {
        target.copy_from_slice(&value);
    }
}

/// IPv6 flows have no place where this is called.
fn v4(address: std::net::IpAddr) -> Ipv4Addr {
    match address {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
