//! `netflow2traces demo`: what it takes to see traces without a router and without a backend.

pub mod backend;
mod ingest;
mod listen;
pub mod query;
pub mod store;
mod tempo_api;
mod tempo_json;
pub mod traffic;

pub use backend::{Backend, BackendError, BackendOptions};
pub use store::{StoreLimits, TraceStore};
pub use traffic::{Traffic, TrafficOptions};
