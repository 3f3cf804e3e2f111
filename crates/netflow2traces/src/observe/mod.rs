//! What people and machines see of the daemon while it runs.

pub mod accounting;
pub mod api;
mod connections;
mod diagnosis;
pub mod flow_metrics;
pub mod healthcheck;
pub mod http;
mod kafka;
pub mod live;
pub mod logging;
pub mod metric_table;
pub mod metrics;
pub mod metrics_otlp;
pub mod metrics_reference;
pub mod output;
pub mod own_metrics;
mod page;
mod parameters;
pub mod stages;
