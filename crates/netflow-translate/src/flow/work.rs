//! The end of a message: its loss counted, and the spans of the work around its flows written.

use std::time::Instant;

use netflow_wire::{Header, Version};
use otlp_wire::UnixNanos;

use crate::counters::translate::TranslateCounters;
use crate::exporter::sequence::Verdict;
use crate::exporter::{Arrival, Exporter};
use crate::flow::trace::{Said, Trace, WORK_SPANS, Work, WorkSpans};
use crate::message::{Outcome, Writing};

/// Writes the three spans around a datagram's flows.
pub(crate) fn write_work<C: Fn() -> UnixNanos>(
    writing: &mut Writing<C>,
    work_spans: &WorkSpans,
    exporter: &mut Exporter,
    message: &Understood<'_>,
    now: Instant,
) {
    if !message.trace.kept {
        return;
    }
    let done = (writing.clock)();
    let outcome = message.outcome;
    let problem = outcome.problem.map(|problem| problem.to_string());
    let work = Work {
        trace: message.trace,
        exporter: &exporter.address,
        arrival: message.arrival,
        said: Said::from(message.header),
        times: [message.began, outcome.flows_began.unwrap_or(done), done],
        flows: outcome.flows,
        templates: outcome.templates,
        waiting: outcome.waiting,
        lost: message.lost,
        problem: problem.as_deref(),
    };
    let (member, front) = (&mut exporter.member, &exporter.front);
    writing.batches.append(
        member,
        front,
        now,
        message.arrival.received_at,
        WORK_SPANS,
        |writer| work_spans.write(&work, writer),
    );
}

/// A message whose records were read.
pub(crate) struct Understood<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) arrival: &'a Arrival,
    pub(crate) header: &'a Header,
    pub(crate) began: UnixNanos,
    pub(crate) outcome: &'a Outcome,
    pub(crate) lost: Option<u64>,
}

/// Counts what the sequence number says, in the version's own unit.
pub(crate) fn count_loss(
    counters: &TranslateCounters,
    version: Version,
    verdict: Verdict,
    units: Option<u32>,
) -> Option<u64> {
    let (lost, late) = match version {
        Version::V9 => (&counters.lost_messages, &counters.late_messages),
        Version::Ipfix => (&counters.lost_records, &counters.late_records),
        _ => (&counters.lost_flows, &counters.late_flows),
    };
    verdict.count(counters, lost, late, units)
}
