//! Floods of invented series beside honest ones, of which each is of another exporter.

use netflow_wire::sflow::InterfaceCounters;
use otlp_wire::Prepared;

use super::*;
use crate::enrich::geo::{Country, Located};
use crate::enrich::networks::Known;

/// Series of a view.
const PLACES: u32 = 64;
const HONEST: u32 = 16;
/// Where the numbers of invented series begin.
const INVENTED: u32 = 1_000;
/// Invented records of a minute: more series than are remembered as candidates.
const FLOOD: u32 = 6_000;
const BYTES: u64 = 1_000_000;

struct Daemon {
    metrics: FlowMetrics,
    now: Instant,
    invented: u32,
}

impl Daemon {
    fn new() -> Self {
        let places = Places::new(View::ALL.into_iter().collect(), PLACES).with_top(50);
        Self {
            metrics: FlowMetrics::new(&places),
            now: Instant::now(),
            invented: INVENTED,
        }
    }

    /// Counts a record that is of series `number` in each view.
    fn count(&mut self, exporter: u32, number: u32, bytes: u64) {
        let counting =
            self.metrics
                .datagram(IpAddr::from(exporter.to_be_bytes()), UnixNanos(5), self.now);
        let known = Known {
            name: number,
            source: Prepared::default(),
            destination: Prepared::default(),
        };
        // Of 16 bits; those of invented series are never those of honest ones.
        let short = match number {
            1..=HONEST => number as u16,
            _ => 1_000 + (number % 60_000) as u16,
        };
        let country = Country {
            code: short.to_be_bytes(),
            ..Country::default()
        };
        let enriched = Enriched {
            source: Some(known),
            destination: Some(known),
            located: [
                Located {
                    country: Some(&country),
                    system: None,
                },
                Located::default(),
            ],
        };
        let flow = FlowFacts {
            bytes,
            packets: 1,
            source_as: number,
            ends: Endpoints {
                source: Some(IpAddr::from((0x0a00_0000 | number).to_be_bytes())),
                destination: Some([192, 0, 2, 1].into()),
                source_port: 0,
                destination_port: short,
                protocol: Some(6),
            },
            ..flow(number, 0, None)
        };
        let mut exporter = ExporterFlows::default();
        self.metrics
            .count(&flow, &enriched, None, &counting, &mut exporter);
        let counters = InterfaceCounters {
            index: number,
            ..InterfaceCounters::default()
        };
        self.metrics.report(&counters, &counting);
    }

    /// A minute in which each honest exporter, if there are any yet, reports ten records amid the flood.
    fn minute(&mut self, has_honest: bool) {
        let turn = FLOOD / 10;
        for n in 0..FLOOD {
            self.invented += 1;
            // A tenth claims to come from an honest exporter.
            let exporter = match n % 10 {
                0 => 1,
                _ => 0x6400_0000 + self.invented,
            };
            self.count(exporter, self.invented, 100);
            if n % turn == turn - 1 && has_honest {
                for number in 1..=HONEST {
                    self.count(number, number, BYTES);
                }
            }
        }
        self.now += Duration::from_secs(60);
        self.metrics.on_deadline(self.now);
    }

    /// The records of each honest series by view, and the number of series of each view.
    fn honest(&mut self) -> Vec<(View, Vec<u64>, usize)> {
        let reading = self.metrics.read(self.now, |_| None);
        let mut found = Vec::new();
        let mut add = |view, series: Vec<(Option<SeriesKey>, u64)>| {
            let records = (1..=HONEST).map(|number| {
                let is_honest = |key: &Option<SeriesKey>| {
                    key.is_some_and(|key| {
                        key.exporter() == IpAddr::from(number.to_be_bytes())
                            && (view == View::Exporter
                                || [key.first, key.second].contains(&number)
                                || key.first == number + 1)
                    })
                };
                let series = series.iter().find(|(key, _)| is_honest(key));
                series.map_or(0, |(_, records)| *records)
            });
            let with_keys = series.iter().filter(|(key, _)| key.is_some());
            found.push((view, records.collect(), with_keys.count()));
        };
        for (view, of) in reading.views {
            let series = of.series.into_iter();
            add(view, series.map(|of| (of.key, of.totals.flows)).collect());
        }
        let graph = reading.graph.expect("counted").series.into_iter();
        let graph = graph.map(|of| (of.key, of.totals.requests));
        add(View::ServiceGraph, graph.collect());
        let devices = reading.devices.expect("counted").series.into_iter();
        let devices = devices.map(|of| (of.key, of.totals.reports));
        add(View::SflowCounters, devices.collect());
        found
    }
}

#[test]
fn honest_series_stay_and_keep_their_sums_in_every_view() {
    let mut daemon = Daemon::new();
    for number in 1..=HONEST {
        daemon.count(number, number, BYTES);
    }
    for minute in 1..=20 {
        daemon.minute(true);
        for (view, records, series) in daemon.honest() {
            let expected = match view {
                // The exporter whose address is forged has what others sent in its name.
                View::Exporter => vec![1 + 10 * minute; records.len() - 1],
                _ => vec![1 + 10 * minute; records.len()],
            };
            let found = &records[records.len() - expected.len()..];
            assert_eq!(found, expected, "{view:?} after {minute} minutes");
            assert!(series <= PLACES as usize, "{view:?} has {series}");
        }
    }
}

#[test]
fn honest_series_earn_a_place_amid_a_flood_that_was_there_before_them() {
    let mut daemon = Daemon::new();
    for _ in 0..20 {
        daemon.minute(false);
    }
    // One minute to be remembered in, and one to be admitted; now and then a mark is lost between two of their records.
    for _ in 0..5 {
        daemon.minute(true);
    }
    let before = daemon.honest();
    for _ in 0..10 {
        daemon.minute(true);
    }
    for ((view, before, _), (_, after, series)) in before.into_iter().zip(daemon.honest()) {
        let found = before.iter().zip(&after).skip(1);
        let added: Vec<u64> = found
            .clone()
            .map(|(before, after)| after - before)
            .collect();
        assert_eq!(added, vec![100; HONEST as usize - 1], "{view:?}");
        assert!(found.into_iter().all(|(before, _)| *before > 0), "{view:?}");
        assert!(series <= PLACES as usize, "{view:?} has {series}");
    }
}

#[test]
fn honest_hosts_stay_the_heaviest_amid_a_flood() {
    let mut daemon = Daemon::new();
    for _ in 0..3 {
        daemon.minute(true);
    }
    // The last pane is full of invented conversations too.
    daemon.now -= Duration::from_secs(1);
    let rows = daemon.metrics.read(daemon.now, |_| None).top();
    for kind in [TopKind::Conversation, TopKind::Source] {
        let of_kind: Vec<_> = rows.iter().filter(|row| row.kind == kind).collect();
        for number in 1..=HONEST {
            let source = IpAddr::from((0x0a00_0000 | number).to_be_bytes());
            let row = of_kind.iter().find(|row| row.source == Some(source));
            let bytes = row.map_or(0, |row| row.bytes);
            assert!(
                bytes > 9 * BYTES && bytes <= 10 * BYTES,
                "{kind:?} {number}: {bytes}"
            );
        }
    }
}

#[test]
fn invented_names_of_applications_leave_honest_ones_theirs() {
    let mut daemon = Daemon::new();
    let count = |daemon: &mut Daemon, name: &str| {
        let counting = daemon.metrics.datagram(ADDRESS, UnixNanos(5), daemon.now);
        let flow = FlowFacts {
            application: Some(name),
            ..flow(1, 2, None)
        };
        let mut exporter = ExporterFlows::default();
        let known = Enriched::default();
        daemon
            .metrics
            .count(&flow, &known, None, &counting, &mut exporter);
    };
    for minute in 0..8 {
        for n in 0..FLOOD {
            count(&mut daemon, &format!("invented {minute} {n}"));
            if n % 100 == 0 {
                count(&mut daemon, "webex");
            }
        }
        daemon.now += Duration::from_secs(60);
        daemon.metrics.on_deadline(daemon.now);
        let kept = daemon.metrics.applications.len();
        assert!(kept <= PLACES as usize, "{kept}");
    }
    let reading = daemon.metrics.read(daemon.now, |_| None);
    let (_, view) = &reading.views[View::Application as usize];
    let names = view
        .series
        .iter()
        .filter_map(|series| series.name.as_deref());
    assert!(names.into_iter().any(|name| name == "webex"));
}
