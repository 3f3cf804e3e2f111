//! Tempo's HTTP API over the store: requests in, JSON (or protobuf) out.
//!
//! Paths, parameters and field names are Tempo's, so that Grafana's Tempo datasource and whatever
//! else reads Tempo can read this. What is asked wrongly gets 400 with a sentence as plain text.

mod by_id;
mod json;
mod page;
mod search;
mod tags;

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::query::QueryError;
use super::store::TraceStore;

/// Requests answered at once; others wait.
const MAX_CONCURRENT: usize = 8;
/// The version of Tempo whose API this follows; Grafana decides by it what it asks.
const TEMPO_VERSION: &str = "2.7.0";

/// The API's routes.
pub(super) fn router(store: TraceStore) -> Router {
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
    Router::new()
        .route("/ready", get(|| async { "ready\n" }))
        .route("/api/echo", get(|| async { "echo" }))
        .route("/api/status/buildinfo", get(build_info))
        .route("/api/traces/{id}", get(by_id::trace))
        .route("/api/v2/traces/{id}", get(by_id::trace_v2))
        .route("/trace/{id}", get(page::page))
        .route("/api/search", get(search::search))
        .route("/api/search/tags", get(tags::names))
        .route("/api/v2/search/tags", get(tags::names_v2))
        .route("/api/search/tag/{tag}/values", get(tags::values))
        .route("/api/v2/search/tag/{tag}/values", get(tags::values_v2))
        .route("/api/metrics/query_range", get(no_metrics))
        .route("/api/metrics/query", get(no_metrics))
        .fallback(|| async {
            let text = "there is no such path; this backend answers /ready, /api/echo, \
                        /api/search, /api/search/tags, /api/search/tag/TAG/values, \
                        /api/traces/TRACE_ID, /trace/TRACE_ID (a page for browsers) and /api/status/buildinfo\n";
            (StatusCode::NOT_FOUND, text)
        })
        .layer(middleware::from_fn_with_state(permits, one_of_few))
        .with_state(store)
}

async fn one_of_few(
    State(permits): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    // The semaphore is never closed, so that the permit always comes.
    let _permit = permits.acquire().await;
    next.run(request).await
}

/// Why a request isn't answered.
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the request's parameters can't be read: {0}")]
    Parameters(#[from] QueryRejection),
    #[error("invalid {parameter}: {value:?} is not {accepted}")]
    Parameter {
        parameter: &'static str,
        value: String,
        accepted: &'static str,
    },
    #[error("q and tags can't be used together: use one of them")]
    BothQueries,
    #[error("invalid trace id {0:?}: it has at most 32 hexadecimal digits, and not only zeros")]
    TraceId(String),
    #[error(
        "trace {0} not found: it has not arrived, or it was dropped to make room for newer ones"
    )]
    NoTrace(String),
    #[error("the search ended early")]
    Ended,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoTrace(_) => StatusCode::NOT_FOUND,
            Self::Ended => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, format!("{self}\n")).into_response()
    }
}

async fn no_metrics() -> (StatusCode, &'static str) {
    let text =
        "unlike Tempo, this backend computes no metrics from traces; it answers /api/search\n";
    (StatusCode::BAD_REQUEST, text)
}

async fn build_info() -> Json<Value> {
    Json(json!({
        "version": TEMPO_VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": env!("CARGO_PKG_NAME"),
        "buildDate": "",
        "buildUser": "",
        "goVersion": "",
    }))
}

/// A number above 0, if there is one.
fn limit(parameter: &'static str, value: Option<&str>) -> Result<Option<usize>, ApiError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => Err(ApiError::Parameter {
            parameter,
            value: value.to_owned(),
            accepted: "a number above 0",
        }),
    }
}

/// From `start` to `end`, which are seconds since 1970, in nanoseconds; open where not given.
fn times(start: Option<&str>, end: Option<&str>) -> Result<RangeInclusive<u64>, ApiError> {
    let time = |parameter, value: Option<&str>, default| {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(default);
        };
        match value.parse::<u64>() {
            Ok(seconds) => Ok(seconds.saturating_mul(1_000_000_000)),
            Err(_) => Err(ApiError::Parameter {
                parameter,
                value: value.to_owned(),
                accepted: "a time in seconds since 1970",
            }),
        }
    };
    // Tempo and Grafana write 0 for no time.
    let end = time("end", end, u64::MAX)?;
    Ok(time("start", start, 0)?..=if end == 0 { u64::MAX } else { end })
}

/// What is found by reading every span there is, at worst: not on a thread that serves connections.
async fn collected<T: Send + 'static>(
    collect: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(collect)
        .await
        .map_err(|_| ApiError::Ended)
}
