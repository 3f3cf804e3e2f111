//! From the queue to Kafka. Datagrams are given to the client in their order; their outcomes are waited for beside that.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{info, warn};

use super::counters::DropReason;
use super::queue::Queue;
use super::{Connect, PATIENCE};
use crate::health::Part;
use crate::kafka::{ErrorKind, KafkaError, Producer, Queued, Record};
use crate::translate::counters::RateLimit;

/// Datagrams given to the client at once.
const TAKEN: usize = 1_024;
/// After the first failure; it doubles with each further one …
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A step takes no longer, whatever the brokers do.
const STEP: Duration = Duration::from_secs(60);
/// Without an acknowledgement for so long, the brokers count as away.
const SILENCE: Duration = Duration::from_secs(5);
/// How often that is looked at, and whether something was dropped.
const LOOK: Duration = Duration::from_secs(1);
/// Between two lines about the same.
const QUIET: Duration = Duration::from_secs(60);

/// The task's state; it outlives a panic of the task.
pub(super) struct Forwarder {
    queue: Arc<Queue>,
    topic: Arc<str>,
    connect: Connect,
    producer: Option<Arc<dyn Producer>>,
    /// What was taken from the queue and not yet given to the client.
    taken: Vec<Record>,
    /// Waits for outcomes.
    settling: JoinSet<Settled>,
    pause: Duration,
    report: Report,
}

/// What became of records.
struct Settled {
    /// Those that are to be tried again, in their order.
    again: Vec<Record>,
    error: Option<KafkaError>,
}

/// What was logged.
struct Report {
    is_away: bool,
    refused: RateLimit,
    lost: RateLimit,
    lost_before: u64,
    last_progress: Instant,
    relayed_before: u64,
}

impl Forwarder {
    pub(super) fn new(queue: Arc<Queue>, topic: Arc<str>, connect: Connect) -> Self {
        Self {
            queue,
            topic,
            connect,
            producer: None,
            taken: Vec::new(),
            settling: JoinSet::new(),
            pause: FIRST_PAUSE,
            report: Report {
                is_away: false,
                refused: RateLimit::new(1, QUIET),
                lost: RateLimit::new(1, QUIET),
                lost_before: 0,
                last_progress: Instant::now(),
                relayed_before: 0,
            },
        }
    }

    /// Until the queue is closed and everything has an outcome.
    pub(super) async fn run(&mut self, part: &Part) {
        let mut look = tokio::time::interval(LOOK);
        let mut closed = false;
        loop {
            part.works(STEP);
            if let Some(error) = self.step().await {
                self.failed(&error);
                if self.queue.is_done() && self.taken.is_empty() {
                    return;
                }
                tokio::time::sleep(self.pause).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.look();
                continue;
            }
            if closed && self.settling.is_empty() && self.taken.is_empty() {
                return self.look();
            }
            tokio::select! {
                biased;
                Some(settled) = self.settling.join_next(), if !self.settling.is_empty() => {
                    self.settled(settled);
                    closed = false;
                }
                taken = self.queue.take(TAKEN), if !closed && self.taken.is_empty() => {
                    closed = taken.is_empty();
                    self.taken = taken;
                }
                _ = look.tick() => self.look(),
            }
        }
    }

    /// Connects if need be, and gives the client what was taken. An error is one after which to pause.
    async fn step(&mut self) -> Option<KafkaError> {
        let producer = match self.producer().await {
            Ok(producer) => producer,
            Err(error) => return Some(error),
        };
        if self.taken.is_empty() {
            return None;
        }
        let Queued {
            queued,
            error,
            outcomes,
        } = producer.queue(&self.taken).await;
        if queued > 0 {
            let rest = self.taken.split_off(queued);
            let records = std::mem::replace(&mut self.taken, rest);
            let queue = Arc::clone(&self.queue);
            self.settling.spawn(async move {
                let outcomes = outcomes.await;
                settle(&queue, records, outcomes)
            });
        }
        let error = error?;
        match error.kind {
            ErrorKind::Retry => Some(error),
            ErrorKind::Ended => {
                self.producer = None;
                Some(error)
            }
            // The first that was not queued is to blame.
            ErrorKind::TooLarge | ErrorKind::Rejected => {
                let refused = self.taken.remove(0);
                refuse(&self.queue, &refused, error.kind);
                self.report.refused(&error);
                None
            }
        }
    }

    async fn producer(&mut self) -> Result<Arc<dyn Producer>, KafkaError> {
        if let Some(producer) = &self.producer {
            return Ok(Arc::clone(producer));
        }
        let client = (self.connect)().await?;
        let partitions = client.partitions(&self.topic).await?;
        let room = usize::try_from(self.queue.limit()).unwrap_or(usize::MAX);
        let producer = client.producer(PATIENCE, room).await?;
        info!(topic = %self.topic, partitions, "connected to Kafka");
        self.producer = Some(Arc::clone(&producer));
        Ok(producer)
    }

    fn settled(&mut self, settled: Result<Settled, tokio::task::JoinError>) {
        // A task that panicked, which none does, leaves its records as waiting: they count as dropped at the end.
        let Ok(Settled { again, error }) = settled else {
            return;
        };
        let Some(error) = error else {
            self.pause = FIRST_PAUSE;
            return;
        };
        if error.kind == ErrorKind::Ended {
            self.producer = None;
        }
        if again.is_empty() {
            self.report.refused(&error);
        } else {
            self.failed(&error);
            self.queue.give_back(again);
        }
    }

    fn failed(&mut self, error: &KafkaError) {
        let counters = self.queue.counters();
        counters.failures.fetch_add(1, Relaxed);
        counters.is_away.store(true, Relaxed);
        self.report.away(&self.topic, &error.to_string());
    }

    /// Looks whether there is progress, and whether something was lost.
    fn look(&mut self) {
        let counters = self.queue.counters();
        let (relayed, waiting) = (
            counters.relayed.load(Relaxed),
            counters.waiting.load(Relaxed),
        );
        let report = &mut self.report;
        if relayed != report.relayed_before || waiting == 0 {
            report.last_progress = Instant::now();
        }
        if relayed != report.relayed_before || (waiting == 0 && self.producer.is_some()) {
            counters.is_away.store(false, Relaxed);
            report.back(&self.topic, waiting);
        } else if report.last_progress.elapsed() >= SILENCE {
            counters.is_away.store(true, Relaxed);
            report.away(
                &self.topic,
                "the brokers don't acknowledge what they were sent",
            );
        }
        report.relayed_before = relayed;
        let lost = counters.dropped(DropReason::QueueFull);
        if lost > report.lost_before && report.lost.admit(Instant::now()).is_some() {
            warn!(
                topic = %self.topic,
                datagrams = lost - report.lost_before,
                reason = DropReason::QueueFull.as_str(),
                "datagrams were dropped: the brokers are unreachable or too slow, and the queue is full; \
                 NETFLOW_QUEUE_SIZE bounds it"
            );
            report.lost_before = lost;
        }
    }
}

impl Report {
    fn away(&mut self, topic: &str, cause: &str) {
        if !self.is_away {
            self.is_away = true;
            warn!(
                topic,
                cause, "Kafka is not accepting datagrams: they wait, and the relay retries"
            );
        }
    }

    fn back(&mut self, topic: &str, waiting: u64) {
        if self.is_away {
            self.is_away = false;
            info!(topic, waiting, "Kafka accepts datagrams again");
        }
    }

    fn refused(&mut self, error: &KafkaError) {
        if self.refused.admit(Instant::now()).is_some() {
            warn!(%error, "Kafka rejected a datagram: it is dropped");
        }
    }
}

/// Counts outcomes.
fn settle(queue: &Queue, records: Vec<Record>, outcomes: Vec<Result<(), KafkaError>>) -> Settled {
    let mut settled = Settled {
        again: Vec::new(),
        error: None,
    };
    for (record, outcome) in records.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => queue.relayed(&record),
            Err(error) => {
                match error.kind {
                    ErrorKind::Retry | ErrorKind::Ended => settled.again.push(record),
                    kind => refuse(queue, &record, kind),
                }
                settled.error = Some(error);
            }
        }
    }
    settled
}

fn refuse(queue: &Queue, record: &Record, kind: ErrorKind) {
    let reason = match kind {
        ErrorKind::TooLarge => DropReason::TooLarge,
        _ => DropReason::Rejected,
    };
    queue.dropped(record, reason);
}
