//! Loss, units and restarts.

use super::*;

fn header(version: Version, sequence: u32, count: u16) -> Header {
    Header {
        version,
        count,
        sys_uptime_ms: (version != Version::Ipfix).then_some(1_000_000),
        export_time: 0,
        sequence: Some(sequence),
        observation_domain: 0,
        sampling: None,
    }
}

fn run(version: Version, messages: &[(u32, u16)]) -> Vec<Verdict> {
    let mut sequence = Sequence::default();
    messages
        .iter()
        .map(|(number, records)| {
            let header = header(version, *number, *records);
            let carried = Carried::new(&header, Some(u32::from(*records)), 0, 0);
            sequence.judge(&header, carried, false)
        })
        .collect()
}

#[test]
fn each_version_counts_its_own_unit() {
    use Verdict::{Fine, Lost};
    assert_eq!(
        run(Version::V5, &[(10, 30), (40, 30), (100, 30)]),
        [Fine, Fine, Lost(30)]
    );
    assert_eq!(
        run(Version::V9, &[(7, 9), (8, 9), (11, 1)]),
        [Fine, Fine, Lost(2)]
    );
    assert_eq!(
        run(Version::Ipfix, &[(0, 3), (3, 5), (9, 1)]),
        [Fine, Fine, Lost(1)]
    );
}

#[test]
fn an_overtaken_message_gives_its_loss_back() {
    use Verdict::{Fine, Late, Lost};
    assert_eq!(
        run(Version::V9, &[(1, 0), (3, 0), (2, 0), (4, 0)]),
        [Fine, Lost(1), Late, Fine]
    );
}

#[test]
fn the_count_wraps() {
    assert_eq!(
        run(Version::V9, &[(u32::MAX, 0), (0, 0)]),
        [Verdict::Fine; 2]
    );
}

#[test]
fn a_far_jump_is_a_restart() {
    let far = run(Version::Ipfix, &[(5_000_000, 1), (3, 1), (4, 1)]);
    assert_eq!(far, [Verdict::Fine, Verdict::Restarted, Verdict::Fine]);
}

/// Messages of (records, templates), numbered by a unit; what is said of each. A message of more than four records has
/// one of options data.
fn counted(version: Version, unit: Unit, carried: &[(u16, u32)]) -> Vec<Verdict> {
    let mut sequence = Sequence::default();
    let mut number = 100_u32;
    let mut before: Option<Carried> = None;
    let mut verdicts = Vec::new();
    for (records, templates) in carried {
        let mut header = header(version, 0, *records);
        let options = u32::from(*records > 4 && version != Version::V5);
        let carried = Carried::new(&header, Some(u32::from(*records)), options, *templates);
        number += before.map_or(0, |before| unit.step(before, carried).unwrap());
        header.sequence = Some(number);
        verdicts.push(sequence.judge(&header, carried, false));
        before = Some(carried);
    }
    verdicts
}

#[test]
fn a_unit_that_explains_every_step_is_adopted_and_nothing_is_lost() {
    use Unit::{
        Constant, Flows, FlowsIncluded, Messages, Records, RecordsIncluded, WithTemplates,
        WithTemplatesIncluded,
    };
    use Verdict::{Adopted, Fine};
    let messages = [(3, 1), (5, 2), (2, 0), (4, 1), (6, 0), (3, 2), (1, 0)];
    let records = [
        RecordsIncluded,
        Flows,
        FlowsIncluded,
        WithTemplates,
        WithTemplatesIncluded,
        Messages,
        Constant,
    ];
    let of = [
        (Version::Ipfix, &records[..]),
        (
            Version::V9,
            &[Records, RecordsIncluded, Flows, FlowsIncluded, Constant],
        ),
        (Version::V5, &[RecordsIncluded, Messages, Constant]),
    ];
    for (version, units) in of {
        for unit in units.iter().copied() {
            let verdicts = counted(version, unit, &messages);
            let other = verdicts.iter().filter(|verdict| **verdict != Fine);
            let other: Vec<_> = other.collect();
            assert_eq!(other, [&Adopted(unit)], "{version:?} {unit:?}");
        }
    }
}

#[test]
fn a_unit_is_found_where_the_first_messages_are_alike() {
    let messages = [
        (24, 0),
        (24, 0),
        (24, 0),
        (24, 0),
        (7, 0),
        (24, 0),
        (3, 0),
        (24, 0),
    ];
    let verdicts = counted(Version::Ipfix, Unit::RecordsIncluded, &messages);
    assert_eq!(verdicts[5], Verdict::Adopted(Unit::RecordsIncluded));
    let others = verdicts.iter().enumerate().filter(|(at, _)| *at != 5);
    assert!(others.clone().all(|(_, verdict)| *verdict == Verdict::Fine));
}

#[test]
fn a_loss_that_another_unit_would_explain_is_reported_one_message_later() {
    use Verdict::{Fine, Lost};
    // One flow in each message: the step of 2 may be two flows counted in, or a message lost.
    let messages = [(10, 1), (11, 1), (13, 2), (14, 5), (15, 1)];
    assert_eq!(
        run(Version::V9, &messages),
        [Fine, Fine, Fine, Lost(1), Fine]
    );
}

#[test]
fn loss_among_the_first_messages_is_loss() {
    use Verdict::{Fine, Lost};
    let messages = [(0, 3), (13, 5), (18, 4), (32, 2)];
    assert_eq!(
        run(Version::Ipfix, &messages),
        [Fine, Lost(10), Fine, Lost(10)]
    );
}

const MINUTE: u32 = 60_000;

/// Judges uptimes that come a minute apart, with templates where stated.
fn boots(uptimes: &[(u32, bool)]) -> Vec<Reboot> {
    let (mut boot, mut now) = (Boot::default(), Instant::now());
    let mut export_time = 1_700_000_000_000_000_000;
    let mut judged = Vec::new();
    for (uptime, template) in uptimes {
        let mut header = header(Version::V9, 1, 1);
        header.sys_uptime_ms = Some(*uptime);
        header.export_time = export_time;
        judged.push(boot.judge((&header).into(), now));
        if *template {
            boot.template_came();
        }
        export_time += 60_000_000_000;
        now += Duration::from_secs(60);
    }
    judged
}

#[test]
fn an_uptime_that_goes_back_is_a_restart_from_wherever() {
    use Reboot::{None, Restarted};
    let day = 24 * 60 * MINUTE;
    for before in [5 * MINUTE, 10 * day, 30 * day, 49 * day] {
        assert_eq!(
            boots(&[(before, true), (MINUTE, true)]),
            [None, Restarted],
            "{before}"
        );
    }
    // Reordered; wrapped.
    assert_eq!(
        boots(&[(5 * MINUTE, true), (5 * MINUTE - 9_000, true)]),
        [None, None]
    );
    assert_eq!(
        boots(&[(u32::MAX - 20_000, true), (40_000, true)]),
        [None, None]
    );
}

#[test]
fn an_overtaken_datagram_has_the_same_start() {
    let (mut boot, now) = (Boot::default(), Instant::now());
    let mut judge = |uptime, export_time: u64| {
        let mut header = header(Version::V9, 1, 1);
        header.sys_uptime_ms = Some(uptime);
        header.export_time = export_time * 1_000_000_000;
        boot.judge((&header).into(), now)
    };
    for (uptime, export_time) in [(328_901_691, 634), (328_882_689, 615), (328_902_691, 635)] {
        assert_eq!(judge(uptime, export_time), Reboot::None);
    }
    // A clock that was set is no restart, a start with another clock is one.
    assert_eq!(judge(328_903_691, 9000), Reboot::None);
    assert_eq!(judge(5_000, 0), Reboot::Restarted);
}

/// Judges messages of (seconds, uptime, sequence).
fn heard(messages: &[(u64, Option<u32>, u32)]) -> Vec<Reboot> {
    let (mut boot, now) = (Boot::default(), Instant::now());
    let messages = messages.iter().map(|(seconds, uptime_ms, sequence)| Heard {
        uptime_ms: *uptime_ms,
        export_time: seconds * 1_000_000_000,
        sequence: Some(*sequence),
    });
    messages.map(|heard| boot.judge(heard, now)).collect()
}

#[test]
fn a_number_that_is_behind_in_a_later_message_is_a_restart() {
    use Reboot::{None, Restarted};
    // Too short up for the uptime alone; longer up than before; without an uptime.
    for uptimes in [
        [Some(8_000), Some(2_000)],
        [Some(8_000), Some(20_000)],
        [Option::None; 2],
    ] {
        let [before, after] = uptimes;
        let messages = [(100, before, 40), (160, after, 0)];
        assert_eq!(heard(&messages), [None, Restarted], "{uptimes:?}");
        // Overtaken, or sent twice.
        let messages = [(100, before, 40), (101, before, 41), (100, before, 40)];
        assert_eq!(heard(&messages), [None; 3]);
    }
    // The same start: only the numbers began anew, as where several engines of a device count.
    assert_eq!(
        heard(&[(100, Some(50_000), 40), (160, Some(110_000), 0)]),
        [None; 2]
    );
    // A clock that was set, and a number that wraps.
    assert_eq!(
        heard(&[(100, Some(50_000), 40), (9000, Some(51_000), 41)]),
        [None; 2]
    );
    assert_eq!(
        heard(&[(100, Option::None, u32::MAX), (160, Option::None, 3)]),
        [None; 2]
    );
}

#[test]
fn an_agent_of_sflow_restarts_from_wherever() {
    let day = 24 * 60 * MINUTE;
    for (before, after) in [(30 * day, 5_000), (9_000, 4_000), (5 * MINUTE, 5_000)] {
        let mut sequence = Sequence::default();
        let mut judge = |number, uptime, seconds: u64| {
            let heard = Heard {
                uptime_ms: Some(uptime),
                export_time: seconds * 1_000_000_000,
                sequence: Some(number),
            };
            let verdict = sequence.judge_number(number, heard);
            sequence.expect(Some(number + 1));
            verdict
        };
        assert_eq!(judge(40, before, 100), Verdict::Fine);
        assert_eq!(judge(1, after, 160), Verdict::Restarted, "{before}");
        assert_eq!(judge(2, after + 1000, 161), Verdict::Fine);
    }
}

#[test]
fn uptimes_that_keep_going_back_are_those_of_several_engines() {
    use Reboot::{Engines, None, Restarted};
    let (one, other) = (90 * MINUTE, 5 * MINUTE);
    let uptimes = [one, other, one + 2 * MINUTE, other + 2 * MINUTE, one, other];
    assert_eq!(
        boots(&uptimes.map(|uptime| (uptime, false))),
        [None, Restarted, None, Engines, None, None]
    );
    // With templates between, the third time.
    assert_eq!(
        boots(&uptimes.map(|uptime| (uptime, true))),
        [None, Restarted, None, Restarted, None, Engines]
    );
}

#[test]
fn nothing_is_said_lost_where_several_engines_count() {
    let mut sequence = Sequence::default();
    sequence.boot.shared = true;
    for number in [10, 5000, 11, 5001] {
        let header = header(Version::V9, number, 1);
        let carried = Carried::new(&header, Some(1), 0, 0);
        assert_eq!(sequence.judge(&header, carried, false), Verdict::Fine);
    }
}

#[test]
fn counts_are_bounded_and_the_one_unused_longest_goes() {
    let mut sequences = Sequences::default();
    let key = |domain| SequenceKey {
        port: 1,
        transport: Transport::Udp,
        version: Version::V9,
        domain,
    };
    let flood = 3 * MAX_SEQUENCES as u32;
    for domain in 0..flood {
        sequences.of(key(domain)).expect(Some(domain));
        // One that keeps being used.
        sequences.of(key(1 << 20)).expect(Some(domain));
        assert!(sequences.counts.len() <= MAX_SEQUENCES);
    }
    let last = sequences.of(key(flood - 1));
    assert_eq!(
        last.judge_number(flood + 2, Heard::default()),
        Verdict::Lost(3)
    );
    let followed = sequences.of(key(1 << 20));
    assert_eq!(
        followed.judge_number(flood - 1, Heard::default()),
        Verdict::Fine
    );
    assert!(!sequences.counts.contains_key(&key(8)));
    assert!(
        sequences
            .counts
            .contains_key(&key(flood - MAX_SEQUENCES as u32 / 2))
    );
}

#[test]
fn an_overtaken_message_that_was_not_yet_said_missing_is_not_late() {
    use Verdict::Fine;
    // A step of 2 may be two records counted in, or a message overtaken.
    let messages = [(10, 1), (11, 1), (13, 2), (12, 1), (14, 1)];
    assert_eq!(run(Version::V9, &messages), [Fine; 5]);
}
