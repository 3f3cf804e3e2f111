//! A distribution over fixed buckets that one thread adds to and anyone reads.

use super::Counter;

/// Counts values by the first bound that they don't exceed.
#[derive(Debug)]
pub struct Histogram<const BOUNDS: usize> {
    bounds: &'static [u64; BOUNDS],
    buckets: [Counter; BOUNDS],
    beyond: Counter,
    sum: Counter,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    /// `bounds` ascend, and each belongs to its bucket.
    #[must_use]
    pub fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| Counter::default()),
            beyond: Counter::default(),
            sum: Counter::default(),
        }
    }

    /// Counts a value: only the owning thread may call it.
    #[inline]
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets.get(bucket).unwrap_or(&self.beyond).add(1);
        self.sum.add(value);
    }

    /// What it holds now.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        let buckets = self.bounds.iter().zip(&self.buckets);
        Distribution {
            buckets: buckets
                .map(|(bound, count)| (*bound, count.value()))
                .collect(),
            beyond: self.beyond.value(),
            sum: self.sum.value(),
        }
    }
}

/// The counts of a [`Histogram`] at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Distribution {
    /// Upper bounds, and how many values lie between each and the one before.
    pub buckets: Vec<(u64, u64)>,
    /// Values above the last bound.
    pub beyond: u64,
    /// Of all values.
    pub sum: u64,
}

impl Distribution {
    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        let inside: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        inside + self.beyond
    }

    /// Takes in another one with the same bounds.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        if self.buckets.is_empty() {
            return other.clone();
        }
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.beyond += other.beyond;
        self.sum += other.sum;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[0, 10, 100]);
        for value in [0, 1, 10, 11, 100, 101, 5000] {
            histogram.record(value);
        }
        let seen = histogram.distribution();
        assert_eq!(seen.buckets, [(0, 1), (10, 2), (100, 2)]);
        assert_eq!((seen.beyond, seen.sum, seen.count()), (2, 5223, 7));
        let twice = Distribution::default().plus(&seen).plus(&seen);
        assert_eq!((twice.buckets[1], twice.count()), ((10, 4), 14));
    }
}
