use std::time::Duration;

use proptest::prelude::*;

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn metrics() -> FlowMetrics {
    FlowMetrics::new(&Places::new(View::ALL.into_iter().collect(), 100))
}

struct Test {
    metrics: FlowMetrics,
    exporter: ExporterFlows,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        Self {
            metrics: metrics(),
            exporter: ExporterFlows::default(),
            now: Instant::now(),
        }
    }

    fn count(&mut self, flow: &FlowFacts<'_>) {
        let counting = self.metrics.datagram(ADDRESS, UnixNanos(5), self.now);
        let span = Some([2; 8]);
        let known = Enriched::default();
        self.metrics.count(
            flow,
            &known,
            span.map(|span| ([1; 16], span)),
            &counting,
            &mut self.exporter,
        );
    }

    fn read(&self) -> FlowReading {
        self.metrics.read(self.now, |_| None)
    }

    /// Interface, side and bytes of each series.
    fn interfaces(&self) -> Vec<(u32, u32, u64)> {
        let reading = FlowReading::merge(vec![self.read()]);
        let (_, view) = &reading.views[0];
        let series = view.series.iter();
        series
            .map(|series| {
                let key = series.key.unwrap();
                (key.first, key.second, series.totals.bytes)
            })
            .collect()
    }
}

fn flow(input: u32, output: u32, direction: Option<Direction>) -> FlowFacts<'static> {
    FlowFacts {
        input,
        output,
        direction,
        bytes: 10,
        packets: 1,
        ..FlowFacts::default()
    }
}

const RECEIVE: u32 = Side::Receive as u32;
const TRANSMIT: u32 = Side::Transmit as u32;

#[test]
fn a_record_counts_at_both_of_its_interfaces() {
    let mut t = Test::new();
    t.count(&flow(1, 2, None));
    t.count(&flow(2, 1, Some(Direction::Ingress)));
    assert_eq!(
        t.interfaces(),
        [
            (1, RECEIVE, 10),
            (1, TRANSMIT, 10),
            (2, RECEIVE, 10),
            (2, TRANSMIT, 10)
        ]
    );
}

#[test]
fn an_exporter_of_both_directions_counts_each_record_at_one_side() {
    let mut t = Test::new();
    t.count(&flow(1, 2, Some(Direction::Ingress)));
    t.count(&flow(3, 4, Some(Direction::Egress)));
    t.count(&flow(5, 6, Some(Direction::Ingress)));
    t.count(&flow(7, 8, None));
    // The first came when nothing was known of the other direction yet.
    assert_eq!(
        t.interfaces(),
        [
            (1, RECEIVE, 10),
            (2, TRANSMIT, 10),
            (4, TRANSMIT, 10),
            (5, RECEIVE, 10),
            (7, RECEIVE, 10),
            (8, TRANSMIT, 10)
        ]
    );
}

#[test]
fn interface_zero_counts_nowhere() {
    let mut t = Test::new();
    t.count(&flow(0, 3, None));
    t.count(&flow(0, 0, None));
    assert_eq!(t.interfaces(), [(3, TRANSMIT, 10)]);
}

#[test]
fn a_series_names_the_span_of_its_largest_record() {
    let mut t = Test::new();
    t.count(&flow(1, 0, None));
    let reading = t.read();
    for (view, reading) in &reading.views {
        assert_eq!(
            reading.series[0].exemplar,
            Some(Exemplar {
                trace_id: [1; 16],
                span_id: [2; 8],
                bytes: 10,
                received_at: UnixNanos(5),
            }),
            "{view:?}"
        );
    }
}

/// Transport, name of the service and port of each series.
fn applications(t: &Test) -> Vec<(u32, Option<Arc<str>>, u32)> {
    let reading = FlowReading::merge(vec![t.read()]);
    let found = reading.views.into_iter();
    let (_, view) = found
        .into_iter()
        .find(|(view, _)| *view == View::Application)
        .unwrap();
    let series = view.series.into_iter();
    series
        .map(|series| {
            let key = series.key.unwrap();
            (key.first, series.name, key.second & !NAMED)
        })
        .collect()
}

#[test]
fn an_application_is_what_the_exporter_names_else_the_port_of_the_server() {
    let mut t = Test::new();
    let ends = Endpoints {
        source: Some([10, 0, 0, 1].into()),
        destination: Some([192, 0, 2, 1].into()),
        source_port: 50_000,
        destination_port: 443,
        protocol: Some(6),
    };
    t.count(&FlowFacts {
        ends,
        ..flow(1, 2, None)
    });
    t.count(&FlowFacts {
        ends: Endpoints {
            source_port: 443,
            destination_port: 50_000,
            ..ends
        },
        ..flow(2, 1, None)
    });
    t.count(&FlowFacts {
        ends,
        application: Some("webex"),
        ..flow(1, 2, None)
    });
    t.count(&flow(1, 2, None));
    assert_eq!(
        applications(&t),
        [
            (6, None, 443),
            (6, Some("webex".into()), 0),
            (UNKNOWN_PROTOCOL, None, 0)
        ]
    );
}

#[test]
fn the_set_of_views_is_what_was_chosen() {
    let views: Views = [View::Exporter].into_iter().collect();
    assert!(views.contains(View::Exporter) && !views.contains(View::Interface));
    let reading = FlowMetrics::new(&Places::new(views, 10)).read(Instant::now(), |_| None);
    let counted: Vec<_> = reading.views.iter().map(|(view, _)| *view).collect();
    assert_eq!(counted, [View::Exporter]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each view holds what its rule says of all records, in live, overflow and expired series together.
    #[test]
    fn each_view_sums_to_what_all_records_have(
        records in prop::collection::vec((0_u32..50, 0_u32..50, 0_u64..1_000, 0_u64..90), 1..300),
    ) {
        let mut t = Test::new();
        t.metrics = FlowMetrics::new(&Places::new(View::ALL.into_iter().collect(), 8));
        let mut expected = [0; View::ALL.len()];
        let count = records.len() as u64;
        for (input, output, bytes, wait) in records {
            let record = FlowFacts { bytes, ..flow(input, output, None) };
            t.count(&record);
            let sides = u64::from(input != 0) + u64::from(output != 0);
            expected[0] += bytes * sides;
            expected[1..].iter_mut().for_each(|view| *view += bytes);
            t.now += Duration::from_secs(wait * wait);
            t.metrics.on_deadline(t.now);
        }
        let reading = t.read();
        for ((view, reading), expected) in reading.views.iter().zip(expected) {
            let live: u64 = reading.series.iter().map(|series| series.totals.bytes).sum();
            prop_assert_eq!(live + reading.expired.bytes, expected, "{:?}", view);
        }
        let graph = reading.graph.expect("it is counted");
        let live: u64 = graph.series.iter().map(|series| series.totals.requests).sum();
        prop_assert_eq!(live + graph.expired.requests, count, "requests");
    }
}
