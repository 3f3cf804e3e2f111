//! The machine of one worker: [`Translator::on_datagram`], [`Translator::poll_batch`], deadlines.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netflow_wire::sflow;
use netflow_wire::{
    Decoder, Event, Limits, Message, MessageError, Session, Template, Transport, Version,
};
use otlp_wire::UnixNanos;
use tracing::info;

use crate::Datagram;
use crate::allowance;
use crate::attributes::vocabulary::Vocabulary;
use crate::batch::Batches;
use crate::config;
use crate::counters::rejected::{Problem, RejectedDatagrams};
use crate::counters::translate::TranslateCounters;
use crate::debug_log::{self, DebugLog};
use crate::exporter::admission::{AllowList, Rate};
use crate::exporter::alerts::Lines;
use crate::exporter::resource;
use crate::exporter::saved::Changes;
use crate::exporter::sequence::{Carried, Reboot, SequenceKey};
use crate::exporter::strangers::Strangers;
use crate::exporter::{Arrival, Exporter, ExporterTable};
use crate::flow::fronts::Fronts;
use crate::flow::graph::Graph;
use crate::flow::ids::Ids;
use crate::flow::roles::Listeners;
use crate::flow::shape::Shape;
use crate::flow::trace::{Trace, WorkSpans};
use crate::flow::work::{Outcome, Read, Said};
use crate::flow::{FlowContext, Place};
use crate::late::{LateReader, LateSets, Portion};
use crate::memory::{Losses, StateBudget};
use crate::message::MessageReader;
use crate::plan::SpanPlan;
use crate::plan::compiled::Compiled;
use crate::plan::elements::{ElementTypes, NoTemplates};
use crate::plan::shared::Plans;
use crate::selection::TraceOdds;
use crate::sflow::{Sender, Sflow};
use crate::writing::{Clock, Writing};

/// How often templates, waiting Sets and exporters are looked through for what is too old.
const SWEEP: Duration = Duration::from_secs(10);
/// Octets of Sets that wait, over all exporters of a worker: sources can be forged, so that the bound of one
/// exporter bounds nothing. Past it, Sets without a template are dropped and counted.
const MAX_HELD_OCTETS: usize = 64 << 20;
/// Sets of one exporter that may wait when a capture is read.
const MAX_HELD_SETS_OF_CAPTURE: usize = 4096;
/// Their octets.
const MAX_HELD_OCTETS_OF_CAPTURE: usize = 4 * 1024 * 1024;

/// Turns datagrams into batches of spans.
#[derive(Debug)]
pub struct Translator {
    pub(super) writing: Writing,
    pub(super) limits: Limits,
    /// Those that hold while there is no room for waiting Sets.
    limits_without_holding: Limits,
    pub(super) late: LateSets,
    pub(super) allowed: AllowList,
    rate: Option<Rate>,
    pub(super) lines: Lines,
    pub(super) rejected: RejectedDatagrams,
    pub(super) strangers: Strangers,
    pub(super) exporters: ExporterTable,
    pub(super) changes: Option<Changes>,
    /// Where messages come from, as the caller numbers it.
    pub(super) origin: u32,
    /// Connections end at a relay, and not with the program that reads their messages.
    pub(super) is_behind_relay: bool,
    pub(super) sflow: Sflow,
    pub(super) work_spans: WorkSpans,
    fixed: [FixedVersion; 3],
    next_sweep: Option<Instant>,
    /// All that waits to be read is to be read, and the last batch to be finished.
    pub(super) is_flushing: bool,
    losses: Losses,
    /// When a malformed datagram of a source not known was last shown as a span.
    pub(super) stranger_shown: Option<Instant>,
}

/// v1, v5 or v7.
#[derive(Debug)]
struct FixedVersion {
    version: Version,
    template: Template,
    plan: SpanPlan,
}

impl Translator {
    /// A translator with its own randomness and counters. `clock` reads the wall time, for the processing spans and for
    /// what is saved.
    pub fn new(
        config: &config::Translate,
        clock: impl Fn() -> UnixNanos + Send + 'static,
        mut ids: Ids,
    ) -> Self {
        let counters = Arc::new(TranslateCounters::default());
        let words = Vocabulary::of(config.semconv);
        let selection = &config.selection;
        let asked = (!selection.is_everything()).then(|| selection.asked());
        let fixed = [Version::V1, Version::V5, Version::V7].map(|version| {
            let template = version
                .built_in_template()
                .expect("a version of fixed records");
            let plan = SpanPlan::compile(
                &template,
                config.attributes,
                words,
                asked,
                &ElementTypes::default(),
            );
            FixedVersion {
                version,
                template,
                plan,
            }
        });
        let batches = Batches::new(
            config.batch_max_octets,
            config.batch_max_spans,
            config.batch_delay,
            resource::most_octets(config),
            Arc::clone(&counters),
        );
        let limits = Limits {
            max_templates: config.max_templates_per_exporter,
            template_lifetime: config.template_lifetime,
            ..Limits::default()
        };
        Self {
            limits_without_holding: Limits {
                max_held_sets: 0,
                ..limits.clone()
            },
            limits,
            late: LateSets::default(),
            allowed: AllowList::new(&config.allowed_exporters),
            rate: config.max_rate_per_exporter.map(Rate::per_second),
            lines: Lines::default(),
            rejected: RejectedDatagrams::default(),
            strangers: Strangers::default(),
            exporters: ExporterTable::new(config.max_exporters),
            changes: None,
            origin: 0,
            is_behind_relay: false,
            sflow: Sflow::new(),
            work_spans: WorkSpans::new(),
            fixed,
            next_sweep: None,
            is_flushing: false,
            losses: Losses::default(),
            stranger_shown: None,
            writing: Writing {
                config: config.clone(),
                words,
                fronts: Fronts::of(config),
                shape: Shape::new(config, &mut ids),
                graph: Graph::new(config),
                listeners: Listeners::default(),
                clock: Clock(Box::new(clock)),
                counters,
                batches,
                ids,
                record_rate: config.max_record_rate_per_exporter.map(Rate::per_second),
                shows_times: false,
                debug_log: DebugLog::default(),
                plans: Plans::new(words, asked),
                locations: Vec::new(),
                scratch: Vec::new(),
                networks: None,
                names_version: 0,
                interfaces: None,
                locator: None,
                odds: TraceOdds::new(config.sampler),
                asked,
                metrics: None,
            },
        }
    }

    /// Fits it to captures, where no time passes but the capture's: templates are never too old, more Sets wait
    /// for theirs, and every span has the exported times as `netflow.flow.start_unix_nano` and
    /// `end_unix_nano`, or lacks them if none were exported.
    #[must_use]
    pub fn for_captures(mut self) -> Self {
        self.limits.template_lifetime = Duration::MAX;
        self.limits.max_held_sets = MAX_HELD_SETS_OF_CAPTURE;
        self.limits.max_held_octets = MAX_HELD_OCTETS_OF_CAPTURE;
        self.limits.max_held_age = Duration::MAX;
        self.writing.shows_times = true;
        self
    }

    /// What is kept for exporters is charged to this budget, which other workers share.
    #[must_use]
    pub fn with_budget(mut self, budget: &Arc<StateBudget>) -> Self {
        self.exporters.share_budget(budget);
        self
    }

    /// What it counts; to be read from any thread.
    #[must_use]
    pub fn counters(&self) -> Arc<TranslateCounters> {
        Arc::clone(&self.writing.counters)
    }

    /// Takes a datagram. It never fails: what is wrong is counted.
    pub fn on_datagram(&mut self, datagram: &Datagram<'_>, now: Instant) {
        self.on_message(datagram, Transport::Udp, now);
    }

    /// Takes what came over `transport`: a datagram, or a message of a connection. No rate is kept to over a connection:
    /// what is dropped there is not re-sent, so that the reader of the connection has to read less.
    pub fn on_message(&mut self, datagram: &Datagram<'_>, transport: Transport, now: Instant) {
        let began = self.writing.clock.now();
        self.next_sweep.get_or_insert(now + SWEEP);
        let received = Received {
            arrival: Arrival {
                session: Session {
                    transport,
                    port: datagram.source.port(),
                },
                received_at: datagram.received_at,
                octets: datagram.octets.len(),
            },
            began,
            now,
        };
        let address = datagram.source.ip();
        if !self.allowed.allows(address) {
            self.writing.counters.datagrams_not_allowed.add(1);
            return;
        }
        let parsed = match Parsed::of(datagram.octets) {
            Ok(parsed) => parsed,
            Err(problem) => return self.malformed(datagram, received.arrival, problem, now),
        };
        let most = MAX_HELD_OCTETS.min(self.exporters.most() / 4);
        let exporter = self.exporters.entry(address, now, &self.writing);
        exporter.origin = self.origin;
        let rate = self.rate.filter(|_| !transport.has_connections());
        if !exporter.keeps_to(rate, now) {
            self.writing.counters.datagrams_rate_limited.add(1);
            return;
        }
        self.writing.counters.datagrams_decoded.add(1);
        let before = Before::of(exporter, self.writing.record_rate, now);
        let (agent, (read, mut place)) = match &parsed {
            Parsed::Message(message) => {
                let limits = if self.late.octets < most {
                    &self.limits
                } else {
                    &self.limits_without_holding
                };
                let read = read_message(
                    message,
                    &received,
                    address,
                    exporter,
                    &self.fixed,
                    limits,
                    &mut self.writing,
                );
                let place = Place {
                    member: &mut exporter.member,
                    front: &exporter.front,
                    counted: &mut exporter.counted,
                };
                (None, (read, place))
            }
            Parsed::Sflow(message) => {
                let sender = Sender {
                    address,
                    sampling: &exporter.sampling,
                    records: before.records,
                };
                let own = Place {
                    member: &mut exporter.member,
                    front: &exporter.front,
                    counted: &mut exporter.counted,
                };
                let writing = &mut self.writing;
                let read = self.sflow.read(message, &sender, own, &received, writing);
                (message.header.agent, read)
            }
        };
        let (said, outcome) = (&read.said, &read.outcome);
        let traffic = &self.writing.counters.traffic;
        traffic.read(said.protocol, received.arrival.octets, outcome.flows);
        exporter.activity.read(&read);
        if let Some(problem) = outcome.problem {
            self.rejected.keep(datagram, problem);
        }
        read.write_work(
            &exporter.address,
            &mut place,
            &self.work_spans,
            &mut self.writing,
            now,
        );
        if let Some(rate) = self.writing.record_rate
            && read.trace.kept
        {
            exporter.count_records(rate, outcome.flows.min(before.records), now);
        }
        if debug_log::is_on() {
            let log = &mut self.writing.debug_log;
            log.understood(&exporter.address, agent, &read, now);
        }
        let alerts = &mut exporter.alerts;
        if outcome.waiting > 0 {
            alerts.waiting(&exporter.address, &mut self.lines);
        }
        if let Some(export_time) = said.export_time {
            alerts.clock(
                &exporter.address,
                export_time,
                received.arrival.received_at,
                now,
                &mut self.lines,
            );
        }
        if let Some(units) = read.lost {
            alerts.lost(said.protocol, units);
        }
        alerts.judged(
            &exporter.address,
            read.verdict,
            read.reboot,
            &mut self.lines,
            now,
        );

        exporter.recompile(now);
        let reader = LateReader {
            address,
            limits: &self.limits,
            work_spans: &self.work_spans,
            writing: &mut self.writing,
            late: &mut self.late,
            now,
        };
        reader.read_waiting(Portion::Little, exporter, before.held);
        let counters = &self.writing.counters;
        let evicted = exporter.decoder.templates().evicted() - before.evicted;
        counters.templates_evicted.add(evicted);
        let refused = exporter.metadata.refused() - before.refused;
        counters.options_refused.add(refused);
        let has_grown = outcome.templates > 0
            || outcome.options > 0
            || outcome.waiting > 0
            || exporter.is_new()
            || exporter.compiled > before.compiled
            || exporter.sequences.len() > before.sequences;
        if let Some(changes) = &mut self.changes {
            let is_news = outcome.news || exporter.metadata.changes() != before.changes;
            let refreshed = outcome.templates > 0;
            if changes.note(address, exporter, is_news, refreshed, now) {
                counters.state_changes.add(1);
            }
        }
        let is_candidate = outcome.is_decodable() && !exporter.is_proven();
        if is_candidate && self.prove(address, now) && self.lines.take() {
            let protocol = said.protocol.as_str();
            info!(exporter = %address, protocol, "exporter appeared");
        }
        if let Parsed::Sflow(_) = parsed {
            let most = self.exporters.most() / 4;
            self.sflow.settle(address, agent, most);
        }
        if has_grown {
            self.settle(address);
        }
    }

    /// Whether it is a proven exporter from now on.
    pub(super) fn prove(&mut self, address: IpAddr, now: Instant) -> bool {
        let is_new = self.exporters.prove(address, now);
        let counters = &self.writing.counters;
        counters.exporters_evicted.set(self.exporters.evicted());
        counters.exporters.set(self.exporters.len() as u64);
        is_new
    }

    /// When [`on_deadline`](Self::on_deadline) and [`poll_batch`](Self::poll_batch) want to be called even if no
    /// datagram comes.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let batch = self.writing.batches.deadline();
        let deadlines = [batch, self.next_sweep, self.late.due];
        deadlines.into_iter().flatten().min()
    }

    /// Forgets what is too old, and reads Sets whose template has come, some at a time. Batches that are old enough
    /// come from [`poll_batch`](Self::poll_batch).
    pub fn on_deadline(&mut self, now: Instant) {
        self.read_next_round(now);
        if self.next_sweep.is_none_or(|sweep| sweep > now) {
            return;
        }
        self.next_sweep = Some(now + SWEEP);
        let counters = &self.writing.counters;
        for exporter in self.exporters.iter_mut() {
            let templates = exporter.decoder.expire(now, &self.limits, |event| {
                if matches!(event, Event::Expired { .. }) {
                    counters.sets_expired.add(1);
                }
            });
            counters.templates_expired.add(templates as u64);
            exporter.say(now, &mut self.lines);
        }
        let metrics = self.writing.metrics.iter_mut();
        metrics.for_each(|metrics| metrics.on_deadline(now));
        self.lines.refill();
        self.exporters.expire(now, self.limits.template_lifetime);
        self.writing.plans.forget_unused();
        self.sflow.expire(now, self.limits.template_lifetime);
        self.exporters
            .beside(self.sflow.octets() + self.writing.plans.octets());
        self.exporters.settle_all();
        let so_far = [
            counters.records_cut.value(),
            counters.lists_cut.value(),
            counters.records_rate_limited.value(),
        ];
        self.exporters.report(&mut self.losses, so_far, now);
        counters.exporters.set(self.exporters.len() as u64);
        counters.exporters_evicted.set(self.exporters.evicted());
        self.settle_waiting();
    }

    /// Sets that wait for their template now.
    #[must_use]
    pub fn sets_waiting(&self) -> usize {
        self.exporters
            .iter()
            .map(|exporter| exporter.decoder.waiting().0)
            .sum()
    }
}

/// A datagram's arrival, and when its processing began.
pub(crate) struct Received {
    pub(crate) arrival: Arrival,
    pub(crate) began: UnixNanos,
    pub(crate) now: Instant,
}

/// A datagram whose header could be read.
enum Parsed<'a> {
    Message(Message<'a>),
    Sflow(sflow::Datagram<'a>),
}

impl<'a> Parsed<'a> {
    fn of(octets: &'a [u8]) -> Result<Self, Problem> {
        match Message::parse(octets) {
            Ok(message) => Ok(Self::Message(message)),
            Err(MessageError::Sflow) => Ok(Self::Sflow(sflow::Datagram::parse(octets)?)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Of an exporter's state, before a datagram is read.
struct Before {
    sequences: usize,
    /// Flow records for which spans may be written.
    records: u32,
    /// Sets that wait, and their octets.
    held: (usize, usize),
    evicted: u64,
    refused: u64,
    changes: u64,
    compiled: usize,
}

impl Before {
    fn of(exporter: &Exporter, record_rate: Option<Rate>, now: Instant) -> Self {
        Self {
            records: exporter.records_left(record_rate, now),
            sequences: exporter.sequences.len(),
            held: exporter.decoder.waiting(),
            evicted: exporter.decoder.templates().evicted(),
            refused: exporter.metadata.refused(),
            changes: exporter.metadata.changes(),
            compiled: exporter.compiled,
        }
    }
}

/// Reads a message of NetFlow or IPFIX, and writes the spans of its flows.
fn read_message(
    message: &Message<'_>,
    received: &Received,
    address: IpAddr,
    exporter: &mut Exporter,
    fixed: &[FixedVersion],
    limits: &Limits,
    writing: &mut Writing,
) -> Read {
    let (header, arrival) = (&message.header, received.arrival);
    let reboot = exporter.judge_boot(arrival.session, header, received.now);
    let trace = Trace::new(&mut writing.ids, &writing.odds);
    let (decoder, mut reader) = open(writing, exporter, address, &trace, arrival, received.now);
    match fixed.iter().find(|fixed| fixed.version == header.version) {
        Some(FixedVersion { template, plan, .. }) => {
            let body = message.fixed_records(template);
            let offset = message.body_offset();
            reader.flows(header, template, plan, offset, body, &NoTemplates);
        }
        None => decoder.read(
            arrival.session,
            message,
            &arrival,
            received.now,
            limits,
            &mut reader,
        ),
    }
    let (outcome, lists) = (reader.outcome, reader.lists);
    exporter.compiled += lists.compiled_octets();
    writing.counters.lists_cut.add(lists.cut());
    let (options, templates) = (outcome.options, outcome.templates);
    let carried = Carried::new(header, outcome.records(), options, templates);
    let key = SequenceKey::of(arrival.session, header);
    let sequence = exporter.sequences.of(key);
    let verdict = sequence.judge(header, carried, reboot == Reboot::Restarted);
    if outcome.templates > 0 {
        sequence.boot.template_came();
    }
    let said = Said::from(header);
    Read {
        lost: verdict.count(&writing.counters, said.protocol, carried.units()),
        trace,
        arrival,
        said,
        began: received.began,
        outcome,
        verdict,
        reboot,
    }
}

/// Takes an exporter's state apart: what decodes, and what is done with the records.
#[inline(always)]
pub(crate) fn open<'a>(
    writing: &'a mut Writing,
    exporter: &'a mut Exporter,
    source: IpAddr,
    trace: &Trace,
    arrival: Arrival,
    now: Instant,
) -> (&'a mut Decoder<Compiled, Arrival>, MessageReader<'a>) {
    let mut context = FlowContext::new(writing, trace, &arrival, source, now);
    context.max_records = exporter.records_left(writing.record_rate, now);
    let reader = MessageReader {
        writing,
        metadata: &mut exporter.metadata,
        place: Place {
            member: &mut exporter.member,
            front: &exporter.front,
            counted: &mut exporter.counted,
        },
        source,
        sampling: &exporter.sampling,
        lists: allowance::of_lists(context.max_octets),
        context,
        arrival,
        has_waited: false,
        now,
        outcome: Outcome::default(),
    };
    (&mut exporter.decoder, reader)
}
