//! Spans on stdout, and traces that the sampler leaves out.

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::spans::attributes;

#[tokio::test]
async fn the_console_gets_one_json_line_a_span() {
    let daemon = Setup::to_console().start().await;
    Exporter::new("127.0.0.2", daemon.address()).send(&v5_datagram(now(), 0, 1000, 30));
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    let mut names = Vec::new();
    for line in ended.stdout.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let resource = value["resource"]["attributes"].to_string();
        assert!(resource.contains("netflow.exporter.address"), "{resource}");
        let span: Span = serde_json::from_value(value).unwrap();
        if span.name == "netflow.flow" {
            let port = &attributes(&span.attributes)["source.port"];
            assert_eq!(*port, 1000 + names.len());
        }
        names.push(span.name);
    }
    assert_eq!(names.len(), 33);
    assert_eq!(
        names.iter().filter(|name| *name == "netflow.flow").count(),
        30
    );
    ended.assert_totals(&[("flow_spans", 30), ("flow_spans_accepted", 30)]);
}

#[tokio::test]
async fn what_the_sampler_leaves_out_is_counted_and_not_sent() {
    for (sampler, argument) in [
        ("always_off", ""),
        ("parentbased_always_off", ""),
        ("traceidratio", "0"),
        ("parentbased_traceidratio", "0.0"),
    ] {
        let backend = FakeBackend::grpc().start().await;
        let daemon = Setup::to_grpc(&backend)
            .with("OTEL_TRACES_SAMPLER", sampler)
            .with("OTEL_TRACES_SAMPLER_ARG", argument)
            .start()
            .await;
        let exporter = Exporter::new("127.0.0.2", daemon.address());
        exporter.send(&v5_datagram(now(), 0, 1000, 30));
        exporter.send(b"garbage");
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{sampler}: {:#?}", ended.log);
        ended.assert_totals(&[
            ("datagrams", 2),
            ("datagrams_decoded", 1),
            ("datagrams_rejected", 1),
            ("records_sampled_out", 30),
            ("flow_spans", 0),
            ("work_spans", 0),
        ]);
        assert_eq!(backend.arrivals(), 0, "{sampler}");
    }
}

#[tokio::test]
async fn none_discards_and_counts() {
    let daemon = Setup::to_console()
        .with("OTEL_TRACES_EXPORTER", "none")
        .start()
        .await;
    Exporter::new("127.0.0.2", daemon.address()).send(&v5_datagram(now(), 0, 1000, 30));
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    assert!(ended.stdout.is_empty());
    ended.assert_totals(&[("flow_spans", 30), ("flow_spans_discarded", 30)]);
}
