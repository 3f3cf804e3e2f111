//! THE table of flow metrics: names, units, labels, and which number of a series each shows.

use std::sync::Arc;

use crate::translate::enrich::networks::Networks;
use crate::translate::metrics::{
    Exemplar, FlowReading, GraphTotals, SeriesKey, SeriesReading, Totals, View, ViewReading,
};

use super::{devices, top};
use crate::translate::{service, transport};

/// Marks the series that counts what found no place of its own.
pub const OVERFLOW_LABEL: &str = "otel_metric_overflow";
/// The same over OTLP, as a boolean.
pub const OVERFLOW_ATTRIBUTE: &str = "otel.metric.overflow";

/// A metric by its names.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// At `/metrics`, without the suffix of its kind.
    pub text: &'static str,
    /// Over OTLP.
    pub otlp: &'static str,
    /// Over OTLP, as UCUM writes it.
    pub unit: &'static str,
    pub kind: Kind,
    /// One sentence, without a line break.
    pub help: &'static str,
    /// As the reference shows them.
    pub labels: &'static str,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The text's samples end in `_total`.
    Counter,
    Gauge,
    Histogram,
    /// Always 1; the text's samples end in `_info`.
    Info,
}

impl Kind {
    /// As OpenMetrics names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// What a sample's name ends in.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge | Self::Histogram => "",
            Self::Info => "_info",
        }
    }
}

/// Names of labels and their values.
pub type Labels = Vec<(&'static str, String)>;

/// A metric with its points.
#[derive(Clone, Debug)]
pub struct Family {
    pub name: Name,
    pub points: Vec<Point>,
}

/// A number of a series.
#[derive(Clone, Debug)]
pub struct Point {
    /// Shared by the numbers of a series.
    pub labels: Arc<Labels>,
    pub number: Number,
    /// The largest kept record behind it.
    pub exemplar: Option<Box<Exemplar>>,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Count(u64),
    Level(f64),
    /// Seconds, by the bounds of the service graph.
    Seconds(GraphTotals),
}

/// The three counters of a view.
struct Counters {
    view: View,
    /// Bytes, packets, flows.
    names: [Name; 3],
    labels: fn(&Of<'_>) -> Labels,
}

/// A series whose labels are to be made.
struct Of<'a> {
    key: SeriesKey,
    name: Option<&'a str>,
    networks: Option<&'a Networks>,
}

impl Of<'_> {
    fn exporter(&self) -> String {
        self.key.exporter().to_string()
    }

    /// The name of a network; 0 is every other one.
    fn network(&self, number: u32) -> String {
        let id = number.checked_sub(1);
        let name = id.and_then(|id| self.networks?.names().get(id));
        name.unwrap_or("other").to_owned()
    }

    /// The code of a country.
    fn country(number: u32) -> String {
        match number.to_be_bytes() {
            [0, 0, first, second] if number != 0 => {
                [first, second].map(char::from).iter().collect()
            }
            _ => "unknown".to_owned(),
        }
    }

    /// IANA's keyword of the protocol.
    fn transport(&self) -> String {
        let number = u8::try_from(self.key.first);
        number.map_or_else(|_| "unknown".to_owned(), transport)
    }

    /// The exporter's name, the service of the port, the port; the transport where there is no port.
    fn service(&self) -> String {
        if let Some(name) = self.name {
            return name.to_owned();
        }
        match u16::try_from(self.key.second) {
            Ok(0) | Err(_) => self.transport(),
            Ok(port) => service(port).map_or_else(|| port.to_string(), str::to_owned),
        }
    }
}

macro_rules! counters {
    ($text:literal, $otlp:literal, $of:literal, $labels:literal) => {
        [
            Name {
                text: concat!($text, "_bytes"),
                otlp: concat!($otlp, ".bytes"),
                unit: "By",
                kind: Kind::Counter,
                help: concat!(
                    "Estimated bytes ",
                    $of,
                    ", with an exemplar: the largest kept flow of the last two minutes"
                ),
                labels: $labels,
            },
            Name {
                text: concat!($text, "_packets"),
                otlp: concat!($otlp, ".packets"),
                unit: "{packet}",
                kind: Kind::Counter,
                help: concat!("Estimated packets ", $of),
                labels: $labels,
            },
            Name {
                text: concat!($text, "_flows"),
                otlp: concat!($otlp, ".flows"),
                unit: "{flow}",
                kind: Kind::Counter,
                help: concat!(
                    "Flow records ",
                    $of,
                    ", not multiplied by any sampling interval"
                ),
                labels: $labels,
            },
        ]
    };
}

const VIEWS: &[Counters] = &[
    Counters {
        view: View::Interface,
        names: counters!(
            "netflow_interface",
            "netflow.interface",
            "through an interface, by direction",
            "`exporter`, `interface`, `direction`: `receive`, `transmit`"
        ),
        labels: |of| {
            let direction = match of.key.second {
                0 => "receive",
                _ => "transmit",
            };
            vec![
                ("exporter", of.exporter()),
                ("interface", of.key.first.to_string()),
                ("direction", direction.to_owned()),
            ]
        },
    },
    Counters {
        view: View::Exporter,
        names: counters!(
            "netflow_exporter",
            "netflow.exporter",
            "that an exporter reported",
            "`exporter`"
        ),
        labels: |of| vec![("exporter", of.exporter())],
    },
    Counters {
        view: View::Application,
        names: counters!(
            "netflow_application",
            "netflow.application",
            "by application: as the exporter names it, else the service of the server's port",
            "`exporter`, `transport`, `service`"
        ),
        labels: |of| {
            vec![
                ("exporter", of.exporter()),
                ("transport", of.transport()),
                ("service", of.service()),
            ]
        },
    },
    Counters {
        view: View::Network,
        names: counters!(
            "netflow_network",
            "netflow.network",
            "between networks of `NETFLOW_NETWORKS`",
            "`exporter`, `source`, `destination`: names, or `other`"
        ),
        labels: |of| {
            vec![
                ("exporter", of.exporter()),
                ("source", of.network(of.key.first)),
                ("destination", of.network(of.key.second)),
            ]
        },
    },
    Counters {
        view: View::As,
        names: counters!(
            "netflow_as",
            "netflow.as",
            "between autonomous systems",
            "`exporter`, `source`, `destination`: AS numbers, 0 where none is known"
        ),
        labels: |of| {
            vec![
                ("exporter", of.exporter()),
                ("source", of.key.first.to_string()),
                ("destination", of.key.second.to_string()),
            ]
        },
    },
    Counters {
        view: View::Country,
        names: counters!(
            "netflow_country",
            "netflow.country",
            "between countries of `NETFLOW_GEOIP_COUNTRY`",
            "`exporter`, `source`, `destination`: codes of two letters, or `unknown`"
        ),
        labels: |of| {
            vec![
                ("exporter", of.exporter()),
                ("source", Of::country(of.key.first)),
                ("destination", Of::country(of.key.second)),
            ]
        },
    },
];

const EDGE: &str =
    "`client`, `server`: names of networks, or `other`; `connection_type`: empty; `exporter`";
const REQUESTS: Name = Name {
    text: "traces_service_graph_request",
    otlp: "traces_service_graph_request_total",
    unit: "1",
    kind: Kind::Counter,
    help: "Records in the direction from client to server",
    labels: EDGE,
};
const FAILED: Name = Name {
    text: "traces_service_graph_request_failed",
    otlp: "traces_service_graph_request_failed_total",
    unit: "1",
    kind: Kind::Counter,
    help: "Of these, TCP connections without an answer or refused; none for sampled exporters",
    labels: EDGE,
};
const SERVER_SECONDS: Name = Name {
    text: "traces_service_graph_request_server_seconds",
    otlp: "traces_service_graph_request_server_seconds",
    unit: "s",
    kind: Kind::Histogram,
    help: "Durations of these records' flows",
    labels: EDGE,
};
const CLIENT_SECONDS: Name = Name {
    text: "traces_service_graph_request_client_seconds",
    otlp: "traces_service_graph_request_client_seconds",
    ..SERVER_SECONDS
};

const LOST: Name = Name {
    text: "netflow_exporter_lost",
    otlp: "netflow.exporter.lost",
    unit: "1",
    kind: Kind::Counter,
    help: "Lost between the exporter and the daemon, by sequence numbers, in the unit of its protocol",
    labels: "`exporter`, `unit`: `flows` (v5, v7), `messages` (v9), `records` (IPFIX), `datagrams` (sFlow)",
};

const LONGEST_FLOW: Name = Name {
    text: "netflow_exporter_longest_flow_seconds",
    otlp: "netflow.exporter.longest_flow",
    unit: "s",
    kind: Kind::Gauge,
    help: "The longest flow that the exporter reported in the last ten to twenty minutes; above 60 the rates of flow \
           metrics show peaks, because bytes are counted when they are reported",
    labels: "`exporter`",
};

const EXPORTER_INFO: Name = Name {
    text: "netflow_exporter",
    otlp: "netflow.exporter.info",
    unit: "1",
    kind: Kind::Info,
    help: "Names of an exporter in `NETFLOW_NETWORKS`: `name` if a line is for its address alone",
    labels: "`exporter`, `name`, `network`",
};

const INTERFACE_SPEED: Name = Name {
    text: "netflow_interface_speed_bytes",
    otlp: "netflow.interface.speed",
    unit: "By/s",
    kind: Kind::Gauge,
    help: "Speed of an interface in bytes per second, from `NETFLOW_INTERFACES`",
    labels: "`exporter`, `interface`",
};

const INTERFACE_INFO: Name = Name {
    text: "netflow_interface",
    otlp: "netflow.interface.info",
    unit: "1",
    kind: Kind::Info,
    help: "Name and description of an interface, from `NETFLOW_INTERFACES` or options data",
    labels: "`exporter`, `interface`, `name`, `description`",
};

/// Every metric of the views, with the view that it belongs to.
pub fn names() -> impl Iterator<Item = (View, Name)> {
    let counters = VIEWS
        .iter()
        .flat_map(|of| of.names.into_iter().map(|name| (of.view, name)));
    let counters = counters.chain([
        (View::Interface, INTERFACE_INFO),
        (View::Interface, INTERFACE_SPEED),
        (View::Exporter, EXPORTER_INFO),
        (View::Exporter, LOST),
        (View::Exporter, LONGEST_FLOW),
        (View::ServiceGraph, REQUESTS),
        (View::ServiceGraph, FAILED),
        (View::ServiceGraph, SERVER_SECONDS),
        (View::ServiceGraph, CLIENT_SECONDS),
        (View::Top, top::TOP),
    ]);
    counters.chain(devices::names().map(|name| (View::SflowCounters, name)))
}

/// The metrics of a reading; those without a point are left out.
#[must_use]
pub fn families(reading: &FlowReading) -> Vec<Family> {
    let mut families = Vec::new();
    for (view, series) in &reading.views {
        let Some(of) = VIEWS.iter().find(|of| of.view == *view) else {
            continue;
        };
        counted(of, series, reading, &mut families);
        match view {
            View::Interface => families.extend(of_interfaces(reading)),
            View::Exporter => families.extend(of_exporters(reading)),
            _ => {}
        }
    }
    families.extend(service_graph(reading));
    families.push(top::family(reading));
    families.extend(devices::families(reading));
    families.push(exporter_info(reading));
    families.retain(|family| !family.points.is_empty());
    families
}

fn counted(of: &Counters, view: &ViewReading, reading: &FlowReading, families: &mut Vec<Family>) {
    let labelled = view.series.iter().map(|series| {
        let labels = match series.key {
            Some(key) => (of.labels)(&Of {
                key,
                name: series.name.as_deref(),
                networks: reading.networks.as_deref(),
            }),
            None => vec![(OVERFLOW_LABEL, "true".to_owned())],
        };
        (Arc::new(labels), series)
    });
    let labelled: Vec<(Arc<Labels>, &SeriesReading)> = labelled.collect();
    let reads: [fn(&Totals) -> u64; 3] = [
        |totals| totals.bytes,
        |totals| totals.packets,
        |totals| totals.flows,
    ];
    for (n, (name, read)) in of.names.into_iter().zip(reads).enumerate() {
        let points = labelled.iter().map(|(labels, series)| Point {
            labels: Arc::clone(labels),
            number: Number::Count(read(&series.totals)),
            exemplar: series.exemplar.filter(|_| n == 0).map(Box::new),
        });
        families.push(Family {
            name,
            points: points.collect(),
        });
    }
}

pub(super) fn point(labels: Labels, number: Number) -> Point {
    Point {
        labels: Arc::new(labels),
        number,
        exemplar: None,
    }
}

fn of_exporters(reading: &FlowReading) -> [Family; 2] {
    let lost = reading.exporters.iter().flat_map(|info| {
        info.lost.iter().map(|(unit, lost)| {
            let labels = vec![
                ("exporter", info.exporter.to_string()),
                ("unit", (*unit).to_owned()),
            ];
            point(labels, Number::Count(*lost))
        })
    });
    let longest = reading.exporters.iter().map(|info| {
        let labels = vec![("exporter", info.exporter.to_string())];
        point(labels, Number::Level(info.longest_flow))
    });
    [
        Family {
            name: LOST,
            points: lost.collect(),
        },
        Family {
            name: LONGEST_FLOW,
            points: longest.collect(),
        },
    ]
}

/// Reads a number of an edge.
type ReadGraph = fn(GraphTotals) -> Number;

fn service_graph(reading: &FlowReading) -> [Family; 4] {
    let edges = reading.graph.iter().flat_map(|graph| &graph.series);
    let edges = edges.map(|series| {
        let labels = match series.key {
            Some(key) => {
                let of = Of {
                    key,
                    name: None,
                    networks: reading.networks.as_deref(),
                };
                vec![
                    ("client", of.network(key.first)),
                    ("server", of.network(key.second)),
                    ("connection_type", String::new()),
                    ("exporter", of.exporter()),
                ]
            }
            None => vec![(OVERFLOW_LABEL, "true".to_owned())],
        };
        (Arc::new(labels), series.totals)
    });
    let edges: Vec<_> = edges.collect();
    let reads: [(Name, ReadGraph); 4] = [
        (REQUESTS, |totals| Number::Count(totals.requests)),
        (FAILED, |totals| Number::Count(totals.failed)),
        (SERVER_SECONDS, Number::Seconds),
        (CLIENT_SECONDS, Number::Seconds),
    ];
    reads.map(|(name, read)| Family {
        name,
        points: edges
            .iter()
            .map(|(labels, totals)| Point {
                labels: Arc::clone(labels),
                number: read(*totals),
                exemplar: None,
            })
            .collect(),
    })
}

fn exporter_info(reading: &FlowReading) -> Family {
    let known = reading.exporters.iter().filter_map(|info| {
        let known = reading.networks.as_ref()?.about(info.exporter)?;
        let labels = vec![
            ("exporter", info.exporter.to_string()),
            ("name", known.own_name.unwrap_or_default().to_owned()),
            ("network", known.network.to_owned()),
        ];
        Some(point(labels, Number::Count(1)))
    });
    Family {
        name: EXPORTER_INFO,
        points: known.collect(),
    }
}

fn of_interfaces(reading: &FlowReading) -> [Family; 2] {
    let speeds = reading.interfaces.iter().filter_map(|info| {
        let labels = vec![
            ("exporter", info.exporter.to_string()),
            ("interface", info.interface.to_string()),
        ];
        Some(point(labels, Number::Level(info.speed? as f64 / 8.0)))
    });
    let speeds = speeds.collect();
    let points = reading.interfaces.iter().map(|info| {
        let labels = vec![
            ("exporter", info.exporter.to_string()),
            ("interface", info.interface.to_string()),
            ("name", info.name.to_string()),
            ("description", info.description.to_string()),
        ];
        point(labels, Number::Count(1))
    });
    [
        Family {
            name: INTERFACE_INFO,
            points: points.collect(),
        },
        Family {
            name: INTERFACE_SPEED,
            points: speeds,
        },
    ]
}
