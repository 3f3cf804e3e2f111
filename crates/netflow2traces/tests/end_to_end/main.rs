//! The built binary between real UDP and a backend: what an exporter sends arrives, and nothing goes
//! uncounted.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod admin_client;
#[expect(dead_code, reason = "the backend's scripts serve other tests too")]
#[path = "../support/backend/mod.rs"]
mod backend;
#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/documents.rs"]
mod commands;
mod daemon;
mod exporter;
#[path = "../support/left_out.rs"]
mod left_out;
#[cfg(target_os = "linux")]
mod manager;
mod spans;

mod admin;
mod admin_limits;
mod cli;
mod console;
mod demo;
mod documents;
#[cfg(target_os = "linux")]
mod flood;
mod flow_metrics;
mod garbage;
mod help;
mod listening;
mod load;
mod name_service;
mod outage;
mod own_metrics;
mod page;
#[cfg(target_os = "linux")]
mod restart;
#[cfg(target_os = "linux")]
mod restricted;
mod send;
mod shutdown;
mod span_time;
mod spool;
mod stalled;
mod stop;
#[cfg(target_os = "linux")]
mod supervision;
mod template_store;
mod templates;
mod versions;
mod wrong_setups;
