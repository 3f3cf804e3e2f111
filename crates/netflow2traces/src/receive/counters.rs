//! What a worker counts. Each worker has counters of its own and is the only one that writes them;
//! anyone may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The sum so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds without a locked instruction: only the owning thread may call it.
    pub(super) fn add(&self, amount: u64) {
        self.0
            .store(self.value().wrapping_add(amount), Ordering::Relaxed);
    }
}

/// The counters of one worker, over all of its sockets, on cache lines of their own (two, since
/// processors fetch lines in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Datagrams handed to the handler.
    pub datagrams: Counter,
    /// Octets of their payloads.
    pub octets: Counter,
    /// Datagrams that the kernel dropped because a socket's receive buffer was full (or their
    /// checksum wrong); at most a second old while datagrams come, exact after the stop.
    pub kernel_drops: Counter,
    /// Datagrams dropped because they were longer than any UDP payload may be.
    pub truncated: Counter,
    /// Reads that failed, and datagrams from what is not an IP address.
    pub receive_errors: Counter,
}

/// Follows one socket's drop counter, which the kernel keeps in 32 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DropCounter {
    last: u32,
}

impl DropCounter {
    pub(super) fn starting_at(last: u32) -> Self {
        Self { last }
    }

    /// How many were dropped since the last reading.
    ///
    /// A reading that comes with a datagram is as old as the datagram, so one may be older than the
    /// last: more than 2^31 ahead is behind.
    pub(super) fn advance_to(&mut self, reading: u32) -> u32 {
        let ahead = reading.wrapping_sub(self.last);
        if ahead > u32::MAX / 2 {
            return 0;
        }
        self.last = reading;
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_counter_wraps() {
        let mut drops = DropCounter::starting_at(u32::MAX - 1);
        assert_eq!(drops.advance_to(u32::MAX), 1);
        assert_eq!(drops.advance_to(3), 4);
        assert_eq!(drops.advance_to(3), 0);
    }

    #[test]
    fn older_reading_counts_nothing() {
        let mut drops = DropCounter::starting_at(0);
        assert_eq!(drops.advance_to(100), 100);
        assert_eq!(drops.advance_to(90), 0);
        assert_eq!(drops.advance_to(101), 1);
    }

    #[test]
    fn workers_share_no_cache_line() {
        assert_eq!(size_of::<WorkerCounters>() % 128, 0);
        assert_eq!(align_of::<WorkerCounters>(), 128);
    }
}
