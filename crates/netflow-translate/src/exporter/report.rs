//! What a worker reports about its exporters and templates when asked. Read-only, and bounded by the asker.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netflow_wire::foreign::Foreign;
use netflow_wire::{
    FieldSpecifier, Session, TemplateKey, Transport, V9_SCOPE, VARIABLE_LENGTH, Version, ie,
};
use otlp_wire::UnixNanos;

use crate::counters::rejected::RejectedDatagram;
use crate::counters::traffic::Protocol;
use crate::exporter::activity::LOST_UNITS;
use crate::exporter::alerts::CLOCK_TOLERANCE;
use crate::exporter::strangers::{Stranger, Strangers};
use crate::exporter::{Exporter, ExporterTable};
use crate::translator::Translator;

/// Fields of all templates in an answer: more rows are left out.
const MAX_FIELDS: usize = 65_536;

/// Awaited templates that are named for each exporter.
const MAX_AWAITED: usize = 8;

/// Rows of an answer, and how many there would be.
#[derive(Clone, Debug)]
pub struct Rows<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    pub total: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            total: 0,
        }
    }
}

/// One exporter.
#[derive(Clone, Debug)]
pub struct ExporterReport {
    pub address: Box<str>,
    /// Something it sent was decodable.
    pub proven: bool,
    /// `v1`, `v5`, …, in this order.
    pub versions: Vec<&'static str>,
    /// `udp`, `tcp`, `tls`, in this order: how its messages came.
    pub transports: Vec<&'static str>,
    pub datagrams: u64,
    pub octets: u64,
    pub flows: u64,
    /// Datagrams that could not be used, or not whole.
    pub rejected: u64,
    /// Datagrams over `NETFLOW_MAX_RATE_PER_EXPORTER`.
    pub rate_limited: u64,
    /// Missing by sequence numbers, by unit.
    pub lost: [(&'static str, u64); LOST_UNITS.len()],
    pub first_seen: UnixNanos,
    pub last_seen: UnixNanos,
    /// Templates known.
    pub templates: usize,
    /// Sets that wait for a template.
    pub sets_waiting: usize,
    /// Domain and id of the templates that they wait for, the first few.
    pub awaited: Vec<(u32, u16)>,
    /// One packet in so many, and where that was learnt.
    pub sampling: Option<(u64, &'static str)>,
    /// Its clock less ours.
    pub clock_ahead_ms: Option<i64>,
    /// What an operator should look at, as words of a closed set.
    pub warnings: Vec<&'static str>,
    /// It sends something else, and what that seems to be.
    pub looks_like: Option<Foreign>,
}

/// One template.
#[derive(Clone, Debug)]
pub struct TemplateReport {
    pub exporter: Box<str>,
    /// In which it was sent.
    pub session: Session,
    pub version: &'static str,
    pub domain: u32,
    pub id: u16,
    /// It is an options template, and so many of its fields are the scope.
    pub scope_fields: Option<usize>,
    /// Since it was last sent.
    pub age: Duration,
    pub fields: Vec<FieldReport>,
}

/// One field of a template.
#[derive(Clone, Debug)]
pub struct FieldReport {
    /// 0: IANA's.
    pub enterprise: u32,
    pub element: u16,
    /// As the registry says, if it is known.
    pub name: Option<&'static str>,
    /// Octets; `None`: variable.
    pub length: Option<u16>,
}

/// A Set whose template has not come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitingSet<'a> {
    /// The exporter's address.
    pub exporter: &'a str,
    /// The template it waits for.
    pub key: TemplateKey,
    /// Of its records.
    pub octets: usize,
}

impl Translator {
    /// The Sets that wait for their template now: by exporter, oldest first.
    pub fn waiting_sets(&self) -> impl Iterator<Item = WaitingSet<'_>> {
        self.exporters.iter().flat_map(|exporter| {
            exporter.decoder.held().map(|set| WaitingSet {
                exporter: &exporter.address,
                key: set.key,
                octets: set.body.len(),
            })
        })
    }

    /// The `limit` exporters that were seen last, in no order.
    #[must_use]
    pub fn exporters(&self, limit: usize) -> Rows<ExporterReport> {
        let mut answer = exporters(&self.exporters, &self.strangers, limit);
        for stranger in self.strangers.iter() {
            if self.exporters.get(stranger.address).is_none() {
                answer.total += 1;
                if answer.rows.len() < limit {
                    answer.rows.push(sender_of_something_else(stranger));
                }
            }
        }
        answer
    }

    /// `limit` templates of an exporter, or of all, in no order.
    #[must_use]
    pub fn templates(
        &self,
        of: Option<IpAddr>,
        limit: usize,
        now: Instant,
    ) -> Rows<TemplateReport> {
        templates(&self.exporters, of, limit, now)
    }

    /// The last datagrams that could not be used, or not whole, oldest first.
    #[must_use]
    pub fn rejected(&self) -> Vec<RejectedDatagram> {
        self.rejected.list()
    }
}

/// A row for a sender of which nothing could be read.
fn sender_of_something_else(stranger: &Stranger) -> ExporterReport {
    ExporterReport {
        address: stranger.address.to_string().into(),
        proven: false,
        versions: Vec::new(),
        transports: vec![Transport::Udp.as_str()],
        datagrams: 0,
        octets: 0,
        flows: 0,
        rejected: stranger.datagrams,
        rate_limited: 0,
        lost: LOST_UNITS.map(|unit| (unit, 0)),
        first_seen: stranger.first_at,
        last_seen: stranger.last_at,
        templates: 0,
        sets_waiting: 0,
        awaited: Vec::new(),
        sampling: None,
        clock_ahead_ms: None,
        warnings: vec!["datagrams_rejected"],
        looks_like: Some(stranger.what),
    }
}

/// The exporters seen last.
fn exporters(table: &ExporterTable, strangers: &Strangers, limit: usize) -> Rows<ExporterReport> {
    let mut all: Vec<_> = table.iter().collect();
    let total = all.len();
    if limit < total {
        all.select_nth_unstable_by_key(limit, |exporter| {
            std::cmp::Reverse(exporter.activity.last_at)
        });
        all.truncate(limit);
    }
    Rows {
        rows: all
            .into_iter()
            .map(|known| exporter(known, strangers.find(&known.address)))
            .collect(),
        total,
    }
}

fn exporter(exporter: &Exporter, looks_like: Option<Foreign>) -> ExporterReport {
    let activity = &exporter.activity;
    let (sets_waiting, _) = exporter.decoder.waiting();
    let clock_ahead = activity.clock_ahead;
    let lost = std::array::from_fn(|unit| (LOST_UNITS[unit], activity.lost[unit]));
    let mut warnings = Vec::new();
    if sets_waiting > 0 {
        warnings.push("waits_for_template");
    }
    if clock_ahead.is_some_and(|ahead| Duration::from_nanos(ahead.unsigned_abs()) > CLOCK_TOLERANCE)
    {
        warnings.push("clock_differs");
    }
    if activity.lost.iter().any(|units| *units > 0) {
        warnings.push("records_lost");
    }
    if activity.rejected > 0 {
        warnings.push("datagrams_rejected");
    }
    if activity.rate_limited > 0 {
        warnings.push("rate_limited");
    }
    let configured = exporter.sampling.any().map(|interval| (interval, "config"));
    let header = activity
        .header_sampling
        .map(|interval| (interval, "header"));
    let options = || Some((exporter.metadata.some_sampler()?, "options"));
    ExporterReport {
        address: exporter.address.clone(),
        proven: exporter.is_proven(),
        versions: activity.protocols(),
        transports: activity.transports(),
        datagrams: activity.datagrams,
        octets: activity.octets,
        flows: activity.flows,
        rejected: activity.rejected,
        rate_limited: activity.rate_limited,
        lost,
        first_seen: activity.first_at,
        last_seen: activity.last_at,
        templates: exporter.decoder.templates().len(),
        sets_waiting,
        awaited: awaited(exporter),
        sampling: configured.or(header).or_else(options),
        clock_ahead_ms: clock_ahead.map(|nanos| nanos / 1_000_000),
        warnings,
        looks_like,
    }
}

fn awaited(exporter: &Exporter) -> Vec<(u32, u16)> {
    let mut awaited = Vec::new();
    for set in exporter.decoder.held() {
        let template = (set.key.domain, set.key.id);
        if !awaited.contains(&template) {
            awaited.push(template);
        }
        if awaited.len() == MAX_AWAITED {
            break;
        }
    }
    awaited
}

/// The templates of one exporter or of all.
fn templates(
    table: &ExporterTable,
    of: Option<IpAddr>,
    limit: usize,
    now: Instant,
) -> Rows<TemplateReport> {
    let mut answer = Rows::default();
    let mut fields_told = 0;
    let of = of.map(|address| address.to_string());
    for exporter in table.iter() {
        if of.as_ref().is_some_and(|of| **of != *exporter.address) {
            continue;
        }
        let known = exporter.decoder.templates();
        answer.total += known.len();
        for (key, learnt) in known.iter().take(limit - answer.rows.len()) {
            let age = now.saturating_duration_since(learnt.refreshed);
            let fields = learnt.template.fields.iter();
            fields_told += fields.len();
            if fields_told > MAX_FIELDS {
                break;
            }
            let TemplateKey {
                session,
                version,
                domain,
                id,
            } = *key;
            answer.rows.push(TemplateReport {
                exporter: exporter.address.clone(),
                session,
                version: Protocol::from(version).as_str(),
                domain,
                id,
                scope_fields: learnt.template.scope_fields,
                age,
                fields: fields.map(|field| field_report(version, field)).collect(),
            });
        }
    }
    answer
}

fn field_report(version: Version, field: &FieldSpecifier) -> FieldReport {
    let name = match (field.enterprise, version) {
        (V9_SCOPE, _) => v9_scope(field.element),
        (enterprise, Version::Ipfix) | (enterprise @ (ie::CISCO | ie::NTOP), _) => {
            ie::lookup(enterprise, field.element).map(|element| element.name)
        }
        _ => ie::lookup_v9(field.element).map(|element| element.name),
    };
    FieldReport {
        enterprise: if field.enterprise == V9_SCOPE {
            0
        } else {
            field.enterprise
        },
        element: field.element,
        name,
        length: (field.length != VARIABLE_LENGTH).then_some(field.length),
    }
}

/// RFC 3954, section 6.1.
fn v9_scope(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "System",
        2 => "Interface",
        3 => "Line Card",
        4 => "Cache",
        5 => "Template",
        _ => return None,
    })
}
