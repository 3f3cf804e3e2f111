//! The machine of one worker: [`Translator::on_datagram`], [`Translator::poll_batch`], deadlines.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netflow_wire::sflow::{self, DatagramError};
use netflow_wire::{Decoder, Event, Limits, Message, MessageError, Template, Version};
use otlp_wire::{EncodedBatch, UnixNanos};
use tracing::info;

use crate::Datagram;
use crate::batch::{Batches, Membership};
use crate::config;
use crate::counters::Counter;
use crate::counters::rejected::{Problem, RejectedDatagrams};
use crate::counters::traffic::Protocol;
use crate::counters::translate::TranslateCounters;
use crate::debug_log::{self, DebugLog};
use crate::exporter::admission::{AllowList, Rate};
use crate::exporter::alerts::Lines;
use crate::exporter::saved::Changes;
use crate::exporter::sequence::{SequenceKey, Verdict, units};
use crate::exporter::{Arrival, Exporter, ExporterTable, NewExporter};
use crate::flow::ids::Ids;
use crate::flow::trace::{Trace, WorkSpans};
use crate::flow::work::{Understood, count_loss, write_work};
use crate::message::{MessageReader, Outcome, Writing};
use crate::plan::SpanPlan;
use crate::plan::elements::{ElementTypes, NoTemplates};
use crate::plan::shared::Plans;
use crate::sflow::{Own, Sender, Sflow};

/// How often templates, waiting Sets and exporters are looked through for what is too old.
const SWEEP: Duration = Duration::from_secs(10);
/// A malformed datagram is shown as a span at most once in this time and exporter; all are counted.
const ERROR_SPAN_INTERVAL: Duration = Duration::from_secs(1);
/// Octets of Sets that wait, over all exporters of a worker: sources can be forged, so that the bound of one
/// exporter bounds nothing. Past it, Sets without a template are dropped and counted.
const MAX_HELD_OCTETS: usize = 64 << 20;
/// Sets of one exporter that may wait when a capture is read.
const MAX_HELD_SETS_OF_CAPTURE: usize = 4096;
/// Their octets.
const MAX_HELD_OCTETS_OF_CAPTURE: usize = 4 * 1024 * 1024;
/// The longest text of an address.
const MAX_ADDRESS: &str = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255";

/// Turns datagrams into batches of spans. `C` tells the wall time, for the spans of the work itself.
#[derive(Debug)]
pub struct Translator<C> {
    pub(super) writing: Writing<C>,
    pub(super) limits: Limits,
    /// Those that hold while there is no room for waiting Sets.
    limits_without_holding: Limits,
    /// Octets of Sets that wait; what evicted exporters held is taken off at the next sweep.
    held_octets: usize,
    /// And how many these are, likewise.
    held_sets: usize,
    pub(super) allowed: AllowList,
    rate: Option<Rate>,
    lines: Lines,
    pub(super) rejected: RejectedDatagrams,
    pub(super) exporters: ExporterTable,
    pub(super) changes: Option<Changes>,
    sflow: Sflow,
    work_spans: WorkSpans,
    fixed: [FixedVersion; 3],
    next_sweep: Option<Instant>,
    /// When a malformed datagram of a source not known was last shown as a span.
    stranger_shown: Option<Instant>,
}

/// The counter of datagrams refused for this.
fn refusals(problem: Problem, counters: &TranslateCounters) -> &Counter {
    match problem {
        Problem::Message(MessageError::UnknownVersion { .. })
        | Problem::Sflow(DatagramError::UnknownVersion { .. }) => {
            &counters.datagrams_unknown_version
        }
        Problem::Message(MessageError::BadLength { .. }) => &counters.datagrams_bad_length,
        Problem::Sflow(DatagramError::UnknownAddressType { .. }) => &counters.datagrams_bad_agent,
        _ => &counters.datagrams_truncated,
    }
}

/// v1, v5 or v7.
#[derive(Debug)]
struct FixedVersion {
    version: Version,
    template: Template,
    plan: SpanPlan,
}

impl<C: Fn() -> UnixNanos> Translator<C> {
    /// A translator with its own randomness and counters.
    pub fn new(config: &config::Translate, clock: C, ids: Ids) -> Self {
        let counters = Arc::new(TranslateCounters::default());
        let fixed = [Version::V1, Version::V5, Version::V7].map(|version| {
            let template = version
                .built_in_template()
                .expect("a version of fixed records");
            let plan = SpanPlan::compile(&template, config.attributes, &ElementTypes::default());
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
            config.front(MAX_ADDRESS, Some(MAX_ADDRESS)).octets().len(),
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
            held_octets: 0,
            held_sets: 0,
            allowed: AllowList::new(&config.allowed_exporters),
            rate: config.max_rate_per_exporter.map(Rate::per_second),
            lines: Lines::default(),
            rejected: RejectedDatagrams::default(),
            exporters: ExporterTable::new(config.max_exporters),
            changes: None,
            sflow: Sflow::new(),
            work_spans: WorkSpans::new(),
            fixed,
            next_sweep: None,
            stranger_shown: None,
            writing: Writing {
                config: config.clone(),
                clock,
                counters,
                batches,
                ids,
                tells_times: false,
                debug_log: DebugLog::default(),
                plans: Plans::default(),
                locations: Vec::new(),
                value: Vec::new(),
            },
        }
    }

    /// Fits it to captures, where no time passes but the capture's: templates are never too old, more Sets wait
    /// for theirs, and every span has the times that its exporter told as `netflow.flow.start_unix_nano` and
    /// `end_unix_nano`, or lacks them where none was told.
    #[must_use]
    pub fn for_captures(mut self) -> Self {
        self.limits.template_lifetime = Duration::MAX;
        self.limits.max_held_sets = MAX_HELD_SETS_OF_CAPTURE;
        self.limits.max_held_octets = MAX_HELD_OCTETS_OF_CAPTURE;
        self.limits.max_held_age = Duration::MAX;
        self.writing.tells_times = true;
        self
    }

    /// What it counts; to be read from any thread.
    #[must_use]
    pub fn counters(&self) -> Arc<TranslateCounters> {
        Arc::clone(&self.writing.counters)
    }

    /// Takes a datagram. It never fails: what is wrong is counted.
    pub fn on_datagram(&mut self, datagram: &Datagram<'_>, now: Instant) {
        let began = (self.writing.clock)();
        self.next_sweep.get_or_insert(now + SWEEP);
        let arrival = Arrival {
            port: datagram.source.port(),
            received_at: datagram.received_at,
            octets: datagram.octets.len(),
        };
        let address = datagram.source.ip();
        if !self.allowed.allows(address) {
            self.writing.counters.datagrams_not_allowed.add(1);
            return;
        }
        let message = match Message::parse(datagram.octets) {
            Ok(message) => message,
            Err(MessageError::Sflow) => {
                return self.on_sflow(datagram, arrival, began, now);
            }
            Err(error) => return self.malformed(datagram, arrival, error.into(), now),
        };
        let header = &message.header;
        let exporter = self.exporters.entry(address, now, &self.writing.config);
        if !exporter.keeps_to(self.rate, now) {
            self.writing.counters.datagrams_rate_limited.add(1);
            return;
        }
        self.writing.counters.datagrams_decoded.add(1);
        let sequences_before = exporter.sequences.len();
        let key = SequenceKey {
            port: arrival.port,
            version: header.version,
            domain: header.observation_domain,
        };
        let verdict = exporter.sequences.of(key).judge(header);

        let limits = if self.held_octets < MAX_HELD_OCTETS {
            &self.limits
        } else {
            &self.limits_without_holding
        };
        let held_before = exporter.decoder.waiting();
        let evicted_before = exporter.decoder.templates().evicted();
        let refused_before = exporter.metadata.refused();
        let changes_before = exporter.metadata.changes();
        let trace = Trace::new(&mut self.writing.ids, self.writing.config.sampler);
        let (decoder, mut visit) = open(&mut self.writing, exporter, address, trace, arrival, now);
        match self
            .fixed
            .iter()
            .find(|fixed| fixed.version == header.version)
        {
            Some(FixedVersion { template, plan, .. }) => {
                let body = message.fixed_records(template);
                visit.flows(
                    header,
                    template,
                    plan,
                    message.body_offset(),
                    body,
                    &NoTemplates,
                );
            }
            None => decoder.read(arrival.port, &message, &arrival, now, limits, &mut visit),
        }
        let outcome = visit.outcome;
        let units = units(header, outcome.records());
        exporter.sequences.of(key).advance(header, units, verdict);
        let lost = count_loss(&self.writing.counters, header.version, verdict, units);
        let protocol = Protocol::from(header.version);
        let traffic = &self.writing.counters.traffic;
        traffic.read(protocol, arrival.octets, outcome.flows);
        let activity = &mut exporter.activity;
        activity.read(
            protocol,
            arrival.octets,
            outcome.flows,
            lost,
            arrival.received_at,
        );
        activity.told(header, arrival.received_at);
        if let Some(problem) = outcome.problem {
            activity.rejected += 1;
            self.rejected.keep(datagram, problem.into());
        }
        let understood = Understood {
            trace: &trace,
            arrival: &arrival,
            header,
            began,
            outcome: &outcome,
            lost,
        };
        write_work(
            &mut self.writing,
            &self.work_spans,
            exporter,
            &understood,
            now,
        );
        if debug_log::is_on() {
            self.writing.debug_log.understood(
                &exporter.address,
                &arrival,
                header,
                &outcome,
                lost,
                now,
            );
        }
        let alerts = &mut exporter.alerts;
        if outcome.waiting > 0 {
            alerts.waiting(&exporter.address, &mut self.lines);
        }
        alerts.clock(
            &exporter.address,
            header.export_time,
            arrival.received_at,
            now,
            &mut self.lines,
        );
        if let Some(units) = lost {
            alerts.lost(header.version, units);
        }
        if verdict == Verdict::Restarted {
            alerts.restarted(&exporter.address, &mut self.lines, now);
        }

        exporter.recompile(now);
        while let Some(set) = exporter.decoder.next_ready(now, &self.limits) {
            let began = (self.writing.clock)();
            let trace = Trace::new(&mut self.writing.ids, self.writing.config.sampler);
            let (decoder, mut visit) = open(
                &mut self.writing,
                exporter,
                address,
                trace,
                set.context,
                now,
            );
            decoder.read_held(&set, now, &self.limits, &mut visit);
            let outcome = visit.outcome;
            self.writing.counters.sets_decoded_late.add(1);
            let traffic = &self.writing.counters.traffic;
            traffic.read_late(Protocol::from(set.header.version), outcome.flows);
            exporter.activity.flows += u64::from(outcome.flows);
            let late = Understood {
                trace: &trace,
                arrival: &set.context,
                header: &set.header,
                began,
                outcome: &outcome,
                lost: None,
            };
            write_work(&mut self.writing, &self.work_spans, exporter, &late, now);
        }
        let held_after = exporter.decoder.waiting();
        if held_after != held_before {
            self.held_sets = (self.held_sets + held_after.0).saturating_sub(held_before.0);
            self.held_octets = (self.held_octets + held_after.1).saturating_sub(held_before.1);
            self.writing
                .counters
                .sets_waiting
                .set(self.held_sets as u64);
        }
        let counters = &self.writing.counters;
        let evicted = exporter.decoder.templates().evicted() - evicted_before;
        counters.templates_evicted.add(evicted);
        let refused = exporter.metadata.refused() - refused_before;
        counters.options_refused.add(refused);
        let has_grown = outcome.templates > 0
            || outcome.options > 0
            || exporter.sequences.len() > sequences_before;
        if let Some(changes) = &mut self.changes {
            let is_news = outcome.news || exporter.metadata.changes() != changes_before;
            let refreshed = outcome.templates > 0;
            if changes.note(address, exporter, is_news, refreshed, now) {
                counters.state_changes.add(1);
            }
        }
        if outcome.is_decodable() && !exporter.is_proven() {
            self.prove(address);
            if self.lines.take() {
                info!(exporter = %address, version = header.version.number(), "exporter appeared");
            }
        }
        if has_grown {
            self.exporters.settle(address);
        }
    }

    /// Takes a datagram of sFlow.
    fn on_sflow(
        &mut self,
        datagram: &Datagram<'_>,
        arrival: Arrival,
        began: UnixNanos,
        now: Instant,
    ) {
        let address = datagram.source.ip();
        let message = match sflow::Datagram::parse(datagram.octets) {
            Ok(message) => message,
            Err(error) => return self.malformed(datagram, arrival, error.into(), now),
        };
        let exporter = self.exporters.entry(address, now, &self.writing.config);
        if !exporter.keeps_to(self.rate, now) {
            self.writing.counters.datagrams_rate_limited.add(1);
            return;
        }
        let sender = Sender {
            address,
            text: &exporter.address,
            sampling: exporter.sampling,
            arrival,
            began,
            now,
        };
        let own = Own {
            member: &mut exporter.member,
            front: &exporter.front,
        };
        let read = self
            .sflow
            .read(&message, &sender, own, &self.work_spans, &mut self.writing);
        let traffic = &self.writing.counters.traffic;
        traffic.read(Protocol::Sflow, arrival.octets, read.flows);
        exporter.activity.read(
            Protocol::Sflow,
            arrival.octets,
            read.flows,
            read.lost,
            arrival.received_at,
        );
        if let Some(datagrams) = read.lost {
            exporter.alerts.lost_datagrams(datagrams);
        }
        if read.is_decodable && !exporter.is_proven() {
            self.prove(address);
            if self.lines.take() {
                info!(exporter = %address, version = "sflow5", "exporter appeared");
            }
        }
    }

    pub(super) fn prove(&mut self, address: IpAddr) {
        self.exporters.prove(address);
        let counters = &self.writing.counters;
        counters.exporters_evicted.set(self.exporters.evicted());
        counters.exporters.set(self.exporters.len() as u64);
    }

    /// Counts a datagram that can't be used, and shows it as a span, but not too often.
    #[cold]
    fn malformed(
        &mut self,
        datagram: &Datagram<'_>,
        arrival: Arrival,
        error: Problem,
        now: Instant,
    ) {
        let address = datagram.source.ip();
        let counters = &self.writing.counters;
        refusals(error, counters).add(1);
        counters.traffic.refused(arrival.octets);
        self.rejected.keep(datagram, error);
        if debug_log::is_on() {
            let log = &mut self.writing.debug_log;
            log.rejected(address, &arrival, &error, now);
        }
        // Garbage must not make state: all sources not known share one limit.
        let mut known = self.exporters.find(address);
        let shown = match &mut known {
            Some(exporter) => {
                exporter.activity.rejected += 1;
                &mut exporter.error_shown
            }
            None => &mut self.stranger_shown,
        };
        if shown.is_some_and(|shown| now.saturating_duration_since(shown) < ERROR_SPAN_INTERVAL) {
            return;
        }
        *shown = Some(now);
        let writing = &mut self.writing;
        let trace = Trace::new(&mut writing.ids, writing.config.sampler);
        if !trace.kept {
            return;
        }
        let text = address.to_string();
        let (mut passing, strange);
        let (member, front) = match known {
            Some(exporter) => (&mut exporter.member, &exporter.front),
            None => {
                passing = Membership::default();
                strange = Arc::new(writing.config.front(&text, None));
                (&mut passing, &strange)
            }
        };
        let done = (writing.clock)();
        let problem = error.to_string();
        writing
            .batches
            .append(member, front, now, arrival.received_at, 1, |writer| {
                self.work_spans
                    .write_malformed(&trace, &text, &arrival, done, &problem, writer)
            });
    }

    /// The next batch that is ready at `now`; to be asked until there is none.
    pub fn poll_batch(&mut self, now: Instant) -> Option<EncodedBatch> {
        self.writing.batches.poll(now)
    }

    /// When [`on_deadline`](Self::on_deadline) and [`poll_batch`](Self::poll_batch) want to be called even if no
    /// datagram comes.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match (self.writing.batches.deadline(), self.next_sweep) {
            (Some(batch), Some(sweep)) => Some(batch.min(sweep)),
            (batch, sweep) => batch.or(sweep),
        }
    }

    /// Forgets what is too old. Batches that are old enough come from [`poll_batch`](Self::poll_batch).
    pub fn on_deadline(&mut self, now: Instant) {
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
            exporter.alerts.say(&exporter.address, now, &mut self.lines);
        }
        self.lines.refill();
        self.exporters.expire(now, self.limits.template_lifetime);
        self.writing.plans.forget_unused();
        self.sflow.expire(now, self.limits.template_lifetime);
        counters.exporters.set(self.exporters.len() as u64);
        counters.exporters_evicted.set(self.exporters.evicted());
        self.settle_waiting();
    }

    /// Counts the Sets that wait anew, for those of evicted exporters are gone.
    fn settle_waiting(&mut self) {
        (self.held_sets, self.held_octets) = self
            .exporters
            .iter()
            .map(|exporter| exporter.decoder.waiting())
            .fold((0, 0), |(sets, octets), (more, of)| {
                (sets + more, octets + of)
            });
        let counters = &self.writing.counters;
        counters.sets_expired.add(self.exporters.take_sets_gone());
        counters.sets_waiting.set(self.held_sets as u64);
    }

    /// Lowers or raises the octets of a request, at most to the configured size: the backend's limit is learnt
    /// by what it refuses.
    pub fn limit_requests(&mut self, octets: usize) {
        let octets = octets.min(self.writing.config.batch_max_octets);
        self.writing.batches.limit(octets);
    }

    /// Sets that wait for their template now.
    #[must_use]
    pub fn sets_waiting(&self) -> usize {
        self.exporters
            .iter()
            .map(|exporter| exporter.decoder.waiting().0)
            .sum()
    }

    /// Ends the batch that is being filled, so that [`poll_batch`](Self::poll_batch) gives it, and
    /// brings the counters up to date.
    pub fn flush(&mut self) {
        self.writing.batches.finish();
        self.settle_waiting();
    }
}

/// Takes an exporter's state apart: what decodes, and what is done with the records.
fn open<'a, C>(
    writing: &'a mut Writing<C>,
    exporter: &'a mut Exporter,
    source: IpAddr,
    trace: Trace,
    arrival: Arrival,
    now: Instant,
) -> (
    &'a mut Decoder<Arc<SpanPlan>, Arrival>,
    MessageReader<'a, C>,
) {
    writing.batches.enter(
        &mut exporter.member,
        &exporter.front,
        now,
        arrival.received_at,
    );
    let visit = MessageReader {
        writing,
        metadata: &mut exporter.metadata,
        member: &mut exporter.member,
        front: &exporter.front,
        source,
        sampling: exporter.sampling,
        trace,
        arrival,
        now,
        outcome: Outcome::default(),
    };
    (&mut exporter.decoder, visit)
}
