//! Which offsets may be committed: those up to which all that was made of the datagrams is done.
//!
//! A worker numbers its batches, and the states of exporters that it has written, each in one row. An offset waits until all
//! that its worker had numbered by then is settled, in whatever order that happens. It is a little later than it could
//! be, since batches mix partitions; and it takes one entry for each batch under way, however many datagrams are in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use otlp_wire::{Receipt, Settled, Source};
use tokio::sync::Notify;

use super::counters::InputCounters;

/// Sets that wait for their template keep offsets from being committed for so long. Those that wait for longer are lost if
/// the process is killed.
const HELD: Duration = Duration::from_secs(60);
/// Of Sets that wait it is remembered once in so much time since when they do.
const APART: Duration = Duration::from_secs(1);

/// Things that are numbered, and settled in any order.
#[derive(Debug, Default)]
struct Row {
    /// So many have a number.
    issued: u64,
    /// All with a lower number are settled.
    settled: u64,
    /// Settled before one with a lower number.
    ahead: BTreeSet<u64>,
}

impl Row {
    fn issue(&mut self) -> u64 {
        self.issued += 1;
        self.issued - 1
    }

    fn settle(&mut self, number: u64) {
        self.ahead.insert(number);
        while self.ahead.remove(&self.settled) {
            self.settled += 1;
        }
    }
}

/// An offset, and what has to be settled before it may be committed.
#[derive(Clone, Copy, Debug)]
struct Mark {
    batches: u64,
    states: u64,
    /// Of the next message.
    offset: i64,
}

#[derive(Debug, Default)]
struct Track {
    marks: VecDeque<Mark>,
    /// Read, and not marked because Sets wait for their template.
    unmarked: Option<i64>,
    /// Since when Sets wait, and the offset of the datagram that brought them, the oldest first.
    held: VecDeque<(Instant, i64)>,
    /// The first message that was read, and the one after the last.
    read: Option<(i64, i64)>,
    /// May be committed.
    done: Option<i64>,
    committed: Option<i64>,
}

impl Track {
    fn mark(&mut self, mark: Mark) {
        match self.marks.back_mut() {
            Some(last) if (last.batches, last.states) == (mark.batches, mark.states) => {
                last.offset = mark.offset;
            }
            _ => self.marks.push_back(mark),
        }
    }

    fn settle(&mut self, batches: u64, states: u64) {
        while let Some(first) = self.marks.front()
            && first.batches <= batches
            && first.states <= states
        {
            self.done = Some(first.offset);
            self.marks.pop_front();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    batches: Row,
    states: Row,
    tracks: BTreeMap<i32, Track>,
}

impl State {
    fn settle(&mut self) {
        let (batches, states) = (self.batches.settled, self.states.settled);
        for track in self.tracks.values_mut() {
            track.settle(batches, states);
        }
    }

    /// What has to be settled before that which was read until now is done.
    fn mark(&self, has_open_batch: bool, offset: i64) -> Mark {
        Mark {
            batches: self.batches.issued + u64::from(has_open_batch),
            states: self.states.issued,
            offset,
        }
    }
}

/// What a worker has read, and what of it is done.
#[derive(Debug)]
pub(super) struct Ledger {
    state: Mutex<State>,
    /// Something was settled.
    pub(super) changed: Notify,
    counters: Arc<InputCounters>,
}

/// Numbers the batches of a worker.
#[derive(Debug)]
struct Batches(Arc<Ledger>);

impl Source for Batches {
    fn settled(&self, number: u64, outcome: Settled) {
        if outcome == Settled::Dropped {
            self.0.counters.batches_given_up.add(1);
        }
        self.0.settled(outcome, |state| &mut state.batches, number);
    }
}

/// Numbers the states of exporters that it has written.
#[derive(Debug)]
struct States(Arc<Ledger>);

impl Source for States {
    fn settled(&self, number: u64, outcome: Settled) {
        self.0.settled(outcome, |state| &mut state.states, number);
    }
}

/// What a worker has read of a partition since it last said so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) partition: i32,
    /// Of the first message of these.
    pub(super) first: i64,
    /// Of the message after them.
    pub(super) next: i64,
    /// Some of them brought Sets that wait for their template.
    pub(super) brought_waiting: bool,
}

/// What the worker's translator holds now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    pub(super) has_open_batch: bool,
    /// Sets that wait for their template, of whatever exporter.
    pub(super) waiting: bool,
}

impl Ledger {
    pub(super) fn new(counters: &Arc<InputCounters>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            counters: Arc::clone(counters),
        })
    }

    /// The receipt of a batch that is finished.
    pub(super) fn batch(self: &Arc<Self>) -> Receipt {
        let number = self.lock().batches.issue();
        Receipt::new(Arc::new(Batches(Arc::clone(self))), number)
    }

    /// The receipt of an exporter's state that is written.
    pub(super) fn state(self: &Arc<Self>) -> Receipt {
        let number = self.lock().states.issue();
        Receipt::new(Arc::new(States(Arc::clone(self))), number)
    }

    fn settled(&self, outcome: Settled, row: impl Fn(&mut State) -> &mut Row, number: u64) {
        if outcome == Settled::Stopped {
            // Its datagrams are read once more, by whoever has the partition next.
            return;
        }
        let mut state = self.lock();
        row(&mut state).settle(number);
        state.settle();
        drop(state);
        self.changed.notify_waiters();
    }

    /// The worker has this partition from now on.
    pub(super) fn begin(&self, partition: i32) {
        self.lock().tracks.insert(partition, Track::default());
    }

    /// Whether the worker has this partition.
    pub(super) fn has(&self, partition: i32) -> bool {
        self.lock().tracks.contains_key(&partition)
    }

    /// Nothing of it is committed from now on; how many messages were read and not committed.
    pub(super) fn end(&self, partition: i32) -> u64 {
        let track = self.lock().tracks.remove(&partition);
        let Some(Track {
            read: Some((first, next)),
            committed,
            ..
        }) = track
        else {
            return 0;
        };
        let from = committed.unwrap_or(first);
        u64::try_from(next - from).unwrap_or(0)
    }

    /// The worker has read some messages of a partition that it has.
    pub(super) fn read(&self, read: Read, holding: Holding, now: Instant) {
        let mut state = self.lock();
        let mark = state.mark(holding.has_open_batch, read.next);
        let settled = (state.batches.settled, state.states.settled);
        let Some(track) = state.tracks.get_mut(&read.partition) else {
            return;
        };
        let first = track.read.map_or(read.first, |(first, _)| first);
        track.read = Some((first, read.next));
        if read.brought_waiting && holding.waiting {
            let last = track.held.back();
            let is_apart =
                |(since, _): &(Instant, i64)| now.saturating_duration_since(*since) >= APART;
            if last.is_none_or(is_apart) {
                track.held.push_back((now, read.first));
            }
        }
        if track.held.is_empty() {
            track.mark(mark);
            track.settle(settled.0, settled.1);
        } else {
            track.unmarked = Some(read.next);
        }
    }

    /// To be called now and then by the worker: Sets may have found their template, or have waited for long enough. Whether
    /// some wait still.
    pub(super) fn look(&self, holding: Holding, now: Instant) -> bool {
        let mut state = self.lock();
        let mark = state.mark(holding.has_open_batch, 0);
        let settled = (state.batches.settled, state.states.settled);
        for track in state.tracks.values_mut() {
            let Some(read) = track.unmarked else { continue };
            let is_over = |(since, _): &(Instant, i64)| {
                !holding.waiting || now.saturating_duration_since(*since) >= HELD
            };
            let before = track.held.len();
            while track.held.front().is_some_and(is_over) {
                track.held.pop_front();
            }
            if track.held.len() == before {
                continue;
            }
            let offset = track.held.front().map_or(read, |(_, first)| *first);
            track.mark(Mark { offset, ..mark });
            if track.held.is_empty() {
                track.unmarked = None;
            }
            track.settle(settled.0, settled.1);
        }
        let is_holding = state.tracks.values().any(|track| !track.held.is_empty());
        drop(state);
        self.changed.notify_waiters();
        is_holding
    }

    /// Whether all that was made of these partitions' datagrams is done. Sets that wait for their template are not waited
    /// for: whoever has the partition next reads them once more.
    pub(super) fn is_done(&self, partitions: &[i32]) -> bool {
        let state = self.lock();
        let tracks = partitions.iter().filter_map(|of| state.tracks.get(of));
        tracks.into_iter().all(|track| track.marks.is_empty())
    }

    /// Partitions and offsets that may be committed and were not.
    pub(super) fn to_commit(&self) -> Vec<(i32, i64)> {
        let state = self.lock();
        let tracks = state.tracks.iter();
        tracks
            .filter(|(_, track)| track.done != track.committed)
            .filter_map(|(partition, track)| Some((*partition, track.done?)))
            .collect()
    }

    /// These are committed.
    pub(super) fn committed(&self, offsets: &[(i32, i64)]) {
        let mut state = self.lock();
        for (partition, offset) in offsets {
            if let Some(track) = state.tracks.get_mut(partition) {
                track.committed = Some(*offset);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Holding = Holding {
        has_open_batch: true,
        waiting: false,
    };
    const IDLE: Holding = Holding {
        has_open_batch: false,
        waiting: false,
    };
    const WAITING: Holding = Holding {
        has_open_batch: false,
        waiting: true,
    };

    struct Test {
        ledger: Arc<Ledger>,
        counters: Arc<InputCounters>,
        now: Instant,
    }

    fn test() -> Test {
        let counters = Arc::default();
        let ledger = Ledger::new(&counters);
        ledger.begin(0);
        ledger.begin(1);
        Test {
            ledger,
            counters,
            now: Instant::now(),
        }
    }

    impl Test {
        fn read(&self, partition: i32, offsets: std::ops::Range<i64>, holding: Holding) {
            let read = Read {
                partition,
                first: offsets.start,
                next: offsets.end,
                brought_waiting: holding.waiting,
            };
            self.ledger.read(read, holding, self.now);
        }

        /// What may be committed, which then is.
        fn commit(&self) -> Vec<(i32, i64)> {
            let offsets = self.ledger.to_commit();
            self.ledger.committed(&offsets);
            offsets
        }
    }

    #[test]
    fn an_offset_waits_for_the_batch_that_was_open_and_for_all_before_it() {
        let t = test();
        t.read(0, 0..10, OPEN);
        let first = t.ledger.batch();
        t.read(0, 10..20, OPEN);
        t.read(1, 5..6, OPEN);
        let second = t.ledger.batch();
        second.settle(Settled::Delivered);
        assert_eq!(t.commit(), []);
        first.settle(Settled::Spooled);
        assert_eq!(t.commit(), [(0, 20), (1, 6)]);
        assert_eq!(t.commit(), []);
        assert!(t.ledger.is_done(&[0]));
    }

    #[test]
    fn what_leaves_no_spans_is_done_with_what_came_before() {
        let t = test();
        t.read(0, 0..1, IDLE);
        assert_eq!(t.commit(), [(0, 1)]);
        t.read(0, 1..2, OPEN);
        let batch = t.ledger.batch();
        t.read(0, 2..3, IDLE);
        assert_eq!(t.commit(), []);
        batch.settle(Settled::Delivered);
        assert_eq!(t.commit(), [(0, 3)]);
    }

    #[test]
    fn what_is_given_up_is_counted_and_passes_and_what_a_stop_left_does_not() {
        let t = test();
        t.read(0, 0..1, OPEN);
        t.ledger.batch().settle(Settled::Dropped);
        assert_eq!(t.commit(), [(0, 1)]);
        assert_eq!(t.counters.batches_given_up.value(), 1);
        t.read(0, 1..2, OPEN);
        t.ledger.batch().settle(Settled::Stopped);
        t.read(0, 2..3, OPEN);
        t.ledger.batch().settle(Settled::Delivered);
        assert_eq!(t.commit(), []);
        assert!(!t.ledger.is_done(&[0]));
        assert_eq!(t.ledger.end(0), 2, "they are read once more");
    }

    #[test]
    fn a_state_that_is_not_written_keeps_its_offset() {
        let t = test();
        let state = t.ledger.state();
        t.read(0, 0..1, OPEN);
        t.ledger.batch().settle(Settled::Delivered);
        assert_eq!(t.commit(), []);
        state.settle(Settled::Delivered);
        assert_eq!(t.commit(), [(0, 1)]);
    }

    #[test]
    fn one_entry_for_each_batch_however_many_datagrams() {
        let t = test();
        let receipts: Vec<_> = (0..10)
            .map(|batch| {
                for datagram in 0..100 {
                    let offset = batch * 100 + datagram;
                    t.read(0, offset..offset + 1, OPEN);
                }
                t.ledger.batch()
            })
            .collect();
        assert_eq!(t.ledger.lock().tracks[&0].marks.len(), 10);
        for receipt in receipts.into_iter().rev() {
            receipt.settle(Settled::Delivered);
        }
        assert_eq!(t.commit(), [(0, 1000)]);
        assert!(t.ledger.lock().batches.ahead.is_empty());
    }

    #[test]
    fn sets_that_wait_keep_their_offset_until_their_template_comes() {
        let mut t = test();
        t.read(0, 0..5, IDLE);
        t.read(0, 5..6, WAITING);
        t.read(0, 6..9, WAITING);
        t.read(1, 0..1, IDLE);
        assert_eq!(t.commit(), [(0, 5), (1, 1)]);
        t.now += Duration::from_secs(10);
        t.ledger.look(WAITING, t.now);
        assert_eq!(t.commit(), []);
        // Decoded late, into a batch that was not there when they came.
        t.ledger.look(OPEN, t.now);
        assert_eq!(t.commit(), []);
        t.ledger.batch().settle(Settled::Delivered);
        assert_eq!(t.commit(), [(0, 9)]);
    }

    #[test]
    fn sets_that_wait_for_long_let_the_offset_pass() {
        let mut t = test();
        t.read(0, 0..1, WAITING);
        t.now += HELD / 2;
        t.read(0, 1..2, WAITING);
        t.now += HELD / 2;
        t.ledger.look(WAITING, t.now);
        assert_eq!(t.commit(), [(0, 1)]);
        // Whoever has the partition next reads them once more.
        assert!(t.ledger.is_done(&[0]));
        assert_eq!(t.ledger.end(0), 1);
    }

    #[test]
    fn nothing_of_a_partition_that_is_gone_is_committed() {
        let t = test();
        t.read(0, 0..1, OPEN);
        let batch = t.ledger.batch();
        assert_eq!(t.ledger.end(0), 1);
        batch.settle(Settled::Delivered);
        t.read(0, 1..2, IDLE);
        assert_eq!(t.commit(), []);
        assert_eq!(t.ledger.end(0), 0);
    }
}
