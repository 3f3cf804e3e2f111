//! What the program uses: every value checked, every size in octets, every address resolved.
//!
//! In two stages: [`Sources`] is what flags, environment and `.env` say; [`load()`] makes a
//! [`Config`] of it, or a list of all [`Mistakes`]. After that no code can meet an invalid value.

mod backend;
pub mod fields;
mod headers;
mod kafka;
mod later;
mod load;
pub mod memory;
mod otlp;
mod own_metrics;
pub(crate) mod pem;
pub mod print;
mod proxy;
pub mod reference;
mod resource;
mod sampling_overrides;
pub mod setting;
pub mod settings;
pub mod sources;
mod streams;
pub mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use netflow_translate::metrics::Views;

pub use netflow_translate::config::{
    AttributeLevel, SamplingOverride, Selection, Semconv, ServiceGraph, ServiceName, SpanName,
    SpanTime, TraceSampler, TraceShape, Translate,
};

pub(crate) use headers::header_file;

pub use kafka::{InputKind, Kafka, KafkaCompression, KafkaInput, KafkaTls, Sasl, SaslMechanism};

pub use load::{Loaded, Mistake, Mistakes, Purpose, load, load_admin, load_with};
pub use memory::Memory;
pub use resource::Machine;
pub use sources::{Environment, Flags, Sources};
pub use streams::{ListenTls, Streams};

/// The effective configuration of the daemon.
#[derive(Clone, Debug)]
pub struct Config {
    pub receive: Receive,
    pub streams: Streams,
    pub translate: Translate,
    pub deliver: Deliver,
    pub memory: Memory,
    pub flow_metrics: FlowMetrics,
    /// `NETFLOW_NETWORKS`.
    pub networks: Option<PathBuf>,
    /// `NETFLOW_INTERFACES`.
    pub interfaces: Option<PathBuf>,
    /// `NETFLOW_GEOIP_COUNTRY`.
    pub geoip_country: Option<PathBuf>,
    /// `NETFLOW_GEOIP_ASN`.
    pub geoip_asn: Option<PathBuf>,
    /// Where metrics and health are served, if they are.
    pub admin: Option<SocketAddr>,
    /// The names that a `Host` header may carry there besides those that no web site can own: as configured, and this
    /// machine's.
    pub admin_hosts: Vec<String>,
    /// Where people look at a trace, with `{trace_id}` in it.
    pub trace_url: Option<String>,
    pub log: Log,
    /// Whether and how the daemon sends its own metrics over OTLP.
    pub own_metrics: Option<OwnMetrics>,
    /// What is read from Kafka instead of sockets.
    pub input: Option<KafkaInput>,
    /// Where `relay` writes what it receives.
    pub relay: Option<Kafka>,
    /// Time to flush at SIGTERM or SIGINT.
    pub shutdown_timeout: Duration,
}

impl Config {
    /// Leaves out what only translating needs: files are not read, or written, for nothing.
    fn translate_nothing(&mut self) {
        self.translate.template_store = None;
        self.flow_metrics.views = Views::from_iter([]);
        self.networks = None;
        self.interfaces = None;
        self.geoip_country = None;
        self.geoip_asn = None;
    }
}

/// Stage 1: sockets.
#[derive(Clone, Debug)]
pub struct Receive {
    /// Each address with each port; every worker has a socket for every one of them.
    pub listen: Vec<SocketAddr>,
    pub workers: usize,
    /// Octets asked of the kernel for each socket.
    pub receive_buffer: usize,
}

impl Receive {
    /// How many there are.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.listen.len().saturating_mul(self.workers)
    }
}

/// The words of `OTEL_TRACES_SAMPLER`, without the argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SamplerKind {
    AlwaysOn,
    AlwaysOff,
    Ratio,
}

/// Stage 3: where batches go.
#[derive(Clone, Debug)]
pub struct Deliver {
    pub exporter: Exporter,
    /// Whether stdout gets a copy of the spans, as far as it is read.
    pub console_copy: bool,
    /// Octets that may wait in memory.
    pub queue_size: usize,
    /// Requests in flight.
    pub concurrency: usize,
    /// Encoded octets of one request.
    pub max_request_size: usize,
    /// The disk queue, if there is to be one.
    pub spool: Option<Spool>,
}

/// `NETFLOW_SPOOL_…`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spool {
    pub directory: PathBuf,
    pub mode: SpoolMode,
    /// Octets of all files.
    pub max_size: u64,
    /// Batches that arrived longer ago are dropped.
    pub max_age: Duration,
}

/// `NETFLOW_SPOOL_MODE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpoolMode {
    /// What the memory queue can't hold.
    Overflow,
    /// Every batch, before it is sent.
    Always,
}

/// `OTEL_TRACES_EXPORTER`.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Exporter {
    Otlp(Otlp),
    /// OTLP requests as messages of a topic.
    Kafka(Kafka),
    /// One JSON line a span on stdout.
    Console,
    None,
}

/// The words of `OTEL_TRACES_EXPORTER`, without their settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExporterKind {
    Otlp,
    /// The console is a copy.
    OtlpAndConsole,
    Kafka,
    Console,
    None,
}

/// Names in lower case, values percent-decoded and marked as sensitive.
pub type Headers = Vec<(http::HeaderName, http::HeaderValue)>;

/// An OTLP endpoint and how to speak to it.
#[derive(Clone, Debug)]
pub struct Otlp {
    pub protocol: Protocol,
    /// Complete: for HTTP with its path (`/v1/traces` already appended to a generic endpoint), for
    /// gRPC scheme, host and port.
    pub endpoint: http::Uri,
    pub headers: Headers,
    /// Further headers, read again when the file changes; they win over `headers`.
    pub headers_file: Option<PathBuf>,
    pub compression: Compression,
    /// Of one request.
    pub timeout: Duration,
    pub tls: Tls,
    pub connections: Connections,
    pub answers: Answers,
}

/// How connections to a backend are made.
#[derive(Clone, Debug)]
pub struct Connections {
    /// A connection of this age is replaced.
    pub max_age: Duration,
    pub proxy: Option<Proxy>,
    /// The interface of a link-local address (RFC 6874), which stands in no request.
    pub zone: Option<String>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(300),
            proxy: None,
            zone: None,
        }
    }
}

/// `HTTPS_PROXY` or `HTTP_PROXY`, as the scheme of the endpoint wants it.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// `http`, with host and port.
    pub uri: http::Uri,
    /// The value of `Proxy-Authorization`, marked as sensitive.
    pub authorization: Option<http::HeaderValue>,
}

/// What counts as accepted, and what as worth another attempt.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub retryable: RetryableStatus,
    /// An answer of 2xx counts as accepted whatever it says.
    pub accept_any_2xx: bool,
}

/// Statuses that are retried besides those of the OTLP specification.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RetryableStatus {
    pub http: Vec<u16>,
    /// Codes of gRPC.
    pub grpc: Vec<u32>,
}

impl Otlp {
    /// With the defaults of all other settings.
    #[must_use]
    pub fn new(protocol: Protocol, endpoint: http::Uri) -> Self {
        Self {
            protocol,
            endpoint,
            headers: Headers::default(),
            headers_file: None,
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            tls: Tls::default(),
            connections: Connections::default(),
            answers: Answers::default(),
        }
    }

    /// gRPC without TLS to an address of this machine.
    #[must_use]
    pub fn plain_grpc(address: SocketAddr) -> Self {
        let endpoint = http::Uri::builder()
            .scheme("http")
            .authority(address.to_string())
            .path_and_query("/")
            .build()
            .expect("an address is an authority");
        Self::new(Protocol::Grpc, endpoint)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What is sent over OTLP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    Traces,
    Metrics,
}

/// Where metrics go.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum MetricsTo {
    Otlp(Otlp),
    /// `NETFLOW_KAFKA_METRICS_TOPIC`.
    Kafka(Kafka),
}

/// The words of `OTEL_METRICS_EXPORTER`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricsExporter {
    Otlp,
    Kafka,
    None,
}

/// `OTEL_METRICS_EXPORTER=otlp` or `kafka`.
#[derive(Clone, Debug)]
pub struct OwnMetrics {
    pub to: MetricsTo,
    /// From one export to the next.
    pub interval: Duration,
    /// Of an export with its repetitions.
    pub timeout: Duration,
}

impl Signal {
    /// Where OTLP/HTTP takes it.
    #[must_use]
    pub const fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// Where OTLP/gRPC takes it.
    #[must_use]
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The specific form of a variable of the OTLP exporter.
    fn variable(self, setting: &str) -> String {
        let signal = match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        };
        format!("OTEL_EXPORTER_OTLP_{signal}_{setting}")
    }
}

/// PEM files; used when the endpoint's scheme is `https`.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Trusted roots instead of the system's.
    pub certificate: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

/// What is counted of flow records.
#[derive(Clone, Copy, Debug)]
pub struct FlowMetrics {
    pub views: Views,
    /// Of each view.
    pub max_series: u32,
    /// Rows of each kind in the view `top`.
    pub top: usize,
}

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// The text of a `tracing_subscriber::filter::Targets`, made of `LOG_LEVEL` or `RUST_LOG`.
    pub filter: String,
    pub json: bool,
}

impl SpoolMode {
    /// The word of `NETFLOW_SPOOL_MODE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Always => "always",
        }
    }
}

impl Protocol {
    /// The word of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
        }
    }
}

impl Compression {
    /// The word of `OTEL_EXPORTER_OTLP_COMPRESSION`, which is also the content coding.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl Receive {
    /// The addresses of `listen`, without their ports, each once.
    #[must_use]
    pub fn hosts(&self) -> Vec<IpAddr> {
        let mut hosts = Vec::new();
        for address in &self.listen {
            if !hosts.contains(&address.ip()) {
                hosts.push(address.ip());
            }
        }
        hosts
    }
}
