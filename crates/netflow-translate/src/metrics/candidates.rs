//! Which series asked for a place before. Bounded, and no exporter takes all of it.
//!
//! A series leaves its mark in the row that its keyed hash names, where it replaces the one that was left longest ago. A
//! flood of series that come once wipes marks out, but a series that comes often renews its mark before that: the heavier
//! it is, the more surely it is found in the next minute. In the view `interface` it asks when its flows of a minute are added
//! up, at the latest.

/// Rows of marks; a power of two.
const ROWS: usize = 1024;
/// Marks of a row.
const ROW: usize = 4;
/// Counters of marks, each of the exporters whose hash names it; a power of two.
const COUNTERS: usize = 1024;
/// Marks that one counter admits in a minute: the marks of others must last.
const SHARE: u16 = 1024;
/// Minutes for which a mark means something.
const MEMORY: u32 = 15;

/// Of a series, and in which minute it asked first.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Mark {
    /// The high half of its keyed hash, never 0.
    series: u32,
    first: u32,
}

/// The row of a series. The low bits of a quick hash differ little where keys differ in one of their numbers: all of
/// its bits take part.
fn row_of(hash: u64) -> usize {
    let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - ROWS.trailing_zeros())) as usize
}

/// Series that asked for a place.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Empty until the first one asks; in each row the last one to ask stands first.
    rows: Vec<[Mark; ROW]>,
    /// Marks that were left in `minute`.
    left: Vec<u16>,
    minute: u32,
}

impl Candidates {
    /// Whether the series asked in an earlier minute; if it never did, this is remembered. `exporter` and `hash` are keyed
    /// hashes of its exporter and of itself.
    pub(super) fn asked_before(&mut self, exporter: u64, hash: u64, minute: u32) -> bool {
        if self.rows.is_empty() {
            self.rows.resize(ROWS, Default::default());
            self.left.resize(COUNTERS, 0);
        }
        if minute > self.minute {
            self.minute = minute;
            self.left.fill(0);
        }
        let counter = self.left.get_mut(exporter as usize & (COUNTERS - 1));
        let row = self.rows.get_mut(row_of(hash));
        let (Some(row), Some(left)) = (row, counter) else {
            return false;
        };
        let series = (hash >> 32) as u32 | 1;
        let is_of = |mark: &Mark| mark.series == series;
        let found = row.iter().position(is_of);
        if let Some(at) = found
            && let Some(of_row) = row.get_mut(..=at)
        {
            of_row.rotate_right(1);
            let [mark, ..] = row;
            if minute.saturating_sub(mark.first) > MEMORY {
                mark.first = minute;
            }
            return mark.first < minute;
        }
        if *left < SHARE {
            *left += 1;
            row.rotate_right(1);
            row[0] = Mark {
                series,
                first: minute,
            };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 1;
    const OTHER: u64 = 2;

    /// The hash of a series whose row follows from its number.
    fn series(n: u64) -> u64 {
        n << 32 | n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff
    }

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
    fn series_whose_hashes_have_the_same_low_bits_have_rows_of_their_own() {
        for step in [1_u64 << 16, 1 << 32, 1 << 40, 0x1_0001 << 20] {
            let mut candidates = Candidates::default();
            let all: Vec<u64> = (1..=100).map(|n| 77 + n * step).collect();
            for minute in 5..=6 {
                let known = all.iter();
                let known = known.filter(|hash| candidates.asked_before(OTHER, **hash, minute));
                assert_eq!(known.count(), if minute == 5 { 0 } else { 100 }, "{step:x}");
            }
        }
    }

    #[test]
    fn a_flood_of_one_exporter_leaves_marks_of_others() {
        let mut candidates = Candidates::default();
        let others: Vec<u64> = (1..=100).map(|n| series(n * 1_000_003)).collect();
        for hash in &others {
            candidates.asked_before(OTHER, *hash, 5);
        }
        for n in 1..20_000 {
            candidates.asked_before(ONE, series(2 * n), 5);
        }
        let known = others.iter();
        let known = known.filter(|hash| candidates.asked_before(OTHER, **hash, 6));
        // One mark a row was left since, in the mean.
        assert!(known.count() > 90);
    }

    #[test]
    fn what_comes_often_is_known_amid_what_comes_once() {
        let mut candidates = Candidates::default();
        let frequent = u64::MAX;
        for n in 1..100_000 {
            candidates.asked_before(n, series(2 * n), 5);
            if n % 100 == 0 {
                candidates.asked_before(OTHER, frequent, 5);
            }
        }
        assert!(candidates.asked_before(OTHER, frequent, 6));
        assert_eq!(candidates.rows.len(), ROWS);
    }
}
