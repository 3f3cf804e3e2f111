//! The trace of a datagram: its identifiers, and the three spans of the work around the flows.

use otlp_wire::{
    Key, SAMPLED_AND_RANDOM, SpanFront, SpanHead, SpanId, SpanKind, SpanWriter, Status, TraceId,
    UnixNanos,
};

use crate::counters::traffic::Protocol;
use crate::exporter::Arrival;
use crate::flow::ids::Ids;
use crate::flow::work::Read;
use crate::selection::{TraceOdds, TraceState};

/// Identifiers of one datagram's trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    export: SpanId,
    parse: SpanId,
    /// Parent of the flows.
    pub(crate) process: SpanId,
    /// The sampler keeps it.
    pub(crate) kept: bool,
}

impl Trace {
    pub(crate) fn new(ids: &mut Ids, odds: &TraceOdds) -> Self {
        let id = ids.trace_id();
        Self {
            id,
            export: ids.span_id(),
            parse: ids.span_id(),
            process: ids.span_id(),
            kept: odds.keeps(id),
        }
    }
}

/// Fronts and keys of the work spans, encoded once.
#[derive(Debug)]
pub(crate) struct WorkSpans {
    export: SpanFront,
    parse: SpanFront,
    process: SpanFront,
}

/// Spans of a datagram besides its flows.
pub(crate) const WORK_SPANS: u32 = 3;

static ADDRESS: Key = Key::literal("netflow.exporter.address");
static PORT: Key = Key::literal("netflow.exporter.port");
static VERSION: Key = Key::literal("netflow.version");
static SFLOW_VERSION: Key = Key::literal("sflow.version");
static SIZE: Key = Key::literal("netflow.packet.size_bytes");
static FLOWS: Key = Key::literal("netflow.flow.count");
static KEPT: Key = Key::literal("netflow.flow.kept");
static SEQUENCE: Key = Key::literal("netflow.sequence");
static DOMAIN: Key = Key::literal("netflow.observation_domain");
static UPTIME: Key = Key::literal("netflow.exporter.uptime_ms");
static LOST: Key = Key::literal("netflow.lost");
static TEMPLATES: Key = Key::literal("netflow.templates");
static WAITING: Key = Key::literal("netflow.sets.waiting");

impl WorkSpans {
    pub(crate) fn new() -> Self {
        let front = |name, has_parent| {
            SpanFront::new(name, SpanKind::Internal, has_parent).expect("a short name")
        };
        Self {
            export: front("netflow.export", false),
            parse: front("netflow.parse_packet", true),
            process: front("netflow.process_flows", true),
        }
    }

    /// Writes the three spans; `false` if there is no room for all of them, and then some may stand.
    pub(crate) fn write(
        &self,
        read: &Read,
        exporter: &str,
        done: UnixNanos,
        problem: Option<&str>,
        state: Option<TraceState>,
        writer: &mut SpanWriter<'_>,
    ) -> bool {
        let Read {
            trace,
            arrival,
            said,
            outcome,
            ..
        } = read;
        let flows_began = outcome.flows_began.unwrap_or(done);
        // The kernel's clock and ours are one, but may be set back between two readings.
        let received = arrival.received_at.min(read.began);
        let head = |span_id, start, end: UnixNanos| SpanHead {
            trace_id: trace.id,
            span_id,
            parent: trace.export,
            start,
            end: end.max(start),
        };
        let state = state.filter(|_| trace.kept);
        begin(
            &self.export,
            &head(trace.export, received, done),
            state,
            writer,
        );
        writer.text(&ADDRESS, exporter);
        writer.unsigned(&PORT, u64::from(arrival.session.port));
        describe(read, writer);
        writer.unsigned(&FLOWS, u64::from(outcome.flows));
        if outcome.kept < outcome.flows {
            writer.unsigned(&KEPT, u64::from(outcome.kept));
        }
        if let Some(sequence) = said.sequence {
            writer.unsigned(&SEQUENCE, u64::from(sequence));
        }
        writer.unsigned(&DOMAIN, u64::from(said.domain));
        if let Some(uptime) = said.uptime_ms {
            writer.unsigned(&UPTIME, u64::from(uptime));
        }
        if let Some(lost) = read.lost {
            writer.unsigned(&LOST, lost);
        }
        if !end(problem.map_or(Status::Ok, Status::Error), state, writer) {
            return false;
        }
        begin(
            &self.parse,
            &head(trace.parse, read.began, flows_began),
            state,
            writer,
        );
        describe(read, writer);
        if outcome.templates > 0 {
            writer.unsigned(&TEMPLATES, u64::from(outcome.templates));
        }
        if !end(Status::Ok, state, writer) {
            return false;
        }
        begin(
            &self.process,
            &head(trace.process, flows_began, done),
            state,
            writer,
        );
        writer.unsigned(&FLOWS, u64::from(outcome.flows));
        if outcome.waiting > 0 {
            writer.unsigned(&WAITING, u64::from(outcome.waiting));
        }
        end(Status::Ok, state, writer)
    }

    /// Writes a lone `netflow.export` for a datagram whose header could not be read.
    pub(crate) fn write_malformed(
        &self,
        trace: &Trace,
        exporter: &str,
        arrival: &Arrival,
        done: UnixNanos,
        problem: &str,
        writer: &mut SpanWriter<'_>,
    ) -> bool {
        let start = arrival.received_at.min(done);
        let head = SpanHead {
            trace_id: trace.id,
            span_id: trace.export,
            parent: [0; 8],
            start,
            end: done,
        };
        writer.begin(&self.export, &head);
        writer.text(&ADDRESS, exporter);
        writer.unsigned(&PORT, u64::from(arrival.session.port));
        writer.unsigned(&SIZE, arrival.octets as u64);
        writer.unsigned(&FLOWS, 0);
        writer.end(Status::Error(problem))
    }
}

/// Begins a span with the threshold that its trace was kept by, if there is one. A call would take the writer's position
/// out of its register.
#[inline(always)]
pub(crate) fn begin(
    front: &SpanFront,
    head: &SpanHead,
    state: Option<TraceState>,
    writer: &mut SpanWriter<'_>,
) {
    match state {
        Some(state) => writer.apart(|writer| writer.begin_with_state(front, head, state.as_str())),
        None => writer.begin(front, head),
    }
}

/// Ends a span that was begun so.
#[inline(always)]
pub(crate) fn end(
    status: Status<'_>,
    state: Option<TraceState>,
    writer: &mut SpanWriter<'_>,
) -> bool {
    match state {
        Some(_) => writer.apart(|writer| writer.end_with_flags(status, SAMPLED_AND_RANDOM)),
        None => writer.end(status),
    }
}

fn describe(read: &Read, writer: &mut SpanWriter<'_>) {
    let version = match read.said.protocol {
        Protocol::Sflow => &SFLOW_VERSION,
        _ => &VERSION,
    };
    writer.unsigned(version, u64::from(read.said.version));
    writer.unsigned(&SIZE, read.arrival.octets as u64);
}
