//! The store on real files: order, limits, and what a new run finds.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::SpoolMode;
use crate::health::Kind;

const NOW: UnixNanos = UnixNanos(1_000_000_000_000);
/// The smallest segments that there are; a batch of this many octets fills most of one.
const LARGE: usize = 40 << 10;

fn batch(number: u32, octets: usize) -> EncodedBatch {
    EncodedBatch {
        octets: vec![number.to_le_bytes()[0]; octets].into(),
        flow_spans: number,
        work_spans: 1,
        oldest: UnixNanos(NOW.0 + u64::from(number)),
        receipt: None,
    }
}

struct Rig {
    directory: tempfile::TempDir,
    max_size: u64,
    counters: Arc<Counters>,
}

impl Rig {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            max_size: 1 << 20,
            counters: Arc::default(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn config(&self) -> config::Spool {
        config::Spool {
            directory: self.path().to_owned(),
            mode: SpoolMode::Always,
            max_size: self.max_size,
            max_age: Duration::from_secs(3_600),
        }
    }

    /// A run with counters of its own.
    fn open(&mut self) -> Store {
        self.counters = Arc::default();
        let mut store = Store::open(
            &self.config(),
            Arc::clone(&self.counters),
            Part::new(Kind::SpoolSync),
        )
        .unwrap();
        store.recover(NOW);
        store
    }

    /// The same run continues with what is there.
    fn reopen(&self) -> Store {
        let counters = Arc::clone(&self.counters);
        let mut store = Store::open(&self.config(), counters, Part::new(Kind::SpoolSync)).unwrap();
        store.recover(NOW);
        store
    }

    fn error(&self) -> SpoolError {
        Store::open(&self.config(), Arc::default(), Part::new(Kind::SpoolSync)).unwrap_err()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.path()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let mut files: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|known| known == "segment"))
            .collect();
        files.sort();
        files
    }

    /// What was appended or found is waiting, or was read, or is counted as dropped.
    fn assert_accounted(&self, appended: Count, read: Count) {
        let counters = &self.counters;
        let came = appended.plus(counters.recovered.load());
        // The senders' part of the books: what is read is no longer in the spool.
        let waiting = counters.spooled.load().plus(appended).minus(read);
        assert_eq!(came, waiting.plus(read).plus(counters.dropped.load()));
    }
}

/// Reads all, as the numbers of the batches.
fn numbers(store: &mut Store) -> Vec<u32> {
    positions(store)
        .into_iter()
        .map(|(_, number)| number)
        .collect()
}

fn positions(store: &mut Store) -> Vec<(Position, u32)> {
    std::iter::from_fn(|| store.read(NOW).unwrap())
        .map(|(position, batch)| (position, batch.flow_spans))
        .collect()
}

#[test]
fn a_run_that_opens_its_spool_again_counts_nothing_twice() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let mut pushed = Count::default();
    for number in 1..=4 {
        store.append(&batch(number, LARGE), NOW).unwrap();
        pushed = pushed.plus(Count::of(&batch(number, 0)));
    }
    let counters = Arc::clone(&rig.counters);
    counters.pushed.add(pushed);
    counters.spooled.add(pushed);
    // The first one is in flight.
    store.read(NOW).unwrap().expect("a batch");
    let first = Count::of(&batch(1, 0));
    counters.spooled.subtract(first);
    counters.in_flight.add(first);
    counters.spool.batches.fetch_sub(1, Relaxed);
    drop(store);
    let store = rig.reopen();
    assert_eq!(counters.spooled.load(), pushed);
    // It will be sent twice.
    assert_eq!(counters.recovered.load(), first);
    assert_eq!(counters.spool.batches.load(Relaxed), 4);
    assert!(counters.totals().balanced());
    drop(store);
    fs::remove_file(rig.segments().pop().expect("a segment")).unwrap();
    let mut store = rig.reopen();
    let last = Count::of(&batch(4, 0));
    assert_eq!(counters.dropped.spool_unreadable.load(), last);
    assert!(counters.totals().balanced());
    assert_eq!(numbers(&mut store), [1, 2, 3]);
}

#[test]
fn batches_come_back_in_their_order_and_their_files_go() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for number in 1..=9 {
        store.append(&batch(number, LARGE), NOW).unwrap();
    }
    assert_eq!(rig.segments().len(), 9);
    let read = positions(&mut store);
    let wanted: Vec<u32> = (1..=9).collect();
    assert_eq!(read.iter().map(|(_, n)| *n).collect::<Vec<_>>(), wanted);
    assert!(read.is_sorted());
    assert_eq!(rig.segments().len(), 9, "nothing is settled");
    // In another order, as senders do.
    for (position, _) in read.iter().rev() {
        store.settle(&[*position]);
    }
    assert_eq!(rig.segments().len(), 0);
    assert_eq!(rig.counters.spool.octets.load(Relaxed), 0);
    assert!(!store.has_unread());
}

#[test]
fn a_new_run_begins_where_all_was_settled() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for number in 1..=20 {
        store.append(&batch(number, 10_000), NOW).unwrap();
    }
    let read = positions(&mut store);
    // All but the 8th, and what follows the 12th.
    let settled: Vec<Position> = read
        .iter()
        .filter(|(_, number)| *number != 8 && *number <= 12)
        .map(|(position, _)| *position)
        .collect();
    store.settle(&settled);
    drop(store);
    let mut store = rig.open();
    let wanted: Vec<u32> = (8..=20).collect();
    let found: Count = wanted.iter().fold(Count::default(), |sum, number| {
        sum.plus(Count::of(&batch(*number, 0)))
    });
    assert_eq!(rig.counters.recovered.load(), found);
    assert_eq!(rig.counters.spooled.load(), found);
    assert_eq!(rig.counters.spool.recovered_batches.load(Relaxed), 13);
    let read = positions(&mut store);
    assert_eq!(read.iter().map(|(_, n)| *n).collect::<Vec<_>>(), wanted);
    let read: Vec<_> = read.into_iter().map(|(position, _)| position).collect();
    store.settle(&read);
    store.finish();
    drop(store);
    assert_eq!(numbers(&mut rig.open()), [0u32; 0]);
    assert!(rig.segments().is_empty());
}

#[test]
fn numbers_are_never_used_again() {
    let mut rig = Rig::new();
    let mut last = Position::default();
    for _ in 0..4 {
        let mut store = rig.open();
        let position = store.append(&batch(1, 10), NOW).unwrap();
        assert!(position.segment > last.segment);
        last = position;
        let (read, _) = store.read(NOW).unwrap().unwrap();
        store.settle(&[read]);
        store.finish();
    }
}

#[test]
fn the_oldest_make_room_and_are_counted() {
    let mut rig = Rig::new();
    rig.max_size = 5 * LARGE as u64;
    let mut store = rig.open();
    for number in 1..=20 {
        let appended = batch(number, LARGE);
        rig.counters.spooled.add(Count::of(&appended));
        store.append(&appended, NOW).unwrap();
        assert!(rig.counters.spool.octets.load(Relaxed) <= rig.max_size);
    }
    assert_eq!(numbers(&mut store), [17, 18, 19, 20]);
    let dropped = rig.counters.dropped.spool_full.load();
    assert_eq!((dropped.flow, dropped.work), ((1..=16).sum(), 16));
    assert_eq!(rig.counters.spool.dropped_full.load(Relaxed), 16);
    let too_large = store.append(&batch(1, 6 * LARGE), NOW);
    assert!(matches!(too_large, Err(AppendError::TooLarge)));
}

#[test]
fn a_lower_limit_holds_from_the_start_on() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for number in 1..=20 {
        store.append(&batch(number, LARGE), NOW).unwrap();
    }
    drop(store);
    rig.max_size = 3 * LARGE as u64;
    let mut store = rig.open();
    assert!(rig.counters.spool.octets.load(Relaxed) <= rig.max_size);
    rig.assert_accounted(Count::default(), Count::default());
    assert_eq!(numbers(&mut store), [19, 20]);
}

#[test]
fn what_is_too_old_is_dropped_and_counted() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for number in 1..=3 {
        let written = UnixNanos(NOW.0 + u64::from(number));
        store.append(&batch(number, LARGE), written).unwrap();
    }
    let later = UnixNanos(NOW.0 + 3_600_000_000_002);
    // The first two are over an hour old; the second at the limit is not.
    rig.counters.spooled.add(Count { flow: 6, work: 3 });
    let (_, first) = store.read(later).unwrap().unwrap();
    assert_eq!(first.flow_spans, 2);
    assert_eq!(
        rig.counters.dropped.spool_age.load(),
        Count { flow: 1, work: 1 }
    );
    store.tick(UnixNanos(later.0 + 3_600_000_000_000));
    assert_eq!(rig.counters.spool.dropped_age.load(Relaxed), 2);
    assert!(!store.has_unread());
}

/// The system's clock was wrong when these arrived, by ten days in either direction.
#[test]
fn what_a_run_wrote_is_not_aged_by_the_clock_of_the_system() {
    const TEN_DAYS: u64 = 864_000_000_000_000;
    let late = UnixNanos(NOW.0 + TEN_DAYS * 2);
    for arrival in [late.0 - TEN_DAYS, late.0 + TEN_DAYS] {
        let mut rig = Rig::new();
        let mut store = rig.open();
        let mut wrong = batch(1, LARGE);
        wrong.oldest = UnixNanos(arrival);
        store.append(&wrong, late).unwrap();
        store.append(&wrong, late).unwrap();
        store.tick(UnixNanos(late.0 + 3_500_000_000_000));
        assert!(store.read(late).unwrap().is_some());
        rig.counters.spooled.add(Count { flow: 1, work: 1 });
        store.tick(UnixNanos(late.0 + 3_700_000_000_000));
        assert_eq!(rig.counters.spool.dropped_age.load(Relaxed), 1);
    }
}

#[test]
fn a_directory_has_one_user() {
    let mut rig = Rig::new();
    let store = rig.open();
    let error = rig.error();
    assert!(matches!(error, SpoolError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("NETFLOW_SPOOL_DIR="), "{error}");
    drop(store);
    drop(rig.open());
}

#[test]
fn what_a_later_version_wrote_is_left_alone() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    store.append(&batch(1, 10), NOW).unwrap();
    drop(store);
    let path = &rig.segments()[0];
    let mut octets = fs::read(path).unwrap();
    octets[8] = 9;
    let checksum = crc32fast::hash(&octets[..28]).to_le_bytes();
    octets[28..32].copy_from_slice(&checksum);
    fs::write(path, &octets).unwrap();
    let error = rig.error().to_string();
    assert!(error.contains("version 9"), "{error}");
    assert_eq!(fs::read(path).unwrap(), octets);
}

#[test]
fn a_place_that_is_no_directory_is_reported() {
    let mut rig = Rig::new();
    let file = rig.path().join("file");
    fs::write(&file, "").unwrap();
    let mut config = rig.config();
    config.directory = file.join("spool");
    let error = Store::open(&config, Arc::default(), Part::new(Kind::SpoolSync))
        .unwrap_err()
        .to_string();
    assert!(error.contains("it can't be made"), "{error}");
    config.directory = rig.path().join("made/on/the/way");
    drop(Store::open(&config, Arc::default(), Part::new(Kind::SpoolSync)).unwrap());
    drop(rig.open());
}

/// What a crash, or a disk, may leave of a segment: a new run delivers all that is whole and begins anew beside it.
#[test]
fn after_any_cut_and_any_change_a_run_reads_what_is_whole_and_goes_on() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let mut places = Vec::new();
    for number in 1..=4 {
        places.push(store.append(&batch(number, 20), NOW).unwrap().offset);
    }
    drop(store);
    let path = rig.segments().remove(0);
    let whole = fs::read(&path).unwrap();
    let all = |_: &u32| true;
    let check = |rig: &mut Rig, octets: &[u8], wanted: Vec<u32>, what: &str| {
        fs::remove_dir_all(rig.path()).unwrap();
        fs::create_dir(rig.path()).unwrap();
        fs::write(&path, octets).unwrap();
        let mut store = rig.open();
        store.append(&batch(9, 5), NOW).unwrap();
        rig.counters.spooled.add(Count { flow: 9, work: 1 });
        let mut read = numbers(&mut store);
        assert_eq!(read.pop(), Some(9), "{what}");
        assert_eq!(read, wanted, "{what}");
        let lost = rig.counters.dropped.load();
        let found = rig.counters.recovered.load();
        let read: u64 = read.iter().copied().map(u64::from).sum();
        assert_eq!(found.flow, read + lost.flow, "{what}");
        drop(store);
    };
    for cut in 0..whole.len() {
        let ends = places[1..].iter().filter(|end| **end <= cut as u64);
        let wanted = (1..).take(ends.count()).filter(all).collect();
        check(&mut rig, &whole[..cut], wanted, &format!("cut at {cut}"));
    }
    for at in 0..whole.len() {
        let mut octets = whole.clone();
        octets[at] ^= 1 << (at % 8);
        let hit = places.iter().filter(|place| **place <= at as u64).count();
        let wanted = (1..=4)
            .filter(|number| hit > 0 && *number as usize != hit)
            .collect();
        check(&mut rig, &octets, wanted, &format!("change at {at}"));
        let lost = rig.counters.dropped.spool_unreadable.load();
        assert!(lost.all() > 0, "change at {at}");
        // Without the header of the segment nothing can be read, but all can be counted.
        assert!(at >= SEGMENT_HEADER || lost == Count { flow: 10, work: 4 });
    }
}

#[test]
fn each_damaged_segment_keeps_its_own_name_and_is_counted_once() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for number in 1..=3 {
        store.append(&batch(number, LARGE), NOW).unwrap();
    }
    drop(store);
    for path in &rig.segments()[..2] {
        let mut octets = fs::read(path).unwrap();
        octets[20] ^= 1;
        fs::write(path, octets).unwrap();
    }
    let mut store = rig.open();
    let lost = Count { flow: 3, work: 2 };
    assert_eq!(rig.counters.dropped.spool_unreadable.load(), lost);
    assert_eq!(rig.counters.spool.dropped_unreadable.load(Relaxed), 2);
    assert!(rig.counters.totals().balanced());
    assert_eq!(numbers(&mut store), [3]);
    for name in [
        "00000000000000000001.damaged",
        "00000000000000000002.damaged",
    ] {
        assert!(rig.path().join(name).exists(), "{name}");
    }
    // Another with a name that is taken.
    fs::write(rig.path().join("00000000000000000001.segment"), [7; 100]).unwrap();
    drop(store);
    drop(rig.open());
    assert!(rig.path().join("00000000000000000001-2.damaged").exists());
}

#[test]
fn damaged_files_count_to_the_size_and_the_oldest_of_many_go() {
    let mut rig = Rig::new();
    let damaged = |number: u32| rig.path().join(format!("{number:020}.damaged"));
    let paths: Vec<_> = (1..=10).map(damaged).collect();
    for path in &paths {
        fs::write(path, [7; 10 << 10]).unwrap();
    }
    let mut store = rig.open();
    let kept: Vec<_> = paths.iter().map(|path| path.exists()).collect();
    assert_eq!(kept, [&[false; 2][..], &[true; 8]].concat());
    assert_eq!(rig.counters.spool.octets.load(Relaxed), 80 << 10);
    for number in 1..=40 {
        store.append(&batch(number, LARGE), NOW).unwrap();
        let octets = rig.counters.spool.octets.load(Relaxed);
        assert!(octets <= rig.max_size, "{octets}");
    }
    // What somebody removes leaves its room.
    fs::remove_file(&paths[9]).unwrap();
    store.append(&batch(41, 100), NOW).unwrap();
    assert_eq!(store.directory.damaged_octets(), 70 << 10);
    drop(store);

    // One that is larger than a quarter of the spool.
    fs::write(&paths[9], vec![7; 300 << 10]).unwrap();
    drop(rig.open());
    assert!(!paths[9].exists());
    assert!(paths[8].exists());
}

#[test]
fn nobody_else_may_read_what_is_inside() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut rig = Rig::new();
    let inner = rig.path().join("made");
    let config = config::Spool {
        directory: inner.clone(),
        ..rig.config()
    };
    let open = || {
        let mut store = Store::open(&config, Arc::default(), Part::new(Kind::SpoolSync)).unwrap();
        store.recover(NOW);
        store
    };
    let mut store = open();
    let position = store.append(&batch(1, LARGE), NOW).unwrap();
    store.read(NOW).unwrap().expect("a batch");
    store.append(&batch(2, LARGE), NOW).unwrap();
    store.settle(&[position]);
    drop(store);
    let closed = || {
        let files = fs::read_dir(&inner).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert!(files.len() >= 3, "{files:?}");
        assert_eq!(mode(&inner), 0o700);
        for file in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    };
    closed();
    // As an earlier version left them.
    for entry in fs::read_dir(&inner).unwrap() {
        fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
    drop(open());
    closed();
    // A directory with anything else in it is not ours alone.
    fs::write(inner.join("notes"), "").unwrap();
    fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
    drop(open());
    assert_eq!(mode(&inner), 0o755);
    drop(rig.open());
}

#[test]
fn files_that_vanish_are_counted_as_lost() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for number in 1..=3 {
        store.append(&batch(number, LARGE), NOW).unwrap();
    }
    rig.counters.spooled.add(Count { flow: 6, work: 3 });
    fs::remove_file(&rig.segments()[0]).unwrap();
    assert_eq!(numbers(&mut store), [2, 3]);
    assert_eq!(
        rig.counters.dropped.spool_unreadable.load(),
        Count { flow: 1, work: 1 }
    );
    assert_eq!(rig.counters.spool.dropped_unreadable.load(Relaxed), 1);
}

#[test]
fn a_batch_may_pass_only_when_none_is_before_it() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let first = store.append(&batch(1, 10), NOW).unwrap();
    let second = store.append(&batch(2, 10), NOW).unwrap();
    assert!(!store.pass(second));
    assert!(!store.pass(first), "it is no longer the last");
    assert_eq!(numbers(&mut store), [1, 2]);
    let third = store.append(&batch(3, 10), NOW).unwrap();
    assert!(store.pass(third));
    assert!(!store.pass(third));
    assert_eq!(numbers(&mut store), [0u32; 0]);
    store.settle(&[first, second]);
    drop(store);
    // It was passed on, but not settled.
    assert_eq!(numbers(&mut rig.open()), [3]);
}
