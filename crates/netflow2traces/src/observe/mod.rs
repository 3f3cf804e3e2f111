//! What people see of the daemon while it runs.

pub mod counter;
pub mod logging;
