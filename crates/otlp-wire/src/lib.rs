//! Writes OpenTelemetry spans as OTLP protobuf octets, and reads what a backend answers.
//!
//! The crate does no I/O and reads no clock. [`EncodedBatch`] is what the rest of a program passes
//! on: one finished `ExportTraceServiceRequest`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod batch;
mod fields;
mod read;
pub mod response;
mod split;

pub use batch::{EncodedBatch, UnixNanos};
pub use read::WireError;
pub use split::split;
