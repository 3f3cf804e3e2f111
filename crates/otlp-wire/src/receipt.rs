//! The way back from a batch to the source that it came from: what became of it, reported once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What became of a batch. Of its parts the last of this list counts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Settled {
    /// The backend has acknowledged it; spans that it rejected in doing so are counted elsewhere.
    Delivered,
    /// It is on the disk, and will be delivered from there.
    Spooled,
    /// It is given up for good: no room, refused, impossible to send.
    Dropped,
    /// The program stops before it was delivered. Whoever can bring it once more should.
    Stopped,
}

impl Settled {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Delivered,
            1 => Self::Spooled,
            2 => Self::Dropped,
            _ => Self::Stopped,
        }
    }
}

/// A source that wants to know what becomes of its batches.
pub trait Source: fmt::Debug + Send + Sync {
    /// The batch with this number is done. Called once for each, in any order, from any thread: it has to be quick.
    fn settled(&self, number: u64, outcome: Settled);
}

/// Travels with a batch and settles it. A receipt that is dropped unsettled counts as [`Settled::Dropped`].
///
/// Where a batch is cut in parts each has a receipt, and the source hears of the batch when the last part is settled.
#[derive(Debug)]
pub struct Receipt {
    batch: Arc<Batch>,
    is_settled: bool,
}

#[derive(Debug)]
struct Batch {
    source: Arc<dyn Source>,
    number: u64,
    /// The worst of the parts that are settled.
    outcome: AtomicU8,
}

impl Receipt {
    /// The receipt of a batch to which its source gave this number.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, number: u64) -> Self {
        Self {
            batch: Arc::new(Batch {
                source,
                number,
                outcome: AtomicU8::new(Settled::Delivered as u8),
            }),
            is_settled: false,
        }
    }

    /// The receipt of another part of the same batch.
    #[must_use]
    pub fn for_another_part(&self) -> Self {
        Self {
            batch: Arc::clone(&self.batch),
            is_settled: false,
        }
    }

    /// This part is done.
    pub fn settle(mut self, outcome: Settled) {
        self.note(outcome);
    }

    fn note(&mut self, outcome: Settled) {
        self.is_settled = true;
        self.batch
            .outcome
            .fetch_max(outcome as u8, Ordering::Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_settled {
            self.note(Settled::Dropped);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let outcome = Settled::of(*self.outcome.get_mut());
        self.source.settled(self.number, outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use Settled::{Delivered, Dropped, Spooled, Stopped};

    #[derive(Debug, Default)]
    struct Books(Mutex<Vec<(u64, Settled)>>);

    impl Source for Books {
        fn settled(&self, number: u64, outcome: Settled) {
            self.0.lock().unwrap().push((number, outcome));
        }
    }

    fn receipt(number: u64) -> (Arc<Books>, Receipt) {
        let books = Arc::<Books>::default();
        let source: Arc<dyn Source> = books.clone();
        (books, Receipt::new(source, number))
    }

    fn told(books: &Books) -> Vec<(u64, Settled)> {
        books.0.lock().unwrap().clone()
    }

    #[test]
    fn each_outcome_is_reported_once() {
        for outcome in [Delivered, Spooled, Dropped, Stopped] {
            let (books, receipt) = receipt(7);
            assert_eq!(told(&books), []);
            receipt.settle(outcome);
            assert_eq!(told(&books), [(7, outcome)]);
        }
    }

    #[test]
    fn a_receipt_that_is_dropped_unsettled_counts_as_dropped() {
        let (books, receipt) = receipt(1);
        drop(receipt);
        assert_eq!(told(&books), [(1, Dropped)]);
    }

    #[test]
    fn the_last_part_settles_and_the_worst_counts() {
        for outcomes in [
            [Delivered, Spooled, Delivered],
            [Dropped, Delivered, Spooled],
            [Delivered, Stopped, Dropped],
            [Delivered; 3],
        ] {
            let (books, first) = receipt(2);
            let second = first.for_another_part();
            let third = second.for_another_part();
            for (part, outcome) in [first, second, third].into_iter().zip(outcomes) {
                assert_eq!(told(&books), []);
                part.settle(outcome);
            }
            assert_eq!(told(&books), [(2, *outcomes.iter().max().unwrap())]);
        }
    }
}
