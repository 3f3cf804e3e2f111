//! sFlow: the samples of a datagram to flows.

mod agents;
mod seen;
mod span;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netflow_wire::sflow::{CounterRecord, Datagram, Sample, SampleError};
use otlp_wire::UnixNanos;

use self::agents::{Agent, Agents};
use self::seen::Seen;
use self::span::{SampleContext, SampleWants, SampledFlow};
use crate::counters::translate::TranslateCounters;
use crate::exporter::sequence::{Heard, Reboot, Verdict};
use crate::flow::trace::Trace;
use crate::flow::work::{Outcome, Read, Said};
use crate::flow::{FlowContext, Flows, Place, write_flows};
use crate::plan::sampling::ConfiguredSampling;
use crate::translator::Received;
use crate::writing::Writing;

/// Everything that is kept of sFlow.
#[derive(Debug)]
pub(crate) struct Sflow {
    agents: Agents,
    wants: SampleWants,
}

/// The exporter of a datagram, as far as its samples need it.
pub(crate) struct Sender<'a> {
    pub(crate) address: IpAddr,
    /// `NETFLOW_SAMPLING_OVERRIDE`.
    pub(crate) sampling: &'a ConfiguredSampling,
    /// Flow samples for which spans may be written.
    pub(crate) records: u32,
}

impl Sflow {
    pub(crate) fn new() -> Self {
        Self {
            agents: Agents::default(),
            wants: SampleWants::new(),
        }
    }

    /// Octets of all agents, about.
    pub(crate) fn octets(&self) -> usize {
        self.agents.octets()
    }

    /// Agents that went because all together were too heavy.
    pub(crate) fn shed(&self) -> u64 {
        self.agents.shed()
    }

    /// Weighs the agent of a datagram that was just read; others go while all together are heavier than `most`.
    pub(crate) fn settle(&mut self, exporter: IpAddr, agent: Option<IpAddr>, most: usize) {
        self.agents.settle((exporter, agent), most);
    }

    pub(crate) fn expire(&mut self, now: Instant, idle: Duration) {
        self.agents.expire(now, idle);
    }

    /// Writes a span for each flow sample. Gives back where the datagram's spans go too: into the agent's resource, or
    /// into `own` where the device names no agent, whatever else it exports.
    pub(crate) fn read<'a, C: Fn() -> UnixNanos>(
        &'a mut self,
        datagram: &Datagram<'_>,
        sender: &Sender<'_>,
        own: Place<'a>,
        received: &Received,
        writing: &mut Writing<C>,
    ) -> (Read, Place<'a>) {
        let header = &datagram.header;
        writing.counters.datagrams_sflow.add(1);
        let key = (sender.address, header.agent);
        let agent = self.agents.entry(key, received.now, writing);
        let verdict = judge(datagram, agent, received.arrival.received_at);
        let mut place = match &mut agent.resource {
            Some(resource) => Place {
                member: &mut resource.member,
                front: &resource.front,
                counted: own.counted,
            },
            None => own,
        };
        let trace = Trace::new(&mut writing.ids, &writing.odds);
        let interfaces = writing.interfaces.clone();
        let interfaces = interfaces.as_ref();
        let samples = SampleContext {
            interfaces: interfaces.and_then(|all| all.of(sender.address.to_canonical())),
            words: writing.words,
            wants: &self.wants,
            level: writing.config.attributes,
            sampling: sender.sampling,
            received_at: received.arrival.received_at,
        };
        let mut context = FlowContext::new(
            writing,
            &trace,
            &received.arrival,
            sender.address,
            received.now,
        );
        context.max_records = sender.records;
        let mut outcome = Outcome::default();
        for sample in datagram.samples() {
            match sample {
                Ok(Sample::Flow(flow)) => {
                    writing.counters.flow_samples.add(1);
                    if outcome.flows_began.is_none() {
                        outcome.flows_began = Some((writing.clock)());
                    }
                    let seen =
                        Seen::new(&flow, |error| bad(error, &mut outcome, &writing.counters));
                    let mut one = One(Some(SampledFlow::new(&flow, &seen, &samples)));
                    write_flows(
                        &mut one,
                        &context,
                        &mut place,
                        writing,
                        &mut outcome,
                        received.now,
                    );
                }
                Ok(Sample::Counters(sample)) => {
                    outcome.counters += 1;
                    writing.counters.counter_samples.add(1);
                    for record in sample.records() {
                        match record {
                            Ok(CounterRecord::Interface(counters)) => {
                                context.report(&counters, &mut writing.metrics);
                            }
                            Ok(_) => {}
                            Err(error) => bad(error, &mut outcome, &writing.counters),
                        }
                    }
                }
                Ok(Sample::Other { .. }) => {
                    outcome.others += 1;
                    writing.counters.samples_unknown.add(1);
                }
                Err(error) => bad(error, &mut outcome, &writing.counters),
            }
        }
        let said = Said::from(header);
        let read = Read {
            lost: verdict.count(&writing.counters, said.protocol, Some(1)),
            trace,
            arrival: received.arrival,
            said,
            began: received.began,
            outcome,
            verdict,
            reboot: Reboot::None,
        };
        (read, place)
    }
}

/// What the sequence of the datagram's sub-agent says.
fn judge(datagram: &Datagram<'_>, agent: &mut Agent, received_at: UnixNanos) -> Verdict {
    let header = &datagram.header;
    let Some(sequence) = agent.sequence(header.sub_agent) else {
        return Verdict::Fine;
    };
    let heard = Heard {
        uptime_ms: Some(header.uptime_ms),
        export_time: received_at.0,
        sequence: Some(header.sequence),
    };
    let verdict = sequence.judge_number(header.sequence, heard);
    if verdict != Verdict::Late {
        sequence.expect(Some(header.sequence.wrapping_add(1)));
    }
    verdict
}

/// A sample, or a record of one, could not be used.
#[cold]
fn bad(error: SampleError, outcome: &mut Outcome, counters: &TranslateCounters) {
    match error {
        SampleError::Truncated { .. } => &counters.samples_truncated,
        SampleError::Malformed { .. } => &counters.samples_malformed,
        SampleError::TruncatedRecord { .. } => &counters.sample_records_truncated,
        _ => &counters.sample_records_malformed,
    }
    .add(1);
    outcome.problem.get_or_insert(error.into());
}

/// One sample.
struct One<'a>(Option<SampledFlow<'a>>);

impl Flows for One<'_> {
    type Flow<'b>
        = SampledFlow<'b>
    where
        Self: 'b;

    #[inline]
    fn current(&mut self) -> Option<SampledFlow<'_>> {
        self.0
    }

    #[inline]
    fn advance(&mut self) {
        self.0 = None;
    }
}
