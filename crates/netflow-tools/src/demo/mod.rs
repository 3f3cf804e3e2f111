//! The pieces of `netflow2traces demo`: what it takes to see traces without a router and without a
//! backend. [`Traffic`] sends flow records to the daemon, [`Backend`] takes its spans and answers
//! Tempo's API, [`announcement()`] prints for new users what to type. None of them knows the daemon: that
//! is `app`'s to compose.

mod announcement;
pub mod backend;
mod ingest;
mod listen;
pub mod query;
pub mod store;
mod tempo;
pub mod traffic;

pub use announcement::{announcement, first_traces};
pub use backend::{Backend, BackendError, BackendOptions, HostFilter};
pub use store::{StoreLimits, TraceStore};
pub use traffic::{Traffic, TrafficOptions};
