//! What the relay counts. `received` is what workers put in; it is the sum of all outcomes and of what waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters and gauges of the relay.
#[derive(Debug, Default)]
pub struct RelayCounters {
    /// Datagrams and messages of connections that all replicas in sync have.
    pub relayed: AtomicU64,
    /// Octets of them.
    pub relayed_octets: AtomicU64,
    /// In the queue, or with the Kafka client (gauge).
    pub waiting: AtomicU64,
    /// Octets of them, with what each needs besides (gauge).
    pub waiting_octets: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    /// Attempts that failed and were repeated.
    pub failures: AtomicU64,
    /// The last attempt failed (gauge).
    pub is_away: AtomicBool,
}

/// Why a datagram was not relayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropReason {
    /// `NETFLOW_ALLOWED_EXPORTERS` doesn't have its sender.
    NotAllowed,
    /// There was no room: the brokers are unreachable or too slow.
    QueueFull,
    /// The brokers refused it as too large.
    TooLarge,
    /// The brokers refused it for another reason.
    Rejected,
    /// It still waited at the end.
    Shutdown,
}

impl DropReason {
    pub const ALL: [Self; 5] = [
        Self::NotAllowed,
        Self::QueueFull,
        Self::TooLarge,
        Self::Rejected,
        Self::Shutdown,
    ];

    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }
}

impl RelayCounters {
    /// Datagrams dropped for a reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }

    /// Datagrams dropped for any reason but that nobody wanted them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let reasons = DropReason::ALL.into_iter();
        let wanted = reasons.filter(|reason| *reason != DropReason::NotAllowed);
        wanted.map(|reason| self.dropped(reason)).sum()
    }

    /// All of them.
    #[must_use]
    pub fn dropped_for_any_reason(&self) -> u64 {
        DropReason::ALL
            .into_iter()
            .map(|reason| self.dropped(reason))
            .sum()
    }

    pub(super) fn count_dropped(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Relaxed);
    }
}
