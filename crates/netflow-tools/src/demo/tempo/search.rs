//! `/api/search`: by tags or TraceQL, in a range of time.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use otlp_wire::text::hex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, collected, json as tempo_json, limit, times};
use crate::demo::query::{self, Context, duration_nanos};
use crate::demo::store::{StoredTrace, TraceStore};

/// Traces in an answer that asks for no number, as in Tempo.
const DEFAULT_LIMIT: usize = 20;
/// Matched spans shown of each trace when no number is asked for, as in Tempo.
const DEFAULT_SPANS_PER_SET: usize = 3;
/// Traces in an answer, and spans of each, at most.
const MAX_LIMIT: usize = 1_000;
/// What Tempo says of a trace whose root span hasn't come.
const ROOT_NOT_RECEIVED: &str = "<root span not yet received>";

/// Parameters as received.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameters {
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

pub(super) async fn search(
    State(store): State<TraceStore>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let search = Search::new(&parameters?.0)?;
    let answer = collected(move || search.answer(&store));
    answer.await.map(Json)
}

impl Search {
    fn new(parameters: &Parameters) -> Result<Self, ApiError> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let query = match (given(&parameters.q), given(&parameters.tags)) {
            (Some(_), Some(_)) => return Err(ApiError::BothQueries),
            (Some(q), None) => query::Query::from_trace_ql(&q)?,
            (None, tags) => query::Query::from_tags(&tags.unwrap_or_default())?,
        };
        let count = |parameter, value, default| {
            limit(parameter, value).map(|count| count.unwrap_or(default).min(MAX_LIMIT))
        };
        let duration = |parameter, value: &Option<String>, default| match given(value) {
            Some(value) => duration_nanos(parameter, &value),
            None => Ok(default),
        };
        Ok(Self {
            query,
            limit: count("limit", parameters.limit.as_deref(), DEFAULT_LIMIT)?,
            spans_per_set: count("spss", parameters.spss.as_deref(), DEFAULT_SPANS_PER_SET)?,
            durations: duration("minDuration", &parameters.min_duration, 0)?
                ..=duration("maxDuration", &parameters.max_duration, u64::MAX)?,
            times: times(parameters.start.as_deref(), parameters.end.as_deref())?,
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
        if !trace.is_in(&self.times) || !self.durations.contains(&trace.duration()) {
            return None;
        }
        let found = self.query.find(trace)?;
        let shown = found.spans.iter().take(self.spans_per_set);
        let spans: Vec<Value> = shown
            .map(|&(origin, span)| {
                let at = Context {
                    trace,
                    origin,
                    span,
                };
                let duration = span
                    .end_time_unix_nano
                    .saturating_sub(span.start_time_unix_nano);
                json!({
                    "spanID": hex(&span.span_id),
                    "name": span.name,
                    "startTimeUnixNano": span.start_time_unix_nano.to_string(),
                    "durationNanos": duration.to_string(),
                    "attributes": tempo_json::attributes(&self.query.shown(at)),
                })
            })
            .collect();
        let mut span_set = json!({ "spans": spans, "matched": found.spans.len() });
        if let (false, Some(span_set)) = (found.attributes.is_empty(), span_set.as_object_mut()) {
            let attributes = tempo_json::attributes(&found.attributes);
            span_set.insert("attributes".to_owned(), attributes);
        }
        let root = trace.root();
        Some(json!({
            "traceID": hex(&trace.id),
            "rootServiceName": root.map_or(ROOT_NOT_RECEIVED, |(origin, _)| origin.service_name()),
            "rootTraceName": root.map_or("", |(_, span)| span.name.as_str()),
            "startTimeUnixNano": trace.start.to_string(),
            // 32 bits, by which it is read: some seven weeks, which flows of an old capture exceed.
            "durationMs": u32::try_from(trace.duration() / 1_000_000).unwrap_or(u32::MAX),
            "spanSet": span_set,
            "spanSets": [span_set],
        }))
    }
}
