//! What the translator makes of datagrams, seen as a backend sees it: requests decoded by the generated types.

mod admission;
mod batches;
mod bounds;
mod choices;
mod flow_metrics;
mod identity;
mod quirks;
mod rig;
mod sampling;
mod saved;
mod schemas;
mod sequences;
mod told;
