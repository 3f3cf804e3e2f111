//! Which records become spans: filters, what is always kept, sampling by size and by ratio.

use std::num::NonZeroU64;
use std::sync::Arc;

use netflow_wire::write::{V5Record, v5};
use netflow2traces::config::{Selection, TraceSampler, TraceShape, Translate};
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{Places, View};

use crate::rig::{Rig, Span, f, ipfix, record, rig_with, v5_header, v9};

/// Records of 1,000 bytes to the destination port that each is given.
fn to_ports(ports: &[u16]) -> Vec<u8> {
    let records: Vec<V5Record> = ports
        .iter()
        .map(|port| V5Record {
            source: [192, 0, 2, 7].into(),
            destination: [198, 51, 100, 9].into(),
            destination_port: *port,
            packets: 10,
            octets: 1_000,
            input: 4,
            protocol: 6,
            ..V5Record::default()
        })
        .collect();
    v5(&v5_header(), &records).expect("fits")
}

fn selecting(selection: Selection) -> Rig {
    rig_with(|config| config.selection = selection)
}

fn filter(text: &str) -> Selection {
    Selection {
        filter: Some(text.parse().expect("a filter")),
        ..Selection::default()
    }
}

fn sample_bytes(size: u64) -> Selection {
    Selection {
        sample_bytes: NonZeroU64::new(size),
        ..Selection::default()
    }
}

fn keep(text: &str) -> Selection {
    Selection {
        keep: Some(text.parse().expect("a filter")),
        ..Selection::default()
    }
}

/// Spans of both kinds, then records left out: by a filter, by a ratio, by their size.
fn counts(rig: &Rig) -> [u64; 5] {
    let counters = rig.counters();
    [
        counters.flow_spans.value(),
        counters.work_spans.value(),
        counters.records_filtered.value(),
        counters.records_sampled_out.value(),
        counters.records_sampled_by_size.value(),
    ]
}

/// Flows and bytes that the one view has counted.
fn metered(rig: &mut Rig) -> (u64, u64) {
    let reading = rig.flow_metrics();
    let (_, view) = &reading.views[0];
    let totals = view.series.iter().map(|series| series.totals);
    totals.fold((0, 0), |(flows, bytes), totals| {
        (flows + totals.flows, bytes + totals.bytes)
    })
}

#[test]
fn what_a_filter_excludes_is_neither_span_nor_metric() {
    let mut rig = selecting(filter("dst port 443"));
    rig.count_flows(&Places::new([View::Exporter].into_iter().collect(), 10));
    let spans = rig.spans(&to_ports(&[443, 80, 443, 53]));
    let ports: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "netflow.flow")
        .map(|span| span.get("destination.port").clone())
        .collect();
    assert_eq!(ports, [443, 443]);
    let export = spans.iter().find(|span| span.name == "netflow.export");
    let export = export.expect("the trace's root");
    assert_eq!(export.get("netflow.flow.count"), 4);
    assert_eq!(export.get("netflow.flow.kept"), 2);
    assert_eq!(counts(&rig), [2, 3, 2, 0, 0]);
    assert_eq!(metered(&mut rig), (2, 2_000));
    // Nothing is left of it: no trace either.
    assert!(rig.spans(&to_ports(&[80, 53])).is_empty());
    assert_eq!(counts(&rig), [2, 3, 4, 0, 0]);
    assert_eq!(metered(&mut rig), (2, 2_000));
}

#[test]
fn without_a_selection_a_trace_does_not_say_how_many_were_kept() {
    let mut rig = rig_with(|_| {});
    let export = rig.export(&to_ports(&[443, 80]));
    assert_eq!(export.get("netflow.flow.kept"), &serde_json::Value::Null);
    assert!(export.trace_state.is_empty());
    assert_eq!(export.flags, 0);
}

#[test]
fn filters_see_more_than_the_level_shows() {
    let fields = [
        f(8, 4),
        f(6, 1),
        f(4, 1),
        f(58, 2),
        f(61, 1),
        f(1, 4),
        f(21, 4),
        f(22, 4),
    ];
    let message = |vlan| {
        record(v9(1), &fields, |r| {
            r.ipv4([192, 0, 2, 7])
                .u8(0x12)
                .u8(6)
                .u16(vlan)
                .u8(1)
                .u32(100)
                .u32(990_000)
                .u32(980_000);
        })
    };
    let text = "flags SA and vlan 7 and direction egress and duration 10s and exporter 192.0.2.1";
    let mut rig = rig_with(|config| {
        config.selection = filter(text);
        config.attributes = netflow2traces::config::AttributeLevel::Minimal;
    });
    assert_eq!(rig.flows(&message(7)).len(), 1);
    assert_eq!(rig.flows(&message(8)).len(), 0);
}

#[test]
fn a_code_point_is_an_element_of_its_own_or_part_of_the_type_of_service() {
    let of_type = |element, value: u8| {
        record(ipfix(1), &[f(8, 4), f(element, 1)], |record| {
            record.bytes(&[192, 0, 2, 7]).u8(value);
        })
    };
    let mut rig = selecting(filter("dscp EF"));
    assert_eq!(rig.flow(&of_type(195, 46)).get("netflow.dscp"), 46);
    assert_eq!(rig.flows(&of_type(195, 34)).len(), 0);
    assert_eq!(rig.flow(&of_type(5, 46 << 2)).get("netflow.tos"), 184);
    assert_eq!(rig.flows(&of_type(5, 46)).len(), 0);
}

#[test]
fn the_smaller_a_record_the_rarer_its_span() {
    let mut rig = selecting(sample_bytes(10_000));
    rig.count_flows(&Places::new([View::Exporter].into_iter().collect(), 10));
    let mut adjusted = 0;
    for _ in 0..100 {
        for flow in rig.flows(&to_ports(&[443; 30])) {
            assert_eq!(flow.get("netflow.flow.bytes"), 1_000);
            assert_eq!(flow.get("netflow.sample.adjusted_bytes"), 10_000);
            assert!(flow.trace_state.is_empty());
            adjusted += 10_000;
        }
    }
    // One in ten of 3,000, and five standard deviations of that: 16 records.
    assert!((2_180_000..3_820_000).contains(&adjusted), "{adjusted}");
    let [spans, _, _, _, by_size] = counts(&rig);
    assert_eq!(spans + by_size, 3_000);
    assert_eq!(metered(&mut rig), (3_000, 3_000_000));
}

#[test]
fn sizes_are_those_before_the_exporter_sampled() {
    let fields = [f(8, 4), f(1, 4), f(34, 4)];
    let message = record(ipfix(1), &fields, |r| {
        r.ipv4([192, 0, 2, 7]).u32(100).u32(50);
    });
    for scale in [false, true] {
        let mut rig = rig_with(|config| {
            config.selection = sample_bytes(5_000);
            config.scale_sampled = scale;
        });
        for _ in 0..50 {
            let flow = rig.flow(&message);
            assert_eq!(flow.get("netflow.sample.adjusted_bytes"), 5_000);
        }
    }
}

#[test]
fn what_is_to_be_kept_is_kept_by_every_sampler() {
    let mut rig = rig_with(|config| {
        config.selection = keep("dst port 53");
        config.sampler = TraceSampler::AlwaysOff;
    });
    rig.count_flows(&Places::new([View::Exporter].into_iter().collect(), 10));
    let spans = rig.spans(&to_ports(&[443, 53, 80]));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let work = [
        "netflow.export",
        "netflow.parse_packet",
        "netflow.process_flows",
    ];
    assert_eq!(names, ["netflow.flow", work[0], work[1], work[2]]);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
    assert_eq!(counts(&rig), [1, 3, 0, 2, 0]);
    assert!(rig.spans(&to_ports(&[443])).is_empty());
    assert_eq!(counts(&rig), [1, 3, 0, 3, 0]);
    assert_eq!(metered(&mut rig), (4, 4_000));

    let mut rig = selecting(Selection {
        sample_bytes: NonZeroU64::new(1 << 40),
        ..keep("dst port 53")
    });
    let flow = rig.flow(&to_ports(&[443, 53]));
    assert_eq!(flow.get("netflow.sample.adjusted_bytes"), 1_000);
}

#[test]
fn spans_of_a_ratio_carry_its_threshold() {
    let ratio = |change: fn(&mut Translate)| {
        rig_with(|config| {
            config.sampler = TraceSampler::Ratio(0.25);
            change(config);
        })
    };
    let mut rig = ratio(|_| {});
    let mut kept = 0;
    for _ in 0..400 {
        for span in rig.spans(&to_ports(&[443, 53])) {
            assert_eq!(span.trace_state, "ot=th:c");
            // Sampled, with a random id; the parent is known not to be remote.
            assert_eq!(span.flags, 0x103);
            // The right-most 56 bits are not below the threshold.
            assert!(span.trace_id[9] >= 0xc0);
            kept += 1;
        }
    }
    assert!((300..700).contains(&kept), "{kept} of 2,000");

    // What is kept in any case was sure of its place, whatever its trace was.
    let mut rig = ratio(|config| config.selection = keep("dst port 53"));
    let (mut alone, mut beside) = (0, 0);
    for _ in 0..100 {
        let spans = rig.spans(&to_ports(&[443, 53]));
        let state = |port: u16| {
            let mut flows = spans
                .iter()
                .filter(|span| span.get("destination.port") == port);
            flows.next().map(|span| span.trace_state.as_str())
        };
        assert_eq!(state(53), Some("ot=th:0"));
        let export = spans.iter().find(|span| span.name == "netflow.export");
        let export = export.expect("the trace's root").trace_state.as_str();
        match state(443) {
            Some(threshold) => {
                assert_eq!((threshold, export), ("ot=th:c", "ot=th:c"));
                beside += 1;
            }
            None => {
                assert_eq!(export, "");
                alone += 1;
            }
        }
    }
    assert!(alone > 50 && beside > 10, "{alone} {beside}");
}

/// What a threshold in a span's state rejects, of 2^56.
fn rejected(span: &Span) -> u64 {
    let digits = span
        .trace_state
        .strip_prefix("ot=th:")
        .expect("a threshold");
    u64::from_str_radix(&format!("{digits:0<14}"), 16).expect("hexadecimal digits")
}

#[test]
fn a_flow_that_is_a_trace_carries_the_larger_threshold_of_ratio_and_size() {
    const ALL: f64 = (1_u64 << 56) as f64;
    for (ratio, size, probability) in [
        (1.0_f64, None, None),
        (1.0, Some(500), Some(1.0)),
        (1.0, Some(4_000), Some(0.25)),
        (0.5, None, Some(0.5)),
        (0.5, Some(4_000), Some(0.25)),
        (0.25, Some(2_000), Some(0.25)),
    ] {
        let mut rig = rig_with(|config| {
            config.shape = TraceShape::Flow;
            if ratio < 1.0 {
                config.sampler = TraceSampler::Ratio(ratio);
            }
            config.selection = Selection {
                sample_bytes: size.and_then(NonZeroU64::new),
                ..keep("dst port 53")
            };
        });
        // Records of 1,000 bytes.
        let flows: Vec<_> = (0..100)
            .flat_map(|_| rig.flows(&to_ports(&[443, 443, 443, 53])))
            .collect();
        let (named, others): (Vec<_>, Vec<_>) = flows
            .iter()
            .partition(|flow| flow.get("destination.port") == 53);
        assert_eq!(named.len(), 100);
        let Some(probability) = probability else {
            assert!(flows.iter().all(|flow| flow.trace_state.is_empty()));
            continue;
        };
        for flow in &named {
            assert_eq!(flow.trace_state, "ot=th:0", "{ratio} {size:?}");
        }
        let expected: f64 = 300.0 * probability;
        let deviation = (expected * (1.0 - probability)).sqrt();
        assert!(
            (others.len() as f64 - expected).abs() <= 5.0 * deviation,
            "{ratio} {size:?}"
        );
        for flow in &others {
            let rejected = rejected(flow);
            assert!(
                (1.0 - rejected as f64 / ALL - probability).abs() < 1e-4,
                "{ratio} {size:?}"
            );
            let random = flow
                .trace_id
                .iter()
                .skip(9)
                .fold(0, |bits, octet| bits << 8 | u64::from(*octet));
            assert!(random >= rejected, "{random:x} {rejected:x}");
            assert_eq!(flow.flags, 0x103);
            let adjusted = size.map(|_| (1_000.0 / probability) as u64);
            assert_eq!(flow.get("netflow.sample.adjusted_bytes").as_u64(), adjusted);
        }
    }
}

#[test]
fn adjusted_bytes_make_up_for_the_ratio_too() {
    let mut rig = rig_with(|config| {
        config.sampler = TraceSampler::Ratio(0.5);
        config.selection = sample_bytes(2_000);
    });
    let mut flows = 0;
    for _ in 0..100 {
        for flow in rig.flows(&to_ports(&[443; 4])) {
            assert_eq!(flow.get("netflow.sample.adjusted_bytes"), 4_000);
            flows += 1;
        }
    }
    assert!((60..140).contains(&flows), "{flows} of 400");
}

#[test]
fn networks_are_known_by_their_names() {
    let file = "192.0.2.0/24,office\n198.51.100.0/24,data centre\n";
    let networks = Networks::parse(file, None).expect("a file of networks");
    let mut rig = selecting(filter(
        "src network office and dst network 'data centre' and not network lab",
    ));
    assert_eq!(rig.flows(&to_ports(&[443])).len(), 0);
    rig.translator().name_networks(Some(Arc::new(networks)));
    assert_eq!(rig.flows(&to_ports(&[443])).len(), 1);
}
