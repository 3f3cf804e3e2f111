//! `/api/status`: the state of the daemon as JSON.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Shared, time};
use crate::config;
use crate::deliver::{self, Count, DropReason};
use crate::observe::accounting::{Account, accounts};
use crate::observe::connections;
use crate::observe::kafka;
use crate::observe::stages::{Stages, Steered};
use crate::relay;
use crate::translate::Protocol;

pub(super) async fn status(State(watched): Shared) -> Response {
    Json(Status::of(&watched.stages)).into_response()
}

/// `/api/status`.
#[derive(Debug, Serialize)]
pub(in crate::observe) struct Status {
    version: &'static str,
    phase: &'static str,
    started: String,
    uptime_seconds: u64,
    receive: Value,
    /// By version.
    traffic: BTreeMap<&'static str, Value>,
    /// Counters of stage 2, by their names.
    translate: Map<String, Value>,
    delivery: Value,
    /// Where Kafka is the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<Value>,
    /// In a relay alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<Value>,
    /// The long-lived threads and tasks.
    parts: Vec<Value>,
    accounts: [Account; 5],
}

impl Status {
    pub(in crate::observe) fn of(stages: &Stages) -> Self {
        let facts = &stages.facts;
        let traffic = Protocol::ALL.into_iter().map(|protocol| {
            let counts = json!({
                "datagrams": stages.traffic(protocol, |all| all.datagrams.value()),
                "octets": stages.traffic(protocol, |all| all.octets.value()),
                "flows": stages.traffic(protocol, |all| all.flows.value()),
            });
            (protocol.as_str(), counts)
        });
        let mut translate: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, value) in stages.translated.iter().flat_map(|all| all.each()) {
            *translate.entry(name).or_default() += value;
        }
        Self {
            version: env!("CARGO_PKG_VERSION"),
            phase: stages.phase().as_str(),
            started: time(facts.started),
            uptime_seconds: facts.started_instant.elapsed().as_secs(),
            receive: receive(stages),
            traffic: traffic.collect(),
            translate: translate
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
            delivery: delivery(stages),
            kafka: kafka::status(stages),
            relay: relay(stages),
            parts: parts(stages),
            accounts: accounts(stages),
        }
    }
}

fn parts(stages: &Stages) -> Vec<Value> {
    let parts = stages.health.parts();
    let shown = parts.iter().map(|part| {
        json!({
            "part": part.to_string(),
            "overdue_seconds": part.overdue().map(|late| late.as_secs_f64()),
            "restarts": part.restarts(),
        })
    });
    shown.collect()
}

fn receive(stages: &Stages) -> Value {
    let facts = &stages.facts;
    let workers = stages.received.iter().map(|worker| {
        json!({
            "datagrams": worker.datagrams.value(),
            "octets": worker.octets.value(),
            "kernel_drops": worker.kernel_drops.value(),
            "truncated": worker.truncated.value(),
            "receive_errors": worker.receive_errors.value(),
        })
    });
    let (steering, steering_error) = match &facts.steering {
        Steered::OneWorker => ("one_worker", None),
        Steered::BySourceAddress => ("by_source_address", None),
        Steered::Refused(error) => ("refused", Some(error)),
    };
    json!({
        "listening": facts.listening,
        "connections": connections::status(stages),
        "receive_buffer": {
            "requested": facts.receive_buffer.requested,
            "granted": facts.receive_buffer.granted,
        },
        "steering": steering,
        "steering_error": steering_error,
        "workers": workers.collect::<Vec<_>>(),
    })
}

fn delivery(stages: &Stages) -> Value {
    let (facts, counters) = (&stages.facts, &stages.delivered);
    let requests = counters.requests.load(Relaxed);
    let backend = match facts.exporter {
        "relay" if stages.relayed.is_away.load(Relaxed) => "away",
        "relay" => "up",
        "otlp" | "kafka" if counters.backend_away.load(Relaxed) => "away",
        "otlp" | "kafka" if requests == 0 => "untried",
        "otlp" | "kafka" => "up",
        _ => "none",
    };
    let last_error = counters.last_error().map(|error| {
        json!({
            "at": time(error.at),
            "text": error.text,
        })
    });
    let dropped: Map<String, Value> = DropReason::ALL
        .into_iter()
        .map(|reason| {
            let count = counters.dropped.by(reason).load();
            (reason.as_str().to_owned(), spans(count))
        })
        .collect();
    json!({
        "exporter": facts.exporter,
        "endpoint": facts.endpoint,
        "protocol": facts.protocol,
        "backend": backend,
        "last_error": last_error,
        "queue": {
            "spans": spans(counters.queued.load()),
            "batches": counters.queued_batches.load(Relaxed),
            "octets": counters.queued_octets.load(Relaxed),
            "limit": facts.queue_size,
        },
        "spool": facts.spool.as_ref().map(|spool| self::spool(spool, counters)),
        "requests": {
            "in_flight": counters.requests_in_flight.load(Relaxed),
            "in_flight_limit": facts.concurrency,
            "octets_limit": stages.request_limit.load(Relaxed),
            "sent": requests,
            "retries": counters.retries.load(Relaxed),
            "failures": counters.failures.load(Relaxed),
            "partial_successes": counters.partial_successes.load(Relaxed),
            "splits": counters.splits.load(Relaxed),
            "octets_encoded": counters.octets_encoded.load(Relaxed),
            "octets_sent": counters.octets_sent.load(Relaxed),
        },
        "spans": {
            "pushed": spans(counters.pushed.load()),
            "accepted": spans(counters.accepted.load()),
            "rejected": spans(counters.rejected.load()),
            "discarded": spans(counters.discarded.load()),
            "dropped": dropped,
            "in_flight": spans(counters.in_flight.load()),
            "recovered": spans(counters.recovered.load()),
        },
    })
}

fn relay(stages: &Stages) -> Option<Value> {
    let counters = &stages.relayed;
    (stages.facts.exporter == "relay").then(|| {
        let dropped: Map<String, Value> = relay::DropReason::ALL
            .into_iter()
            .map(|reason| (reason.as_str().to_owned(), counters.dropped(reason).into()))
            .collect();
        json!({
            "messages": counters.relayed.load(Relaxed),
            "octets": counters.relayed_octets.load(Relaxed),
            "waiting": counters.waiting.load(Relaxed),
            "waiting_octets": counters.waiting_octets.load(Relaxed),
            "limit": stages.facts.queue_size,
            "dropped": dropped,
            "failures": counters.failures.load(Relaxed),
        })
    })
}

fn spool(config: &config::Spool, all: &deliver::Counters) -> Value {
    let counters = &all.spool;
    json!({
        "directory": config.directory,
        "mode": config.mode.as_str(),
        "state": if counters.failing.load(Relaxed) { "failing" } else { "up" },
        "spans": spans(all.spooled.load()),
        "batches": counters.batches.load(Relaxed),
        "octets": counters.octets.load(Relaxed),
        "limit": config.max_size,
        "max_age_seconds": config.max_age.as_secs(),
        "segments": counters.segments.load(Relaxed),
        "recovered_batches": counters.recovered_batches.load(Relaxed),
        "written": {
            "batches": counters.written_batches.load(Relaxed),
            "octets": counters.written_octets.load(Relaxed),
        },
        "replayed": {
            "batches": counters.replayed_batches.load(Relaxed),
            "octets": counters.replayed_octets.load(Relaxed),
        },
        "dropped_batches": {
            "full": counters.dropped_full.load(Relaxed),
            "age": counters.dropped_age.load(Relaxed),
            "unreadable": counters.dropped_unreadable.load(Relaxed),
        },
        "errors": {
            "write": counters.write_errors.load(Relaxed),
            "read": counters.read_errors.load(Relaxed),
        },
    })
}

fn spans(count: Count) -> Value {
    json!({ "flow": count.flow, "work": count.work })
}
