//! A daemon that turns flow records into OpenTelemetry spans. In the order of the data:

pub mod app;
pub mod capture;
pub mod cli;
pub mod config;
pub mod decode;
pub mod deliver;
pub mod demo;
pub mod observe;
pub mod receive;
pub mod send;
pub mod supervisor;
pub mod template_store;
pub mod translate;
