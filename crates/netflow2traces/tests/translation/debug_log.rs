//! `LOG_LEVEL=DEBUG`: what was understood of datagrams and flows is shown, but not without bound.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use netflow_wire::sflow::{FlowRecord, SampledIp};
use netflow_wire::write::{SflowHeader, SflowSample, SflowWriter, V5Header, V5Record, v5};
use netflow2traces::config::{AttributeLevel, Selection, SpanTime, TraceSampler, Translate};
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;
use tracing::Level;

use crate::log::Log;

/// 2023-11-14 22:13:20 UTC.
const EXPORTED: u32 = 1_700_000_000;

fn translator(batch_max_spans: usize) -> Translator {
    let config = Translate {
        allowed_exporters: Vec::new(),
        max_rate_per_exporter: None,
        max_record_rate_per_exporter: None,
        template_store: None,
        template_lifetime: Duration::from_secs(3600),
        max_exporters: 1_000,
        max_templates_per_exporter: 100,
        span_time: SpanTime::Flow,
        span_max_age: Duration::from_secs(25),
        attributes: AttributeLevel::Minimal,
        semconv: netflow2traces::config::Semconv::Netflow,
        shape: netflow2traces::config::TraceShape::Packet,
        span_name: netflow2traces::config::SpanName::Schema,
        service_name: netflow2traces::config::ServiceName::Fixed,
        service_graph: netflow2traces::config::ServiceGraph::None,
        sampler: TraceSampler::AlwaysOn,
        selection: Selection::default(),
        resource: vec![("service.name".to_owned(), "flows".to_owned())],
        batch_delay: Duration::from_secs(1),
        batch_max_spans,
        batch_max_octets: 2 << 20,
        sampling_override: Vec::new(),
        fields: None,
        scale_sampled: false,
    };
    Translator::new(&config, received_at, Ids::new([7; 32]))
}

fn received_at() -> UnixNanos {
    UnixNanos(u64::from(EXPORTED) * 1_000_000_000)
}

fn give(translator: &mut Translator, octets: &[u8], now: Instant) {
    let datagram = Datagram {
        octets,
        source: "192.0.2.1:50000".parse().unwrap(),
        received_at: received_at(),
    };
    translator.on_datagram(&datagram, now);
    while translator.poll_batch(now).is_some() {}
}

fn thirty_flows() -> Vec<u8> {
    let header = V5Header {
        sys_uptime_ms: 60_000,
        unix_secs: EXPORTED,
        ..V5Header::default()
    };
    let records: Vec<_> = (0..30)
        .map(|flow| V5Record {
            source: Ipv4Addr::new(10, 1, 2, 3),
            destination: Ipv4Addr::new(192, 0, 2, 80),
            source_port: 2000 + flow,
            destination_port: 443,
            protocol: 6,
            octets: 3456,
            packets: 12,
            first_ms: 50_000,
            last_ms: 59_500,
            ..V5Record::default()
        })
        .collect();
    v5(&header, &records).unwrap()
}

#[test]
fn a_flow_is_shown_as_its_span_says() {
    for batch_max_spans in [usize::MAX, 7, 1] {
        let (log, _guard) = Log::begin(Level::DEBUG);
        give(
            &mut translator(batch_max_spans),
            &thirty_flows(),
            Instant::now(),
        );
        let flows = log.saying("flow understood");
        assert_eq!(flows.len(), 30);
        for (number, line) in flows.iter().enumerate() {
            assert_eq!(line["level"], "DEBUG");
            assert_eq!(line["exporter"], "192.0.2.1");
            assert_eq!(line["start"], "2023-11-14T22:13:10.000000000Z");
            assert_eq!(line["end"], "2023-11-14T22:13:19.500000000Z");
            let attributes = format!(
                "netflow.version=5 source.address=10.1.2.3 source.port={} \
                 destination.address=192.0.2.80 destination.port=443 network.transport=tcp \
                 network.protocol.number=6 netflow.flow.bytes=3456 netflow.flow.packets=12 ",
                2000 + number
            );
            let shown = line["attributes"].as_str().unwrap();
            assert!(shown.starts_with(&attributes), "{shown}");
        }
        let datagrams = log.saying("datagram understood");
        assert_eq!(datagrams.len(), 1);
        assert_eq!(datagrams[0]["exporter"], "192.0.2.1");
        assert_eq!(datagrams[0]["port"], 50_000);
        assert_eq!(datagrams[0]["protocol"], "v5");
        assert_eq!(datagrams[0]["flows"], 30);
    }
}

#[test]
fn a_second_has_a_bounded_number_of_lines() {
    let (log, _guard) = Log::begin(Level::DEBUG);
    let mut translator = translator(usize::MAX);
    let start = Instant::now();
    for _ in 0..100 {
        give(&mut translator, &thirty_flows(), start);
        give(&mut translator, b"garbage", start);
    }
    assert_eq!(log.saying("flow understood").len(), 30);
    assert_eq!(log.saying("datagram understood").len(), 10);
    assert_eq!(log.saying("datagram rejected").len(), 10);
    log.clear();
    let later = start + Duration::from_secs(1);
    give(&mut translator, &thirty_flows(), later);
    give(&mut translator, b"garbage", later);
    let flows = log.saying("flow understood");
    assert_eq!(flows.len(), 30);
    assert_eq!(flows[0]["suppressed"], 99 * 30);
    assert!(flows[1]["suppressed"].is_null());
    assert_eq!(log.saying("datagram understood")[0]["suppressed"], 90);
    assert_eq!(log.saying("datagram rejected")[0]["suppressed"], 90);
}

#[test]
fn sflow_is_shown_and_bounded_alike() {
    let (log, _guard) = Log::begin(Level::DEBUG);
    let mut writer = SflowWriter::new(&SflowHeader::default());
    for _ in 0..8 {
        writer.flow(&SflowSample::default(), |to| {
            to.record(&FlowRecord::Ip(SampledIp {
                length: 84,
                protocol: 17,
                source: "10.0.0.1".parse().unwrap(),
                destination: "10.0.0.2".parse().unwrap(),
                ports: [5000, 53],
                tcp_flags: 0,
                tos: 0,
            }));
        });
    }
    let datagram = writer.finish().unwrap();
    let mut translator = translator(usize::MAX);
    let start = Instant::now();
    for _ in 0..20 {
        give(&mut translator, &datagram, start);
    }
    let flows = log.saying("flow understood");
    assert_eq!(flows.len(), 30);
    let shown = flows[0]["attributes"].as_str().unwrap();
    assert!(
        shown.contains("source.address=10.0.0.1 source.port=5000 "),
        "{shown}"
    );
    let datagrams = log.saying("datagram understood");
    assert_eq!(datagrams.len(), 10);
    assert_eq!(datagrams[0]["protocol"], "sflow");
    assert_eq!(datagrams[0]["agent"], "127.0.0.1");
    assert_eq!(datagrams[0]["flows"], 8);
}

#[test]
fn info_has_no_line_for_each() {
    let (log, _guard) = Log::begin(Level::INFO);
    let mut translator = translator(usize::MAX);
    give(&mut translator, &thirty_flows(), Instant::now());
    give(&mut translator, b"garbage", Instant::now());
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["message"], "exporter appeared");
}

#[test]
fn many_exporters_at_once_are_a_bounded_number_of_lines() {
    let (log, _guard) = Log::begin(Level::INFO);
    let mut translator = translator(usize::MAX);
    let start = Instant::now();
    let octets = thirty_flows();
    let mut from = |address: [u8; 4], now| {
        let datagram = Datagram {
            octets: &octets,
            source: (address, 50_000).into(),
            received_at: received_at(),
        };
        translator.on_datagram(&datagram, now);
        while translator.poll_batch(now).is_some() {}
    };
    for host in 0..=250 {
        from([192, 0, 2, host], start);
    }
    assert_eq!(log.saying("exporter appeared").len(), 100);
    translator.on_deadline(start + Duration::from_secs(20));
    let more =
        log.saying("more events of exporters than are logged; /api/exporters shows the exporters");
    assert_eq!(more[0]["suppressed"], 151);
}

#[test]
fn a_restart_is_said_and_not_again_and_again() {
    let (log, _guard) = Log::begin(Level::INFO);
    let mut translator = translator(usize::MAX);
    let start = Instant::now();
    let counting = |sequence, uptime| {
        let header = V5Header {
            sys_uptime_ms: uptime,
            unix_secs: EXPORTED,
            flow_sequence: sequence,
            ..V5Header::default()
        };
        v5(&header, &[V5Record::default()]).unwrap()
    };
    let message = "exporter restarted, or reset its sequence numbers: nothing counts as lost";
    // Far enough apart to be no engines of one device.
    for (minutes, expected) in [(0, 1), (11, 2)] {
        let now = start + Duration::from_secs(minutes * 60);
        give(&mut translator, &counting(10, 9_000_000), now);
        give(&mut translator, &counting(1, 1_000), now);
        let lines = log.saying(message);
        assert_eq!(lines.len(), expected, "{:#?}", log.lines());
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["exporter"], "192.0.2.1");
    }
    // Uptimes that go to and fro are those of several engines, which is said once.
    let later = start + Duration::from_secs(22 * 60);
    for round in 0..5 {
        give(&mut translator, &counting(10, 9_000_000), later);
        give(&mut translator, &counting(1, 1_000 + round), later);
    }
    assert_eq!(log.saying(message).len(), 3);
    let engines = log.lines().into_iter().filter(|line| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.starts_with("several engines"))
    });
    assert_eq!(engines.count(), 1, "{:#?}", log.lines());
}
