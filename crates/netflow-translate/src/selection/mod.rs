//! Which flow records become spans: `NETFLOW_FILTER`, `NETFLOW_KEEP`, `NETFLOW_SAMPLE_BYTES`, and the thresholds that
//! samplers leave in spans.
//!
//! A filter excludes a record from everything. Of the others the trace's sampler and the sampling by size each choose
//! some; what `NETFLOW_KEEP` names is kept in any case. Where records share a trace, the choice of one by its size doesn't
//! depend on that of the trace, so that the probabilities multiply. Where a record is a trace, one random number decides:
//! the larger of both thresholds holds, and its span carries it.

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
    /// What its span carries as threshold; `None`: what all spans of kept traces do.
    pub(crate) threshold: Option<Threshold>,
}

/// By which random number a record is chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Draw {
    /// One of its own; its trace, which it shares, is kept or isn't.
    Apart { is_trace_kept: bool },
    /// That of its trace, which is its own.
    OfTrace(u64),
}

impl Draw {
    /// By the trace's own id.
    pub(crate) fn of_trace(id: otlp_wire::TraceId) -> Self {
        Self::OfTrace(u128::from_be_bytes(id) as u64)
    }

    /// The sampler keeps the trace.
    #[inline]
    pub(crate) fn is_trace_kept(self, odds: &TraceOdds) -> bool {
        match self {
            Self::Apart { is_trace_kept } => is_trace_kept,
            Self::OfTrace(random) => odds.threshold.keeps(random),
        }
    }
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

    /// Decides about a record with these properties. `scaled` is how many times more bytes there were than the view says.
    pub(crate) fn decide(
        &self,
        flow: &FlowView<'_>,
        scaled: u64,
        trace: &TraceOdds,
        draw: Draw,
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
        let shares_threshold = matches!(draw, Draw::OfTrace(_)) && self.sample_bytes.is_some();
        if self.keep.as_ref().is_some_and(|keep| keep.matches(flow)) {
            let is_written = shares_threshold || trace.state.is_some();
            return Decision::Kept(Kept {
                adjusted_bytes: bytes,
                threshold: is_written.then_some(Threshold::ALWAYS),
            });
        }
        if !draw.is_trace_kept(trace) {
            return Decision::SampledOut;
        }
        if let (Draw::OfTrace(random), Some(size)) = (draw, self.sample_bytes) {
            let by_size = bytes.map(|bytes| Threshold::of_share_in_few_digits(bytes, size));
            let threshold = by_size.unwrap_or(Threshold::ALWAYS).max(trace.threshold);
            return match threshold.keeps(random) {
                true => Decision::Kept(Kept {
                    adjusted_bytes: bytes.map(|bytes| threshold.adjusted(bytes)),
                    threshold: Some(threshold),
                }),
                false => Decision::SampledBySize,
            };
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
            adjusted_bytes: Some(trace.threshold.adjusted(bytes.max(size.get()))),
            threshold: None,
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
}

#[cfg(test)]
mod tests;
