//! One flow to one span, whatever its protocol.

use otlp_wire::{SpanHead, SpanId, SpanWriter, Status, TraceId, UnixNanos};

use super::{Flow, FlowContext, Systems, trace};
use crate::attributes::names::Name;
use crate::attributes::vocabulary::Attributes;
use crate::config::SpanTime;
use crate::enrich::networks::Enriched;
use crate::plan::sampling::{Origin, Scaling};
use crate::plan::times::{FlowTimes, TimeSpan};
use crate::selection::{Kept, TraceState};

/// What the status of a failed request says.
const UNANSWERED: &str = "TCP connection refused or not answered";

/// The outcome of writing a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Written {
    /// Nothing: the writer's room is too small.
    No,
    /// Its span.
    Plain,
    /// Its span, but its times are not believed.
    Suspect,
}

/// What is found out of a flow before its span is written.
pub(super) struct About<'a> {
    pub(super) interval: Option<(u64, Origin)>,
    pub(super) times: TimeSpan,
    pub(super) known: Enriched<'a>,
    /// AS numbers of source and destination as they were exported; 0: none, or nothing asks.
    pub(super) exported: [u32; 2],
    pub(super) kept: Kept,
    /// Which of the names of spans is its.
    pub(super) name: usize,
    /// Of a request of the service graph: attributes that name the server, and whether it failed.
    pub(super) asked: Option<(&'a [u8], bool)>,
}

/// Writes the span of one flow. What isn't inlined here is given a writer `apart`, for speed.
#[inline(always)]
pub(super) fn write_span<F: Flow>(
    flow: &F,
    context: &FlowContext,
    (trace_id, span_id): (TraceId, SpanId),
    about: &About<'_>,
    scratch: &mut Vec<u8>,
    writer: &mut SpanWriter<'_>,
) -> Written {
    let About {
        interval,
        times,
        known,
        exported,
        kept,
        name,
        asked,
    } = *about;
    let (start, end) = span_times(&times, context);
    let head = SpanHead {
        trace_id,
        span_id,
        parent: context.parent,
        start,
        end,
    };
    let state = match kept.threshold {
        Some(threshold) => Some(TraceState::of(threshold)),
        None => context.odds.state,
    };
    let front = context.fronts.front(flow.format(), name);
    trace::begin(front, &head, state, writer);
    let factor = match interval {
        Some((interval, _)) if context.scale && interval > 1 => Some(interval),
        _ => None,
    };
    let scaling = Scaling {
        factor,
        estimate: context
            .estimates
            .then(|| interval.map_or(1, |(interval, _)| interval)),
    };
    flow.write(scaling, scratch, writer);
    if let (Some((interval, origin)), true) = (interval, context.standard) {
        if let Some(key) = context.words.keys.only(Name::SamplingInterval) {
            writer.unsigned(key, interval);
        }
        writer.encoded(context.words.values.origin(origin));
    }
    if factor.is_some()
        && let Some(key) = context.words.keys.only(Name::SamplingScaled)
    {
        writer.boolean(key, true);
    }
    if let Some(source) = known.source {
        writer.prepared(source.source);
    }
    if let Some(destination) = known.destination {
        writer.prepared(destination.destination);
    }
    if let [Some(_), _] | [_, Some(_)] = known.located.map(|end| end.country) {
        writer.apart(|writer| write_countries(&known, writer));
    }
    if let Some(systems) = &context.systems {
        let own = flow.has_systems();
        writer.apart(|writer| write_systems(systems, own, exported, &known, context, writer));
    }
    if let Some(bytes) = kept.adjusted_bytes
        && let Some(key) = context.words.keys.only(Name::AdjustedBytes)
    {
        writer.unsigned(key, bytes);
    }
    if let Some(agent) = flow.agent() {
        writer.apart(|writer| {
            context
                .attributes(writer)
                .address(Name::ExporterAgent, agent);
        });
    }
    if context.shows_times {
        writer.apart(|writer| {
            write_only_exported_times(flow.times(), &mut context.attributes(writer));
        });
    } else if times.suspect || start != times.start || end != times.end {
        writer.apart(|writer| {
            write_exported_times(flow.times(), &mut context.attributes(writer));
        });
    }
    let mut status = Status::Ok;
    if let Some((peer, failed)) = asked {
        writer.apart(|writer| writer.encoded_octets(peer));
        if failed {
            status = Status::Error(UNANSWERED);
        }
    }
    match trace::end(status, state, writer) {
        false => Written::No,
        true if times.suspect => Written::Suspect,
        true => Written::Plain,
    }
}

fn write_countries(known: &Enriched<'_>, writer: &mut SpanWriter<'_>) {
    for (side, end) in known.located.iter().enumerate() {
        if let Some(encoded) = end.country.and_then(|country| country.encoded.get(side)) {
            writer.encoded_octets(encoded);
        }
    }
}

/// Numbers and names of the autonomous systems of both ends. The exporter's number counts before the database's, and an
/// organization is named if its number is the one that counts.
fn write_systems(
    systems: &Systems,
    own: [bool; 2],
    exported: [u32; 2],
    known: &Enriched<'_>,
    context: &FlowContext,
    writer: &mut SpanWriter<'_>,
) {
    let (mut by_exporter, mut by_database) = (false, false);
    let ends = exported.into_iter().zip(&known.located).zip(own);
    for ((side, key), ((exported, end), is_written)) in systems.keys.iter().enumerate().zip(ends) {
        let found = end.system.map_or(0, |system| system.number);
        let number = if exported == 0 { found } else { exported };
        if number == 0 {
            continue;
        }
        if !(systems.are_of_records && is_written) {
            writer.unsigned(key, u64::from(number));
            by_exporter |= exported != 0;
            by_database |= exported == 0;
        } else if exported != 0 {
            by_exporter = true;
        }
        if let Some(system) = end.system.filter(|_| found == number)
            && let Some(name) = system.encoded.get(side)
        {
            writer.encoded_octets(name);
        }
    }
    let origin = match (by_exporter, by_database) {
        (false, false) => return,
        (true, false) => "exporter",
        (false, true) => "database",
        (true, true) => "both",
    };
    for key in context.words.keys.of(Name::AsOrigin) {
        writer.text(key, origin);
    }
}

#[inline(always)]
fn span_times(times: &TimeSpan, context: &FlowContext) -> (UnixNanos, UnixNanos) {
    match context.span_time {
        SpanTime::Flow => (times.start, times.end),
        SpanTime::Received => (context.received_at, context.received_at),
        SpanTime::Clamped => {
            let received = context.received_at.0;
            let age = received.checked_sub(times.end.0);
            if age.is_some_and(|age| age <= context.span_max_age) {
                return (times.start, times.end);
            }
            let duration = times.end.0.saturating_sub(times.start.0);
            (
                UnixNanos(received.saturating_sub(duration)),
                context.received_at,
            )
        }
    }
}

/// The span's times aren't the flow's own: these are.
#[cold]
fn write_exported_times(times: FlowTimes, out: &mut Attributes<'_, '_>) {
    let own = |told: Option<UnixNanos>, usable: UnixNanos| match told {
        Some(told) => Some(told),
        None if times.suspect => None,
        None => Some(usable),
    };
    if let Some(start) = own(times.told_start, times.start) {
        out.unsigned(Name::FlowStart, start.0);
    }
    if let Some(end) = own(times.told_end, times.end) {
        out.unsigned(Name::FlowEnd, end.0);
    }
    if times.suspect {
        out.boolean(Name::TimeSuspect, true);
    }
}

/// For readers that must not take a usable time for an exported one.
#[cold]
fn write_only_exported_times(times: FlowTimes, out: &mut Attributes<'_, '_>) {
    if let Some(start) = times.told_start {
        out.unsigned(Name::FlowStart, start.0);
    }
    if let Some(end) = times.told_end {
        out.unsigned(Name::FlowEnd, end.0);
    }
    if times.suspect {
        out.boolean(Name::TimeSuspect, true);
    }
}
