//! sFlow: the samples of a datagram to flows.

mod agents;
mod samples;
mod seen;
mod span;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netflow_wire::sflow::Datagram;
use otlp_wire::UnixNanos;

use self::agents::{Agent, Agents};
use self::samples::Samples;
use self::span::{SampleContext, SampleWants};
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
    /// The agent of the last datagram is to be weighed.
    has_changed: bool,
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
            has_changed: false,
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

    /// Weighs the agent of a datagram that was just read, if it has changed; others go while all together are heavier
    /// than `most`.
    pub(crate) fn settle(&mut self, exporter: IpAddr, agent: Option<IpAddr>, most: usize) {
        if std::mem::take(&mut self.has_changed) || self.agents.octets() > most {
            self.agents.settle((exporter, agent), most);
        }
    }

    pub(crate) fn expire(&mut self, now: Instant, idle: Duration) {
        self.agents.expire(now, idle);
    }

    /// Writes a span for each flow sample. Gives back where the datagram's spans go too: into the agent's resource, or
    /// into `own` where the device names no agent, whatever else it exports.
    pub(crate) fn read<'a>(
        &'a mut self,
        datagram: &Datagram<'_>,
        sender: &Sender<'_>,
        own: Place<'a>,
        received: &Received,
        writing: &mut Writing,
    ) -> (Read, Place<'a>) {
        let header = &datagram.header;
        writing.counters.datagrams_sflow.add(1);
        let key = (sender.address, header.agent);
        let agent = self.agents.entry(key, received.now, writing);
        let verdict = judge(datagram, agent, received.arrival.received_at);
        self.has_changed = agent.has_changed();
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
        let mut samples = Samples::new(datagram, &samples);
        if samples.current().is_some() {
            outcome.flows_began = Some(writing.clock.now());
            let now = received.now;
            write_flows(
                &mut samples,
                &context,
                &mut place,
                writing,
                &mut outcome,
                now,
            );
        }
        samples.tally.count(&writing.counters, &mut outcome);
        if outcome.counters > 0 && writing.metrics.is_some() {
            for counters in samples::interfaces(datagram) {
                context.report(&counters, &mut writing.metrics);
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
