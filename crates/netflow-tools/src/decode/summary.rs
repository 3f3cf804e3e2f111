//! What was read, what was understood, and what was not: where, how often, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use otlp_wire::json::JsonError;
use otlp_wire::text::hex;

use super::counters::{Snapshot, TROUBLES, UNDERSTOOD, since};
use super::output::protocol;
use super::records::{Origin, Records};
use crate::capture::{CaptureError, Content, Seen, Skipped, Tally, UdpPayload};
use netflow_translate::{TranslateCounters, WaitingSet};

/// Shown of each thing that was not understood.
const MAX_EXAMPLES: usize = 3;
/// Octets of a datagram that an example shows.
const HEAD: usize = 24;
/// Exporters that are counted separately.
const MAX_EXPORTERS: usize = 65_536;
/// Templates waited for that are listed.
const MAX_LISTED: usize = 20;
/// Kinds of other traffic that are counted separately.
const MAX_CONTENTS: usize = 256;

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
    /// Lines about totals.
    pub(super) notes: String,
    datagrams: u64,
    /// Those that are flow messages, whether they could be decoded or not.
    flow_messages: u64,
    /// What is in the files besides flow messages.
    contents: BTreeMap<Content, Found>,
    /// Who sent something that was decoded.
    exporters: BTreeSet<Option<IpAddr>>,
    /// Flow records by protocol and version.
    records: BTreeMap<(&'static str, i64), u64>,
    troubles: BTreeMap<&'static str, Trouble>,
    totals: BTreeMap<&'static str, u64>,
    waiting: BTreeMap<WaitedFor, (u64, u64)>,
}

/// Something that is no flow export.
#[derive(Debug)]
struct Found {
    count: u64,
    /// The first one's frame, and the index of its file.
    first: (u64, usize),
    source: Option<SocketAddr>,
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
        let file = self.files.len().saturating_sub(1);
        for (content, seen) in tally.contents() {
            self.found(content, seen.count, (seen.first_frame, file), None);
        }
    }

    fn found(
        &mut self,
        content: Content,
        count: u64,
        first: (u64, usize),
        source: Option<SocketAddr>,
    ) {
        if self.contents.len() >= MAX_CONTENTS && !self.contents.contains_key(&content) {
            return;
        }
        let found = self.contents.entry(content).or_insert(Found {
            count: 0,
            first,
            source,
        });
        found.count += count;
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
        payload: &UdpPayload<'_>,
        records: &Records,
    ) {
        let octets = payload.octets;
        self.datagrams += 1;
        let grew = |wanted: &str| since(counters, before).any(|(name, _)| name == wanted);
        let is_decoded = grew("datagrams_decoded");
        let ports = payload
            .addresses
            .map_or((0, 0), |(from, to)| (from.port(), to.port()));
        let content = Content::of_datagram(octets, ports.0, ports.1);
        // What is no flow message may still begin like one.
        let is_foreign = grew("datagrams_unknown_version") || matches!(content, Content::Udp(_));
        if is_decoded || !is_foreign {
            self.flow_messages += 1;
        } else {
            let first = (origin.frame, origin.file);
            self.found(content, 1, first, origin.source);
        }
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
                "{}bytes {}",
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

    /// 0 all was understood, 1 something was not, 2 a file could not be read or there was nothing to decode.
    pub(super) fn exit_code(&self) -> u8 {
        let failures = || self.files.iter().filter_map(|file| file.failure.as_ref());
        if failures().any(CaptureError::is_unreadable) || self.flow_messages == 0 {
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

    /// Lines for the user.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            file.describe(&mut text);
        }
        if self.flow_messages == 0 {
            self.describe_contents(&mut text);
            let losses = self.losses();
            if !losses.is_empty() {
                let _ = write!(text, "not read:\n{losses}");
            }
            return text;
        }
        self.describe_understood(&mut text);
        let mut wrong = self.losses();
        for (name, trouble) in &self.troubles {
            let known = TROUBLES.iter().find(|(known, _)| known == name);
            let what = known.map_or(*name, |(_, what)| what);
            let _ = writeln!(wrong, "  {what}: {}", trouble.count);
            for example in &trouble.examples {
                let _ = writeln!(wrong, "    {example}");
            }
            if *name == "datagrams_unknown_version" && !self.contents.is_empty() {
                let _ = writeln!(
                    wrong,
                    "    the capture also contains: {}",
                    self.other_contents()
                );
            }
        }
        self.describe_waiting(&mut wrong);
        if !wrong.is_empty() {
            let _ = write!(text, "not decoded:\n{wrong}");
        } else if self.exit_code() == 0 {
            text.push_str("everything was decoded\n");
        }
        text
    }

    /// Packets that could not be read, a line for each reason.
    fn losses(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            for (skipped, seen) in file.losses() {
                let frame = seen.first_frame;
                let _ = write!(text, "  {skipped}: {}, first frame {frame}", seen.count);
                if self.files.len() > 1 {
                    let _ = write!(text, " of {}", file.name);
                }
                text.push('\n');
            }
        }
        text
    }

    /// Why there was nothing to decode.
    fn describe_contents(&self, text: &mut String) {
        if self.files.iter().all(|file| file.is_unreadable()) {
            return;
        }
        self.describe_not_chosen(text);
        text.push_str("nothing to decode: no NetFlow, IPFIX or sFlow was found");
        if self.contents.is_empty() {
            text.push('\n');
            return;
        }
        text.push_str("; the capture contains:\n");
        for (content, found) in self.most_frequent().take(MAX_LISTED) {
            let (frame, file) = found.first;
            let _ = write!(
                text,
                "  {content}: {}, first frame {frame}",
                counted(found.count, "packet")
            );
            if let (Some(file), 2..) = (self.files.get(file), self.files.len()) {
                let _ = write!(text, " of {}", file.name);
            }
            if let Some(source) = found.source {
                let _ = write!(text, " from {source}");
            }
            text.push('\n');
        }
        if let Some(more @ 1..) = self.contents.len().checked_sub(MAX_LISTED) {
            let _ = writeln!(text, "  and {more} other kinds");
        }
    }

    fn other_contents(&self) -> String {
        let names = self
            .most_frequent()
            .take(5)
            .map(|(content, found)| format!("{content} ({})", found.count));
        names.collect::<Vec<_>>().join(", ")
    }

    fn most_frequent(&self) -> impl Iterator<Item = (&Content, &Found)> {
        let mut all: Vec<_> = self.contents.iter().collect();
        all.sort_by_key(|(_, found)| std::cmp::Reverse(found.count));
        all.into_iter()
    }

    fn describe_not_chosen(&self, text: &mut String) {
        if self.not_chosen > 0 {
            let payloads = counted(self.not_chosen, "UDP payload");
            let _ = writeln!(text, "excluded by --port: {payloads}");
        }
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
        self.describe_not_chosen(text);
        let filtered = total("records_filtered");
        if filtered > 0 {
            let records = counted(filtered, "further record");
            let _ = writeln!(text, "left out by --filter: {records}");
        }
        text.push_str(&self.notes);
        let notes = [
            (
                "times_suspect",
                "record",
                "with impossible or unknown times: netflow.time.suspect",
            ),
            (
                "sets_decoded_late",
                "set",
                "before the template, decoded when that came",
            ),
            (
                "withdrawals_ignored",
                "template withdrawal",
                "ignored, as the daemon does over UDP",
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
                counted(*octets, "byte"),
            );
        }
        if let Some(more @ 1..) = self.waiting.len().checked_sub(MAX_LISTED) {
            let _ = writeln!(text, "    and {more} more templates");
        }
    }
}

impl FileSummary {
    fn is_unreadable(&self) -> bool {
        self.failure
            .as_ref()
            .is_some_and(CaptureError::is_unreadable)
    }

    fn losses(&self) -> impl Iterator<Item = (Skipped, Seen)> {
        self.tally
            .skipped()
            .filter(|(skipped, _)| skipped.is_loss())
    }

    fn describe(&self, text: &mut String) {
        let tally = &self.tally;
        if !(self.is_unreadable() && tally.packets == 0) {
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
