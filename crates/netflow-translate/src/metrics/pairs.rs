//! What waits for the series of the view `interface`.
//!
//! A flow counts into two series: of the interface where it came in, and of the one where it went out. Flows of the same
//! two interfaces of an exporter are summed up here first, so that each touches one sum. What is summed goes to the series
//! when they are read, when the minute ends, and when another pair takes the place.

use otlp_wire::{SpanId, TraceId, UnixNanos};

use super::series::{Exemplar, spread};
use super::{Counting, Direction, ExporterFlows, FlowCounts};

/// As a power of two: of 40 interfaces whose use follows Zipf's law, fewer than one flow in 100 finds its place taken (a
/// test tells).
const PLACES_BITS: u32 = 12;
const PLACES: usize = 1 << PLACES_BITS;

/// The two interfaces of a flow, the one where it came in above the other; 0: none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pair(u64);

/// What flows of one pair add up to, since it has its place.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Sum {
    exporter: [u64; 2],
    pair: Pair,
    bytes: u64,
    packets: u64,
    flows: u64,
    /// A kept record of at least so many bytes is the pair's exemplar.
    needed: u64,
}

/// Sums that wait; each pair has one place, which it may share with others.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Of all sums.
    pub(super) minute: u32,
    sums: Box<[Sum; PLACES]>,
    exemplars: Box<[Option<Exemplar>; PLACES]>,
}

/// A sum that waits no longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited {
    pub(super) exporter: [u64; 2],
    pub(super) pair: Pair,
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) flows: u64,
    pub(super) exemplar: Option<Exemplar>,
}

impl Pair {
    #[inline(always)]
    pub(super) const fn new(input: u32, output: u32) -> Self {
        Self((input as u64) << 32 | output as u64)
    }

    /// Where a flow is counted. Of an exporter that reports it in each direction, each record is of one side.
    #[inline(always)]
    pub(super) fn of(flow: &FlowCounts, exporter: &ExporterFlows) -> Self {
        let one_side = flow.direction.filter(|_| exporter.sends_both_directions());
        match one_side {
            None => Self::new(flow.input, flow.output),
            Some(Direction::Ingress) => Self::new(flow.input, 0),
            Some(Direction::Egress) => Self::new(0, flow.output),
        }
    }

    pub(super) const fn input(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) const fn output(self) -> u32 {
        self.0 as u32
    }
}

impl Sum {
    fn take(&mut self, exemplar: &mut Option<Exemplar>) -> Option<Waited> {
        if self.flows == 0 {
            return None;
        }
        let waited = Waited {
            exporter: self.exporter,
            pair: self.pair,
            bytes: self.bytes,
            packets: self.packets,
            flows: self.flows,
            exemplar: exemplar.take(),
        };
        (self.bytes, self.packets, self.flows) = (0, 0, 0);
        Some(waited)
    }
}

#[inline(always)]
fn place(exporter: u64, pair: Pair) -> usize {
    spread(exporter ^ pair.0, PLACES_BITS)
}

impl Pairs {
    pub(super) fn new() -> Self {
        Self {
            minute: 0,
            sums: Box::new([Sum::default(); PLACES]),
            exemplars: Box::new([None; PLACES]),
        }
    }

    /// Adds to the sum of a pair; `false`: it has no place.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        pair: Pair,
        flow: &FlowCounts,
        span: Option<&(TraceId, SpanId)>,
        counting: &Counting,
    ) -> bool {
        let place = place(counting.exporter_hash, pair);
        let sum = &mut self.sums[place];
        if sum.pair != pair || sum.exporter != counting.exporter {
            return false;
        }
        sum.bytes = sum.bytes.wrapping_add(flow.bytes);
        sum.packets = sum.packets.wrapping_add(flow.packets);
        sum.flows += 1;
        if flow.bytes >= sum.needed
            && let Some(span) = span
        {
            self.keep(place, flow.bytes, span, counting.received_at);
        }
        true
    }

    #[inline(never)]
    fn keep(
        &mut self,
        place: usize,
        bytes: u64,
        &(trace_id, span_id): &(TraceId, SpanId),
        received_at: UnixNanos,
    ) {
        self.sums[place].needed = bytes.saturating_add(1);
        self.exemplars[place] = Some(Exemplar {
            trace_id,
            span_id,
            bytes,
            received_at,
        });
    }

    /// Gives a pair its place, where a kept record of at least so many bytes is its exemplar; what waited there goes.
    pub(super) fn begin(&mut self, pair: Pair, counting: &Counting, needed: u64) -> Option<Waited> {
        let place = place(counting.exporter_hash, pair);
        let sum = &mut self.sums[place];
        let waited = sum.take(&mut self.exemplars[place]);
        *sum = Sum {
            exporter: counting.exporter,
            pair,
            needed,
            ..Sum::default()
        };
        waited
    }

    /// Everything that waits, which isn't here any more; every place is free.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Waited> {
        let sums = self.sums.iter_mut().zip(self.exemplars.iter_mut());
        sums.filter_map(|(sum, exemplar)| {
            let waited = sum.take(exemplar);
            *sum = Sum::default();
            waited
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::metrics::top;

    /// Of exporters that share a place.
    fn counting(exporter: u64) -> Counting {
        Counting {
            exporter: [0, exporter],
            exporter_hash: 7,
            received_at: UnixNanos(5),
            minute: 0,
            look: 0,
            top: top::By::default(),
        }
    }

    fn flow(bytes: u64) -> FlowCounts {
        FlowCounts {
            bytes,
            packets: 1,
            ..FlowCounts::default()
        }
    }

    #[test]
    fn nearly_all_flows_of_forty_interfaces_find_their_sum() {
        let exporter = counting(1);
        // Below 40, small ones more often: after Zipf's law.
        let mut rng = SmallRng::seed_from_u64(7);
        let mut zipf = || 40_f64.powf(rng.random::<f64>()) as u32;
        let flows: Vec<_> = (0..10_000).map(|_| Pair::new(zipf(), zipf())).collect();
        let mut pairs = Pairs::new();
        let mut missed = || {
            let missed = flows.iter().filter(|pair| {
                let is_missed = !pairs.add(**pair, &flow(1), None, &exporter);
                if is_missed {
                    pairs.begin(**pair, &exporter, 0);
                }
                is_missed
            });
            missed.count()
        };
        let first = missed();
        assert!(first > 500, "{first} pairs");
        let again = missed();
        assert!(again < 100, "{again} of 10,000");
    }

    #[test]
    fn a_pair_that_loses_its_place_leaves_with_its_sum_and_its_exemplar() {
        let (one, other) = (counting(1), counting(2));
        let (pair, ids) = (Pair::new(3, 4), ([1; 16], [2; 8]));
        let mut pairs = Pairs::new();
        assert!(!pairs.add(pair, &flow(10), Some(&ids), &one));
        assert!(pairs.begin(pair, &one, 11).is_none());
        for (bytes, span) in [(10, 1), (30, 2), (20, 3)] {
            assert!(pairs.add(pair, &flow(bytes), Some(&([1; 16], [span; 8])), &one));
        }
        assert!(!pairs.add(pair, &flow(10), Some(&ids), &other));
        let waited = pairs.begin(pair, &other, 0).expect("it waited");
        assert_eq!((waited.exporter, waited.pair), ([0, 1], pair));
        assert_eq!((waited.bytes, waited.packets, waited.flows), (60, 3, 3));
        let exemplar = waited.exemplar.map(|of| (of.bytes, of.span_id));
        assert_eq!(exemplar, Some((30, [2; 8])));
        assert!(pairs.add(pair, &flow(5), None, &other));
        let waited: Vec<_> = pairs.take().collect();
        assert_eq!(
            (waited.len(), waited[0].exporter, waited[0].bytes),
            (1, [0, 2], 5)
        );
        assert!(waited[0].exemplar.is_none());
        assert_eq!(pairs.take().count(), 0);
    }
}
