//! A broker in the process, for tests: topics, an unlimited log, groups whose members share the partitions. It can be
//! stopped, refuse large messages, and let a member lose what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{
    Client, Consumer, ErrorKind, KafkaError, Later, Message, Producer, Queued, Rebalance, Record,
};

/// The broker; a clone is another connection to it.
#[derive(Clone, Debug)]
pub(crate) struct FakeBroker(Arc<Broker>);

#[derive(Debug)]
struct Broker {
    state: Mutex<State>,
    changed: Notify,
    partitions: i32,
    down: AtomicBool,
    largest: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<(String, i32), Vec<Message>>,
    groups: BTreeMap<String, Group>,
    members: u64,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<u64>,
    /// Who has each partition.
    owners: BTreeMap<i32, u64>,
    committed: BTreeMap<i32, i64>,
}

impl Group {
    /// The partitions that a member is to have, of so many.
    fn target(&self, member: u64, partitions: i32) -> BTreeSet<i32> {
        let count = self.members.len();
        let rank = self.members.iter().position(|other| *other == member);
        let all = 0..partitions;
        all.filter(|partition| Some(*partition as usize % count.max(1)) == rank)
            .collect()
    }

    fn owned(&self, member: u64) -> BTreeSet<i32> {
        let owned = self.owners.iter().filter(|(_, owner)| **owner == member);
        owned.map(|(partition, _)| *partition).collect()
    }
}

impl FakeBroker {
    /// Whose topics have so many partitions each, and are there when they are named.
    pub(crate) fn new(partitions: i32) -> Self {
        Self(Arc::new(Broker {
            state: Mutex::default(),
            changed: Notify::new(),
            partitions,
            down: AtomicBool::new(false),
            largest: AtomicUsize::new(usize::MAX),
        }))
    }

    /// Nothing can be written, read or committed while it is stopped.
    pub(crate) fn stop(&self, stopped: bool) {
        self.0.down.store(stopped, Relaxed);
        self.0.changed.notify_waiters();
    }

    /// Refuses larger messages from now on.
    pub(crate) fn refuse_over(&self, octets: usize) {
        self.0.largest.store(octets, Relaxed);
    }

    /// What stands in a topic, one partition after another.
    pub(crate) fn messages(&self, topic: &str) -> Vec<Message> {
        let state = self.0.lock();
        let logs = state.logs.iter().filter(|((of, _), _)| of == topic);
        logs.flat_map(|(_, log)| log.clone()).collect()
    }

    /// Waits until so many messages stand in a topic.
    pub(crate) async fn wait_for(&self, topic: &str, count: usize) -> Vec<Message> {
        let enough = async {
            loop {
                let changed = self.0.changed.notified();
                let messages = self.messages(topic);
                if messages.len() >= count {
                    return messages;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), enough)
            .await
            .expect("the messages arrive")
    }

    /// The offsets that a group has committed.
    pub(crate) fn committed(&self, group: &str) -> BTreeMap<i32, i64> {
        let state = self.0.lock();
        let group = state.groups.get(group);
        group.map_or_else(BTreeMap::new, |group| group.committed.clone())
    }

    /// Takes a member's partitions away without asking it: the first member of the group.
    pub(crate) fn expel_first(&self, group: &str) {
        let mut state = self.0.lock();
        if let Some(group) = state.groups.get_mut(group)
            && let Some(member) = group.members.pop_first()
        {
            group.owners.retain(|_, owner| *owner != member);
        }
        drop(state);
        self.0.changed.notify_waiters();
    }
}

impl Broker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Result<(), KafkaError> {
        if self.down.load(Relaxed) {
            return Err(KafkaError::new(
                ErrorKind::Retry,
                "the fake broker is stopped",
            ));
        }
        Ok(())
    }

    fn append(&self, record: &Record) -> Result<(), KafkaError> {
        self.up()?;
        let octets = record.value.as_ref().map_or(0, bytes::Bytes::len);
        if octets > self.largest.load(Relaxed) {
            return Err(KafkaError::new(ErrorKind::TooLarge, "message too large"));
        }
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&record.key);
        let partition = i32::try_from(hash % u64::from(self.partitions.unsigned_abs()));
        let partition = partition.expect("it is smaller than their number");
        let mut state = self.lock();
        let log = state.logs.entry((record.topic.to_string(), partition));
        let log = log.or_default();
        let headers = record.headers.iter();
        log.push(Message {
            partition,
            offset: log.len() as i64,
            timestamp_ms: record.timestamp_ms.unwrap_or_default(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        });
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }
}

impl Client for FakeBroker {
    fn producer(
        &self,
        _patience: Duration,
        _room: usize,
    ) -> Later<'_, Result<Arc<dyn Producer>, KafkaError>> {
        let producer: Arc<dyn Producer> = Arc::new(Self::clone(self));
        let answer = self.0.up().map(|()| producer);
        Box::pin(std::future::ready(answer))
    }

    fn consumer<'a>(
        &'a self,
        group: &'a str,
        topic: &'a str,
        rebalance: Arc<dyn Rebalance>,
    ) -> Later<'a, Result<Arc<dyn Consumer>, KafkaError>> {
        Box::pin(async move {
            self.0.up()?;
            let mut state = self.0.lock();
            state.members += 1;
            let member = state.members;
            let of = state.groups.entry(group.to_owned()).or_default();
            of.members.insert(member);
            drop(state);
            self.0.changed.notify_waiters();
            let consumer: Arc<dyn Consumer> = Arc::new(Member {
                broker: Arc::clone(&self.0),
                group: group.to_owned(),
                topic: topic.to_owned(),
                member: Mutex::new(member),
                rebalance,
                positions: Mutex::default(),
                paused: Mutex::default(),
            });
            Ok(consumer)
        })
    }

    fn read_all<'a>(
        &'a self,
        topic: &'a str,
        partition: i32,
        take: &'a mut (dyn FnMut(Vec<Message>) + Send),
    ) -> Later<'a, Result<(), KafkaError>> {
        Box::pin(async move {
            self.0.up()?;
            let log = self
                .0
                .lock()
                .logs
                .get(&(topic.to_owned(), partition))
                .cloned();
            take(log.unwrap_or_default());
            Ok(())
        })
    }

    fn partitions<'a>(&'a self, _topic: &'a str) -> Later<'a, Result<usize, KafkaError>> {
        let count = self.0.partitions.unsigned_abs() as usize;
        Box::pin(std::future::ready(self.0.up().map(|()| count)))
    }

    fn reload(&self) -> Later<'_, Result<(), KafkaError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Producer for FakeBroker {
    fn queue<'a>(&'a self, records: &'a [Record]) -> Later<'a, Queued> {
        let mut outcomes = Vec::new();
        let mut error = None;
        for record in records {
            match self.0.append(record) {
                Err(failed) if failed.kind == ErrorKind::Retry => {
                    error = Some(failed);
                    break;
                }
                outcome => outcomes.push(outcome),
            }
        }
        let queued = Queued {
            queued: outcomes.len(),
            error,
            outcomes: Box::pin(std::future::ready(outcomes)),
        };
        Box::pin(std::future::ready(queued))
    }

    fn flush(&self) -> Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Member {
    broker: Arc<Broker>,
    group: String,
    topic: String,
    member: Mutex<u64>,
    rebalance: Arc<dyn Rebalance>,
    /// Of the partitions that it has.
    positions: Mutex<BTreeMap<i32, i64>>,
    paused: Mutex<BTreeSet<i32>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    fn with_group<T>(&self, look: impl FnOnce(&mut Group, u64) -> T) -> T {
        let member = *locked(&self.member);
        let mut state = self.broker.lock();
        look(state.groups.entry(self.group.clone()).or_default(), member)
    }

    /// Brings what it has to what it is to have.
    async fn rebalance(&self) {
        let mut had: BTreeSet<i32> = locked(&self.positions).keys().copied().collect();
        let is_member = self.with_group(|group, member| group.members.contains(&member));
        if !is_member {
            // As the real one: which were paused is forgotten, and it joins again in the same poll.
            locked(&self.positions).clear();
            locked(&self.paused).clear();
            let lost: Vec<i32> = std::mem::take(&mut had).into_iter().collect();
            if !lost.is_empty() {
                self.rebalance.lost(&lost).await;
            }
            let mut state = self.broker.lock();
            state.members += 1;
            let again = state.members;
            state
                .groups
                .entry(self.group.clone())
                .or_default()
                .members
                .insert(again);
            drop(state);
            *locked(&self.member) = again;
        }
        let partitions = self.broker.partitions;
        let target = self.with_group(|group, member| group.target(member, partitions));
        let revoked: Vec<i32> = had.difference(&target).copied().collect();
        if !revoked.is_empty() {
            self.rebalance.revoked(&revoked).await;
            locked(&self.positions).retain(|partition, _| !revoked.contains(partition));
            locked(&self.paused).retain(|partition| !revoked.contains(partition));
            self.with_group(|group, _| {
                group
                    .owners
                    .retain(|partition, _| !revoked.contains(partition));
            });
            self.broker.changed.notify_waiters();
        }
        let new = self.with_group(|group, member| {
            let free = target.into_iter().filter(|p| !group.owners.contains_key(p));
            let new: Vec<(i32, i64)> = free
                .map(|p| (p, group.committed.get(&p).copied().unwrap_or(0)))
                .collect();
            group.owners.extend(new.iter().map(|(p, _)| (*p, member)));
            new
        });
        if !new.is_empty() {
            locked(&self.positions).extend(new.iter().copied());
            let new: Vec<i32> = new.into_iter().map(|(partition, _)| partition).collect();
            self.rebalance.assigned(&new).await;
        }
    }

    fn fetch(&self) -> Vec<Message> {
        let state = self.broker.lock();
        let paused = locked(&self.paused);
        let mut all = Vec::new();
        for (partition, position) in locked(&self.positions).iter_mut() {
            let log = state.logs.get(&(self.topic.clone(), *partition));
            let from = usize::try_from(*position).unwrap_or(0);
            let Some(rest) = log.and_then(|log| log.get(from..)) else {
                continue;
            };
            if !paused.contains(partition) {
                all.extend_from_slice(rest);
                *position += rest.len() as i64;
            }
        }
        all
    }
}

impl Consumer for Member {
    fn poll(&self, wait: Duration) -> Later<'_, Result<Vec<Message>, KafkaError>> {
        Box::pin(async move {
            let deadline = tokio::time::Instant::now() + wait;
            loop {
                let changed = self.broker.changed.notified();
                self.broker.up()?;
                self.rebalance().await;
                let messages = self.fetch();
                if !messages.is_empty() {
                    return Ok(messages);
                }
                if tokio::time::timeout_at(deadline, changed).await.is_err() {
                    return Ok(Vec::new());
                }
            }
        })
    }

    fn commit<'a>(&'a self, offsets: &'a [(i32, i64)]) -> Later<'a, Result<(), KafkaError>> {
        let outcome = self.broker.up().and_then(|()| {
            self.with_group(|group, member| {
                let owned = group.owned(member);
                if offsets.iter().any(|(p, _)| !owned.contains(p)) {
                    let text = "another member has the partition";
                    return Err(KafkaError::new(ErrorKind::Rejected, text));
                }
                group.committed.extend(offsets.iter().copied());
                Ok(())
            })
        });
        Box::pin(std::future::ready(outcome))
    }

    fn pause<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
        locked(&self.paused).extend(partitions);
        Box::pin(std::future::ready(()))
    }

    fn resume<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
        locked(&self.paused).retain(|partition| !partitions.contains(partition));
        self.broker.changed.notify_waiters();
        Box::pin(std::future::ready(()))
    }

    fn seek(&self, partition: i32, offset: i64) -> Later<'_, Result<(), KafkaError>> {
        locked(&self.positions).insert(partition, offset);
        Box::pin(std::future::ready(Ok(())))
    }

    fn lag(&self) -> Later<'_, u64> {
        let state = self.broker.lock();
        let positions = locked(&self.positions);
        let lag = positions.iter().map(|(partition, position)| {
            let log = state.logs.get(&(self.topic.clone(), *partition));
            (log.map_or(0, Vec::len) as u64).saturating_sub(position.unsigned_abs())
        });
        Box::pin(std::future::ready(lag.sum()))
    }

    fn close(&self, _within: Duration) -> Later<'_, ()> {
        Box::pin(async move {
            let had: Vec<i32> = locked(&self.positions).keys().copied().collect();
            if !had.is_empty() {
                self.rebalance.revoked(&had).await;
            }
            locked(&self.positions).clear();
            self.with_group(|group, member| {
                group.members.remove(&member);
                group.owners.retain(|_, owner| *owner != member);
            });
            self.broker.changed.notify_waiters();
        })
    }
}

impl Drop for Member {
    /// As a process that is killed, once its session has expired.
    fn drop(&mut self) {
        self.with_group(|group, member| {
            group.members.remove(&member);
            group.owners.retain(|_, owner| *owner != member);
        });
        self.broker.changed.notify_waiters();
    }
}

mod tests {
    use super::*;

    #[derive(Default)]
    struct Changes(Mutex<Vec<(&'static str, Vec<i32>)>>);

    impl Changes {
        fn note<'a>(&'a self, what: &'static str, partitions: &[i32]) -> Later<'a, ()> {
            locked(&self.0).push((what, partitions.to_vec()));
            Box::pin(std::future::ready(()))
        }

        fn all(&self) -> Vec<(&'static str, Vec<i32>)> {
            locked(&self.0).clone()
        }
    }

    impl Rebalance for Changes {
        fn assigned<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
            self.note("assigned", partitions)
        }

        fn revoked<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
            self.note("revoked", partitions)
        }

        fn lost<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
            self.note("lost", partitions)
        }
    }

    #[tokio::test]
    async fn members_share_partitions_and_go_on_where_others_committed() {
        const NOW: Duration = Duration::ZERO;
        let broker = FakeBroker::new(2);
        let [first, second] = [Arc::<Changes>::default(), Arc::default()];
        let join = |changes: &Arc<Changes>| {
            let (broker, changes) = (broker.clone(), Arc::clone(changes));
            async move { broker.consumer("group", "raw", changes).await.unwrap() }
        };
        let one = join(&first).await;
        for number in 0..8_u8 {
            let record = Record {
                topic: "raw".into(),
                key: Some(vec![number].into()),
                ..Record::default()
            };
            broker.0.append(&record).unwrap();
        }
        let read = one.poll(NOW).await.unwrap();
        assert_eq!(read.len(), 8);
        assert_eq!(one.lag().await, 0);
        let next = |partition| {
            let of = read.iter().filter(|message| message.partition == partition);
            of.count() as i64
        };
        one.commit(&[(0, next(0)), (1, next(1) - 1)]).await.unwrap();
        // Another one comes, and gets its share once the first has released it.
        let two = join(&second).await;
        assert!(two.poll(NOW).await.unwrap().is_empty());
        assert!(one.poll(NOW).await.unwrap().is_empty());
        let read = two.poll(NOW).await.unwrap();
        assert_eq!(read.len(), 1, "what was not committed");
        assert_eq!(
            first.all(),
            [("assigned", vec![0, 1]), ("revoked", vec![1])]
        );
        assert_eq!(second.all(), [("assigned", vec![1])]);
        assert!(one.commit(&[(1, 0)]).await.is_err());
        // The first is expelled; what it had goes to the second, and it comes back.
        broker.expel_first("group");
        assert!(one.poll(NOW).await.unwrap().is_empty());
        assert_eq!(first.all().last(), Some(&("lost", vec![0])));
        two.close(NOW).await;
        assert_eq!(second.all().last(), Some(&("revoked", vec![1])));
        assert_eq!(one.poll(NOW).await.unwrap().len(), 1);
        assert_eq!(broker.committed("group").len(), 2);
    }
}
