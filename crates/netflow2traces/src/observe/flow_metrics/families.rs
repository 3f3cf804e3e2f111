//! The metrics of a reading: which number of a series each shows, and under which labels.

use std::sync::Arc;

use super::labels::{Label, Labels, Number, Point};
use super::names::{self, Name, OVERFLOW_LABEL};
use super::{devices, top};
use crate::translate::enrich::networks::Networks;
use crate::translate::metrics::{
    ExporterInfo, FlowReading, GraphTotals, InterfaceInfo, SeriesKey, SeriesReading, TopRow,
    Totals, View, ViewReading,
};
use crate::translate::service;

/// A metric with its points, each made when it is asked for.
pub(super) struct Family<'a> {
    pub(super) name: Name,
    rows: usize,
    point: Box<dyn Fn(usize) -> Option<Point<'a>> + 'a>,
}

impl<'a> Family<'a> {
    /// Of so many rows, some of which may have no point.
    pub(super) fn new(
        name: Name,
        rows: usize,
        point: impl Fn(usize) -> Option<Point<'a>> + 'a,
    ) -> Self {
        Self {
            name,
            rows,
            point: Box::new(point),
        }
    }
}

/// A place among the points of all metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    family: usize,
    row: usize,
}

impl Cursor {
    /// The next point with its metric, and whether it is the metric's first.
    pub(super) fn next<'f, 'a>(
        &mut self,
        families: &'f [Family<'a>],
    ) -> Option<(&'f Family<'a>, Point<'a>, bool)> {
        loop {
            let family = families.get(self.family)?;
            let found = (self.row..family.rows).find_map(|row| Some((row, (family.point)(row)?)));
            if let Some((row, point)) = found {
                let is_first = self.row == 0;
                self.row = row + 1;
                return Some((family, point, is_first));
            }
            (self.family, self.row) = (self.family + 1, 0);
        }
    }
}

/// What the flow metrics are at one moment.
#[derive(Debug)]
pub struct Exposition {
    reading: Arc<FlowReading>,
    top: Vec<TopRow>,
}

impl Exposition {
    /// Of this reading.
    #[must_use]
    pub fn new(reading: Arc<FlowReading>) -> Self {
        let top = reading.top();
        // A client that reads slowly keeps only what is still to be written.
        let reading = match Arc::try_unwrap(reading) {
            Ok(own) => Arc::new(own.without_top()),
            Err(shared) => shared,
        };
        Self { reading, top }
    }

    /// Its metrics, in the order in which they are shown.
    #[must_use]
    pub(super) fn families(&self) -> Vec<Family<'_>> {
        let reading = &*self.reading;
        let mut families = Vec::new();
        for (view, series) in &reading.views {
            let Some(of) = COUNTERS.iter().find(|of| of.view == *view) else {
                continue;
            };
            families.extend(counted(of, series, reading));
            match view {
                View::Interface => families.extend(of_interfaces(&reading.interfaces)),
                View::Exporter => families.extend(of_exporters(&reading.exporters)),
                _ => {}
            }
        }
        families.extend(service_graph(reading));
        families.push(top::family(&self.top));
        families.extend(devices::families(reading));
        families.push(exporter_info(reading));
        families
    }
}

/// The three counters of a view.
pub(super) struct Counters {
    pub(super) view: View,
    /// Bytes, packets, flows.
    pub(super) names: [Name; 3],
    labels: for<'a> fn(&Of<'a>) -> Labels<'a>,
}

/// A series whose labels are to be made.
struct Of<'a> {
    key: SeriesKey,
    name: Option<&'a str>,
    networks: Option<&'a Networks>,
}

impl<'a> Of<'a> {
    fn exporter(&self) -> Label<'a> {
        Label::Address(self.key.exporter())
    }

    /// The name of a network; 0 is every other one.
    fn network(&self, number: u32) -> Label<'a> {
        let id = number.checked_sub(1);
        let name = id.and_then(|id| self.networks?.names().get(id));
        Label::Text(name.unwrap_or("other"))
    }

    /// The code of a country.
    fn country(number: u32) -> Label<'a> {
        match number.to_be_bytes() {
            [0, 0, first, second] if number != 0 => Label::Country([first, second]),
            _ => Label::Text("unknown"),
        }
    }

    /// IANA's keyword of the protocol.
    fn transport(&self) -> Label<'a> {
        let number = u8::try_from(self.key.first);
        number.map_or(Label::Text("unknown"), Label::Transport)
    }

    /// The exporter's name, the service of the port, the port; the transport where there is no port.
    fn service(&self) -> Label<'a> {
        if let Some(name) = self.name {
            return Label::Text(name);
        }
        match u16::try_from(self.key.second) {
            Ok(0) | Err(_) => self.transport(),
            Ok(port) => service(port).map_or(Label::Number(port.into()), Label::Text),
        }
    }

    /// Between the two ends that the key names.
    fn between(&self, end: impl Fn(u32) -> Label<'a>) -> Labels<'a> {
        Labels::new([
            ("exporter", self.exporter()),
            ("source", end(self.key.first)),
            ("destination", end(self.key.second)),
        ])
    }
}

/// The views that count records.
pub(super) const COUNTERS: [Counters; 6] = [
    Counters {
        view: View::Interface,
        names: names::INTERFACE,
        labels: |of| {
            let direction = match of.key.second {
                0 => "receive",
                _ => "transmit",
            };
            Labels::new([
                ("exporter", of.exporter()),
                ("interface", Label::Number(of.key.first)),
                ("direction", Label::Text(direction)),
            ])
        },
    },
    Counters {
        view: View::Exporter,
        names: names::EXPORTER,
        labels: |of| Labels::new([("exporter", of.exporter())]),
    },
    Counters {
        view: View::Application,
        names: names::APPLICATION,
        labels: |of| {
            Labels::new([
                ("exporter", of.exporter()),
                ("transport", of.transport()),
                ("service", of.service()),
            ])
        },
    },
    Counters {
        view: View::Network,
        names: names::NETWORK,
        labels: |of| of.between(|number| of.network(number)),
    },
    Counters {
        view: View::As,
        names: names::AS,
        labels: |of| of.between(Label::Number),
    },
    Counters {
        view: View::Country,
        names: names::COUNTRY,
        labels: |of| of.between(Of::country),
    },
];

/// Those of the series that counts what found no place.
pub(super) fn overflow<'a>() -> Labels<'a> {
    Labels::new([(OVERFLOW_LABEL, Label::Text("true"))])
}

fn counted<'a>(
    of: &'static Counters,
    view: &'a ViewReading,
    reading: &'a FlowReading,
) -> [Family<'a>; 3] {
    let networks = reading.networks.as_deref();
    let labels = move |series: &'a SeriesReading| match series.key {
        Some(key) => (of.labels)(&Of {
            key,
            name: series.name.as_deref(),
            networks,
        }),
        None => overflow(),
    };
    let family = |name: Name, has_exemplars: bool, read: fn(&Totals) -> u64| {
        Family::new(name, view.series.len(), move |row| {
            let series = view.series.get(row)?;
            Some(Point {
                labels: labels(series),
                number: Number::Count(read(&series.totals)),
                exemplar: series.exemplar.filter(|_| has_exemplars),
            })
        })
    };
    let [bytes, packets, flows] = of.names;
    [
        family(bytes, true, |totals| totals.bytes),
        family(packets, false, |totals| totals.packets),
        family(flows, false, |totals| totals.flows),
    ]
}

pub(super) const fn point<'a>(labels: Labels<'a>, number: Number<'a>) -> Point<'a> {
    Point {
        labels,
        number,
        exemplar: None,
    }
}

fn of_exporters(exporters: &[ExporterInfo]) -> [Family<'_>; 2] {
    let units = exporters.iter().map(|info| info.lost.len()).max();
    let units = units.unwrap_or(0).max(1);
    [
        Family::new(names::LOST, exporters.len() * units, move |row| {
            let info = exporters.get(row / units)?;
            let (unit, lost) = info.lost.get(row % units)?;
            let labels = Labels::new([
                ("exporter", Label::Address(info.exporter)),
                ("unit", Label::Text(unit)),
            ]);
            Some(point(labels, Number::Count(*lost)))
        }),
        Family::new(names::LONGEST_FLOW, exporters.len(), |row| {
            let info = exporters.get(row)?;
            let labels = Labels::new([("exporter", Label::Address(info.exporter))]);
            Some(point(labels, Number::Level(info.longest_flow)))
        }),
    ]
}

/// Reads a number of an edge.
type ReadGraph<'a> = fn(&'a GraphTotals) -> Number<'a>;

fn service_graph<'a>(reading: &'a FlowReading) -> Vec<Family<'a>> {
    let Some(graph) = &reading.graph else {
        return Vec::new();
    };
    let networks = reading.networks.as_deref();
    let labels = move |key| {
        let of = Of {
            key,
            name: None,
            networks,
        };
        Labels::new([
            ("client", of.network(key.first)),
            ("server", of.network(key.second)),
            ("connection_type", Label::Text("")),
            ("exporter", of.exporter()),
        ])
    };
    let reads: [(Name, ReadGraph<'a>); 4] = [
        (names::REQUESTS, |totals| Number::Count(totals.requests)),
        (names::FAILED, |totals| Number::Count(totals.failed)),
        (names::SERVER_SECONDS, Number::Seconds),
        (names::CLIENT_SECONDS, Number::Seconds),
    ];
    let families = reads.into_iter().map(|(name, read)| {
        Family::new(name, graph.series.len(), move |row| {
            let edge = graph.series.get(row)?;
            let labels = edge.key.map_or_else(overflow, labels);
            Some(point(labels, read(&edge.totals)))
        })
    });
    families.collect()
}

fn exporter_info(reading: &FlowReading) -> Family<'_> {
    let exporters = &reading.exporters;
    Family::new(names::EXPORTER_INFO, exporters.len(), |row| {
        let info = exporters.get(row)?;
        let known = reading.networks.as_ref()?.about(info.exporter)?;
        let labels = Labels::new([
            ("exporter", Label::Address(info.exporter)),
            ("name", Label::Text(known.own_name.unwrap_or_default())),
            ("network", Label::Text(known.network)),
        ]);
        Some(point(labels, Number::Count(1)))
    })
}

fn of_interfaces(interfaces: &[InterfaceInfo]) -> [Family<'_>; 2] {
    [
        Family::new(names::INTERFACE_INFO, interfaces.len(), |row| {
            let info = interfaces.get(row)?;
            let labels = Labels::new([
                ("exporter", Label::Address(info.exporter)),
                ("interface", Label::Number(info.interface)),
                ("name", Label::Text(&info.name)),
                ("description", Label::Text(&info.description)),
            ]);
            Some(point(labels, Number::Count(1)))
        }),
        Family::new(names::INTERFACE_SPEED, interfaces.len(), |row| {
            let info = interfaces.get(row)?;
            let labels = Labels::new([
                ("exporter", Label::Address(info.exporter)),
                ("interface", Label::Number(info.interface)),
            ]);
            Some(point(labels, Number::Level(info.speed? as f64 / 8.0)))
        }),
    ]
}
