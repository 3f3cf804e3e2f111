//! What the input from Kafka counts.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::kafka::NotAFlowMessage;
use crate::streams::Count;

/// Counters of the input. All zero where it is not used.
#[derive(Debug, Default)]
pub struct InputCounters {
    /// Datagrams and messages of connections that were given to the workers.
    pub datagrams: Count,
    /// Their octets.
    pub octets: Count,
    /// Messages of the topic that no relay wrote: without a value …
    pub no_value: Count,
    /// … without an exporter's address as the key …
    pub key: Count,
    /// … or without one of the headers.
    pub header: Count,
    /// The time of receipt in a message was impossible, and another one was taken.
    pub times_replaced: Count,
    /// Datagrams that this process has read before.
    pub replayed: Count,
    /// Datagrams that were read and not committed when their partition went: another worker reads them once more.
    pub uncommitted: Count,
    /// Batches that were given up for good (they are counted as spans of delivery, too): their offsets pass.
    pub batches_given_up: Count,
    /// Commits that succeeded …
    pub committed: Count,
    /// … and that did not.
    pub failed: Count,
    /// The broker did not answer, or answered with an error.
    pub poll_failures: Count,
    /// Partitions that came …
    pub assigned: Count,
    /// … went in order …
    pub revoked: Count,
    /// … or went without asking.
    pub lost: Count,
    /// Partitions now (gauge).
    pub partitions: Count,
    /// How often partitions were paused because the worker had enough to do.
    pub pauses: Count,
    /// Partitions that are paused now (gauge).
    pub paused: Count,
    /// Messages of its partitions that were not read, as far as known (gauge).
    pub lag: Count,
    /// Octets that were read and wait for their worker (gauge).
    pub octets_waiting: Count,
    /// States of exporters that were written to the topic of templates.
    pub written: Count,
    /// Those that could not be.
    pub refused: Count,
    /// States of exporters that were taken over.
    pub restored: Count,
    /// What stood in the topic of templates and is no state of an exporter.
    pub unreadable: Count,
    has_joined: AtomicBool,
}

impl InputCounters {
    pub(super) fn count_alien(&self, reason: &NotAFlowMessage) {
        match reason {
            NotAFlowMessage::NoValue => &self.no_value,
            NotAFlowMessage::Key => &self.key,
            NotAFlowMessage::Header(_) => &self.header,
        }
        .add(1);
    }

    /// Whether the consumer group was joined once.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.has_joined.load(Relaxed)
    }

    pub(super) fn joined(&self) {
        self.has_joined.store(true, Relaxed);
    }
}
