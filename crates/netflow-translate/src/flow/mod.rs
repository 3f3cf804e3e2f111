//! What every flow shares, whatever its protocol: how it becomes a span, the trace of its datagram, the outcome.
//!
//! A protocol brings a [`Flow`] for each of its records or samples; [`write_span`] and [`write_flows`] do the rest, so
//! that times, sampling, shapes and losses are decided in one place.
//!
//! Architecture invariant: nothing here knows a protocol's format. Everything is monomorphised: no dynamic call and no
//! allocation for a flow.

pub(crate) mod conversation;
pub(crate) mod frame;
pub(crate) mod fronts;
pub(crate) mod graph;
pub(crate) mod ids;
pub(crate) mod roles;
mod select;
pub(crate) mod services;
pub(crate) mod shape;
mod span;
pub(crate) mod trace;
pub(crate) mod work;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use netflow_wire::sflow::InterfaceCounters;
use otlp_wire::{ResourceFront, SpanId, SpanWriter, TraceId, UnixNanos};

use crate::allowance;
use crate::attributes::vocabulary::{Attributes, Vocabulary};
use crate::batch::Membership;
use crate::config::{self, AttributeLevel, SpanTime};
use crate::debug_log;
use crate::enrich::networks::{Enriched, Networks};
use crate::exporter::Arrival;
use crate::filter::{Address, Asked, FlowView};
use crate::flow::fronts::{Format, Fronts};
use crate::flow::graph::{Graph, note_server, request};
use crate::flow::select::{LeftOut, Selecting};
use crate::flow::span::{About, Written, write_span};
use crate::flow::trace::Trace;
use crate::flow::work::Outcome;
use crate::metrics::{Counting, ExporterFlows, FlowFacts, FlowMetrics, Wants};
use crate::plan::sampling::Origin;
use crate::plan::times::FlowTimes;
use crate::selection::{Decision, TraceOdds};
use crate::writing::Writing;

/// One flow record, or one sampled packet.
pub(crate) trait Flow {
    /// What it is a record of.
    fn format(&self) -> Format;
    fn times(&self) -> FlowTimes;
    /// One packet in how many was looked at, and where that was learnt.
    fn interval(&self) -> Option<(u64, Origin)>;
    /// The device that metered, where neither the record itself nor the resource says so.
    fn agent(&self) -> Option<IpAddr>;
    /// What views and look-ups ask of it; bytes and packets are multiplied by `interval`.
    fn facts(&self, interval: u64, wants: Wants) -> FlowFacts<'_>;
    /// Fills in what a filter may ask of it; counts as they were exported.
    fn fill(&self, view: &mut FlowView<'_>);
    /// Its template has bytes, and packets: at zero they are counts too.
    fn has_counts(&self) -> (bool, bool);
    /// Writes its own attributes. `factor` multiplies its counts; `scratch` is room for an encoded value.
    fn write(&self, factor: Option<u64>, scratch: &mut Vec<u8>, writer: &mut SpanWriter<'_>);
}

/// The flows of a Set or of a datagram, one at a time: the current one may be asked for again.
pub(crate) trait Flows {
    type Flow<'b>: Flow + Copy
    where
        Self: 'b;
    fn current(&mut self) -> Option<Self::Flow<'_>>;
    fn advance(&mut self);
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
    odds: TraceOdds,
}

/// Where an exporter's spans go: its place in the batch, and its resource.
pub(crate) struct Place<'a> {
    pub(crate) member: &'a mut Membership,
    pub(crate) front: &'a Arc<ResourceFront>,
    /// What flow metrics know of the exporter.
    pub(crate) counted: &'a mut ExporterFlows,
}

/// Why no more flows are written into a batch.
enum Ended {
    NoMore,
    /// The batch takes no more.
    Full,
    /// The next span stands under another resource.
    Elsewhere,
    /// The exporter has sent as many as it may.
    Limited,
    /// The datagram has caused as many octets as it may.
    Enough,
}

impl FlowContext {
    pub(crate) fn new<C>(
        writing: &mut Writing<C>,
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
        let config: &config::Translate = &writing.config;
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
            standard: config.attributes >= AttributeLevel::Standard,
            scale: config.scale_sampled,
            shows_times: writing.shows_times,
            counting,
            wants,
            exporter: exporter.into(),
            asked: writing.asked,
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

    /// Counts times the sampling interval are attributes.
    #[inline]
    fn estimates(&self) -> bool {
        self.standard && !self.scale
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

    /// What views and look-ups ask of the flow, if they ask for anything.
    #[inline(always)]
    fn facts<'a>(
        &self,
        flow: &'a impl Flow,
        interval: Option<(u64, Origin)>,
        times: &FlowTimes,
    ) -> Option<FlowFacts<'a>> {
        let wants = self.wants?;
        let mut facts = flow.facts(interval.map_or(1, |(interval, _)| interval), wants);
        if !times.suspect {
            facts.duration = times.end.0.saturating_sub(times.start.0);
        }
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
    #[inline(always)]
    fn count(
        &self,
        facts: Option<&FlowFacts<'_>>,
        known: &Enriched<'_>,
        span: Option<(TraceId, SpanId)>,
        exporter: &mut ExporterFlows,
        metrics: &mut Option<Box<FlowMetrics>>,
    ) {
        if let (Some(counting), Some(facts), Some(metrics)) = (&self.counting, facts, metrics) {
            metrics.count(facts, known, span, counting, exporter);
        }
    }
}

/// What is asked of every flow; `None`: nothing.
fn wants<C>(writing: &Writing<C>) -> Option<Wants> {
    let by_metrics = writing.metrics.as_ref().map(|metrics| metrics.wants());
    let config = &writing.config;
    let estimates = config.attributes >= AttributeLevel::Standard && !config.scale_sampled;
    let endpoints = writing.networks.is_some()
        || writing.fronts.wants_endpoints()
        || writing.graph.is_some()
        || writing.shape.wants_endpoints();
    match by_metrics {
        None if !endpoints && !estimates => None,
        wants => {
            let wants = wants.unwrap_or_default();
            Some(Wants {
                endpoints: wants.endpoints || endpoints,
                ..wants
            })
        }
    }
}

/// What is known of a flow's ends besides what it says.
#[inline(always)]
fn known<'a>(networks: Option<&'a Networks>, facts: Option<&FlowFacts<'_>>) -> Enriched<'a> {
    match (networks, facts) {
        (Some(networks), Some(facts)) => networks.ends(facts.ends.source, facts.ends.destination),
        _ => Enriched::default(),
    }
}

/// Counts the current flow, which has no span.
fn count_unwritten<C, S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    place: &mut Place<'_>,
    writing: &mut Writing<C>,
) {
    if context.counting.is_none() {
        return;
    }
    if let Some(flow) = flows.current() {
        let (interval, times) = (context.interval(&flow), flow.times());
        let mut facts = context.facts(&flow, interval, &times);
        if let (true, Some(facts)) = (writing.graph.is_some(), &mut facts) {
            note_server(facts, &mut writing.listeners);
        }
        let known = known(writing.networks.as_deref(), facts.as_ref());
        let metrics = &mut writing.metrics;
        context.count(facts.as_ref(), &known, None, place.counted, metrics);
    }
}

/// Writes a span for each flow that is kept, into as many batches as they need, and counts them all.
pub(crate) fn write_flows<C, S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    place: &mut Place<'_>,
    writing: &mut Writing<C>,
    outcome: &mut Outcome,
    now: Instant,
) {
    if !context.kept && context.asked.is_none() && writing.shape.is_packet() {
        let sampled_out = count_only(flows, context, place, writing, outcome);
        writing.counters.records_sampled_out.add(sampled_out);
        return;
    }
    let mut suspect = 0;
    let mut left_out = LeftOut::default();
    // Decided once, also where the batch was too full for the span.
    let mut decided = None;
    // Of the service graph: whose requests follow.
    let mut client = None;
    loop {
        let Writing {
            batches,
            debug_log,
            ids,
            scratch,
            metrics,
            networks,
            config,
            shape,
            listeners,
            graph,
            words,
            ..
        } = &mut *writing;
        let by = Selecting {
            selection: &config.selection,
            networks: networks.as_deref(),
        };
        let (mut clients, mut servers) = match graph.as_deref_mut() {
            Some(Graph { clients, servers }) => (Some(clients), Some(servers)),
            None => (None, None),
        };
        let (member, front) = match (client, &mut clients) {
            (Some(client), Some(clients)) => clients.place(place.front, client, by.networks),
            _ => (&mut *place.member, place.front),
        };
        batches.enter(member, front, now, context.received_at);
        let allowed = context.max_records.saturating_sub(outcome.kept) as usize;
        let left = batches.spans_left().min(allowed);
        let mut written = 0_usize;
        let mut writer = batches.writer();
        let from = writer.position();
        let end = from.saturating_add(context.max_octets.saturating_sub(outcome.octets));
        let ended = loop {
            let Some(flow) = flows.current() else {
                break Ended::NoMore;
            };
            let (interval, times) = (context.interval(&flow), flow.times());
            let mut facts = context.facts(&flow, interval, &times);
            let (trace_id, decision) = match decided.take() {
                Some(decided) => decided,
                None => {
                    let ends = facts.as_ref().map(|facts| &facts.ends);
                    let own = shape.trace(ends, times.end, context.received_at, ids);
                    let draw = shape.draw(own, context.kept, &context.odds);
                    let decision = context.decide(&flow, interval, &times, draw, by, ids);
                    (own.unwrap_or(context.trace_id), decision)
                }
            };
            let Decision::Kept(kept) = decision else {
                if left_out.add(decision) {
                    if let (true, Some(facts)) = (servers.is_some(), &mut facts) {
                        note_server(facts, listeners);
                    }
                    let known = known(by.networks, facts.as_ref());
                    context.count(facts.as_ref(), &known, None, place.counted, metrics);
                }
                flows.advance();
                continue;
            };
            if written == left {
                decided = Some((trace_id, decision));
                break if left == allowed {
                    Ended::Limited
                } else {
                    Ended::Full
                };
            }
            if writer.position() >= end {
                break Ended::Enough;
            }
            let known = known(by.networks, facts.as_ref());
            let request = match (&servers, &mut facts) {
                (Some(_), Some(facts)) => request(facts, &known, listeners),
                _ => None,
            };
            if request.map(|request| request.client) != client {
                client = request.map(|request| request.client);
                decided = Some((trace_id, decision));
                break Ended::Elsewhere;
            }
            let span_id = ids.span_id();
            let mut name = match &facts {
                Some(facts) if context.fronts.wants_endpoints() => {
                    let server_port = || listeners.server_port(facts);
                    context.fronts.name(&facts.ends, server_port)
                }
                _ => 0,
            };
            let asked = match (&mut servers, request) {
                (Some(servers), Some(request)) => {
                    name = context.fronts.of_request(name);
                    let peer = servers.peer(request.server, by.networks, &words.keys);
                    Some((peer, request.failed))
                }
                _ => None,
            };
            let write = |writer: &mut SpanWriter<'_>| {
                let about = About {
                    interval,
                    times: &times,
                    known: &known,
                    kept,
                    name,
                    facts: facts.as_ref(),
                    asked,
                };
                let ids = (trace_id, span_id);
                write_span(&flow, context, ids, &about, scratch, writer)
            };
            match writer.apart(write) {
                Written::No => {
                    decided = Some((trace_id, decision));
                    break Ended::Full;
                }
                Written::Plain => {}
                Written::Suspect => suspect += 1,
            }
            written += 1;
            let span = Some((trace_id, span_id));
            context.count(facts.as_ref(), &known, span, place.counted, metrics);
            flows.advance();
        };
        let to = writer.position();
        let spans = u32::try_from(written).unwrap_or(u32::MAX);
        outcome.flows += spans;
        outcome.kept += spans;
        outcome.octets += to - from;
        let octets = batches.commit(*member, to, spans, 0);
        if debug_log::is_on() {
            debug_log.flows(front, octets, written, now);
        }
        match ended {
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
            decided = None;
            writing.counters.records_too_large.add(1);
            outcome.flows += 1;
            count_unwritten(flows, context, place, writing);
            flows.advance();
        } else {
            batches.finish();
        }
    }
    writing.counters.times_suspect.add(suspect);
    outcome.flows += left_out.count(&writing.counters);
}

/// Counts the flows that are left, without a span; gives the number of those that the filter doesn't exclude.
#[cold]
fn count_only<C, S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    place: &mut Place<'_>,
    writing: &mut Writing<C>,
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
