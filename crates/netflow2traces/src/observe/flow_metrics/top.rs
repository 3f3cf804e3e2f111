//! The view `top`: gauges of the heaviest conversations, sources and destinations.

use std::net::IpAddr;

use super::families::{Family, point};
use super::labels::{Label, Labels, Number};
use super::names::{Kind, Name};
use crate::translate::metrics::TopRow;

pub(super) const TOP: Name = Name {
    text: "netflow_top_bytes",
    otlp: "netflow.top.bytes",
    unit: "By",
    kind: Kind::Gauge,
    help: "Estimated bytes of the last minute, of the `NETFLOW_TOP` heaviest of each kind; as a rule off by less than 1 % \
           of what the exporter reported in that minute",
    labels: "`kind`: `conversation`, `source`, `destination`; `source`, `destination`: addresses; `transport`, `port`: \
             of a conversation, the port is the server's",
};

pub(super) fn family(rows: &[TopRow]) -> Family<'_> {
    Family::new(TOP, rows.len(), |row| {
        let row = rows.get(row)?;
        Some(point(labels(row), Number::Count(row.bytes)))
    })
}

fn labels(row: &TopRow) -> Labels<'_> {
    let address = |name, address: Option<IpAddr>| Some((name, Label::Address(address?)));
    let transport = row.transport.map(Label::Transport);
    let port = row.port.map(|port| Label::Number(port.into()));
    Labels::some([
        Some(("kind", Label::Text(row.kind.as_str()))),
        address("source", row.source),
        address("destination", row.destination),
        transport.map(|transport| ("transport", transport)),
        port.map(|port| ("port", port)),
    ])
}
