//! A trace by its id, as JSON or protobuf.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, header};
use otlp_wire::messages::TracesData;
use prost::Message;
use serde_json::json;

use super::{ApiError, json as tempo_json};
use crate::demo::store::{StoredTrace, TraceId, TraceStore};

pub(super) async fn trace(
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

pub(super) async fn trace_v2(
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

pub(super) fn stored_trace(store: &TraceStore, id: &str) -> Result<Arc<StoredTrace>, ApiError> {
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
