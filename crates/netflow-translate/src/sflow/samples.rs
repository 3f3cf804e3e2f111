//! The flow samples of a datagram, one after another; what else it has is counted on the way.

use netflow_wire::sflow::{self, CounterRecord, Datagram, FlowSample, Sample, SampleError};

use super::seen::Seen;
use super::span::{SampleContext, SampledFlow};
use crate::counters::translate::TranslateCounters;
use crate::flow::Flows;
use crate::flow::work::Outcome;

/// The samples of a datagram that are left.
pub(super) struct Samples<'a> {
    rest: sflow::Samples<'a>,
    current: Option<FlowSample<'a>>,
    /// What the current sample's records say.
    seen: Seen<'a>,
    context: &'a SampleContext<'a>,
    pub(super) tally: Tally,
}

/// What was found among the samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) flows: u32,
    pub(super) counters: u32,
    /// Of a format that isn't known.
    pub(super) others: u32,
    bad: Bad,
    /// The first part that could not be used.
    problem: Option<SampleError>,
}

/// Parts that could not be used.
#[derive(Clone, Copy, Debug, Default)]
struct Bad {
    truncated: u32,
    malformed: u32,
    truncated_records: u32,
    malformed_records: u32,
}

impl<'a> Samples<'a> {
    pub(super) fn new(datagram: &Datagram<'a>, context: &'a SampleContext<'a>) -> Self {
        Self {
            rest: datagram.samples(),
            current: None,
            seen: Seen::default(),
            context,
            tally: Tally::default(),
        }
    }

    /// Finds the next flow sample.
    #[inline(never)]
    fn find(&mut self) {
        let tally = &mut self.tally;
        for sample in &mut self.rest {
            match sample {
                Ok(Sample::Flow(flow)) => {
                    tally.flows += 1;
                    self.seen.read(&flow, |error| tally.bad(error));
                    self.current = Some(flow);
                    return;
                }
                Ok(Sample::Counters(sample)) => {
                    tally.counters += 1;
                    let errors = sample.records().filter_map(Result::err);
                    errors.for_each(|error| tally.bad(error));
                }
                Ok(Sample::Other { .. }) => tally.others += 1,
                Err(error) => tally.bad(error),
            }
        }
    }
}

impl Flows for Samples<'_> {
    type Flow<'b>
        = SampledFlow<'b>
    where
        Self: 'b;
    type Mark = ();
    /// A sample would be decoded again.
    const IS_CHEAP_AGAIN: bool = false;

    #[inline]
    fn current(&mut self) -> Option<SampledFlow<'_>> {
        if self.current.is_none() {
            self.find();
        }
        let sample = self.current.as_ref()?;
        Some(SampledFlow::new(sample, &self.seen, self.context))
    }

    #[inline]
    fn advance(&mut self) {
        self.current = None;
    }

    fn mark(&self) {}

    fn go_back(&mut self, (): ()) {}
}

impl Tally {
    #[cold]
    fn bad(&mut self, error: SampleError) {
        match error {
            SampleError::Truncated { .. } => self.bad.truncated += 1,
            SampleError::Malformed { .. } => self.bad.malformed += 1,
            SampleError::TruncatedRecord { .. } => self.bad.truncated_records += 1,
            _ => self.bad.malformed_records += 1,
        }
        self.problem.get_or_insert(error);
    }

    /// Adds what was found to the worker's counters, and to the outcome all but the flows.
    pub(super) fn count(&self, counters: &TranslateCounters, outcome: &mut Outcome) {
        outcome.counters = self.counters;
        outcome.others = self.others;
        counters.flow_samples.add(u64::from(self.flows));
        counters.counter_samples.add(u64::from(self.counters));
        counters.samples_unknown.add(u64::from(self.others));
        if let Some(problem) = self.problem {
            outcome.problem = Some(problem.into());
            let bad = &self.bad;
            for (counter, count) in [
                (&counters.samples_truncated, bad.truncated),
                (&counters.samples_malformed, bad.malformed),
                (&counters.sample_records_truncated, bad.truncated_records),
                (&counters.sample_records_malformed, bad.malformed_records),
            ] {
                counter.add(u64::from(count));
            }
        }
    }
}

/// What the datagram's agent counted of its interfaces; what can't be read is left out.
pub(super) fn interfaces<'a>(
    datagram: &Datagram<'a>,
) -> impl Iterator<Item = sflow::InterfaceCounters> + use<'a> {
    let samples = datagram.samples().filter_map(|sample| match sample {
        Ok(Sample::Counters(sample)) => Some(sample),
        _ => None,
    });
    let records = samples.flat_map(|sample| sample.records());
    records.filter_map(|record| match record {
        Ok(CounterRecord::Interface(counters)) => Some(counters),
        _ => None,
    })
}
