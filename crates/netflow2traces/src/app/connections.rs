//! The listeners for connections, where there are any.

use std::time::Instant;

use crate::config::Config;
use crate::health::Health;
use crate::receive::{self, Receivers, Waker};
use crate::streams::{Bounds, Exchange, Listeners, Room, StreamError, Streams};
use crate::translate::AllowList;
use crate::worker::Worker;

/// Ports that are bound, and what the workers and they will share.
pub(super) struct Prepared {
    pub(super) listeners: Listeners,
    pub(super) exchange: Exchange,
    allowed: AllowList,
    workers: usize,
}

impl Prepared {
    /// Binds the ports, if there are any.
    pub(super) fn open(
        config: &Config,
        receivers: &Receivers,
    ) -> Result<Option<Self>, StreamError> {
        if config.streams.is_off() {
            return Ok(None);
        }
        let rate = config.translate.max_rate_per_exporter;
        let bounds = Bounds::for_memory(config.streams.memory, rate);
        let workers = receivers.workers();
        Ok(Some(Self {
            listeners: Listeners::open(&config.streams)?,
            exchange: Exchange::new(bounds, workers),
            allowed: AllowList::new(&config.translate.allowed_exporters),
            workers,
        }))
    }

    /// Gives the workers their ends. `room` says whether what becomes of messages has room.
    pub(super) fn connect(&self, workers: &mut [Worker], room: impl Fn() -> Room) {
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.streams = self.exchange.reading(index, room());
        }
    }

    /// Accepts connections from here on.
    pub(super) fn start(self, wakers: &[Waker], health: &Health) -> Result<Streams, StreamError> {
        let (workers, allowed) = (self.workers, self.allowed);
        Streams::start(
            self.listeners,
            &self.exchange,
            wakers,
            move |source| receive::worker_of(source, workers),
            move |source| allowed.allows(source),
            health,
        )
    }
}

/// Accepts no more connections, and reads what had been sent over those that are open.
pub(super) async fn stop(streams: Option<Streams>, until: Instant) {
    if let Some(streams) = streams {
        streams.stop(until).await;
    }
}
