//! What a worker has learnt of its exporters, on its way to the compacted topic: the key is the exporter's address, the
//! value what a template store's file with this exporter alone holds. Whoever has the exporter's partition next reads it
//! before the first datagram.
//!
//! The topic has as many partitions as that of the datagrams, so that an exporter's state stands in the partition of the
//! same number.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use otlp_wire::{Receipt, Settled};
use tokio::sync::Notify;
use tracing::warn;

use super::counters::InputCounters;
use crate::health::Part;
use crate::kafka::{Client, ErrorKind, KafkaError, Message, Producer, Record};
use crate::template_store::format;
use crate::translate::SavedExporter;
use crate::translate::counters::RateLimit;

/// States that are written at once.
const AT_ONCE: usize = 256;
/// A larger value is no state of ours.
const MAX_VALUE: usize = 8 << 20;
/// Octets of the states that are read when partitions come, of all together.
const MAX_READ: usize = 128 << 20;
/// How long reading those of one may take: then the workers learn anew what is missing.
const READING: Duration = Duration::from_secs(30);
/// And those of all that come at once: a member that doesn't poll for long loses them.
const READING_ALL: Duration = Duration::from_secs(100);
/// How long a state is tried before it is tried anew.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets that may wait for their acknowledgement.
const ROOM: usize = 16 << 20;
/// Before another attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// A round takes no longer.
const LONGEST_ROUND: Duration = Duration::from_secs(120);

/// One exporter's state, to be written.
#[derive(Debug, Default)]
struct Pending {
    octets: Bytes,
    /// Of this state, and of those that it replaced before they were written.
    receipts: Vec<Receipt>,
}

/// States that are to be written, each exporter's latest.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Mutex<BTreeMap<IpAddr, Pending>>,
    /// The last that was taken. Those behind it come next, so that some that fail don't keep the others waiting.
    last: Mutex<Option<IpAddr>>,
    /// There are more, or fewer.
    changed: Notify,
    is_writing: AtomicBool,
}

impl Outbox {
    pub(super) fn put(&self, saved: &SavedExporter, receipt: Receipt) {
        let octets = Bytes::from(format::file_of(saved));
        {
            let mut pending = self.lock();
            let state = pending.entry(saved.address).or_default();
            state.octets = octets;
            state.receipts.push(receipt);
        }
        self.changed.notify_waiters();
    }

    /// Those that could not be written, unless there is something newer.
    fn put_back(&self, address: IpAddr, mut old: Pending) {
        match self.lock().entry(address) {
            Entry::Vacant(place) => _ = place.insert(old),
            Entry::Occupied(mut newer) => newer.get_mut().receipts.append(&mut old.receipts),
        }
    }

    fn take(&self) -> Vec<(IpAddr, Pending)> {
        let mut pending = self.lock();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_next = |address: &&IpAddr| last.is_none_or(|last| **address > last);
        let others = pending.keys().filter(|address| !is_next(address));
        let some = pending.keys().filter(is_next).chain(others);
        let some: Vec<IpAddr> = some.take(AT_ONCE).copied().collect();
        *last = some.last().copied();
        let taken = some.into_iter();
        taken
            .filter_map(|address| Some((address, pending.remove(&address)?)))
            .collect()
    }

    /// Waits until all is written.
    pub(super) async fn written(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().is_empty() && !self.is_writing.load(Relaxed) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the states.
pub(super) struct Writer {
    pub(super) outbox: Arc<Outbox>,
    pub(super) topic: Arc<str>,
    pub(super) counters: Arc<InputCounters>,
    lines: RateLimit,
}

impl Writer {
    pub(super) fn new(outbox: Arc<Outbox>, topic: Arc<str>, counters: Arc<InputCounters>) -> Self {
        Self {
            outbox,
            topic,
            counters,
            lines: RateLimit::new(1, Duration::from_secs(60)),
        }
    }

    /// Writes what comes, without end, unless the client is of no use any more.
    pub(super) async fn run(&mut self, client: &dyn Client, part: &Part) {
        let mut producer = None;
        loop {
            part.rests();
            let outbox = Arc::clone(&self.outbox);
            let changed = outbox.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if outbox.lock().is_empty() {
                changed.await;
                continue;
            }
            part.works(LONGEST_ROUND);
            let writes = match producer.take() {
                Some(producer) => Ok(producer),
                None => client.producer(PATIENCE, ROOM).await,
            };
            let round = match writes {
                Ok(writes) => {
                    let round = self.write(&*writes).await;
                    producer = Some(writes);
                    round
                }
                Err(error) => Err(error),
            };
            if let Err(error) = round {
                self.say(&error);
                if error.kind == ErrorKind::Ended {
                    producer = None;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Writes some.
    async fn write(&mut self, producer: &dyn Producer) -> Result<(), KafkaError> {
        /// Ends the writing however it ends.
        struct Writing<'a>(&'a Outbox);
        impl Drop for Writing<'_> {
            fn drop(&mut self) {
                self.0.is_writing.store(false, Relaxed);
                self.0.changed.notify_waiters();
            }
        }
        let outbox = Arc::clone(&self.outbox);
        outbox.is_writing.store(true, Relaxed);
        let writing = Writing(&outbox);
        let states = outbox.take();
        let records: Vec<Record> = states
            .iter()
            .map(|(address, pending)| Record {
                topic: Arc::clone(&self.topic),
                key: Some(address.to_string().into()),
                value: Some(pending.octets.clone()),
                ..Record::default()
            })
            .collect();
        let queued = producer.queue(&records).await;
        producer.flush().await;
        let mut outcomes = queued.outcomes.await.into_iter();
        let mut failed = queued.error;
        for (address, pending) in states {
            match outcomes.next() {
                Some(Ok(())) => {
                    self.counters.written.add(1);
                    settle(pending, Settled::Delivered);
                }
                Some(Err(error))
                    if error.kind != ErrorKind::Retry && error.kind != ErrorKind::Ended =>
                {
                    self.counters.refused.add(1);
                    self.say(&error);
                    settle(pending, Settled::Dropped);
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    outbox.put_back(address, pending);
                }
                None => outbox.put_back(address, pending),
            }
        }
        drop(writing);
        failed.map_or(Ok(()), Err)
    }

    fn say(&mut self, error: &KafkaError) {
        if let Some(suppressed) = self.lines.admit(Instant::now()) {
            warn!(
                topic = %self.topic,
                %error,
                suppressed,
                "what exporters reported can't be written to NETFLOW_KAFKA_TEMPLATES_TOPIC: until it can, no later offset is \
                 committed, and after a restart more is read again; what the brokers reject for good is skipped, and the \
                 next worker of those exporters waits for their templates"
            );
        }
    }
}

fn settle(pending: Pending, outcome: Settled) {
    for receipt in pending.receipts {
        receipt.settle(outcome);
    }
}

/// What reading the states of partitions that come together may still take.
pub(super) struct Share {
    until: Instant,
    octets: usize,
}

impl Share {
    pub(super) fn from(began: Instant) -> Self {
        Self {
            until: began + READING_ALL,
            octets: MAX_READ,
        }
    }
}

/// The states of a partition's exporters, as the topic has them; as many as could be read.
pub(super) async fn read(
    client: &dyn Client,
    topic: &str,
    partition: i32,
    share: &mut Share,
    counters: &InputCounters,
) -> Vec<SavedExporter> {
    let mut found = Found {
        most: share.octets,
        ..Found::default()
    };
    let mut take = |messages: Vec<Message>| {
        for message in messages {
            found.take(message, counters);
        }
    };
    let reading = client.read_all(topic, partition, &mut take);
    let until = share.until.min(Instant::now() + READING);
    let error = match tokio::time::timeout_at(until.into(), reading).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it takes too long".to_owned()),
    };
    if let Some(error) = error {
        warn!(
            topic,
            partition,
            error,
            "not everything that a partition's exporters reported can be read: the data of some waits for their templates"
        );
    }
    share.octets -= found.octets;
    let all = found.latest.into_iter();
    all.filter_map(|(address, octets)| {
        let saved = format::read(&octets).ok();
        // A value under another's key would be a way to speak for it.
        let saved = saved.and_then(|saved| <[SavedExporter; 1]>::try_from(saved).ok());
        let saved = saved.filter(|[saved]| saved.address == address);
        if saved.is_none() {
            counters.unreadable.add(1);
            warn!(topic, partition, exporter = %address, "a state of an exporter can't be read, and is ignored");
        }
        saved.map(|[saved]| saved)
    })
    .collect()
}

/// The latest state of each exporter.
#[derive(Default)]
struct Found {
    latest: BTreeMap<IpAddr, Bytes>,
    octets: usize,
    /// Octets that they may have.
    most: usize,
}

impl Found {
    fn take(&mut self, message: Message, counters: &InputCounters) {
        let key = message
            .key
            .as_deref()
            .and_then(|key| std::str::from_utf8(key).ok());
        let Some(address) = key.and_then(|key| key.parse::<IpAddr>().ok()) else {
            counters.unreadable.add(1);
            return;
        };
        if let Some(old) = self.latest.remove(&address) {
            self.octets -= old.len();
        }
        // Without a value it is deleted.
        let Some(value) = message.value else { return };
        if value.len() > MAX_VALUE || self.octets + value.len() > self.most {
            counters.unreadable.add(1);
            return;
        }
        self.octets += value.len();
        self.latest.insert(address, value);
    }
}
