//! `NETFLOW_INPUT=kafka`: datagrams from a topic instead of sockets, as a member of a consumer group.
//!
//! A task reads messages and puts each into the inbox of the worker that has its partition; the worker reads them as it
//! would read its sockets. An offset is committed when all that was made of the datagrams up to it is delivered, spooled or
//! given up (`ledger`). Nothing is dropped because a queue is full: then partitions are paused.
//!
//! What was learnt of exporters goes to a compacted topic, from which whoever has the partition next reads it (`states`).

mod counters;
mod inbox;
mod intake;
mod ledger;
mod states;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use counters::InputCounters;
use inbox::Inbox;
pub(crate) use inbox::{Reading, Receipts};
use intake::{Connect, Intake, Lane, MOST_WAITING, Shared};
use ledger::Ledger;
use states::{Outbox, Writer};

use crate::config;
use crate::health::{Health, Kind, Part, caught};
use crate::receive::Waker;
use crate::streams::Room;
use crate::worker::Machine;

/// Before another attempt to reach the cluster for the states of exporters.
const PAUSE: Duration = Duration::from_secs(1);

/// What the workers' ends and the consumer will share.
#[derive(Debug)]
pub(crate) struct Prepared {
    workers: Vec<(Arc<Inbox>, Arc<Ledger>)>,
    outbox: Arc<Outbox>,
    counters: Arc<InputCounters>,
    /// Octets that may wait for one worker.
    most_waiting: usize,
}

impl Prepared {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        let counters = Arc::default();
        let workers = (0..workers).map(|_| (Arc::default(), Ledger::new(&counters)));
        Self {
            workers: workers.collect(),
            outbox: Arc::default(),
            counters: Arc::clone(&counters),
            most_waiting: MOST_WAITING,
        }
    }

    pub(crate) fn counters(&self) -> Arc<InputCounters> {
        Arc::clone(&self.counters)
    }

    /// The receipts for the batches of a worker, if there is one with this index.
    pub(crate) fn receipts(&self, worker: usize) -> Option<Receipts> {
        let (_, ledger) = self.workers.get(worker)?;
        Some(Receipts::of(ledger))
    }

    /// The end of a worker, if there is one with this index.
    pub(crate) fn reading(
        &self,
        worker: usize,
        room: Room,
        machine: &mut Machine,
    ) -> Option<Reading> {
        let (inbox, ledger) = self.workers.get(worker)?;
        Some(Reading::new(
            Arc::clone(inbox),
            Arc::clone(ledger),
            Arc::clone(&self.outbox),
            self.counters(),
            room,
            machine,
        ))
    }

    /// Joins the group. `wakers` are those of the workers. Must be called within a tokio runtime.
    pub(crate) fn start(
        self,
        input: &config::KafkaInput,
        wakers: &[Waker],
        health: &Health,
    ) -> Input {
        let config = input.kafka.clone();
        let connect: Connect = Arc::new(move || {
            let config = config.clone();
            Box::pin(async move { crate::kafka::connect(&config).await })
        });
        self.start_with(connect, input, wakers, health)
    }

    fn start_with(
        self,
        connect: Connect,
        input: &config::KafkaInput,
        wakers: &[Waker],
        health: &Health,
    ) -> Input {
        let Self {
            workers,
            outbox,
            counters,
            most_waiting,
        } = self;
        let lanes = workers.into_iter().zip(wakers);
        let lanes = lanes.map(|((inbox, ledger), waker)| Lane {
            inbox,
            ledger,
            waker: waker.clone(),
        });
        let topic = Arc::clone(&input.templates_topic);
        let mut writer = Writer::new(
            Arc::clone(&outbox),
            Arc::clone(&topic),
            Arc::clone(&counters),
        );
        let shared = Shared::new(
            lanes.collect(),
            Arc::clone(&outbox),
            topic,
            counters,
            most_waiting,
        );
        let shared = Arc::new(shared);
        let (stop, mut stopped) = watch::channel(false);
        let mut intake = Intake::new(
            Arc::clone(&shared),
            Arc::clone(&connect),
            input.group.clone(),
            Arc::clone(&input.kafka.topic),
        );
        let part = Part::numbered(Kind::KafkaInput, 0);
        health.add(&part);
        let reading = tokio::spawn(async move {
            while caught(intake.run(&part, &mut stopped)).await.is_err() {
                part.restart().await;
            }
            part.rests();
        });
        let part = Part::numbered(Kind::KafkaInput, 1);
        health.add(&part);
        let writing = tokio::spawn(async move {
            loop {
                let round = async {
                    match connect().await {
                        Ok(client) => writer.run(&*client, &part).await,
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    }
                };
                if caught(round).await.is_err() {
                    part.restart().await;
                }
            }
        });
        Input {
            shared,
            stop,
            reading: Some(reading),
            writing,
        }
    }
}

/// The input at work. Dropped, it ends at once.
#[derive(Debug)]
pub(crate) struct Input {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    reading: Option<JoinHandle<()>>,
    writing: JoinHandle<()>,
}

impl Input {
    /// Reads no more messages; what waits for the workers stays in Kafka. The group is not left: nobody else is to read
    /// what is still being delivered.
    pub(crate) async fn stop_reading(&mut self, until: Instant) {
        self.stop.send_replace(true);
        self.shared.leaving();
        if let Some(reading) = self.reading.take() {
            let abort = reading.abort_handle();
            if tokio::time::timeout_at(until.into(), reading)
                .await
                .is_err()
            {
                abort.abort();
            }
        }
    }

    /// After delivery has ended: commits what is done and leaves the group.
    pub(crate) async fn leave(self, until: Instant) {
        // Some offsets wait for it; but others are done, and the group has to be left in time.
        let half = until.saturating_duration_since(Instant::now()) / 2;
        let _ = tokio::time::timeout(half, self.shared.outbox.written()).await;
        intake::leave(&self.shared, until).await;
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
        self.writing.abort();
        self.shared.disconnect();
    }
}
