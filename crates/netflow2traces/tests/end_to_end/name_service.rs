//! The backend's name can't be resolved for a while. The daemon runs with an /etc/hosts of its own, which needs the
//! right to mount; without it the test says so and does nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;

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
    let mut words = through(directory.path());
    words.push("true");
    let works = Command::new(words[0]).args(&words[1..]).output();
    if !works.is_ok_and(|done| done.status.success()) {
        left_out("a name service that changes: this user can't mount a file");
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
