//! Writes OpenTelemetry spans as OTLP protobuf octets, and reads what a backend answers.
//!
//! The crate does no I/O and reads no clock. [`SpanWriter`] appends Spans to a room of the caller's,
//! [`ResourceFront`] makes a request of them, [`EncodedBatch`] is what the rest of a program passes on:
//! one finished `ExportTraceServiceRequest`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod attributes;
mod batch;
pub mod controls;
mod fields;
pub mod groups;
pub mod gzip;
pub mod json;
pub mod messages;
pub mod proto;
mod read;
mod receipt;
mod request;
pub mod response;
mod span;
mod split;
pub mod text;
pub mod view;

pub use attributes::{Encoded, Key, Prepared, Value, push_key_value};
pub use batch::{EncodedBatch, UnixNanos};
pub use read::WireError;
pub use receipt::{Receipt, Settled, Source};
pub use request::ResourceFront;
pub use span::{
    SAMPLED_AND_RANDOM, SpanFront, SpanHead, SpanId, SpanKind, SpanWriter, Status, TraceId,
};
pub use split::split;
