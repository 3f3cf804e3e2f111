//! Sets whose Template came after them: read a round at a time, so that what was collected for long keeps the worker
//! no longer than one datagram does.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use netflow_wire::{HeldSet, Limits};

use crate::allowance::{self, Round};
use crate::exporter::sequence::{Reboot, Verdict};
use crate::exporter::{Arrival, Exporter};
use crate::flow::Place;
use crate::flow::trace::{Trace, WorkSpans};
use crate::flow::work::{Read, Said};
use crate::translator::{Translator, open};
use crate::writing::Writing;

/// Octets of Sets that are read together with the datagram that brings their Template.
const LITTLE: usize = 16 << 10;

/// The Sets of all exporters of a worker that wait, and the exporters whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct LateSets {
    /// What evicted exporters held is taken off at the next sweep.
    pub(crate) sets: usize,
    /// Their octets, likewise.
    pub(crate) octets: usize,
    /// Exporters with Sets that can be read now.
    ready: VecDeque<IpAddr>,
    /// When the next round begins: at once, as soon as the caller has looked at everything else.
    pub(crate) due: Option<Instant>,
}

impl LateSets {
    /// An exporter held so many Sets and octets, and now holds so many.
    pub(crate) fn changed(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.sets = (self.sets + after.0).saturating_sub(before.0);
        self.octets = (self.octets + after.1).saturating_sub(before.1);
    }

    /// Gives the exporter a turn, unless it waits for one already.
    fn queue(&mut self, address: IpAddr, exporter: &mut Exporter, now: Instant) {
        if !exporter.is_late {
            exporter.is_late = true;
            self.ready.push_back(address);
            self.due = Some(now);
        }
    }
}

impl Translator {
    /// Reads a round of the exporter whose turn it is; `false` if there is none.
    pub(crate) fn read_next_round(&mut self, now: Instant) -> bool {
        let Some(address) = self.late.ready.pop_front() else {
            self.late.due = None;
            return false;
        };
        // It may have been evicted meanwhile.
        if let Some(exporter) = self.exporters.find(address) {
            exporter.is_late = false;
            let before = exporter.decoder.waiting();
            let reader = LateReader {
                address,
                limits: &self.limits,
                work_spans: &self.work_spans,
                writing: &mut self.writing,
                late: &mut self.late,
                now,
            };
            reader.read_waiting(Portion::Round, exporter, before);
        }
        if self.late.ready.is_empty() {
            self.late.due = None;
        }
        true
    }

    /// Weighs an exporter that may have grown; others give way while all are too heavy.
    pub(crate) fn settle(&mut self, address: IpAddr) {
        let beside = self.sflow.octets() + self.writing.plans.octets();
        self.exporters.beside(beside);
        self.exporters.settle(address);
        let counters = &self.writing.counters;
        counters.exporters_evicted.set(self.exporters.evicted());
        let for_memory = self.exporters.evicted_for_memory() + self.sflow.shed();
        counters.evicted_for_memory.set(for_memory);
        counters.exporters.set(self.exporters.len() as u64);
    }

    /// Counts the Sets that wait anew, for those of evicted exporters are gone.
    pub(crate) fn settle_waiting(&mut self) {
        let waiting = self.exporters.iter();
        let waiting = waiting.map(|exporter| exporter.decoder.waiting());
        (self.late.sets, self.late.octets) = waiting.fold((0, 0), |(sets, octets), (more, of)| {
            (sets + more, octets + of)
        });
        let counters = &self.writing.counters;
        counters.sets_expired.add(self.exporters.take_sets_gone());
        counters.sets_waiting.set(self.late.sets as u64);
    }
}

/// What reading an exporter's late Sets needs.
pub(crate) struct LateReader<'a> {
    pub(crate) address: IpAddr,
    pub(crate) limits: &'a Limits,
    pub(crate) work_spans: &'a WorkSpans,
    pub(crate) writing: &'a mut Writing,
    pub(crate) late: &'a mut LateSets,
    pub(crate) now: Instant,
}

/// How much of what waits is read at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Portion {
    /// A round, unless more than [`LITTLE`] waits: then nothing, so that no datagram keeps the worker for long.
    Little,
    /// As much as a [`Round`] has room for.
    Round,
}

impl LateReader<'_> {
    /// Reads Sets whose Template has come, gives the exporter another turn if more of them may be ready, and counts
    /// those that wait now; `before` are the Sets that waited when they were last counted, and their octets.
    pub(crate) fn read_waiting(
        mut self,
        portion: Portion,
        exporter: &mut Exporter,
        before: (usize, usize),
    ) {
        let has_more = if portion == Portion::Little && exporter.decoder.waiting().1 > LITTLE {
            exporter.decoder.may_be_ready()
        } else {
            self.read_round(exporter)
        };
        if has_more {
            self.late.queue(self.address, exporter, self.now);
        }
        self.late.changed(before, exporter.decoder.waiting());
        let sets_waiting = &self.writing.counters.sets_waiting;
        sets_waiting.set(self.late.sets as u64);
    }

    /// Reads Sets whose Template has come; whether there may be more than the round had room for.
    fn read_round(&mut self, exporter: &mut Exporter) -> bool {
        let mut round = Round::default();
        while let Some(set) = exporter.decoder.next_ready(self.now, self.limits) {
            self.read(&set, exporter, &mut round);
            if round.is_over() {
                return exporter.decoder.waiting().0 > 0;
            }
        }
        false
    }

    /// Decodes one, into a trace of its own.
    fn read(&mut self, set: &HeldSet<Arrival>, exporter: &mut Exporter, round: &mut Round) {
        let writing = &mut *self.writing;
        let began = writing.clock.now();
        let trace = Trace::new(&mut writing.ids, &writing.odds);
        let arrival = set.context;
        let (decoder, mut reader) =
            open(writing, exporter, self.address, &trace, arrival, self.now);
        reader.has_waited = true;
        reader.context.max_octets = allowance::of_late_set(set.body.len());
        reader.lists = allowance::of_lists(reader.context.max_octets);
        let left = reader.context.max_records;
        decoder.read_held(set, self.now, self.limits, &mut reader);
        let (outcome, lists) = (reader.outcome, reader.lists);
        exporter.compiled += lists.compiled_octets();
        round.add(set.body.len(), outcome.octets, &lists);
        writing.counters.lists_cut.add(lists.cut());
        writing.counters.sets_decoded_late.add(1);
        let said = Said::from(&set.header);
        let traffic = &writing.counters.traffic;
        traffic.read_late(said.protocol, outcome.flows);
        exporter.activity.flows += u64::from(outcome.flows);
        let read = Read {
            trace,
            arrival,
            said,
            began,
            outcome,
            verdict: Verdict::Fine,
            reboot: Reboot::None,
            lost: None,
        };
        if let (Some(rate), true) = (writing.record_rate, trace.kept) {
            exporter.count_records(rate, outcome.flows.min(left), self.now);
        }
        let mut place = Place {
            member: &mut exporter.member,
            front: &exporter.front,
            counted: &mut exporter.counted,
        };
        let (work_spans, now) = (self.work_spans, self.now);
        read.write_work(&exporter.address, &mut place, work_spans, writing, now);
    }
}
