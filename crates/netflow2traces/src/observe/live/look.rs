//! One look: what came since the last, as every open page gets it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::record::{Filter, Record};
use super::tap::Tapped;
use super::tops::Tops;
use super::{Live, Seen};
use crate::observe::api::{self, Status, Watched};
use crate::observe::diagnosis::{self, Findings};
use crate::receive::wall_clock;
use crate::translate::ExporterReport;

/// Every so many looks the workers are asked for their exporters.
const ASK_EVERY: u64 = 2;
/// Exporters on the page.
const MAX_EXPORTERS: usize = 200;
/// Senders of something else that are named.
const MAX_STRANGERS: usize = 5;
/// Conversations on the page.
const MAX_CONVERSATIONS: usize = 25;
/// Rows of each of the other lists.
pub(super) const MAX_ROWS: usize = 10;

/// What all pages get alike is written once.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) status: String,
    pub(super) exporters: Option<String>,
    pub(super) conversations: String,
    pub(super) traffic: String,
    /// The heaviest of the last minute, without any filter.
    pub(super) tops: String,
    /// New ones, in the order they came.
    pub(super) records: Arc<[Record]>,
    /// Flow spans that were made, and those of them that were not looked at.
    pub(super) flow_spans: u64,
    pub(super) passed_over: u64,
}

/// An exporter when it was last asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    at: Instant,
    datagrams: u64,
    flows: u64,
    octets: u64,
}

pub(super) async fn take(watched: &Arc<Watched>, round: u64, now: Instant) -> Look {
    let live = &watched.live;
    let tapped = live.tap.take();
    let (flow_spans, passed_over) = (tapped.flow_spans + tapped.passed_over, tapped.passed_over);
    let reader = Arc::clone(watched);
    // Batches of megabytes: not on a thread that delivers.
    let read = tokio::task::spawn_blocking(move || read(&reader.live, tapped, now));
    let Read {
        records,
        conversations,
        traffic,
        tops,
        by_exporter,
    } = read.await.unwrap_or_default();
    let exporters = if round.is_multiple_of(ASK_EVERY) {
        exporters(watched, &by_exporter, now).await
    } else {
        None
    };
    Look {
        status: status(watched).to_string(),
        exporters: exporters.map(|exporters| exporters.to_string()),
        conversations,
        traffic,
        tops,
        records,
        flow_spans,
        passed_over,
    }
}

/// What the new batches hold, as JSON but the records.
#[derive(Debug, Default)]
struct Read {
    records: Arc<[Record]>,
    conversations: String,
    traffic: String,
    tops: String,
    /// Octets a second in the flows of each exporter.
    by_exporter: HashMap<Arc<str>, f64>,
}

/// Records of the batches; batches, records and conversations are kept.
fn read(live: &Live, tapped: Tapped, now: Instant) -> Read {
    let mut records = Vec::new();
    let mut seen = live.lock_seen();
    let Seen {
        kept,
        conversations,
        traffic,
        ..
    } = &mut *seen;
    conversations.turn(now);
    traffic.turn(wall_clock().0);
    for batch in tapped.batches {
        for mut record in Record::of_batch(&batch.octets) {
            record.weight = batch.weight;
            conversations.add(&record, batch.weight);
            traffic.add(&record, batch.weight);
            records.push(record);
        }
        kept.keep_batch(batch.octets);
    }
    let records: Arc<[Record]> = records.into();
    kept.keep_records(now, Arc::clone(&records));
    let conversations = conversations.heaviest(MAX_CONVERSATIONS, now).to_string();
    let (shown, looks) = (traffic.shown().to_string(), kept.looks());
    drop(seen);
    let tops = Tops::of(&looks, &Filter::default(), now);
    Read {
        records,
        conversations,
        traffic: shown,
        tops: tops.shown(MAX_ROWS).to_string(),
        by_exporter: tops.by_exporter(),
    }
}

fn status(watched: &Watched) -> Value {
    let live = &watched.live;
    let (now, mut seen) = {
        let history = live.lock_history();
        (history.now(), Findings::of(&watched.stages, &history))
    };
    seen.strangers.clone_from(&live.lock_seen().strangers);
    let findings = diagnosis::findings(&seen);
    json!({
        "status": Status::of(&watched.stages),
        "rates": {
            "at": now.at,
            "flows": now.flows,
            "datagrams": now.datagrams,
            "octets": now.octets,
            "accepted": now.accepted,
        },
        "findings": findings,
    })
}

/// The exporters with what they sent a second since they were last asked for, and the octets a second in the flows that they
/// reported; `None` if a worker doesn't answer.
async fn exporters(
    watched: &Watched,
    traffic: &HashMap<Arc<str>, f64>,
    now: Instant,
) -> Option<Value> {
    let (rows, total) = api::ask_exporters(watched, MAX_EXPORTERS).await.ok()?;
    let mut seen = watched.live.lock_seen();
    let before = std::mem::take(&mut seen.exporters);
    let strangers = rows
        .iter()
        .filter_map(|row| Some((row.address.clone(), row.looks_like?)));
    seen.strangers = strangers.take(MAX_STRANGERS).collect();
    let mut shown = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut value = api::exporter(row);
        if let Some(before) = before.get(&row.address) {
            value["rates"] = before.rates(row, now);
        }
        value["traffic"] = json!(traffic.get(&*row.address));
        let after = Before {
            at: now,
            datagrams: row.datagrams,
            flows: row.flows,
            octets: row.octets,
        };
        seen.exporters.insert(row.address.clone(), after);
        shown.push(value);
    }
    Some(json!({ "total": total, "exporters": shown }))
}

impl Before {
    fn rates(&self, row: &ExporterReport, now: Instant) -> Value {
        let seconds = now
            .saturating_duration_since(self.at)
            .as_secs_f64()
            .max(0.001);
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        json!({
            "datagrams": rate(self.datagrams, row.datagrams),
            "flows": rate(self.flows, row.flows),
            "octets": rate(self.octets, row.octets),
        })
    }
}
