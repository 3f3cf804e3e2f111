//! What the connections of exporters count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use netflow_wire::Transport;

/// A number that several tasks add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub(crate) fn subtract(&self, number: u64) {
        self.0.fetch_sub(number, Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is counted of one transport.
#[derive(Debug, Default)]
pub struct TransportCounters {
    /// Connections open now (gauge).
    pub open: Count,
    /// Connections accepted.
    pub accepted: Count,
    /// Messages given to the workers.
    pub messages: Count,
    /// Their octets.
    pub octets: Count,
}

/// Why a connection was closed, or was not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The exporter closed it after a whole message.
    Exporter,
    /// The exporter closed it, or it broke, within a message.
    Broken,
    /// The TLS handshake failed.
    Handshake,
    /// What came can't be divided into messages.
    Framing,
    /// A message was not complete in time.
    Incomplete,
    /// No message came for long.
    Idle,
    /// It had been quiet for longest, and others needed its place.
    Displaced,
    /// It kept the beginning of a message for longest, and others needed the memory.
    Memory,
    /// The exporter began a new connection from the same port.
    Replaced,
    /// The exporter's state was forgotten for the memory of others: it must send its templates again.
    Forgotten,
    /// The daemon stops.
    Stop,
    /// The daemon failed: a bug.
    Failed,
    /// `NETFLOW_ALLOWED_EXPORTERS` doesn't have the address.
    NotAllowed,
    /// All places are taken.
    TooMany,
    /// All places for one address are taken.
    TooManyOfAddress,
    /// It could not be accepted: no descriptor, for instance.
    Accept,
}

impl Reason {
    pub const ALL: [Self; 16] = [
        Self::Exporter,
        Self::Broken,
        Self::Handshake,
        Self::Framing,
        Self::Incomplete,
        Self::Idle,
        Self::Displaced,
        Self::Memory,
        Self::Replaced,
        Self::Forgotten,
        Self::Stop,
        Self::Failed,
        Self::NotAllowed,
        Self::TooMany,
        Self::TooManyOfAddress,
        Self::Accept,
    ];

    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exporter => "exporter",
            Self::Broken => "broken",
            Self::Handshake => "handshake",
            Self::Framing => "framing",
            Self::Incomplete => "incomplete",
            Self::Idle => "idle",
            Self::Displaced => "displaced",
            Self::Memory => "memory",
            Self::Replaced => "replaced",
            Self::Forgotten => "forgotten",
            Self::Stop => "stop",
            Self::Failed => "failed",
            Self::NotAllowed => "not_allowed",
            Self::TooMany => "too_many",
            Self::TooManyOfAddress => "too_many_of_address",
            Self::Accept => "accept",
        }
    }
}

/// Counters of all connections.
#[derive(Debug, Default)]
pub struct StreamCounters {
    tcp: TransportCounters,
    tls: TransportCounters,
    closed: [Count; Reason::ALL.len()],
    /// Octets of messages that were read and wait for their worker (gauge).
    pub octets_waiting: Count,
    /// Octets of incomplete messages (gauge).
    pub octets_incomplete: Count,
    /// Workers that read no messages now because the queue is full (gauge).
    pub workers_paused: Count,
}

impl StreamCounters {
    /// Of TLS, or of TCP.
    #[must_use]
    pub const fn of(&self, transport: Transport) -> &TransportCounters {
        match transport {
            Transport::Tls => &self.tls,
            _ => &self.tcp,
        }
    }

    /// Connections that were closed, or not let in, for this reason.
    #[must_use]
    pub const fn closed(&self, reason: Reason) -> &Count {
        &self.closed[reason as usize]
    }

    /// Messages of both.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.tcp.messages.value() + self.tls.messages.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_and_a_word_of_its_own() {
        let counters = StreamCounters::default();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            counters.closed(reason).add(1);
            let same = Reason::ALL
                .iter()
                .filter(|other| other.as_str() == reason.as_str());
            assert_eq!(same.count(), 1);
        }
        assert!(counters.closed.iter().all(|count| count.value() == 1));
    }
}
