//! The configuration of the stage: every value checked, every size in octets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::enrich::fields::Fields;
pub use crate::flow::shape::TraceShape;
pub use crate::selection::Selection;

/// Stage 2: decoding and spans.
#[derive(Clone, Debug)]
pub struct Translate {
    /// Who may send; empty: everyone.
    pub allowed_exporters: Vec<IpNet>,
    /// Datagrams a second.
    pub max_rate_per_exporter: Option<u32>,
    /// Flow records a second.
    pub max_record_rate_per_exporter: Option<u32>,
    /// A file that keeps templates and options data over a restart.
    pub template_store: Option<PathBuf>,
    pub template_lifetime: Duration,
    pub max_exporters: usize,
    pub max_templates_per_exporter: usize,
    /// The most specific network first, in it interfaces first, so that the first that matches holds.
    pub sampling_override: Vec<SamplingOverride>,
    /// The operator's definitions of elements.
    pub fields: Option<Arc<Fields>>,
    /// Multiply bytes and packets by the sampling interval.
    pub scale_sampled: bool,
    pub span_time: SpanTime,
    pub span_max_age: Duration,
    pub attributes: AttributeLevel,
    /// Which keys attributes have.
    pub semconv: Semconv,
    pub shape: TraceShape,
    pub span_name: SpanName,
    pub service_name: ServiceName,
    pub service_graph: ServiceGraph,
    pub sampler: TraceSampler,
    /// Which flow records become spans.
    pub selection: Selection,
    /// Resource attributes common to all exporters, in the order they are written:
    /// `service.name`, `service.version`, …, then those of `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<(String, String)>,
    /// A batch leaves when it is this old …
    pub batch_delay: Duration,
    /// … or holds this many spans (`usize::MAX`: any number) …
    pub batch_max_spans: usize,
    /// … or would grow past this many octets.
    pub batch_max_octets: usize,
}

/// An item of `NETFLOW_SAMPLING_OVERRIDE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SamplingOverride {
    pub exporters: IpNet,
    /// For flows metered at this interface alone (ifIndex).
    pub interface: Option<u32>,
    /// One packet in so many is seen; at least 1.
    pub interval: u32,
}

/// `NETFLOW_SPAN_TIME`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpanTime {
    Flow,
    Received,
    Clamped,
}

/// `NETFLOW_ATTRIBUTES`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum AttributeLevel {
    Minimal,
    Standard,
    All,
}

/// `NETFLOW_SPAN_NAME`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpanName {
    /// As `NETFLOW_SEMCONV` has it.
    Schema,
    /// The service of the server's port, or the transport.
    Service,
}

/// `NETFLOW_SERVICE_NAME`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServiceName {
    /// `OTEL_SERVICE_NAME` for all.
    Fixed,
    /// The exporter's name, else its address.
    Exporter,
}

/// `NETFLOW_SERVICE_GRAPH`: the spans that show client and server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServiceGraph {
    /// None does.
    None,
    /// Requests are spans of kind CLIENT, of the client's network as a service. Of [`TraceShape::Flow`] alone.
    Spans,
}

/// `NETFLOW_SEMCONV`: the spelling of attributes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Semconv {
    /// `netflow.flow.bytes`
    Netflow,
    /// `flow.bytes.delta`
    Flow,
    /// Each attribute under both.
    Both,
}

/// `OTEL_TRACES_SAMPLER`, decided per trace. There is never a remote parent, so the
/// `parentbased_` forms are their roots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TraceSampler {
    AlwaysOn,
    AlwaysOff,
    /// The share of traces kept, 0 to 1.
    Ratio(f64),
}

impl SpanTime {
    /// The word of `NETFLOW_SPAN_TIME`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Received => "received",
            Self::Clamped => "clamped",
        }
    }
}

impl AttributeLevel {
    /// The word of `NETFLOW_ATTRIBUTES`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Standard => "standard",
            Self::All => "all",
        }
    }
}

impl Semconv {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Netflow, Self::Flow, Self::Both];

    /// The word of `NETFLOW_SEMCONV`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Netflow => "netflow",
            Self::Flow => "flow",
            Self::Both => "both",
        }
    }
}
