//! Where it listens: IPv6, both families, several ports.

use std::net::UdpSocket;

use crate::backend::FakeBackend;
use crate::daemon::{Daemon, Setup};
use crate::exporter::{Exporter, has_ipv6, now, v5_datagram};
use crate::spans::{assert_traces, flows_at};

#[tokio::test]
async fn an_exporter_may_speak_ipv6() {
    if !has_ipv6() {
        return;
    }
    let backend = FakeBackend::grpc().start().await;
    let daemon = Setup::to_grpc(&backend)
        .with("NETFLOW_LISTEN_HOST", "::1")
        .start()
        .await;
    Exporter::new("::1", daemon.address()).send(&v5_datagram(now(), 0, 1000, 3));
    let spans = flows_at(&backend, 3).await;
    assert_traces(&spans);
    assert!(spans.iter().all(|seen| seen.exporter() == "::1"));
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn the_ipv6_wildcard_serves_ipv4_exporters_by_their_ipv4_address() {
    if !has_ipv6() {
        return;
    }
    let backend = FakeBackend::grpc().start().await;
    let daemon = Setup::to_grpc(&backend)
        .with("NETFLOW_LISTEN_HOST", "::")
        .start()
        .await;
    let port = daemon.address().port();
    let v4 = Exporter::new("127.0.0.2", ([127, 0, 0, 1], port).into());
    let v6 = Exporter::new("::1", (std::net::Ipv6Addr::LOCALHOST, port).into());
    v4.send(&v5_datagram(now(), 0, 1000, 3));
    v6.send(&v5_datagram(now(), 0, 2000, 2));
    let spans = flows_at(&backend, 5).await;
    for trace in assert_traces(&spans) {
        let expected = if trace.len() == 6 { "127.0.0.2" } else { "::1" };
        assert_eq!(trace[0].exporter(), expected);
    }
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn several_ports_serve_alike() {
    let backend = FakeBackend::grpc().start().await;
    let daemon = on_two_ports(Setup::to_grpc(&backend)).await;
    let [one, other] = daemon.addresses[..] else {
        panic!("{:?}", daemon.addresses);
    };
    assert_ne!(one.port(), other.port());
    Exporter::new("127.0.0.2", one).send(&v5_datagram(now(), 0, 1000, 3));
    Exporter::new("127.0.0.3", other).send(&v5_datagram(now(), 0, 2000, 2));
    let spans = flows_at(&backend, 5).await;
    assert_eq!(assert_traces(&spans).len(), 2);
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("datagrams", 2), ("flow_spans_accepted", 5)]);
}

/// On a port that the system chooses and one that was free a moment ago; if another program was
/// quicker to take it, on another.
async fn on_two_ports(setup: Setup) -> Daemon {
    for _ in 0..10 {
        let free = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let ports = format!("0,{}", free.port());
        let started = setup.clone().with("NETFLOW_LISTEN_PORT", &ports);
        match started.start_on(2).await {
            Ok(daemon) => return daemon,
            Err(ended) => {
                let why = ended.log.last().unwrap().to_string();
                assert!(why.contains("another program already uses"), "{why}");
            }
        }
    }
    panic!("no port stayed free for a moment");
}
