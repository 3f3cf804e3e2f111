//! When to nap after a short burst. Burst sizes and instants in, naps out; no clock of its own.
//!
//! Under load a worker that waits for each datagram is woken for each datagram, and the waking costs
//! more than the datagram. A nap lets several gather. At low rates nothing would gather, so there
//! is none, and each datagram is handled at once.

use std::time::{Duration, Instant};

/// The longest nap, and so the most that a datagram may wait for its reader.
const LONGEST: Duration = Duration::from_millis(1);

/// Shorter naps don't pay: Linux rounds sleeps up by 50 µs.
const SHORTEST: Duration = Duration::from_micros(100);

/// With a receive buffer of this size, 10 Gbit/s of datagrams for [`LONGEST`] (1.25 MB, and two to
/// three times that by the kernel's accounting) fill less than half of it.
const BUFFER_FOR_LONGEST: usize = 8 << 20;

/// A nap pays when so many datagrams gather in it that at least one waking is saved.
const WORTHWHILE: f64 = 2.0;

/// After this many naps' time without a burst, the rate of before says nothing.
const MEMORY_NAPS: u32 = 8;

/// Follows the rate of one worker's datagrams.
#[derive(Debug)]
pub(super) struct Pace {
    nap: Duration,
    last: Option<Instant>,
    /// Datagrams that are expected to arrive during a nap.
    expected: f64,
}

impl Pace {
    /// For sockets whose receive buffers hold `buffer_octets` in the kernel's accounting. Small
    /// buffers shorten the nap, so that it never is what makes them overflow.
    pub(super) fn new(buffer_octets: usize) -> Self {
        let share = (buffer_octets as f64 / BUFFER_FOR_LONGEST as f64).min(1.0);
        Self {
            nap: LONGEST.mul_f64(share),
            last: None,
            expected: 0.0,
        }
    }

    /// The sockets are empty after `datagrams` since the last call; how long to nap before the next
    /// look, or `None` to wait for the next datagram.
    pub(super) fn after(&mut self, datagrams: usize, now: Instant) -> Option<Duration> {
        if datagrams == 0 || self.nap < SHORTEST {
            return None;
        }
        let gap = self.last.map(|last| now.saturating_duration_since(last));
        self.last = Some(now);
        // The first burst has no gap before it and says nothing about a rate.
        let gap = gap?.max(Duration::from_micros(1));
        let sample = datagrams as f64 * self.nap.as_secs_f64() / gap.as_secs_f64();
        if gap > self.nap * MEMORY_NAPS {
            self.expected = sample;
        } else {
            self.expected += (sample - self.expected) / 4.0;
        }
        (self.expected >= WORTHWHILE).then_some(self.nap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 64 << 20;

    #[test]
    fn busy_exporters_are_worth_a_nap() {
        let mut naps = run(&mut Pace::new(LARGE), 1, Duration::from_micros(30), 20);
        assert_eq!(naps.pop().unwrap(), Some(LONGEST));
        // While napping, the same rate comes as larger bursts.
        let mut pace = Pace::new(LARGE);
        let naps = run(&mut pace, 33, Duration::from_millis(1), 20);
        assert!(
            naps[5..].iter().all(|nap| *nap == Some(LONGEST)),
            "{naps:?}"
        );
    }

    #[test]
    fn rare_datagrams_and_rare_bursts_are_not() {
        for datagrams in [1, 20, 60] {
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
        assert_eq!(nap(4 << 20), Some(LONGEST / 2));
        assert_eq!(nap(2 * 212_992), None);
    }

    fn run(pace: &mut Pace, datagrams: usize, gap: Duration, times: u32) -> Vec<Option<Duration>> {
        let start = Instant::now();
        (0..times)
            .map(|time| pace.after(datagrams, start + gap * time))
            .collect()
    }
}
