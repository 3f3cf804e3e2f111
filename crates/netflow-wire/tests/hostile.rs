//! Whatever comes: nothing panics or runs away, what is held stays within its limits, and one bad Set costs
//! that Set, never its neighbours.

mod support;

use std::time::{Duration, Instant};

use netflow_wire::write::{
    Field, MessageWriter, V1Header, V1Record, V5Header, V5Record, V7Header, V7Record, v1, v5, v7,
};
use netflow_wire::{Event, Learning, Limits, Message, SetError, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Numbers, Seen, Session, writer};

const FIELDS: [Field; 3] = [Field::new(8, 4), Field::new(12, 4), Field::new(1, 8)];

/// Calls that a datagram of so many octets may cause, when `held` Sets waited before: a Set takes four octets
/// and causes one, or two when another makes room for it; a template takes eight and causes two.
fn most_calls(octets: usize, held: usize) -> usize {
    octets / 2 + 2 + 2 * held
}

/// Reads a datagram and holds the work against its length.
fn read(session: &mut Session, port: u16, octets: &[u8]) -> Option<Seen> {
    let held = session.decoder.waiting().0;
    let seen = session.datagram_from(port, octets).ok()?;
    assert!(seen.calls <= most_calls(octets.len(), held), "{seen:?}");
    assert!(seen.bad.len() <= octets.len() / 4 + 1 + held, "{seen:?}");
    // A record takes an octet at least; those that waited had their own.
    let waited = session.limits.max_held_octets.min(held * 65_535);
    assert!(seen.records <= octets.len() + waited, "{}", seen.records);
    let (sets, octets) = session.decoder.waiting();
    assert!(sets <= session.limits.max_held_sets && octets <= session.limits.max_held_octets);
    assert!(session.decoder.templates().len() <= session.limits.max_templates);
    Some(seen)
}

fn good_messages() -> Vec<(&'static str, Vec<u8>)> {
    let flow = V5Record {
        source: [192, 0, 2, 1].into(),
        packets: 3,
        octets: 180,
        ..V5Record::default()
    };
    let mut messages = vec![
        (
            "v1",
            v1(&V1Header::default(), &[V1Record::default(); 3]).expect("fits"),
        ),
        ("v5", v5(&V5Header::default(), &[flow; 3]).expect("fits")),
        (
            "v7",
            v7(&V7Header::default(), &[V7Record::default(); 3]).expect("fits"),
        ),
    ];
    for version in [Version::V9, Version::Ipfix] {
        let mut message = writer(version, 7);
        let options = [Field::new(82, 6), Field::new(34, 4)];
        message
            .template(256, &FIELDS)
            .options_template(257, &[Field::new(1, 4)], &options)
            .data_set(256, |set| {
                for number in 0..3 {
                    set.record(|record| {
                        record.u32(number).u32(2).u64(3);
                    });
                }
                set.padding(2);
            })
            .data_set(257, |set| {
                set.record(|record| {
                    record.u32(1).text("eth0", 6).u32(100);
                });
            })
            .data_set(999, |set| {
                set.raw(&[1, 2, 3, 4]);
            });
        messages.push((
            if version == Version::V9 {
                "v9"
            } else {
                "ipfix"
            },
            message.finish().expect("fits"),
        ));
    }
    let mut message = writer(Version::Ipfix, 7);
    let fields = [
        Field::variable(96),
        Field::enterprise(9, 5, 2),
        Field::variable(371),
    ];
    message
        .template(256, &fields)
        .withdraw(300)
        .data_set(256, |set| {
            for value in [&b"dns"[..], &[7; 300]] {
                set.record(|record| {
                    record.variable(value).u16(5).variable_long(value);
                });
            }
        });
    messages.push(("ipfix, variable", message.finish().expect("fits")));
    messages
}

#[test]
fn no_octet_makes_a_message_dangerous() {
    for (name, good) in good_messages() {
        for at in 0..good.len() {
            let was = good[at];
            for octet in [
                0,
                0xff,
                was.wrapping_sub(1),
                was.wrapping_add(1),
                was ^ 0x80,
            ] {
                let mut octets = good.clone();
                octets[at] = octet;
                let mut session = Session::default();
                read(&mut session, 1, &octets);
                // And what it left behind.
                let after = read(&mut session, 1, &good).expect(name);
                assert!(after.records > 0, "{name}: octet {at} is {octet}");
            }
        }
    }
}

#[test]
fn no_length_makes_a_message_dangerous() {
    for (name, good) in good_messages() {
        let end = good.len() as u16;
        for at in 0..good.len() - 1 {
            let was = u16::from_be_bytes([good[at], good[at + 1]]);
            for word in [
                0,
                1,
                3,
                4,
                was.wrapping_sub(1),
                was.wrapping_add(1),
                end - 1,
                end,
                end + 1,
                0x7fff,
                0xfffe,
                0xffff,
            ] {
                let mut octets = good.clone();
                octets[at..at + 2].copy_from_slice(&word.to_be_bytes());
                let mut session = Session::default();
                read(&mut session, 1, &octets);
                assert!(read(&mut session, 1, &good).expect(name).records > 0);
            }
        }
    }
}

#[test]
fn no_cut_makes_a_message_dangerous() {
    for (_, good) in good_messages() {
        for end in 0..good.len() {
            read(&mut Session::default(), 1, &good[..end]);
        }
        // Octets behind it neither.
        for behind in [0, 0xff] {
            let mut octets = good.clone();
            octets.resize(good.len() + 40, behind);
            read(&mut Session::default(), 1, &octets);
        }
    }
}

/// A Set that is wrong but honest about its length.
fn bad_set(message: &mut MessageWriter, kind: usize, version: Version) {
    let (templates, options) = match version {
        Version::Ipfix => (2, 3),
        _ => (0, 1),
    };
    match kind {
        // Data without a template; a reserved id; records of nothing; a record past the end.
        0 => message.raw_set(4000, None, &[1, 2, 3]),
        1 => message.raw_set(77, None, &[1, 2, 3]),
        2 => message.raw_set(901, None, &[1, 2, 3]),
        3 => message.raw_set(902, None, &[200, 2, 3]),
        // Templates: past the end, with a reserved id, of 65,535 fields, of empty fields only.
        4 => message.raw_set(templates, None, &[1, 44, 0, 9, 0, 8, 0, 4]),
        5 => message.raw_set(templates, None, &[0, 44, 0, 1, 0, 8, 0, 4]),
        6 => message.raw_set(templates, None, &[1, 44, 0xff, 0xff, 0, 8, 0, 4]),
        7 => message.raw_set(
            templates,
            None,
            &[[1, 44, 0, 100].as_slice(), &[0; 400]].concat(),
        ),
        // Options: more scope than fields, or octets that are no fields; cut short.
        8 => message.raw_set(options, None, &[1, 44, 0, 1, 0, 7, 0, 8, 0, 4]),
        9 => message.raw_set(options, None, &[1, 44, 0]),
        _ => message.raw_set(options, None, &[1, 44, 0, 0, 0, 0]),
    };
}
const BAD_SETS: usize = 11;

/// Templates that the bad Sets of [`bad_set`] need, and a good one.
fn declared(version: Version) -> Vec<u8> {
    let mut message = writer(version, 7);
    message
        .template(256, &FIELDS)
        .template(901, &[Field::new(8, 0)])
        .raw_set(
            if version == Version::V9 { 0 } else { 2 },
            None,
            &[3, 0x86, 0, 1, 0, 96, 0xff, 0xff],
        );
    message.finish().expect("fits")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn one_bad_set_costs_that_set_never_its_neighbours(
        is_v9 in any::<bool>(),
        sets in vec(prop_oneof![Just(None), (0..BAD_SETS).prop_map(Some)], 1..40),
    ) {
        let version = if is_v9 { Version::V9 } else { Version::Ipfix };
        let mut session = Session::default();
        session.datagram(&declared(version));
        let mut message = writer(version, 7);
        message.declare(256, &FIELDS);
        let mut good = 0_u32;
        for set in &sets {
            match set {
                Some(kind) => bad_set(&mut message, *kind, version),
                None => {
                    good += 1;
                    message.data_set(256, |set| {
                        set.record(|record| {
                            record.u32(good).u32(2).u64(3);
                        });
                    });
                }
            }
        }
        let octets = message.finish().expect("fits");
        let seen = read(&mut session, 2055, &octets).expect("a good header");
        let numbers: Vec<_> = seen
            .rows
            .iter()
            .filter(|row| row.template_id == 256)
            .map(|row| u32::from_be_bytes(row.values[0].as_slice().try_into().unwrap()))
            .collect();
        prop_assert_eq!(numbers, (1..=good).collect::<Vec<_>>());
        // Every bad one was reported, by an error or as an event.
        prop_assert!(seen.bad.len() + seen.events.len() >= sets.iter().flatten().filter(|kind| **kind < 9).count());
    }

    #[test]
    fn any_octets_behind_a_header_are_bounded_work(
        version in prop_oneof![Just(9_u16), Just(10)],
        body in vec(any::<u8>(), 0..2000),
    ) {
        let mut octets = version.to_be_bytes().to_vec();
        octets.extend(u16::MAX.to_be_bytes());
        octets.resize(if version == 9 { 20 } else { 16 }, 0);
        octets.extend(body);
        read(&mut Session::default(), 1, &octets);
    }

    /// Octets that look like Sets and templates more often than chance has it.
    #[test]
    fn any_sets_are_bounded_work(
        is_v9 in any::<bool>(),
        sets in vec((prop_oneof![0_u16..5, 255_u16..260], 0_u16..40, vec(0_u8..5, 0..40)), 0..60),
    ) {
        let mut message = writer(if is_v9 { Version::V9 } else { Version::Ipfix }, 7);
        for (id, length, content) in &sets {
            let honest = length % 4 != 0;
            message.raw_set(*id, (!honest).then_some(*length), content);
        }
        let octets = message.finish().expect("fits");
        let mut session = Session::default();
        for _ in 0..3 {
            read(&mut session, 1, &octets);
        }
    }
}

#[test]
fn records_of_no_octets_end_their_set() {
    let mut message = writer(Version::Ipfix, 7);
    message
        .template(300, &[Field::new(8, 0), Field::new(12, 0)])
        .raw_set(300, None, &[0; 60_000]);
    let seen = read(&mut Session::default(), 1, &message.finish().expect("fits")).unwrap();
    assert_eq!(seen.records, 0);
    assert!(matches!(
        seen.bad[..],
        [SetError::EmptyRecord {
            template_id: 300,
            ..
        }]
    ));
}

#[test]
fn a_template_of_65535_fields_is_refused_and_its_neighbour_learnt() {
    let mut message = writer(Version::Ipfix, 7);
    let claims = [[1, 44, 0xff, 0xff].as_slice(), &[0; 60_000]].concat();
    message.raw_set(2, None, &claims).template(256, &FIELDS);
    let mut session = Session::default();
    let seen = read(&mut session, 1, &message.finish().expect("fits")).unwrap();
    assert!(matches!(
        seen.bad[..],
        [SetError::TooManyFields { fields: 65_535, .. }]
    ));
    assert_eq!(session.decoder.templates().len(), 1);
}

#[test]
fn a_record_longer_than_any_set_never_comes() {
    let mut message = writer(Version::V9, 7);
    message
        .template(300, &[Field::new(1, 65_534); 1000])
        .raw_set(300, None, &[1; 50_000])
        .raw_set(256, None, &[]);
    let seen = read(&mut Session::default(), 1, &message.finish().expect("fits")).unwrap();
    assert_eq!((seen.records, seen.bad.len()), (0, 0));
}

#[test]
fn definitions_that_contradict_each_other_hold_in_turn() {
    let mut message = writer(Version::Ipfix, 7);
    for length in (1..=60_u16).chain((1..60).rev()) {
        message
            .template(256, &[Field::new(1, length)])
            .data_set(256, |set| {
                set.record(|record| {
                    record.bytes(&vec![0; usize::from(length)]);
                });
            });
    }
    let mut session = Session::default();
    let seen = read(&mut session, 1, &message.finish().expect("fits")).unwrap();
    assert_eq!(seen.records, 119);
    assert_eq!(session.decoder.templates().len(), 1);
    let replaced = Event::Template {
        id: 256,
        learning: Learning::Replaced,
    };
    let replacements = seen.events.iter().filter(|event| **event == replaced);
    assert_eq!(replacements.count(), 118);
}

#[test]
fn withdrawals_are_reported_and_ignored() {
    let mut message = writer(Version::Ipfix, 7);
    message
        .template(256, &FIELDS)
        .withdraw(256)
        .withdraw(2)
        .withdraw_options(3)
        .declare(256, &FIELDS)
        .data_set(256, |set| {
            set.record(|record| {
                record.u32(1).u32(2).u64(3);
            });
        });
    let mut session = Session::default();
    let seen = read(&mut session, 1, &message.finish().expect("fits")).unwrap();
    assert_eq!((seen.records, session.decoder.templates().len()), (1, 1));
    let ignored = |id| seen.events.contains(&Event::WithdrawalIgnored { id });
    assert!(ignored(256) && ignored(2) && ignored(3));
}

/// Small limits, which a flood must not pass.
fn small() -> Limits {
    Limits {
        max_templates: 64,
        max_template_fields: 400,
        max_held_sets: 16,
        max_held_octets: 1000,
        ..Limits::default()
    }
}

fn fields_held(session: &Session) -> usize {
    let templates = session.decoder.templates().iter();
    templates
        .map(|(_, known)| known.template.fields.len())
        .sum()
}

#[test]
fn floods_of_templates_stay_within_the_limits() {
    let mut session = Session::with_limits(small());
    let mut numbers = Numbers(1);
    for round in 0..5000_u32 {
        // Ports, domains and ids in turn, and all together.
        let (port, domain, id) = match round % 4 {
            0 => (numbers.next() as u16, 1, 256),
            1 => (1, numbers.next() as u32, 256),
            2 => (1, 1, 256 + numbers.below(60_000) as u16),
            _ => (numbers.next() as u16, numbers.next() as u32, 257),
        };
        let mut message = writer(
            if round % 2 == 0 {
                Version::V9
            } else {
                Version::Ipfix
            },
            domain,
        );
        let fields = 1 + numbers.below(30);
        message.template(id, &vec![Field::new(1, 4); fields]);
        session.pass(Duration::from_millis(1));
        read(&mut session, port, &message.finish().expect("fits")).unwrap();
        assert!(fields_held(&session) <= 400);
    }
    assert!(session.decoder.templates().evicted() > 4000);
}

#[test]
fn a_template_in_use_outlives_a_flood_of_others() {
    let mut session = Session::with_limits(small());
    let mut message = writer(Version::Ipfix, 7);
    message.template(256, &FIELDS);
    session.datagram(&message.finish().expect("fits"));
    let mut message = writer(Version::Ipfix, 7);
    message.declare(256, &FIELDS).data_set(256, |set| {
        set.record(|record| {
            record.u32(1).u32(2).u64(3);
        });
    });
    let data = message.finish().expect("fits");
    for round in 0..1000_u16 {
        session.pass(Duration::from_millis(1));
        let mut message = writer(Version::Ipfix, 8);
        message.template(300 + round, &FIELDS);
        session.datagram(&message.finish().expect("fits"));
        if round % 20 == 0 {
            assert_eq!(session.datagram(&data).records, 1, "round {round}");
        }
    }
}

#[test]
fn options_data_that_waited_is_read_in_parts_however_many_templates_a_message_has() {
    let mut session = Session {
        counts_only: true,
        ..Session::default()
    };
    let ids = 300..316_u16;
    for id in ids.clone() {
        let mut message = writer(Version::Ipfix, 7);
        message.raw_set(id, None, &[1; 12 << 10]);
        session.datagram(&message.finish().expect("fits"));
    }
    assert_eq!(session.decoder.waiting().0, 16);
    let mut message = writer(Version::Ipfix, 7);
    for id in ids {
        message.options_template(id, &[Field::new(10, 1)], &[Field::new(82, 1)]);
    }
    let seen = session.datagram(&message.finish().expect("fits"));
    assert_eq!(seen.at_once, 6 << 10, "one Set of two fits into 16 KiB");
    assert_eq!(seen.records, 16 * (6 << 10), "the others came behind it");
}

#[test]
fn floods_of_data_without_templates_stay_within_the_limits() {
    let mut session = Session::with_limits(small());
    let mut numbers = Numbers(2);
    let (mut waited, mut expired) = (0, 0);
    for round in 0..2000_u32 {
        let mut message = writer(Version::V9, round % 7);
        for _ in 0..5 {
            let octets = numbers.below(1200);
            let content = numbers.octets(octets);
            message.raw_set(256 + numbers.below(50) as u16, None, &content);
        }
        let seen = read(&mut session, 1, &message.finish().expect("fits")).unwrap();
        for event in seen.events {
            match event {
                Event::Waiting { .. } => waited += 1,
                Event::Expired { .. } => expired += 1,
                _ => {}
            }
        }
    }
    assert_eq!(waited, expired + session.decoder.waiting().0);
}

/// How long reading takes, the best of several.
fn time_of(mut read: impl FnMut()) -> Duration {
    let timed = |_| {
        let start = Instant::now();
        read();
        start.elapsed()
    };
    (0..5).map(timed).min().unwrap_or_default()
}

#[test]
fn a_look_up_costs_the_same_however_many_ports_know_the_id() {
    let time_with = |ports: u16| {
        let mut session = Session::default();
        for port in 1..=ports {
            let mut message = writer(Version::V9, 7);
            // All mean the same but the last.
            message.template(256, if port == ports { &FIELDS[1..] } else { &FIELDS });
            read(&mut session, port, &message.finish().expect("fits")).unwrap();
        }
        let mut message = writer(Version::V9, 7);
        for _ in 0..2000 {
            message.raw_set(256, None, &[]);
        }
        let octets = message.finish().expect("fits");
        time_of(|| {
            read(&mut session, 60_000, &octets).unwrap();
        })
    };
    let (few, many) = (time_with(2), time_with(4000));
    assert!(many < few * 40, "{few:?} with 2 ports, {many:?} with 4000");
}

#[test]
fn empty_fields_cost_no_more_than_the_octets_sent() {
    // A thousand empty fields beside one of an octet would be visited for each octet of data.
    let mut fields = vec![Field::new(1, 0); 1000];
    fields.push(Field::new(4, 1));
    let mut message = writer(Version::V9, 7);
    message
        .template(256, &fields)
        .raw_set(256, None, &[6; 50_000]);
    let seen = read(&mut Session::default(), 1, &message.finish().expect("fits")).unwrap();
    assert_eq!(seen.records, 0);
    assert!(matches!(
        seen.bad[..],
        [SetError::TooManyFields { fields: 1000, .. }]
    ));
}

#[test]
fn a_fixed_version_has_as_many_records_as_are_there_and_counted() {
    for (count, octets, expected) in [
        (3, 3 * 48, 3),
        (2, 3 * 48, 2),
        (30, 3 * 48, 3),
        (3, 143, 2),
        (0, 48, 0),
        (65_535, 47, 0),
    ] {
        let header = V5Header {
            count: Some(count),
            ..V5Header::default()
        };
        let mut datagram = v5(&header, &[]).unwrap();
        datagram.resize(24 + octets, 1);
        let seen = read(&mut Session::default(), 1, &datagram).unwrap();
        assert_eq!(seen.records, expected, "{count} counted, {octets} octets");
    }
}

#[test]
fn garbage_is_refused_by_its_header() {
    let mut numbers = Numbers(3);
    for len in 0..200 {
        let octets = numbers.octets(len);
        if Message::parse(&octets).is_ok() {
            read(&mut Session::default(), 1, &octets);
        }
    }
    for octets in [&[][..], &[0], &[0, 5], &[0, 9, 0, 0], &[0, 10, 0, 16]] {
        assert_eq!(
            Message::parse(octets).unwrap_err().reason(),
            "truncated",
            "{octets:?}"
        );
    }
}
