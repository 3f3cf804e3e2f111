//! When a flow began and ended, from whichever time elements its record has.
//!
//! Sources: RFC 7011 section 6.1 (data types), RFC 5102 section 5.9 (elements 21, 22, 150–162), RFC 8158
//! (event times), RFC 3954 section 5.1 and Cisco's formats (sysUptime).

mod instants;

use netflow_wire::{FieldSpecifier, Header, Location, Template, VARIABLE_LENGTH, unsigned};
use otlp_wire::UnixNanos;

use self::instants::{Boot, before, is_near, to_unix};
pub(crate) use self::instants::{is_same_boot, ntp_to_unix_nanos};
use crate::plan::MAX_REPEATED;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// A flow that ended longer ago than this when its message left is not believed.
const MAX_AGE: u64 = 24 * 3600 * SECOND;
/// A flow that ends later than this after its message left is not believed.
const MAX_AHEAD: u64 = 60 * SECOND;
/// A flow that starts by less than this after its end has no length: clocks of different processors differ.
const MAX_BEHIND: u64 = 60 * SECOND;
/// When export time and receive time are further apart than this, times near the receive time are believed too.
const CLOCKS_APART: u64 = 24 * 3600 * SECOND;
/// The longest flow that two uptimes of 32 bits can express, in milliseconds: 49 days. What would be longer, up to the
/// 49.7 days of a whole turn, is a flow that ends before it starts.
const LONGEST: u32 = 49 * 24 * 3600 * 1000;
/// A whole turn of a 32-bit uptime.
const TURN: u64 = (1 << 32) * MILLISECOND;

/// How a time field is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Since 1970.
    Seconds,
    Milliseconds,
    /// Since 1900, with a fraction of 2^32 (RFC 7011, sections 6.1.9 and 6.1.10); or, of exporters that don't know
    /// it, so many nanoseconds each since 1970.
    Ntp(u64),
    /// Microseconds before the message's export time.
    DeltaMicroseconds,
    /// Milliseconds since the exporter's start.
    SysUptime,
}

impl Unit {
    /// Since a fixed date: zero is none that a flow can have.
    fn is_absolute(self) -> bool {
        matches!(self, Self::Seconds | Self::Milliseconds | Self::Ntp(_))
    }

    /// The resolution of its times. Uptimes are relative to the whole second of a message's header.
    fn resolution(self) -> u64 {
        match self {
            Self::Seconds | Self::SysUptime => SECOND,
            Self::Milliseconds => MILLISECOND,
            Self::DeltaMicroseconds => 1000,
            Self::Ntp(nanos_each) => nanos_each,
        }
    }
}

/// What the times of a record are relative to, or judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks<'a> {
    pub(crate) header: &'a Header,
    /// When the message came.
    pub(crate) received: UnixNanos,
    /// What options data say of the exporter's start (element 160), in milliseconds since 1970.
    pub(crate) init_time: Option<u64>,
}

/// A field with a time.
#[derive(Clone, Copy, Debug)]
struct Source {
    unit: Unit,
    field: u16,
}

/// The time fields of a template, in order of preference.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimePlan {
    starts: Vec<Source>,
    ends: Vec<Source>,
    events: Vec<Source>,
    /// Elements 161 and 162, and the nanoseconds of their unit.
    durations: Vec<(u16, u64)>,
    /// Element 160 in the record itself.
    init_times: Vec<u16>,
    /// The usual case.
    plain: Option<Plain>,
}

/// Times as most exporters send them, where every record has them at the same place, before any field of variable length:
/// start and end first among the template's time fields, and both in the one unit.
#[derive(Clone, Copy, Debug)]
enum Plain {
    /// 22 and 21, of four octets.
    SysUptime { start_at: usize, end_at: usize },
    /// 152 and 153, of eight octets.
    Milliseconds { start_at: usize, end_at: usize },
}

impl Plain {
    fn new(template: &Template, starts: &[Source], ends: &[Source]) -> Option<Self> {
        let (start, end) = (starts.first()?, ends.first()?);
        let place = |source: &Source| {
            let (before, rest) = template.fields.split_at_checked(source.field.into())?;
            let is_variable = |field: &FieldSpecifier| field.length == VARIABLE_LENGTH;
            if before.iter().any(is_variable) {
                return None;
            }
            let at = before.iter().map(|field| usize::from(field.length)).sum();
            Some((at, rest.first()?.length))
        };
        let ((start_at, start_octets), (end_at, end_octets)) = (place(start)?, place(end)?);
        match (start.unit, end.unit, start_octets, end_octets) {
            (Unit::SysUptime, Unit::SysUptime, 4, 4) => Some(Self::SysUptime { start_at, end_at }),
            (Unit::Milliseconds, Unit::Milliseconds, 8, 8) => {
                Some(Self::Milliseconds { start_at, end_at })
            }
            _ => None,
        }
    }
}

/// Preference: the finest first.
pub(crate) const STARTS: &[(u16, Unit)] = &[
    (156, Unit::Ntp(1)),
    (154, Unit::Ntp(1_000)),
    (152, Unit::Milliseconds),
    (150, Unit::Seconds),
    (158, Unit::DeltaMicroseconds),
    (22, Unit::SysUptime),
];
pub(crate) const ENDS: &[(u16, Unit)] = &[
    (157, Unit::Ntp(1)),
    (155, Unit::Ntp(1_000)),
    (153, Unit::Milliseconds),
    (151, Unit::Seconds),
    (159, Unit::DeltaMicroseconds),
    (21, Unit::SysUptime),
];
pub(crate) const EVENTS: &[(u16, Unit)] = &[
    (325, Unit::Ntp(1)),
    (324, Unit::Ntp(1_000)),
    (323, Unit::Milliseconds),
    (322, Unit::Seconds),
];

/// A flow's times, ready for a span.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FlowTimes {
    /// Usable: never after `end`, near the export time.
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
    /// As exported, if they were.
    pub(crate) told_start: Option<UnixNanos>,
    pub(crate) told_end: Option<UnixNanos>,
    /// The exported times are implausible, or couldn't be derived.
    pub(crate) suspect: bool,
}

/// Of a flow's times what every flow needs, small enough for registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TimeSpan {
    /// As in [`FlowTimes`].
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
    pub(crate) suspect: bool,
}

impl TimeSpan {
    /// Nanoseconds; 0 where the times are not believed.
    #[inline(always)]
    pub(crate) fn duration(&self) -> u64 {
        match self.suspect {
            true => 0,
            false => self.end.0.saturating_sub(self.start.0),
        }
    }
}

impl FlowTimes {
    pub(crate) fn span(&self) -> TimeSpan {
        TimeSpan {
            start: self.start,
            end: self.end,
            suspect: self.suspect,
        }
    }
}

/// Times that are used as they were told.
impl From<TimeSpan> for FlowTimes {
    fn from(span: TimeSpan) -> Self {
        Self {
            start: span.start,
            end: span.end,
            told_start: Some(span.start),
            told_end: Some(span.end),
            suspect: span.suspect,
        }
    }
}

impl TimePlan {
    pub(crate) fn new(template: &Template) -> Self {
        let every = |element: u16| {
            let fields = template.fields.iter().zip(0_u16..);
            let of = fields.filter(move |(field, _)| {
                field.enterprise == 0 && field.element == element && field.length != 0
            });
            of.map(|(_, index)| index).take(MAX_REPEATED)
        };
        let sources = |table: &[(u16, Unit)]| {
            table
                .iter()
                .flat_map(|(element, unit)| {
                    every(*element).map(|field| Source { unit: *unit, field })
                })
                .collect()
        };
        let (starts, ends): (Vec<_>, Vec<_>) = (sources(STARTS), sources(ENDS));
        Self {
            plain: Plain::new(template, &starts, &ends),
            starts,
            ends,
            events: sources(EVENTS),
            durations: [(161, MILLISECOND), (162, 1000)]
                .iter()
                .flat_map(|(element, unit)| every(*element).map(|field| (field, *unit)))
                .collect(),
            init_times: every(160).collect(),
        }
    }

    /// The fields for start and end if none is zero.
    pub(crate) fn first_fields(&self) -> impl Iterator<Item = u16> {
        [self.starts.first(), self.ends.first()]
            .into_iter()
            .flatten()
            .map(|source| source.field)
    }

    /// The times of one record as [`read`](Self::read) gives them, if they are as most exporters send them, at the same
    /// place in every record, and plausible.
    #[inline(always)]
    pub(crate) fn read_plain(&self, record: &[u8], header: &Header) -> Option<TimeSpan> {
        let (start, end) = match self.plain? {
            Plain::SysUptime { start_at, end_at } => {
                let uptime = header.sys_uptime_ms?;
                let told = |at: usize| Some(u32::from_be_bytes(*record.get(at..)?.first_chunk()?));
                let (first, last) = (told(start_at)?, told(end_at)?);
                let duration = last.wrapping_sub(first);
                if duration > LONGEST {
                    return None;
                }
                let end = before(header.export_time, uptime, last);
                (end.saturating_sub(u64::from(duration) * MILLISECOND), end)
            }
            Plain::Milliseconds { start_at, end_at } => {
                let time = |at: usize| {
                    let told = u64::from_be_bytes(*record.get(at..)?.first_chunk()?);
                    // Of zero other fields may know better.
                    (told != 0).then_some(told)?.checked_mul(MILLISECOND)
                };
                (time(start_at)?, time(end_at)?)
            }
        };
        (start <= end && is_near(end, header.export_time)).then_some(TimeSpan {
            start: UnixNanos(start),
            end: UnixNanos(end),
            suspect: false,
        })
    }

    /// The times of one record.
    #[inline(never)]
    pub(crate) fn read(
        &self,
        record: &[u8],
        locations: &[Location],
        clocks: Clocks<'_>,
    ) -> FlowTimes {
        let value = |field: u16| {
            locations
                .get(usize::from(field))
                .map_or(0, |at| unsigned(at.of(record)))
        };
        let header = clocks.header;
        let (export, received) = (header.export_time, clocks.received.0);
        let boot = match header.sys_uptime_ms {
            Some(uptime) => Boot::Uptime(uptime),
            None => {
                let own = self.init_times.iter().map(|field| value(*field));
                let own = { own }.find(|ms| *ms != 0);
                let told = own.or(clocks.init_time);
                told.map_or(Boot::Unknown, |ms| Boot::At(ms.saturating_mul(MILLISECOND)))
            }
        };
        let mut times = [pick(&self.starts, value), pick(&self.ends, value)];
        // 1970 is no time of a flow: what is zero stands where nothing was known.
        let zeros = times.map(is_nothing);
        for (time, _) in times.iter_mut().zip(zeros).filter(|(_, zero)| *zero) {
            *time = None;
        }
        let [start, end] = times;
        if let (Boot::Unknown, Some((Unit::SysUptime, first)), Some((Unit::SysUptime, last))) =
            (boot, start, end)
        {
            // Only the duration is known: the flow is put before the export.
            let duration = (last as u32).wrapping_sub(first as u32);
            let duration = if duration > LONGEST { 0 } else { duration };
            let duration = u64::from(duration) * MILLISECOND;
            return FlowTimes {
                start: UnixNanos(export.saturating_sub(duration)),
                end: UnixNanos(export),
                told_start: None,
                told_end: None,
                suspect: true,
            };
        }
        let told = |near: u64| self.told(value, times, zeros, export, near, boot);
        let by_export = told(export);
        if by_export.is_plausible(export) || export.abs_diff(received) <= CLOCKS_APART {
            return by_export.judged(export, export);
        }
        // The header's clock is far off: the flow's own times may still be right.
        let by_receipt = told(received);
        if by_receipt.is_plausible(received) {
            return by_receipt.judged(received, export);
        }
        by_export.judged(export, export)
    }

    /// The values of one record's fields; a time that is not unique is the one nearest to `near`. `zeros`: which were
    /// zero, and are left out.
    fn told(
        &self,
        value: impl Fn(u16) -> u64 + Copy,
        [start, end]: [Option<(Unit, u64)>; 2],
        zeros: [bool; 2],
        export: u64,
        near: u64,
        boot: Boot,
    ) -> Told {
        let absolute = |told: Option<(Unit, u64)>| {
            told.and_then(|(unit, value)| to_unix(unit, value, export, near, boot))
        };
        let (mut told_start, mut told_end) = (absolute(start), absolute(end));
        let mut lacks = zeros.contains(&true);
        // An uptime without a base can't be converted.
        let mut underivable =
            start.is_some() != told_start.is_some() || end.is_some() != told_end.is_some();
        let mut turned = false;
        if let (Some((Unit::SysUptime, first)), Some(end_nanos), true) =
            (start, told_end, told_start.is_some())
        {
            (told_start, turned) = match end {
                Some((Unit::SysUptime, last)) => start_of(first as u32, last as u32, end_nanos),
                _ => (told_start.map(|start| last_before(start, end_nanos)), false),
            };
        }
        let resolution = match (start, end) {
            (Some((one, _)), Some((other, _))) if one != other => {
                one.resolution().max(other.resolution())
            }
            _ => 1,
        };
        let durations = self.durations.iter();
        let mut durations = durations.map(|(field, unit)| value(*field).saturating_mul(*unit));
        let duration = { durations.clone() }
            .find(|duration| *duration != 0)
            .or_else(|| durations.next());
        let (mut start_at, mut end_at) = (told_start, told_end);
        match (told_start, told_end, duration) {
            (Some(_), Some(_), _) => {}
            (Some(start), None, Some(duration)) => {
                told_end = Some(start.saturating_add(duration));
                end_at = told_end;
                lacks = false;
            }
            (None, Some(end), Some(duration)) => {
                told_start = Some(end.saturating_sub(duration));
                start_at = told_start;
                lacks = false;
            }
            (Some(start), None, None) => {
                told_end = absolute(pick(&self.events, value));
                end_at = told_end.or(Some(start));
                lacks &= told_end.is_none();
            }
            (None, Some(end), None) => start_at = Some(end),
            (None, None, _) => {
                let event = absolute(pick(&self.events, value));
                (told_start, told_end) = (event, event);
                // Without any time it is the message's, and of a duration alone the end.
                let lasted = duration.filter(|_| event.is_none()).unwrap_or(0);
                end_at = event.or(Some(export));
                start_at = end_at.map(|end| end.saturating_sub(lasted));
                underivable &= event.is_none();
                lacks &= event.is_none();
            }
        }
        let [zero_start, zero_end] = zeros.map(|zero| zero.then_some(0));
        Told {
            start: start_at.unwrap_or(export),
            end: end_at.unwrap_or(export),
            told_start: told_start.or(zero_start),
            told_end: told_end.or(zero_end),
            resolution,
            is_suspect: underivable || turned || lacks,
            turned,
        }
    }
}

/// A record's times before they are judged.
#[derive(Clone, Copy, Debug)]
struct Told {
    start: u64,
    end: u64,
    told_start: Option<u64>,
    told_end: Option<u64>,
    /// Of the coarser of two units, in nanoseconds; 1 where they are of one unit.
    resolution: u64,
    /// Something can't be derived.
    is_suspect: bool,
    /// The start lies after the end, by uptimes that could also mean a flow of nearly a whole turn.
    turned: bool,
}

impl Told {
    #[inline]
    fn is_plausible(&self, by: u64) -> bool {
        let start = self.start - self.start % self.resolution;
        (start <= self.end - self.end % self.resolution || self.turned) && is_near(self.end, by)
    }

    /// Judges the times by a clock; an implausible flow is given a usable time, which ends at the export.
    fn judged(self, by: u64, export: u64) -> FlowTimes {
        let is_plausible = self.is_plausible(by);
        let is_little_behind =
            self.start > self.end && self.start - self.end < MAX_BEHIND && is_near(self.end, by);
        let (start, end) = if is_plausible && !self.turned {
            // An end that was cut to a whole second isn't before its start.
            (self.start, self.end.max(self.start))
        } else if is_plausible || is_little_behind {
            (self.end, self.end)
        } else {
            // The duration is kept where it makes sense.
            let duration = self
                .end
                .checked_sub(self.start)
                .filter(|duration| *duration <= MAX_AGE)
                .unwrap_or(0);
            (export.saturating_sub(duration), export)
        };
        FlowTimes {
            start: UnixNanos(start),
            end: UnixNanos(end),
            told_start: self.told_start.map(UnixNanos),
            told_end: self.told_end.map(UnixNanos),
            suspect: self.is_suspect || !is_plausible,
        }
    }
}

/// When a flow started that ended at `end`, both given as uptimes; and whether the start lies behind the end.
fn start_of(first: u32, last: u32, end: u64) -> (Option<u64>, bool) {
    let duration = last.wrapping_sub(first);
    if duration > LONGEST {
        let after = u64::from(first.wrapping_sub(last)) * MILLISECOND;
        return (Some(end.saturating_add(after)), true);
    }
    (
        Some(end.saturating_sub(u64::from(duration) * MILLISECOND)),
        false,
    )
}

/// A start that is known but for whole turns of the uptime: the last one that doesn't lie behind the end.
fn last_before(start: u64, end: u64) -> u64 {
    // Both are relative to whole seconds.
    let end = end.saturating_add(SECOND);
    if start > end {
        start.saturating_sub((start - end).div_ceil(TURN).saturating_mul(TURN))
    } else {
        start + (end - start) / TURN * TURN
    }
}

/// Zero, of a time that counts from a fixed date.
fn is_nothing(time: Option<(Unit, u64)>) -> bool {
    time.is_some_and(|(unit, told)| unit.is_absolute() && told == 0)
}

/// The first that is not zero, else the first.
#[inline]
fn pick(sources: &[Source], value: impl Fn(u16) -> u64) -> Option<(Unit, u64)> {
    let mut first = None;
    for source in sources {
        let told = value(source.field);
        if told != 0 || source.unit == Unit::SysUptime {
            return Some((source.unit, told));
        }
        first = first.or(Some((source.unit, told)));
    }
    first
}

#[cfg(test)]
mod tests;
