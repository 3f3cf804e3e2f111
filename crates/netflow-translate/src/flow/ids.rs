//! Trace and span identifiers: random, never zero.

use otlp_wire::{SpanId, TraceId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A source of identifiers, seeded with 256 bits of the system's randomness so that workers and
/// replicas don't meet.
#[derive(Debug)]
pub struct Ids(SmallRng);

impl Ids {
    /// Seeds it.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(SmallRng::from_seed(seed))
    }

    pub(crate) fn trace_id(&mut self) -> TraceId {
        let mut id = [0; 16];
        let (high, low) = id.split_at_mut(8);
        high.copy_from_slice(&self.0.next_u64().to_be_bytes());
        low.copy_from_slice(&self.span_id());
        id
    }

    /// For a decision.
    #[inline]
    pub(crate) fn random_bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    #[inline]
    pub(crate) fn span_id(&mut self) -> SpanId {
        self.0.next_u64().max(1).to_be_bytes()
    }
}
