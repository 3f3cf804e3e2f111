//! The demo's backend as its clients see it: OTLP in over gRPC and HTTP, Tempo's API out.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod bounds;
mod by_id;
mod grafana;
mod ingest;
pub(crate) mod rig;
mod search;
mod tags;
