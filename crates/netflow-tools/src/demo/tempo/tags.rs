//! Names of attributes and their values, for completion while a query is typed: `/api/search/tags`,
//! `/api/search/tag/TAG/values` and both in the second version.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use otlp_wire::messages::KeyValue;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, collected, limit, times};
use crate::demo::query::{self, Context, Field, INTRINSICS};
use crate::demo::store::TraceStore;

/// Names or values in a list at most.
const MAX_TAGS: usize = 5_000;
/// Names or values in a list that asks for no number.
const DEFAULT_TAGS: usize = 1_000;

/// Parameters as received.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    scope: Option<String>,
    q: Option<String>,
    limit: Option<String>,
    start: Option<String>,
    end: Option<String>,
}

/// Which spans are looked at, and how much of them is listed.
struct Among {
    query: query::Query,
    limit: usize,
    times: RangeInclusive<u64>,
}

impl Among {
    fn new(parameters: &Parameters) -> Result<Self, ApiError> {
        let q = parameters.q.as_deref().unwrap_or_default();
        let asked = limit("limit", parameters.limit.as_deref())?;
        Ok(Self {
            // Editors send what is typed so far, so that nothing here is a mistake.
            query: query::Query::from_unfinished_trace_ql(q),
            limit: asked.unwrap_or(DEFAULT_TAGS).min(MAX_TAGS),
            times: times(parameters.start.as_deref(), parameters.end.as_deref())?,
        })
    }

    fn each_span(&self, store: &TraceStore, visit: &mut dyn FnMut(Context<'_>)) {
        for trace in store.newest_first() {
            if !trace.is_in(&self.times) {
                continue;
            }
            let found = self.query.find(&trace);
            for (origin, span) in found.into_iter().flat_map(|found| found.spans) {
                visit(Context {
                    trace: &trace,
                    origin,
                    span,
                });
            }
        }
    }
}

impl Parameters {
    /// Which scopes are asked for: all without one.
    fn scopes(&self) -> Result<Vec<&'static str>, ApiError> {
        let asked = match self.scope.as_deref() {
            None | Some("" | "none" | "all") => return Ok(SCOPES.to_vec()),
            Some(asked) => asked,
        };
        let known = SCOPES.iter().find(|known| **known == asked);
        known
            .map(|known| vec![*known])
            .ok_or_else(|| ApiError::Parameter {
                parameter: "scope",
                value: asked.to_owned(),
                accepted: "resource, span, intrinsic, event, link or instrumentation",
            })
    }
}

/// What attributes and intrinsics belong to.
const SCOPES: [&str; 6] = [
    "resource",
    "span",
    "intrinsic",
    "event",
    "link",
    "instrumentation",
];

/// Names of attributes by scope.
#[derive(Default)]
struct Names {
    span: BTreeSet<String>,
    resource: BTreeSet<String>,
    event: BTreeSet<String>,
    link: BTreeSet<String>,
    instrumentation: BTreeSet<String>,
}

pub(super) async fn names(
    State(store): State<TraceStore>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let parameters = parameters?.0;
    let (scopes, among) = (parameters.scopes()?, Among::new(&parameters)?);
    let names = collected(move || Names::of(&store, &among)).await?;
    let mut all = BTreeSet::new();
    for scope in scopes {
        all.extend(names.of_scope(scope));
    }
    Ok(Json(json!({ "tagNames": all, "metrics": {} })))
}

pub(super) async fn names_v2(
    State(store): State<TraceStore>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let parameters = parameters?.0;
    let (scopes, among) = (parameters.scopes()?, Among::new(&parameters)?);
    let names = collected(move || Names::of(&store, &among)).await?;
    let scopes = scopes
        .iter()
        .map(|scope| json!({ "name": scope, "tags": names.of_scope(scope) }));
    Ok(Json(
        json!({ "scopes": scopes.collect::<Value>(), "metrics": {} }),
    ))
}

impl Names {
    fn of(store: &TraceStore, among: &Among) -> Self {
        let mut names = Self::default();
        among.each_span(store, &mut |at| {
            add_new(&mut names.resource, &at.origin.resource.attributes, among);
            add_new(&mut names.span, &at.span.attributes, among);
            for event in &at.span.events {
                add_new(&mut names.event, &event.attributes, among);
            }
            for link in &at.span.links {
                add_new(&mut names.link, &link.attributes, among);
            }
            if let Some(scope) = &at.origin.scope {
                add_new(&mut names.instrumentation, &scope.attributes, among);
            }
        });
        names
    }

    fn of_scope(&self, scope: &str) -> Vec<String> {
        let names = match scope {
            "span" => &self.span,
            "resource" => &self.resource,
            "event" => &self.event,
            "link" => &self.link,
            "instrumentation" => &self.instrumentation,
            _ => return INTRINSICS.map(|(name, _)| name.to_owned()).to_vec(),
        };
        names.iter().cloned().collect()
    }
}

fn add_new(known: &mut BTreeSet<String>, attributes: &[KeyValue], among: &Among) {
    for KeyValue { key, .. } in attributes {
        if known.len() < among.limit && !known.contains(key) {
            known.insert(key.clone());
        }
    }
}

/// The name of a tag as it was before it was encoded for the second time: Grafana does that, and so
/// Tempo undoes it twice (the path has been decoded once).
fn decoded_again(tag: &str) -> Result<String, ApiError> {
    let spaced = tag.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    let decoded = decoded.map_err(|_| unknown_tag(tag))?;
    Ok(decoded.into_owned())
}

fn unknown_tag(tag: &str) -> ApiError {
    ApiError::Parameter {
        parameter: "tag",
        value: tag.to_owned(),
        accepted: "a name like span.destination.port, resource.service.name, .key or kind",
    }
}

pub(super) async fn values(
    State(store): State<TraceStore>,
    Path(tag): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let among = Among::new(&parameters?.0)?;
    let tag = decoded_again(&tag)?;
    let intrinsic = INTRINSICS.iter().find(|(name, _)| *name == tag);
    let field = intrinsic.map_or(Field::Either(tag), |(_, field)| field.clone());
    let values = collected(move || values_of(&store, &field, &among)).await?;
    let texts: BTreeSet<&String> = values.iter().map(|(_, text)| text).collect();
    Ok(Json(json!({ "tagValues": texts, "metrics": {} })))
}

pub(super) async fn values_v2(
    State(store): State<TraceStore>,
    Path(tag): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let among = Among::new(&parameters?.0)?;
    let tag = decoded_again(&tag)?;
    let field = Field::from_trace_ql(&tag).ok_or_else(|| unknown_tag(&tag))?;
    let values = collected(move || values_of(&store, &field, &among)).await?;
    let values = values
        .iter()
        .map(|(kind, text)| json!({ "type": kind, "value": text }));
    Ok(Json(
        json!({ "tagValues": values.collect::<Value>(), "metrics": {} }),
    ))
}

/// Type and text of the values of a field.
fn values_of(store: &TraceStore, field: &Field, among: &Among) -> BTreeSet<(&'static str, String)> {
    let mut values = BTreeSet::new();
    if field.is_of_one() {
        return values;
    }
    among.each_span(store, &mut |at| {
        field.each(at, &mut |value| {
            if values.len() < among.limit {
                values.insert((value.type_name(), value.to_text()));
            }
        });
    });
    values
}
