//! What the stages count with, and what this one counts.
//!
//! Architecture invariant: a counter has one writer, the thread that owns it, and any number of readers; nothing
//! here takes a lock.

mod counter;
mod histogram;
mod rate_limit;
pub(crate) mod rejected;
pub(crate) mod traffic;
pub(crate) mod translate;

pub use counter::Counter;
pub use histogram::{Distribution, Histogram};
pub use rate_limit::RateLimit;
