//! The trace of a datagram: its identifiers, and the three spans of the work around the flows.

use netflow_wire::{Header, sflow};
use otlp_wire::{
    Key, SpanFront, SpanHead, SpanId, SpanKind, SpanWriter, Status, TraceId, UnixNanos,
};

use crate::config::TraceSampler;
use crate::exporter::Arrival;
use crate::flow::ids::Ids;

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

/// What a datagram says of itself, of whichever protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    version: (&'static Key, u32),
    sequence: Option<u32>,
    domain: u32,
    uptime_ms: Option<u32>,
}

impl From<&Header> for Said {
    fn from(header: &Header) -> Self {
        Self {
            version: (&VERSION, u32::from(header.version.number())),
            sequence: header.sequence,
            domain: header.observation_domain,
            uptime_ms: header.sys_uptime_ms,
        }
    }
}

impl From<&sflow::Header> for Said {
    fn from(header: &sflow::Header) -> Self {
        Self {
            version: (&SFLOW_VERSION, sflow::VERSION),
            sequence: Some(header.sequence),
            domain: header.sub_agent,
            uptime_ms: Some(header.uptime_ms),
        }
    }
}

/// What the work spans say.
pub(crate) struct Work<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) exporter: &'a str,
    pub(crate) arrival: &'a Arrival,
    pub(crate) said: Said,
    /// Processing began, flows began, all was done.
    pub(crate) times: [UnixNanos; 3],
    pub(crate) flows: u32,
    pub(crate) templates: u32,
    pub(crate) waiting: u32,
    pub(crate) lost: Option<u64>,
    /// What was wrong with the datagram or with one of its Sets.
    pub(crate) problem: Option<&'a str>,
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
    pub(crate) fn write(&self, work: &Work<'_>, writer: &mut SpanWriter<'_>) -> bool {
        let trace = work.trace;
        let [began, flows_began, done] = work.times;
        // The kernel's clock and ours are one, but may be set back between two readings.
        let received = work.arrival.received_at.min(began);
        let head = |span_id, start, end: UnixNanos| SpanHead {
            trace_id: trace.id,
            span_id,
            parent: trace.export,
            start,
            end: end.max(start),
        };
        writer.begin(&self.export, &head(trace.export, received, done));
        writer.text(&ADDRESS, work.exporter);
        writer.unsigned(&PORT, u64::from(work.arrival.port));
        self.describe(work, writer);
        writer.unsigned(&FLOWS, u64::from(work.flows));
        if let Some(sequence) = work.said.sequence {
            writer.unsigned(&SEQUENCE, u64::from(sequence));
        }
        writer.unsigned(&DOMAIN, u64::from(work.said.domain));
        if let Some(uptime) = work.said.uptime_ms {
            writer.unsigned(&UPTIME, u64::from(uptime));
        }
        if let Some(lost) = work.lost {
            writer.unsigned(&LOST, lost);
        }
        if !writer.end(work.problem.map_or(Status::Ok, Status::Error)) {
            return false;
        }
        writer.begin(&self.parse, &head(trace.parse, began, flows_began));
        self.describe(work, writer);
        if work.templates > 0 {
            writer.unsigned(&TEMPLATES, u64::from(work.templates));
        }
        if !writer.end(Status::Ok) {
            return false;
        }
        writer.begin(&self.process, &head(trace.process, flows_began, done));
        writer.unsigned(&FLOWS, u64::from(work.flows));
        if work.waiting > 0 {
            writer.unsigned(&WAITING, u64::from(work.waiting));
        }
        writer.end(Status::Ok)
    }

    fn describe(&self, work: &Work<'_>, writer: &mut SpanWriter<'_>) {
        let (key, version) = work.said.version;
        writer.unsigned(key, u64::from(version));
        writer.unsigned(&SIZE, work.arrival.octets as u64);
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
