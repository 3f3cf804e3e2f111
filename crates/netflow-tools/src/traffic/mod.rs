//! What invented traffic is like, for `demo` and `send` alike: which applications, and how large their flows are.

use std::time::SystemTime;

use rand::{Rng, RngExt};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP_V6: u8 = 58;

/// FIN, SYN, PSH and ACK: a connection from its beginning to its end.
pub(crate) const WHOLE: u8 = 0x1b;

/// The clock, in milliseconds since 1970.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// An application of the mix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Web,
    Quic,
    PlainWeb,
    Dns,
    Mail,
    Ntp,
    Ssh,
    Ping,
}

/// Conversations of each in a hundred.
const MIX: [(Kind, u32); 8] = [
    (Kind::Web, 37),
    (Kind::Quic, 8),
    (Kind::PlainWeb, 5),
    (Kind::Dns, 26),
    (Kind::Mail, 5),
    (Kind::Ntp, 5),
    (Kind::Ssh, 5),
    (Kind::Ping, 9),
];

/// The application of the next conversation.
pub(crate) fn next_kind(random: &mut impl Rng) -> Kind {
    let mut number = random.random_range(0..100);
    for (kind, part) in MIX {
        if number < part {
            return kind;
        }
        number -= part;
    }
    Kind::Web
}

/// Steps of [`Sizes`], a power of two.
const STEPS: usize = 4096;
/// The exponent of the tail: flows of networks are found between 1 and 1.3 (Crovella and Bestavros, 1997, for the web).
const TAIL: f64 = 1.1;

/// Factors with a heavy tail, from 1 to `largest`: most are small, and a few make most of the sum. A bounded Pareto
/// distribution by its quantiles, so that a draw is one look-up.
#[derive(Debug)]
pub(crate) struct Sizes(Box<[u32]>);

impl Sizes {
    /// In sixteenths.
    const UNIT: u64 = 16;

    pub(crate) fn new(largest: u32) -> Self {
        let rest = 1.0 - f64::from(largest.max(1)).powf(-TAIL);
        let factor = |step: usize| {
            let part = (step as f64 + 0.5) / STEPS as f64;
            (1.0 - part * rest).powf(-1.0 / TAIL)
        };
        let quantiles = (0..STEPS).map(|step| (factor(step) * Self::UNIT as f64) as u32);
        Self(quantiles.collect())
    }

    /// `least` times the factor that these random bits choose.
    #[inline]
    pub(crate) fn size(&self, least: u64, bits: u64) -> u64 {
        let factor = self.0.get(bits as usize % STEPS).copied().unwrap_or(16);
        least * u64::from(factor) / Self::UNIT
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn the_mix_is_whole() {
        assert_eq!(MIX.iter().map(|(_, part)| part).sum::<u32>(), 100);
    }

    #[test]
    fn a_few_flows_carry_most_octets() {
        let (sizes, mut random) = (Sizes::new(4000), Xoshiro256PlusPlus::seed_from_u64(1));
        let mut all: Vec<_> = (0..100_000)
            .map(|_| sizes.size(1000, random.random()))
            .collect();
        all.sort_unstable();
        let sum: u64 = all.iter().sum();
        let largest: u64 = all.iter().rev().take(all.len() / 10).sum();
        assert!(all[0] >= 1000 && all[all.len() - 1] <= 4_000_000);
        assert!(all[all.len() / 2] < 2_500);
        assert!(largest * 10 > sum * 6, "{largest} of {sum}");
    }
}
