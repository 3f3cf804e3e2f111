//! The view `sflow_counters`: what devices count of their interfaces.

use netflow_wire::sflow::DirectionCounters;

use super::families::{Family, overflow, point};
use super::labels::{Label, Labels, Number};
use super::names::{Kind, Name};
use crate::translate::metrics::{DeviceCounters, FlowReading, SeriesKey};

type Read = fn(&DirectionCounters) -> Option<u64>;

const LABELS: &str = "`exporter`, `interface`";

macro_rules! counter {
    ($direction:literal, $word:literal, $unit:literal, $what:literal) => {
        Name {
            text: concat!("netflow_sflow_interface_", $direction, "_", $word),
            otlp: concat!("netflow.sflow.interface.", $direction, ".", $word),
            unit: $unit,
            kind: Kind::Counter,
            help: concat!("As the device itself counts: ", $what),
            labels: LABELS,
        }
    };
}

macro_rules! both {
    ($word:literal, $unit:literal, $received:literal, $transmitted:literal, $read:expr) => {
        (
            [
                counter!("receive", $word, $unit, $received),
                counter!("transmit", $word, $unit, $transmitted),
            ],
            $read,
        )
    };
}

const COUNTERS: [([Name; 2], Read); 6] = [
    both!("bytes", "By", "bytes received", "bytes sent", |all| all
        .octets),
    both!(
        "unicast_packets",
        "{packet}",
        "unicast packets received",
        "unicast packets sent",
        |all| all.unicast.map(u64::from)
    ),
    both!(
        "multicast_packets",
        "{packet}",
        "multicast packets received",
        "multicast packets sent",
        |all| all.multicast.map(u64::from)
    ),
    both!(
        "broadcast_packets",
        "{packet}",
        "broadcast packets received",
        "broadcast packets sent",
        |all| all.broadcast.map(u64::from)
    ),
    both!(
        "discards",
        "{packet}",
        "received packets dropped without an error",
        "packets to send dropped without an error",
        |all| all.discards.map(u64::from)
    ),
    both!(
        "errors",
        "{packet}",
        "received packets with errors",
        "packets that errors kept from being sent",
        |all| all.errors.map(u64::from)
    ),
];

const REPORTS: Name = Name {
    text: "netflow_sflow_interface_reports",
    otlp: "netflow.sflow.interface.reports",
    unit: "{report}",
    kind: Kind::Counter,
    help: "Counter samples of an interface; of the overflow series, those of interfaces that found no place",
    labels: LABELS,
};

/// Their names.
pub(super) fn names() -> impl Iterator<Item = Name> {
    let counters = COUNTERS.iter().flat_map(|(names, _)| *names);
    counters.chain([REPORTS])
}

pub(super) fn families(reading: &FlowReading) -> Vec<Family<'_>> {
    let Some(devices) = &reading.devices else {
        return Vec::new();
    };
    let series = &devices.series;
    let mut families = Vec::new();
    for (names, read) in COUNTERS {
        let sides: [fn(&DeviceCounters) -> &DirectionCounters; 2] =
            [|all| &all.received, |all| &all.transmitted];
        for (name, side) in names.into_iter().zip(sides) {
            families.push(Family::new(name, series.len(), move |row| {
                let series = series.get(row)?;
                // Totals of different devices don't add up.
                let labels = labels(&series.key?);
                let count = read(side(&series.totals))?;
                Some(point(labels, Number::Count(count)))
            }));
        }
    }
    families.push(Family::new(REPORTS, series.len(), |row| {
        let series = series.get(row)?;
        let labels = series.key.as_ref().map_or_else(overflow, labels);
        Some(point(labels, Number::Count(series.totals.reports)))
    }));
    families
}

fn labels<'a>(key: &SeriesKey) -> Labels<'a> {
    Labels::new([
        ("exporter", Label::Address(key.exporter())),
        ("interface", Label::Number(key.first)),
    ])
}
