//! The backend's name can't be resolved for a while, or has an address where nothing answers. The daemon runs with an /etc/hosts of its own, which needs the
//! right to mount; without it the test says so and does nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::admin_client::Admin;
use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::left_out::left_out;
use crate::spans::flows_at;

/// Runs a program with this directory's `hosts` and `resolv.conf` in place of the system's.
const WITH_HOSTS: &str = "mount --bind \"$0/hosts\" /etc/hosts && \
    mount --bind \"$0/resolv.conf\" /etc/resolv.conf && exec \"$@\"";

fn through(directory: &Path) -> Vec<&str> {
    let directory = directory.to_str().unwrap();
    vec!["unshare", "--mount", "sh", "-c", WITH_HOSTS, directory]
}

fn can_mount(directory: &Path) -> bool {
    let mut words = through(directory);
    words.push("true");
    let works = Command::new(words[0]).args(&words[1..]).output();
    works.is_ok_and(|done| done.status.success())
}

async fn bind(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_name_that_is_gone_and_comes_back_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let hosts = |text: &str| std::fs::write(directory.path().join("hosts"), text).unwrap();
    hosts("");
    // No name server but one that refuses at once.
    std::fs::write(
        directory.path().join("resolv.conf"),
        "nameserver 127.0.0.1\n",
    )
    .unwrap();
    if !can_mount(directory.path()) {
        left_out("a backend whose name is gone for a while: this user can't mount");
        return;
    }

    let backend = FakeBackend::grpc().start().await;
    let address = backend.address;
    let endpoint = format!("http://backend.netflow.test:{}", address.port());
    let admin = Admin::new();
    let setup = Setup::to_endpoint(&endpoint).through(&through(directory.path()));
    let daemon = admin.of(setup).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    let is_unresolved = |body: &str| {
        let status: Value = serde_json::from_str(body).unwrap();
        let error = &status["delivery"]["last_error"]["text"];
        status["delivery"]["backend"] == "away"
            && error
                .as_str()
                .is_some_and(|text| text.contains("can't be resolved"))
    };

    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    admin.until("/api/status", is_unresolved).await;
    hosts("127.0.0.1 backend.netflow.test\n");
    flows_at(&backend, 30).await;

    // Gone again, together with the connections.
    hosts("");
    drop(backend);
    exporter.send(&v5_datagram(now(), 30, 1000, 30));
    admin.until("/api/status", is_unresolved).await;
    let backend = FakeBackend::grpc()
        .listener(bind(address).await)
        .start()
        .await;
    hosts("127.0.0.1 backend.netflow.test\n");
    flows_at(&backend, 30).await;
    let status = admin.json("/api/status").await;
    for account in status["accounts"].as_array().unwrap() {
        assert_eq!(account["difference"], 0, "{account:#}");
    }
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_accepted", 60), ("flow_spans_dropped", 0)]);
}

/// A listener whose queue is full: further connections are neither accepted nor refused.
async fn swallowing(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut held = Vec::new();
    // The kernel lets a few more wait than were asked for.
    let patience = Duration::from_millis(300);
    while let Ok(stream) = timeout(patience, TcpStream::connect(address)).await {
        held.push(stream.unwrap());
        assert!(held.len() < 64, "the queue never fills");
    }
    (listener, held)
}

#[tokio::test]
async fn an_address_where_nothing_answers_yields_to_the_others_of_the_name() {
    let directory = tempfile::tempdir().unwrap();
    let hosts = "127.0.0.2 backend.netflow.test\n127.0.0.3 backend.netflow.test\n";
    std::fs::write(directory.path().join("hosts"), hosts).unwrap();
    std::fs::write(directory.path().join("resolv.conf"), "").unwrap();
    if !can_mount(directory.path()) {
        left_out("a backend with a dead address: this user can't mount");
        return;
    }
    for (dead, well) in [("127.0.0.2", "127.0.0.3"), ("127.0.0.3", "127.0.0.2")] {
        let listener = TcpListener::bind((well, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let _dead = swallowing(SocketAddr::new(dead.parse().unwrap(), port)).await;
        let backend = FakeBackend::http().listener(listener).start().await;
        let endpoint = format!("http://backend.netflow.test:{port}");
        let setup = Setup::to_endpoint(&endpoint)
            .with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .through(&through(directory.path()));
        let daemon = setup.start().await;
        let exporter = Exporter::new("127.0.0.4", daemon.address());
        for number in 0..4 {
            exporter.send(&v5_datagram(now(), number * 30, 1000, 30));
        }
        flows_at(&backend, 120).await;
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        ended.assert_totals(&[("flow_spans_accepted", 120), ("flow_spans_dropped", 0)]);
    }
}
