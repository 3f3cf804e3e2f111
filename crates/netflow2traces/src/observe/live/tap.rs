//! Finished batches for open pages. While no page is open, a batch (not a record) costs its worker one
//! relaxed load; while one is, as many are kept as one look may take.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use otlp_wire::EncodedBatch;

/// Octets between two looks, a second apart; what comes beyond is represented by what is there. A single larger
/// batch is taken.
const MAX_OCTETS: usize = 2 << 20;

/// Between the workers and the page.
#[derive(Debug, Default)]
pub struct Tap {
    wanted: AtomicBool,
    tapped: Mutex<Tapped>,
}

/// Batches since the last look.
#[derive(Debug, Default)]
pub(super) struct Tapped {
    pub(super) batches: Vec<Weighted>,
    /// Flow spans of these batches.
    pub(super) flow_spans: u64,
    /// Flow spans of the batches that were passed over.
    pub(super) passed_over: u64,
    octets: usize,
    /// Flow spans passed over that no batch stands for yet.
    unrepresented: u64,
}

/// A batch, and for how many it stands.
#[derive(Clone, Debug)]
pub(super) struct Weighted {
    pub(super) octets: Bytes,
    /// 1 if none was passed over before it.
    pub(super) weight: f64,
}

impl Tap {
    /// To be called by the workers with every batch.
    #[inline]
    pub fn offer(&self, batch: &EncodedBatch) {
        if self.wanted.load(Relaxed) {
            self.take_in(batch);
        }
    }

    #[cold]
    fn take_in(&self, batch: &EncodedBatch) {
        let mut tapped = self.tapped();
        let flows = u64::from(batch.flow_spans);
        if !tapped.batches.is_empty() && tapped.octets + batch.octets.len() > MAX_OCTETS {
            tapped.passed_over += flows;
            tapped.unrepresented += flows;
            return;
        }
        let mut weight = 1.0;
        if flows > 0 {
            weight += tapped.unrepresented as f64 / flows as f64;
            tapped.unrepresented = 0;
        }
        tapped.octets += batch.octets.len();
        tapped.flow_spans += flows;
        tapped.batches.push(Weighted {
            octets: batch.octets.clone(),
            weight,
        });
    }

    /// Whether batches are wanted from here on. What was not looked at is let go.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
        if !wanted {
            *self.tapped() = Tapped::default();
        }
    }

    /// What came since the last look.
    pub(super) fn take(&self) -> Tapped {
        let mut tapped = self.tapped();
        let rest = Tapped {
            unrepresented: tapped.unrepresented,
            ..Tapped::default()
        };
        std::mem::replace(&mut tapped, rest)
    }

    fn tapped(&self) -> MutexGuard<'_, Tapped> {
        self.tapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use otlp_wire::UnixNanos;

    fn batch(flow_spans: u32, octets: usize) -> EncodedBatch {
        EncodedBatch {
            octets: vec![0; octets].into(),
            flow_spans,
            work_spans: 3,
            oldest: UnixNanos(0),
            receipt: None,
        }
    }

    #[test]
    fn nothing_is_kept_while_nobody_looks() {
        let tap = Tap::default();
        tap.offer(&batch(10, 100));
        assert!(tap.take().batches.is_empty());
        tap.want(true);
        tap.offer(&batch(10, 100));
        assert_eq!(tap.take().flow_spans, 10);
        tap.offer(&batch(10, 100));
        tap.want(false);
        assert!(tap.take().batches.is_empty());
    }

    #[test]
    fn what_is_passed_over_is_represented_by_the_next() {
        let tap = Tap::default();
        tap.want(true);
        tap.offer(&batch(10, MAX_OCTETS));
        tap.offer(&batch(20, MAX_OCTETS));
        tap.offer(&batch(40, 1));
        let first = tap.take();
        assert_eq!((first.batches.len(), first.passed_over), (1, 60));
        assert_eq!(first.batches[0].weight, 1.0);
        tap.offer(&batch(0, 1));
        tap.offer(&batch(20, 1));
        let second = tap.take();
        let weights: Vec<f64> = second.batches.iter().map(|batch| batch.weight).collect();
        assert_eq!(
            (weights.as_slice(), second.passed_over),
            (&[1.0, 4.0][..], 0)
        );
    }
}
