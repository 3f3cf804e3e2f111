//! The outcome of every span. At rest, for flow spans and work spans apart:
//! pushed + recovered = accepted + rejected + dropped (by reason) + discarded + queued + in flight + spooled.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use otlp_wire::{EncodedBatch, Settled};

/// A number of spans, of either kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// Spans named `netflow.flow`.
    pub flow: u64,
    /// The export, parse and process spans.
    pub work: u64,
}

impl Count {
    /// The spans of a batch.
    #[must_use]
    pub fn of(batch: &EncodedBatch) -> Self {
        Self {
            flow: u64::from(batch.flow_spans),
            work: u64::from(batch.work_spans),
        }
    }

    /// Both kinds together.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.flow.saturating_add(self.work)
    }

    /// Takes `part` spans out of these, in proportion to the kinds (rounded to the nearest): a
    /// backend that rejects some spans of a request doesn't say which.
    #[must_use]
    pub fn share(self, part: u64) -> Self {
        let all = self.all();
        if part >= all {
            return self;
        }
        let half = u128::from(all / 2);
        let flow = (u128::from(part) * u128::from(self.flow) + half) / u128::from(all.max(1));
        let flow = u64::try_from(flow).unwrap_or(part).min(self.flow).min(part);
        let work = (part - flow).min(self.work);
        Self {
            flow: part - work,
            work,
        }
    }

    /// The sum of two counts.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            flow: self.flow + other.flow,
            work: self.work + other.work,
        }
    }

    /// What is left when `other`, which is no more, is taken away.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            flow: self.flow.saturating_sub(other.flow),
            work: self.work.saturating_sub(other.work),
        }
    }
}

/// Spans of both kinds, counted.
#[derive(Debug, Default)]
pub struct SpanCounter {
    pub flow: AtomicU64,
    pub work: AtomicU64,
}

impl SpanCounter {
    pub(super) fn add(&self, count: Count) {
        self.flow.fetch_add(count.flow, Relaxed);
        self.work.fetch_add(count.work, Relaxed);
    }

    pub(super) fn subtract(&self, count: Count) {
        self.flow.fetch_sub(count.flow, Relaxed);
        self.work.fetch_sub(count.work, Relaxed);
    }

    /// The present value.
    pub fn load(&self) -> Count {
        Count {
            flow: self.flow.load(Relaxed),
            work: self.work.load(Relaxed),
        }
    }
}

/// Why spans were given up here, before a backend took or refused them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DropReason {
    /// The memory queue was full: the heaviest exporters' oldest spans made room.
    QueueFull,
    /// A single span is larger than what the backend takes.
    TooLarge,
    /// The time to flush was over.
    Shutdown,
    /// The batch could not be put into the form to send (`http/json`, `console`, compression).
    Encoding,
    /// The spool was full: its oldest batches made room.
    SpoolFull,
    /// It waited in the spool for longer than it may.
    SpoolAge,
    /// What was read back is not what was written, or can't be read.
    SpoolUnreadable,
}

impl DropReason {
    pub const ALL: [Self; 7] = [
        Self::QueueFull,
        Self::TooLarge,
        Self::Shutdown,
        Self::Encoding,
        Self::SpoolFull,
        Self::SpoolAge,
        Self::SpoolUnreadable,
    ];

    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Shutdown => "shutdown",
            Self::Encoding => "encoding",
            Self::SpoolFull => "spool_full",
            Self::SpoolAge => "spool_age",
            Self::SpoolUnreadable => "spool_unreadable",
        }
    }

    /// What a source hears of a batch that was given up for it.
    pub(super) const fn outcome(self) -> Settled {
        match self {
            Self::Shutdown => Settled::Stopped,
            _ => Settled::Dropped,
        }
    }
}

/// Spans dropped, by reason.
#[derive(Debug, Default)]
pub struct Dropped {
    pub queue_full: SpanCounter,
    pub too_large: SpanCounter,
    pub shutdown: SpanCounter,
    pub encoding: SpanCounter,
    pub spool_full: SpanCounter,
    pub spool_age: SpanCounter,
    pub spool_unreadable: SpanCounter,
}

impl Dropped {
    /// The counter of a reason.
    #[must_use]
    pub const fn by(&self, reason: DropReason) -> &SpanCounter {
        match reason {
            DropReason::QueueFull => &self.queue_full,
            DropReason::TooLarge => &self.too_large,
            DropReason::Shutdown => &self.shutdown,
            DropReason::Encoding => &self.encoding,
            DropReason::SpoolFull => &self.spool_full,
            DropReason::SpoolAge => &self.spool_age,
            DropReason::SpoolUnreadable => &self.spool_unreadable,
        }
    }

    /// All reasons together.
    #[must_use]
    pub fn load(&self) -> Count {
        DropReason::ALL
            .iter()
            .fold(Count::default(), |sum, &reason| {
                sum.plus(self.by(reason).load())
            })
    }
}

/// What the disk queue counts. Batches and octets; spans are counted beside those of the other places.
#[derive(Debug, Default)]
pub struct SpoolCounters {
    /// Octets of all its files (gauge).
    pub octets: AtomicU64,
    /// Its files (gauge).
    pub segments: AtomicU64,
    /// Batches that wait there (gauge).
    pub batches: AtomicU64,
    /// Found at the start, left by an earlier run.
    pub recovered_batches: AtomicU64,
    pub written_batches: AtomicU64,
    /// Octets written, with the headers of the entries.
    pub written_octets: AtomicU64,
    /// Read back from the disk.
    pub replayed_batches: AtomicU64,
    pub replayed_octets: AtomicU64,
    /// Dropped to make room for others.
    pub dropped_full: AtomicU64,
    /// Dropped for their age.
    pub dropped_age: AtomicU64,
    /// Lost because they could not be read.
    pub dropped_unreadable: AtomicU64,
    /// Failures to write, to remove a file, or to bring it to the disk.
    pub write_errors: AtomicU64,
    /// Failures to read.
    pub read_errors: AtomicU64,
    /// Whether the last attempt to write a batch failed.
    pub failing: AtomicBool,
}

impl SpoolCounters {
    pub(super) const fn dropped(&self, reason: DropReason) -> &AtomicU64 {
        match reason {
            DropReason::SpoolAge => &self.dropped_age,
            DropReason::SpoolUnreadable => &self.dropped_unreadable,
            _ => &self.dropped_full,
        }
    }
}

/// The counters of this stage.
#[derive(Debug, Default)]
pub struct Counters {
    /// Handed over by the translation.
    pub pushed: SpanCounter,
    /// Found in the spool at the start, left by an earlier run.
    pub recovered: SpanCounter,
    /// Acknowledged by the backend. After an ambiguous failure a batch is retried, so a backend
    /// may hold some twice.
    pub accepted: SpanCounter,
    /// Refused by the backend for good, by status or by `partial_success`. The latter names no
    /// kinds: its number is shared out in proportion.
    pub rejected: SpanCounter,
    /// Taken by `OTEL_TRACES_EXPORTER=none`.
    pub discarded: SpanCounter,
    pub dropped: Dropped,
    /// Waiting in the memory queue (gauge).
    pub queued: SpanCounter,
    /// Taken from the queue, not settled yet (gauge).
    pub in_flight: SpanCounter,
    /// Encoded octets of these that are in no spool (gauge).
    pub live_octets_in_flight: AtomicU64,
    /// Waiting in the spool (gauge).
    pub spooled: SpanCounter,
    pub spool: SpoolCounters,
    /// Encoded octets waiting in the memory queue (gauge).
    pub queued_octets: AtomicU64,
    /// Batches waiting in the memory queue (gauge).
    pub queued_batches: AtomicU64,
    /// Requests that wait for an answer (gauge).
    pub requests_in_flight: AtomicU64,
    /// Requests sent, attempts counted one by one.
    pub requests: AtomicU64,
    /// Of them, those that were not the first attempt.
    pub retries: AtomicU64,
    /// Requests that failed in a way worth another attempt.
    pub failures: AtomicU64,
    /// Answers with a `partial_success` that rejected spans.
    pub partial_successes: AtomicU64,
    /// Batches split in two, for the backend takes no larger ones.
    pub splits: AtomicU64,
    /// Protobuf octets of the batches sent, once per request.
    pub octets_encoded: AtomicU64,
    /// Octets of the bodies as sent, compressed or transcoded, once per request.
    pub octets_sent: AtomicU64,
    /// Spans that were not copied to stdout, because it was not read (`OTEL_TRACES_EXPORTER=otlp,console`).
    pub copies_dropped: AtomicU64,
    /// Whether the last request failed in a way worth another attempt.
    pub backend_away: AtomicBool,
    last_error: Mutex<Option<LastError>>,
}

/// The latest reason why a request was not accepted whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastError {
    pub at: SystemTime,
    pub text: String,
}

impl Counters {
    pub(super) fn record_error(&self, text: String) {
        let error = LastError {
            at: SystemTime::now(),
            text,
        };
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The latest reason why a request was not accepted whole, if there was one.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The span counters at one moment. Exact at rest; under load a batch that moves from one
    /// counter to the next may be seen in both or in none.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            pushed: self.pushed.load(),
            recovered: self.recovered.load(),
            accepted: self.accepted.load(),
            rejected: self.rejected.load(),
            discarded: self.discarded.load(),
            dropped: self.dropped.load(),
            queued: self.queued.load(),
            in_flight: self.in_flight.load(),
            spooled: self.spooled.load(),
        }
    }
}

/// The span counters at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    pub pushed: Count,
    pub recovered: Count,
    pub accepted: Count,
    pub rejected: Count,
    pub discarded: Count,
    /// By any reason.
    pub dropped: Count,
    pub queued: Count,
    pub in_flight: Count,
    pub spooled: Count,
}

impl Totals {
    /// Whether the identity of this module's head holds.
    #[must_use]
    pub fn balanced(&self) -> bool {
        let settled = [self.accepted, self.rejected, self.discarded, self.dropped];
        let held = self.queued.plus(self.in_flight).plus(self.spooled);
        self.pushed.plus(self.recovered) == settled.into_iter().fold(held, Count::plus)
    }

    /// Spans that no backend has and no spool: rejected, dropped, or still in memory.
    #[must_use]
    pub const fn lost(&self) -> Count {
        self.rejected
            .plus(self.dropped)
            .plus(self.queued)
            .plus(self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_proportional() {
        let count = Count { flow: 30, work: 3 };
        assert_eq!(count.share(11), Count { flow: 10, work: 1 });
        assert_eq!(count.share(0), Count::default());
        assert_eq!(count.share(1000), count);
        assert_eq!(
            Count { flow: 0, work: 3 }.share(2),
            Count { flow: 0, work: 2 }
        );
    }

    proptest! {
        #[test]
        fn shares_sum_up(flow in 0u64..u64::from(u32::MAX), work in 0u64..u64::from(u32::MAX), part: u64) {
            let count = Count { flow, work };
            let share = count.share(part);
            prop_assert_eq!(share.all(), part.min(count.all()));
            prop_assert!(share.flow <= flow && share.work <= work);
        }
    }
}
