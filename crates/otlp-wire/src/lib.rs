//! Writes OpenTelemetry spans as OTLP protobuf octets, and reads what a backend answers.
//!
//! The crate does no I/O and reads no clock. [`EncodedBatch`] is what the rest of a program passes
//! on: one finished `ExportTraceServiceRequest`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod batch;

pub use batch::{EncodedBatch, UnixNanos};
