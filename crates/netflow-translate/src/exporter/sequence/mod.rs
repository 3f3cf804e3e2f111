//! Loss by sequence numbers, each version in its own unit, tolerant of reordering, aware of restarts.
//!
//! v5 and v7 count flows, v9 export packets (RFC 3954, section 5.1), IPFIX Data Records (RFC 7011, section 3.1),
//! sFlow datagrams of a sub-agent. Exporters are found that count otherwise: each message's own records in
//! (softflowd, go-ipfix), templates too (nProbe), no options data, messages, or nothing. A unit that explains every step of a
//! session, where the version's own fails twice, is adopted.

use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use netflow_wire::{Header, Session, TemplateKey, Transport, Uptime, Version};

use crate::counters::traffic::Protocol;
use crate::counters::translate::TranslateCounters;

/// Counts by exporter: its ports, versions and domains.
const MAX_SEQUENCES: usize = 4096;
/// Of these so many go at once, those unused longest, so that a flood pays the search for them once in many.
const SHARE: usize = MAX_SEQUENCES / 16;

/// A jump further than this isn't loss but another count: a restart, or a forged datagram.
const MAX_GAP: u32 = 1 << 20;
/// A number this little behind is a datagram that was overtaken.
const MAX_LATE: u32 = 1 << 12;

/// What one sequence number says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing is missing, or that is unknown.
    Fine,
    /// So many units are missing before this message.
    Lost(u64),
    /// An overtaken message: its units were taken for lost before.
    Late,
    /// The exporter began anew.
    Restarted,
    /// The exporter counts in another unit than its version's own: nothing was lost, and nothing can be said of it.
    Adopted(Unit),
}

impl Verdict {
    /// Counts what is missing, or has come late, in the protocol's own unit; what is missing.
    pub(crate) fn count(
        self,
        counters: &TranslateCounters,
        protocol: Protocol,
        units: Option<u32>,
    ) -> Option<u64> {
        let (lost, late) = match protocol {
            Protocol::V9 => (&counters.lost_messages, &counters.late_messages),
            Protocol::Ipfix => (&counters.lost_records, &counters.late_records),
            Protocol::Sflow => (&counters.lost_datagrams, &counters.late_datagrams),
            _ => (&counters.lost_flows, &counters.late_flows),
        };
        match self {
            Self::Fine | Self::Adopted(_) => None,
            Self::Lost(units) => {
                lost.add(units);
                Some(units)
            }
            Self::Late => {
                late.add(u64::from(units.unwrap_or(0)));
                None
            }
            Self::Restarted => {
                counters.exporter_restarts.add(1);
                None
            }
        }
    }
}

/// What a message carried, in every unit that exporters count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Carried {
    /// In the version's own unit; `None`: not all could be counted.
    own: Option<u32>,
    /// Data Records, likewise.
    records: Option<u32>,
    /// Of these, flow records: the others are options data.
    flows: Option<u32>,
    /// And Template Records.
    templates: u32,
}

impl Carried {
    /// `records` is `None` where a Set could not be decoded; `options` of them are options data.
    pub(crate) fn new(header: &Header, records: Option<u32>, options: u32, templates: u32) -> Self {
        let records = match header.version {
            // What the exporter counted, even where the datagram held less.
            Version::V1 | Version::V5 | Version::V7 => Some(u32::from(header.count)),
            Version::V9 | Version::Ipfix => records,
        };
        let own = match header.version {
            Version::V9 => Some(1),
            _ => records,
        };
        Self {
            own,
            records,
            flows: records.map(|records| records.saturating_sub(options)),
            templates,
        }
    }

    /// Units of the version's own.
    pub(crate) fn units(&self) -> Option<u32> {
        self.own
    }
}

/// How an exporter counts that doesn't do it as its version says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Data Records, where the version counts messages.
    Records,
    /// Data Records, those of the message itself among them.
    RecordsIncluded,
    /// Flow records alone, without options data.
    Flows,
    /// Likewise, those of the message itself among them.
    FlowsIncluded,
    /// Template Records too.
    WithTemplates,
    /// Likewise, those of the message itself among them.
    WithTemplatesIncluded,
    /// Messages, where the version counts records.
    Messages,
    /// The number never changes.
    Constant,
}

impl Unit {
    const ALL: [Self; 8] = [
        Self::Records,
        Self::RecordsIncluded,
        Self::Flows,
        Self::FlowsIncluded,
        Self::WithTemplates,
        Self::WithTemplatesIncluded,
        Self::Messages,
        Self::Constant,
    ];

    /// By how much the number grows from one message to the next; `None`: it can't be said.
    fn step(self, from: Carried, to: Carried) -> Option<u32> {
        let with_templates = |of: Carried| Some(of.records?.wrapping_add(of.templates));
        match self {
            Self::Records => from.records,
            Self::RecordsIncluded => to.records,
            Self::Flows => from.flows,
            Self::FlowsIncluded => to.flows,
            Self::WithTemplates => with_templates(from),
            Self::WithTemplatesIncluded => with_templates(to),
            Self::Messages => Some(1),
            Self::Constant => Some(0),
        }
    }

    /// Exporters of a version are found that count so: templates are counted beside records only where records are
    /// the version's unit.
    fn is_of(self, version: Version) -> bool {
        match self {
            Self::WithTemplates | Self::WithTemplatesIncluded => version == Version::Ipfix,
            _ => true,
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::RecordsIncluded => "records, including those of the message itself",
            Self::Flows => "flow records, without options data",
            Self::FlowsIncluded => {
                "flow records, without options data, including those of the message itself"
            }
            Self::WithTemplates => "records and templates",
            Self::WithTemplatesIncluded => {
                "records and templates, including those of the message itself"
            }
            Self::Messages => "messages",
            Self::Constant => "nothing",
        }
    }
}

/// Units that explain every step so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Candidates(u16);

impl Default for Candidates {
    fn default() -> Self {
        Self((1 << Unit::ALL.len()) - 1)
    }
}

impl Candidates {
    /// Strikes out those that would have grown by something else. Where it can't be said, they stay.
    fn explain(&mut self, version: Version, grown: u32, from: Carried, to: Carried) {
        for (bit, unit) in Unit::ALL.iter().enumerate() {
            let is_other = unit.step(from, to).is_some_and(|step| step != grown);
            if is_other || !unit.is_of(version) {
                self.0 &= !(1 << bit);
            }
        }
    }

    fn first(self) -> Option<Unit> {
        let mut units = Unit::ALL.iter().enumerate();
        let (_, unit) = units.find(|(bit, _)| self.0 & 1 << bit != 0)?;
        Some(*unit)
    }
}

/// The count of one Transport Session and Observation Domain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    /// `None`: unknown until the next message.
    expected: Option<u32>,
    /// The last number and what came with it.
    last: Option<(u32, Carried)>,
    /// It is counted in another unit than the version's own: nothing can be said of loss.
    unit: Option<Unit>,
    candidates: Candidates,
    /// What is missing if the unit is the version's own, until that is known.
    pending: Option<u64>,
    /// The message just judged was the one that was missing.
    has_come_late: bool,
    pub(crate) boot: Boot,
}

impl Sequence {
    /// Judges a message when its records have been read. `restarted`: its uptime says that the exporter did.
    pub(crate) fn judge(&mut self, header: &Header, carried: Carried, restarted: bool) -> Verdict {
        let Some(sequence) = header.sequence else {
            return Verdict::Fine;
        };
        let verdict = match (restarted, self.unit) {
            _ if self.boot.is_shared() => Verdict::Fine,
            (true, _) => self.restart(),
            (false, Some(_)) => Verdict::Fine,
            (false, None) => self.judge_unit(header.version, sequence, carried),
        };
        let has_come_late = std::mem::take(&mut self.has_come_late);
        if verdict != Verdict::Late && !has_come_late {
            self.last = Some((sequence, carried));
            self.expected = carried.own.map(|units| sequence.wrapping_add(units));
        }
        verdict
    }

    fn restart(&mut self) -> Verdict {
        self.expected = None;
        self.last = None;
        self.pending = None;
        Verdict::Restarted
    }

    /// What is missing in the version's own unit, unless another unit explains all steps so far.
    fn judge_unit(&mut self, version: Version, sequence: u32, carried: Carried) -> Verdict {
        let Some((last, before)) = self.last else {
            return Verdict::Fine;
        };
        self.candidates
            .explain(version, sequence.wrapping_sub(last), before, carried);
        let own = self.compare(sequence);
        let Some(unit) = self.candidates.first() else {
            return match (own, self.pending.take()) {
                (Verdict::Fine, Some(missing)) if missing > 0 => Verdict::Lost(missing),
                (Verdict::Lost(units), missing) => Verdict::Lost(units + missing.unwrap_or(0)),
                (Verdict::Late, Some(missing)) if missing > 0 => {
                    // It was missing, and not yet reported.
                    self.has_come_late = true;
                    Verdict::Fine
                }
                (own, _) => own,
            };
        };
        if own == Verdict::Fine {
            // Both explain it.
            return own;
        }
        if self.pending.take().is_some() {
            self.unit = Some(unit);
            return Verdict::Adopted(unit);
        }
        self.pending = match own {
            Verdict::Lost(units) => Some(units),
            _ => Some(0),
        };
        Verdict::Fine
    }

    /// Judges a number by the expected one.
    fn compare(&mut self, sequence: u32) -> Verdict {
        let Some(expected) = self.expected else {
            return Verdict::Fine;
        };
        let ahead = sequence.wrapping_sub(expected);
        let behind = expected.wrapping_sub(sequence);
        if ahead == 0 {
            Verdict::Fine
        } else if ahead <= MAX_GAP {
            Verdict::Lost(u64::from(ahead))
        } else if behind <= MAX_LATE {
            Verdict::Late
        } else {
            self.expected = None;
            Verdict::Restarted
        }
    }

    /// Judges a number that counts by one, and what was sent with it.
    pub(crate) fn judge_number(&mut self, sequence: u32, heard: Heard) -> Verdict {
        if self.boot.has_restarted(heard) && self.expected.is_some() {
            return self.restart();
        }
        self.compare(sequence)
    }

    /// The number of the next message; `None`: unknown.
    pub(crate) fn expect(&mut self, sequence: Option<u32>) {
        self.expected = sequence;
    }
}

/// An uptime that goes back by no more than this, in milliseconds, is that of an overtaken datagram.
const MAX_BACK: i64 = 10_000;
/// An uptime that grows by this much more than the time between two messages, in milliseconds, hasn't wrapped.
const MAX_AHEAD: i64 = 60_000;
/// Uptimes that go back again within this are those of several engines behind one address.
const ENGINES: Duration = Duration::from_secs(600);

/// A number that is behind in a message exported later by this much, in milliseconds, was not overtaken.
const LATER: i64 = 2_000;
/// The time of the start moves by this much, in milliseconds, because export times are whole seconds.
const MAX_MOVED: i64 = 2_000;

/// What a message says of when its exporter started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) uptime_ms: Option<u32>,
    /// Nanoseconds since 1970.
    pub(crate) export_time: u64,
    pub(crate) sequence: Option<u32>,
}

impl From<&Header> for Heard {
    fn from(header: &Header) -> Self {
        Self {
            uptime_ms: header.sys_uptime_ms,
            export_time: header.export_time,
            sequence: header.sequence,
        }
    }
}

impl Heard {
    /// Milliseconds from the export of `before` to this.
    fn since(&self, before: &Self) -> i64 {
        let milliseconds = self.export_time.abs_diff(before.export_time) / 1_000_000;
        let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::MAX / 2);
        if self.export_time < before.export_time {
            -milliseconds
        } else {
            milliseconds
        }
    }

    /// Whether the exporter has restarted since `before`.
    fn is_after_restart(&self, before: &Self) -> bool {
        let elapsed = self.since(before);
        let uptimes = self.uptime_ms.zip(before.uptime_ms);
        let moved = uptimes.map(|(now, then)| {
            let grown = i64::from(now.wrapping_sub(then).cast_signed());
            (now < then, grown, elapsed - grown)
        });
        if let Some((is_less, grown, moved)) = moved {
            // Of an overtaken datagram the start doesn't move. After 49.7 days an uptime goes from the top to the bottom,
            // but only if as much time has passed as it grew by.
            let went_back = -grown > MAX_BACK && moved.abs() > MAX_BACK;
            let is_no_wrap = is_less && grown >= 0 && -moved > MAX_AHEAD;
            if went_back || is_no_wrap {
                return true;
            }
        }
        // An uptime that is short before and after the restart shows little of it; the numbers begin anew.
        let numbers = self.sequence.zip(before.sequence);
        numbers.is_some_and(|(now, then)| now.wrapping_sub(then).cast_signed() < 0)
            && elapsed >= LATER
            && moved.is_none_or(|(_, _, moved)| moved > MAX_MOVED)
    }
}

/// What the uptimes and sequence numbers of a session say of restarts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Boot {
    last: Option<Heard>,
    /// When a restart was seen, the last two times.
    back: [Option<Instant>; 2],
    /// A template came since.
    has_template: bool,
    /// Several engines send in this session.
    shared: bool,
}

/// What a message says of restarts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reboot {
    /// Nothing new.
    None,
    /// The exporter has restarted: what it said before doesn't hold.
    Restarted,
    /// It has not, nor had it before: several engines, each with its own uptime or numbers, send in this session.
    Engines,
}

impl Boot {
    /// Judges a message before its records are read.
    pub(crate) fn judge(&mut self, heard: Heard, now: Instant) -> Reboot {
        if !self.has_restarted(heard) || self.shared {
            return Reboot::None;
        }
        let recent = |then: Option<Instant>| {
            then.is_some_and(|then| now.saturating_duration_since(then) <= ENGINES)
        };
        let [last, before] = self.back;
        self.back = [Some(now), last];
        // Twice without a template, or three times in all.
        if recent(last) && (!self.has_template || recent(before)) {
            self.shared = true;
            return Reboot::Engines;
        }
        self.has_template = false;
        Reboot::Restarted
    }

    /// A template came in this session.
    pub(crate) fn template_came(&mut self) {
        self.has_template = true;
    }

    /// What was heard before the daemon was restarted; the newest counts.
    pub(crate) fn restore(&mut self, uptime: Uptime) {
        let is_older = |last: &Heard| last.export_time < uptime.export_time;
        if self.last.as_ref().is_none_or(is_older) {
            self.last = Some(Heard {
                uptime_ms: Some(uptime.ms),
                export_time: uptime.export_time,
                sequence: None,
            });
        }
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    fn has_restarted(&mut self, heard: Heard) -> bool {
        let before = self.last.replace(heard);
        before.is_some_and(|before| heard.is_after_restart(&before))
    }
}

/// A Transport Session's Observation Domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SequenceKey {
    port: u16,
    transport: Transport,
    version: Version,
    domain: u32,
}

impl SequenceKey {
    pub(crate) fn of(session: Session, header: &Header) -> Self {
        Self {
            port: session.port,
            transport: session.transport,
            version: header.version,
            domain: header.observation_domain,
        }
    }

    /// That of the messages which bring a template.
    pub(crate) fn of_template(key: &TemplateKey) -> Self {
        Self {
            port: key.session.port,
            transport: key.session.transport,
            version: key.version,
            domain: key.domain,
        }
    }
}

impl Hash for SequenceKey {
    /// In one write: every message is looked up by it.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let kinds = u64::from(self.version as u8) << 8 | u64::from(self.transport as u8);
        let place = u64::from(self.domain) << 16 | u64::from(self.port);
        state.write_u64(place << 16 | kinds);
    }
}

/// The counts of one exporter; the one unused longest makes room, and begins anew when it comes again.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    counts: HashMap<SequenceKey, (Sequence, u64), RandomState>,
    /// Counts uses, so that they have an order.
    uses: u64,
}

impl Sequences {
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// The count of a session and domain.
    pub(crate) fn of(&mut self, key: SequenceKey) -> &mut Sequence {
        if self.counts.len() >= MAX_SEQUENCES && !self.counts.contains_key(&key) {
            self.make_room();
        }
        self.uses += 1;
        let (sequence, used) = self.counts.entry(key).or_default();
        *used = self.uses;
        sequence
    }

    /// Forgets the counts of a session that has ended.
    pub(crate) fn end_session(&mut self, session: Session) {
        self.counts
            .retain(|key, _| (key.transport, key.port) != (session.transport, session.port));
    }

    #[cold]
    fn make_room(&mut self) {
        let mut uses: Vec<u64> = self.counts.values().map(|(_, used)| *used).collect();
        let (_, last_to_go, _) = uses.select_nth_unstable(SHARE - 1);
        let last_to_go = *last_to_go;
        self.counts.retain(|_, (_, used)| *used > last_to_go);
    }
}

#[cfg(test)]
mod tests;
