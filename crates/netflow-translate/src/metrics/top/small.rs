//! Records of conversations that have no place, once an exporter has sent very many of them: some stand for others.

/// In each pane so many of an exporter's records get a place, each for itself; and so many again each time before fewer
/// of them do. Eight times as many as there are places: by then they have changed hands often enough.
pub(super) const ALONE: u64 = 32_768;

/// The exporters' records of the current pane that had no place.
#[derive(Debug, Default)]
pub(super) struct SmallRecords {
    /// By group; as many as there are exporters that reported in an earlier pane, at most.
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// A record of fewer bytes may stand for so many, or be left to others; 0: each stands for itself.
    part: u64,
    /// Records that were given a place since `part` changed.
    placed: u64,
    /// Of the first records: the sum of the binary logarithms of their bytes.
    magnitudes: u64,
    /// Where the generator of numbers is.
    drawn: u64,
}

impl SmallRecords {
    /// For a pane without records.
    pub(super) fn reset(&mut self) {
        self.groups.clear();
    }

    /// For how many bytes a record stands that has no place; `None`: others stand for it. `chance` is a number that no
    /// sender can foresee.
    ///
    /// Of a record smaller than a certain part, that part is counted as often as the record is as large, by chance: so the
    /// sum of any records is right on average, whatever their sizes and their order, and its variance is at most that part
    /// times their bytes. The part begins as the typical size of a record, which a few invented ones don't change, and
    /// doubles each time that [`ALONE`] records were given a place. Each of these is or stands for a part at least: the part
    /// stays below two in `ALONE` of the bytes of all.
    #[inline(always)]
    pub(super) fn stands_for(&mut self, group: u16, bytes: u64, chance: u64) -> Option<u64> {
        let group = usize::from(group);
        if group >= self.groups.len() {
            self.begin(group);
        }
        let of = &mut self.groups[group];
        let mut counted = bytes;
        if bytes < of.part {
            if of.draw(chance) >= bytes {
                return None;
            }
            counted = of.part;
        }
        of.placed += 1;
        if of.part == 0 {
            of.magnitudes += u64::from(bytes.max(1).ilog2());
        }
        if of.placed == ALONE {
            of.raise();
        }
        Some(counted)
    }

    #[cold]
    fn begin(&mut self, group: usize) {
        self.groups.resize(group + 1, Group::default());
    }
}

impl Group {
    /// A number below the part: by a linear congruential generator (Knuth), to which chance adds.
    #[inline(always)]
    fn draw(&mut self, chance: u64) -> u64 {
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        self.drawn = self.drawn.wrapping_mul(FACTOR).wrapping_add(chance);
        ((u128::from(self.drawn) * u128::from(self.part)) >> 64) as u64
    }

    #[cold]
    fn raise(&mut self) {
        self.placed = 0;
        self.part = match self.part {
            0 => 2 << (self.magnitudes / ALONE).min(62),
            part => part.saturating_mul(2),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that depends on `n` alone, and looks like chance.
    fn scatter(n: u64) -> u64 {
        let mixed = (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn the_first_records_and_large_ones_stand_for_themselves() {
        let mut small = SmallRecords::default();
        for n in 1..=ALONE {
            assert_eq!(small.stands_for(1, n, scatter(n)), Some(n));
        }
        assert_eq!(small.stands_for(1, 1 << 40, 7), Some(1 << 40));
        assert_eq!(small.stands_for(2, 1, 7), Some(1), "another exporter");
    }

    /// Large and small records, in bursts: each kind has what it sent, within four standard deviations.
    #[test]
    fn sums_are_right_on_average_whatever_the_size() {
        let mut small = SmallRecords::default();
        let sizes = [500, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 7_000];
        let (mut sent, mut counted) = ([0_u64; 3], [0_u64; 3]);
        let mut part: u64 = 0;
        for n in 0..1_500_000_u64 {
            let bytes = sizes[(n / 3) as usize % sizes.len()];
            let kind = [500, 20, 7_000].iter().position(|of| *of == bytes).unwrap();
            sent[kind] += bytes;
            counted[kind] += small.stands_for(0, bytes, scatter(n)).unwrap_or(0);
            part = small.groups[0].part;
        }
        let whole: u64 = sent.iter().sum();
        assert!(part > 500 && part <= whole / ALONE, "{part}");
        for (sent, counted) in sent.into_iter().zip(counted) {
            let bound = 4.0 * (part as f64 * sent as f64).sqrt();
            let off = sent.abs_diff(counted);
            assert!((off as f64) < bound, "{counted} of {sent}, bound {bound}");
        }
    }

    #[test]
    fn the_more_records_there_are_the_fewer_get_a_place() {
        let mut small = SmallRecords::default();
        let mut placed = |from: u64, to: u64| {
            let chances = (from..to).map(scatter);
            let placed = chances.filter(|n| small.stands_for(0, 1_000, *n).is_some());
            placed.count() as u64
        };
        assert_eq!(placed(0, ALONE), ALONE);
        // The part doubles with each ALONE, and so does what it takes until the next.
        assert!(placed(ALONE, 32 * ALONE) < 6 * ALONE);
        assert!(placed(32 * ALONE, 40 * ALONE) < ALONE);
    }

    #[test]
    fn an_invented_size_leaves_the_others_theirs() {
        let mut small = SmallRecords::default();
        let mut counted = 0;
        for n in 0..4 * ALONE {
            if n % 100 == 0 {
                assert_eq!(small.stands_for(0, u64::MAX, 1), Some(u64::MAX));
            }
            counted += small.stands_for(0, 1_000, scatter(n)).unwrap_or(0);
        }
        let sent = 4_000 * ALONE;
        assert!(counted.abs_diff(sent) < sent / 50, "{counted} of {sent}");
    }
}
