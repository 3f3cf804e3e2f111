//! When the next datagram is due: a rate in, waits out. No clock of its own.

use std::time::{Duration, Instant};

/// A schedule that is this far behind is given up: what was missed isn't made up for in one burst.
const MAX_LAG: Duration = Duration::from_millis(100);
/// A wait is at least as long, so that a high rate isn't slept through in crumbs.
const MIN_WAIT: Duration = Duration::from_micros(500);

/// A schedule of units (flow records, datagrams) at an even rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Units a second; `None`: as fast as it goes.
    rate: Option<f64>,
    /// When the first unit was due. Moved when the schedule can't be kept.
    origin: Instant,
    /// Time that was given up.
    missed: Duration,
}

impl Pace {
    pub(super) fn new(rate: Option<f64>, now: Instant) -> Self {
        Self {
            rate,
            origin: now,
            missed: Duration::ZERO,
        }
    }

    /// How long to wait before sending more when so many units were sent; `None`: send now.
    pub(super) fn wait(&mut self, sent: u64, now: Instant) -> Option<Duration> {
        let due = self.due(sent)?;
        if due > now {
            return Some((due - now).max(MIN_WAIT));
        }
        let lag = now - due;
        if lag > MAX_LAG {
            self.origin += lag;
            self.missed += lag;
        }
        None
    }

    /// When the unit after so many is due; `None`: at once.
    pub(super) fn due(&self, sent: u64) -> Option<Instant> {
        let after = Duration::try_from_secs_f64(sent as f64 / self.rate?);
        // A date that far away is never reached.
        Some(self.origin + after.unwrap_or(Duration::from_secs(1 << 32)))
    }

    /// Time by which the schedule was missed.
    pub(super) fn missed(&self) -> Duration {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn units_are_due_at_an_even_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(100.0), start);
        assert_eq!(pace.wait(0, start), None);
        assert_eq!(pace.wait(50, start), Some(SECOND / 2));
        assert_eq!(pace.wait(50, start + SECOND / 2), None);
        assert_eq!(pace.wait(51, start + SECOND / 2), Some(SECOND / 100));
    }

    #[test]
    fn a_short_lag_is_made_up_for_and_a_long_one_is_not() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(100.0), start);
        assert_eq!(pace.wait(0, start + SECOND / 20), None);
        assert_eq!(pace.missed(), Duration::ZERO);
        assert_eq!(pace.wait(0, start + 3 * SECOND), None);
        assert_eq!(pace.missed(), 3 * SECOND);
        assert_eq!(pace.wait(100, start + 3 * SECOND), Some(SECOND));
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        assert_eq!(Pace::new(None, start).wait(u64::MAX, start), None);
    }

    #[test]
    fn a_rate_near_zero_is_no_overflow() {
        let start = Instant::now();
        assert!(Pace::new(Some(1e-300), start).wait(1, start).is_some());
    }
}
