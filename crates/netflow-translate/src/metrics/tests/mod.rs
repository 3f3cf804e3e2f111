mod flood;

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
        self.count_as(flow, 2);
    }

    /// Counts a record whose span has that number.
    fn count_as(&mut self, flow: &FlowFacts<'_>, span: u8) {
        let counting = self.metrics.datagram(ADDRESS, UnixNanos(5), self.now);
        let (known, span) = (Enriched::default(), ([1; 16], [span; 8]));
        self.metrics
            .count(flow, &known, Some(&span), &counting, &mut self.exporter);
    }

    fn read(&mut self) -> FlowReading {
        self.metrics.read(self.now, |_| None)
    }

    /// Interface, side and bytes of each series.
    fn interfaces(&mut self) -> Vec<(u32, u32, u64)> {
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

/// 10 bytes there, and 7 back in 2 packets.
fn biflow(direction: Option<Direction>) -> FlowFacts<'static> {
    FlowFacts {
        is_biflow: true,
        reverse: Some(Reverse {
            bytes: 7,
            packets: 2,
        }),
        ..flow(1, 2, direction)
    }
}

#[test]
fn the_other_direction_of_a_biflow_came_in_where_the_first_went_out() {
    let mut t = Test::new();
    t.count(&biflow(None));
    assert_eq!(
        t.interfaces(),
        [
            (1, RECEIVE, 10),
            (1, TRANSMIT, 7),
            (2, RECEIVE, 7),
            (2, TRANSMIT, 10)
        ]
    );
    // Of an exporter that meters each packet twice, both directions are of one interface.
    t.count(&flow(0, 0, Some(Direction::Egress)));
    t.count(&biflow(Some(Direction::Ingress)));
    assert_eq!(
        t.interfaces(),
        [
            (1, RECEIVE, 20),
            (1, TRANSMIT, 14),
            (2, RECEIVE, 7),
            (2, TRANSMIT, 10)
        ]
    );
}

/// Both numbers and the totals of each series of a view.
fn series(t: &mut Test, view: View) -> Vec<(u32, u32, [u64; 3])> {
    let reading = FlowReading::merge(vec![t.read()]).views.into_iter();
    let (_, view) = reading.into_iter().find(|(of, _)| *of == view).unwrap();
    let series = view.series.into_iter().map(|series| {
        let (key, of) = (series.key.unwrap(), series.totals);
        (key.first, key.second, [of.bytes, of.packets, of.flows])
    });
    series.collect()
}

#[test]
fn a_biflow_is_one_record_that_counts_from_both_ends() {
    let mut t = Test::new();
    let between = |source_as, destination_as| FlowFacts {
        source_as,
        destination_as,
        ..biflow(None)
    };
    t.count(&between(100, 200));
    assert_eq!(
        series(&mut t, View::As),
        [(100, 200, [10, 1, 1]), (200, 100, [7, 2, 0])]
    );
    assert_eq!(series(&mut t, View::Exporter), [(0, 0, [17, 3, 1])]);
    t.count(&between(100, 100));
    assert_eq!(series(&mut t, View::As)[0], (100, 100, [17, 3, 1]));
}

#[test]
fn both_ends_of_a_biflow_are_sources_of_the_heaviest_traffic() {
    let mut t = Test::new();
    let (client, server) = ([10, 0, 0, 1].into(), [192, 0, 2, 1].into());
    t.count(&FlowFacts {
        ends: Endpoints {
            source: Some(client),
            destination: Some(server),
            source_port: 50_000,
            destination_port: 443,
            protocol: Some(6),
        },
        ..biflow(None)
    });
    let rows = t.read().top();
    let rows = rows.iter();
    let found = rows.map(|row| (row.kind, row.source, row.port, row.bytes));
    let expected = [
        (TopKind::Conversation, Some(client), Some(443), 10),
        (TopKind::Conversation, Some(server), Some(443), 7),
        (TopKind::Source, Some(client), None, 10),
        (TopKind::Source, Some(server), None, 7),
        (TopKind::Destination, None, None, 10),
        (TopKind::Destination, None, None, 7),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
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

#[test]
fn the_largest_record_of_every_pair_of_interfaces_is_an_exemplar() {
    let mut t = Test::new();
    for (output, bytes, span) in [(2, 10, 1), (2, 30, 2), (2, 20, 3), (3, 25, 4), (3, 26, 5)] {
        let of = FlowFacts {
            bytes,
            ..flow(1, output, None)
        };
        t.count_as(&of, span);
    }
    let reading = FlowReading::merge(vec![t.read()]);
    let (_, view) = &reading.views[0];
    let found = view.series.iter().map(|series| {
        let (key, exemplar) = (series.key.unwrap(), series.exemplar.unwrap());
        (key.first, exemplar.span_id[0], exemplar.bytes)
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [(1, 2, 30), (2, 2, 30), (3, 5, 26)]
    );
}

#[test]
fn each_minute_has_an_exemplar_of_its_own() {
    let mut t = Test::new();
    let began = t.now;
    for (minute, bytes) in [(0, 100), (0, 200), (1, 10), (1, 9), (2, 5), (2, 7)] {
        t.now = began + Duration::from_secs(60 * minute);
        t.count(&FlowFacts {
            bytes,
            ..flow(1, 0, None)
        });
    }
    let reading = t.read();
    let (_, view) = &reading.views[0];
    // The largest of this minute and the one before.
    assert_eq!(view.series[0].exemplar.map(|of| of.bytes), Some(10));
}

#[test]
fn what_waits_goes_with_its_series_after_an_hour_of_silence() {
    let mut t = Test::new();
    for _ in 0..3 {
        t.count(&flow(1, 0, None));
    }
    t.now += Duration::from_secs(61 * 60);
    t.metrics.on_deadline(t.now);
    let reading = t.read();
    let (_, view) = &reading.views[0];
    assert_eq!((view.series.len(), view.expired.flows), (0, 3));
}

#[test]
fn pairs_of_interfaces_that_share_a_place_lose_nothing() {
    let mut t = Test::new();
    t.metrics = FlowMetrics::new(&Places::new(
        [View::Interface].into_iter().collect(),
        10_000,
    ));
    let mut truth = std::collections::BTreeMap::<(u32, u32), [u64; 3]>::new();
    // More pairs than there are places, three times two records of each, over several minutes.
    for n in 0..60_000_u32 {
        let (input, output) = (n / 2 % 100, 100 + n / 200 % 100);
        let of = FlowFacts {
            bytes: u64::from(n),
            ..flow(input, output, None)
        };
        t.count(&of);
        for key in [(input, RECEIVE), (output, TRANSMIT)] {
            if key.0 != 0 {
                let [bytes, packets, flows] = truth.entry(key).or_default();
                *bytes += of.bytes;
                *packets += 1;
                *flows += 1;
            }
        }
        if n % 14_000 == 0 {
            t.now += Duration::from_secs(50);
            assert_eq!(t.read().views, t.read().views);
        }
    }
    let truth: Vec<_> = truth.into_iter().map(|((a, b), of)| (a, b, of)).collect();
    assert_eq!(series(&mut t, View::Interface), truth);
}

/// Transport, name of the service and port of each series.
fn applications(t: &mut Test) -> Vec<(u32, Option<Arc<str>>, u32)> {
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
            let port = u16::try_from(key.second).unwrap_or(0);
            (key.first, series.name, port.into())
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
        applications(&mut t),
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
