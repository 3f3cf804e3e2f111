//! What keeps flows from coming where Kafka is the input.

use super::{Finding, Findings, duration};
use crate::observe::stages::Stages;

/// The input from Kafka, as far as nothing comes from it.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Input {
    has_joined: bool,
    partitions: u64,
    lag: u64,
}

impl Input {
    pub(super) fn of(stages: &Stages) -> Option<Self> {
        let input = stages.kafka_input.as_deref()?;
        Some(Self {
            has_joined: input.has_joined(),
            partitions: input.partitions.value(),
            lag: input.lag.value(),
        })
    }

    pub(super) fn nothing_arrives(self, seen: &Findings) -> Finding {
        let waited = duration(seen.uptime_seconds);
        if !self.has_joined {
            return Findings::problem("nothing_received", "Kafka can't be read")
                .says(format!("The consumer group was not joined in {waited}. The log has the brokers' answer."))
                .says("Check NETFLOW_KAFKA_BROKERS, the brokers' advertised listeners, and whether the topic is there.");
        }
        if self.partitions == 0 {
            return Findings::notice("nothing_received", "Other workers have all partitions").says(
                "This worker takes over when one of them stops. For more workers at once the topic needs more partitions.",
            );
        }
        Findings::problem("nothing_received", "Nothing has been read from Kafka yet")
            .says(format!(
                "Reading {} partitions for {waited}; {} messages are not read yet.",
                self.partitions, self.lag
            ))
            .says("Check that a relay writes to the same topic: netflow_relay_messages_total on its /metrics.")
    }
}
