//! Sums of adjusted bytes against the truth, over a thousand seeds: right on average, and as far off as theory says.

use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng};

use super::*;

const SEEDS: u64 = 1_000;
const EXPORTERS: usize = 3;
const CONVERSATIONS: usize = 10;
/// Records of one datagram, which share a trace.
const OF_TRACE: usize = 25;

const KEPT: Draw = Draw::Apart {
    is_trace_kept: true,
};
const LEFT_OUT: Draw = Draw::Apart {
    is_trace_kept: false,
};

/// Whose traces are sampled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Traces {
    /// Of datagrams.
    Shared,
    /// Of records.
    Own,
}

#[derive(Clone, Copy)]
struct Record {
    bytes: u64,
    interval: u64,
    exporter: usize,
    conversation: usize,
    port: u64,
}

impl Record {
    fn estimated(&self) -> u64 {
        self.bytes * self.interval
    }

    fn view(&self) -> FlowView<'static> {
        let mut view = FlowView::default();
        view.set(Number::Bytes, self.bytes);
        view.set(Number::DestinationPort, self.port);
        view
    }
}

/// Datagrams of records whose sizes are heavy-tailed (Pareto, with a shape of 1.1); one exporter samples its packets.
fn traffic() -> Vec<Vec<Record>> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut datagram = |index: usize| -> Vec<Record> {
        let exporter = index % EXPORTERS;
        let mut record = || Record {
            bytes: (400.0 / random.random_range(1e-6..1.0_f64).powf(1.0 / 1.1)) as u64,
            interval: if exporter == 2 { 64 } else { 1 },
            exporter,
            conversation: random.random_range(0..CONVERSATIONS),
            port: random.random_range(0..20),
        };
        (0..OF_TRACE).map(|_| record()).collect()
    };
    (0..200).map(&mut datagram).collect()
}

/// The groups whose sums are estimated: exporters, then conversations.
fn groups(record: &Record) -> [usize; 2] {
    [record.exporter, EXPORTERS + record.conversation]
}

/// What is expected of each group: its sum, and the variance of the estimate.
fn theory(
    traffic: &[Vec<Record>],
    selection: &Selection,
    odds: &TraceOdds,
    traces: Traces,
) -> Vec<(f64, f64)> {
    let probability = odds.threshold.probability();
    let size = selection.sample_bytes.map_or(0.0, |size| size.get() as f64);
    let mut expected = vec![(0.0, 0.0); EXPORTERS + CONVERSATIONS];
    for datagram in traffic {
        // Bytes of each group that come and go together, with the datagram's trace.
        let mut together = vec![0.0; expected.len()];
        for record in datagram {
            let bytes = record.estimated() as f64;
            let is_kept = selection
                .keep
                .as_ref()
                .is_some_and(|keep| keep.matches(&record.view()));
            for group in groups(record) {
                expected[group].0 += bytes;
                if is_kept {
                    continue;
                }
                if traces == Traces::Own {
                    // One number decides: the smaller probability holds.
                    let own = probability.min((bytes / size).min(1.0));
                    expected[group].1 += bytes * bytes * (1.0 - own) / own;
                } else {
                    expected[group].1 += bytes * (size - bytes).max(0.0) / probability;
                    together[group] += bytes;
                }
            }
        }
        for (group, bytes) in together.iter().enumerate() {
            expected[group].1 += bytes * bytes * (1.0 - probability) / probability;
        }
    }
    expected
}

/// Of each group the deviation from the truth in standard deviations, by seed.
fn deviations(selection: &Selection, sampler: TraceSampler, traces: Traces) -> Vec<Vec<f64>> {
    let traffic = traffic();
    let odds = TraceOdds::new(sampler);
    let expected = theory(&traffic, selection, &odds, traces);
    let mut deviations = vec![Vec::new(); expected.len()];
    for seed in 0..SEEDS {
        let mut ids = Ids::new(SmallRng::seed_from_u64(seed).random());
        let mut sums = vec![0.0; expected.len()];
        for datagram in &traffic {
            let is_trace_kept = odds.keeps(ids.trace_id());
            for record in datagram {
                let (view, scaled) = (record.view(), record.interval);
                let draw = match traces {
                    Traces::Shared => Draw::Apart { is_trace_kept },
                    Traces::Own => Draw::of_trace(ids.trace_id()),
                };
                let decision = selection.decide(&view, scaled, &odds, draw, &mut ids);
                if let Decision::Kept(kept) = decision {
                    let bytes = kept.adjusted_bytes.expect("every record has bytes");
                    for group in groups(record) {
                        sums[group] += bytes as f64;
                    }
                }
            }
        }
        for (group, (sum, variance)) in expected.iter().enumerate() {
            deviations[group].push((sums[group] - sum) / variance.sqrt());
        }
    }
    deviations
}

/// No bias: the mean of a thousand deviations is 0 but for chance. The spread is theory's: their variance is 1.
#[track_caller]
fn are_as_theory_says(selection: &Selection, sampler: TraceSampler, traces: Traces) {
    for (group, deviations) in deviations(selection, sampler, traces).iter().enumerate() {
        let count = deviations.len() as f64;
        let mean = deviations.iter().sum::<f64>() / count;
        let variance = deviations.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0);
        // Four standard deviations of the mean, and of a variance of a thousand values.
        assert!(
            mean.abs() < 4.0 / count.sqrt(),
            "group {group}: mean {mean}"
        );
        assert!(
            (variance - 1.0).abs() < 4.0 * (2.0 / count).sqrt(),
            "group {group}: {variance}"
        );
        let within = deviations.iter().filter(|d| d.abs() <= 1.96).count();
        assert!(
            within as f64 > 0.92 * count,
            "group {group}: {within} within the interval"
        );
    }
}

fn sample_bytes(size: u64) -> Selection {
    Selection {
        sample_bytes: NonZeroU64::new(size),
        ..Selection::default()
    }
}

#[test]
fn sums_are_unbiased_by_exporter_and_by_conversation() {
    for traces in [Traces::Shared, Traces::Own] {
        are_as_theory_says(&sample_bytes(100_000), TraceSampler::AlwaysOn, traces);
    }
}

#[test]
fn sums_are_unbiased_together_with_a_ratio() {
    for traces in [Traces::Shared, Traces::Own] {
        are_as_theory_says(&sample_bytes(20_000), TraceSampler::Ratio(0.3), traces);
    }
}

#[test]
fn sums_are_unbiased_together_with_what_is_always_kept() {
    let selection = Selection {
        keep: Some("dst port < 3 or bytes > 300k".parse().unwrap()),
        ..sample_bytes(200_000)
    };
    for traces in [Traces::Shared, Traces::Own] {
        are_as_theory_says(&selection, TraceSampler::AlwaysOn, traces);
        are_as_theory_says(&selection, TraceSampler::Ratio(0.5), traces);
    }
}

proptest! {
    /// One number decides about a record with a trace of its own: by the larger of both thresholds, which its span carries.
    #[test]
    fn the_larger_threshold_holds_where_the_trace_is_the_records_own(
        bytes in prop_oneof![0_u64..2_000, any::<u64>()],
        size in prop_oneof![1_u64..2_000, 1..u64::MAX],
        ratio in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
        trace in any::<[u8; 16]>(),
        is_named in any::<bool>(),
    ) {
        let selection = Selection {
            keep: Some(format!("dst port {}", u8::from(is_named)).parse().unwrap()),
            ..sample_bytes(size)
        };
        let odds = TraceOdds::new(TraceSampler::Ratio(ratio));
        let mut view = FlowView::default();
        view.set(Number::Bytes, bytes);
        view.set(Number::DestinationPort, 1);
        let mut ids = Ids::new([1; 32]);
        let decision = selection.decide(&view, 1, &odds, Draw::of_trace(trace), &mut ids);
        let random = u128::from_be_bytes(trace) as u64;
        let by_size = Threshold::of_share_in_few_digits(bytes, size.try_into().unwrap());
        let threshold = match is_named {
            true => Threshold::ALWAYS,
            false => odds.threshold.max(by_size),
        };
        match decision {
            Decision::Kept(kept) => {
                prop_assert!(threshold.keeps(random));
                prop_assert_eq!(kept.threshold, Some(threshold));
                // The weight is that of the threshold as the span has it.
                let text = TraceState::of(threshold);
                let digits = text.as_str().strip_prefix("ot=th:").unwrap();
                let rejected = u64::from_str_radix(&format!("{digits:0<14}"), 16).unwrap();
                let weight = 1.0 / (1.0 - rejected as f64 / (1_u64 << 56) as f64);
                let adjusted = kept.adjusted_bytes.unwrap() as f64;
                let expected = (bytes as f64 * weight).min(u64::MAX as f64);
                prop_assert!((adjusted - expected).abs() <= 1.0 + expected * 1e-9);
            }
            Decision::SampledOut => {
                prop_assert!(!is_named && !odds.threshold.keeps(random));
            }
            Decision::SampledBySize => {
                prop_assert!(!is_named && odds.threshold.keeps(random) && !by_size.keeps(random));
            }
            Decision::Filtered => unreachable!("there is no filter"),
        }
        // The same number, asked of a smaller size, keeps what a larger one keeps.
        if let (Decision::Kept(_), Some(smaller)) = (decision, NonZeroU64::new(size / 2)) {
            let selection = Selection { sample_bytes: Some(smaller), ..selection };
            let again = selection.decide(&view, 1, &odds, Draw::of_trace(trace), &mut ids);
            prop_assert!(matches!(again, Decision::Kept(_)));
        }
    }
}

#[test]
fn a_record_of_the_size_or_more_is_kept_as_it_is() {
    let selection = sample_bytes(1_000);
    let odds = TraceOdds::new(TraceSampler::AlwaysOn);
    let mut ids = Ids::new([1; 32]);
    let mut view = FlowView::default();
    view.set(Number::Bytes, 500);
    for _ in 0..100 {
        let decision = selection.decide(&view, 2, &odds, KEPT, &mut ids);
        let kept = Kept {
            adjusted_bytes: Some(1_000),
            threshold: None,
        };
        assert_eq!(decision, Decision::Kept(kept));
    }
    // Nothing is never kept, and what has no bytes always.
    view.set(Number::Bytes, 0);
    assert_eq!(
        selection.decide(&view, 1, &odds, KEPT, &mut ids),
        Decision::SampledBySize
    );
    let event = FlowView::default();
    let kept = Decision::Kept(Kept::default());
    assert_eq!(selection.decide(&event, 1, &odds, KEPT, &mut ids), kept);
    assert_eq!(
        selection.decide(&event, 1, &odds, LEFT_OUT, &mut ids),
        Decision::SampledOut
    );
}

#[test]
fn a_filter_goes_before_what_is_kept() {
    let selection = Selection {
        filter: Some("port 53".parse().unwrap()),
        keep: Some("udp".parse().unwrap()),
        sample_bytes: None,
    };
    let odds = TraceOdds::new(TraceSampler::AlwaysOff);
    let mut ids = Ids::new([1; 32]);
    let mut view = FlowView::default();
    view.set(Number::Protocol, 17);
    assert_eq!(
        selection.decide(&view, 1, &odds, LEFT_OUT, &mut ids),
        Decision::Filtered
    );
    view.set(Number::SourcePort, 53);
    let always = Kept {
        adjusted_bytes: None,
        threshold: None,
    };
    assert_eq!(
        selection.decide(&view, 1, &odds, LEFT_OUT, &mut ids),
        Decision::Kept(always)
    );
    view.set(Number::Protocol, 6);
    assert_eq!(
        selection.decide(&view, 1, &odds, LEFT_OUT, &mut ids),
        Decision::SampledOut
    );
}

#[test]
fn traces_are_kept_in_proportion() {
    let odds = TraceOdds::new(TraceSampler::Ratio(0.25));
    let mut ids = Ids::new([3; 32]);
    let kept = (0..100_000).filter(|_| odds.keeps(ids.trace_id())).count();
    assert!((24_000..26_000).contains(&kept), "{kept}");
    assert_eq!(odds.state.unwrap().as_str(), "ot=th:c");
    assert!(TraceOdds::new(TraceSampler::Ratio(1.0)).keeps([0; 16]));
    assert!(!TraceOdds::new(TraceSampler::Ratio(0.0)).keeps([0xff; 16]));
}
