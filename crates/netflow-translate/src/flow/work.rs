//! The outcome of a datagram, and the spans of the work around its flows.

use std::time::Instant;

use netflow_wire::{Header, sflow};
use otlp_wire::UnixNanos;

use crate::counters::rejected::Problem;
use crate::counters::traffic::Protocol;
use crate::exporter::Arrival;
use crate::exporter::sequence::{Reboot, Verdict};
use crate::flow::Place;
use crate::flow::trace::{Trace, WORK_SPANS, WorkSpans};
use crate::writing::Writing;

/// The outcome of a datagram's records or samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Flow records and flow samples, whether or not the sampler kept them.
    pub(crate) flows: u32,
    /// Of these, those with a span.
    pub(crate) kept: u32,
    pub(crate) options: u32,
    pub(crate) templates: u32,
    /// A template was new or different.
    pub(crate) news: bool,
    /// Sets that wait for their template.
    pub(crate) waiting: u32,
    /// sFlow: counter samples.
    pub(crate) counters: u32,
    /// sFlow: samples of a format that isn't known.
    pub(crate) others: u32,
    /// Octets of the flow spans.
    pub(crate) octets: usize,
    /// When the first flow was reached.
    pub(crate) flows_began: Option<UnixNanos>,
    /// The first part that could not be used.
    pub(crate) problem: Option<Problem>,
    /// Not every Data Record could be counted.
    pub(crate) uncounted: bool,
}

impl Outcome {
    /// Something was understood.
    pub(crate) fn is_decodable(&self) -> bool {
        self.flows + self.options + self.templates + self.counters + self.others > 0
    }

    /// Data Records, if all could be counted.
    pub(crate) fn records(&self) -> Option<u32> {
        (!self.uncounted).then_some(self.flows + self.options)
    }
}

/// What a datagram's header says, of whichever protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) protocol: Protocol,
    /// 1, 5, 7, 9, 10; of sFlow its own.
    pub(crate) version: u32,
    pub(crate) sequence: Option<u32>,
    /// Observation Domain, or sub-agent.
    pub(crate) domain: u32,
    pub(crate) uptime_ms: Option<u32>,
    /// Nanoseconds since 1970; sFlow has none.
    pub(crate) export_time: Option<u64>,
    /// One packet in how many, of v5.
    pub(crate) sampling: Option<u64>,
}

impl From<&Header> for Said {
    fn from(header: &Header) -> Self {
        Self {
            protocol: Protocol::from(header.version),
            version: u32::from(header.version.number()),
            sequence: header.sequence,
            domain: header.observation_domain,
            uptime_ms: header.sys_uptime_ms,
            export_time: Some(header.export_time),
            sampling: header.sampling.map(|sampling| u64::from(sampling.interval)),
        }
    }
}

impl From<&sflow::Header> for Said {
    fn from(header: &sflow::Header) -> Self {
        Self {
            protocol: Protocol::Sflow,
            version: sflow::VERSION,
            sequence: Some(header.sequence),
            domain: header.sub_agent,
            uptime_ms: Some(header.uptime_ms),
            export_time: None,
            sampling: None,
        }
    }
}

/// A datagram that was read, of whichever protocol.
pub(crate) struct Read {
    pub(crate) trace: Trace,
    pub(crate) arrival: Arrival,
    pub(crate) said: Said,
    /// When its processing began.
    pub(crate) began: UnixNanos,
    pub(crate) outcome: Outcome,
    pub(crate) verdict: Verdict,
    pub(crate) reboot: Reboot,
    /// Missing before it, in the protocol's own unit.
    pub(crate) lost: Option<u64>,
}

impl Read {
    /// A trace of which a selection has left no flow says nothing, unless something is wrong.
    fn has_work_spans(&self, is_selected: bool) -> bool {
        let outcome = &self.outcome;
        let says_something = !is_selected || outcome.flows == 0 || outcome.problem.is_some();
        outcome.kept > 0 || self.trace.kept && says_something
    }

    /// Writes the three spans around its flows.
    pub(crate) fn write_work(
        &self,
        exporter: &str,
        place: &mut Place<'_>,
        work_spans: &WorkSpans,
        writing: &mut Writing,
        now: Instant,
    ) {
        if !writing.shape.is_packet() || !self.has_work_spans(writing.asked.is_some()) {
            return;
        }
        let done = writing.clock.now();
        let problem = self.outcome.problem.map(|problem| problem.to_string());
        let state = writing.odds.state;
        writing.batches.append(
            place.member,
            place.front,
            now,
            self.arrival.received_at,
            WORK_SPANS,
            |writer| work_spans.write(self, exporter, done, problem.as_deref(), state, writer),
        );
    }
}
