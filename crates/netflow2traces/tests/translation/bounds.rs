//! However much comes: what one datagram may cause is bounded, the rest is counted, and nothing legitimate is lost.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use netflow_wire::write::Field;
use netflow2traces::config::AttributeLevel;
use otlp_wire::EncodedBatch;

use super::rig::{Rig, f, ipfix, options, record, rig, rig_with, v9};

const LEVELS: [AttributeLevel; 3] = [
    AttributeLevel::Minimal,
    AttributeLevel::Standard,
    AttributeLevel::All,
];

/// Octets of flow spans that a datagram of so many octets may cause (docs/bounds.md).
fn budget(octets: usize) -> usize {
    (4 << 20).max(128 * octets)
}

/// Work spans, and resources in each batch.
const AROUND: usize = 64 << 10;

/// Names interface 7 with 255 octets.
fn long_name() -> Vec<u8> {
    let name = "n".repeat(255);
    options(v9(1), &[f(1, 4)], &[f(10, 4), f(82, 255)], |r| {
        r.u32(0).u32(7).text(&name, 255);
    })
}

/// One-octet records, each of which refers to interface 7.
fn tiny_records(records: usize) -> Vec<u8> {
    let mut message = v9(1);
    message.data_set(256, |set| {
        for _ in 0..records {
            set.record(|r| {
                r.u8(7);
            });
        }
    });
    message.finish().expect("fits")
}

fn tiny_template() -> Vec<u8> {
    let mut message = v9(1);
    message.template(256, &[f(10, 1)]);
    message.finish().expect("fits")
}

fn octets(batches: &[EncodedBatch]) -> usize {
    batches.iter().map(|batch| batch.octets.len()).sum()
}

/// A rig whose batches come as they finish.
fn rig_with_sink() -> (Rig, Receiver<EncodedBatch>) {
    let mut rig = rig();
    let (sender, batches) = channel();
    rig.translator().hand_over_to(move |batch| {
        let _ = sender.send(batch);
    });
    (rig, batches)
}

#[test]
fn a_datagram_of_tiny_records_causes_no_more_than_its_budget_and_every_record_is_counted() {
    for level in LEVELS {
        let mut rig = rig_with(|config| config.attributes = level);
        rig.spans(&long_name());
        rig.spans(&tiny_template());
        let datagram = tiny_records(65_000);
        rig.take("192.0.2.1:2055", &datagram);
        let out = octets(&rig.flush());
        assert!(out <= budget(datagram.len()) + AROUND, "{level:?}: {out}");
        let counters = rig.counters();
        let (spans, cut) = (counters.flow_spans.value(), counters.records_cut.value());
        assert_eq!(spans + cut, 65_000, "{level:?}");
        assert!(spans > 10_000, "{level:?}: {spans}");
    }
}

#[test]
fn a_large_message_of_small_legitimate_records_loses_nothing() {
    let fields = [
        f(8, 4),
        f(12, 4),
        f(7, 2),
        f(11, 2),
        f(1, 4),
        f(2, 3),
        f(4, 1),
    ];
    for level in LEVELS {
        let mut rig = rig_with(|config| config.attributes = level);
        let mut message = ipfix(1);
        message.template(256, &fields).data_set(256, |set| {
            for number in 0..3270_u32 {
                set.record(|r| {
                    r.ipv4([192, 0, 2, 1]).ipv4([198, 51, 100, 7]);
                    r.u16(443).u16(50_000).u32(number).bytes(&[0, 1, 2]).u8(6);
                });
            }
        });
        let datagram = message.finish().expect("fits");
        assert!(datagram.len() > 65_000);
        rig.take("192.0.2.1:2055", &datagram);
        rig.flush();
        let counters = rig.counters();
        assert_eq!(counters.flow_spans.value(), 3270, "{level:?}");
        assert_eq!(counters.records_cut.value(), 0, "{level:?}");
    }
}

#[test]
fn sets_that_waited_are_read_in_rounds_each_within_the_budget_of_a_datagram() {
    let (mut rig, batches) = rig_with_sink();
    rig.take("192.0.2.1:2055", &long_name());
    for _ in 0..4 {
        rig.take("192.0.2.1:2055", &tiny_records(60_000));
    }
    rig.take("192.0.2.1:2055", &tiny_template());
    // The batch that is being filled belongs to two rounds.
    let largest_round = budget(60_000) + (2 << 20);
    let mut rounds = 0;
    let mut out: usize = batches.try_iter().map(|batch| batch.octets.len()).sum();
    assert_eq!(
        out, 0,
        "much waits: it is read when others have had their turn"
    );
    while rig
        .translator()
        .next_deadline()
        .is_some_and(|due| due <= rig.now)
    {
        rig.take("192.0.2.2:2055", &tiny_template());
        rig.pass(Duration::ZERO);
        let round: usize = batches.try_iter().map(|batch| batch.octets.len()).sum();
        assert!(round <= largest_round, "{round}");
        out += round;
        rounds += 1;
    }
    assert!(rounds >= 4, "{rounds}");
    let counters = rig.counters();
    assert_eq!(counters.sets_decoded_late.value(), 4);
    assert_eq!(counters.sets_waiting.value(), 0);
    let (spans, cut) = (counters.flow_spans.value(), counters.records_cut.value());
    assert_eq!(spans + cut, 240_000);
    assert!(out <= 4 * largest_round);
}

#[test]
fn sets_that_wait_for_their_turn_at_the_end_are_read_then() {
    let (mut rig, batches) = rig_with_sink();
    for _ in 0..4 {
        rig.take("192.0.2.1:2055", &tiny_records(60_000));
    }
    rig.take("192.0.2.1:2055", &tiny_template());
    rig.translator().flush();
    let spans: u32 = batches.try_iter().map(|batch| batch.flow_spans).sum();
    let cut = rig.counters().records_cut.value();
    assert_eq!(u64::from(spans) + cut, 240_000);
}

#[test]
fn data_of_more_templates_than_one_datagram_may_have_compiled_wait_for_their_turn() {
    let (mut rig, batches) = rig_with_sink();
    let mut message = ipfix(1);
    for id in 256..2256_u16 {
        message.template(id, &[f(8, 4)]);
    }
    rig.take("192.0.2.1:2055", &message.finish().expect("fits"));
    let mut message = ipfix(1);
    for id in 256..2256_u16 {
        message.data_set(id, |set| {
            set.record(|r| {
                r.ipv4([192, 0, 2, 1]);
            });
        });
    }
    rig.take("192.0.2.1:2055", &message.finish().expect("fits"));
    let counters = rig.counters();
    assert!(counters.sets_waited.value() > 0);
    while rig
        .translator()
        .next_deadline()
        .is_some_and(|due| due <= rig.now)
    {
        rig.pass(Duration::ZERO);
    }
    // As many may wait as of any template; the others are counted.
    let read = counters.flow_spans.value();
    assert_eq!(read + counters.sets_expired.value(), 2000);
    assert!(read > 1300, "{read}");
    rig.translator().flush();
    let spans: u32 = batches.try_iter().map(|batch| batch.flow_spans).sum();
    assert_eq!(u64::from(spans), read);
}

/// A list whose template has 60 fields of no octets and one octet.
#[test]
fn lists_are_cut_before_records() {
    let mut rig = rig_with(|config| config.attributes = AttributeLevel::All);
    let empty = (0..60).map(|n| Field::enterprise(9999, 100 + n, 0));
    let fields: Vec<_> = empty.chain([f(1, 1)]).collect();
    let mut message = ipfix(1);
    // 292 is a subTemplateList.
    message
        .template(300, &fields)
        .template(256, &[f(4, 1), f(292, 4000)]);
    rig.take("192.0.2.1:2055", &message.finish().expect("fits"));
    let mut message = ipfix(1);
    message.data_set(256, |set| {
        for _ in 0..16 {
            let list: Vec<_> = [3, 1, 44].into_iter().chain([7; 3997]).collect();
            set.record(|r| {
                r.u8(6).bytes(&list);
            });
        }
    });
    let datagram = message.finish().expect("fits");
    let before = rig.counters().flow_spans.value();
    rig.take("192.0.2.1:2055", &datagram);
    let out = octets(&rig.flush());
    assert!(out <= budget(datagram.len()) / 2 + AROUND, "{out}");
    let counters = rig.counters();
    assert_eq!(counters.flow_spans.value() - before, 16);
    assert_eq!(counters.records_cut.value(), 0);
    assert_eq!(counters.lists_cut.value(), 16, "each is too long");
}

#[test]
fn records_over_the_rate_are_counted_and_have_no_span() {
    let mut rig = rig_with(|config| config.max_record_rate_per_exporter = Some(100));
    rig.spans(&tiny_template());
    let spans = |rig: &mut Rig, source: &str, records| {
        rig.take(source, &tiny_records(records));
        rig.flush()
            .iter()
            .map(|batch| batch.flow_spans)
            .sum::<u32>()
    };
    assert_eq!(spans(&mut rig, "192.0.2.1:2055", 72), 72);
    assert_eq!(spans(&mut rig, "192.0.2.1:2055", 72), 28);
    assert_eq!(spans(&mut rig, "192.0.2.1:2055", 72), 0);
    rig.pass(Duration::from_millis(500));
    assert_eq!(spans(&mut rig, "192.0.2.1:2055", 72), 50);
    let counters = rig.counters();
    assert_eq!(counters.records_rate_limited.value(), 44 + 72 + 22);
    // Templates and options data are learned anyway, and another exporter has a rate of its own.
    rig.take(
        "192.0.2.1:2055",
        &record(ipfix(1), &[f(8, 4)], |r| {
            r.ipv4([192, 0, 2, 1]);
        }),
    );
    assert_eq!(counters.templates_learnt.value(), 2);
    rig.take("192.0.2.2:2055", &tiny_template());
    assert_eq!(spans(&mut rig, "192.0.2.2:2055", 72), 72);
}
