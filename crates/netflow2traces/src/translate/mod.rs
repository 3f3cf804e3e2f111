//! Stage 2: datagrams and instants in, encoded batches out. No sockets, no clock of its own.
//!
//! A template is compiled once into a `plan`; a record is executed by `span` from its octets straight to
//! OTLP octets in the `batch` that is being filled. What an exporter says besides records is kept in
//! `exporters`. Everything that is not turned into a span is counted in [`TranslateCounters`].

mod activity;
mod admission;
mod attributes;
mod batch;
mod concerns;
mod counters;
mod debug_log;
mod elements;
mod exporters;
mod frame;
mod ids;
mod knowledge;
mod options;
mod phrases;
mod plan;
mod plans;
mod protocols;
pub mod reference;
mod rejected;
mod report;
mod resource;
mod sampling;
mod saved;
mod sequence;
mod sflow;
mod short_text;
mod span;
mod times;
mod trace;
mod traffic;
mod translator;
mod understood;
mod visit;

use std::net::SocketAddr;

use otlp_wire::UnixNanos;

pub use counters::TranslateCounters;
pub use ids::Ids;
pub(crate) use protocols::transport;
pub use rejected::{MAX_REJECTED, RejectedDatagram};
pub use report::{ExporterReport, FieldReport, Rows, TemplateReport, WaitingSet};
pub use saved::{Saved, SavedAgent, SavedDomain, SavedExporter, SavedTemplate, SavedType};
pub use traffic::{Protocol, ProtocolCounters, Traffic};
pub use translator::Translator;

/// A UDP datagram as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The payload.
    pub octets: &'a [u8],
    /// Who sent it; an IPv4-mapped IPv6 address is already an IPv4 one.
    pub source: SocketAddr,
    /// When the kernel took it, or when it was read where the kernel doesn't say.
    pub received_at: UnixNanos,
}
