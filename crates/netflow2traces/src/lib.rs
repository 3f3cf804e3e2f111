//! A daemon that turns flow records into OpenTelemetry spans. In the order of the data:

pub mod app;
pub mod cli;
pub mod config;
pub mod databases;
pub mod deliver;
pub mod enrichment;
pub mod files;
pub mod health;
pub mod kafka;
pub mod observe;
pub mod program;
pub mod receive;
pub mod relay;
mod runtime;
mod stop;
pub mod streams;
pub mod supervisor;
pub mod template_store;
pub mod worker;

pub use netflow_tools::{capture, decode, demo, numbers, send, stdout};
pub use netflow_translate as translate;
