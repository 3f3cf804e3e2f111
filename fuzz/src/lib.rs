//! What is promised of any input, as functions that panic where a promise is broken.
//!
//! The fuzz targets call them on nightly; `crates/netflow2traces/tests/translation/fuzz_corpus.rs` calls the same ones
//! with the corpus on stable.

pub mod budgets;
pub mod gzip;
pub mod memory;
pub mod message;
pub mod otlp_response;
pub mod pcap;
pub mod sequence;
pub mod session;
pub mod sflow;
pub mod spool_segment;
pub mod translate;
