//! What `/api/status` has of the input from Kafka.

use serde_json::{Value, json};

use super::stages::Stages;

/// `None` where Kafka is not the input.
pub(super) fn status(stages: &Stages) -> Option<Value> {
    let input = stages.kafka_input.as_deref()?;
    Some(json!({
        "joined": input.has_joined(),
        "partitions": input.partitions.value(),
        "paused": input.paused.value(),
        "lag": input.lag.value(),
        "messages": input.datagrams.value(),
        "octets": input.octets.value(),
        "reread": input.replayed.value(),
        "uncommitted": input.uncommitted.value(),
        "commits": input.committed.value(),
        "exporter_states": {
            "written": input.written.value(),
            "restored": input.restored.value(),
        },
    }))
}
