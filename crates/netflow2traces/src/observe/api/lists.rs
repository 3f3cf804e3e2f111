//! Lists of what the workers keep: `/api/exporters`, `/api/templates` and `/api/rejected`.

use std::net::IpAddr;
use std::str::FromStr;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use netflow_wire::foreign::Foreign;
use otlp_wire::UnixNanos;
use otlp_wire::text::hex;
use serde_json::{Map, Value, json};

use super::{Shared, Watched, wall_time};
use crate::observe::parameters::{BadParameter, Parameters};
use crate::translate::{ExporterReport, MAX_REJECTED, RejectedDatagram, Rows, TemplateReport};
use crate::worker::Unanswered;

/// Exporters or templates in an answer that asks for no number.
const DEFAULT_LIMIT: usize = 1000;
/// Exporters or templates in an answer at most.
const MAX_LIMIT: usize = 10_000;

/// Why there is no list.
#[derive(Debug)]
pub(super) enum NoAnswer {
    Asked(BadParameter),
    Unanswered(Unanswered),
}

impl From<BadParameter> for NoAnswer {
    fn from(asked: BadParameter) -> Self {
        Self::Asked(asked)
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
            Self::Asked(asked) => asked.into_response(),
            Self::Unanswered(unanswered) => {
                let text = format!("{unanswered}\n");
                (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
            }
        }
    }
}

/// How many rows are asked for.
fn limit(given: &Parameters) -> Result<usize, BadParameter> {
    Ok(given.limit()?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT))
}

/// The exporter that is asked for.
fn wanted_exporter(given: &Parameters) -> Result<Option<IpAddr>, BadParameter> {
    given.value("exporter", "the IP address of an exporter")
}

pub(super) type Answer = Result<Json<Value>, NoAnswer>;

pub(super) async fn exporters(State(watched): Shared, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::read(query.as_deref(), &["limit"])?;
    let (rows, total) = ask_exporters(&watched, limit(&given)?).await?;
    Ok(Json(json!({
        "total": total,
        "shown": rows.len(),
        "exporters": rows.iter().map(exporter).collect::<Vec<_>>(),
    })))
}

/// The exporters seen last, in the order of their addresses, and how many there are.
pub(in crate::observe) async fn ask_exporters(
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

pub(in crate::observe) fn exporter(row: &ExporterReport) -> Value {
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

pub(super) async fn templates(State(watched): Shared, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::read(query.as_deref(), &["exporter", "limit"])?;
    let (limit, wanted) = (limit(&given)?, wanted_exporter(&given)?);
    let _permit = watched.permits.acquire().await.ok();
    let answers = watched
        .mailboxes
        .ask(move |machine, now| machine.templates(wanted, limit, now))
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

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum RejectedFormat {
    #[default]
    Json,
    /// Text that `netflow2traces decode` reads.
    Hex,
}

impl FromStr for RejectedFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "json" => Ok(Self::Json),
            "hex" => Ok(Self::Hex),
            _ => Err(()),
        }
    }
}

pub(super) async fn rejected(
    State(watched): Shared,
    RawQuery(query): RawQuery,
) -> Result<Response, NoAnswer> {
    let given = Parameters::read(query.as_deref(), &["exporter", "format"])?;
    let wanted = wanted_exporter(&given)?;
    let format: RejectedFormat = given.value("format", "json, hex")?.unwrap_or_default();
    let _permit = watched.permits.acquire().await.ok();
    let answers = watched
        .mailboxes
        .ask(|machine, _| machine.rejected())
        .await?;
    let mut all: Vec<RejectedDatagram> = answers.into_iter().flatten().collect();
    if let Some(exporter) = wanted {
        all.retain(|datagram| datagram.source.ip().to_canonical() == exporter.to_canonical());
    }
    all.sort_by_key(|datagram| std::cmp::Reverse(datagram.received_at));
    all.truncate(MAX_REJECTED);
    if format == RejectedFormat::Hex {
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
        cut => format!(" (the last {cut} bytes are not kept)"),
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

/// The rows of all workers.
fn together<T>(answers: Vec<Rows<T>>) -> (Vec<T>, usize) {
    let total = answers.iter().map(|answer| answer.total).sum();
    let rows = answers.into_iter().flat_map(|answer| answer.rows);
    (rows.collect(), total)
}
