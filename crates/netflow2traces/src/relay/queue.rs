//! Datagrams that wait for Kafka, bounded by their octets.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::counters::{DropReason, RelayCounters};
use crate::kafka::Record;

/// Records in their order; several workers put in, one task takes out.
#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    /// Something was put in, or it was closed.
    changed: Notify,
    pub(super) counters: Arc<RelayCounters>,
    limit: u64,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<Record>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            counters: Arc::default(),
            limit: limit as u64,
        }
    }

    pub(super) fn counters(&self) -> Arc<RelayCounters> {
        Arc::clone(&self.counters)
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether half of it is free.
    pub(super) fn has_room(&self) -> bool {
        self.counters.waiting_octets.load(Relaxed) <= self.limit / 2
    }

    /// Puts records in and leaves none in `records`. Those for which there is no room are dropped and counted.
    pub(super) fn push(&self, records: &mut Vec<Record>) {
        let mut inner = self.lock();
        let mut dropped = 0;
        for record in records.drain(..) {
            let octets = record.octets() as u64;
            // Only senders add, and they have the lock.
            let waiting = self.counters.waiting_octets.load(Relaxed);
            if inner.closed {
                self.counters.count_dropped(DropReason::Shutdown, 1);
            } else if waiting + octets > self.limit {
                dropped += 1;
            } else {
                self.counters.waiting_octets.fetch_add(octets, Relaxed);
                self.counters.waiting.fetch_add(1, Relaxed);
                inner.records.push_back(record);
            }
        }
        drop(inner);
        if dropped > 0 {
            self.counters.count_dropped(DropReason::QueueFull, dropped);
        }
        self.changed.notify_one();
    }

    /// Up to so many of the oldest records; none when it is closed and empty. For one task alone.
    pub(super) async fn take(&self, most: usize) -> Vec<Record> {
        loop {
            {
                let mut inner = self.lock();
                let count = inner.records.len().min(most);
                if count > 0 || inner.closed {
                    return inner.records.drain(..count).collect();
                }
            }
            self.changed.notified().await;
        }
    }

    /// Puts records back to the front, in their order.
    pub(super) fn give_back(&self, records: Vec<Record>) {
        let mut inner = self.lock();
        for record in records.into_iter().rev() {
            inner.records.push_front(record);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// All replicas in sync have it.
    pub(super) fn relayed(&self, record: &Record) {
        let octets = record.value.as_ref().map_or(0, bytes::Bytes::len);
        self.counters.relayed.fetch_add(1, Relaxed);
        self.counters
            .relayed_octets
            .fetch_add(octets as u64, Relaxed);
        self.settle(record);
    }

    pub(super) fn dropped(&self, record: &Record, reason: DropReason) {
        self.counters.count_dropped(reason, 1);
        self.settle(record);
    }

    fn settle(&self, record: &Record) {
        let octets = record.octets() as u64;
        self.counters.waiting_octets.fetch_sub(octets, Relaxed);
        self.counters.waiting.fetch_sub(1, Relaxed);
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Whether it is closed, and everything that was put in has an outcome.
    pub(super) fn is_done(&self) -> bool {
        self.lock().closed && self.counters.waiting.load(Relaxed) == 0
    }

    /// The end: whatever has no outcome is dropped.
    pub(super) fn give_up(&self) {
        self.lock().records.clear();
        let waiting = self.counters.waiting.swap(0, Relaxed);
        self.counters.waiting_octets.store(0, Relaxed);
        self.counters.count_dropped(DropReason::Shutdown, waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
