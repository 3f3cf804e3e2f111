//! What the admin server answers: the page, `/metrics`, `/livez`, `/readyz`, and the state of the daemon as JSON below
//! `/api`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use netflow_wire::foreign::Foreign;
use otlp_wire::UnixNanos;
use otlp_wire::text::hex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::accounting::{Account, accounts};
use super::connections;
use super::flow_metrics::FlowSource;
use super::flow_metrics::families::families;
use super::live::{self, Live, Tap};
use super::metrics::{Format, Metrics};
use super::page;
use super::stages::{Phase, Stages, Steered};
use crate::config;
use crate::deliver::{self, Count, DropReason};
use crate::relay;
use crate::translate::{
    ExporterReport, MAX_REJECTED, Protocol, RejectedDatagram, Rows, TemplateReport,
};
use crate::worker::{Mailboxes, Unanswered};

/// Exporters or templates in an answer that asks for no number.
const DEFAULT_LIMIT: usize = 1000;
/// Exporters or templates in an answer at most.
const MAX_LIMIT: usize = 10_000;
/// Questions to the workers at once; others wait. It bounds what they cost in time and memory.
const MAX_QUESTIONS: usize = 2;

/// What the server shows.
#[derive(Debug)]
pub struct Watched {
    pub stages: Arc<Stages>,
    pub metrics: Metrics,
    pub flows: FlowSource,
    pub mailboxes: Mailboxes,
    pub live: Live,
    permits: Semaphore,
}

impl Watched {
    /// Of a daemon that runs. `trace_url` is where people look at a trace, with `{trace_id}` in it.
    #[must_use]
    pub fn new(
        stages: Arc<Stages>,
        mailboxes: Mailboxes,
        flows: FlowSource,
        tap: Arc<Tap>,
        trace_url: Option<String>,
    ) -> Self {
        Self {
            metrics: Metrics::new(Arc::clone(&stages)),
            flows,
            stages,
            mailboxes,
            live: Live::new(tap, trace_url),
            permits: Semaphore::new(MAX_QUESTIONS),
        }
    }
}

type Shared = State<Arc<Watched>>;

/// The server's paths.
pub(super) fn router(watched: Arc<Watched>) -> Router {
    Router::new()
        .merge(page::router())
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .route("/api/exporters", get(exporters))
        .route("/api/templates", get(templates))
        .route("/api/rejected", get(rejected))
        .route("/api/history", get(history))
        .route("/api/live", get(live::live))
        .route("/api/conversations", get(live::conversations))
        .route("/api/traces/{id}", get(trace))
        .fallback(|| async { (StatusCode::NOT_FOUND, PATHS) })
        .with_state(watched)
}

const PATHS: &str = "not here; there are / (the page), /metrics, /livez, /readyz, /api/status, \
                     /api/exporters, /api/templates, /api/rejected, /api/history, \
                     /api/conversations, /api/live and /api/traces/TRACE_ID\n";

async fn metrics(State(watched): Shared, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiate(&accept.join(","));
    let flows = {
        // Whatever is asked of the workers at once is bounded.
        let _permit = watched.permits.acquire().await;
        watched.flows.read().await
    };
    let flows = flows.map_or_else(Vec::new, |flows| families(&flows));
    match watched.metrics.scrape(&flows, format) {
        Ok(text) => {
            let about = [
                (header::CONTENT_TYPE, format.content_type()),
                (header::VARY, "Accept"),
            ];
            (about, text).into_response()
        }
        Err(error) => {
            let text = format!("the metrics can't be written: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// Whether the process is of use. It is not when a vital part has made no progress for so long that only a restart
/// helps.
async fn livez(State(watched): Shared) -> Response {
    let stages = &watched.stages;
    let given_up = match stages.phase() {
        Phase::Running => stages.health.given_up(),
        // The end has a time limit of its own.
        _ => None,
    };
    match given_up {
        None => "alive\n".into_response(),
        Some(part) => refused(&format!("not alive: {part}\n")),
    }
}

/// Whether sockets are bound and all vital parts make progress. A backend that is unreachable changes nothing: what is
/// received waits.
async fn readyz(State(watched): Shared) -> Response {
    let stages = &watched.stages;
    match (stages.phase(), stages.health.stalled()) {
        (Phase::Running, None) if stages.receive(|all| all.unreadable.value()) > 0 => {
            refused("not ready: a receive socket can't be read; the log has the system's reason\n")
        }
        (Phase::Running, None) => "ready\n".into_response(),
        (Phase::Running, Some(part)) => refused(&format!("not ready: {part}\n")),
        (phase, _) => refused(&format!("not ready: {}\n", phase.as_str())),
    }
}

fn refused(text: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, text.to_owned()).into_response()
}

async fn status(State(watched): Shared) -> Response {
    Json(Status::of(&watched.stages)).into_response()
}

/// `/api/status`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
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
    /// In a relay alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<Value>,
    /// The long-lived threads and tasks.
    parts: Vec<Value>,
    accounts: [Account; 5],
}

impl Status {
    pub(super) fn of(stages: &Stages) -> Self {
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

/// Parameters of the lists.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Wanted {
    limit: Option<usize>,
    exporter: Option<IpAddr>,
}

impl Wanted {
    fn limit(self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)
    }
}

/// Why there is no list.
#[derive(Debug)]
enum NoAnswer {
    Asked(QueryRejection),
    Unanswered(Unanswered),
}

impl From<QueryRejection> for NoAnswer {
    fn from(rejection: QueryRejection) -> Self {
        Self::Asked(rejection)
    }
}

impl From<Unanswered> for NoAnswer {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        match self {
            Self::Asked(rejection) => {
                let text = format!("{}\n", rejection.body_text());
                (StatusCode::BAD_REQUEST, text).into_response()
            }
            Self::Unanswered(unanswered) => {
                let text = format!("{unanswered}\n");
                (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
            }
        }
    }
}

type Answer = Result<Json<Value>, NoAnswer>;

async fn exporters(
    State(watched): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted?;
    let (rows, total) = ask_exporters(&watched, wanted.limit()).await?;
    Ok(Json(json!({
        "total": total,
        "shown": rows.len(),
        "exporters": rows.iter().map(exporter).collect::<Vec<_>>(),
    })))
}

/// The exporters seen last, in the order of their addresses, and how many there are.
pub(super) async fn ask_exporters(
    watched: &Watched,
    limit: usize,
) -> Result<(Vec<ExporterReport>, usize), Unanswered> {
    // The semaphore is never closed.
    let _permit = watched.permits.acquire().await.ok();
    let answers = watched
        .mailboxes
        .ask(move |machine, _| machine.exporters(limit))
        .await?;
    let (mut rows, total) = together(answers);
    rows.sort_unstable_by_key(|row: &ExporterReport| std::cmp::Reverse(row.last_seen));
    rows.truncate(limit);
    rows.sort_by_cached_key(|row| row.address.parse::<IpAddr>().ok());
    Ok((rows, total))
}

pub(super) fn exporter(row: &ExporterReport) -> Value {
    let lost: Map<String, Value> = row
        .lost
        .into_iter()
        .map(|(unit, lost)| (unit.to_owned(), lost.into()))
        .collect();
    let sampling = row.sampling.map(|(interval, origin)| {
        json!({
            "interval": interval,
            "origin": origin,
        })
    });
    let awaited = row.awaited.iter();
    let awaited = awaited.map(|(domain, id)| json!({ "domain": domain, "template": id }));
    // Nothing of it could be read: then it was only counted.
    let seen = |at: UnixNanos| (row.datagrams > 0).then(|| wall_time(at));
    json!({
        "address": row.address,
        "proven": row.proven,
        "versions": row.versions,
        "transports": row.transports,
        "datagrams": row.datagrams,
        "octets": row.octets,
        "flows": row.flows,
        "rejected": row.rejected,
        "rate_limited": row.rate_limited,
        "lost": lost,
        "first_seen": seen(row.first_seen),
        "last_seen": seen(row.last_seen),
        "templates": row.templates,
        "sets_waiting": row.sets_waiting,
        "awaited": awaited.collect::<Vec<_>>(),
        "sampling": sampling,
        "clock_ahead_ms": row.clock_ahead_ms,
        "warnings": row.warnings,
        "looks_like": row.looks_like.map(Foreign::name),
    })
}

async fn templates(
    State(watched): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted?;
    let limit = wanted.limit();
    let _permit = watched.permits.acquire().await.ok();
    let answers = watched
        .mailboxes
        .ask(move |machine, now| machine.templates(wanted.exporter, limit, now))
        .await?;
    let (mut rows, total) = together(answers);
    rows.sort_by_cached_key(|row: &TemplateReport| {
        let exporter = row.exporter.parse::<IpAddr>().ok();
        (exporter, row.session, row.version, row.domain, row.id)
    });
    rows.truncate(limit);
    Ok(Json(json!({
        "total": total,
        "shown": rows.len(),
        "templates": rows.iter().map(template).collect::<Vec<_>>(),
    })))
}

fn template(row: &TemplateReport) -> Value {
    let fields = row.fields.iter().map(|field| {
        json!({
            "enterprise": field.enterprise,
            "element": field.element,
            "name": field.name,
            "length": field.length.map_or_else(|| "variable".into(), Value::from),
        })
    });
    json!({
        "exporter": row.exporter,
        "port": row.session.port,
        "transport": row.session.transport.as_str(),
        "version": row.version,
        "domain": row.domain,
        "id": row.id,
        "kind": if row.scope_fields.is_some() { "options" } else { "data" },
        "scope_fields": row.scope_fields,
        "age_seconds": row.age.as_secs(),
        "fields": fields.collect::<Vec<_>>(),
    })
}

/// Parameters of the list of rejected datagrams.
#[derive(Clone, Copy, Debug, Deserialize)]
struct WantedRejected {
    exporter: Option<IpAddr>,
    #[serde(default)]
    format: RejectedFormat,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum RejectedFormat {
    #[default]
    Json,
    /// Text that `netflow2traces decode` reads.
    Hex,
}

async fn rejected(
    State(watched): Shared,
    wanted: Result<Query<WantedRejected>, QueryRejection>,
) -> Result<Response, NoAnswer> {
    let Query(wanted) = wanted?;
    let _permit = watched.permits.acquire().await.ok();
    let answers = watched
        .mailboxes
        .ask(|machine, _| machine.rejected())
        .await?;
    let mut all: Vec<RejectedDatagram> = answers.into_iter().flatten().collect();
    if let Some(exporter) = wanted.exporter {
        all.retain(|datagram| datagram.source.ip().to_canonical() == exporter.to_canonical());
    }
    all.sort_by_key(|datagram| std::cmp::Reverse(datagram.received_at));
    all.truncate(MAX_REJECTED);
    if wanted.format == RejectedFormat::Hex {
        // In the order in which they came, as a capture has them.
        let lines = all.iter().rev().map(rejected_lines);
        return Ok(lines.collect::<String>().into_response());
    }
    let all: Vec<Value> = all.iter().map(rejected_datagram).collect();
    Ok(Json(json!({ "rejected": all })).into_response())
}

/// A comment, and the octets on a line of their own.
fn rejected_lines(datagram: &RejectedDatagram) -> String {
    let cut = match datagram.length - datagram.octets.len() {
        0 => String::new(),
        cut => format!(" (the last {cut} octets are not kept)"),
    };
    format!(
        "# {} from {}: {}{cut}\n{}\n",
        wall_time(datagram.received_at),
        datagram.source,
        datagram.problem.replace(char::is_control, " "),
        hex(&datagram.octets)
    )
}

fn rejected_datagram(datagram: &RejectedDatagram) -> Value {
    json!({
        "received_at": wall_time(datagram.received_at),
        "source": datagram.source,
        "reason": datagram.reason,
        "problem": datagram.problem,
        "rejected": if datagram.whole { "datagram" } else { "set" },
        "octets": datagram.length,
        "cut": datagram.octets.len() < datagram.length,
        "hex": hex(&datagram.octets),
    })
}

async fn history(State(watched): Shared) -> Json<Value> {
    Json(watched.live.history())
}

/// A trace that was received while a page was open, as OTLP/JSON.
async fn trace(State(watched): Shared, Path(id): Path<String>) -> Response {
    let Some(trace_id) = trace_id(&id) else {
        let text = "a trace id has 32 hexadecimal digits\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let _permit = watched.permits.acquire().await.ok();
    let reader = Arc::clone(&watched);
    // It goes through megabytes.
    let read = tokio::task::spawn_blocking(move || {
        let request = reader.live.trace(trace_id)?;
        let mut json = Vec::with_capacity(request.len() * 3);
        otlp_wire::json::write_request(&request, &mut json).ok()?;
        Some(json)
    });
    match read.await.ok().flatten() {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => {
            let text = "The daemon doesn't hold this trace: it was received while no page was open, or dropped to make \
                        room for newer ones. Look for it in the backend.\n";
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}

fn trace_id(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let id = is_hex.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(id.to_be_bytes())
}

/// The rows of all workers.
fn together<T>(answers: Vec<Rows<T>>) -> (Vec<T>, usize) {
    let total = answers.iter().map(|answer| answer.total).sum();
    let rows = answers.into_iter().flat_map(|answer| answer.rows);
    (rows.collect(), total)
}

/// As RFC 3339.
fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

fn wall_time(at: UnixNanos) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(at.0));
    time(at.unwrap_or(SystemTime::UNIX_EPOCH))
}
