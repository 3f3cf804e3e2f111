//! What the translator makes of datagrams, seen as a backend sees it: requests decoded by the generated types.

mod admission;
mod batches;
mod bounds;
mod choices;
mod connections;
mod filters;
mod flow_metrics;
mod habits;
mod identity;
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "parts of it serve other tests, and a test fails by a panic"
)]
#[path = "../support/log.rs"]
mod log;
mod parity;
mod quirks;
mod rig;
mod sampling;
mod saved;
mod schemas;
mod selection;
mod sequences;
mod service_graph;
mod shapes;
mod told;
