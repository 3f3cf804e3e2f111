//! Flows into the room that a batch has left.
//!
//! There are two loops over flows, for one that had to ask everything would keep nothing in a register. In most
//! configurations nothing is asked of a flow before its span is written, and [`plain`] is enough; where a filter, a
//! shape, a name or a look-up asks, [`asked`] finds it out first. Both write with [`write_span`].

use otlp_wire::{SpanId, SpanWriter, TraceId};

use super::graph::{Servers, note_server, request};
use super::names::Names;
use super::select::{LeftOut, Selecting};
use super::span::{About, Written, write_span};
use super::{Flow, FlowContext, Flows, known};
use crate::attributes::names::Keys;
use crate::enrich::geo::Locator;
use crate::enrich::networks::{Enriched, NameId, Networks};
use crate::flow::ids::Ids;
use crate::flow::roles::Listeners;
use crate::flow::shape::Shape;
use crate::metrics::{ExporterFlows, FlowCounts, FlowFacts, FlowMetrics};
use crate::selection::{Decision, Kept};

/// What may be written into one batch.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Spans that the batch takes, and that the exporter may cause.
    pub(super) left: usize,
    /// Spans that the exporter may cause.
    pub(super) allowed: usize,
    /// Once the writer stands here, the datagram has caused as many octets as it may.
    pub(super) end: usize,
}

/// Why no more flows are written into a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
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

/// What was written into one batch.
pub(super) struct Stretch {
    pub(super) spans: usize,
    /// Of these, spans whose times are not believed.
    pub(super) suspect: u64,
    /// Where the last span ends.
    pub(super) to: usize,
    pub(super) ended: Ended,
}

/// What every span needs.
pub(super) struct Tools<'a> {
    pub(super) ids: &'a mut Ids,
    /// Room for an encoded value.
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) metrics: &'a mut Option<Box<FlowMetrics>>,
    /// What flow metrics know of the exporter.
    pub(super) counted: &'a mut ExporterFlows,
}

/// What is asked of a flow before its span is written.
pub(super) struct Asking<'a> {
    pub(super) by: Selecting<'a>,
    pub(super) shape: &'a mut Shape,
    pub(super) listeners: &'a mut Listeners,
    /// `None`: no span is a request.
    pub(super) servers: Option<&'a mut Servers>,
    pub(super) keys: &'a Keys,
    pub(super) locator: &'a mut Option<Box<Locator>>,
    pub(super) pending: &'a mut Pending,
}

/// What goes from one batch to the next.
#[derive(Default)]
pub(super) struct Pending {
    /// Of the current flow: decided once, also where the batch was too full for its span.
    pub(super) decided: Option<(TraceId, Decision)>,
    /// Of the service graph: whose requests follow.
    pub(super) client: Option<NameId>,
    pub(super) left_out: LeftOut,
}

impl Room {
    /// Why no more spans are written, if there are enough.
    #[inline(always)]
    fn ended(self, spans: usize, at: usize) -> Option<Ended> {
        if spans == self.left {
            return Some(if self.left == self.allowed {
                Ended::Limited
            } else {
                Ended::Full
            });
        }
        (at >= self.end).then_some(Ended::Enough)
    }
}

/// Counts into the view `interface` a flow whose span was written. It isn't inlined, so that the loop keeps its registers.
#[inline(never)]
fn count_interfaces<F: Flow>(
    flow: F,
    (interval, duration): (u64, u64),
    span: (TraceId, SpanId),
    context: &FlowContext,
    metrics: &mut FlowMetrics,
    counted: &mut ExporterFlows,
) {
    let Some(counting) = &context.counting else {
        return;
    };
    let counts = FlowCounts {
        duration,
        ..flow.counts(interval)
    };
    metrics.count_interfaces(counts, Some(&span), counting, counted);
    if let Some(reverse) = flow.reverse(interval) {
        metrics.count_reverse(counts.reversed(reverse), Some(&span), counting, counted);
    }
}

/// The same into all views.
#[inline(never)]
fn count_views<F: Flow>(
    flow: F,
    (interval, duration): (u64, u64),
    span: (TraceId, SpanId),
    known: Option<&Enriched<'_>>,
    context: &FlowContext,
    metrics: &mut FlowMetrics,
    counted: &mut ExporterFlows,
) {
    if let (Some(counting), Some(wants)) = (&context.counting, context.wants) {
        let mut facts = FlowFacts::default();
        flow.facts(interval, wants, &mut facts);
        facts.duration = duration;
        let known = known.unwrap_or(&Enriched::NOTHING);
        metrics.count(&facts, known, Some(&span), counting, counted);
    }
}

/// Writes a span for each flow, all of them in the trace of their datagram.
#[inline(never)]
pub(super) fn plain<S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    room: Room,
    tools: &mut Tools<'_>,
    writer: SpanWriter<'_>,
) -> Stretch {
    write(flows, context, room, tools, |_| None, writer)
}

/// The same with the names of networks.
#[inline(never)]
pub(super) fn named<S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    room: Room,
    tools: &mut Tools<'_>,
    networks: &Networks,
    writer: SpanWriter<'_>,
) -> Stretch {
    let mut names = Names::new(networks);
    write(
        flows,
        context,
        room,
        tools,
        |flows| Some(names.next(flows)),
        writer,
    )
}

/// `known` is asked before each flow, and once more at the end.
#[inline(always)]
fn write<'a, S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    room: Room,
    tools: &mut Tools<'_>,
    mut known: impl FnMut(&mut S) -> Option<Enriched<'a>>,
    mut writer: SpanWriter<'_>,
) -> Stretch {
    let (mut spans, mut suspect) = (0, 0);
    let metrics = tools.metrics.as_ref();
    let is_interface = metrics.is_some_and(|metrics| metrics.is_only_interface());
    let ended = loop {
        let known = known(flows);
        let Some(flow) = flows.current() else {
            break Ended::NoMore;
        };
        if let Some(ended) = room.ended(spans, writer.position()) {
            break ended;
        }
        let (interval, times) = (context.interval(&flow), flow.time_span());
        let ids = (context.trace_id, tools.ids.span_id());
        let about = About {
            interval,
            times,
            known: known.unwrap_or_default(),
            exported: [0; 2],
            kept: Kept::default(),
            name: 0,
            asked: None,
        };
        let scratch = &mut *tools.scratch;
        match writer.apart(|writer| write_span(&flow, context, ids, &about, scratch, writer)) {
            Written::No => break Ended::Full,
            Written::Plain => {}
            Written::Suspect => suspect += 1,
        }
        spans += 1;
        if let Some(metrics) = tools.metrics {
            let interval = interval.map_or(1, |(interval, _)| interval);
            let counted = &mut *tools.counted;
            let (by, known) = ((interval, times.duration()), known.as_ref());
            if is_interface {
                count_interfaces(flow, by, ids, context, metrics, counted);
            } else {
                count_views(flow, by, ids, known, context, metrics, counted);
            }
        }
        flows.advance();
    };
    Stretch {
        spans,
        suspect,
        to: writer.position(),
        ended,
    }
}

/// Writes a span for each flow that is kept, in the trace that it belongs to.
#[inline(never)]
pub(super) fn asked<S: Flows>(
    flows: &mut S,
    context: &FlowContext,
    room: Room,
    tools: &mut Tools<'_>,
    asking: Asking<'_>,
    mut writer: SpanWriter<'_>,
) -> Stretch {
    let Tools {
        ids,
        scratch,
        metrics,
        counted,
    } = tools;
    let Asking {
        by,
        shape,
        listeners,
        mut servers,
        keys,
        locator,
        pending,
    } = asking;
    let (mut spans, mut suspect) = (0, 0);
    let ended = loop {
        let Some(flow) = flows.current() else {
            break Ended::NoMore;
        };
        let (interval, times) = (context.interval(&flow), flow.time_span());
        let factor = interval.map_or(1, |(interval, _)| interval);
        let room_for_facts = &mut FlowFacts::default();
        let mut facts = context.facts(&flow, factor, times.duration(), room_for_facts);
        let (trace_id, decision) = match pending.decided.take() {
            Some(decided) => decided,
            None => {
                let ends = facts.as_deref().map(|facts| &facts.ends);
                let own = shape.trace(ends, times.end, context.received_at, ids);
                let draw = shape.draw(own, context.kept, &context.odds);
                let decision = context.decide(&flow, interval, draw, by, ids);
                (own.unwrap_or(context.trace_id), decision)
            }
        };
        let Decision::Kept(kept) = decision else {
            if pending.left_out.add(decision) {
                if let (true, Some(facts)) = (servers.is_some(), &mut facts) {
                    note_server(facts, listeners);
                }
                let known = known(by.networks, locator, facts.as_deref());
                context.count(facts.as_deref(), &known, None, counted, metrics);
            }
            flows.advance();
            continue;
        };
        if let Some(ended) = room.ended(spans, writer.position()) {
            pending.decided = Some((trace_id, decision));
            break ended;
        }
        let known = known(by.networks, locator, facts.as_deref());
        let request = match (&servers, &mut facts) {
            (Some(_), Some(facts)) => request(facts, &known, listeners),
            _ => None,
        };
        let client = request.map(|request| request.client);
        if client != pending.client {
            pending.client = client;
            pending.decided = Some((trace_id, decision));
            break Ended::Elsewhere;
        }
        let span_ids = (trace_id, ids.span_id());
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
                let peer = servers.peer(request.server, by.networks, keys);
                Some((peer, request.failed))
            }
            _ => None,
        };
        let exported = facts
            .as_deref()
            .map_or([0; 2], |facts| [facts.source_as, facts.destination_as]);
        let about = About {
            interval,
            times,
            known,
            exported,
            kept,
            name,
            asked,
        };
        match writer.apart(|writer| write_span(&flow, context, span_ids, &about, scratch, writer)) {
            Written::No => {
                pending.decided = Some((trace_id, decision));
                break Ended::Full;
            }
            Written::Plain => {}
            Written::Suspect => suspect += 1,
        }
        spans += 1;
        context.count(facts.as_deref(), &known, Some(&span_ids), counted, metrics);
        flows.advance();
    };
    Stretch {
        spans,
        suspect,
        to: writer.position(),
        ended,
    }
}
