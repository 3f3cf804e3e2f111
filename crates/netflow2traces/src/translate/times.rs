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
    /// Since 1900, with a fraction of 2^32 (RFC 7011, sections 6.1.9 and 6.1.10).
    Ntp,
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
}

/// Preference: the finest first.
pub(crate) const STARTS: &[(u16, Unit)] = &[
    (156, Unit::Ntp),
    (154, Unit::Ntp),
    (152, Unit::Milliseconds),
    (150, Unit::Seconds),
    (158, Unit::DeltaMicroseconds),
    (22, Unit::SysUptime),
];
pub(crate) const ENDS: &[(u16, Unit)] = &[
    (157, Unit::Ntp),
    (155, Unit::Ntp),
    (153, Unit::Milliseconds),
    (151, Unit::Seconds),
    (159, Unit::DeltaMicroseconds),
    (21, Unit::SysUptime),
];
pub(crate) const EVENTS: &[(u16, Unit)] = &[
    (325, Unit::Ntp),
    (324, Unit::Ntp),
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
        Self {
            starts: sources(STARTS),
            ends: sources(ENDS),
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

    /// The times of one record. `init_time` is what the exporter's options data say of its start
    /// (element 160), in milliseconds since 1970.
    #[inline]
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

#[inline]
fn to_unix(unit: Unit, value: u64, export: u64, boot: Boot) -> Option<u64> {
    Some(match unit {
        Unit::Seconds => value.saturating_mul(SECOND),
        Unit::Milliseconds => value.saturating_mul(MILLISECOND),
        Unit::DeltaMicroseconds => export.saturating_sub(value.saturating_mul(1000)),
        Unit::Ntp => from_ntp(value, export),
        Unit::SysUptime => match boot {
            Boot::Unknown => return None,
            Boot::Uptime(uptime) => {
                // Modulo 2^32 ms, half of it for each side: a wrap is the past, a clock slightly ahead isn't.
                let ago = i64::from(uptime.wrapping_sub(value as u32).cast_signed());
                export.saturating_add_signed(-ago * MILLISECOND as i64)
            }
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
    let plausible = start <= end
        && end <= export.saturating_add(MAX_AHEAD)
        && end >= export.saturating_sub(MAX_AGE);
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
mod tests {
    use netflow_wire::{FieldSpecifier, Version};

    use super::*;

    /// 2023-11-14 22:13:20 UTC.
    const EXPORT: u64 = 1_700_000_000;
    const MINUTE: u64 = 60;

    fn header(version: Version, uptime_ms: Option<u32>) -> Header {
        Header {
            version,
            count: 1,
            sys_uptime_ms: uptime_ms,
            export_time: EXPORT * SECOND,
            sequence: None,
            observation_domain: 0,
            sampling: None,
        }
    }

    const IPFIX: Version = Version::Ipfix;

    /// Reads a record of (element, octets, value).
    fn read_with(header: &Header, init_time: Option<u64>, fields: &[(u16, u16, u64)]) -> FlowTimes {
        let specifiers: Vec<_> = fields
            .iter()
            .map(|(element, length, _)| FieldSpecifier::iana(*element, *length))
            .collect();
        let template = Template::new(header.version, 256, None, specifiers);
        let mut record = Vec::new();
        for (_, length, value) in fields {
            let octets = value.to_be_bytes();
            record.extend(&octets[8 - usize::from(*length)..]);
        }
        let mut locations = Vec::new();
        template.locate(&record, &mut locations).unwrap();
        TimePlan::new(&template).read(&record, &locations, header, init_time)
    }

    fn read(fields: &[(u16, u16, u64)]) -> FlowTimes {
        read_with(&header(IPFIX, None), None, fields)
    }

    /// Start and end of believed times, in nanoseconds before the export time.
    fn before(times: FlowTimes) -> (i64, i64) {
        assert!(!times.suspect, "{times:?}");
        let ago = |time: UnixNanos| (EXPORT * SECOND).cast_signed() - time.0.cast_signed();
        (ago(times.start), ago(times.end))
    }

    fn ntp(seconds: u64, fraction: u64) -> u64 {
        (seconds + NTP_EPOCH) << 32 | fraction
    }

    const MS: i64 = MILLISECOND as i64;
    const S: i64 = SECOND as i64;

    #[test]
    fn every_element_is_read_in_its_unit() {
        let ms = EXPORT * 1000;
        type Fields = [(u16, u16, u64); 2];
        let cases: [(Fields, (i64, i64)); 7] = [
            ([(150, 4, EXPORT - 9), (151, 4, EXPORT - 2)], (9 * S, 2 * S)),
            (
                [(152, 8, ms - 900), (153, 8, ms - 100)],
                (900 * MS, 100 * MS),
            ),
            (
                [
                    (154, 8, ntp(EXPORT - 2, 1 << 31)),
                    (155, 8, ntp(EXPORT - 1, 0)),
                ],
                (1500 * MS, S),
            ),
            (
                [
                    (156, 8, ntp(EXPORT - 2, 1 << 30)),
                    (157, 8, ntp(EXPORT - 1, 0)),
                ],
                (1750 * MS, S),
            ),
            ([(158, 4, 5000), (159, 4, 2000)], (5 * MS, 2 * MS)),
            ([(158, 2, 5000), (153, 8, ms)], (5 * MS, 0)),
            // Reduced size.
            ([(152, 6, ms - 900), (153, 6, ms)], (900 * MS, 0)),
        ];
        for (fields, expected) in cases {
            assert_eq!(before(read(&fields)), expected, "{fields:?}");
        }
        let uptime = header(Version::V9, Some(1_000_000));
        let times = read_with(&uptime, None, &[(22, 4, 990_000), (21, 4, 999_500)]);
        assert_eq!(before(times), (10_000 * MS, 500 * MS));
    }

    #[test]
    fn whole_microseconds_come_out_whole() {
        for micros in [1_u64, 3, 7, 123_456, 999_999] {
            let fraction = ((micros << 32) + 500_000) / 1_000_000;
            let times = read(&[
                (154, 8, ntp(EXPORT - 1, fraction)),
                (155, 8, ntp(EXPORT, 0)),
            ]);
            assert_eq!(times.start.0 % SECOND, micros * 1000);
        }
    }

    #[test]
    fn the_finest_that_is_not_zero_is_taken() {
        let ms = EXPORT * 1000;
        let times = read(&[
            (150, 4, EXPORT - 5),
            (152, 8, ms - 4200),
            (153, 8, ms),
            (151, 4, EXPORT),
        ]);
        assert_eq!(before(times), (4200 * MS, 0));
        let times = read(&[
            (152, 8, 0),
            (150, 4, EXPORT - 5),
            (153, 8, 0),
            (151, 4, EXPORT - 1),
        ]);
        assert_eq!(before(times), (5 * S, S));
    }

    #[test]
    fn sys_uptime_wraps_after_49_days() {
        // The flow began before the wrap, the message left after it.
        let wrapped = header(Version::V9, Some(1000));
        let times = read_with(
            &wrapped,
            None,
            &[(22, 4, u64::from(u32::MAX) - 999), (21, 4, 500)],
        );
        assert_eq!(before(times), (2000 * MS, 500 * MS));
    }

    #[test]
    fn a_flow_may_end_a_little_after_its_message_left() {
        let header = header(Version::V5, Some(1000));
        let times = read_with(&header, None, &[(22, 4, 900), (21, 4, 1200)]);
        assert_eq!(before(times), (100 * MS, -200 * MS));
    }

    #[test]
    fn ipfix_uptime_counts_from_the_init_time() {
        let boot_ms = (EXPORT - 1000) * 1000;
        let fields = [(22, 4, 995_000), (21, 4, 999_000)];
        let in_record = [&fields[..], &[(160, 8, boot_ms)]].concat();
        assert_eq!(before(read(&in_record)), (5 * S, S));
        let header = header(IPFIX, None);
        let by_options = read_with(&header, Some(boot_ms), &fields);
        assert_eq!(before(by_options), (5 * S, S));
        // Up for longer than the counter counts.
        let wraps = 3 * (1_u64 << 32);
        let times = read_with(&header, Some(boot_ms - wraps), &fields);
        assert_eq!(before(times), (5 * S, S));
    }

    #[test]
    fn uptime_without_a_base_tells_the_duration_only() {
        let times = read(&[(22, 4, 7000), (21, 4, 9500)]);
        assert_eq!(
            times,
            FlowTimes {
                start: UnixNanos(EXPORT * SECOND - 2500 * MILLISECOND),
                end: UnixNanos(EXPORT * SECOND),
                told_start: None,
                told_end: None,
                suspect: true,
            }
        );
        // Also over a wrap; a nonsensical one is none.
        let times = read(&[(22, 4, u64::from(u32::MAX)), (21, 4, 999)]);
        assert_eq!(times.end.0 - times.start.0, SECOND);
        let times = read(&[(22, 4, 9500), (21, 4, 7000)]);
        assert_eq!(times.start, times.end);
        // One of the two tells nothing at all.
        let times = read(&[(21, 4, 7000)]);
        assert!(times.suspect && times.start == times.end);
    }

    #[test]
    fn ntp_times_follow_the_export_time_over_eras() {
        // 2036-02-07 06:28:16 UTC: the NTP seconds begin at 0 again.
        let turn = (1_u64 << 32) - NTP_EPOCH;
        let header = Header {
            export_time: (turn + 10) * SECOND,
            ..header(IPFIX, None)
        };
        let old = u64::from(u32::MAX) << 32;
        let times = read_with(&header, None, &[(156, 8, old), (157, 8, 5 << 32)]);
        assert_eq!(times.start.0, (turn - 1) * SECOND);
        assert_eq!(times.end.0, (turn + 5) * SECOND);
        assert!(!times.suspect);
        let header = Header {
            export_time: (turn - 10) * SECOND,
            ..header
        };
        let times = read_with(
            &header,
            None,
            &[(156, 8, old - (20 << 32)), (157, 8, 5 << 32)],
        );
        assert_eq!(times.end.0, (turn + 5) * SECOND);
    }

    #[test]
    fn what_is_missing_is_made_of_the_duration() {
        let start = (150, 4, EXPORT - 10);
        let end = (151, 4, EXPORT - 2);
        assert_eq!(before(read(&[start, (161, 4, 3000)])), (10 * S, 7 * S));
        assert_eq!(before(read(&[end, (161, 4, 3000)])), (5 * S, 2 * S));
        assert_eq!(
            before(read(&[end, (162, 4, 3000)])),
            (2 * S + 3 * MS, 2 * S)
        );
        // Both told: the duration isn't asked.
        assert_eq!(before(read(&[start, end, (161, 4, 99)])), (10 * S, 2 * S));
    }

    #[test]
    fn one_time_alone_is_both() {
        assert_eq!(before(read(&[(150, 4, EXPORT - 10)])), (10 * S, 10 * S));
        assert_eq!(before(read(&[(151, 4, EXPORT - 10)])), (10 * S, 10 * S));
        let event = EXPORT * 1000 - 4000;
        assert_eq!(before(read(&[(323, 8, event)])), (4 * S, 4 * S));
        assert_eq!(
            before(read(&[(150, 4, EXPORT - 10), (323, 8, event)])),
            (10 * S, 4 * S)
        );
        assert_eq!(before(read(&[(322, 4, EXPORT - 1)])), (S, S));
        for element in [324, 325] {
            assert_eq!(before(read(&[(element, 8, ntp(EXPORT - 1, 0))])), (S, S));
        }
    }

    #[test]
    fn without_any_time_it_is_the_messages() {
        let times = read(&[(1, 4, 5)]);
        assert_eq!(before(times), (0, 0));
        assert_eq!((times.told_start, times.told_end), (None, None));
    }

    #[test]
    fn implausible_times_are_told_and_not_used() {
        let day = 24 * 60 * MINUTE;
        for (start, end, duration) in [
            // The end before the start.
            (EXPORT - 5, EXPORT - 9, 0),
            // More than a day old, with its duration; longer than a day.
            (EXPORT - day - 11, EXPORT - day - 1, 10),
            (1, EXPORT - day - 1, 0),
            // In the future.
            (EXPORT + 50, EXPORT + MINUTE + 1, 11),
            (0, 0, 0),
        ] {
            let times = read(&[(150, 4, start), (151, 4, end)]);
            let usable = FlowTimes {
                start: UnixNanos((EXPORT - duration) * SECOND),
                end: UnixNanos(EXPORT * SECOND),
                told_start: Some(UnixNanos(start * SECOND)),
                told_end: Some(UnixNanos(end * SECOND)),
                suspect: true,
            };
            assert_eq!(times, usable, "{start} to {end}");
        }
    }

    #[test]
    fn the_bounds_of_what_is_believed_belong_to_it() {
        let day = 24 * 60 * MINUTE;
        for (start, end) in [
            (EXPORT - day - 100, EXPORT - day),
            (EXPORT, EXPORT + MINUTE),
            // However long it took.
            (EXPORT - 30 * day, EXPORT),
        ] {
            let times = read(&[(150, 4, start), (151, 4, end)]);
            let told = (UnixNanos(start * SECOND), UnixNanos(end * SECOND));
            assert_eq!(
                (times.start, times.end, times.suspect),
                (told.0, told.1, false)
            );
        }
    }

    #[test]
    fn the_largest_numbers_are_only_implausible() {
        for element in [150, 152, 154, 156, 158, 22, 160, 161, 162, 323, 324] {
            for other in [151, 153, 155, 157, 159, 21, 160, 161, 162, 322, 325] {
                for value in [0, 1, u64::MAX / 2, u64::MAX] {
                    let fields = [(element, 8, u64::MAX), (other, 8, value)];
                    for header in [header(IPFIX, None), header(Version::V9, Some(0))] {
                        let times = read_with(&header, Some(value), &fields);
                        assert!(times.start <= times.end, "{fields:?}: {times:?}");
                    }
                }
            }
        }
    }
}
