//! `NETFLOW_TRACE_SHAPE` and `NETFLOW_SPAN_NAME`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use netflow_wire::write::{V5Record, v5};
use netflow2traces::config::{Semconv, SpanName, TraceSampler, TraceShape, Translate};

use super::rig::{Rig, Span, UPTIME_MS, f, ipfix, record, rig_with, spans, v5_header};

/// An address and a port.
type End = ([u8; 4], u16);

const CLIENT: End = ([10, 0, 0, 1], 50_000);
const SERVER: End = ([192, 0, 2, 1], 443);

fn conversation(key: u8) -> impl Fn(&mut Translate) {
    move |config| {
        config.shape = TraceShape::Conversation {
            window: Duration::from_secs(600),
            key: Some([key; 16]),
        };
    }
}

/// A datagram of records between these ends.
fn datagram(pairs: &[(End, End)]) -> Vec<u8> {
    let flows: Vec<_> = pairs
        .iter()
        .map(|(source, destination)| V5Record {
            source: source.0.into(),
            destination: destination.0.into(),
            source_port: source.1,
            destination_port: destination.1,
            protocol: 6,
            first_ms: UPTIME_MS - 5000,
            last_ms: UPTIME_MS - 1000,
            ..V5Record::default()
        })
        .collect();
    v5(&v5_header(), &flows).expect("fits")
}

fn all(rig: &mut Rig, source: &str, octets: &[u8]) -> Vec<Span> {
    rig.take(source, octets);
    rig.flush().iter().flat_map(spans).collect()
}

#[test]
fn each_record_is_a_trace_of_one_root_span_without_spans_of_the_work() {
    let mut rig = rig_with(|config| config.shape = TraceShape::Flow);
    let found = rig.spans(&datagram(&[
        (CLIENT, SERVER),
        (CLIENT, SERVER),
        (SERVER, CLIENT),
    ]));
    assert_eq!(found.len(), 3);
    assert!(
        found
            .iter()
            .all(|span| span.name == "netflow.flow" && span.parent.is_empty())
    );
    let traces: HashSet<_> = found.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 3);
    // A datagram that can't be read is counted, without a span.
    assert!(rig.spans(b"garbage").is_empty());
    assert_eq!(rig.counters().datagrams_rejected(), 1);
}

#[test]
fn a_conversation_has_both_directions_and_all_exporters_in_one_trace() {
    let mut rig = rig_with(conversation(7));
    let there = all(&mut rig, "192.0.2.1:2055", &datagram(&[(CLIENT, SERVER)]));
    let back = all(
        &mut rig,
        "192.0.2.99:2055",
        &datagram(&[(SERVER, CLIENT), (CLIENT, SERVER)]),
    );
    let other = all(
        &mut rig,
        "192.0.2.1:2055",
        &datagram(&[(CLIENT, (SERVER.0, 444))]),
    );
    let traces: HashSet<_> = there
        .iter()
        .chain(&back)
        .map(|span| &span.trace_id)
        .collect();
    assert_eq!(traces.len(), 1);
    assert!(!traces.contains(&other[0].trace_id));
    let ids: HashSet<_> = there.iter().chain(&back).map(|span| &span.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(there.iter().chain(&back).all(|span| span.parent.is_empty()));
    // Another process with the same key has the same ids, and one with another key has not.
    let mut again = rig_with(conversation(7));
    let mut foreign = rig_with(conversation(8));
    let pair = datagram(&[(CLIENT, SERVER)]);
    assert_eq!(again.spans(&pair)[0].trace_id, there[0].trace_id);
    assert_ne!(foreign.spans(&pair)[0].trace_id, there[0].trace_id);
}

#[test]
fn a_conversation_moves_on_to_another_trace_before_it_is_too_large() {
    let mut rig = rig_with(conversation(7));
    let pair = datagram(&[(CLIENT, SERVER); 30]);
    let mut records = BTreeMap::<_, usize>::new();
    for _ in 0..100 {
        for span in rig.spans(&pair) {
            *records.entry(span.trace_id).or_default() += 1;
        }
    }
    assert_eq!(records.values().sum::<usize>(), 3000);
    assert_eq!(records.values().collect::<Vec<_>>(), [&1000, &1000, &1000]);
}

#[test]
fn a_record_without_endpoints_is_a_trace_of_its_own() {
    let mut rig = rig_with(conversation(7));
    let octets = record(ipfix(0), &[f(1, 4)], |record| {
        record.u32(1);
    });
    let (one, other) = (rig.flow(&octets), rig.flow(&octets));
    assert_ne!(one.trace_id, other.trace_id);
}

#[test]
fn the_sampler_decides_by_each_flows_own_trace() {
    let mut rig = rig_with(|config| {
        config.shape = TraceShape::Flow;
        config.sampler = TraceSampler::Ratio(0.5);
    });
    let pairs = datagram(&[(CLIENT, SERVER); 30]);
    let kept: usize = (0..100).map(|_| rig.spans(&pairs).len()).sum();
    assert!((1200..1800).contains(&kept), "{kept}");
    let counters = rig.counters();
    let left_out = counters.records_sampled_out.value();
    assert_eq!(kept as u64 + left_out, 3000);
    // A conversation is kept whole or not at all.
    let mut rig = rig_with(|config| {
        conversation(7)(config);
        config.sampler = TraceSampler::Ratio(0.5);
    });
    for port in 1000..1100 {
        let there = ((CLIENT.0, port), SERVER);
        let found = rig.spans(&datagram(&[there, (there.1, there.0)]));
        assert!(found.is_empty() || found.len() == 2, "{found:?}");
    }
}

#[test]
fn spans_are_named_as_the_schema_or_the_service_says() {
    let names = |semconv, span_name, pairs: &[_]| {
        let mut rig = rig_with(|config| {
            config.semconv = semconv;
            config.span_name = span_name;
        });
        let flows = rig.flows(&datagram(pairs)).into_iter();
        flows.map(|span| span.name).collect::<Vec<_>>()
    };
    let both = [(CLIENT, SERVER), (SERVER, CLIENT)];
    let unknown = [((CLIENT.0, 50_001), (SERVER.0, 50_000))];
    assert_eq!(
        names(Semconv::Netflow, SpanName::Schema, &both),
        ["netflow.flow"; 2]
    );
    assert_eq!(
        names(Semconv::Both, SpanName::Schema, &both),
        ["netflow.flow"; 2]
    );
    assert_eq!(
        names(Semconv::Flow, SpanName::Schema, &both),
        ["flow_ipv4_tcp"; 2]
    );
    assert_eq!(
        names(Semconv::Netflow, SpanName::Service, &both),
        ["https"; 2]
    );
    assert_eq!(names(Semconv::Flow, SpanName::Service, &unknown), ["tcp"]);
}
