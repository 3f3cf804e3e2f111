//! Templates that come late, or by another way.

use crate::backend::FakeBackend;
use crate::daemon::{Daemon, Setup};
use crate::exporter::{Content, Exporter, ipfix_datagram, now, v9_datagram};
use crate::spans::{accepted, assert_traces, flows_at, named};

const DATA: Content = Content::Data {
    first_port: 3000,
    flows: 4,
};

const WAITS: &str = "received data before its template; buffering it";

#[tokio::test]
async fn data_before_its_template_is_decoded_when_it_comes() {
    for message in [v9_datagram, ipfix_datagram] {
        let backend = FakeBackend::grpc().start().await;
        let daemon = Setup::to_grpc(&backend).start().await;
        let exporter = Exporter::new("127.0.0.2", daemon.address());
        let export_time = now() - 5;
        exporter.send(&message(export_time, 0, DATA));
        daemon.says(WAITS).await;
        assert_eq!(
            named(&accepted(&backend.received()), "netflow.flow").len(),
            0
        );
        exporter.send(&message(now(), 4, Content::Template));
        let spans = flows_at(&backend, 4).await;
        let traces = assert_traces(&spans);
        // The datagram of data, that of the template, and the data once it could be read.
        assert_eq!(traces.len(), 3);
        let late = traces.iter().find(|trace| trace.len() > 3).unwrap();
        let ends = u64::from(export_time) * 1_000_000_000 - 1_000_000_000;
        assert!(
            late[3..]
                .iter()
                .all(|flow| flow.span.end_time_unix_nano == ends),
            "by the export time of its own message"
        );
        let waited = named(&spans, "netflow.process_flows")
            .iter()
            .filter(|seen| seen.attributes.contains_key("netflow.sets.waiting"))
            .count();
        assert_eq!(waited, 1);
        assert_whole(daemon).await;
    }
}

#[tokio::test]
async fn a_template_serves_other_source_ports_of_its_exporter() {
    let backend = FakeBackend::grpc().start().await;
    let daemon = Setup::to_grpc(&backend).start().await;
    let teaching = Exporter::new("127.0.0.2", daemon.address());
    let sending = Exporter::new("127.0.0.2", daemon.address());
    teaching.send(&v9_datagram(now(), 0, Content::Template));
    sending.send(&v9_datagram(now(), 1, DATA));
    let spans = flows_at(&backend, 4).await;
    let traces = assert_traces(&spans);
    let flows = traces.iter().find(|trace| trace.len() > 3).unwrap();
    assert_eq!(flows[0].attributes["netflow.exporter.port"], sending.port());
    assert_whole(daemon).await;
}

#[tokio::test]
async fn a_template_serves_no_other_exporter() {
    let backend = FakeBackend::grpc().start().await;
    let daemon = Setup::to_grpc(&backend).start().await;
    Exporter::new("127.0.0.2", daemon.address()).send(&v9_datagram(now(), 0, Content::Template));
    let other = Exporter::new("127.0.0.3", daemon.address());
    other.send(&v9_datagram(now(), 0, DATA));
    daemon.says(WAITS).await;
    let ended = daemon.stop().await;
    // What still waits at the end is lost.
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    ended.assert_totals(&[("sets_waiting", 1), ("flow_spans", 0)]);
}

async fn assert_whole(daemon: Daemon) {
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("datagrams", 2),
        ("datagrams_decoded", 2),
        ("sets_bad", 0),
        ("sets_waiting", 0),
        ("sets_expired", 0),
        ("flow_spans_accepted", 4),
    ]);
    let said = ended.log.iter().filter(|line| line["level"] == "WARN");
    let said: Vec<_> = said.filter(|line| line["sysctl"].is_null()).collect();
    assert!(said.is_empty(), "waiting is no error: {said:#?}");
}
