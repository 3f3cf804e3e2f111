//! The end: what is held is delivered, or counted.

use crate::backend::{FakeBackend, Reply};
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::outage::reserved_port;
use crate::spans::{accepted, assert_traces, named};

/// A batch that leaves only at the end.
fn held(setup: Setup) -> Setup {
    setup.with("OTEL_BSP_SCHEDULE_DELAY", "60000")
}

/// Sends v5 datagrams of 30 flows each from several exporters.
fn send(to: std::net::SocketAddr, datagrams: u32) {
    for exporter in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let exporter = Exporter::new(exporter, to);
        for datagram in 0..datagrams {
            exporter.send(&v5_datagram(now(), datagram * 30, 1000, 30));
        }
    }
}

#[tokio::test]
async fn what_was_sent_right_before_the_signal_is_delivered() {
    for signal in ["TERM", "INT"] {
        let backend = FakeBackend::grpc().start().await;
        let daemon = held(Setup::to_grpc(&backend)).start().await;
        send(daemon.address(), 20);
        daemon.signal(signal);
        let ended = daemon.end().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        ended.assert_totals(&[
            ("datagrams", 60),
            ("datagrams_decoded", 60),
            ("kernel_drops", 0),
            ("flow_spans", 1800),
            ("work_spans", 180),
            ("flow_spans_accepted", 1800),
            ("flow_spans_dropped", 0),
            ("flow_spans_rejected", 0),
        ]);
        let spans = accepted(&backend.received());
        assert_eq!(named(&spans, "netflow.flow").len(), 1800);
        assert_eq!(assert_traces(&spans).len(), 60);
    }
}

#[tokio::test]
async fn what_no_backend_took_is_said_and_the_exit_code_is_1() {
    let port = reserved_port();
    let endpoint = format!("http://{}", port.local_addr().unwrap());
    let daemon = held(Setup::to_endpoint(&endpoint))
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "200ms")
        .start()
        .await;
    send(daemon.address(), 1);
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("datagrams", 3),
        ("flow_spans", 90),
        ("flow_spans_accepted", 0),
        ("flow_spans_dropped", 90),
    ]);
}

#[tokio::test]
async fn what_the_backend_refused_is_said_and_the_exit_code_is_1() {
    let script = std::iter::repeat_n(Reply::http(401), 10);
    let backend = FakeBackend::http().script(script).start().await;
    let daemon = held(Setup::to_http(&backend)).start().await;
    send(daemon.address(), 1);
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans", 90), ("flow_spans_rejected", 90)]);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let backend = FakeBackend::grpc()
        .script(std::iter::repeat_n(Reply::Silence, 10))
        .start()
        .await;
    let daemon = held(Setup::to_grpc(&backend))
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "10m")
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")
        .start()
        .await;
    send(daemon.address(), 1);
    daemon.signal("TERM");
    backend.wait_for_arrivals(1).await;
    let ended = daemon.end_by("TERM").await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("flow_spans", 90),
        ("flow_spans_accepted", 0),
        ("flow_spans_dropped", 90),
    ]);
}

#[tokio::test]
async fn an_echo_of_the_signal_is_no_second_one() {
    let backend = FakeBackend::grpc().start().await;
    let daemon = held(Setup::to_grpc(&backend)).start().await;
    send(daemon.address(), 20);
    daemon.signal("TERM INT");
    let ended = daemon.end().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_accepted", 1800)]);
}

#[tokio::test]
async fn an_idle_daemon_ends_well() {
    let backend = FakeBackend::grpc().start().await;
    let ended = Setup::to_grpc(&backend).start().await.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("datagrams", 0), ("flow_spans", 0)]);
    assert_eq!(backend.arrivals(), 0);
}
