//! `NETFLOW_INPUT=kafka`: workers without sockets, and the consumer that feeds them.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, KafkaInput};
use crate::deliver::Delivery;
use crate::health::Health;
use crate::kafka::input::{Input, InputCounters, Prepared, Receipts};
use crate::receive::{BindError, Receivers, Waker};
use crate::supervisor::Supervised;
use crate::worker::Worker;

/// What workers and consumer will share, where Kafka is the input.
pub(super) struct Kafka {
    prepared: Prepared,
    config: KafkaInput,
}

/// Binds the sockets, or makes workers that need none.
///
/// # Errors
/// When an address can't be bound.
pub(super) fn open(
    config: &Config,
    supervised: &mut Supervised,
) -> Result<(Receivers, Option<Kafka>), BindError> {
    let Some(input) = &config.input else {
        return Ok((supervised.open(&config.receive)?, None));
    };
    let receivers = Receivers::without_sockets(config.receive.workers);
    let kafka = Kafka {
        prepared: Prepared::new(receivers.workers()),
        config: input.clone(),
    };
    Ok((receivers, Some(kafka)))
}

impl Kafka {
    pub(super) fn receipts(&self, worker: usize) -> Option<Receipts> {
        self.prepared.receipts(worker)
    }

    pub(super) fn counters(&self) -> Arc<InputCounters> {
        self.prepared.counters()
    }

    /// Gives the workers their ends.
    pub(super) fn connect(&self, workers: &mut [Worker], delivery: &Delivery, config: &Config) {
        for (index, worker) in workers.iter_mut().enumerate() {
            let room = delivery.room(&config.deliver);
            let room = Box::new(move || room.is_there());
            worker.kafka = self.prepared.reading(index, room, &mut worker.translator);
        }
    }

    /// Joins the group.
    pub(super) fn start(self, wakers: &[Waker], health: &Health) -> Input {
        self.prepared.start(&self.config, wakers, health)
    }
}

/// Reads no more.
pub(super) async fn stop_reading(input: &mut Option<Input>, until: Instant) {
    if let Some(input) = input {
        input.stop_reading(until).await;
    }
}

/// Commits what is done, and leaves the group.
pub(super) async fn leave(input: Option<Input>, until: Instant) {
    if let Some(input) = input {
        input.leave(until).await;
    }
}
