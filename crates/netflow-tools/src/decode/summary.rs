//! What was read, what was understood, and what was not: where, how often, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use otlp_wire::json::JsonError;

use super::output::{hex, protocol};
use super::records::{Origin, Records};
use crate::capture::{CaptureError, Seen, Skipped, Tally};
use netflow_translate::{TranslateCounters, WaitingSet};

/// Shown of each thing that was not understood.
const MAX_EXAMPLES: usize = 3;
/// Octets of a datagram that an example shows.
const HEAD: usize = 24;
/// Exporters that are told apart.
const MAX_EXPORTERS: usize = 65_536;
/// Templates waited for that are listed.
const MAX_LISTED: usize = 20;

/// Counters of what was not understood, with what they count.
const TROUBLES: &[(&str, &str)] = &[
    ("datagrams_truncated", "datagrams shorter than their header"),
    (
        "datagrams_unknown_version",
        "datagrams that are no flow messages (--port leaves other traffic out)",
    ),
    (
        "datagrams_bad_length",
        "IPFIX messages with a length that is less than their header's",
    ),
    (
        "datagrams_bad_agent",
        "sFlow datagrams whose agent has an address of an unknown type",
    ),
    ("samples_unknown", "sFlow samples of unknown types"),
    (
        "samples_truncated",
        "sFlow samples that go past their datagram",
    ),
    (
        "samples_malformed",
        "sFlow samples whose fields go past their length",
    ),
    (
        "sample_records_truncated",
        "records of sFlow samples that go past their sample",
    ),
    (
        "sample_records_malformed",
        "records of sFlow samples whose fields go past their length",
    ),
    (
        "templates_evicted",
        "templates forgotten to make room for others of their exporter",
    ),
    (
        "options_refused",
        "names and samplers of options data for which there is no room",
    ),
    ("records_too_large", "records that are too large for a span"),
    (
        "sets_expired",
        "sets dropped while they waited for their template",
    ),
    ("sets_bad_length", "sets with a length below 4"),
    ("sets_truncated", "sets that go past the datagram's end"),
    ("sets_reserved_id", "sets of a reserved id"),
    (
        "sets_malformed_template",
        "templates that go past their set",
    ),
    ("sets_too_many_fields", "templates of too many fields"),
    ("sets_empty_record", "sets whose records would be empty"),
    (
        "sets_truncated_record",
        "sets whose last record goes past their end",
    ),
    (
        "exporters_evicted",
        "exporters forgotten to make room for others, with their templates",
    ),
];

/// Counters that tell of nothing that was not understood.
const UNDERSTOOD: &[&str] = &[
    "datagrams_decoded",
    "datagrams_sflow",
    // A capture's exporters are all allowed, at any rate.
    "datagrams_not_allowed",
    "datagrams_rate_limited",
    "flow_samples",
    "counter_samples",
    "flow_spans",
    "work_spans",
    "records_sampled_out",
    "options_records",
    "times_suspect",
    "sets_waited",
    "sets_decoded_late",
    // Levels; what waits at the end is told apart.
    "sets_waiting",
    "open_flow_spans",
    "open_work_spans",
    // By reason above.
    "sets_bad",
    "templates_learnt",
    "templates_refreshed",
    "templates_replaced",
    "templates_expired",
    "withdrawals_ignored",
    "lost_flows",
    "lost_messages",
    "lost_records",
    "lost_datagrams",
    "late_datagrams",
    "late_flows",
    "late_messages",
    "late_records",
    "exporter_restarts",
    "state_changes",
    "exporters",
    "batches",
    "batch_octets",
];

/// The counters at a moment.
pub(super) struct Snapshot(Vec<u64>);

pub(super) fn snapshot(counters: &TranslateCounters) -> Snapshot {
    Snapshot(counters.each().map(|(_, value)| value).collect())
}

/// A Set has begun to wait since.
pub(super) fn has_waiting(counters: &TranslateCounters, before: &Snapshot) -> bool {
    since(counters, before).any(|(name, _)| name == "sets_waited")
}

/// The counters that have grown, and by how much.
fn since<'a>(
    counters: &'a TranslateCounters,
    before: &'a Snapshot,
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    let all = counters.each().zip(&before.0);
    all.filter_map(|((name, after), before)| {
        let grown = after.wrapping_sub(*before);
        (grown > 0 && after > *before).then_some((name, grown))
    })
}

/// A file that was looked at.
#[derive(Debug)]
pub(super) struct FileSummary {
    pub(super) name: String,
    tally: Tally,
    last_frame: u64,
    failure: Option<CaptureError>,
}

#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) files: Vec<FileSummary>,
    /// Payloads that `--port` leaves out.
    pub(super) not_chosen: u64,
    datagrams: u64,
    /// Who sent something that was decoded.
    exporters: BTreeSet<Option<IpAddr>>,
    /// Flow records by protocol and version.
    records: BTreeMap<(&'static str, i64), u64>,
    troubles: BTreeMap<&'static str, Trouble>,
    totals: BTreeMap<&'static str, u64>,
    waiting: BTreeMap<WaitedFor, (u64, u64)>,
}

#[derive(Debug, Default)]
struct Trouble {
    count: u64,
    examples: Vec<String>,
}

/// Exporter, version, domain, template.
type WaitedFor = (String, u16, u32, u16);

/// No JSON can be made of a request: attribute values that nest too deep.
const UNWRITABLE: &str = "spans that can't be written as JSON";

impl Summary {
    pub(super) fn begin_file(&mut self, name: String) {
        self.files.push(FileSummary {
            name,
            tally: Tally::default(),
            last_frame: 0,
            failure: None,
        });
    }

    pub(super) fn end_file(&mut self, tally: &Tally, last_frame: u64) {
        if let Some(file) = self.files.last_mut() {
            file.tally = tally.clone();
            file.last_frame = last_frame;
        }
    }

    pub(super) fn file_failed(&mut self, failure: CaptureError) {
        if let Some(file) = self.files.last_mut() {
            file.failure = Some(failure);
        }
    }

    /// Takes in what came of a datagram.
    pub(super) fn datagram(
        &mut self,
        counters: &TranslateCounters,
        before: &Snapshot,
        origin: &Origin,
        octets: &[u8],
        records: &Records,
    ) {
        self.datagrams += 1;
        let is_decoded = since(counters, before).any(|(name, _)| name == "datagrams_decoded");
        if is_decoded && self.exporters.len() < MAX_EXPORTERS {
            let address = origin.source.map(|source| source.ip());
            self.exporters.insert(address);
        }
        for span in records.flows() {
            let (name, version) = protocol(&span.attributes);
            *self
                .records
                .entry((name, version.unwrap_or(0)))
                .or_default() += 1;
        }
        let mut grown: Vec<_> = since(counters, before)
            .filter(|(name, _)| !UNDERSTOOD.contains(name))
            .collect();
        // With one thing wrong the message is about it.
        let error = records.error().filter(|_| grown.len() == 1);
        for (name, count) in grown.drain(..) {
            let detail = format!(
                "{}octets {}",
                error.map(|error| format!("{error}; ")).unwrap_or_default(),
                head(octets)
            );
            self.trouble(name, count, origin, &detail);
        }
        if let Some(problem) = &records.problem {
            self.trouble(UNWRITABLE, 1, origin, problem);
        }
    }

    pub(super) fn unwritable(&mut self, origin: &Origin, error: &JsonError) {
        self.trouble(UNWRITABLE, 1, origin, &error.to_string());
    }

    fn trouble(&mut self, name: &'static str, count: u64, origin: &Origin, detail: &str) {
        let place = self.place(origin);
        let trouble = self.troubles.entry(name).or_default();
        trouble.count += count;
        if trouble.examples.len() < MAX_EXAMPLES {
            trouble.examples.push(format!("{place}: {detail}"));
        }
    }

    fn place(&self, origin: &Origin) -> String {
        let mut place = format!("frame {}", origin.frame);
        if let (Some(file), 2..) = (self.files.get(origin.file), self.files.len()) {
            let _ = write!(place, " of {}", file.name);
        }
        if let Some(source) = origin.source {
            let _ = write!(place, " from {source}");
        }
        place
    }

    /// Takes in what is left at the end.
    pub(super) fn finish<'a>(
        &mut self,
        counters: &TranslateCounters,
        waiting: impl Iterator<Item = WaitingSet<'a>>,
    ) {
        self.totals = counters.each().collect();
        for set in waiting {
            let key = set.key;
            let waited_for = (
                set.exporter.to_owned(),
                key.version.number(),
                key.domain,
                key.id,
            );
            let (sets, octets) = self.waiting.entry(waited_for).or_default();
            *sets += 1;
            *octets += set.octets as u64;
        }
    }

    /// 0 all was understood, 1 something was not, 2 a file could not be read.
    pub(super) fn exit_code(&self) -> u8 {
        let failures = || self.files.iter().filter_map(|file| file.failure.as_ref());
        if failures().any(CaptureError::is_unreadable) {
            2
        } else {
            u8::from(
                failures().next().is_some()
                    || !self.troubles.is_empty()
                    || !self.waiting.is_empty()
                    || self.files.iter().any(|file| file.losses().next().is_some()),
            )
        }
    }

    /// Lines for whoever watches.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            file.describe(&mut text);
        }
        self.describe_understood(&mut text);
        let mut wrong = String::new();
        for file in &self.files {
            for (skipped, seen) in file.losses() {
                let frame = seen.first_frame;
                let _ = write!(wrong, "  {skipped}: {}, first frame {frame}", seen.count);
                if self.files.len() > 1 {
                    let _ = write!(wrong, " of {}", file.name);
                }
                wrong.push('\n');
            }
        }
        for (name, trouble) in &self.troubles {
            let known = TROUBLES.iter().find(|(known, _)| known == name);
            let what = known.map_or(*name, |(_, what)| what);
            let _ = writeln!(wrong, "  {what}: {}", trouble.count);
            for example in &trouble.examples {
                let _ = writeln!(wrong, "    {example}");
            }
        }
        self.describe_waiting(&mut wrong);
        if !wrong.is_empty() {
            let _ = write!(text, "not understood:\n{wrong}");
        } else if self.exit_code() == 0 {
            text.push_str("all of it was understood\n");
        }
        text
    }

    fn describe_understood(&self, text: &mut String) {
        let total = |name: &str| self.totals.get(name).copied().unwrap_or(0);
        let records: u64 = self.records.values().sum();
        let _ = write!(text, "decoded: {}", counted(records, "record"));
        let by_version: Vec<String> = self
            .records
            .iter()
            .map(|((name, version), count)| match *name {
                "netflow" => format!("NetFlow v{version}: {count}"),
                "ipfix" => format!("IPFIX: {count}"),
                _ => format!("sFlow v{version}: {count}"),
            })
            .collect();
        if !by_version.is_empty() {
            let _ = write!(text, " ({})", by_version.join(", "));
        }
        let templates = total("templates_learnt") + total("templates_replaced");
        let _ = writeln!(
            text,
            ", {}, {}; {} of {}",
            counted(total("options_records"), "options record"),
            counted(templates, "template"),
            counted(self.datagrams, "datagram"),
            counted(self.exporters.len() as u64, "exporter"),
        );
        if total("counter_samples") > 0 {
            let samples = counted(total("counter_samples"), "counter sample");
            let _ = writeln!(text, "note: {samples} of sFlow, which are no flows");
        }
        if self.not_chosen > 0 {
            let _ = writeln!(
                text,
                "left out by --port: {}",
                counted(self.not_chosen, "UDP payload")
            );
        }
        let notes = [
            (
                "times_suspect",
                "record",
                "with times that can't be true or can't be told: netflow.time.suspect",
            ),
            (
                "sets_decoded_late",
                "set",
                "before the template, decoded when that came",
            ),
            (
                "withdrawals_ignored",
                "template withdrawal",
                "ignored, as the daemon does on UDP",
            ),
            ("lost_flows", "flow", "missing by the sequence numbers"),
            (
                "lost_messages",
                "message",
                "missing by the sequence numbers",
            ),
            (
                "lost_records",
                "data record",
                "missing by the sequence numbers",
            ),
            (
                "lost_datagrams",
                "sFlow datagram",
                "missing by the sequence numbers",
            ),
        ];
        for (name, noun, what) in notes {
            if total(name) > 0 {
                let _ = writeln!(text, "note: {} {what}", counted(total(name), noun));
            }
        }
    }

    fn describe_waiting(&self, text: &mut String) {
        if self.waiting.is_empty() {
            return;
        }
        let sets: u64 = self.waiting.values().map(|(sets, _)| sets).sum();
        let _ = writeln!(text, "  sets whose template is not in the capture: {sets}");
        for ((exporter, version, domain, template), (sets, octets)) in
            self.waiting.iter().take(MAX_LISTED)
        {
            let _ = writeln!(
                text,
                "    exporter {exporter}, version {version}, domain {domain}, template {template}: {} of {}",
                counted(*sets, "set"),
                counted(*octets, "octet"),
            );
        }
        if let Some(more @ 1..) = self.waiting.len().checked_sub(MAX_LISTED) {
            let _ = writeln!(text, "    and {more} more templates");
        }
    }
}

impl FileSummary {
    fn losses(&self) -> impl Iterator<Item = (Skipped, Seen)> {
        self.tally
            .skipped()
            .filter(|(skipped, _)| skipped.is_loss())
    }

    fn describe(&self, text: &mut String) {
        let tally = &self.tally;
        let is_unreadable = self
            .failure
            .as_ref()
            .is_some_and(CaptureError::is_unreadable);
        if !(is_unreadable && tally.packets == 0) {
            let _ = write!(
                text,
                "{}: {}, {}",
                self.name,
                counted(tally.packets, "packet"),
                counted(tally.payloads, "datagram")
            );
            for (skipped, seen) in tally.skipped().filter(|(skipped, _)| !skipped.is_loss()) {
                let _ = write!(text, "; {skipped}: {}", seen.count);
            }
            text.push('\n');
        }
        if let Some(failure) = &self.failure {
            let _ = write!(text, "{}: {failure}", self.name);
            if self.last_frame > 0 {
                let _ = write!(text, ", after frame {}", self.last_frame);
            }
            text.push('\n');
        }
    }
}

fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// The first octets in hexadecimal.
fn head(octets: &[u8]) -> String {
    match octets.get(..HEAD) {
        Some(head) if octets.len() > HEAD => format!("{}… ({} in all)", hex(head), octets.len()),
        _ => hex(octets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_judged() {
        for (name, _) in TranslateCounters::default().each() {
            let is_trouble = TROUBLES.iter().any(|(known, _)| *known == name);
            assert_ne!(
                is_trouble,
                UNDERSTOOD.contains(&name),
                "{name} belongs either to TROUBLES or to UNDERSTOOD"
            );
        }
    }
}
