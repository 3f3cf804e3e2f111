//! Tempo's HTTP API over the store: requests in, JSON (or protobuf) out.
//!
//! Paths, parameters and field names are Tempo's, so that Grafana's Tempo datasource and whatever
//! else reads Tempo can read this. What is asked wrongly gets 400 with a sentence as plain text.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::query::{self, Field, QueryError, duration_nanos, hex};
use super::store::{StoredTrace, TraceId, TraceStore};
use super::tempo_json;

/// Requests answered at once; others wait.
const MAX_CONCURRENT: usize = 8;
/// Traces in an answer that asks for no number, as in Tempo.
const DEFAULT_LIMIT: usize = 20;
/// Traces in an answer at most.
const MAX_LIMIT: usize = 1000;
/// Matched spans shown of each trace when no number is asked for, as in Tempo.
const DEFAULT_SPANS_PER_SET: usize = 3;
/// Names or values in a list of tags at most.
const MAX_TAGS: usize = 1000;
/// The version of Tempo whose API this follows; Grafana decides by it what it asks.
const TEMPO_VERSION: &str = "2.6.0";
/// What Tempo says of a trace whose root span hasn't come.
const ROOT_NOT_RECEIVED: &str = "<root span not yet received>";

const INTRINSICS: [&str; 6] = [
    "kind",
    "name",
    "rootName",
    "rootServiceName",
    "status",
    "statusMessage",
];

/// The API's routes.
pub(super) fn router(store: TraceStore) -> Router {
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
    Router::new()
        .route("/ready", get(|| async { "ready\n" }))
        .route("/api/echo", get(|| async { "echo" }))
        .route("/api/status/buildinfo", get(build_info))
        .route("/api/traces/{id}", get(trace_by_id))
        .route("/api/v2/traces/{id}", get(trace_by_id_v2))
        .route("/api/search", get(search))
        .route("/api/search/tags", get(tag_names))
        .route("/api/v2/search/tags", get(tag_names_v2))
        .route("/api/search/tag/{tag}/values", get(tag_values))
        .route("/api/v2/search/tag/{tag}/values", get(tag_values_v2))
        .fallback(|| async {
            let text = "there is no such path; this backend answers /ready, /api/echo, \
                        /api/search, /api/search/tags, /api/search/tag/TAG/values, \
                        /api/traces/TRACE_ID and /api/status/buildinfo\n";
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
    #[error("trace {0} not found: it hasn't come, or it made room for newer ones")]
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

async fn trace_by_id(
    State(store): State<TraceStore>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let trace = stored_trace(&store, &id)?;
    if wants_protobuf(&headers) {
        return Ok(protobuf(&trace.to_otlp()));
    }
    Ok(Json(json!({ "batches": tempo_json::batches(&trace) })).into_response())
}

/// Tempo's `TraceByIDResponse`, as far as it is filled.
#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

async fn trace_by_id_v2(
    State(store): State<TraceStore>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let trace = stored_trace(&store, &id)?;
    if wants_protobuf(&headers) {
        return Ok(protobuf(&TraceByIdResponse {
            trace: Some(trace.to_otlp()),
        }));
    }
    let batches = tempo_json::batches(&trace);
    Ok(Json(json!({ "trace": { "resourceSpans": batches }, "metrics": {} })).into_response())
}

fn stored_trace(store: &TraceStore, id: &str) -> Result<Arc<StoredTrace>, ApiError> {
    let octets = trace_id(id).ok_or_else(|| ApiError::TraceId(id.to_owned()))?;
    store
        .trace(octets)
        .ok_or_else(|| ApiError::NoTrace(id.to_owned()))
}

/// Up to 32 hexadecimal digits; shorter ids are filled with zeros in front, as Tempo does.
fn trace_id(text: &str) -> Option<TraceId> {
    let hexadecimal = text.bytes().all(|octet| octet.is_ascii_hexdigit());
    if text.is_empty() || text.len() > 32 || !hexadecimal {
        return None;
    }
    let id = u128::from_str_radix(text, 16).ok()?;
    (id != 0).then(|| id.to_be_bytes())
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/protobuf"))
}

fn protobuf(message: &impl Message) -> Response {
    let body = Bytes::from(message.encode_to_vec());
    ([(header::CONTENT_TYPE, "application/protobuf")], body).into_response()
}

/// Parameters of a search as they come.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchParameters {
    q: Option<String>,
    tags: Option<String>,
    limit: Option<String>,
    spss: Option<String>,
    min_duration: Option<String>,
    max_duration: Option<String>,
    start: Option<String>,
    end: Option<String>,
}

/// A search that can be made.
struct Search {
    query: query::Query,
    limit: usize,
    spans_per_set: usize,
    /// In nanoseconds.
    durations: std::ops::RangeInclusive<u64>,
    /// In nanoseconds since 1970.
    times: std::ops::RangeInclusive<u64>,
}

async fn search(
    State(store): State<TraceStore>,
    parameters: Result<Query<SearchParameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let search = Search::new(&parameters?.0)?;
    // A search reads every span there is at worst: not on a thread that serves connections.
    let answer = tokio::task::spawn_blocking(move || search.answer(&store));
    answer.await.map(Json).map_err(|_| ApiError::Ended)
}

impl Search {
    fn new(parameters: &SearchParameters) -> Result<Self, ApiError> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let query = match (given(&parameters.q), given(&parameters.tags)) {
            (Some(_), Some(_)) => return Err(ApiError::BothQueries),
            (Some(q), None) => query::Query::from_trace_ql(&q)?,
            (None, tags) => query::Query::from_tags(&tags.unwrap_or_default())?,
        };
        let count = |parameter, value: &Option<String>, default: usize| {
            let Some(value) = given(value) else {
                return Ok(default);
            };
            match value.parse() {
                Ok(count) if count > 0 => Ok(std::cmp::min(count, MAX_LIMIT)),
                _ => Err(ApiError::Parameter {
                    parameter,
                    value,
                    accepted: "a number above 0",
                }),
            }
        };
        let duration = |parameter, value: &Option<String>, default| match given(value) {
            Some(value) => duration_nanos(parameter, &value),
            None => Ok(default),
        };
        let time = |parameter, value: &Option<String>, default| {
            let Some(value) = given(value) else {
                return Ok(default);
            };
            let accepted = "a time in seconds since 1970";
            match value.parse::<u64>() {
                Ok(seconds) => Ok(seconds.saturating_mul(1_000_000_000)),
                Err(_) => Err(ApiError::Parameter {
                    parameter,
                    value,
                    accepted,
                }),
            }
        };
        Ok(Self {
            query,
            limit: count("limit", &parameters.limit, DEFAULT_LIMIT)?,
            spans_per_set: count("spss", &parameters.spss, DEFAULT_SPANS_PER_SET)?,
            durations: duration("minDuration", &parameters.min_duration, 0)?
                ..=duration("maxDuration", &parameters.max_duration, u64::MAX)?,
            times: time("start", &parameters.start, 0)?..=time("end", &parameters.end, u64::MAX)?,
        })
    }

    fn answer(&self, store: &TraceStore) -> Value {
        let mut inspected = 0;
        let mut traces = Vec::new();
        for trace in store.newest_first() {
            if traces.len() == self.limit {
                break;
            }
            inspected += 1;
            traces.extend(self.found(&trace));
        }
        json!({ "traces": traces, "metrics": { "inspectedTraces": inspected } })
    }

    fn found(&self, trace: &StoredTrace) -> Option<Value> {
        let in_time = trace.start <= *self.times.end() && trace.end >= *self.times.start();
        if !in_time || !self.durations.contains(&trace.duration()) {
            return None;
        }
        let mut matched = 0;
        let mut spans = Vec::new();
        for (origin, span) in trace.spans() {
            if !self.query.matches(trace, origin, span) {
                continue;
            }
            matched += 1;
            if spans.len() < self.spans_per_set {
                let duration = span
                    .end_time_unix_nano
                    .saturating_sub(span.start_time_unix_nano);
                spans.push(json!({
                    "spanID": hex(&span.span_id),
                    "name": span.name,
                    "startTimeUnixNano": span.start_time_unix_nano.to_string(),
                    "durationNanos": duration.to_string(),
                    "attributes": tempo_json::attributes(&self.query.shown(trace, origin, span)),
                }));
            }
        }
        if matched == 0 {
            return None;
        }
        let root = trace.root();
        let span_set = json!({ "spans": spans, "matched": matched });
        Some(json!({
            "traceID": hex(&trace.id),
            "rootServiceName": root.map_or(ROOT_NOT_RECEIVED, |(origin, _)| origin.service_name()),
            "rootTraceName": root.map_or("", |(_, span)| span.name.as_str()),
            "startTimeUnixNano": trace.start.to_string(),
            "durationMs": trace.duration() / 1_000_000,
            "spanSet": span_set,
            "spanSets": [span_set],
        }))
    }
}

/// Names of attributes of spans and of resources.
#[derive(Default)]
struct TagNames {
    span: BTreeSet<String>,
    resource: BTreeSet<String>,
}

#[derive(Debug, Default, Deserialize)]
struct TagParameters {
    scope: Option<String>,
}

impl TagParameters {
    /// Which of `resource`, `span` and `intrinsic` are asked for: all without a scope.
    fn scopes(&self) -> Result<Vec<&str>, ApiError> {
        match self.scope.as_deref() {
            None | Some("" | "none" | "all") => Ok(vec!["resource", "span", "intrinsic"]),
            Some(scope @ ("resource" | "span" | "intrinsic")) => Ok(vec![scope]),
            // Scopes that Tempo knows and that spans of flows have nothing in.
            Some("event" | "link" | "instrumentation") => Ok(Vec::new()),
            Some(scope) => Err(ApiError::Parameter {
                parameter: "scope",
                value: scope.to_owned(),
                accepted: "resource, span, intrinsic, event, link or instrumentation",
            }),
        }
    }
}

async fn tag_names(
    State(store): State<TraceStore>,
    parameters: Result<Query<TagParameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let parameters = parameters?.0;
    let names = collected(move || TagNames::of(&store)).await?;
    let mut all = BTreeSet::new();
    for scope in parameters.scopes()? {
        all.extend(names.of_scope(scope));
    }
    Ok(Json(json!({ "tagNames": all, "metrics": {} })))
}

async fn tag_names_v2(
    State(store): State<TraceStore>,
    parameters: Result<Query<TagParameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let parameters = parameters?.0;
    let names = collected(move || TagNames::of(&store)).await?;
    let scopes = parameters.scopes()?;
    let scopes = scopes
        .iter()
        .map(|scope| json!({ "name": scope, "tags": names.of_scope(scope) }));
    Ok(Json(
        json!({ "scopes": scopes.collect::<Value>(), "metrics": {} }),
    ))
}

impl TagNames {
    fn of(store: &TraceStore) -> Self {
        let mut names = Self::default();
        for trace in store.newest_first() {
            for batch in &trace.batches {
                let resource = &batch.origin.resource.attributes;
                add_new(
                    &mut names.resource,
                    resource.iter().map(|attribute| &*attribute.key),
                );
                let spans = batch.spans.iter().flat_map(|span| &span.attributes);
                add_new(&mut names.span, spans.map(|attribute| &*attribute.key));
            }
        }
        names
    }

    fn of_scope(&self, scope: &str) -> Vec<String> {
        match scope {
            "span" => self.span.iter().cloned().collect(),
            "resource" => self.resource.iter().cloned().collect(),
            _ => INTRINSICS.map(str::to_owned).to_vec(),
        }
    }
}

fn add_new<'a>(known: &mut BTreeSet<String>, names: impl Iterator<Item = &'a str>) {
    for name in names {
        if known.len() < MAX_TAGS && !known.contains(name) {
            known.insert(name.to_owned());
        }
    }
}

async fn tag_values(
    State(store): State<TraceStore>,
    Path(tag): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let field = if INTRINSICS.contains(&tag.as_str()) {
        Field::from_trace_ql(&tag)
    } else {
        Some(Field::Either(tag))
    };
    let values = collected(move || values_of(&store, field)).await?;
    let texts: BTreeSet<&String> = values.iter().map(|(_, text)| text).collect();
    Ok(Json(json!({ "tagValues": texts, "metrics": {} })))
}

async fn tag_values_v2(
    State(store): State<TraceStore>,
    Path(tag): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let accepted = "a name like span.destination.port, resource.service.name, .key or kind";
    let field = Field::from_trace_ql(&tag).ok_or(ApiError::Parameter {
        parameter: "tag",
        value: tag,
        accepted,
    })?;
    let values = collected(move || values_of(&store, Some(field))).await?;
    let values = values
        .iter()
        .map(|(kind, text)| json!({ "type": kind, "value": text }));
    Ok(Json(
        json!({ "tagValues": values.collect::<Value>(), "metrics": {} }),
    ))
}

/// Type and text of the values of a field.
fn values_of(store: &TraceStore, field: Option<Field>) -> BTreeSet<(&'static str, String)> {
    let mut values = BTreeSet::new();
    let Some(field) = field else { return values };
    for trace in store.newest_first() {
        for (origin, span) in trace.spans() {
            field.each(&trace, origin, span, &mut |value| {
                if values.len() < MAX_TAGS {
                    values.insert((value.type_name(), value.to_text()));
                }
            });
        }
    }
    values
}

async fn collected<T: Send + 'static>(
    collect: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(collect)
        .await
        .map_err(|_| ApiError::Ended)
}
