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
    refused: Tally,
    partial: Tally,
    remark: Limiter,
    too_large: Tally,
    encoding: Tally,
    dies: Limiter,
    fails_alone: Limiter,
    paused: Limiter,
}

/// A pause that a backend asks for is said when it is longer than this.
const LONG_PAUSE: Duration = Duration::from_secs(30);

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

/// Lets one line through a minute, with the spans since the last.
#[derive(Debug, Default)]
struct Tally {
    limiter: Limiter,
    spans: u64,
}

impl Tally {
    fn pass(&mut self, spans: u64, now: Instant) -> Option<u64> {
        self.spans += spans;
        self.limiter.pass(now)?;
        Some(std::mem::take(&mut self.spans))
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
            "backend is not accepting spans: they wait in the queue"
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
                "backend accepts spans again"
            );
        }
    }

    pub(super) fn refused(&mut self, cause: &Cause, spans: Count, now: Instant) {
        if let Some(spans) = self.refused.pass(spans.all(), now) {
            warn!(
                cause = %cause.text,
                remedy = cause.remedy,
                spans,
                "backend rejected spans: they are not retried"
            );
        }
    }

    pub(super) fn partial(&mut self, rejected: u64, message: &str, now: Instant) {
        if let Some(rejected) = self.partial.pass(rejected, now) {
            warn!(rejected, message, "backend accepted a request only in part");
        }
    }

    /// A partial success that rejects nothing is a hint for the operator (OTLP, "Partial Success").
    pub(super) fn remark(&mut self, message: &str, now: Instant) {
        if let Some(suppressed) = self.remark.pass(now) {
            info!(
                message,
                suppressed, "backend accepted all spans, with a message"
            );
        }
    }

    /// The backend refused a request as too large.
    pub(super) fn learnt(limit_bytes: usize, cause: &Cause) {
        info!(limit_bytes, cause = %cause.text, "backend accepts no larger requests: sending smaller ones");
    }

    pub(super) fn too_large(&mut self, cause: &Cause, bytes: usize, now: Instant) {
        if let Some(spans) = self.too_large.pass(1, now) {
            warn!(cause = %cause.text, bytes, spans, "span dropped: too large for the backend");
        }
    }

    pub(super) fn encoding(&mut self, error: &str, spans: Count, now: Instant) {
        if let Some(spans) = self.encoding.pass(spans.all(), now) {
            warn!(
                error,
                spans, "spans dropped: they can't be converted to the protocol to send"
            );
        }
    }

    /// Large requests die on the way while smaller ones pass.
    pub(super) fn dies(&mut self, limit_bytes: usize, bytes: usize, cause: &Cause, now: Instant) {
        if self.dies.pass(now).is_some() {
            warn!(
                bytes,
                limit_bytes,
                cause = %cause.text,
                "large requests fail while smaller ones pass: sending smaller ones; a proxy or load balancer may limit \
                 the size"
            );
        }
    }

    /// A batch fails although larger ones pass.
    pub(super) fn fails_alone(&mut self, spans: Count, attempts: u32, cause: &Cause, now: Instant) {
        if self.fails_alone.pass(now).is_some() {
            warn!(
                spans = spans.all(),
                attempts,
                cause = %cause.text,
                "some spans fail repeatedly while others are accepted: they are retried in smaller parts, and delay no others"
            );
        }
    }

    /// The backend asked for a pause.
    pub(super) fn paused(&mut self, asked: Duration, cause: &Cause, now: Instant) {
        if asked > LONG_PAUSE && self.paused.pass(now).is_some() {
            warn!(
                pause_s = asked.as_secs(),
                cause = %cause.text,
                "backend asked for a pause: spans wait in the queue until it is over"
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
