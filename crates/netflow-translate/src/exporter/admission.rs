//! Who is heard, and how often: the networks that may export, and the datagrams a second of one exporter.
//!
//! Both are asked before a datagram makes or changes any state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

/// How much of its rate an exporter may send at once after a pause.
const BURST: Duration = Duration::from_secs(1);

/// `NETFLOW_ALLOWED_EXPORTERS` as ranges of addresses that neither meet nor overlap, in their order.
#[derive(Debug, Default)]
pub struct AllowList(Option<Ranges>);

#[derive(Debug)]
struct Ranges {
    v4: Box<[(Ipv4Addr, Ipv4Addr)]>,
    v6: Box<[(Ipv6Addr, Ipv6Addr)]>,
}

impl AllowList {
    /// An empty list allows everyone.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        if networks.is_empty() {
            return Self(None);
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match (network.network(), network.broadcast()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first, last)),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    v6.push((first, last));
                    // Sources are IPv4 addresses by the time they are looked up.
                    if let (Some(first), Some(last)) =
                        (first.to_ipv4_mapped(), last.to_ipv4_mapped())
                    {
                        v4.push((first, last));
                    }
                }
                _ => {}
            }
        }
        Self(Some(Ranges {
            v4: joined(v4),
            v6: joined(v6),
        }))
    }

    /// Whether datagrams of `source` are taken. An IPv4-mapped address has to be an IPv4 one by now.
    #[inline]
    #[must_use]
    pub fn allows(&self, source: IpAddr) -> bool {
        match (&self.0, source) {
            (None, _) => true,
            (Some(ranges), IpAddr::V4(source)) => holds(&ranges.v4, source),
            (Some(ranges), IpAddr::V6(source)) => holds(&ranges.v6, source),
        }
    }
}

/// The ranges in their order, those that overlap as one.
fn joined<A: Ord + Copy>(mut ranges: Vec<(A, A)>) -> Box<[(A, A)]> {
    ranges.sort_unstable();
    let mut joined: Vec<(A, A)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined.into()
}

fn holds<A: Ord + Copy>(ranges: &[(A, A)], source: A) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= source);
    after
        .checked_sub(1)
        .and_then(|at| ranges.get(at))
        .is_some_and(|(_, last)| source <= *last)
}

/// `NETFLOW_MAX_RATE_PER_EXPORTER` or `NETFLOW_MAX_RECORD_RATE_PER_EXPORTER`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// What one datagram or record takes of the time.
    share: Duration,
}

impl Rate {
    pub(crate) fn per_second(number: u32) -> Self {
        Self {
            share: Duration::from_secs(1) / number.max(1),
        }
    }
}

/// What one exporter has left of its rate: in any time it gets through what the rate allows in that time and
/// [`BURST`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// Until then its datagrams have used the time up.
    used_until: Option<Instant>,
}

impl Bucket {
    /// How many shares are there now.
    pub(crate) fn left(&self, rate: Rate, now: Instant) -> u32 {
        let used = self.used_until.map_or(now, |until| until.max(now));
        let free = BURST.saturating_sub(used.saturating_duration_since(now));
        let left = free.as_nanos() / rate.share.as_nanos().max(1);
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Takes so many shares, of those that are [left](Self::left).
    pub(crate) fn take_all(&mut self, rate: Rate, shares: u32, now: Instant) {
        let used = self.used_until.map_or(now, |until| until.max(now));
        self.used_until = Some(used + rate.share.saturating_mul(shares));
    }

    /// Takes one datagram's share, if it is there.
    #[inline]
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let used = self.used_until.map_or(now, |until| until.max(now)) + rate.share;
        let fits = used.saturating_duration_since(now) <= BURST;
        if fits {
            self.used_until = Some(used);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(networks: &[&str]) -> AllowList {
        let networks: Vec<_> = networks.iter().map(|text| text.parse().unwrap()).collect();
        AllowList::new(&networks)
    }

    fn allowed<'a>(list: &AllowList, sources: &[&'a str]) -> Vec<&'a str> {
        let allows = |source: &&&str| list.allows(source.parse().unwrap());
        sources.iter().filter(allows).copied().collect()
    }

    #[test]
    fn an_empty_list_allows_everyone() {
        let all = ["192.0.2.1", "2001:db8::1"];
        assert_eq!(allowed(&list(&[]), &all), all);
    }

    #[test]
    fn networks_allow_what_they_hold_and_nothing_beside_it() {
        let list = list(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        let inside = [
            "10.0.0.0",
            "10.255.255.255",
            "192.0.2.7",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        let outside = [
            "9.255.255.255",
            "11.0.0.0",
            "192.0.2.6",
            "192.0.2.8",
            "0.0.0.0",
            "255.255.255.255",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "::ffff:10.0.0.1",
        ];
        assert_eq!(allowed(&list, &inside), inside);
        assert_eq!(allowed(&list, &outside), [""; 0]);
    }

    #[test]
    fn networks_may_overlap_and_hold_everything() {
        let nested = list(&["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/9"]);
        assert_eq!(allowed(&nested, &["10.200.0.1"]), ["10.200.0.1"]);
        let every = list(&["0.0.0.0/0"]);
        let sources = ["0.0.0.0", "255.255.255.255", "::1"];
        assert_eq!(allowed(&every, &sources), sources[..2]);
    }

    #[test]
    fn a_mapped_network_is_an_ipv4_network() {
        let list = list(&["::ffff:10.0.0.0/104"]);
        assert_eq!(allowed(&list, &["10.9.9.9", "11.0.0.1"]), ["10.9.9.9"]);
    }

    #[test]
    fn only_one_family_means_that_the_other_is_not_allowed() {
        assert_eq!(allowed(&list(&["::/0"]), &["10.0.0.1", "::1"]), ["::1"]);
        assert_eq!(allowed(&list(&["10.0.0.0/8"]), &["::1"]), [""; 0]);
    }

    struct Limited {
        bucket: Bucket,
        rate: Rate,
        now: Instant,
    }

    fn limited(datagrams: u32) -> Limited {
        Limited {
            bucket: Bucket::default(),
            rate: Rate::per_second(datagrams),
            now: Instant::now(),
        }
    }

    impl Limited {
        fn passed_of(&mut self, datagrams: u32) -> u32 {
            let take = |_: &u32| self.bucket.take(self.rate, self.now);
            (0..datagrams).filter(take).count() as u32
        }
    }

    #[test]
    fn a_second_of_the_rate_may_come_at_once() {
        let mut l = limited(100);
        assert_eq!(l.passed_of(1000), 100);
        l.now += Duration::from_millis(500);
        assert_eq!(l.passed_of(1000), 50);
        // A long pause saves no more than a second.
        l.now += Duration::from_secs(3600);
        assert_eq!(l.passed_of(1000), 100);
    }

    #[test]
    fn what_keeps_to_the_rate_always_passes() {
        for rate in [1, 3, 7, 1000, 1_000_000] {
            let mut l = limited(rate);
            for _ in 0..5000 {
                assert_eq!(l.passed_of(1), 1, "at {rate}");
                l.now += Duration::from_secs(1) / rate + Duration::from_nanos(1);
            }
        }
    }

    #[test]
    fn refused_datagrams_use_nothing_up() {
        let mut l = limited(10);
        let mut passed = 0;
        for _ in 0..100 {
            passed += l.passed_of(1000);
            l.now += Duration::from_millis(100);
        }
        assert_eq!(passed, 10 + 99);
    }
}
