//! `netflow2traces relay`: what was received, into a Kafka topic, unread. The receive threads copy datagrams into a bounded
//! [`Queue`]; a task takes them from there and gives them to the Kafka client in their order, without waiting for the
//! acknowledgement of those before.
//!
//! Invariant: a datagram counts against the queue's bound from the moment it is put in until its outcome is known, so
//! that what the Kafka client holds is bounded, too; and each has one outcome, which is counted.

mod counters;
mod forward;
mod outlet;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

pub use counters::{DropReason, RelayCounters};
use forward::Forwarder;
pub(crate) use outlet::Outlet;
pub use queue::Queue;

use crate::config;
use crate::health::{Health, Kind, caught};
use crate::kafka::{self, Client, KafkaError, Later};
use crate::translate::AllowList;

/// Datagrams are tried for so long before they are lost.
const PATIENCE: Duration = Duration::from_secs(24 * 3_600);

/// Makes a connection to the cluster.
type Connect = Box<dyn Fn() -> Later<'static, Result<Arc<dyn Client>, KafkaError>> + Send + Sync>;

/// The relay at work. Dropped, it ends at once.
#[derive(Debug)]
pub struct Relay {
    queue: Arc<Queue>,
    topic: Arc<str>,
    task: Option<JoinHandle<()>>,
}

impl Relay {
    /// Connects as soon as it can. So many octets may wait. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(config: &config::Kafka, queue_size: usize, health: &Health) -> Self {
        let cluster = config.clone();
        let connect = move || -> Later<'static, _> {
            let config = cluster.clone();
            Box::pin(async move { kafka::connect(&config).await })
        };
        Self::start_with(&config.topic, queue_size, health, Box::new(connect))
    }

    fn start_with(topic: &Arc<str>, queue_size: usize, health: &Health, connect: Connect) -> Self {
        let queue = Arc::new(Queue::new(queue_size));
        let part = health.part(Kind::Relay);
        let mut forwarder = Forwarder::new(Arc::clone(&queue), Arc::clone(topic), connect);
        let task = tokio::spawn(async move {
            while caught(forwarder.run(&part)).await.is_err() {
                part.restart().await;
            }
        });
        Self {
            queue,
            topic: Arc::clone(topic),
            task: Some(task),
        }
    }

    /// What a worker puts its datagrams into.
    pub(crate) fn outlet(&self, allowed: AllowList) -> Outlet {
        Outlet::new(Arc::clone(&self.queue), Arc::clone(&self.topic), allowed)
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<RelayCounters> {
        self.queue.counters()
    }

    /// Whether sources that can wait may add more.
    pub(crate) fn room(&self) -> impl Fn() -> bool + Send + use<> {
        let queue = Arc::clone(&self.queue);
        move || queue.has_room()
    }

    /// Takes no more, and writes what waits until the deadline. What has no acknowledgement by then counts as dropped.
    pub async fn drain_by(mut self, deadline: Instant) {
        self.queue.close();
        if let Some(mut task) = self.task.take() {
            let ended = tokio::time::timeout_at(deadline.into(), &mut task).await;
            if ended.is_err() {
                task.abort();
                // It ends at its next wait.
                let _ = task.await;
            }
        }
        self.queue.give_up();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
