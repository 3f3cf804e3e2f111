//! What is wrong in a relay: between it and Kafka.

use std::sync::atomic::Ordering::Relaxed;

use super::{Finding, Findings};
use crate::observe::stages::Stages;
use crate::relay::DropReason;

/// What the sentences are made of.
#[derive(Clone, Debug, Default)]
pub(in crate::observe) struct Relayed {
    pub(super) is_away: bool,
    pub(super) waiting: u64,
    pub(super) waiting_octets: u64,
    pub(super) queue_full: u64,
    /// Dropped because the brokers refused it.
    pub(super) refused: u64,
}

impl Relayed {
    /// Nothing where datagrams are translated here.
    pub(super) fn of(stages: &Stages) -> Option<Self> {
        let relayed = &stages.relayed;
        (stages.facts.exporter == "relay").then(|| Self {
            is_away: relayed.is_away.load(Relaxed),
            waiting: relayed.waiting.load(Relaxed),
            waiting_octets: relayed.waiting_octets.load(Relaxed),
            queue_full: relayed.dropped(DropReason::QueueFull),
            refused: relayed.dropped(DropReason::TooLarge) + relayed.dropped(DropReason::Rejected),
        })
    }
}

/// At most one for each cause.
pub(super) fn findings(seen: &Findings, relayed: &Relayed) -> Vec<Finding> {
    let place = seen.endpoint.as_deref().unwrap_or("Kafka");
    let mut all = Vec::new();
    if relayed.is_away {
        let share = relayed.waiting_octets * 100 / seen.queue_limit.max(1);
        let title = format!("{place} does not acknowledge datagrams");
        all.push(
            Findings::problem("relay_away", title)
                .says(format!(
                    "{} datagrams wait, and the queue is {share} % full. The log says what the brokers answered, or that \
                     they don't answer.",
                    relayed.waiting
                ))
                .says("Until they do, datagrams wait in memory; when the queue is full, new ones are dropped and counted."),
        );
    }
    if relayed.queue_full > 0 {
        let title = format!(
            "{} datagrams were dropped because the queue was full",
            relayed.queue_full
        );
        all.push(Findings::problem("relay_dropped", title).says(
            "The brokers were unreachable, or slower than the exporters. NETFLOW_QUEUE_SIZE bounds what may wait.",
        ));
    }
    if relayed.refused > 0 {
        let title = format!("{place} refused {} datagrams", relayed.refused);
        all.push(
            Findings::problem("relay_refused", title)
                .says("They are lost. The log has the brokers' reason, such as a topic whose max.message.bytes is too small."),
        );
    }
    all
}
