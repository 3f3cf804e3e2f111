//! What was dropped for a reason that no request shows is said in the log: at once, then at most once a minute for each
//! reason, with the number. Instants are arguments.

use std::time::{Duration, Instant};

use tracing::warn;

use super::counters::{Count, Counters, DropReason};

/// How often the counters are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Time between two lines of one reason.
const QUIET: Duration = Duration::from_secs(60);

/// The reasons, and what an operator can do. The other reasons have lines of their own, with a cause.
const WATCHED: [(DropReason, &str, &str); 4] = [
    (
        DropReason::QueueFull,
        "spans were dropped because the memory queue was full (queue_full)",
        "the backend accepts less than arrives, or nothing; set NETFLOW_SPOOL_DIR to keep spans on disk, or raise \
         NETFLOW_QUEUE_SIZE",
    ),
    (
        DropReason::SpoolFull,
        "spans were dropped because the spool was full (spool_full)",
        "the backend accepts less than arrives, or nothing; raise NETFLOW_SPOOL_MAX_SIZE",
    ),
    (
        DropReason::SpoolAge,
        "spans were dropped because they waited in the spool for too long (spool_age)",
        "the backend accepts less than arrives, or nothing; raise NETFLOW_SPOOL_MAX_AGE",
    ),
    (
        DropReason::SpoolUnreadable,
        "spans were lost because the spool can't be read (spool_unreadable)",
        "check the disk under NETFLOW_SPOOL_DIR",
    ),
];

/// What was said of each reason.
#[derive(Debug, Default)]
pub(super) struct Losses {
    reasons: [Said; WATCHED.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    total: Count,
    last: Option<Instant>,
}

impl Said {
    /// What is to be said: all since the last line.
    fn due(&mut self, total: Count, now: Instant) -> Option<Count> {
        let quiet = |last| now.saturating_duration_since(last) < QUIET;
        if total == self.total || self.last.is_some_and(quiet) {
            return None;
        }
        let since = total.minus(self.total);
        *self = Self {
            total,
            last: Some(now),
        };
        Some(since)
    }
}

impl Losses {
    pub(super) fn say(&mut self, counters: &Counters, now: Instant) {
        for ((reason, what, remedy), said) in WATCHED.iter().zip(&mut self.reasons) {
            if let Some(spans) = said.due(counters.dropped.by(*reason).load(), now) {
                warn!(
                    spans = spans.all(),
                    flow_spans = spans.flow,
                    reason = reason.as_str(),
                    remedy,
                    "{what}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_said_at_once_and_then_once_a_minute_with_all_since() {
        let (mut said, start) = (Said::default(), Instant::now());
        let count = |flow| Count { flow, work: 0 };
        assert_eq!(said.due(count(0), start), None);
        assert_eq!(said.due(count(5), start), Some(count(5)));
        assert_eq!(said.due(count(9), start + QUIET / 2), None);
        assert_eq!(said.due(count(12), start + QUIET), Some(count(7)));
        assert_eq!(said.due(count(12), start + QUIET * 3), None);
    }
}
