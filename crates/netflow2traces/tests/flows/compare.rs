//! Records against spans, as multisets.
//!
//! A record is met by a span when every field that both have is equal and the span lacks none of the
//! record's core fields. What only one of them has doesn't matter otherwise. Records that are
//! optional may be met or not; a span that meets no record is one too many.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::expected::{Acceptance, Accepted, CORE, Expected, KEY, Record, acceptance};
use super::spans::FlowSpan;

/// How far a time may be from the expected one: the fractions of NTP time-stamps, rounded.
const TIME_TOLERANCE_NANOS: i128 = 2_000;

/// Differences shown of one capture.
const SHOWN: usize = 3;

/// Compares all records of a capture with all flow spans made of it; the error shows the first
/// differences.
pub(crate) fn compare(expected: &Expected, spans: &[FlowSpan]) -> Result<(), String> {
    if !expected.strict {
        return bounded(expected, spans);
    }
    let accepted: Vec<Acceptance> = expected.records.iter().map(acceptance).collect();
    let mut free: BTreeSet<usize> = (0..spans.len()).collect();
    let unmet = meet(&accepted, spans, &mut free);
    let mut extra = free.clone();
    let optional: Vec<Acceptance> = expected.optional_records.iter().map(acceptance).collect();
    meet(&optional, spans, &mut extra);
    if unmet.is_empty() && extra.len() <= expected.allow_extra {
        return Ok(());
    }
    let mut report = format!(
        "{} of {} records met, {} spans, {} of them too many\n",
        expected.records.len() - unmet.len(),
        expected.records.len(),
        spans.len(),
        extra.len()
    );
    for record in unmet.iter().copied().take(SHOWN) {
        let datagram = expected.records[record]
            .get("datagram")
            .unwrap_or(&Value::Null);
        let _ = write!(report, "record {} (datagram {datagram}): ", record + 1);
        match nearest(&accepted[record], spans, &free) {
            Some((span, differences)) => {
                free.remove(&span);
                let _ = writeln!(report, "nearest span differs in {}", differences.join("; "));
            }
            None => {
                let _ = writeln!(
                    report,
                    "no span left for {}",
                    summary(&expected.records[record])
                );
            }
        }
    }
    if unmet.is_empty() {
        for span in extra.iter().take(SHOWN) {
            let _ = writeln!(report, "too many: {}", summary(&spans[*span].fields));
        }
    }
    Err(report)
}

/// Of hostile input it is asked that the output is bounded by it: a record has a few octets at least.
fn bounded(expected: &Expected, spans: &[FlowSpan]) -> Result<(), String> {
    let octets = if expected.totals.bytes == 0 {
        65_535
    } else {
        expected.totals.bytes
    };
    let limit = 200.max(octets / 4);
    if spans.len() <= limit {
        return Ok(());
    }
    Err(format!(
        "{} spans of {octets} octets, at most {limit} are possible",
        spans.len()
    ))
}

/// Gives each record a span of `free`, the most definite records first so that one of few fields
/// doesn't take another's; returns the records that none is left for.
fn meet(accepted: &[Acceptance], spans: &[FlowSpan], free: &mut BTreeSet<usize>) -> Vec<usize> {
    let mut by_key: BTreeMap<Vec<Option<String>>, Vec<usize>> = BTreeMap::new();
    for span in free.iter() {
        by_key
            .entry(span_key(&spans[*span]))
            .or_default()
            .push(*span);
    }
    let mut order: Vec<usize> = (0..accepted.len()).collect();
    let core = |record: usize| {
        CORE.iter()
            .filter(|core| accepted[record].contains_key(**core))
            .count()
    };
    order.sort_by_key(|record| std::cmp::Reverse(core(*record)));
    let mut unmet = Vec::new();
    for record in order {
        let wanted = &accepted[record];
        let fits = |span: &usize| differences(wanted, &spans[*span]).is_empty();
        let keys = record_keys(wanted);
        let likely = keys
            .iter()
            .filter_map(|key| by_key.get(key))
            .flatten()
            .copied();
        let mut found = likely.filter(|span| free.contains(span)).find(&fits);
        if found.is_none() && KEY.iter().any(|field| !wanted.contains_key(*field)) {
            found = free.iter().copied().find(&fits);
        }
        match found {
            Some(span) => _ = free.remove(&span),
            None => unmet.push(record),
        }
    }
    unmet.sort_unstable();
    unmet
}

fn span_key(span: &FlowSpan) -> Vec<Option<String>> {
    KEY.iter()
        .map(|field| span.fields.get(*field).map(Value::to_string))
        .collect()
}

/// All combinations of the values that a record accepts in its key.
fn record_keys(accepted: &Acceptance) -> Vec<Vec<Option<String>>> {
    let mut keys = vec![Vec::new()];
    for field in KEY {
        let values: Vec<Option<String>> = match accepted.get(field) {
            Some(accepted) => accepted
                .values
                .iter()
                .map(|value| Some(value.to_string()))
                .collect(),
            None => vec![None],
        };
        keys = keys
            .into_iter()
            .flat_map(|key| {
                values.iter().map(move |value| {
                    let mut key = key.clone();
                    key.push(value.clone());
                    key
                })
            })
            .collect();
    }
    keys
}

/// The free span with the fewest differences, and these.
fn nearest(
    accepted: &Acceptance,
    spans: &[FlowSpan],
    free: &BTreeSet<usize>,
) -> Option<(usize, Vec<String>)> {
    free.iter()
        .map(|span| (*span, differences(accepted, &spans[*span])))
        .min_by_key(|(_, differences)| differences.len())
}

/// The fields in which a span is not what a record accepts.
fn differences(accepted: &Acceptance, span: &FlowSpan) -> Vec<String> {
    let mut differences = Vec::new();
    for (field, accepted) in accepted {
        let wanted = accepted.values.first().unwrap_or(&Value::Null);
        match span.fields.get(field) {
            None if CORE.contains(&field.as_str()) && !accepted.absent => {
                differences.push(format!("{field} {wanted}, the span has none"));
            }
            None => {}
            Some(shown) if shows(field, shown, accepted, span.scaled) => {}
            Some(shown) => differences.push(format!("{field} {wanted}, the span has {shown}")),
        }
    }
    differences
}

fn shows(field: &str, shown: &Value, accepted: &Accepted, scaled: bool) -> bool {
    if field == "start_time_unix_nano" || field == "end_time_unix_nano" {
        let Some(shown) = integer(shown) else {
            return false;
        };
        let times = accepted.values.iter().filter_map(integer);
        return times
            .into_iter()
            .any(|time| (time - shown).abs() < TIME_TOLERANCE_NANOS);
    }
    let counter = scaled && (field == "bytes" || field == "packets");
    accepted
        .values
        .iter()
        .any(|value| equal(value, shown) || (counter && multiple(shown, value)))
}

fn equal(value: &Value, shown: &Value) -> bool {
    match (value, shown) {
        (Value::String(value), Value::String(shown)) => {
            value.to_lowercase() == shown.to_lowercase()
        }
        (Value::Array(values), Value::Array(shown)) => {
            values.len() == shown.len()
                && values
                    .iter()
                    .zip(shown)
                    .all(|(value, shown)| equal(value, shown))
        }
        _ => match (integer(value), integer(shown)) {
            (Some(value), Some(shown)) => value == shown,
            _ => value == shown,
        },
    }
}

fn multiple(shown: &Value, value: &Value) -> bool {
    match (integer(shown), integer(value)) {
        (Some(shown), Some(value)) => value != 0 && shown % value == 0,
        _ => false,
    }
}

fn integer(value: &Value) -> Option<i128> {
    value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
}

/// The core of a record or span in one line.
fn summary(fields: &Record) -> String {
    let core = CORE
        .iter()
        .filter_map(|field| Some((field, fields.get(*field)?)));
    core.map(|(field, value)| format!("{field} {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}
