//! What people and machines see of the daemon while it runs.

pub mod accounting;
mod advice;
pub mod api;
pub mod counter;
pub mod healthcheck;
pub mod histogram;
pub mod http;
pub mod inquiry;
pub mod live;
pub mod logging;
pub mod metric_table;
pub mod metrics;
pub mod metrics_otlp;
pub mod metrics_reference;
pub mod output;
pub mod own_metrics;
mod page;
pub mod stages;
