//! sFlow: a datagram in, a trace of it out, one `netflow.flow` span for each sampled packet.

mod agents;
mod seen;
mod span;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use netflow_wire::sflow::{Datagram, FlowSample, Sample, SampleError};
use otlp_wire::{ResourceFront, UnixNanos};
use tracing::debug;

use self::agents::{Agent, Agents, Resource};
use self::seen::Seen;
use self::span::{FlowContext, FlowSpans};
use crate::batch::Membership;
use crate::config::AttributeLevel;
use crate::counters::translate::TranslateCounters;
use crate::debug_log;
use crate::exporter::sequence::Verdict;
use crate::exporter::{Arrival, NewExporter};
use crate::flow::trace::{Said, Trace, WORK_SPANS, Work, WorkSpans};
use crate::message::Writing;

/// Everything that is kept of sFlow.
#[derive(Debug)]
pub(crate) struct Sflow {
    agents: Agents,
    spans: FlowSpans,
}

/// Who sent a datagram, and when.
pub(crate) struct Sender<'a> {
    pub(crate) address: IpAddr,
    pub(crate) text: &'a str,
    /// `NETFLOW_SAMPLING_OVERRIDE`.
    pub(crate) sampling: Option<u64>,
    pub(crate) arrival: Arrival,
    /// Processing began.
    pub(crate) began: UnixNanos,
    pub(crate) now: Instant,
}

/// The sender's own resource: of a device that names no agent, whatever else it speaks.
pub(crate) struct Own<'a> {
    pub(crate) member: &'a mut Membership,
    pub(crate) front: &'a Arc<ResourceFront>,
}

/// What a datagram was, for its exporter.
pub(crate) struct Read {
    pub(crate) flows: u32,
    /// Datagrams missing before it.
    pub(crate) lost: Option<u64>,
    /// Something of it was understood.
    pub(crate) is_decodable: bool,
}

/// What came of a datagram.
#[derive(Clone, Copy, Default)]
struct Outcome {
    flows: u32,
    counters: u32,
    /// Samples that nobody or only a vendor knows.
    others: u32,
    /// When the first flow sample was reached.
    flows_began: Option<UnixNanos>,
    problem: Option<SampleError>,
}

impl Sflow {
    pub(crate) fn new() -> Self {
        Self {
            agents: Agents::default(),
            spans: FlowSpans::new(),
        }
    }

    pub(crate) fn expire(&mut self, now: Instant, idle: std::time::Duration) {
        self.agents.expire(now, idle);
    }

    /// Writes a datagram's trace.
    pub(crate) fn read<C: Fn() -> UnixNanos>(
        &mut self,
        datagram: &Datagram<'_>,
        sender: &Sender<'_>,
        own: Own<'_>,
        work_spans: &WorkSpans,
        writing: &mut Writing<C>,
    ) -> Read {
        let header = &datagram.header;
        writing.counters.datagrams_decoded.add(1);
        writing.counters.datagrams_sflow.add(1);
        let agent = self
            .agents
            .entry((sender.address, header.agent), sender.now, || {
                header.agent.map(|agent| {
                    let agent = agent.to_string();
                    Resource::new(writing.config.front(sender.text, Some(&agent)))
                })
            });
        let lost = count_loss(datagram, agent, &writing.counters);
        let mut place = match &mut agent.resource {
            Some(resource) => Own {
                member: &mut resource.member,
                front: &resource.front,
            },
            None => own,
        };
        let trace = Trace::new(&mut writing.ids, writing.config.sampler);
        let outcome = write_flows(datagram, sender, &trace, &self.spans, &mut place, writing);
        if debug_log::is_on()
            && let Some(suppressed) = writing.debug_log.admit_understood(sender.now)
        {
            debug!(
                exporter = sender.text,
                port = sender.arrival.port,
                version = "sflow5",
                octets = sender.arrival.octets,
                agent = header.agent.map(tracing::field::display),
                sequence = header.sequence,
                flows = outcome.flows,
                counters = outcome.counters,
                others = outcome.others,
                lost,
                problem = outcome.problem.map(tracing::field::display),
                suppressed,
                "datagram understood"
            );
        }
        if trace.kept {
            let done = (writing.clock)();
            let problem = outcome.problem.map(|problem| problem.to_string());
            let work = Work {
                trace: &trace,
                exporter: sender.text,
                arrival: &sender.arrival,
                said: Said::from(header),
                times: [sender.began, outcome.flows_began.unwrap_or(done), done],
                flows: outcome.flows,
                templates: 0,
                waiting: 0,
                lost,
                problem: problem.as_deref(),
            };
            writing.batches.append(
                place.member,
                place.front,
                sender.now,
                sender.arrival.received_at,
                WORK_SPANS,
                |writer| work_spans.write(&work, writer),
            );
        }
        Read {
            flows: outcome.flows,
            lost,
            is_decodable: outcome.flows + outcome.counters + outcome.others > 0,
        }
    }
}

/// Datagrams missing before this one, by its sub-agent's sequence.
fn count_loss(
    datagram: &Datagram<'_>,
    agent: &mut Agent,
    counters: &TranslateCounters,
) -> Option<u64> {
    let header = &datagram.header;
    let sequence = agent.sequence(header.sub_agent)?;
    let verdict = sequence.judge_number(header.sequence, Some(header.uptime_ms));
    if verdict != Verdict::Late {
        sequence.expect(Some(header.sequence.wrapping_add(1)));
    }
    let units = Some(1);
    verdict.count(
        counters,
        &counters.lost_datagrams,
        &counters.late_datagrams,
        units,
    )
}

fn write_flows<C: Fn() -> UnixNanos>(
    datagram: &Datagram<'_>,
    sender: &Sender<'_>,
    trace: &Trace,
    spans: &FlowSpans,
    place: &mut Own<'_>,
    writing: &mut Writing<C>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let context = FlowContext {
        trace_id: trace.id,
        parent: trace.process,
        received_at: sender.arrival.received_at,
        level: writing.config.attributes,
        sampling: sender.sampling,
        show_sampling: writing.config.attributes >= AttributeLevel::Standard,
        scale: writing.config.scale_sampled,
    };
    for sample in datagram.samples() {
        match sample {
            Ok(Sample::Flow(flow)) => {
                outcome.flows += 1;
                writing.counters.flow_samples.add(1);
                if outcome.flows_began.is_none() {
                    outcome.flows_began = Some((writing.clock)());
                }
                if trace.kept {
                    write_flow(&flow, sender, &context, spans, place, writing, &mut outcome);
                } else {
                    writing.counters.records_sampled_out.add(1);
                }
            }
            Ok(Sample::Counters(_)) => {
                outcome.counters += 1;
                writing.counters.counter_samples.add(1);
            }
            Ok(Sample::Other { .. }) => {
                outcome.others += 1;
                writing.counters.samples_unknown.add(1);
            }
            Err(error) => outcome.bad(error, &writing.counters),
        }
    }
    outcome
}

fn write_flow<C>(
    flow: &FlowSample<'_>,
    sender: &Sender<'_>,
    context: &FlowContext,
    spans: &FlowSpans,
    place: &mut Own<'_>,
    writing: &mut Writing<C>,
    outcome: &mut Outcome,
) {
    let counters = &writing.counters;
    let seen = Seen::new(flow, |error| outcome.bad(error, counters));
    let span_id = writing.ids.span_id();
    let Writing {
        batches, debug_log, ..
    } = writing;
    let written = batches.append_flow(
        place.member,
        place.front,
        sender.now,
        sender.arrival.received_at,
        |writer| spans.write(flow, &seen, context, span_id, writer),
    );
    match written {
        Some(octets) if debug_log::is_on() => {
            debug_log.flows(place.front, octets, 1, sender.now);
        }
        Some(_) => {}
        None => counters.records_too_large.add(1),
    }
}

impl Outcome {
    /// A sample, or a record of one, that could not be used.
    #[cold]
    fn bad(&mut self, error: SampleError, counters: &TranslateCounters) {
        match error {
            SampleError::Truncated { .. } => &counters.samples_truncated,
            SampleError::Malformed { .. } => &counters.samples_malformed,
            SampleError::TruncatedRecord { .. } => &counters.sample_records_truncated,
            _ => &counters.sample_records_malformed,
        }
        .add(1);
        self.problem.get_or_insert(error);
    }
}
