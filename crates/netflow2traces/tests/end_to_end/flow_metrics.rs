//! Flow metrics lead to the span behind them.

use crate::admin_client::{Admin, value};
use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::spans::{Seen, flows_at, named};

/// The value of `name` in a label set or an exemplar.
fn quoted<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line.find(&format!("{name}=\"")).expect(line) + name.len() + 2;
    let rest = &line[start..];
    &rest[..rest.find('"').expect("a closing quote")]
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn flow_spans(spans: &[Seen]) -> Vec<(String, String)> {
    let spans = named(spans, "netflow.flow").into_iter();
    let ids = spans.map(|seen| (hex(&seen.span.trace_id), hex(&seen.span.span_id)));
    ids.collect()
}

#[tokio::test]
async fn a_series_has_what_all_flows_had_and_names_one_of_their_spans() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let setup = Setup::to_grpc(&backend).with("NETFLOW_METRICS", "interface,exporter");
    let daemon = admin.of(setup).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    for datagram in 0..3 {
        exporter.send(&v5_datagram(now(), datagram * 30, 1000, 30));
    }
    let spans = flow_spans(&flows_at(&backend, 90).await);
    let of = |interface: u32, direction: &str| {
        format!("{{exporter=\"127.0.0.2\",interface=\"{interface}\",direction=\"{direction}\"}}")
    };
    let text = admin.get("/metrics").await.body;
    for (interface, direction) in [(3, "receive"), (4, "transmit")] {
        let labels = of(interface, direction);
        let number = |what: &str| value(&text, &format!("netflow_interface_{what}_total{labels}"));
        assert_eq!(number("bytes"), 90.0 * 3456.0, "{labels}");
        assert_eq!(number("packets"), 90.0 * 12.0, "{labels}");
        assert_eq!(number("flows"), 90.0, "{labels}");
    }
    let exporter = "{exporter=\"127.0.0.2\"}";
    let bytes = value(&text, &format!("netflow_exporter_bytes_total{exporter}"));
    assert_eq!(bytes, 90.0 * 3456.0);
    let longest = format!("netflow_exporter_longest_flow_seconds{exporter}");
    assert_eq!(value(&text, &longest), 9.0);
    let lost = "netflow_exporter_lost_total{exporter=\"127.0.0.2\",unit=\"flows\"}";
    assert_eq!(value(&text, lost), 0.0);
    assert!(
        !text.contains("trace_id"),
        "the older format has no exemplars"
    );

    let accept = "Accept: application/openmetrics-text\r\n";
    let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n{accept}", admin.0);
    let open = admin.ask(&head).await.body;
    assert!(open.ends_with("# EOF\n"), "{open}");
    let series = format!("netflow_interface_bytes_total{}", of(3, "receive"));
    let line = open.lines().find(|line| line.starts_with(&series));
    let line = line.expect("the series");
    let (_, exemplar) = line.split_once(" # ").expect("an exemplar");
    let ids = (
        quoted(exemplar, "trace_id").to_owned(),
        quoted(exemplar, "span_id").to_owned(),
    );
    assert!(spans.contains(&ids), "{exemplar}");
    assert!(exemplar.contains("} 3456 "), "{exemplar}");
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn without_views_nothing_is_counted() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let setup = Setup::to_grpc(&backend).with("NETFLOW_METRICS", "none");
    let daemon = admin.of(setup).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    flows_at(&backend, 30).await;
    let text = admin.get("/metrics").await.body;
    assert!(!text.contains("netflow_interface_"), "{text}");
    assert_eq!(daemon.stop().await.code, Some(0));
}

/// What the sampler leaves out is counted anyway.
#[tokio::test]
async fn flows_are_counted_before_spans_are_sampled() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let setup = Setup::to_grpc(&backend).with("OTEL_TRACES_SAMPLER", "always_off");
    let daemon = admin.of(setup).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    let series = "netflow_interface_flows_total{exporter=\"127.0.0.2\",interface=\"3\",direction=\"receive\"}";
    let text = admin.until("/metrics", |text| text.contains(series)).await;
    assert_eq!(value(&text, series), 30.0);
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn networks_are_named_and_a_new_version_of_the_file_is_taken() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("networks.csv");
    std::fs::write(&file, "10.1.0.0/16,office\n127.0.0.2,router\n").unwrap();
    let interfaces = directory.path().join("interfaces.csv");
    std::fs::write(&interfaces, "127.0.0.2,3,Gi0/3,10G,uplink\n").unwrap();
    let setup = Setup::to_grpc(&backend)
        .with(
            "NETFLOW_METRICS",
            "interface,network,application,as,service_graph",
        )
        .with("NETFLOW_NETWORKS", file.to_str().unwrap())
        .with("NETFLOW_INTERFACES", interfaces.to_str().unwrap());
    let daemon = admin.of(setup).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    let spans = flows_at(&backend, 30).await;
    for flow in named(&spans, "netflow.flow") {
        assert_eq!(flow.attributes["netflow.source.network"], "office");
        assert!(!flow.attributes.contains_key("netflow.destination.network"));
    }
    let text = admin.get("/metrics").await.body;
    for labels in [
        "netflow_network_flows_total{exporter=\"127.0.0.2\",source=\"office\",destination=\"other\"}",
        "netflow_application_flows_total{exporter=\"127.0.0.2\",transport=\"tcp\",service=\"https\"}",
        "netflow_as_flows_total{exporter=\"127.0.0.2\",source=\"64512\",destination=\"64513\"}",
    ] {
        assert_eq!(value(&text, labels), 30.0, "{labels}");
    }
    let edge = "client=\"office\",server=\"other\",connection_type=\"\",exporter=\"127.0.0.2\"";
    for (series, expected) in [
        (
            format!("traces_service_graph_request_total{{{edge}}}"),
            30.0,
        ),
        (
            format!("traces_service_graph_request_failed_total{{{edge}}}"),
            0.0,
        ),
        (
            format!("traces_service_graph_request_server_seconds_bucket{{{edge},le=\"12.8\"}}"),
            30.0,
        ),
        (
            format!("traces_service_graph_request_client_seconds_sum{{{edge}}}"),
            270.0,
        ),
    ] {
        assert_eq!(value(&text, &series), expected, "{series}");
    }
    let info = "netflow_exporter_info{exporter=\"127.0.0.2\",name=\"router\",network=\"router\"}";
    assert_eq!(value(&text, info), 1.0);
    let interface = "exporter=\"127.0.0.2\",interface=\"3\"";
    let info =
        format!("netflow_interface_info{{{interface},name=\"Gi0/3\",description=\"uplink\"}}");
    assert_eq!(value(&text, &info), 1.0);
    let speed = format!("netflow_interface_speed_bytes{{{interface}}}");
    assert_eq!(value(&text, &speed), 1.25e9);

    std::fs::write(&file, "10.1.0.0/16,office\n192.0.2.0/24,web,site=paris\n").unwrap();
    daemon.says("a file has changed and was read again").await;
    exporter.send(&v5_datagram(now(), 30, 1000, 30));
    let series =
        "netflow_network_flows_total{exporter=\"127.0.0.2\",source=\"office\",destination=\"web\"}";
    // A worker takes the new names between two datagrams.
    let is_named = |text: &str| {
        exporter.send(&v5_datagram(now(), 30, 1000, 30));
        text.contains(series)
    };
    admin.until("/metrics", is_named).await;
    std::fs::write(&file, "10.1.0.0/16\n").unwrap();
    daemon
        .says("a file has changed and can't be used; the previous version stays in use")
        .await;
    assert_eq!(daemon.stop().await.code, Some(0));
}
