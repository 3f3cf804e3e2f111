//! Requests: each exporter once, none too large, every span in one of them, none too late.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use netflow2traces::config::TraceSampler;

use super::rig::{f, record, resources, rig, rig_with, spans, v5_flows, v5_header, v9};

#[test]
fn an_exporter_stands_once_in_a_request_with_all_its_spans() {
    let mut rig = rig();
    for round in 0..6 {
        let source = format!("192.0.2.{}:{}", 1 + round % 3, 2000 + round);
        rig.take(&source, &v5_flows(&v5_header(), 2));
    }
    let [batch] = &rig.flush()[..] else {
        panic!("one batch")
    };
    assert_eq!((batch.flow_spans, batch.work_spans), (12, 18));
    let mut order = Vec::new();
    let mut count = HashMap::<_, usize>::new();
    for span in spans(batch) {
        if order.last() != Some(&span.exporter) {
            order.push(span.exporter.clone());
        }
        *count.entry(span.exporter).or_default() += 1;
    }
    assert_eq!(order, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert!(count.values().all(|spans| *spans == 10), "{count:?}");
}

#[test]
fn no_request_is_larger_than_asked_and_every_span_is_in_one() {
    for (max_octets, exporters) in [(4096, 1), (4096, 5), (65_536, 1), (65_536, 40)] {
        let mut rig = rig_with(|config| config.batch_max_octets = max_octets);
        let mut batches = Vec::new();
        for round in 0..120_usize {
            let source = format!("192.0.2.{}:2055", 1 + round * 7 % exporters);
            rig.take(&source, &v5_flows(&v5_header(), 1 + round % 30));
            batches.extend(rig.poll());
        }
        batches.extend(rig.flush());
        let mut ids = HashSet::new();
        let mut flows = 0;
        for batch in &batches {
            assert!(batch.octets.len() <= max_octets, "{}", batch.octets.len());
            for span in spans(batch) {
                flows += usize::from(span.name == "netflow.flow");
                assert!(ids.insert(span.id), "a span twice");
            }
        }
        assert_eq!(flows, (0..120).map(|round| 1 + round % 30).sum::<usize>());
        assert_eq!(ids.len(), flows + 3 * 120);
        let counters = rig.counters();
        assert_eq!(counters.flow_spans.value(), flows as u64);
        assert_eq!(counters.batches.value(), batches.len() as u64);
        let octets: usize = batches.iter().map(|batch| batch.octets.len()).sum();
        assert_eq!(counters.batch_octets.value(), octets as u64);
    }
}

#[test]
fn a_request_leaves_with_its_spans_full_or_its_time_over() {
    let mut rig = rig_with(|config| {
        config.batch_max_spans = 20;
        config.batch_delay = Duration::from_secs(1);
    });
    rig.take("192.0.2.1:2055", &v5_flows(&v5_header(), 30));
    let full = rig.poll();
    assert_eq!(
        full.iter().map(|batch| batch.spans()).collect::<Vec<_>>(),
        [20]
    );
    rig.pass(Duration::from_millis(999));
    assert!(rig.poll().is_empty());
    rig.pass(Duration::from_millis(1));
    let aged = rig.poll();
    assert_eq!(
        aged.iter().map(|batch| batch.spans()).collect::<Vec<_>>(),
        [13]
    );
}

#[test]
fn a_record_too_large_for_any_request_is_counted_and_costs_no_other() {
    let mut rig = rig_with(|config| config.batch_max_octets = 4096);
    let fields = [f(371, 6000), f(8, 4)];
    let mut message = v9(1);
    message
        .template(256, &fields)
        .template(257, &fields[1..])
        .data_set(257, |set| {
            set.record(|r| {
                r.ipv4([192, 0, 2, 1]);
            });
        })
        .data_set(256, |set| {
            set.record(|r| {
                r.bytes(&[b'x'; 6000]).ipv4([192, 0, 2, 2]);
            });
        })
        .data_set(257, |set| {
            set.record(|r| {
                r.ipv4([192, 0, 2, 3]);
            });
        });
    let flows = rig.flows(&message.finish().expect("fits"));
    let sources: Vec<_> = flows
        .iter()
        .map(|span| span.get("source.address"))
        .collect();
    assert_eq!(sources, ["192.0.2.1", "192.0.2.3"]);
    assert_eq!(rig.counters().records_too_large.value(), 1);
}

#[test]
fn records_of_traces_left_out_are_counted() {
    let mut rig = rig_with(|config| config.sampler = TraceSampler::AlwaysOff);
    assert!(rig.spans(&v5_flows(&v5_header(), 7)).is_empty());
    assert_eq!(rig.counters().records_sampled_out.value(), 7);
}

#[test]
fn the_same_records_give_the_same_flows_in_one_message_or_in_many() {
    let fields = [f(8, 4), f(7, 2), f(1, 4), f(4, 1)];
    let write = |r: &mut netflow_wire::write::Record, n: u32| {
        r.u32(n).u16(n as u16).u32(n * 9).u8(n as u8);
    };
    let mut whole = v9(1);
    whole.template(256, &fields).data_set(256, |set| {
        for n in 0..40 {
            set.record(|r| write(r, n));
        }
    });
    let whole = rig().flows(&whole.finish().expect("fits"));
    let mut rig = rig();
    let mut parts = Vec::new();
    for n in 0..40 {
        parts.extend(rig.flows(&record(v9(1), &fields, |r| write(r, n))));
    }
    let attributes = |spans: Vec<super::rig::Span>| {
        let attributes = spans
            .into_iter()
            .map(|span| (span.start, span.end, span.attributes));
        attributes.collect::<Vec<_>>()
    };
    assert_eq!(attributes(whole), attributes(parts));
}

#[test]
fn data_that_waited_makes_the_flows_it_would_have_made() {
    let fields = [f(8, 4), f(7, 2)];
    let mut data = v9(1);
    data.declare(256, &fields).data_set(256, |set| {
        set.record(|r| {
            r.ipv4([192, 0, 2, 1]).u16(80);
        });
    });
    let mut rig = rig();
    assert!(rig.flows(&data.finish().expect("fits")).is_empty());
    let mut template = v9(1);
    template.template(256, &fields);
    let late = rig.flow(&template.finish().expect("fits"));
    assert_eq!(late.get("source.address"), "192.0.2.1");
    assert_eq!(late.get("source.port"), 80);
    let counters = rig.counters();
    assert_eq!(
        (
            counters.sets_waited.value(),
            counters.sets_decoded_late.value()
        ),
        (1, 1)
    );
}

#[test]
fn a_malformed_datagram_stands_under_its_exporters_resource() {
    let mut rig = rig();
    rig.take("192.0.2.1:2055", &v5_flows(&v5_header(), 1));
    rig.take("192.0.2.1:2055", &[0, 5, 0]);
    rig.take("192.0.2.9:2055", &[0, 99, 0]);
    let [batch] = &rig.flush()[..] else {
        panic!("one batch")
    };
    assert_eq!(resources(batch), ["192.0.2.1", "192.0.2.9"]);
    assert_eq!((batch.flow_spans, batch.work_spans), (1, 5));
    assert_eq!(rig.counters().datagrams_rejected(), 2);
}

#[test]
fn malformed_datagrams_are_shown_once_a_second_and_all_counted() {
    let mut rig = rig();
    rig.take("192.0.2.1:2055", &v5_flows(&v5_header(), 1));
    rig.flush();
    for round in 0..10 {
        for _ in 0..100 {
            rig.take("192.0.2.1:2055", &[0, 5, 0]);
        }
        let shown: u32 = rig.flush().iter().map(|batch| batch.work_spans).sum();
        assert_eq!(shown, 1, "round {round}");
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(rig.counters().datagrams_truncated.value(), 1000);
    // Invented sources share one limit.
    for source in 10..200 {
        rig.take(&format!("192.0.2.{source}:1"), &[0, 99]);
    }
    let shown: u32 = rig.flush().iter().map(|batch| batch.work_spans).sum();
    assert_eq!(shown, 1);
}
