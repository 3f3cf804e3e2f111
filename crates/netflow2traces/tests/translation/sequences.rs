//! Loss by sequence numbers, each version in its own unit, on the export span and in the counters.

use netflow_wire::write::{IpfixHeader, MessageWriter, V5Header, V9Header};
use serde_json::Value;

use super::rig::{Rig, SECONDS, UPTIME_MS, f, rig, v5_flows, v5_header};

fn v5(rig: &mut Rig, sequence: u32, records: usize) -> Value {
    let header = V5Header {
        flow_sequence: sequence,
        ..v5_header()
    };
    lost(rig, &v5_flows(&header, records))
}

fn v9(rig: &mut Rig, sequence: u32, records: u32) -> Value {
    let mut message = MessageWriter::v9(V9Header {
        sys_uptime_ms: UPTIME_MS + sequence,
        unix_secs: SECONDS,
        sequence,
        ..V9Header::default()
    });
    lost(rig, &filled(&mut message, records, 256))
}

/// Of a Template ID that is known (256) or not.
fn ipfix(rig: &mut Rig, domain: u32, sequence: u32, records: u32, id: u16) -> Value {
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        sequence,
        observation_domain: domain,
        length: None,
    });
    lost(rig, &filled(&mut message, records, id))
}

fn filled(message: &mut MessageWriter, records: u32, id: u16) -> Vec<u8> {
    message.template(256, &[f(8, 4)]).data_set(id, |set| {
        for record in 0..records {
            set.record(|r| {
                r.u32(record);
            });
        }
    });
    message.finish().expect("fits")
}

fn lost(rig: &mut Rig, octets: &[u8]) -> Value {
    rig.export(octets).get("netflow.lost").clone()
}

#[test]
fn v5_counts_flows() {
    let mut rig = rig();
    assert_eq!(v5(&mut rig, 100, 5), Value::Null);
    assert_eq!(v5(&mut rig, 105, 5), Value::Null);
    assert_eq!(v5(&mut rig, 130, 5), 20);
    assert_eq!(v5(&mut rig, 135, 5), Value::Null);
    assert_eq!(rig.counters().lost_flows.value(), 20);
}

#[test]
fn v9_counts_messages() {
    let mut rig = rig();
    assert_eq!(v9(&mut rig, 7, 5), Value::Null);
    assert_eq!(v9(&mut rig, 8, 5), Value::Null);
    assert_eq!(v9(&mut rig, 12, 5), 3);
    assert_eq!(rig.counters().lost_messages.value(), 3);
}

#[test]
fn ipfix_counts_records() {
    let mut rig = rig();
    assert_eq!(ipfix(&mut rig, 1, 0, 5, 256), Value::Null);
    assert_eq!(ipfix(&mut rig, 1, 5, 2, 256), Value::Null);
    assert_eq!(ipfix(&mut rig, 1, 17, 2, 256), 10);
    assert_eq!(rig.counters().lost_records.value(), 10);
}

#[test]
fn domains_and_ports_count_apart() {
    let mut rig = rig();
    assert_eq!(ipfix(&mut rig, 1, 0, 5, 256), Value::Null);
    assert_eq!(ipfix(&mut rig, 2, 900, 5, 256), Value::Null);
    assert_eq!(ipfix(&mut rig, 1, 5, 5, 256), Value::Null);
    assert_eq!(ipfix(&mut rig, 2, 905, 5, 256), Value::Null);
    let octets = filled(
        &mut MessageWriter::ipfix(IpfixHeader {
            export_time: SECONDS,
            sequence: 50_000,
            observation_domain: 1,
            length: None,
        }),
        5,
        256,
    );
    rig.take("192.0.2.1:9999", &octets);
    assert_eq!(rig.counters().lost_records.value(), 0);
}

#[test]
fn an_overtaken_message_is_late_not_lost() {
    let mut rig = rig();
    // The first steps show the unit.
    for (sequence, expected) in [
        (1, Value::Null),
        (2, Value::Null),
        (3, Value::Null),
        (5, 1.into()),
        (4, Value::Null),
        (6, Value::Null),
    ] {
        assert_eq!(v9(&mut rig, sequence, 1), expected, "{sequence}");
    }
    let counters = rig.counters();
    assert_eq!(
        (
            counters.lost_messages.value(),
            counters.late_messages.value()
        ),
        (1, 1)
    );
}

#[test]
fn a_restart_is_no_loss() {
    let mut rig = rig();
    v9(&mut rig, 5_000_000, 1);
    assert_eq!(v9(&mut rig, 0, 1), Value::Null);
    assert_eq!(v9(&mut rig, 1, 1), Value::Null);
    let counters = rig.counters();
    assert_eq!(
        (
            counters.lost_messages.value(),
            counters.exporter_restarts.value()
        ),
        (0, 1)
    );
}

#[test]
fn after_records_that_could_not_be_counted_nothing_is_lost() {
    let mut rig = rig();
    ipfix(&mut rig, 1, 0, 5, 256);
    // Nobody knows how many records wait.
    assert_eq!(ipfix(&mut rig, 1, 5, 3, 999), Value::Null);
    assert_eq!(ipfix(&mut rig, 1, 8, 1, 256), Value::Null);
    assert_eq!(ipfix(&mut rig, 1, 19, 1, 256), 10);
}

#[test]
fn numbers_wrap() {
    let mut rig = rig();
    assert_eq!(v5(&mut rig, u32::MAX - 4, 5), Value::Null);
    assert_eq!(v5(&mut rig, 0, 5), Value::Null);
    assert_eq!(rig.counters().exporter_restarts.value(), 0);
}
