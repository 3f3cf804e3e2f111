//! What every flow shares, whatever its protocol: how it becomes a span, the trace of its datagram, the outcome.
//!
//! A protocol brings a [`Flow`] for each of its records or samples; [`write_flows`] does the rest, so
//! that times, sampling, shapes and losses are decided in one place.
//!
//! Architecture invariant: nothing here knows a protocol's format. Everything is monomorphised: no dynamic call and no
//! allocation for a flow.

pub(crate) mod conversation;
pub(crate) mod frame;
pub(crate) mod fronts;
pub(crate) mod graph;
pub(crate) mod ids;
mod names;
pub(crate) mod roles;
mod select;
pub(crate) mod services;
pub(crate) mod shape;
mod span;
pub(crate) mod trace;
pub(crate) mod work;
mod write;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use netflow_wire::sflow::InterfaceCounters;
use otlp_wire::{Key, ResourceFront, SpanId, SpanWriter, TraceId, UnixNanos};

use crate::allowance;
use crate::attributes::vocabulary::{Attributes, Vocabulary};
use crate::batch::Membership;
use crate::config::{self, AttributeLevel, SpanTime};
use crate::debug_log;
use crate::enrich::geo::Locator;
use crate::enrich::networks::{Enriched, Networks};
use crate::exporter::Arrival;
use crate::filter::{Address, Asked, FlowView};
use crate::flow::fronts::{Format, Fronts};
use crate::flow::graph::{Graph, note_server};
use crate::flow::select::Selecting;
use crate::flow::trace::Trace;
use crate::flow::work::Outcome;
use crate::flow::write::{Asking, Ended, Pending, Room, Tools};
use crate::metrics::{Counting, ExporterFlows, FlowCounts, FlowFacts, FlowMetrics, Reverse, Wants};
use crate::plan::sampling::{Origin, Scaling};
use crate::plan::times::{FlowTimes, TimeSpan};
use crate::selection::TraceOdds;
use crate::writing::Writing;

/// One flow record, or one sampled packet.
pub(crate) trait Flow {
    /// What it is a record of.
    fn format(&self) -> Format;
    fn time_span(&self) -> TimeSpan;
    /// The same, and what of it was reported.
    fn times(&self) -> FlowTimes;
    /// One packet in how many was looked at, and where that was learnt.
    fn interval(&self) -> Option<(u64, Origin)>;
    /// The device that metered, where neither the record itself nor the resource says so.
    fn agent(&self) -> Option<IpAddr>;
    /// What the view `interface` asks of it; bytes and packets are multiplied by `interval`.
    fn counts(&self, interval: u64) -> FlowCounts;
    /// What went the other way, of a biflow; multiplied by `interval` too.
    fn reverse(&self, interval: u64) -> Option<Reverse>;
    /// Fills in what views and look-ups ask of it; bytes and packets are multiplied by `interval`.
    fn facts<'a>(&'a self, interval: u64, wants: Wants, facts: &mut FlowFacts<'a>);
    /// Its addresses alone.
    fn ends(&self) -> [Option<IpAddr>; 2];
    /// Fills in what a filter may ask of it; counts as they were exported.
    fn fill(&self, view: &mut FlowView<'_>);
    /// Whether it writes AS numbers of source and destination itself.
    fn has_systems(&self) -> [bool; 2];
    /// Writes its own attributes; `scratch` is room for an encoded value.
    fn write(&self, scaling: Scaling, scratch: &mut Vec<u8>, writer: &mut SpanWriter<'_>);
}

/// The flows of a Set or of a datagram, one at a time: the current one may be asked for again.
pub(crate) trait Flows {
    type Flow<'b>: Flow + Copy
    where
        Self: 'b;
    /// One of them.
    type Mark: Copy;
    /// Going back and reading flows again costs next to nothing.
    const IS_CHEAP_AGAIN: bool;
    fn current(&mut self) -> Option<Self::Flow<'_>>;
    fn advance(&mut self);
    /// The current flow, to go back to.
    fn mark(&self) -> Self::Mark;
    /// Makes it the current one again; only where that is cheap.
    fn go_back(&mut self, to: Self::Mark);
}

/// What all flows of a datagram share.
pub(crate) struct FlowContext {
    words: &'static Vocabulary,
    fronts: &'static Fronts,
    /// The datagram's trace.
    pub(crate) trace_id: TraceId,
    pub(crate) parent: SpanId,
    /// The sampler keeps the trace.
    pub(crate) kept: bool,
    /// When the datagram came.
    pub(crate) received_at: UnixNanos,
    span_time: SpanTime,
    /// Nanoseconds.
    span_max_age: u64,
    /// Flows for which spans are written at most, over the whole datagram …
    pub(crate) max_records: u32,
    /// … and octets of these spans.
    pub(crate) max_octets: usize,
    /// Attributes of level `standard` are written.
    pub(crate) standard: bool,
    /// Counts are multiplied by the sampling interval.
    scale: bool,
    /// Counts times the sampling interval are attributes of their own.
    estimates: bool,
    /// The exported times are attributes, even if the span has the same.
    shows_times: bool,
    /// `None`: no view is counted.
    counting: Option<Counting>,
    /// What views and look-ups ask of a flow; `None`: nothing.
    wants: Option<Wants>,
    /// The exporter, for filters.
    exporter: Address,
    /// What the selection asks of a flow; `None`: there is no selection.
    asked: Option<Asked>,
    /// Where AS numbers are written that databases may know.
    systems: Option<Systems>,
    odds: TraceOdds,
}

/// How AS numbers are written where a database is in use.
#[derive(Clone, Copy)]
struct Systems {
    /// `source.as.number` and `destination.as.number`.
    keys: [Key; 2],
    /// Records write these keys too, if they have the elements.
    are_of_records: bool,
}

/// Where an exporter's spans go: its place in the batch, and its resource.
pub(crate) struct Place<'a> {
    pub(crate) member: &'a mut Membership,
    pub(crate) front: &'a Arc<ResourceFront>,
    /// What flow metrics know of the exporter.
    pub(crate) counted: &'a mut ExporterFlows,
}

impl FlowContext {
    #[inline(always)]
    pub(crate) fn new(
        writing: &mut Writing,
        trace: &Trace,
        arrival: &Arrival,
        exporter: IpAddr,
        now: Instant,
    ) -> Self {
        let counting = writing
            .metrics
            .as_mut()
            .map(|metrics| metrics.datagram(exporter, arrival.received_at, now));
        let wants = wants(writing);
        let keys = writing
            .locator
            .as_ref()
            .and_then(|locator| locator.number_keys());
        let systems = keys.map(|keys| Systems {
            keys,
            are_of_records: writing.config.semconv != config::Semconv::Netflow,
        });
        let config: &config::Translate = &writing.config;
        let standard = config.attributes >= AttributeLevel::Standard;
        Self {
            words: writing.words,
            fronts: writing.fronts,
            trace_id: trace.id,
            parent: trace.process,
            kept: trace.kept,
            received_at: arrival.received_at,
            span_time: config.span_time,
            span_max_age: u64::try_from(config.span_max_age.as_nanos()).unwrap_or(u64::MAX),
            max_records: u32::MAX,
            max_octets: allowance::of_datagram(arrival.octets),
            standard,
            scale: config.scale_sampled,
            estimates: standard && !config.scale_sampled,
            shows_times: writing.shows_times,
            counting,
            wants,
            exporter: exporter.into(),
            asked: writing.asked,
            systems,
            odds: writing.odds,
        }
    }

    pub(crate) fn attributes<'w, 'room>(
        &self,
        writer: &'w mut SpanWriter<'room>,
    ) -> Attributes<'w, 'room> {
        Attributes {
            words: self.words,
            writer,
        }
    }

    /// Something asks for the sampling interval.
    #[inline]
    pub(crate) fn wants_interval(&self) -> bool {
        self.standard || self.scale || self.wants.is_some() || self.asked.is_some()
    }

    #[inline(always)]
    fn interval(&self, flow: &impl Flow) -> Option<(u64, Origin)> {
        match self.wants_interval() {
            true => flow.interval(),
            false => None,
        }
    }

    /// Fills in what views and look-ups ask of the flow; `None`: they ask for nothing.
    #[inline(always)]
    fn facts<'a, 'f>(
        &self,
        flow: &'a impl Flow,
        interval: u64,
        duration: u64,
        facts: &'f mut FlowFacts<'a>,
    ) -> Option<&'f mut FlowFacts<'a>> {
        flow.facts(interval, self.wants?, facts);
        facts.duration = duration;
        Some(facts)
    }

    /// Takes in what a device counted of an interface, if that view is counted.
    pub(crate) fn report(
        &self,
        counters: &InterfaceCounters,
        metrics: &mut Option<Box<FlowMetrics>>,
    ) {
        if let (Some(counting), Some(metrics)) = (&self.counting, metrics) {
            metrics.report(counters, counting);
        }
    }

    /// Counts a flow for the flow metrics, if any view is counted.
    #[inline(never)]
    fn count(
        &self,
        facts: Option<&FlowFacts<'_>>,
        known: &Enriched<'_>,
        span: Option<&(TraceId, SpanId)>,
        exporter: &mut ExporterFlows,
        metrics: &mut Option<Box<FlowMetrics>>,
    ) {
        if let (Some(counting), Some(facts), Some(metrics)) = (&self.counting, facts, metrics) {
            metrics.count(facts, known, span, counting, exporter);
        }
    }
}

/// What is asked of every flow; `None`: nothing.
fn wants(writing: &Writing) -> Option<Wants> {
    let by_metrics = writing.metrics.as_ref().map(|metrics| metrics.wants());
    let transport = writing.fronts.wants_endpoints()
        || writing.graph.is_some()
        || writing.shape.wants_endpoints();
    let addresses = transport || writing.networks.is_some() || writing.locator.is_some();
    match by_metrics {
        None if !addresses => None,
        wants => {
            let wants = wants.unwrap_or_default();
            Some(Wants {
                counts: wants.counts || writing.graph.is_some(),
                addresses: wants.addresses || addresses,
                transport: wants.transport || transport,
                autonomous_systems: wants.autonomous_systems || writing.locator.is_some(),
                ..wants
            })
        }
    }
}

/// What is known of a flow's ends besides what it says.
#[inline(always)]
fn known<'a>(
    networks: Option<&'a Networks>,
    locator: &'a mut Option<Box<Locator>>,
    facts: Option<&FlowFacts<'_>>,
) -> Enriched<'a> {
    let Some(facts) = facts else {
        return Enriched::default();
    };
    let (source, destination) = (facts.ends.source, facts.ends.destination);
    let known = match networks {
        Some(networks) => networks.ends(source, destination),
        None => Enriched::default(),
    };
    match locator {
        Some(locator) => Enriched {
            located: locator.ends(source, destination),
            ..known
        },
        None => known,
    }
}

/// Counts the current flow, which has no span.
fn count_unwritten<S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    place: &mut Place<'_>,
    writing: &mut Writing,
) {
    if context.counting.is_none() {
        return;
    }
    if let Some(flow) = flows.current() {
        let interval = context.interval(&flow);
        let interval = interval.map_or(1, |(interval, _)| interval);
        let duration = flow.time_span().duration();
        let room = &mut FlowFacts::default();
        let mut facts = context.facts(&flow, interval, duration, room);
        if let (true, Some(facts)) = (writing.graph.is_some(), &mut facts) {
            note_server(facts, &mut writing.listeners);
        }
        let (networks, locator) = (writing.networks.as_deref(), &mut writing.locator);
        let known = known(networks, locator, facts.as_deref());
        let metrics = &mut writing.metrics;
        context.count(facts.as_deref(), &known, None, place.counted, metrics);
    }
}

/// Writes a span for each flow that is kept, into as many batches as they need, and counts them all.
pub(crate) fn write_flows<S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    place: &mut Place<'_>,
    writing: &mut Writing,
    outcome: &mut Outcome,
    now: Instant,
) {
    if !context.kept && context.asked.is_none() && writing.shape.is_packet() {
        let sampled_out = count_only(flows, context, place, writing, outcome);
        writing.counters.records_sampled_out.add(sampled_out);
        return;
    }
    let is_plain = context.asked.is_none() && writing.asks_only_names();
    let mut suspect = 0;
    let mut pending = Pending::default();
    loop {
        let Writing {
            batches,
            debug_log,
            ids,
            scratch,
            metrics,
            networks,
            locator,
            config,
            shape,
            listeners,
            graph,
            words,
            ..
        } = &mut *writing;
        let networks = networks.as_deref();
        let (mut clients, servers) = match graph.as_deref_mut() {
            Some(Graph { clients, servers }) => (Some(clients), Some(servers)),
            None => (None, None),
        };
        let (member, front) = match (pending.client, &mut clients) {
            (Some(client), Some(clients)) => clients.place(place.front, client, networks),
            _ => (&mut *place.member, place.front),
        };
        batches.enter(member, front, now, context.received_at);
        let allowed = context.max_records.saturating_sub(outcome.kept) as usize;
        let left = batches.spans_left().min(allowed);
        let writer = batches.writer();
        let from = writer.position();
        let room = Room {
            left,
            allowed,
            end: from.saturating_add(context.max_octets.saturating_sub(outcome.octets)),
        };
        let tools = &mut Tools {
            ids,
            scratch,
            metrics,
            counted: place.counted,
        };
        let stretch = match networks {
            None if is_plain => write::plain(flows, context, room, tools, writer),
            Some(networks) if is_plain && S::IS_CHEAP_AGAIN => {
                write::named(flows, context, room, tools, networks, writer)
            }
            _ => {
                let asking = Asking {
                    by: Selecting {
                        selection: &config.selection,
                        networks,
                    },
                    shape,
                    listeners,
                    servers,
                    keys: &words.keys,
                    locator,
                    pending: &mut pending,
                };
                write::asked(flows, context, room, tools, asking, writer)
            }
        };
        suspect += stretch.suspect;
        let spans = u32::try_from(stretch.spans).unwrap_or(u32::MAX);
        outcome.flows += spans;
        outcome.kept += spans;
        outcome.octets += stretch.to - from;
        let octets = batches.commit(*member, stretch.to, spans, 0);
        if debug_log::is_on() {
            debug_log.flows(front, octets, stretch.spans, now);
        }
        match stretch.ended {
            Ended::NoMore => break,
            Ended::Elsewhere => continue,
            Ended::Limited => {
                let limited = count_only(flows, context, place, writing, outcome);
                writing.counters.records_rate_limited.add(limited);
                break;
            }
            Ended::Enough => {
                let cut = count_only(flows, context, place, writing, outcome);
                writing.counters.records_cut.add(cut);
                break;
            }
            Ended::Full => {}
        }
        if batches.is_empty() {
            // A whole batch is too small for it.
            pending.decided = None;
            writing.counters.records_too_large.add(1);
            outcome.flows += 1;
            count_unwritten(flows, context, place, writing);
            flows.advance();
        } else {
            batches.finish();
        }
    }
    writing.counters.times_suspect.add(suspect);
    outcome.flows += pending.left_out.count(&writing.counters);
}

/// Counts the flows that are left, without a span; gives the number of those that the filter doesn't exclude.
#[cold]
fn count_only<S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    place: &mut Place<'_>,
    writing: &mut Writing,
    outcome: &mut Outcome,
) -> u64 {
    let (mut counted, mut filtered) = (0_u32, 0_u32);
    while let Some(flow) = flows.current() {
        let by = Selecting {
            selection: &writing.config.selection,
            networks: writing.networks.as_deref(),
        };
        if context.is_filtered(&flow, by) {
            filtered += 1;
        } else {
            count_unwritten(flows, context, place, writing);
            counted += 1;
        }
        flows.advance();
    }
    writing.counters.records_filtered.add(u64::from(filtered));
    outcome.flows += counted + filtered;
    u64::from(counted)
}
