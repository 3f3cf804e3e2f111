//! Which exporters stay, and which make room.

use std::net::Ipv4Addr;

use netflow_wire::Version;

use super::*;
use crate::memory::StateBudget;

struct Plain;

impl NewExporter for Plain {
    fn front(&self, _: IpAddr, _: Option<IpAddr>) -> ResourceFront {
        ResourceFront::new([], "scope", "1")
    }

    fn version(&self) -> u32 {
        0
    }

    fn sampling(&self, _: IpAddr) -> ConfiguredSampling {
        ConfiguredSampling::default()
    }
}

fn address(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(n))
}

struct Test {
    table: ExporterTable,
    now: Instant,
}

fn test(max_exporters: usize) -> Test {
    Test {
        table: ExporterTable::new(max_exporters),
        now: Instant::now(),
    }
}

impl Test {
    /// Something comes that isn't decodable.
    fn garbage(&mut self, n: u32) {
        self.table.entry(address(n), self.now, &Plain);
    }

    fn records(&mut self, n: u32) {
        self.garbage(n);
        self.table.prove(address(n), self.now);
    }

    /// It comes twice, some time apart.
    fn records_twice(&mut self, n: u32) {
        self.records(n);
        self.now += APART;
        self.records(n);
    }

    fn knows(&mut self, n: u32) -> bool {
        self.table.find(address(n)).is_some()
    }
}

#[test]
fn a_flood_of_garbage_evicts_no_proven_exporter() {
    let mut t = test(3);
    for n in 1..=3 {
        t.records(n);
    }
    for n in 100..5000 {
        t.garbage(n);
        assert!(t.table.len() <= 6);
    }
    assert!((1..=3).all(|n| t.knows(n)));
    assert_eq!(t.table.evicted(), 4900 - 3);
}

#[test]
fn sources_on_probation_make_room_oldest_first() {
    let mut t = test(3);
    for n in 1..=5 {
        t.garbage(n);
    }
    assert_eq!(
        [1, 2, 3, 4, 5].map(|n| t.knows(n)),
        [false, false, true, true, true]
    );
    // What was proven meanwhile is out of their row.
    t.records(3);
    for n in 6..=8 {
        t.garbage(n);
    }
    assert!(t.knows(3) && !t.knows(4));
}

#[test]
fn probation_is_bounded_however_many_exporters_are_allowed() {
    let mut t = test(1_000_000);
    for n in 0..3000 {
        t.garbage(n);
    }
    assert_eq!(t.table.len(), MAX_ON_PROBATION);
}

#[test]
fn an_exporter_seen_again_has_a_second_chance() {
    let mut t = test(3);
    for n in 1..=3 {
        t.records(n);
    }
    t.records(1);
    t.records(3);
    t.records_twice(4);
    assert_eq!([1, 2, 3, 4].map(|n| t.knows(n)), [true, false, true, true]);
}

/// Invented sources that each send one good datagram.
#[test]
fn a_flood_of_sources_used_once_displaces_nobody() {
    let mut t = test(8);
    for n in 1..=8 {
        t.records(n);
    }
    for n in 100..10_000 {
        t.records(n);
        t.now += Duration::from_millis(1);
        assert!(t.table.len() <= 16);
    }
    assert!((1..=8).all(|n| t.knows(n)));
}

/// Invented sources that come back.
#[test]
fn an_exporter_that_keeps_sending_outlives_a_flood_of_others() {
    let mut t = test(100);
    for _ in 0..10 {
        t.records(1);
        t.now += APART * 6;
    }
    for n in 100..5_000 {
        t.records_twice(n);
        if n % 100 == 0 {
            t.records(1);
        }
        assert!(t.knows(1), "after {n}");
        assert!(t.table.len() <= 200);
    }
}

#[test]
fn one_that_comes_back_is_recognised_though_its_state_is_gone() {
    let mut t = test(8);
    for n in 1..=8 {
        t.records(n);
    }
    t.records(50);
    for n in 100..200 {
        t.records(n);
    }
    assert!(!t.knows(50));
    t.now += APART * 6;
    t.records(50);
    assert!(t.table.find(address(50)).is_some_and(|it| it.is_proven()));
}

#[test]
fn one_that_comes_twice_always_has_a_place() {
    let mut t = test(1);
    for n in 1..=4 {
        t.records_twice(n);
        assert!(t.table.find(address(n)).is_some_and(|it| it.is_proven()));
        assert!(t.table.len() <= 2);
    }
    assert_eq!(t.table.evicted(), 3);
}

#[test]
fn who_was_not_seen_for_long_is_forgotten() {
    let mut t = test(8);
    let idle = Duration::from_secs(60);
    t.records(1);
    t.garbage(2);
    t.now += idle;
    t.garbage(3);
    t.table.expire(t.now, idle);
    assert_eq!(t.table.len(), 3);
    t.now += Duration::from_secs(1);
    t.table.expire(t.now, idle);
    assert_eq!([1, 2, 3].map(|n| t.knows(n)), [false, false, true]);
    assert_eq!((t.table.probation.len(), t.table.proven.len()), (1, 0));
}

impl Test {
    /// An exporter with so many sequence counts.
    fn heavy(&mut self, n: u32, counts: u32) {
        let exporter = self.table.entry(address(n), self.now, &Plain);
        for domain in 0..counts {
            let header = Header {
                version: Version::V9,
                count: 0,
                sys_uptime_ms: None,
                export_time: 0,
                sequence: None,
                observation_domain: domain,
                sampling: None,
            };
            let key = SequenceKey::of(Session::udp(1), &header);
            exporter.sequences.of(key);
        }
        self.table.settle(address(n));
    }
}

#[test]
fn all_exporters_together_weigh_no_more_than_their_share_and_one_that_goes_on_sending_stays() {
    let mut t = test(1000);
    t.table.share_budget(&StateBudget::new(1 << 20, 1));
    t.records(1);
    t.heavy(1, 10);
    for n in 100..1000 {
        t.records(n);
        t.heavy(n, 20);
        assert!(t.table.weight <= 1 << 20, "after {n}");
        t.now += Duration::from_millis(500);
        t.garbage(1);
        assert!(t.knows(1), "after {n}");
    }
    let weights = t.table.iter().map(|exporter| exporter.weight);
    assert_eq!(weights.sum::<usize>(), t.table.weight);
    assert!(t.table.evicted_for_memory() > 500);
}

#[test]
fn an_exporter_itself_has_a_weight() {
    let mut t = test(100_000);
    t.table.share_budget(&StateBudget::new(4 << 20, 1));
    for n in 0..20_000 {
        t.records(n);
        t.table.settle(address(n));
    }
    assert!(t.table.len() < 4096, "{}", t.table.len());
}

#[test]
fn when_memory_is_short_the_unproven_go_first_then_the_heaviest_of_those_seen_least() {
    let mut t = test(1000);
    t.table.share_budget(&StateBudget::new(3 << 20, 1));
    for _ in 0..20 {
        // Known for long, and heavy.
        t.records(1);
        t.now += Duration::from_secs(2);
    }
    t.heavy(1, 4000);
    t.records(3);
    t.heavy(3, 10);
    t.records(2);
    t.heavy(2, 4000);
    t.garbage(4);
    t.heavy(4, 100);
    t.records_twice(5);
    t.heavy(5, 3500);
    assert!((1..=5).all(|n| t.knows(n)));
    t.records_twice(6);
    t.heavy(6, 3000);
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(|n| t.knows(n)),
        [true, false, true, false, true, true]
    );
    assert_eq!(t.table.evicted_for_memory(), 2);
}

/// One that is too heavy alone is alone.
#[test]
fn a_last_exporter_stays_however_heavy() {
    let mut t = test(1000);
    t.table.share_budget(&StateBudget::new(64 << 10, 1));
    t.records(1);
    t.heavy(1, 4000);
    assert!(t.knows(1));
    t.table
        .expire(t.now + Duration::from_secs(9), Duration::from_secs(1));
    assert_eq!((t.table.len(), t.table.weight), (0, 0));
}
