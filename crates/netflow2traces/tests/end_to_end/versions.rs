//! v5, v9 and IPFIX over UDP come out as spans: attributes, resource, shape and times.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{
    BEGAN_BEFORE_MS, Content, ENDED_BEFORE_MS, Exporter, UPTIME_MS, ipfix_datagram, now,
    v5_datagram, v9_datagram,
};
use crate::spans::{Attributes, Seen, assert_traces, flows_at};

const BOTH: Content = Content::Both {
    first_port: 2000,
    flows: 2,
};

#[tokio::test]
async fn every_version_arrives_by_grpc() {
    let backend = FakeBackend::grpc().start().await;
    assert_versions(&backend, Setup::to_grpc(&backend)).await;
}

#[tokio::test]
async fn every_version_arrives_by_http() {
    let backend = FakeBackend::http().start().await;
    assert_versions(&backend, Setup::to_http(&backend)).await;
    assert_eq!(backend.received()[0].path, "/v1/traces");
}

#[tokio::test]
async fn every_version_arrives_as_compressed_json() {
    let backend = FakeBackend::http().start().await;
    let setup = Setup::to_http(&backend)
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .with("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    assert_versions(&backend, setup).await;
}

/// Sends a datagram of each version from an address of its own.
async fn assert_versions(backend: &FakeBackend, setup: Setup) {
    let daemon = setup
        .with("OTEL_RESOURCE_ATTRIBUTES", "site=lab,service.name=other")
        .with("OTEL_SERVICE_NAME", "flows")
        .start()
        .await;
    let export_time = now();
    let datagrams = [
        ("127.0.0.5", v5_datagram(export_time, 100, 2000, 2)),
        ("127.0.0.9", v9_datagram(export_time, 200, BOTH)),
        ("127.0.0.10", ipfix_datagram(export_time, 300, BOTH)),
    ];
    let mut exporters = BTreeMap::new();
    for (address, datagram) in &datagrams {
        let exporter = Exporter::new(address, daemon.address());
        exporter.send(datagram);
        exporters.insert(*address, (exporter, datagram.len()));
    }
    let spans = flows_at(backend, 6).await;
    let traces = assert_traces(&spans);
    assert_eq!(traces.len(), 3);
    let began = (u64::from(export_time) * 1000 - u64::from(BEGAN_BEFORE_MS)) * 1_000_000;
    let ended = (u64::from(export_time) * 1000 - u64::from(ENDED_BEFORE_MS)) * 1_000_000;
    for trace in traces {
        let address = trace[0].exporter();
        let (exporter, octets) = &exporters[address];
        assert_resource(trace[0]);
        assert_work(&trace, exporter.port(), *octets);
        for (number, seen) in trace[3..].iter().enumerate() {
            assert_eq!(seen.span.start_time_unix_nano, began, "{address}");
            assert_eq!(seen.span.end_time_unix_nano, ended, "{address}");
            let expected = flow_attributes(address, 2000 + number);
            assert_eq!(seen.attributes, expected, "{address}");
        }
    }
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("datagrams", 3),
        ("datagrams_decoded", 3),
        ("datagrams_rejected", 0),
        ("flow_spans", 6),
        ("work_spans", 9),
        ("flow_spans_accepted", 6),
        ("flow_spans_dropped", 0),
    ]);
}

fn assert_resource(seen: &Seen) {
    let resource = |key: &str| seen.resource[key].as_str().unwrap();
    assert_eq!(resource("service.name"), "flows");
    assert_eq!(resource("service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(resource("telemetry.sdk.name"), "netflow2traces");
    assert_eq!(resource("telemetry.sdk.language"), "rust");
    assert_eq!(resource("telemetry.sdk.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(resource("site"), "lab");
    assert!(!resource("service.instance.id").is_empty());
    assert!(!resource("host.name").is_empty());
}

fn assert_work(trace: &[&Seen], port: u16, octets: usize) {
    let (version, sequence, domain, uptime, templates) = match trace[0].exporter() {
        "127.0.0.5" => (5, 100, 0, Some(UPTIME_MS), None),
        "127.0.0.9" => (9, 200, 7, Some(UPTIME_MS), Some(1)),
        _ => (10, 300, 9, None, Some(1)),
    };
    let mut export = attributes(json!({
        "netflow.exporter.address": trace[0].exporter(),
        "netflow.exporter.port": port,
        "netflow.version": version,
        "netflow.packet.size_bytes": octets,
        "netflow.flow.count": 2,
        "netflow.sequence": sequence,
        "netflow.observation_domain": domain,
    }));
    if let Some(uptime) = uptime {
        export.insert("netflow.exporter.uptime_ms".into(), uptime.into());
    }
    let mut parse = attributes(json!({
        "netflow.version": version,
        "netflow.packet.size_bytes": octets,
    }));
    if let Some(templates) = templates {
        parse.insert("netflow.templates".into(), templates.into());
    }
    assert_eq!(trace[0].attributes, export);
    assert_eq!(trace[1].attributes, parse);
    assert_eq!(
        trace[2].attributes,
        attributes(json!({"netflow.flow.count": 2}))
    );
}

/// What the flow of a source port shows.
fn flow_attributes(exporter: &str, source_port: usize) -> Attributes {
    attributes(match exporter {
        "127.0.0.5" => json!({
            "netflow.version": 5,
            "source.address": "10.1.2.3",
            "source.port": source_port,
            "destination.address": "192.0.2.80",
            "destination.port": 443,
            "network.transport": "tcp",
            "network.protocol.number": 6,
            "network.type": "ipv4",
            "netflow.flow.bytes": 3456,
            "netflow.flow.packets": 12,
            "netflow.flow.estimated.bytes": 3456,
            "netflow.flow.estimated.packets": 12,
            "netflow.nexthop": "10.0.0.1",
            "netflow.interface.input": 3,
            "netflow.interface.output": 4,
            "netflow.src_as": 64512,
            "netflow.dst_as": 64513,
            "netflow.tcp_flags": 0x1b,
            "netflow.tos": 8,
            "netflow.src_mask": 24,
            "netflow.dst_mask": 16,
        }),
        exporter => json!({
            "netflow.version": if exporter == "127.0.0.9" { 9 } else { 10 },
            "source.address": "10.1.2.3",
            "source.port": source_port,
            "destination.address": "192.0.2.80",
            "destination.port": 53,
            "network.transport": "udp",
            "network.protocol.number": 17,
            "network.type": "ipv4",
            "netflow.flow.bytes": if exporter == "127.0.0.9" { 120_u64 } else { 5_000_000_000 },
            "netflow.flow.packets": if exporter == "127.0.0.9" { 2 } else { 4_000_000 },
            "netflow.flow.estimated.bytes": if exporter == "127.0.0.9" { 120_u64 } else { 5_000_000_000 },
            "netflow.flow.estimated.packets": if exporter == "127.0.0.9" { 2 } else { 4_000_000 },
        }),
    })
}

fn attributes(object: Value) -> Attributes {
    serde_json::from_value(object).unwrap()
}
