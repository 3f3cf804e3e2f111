//! Records of conversations that have no place, once an exporter has sent very many of them: a few stand for all.

/// So many of an exporter's records get a place in each pane, each for itself; and each that has more than its part of the
/// bytes of all. Eight times as many as there are places: by then they have changed hands often enough.
pub(super) const ALONE: u64 = 32_768;

/// The exporters' records of the current pane that had no place.
#[derive(Debug, Default)]
pub(super) struct SmallRecords {
    /// By group.
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    records: u64,
    bytes: u64,
    /// Of records that nothing stands for yet.
    owed: u64,
    /// What must be owed until a record stands for it.
    due: u64,
    /// What `due` is drawn from.
    drawn: u64,
}

impl Group {
    /// Draws a number of bytes below a bound: by a linear congruential generator (Knuth), to which chance adds.
    fn draw(&mut self, chance: u64, bound: u64) {
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        self.drawn = self.drawn.wrapping_mul(FACTOR).wrapping_add(chance);
        self.due = ((u128::from(self.drawn) * u128::from(bound)) >> 64) as u64;
    }
}

impl SmallRecords {
    /// For a pane without records.
    pub(super) fn reset(&mut self) {
        self.groups.clear();
    }

    /// For how many bytes a record stands that has no place; `None`: another will stand for it. `chance` is a number that
    /// no sender can foresee.
    ///
    /// A record stands for those before it as soon as they have a certain number of bytes together, which is drawn anew
    /// each time and is one in [`ALONE`] of the exporter's bytes on average. So a key's sum is right on average, whatever the
    /// order of records, with a standard deviation of the root of that part times what the key's small records have.
    #[inline(always)]
    pub(super) fn stands_for(&mut self, group: u16, bytes: u64, chance: u64) -> Option<u64> {
        let Some(of) = self.groups.get_mut(usize::from(group)) else {
            return self.begin(group, bytes);
        };
        of.records += 1;
        of.bytes = of.bytes.saturating_add(bytes);
        let part = of.bytes / ALONE;
        if of.records <= ALONE || bytes > part {
            return Some(bytes);
        }
        of.owed = of.owed.saturating_add(bytes);
        if of.owed < of.due {
            return None;
        }
        of.draw(chance, 2 * part);
        Some(std::mem::take(&mut of.owed))
    }

    #[cold]
    fn begin(&mut self, group: u16, bytes: u64) -> Option<u64> {
        let group = usize::from(group);
        self.groups.resize(group + 1, Group::default());
        self.groups[group] = Group {
            records: 1,
            bytes,
            ..Group::default()
        };
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_records_and_heavy_ones_stand_for_themselves() {
        let mut small = SmallRecords::default();
        for n in 0..ALONE {
            assert_eq!(small.stands_for(1, n, n), Some(n));
        }
        let heavy = ALONE * ALONE;
        assert_eq!(small.stands_for(1, heavy, 7), Some(heavy));
        assert_eq!(small.stands_for(2, 1, 7), Some(1), "another exporter");
    }

    #[test]
    fn small_records_are_counted_once_for_all_of_them() {
        let mut small = SmallRecords::default();
        let records = 20 * ALONE;
        let counted = (0..records)
            .filter_map(|n| small.stands_for(0, 10, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let (mut times, mut bytes) = (0, 0);
        for of in counted {
            times += 1;
            bytes += of;
        }
        let part = 10 * records / ALONE;
        assert!(
            10 * records - bytes <= 2 * part,
            "{bytes} of {}",
            10 * records
        );
        // ALONE, and then one of `n / ALONE` records on average: the sum of that is ALONE times the logarithm of 20.
        assert!(times > 3 * ALONE && times < 5 * ALONE, "{times}");
    }

    #[test]
    fn numbers_beyond_counting_do_no_harm() {
        let mut small = SmallRecords::default();
        for n in 0..2 * ALONE {
            let bytes = [u64::MAX, 1][n as usize % 2];
            if let Some(of) = small.stands_for(0, bytes, n) {
                assert!(of >= bytes);
            }
        }
    }
}
