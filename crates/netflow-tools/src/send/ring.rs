//! Datagrams that are prepared ahead, one behind the other in one buffer, which all exporters send from: a run of
//! them that are equally long can leave with one system call.

use netflow_wire::write::WriteError;

use super::flows::{Flows, HEAVIEST};
use super::format::{MAX_PAYLOAD, Patch, Prepared, Stamp};
use super::{Family, GenerateOptions, Protocol};
use crate::traffic::Sizes;

/// Flow records that are invented before they come again, with other packets and octets: more than the branch predictor
/// and the cache of a processor remember.
const FLOWS: usize = 32_768;
/// Where fewer are asked for, they don't take long to invent.
const LEAST_FLOWS: usize = 8_192;
/// Datagrams that hold them, at least.
const MIN_DATAGRAMS: usize = 64;
/// Of four datagrams of both families this many are IPv4.
const IPV4_OF_FOUR: usize = 3;

/// The prepared datagrams.
pub(super) struct Ring {
    protocol: Protocol,
    octets: Vec<u8>,
    datagrams: Vec<Datagram>,
    patches: Vec<Patch>,
    sizes: Sizes,
}

/// Where a datagram stands.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    start: usize,
    end: usize,
    /// Among all patches.
    patches: (usize, usize),
    flows: u32,
}

/// Datagrams that follow each other and are equally long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Run {
    first: usize,
    pub(super) datagrams: usize,
    /// Octets of each.
    pub(super) segment: usize,
    /// Flow records of all.
    pub(super) flows: u64,
}

impl Ring {
    pub(super) fn new(options: &GenerateOptions) -> Result<Self, WriteError> {
        let mut ring = Self {
            protocol: options.protocol,
            octets: Vec::new(),
            datagrams: Vec::new(),
            patches: Vec::new(),
            sizes: Sizes::new(HEAVIEST),
        };
        let per_datagram = options.flows_per_datagram();
        // Each exporter begins elsewhere in the ring, so that it holds what all of them send.
        let wanted = options.count.and_then(|count| usize::try_from(count).ok());
        let flows = match options.family {
            // One behind the other: both have to come before long.
            Family::Both => LEAST_FLOWS,
            Family::V4 | Family::V6 => wanted.unwrap_or(FLOWS).clamp(LEAST_FLOWS, FLOWS),
        };
        let count = (flows / per_datagram).max(MIN_DATAGRAMS);
        let v4 = match options.family {
            Family::V4 => count,
            Family::V6 => 0,
            Family::Both => count * IPV4_OF_FOUR / 4,
        };
        for (is_v6, datagrams) in [(false, v4), (true, count - v4)] {
            let mut flows = Flows::new(options.pattern, is_v6, options.seed);
            for _ in 0..datagrams {
                let flows: Vec<_> = (0..per_datagram).map(|_| flows.next()).collect();
                ring.push(&options.protocol.prepare(&flows)?);
            }
        }
        Ok(ring)
    }

    fn push(&mut self, prepared: &Prepared) {
        let (start, first) = (self.octets.len(), self.patches.len());
        self.octets.extend_from_slice(&prepared.octets);
        self.patches.extend_from_slice(&prepared.patches);
        self.datagrams.push(Datagram {
            start,
            end: self.octets.len(),
            patches: (first, self.patches.len()),
            flows: prepared.flows,
        });
    }

    /// What packets and octets are drawn from.
    pub(super) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// The longest run from `position` on, of at most so many datagrams and flow records; `None` if the first
    /// datagram has too many.
    pub(super) fn run(&self, position: usize, datagrams: usize, flows: u64) -> Option<Run> {
        let mut following = self.datagrams.iter().skip(position).take(datagrams);
        let head = following.next()?;
        let segment = head.end - head.start;
        let mut run = Run {
            first: position,
            datagrams: 1,
            segment,
            flows: u64::from(head.flows),
        };
        if run.flows > flows {
            return None;
        }
        let fitting = (MAX_PAYLOAD / segment).saturating_sub(1);
        for next in following.take(fitting) {
            let sum = run.flows + u64::from(next.flows);
            if next.end - next.start != segment || sum > flows {
                break;
            }
            run.datagrams += 1;
            run.flows = sum;
        }
        Some(run)
    }

    /// The octets of a run, filled in. The stamp continues for what follows.
    pub(super) fn stamp(&mut self, run: Run, stamp: &mut Stamp) -> &[u8] {
        let range = run.first..run.first + run.datagrams;
        for datagram in self.datagrams.get(range).unwrap_or_default() {
            let (first, end) = datagram.patches;
            let (Some(octets), Some(patches)) = (
                self.octets.get_mut(datagram.start..datagram.end),
                self.patches.get(first..end),
            ) else {
                continue;
            };
            let flows = datagram.flows;
            fill_in(self.protocol, octets, patches, flows, &self.sizes, stamp);
        }
        let start = self.datagrams.get(run.first).map_or(0, |first| first.start);
        let end = start + run.segment * run.datagrams;
        self.octets.get(start..end).unwrap_or_default()
    }

    /// A datagram of the first flow records of another.
    pub(super) fn beginning_of(
        &self,
        options: &GenerateOptions,
        position: usize,
        flows: usize,
    ) -> Result<Prepared, WriteError> {
        let family_starts = |is_v6: bool| match (options.family, is_v6) {
            (Family::Both, true) => self.len() * IPV4_OF_FOUR / 4,
            _ => 0,
        };
        let is_v6 = match options.family {
            Family::V4 => false,
            Family::V6 => true,
            Family::Both => position >= family_starts(true),
        };
        let per_datagram = options.flows_per_datagram();
        let mut all = Flows::new(options.pattern, is_v6, options.seed);
        for _ in 0..(position - family_starts(is_v6)) * per_datagram {
            all.next();
        }
        let flows: Vec<_> = (0..flows).map(|_| all.next()).collect();
        options.protocol.prepare(&flows)
    }
}

/// Fills in one datagram and moves the numbers on.
pub(super) fn fill_in(
    protocol: Protocol,
    octets: &mut [u8],
    patches: &[Patch],
    flows: u32,
    sizes: &Sizes,
    stamp: &mut Stamp,
) {
    protocol.stamp_header(octets, stamp);
    protocol.stamp_records(octets, patches, sizes, stamp);
    stamp.sequence = stamp.sequence.wrapping_add(protocol.sequence_units(flows));
    stamp.samples = stamp.samples.wrapping_add(flows);
}
