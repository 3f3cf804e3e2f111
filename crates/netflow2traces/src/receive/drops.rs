//! The kernel's drops: counter readings in, numbers and a warning out. No clock of its own.

use std::time::{Duration, Instant};

use super::socket::ReceiveBuffer;

/// How often a socket that gets datagrams is asked for its drops.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One worker warns at most this often.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

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

/// When a worker looks for drops, and what it has to say of them.
///
/// The reading that comes with a datagram doesn't include those dropped after it, so that the
/// sockets are asked as well: once a second while datagrams come.
#[derive(Debug, Default)]
pub(super) struct DropWatch {
    next_look: Option<Instant>,
    unreported: u64,
    warned: Option<Instant>,
}

impl DropWatch {
    /// When [`is_due`](Self::is_due) is to be asked although nothing arrives.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Whether to look; `active` says that datagrams came since the last question.
    pub(super) fn is_due(&mut self, now: Instant, active: bool) -> bool {
        let due = self.next_look.is_some_and(|at| at <= now);
        if due || (active && self.next_look.is_none()) {
            self.next_look = active.then(|| now + LOOK_INTERVAL);
        }
        due
    }

    pub(super) fn note(&mut self, dropped: u32) {
        self.unreported += u64::from(dropped);
    }

    /// Drops that a warning is due for, which then counts as given; `last` leaves none for later.
    pub(super) fn take_report(&mut self, now: Instant, last: bool) -> Option<u64> {
        let quiet = self
            .warned
            .is_some_and(|at| now.duration_since(at) < WARNING_INTERVAL);
        if self.unreported == 0 || (quiet && !last) {
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

/// Says that datagrams were lost, and what helps.
pub(super) fn warn_of_drops(worker: usize, dropped: u64, receive_buffer_octets: usize) {
    tracing::warn!(
        worker,
        dropped,
        receive_buffer_bytes = receive_buffer_octets,
        sysctl = ReceiveBuffer::SYSCTL,
        "the kernel dropped datagrams because a receive buffer was full: raise \
         NETFLOW_RECEIVE_BUFFER and the sysctl that limits it, or NETFLOW_WORKERS"
    );
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
    fn looks_once_a_second_while_datagrams_come() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut watch = DropWatch::default();
        assert!(!watch.is_due(start, false));
        assert_eq!(watch.next_look(), None);
        assert!(!watch.is_due(start, true));
        assert!(!watch.is_due(after(500), true));
        assert_eq!(watch.next_look(), Some(after(1000)));
        assert!(watch.is_due(after(1000), true));
        assert_eq!(watch.next_look(), Some(after(2000)));
        assert!(watch.is_due(after(2000), false));
        assert_eq!(watch.next_look(), None);
    }

    #[test]
    fn warns_once_a_minute_and_at_the_end() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = DropWatch::default();
        assert_eq!(watch.take_report(start, false), None);
        watch.note(2);
        assert_eq!(watch.take_report(start, false), Some(2));
        watch.note(3);
        assert_eq!(watch.take_report(after(59), false), None);
        watch.note(4);
        assert_eq!(watch.take_report(after(60), false), Some(7));
        watch.note(5);
        assert_eq!(watch.take_report(after(61), true), Some(5));
        assert_eq!(watch.take_report(after(61), true), None);
    }
}
