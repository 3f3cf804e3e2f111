//! What the API says of connections of exporters.

use netflow_wire::Transport;
use serde_json::{Map, Value, json};

use super::stages::Stages;
use crate::streams::Reason;

/// Where they are accepted, and what came of them.
pub(super) fn status(stages: &Stages) -> Value {
    let counters = &stages.streams;
    let listening = stages.facts.connections.iter();
    let listening = listening
        .map(|(address, transport)| json!({ "address": address, "transport": transport.as_str() }));
    let of = |transport| {
        let of = counters.of(transport);
        json!({
            "open": of.open.value(),
            "accepted": of.accepted.value(),
            "messages": of.messages.value(),
            "octets": of.octets.value(),
        })
    };
    let closed: Map<String, Value> = Reason::ALL
        .into_iter()
        .map(|reason| {
            let count = counters.closed(reason).value();
            (reason.as_str().to_owned(), count.into())
        })
        .collect();
    json!({
        "listening": listening.collect::<Vec<_>>(),
        "tcp": of(Transport::Tcp),
        "tls": of(Transport::Tls),
        "closed": closed,
        "octets_waiting": counters.octets_waiting.value(),
        "octets_incomplete": counters.octets_incomplete.value(),
        "workers_paused": counters.workers_paused.value(),
    })
}
