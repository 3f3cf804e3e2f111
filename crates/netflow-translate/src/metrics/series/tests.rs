use proptest::prelude::*;

use super::*;

fn key(exporter: u64, first: u32) -> SeriesKey {
    SeriesKey::new([0, exporter], first, 0)
}

fn record(bytes: u64) -> Addition<'static> {
    Addition {
        bytes,
        flows: 1,
        packets: 1,
        duration: 0,
        failed: false,
        span: None,
        largest: bytes,
        received_at: UnixNanos(0),
    }
}

/// Of spans, by number.
static IDS: [(TraceId, SpanId); 10] = {
    let mut ids = [([0; 16], [0; 8]); 10];
    let mut n = 0;
    while n < 10 {
        ids[n] = ([n as u8; 16], [n as u8; 8]);
        n += 1;
    }
    ids
};

fn kept(bytes: u64, n: u8) -> Addition<'static> {
    Addition {
        span: Some(&IDS[usize::from(n)]),
        ..record(bytes)
    }
}

fn table(max: u32) -> SeriesTable {
    SeriesTable::new(Arc::new(Room::new(max)), RandomState::default())
}

impl SeriesTable<Totals> {
    fn put(&mut self, key: SeriesKey, addition: &Addition<'_>, minute: u32) {
        let exporter = exporter_hash(&self.hasher, key.exporter);
        self.count(exporter, key, addition, minute);
    }

    fn has(&self, key: SeriesKey) -> bool {
        let mut series = self.table.iter();
        series.any(|series| series.key == key)
    }

    fn exemplar_of(&self, key: SeriesKey, minute: u32) -> Option<u8> {
        let reading = self.read(minute);
        let mut series = reading.series.iter();
        let found = series.find(|series| series.key == Some(key))?;
        found.exemplar.map(|exemplar| exemplar.span_id[0])
    }
}

/// Everything that a reading counts.
fn all(reading: &ViewReading) -> Totals {
    let series = reading.series.iter();
    series.fold(reading.expired, |all, series| all.plus(series.totals))
}

#[test]
fn below_the_bound_a_series_exists_from_its_first_record() {
    let mut t = table(4);
    for n in 0..4 {
        t.put(key(1, n), &record(10), 0);
    }
    assert_eq!(t.len(), 4);
    assert_eq!(t.read(0).series.len(), 4);
}

#[test]
fn at_the_bound_a_new_series_counts_into_the_overflow_series() {
    let mut t = table(4);
    for n in 0..10 {
        t.put(key(1, n), &record(10), 0);
    }
    let reading = t.read(0);
    let overflow = reading.series.last().unwrap();
    assert_eq!((overflow.key, overflow.totals.bytes), (None, 60));
    assert_eq!(all(&reading).flows, 10);
}

#[test]
fn series_seen_once_never_push_others_out() {
    let mut t = table(4);
    for n in 0..4 {
        t.put(key(1, n), &record(10), 0);
    }
    for minute in 0..40 {
        for n in 0..4 {
            t.put(key(1, n), &record(10), minute);
        }
        for n in 0..100 {
            t.put(
                key(u64::from(n % 7) + 2, 1_000 * (minute + 1) + n),
                &record(1),
                minute,
            );
        }
        t.sweep(minute);
    }
    assert!((0..4).all(|n| t.has(key(1, n))));
}

#[test]
fn a_series_seen_in_two_minutes_takes_the_place_of_an_idle_one() {
    let mut t = table(4);
    for n in 0..4 {
        t.put(key(1, n), &record(10), 0);
    }
    for minute in 1..=IDLE {
        for n in 1..4 {
            t.put(key(1, n), &record(10), minute);
        }
    }
    t.put(key(2, 0), &record(10), IDLE);
    assert!(!t.has(key(2, 0)));
    t.put(key(2, 0), &record(10), IDLE + 1);
    assert!(t.has(key(2, 0)));
    assert!(!t.has(key(1, 0)) && t.has(key(1, 1)));
    assert_eq!(t.read(IDLE).expired.flows, 1);
}

#[test]
fn an_exporter_holds_no_more_than_a_quarter_while_others_wait() {
    let mut t = table(40);
    let everything = |t: &mut SeriesTable, minute| {
        for n in 0..100 {
            t.put(key(1, n), &record(10), minute);
        }
        for exporter in 2..=4 {
            for n in 0..10 {
                t.put(key(exporter, n), &record(10), minute);
            }
        }
        t.sweep(minute);
    };
    for minute in 0..10 {
        everything(&mut t, minute);
    }
    assert_eq!([1, 2, 3, 4].map(|n| t.holds([0, n])), [10; 4]);
}

#[test]
fn one_exporter_alone_may_fill_the_view() {
    let mut t = table(40);
    for minute in 0..5 {
        for n in 0..100 {
            t.put(key(1, n), &record(10), minute);
        }
    }
    assert_eq!(t.holds([0, 1]), 40);
}

#[test]
fn a_series_that_nothing_touches_for_an_hour_goes() {
    let mut t = table(4);
    t.put(key(1, 1), &record(10), 0);
    t.put(key(1, 2), &record(10), 1);
    t.sweep(EXPIRY - 1);
    assert_eq!(t.len(), 2);
    t.sweep(EXPIRY);
    assert!(!t.has(key(1, 1)) && t.has(key(1, 2)));
    assert_eq!(t.room.used(), 1);
    assert_eq!(all(&t.read(EXPIRY)).bytes, 20);
}

#[test]
fn a_worker_gives_up_places_that_another_waits_for() {
    let room = Arc::new(Room::new(8));
    let mut one: SeriesTable = SeriesTable::new(Arc::clone(&room), RandomState::default());
    let mut other: SeriesTable = SeriesTable::new(Arc::clone(&room), RandomState::default());
    for minute in 0..4 {
        for n in 0..8 {
            one.put(key(1, n), &record(10), minute);
        }
        other.put(key(2, 0), &record(10), minute);
        other.sweep(minute);
        one.sweep(minute);
        assert!(one.len() + other.len() <= 8);
    }
    assert!(other.has(key(2, 0)));
    assert_eq!(one.len(), 7);
    drop(other);
    assert_eq!(room.used(), 7);
}

#[test]
fn the_exemplar_is_the_largest_kept_record_of_two_minutes() {
    let mut t = table(4);
    let k = key(1, 1);
    t.put(k, &record(1_000), 0);
    assert_eq!(t.exemplar_of(k, 0), None);
    t.put(k, &kept(0, 1), 0);
    assert_eq!(t.exemplar_of(k, 0), Some(1));
    t.put(k, &kept(50, 2), 0);
    t.put(k, &kept(40, 3), 0);
    assert_eq!(t.exemplar_of(k, 0), Some(2));
    t.put(k, &kept(10, 4), 1);
    assert_eq!(t.exemplar_of(k, 1), Some(2));
    assert_eq!(t.exemplar_of(k, 2), Some(4));
    assert_eq!(t.exemplar_of(k, 3), None);
    // Reading has changed nothing.
    assert_eq!(t.exemplar_of(k, 1), Some(2));
    t.put(k, &kept(1, 5), 9);
    assert_eq!(t.exemplar_of(k, 9), Some(5));
}

#[test]
fn workers_are_merged_with_each_series_once() {
    let (mut one, mut other) = (table(2), table(2));
    one.put(key(1, 1), &kept(5, 1), 0);
    other.put(key(1, 1), &kept(7, 2), 0);
    other.put(key(1, 0), &record(1), 0);
    other.put(key(1, 9), &record(3), 0);
    let merged = ViewReading::merge([one.read(0), other.read(0)]);
    let keys: Vec<_> = merged.series.iter().map(|series| series.key).collect();
    assert_eq!(keys, [Some(key(1, 0)), Some(key(1, 1)), None]);
    assert_eq!(merged.series[1].totals.bytes, 12);
    assert_eq!(merged.series[1].exemplar.unwrap().bytes, 7);
    assert_eq!(all(&merged).flows, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Live, overflow and expired series hold together what all records have, whatever comes in which order, and the
    /// bound holds over all workers.
    #[test]
    fn nothing_is_counted_twice_or_lost(
        steps in prop::collection::vec((0_u64..6, 0_u32..40, 0_u64..1_000, 0_u32..20), 1..600),
        max in 1_u32..30,
        workers in 1_usize..4,
    ) {
        let room = Arc::new(Room::new(max));
        let mut tables: Vec<SeriesTable> = (0..workers).map(|_| SeriesTable::new(Arc::clone(&room), RandomState::default())).collect();
        let (mut minute, mut expected) = (0, Totals::default());
        for (exporter, first, bytes, wait) in steps {
            let worker = exporter as usize % workers;
            let addition = kept(bytes, 1);
            tables[worker].put(key(exporter, first), &addition, minute);
            expected.add(&addition);
            if wait > 16 {
                minute += wait - 16;
                tables.iter_mut().for_each(|table| table.sweep(minute));
            }
            let live: usize = tables.iter().map(SeriesTable::len).sum();
            prop_assert!(live <= max as usize);
        }
        let merged = ViewReading::merge(tables.iter().map(|table| table.read(minute)));
        prop_assert_eq!(all(&merged), expected);
    }
}
