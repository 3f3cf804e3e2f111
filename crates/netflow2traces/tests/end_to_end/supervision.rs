//! A thread or task that panics, or makes no progress: it is restarted or the daemon stops in order, and health says so.
//! Debug builds let a test strike any of them (`NETFLOW2TRACES_TEST_FAULTS`).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

use crate::admin_client::{Admin, value};
use crate::backend::{FakeBackend, Reply};
use crate::daemon::{Daemon, Setup};
use crate::exporter::{Exporter, now, v5_datagram};
use crate::manager::Manager;
use crate::spans::{accepted, flows_at, named};

/// Faults for a daemon, and a place for its files.
struct Faults(TempDir);

impl Faults {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Of a daemon that has every part, but for the admin server and what the manager gives it.
    fn setup(&self, backend: &FakeBackend) -> Setup {
        let path = |name| self.path(name).display().to_string();
        fs::write(self.path("networks.csv"), "10.0.0.0/8,office\n").unwrap();
        fs::write(self.path("interfaces.csv"), "127.0.0.2,3,Gi0/3\n").unwrap();
        Setup::to_grpc(backend)
            .with("NETFLOW_NETWORKS", &path("networks.csv"))
            .with("NETFLOW_INTERFACES", &path("interfaces.csv"))
            .with("NETFLOW2TRACES_TEST_FAULTS", &path("."))
            .with("NETFLOW_SPOOL_DIR", &path("spool-files"))
            .with("NETFLOW_SPOOL_MODE", "always")
            .with("NETFLOW_TEMPLATE_STORE", &path("templates"))
            .with("NETFLOW_EXPORT_CONCURRENCY", "2")
            .with("OTEL_TRACES_EXPORTER", "otlp,console")
            .with("OTEL_METRICS_EXPORTER", "otlp")
            .with("OTEL_METRIC_EXPORT_INTERVAL", "100")
            .with("WATCHDOG_USEC", "300000")
    }

    fn kill(&self, part: &str) {
        fs::write(self.path(part), "").unwrap();
    }

    fn hang(&self, part: &str) {
        fs::write(self.path(&format!("{part}.hang")), "").unwrap();
    }

    fn let_go(&self, part: &str) {
        fs::remove_file(self.path(&format!("{part}.hang"))).unwrap();
    }
}

/// Sends a flow with this source port.
fn send(daemon: &Daemon, port: u16) {
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), u32::from(port), port, 1));
}

/// Waits until the backend has flows with these source ports; some may have come twice.
async fn delivered(backend: &FakeBackend, ports: &BTreeSet<u64>) {
    backend
        .until("every flow", |received| {
            let spans = accepted(received);
            let flows = named(&spans, "netflow.flow");
            let found = flows
                .iter()
                .map(|flow| flow.attributes["source.port"].as_u64());
            found.flatten().collect::<BTreeSet<_>>().is_superset(ports)
        })
        .await;
}

/// In this order.
const KILLED: [&str; 16] = [
    "delivery-0",
    "delivery-1",
    "spool",
    "losses",
    "template_store",
    "own_metrics",
    "enrichment-0",
    "enrichment-1",
    "admin",
    "page",
    "notifier",
    "pulse",
    "console",
    "log",
    "spool",
    "delivery-0",
];

#[tokio::test]
async fn each_part_that_panics_is_restarted_and_no_flow_is_lost() {
    let (admin, faults, manager) = (Admin::new(), Faults::new(), Manager::new());
    let backend = FakeBackend::grpc().start().await;
    let daemon = manager.start(admin.of(faults.setup(&backend))).await;
    let mut ports = BTreeSet::new();
    for (round, part) in KILLED.into_iter().enumerate() {
        let before = restarts(admin, part).await;
        faults.kill(part);
        // Whatever it is, a flow on its way makes it report.
        while restarts(admin, part).await == before {
            let port = 1000 + u16::try_from(ports.len()).unwrap();
            ports.insert(u64::from(port));
            send(&daemon, port);
            delivered(&backend, &ports).await;
            assert!(ports.len() < 1000, "{part} was not restarted");
        }
        assert!(!faults.path(part).exists(), "{part} in round {round}");
    }
    admin.until("/readyz", |answer| answer == "ready\n").await;
    let metric = r#"netflow_part_restarts_total{part="delivery"}"#;
    assert!(admin.metric(metric).await >= 3.0);
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_dropped", 0), ("flow_spans_spooled", 0)]);
}

/// It works only when a segment is full.
#[tokio::test]
async fn the_thread_that_brings_segments_to_the_disk_is_restarted() {
    let (admin, faults) = (Admin::new(), Faults::new());
    let backend = FakeBackend::grpc().start().await;
    backend.answers(Some(Reply::Grpc(Code::Unavailable, "away")));
    let setup = faults
        .setup(&backend)
        .with("NETFLOW_MAX_REQUEST_SIZE", "1MiB")
        .with("NETFLOW_SPOOL_MAX_SIZE", "4MiB");
    let daemon = admin.of(setup).start().await;
    faults.kill("spool_sync");
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    let flows = 2_400;
    for sequence in (0..flows).step_by(30) {
        exporter.send(&v5_datagram(now(), sequence, 1000, 30));
    }
    let restarted = r#"netflow_part_restarts_total{part="spool_sync"}"#;
    admin
        .until("/metrics", |text| value(text, restarted) >= 1.0)
        .await;
    backend.answers(None);
    flows_at(&backend, flows as usize).await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("flow_spans_accepted", flows.into()),
        ("flow_spans_dropped", 0),
    ]);
}

/// Every kind of part is killed by a test here.
#[tokio::test]
async fn no_part_is_left_out() {
    let (admin, faults, manager) = (Admin::new(), Faults::new(), Manager::new());
    let backend = FakeBackend::grpc().start().await;
    let daemon = manager.start(admin.of(faults.setup(&backend))).await;
    let others = ["receive-0", "receive-1", "spool_sync"];
    let killed: BTreeSet<_> = KILLED.into_iter().chain(others).collect();
    let are_shown = |body: &str| {
        let status: Value = serde_json::from_str(body).unwrap();
        let parts = status["parts"].as_array().unwrap();
        let shown = parts.iter().map(|part| part["part"].as_str().unwrap());
        shown.collect::<BTreeSet<_>>() == killed
    };
    // Some begin when the daemon listens already.
    admin.until("/api/status", are_shown).await;
    assert_eq!(daemon.stop().await.code, Some(0));
}

async fn restarts(admin: Admin, part: &str) -> u64 {
    let status = admin.json("/api/status").await;
    let parts = status["parts"].as_array().unwrap();
    let part = parts.iter().find(|shown| shown["part"] == part);
    part.unwrap_or_else(|| panic!("{parts:#?}"))["restarts"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn a_worker_that_panics_stops_the_daemon_in_order() {
    let (admin, faults) = (Admin::new(), Faults::new());
    let backend = FakeBackend::grpc().start().await;
    let daemon = admin.of(faults.setup(&backend)).start().await;
    send(&daemon, 1000);
    delivered(&backend, &BTreeSet::from([1000])).await;
    faults.kill("receive-1");
    let ended = daemon.end().await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_accepted", 1), ("flow_spans_dropped", 0)]);
}

#[tokio::test]
async fn a_part_without_progress_is_named_by_readyz() {
    let (admin, faults) = (Admin::new(), Faults::new());
    let backend = FakeBackend::grpc().start().await;
    let daemon = admin.of(faults.setup(&backend)).start().await;
    for part in ["receive-1", "spool"] {
        faults.hang(part);
        let said = format!("not ready: {part} makes no progress");
        admin
            .until("/readyz", |answer| answer.starts_with(&said))
            .await;
        assert_eq!(admin.get("/livez").await.status, 200, "it may recover");
        faults.let_go(part);
        admin.until("/readyz", |answer| answer == "ready\n").await;
    }
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
}
