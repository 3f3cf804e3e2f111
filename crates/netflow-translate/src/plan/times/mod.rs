//! When a flow began and ended, from whichever time elements its record has.
//!
//! Sources: RFC 7011 section 6.1 (data types), RFC 5102 section 5.9 (elements 21, 22, 150–162), RFC 8158
//! (event times), RFC 3954 section 5.1 and Cisco's formats (sysUptime).

use netflow_wire::{Header, Location, Template, VARIABLE_LENGTH, unsigned};
use otlp_wire::UnixNanos;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// From 1900 to 1970 in seconds (RFC 5905).
const NTP_EPOCH: u64 = 2_208_988_800;
/// A flow that ended longer ago than this when its message left is not believed.
const MAX_AGE: u64 = 24 * 3600 * SECOND;
/// A flow that ends later than this after its message left is not believed.
const MAX_AHEAD: u64 = 60 * SECOND;

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

/// A field that tells a time.
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
    /// Element 161, and 162.
    duration_ms: Option<u16>,
    duration_us: Option<u16>,
    /// Element 160 in the record itself.
    init_time: Option<u16>,
    /// The usual case.
    plain: Option<Plain>,
}

/// Times as most exporters send them, where every record has them at the same place: start and end first among
/// the template's time fields, and both in the one unit.
#[derive(Clone, Copy, Debug)]
enum Plain {
    /// 22 and 21, of four octets.
    SysUptime { start_at: usize, end_at: usize },
    /// 152 and 153, of eight octets.
    Milliseconds { start_at: usize, end_at: usize },
}

impl Plain {
    fn new(template: &Template, starts: &[Source], ends: &[Source]) -> Option<Self> {
        if template.is_variable() {
            return None;
        }
        let (start, end) = (starts.first()?, ends.first()?);
        let place = |source: &Source| {
            let (before, rest) = template.fields.split_at_checked(source.field.into())?;
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
    /// As the exporter told them, where it did.
    pub(crate) told_start: Option<UnixNanos>,
    pub(crate) told_end: Option<UnixNanos>,
    /// What was told is implausible or couldn't be derived.
    pub(crate) suspect: bool,
}

impl TimePlan {
    pub(crate) fn new(template: &Template) -> Self {
        let field = |element: u16| {
            let found = template.fields.iter().position(|field| {
                field.enterprise == 0
                    && field.element == element
                    && !matches!(field.length, 0 | VARIABLE_LENGTH)
            })?;
            u16::try_from(found).ok()
        };
        let sources = |table: &[(u16, Unit)]| {
            table
                .iter()
                .filter_map(|(element, unit)| {
                    Some(Source {
                        unit: *unit,
                        field: field(*element)?,
                    })
                })
                .collect()
        };
        let (starts, ends): (Vec<_>, Vec<_>) = (sources(STARTS), sources(ENDS));
        Self {
            plain: Plain::new(template, &starts, &ends),
            starts,
            ends,
            events: sources(EVENTS),
            duration_ms: field(161),
            duration_us: field(162),
            init_time: field(160),
        }
    }

    /// The fields that tell start and end where nothing is zero.
    pub(crate) fn first_fields(&self) -> impl Iterator<Item = u16> {
        [self.starts.first(), self.ends.first()]
            .into_iter()
            .flatten()
            .map(|source| source.field)
    }

    /// The times of one record as [`read`](Self::read) gives them, if it is of fixed length and its times are as
    /// most exporters send them, and plausible.
    #[inline(always)]
    pub(crate) fn read_plain(&self, record: &[u8], header: &Header) -> Option<FlowTimes> {
        let (start, end) = match self.plain? {
            Plain::SysUptime { start_at, end_at } => {
                let uptime = header.sys_uptime_ms?;
                let time = |at: usize| {
                    let told = u32::from_be_bytes(*record.get(at..)?.first_chunk()?);
                    Some(before(header.export_time, uptime, told))
                };
                (time(start_at)?, time(end_at)?)
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
        plausible(start, end, header.export_time).then_some(FlowTimes {
            start: UnixNanos(start),
            end: UnixNanos(end),
            told_start: Some(UnixNanos(start)),
            told_end: Some(UnixNanos(end)),
            suspect: false,
        })
    }

    /// The times of one record. `init_time` is what the exporter's options data say of its start
    /// (element 160), in milliseconds since 1970.
    #[inline(never)]
    pub(crate) fn read(
        &self,
        record: &[u8],
        locations: &[Location],
        header: &Header,
        init_time: Option<u64>,
    ) -> FlowTimes {
        let value = |field: u16| {
            locations
                .get(usize::from(field))
                .map_or(0, |at| unsigned(at.of(record)))
        };
        let export = header.export_time;
        let boot = match header.sys_uptime_ms {
            Some(uptime) => Boot::Uptime(uptime),
            None => match self.init_time.map(value).or(init_time) {
                Some(ms) => Boot::At(ms.saturating_mul(MILLISECOND)),
                None => Boot::Unknown,
            },
        };
        let (start, end) = (pick(&self.starts, value), pick(&self.ends, value));
        if let (Boot::Unknown, Some((Unit::SysUptime, first)), Some((Unit::SysUptime, last))) =
            (boot, start, end)
        {
            // Only the duration is known: the flow is put before the export.
            let duration = u64::from((last as u32).wrapping_sub(first as u32)) * MILLISECOND;
            let duration = if duration > MAX_AGE { 0 } else { duration };
            return FlowTimes {
                start: UnixNanos(export.saturating_sub(duration)),
                end: UnixNanos(export),
                told_start: None,
                told_end: None,
                suspect: true,
            };
        }
        let absolute = |told: Option<(Unit, u64)>| {
            told.and_then(|(unit, value)| to_unix(unit, value, export, boot))
        };
        let (mut told_start, mut told_end) = (absolute(start), absolute(end));
        if told_start.is_none() || told_end.is_none() {
            let duration = match (self.duration_ms, self.duration_us) {
                (Some(field), _) => Some(value(field).saturating_mul(MILLISECOND)),
                (None, Some(field)) => Some(value(field).saturating_mul(1000)),
                _ => None,
            };
            let event = absolute(pick(&self.events, value));
            match (told_start, told_end, duration) {
                (Some(start), None, Some(duration)) => {
                    told_end = Some(start.saturating_add(duration));
                }
                (None, Some(end), Some(duration)) => {
                    told_start = Some(end.saturating_sub(duration));
                }
                (Some(start), None, None) => {
                    let end = event.unwrap_or(start);
                    return judged(Some(start), event, start, end, export, false);
                }
                (None, Some(end), None) => {
                    return judged(None, Some(end), end, end, export, false);
                }
                (None, None, _) => {
                    // Without any time it is the message's; 21 or 22 without a base can't be told.
                    let underivable = start.is_some() || end.is_some();
                    let at = event.unwrap_or(export);
                    return judged(event, event, at, at, export, underivable && event.is_none());
                }
                _ => {}
            }
        }
        let (start, end) = (told_start.unwrap_or(export), told_end.unwrap_or(export));
        judged(told_start, told_end, start, end, export, false)
    }
}

#[derive(Clone, Copy, Debug)]
enum Boot {
    /// Milliseconds it has been up at the export time.
    Uptime(u32),
    /// It started then.
    At(u64),
    Unknown,
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

/// When an exporter had been up for `value` milliseconds, if it has been up for `uptime` at the export time.
#[inline]
fn before(export: u64, uptime: u32, value: u32) -> u64 {
    // Modulo 2^32 ms, half of it for each side: a wrap is the past, a clock slightly ahead isn't.
    let ago = i64::from(uptime.wrapping_sub(value).cast_signed());
    export.saturating_add_signed(-ago * MILLISECOND as i64)
}

#[inline]
fn to_unix(unit: Unit, value: u64, export: u64, boot: Boot) -> Option<u64> {
    Some(match unit {
        Unit::Seconds => value.saturating_mul(SECOND),
        Unit::Milliseconds => value.saturating_mul(MILLISECOND),
        Unit::DeltaMicroseconds => export.saturating_sub(value.saturating_mul(1000)),
        Unit::Ntp(nanos_each) => {
            let time = from_ntp(value, export);
            let count = value.saturating_mul(nanos_each);
            // Which of the two was meant only one of them can be near the export.
            if is_near(time, export) || !is_near(count, export) {
                time
            } else {
                count
            }
        }
        Unit::SysUptime => match boot {
            Boot::Unknown => return None,
            Boot::Uptime(uptime) => before(export, uptime, value as u32),
            Boot::At(start) => {
                let time = start.saturating_add(value.saturating_mul(MILLISECOND));
                // The counter has wrapped as often as brings the time nearest before the export.
                let wrap = (1_u64 << 32) * MILLISECOND;
                let wraps = (export.saturating_add(MAX_AHEAD)).saturating_sub(time) / wrap;
                time.saturating_add(wraps * wrap)
            }
        },
    })
}

/// A time that a flow of this message may have.
fn is_near(time: u64, export: u64) -> bool {
    time <= export.saturating_add(MAX_AHEAD) && time >= export.saturating_sub(MAX_AGE)
}

/// An NTP time-stamp in the era that runs until 2036.
pub(crate) fn ntp_to_unix_nanos(value: u64) -> u64 {
    from_ntp(value, 0)
}

/// An NTP time-stamp in the era that brings it nearest to the export time (RFC 5905, section 6: eras of 2^32 s).
fn from_ntp(value: u64, export: u64) -> u64 {
    let fraction = (value & 0xffff_ffff) * SECOND;
    // Rounded to nearest, so that whole microseconds come out whole.
    let nanos = (fraction + (1 << 31)) >> 32;
    let seconds = value >> 32;
    let near = export / SECOND + NTP_EPOCH;
    let era = 1_u64 << 32;
    let base = near & !(era - 1);
    let mut best = base | seconds;
    for candidate in [best.wrapping_sub(era), best.wrapping_add(era)] {
        if candidate < era << 8 && candidate.abs_diff(near) < best.abs_diff(near) {
            best = candidate;
        }
    }
    best.saturating_sub(NTP_EPOCH)
        .saturating_mul(SECOND)
        .saturating_add(nanos)
}

#[inline]
fn plausible(start: u64, end: u64, export: u64) -> bool {
    start <= end && end <= export.saturating_add(MAX_AHEAD) && end >= export.saturating_sub(MAX_AGE)
}

/// Judges what was told against the export time; gives an implausible flow a usable time.
#[inline]
fn judged(
    told_start: Option<u64>,
    told_end: Option<u64>,
    start: u64,
    end: u64,
    export: u64,
    suspect: bool,
) -> FlowTimes {
    let plausible = plausible(start, end, export);
    let (usable_start, usable_end) = if plausible {
        (start, end)
    } else {
        // The duration is kept where it makes sense.
        let duration = end
            .checked_sub(start)
            .filter(|duration| *duration <= MAX_AGE)
            .unwrap_or(0);
        (export.saturating_sub(duration), export)
    };
    FlowTimes {
        start: UnixNanos(usable_start),
        end: UnixNanos(usable_end),
        told_start: told_start.map(UnixNanos),
        told_end: told_end.map(UnixNanos),
        suspect: suspect || !plausible,
    }
}

#[cfg(test)]
mod tests;
