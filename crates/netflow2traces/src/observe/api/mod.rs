//! What the admin server answers: the page, `/metrics`, `/livez`, `/readyz`, and the state of the daemon as JSON below
//! `/api`.

mod lists;
mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use otlp_wire::UnixNanos;
use serde_json::Value;
use tokio::sync::Semaphore;

pub(super) use self::lists::{ask_exporters, exporter};
use self::lists::{exporters, rejected, templates};
pub(super) use self::status::Status;
use self::status::status;
use super::flow_metrics::{Exposition, FlowSource};
use super::live::{self, Live, Tap};
use super::metrics::{Format, Metrics};
use super::page;
use super::stages::{Phase, Stages};
use crate::worker::Mailboxes;

/// Bytes of a text that is sent whole, with its length.
const MAX_WHOLE: usize = 64 << 10;
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
    // The rows of `top` are chosen from many sums.
    let flows = match flows {
        Some(flows) => tokio::task::spawn_blocking(|| Exposition::new(flows))
            .await
            .ok(),
        None => None,
    };
    match watched.metrics.scrape(flows, format) {
        Ok(mut parts) => {
            let about = [
                (header::CONTENT_TYPE, format.content_type()),
                (header::VARY, "Accept"),
            ];
            let mut text = String::new();
            while text.len() < MAX_WHOLE {
                match parts.next() {
                    Some(part) => text.push_str(&part),
                    None => return (about, text).into_response(),
                }
            }
            // Of a long one a part at a time is in memory, however slowly the client reads.
            let parts = std::iter::once(text).chain(parts);
            let parts = tokio_stream::iter(parts.map(Ok::<_, Infallible>));
            (about, Body::from_stream(parts)).into_response()
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

/// Whether sockets are bound, or the consumer group is joined, and all vital parts make progress. A backend that is
/// unreachable changes nothing: what is received waits. Nor do brokers once the group was joined.
async fn readyz(State(watched): Shared) -> Response {
    let stages = &watched.stages;
    let input = stages.kafka_input.as_ref();
    let joined = input.is_none_or(|input| input.has_joined());
    match (stages.phase(), stages.health.stalled()) {
        (Phase::Running, None) if stages.receive(|all| all.unreadable.value()) > 0 => {
            refused("not ready: a receive socket can't be read; the log has the system's reason\n")
        }
        (Phase::Running, None) if !joined => refused(
            "not ready: the consumer group is not joined yet; the log has the brokers' answer\n",
        ),
        (Phase::Running, None) => "ready\n".into_response(),
        (Phase::Running, Some(part)) => refused(&format!("not ready: {part}\n")),
        (phase, _) => refused(&format!("not ready: {}\n", phase.as_str())),
    }
}

fn refused(text: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, text.to_owned()).into_response()
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

/// As RFC 3339.
fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

fn wall_time(at: UnixNanos) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(at.0));
    time(at.unwrap_or(SystemTime::UNIX_EPOCH))
}
