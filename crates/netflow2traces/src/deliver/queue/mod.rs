//! The memory queue between translation and delivery: bounded in octets, pushed to from any thread,
//! awaited by the senders. When it is full the heaviest exporters' oldest spans go, for the newest data is worth most.
//!
//! With a spool, its thread takes batches out at the same end and offers what it reads back (`spool_side.rs`).

mod postponed;
mod shares;
mod spool_side;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use otlp_wire::EncodedBatch;
use tokio::sync::Notify;

use super::console::Console;
use super::counters::{Count, Counters, DropReason};
use super::in_flight::BatchInFlight;
use super::now;
use postponed::Waiting;
pub(super) use postponed::{Later, Postponed};
use shares::Queued;
use spool_side::SpoolSide;
pub(super) use spool_side::Spooled;

/// Batches that wait for a sender.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    /// A batch was put without telling the senders.
    is_untold: AtomicBool,
    /// There is something to do for the spool's thread.
    spool_waker: Condvar,
    /// Octets that may wait. A single larger batch is kept nevertheless, alone.
    capacity: usize,
    counters: Arc<Counters>,
    /// Gets a copy of each batch.
    copies: Option<Console>,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Queued>,
    /// Tried before, and to be tried again.
    waiting: Waiting,
    /// Of both, but for those that are in the spool too.
    octets: usize,
    closed: bool,
    /// What it shares with the spool, if there is one.
    spool_side: Option<SpoolSide>,
}

impl Queue {
    pub(super) fn new(capacity: usize, counters: Arc<Counters>) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            is_untold: AtomicBool::new(false),
            spool_waker: Condvar::new(),
            capacity,
            counters,
            copies: None,
        }
    }

    /// Copies each batch that comes to the console, if there is one.
    pub(super) fn with_copies(self, copies: Option<Console>) -> Self {
        Self { copies, ..self }
    }

    /// Appends a batch and never blocks for longer than a few moves of pointers. Where there is no
    /// room the oldest spans of the heaviest exporters are dropped and counted; after the drain began, the batch itself.
    pub fn push(&self, batch: EncodedBatch) {
        self.push_untold(batch);
        self.tell();
    }

    /// The same, but no sender hears of the first batch before [`Self::tell`]: one that sends while the next datagrams are
    /// read takes the processor and its caches from them (a tenth more time of the senders over HTTP).
    pub(crate) fn push_untold(&self, mut batch: EncodedBatch) {
        self.counters.pushed.add(Count::of(&batch));
        if let Some(console) = &self.copies {
            console.copy(&batch, &self.counters);
        }
        let mut state = self.lock();
        if state.closed {
            self.counters.dropped.shutdown.add(Count::of(&batch));
            batch.settle(DropReason::Shutdown.outcome());
            return;
        }
        self.make_room(&mut state, batch.octets.len());
        self.count_in(Count::of(&batch), batch.octets.len());
        state.octets += batch.octets.len();
        state.batches.push_back(batch.into());
        if state.spool_side.is_some() {
            self.pushed_beside_spool(state);
            return;
        }
        drop(state);
        if self.is_untold.swap(true, Relaxed) {
            self.arrived.notify_one();
        }
    }

    /// Lets a sender take what was pushed untold.
    pub(crate) fn tell(&self) {
        if self.is_untold.swap(false, Relaxed) {
            self.arrived.notify_one();
        }
    }

    /// Waits for a batch: of the queue and the spool in turn, the oldest first, and of those that are to be tried again.
    /// `None` when it is closed and nothing is left.
    pub(super) async fn pop(self: &Arc<Self>) -> Option<BatchInFlight> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let next = {
                let mut state = self.lock();
                if let Some(in_flight) = self.next(&mut state) {
                    return Some(in_flight);
                }
                let is_empty = state.batches.is_empty() && state.waiting.is_empty();
                if state.closed && is_empty && !state.spool_has_more() {
                    return None;
                }
                state.waiting.next()
            };
            match next {
                Some(next) => {
                    tokio::select! {
                        () = arrived => {}
                        () = tokio::time::sleep_until(next.into()) => {}
                    }
                }
                None => arrived.await,
            }
        }
    }

    fn next(self: &Arc<Self>, state: &mut State) -> Option<BatchInFlight> {
        let (now, away) = (now(), self.counters.backend_away.load(Relaxed));
        if let Some(suspect) = state.next_suspect(away, now) {
            return Some(self.again(state, suspect));
        }
        if !away && let Some(postponed) = state.next_postponed(now) {
            return Some(self.again(state, postponed));
        }
        let may_read = state.waiting.spooled_octets() <= self.spooled_capacity();
        if may_read && let Some(spooled) = state.next_spooled() {
            self.spool_waker.notify_one();
            return Some(BatchInFlight::spooled(spooled, self));
        }
        if state.senders_take()
            && let Some(batch) = self.take(state)
        {
            return Some(BatchInFlight::new(batch, self));
        }
        let postponed = state.last_resort(now)?;
        Some(self.again(state, postponed))
    }

    fn again(self: &Arc<Self>, state: &mut State, postponed: Postponed) -> BatchInFlight {
        if let Some(octets) = postponed.live_octets() {
            state.octets -= octets;
            self.count_out(postponed.count(), octets);
        }
        BatchInFlight::again(postponed, self)
    }

    /// Takes no more batches; those inside can still be popped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.hurry(now());
        drop(state);
        self.arrived.notify_waiters();
        self.spool_waker.notify_one();
    }

    /// Drops and counts what is inside.
    pub(super) fn clear(&self, reason: DropReason) {
        let mut state = self.lock();
        while let Some(mut batch) = self.take_oldest(&mut state) {
            self.counters.dropped.by(reason).add(Count::of(&batch));
            batch.settle(reason.outcome());
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Drops and counts what makes room for a batch. One larger than the queue may wait alone.
    fn make_room(&self, state: &mut State, octets: usize) {
        let over = state.octets.saturating_add(octets);
        let Some(over) = over.checked_sub(self.capacity).filter(|over| *over > 0) else {
            return;
        };
        let freed = state.make_room(over, self.capacity);
        self.counters.queued.subtract(freed.spans);
        self.counters.dropped.queue_full.add(freed.spans);
        self.counters
            .queued_octets
            .fetch_sub(freed.octets as u64, Relaxed);
        self.counters
            .queued_batches
            .fetch_sub(freed.batches, Relaxed);
        // Of batches that can't be read, the oldest.
        while state.octets.saturating_add(octets) > self.capacity
            && let Some(oldest) = self.take_oldest(state)
        {
            self.counters.dropped.queue_full.add(Count::of(&oldest));
        }
    }

    /// What was tried before is the oldest.
    fn take_oldest(&self, state: &mut State) -> Option<EncodedBatch> {
        self.evict_postponed(state).or_else(|| self.take(state))
    }

    fn take(&self, state: &mut State) -> Option<EncodedBatch> {
        let batch = state.batches.pop_front()?.batch;
        state.octets -= batch.octets.len();
        self.count_out(Count::of(&batch), batch.octets.len());
        Some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use otlp_wire::UnixNanos;

    fn batch(number: u64, octets: usize) -> EncodedBatch {
        EncodedBatch {
            octets: vec![0; octets].into(),
            flow_spans: 10,
            work_spans: 3,
            oldest: UnixNanos(number),
            receipt: None,
        }
    }

    fn queue(capacity: usize) -> Arc<Queue> {
        Arc::new(Queue::new(capacity, Arc::new(Counters::default())))
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let queue = queue(100);
        for number in 0..5 {
            queue.push(batch(number, 40));
        }
        let counters = Arc::clone(&queue.counters);
        assert_eq!(
            counters.dropped.queue_full.load(),
            Count { flow: 30, work: 9 }
        );
        assert_eq!(counters.queued_octets.load(Relaxed), 80);
        assert!(counters.totals().balanced());
        queue.close();
        let mut left = Vec::new();
        while let Some(in_flight) = queue.pop().await {
            left.push(in_flight.batch().oldest.0);
        }
        assert_eq!(left, [3, 4]);
        assert!(counters.totals().balanced());
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_queue_is_kept_alone() {
        let queue = queue(100);
        queue.push(batch(0, 40));
        queue.push(batch(1, 400));
        assert_eq!(queue.counters.queued_batches.load(Relaxed), 1);
        assert_eq!(queue.pop().await.expect("kept").batch().oldest.0, 1);
    }

    #[tokio::test]
    async fn a_push_wakes_a_waiting_sender_and_closing_all() {
        let queue = queue(100);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move { queue.pop().await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        let pushing = Arc::clone(&queue);
        std::thread::spawn(move || pushing.push(batch(0, 1)))
            .join()
            .unwrap();
        tokio::task::yield_now().await;
        queue.close();
        let mut woken = 0;
        for task in waiting {
            woken += usize::from(task.await.unwrap());
        }
        assert_eq!(woken, 1);
    }

    #[tokio::test]
    async fn a_batch_that_is_pushed_untold_is_taken_when_it_is_told_of_or_another_follows() {
        for follows in [false, true] {
            let queue = queue(100);
            let waiting = Arc::clone(&queue);
            let waiting = tokio::spawn(async move {
                let in_flight = waiting.pop().await.expect("a batch");
                in_flight.batch().oldest.0
            });
            tokio::task::yield_now().await;
            queue.push_untold(batch(7, 1));
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            match follows {
                true => queue.push_untold(batch(8, 1)),
                false => queue.tell(),
            }
            assert_eq!(waiting.await.unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn a_batch_whose_task_panics_is_tried_once_more() {
        let queue = queue(100);
        queue.push(batch(0, 40));
        queue.push(batch(1, 40));
        let popped = async || {
            let in_flight = queue.pop().await.expect("a batch");
            in_flight.batch().oldest.0
        };
        for _ in 0..2 {
            let task = async {
                let _held = queue.pop().await;
                assert!(queue.counters.in_flight.load().flow == 0, "a task panics");
            };
            assert!(crate::health::caught(task).await.is_err());
            assert!(queue.counters.totals().balanced());
        }
        let counters = &queue.counters;
        assert_eq!(
            counters.dropped.encoding.load(),
            Count { flow: 10, work: 3 }
        );
        assert_eq!(counters.in_flight.load(), Count::default());
        assert_eq!(popped().await, 1);
    }

    #[test]
    fn what_comes_after_closing_is_counted() {
        let queue = queue(100);
        queue.push(batch(0, 1));
        queue.close();
        queue.push(batch(1, 1));
        queue.clear(DropReason::Shutdown);
        assert_eq!(
            queue.counters.dropped.shutdown.load(),
            Count { flow: 20, work: 6 }
        );
        assert!(queue.counters.totals().balanced());
    }
}
