//! Thresholds of OpenTelemetry's consistent probability sampling: what is kept, and how that is written in a span.
//!
//! Source: OpenTelemetry specification, "TraceState: Probability Sampling" (`ot=th:`).

use std::num::NonZeroU64;

/// Random bits that a threshold is compared with.
const BITS: u32 = 56;
const ALL: u64 = 1 << BITS;
/// Hexadecimal digits behind the leading `f`s of a ratio's threshold: an error of at most 1 in 2^13 of the probability.
const PRECISION: u32 = 4;

/// What is rejected of 2^56: a random number below it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Threshold(u64);

impl Threshold {
    pub(crate) const ALWAYS: Self = Self(0);
    pub(crate) const NEVER: Self = Self(ALL);

    /// Of a share of all, from 0 to 1, rounded to few digits.
    pub(crate) fn of_ratio(ratio: f64) -> Self {
        if ratio >= 1.0 {
            return Self::ALWAYS;
        }
        // Of nothing, or less than a threshold can say.
        let kept = (ratio.max(0.0) * ALL as f64).round() as u64;
        if kept == 0 {
            return Self::NEVER;
        }
        Self::rounded(kept)
    }

    /// Of keeping so many of 2^56, at least one.
    fn rounded(kept: u64) -> Self {
        let exact = ALL - kept;
        let leading = (kept.leading_zeros() - (u64::BITS - BITS)) / 4;
        let dropped = BITS.saturating_sub(4 * (leading + PRECISION));
        let unit = 1_u64 << dropped;
        let rounded = (exact + unit / 2) / unit * unit;
        Self(rounded.min(ALL - unit))
    }

    /// Of `part` among `whole`, at most 1.
    #[inline]
    pub(crate) fn of_share(part: u64, whole: NonZeroU64) -> Self {
        if part >= whole.get() {
            return Self::ALWAYS;
        }
        let kept = (u128::from(part) << BITS) / u128::from(whole.get());
        Self(ALL - kept as u64)
    }

    /// As [`of_share`](Self::of_share), rounded to few digits, as spans carry it.
    #[inline]
    pub(crate) fn of_share_in_few_digits(part: u64, whole: NonZeroU64) -> Self {
        match Self::of_share(part, whole) {
            Self::ALWAYS => Self::ALWAYS,
            _ if part == 0 => Self::NEVER,
            // Less than a threshold can say is the least that it can say.
            Self(rejected) => Self::rounded((ALL - rejected).max(1)),
        }
    }

    /// What a record of so many bytes that is kept by it stands for. A number that is too large becomes the largest.
    #[inline]
    pub(crate) fn adjusted(self, bytes: u64) -> u64 {
        if self == Self::ALWAYS {
            return bytes;
        }
        (bytes as f64 / self.probability()).round() as u64
    }

    /// By the lower 56 bits of a random number.
    #[inline]
    pub(crate) fn keeps(self, random: u64) -> bool {
        random & (ALL - 1) >= self.0
    }

    /// Of being kept.
    pub(crate) fn probability(self) -> f64 {
        (ALL - self.0) as f64 / ALL as f64
    }
}

/// `ot=th:…`, as spans carry it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TraceState {
    octets: [u8; 20],
    len: usize,
}

impl TraceState {
    /// The threshold in hexadecimal, without zeros behind it.
    pub(crate) const fn of(threshold: Threshold) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut octets = *b"ot=th:00000000000000";
        let mut rest = threshold.0 << (u64::BITS - BITS);
        let mut len = 6;
        loop {
            octets[len] = DIGITS[(rest >> 60) as usize];
            len += 1;
            rest <<= 4;
            if rest == 0 || len == octets.len() {
                return Self { octets, len };
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        let text = self.octets.get(..self.len).unwrap_or_default();
        str::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_become_thresholds_of_few_digits() {
        for (ratio, state) in [
            (1.0, "ot=th:0"),
            (0.5, "ot=th:8"),
            (0.25, "ot=th:c"),
            (0.1, "ot=th:e666"),
            (0.01, "ot=th:fd70a"),
            (0.001, "ot=th:ffbe77"),
            (1.0 / 3.0, "ot=th:aaab"),
            (0.999_999_9, "ot=th:0"),
            (1e-9, "ot=th:fffffffbb48"),
        ] {
            let threshold = Threshold::of_ratio(ratio);
            assert_eq!(TraceState::of(threshold).as_str(), state, "{ratio}");
            let error = (threshold.probability() / ratio - 1.0).abs();
            assert!(error < 1.0 / 8_192.0, "{ratio}: {error}");
        }
        assert_eq!(Threshold::of_ratio(0.0), Threshold::NEVER);
        assert_eq!(Threshold::of_ratio(f64::MIN_POSITIVE), Threshold::NEVER);
    }

    #[test]
    fn a_threshold_rejects_what_is_below_it() {
        let half = Threshold::of_ratio(0.5);
        assert!(!half.keeps((1 << 55) - 1));
        assert!(half.keeps(1 << 55));
        // Only 56 bits count.
        assert!(!half.keeps(0xff << 56));
        assert!(Threshold::ALWAYS.keeps(0));
        assert!(!Threshold::NEVER.keeps(u64::MAX));
    }

    #[test]
    fn shares_are_exact() {
        let whole = NonZeroU64::new(1_000_000).unwrap();
        for part in [0, 1, 333_333, 999_999, 1_000_000, u64::MAX] {
            let expected = (part as f64 / 1e6).min(1.0);
            let share = Threshold::of_share(part, whole).probability();
            assert!((share - expected).abs() < 1e-12, "{part}");
        }
        assert_eq!(Threshold::of_share(0, whole), Threshold::NEVER);
    }

    #[test]
    fn shares_of_few_digits_are_near_them() {
        let whole = NonZeroU64::new(1 << 40).unwrap();
        let few = |part| Threshold::of_share_in_few_digits(part, whole);
        for part in (0..40)
            .map(|power| 1_u64 << power)
            .chain([3, 1_000_003, (1 << 40) - 1])
        {
            let (threshold, share) = (few(part), part as f64 / (1_u64 << 40) as f64);
            let error = (threshold.probability() / share - 1.0).abs();
            assert!(error < 1.0 / 8_192.0, "{part}: {error}");
            assert!(threshold != Threshold::NEVER, "{part}");
        }
        assert_eq!(few(0), Threshold::NEVER);
        assert_eq!(few(1 << 40), Threshold::ALWAYS);
        let largest = NonZeroU64::MAX;
        assert!(Threshold::of_share_in_few_digits(1, largest) < Threshold::NEVER);
    }
}
