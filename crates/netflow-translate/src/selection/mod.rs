//! Which flow records become spans: `NETFLOW_FILTER`, `NETFLOW_KEEP`, `NETFLOW_SAMPLE_BYTES`, and the thresholds that
//! samplers leave in spans.
//!
//! A filter excludes a record from everything. Of the others the trace's sampler and the sampling by size each choose
//! some; what `NETFLOW_KEEP` names is kept in any case. The choice of a record by its size doesn't depend on that of its
//! trace, so that the probabilities multiply.

mod threshold;

use std::num::NonZeroU64;

pub(crate) use threshold::{Threshold, TraceState};

use crate::config::TraceSampler;
use crate::filter::{Asked, Filter, FlowView, Number};
use crate::flow::ids::Ids;

/// Which flow records become spans.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// `NETFLOW_FILTER`: what doesn't match becomes neither span nor metric.
    pub filter: Option<Filter>,
    /// `NETFLOW_KEEP`: what matches is kept by every sampler.
    pub keep: Option<Filter>,
    /// `NETFLOW_SAMPLE_BYTES`: a record of so many bytes, or more, is kept; of fewer with the probability of its share.
    pub sample_bytes: Option<NonZeroU64>,
}

/// The decision about one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// The filter excludes it.
    Filtered,
    /// The sampler left its trace out.
    SampledOut,
    /// The sampling by size left it out.
    SampledBySize,
    Kept(Kept),
}

/// What the span of a kept record says of its sampling.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Kept {
    /// Its bytes divided by its whole probability.
    pub(crate) adjusted_bytes: Option<u64>,
    /// `NETFLOW_KEEP` names it: its probability is 1, whatever its trace's is.
    pub(crate) always: bool,
}

impl Selection {
    /// Every record becomes a span, as far as its trace is kept.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// What the decision needs to know of a record.
    pub(crate) fn asked(&self) -> Asked {
        let filters = [&self.filter, &self.keep].into_iter().flatten();
        let asked = filters.fold(Asked::default(), |asked, filter| asked.or(filter.asked()));
        match self.sample_bytes {
            Some(_) => asked.and_number(Number::Bytes),
            None => asked,
        }
    }

    /// Decides about a record with these properties, of a trace that is kept or isn't. `scaled` is how many times more
    /// bytes there were than the view says.
    pub(crate) fn decide(
        &self,
        flow: &FlowView<'_>,
        scaled: u64,
        trace: &TraceOdds,
        is_trace_kept: bool,
        ids: &mut Ids,
    ) -> Decision {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.matches(flow))
        {
            return Decision::Filtered;
        }
        let bytes = flow
            .number(Number::Bytes)
            .map(|bytes| bytes.saturating_mul(scaled))
            .filter(|_| self.sample_bytes.is_some());
        if self.keep.as_ref().is_some_and(|keep| keep.matches(flow)) {
            return Decision::Kept(Kept {
                adjusted_bytes: bytes,
                always: true,
            });
        }
        if !is_trace_kept {
            return Decision::SampledOut;
        }
        // A record without a count of bytes, such as an event, has no size to be chosen by.
        let (Some(size), Some(bytes)) = (self.sample_bytes, bytes) else {
            return Decision::Kept(Kept::default());
        };
        if !Threshold::of_share(bytes, size).keeps(ids.random_bits()) {
            return Decision::SampledBySize;
        }
        // Divided by its share, a smaller record counts as one of the whole size.
        Decision::Kept(Kept {
            adjusted_bytes: Some(trace.adjusted(bytes.max(size.get()))),
            always: false,
        })
    }
}

/// The probability with which the sampler keeps a trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceOdds {
    threshold: Threshold,
    /// What spans of a kept trace carry; `None` where there is no ratio.
    pub(crate) state: Option<TraceState>,
}

impl TraceOdds {
    pub(crate) fn new(sampler: TraceSampler) -> Self {
        match sampler {
            TraceSampler::AlwaysOn => Self {
                threshold: Threshold::ALWAYS,
                state: None,
            },
            TraceSampler::AlwaysOff => Self {
                threshold: Threshold::NEVER,
                state: None,
            },
            TraceSampler::Ratio(ratio) => {
                let threshold = Threshold::of_ratio(ratio);
                Self {
                    threshold,
                    state: Some(TraceState::of(threshold)),
                }
            }
        }
    }

    /// Whether a trace is kept: by the right-most 56 bits of its id.
    pub(crate) fn keeps(&self, trace_id: otlp_wire::TraceId) -> bool {
        self.threshold.keeps(u128::from_be_bytes(trace_id) as u64)
    }

    /// What stands for all records of this many bytes, of which those of other traces are left out.
    fn adjusted(&self, bytes: u64) -> u64 {
        if self.threshold == Threshold::ALWAYS {
            return bytes;
        }
        let adjusted = bytes as f64 / self.threshold.probability();
        // A number that is too large becomes the largest.
        adjusted.round() as u64
    }
}

#[cfg(test)]
mod tests;
