//! What the translator makes of datagrams, seen as a backend sees it: requests decoded by the generated types.

mod admission;
mod batches;
mod bounds;
mod choices;
mod connections;
mod datagrams;
mod debug_log;
#[path = "../support/defaults.rs"]
mod defaults;
mod filters;
mod flow_metrics;
mod fuzz_corpus;
mod habits;
mod identity;
mod locations;
#[expect(clippy::unwrap_used, reason = "a test fails by a panic")]
#[path = "../support/log.rs"]
mod log;
#[path = "../support/mmdb.rs"]
mod mmdb;
mod parity;
mod quirks;
mod repeats;
mod rig;
mod samples;
mod sampling;
mod saved;
mod schemas;
mod selection;
mod sequences;
mod service_graph;
mod shapes;
mod told;
mod views;
