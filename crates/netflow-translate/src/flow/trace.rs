//! The trace of a datagram: its identifiers, and the three spans of the work around the flows.

use otlp_wire::{
    Key, SpanFront, SpanHead, SpanId, SpanKind, SpanWriter, Status, TraceId, UnixNanos,
};

use crate::config::TraceSampler;
use crate::counters::traffic::Protocol;
use crate::exporter::Arrival;
use crate::flow::ids::Ids;
use crate::flow::work::Read;

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
    pub(crate) fn new(ids: &mut Ids, sampler: TraceSampler) -> Self {
        let id = ids.trace_id();
        Self {
            id,
            export: ids.span_id(),
            parse: ids.span_id(),
            process: ids.span_id(),
            kept: keeps(sampler, id),
        }
    }
}

/// Whether a trace is kept: by its lower 63 bits, as OpenTelemetry's SDKs decide by ratio.
fn keeps(sampler: TraceSampler, id: TraceId) -> bool {
    match sampler {
        TraceSampler::AlwaysOn => true,
        TraceSampler::AlwaysOff => false,
        TraceSampler::Ratio(ratio) => {
            let low = u128::from_be_bytes(id) as u64 >> 1;
            (low as f64) < ratio * (1_u64 << 63) as f64
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
        writer.begin(&self.export, &head(trace.export, received, done));
        writer.text(&ADDRESS, exporter);
        writer.unsigned(&PORT, u64::from(arrival.port));
        describe(read, writer);
        writer.unsigned(&FLOWS, u64::from(outcome.flows));
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
        if !writer.end(problem.map_or(Status::Ok, Status::Error)) {
            return false;
        }
        writer.begin(&self.parse, &head(trace.parse, read.began, flows_began));
        describe(read, writer);
        if outcome.templates > 0 {
            writer.unsigned(&TEMPLATES, u64::from(outcome.templates));
        }
        if !writer.end(Status::Ok) {
            return false;
        }
        writer.begin(&self.process, &head(trace.process, flows_began, done));
        writer.unsigned(&FLOWS, u64::from(outcome.flows));
        if outcome.waiting > 0 {
            writer.unsigned(&WAITING, u64::from(outcome.waiting));
        }
        writer.end(Status::Ok)
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
        writer.unsigned(&PORT, u64::from(arrival.port));
        writer.unsigned(&SIZE, arrival.octets as u64);
        writer.unsigned(&FLOWS, 0);
        writer.end(Status::Error(problem))
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
