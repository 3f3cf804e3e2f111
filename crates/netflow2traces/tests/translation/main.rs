//! What the translator makes of datagrams, seen as a backend sees it: requests decoded by the generated types.
#![expect(clippy::panic, reason = "a test fails by it")]

mod batches;
mod choices;
mod rig;
mod sampling;
mod sequences;
mod told;
