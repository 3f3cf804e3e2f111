//! THE table of flow metrics: names, units, labels, and which number of a series each shows.

use std::sync::Arc;

use crate::translate::metrics::{
    Exemplar, FlowReading, SeriesKey, SeriesReading, Totals, View, ViewReading,
};

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
            Self::Info => "info",
        }
    }

    /// What a sample's name ends in.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge => "",
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
}

/// The three counters of a view.
struct Counters {
    view: View,
    /// Bytes, packets, flows.
    names: [Name; 3],
    labels: fn(&SeriesKey) -> Labels,
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

const VIEWS: [Counters; View::ALL.len()] = [
    Counters {
        view: View::Interface,
        names: counters!(
            "netflow_interface",
            "netflow.interface",
            "through an interface, by direction",
            "`exporter`, `interface`, `direction`: `receive`, `transmit`"
        ),
        labels: |key| {
            let direction = match key.second {
                0 => "receive",
                _ => "transmit",
            };
            vec![
                ("exporter", key.exporter().to_string()),
                ("interface", key.first.to_string()),
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
        labels: |key| vec![("exporter", key.exporter().to_string())],
    },
];

const LOST: Name = Name {
    text: "netflow_exporter_lost",
    otlp: "netflow.exporter.lost",
    unit: "1",
    kind: Kind::Counter,
    help: "Lost between the exporter and here, by its sequence numbers, in the unit that its protocol counts",
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

const INTERFACE_INFO: Name = Name {
    text: "netflow_interface",
    otlp: "netflow.interface.info",
    unit: "1",
    kind: Kind::Info,
    help: "What an interface is called, where that is known",
    labels: "`exporter`, `interface`, `name`, `description`",
};

/// Every metric of the views, with the view that it belongs to.
pub fn names() -> impl Iterator<Item = (View, Name)> {
    let counters = VIEWS
        .iter()
        .flat_map(|of| of.names.into_iter().map(|name| (of.view, name)));
    counters.chain([
        (View::Interface, INTERFACE_INFO),
        (View::Exporter, LOST),
        (View::Exporter, LONGEST_FLOW),
    ])
}

/// The metrics of a reading; those without a point are left out.
#[must_use]
pub fn families(reading: &FlowReading) -> Vec<Family> {
    let mut families = Vec::new();
    for (view, series) in &reading.views {
        let Some(of) = VIEWS.iter().find(|of| of.view == *view) else {
            continue;
        };
        counted(of, series, &mut families);
        match view {
            View::Interface => families.push(interface_info(reading)),
            View::Exporter => families.extend(of_exporters(reading)),
        }
    }
    families.retain(|family| !family.points.is_empty());
    families
}

fn counted(of: &Counters, reading: &ViewReading, families: &mut Vec<Family>) {
    let labelled = reading.series.iter().map(|series| {
        let labels = match &series.key {
            Some(key) => (of.labels)(key),
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

fn point(labels: Labels, number: Number) -> Point {
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

fn interface_info(reading: &FlowReading) -> Family {
    let points = reading.interfaces.iter().map(|info| {
        let labels = vec![
            ("exporter", info.exporter.to_string()),
            ("interface", info.interface.to_string()),
            ("name", info.name.to_string()),
            ("description", String::new()),
        ];
        point(labels, Number::Count(1))
    });
    Family {
        name: INTERFACE_INFO,
        points: points.collect(),
    }
}
