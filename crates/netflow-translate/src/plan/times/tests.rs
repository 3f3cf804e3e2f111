//! Every kind of time, and what is not believed.

use netflow_wire::{FieldSpecifier, Version};

use super::instants::NTP_EPOCH;
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
fn read_at(
    received: u64,
    header: &Header,
    init_time: Option<u64>,
    fields: &[(u16, u16, u64)],
) -> FlowTimes {
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
    let clocks = Clocks {
        header,
        received: UnixNanos(received),
        init_time,
    };
    TimePlan::new(&template).read(&record, &locations, clocks)
}

fn read_with(header: &Header, init_time: Option<u64>, fields: &[(u16, u16, u64)]) -> FlowTimes {
    read_at(header.export_time, header, init_time, fields)
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
    // One of the two has no value.
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
    // Both exported: the duration isn't used.
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
fn implausible_times_are_reported_and_not_used() {
    let day = 24 * 60 * MINUTE;
    for (start, end, duration) in [
        // The end long before the start.
        (EXPORT - 5, EXPORT - 65, 0),
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
fn a_start_little_behind_its_end_leaves_a_flow_without_length_where_it_ended() {
    let times = read(&[(150, 4, EXPORT - 5), (151, 4, EXPORT - 9)]);
    assert!(times.suspect);
    let end = UnixNanos((EXPORT - 9) * SECOND);
    assert_eq!((times.start, times.end), (end, end));
    assert_eq!(times.told_start, Some(UnixNanos((EXPORT - 5) * SECOND)));
}

/// Of a repeated element, and of both durations, the first that isn't zero.
#[test]
fn a_duration_and_a_start_of_the_exporter_that_are_zero_yield() {
    let times = read(&[(151, 4, EXPORT - 1), (161, 4, 0), (162, 4, 8_000_000)]);
    assert_eq!(before(times), (9 * S, S));
    let boot = (EXPORT - 1000) * 1000;
    let times = read(&[
        (22, 4, 990_000),
        (21, 4, 999_000),
        (160, 8, 0),
        (160, 8, boot),
    ]);
    assert_eq!(before(times), (10 * S, S));
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

const DAY: u64 = 24 * 60 * MINUTE;

/// The low 32 bits, as an exporter sends an uptime.
fn wrapped(ms: u64) -> u64 {
    ms & u64::from(u32::MAX)
}

#[test]
fn flows_of_up_to_49_days_are_right_in_every_version() {
    for days in [1, 20, 25, 30, 39, 49] {
        // It has been up for 60 days.
        let uptime = 60 * DAY * 1000;
        let fields = [
            (22, 4, wrapped(uptime - days * DAY * 1000 - 1000)),
            (21, 4, wrapped(uptime - 1000)),
        ];
        let expected = ((days * DAY).cast_signed() * S + S, S);
        for version in [Version::V1, Version::V5, Version::V9] {
            let header = header(version, Some(wrapped(uptime) as u32));
            assert_eq!(
                before(read_with(&header, None, &fields)),
                expected,
                "{days} days"
            );
        }
        let boot = (EXPORT - 60 * DAY) * 1000;
        let times = read_with(&header(IPFIX, None), Some(boot), &fields);
        assert_eq!(before(times), expected, "{days} days");
    }
}

#[test]
fn an_uptime_that_ends_before_it_starts_has_no_length_at_its_end() {
    // By five seconds, and by ten minutes.
    for apart in [5_000, 600_000] {
        let fields = [(22, 4, 990_000 + apart), (21, 4, 990_000)];
        let boot = (EXPORT - 1000) * 1000;
        for (header, init_time) in [
            (header(Version::V9, Some(1_000_000)), None),
            (header(IPFIX, None), Some(boot)),
        ] {
            let times = read_with(&header, init_time, &fields);
            let end = UnixNanos((EXPORT - 10) * SECOND);
            assert_eq!((times.start, times.end), (end, end));
            assert_eq!(times.told_end, Some(end));
            assert!(times.suspect);
        }
    }
}

#[test]
fn uptimes_may_lie_before_the_exporters_start() {
    // Replayed: the exporter has been up for 3 s, and the flow ended 9 s ago.
    let fields = [
        (22, 4, wrapped(0_u64.wrapping_sub(8000))),
        (21, 4, wrapped(0_u64.wrapping_sub(6000))),
    ];
    let v9 = header(Version::V9, Some(3000));
    assert_eq!(before(read_with(&v9, None, &fields)), (11 * S, 9 * S));
    let ipfix = header(IPFIX, None);
    let times = read_with(&ipfix, Some((EXPORT - 3) * 1000), &fields);
    assert_eq!(before(times), (11 * S, 9 * S));
}

#[test]
fn a_start_long_after_the_export_is_no_reason_to_go_back_whole_turns() {
    // The header says 1994, the start 2020.
    let header = Header {
        export_time: 759_538_800 * SECOND,
        ..header(IPFIX, None)
    };
    let times = read_with(
        &header,
        Some(1_590_000_000_000),
        &[(22, 4, 1000), (21, 4, 2000)],
    );
    assert_eq!(times.told_end, Some(UnixNanos(1_590_000_002 * SECOND)));
    assert!(times.suspect);
}

#[test]
fn no_exporter_started_in_1970() {
    let times = read(&[(22, 4, 7000), (21, 4, 9500), (160, 8, 0)]);
    assert!(times.suspect);
    assert_eq!(times.end.0 - times.start.0, 2500 * MILLISECOND);
    // What options data say counts then.
    let fields = [(22, 4, 995_000), (21, 4, 999_000), (160, 8, 0)];
    let times = read_with(&header(IPFIX, None), Some((EXPORT - 1000) * 1000), &fields);
    assert_eq!(before(times), (5 * S, S));
}

#[test]
fn one_time_that_cannot_be_derived_is_suspect() {
    let times = read(&[(150, 4, EXPORT - 10), (21, 4, 7000)]);
    assert!(times.suspect);
    assert_eq!(times.told_start, Some(UnixNanos((EXPORT - 10) * SECOND)));
    let times = read(&[(22, 4, 7000), (151, 4, EXPORT - 10)]);
    assert!(times.suspect);
    assert_eq!(times.end, UnixNanos((EXPORT - 10) * SECOND));
}

#[test]
fn within_the_second_of_the_coarser_unit_no_end_is_before_its_start() {
    let start = (152, 8, EXPORT * 1000 - 1300);
    let times = read(&[start, (151, 4, EXPORT - 2)]);
    assert_eq!(before(times), (1300 * MS, 1300 * MS));
    assert_eq!(
        times.told_start,
        Some(UnixNanos(EXPORT * SECOND - 1300 * MILLISECOND))
    );
    assert!(read(&[start, (151, 4, EXPORT - 3)]).suspect);
    // Where both are of one unit it is.
    assert!(read(&[start, (153, 8, EXPORT * 1000 - 1301)]).suspect);
    // A start in seconds is no later than what it stands for.
    assert!(read(&[(150, 4, EXPORT - 2), (153, 8, EXPORT * 1000 - 2001)]).suspect);
}

#[test]
fn an_uptime_beside_another_unit_starts_in_the_turn_before_the_end() {
    let uptime = 60 * DAY * 1000;
    let header = header(Version::V9, Some(wrapped(uptime) as u32));
    let first = wrapped(uptime - 30 * DAY * 1000);
    let fields = [(22, 4, first), (153, 8, (EXPORT - 5) * 1000)];
    let times = read_with(&header, None, &fields);
    assert_eq!(before(times), ((30 * DAY).cast_signed() * S, 5 * S));
}

#[test]
fn the_receive_time_counts_where_the_exporters_clock_is_over_a_day_off() {
    let broken = |export: u64| Header {
        export_time: export * SECOND,
        ..header(IPFIX, None)
    };
    let fields = [(150, 4, EXPORT - 9), (151, 4, EXPORT - 1)];
    let believed = (
        UnixNanos((EXPORT - 9) * SECOND),
        UnixNanos((EXPORT - 1) * SECOND),
    );
    for export in [0, 3600, EXPORT - DAY - 1, EXPORT + DAY + 1, 2 * EXPORT] {
        let times = read_at(EXPORT * SECOND, &broken(export), None, &fields);
        assert_eq!(
            (times.start, times.end, times.suspect),
            (believed.0, believed.1, false)
        );
    }
    // A clock that is ten hours off is not corrected.
    let times = read_at(EXPORT * SECOND, &broken(EXPORT - 10 * 3600), None, &fields);
    assert!(times.suspect);
    // Plausible by neither: the span ends at the export time.
    let fields = [(150, 4, 1_000_000_000), (151, 4, 1_000_000_008)];
    let times = read_at(EXPORT * SECOND, &broken(3600), None, &fields);
    assert_eq!((times.end.0, times.suspect), (3600 * SECOND, true));
    assert_eq!(times.told_end, Some(UnixNanos(1_000_000_008 * SECOND)));
    // Uptimes since a boot that is right, and NTP times.
    let boot = (EXPORT - 1000) * 1000;
    let fields = [(22, 4, 991_000), (21, 4, 999_000)];
    let times = read_at(EXPORT * SECOND, &broken(3600), Some(boot), &fields);
    assert_eq!(
        (times.start, times.end, times.suspect),
        (believed.0, believed.1, false)
    );
}

#[test]
fn a_start_after_the_export_is_that_of_another_boot() {
    let export = EXPORT * SECOND;
    assert!(is_same_boot((EXPORT - 1000) * 1000, export));
    assert!(is_same_boot(EXPORT * 1000 + 500, export));
    assert!(!is_same_boot((EXPORT + 3600) * 1000, export));
}

#[test]
fn a_time_of_zero_is_none() {
    let ms = EXPORT * 1000;
    // One time is known, the other isn't.
    for fields in [
        [(152, 8, 0), (153, 8, ms - 1000)],
        [(152, 8, ms - 1000), (153, 8, 0)],
        [(150, 4, 0), (151, 4, EXPORT - 1)],
        [(156, 8, 0), (153, 8, ms - 1000)],
    ] {
        let times = read(&fields);
        let at = UnixNanos((EXPORT - 1) * SECOND);
        assert_eq!((times.start, times.end), (at, at), "{fields:?}");
        assert!(times.suspect, "{fields:?}");
    }
    let times = read(&[(152, 8, 0), (153, 8, 0)]);
    assert!(times.suspect);
    assert_eq!(times.told_start, Some(UnixNanos(0)));
    // What else is told stands in for it.
    for fields in [
        [(152, 8, ms - 5000), (153, 8, 0), (161, 4, 4000)],
        [(152, 8, 0), (153, 8, ms - 1000), (161, 4, 4000)],
    ] {
        let times = read(&fields);
        assert_eq!(before(times), (5000 * MS, 1000 * MS), "{fields:?}");
        assert!(!times.suspect, "{fields:?}");
    }
    let times = read(&[(152, 8, 0), (153, 8, 0), (323, 8, ms - 1000)]);
    assert_eq!(
        (before(times), times.suspect),
        ((1000 * MS, 1000 * MS), false)
    );
    // So does a repetition of the element.
    let times = read(&[(152, 8, 0), (152, 8, ms - 5000), (153, 8, ms - 1000)]);
    assert_eq!(before(times), (5000 * MS, 1000 * MS));
    // As microseconds before the export, zero is a time.
    let times = read(&[(158, 4, 1000), (159, 4, 0)]);
    assert_eq!((before(times), times.suspect), ((MS, 0), false));
}

#[test]
fn a_duration_alone_ends_at_the_export() {
    let times = read(&[(161, 4, 4000)]);
    assert_eq!((before(times), times.suspect), ((4000 * MS, 0), false));
    assert_eq!((times.told_start, times.told_end), (None, None));
    let times = read(&[(22, 4, 990_000), (162, 4, 4_000_000)]);
    assert_eq!(times.start, UnixNanos((EXPORT - 4) * SECOND));
    assert!(times.suspect);
}
