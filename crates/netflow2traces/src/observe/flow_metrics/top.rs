//! The view `top`: gauges of the heaviest conversations, sources and destinations.

use super::families::{Family, Kind, Labels, Name, Number, point};
use crate::translate::metrics::{FlowReading, TopRow};
use crate::translate::transport;

pub(super) const TOP: Name = Name {
    text: "netflow_top_bytes",
    otlp: "netflow.top.bytes",
    unit: "By",
    kind: Kind::Gauge,
    help: "Estimated bytes of the last minute, of the `NETFLOW_TOP` heaviest of each kind; too small by less than 1 % \
           of what the exporter reported in that minute, and never too large",
    labels: "`kind`: `conversation`, `source`, `destination`; `source`, `destination`: addresses; `transport`, `port`: \
             of a conversation, the port is the server's",
};

pub(super) fn family(reading: &FlowReading) -> Family {
    let rows = reading.top().into_iter();
    Family {
        name: TOP,
        points: rows
            .map(|row| point(labels(&row), Number::Count(row.bytes)))
            .collect(),
    }
}

fn labels(row: &TopRow) -> Labels {
    let mut labels = vec![("kind", row.kind.as_str().to_owned())];
    let address = |address: std::net::IpAddr| address.to_string();
    let values = [
        ("source", row.source.map(address)),
        ("destination", row.destination.map(address)),
        ("transport", row.transport.map(transport)),
        ("port", row.port.map(|port| port.to_string())),
    ];
    labels.extend(
        values
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    labels
}
