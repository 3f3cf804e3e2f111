//! Countries and autonomous systems of databases, and names of interfaces: in spans and in series.

use std::sync::Arc;

use netflow_wire::sflow::{FlowRecord, Interface, SampledIp};
use netflow_wire::write::{SflowHeader, SflowSample, SflowWriter};
use netflow2traces::config::Semconv;
use netflow2traces::translate::enrich::geo::{Database, DatabaseError, DatabaseKind, Databases};
use netflow2traces::translate::enrich::interfaces::Interfaces;
use netflow2traces::translate::metrics::{FlowReading, Places, View};

use crate::mmdb::{self, Data};
use crate::rig::{Rig, f, ipfix, options, record, rig, rig_with};

fn countries() -> Vec<u8> {
    mmdb::database(&[
        ("10.0.0.0/8", mmdb::country("DE")),
        ("10.1.0.0/16", mmdb::country("FR")),
        // A flat layout.
        (
            "192.0.2.0/24",
            Data::Map(vec![("country_code", Data::Text("us"))]),
        ),
        ("2001:db8::/32", mmdb::country("NL")),
    ])
}

fn systems() -> Vec<u8> {
    mmdb::database(&[
        ("10.0.0.0/8", mmdb::system(64_500, "Example One")),
        (
            "192.0.2.0/24",
            Data::Map(vec![
                ("asn", Data::Text("AS64501")),
                ("as_name", Data::Text("Example Two")),
            ]),
        ),
    ])
}

fn databases() -> Databases {
    let open = |octets, kind| Arc::new(Database::new(octets, kind).expect("a database"));
    Databases {
        country: Some(open(countries(), DatabaseKind::Country)),
        asn: Some(open(systems(), DatabaseKind::Asn)),
    }
}

fn datagram(source: [u8; 4], destination: [u8; 4], systems: Option<[u32; 2]>) -> Vec<u8> {
    let mut fields = vec![f(8, 4), f(12, 4), f(1, 4)];
    if systems.is_some() {
        fields.extend([f(16, 4), f(17, 4)]);
    }
    record(ipfix(1), &fields, |record| {
        record.bytes(&source).bytes(&destination).u32(100);
        for number in systems.into_iter().flatten() {
            record.u32(number);
        }
    })
}

const HERE: [u8; 4] = [10, 1, 2, 3];
const THERE: [u8; 4] = [192, 0, 2, 9];
const ELSEWHERE: [u8; 4] = [198, 51, 100, 1];

#[test]
fn spans_have_countries_and_systems_of_both_ends() {
    let mut rig = rig();
    rig.translator().locate(databases());
    // The second time from memory.
    for _ in 0..2 {
        let flow = rig.flow(&datagram(HERE, THERE, None));
        for (key, value) in [
            ("source.geo.country.iso_code", "FR"),
            ("destination.geo.country.iso_code", "US"),
            ("source.as.organization.name", "Example One"),
            ("destination.as.organization.name", "Example Two"),
            ("netflow.as.origin", "database"),
        ] {
            assert_eq!(flow.get(key), value, "{key}");
        }
        assert_eq!(flow.get("source.as.number"), 64_500);
        assert_eq!(flow.get("destination.as.number"), 64_501);
        assert!(flow.get("netflow.src_as").is_null());
    }
    let flow = rig.flow(&datagram(ELSEWHERE, ELSEWHERE, None));
    for key in [
        "source.geo.country.iso_code",
        "source.as.number",
        "source.as.organization.name",
        "netflow.as.origin",
    ] {
        assert!(flow.get(key).is_null(), "{key}");
    }
}

#[test]
fn the_number_of_the_exporter_wins_and_has_no_other_organization() {
    let mut rig = rig();
    rig.translator().locate(databases());
    let flow = rig.flow(&datagram(HERE, THERE, Some([65_000, 0])));
    assert_eq!(flow.get("source.as.number"), 65_000);
    assert!(flow.get("source.as.organization.name").is_null());
    assert_eq!(flow.get("destination.as.number"), 64_501);
    assert_eq!(flow.get("netflow.as.origin"), "both");
    let flow = rig.flow(&datagram(HERE, ELSEWHERE, Some([64_500, 7])));
    assert_eq!(flow.get("source.as.organization.name"), "Example One");
    assert_eq!(flow.get("netflow.as.origin"), "exporter");
}

#[test]
fn a_number_stands_once_in_every_schema() {
    for semconv in [Semconv::Netflow, Semconv::Flow, Semconv::Both] {
        for systems in [None, Some([64_500, 0])] {
            let mut rig = rig_with(|config| config.semconv = semconv);
            rig.translator().locate(databases());
            let flow = rig.flow(&datagram(HERE, THERE, systems));
            // The rig takes no key twice.
            assert_eq!(flow.get("source.as.number"), 64_500, "{semconv:?}");
            assert!(flow.get("destination.as.number").is_number(), "{semconv:?}");
        }
    }
}

/// The labels of a view's series, as numbers, with their flows.
fn series(reading: &FlowReading, view: View) -> Vec<(u32, u32, u64)> {
    let (_, reading) = reading
        .views
        .iter()
        .find(|(of, _)| *of == view)
        .expect("it is counted");
    let series = reading.series.iter().map(|series| {
        let key = series.key.expect("no overflow");
        (key.first, key.second, series.totals.flows)
    });
    let mut series: Vec<_> = series.collect();
    series.sort_unstable();
    series
}

fn letters(code: &[u8; 2]) -> u32 {
    u32::from(u16::from_be_bytes(*code))
}

fn counted(views: &[View]) -> Rig {
    let mut rig = rig();
    rig.count_flows(&Places::new(views.iter().copied().collect(), 100));
    rig
}

#[test]
fn views_count_by_country_and_by_the_systems_of_the_database() {
    let mut rig = counted(&[View::As, View::Country]);
    rig.translator().locate(databases());
    rig.take("192.0.2.1:2055", &datagram(HERE, THERE, None));
    rig.take(
        "192.0.2.1:2055",
        &datagram(HERE, ELSEWHERE, Some([65_000, 0])),
    );
    let reading = rig.flow_metrics();
    assert_eq!(
        series(&reading, View::Country),
        [(letters(b"FR"), 0, 1), (letters(b"FR"), letters(b"US"), 1)]
    );
    assert_eq!(
        series(&reading, View::As),
        [(64_500, 64_501, 1), (65_000, 0, 1)]
    );
}

#[test]
fn a_new_version_of_a_database_is_used_at_once() {
    let mut rig = rig();
    rig.translator().locate(databases());
    rig.flow(&datagram(HERE, THERE, None));
    let moved = mmdb::database(&[("10.0.0.0/8", mmdb::country("AT"))]);
    let moved = Database::new(moved, DatabaseKind::Country).expect("a database");
    rig.translator().locate(Databases {
        country: Some(Arc::new(moved)),
        asn: None,
    });
    let flow = rig.flow(&datagram(HERE, THERE, None));
    assert_eq!(flow.get("source.geo.country.iso_code"), "AT");
    assert!(flow.get("destination.geo.country.iso_code").is_null());
    assert!(flow.get("source.as.number").is_null());
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let refused = |octets, kind| Database::new(octets, kind).expect_err("it is refused");
    let other = refused(countries(), DatabaseKind::Asn);
    assert_eq!(
        other,
        DatabaseError::OtherKind("an AS number", "Test".to_owned())
    );
    assert!(matches!(
        refused(systems(), DatabaseKind::Country),
        DatabaseError::OtherKind(..)
    ));
    for octets in [vec![], b"cidr,name\n".to_vec(), countries()[..200].to_vec()] {
        let error = refused(octets, DatabaseKind::Country);
        assert!(matches!(error, DatabaseError::Format(_)), "{error}");
    }
}

#[test]
fn damaged_databases_are_refused_or_say_less() {
    let whole = countries();
    for at in 0..whole.len() {
        let mut octets = whole.clone();
        octets[at] ^= 0x5a;
        let Ok(database) = Database::new(octets, DatabaseKind::Country) else {
            continue;
        };
        let mut rig = rig();
        rig.translator().locate(Databases {
            country: Some(Arc::new(database)),
            asn: None,
        });
        let flow = rig.flow(&datagram(HERE, THERE, None));
        assert_eq!(flow.get("netflow.flow.bytes"), 100, "octet {at}");
    }
}

const INTERFACES: &str = "192.0.2.1,3,uplink,10G\n192.0.2.1,4,lan\n";

#[test]
fn interfaces_have_the_names_of_the_file_in_spans() {
    let mut rig = rig();
    for (index, name) in [(3, b"Gi0/3\0"), (5, b"Gi0/5\0")] {
        let named = options(ipfix(1), &[f(10, 4)], &[f(82, 6)], |record| {
            record.u32(index).bytes(name);
        });
        rig.take("192.0.2.1:2055", &named);
    }
    let fields = [f(10, 4), f(14, 4), f(1, 4)];
    let datagram = |input, output| {
        record(ipfix(1), &fields, |record| {
            record.u32(input).u32(output).u32(100);
        })
    };
    let flow = rig.flow(&datagram(3, 4));
    assert_eq!(flow.get("netflow.interface.input.name"), "Gi0/3");
    let interfaces = Arc::new(Interfaces::parse(INTERFACES).expect("valid"));
    rig.translator().name_interfaces(Some(interfaces));
    let flow = rig.flow(&datagram(3, 4));
    assert_eq!(flow.get("netflow.interface.input.name"), "uplink");
    assert_eq!(flow.get("netflow.interface.output.name"), "lan");
    let flow = rig.flow(&datagram(5, 6));
    assert_eq!(flow.get("netflow.interface.input.name"), "Gi0/5");
    assert!(flow.get("netflow.interface.output.name").is_null());
}

#[test]
fn sampled_packets_have_names_of_interfaces_too() {
    let mut rig = rig();
    let interfaces = Arc::new(Interfaces::parse(INTERFACES).expect("valid"));
    rig.translator().name_interfaces(Some(interfaces));
    let sample = SflowSample {
        input: Interface::Index(3),
        output: Interface::Index(9),
        ..SflowSample::default()
    };
    let mut writer = SflowWriter::new(&SflowHeader::default());
    writer.flow(&sample, |records| {
        records.record(&FlowRecord::Ip(SampledIp {
            length: 100,
            protocol: 6,
            source: HERE.into(),
            destination: THERE.into(),
            ports: [50_000, 443],
            tcp_flags: 0,
            tos: 0,
        }));
    });
    let flow = rig.flow(&writer.finish().expect("it fits"));
    assert_eq!(flow.get("netflow.interface.input.name"), "uplink");
    assert!(flow.get("netflow.interface.output.name").is_null());
}
