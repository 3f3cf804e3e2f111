//! Messages of connections: their templates, sequence numbers and waiting Sets live as long as the connection.

use std::net::SocketAddr;

use netflow_wire::write::{Field, MessageWriter};
use netflow_wire::{Session, Transport};
use netflow2traces::translate::Datagram;
use otlp_wire::UnixNanos;

use super::rig::{NANOS, Rig, rig, rig_with, spans};

const SOURCE: &str = "192.0.2.1:4000";
const FIELDS: [Field; 2] = [Field::new(8, 4), Field::new(1, 4)];

/// Adds templates and records to a message.
type Content<'a> = &'a dyn Fn(&mut MessageWriter);

fn message(sequence: u32, content: Content<'_>) -> Vec<u8> {
    let mut message = MessageWriter::ipfix(netflow_wire::write::IpfixHeader {
        observation_domain: 1,
        export_time: super::rig::SECONDS,
        sequence,
        length: None,
    });
    content(&mut message);
    message.finish().expect("fits")
}

fn template(message: &mut MessageWriter) {
    message.template(256, &FIELDS);
}

fn record(message: &mut MessageWriter) {
    message.declare(256, &FIELDS).data_set(256, |set| {
        set.record(|record| {
            record.u32(0x0a00_0001).u32(5);
        });
    });
}

fn session(transport: Transport) -> Session {
    Session {
        transport,
        port: source().port(),
    }
}

fn source() -> SocketAddr {
    SOURCE.parse().expect("an address")
}

/// Flow spans of a message over a transport.
fn over(rig: &mut Rig, transport: Transport, octets: &[u8]) -> usize {
    let datagram = Datagram {
        octets,
        source: source(),
        received_at: UnixNanos(NANOS),
    };
    let now = rig.now;
    rig.translator().on_message(&datagram, transport, now);
    let made = rig.flush();
    let flows = made.iter().flat_map(spans);
    flows.filter(|span| span.name == "netflow.flow").count()
}

#[test]
fn the_end_of_a_connection_takes_its_templates_waiting_sets_and_sequence_along() {
    let mut rig = rig();
    assert_eq!(over(&mut rig, Transport::Tcp, &message(0, &template)), 0);
    assert_eq!(over(&mut rig, Transport::Tcp, &message(0, &record)), 1);
    // 256 is not known in this session, so that its Set waits.
    assert_eq!(over(&mut rig, Transport::Tls, &message(0, &record)), 0);
    let counters = rig.counters();
    assert_eq!(counters.sets_waiting.value(), 1);
    let reported = rig.translator().exporters(10).rows.remove(0);
    assert_eq!(reported.transports, ["tcp", "tls"]);
    let exporter = source().ip();
    rig.translator()
        .end_session(exporter, session(Transport::Tls));
    assert_eq!(counters.sets_waiting.value(), 0);
    assert_eq!(counters.sets_expired.value(), 1);
    rig.translator()
        .end_session(exporter, session(Transport::Tcp));
    assert_eq!(counters.templates_ended.value(), 1);
    let now = rig.now;
    assert_eq!(rig.translator().templates(None, 10, now).total, 0);
    // The next connection from this port begins with a number of its own, and nothing is missing.
    let first = |message: &mut MessageWriter| {
        template(message);
        record(message);
    };
    assert_eq!(over(&mut rig, Transport::Tcp, &message(7_000, &first)), 1);
    assert_eq!(counters.lost_records.value(), 0);
    assert_eq!(over(&mut rig, Transport::Tcp, &message(7_003, &record)), 1);
    assert_eq!(counters.lost_records.value(), 2);
}

#[test]
fn withdrawals_count_in_a_connection_and_are_ignored_over_udp() {
    let mut rig = rig();
    let withdraw = message(0, &|message| _ = message.withdraw(256));
    for transport in [Transport::Udp, Transport::Tcp] {
        over(&mut rig, transport, &message(0, &template));
        over(&mut rig, transport, &withdraw);
    }
    let counters = rig.counters();
    assert_eq!(counters.withdrawals_ignored.value(), 1);
    assert_eq!(counters.templates_withdrawn.value(), 1);
    assert_eq!(over(&mut rig, Transport::Udp, &message(0, &record)), 1);
    assert_eq!(over(&mut rig, Transport::Tcp, &message(0, &record)), 0);
}

#[test]
fn no_message_of_a_connection_is_dropped_for_the_exporters_rate() {
    let mut rig = rig_with(|config| config.max_rate_per_exporter = Some(1));
    over(&mut rig, Transport::Tcp, &message(0, &template));
    for sequence in 0..10 {
        assert_eq!(
            over(&mut rig, Transport::Tcp, &message(sequence, &record)),
            1
        );
    }
    assert_eq!(rig.counters().datagrams_rate_limited.value(), 0);
}

#[test]
fn what_a_connection_brought_is_not_saved_for_the_next_run() {
    let mut rig = rig();
    rig.translator().keep_changes();
    over(&mut rig, Transport::Tcp, &message(0, &template));
    over(&mut rig, Transport::Udp, &message(0, &template));
    let now = rig.now;
    let saved = rig.translator().take_changes(now).exporters.remove(0);
    let sessions: Vec<_> = saved.templates.iter().map(|saved| saved.session).collect();
    assert_eq!(sessions, [session(Transport::Udp)]);
}

#[test]
fn an_exporter_that_is_forgotten_is_to_be_disconnected_if_it_has_a_connection() {
    let mut rig = rig_with(|config| config.max_exporters = 1);
    let later = std::time::Duration::from_secs(2);
    over(&mut rig, Transport::Tcp, &message(0, &template));
    let other = message(0, &template);
    for _ in 0..3 {
        rig.pass(later);
        rig.take("192.0.2.9:2055", &other);
    }
    let forgotten = rig.translator().take_disconnected();
    assert_eq!(forgotten, [source().ip()]);
    // Over UDP templates come again by themselves.
    for _ in 0..5 {
        rig.pass(later);
        rig.take("192.0.2.10:2055", &other);
    }
    assert!(rig.counters().exporters_evicted.value() >= 2);
    assert!(rig.translator().take_disconnected().is_empty());
}
