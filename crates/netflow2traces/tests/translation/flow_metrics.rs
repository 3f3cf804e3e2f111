//! Names of the flow metrics' series, and the views whose series are not sums over records.

use std::sync::Arc;

use netflow_wire::sflow::{DirectionCounters, InterfaceCounters};
use netflow_wire::write::{SflowHeader, SflowWriter, V5Record, v5};
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{FlowReading, Places, TopKind, View};

use crate::rig::{f, ipfix, record, rig, v5_header};

#[test]
fn interfaces_have_the_names_of_options_data() {
    let mut rig = rig();
    rig.count_flows(&Places::new([View::Interface].into_iter().collect(), 10));
    let names = crate::rig::options(ipfix(1), &[f(10, 4)], &[f(82, 6)], |record| {
        record.u32(3).bytes(b"Gi0/3\0");
    });
    rig.take("192.0.2.1:2055", &names);
    let fields = [f(10, 2), f(1, 4)];
    let flow = record(ipfix(1), &fields, |record| {
        record.u16(3).u32(100);
    });
    rig.take("192.0.2.1:2055", &flow);
    let reading = rig.flow_metrics();
    let [interface] = reading.interfaces.as_slice() else {
        panic!("{reading:?}")
    };
    assert_eq!((interface.interface, &*interface.name), (3, "Gi0/3"));
}

const FILE: &str = "10.0.0.0/8,office,site=berlin\n198.51.100.9/32,web\n";

/// Source, destination and flows of each series.
fn by_network(reading: &FlowReading) -> Vec<(Option<&str>, Option<&str>, u64)> {
    let networks = reading.networks.as_ref().expect("names");
    let (_, view) = &reading.views[0];
    let series = view.series.iter().map(|series| {
        let key = series.key.expect("no overflow");
        let name = |number: u32| networks.names().get(number.checked_sub(1)?);
        (name(key.first), name(key.second), series.totals.flows)
    });
    let mut series: Vec<_> = series.collect();
    series.sort_unstable();
    series
}

#[test]
fn ends_have_the_names_of_their_networks_in_spans_and_series() {
    let mut rig = rig();
    rig.count_flows(&Places::new([View::Network].into_iter().collect(), 10));
    let networks = Networks::parse(FILE, None).expect("valid");
    rig.translator().name_networks(Some(Arc::new(networks)));
    let fields = [f(8, 4), f(12, 4), f(1, 4)];
    let datagram = |source: [u8; 4], destination: [u8; 4]| {
        record(ipfix(1), &fields, |record| {
            record.bytes(&source).bytes(&destination).u32(100);
        })
    };
    let flow = rig.flow(&datagram([10, 1, 2, 3], [198, 51, 100, 9]));
    for (key, value) in [
        ("netflow.source.network", "office"),
        ("source.site", "berlin"),
        ("netflow.destination.network", "web"),
    ] {
        assert_eq!(flow.get(key), value, "{key}");
    }
    assert!(flow.get("destination.site").is_null());
    let flow = rig.flow(&datagram([192, 0, 2, 1], [10, 0, 0, 1]));
    assert!(flow.get("netflow.source.network").is_null());
    assert_eq!(flow.get("destination.site"), "berlin");
    let reading = rig.flow_metrics();
    let mut found = by_network(&reading);
    found.sort_unstable();
    assert_eq!(
        found,
        [(None, Some("office"), 1), (Some("office"), Some("web"), 1)]
    );
}

#[test]
fn counters_of_sflow_are_the_newest_that_the_device_reported() {
    let mut rig = rig();
    rig.count_flows(&Places::new([View::SflowCounters].into_iter().collect(), 2));
    let report = |index, octets| {
        let counters = InterfaceCounters {
            index,
            received: DirectionCounters {
                octets: Some(octets),
                ..DirectionCounters::default()
            },
            ..InterfaceCounters::default()
        };
        let mut writer = SflowWriter::new(&SflowHeader::default());
        let datagram = writer.interface_counters(1, &counters).finish();
        datagram.expect("it fits")
    };
    for (index, octets) in [(7, 100), (8, 5), (7, 250), (9, 1)] {
        rig.take("192.0.2.1:6343", &report(index, octets));
    }
    let devices = rig.flow_metrics().devices.expect("the view is counted");
    let series = devices.series.iter().map(|series| {
        let index = series.key.map(|key| key.first);
        let octets = series.totals.received.octets.filter(|_| index.is_some());
        (index, octets, series.totals.reports)
    });
    let mut series: Vec<_> = series.collect();
    series.sort_unstable();
    // There is no place for a third interface.
    assert_eq!(
        series,
        [
            (None, None, 1),
            (Some(7), Some(250), 2),
            (Some(8), Some(5), 1)
        ]
    );
}

#[test]
fn the_heaviest_of_the_last_minute_are_of_every_protocol() {
    let mut rig = rig();
    let places = Places::new([View::Top].into_iter().collect(), 10).with_top(1);
    rig.count_flows(&places);
    let flow = V5Record {
        source: [10, 0, 0, 1].into(),
        destination: [192, 0, 2, 9].into(),
        source_port: 50_000,
        destination_port: 443,
        protocol: 6,
        octets: 700,
        packets: 1,
        ..V5Record::default()
    };
    rig.take("192.0.2.1:2055", &v5(&v5_header(), &[flow]).expect("fits"));
    let fields = [
        f(8, 4),
        f(12, 4),
        f(7, 2),
        f(11, 2),
        f(4, 1),
        f(1, 4),
        f(34, 4),
    ];
    let sampled = record(ipfix(1), &fields, |record| {
        record.bytes(&[10, 0, 0, 1]).bytes(&[192, 0, 2, 9]);
        record.u16(50_001).u16(443).u8(6).u32(10).u32(30);
    });
    rig.take("192.0.2.2:2055", &sampled);
    let rows = rig.flow_metrics().top();
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.kind, row.port, row.bytes))
        .collect();
    assert_eq!(
        shown,
        [
            (TopKind::Conversation, Some(443), 1_000),
            (TopKind::Source, None, 1_000),
            (TopKind::Destination, None, 1_000),
        ]
    );
    rig.pass(std::time::Duration::from_secs(70));
    assert!(rig.flow_metrics().top().is_empty());
}
