//! Sources that were seen once, when there was no room for them: eight octets each, in a room of fixed size in which a
//! newer one takes the place of an older one. With 25,000 invented sources a second one that comes every six seconds is
//! recognised at every third time.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::APART;

/// Places; they take 1 MiB, once the first is needed.
const PLACES: usize = 1 << 17;
/// A source that was seen so long ago is a new one.
const FORGOTTEN: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Glimpses {
    places: Vec<Glimpse>,
    origin: Option<Instant>,
    /// With a random seed: an outsider can't know which sources share a place.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Glimpse {
    /// A part of the address's hash.
    tag: u32,
    /// Milliseconds from the origin; 0 is an empty place.
    at: u32,
}

impl Glimpses {
    /// Whether the source was seen some time ago, but not too long; if not, it was seen now.
    pub(super) fn seen_before(&mut self, source: IpAddr, now: Instant) -> bool {
        let origin = *self.origin.get_or_insert(now);
        if self.places.is_empty() {
            self.places.resize(PLACES, Glimpse::default());
        }
        let hash = self.hasher.hash_one(source);
        // Not beyond 49 days: then a round begins anew, and sources have to be seen once more.
        let at = now.saturating_duration_since(origin).as_millis() as u32 | 1;
        let tag = (hash >> 32) as u32;
        let place = &mut self.places[hash as usize % PLACES];
        let ago = Duration::from_millis(u64::from(at.wrapping_sub(place.at)));
        if place.tag != tag || place.at == 0 || ago > FORGOTTEN {
            *place = Glimpse { tag, at };
            return false;
        }
        ago >= APART
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    #[test]
    fn a_source_is_known_from_a_while_after_it_was_seen_until_long_after() {
        let (mut glimpses, start) = (Glimpses::default(), Instant::now());
        let mut seen = |after: Duration| glimpses.seen_before(source(1), start + after);
        assert!(!seen(Duration::ZERO));
        assert!(!seen(APART / 2));
        assert!(seen(APART + Duration::from_millis(2)));
        assert!(seen(FORGOTTEN));
        assert!(!seen(FORGOTTEN + APART));
        assert!(seen(FORGOTTEN + APART * 3));
    }

    #[test]
    fn one_that_comes_again_is_recognised_in_a_flood() {
        let (mut glimpses, mut now) = (Glimpses::default(), Instant::now());
        let mut recognised = 0;
        for round in 0..60 {
            recognised += u32::from(glimpses.seen_before(source(1), now));
            for forged in 0..150_000 {
                glimpses.seen_before(source(1000 + round * 150_000 + forged), now);
            }
            now += Duration::from_secs(6);
        }
        // Each time with a probability of about a third.
        assert!((5..40).contains(&recognised), "{recognised}");
    }
}
