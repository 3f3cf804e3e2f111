//! The log lines of delivery: one for a change, others at most once a minute. Instants are
//! arguments.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::counters::Count;
use super::outcome::Cause;

/// Time between two lines of the same sense.
const QUIET: Duration = Duration::from_secs(60);

/// What has been said, so as not to say it again.
#[derive(Debug, Default)]
pub(super) struct Report {
    outage: Option<Outage>,
    last_outage: Option<Instant>,
    refused: Limiter,
    partial: Limiter,
    too_large: Limiter,
    encoding: Limiter,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// The cause in the log, once there is one.
    said: Option<String>,
}

/// Lets one through a minute and counts the others.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    last: Option<Instant>,
    suppressed: u64,
}

impl Limiter {
    /// The number held back since the last line, if it is time for another.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < QUIET)
        {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Report {
    /// A request failed in a way worth another attempt, for the so-many-th time in a row. Said once
    /// for an outage, and again when its cause changes; an outage right after another is said when
    /// it has lasted. A single failure that names no setting is a hiccup and no outage.
    pub(super) fn away(&mut self, cause: &Cause, failures: u32, now: Instant) {
        let outage = self.outage.get_or_insert(Outage {
            since: now,
            said: None,
        });
        let recent = self
            .last_outage
            .is_some_and(|last| now.saturating_duration_since(last) < QUIET);
        let hiccup = failures < 2 && cause.remedy.is_none();
        if recent || hiccup || outage.said.as_ref() == Some(&cause.text) {
            return;
        }
        outage.said = Some(cause.text.clone());
        self.last_outage = Some(now);
        warn!(
            cause = %cause.text,
            remedy = cause.remedy,
            "backend doesn't take spans: they wait in the queue"
        );
    }

    /// The backend answered while `waiting` spans were queued or in flight.
    pub(super) fn back(&mut self, waiting: Count, now: Instant) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        if outage.said.is_some() {
            let away_ms = now.saturating_duration_since(outage.since).as_millis();
            info!(
                away_ms,
                waiting_spans = waiting.all(),
                "backend takes spans again"
            );
        }
    }

    pub(super) fn refused(&mut self, cause: &Cause, spans: Count, now: Instant) {
        if let Some(suppressed) = self.refused.pass(now) {
            let spans = spans.all();
            warn!(
                cause = %cause.text,
                remedy = cause.remedy,
                spans,
                suppressed,
                "backend refused spans for good"
            );
        }
    }

    pub(super) fn partial(&mut self, rejected: u64, message: &str, now: Instant) {
        if let Some(suppressed) = self.partial.pass(now) {
            warn!(
                rejected,
                message, suppressed, "backend took a request only in part"
            );
        }
    }

    pub(super) fn learnt(limit_octets: usize, cause: &Cause) {
        info!(limit_octets, cause = %cause.text, "backend takes no larger requests: they get smaller");
    }

    pub(super) fn too_large(&mut self, cause: &Cause, octets: usize, now: Instant) {
        if let Some(suppressed) = self.too_large.pass(now) {
            warn!(cause = %cause.text, octets, suppressed, "span dropped: too large for the backend");
        }
    }

    pub(super) fn encoding(&mut self, error: &str, now: Instant) {
        if let Some(suppressed) = self.encoding.pass(now) {
            warn!(
                error,
                suppressed, "batch dropped: it can't be put into the form to send"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_with_the_number_held_back() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        assert_eq!(limiter.pass(start), Some(0));
        assert_eq!(limiter.pass(start + QUIET / 2), None);
        assert_eq!(limiter.pass(start + QUIET / 2), None);
        assert_eq!(limiter.pass(start + QUIET), Some(2));
    }

    #[test]
    fn a_short_outage_after_another_is_not_said() {
        let (mut report, start) = (Report::default(), Instant::now());
        let cause = Cause::new("connection refused");
        report.away(&cause, 2, start);
        assert!(
            report
                .outage
                .as_ref()
                .is_some_and(|outage| outage.said.is_some())
        );
        report.back(Count::default(), start);
        report.away(&cause, 2, start + QUIET / 2);
        assert!(
            report
                .outage
                .as_ref()
                .is_some_and(|outage| outage.said.is_none())
        );
        report.away(&cause, 3, start + QUIET);
        assert!(
            report
                .outage
                .as_ref()
                .is_some_and(|outage| outage.said.is_some())
        );
    }
}
