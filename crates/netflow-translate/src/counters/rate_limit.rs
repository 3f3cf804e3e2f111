//! A limit for log lines that could come without end.

use std::time::{Duration, Instant};

/// Lets a few log lines pass in each interval and counts the others.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use netflow_translate::counters::RateLimit;
/// let mut limit = RateLimit::new(1, Duration::from_secs(60));
/// let start = Instant::now();
/// assert_eq!(limit.admit(start), Some(0));
/// assert_eq!(limit.admit(start), None);
/// assert_eq!(limit.admit(start + Duration::from_secs(60)), Some(1));
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit {
    lines: u32,
    interval: Duration,
    /// Start of the interval and lines that passed in it.
    current: Option<(Instant, u32)>,
    held_back: u64,
}

impl RateLimit {
    /// Lets `lines` pass in each `interval`, which begins with the first of them.
    #[must_use]
    pub const fn new(lines: u32, interval: Duration) -> Self {
        Self {
            lines,
            interval,
            current: None,
            held_back: 0,
        }
    }

    /// Whether a line may be written: then how many were held back since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        match self.admit_of(1, now) {
            (0, _) => None,
            (_, held_back) => Some(held_back),
        }
    }

    /// How many of these lines may be written, and how many were held back between the last one and
    /// the first of them.
    pub fn admit_of(&mut self, lines: u32, now: Instant) -> (u32, u64) {
        let (start, passed) = self
            .current
            .filter(|(start, _)| now.saturating_duration_since(*start) < self.interval)
            .unwrap_or((now, 0));
        let admitted = lines.min(self.lines.saturating_sub(passed));
        let held_back = match admitted {
            0 => 0,
            _ => std::mem::take(&mut self.held_back),
        };
        self.held_back += u64::from(lines - admitted);
        self.current = Some((start, passed + admitted));
        (admitted, held_back)
    }

    /// How many lines were held back since the last one that passed.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told() {
        let start = Instant::now();
        let mut limit = RateLimit::new(2, MINUTE);
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start), None);
        assert_eq!(limit.admit(start + MINUTE / 2), None);
        assert_eq!(limit.held_back(), 2);
        assert_eq!(limit.admit(start + MINUTE), Some(2));
        assert_eq!(limit.admit(start + MINUTE), Some(0));
        assert_eq!(limit.admit(start + MINUTE), None);
    }

    #[test]
    fn of_several_lines_the_first_pass() {
        let start = Instant::now();
        let mut limit = RateLimit::new(3, MINUTE);
        assert_eq!(limit.admit_of(2, start), (2, 0));
        assert_eq!(limit.admit_of(5, start), (1, 0));
        assert_eq!(limit.admit_of(5, start), (0, 0));
        assert_eq!(limit.held_back(), 9);
        assert_eq!(limit.admit_of(0, start + MINUTE), (0, 0));
        assert_eq!(limit.admit_of(5, start + MINUTE), (3, 9));
        assert_eq!(limit.held_back(), 2);
    }

    #[test]
    fn an_interval_begins_with_its_first_line() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1, MINUTE);
        assert_eq!(limit.admit(start), Some(0));
        assert_eq!(limit.admit(start + 3 * MINUTE), Some(0));
        assert_eq!(limit.admit(start + 3 * MINUTE + MINUTE / 2), None);
    }

    #[test]
    fn an_instant_before_the_interval_belongs_to_it() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1, MINUTE);
        assert_eq!(limit.admit(start + MINUTE), Some(0));
        assert_eq!(limit.admit(start), None);
    }
}
