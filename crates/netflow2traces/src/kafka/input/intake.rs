//! The consumer: takes messages to the workers that have their partitions, commits what is done, and hands partitions over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::counters::InputCounters;
use super::inbox::{Inbox, Item};
use super::ledger::Ledger;
use super::states::{self, Outbox};
use crate::health::Part;
use crate::kafka::{Client, Consumer, ErrorKind, KafkaError, Later, Message, Rebalance};
use crate::receive::Waker;
use crate::translate::counters::RateLimit;

/// How long a poll waits for messages …
const WAIT: Duration = Duration::from_millis(200);
/// … and while partitions are paused, which are to be resumed soon.
const WAIT_PAUSED: Duration = Duration::from_millis(20);
/// Between two commits.
const COMMIT: Duration = Duration::from_secs(1);
/// Between two looks at how much there is to read.
const LOOK: Duration = Duration::from_secs(5);
/// How long a partition that goes may keep the group waiting.
const HAND_OVER: Duration = Duration::from_secs(10);
/// A worker that has not let go of a partition by then is stuck.
const LETTING_GO: Duration = Duration::from_secs(5);
/// Before another attempt to reach the cluster.
const PAUSE: Duration = Duration::from_secs(1);
/// A round with a change of the assignment takes no longer.
const LONGEST_ROUND: Duration = Duration::from_secs(180);
/// Octets that wait for one worker: then its partitions are paused, until a part of them is left.
pub(super) const MOST_WAITING: usize = 4 << 20;
const LEFT: usize = 4;

/// What leads to one worker.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) inbox: Arc<Inbox>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) waker: Waker,
}

/// What the consumer and the changes of its assignment share.
pub(super) struct Shared {
    pub(super) lanes: Vec<Lane>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) templates_topic: Arc<str>,
    pub(super) counters: Arc<InputCounters>,
    state: Mutex<State>,
    /// Octets that may wait for one worker.
    most_waiting: usize,
}

#[derive(Default)]
struct State {
    owned: BTreeSet<i32>,
    /// Went since pauses were last looked at: the client has forgotten that they were paused.
    gone: BTreeSet<i32>,
    /// The message after the last one that this process has read.
    read: BTreeMap<i32, i64>,
    /// What reads states and commits, while there is a connection.
    client: Option<Arc<dyn Client>>,
    consumer: Option<Arc<dyn Consumer>>,
    /// The workers have ended: there is nothing to wait for.
    leaving: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        lanes: Vec<Lane>,
        outbox: Arc<Outbox>,
        templates_topic: Arc<str>,
        counters: Arc<InputCounters>,
        most_waiting: usize,
    ) -> Self {
        Self {
            lanes,
            outbox,
            templates_topic,
            counters,
            state: Mutex::default(),
            most_waiting,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, partition: i32) -> &Lane {
        &self.lanes[self.lane_of(partition)]
    }

    fn lane_of(&self, partition: i32) -> usize {
        usize::try_from(partition).unwrap_or(0) % self.lanes.len()
    }

    fn own(&self, change: impl FnOnce(&mut BTreeSet<i32>)) {
        let mut state = self.lock();
        let before = state.owned.len() as u64;
        change(&mut state.owned);
        let after = state.owned.len() as u64;
        self.counters.partitions.add(after);
        self.counters.partitions.subtract(before);
    }

    /// Commits what is done. The consumer has to have the partitions.
    async fn commit(&self, consumer: &dyn Consumer) -> Result<(), KafkaError> {
        let offsets: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| lane.ledger.to_commit())
            .collect();
        let all = offsets.concat();
        if all.is_empty() {
            return Ok(());
        }
        match consumer.commit(&all).await {
            Ok(()) => {
                self.counters.committed.add(1);
                for (lane, offsets) in self.lanes.iter().zip(&offsets) {
                    lane.ledger.committed(offsets);
                }
                Ok(())
            }
            Err(error) => {
                self.counters.failed.add(1);
                Err(error)
            }
        }
    }

    /// Lets the workers let go of partitions.
    async fn let_go(&self, partitions: &[i32], in_order: bool) {
        let mut answers = Vec::new();
        for partition in partitions {
            let lane = self.lane(*partition);
            lane.inbox.withdraw(*partition);
            let (answer, answered) = oneshot::channel();
            lane.inbox.put(Item::End {
                partition: *partition,
                in_order,
                answer,
            });
            lane.waker.wake();
            answers.push(answered);
        }
        let all = async {
            for answer in answers {
                let _ = answer.await;
            }
        };
        if tokio::time::timeout(LETTING_GO, all).await.is_err() {
            warn!(
                ?partitions,
                "a worker is still busy with partitions that another daemon takes over"
            );
        }
    }

    /// Waits until all that was made of these partitions is done, but not for long.
    async fn done(&self, partitions: &[i32]) {
        let done = async {
            for lane in &self.lanes {
                loop {
                    let changed = lane.ledger.changed.notified();
                    tokio::pin!(changed);
                    changed.as_mut().enable();
                    if lane.ledger.is_done(partitions) {
                        break;
                    }
                    changed.await;
                }
            }
        };
        let _ = tokio::time::timeout(HAND_OVER, done).await;
    }

    fn end(&self, partitions: &[i32]) {
        for partition in partitions {
            let left = self.lane(*partition).ledger.end(*partition);
            self.counters.uncommitted.add(left);
        }
        self.lock().gone.extend(partitions);
        self.own(|owned| owned.retain(|partition| !partitions.contains(partition)));
    }

    /// The connection is gone, and with it all partitions.
    async fn abandon(&self) {
        let owned: Vec<i32> = self.lock().owned.iter().copied().collect();
        if !owned.is_empty() {
            self.lost(&owned).await;
        }
        self.disconnect();
    }

    /// Lets go of the connection, which has this in turn.
    pub(super) fn disconnect(&self) {
        let mut state = self.lock();
        let connection = (state.client.take(), state.consumer.take());
        drop(state);
        drop(connection);
    }

    /// What the workers do at the end is theirs: partitions that go are only committed.
    pub(super) fn leaving(&self) {
        self.lock().leaving = true;
    }
}

impl Rebalance for Shared {
    fn assigned<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
        Box::pin(async move {
            self.counters.assigned.add(partitions.len() as u64);
            let client = self.lock().client.clone();
            let (mut exporters, began) = (0, Instant::now());
            let mut share = states::Share::from(began);
            for partition in partitions {
                let saved = match &client {
                    Some(client) => {
                        let topic = &self.templates_topic;
                        states::read(&**client, topic, *partition, &mut share, &self.counters).await
                    }
                    None => Vec::new(),
                };
                exporters += saved.len();
                let lane = self.lane(*partition);
                lane.ledger.begin(*partition);
                lane.inbox.put(Item::Begin {
                    partition: *partition,
                    saved,
                });
                lane.waker.wake();
            }
            self.own(|owned| owned.extend(partitions));
            let took_ms = began.elapsed().as_millis() as u64;
            info!(?partitions, exporters, took_ms, "reading partitions");
        })
    }

    fn revoked<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
        Box::pin(async move {
            self.counters.revoked.add(partitions.len() as u64);
            let (consumer, leaving) = {
                let state = self.lock();
                (state.consumer.clone(), state.leaving)
            };
            if !leaving {
                self.let_go(partitions, true).await;
                self.done(partitions).await;
            }
            if let Some(consumer) = consumer
                && let Err(error) = self.commit(&*consumer).await
            {
                warn!(%error, ?partitions, "offsets of partitions that another daemon takes over could not be committed: it reads them again");
            }
            self.end(partitions);
            info!(?partitions, "partitions handed over");
        })
    }

    fn lost<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
        Box::pin(async move {
            self.counters.lost.add(partitions.len() as u64);
            self.end(partitions);
            if !self.lock().leaving {
                self.let_go(partitions, false).await;
            }
            warn!(
                ?partitions,
                "partitions lost: what was not committed is read again"
            );
        })
    }
}

/// Makes a connection to the cluster.
pub(super) type Connect =
    Arc<dyn Fn() -> Later<'static, Result<Arc<dyn Client>, KafkaError>> + Send + Sync>;

/// The consumer at work.
pub(super) struct Intake {
    pub(super) shared: Arc<Shared>,
    pub(super) connect: Connect,
    pub(super) group: String,
    pub(super) topic: Arc<str>,
    lines: RateLimit,
    is_away: bool,
    paused: BTreeSet<i32>,
    next_commit: Instant,
    next_look: Instant,
}

impl Intake {
    pub(super) fn new(
        shared: Arc<Shared>,
        connect: Connect,
        group: String,
        topic: Arc<str>,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            connect,
            group,
            topic,
            lines: RateLimit::new(1, Duration::from_secs(60)),
            is_away: false,
            paused: BTreeSet::new(),
            next_commit: now,
            next_look: now,
        }
    }

    /// Reads until it is stopped. The group is not left by then.
    pub(super) async fn run(&mut self, part: &Part, stop: &mut watch::Receiver<bool>) {
        // After a panic: what the consumer before had is gone.
        self.shared.abandon().await;
        while !*stop.borrow() {
            part.works(LONGEST_ROUND);
            let joined = tokio::select! {
                joined = self.join() => joined,
                // A wait for a cluster that is away ends at once.
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let outcome = match joined {
                Ok(consumer) => self.read(&*consumer, part, stop).await,
                Err(error) => Err(error),
            };
            let Err(error) = outcome else { return };
            self.away(&error);
            self.shared.abandon().await;
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn join(&mut self) -> Result<Arc<dyn Consumer>, KafkaError> {
        let client = (self.connect)().await?;
        let rebalance: Arc<dyn Rebalance> = self.shared.clone();
        self.shared.lock().client = Some(Arc::clone(&client));
        let consumer = client.consumer(&self.group, &self.topic, rebalance).await?;
        self.shared.lock().consumer = Some(Arc::clone(&consumer));
        self.paused.clear();
        Ok(consumer)
    }

    /// Reads until it is stopped or the client is of no use any more.
    async fn read(
        &mut self,
        consumer: &dyn Consumer,
        part: &Part,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), KafkaError> {
        while !*stop.borrow() {
            part.works(LONGEST_ROUND);
            self.heed_room(consumer).await;
            let wait = if self.paused.is_empty() {
                WAIT
            } else {
                WAIT_PAUSED
            };
            let polled = Instant::now();
            match consumer.poll(wait).await {
                Ok(messages) => {
                    self.back();
                    // A client that doesn't wait would take a whole processor.
                    if messages.is_empty() && polled.elapsed() < WAIT_PAUSED / 2 {
                        tokio::time::sleep(WAIT_PAUSED / 2).await;
                    }
                    self.hand_out(messages);
                }
                Err(error) if error.kind == ErrorKind::Ended => return Err(error),
                Err(error) => {
                    self.away(&error);
                    tokio::time::sleep(PAUSE / 4).await;
                }
            }
            let now = Instant::now();
            if now >= self.next_commit {
                self.next_commit = now + COMMIT;
                if let Err(error) = self.shared.commit(consumer).await {
                    if error.kind == ErrorKind::Ended {
                        return Err(error);
                    }
                    if let Some(suppressed) = self.lines.admit(now) {
                        warn!(%error, suppressed, "offsets can't be committed: after a restart more would be read again");
                    }
                }
            }
            if now >= self.next_look {
                self.next_look = now + LOOK;
                let lag = &self.shared.counters.lag;
                let before = lag.value();
                lag.add(consumer.lag().await);
                lag.subtract(before);
            }
        }
        Ok(())
    }

    /// Pauses the partitions of workers that have enough to do, and resumes those of others.
    async fn heed_room(&mut self, consumer: &dyn Consumer) {
        let shared = Arc::clone(&self.shared);
        let (owned, gone) = {
            let mut state = shared.lock();
            (state.owned.clone(), std::mem::take(&mut state.gone))
        };
        self.paused
            .retain(|partition| owned.contains(partition) && !gone.contains(partition));
        let waiting = |partition: &i32| shared.lane(*partition).inbox.octets();
        let pause: Vec<i32> = owned
            .iter()
            .copied()
            .filter(|partition| {
                !self.paused.contains(partition) && waiting(partition) >= shared.most_waiting
            })
            .collect();
        let resume: Vec<i32> = self
            .paused
            .iter()
            .copied()
            .filter(|partition| waiting(partition) <= shared.most_waiting / LEFT)
            .collect();
        let counters = &shared.counters;
        if !pause.is_empty() {
            consumer.pause(&pause).await;
            counters.pauses.add(pause.len() as u64);
            self.paused.extend(pause);
        }
        if !resume.is_empty() {
            consumer.resume(&resume).await;
            self.paused.retain(|partition| !resume.contains(partition));
        }
        let before = counters.paused.value();
        counters.paused.add(self.paused.len() as u64);
        counters.paused.subtract(before);
        let waiting = shared.lanes.iter().map(|lane| lane.inbox.octets() as u64);
        let before = counters.octets_waiting.value();
        counters.octets_waiting.add(waiting.sum());
        counters.octets_waiting.subtract(before);
    }

    fn hand_out(&self, messages: Vec<Message>) {
        let shared = &self.shared;
        let mut by_partition: BTreeMap<i32, VecDeque<Message>> = BTreeMap::new();
        {
            let mut state = shared.lock();
            for message in messages {
                let partition = message.partition;
                if !state.owned.contains(&partition) {
                    continue;
                }
                let read = state.read.entry(partition).or_insert(message.offset);
                if message.offset < *read {
                    shared.counters.replayed.add(1);
                } else {
                    *read = message.offset + 1;
                }
                by_partition
                    .entry(partition)
                    .or_default()
                    .push_back(message);
            }
        }
        for (partition, messages) in by_partition {
            let lane = shared.lane(partition);
            lane.inbox.put(Item::Messages {
                partition,
                messages,
            });
            lane.waker.wake();
        }
    }

    fn away(&mut self, error: &KafkaError) {
        self.shared.counters.poll_failures.add(1);
        self.is_away = true;
        if let Some(suppressed) = self.lines.admit(Instant::now()) {
            warn!(topic = %self.topic, %error, suppressed, "Kafka can't be read: what was not read stays in the topic, and the daemon retries");
        }
    }

    fn back(&mut self) {
        if !self.shared.counters.has_joined() {
            self.shared.counters.joined();
            info!(topic = %self.topic, group = %self.group, "consumer group joined");
        }
        if std::mem::take(&mut self.is_away) {
            info!(topic = %self.topic, "Kafka is read again");
        }
    }
}

/// The last commit, and the group is left: others take over at once.
pub(super) async fn leave(shared: &Shared, until: Instant) {
    shared.leaving();
    let consumer = shared.lock().consumer.take();
    let Some(consumer) = consumer else { return };
    let leaving = async {
        if let Err(error) = shared.commit(&*consumer).await {
            warn!(%error, "the last offsets could not be committed: some datagrams will be read again");
        }
        let left = until.saturating_duration_since(Instant::now());
        consumer.close(left).await;
    };
    if tokio::time::timeout_at(until.into(), leaving)
        .await
        .is_err()
    {
        warn!(
            "the consumer group could not be left in time: the other members take over when its session has expired"
        );
    }
    let owned: Vec<i32> = shared.lock().owned.iter().copied().collect();
    shared.end(&owned);
}
