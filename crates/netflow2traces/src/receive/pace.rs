//! When to nap after a short burst. Burst sizes and instants in, naps out; no clock of its own.
//!
//! Under load a worker that waits for each datagram is woken for each datagram, and the waking costs
//! more than the datagram. A nap lets several gather. At low rates nothing would gather, so there
//! is none, and each datagram is handled at once.

use std::time::{Duration, Instant};

/// The longest nap, and so the most that a datagram may wait for its reader. Batches wait a second.
const LONGEST: Duration = Duration::from_millis(4);

/// The shortest under load; what gathers in it at higher rates is more than enough.
const LEAST: Duration = Duration::from_millis(1);

/// Shorter naps don't pay: Linux rounds sleeps up by 50 µs.
const SHORTEST: Duration = Duration::from_micros(100);

/// With a receive buffer of this size, 10 Gbit/s of datagrams for [`LONGEST`] (5 MB, and two to
/// three times that by the kernel's accounting) fill less than half of it.
const BUFFER_FOR_LONGEST: usize = 32 << 20;

/// A nap pays when so many datagrams gather in it that at least one waking is saved …
const WORTHWHILE: f64 = 2.0;

/// … and one in which more gather saves little: what a waking costs is then shared by so many.
const PLENTY: f64 = 40.0;

/// After this long without a burst, the rate of before says nothing.
const MEMORY: Duration = Duration::from_millis(20);

/// Follows the rate of one worker's datagrams.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Duration,
    last: Option<Instant>,
    /// Datagrams a second.
    rate: f64,
}

impl Pace {
    /// For sockets whose receive buffers hold `buffer_octets` in the kernel's accounting. Small
    /// buffers shorten the nap, so that it never is what makes them overflow.
    pub(super) fn new(buffer_octets: usize) -> Self {
        let share = (buffer_octets as f64 / BUFFER_FOR_LONGEST as f64).min(1.0);
        Self {
            limit: LONGEST.mul_f64(share),
            last: None,
            rate: 0.0,
        }
    }

    /// The sockets are empty after `datagrams` since the last call; how long to nap before the next
    /// look, or `None` to wait for the next datagram.
    pub(super) fn after(&mut self, datagrams: usize, now: Instant) -> Option<Duration> {
        if datagrams == 0 || self.limit < SHORTEST {
            return None;
        }
        let gap = self.last.map(|last| now.saturating_duration_since(last));
        self.last = Some(now);
        // The first burst has no gap before it and says nothing about a rate.
        let gap = gap?.max(Duration::from_micros(1));
        let sample = datagrams as f64 / gap.as_secs_f64();
        if gap > MEMORY {
            self.rate = sample;
        } else {
            self.rate += (sample - self.rate) / 4.0;
        }
        let most = self.limit.as_secs_f64();
        if self.rate * most < WORTHWHILE {
            return None;
        }
        let nap = (PLENTY / self.rate).clamp(LEAST.as_secs_f64().min(most), most);
        Some(Duration::from_secs_f64(nap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 64 << 20;

    #[test]
    fn busy_exporters_are_worth_a_nap() {
        let mut naps = run(&mut Pace::new(LARGE), 1, Duration::from_micros(30), 20);
        // Thirty a millisecond: a little more than one until they are plenty.
        let nap = naps.pop().unwrap().unwrap();
        assert!((LEAST..2 * LEAST).contains(&nap), "{nap:?}");
        // While napping, the same rate comes as larger bursts.
        let mut pace = Pace::new(LARGE);
        let naps = run(&mut pace, 41, nap, 20);
        assert!(
            naps[5..]
                .iter()
                .all(|next| next.unwrap().abs_diff(nap) < LEAST / 2),
            "{naps:?}"
        );
    }

    #[test]
    fn the_nap_is_as_long_as_plenty_takes_to_gather() {
        for (rate, expected) in [(1_000_000, LEAST), (20_000, 2 * LEAST), (1_000, LONGEST)] {
            let gap = Duration::from_secs(1) / rate;
            let nap = run(&mut Pace::new(LARGE), 1, gap, 40).pop().unwrap();
            let off = nap.unwrap().abs_diff(expected);
            assert!(off < LEAST / 10, "{rate}: {nap:?}");
        }
    }

    #[test]
    fn rare_datagrams_and_rare_bursts_are_not() {
        for datagrams in [1, 20, 40] {
            let naps = run(
                &mut Pace::new(LARGE),
                datagrams,
                Duration::from_millis(100),
                20,
            );
            assert!(naps.iter().all(Option::is_none), "{naps:?}");
        }
    }

    #[test]
    fn load_that_ends_is_forgotten_at_the_next_burst() {
        let mut pace = Pace::new(LARGE);
        let busy = Instant::now();
        for millis in 0..100 {
            pace.after(200, busy + Duration::from_millis(millis));
        }
        assert_eq!(pace.after(0, busy + Duration::from_millis(101)), None);
        assert_eq!(pace.after(1, busy + Duration::from_millis(150)), None);
    }

    #[test]
    fn small_buffers_shorten_the_nap_to_none() {
        let nap = |octets| {
            run(&mut Pace::new(octets), 100, Duration::from_millis(1), 20)
                .pop()
                .unwrap()
        };
        assert_eq!(nap(4 << 20), Some(LONGEST / 8));
        assert_eq!(nap(2 * 212_992), None);
    }

    fn run(pace: &mut Pace, datagrams: usize, gap: Duration, times: u32) -> Vec<Option<Duration>> {
        let start = Instant::now();
        (0..times)
            .map(|time| pace.after(datagrams, start + gap * time))
            .collect()
    }
}
