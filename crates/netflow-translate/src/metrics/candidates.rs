//! Which series asked for a place before. Bounded, and no exporter takes all of it.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Series remembered at once.
const CAPACITY: usize = 4096;
/// Of one exporter between two agings: others must find room too.
const SHARE: usize = CAPACITY / 4;
/// Minutes for which a series is remembered.
const MEMORY: u32 = 15;

/// Series that asked for a place, by their keyed hash of 64 bits, and in which minute first.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    asked: HashMap<u64, u32, RandomState>,
    /// Series remembered since the last aging, by exporter.
    shares: HashMap<[u64; 2], usize, RandomState>,
    aged: u32,
}

impl Candidates {
    /// Whether the series asked in an earlier minute; if it never did, this is remembered.
    pub(super) fn asked_before(&mut self, exporter: [u64; 2], hash: u64, minute: u32) -> bool {
        self.age(minute);
        if let Some(first) = self.asked.get(&hash) {
            return *first < minute;
        }
        if self.asked.len() < CAPACITY {
            let share = self.shares.entry(exporter).or_default();
            if *share < SHARE {
                *share += 1;
                self.asked.insert(hash, minute);
            }
        }
        false
    }

    /// Forgets what is older than [`MEMORY`].
    pub(super) fn age(&mut self, minute: u32) {
        if minute > self.aged {
            self.aged = minute;
            self.asked
                .retain(|_, first| minute.saturating_sub(*first) <= MEMORY);
            self.shares.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u64; 2] = [0, 1];
    const OTHER: [u64; 2] = [0, 2];

    #[test]
    fn a_series_is_known_from_its_second_minute_on() {
        let mut candidates = Candidates::default();
        assert!(!candidates.asked_before(ONE, 1, 300));
        assert!(!candidates.asked_before(ONE, 1, 300));
        assert!(candidates.asked_before(ONE, 1, 301));
        assert!(candidates.asked_before(ONE, 1, 300 + MEMORY));
        assert!(!candidates.asked_before(ONE, 1, 301 + MEMORY));
    }

    #[test]
    fn a_flood_of_one_exporter_leaves_room_for_another() {
        let mut candidates = Candidates::default();
        for n in 0..20_000 {
            candidates.asked_before(ONE, n, 5);
        }
        assert_eq!(candidates.asked.len(), SHARE);
        assert!(!candidates.asked_before(OTHER, u64::MAX, 5));
        assert!(candidates.asked_before(OTHER, u64::MAX, 6));
    }

    #[test]
    fn invented_exporters_take_no_more_than_its_capacity() {
        let mut candidates = Candidates::default();
        for n in 0..20_000 {
            candidates.asked_before([1, n], n, 5);
        }
        assert_eq!(candidates.asked.len(), CAPACITY);
        assert!(candidates.shares.len() <= CAPACITY);
        assert!(!candidates.asked_before(ONE, u64::MAX, 5 + MEMORY + 1));
        assert_eq!(candidates.asked.len(), 1);
    }
}
