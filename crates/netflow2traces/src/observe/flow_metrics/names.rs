//! THE table of flow metrics: their names, units and labels.

use super::{devices, families, top};
use crate::translate::metrics::View;

/// Marks the series that counts what found no place of its own.
pub(super) const OVERFLOW_LABEL: &str = "otel_metric_overflow";
/// The same over OTLP, as a boolean.
pub(super) const OVERFLOW_ATTRIBUTE: &str = "otel.metric.overflow";

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

/// Bytes, packets and flows of the view.
pub(super) const INTERFACE: [Name; 3] = counters!(
    "netflow_interface",
    "netflow.interface",
    "through an interface, by direction",
    "`exporter`, `interface`, `direction`: `receive`, `transmit`"
);

/// Bytes, packets and flows of the view.
pub(super) const EXPORTER: [Name; 3] = counters!(
    "netflow_exporter",
    "netflow.exporter",
    "that an exporter reported",
    "`exporter`"
);

/// Bytes, packets and flows of the view.
pub(super) const APPLICATION: [Name; 3] = counters!(
    "netflow_application",
    "netflow.application",
    "by application: as the exporter names it, else the service of the server's port",
    "`exporter`, `transport`, `service`"
);

/// Bytes, packets and flows of the view.
pub(super) const NETWORK: [Name; 3] = counters!(
    "netflow_network",
    "netflow.network",
    "between networks of `NETFLOW_NETWORKS`",
    "`exporter`, `source`, `destination`: names, or `other`"
);

/// Bytes, packets and flows of the view.
pub(super) const AS: [Name; 3] = counters!(
    "netflow_as",
    "netflow.as",
    "between autonomous systems",
    "`exporter`, `source`, `destination`: AS numbers, 0 where none is known"
);

/// Bytes, packets and flows of the view.
pub(super) const COUNTRY: [Name; 3] = counters!(
    "netflow_country",
    "netflow.country",
    "between countries of `NETFLOW_GEOIP_COUNTRY`",
    "`exporter`, `source`, `destination`: codes of two letters, or `unknown`"
);

const EDGE: &str =
    "`client`, `server`: names of networks, or `other`; `connection_type`: empty; `exporter`";
pub(super) const REQUESTS: Name = Name {
    text: "traces_service_graph_request",
    otlp: "traces_service_graph_request_total",
    unit: "1",
    kind: Kind::Counter,
    help: "Records in the direction from client to server",
    labels: EDGE,
};
pub(super) const FAILED: Name = Name {
    text: "traces_service_graph_request_failed",
    otlp: "traces_service_graph_request_failed_total",
    unit: "1",
    kind: Kind::Counter,
    help: "Of these, TCP connections without an answer or refused; none for sampled exporters",
    labels: EDGE,
};
pub(super) const SERVER_SECONDS: Name = Name {
    text: "traces_service_graph_request_server_seconds",
    otlp: "traces_service_graph_request_server_seconds",
    unit: "s",
    kind: Kind::Histogram,
    help: "Durations of these records' flows",
    labels: EDGE,
};
pub(super) const CLIENT_SECONDS: Name = Name {
    text: "traces_service_graph_request_client_seconds",
    otlp: "traces_service_graph_request_client_seconds",
    ..SERVER_SECONDS
};

pub(super) const LOST: Name = Name {
    text: "netflow_exporter_lost",
    otlp: "netflow.exporter.lost",
    unit: "1",
    kind: Kind::Counter,
    help: "Lost between the exporter and the daemon, by sequence numbers, in the unit of its protocol",
    labels: "`exporter`, `unit`: `flows` (v5, v7), `messages` (v9), `records` (IPFIX), `datagrams` (sFlow)",
};

pub(super) const LONGEST_FLOW: Name = Name {
    text: "netflow_exporter_longest_flow_seconds",
    otlp: "netflow.exporter.longest_flow",
    unit: "s",
    kind: Kind::Gauge,
    help: "The longest flow that the exporter reported in the last ten to twenty minutes; above 60 the rates of flow \
           metrics show peaks, because bytes are counted when they are reported",
    labels: "`exporter`",
};

pub(super) const EXPORTER_INFO: Name = Name {
    text: "netflow_exporter",
    otlp: "netflow.exporter.info",
    unit: "1",
    kind: Kind::Info,
    help: "Names of an exporter in `NETFLOW_NETWORKS`: `name` if a line is for its address alone",
    labels: "`exporter`, `name`, `network`",
};

pub(super) const INTERFACE_SPEED: Name = Name {
    text: "netflow_interface_speed_bytes",
    otlp: "netflow.interface.speed",
    unit: "By/s",
    kind: Kind::Gauge,
    help: "Speed of an interface in bytes per second, from `NETFLOW_INTERFACES`",
    labels: "`exporter`, `interface`",
};

pub(super) const INTERFACE_INFO: Name = Name {
    text: "netflow_interface",
    otlp: "netflow.interface.info",
    unit: "1",
    kind: Kind::Info,
    help: "Name and description of an interface, from `NETFLOW_INTERFACES` or options data",
    labels: "`exporter`, `interface`, `name`, `description`",
};

/// Every metric of the views, with the view that it belongs to.
pub fn names() -> impl Iterator<Item = (View, Name)> {
    let counters = families::COUNTERS
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
