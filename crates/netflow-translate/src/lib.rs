//! Stage 2: datagrams and instants in, encoded batches out. No sockets, no clock of its own.
//!
//! A template is compiled once into a `plan`; a record is executed from its octets straight to OTLP octets in the
//! `batch` that is being filled. What an exporter reports besides records is kept in `exporter`. Everything that is
//! not turned into a span is counted in [`TranslateCounters`].
//!
//! Architecture invariant: nothing here reads a clock, opens a socket or a file, or waits. Time and wall time are
//! arguments; data from outside comes as a value. `clippy.toml` beside this crate's manifest holds it to that.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "a test begins at some instant")
)]

mod allowance;
mod attributes;
mod batch;
pub mod config;
mod connections;
pub mod counters;
mod debug_log;
pub mod enrich;
mod exporter;
pub mod filter;
mod flow;
mod late;
mod malformed;
mod memory;
mod message;
pub mod metrics;
mod origins;
mod output;
mod plan;
mod selection;
mod sflow;
mod translator;
mod writing;

use std::net::SocketAddr;

use otlp_wire::UnixNanos;

pub use attributes::names::{Name, ValueType};
pub use attributes::protocols::transport;
pub use attributes::{reference, sflow_reference};
pub use counters::rejected::{MAX_REJECTED, RejectedDatagram};
pub use counters::traffic::{Protocol, ProtocolCounters, Traffic};
pub use counters::translate::TranslateCounters;
pub use exporter::admission::AllowList;
pub use exporter::report::{ExporterReport, FieldReport, Rows, TemplateReport, WaitingSet};
pub use exporter::saved::{
    SamplerOf, Saved, SavedAgent, SavedDomain, SavedExporter, SavedSampler, SavedTemplate,
    SavedType,
};
pub use flow::conversation::ConversationCounts;
pub use flow::ids::Ids;
pub use flow::services::name as service;
pub use memory::StateBudget;
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
