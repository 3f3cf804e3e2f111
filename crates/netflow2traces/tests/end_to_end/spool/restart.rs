//! A stop while the backend is away: the rest is spooled, and the next run delivers it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde_json::Value;
use tonic::Code;

use super::{accepted, assert_balanced, part, spooling};
use crate::admin_client::Admin;
use crate::backend::{FakeBackend, Reply};
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};

#[tokio::test]
async fn what_a_stop_could_not_deliver_the_next_run_does() {
    for mode in ["overflow", "always"] {
        let spool = tempfile::tempdir().unwrap();
        let backend = FakeBackend::grpc().start().await;
        backend.answers(Some(Reply::Grpc(Code::Unavailable, "away")));
        let setup = spooling(Setup::to_grpc(&backend), spool.path(), mode)
            .with("NETFLOW_SHUTDOWN_TIMEOUT", "1s");
        let daemon = setup.clone().start().await;
        let exporter = Exporter::new("127.0.0.2", daemon.address());
        exporter.send(&v5_datagram(now(), 0, 1000, 30));
        backend.wait_for_arrivals(1).await;
        exporter.send(&v5_datagram(now(), 30, 1000, 30));
        let ended = daemon.stop().await;
        // What is spooled isn't lost.
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        ended.assert_totals(&[
            ("flow_spans", 60),
            ("flow_spans_spooled", 60),
            ("flow_spans_dropped", 0),
        ]);

        backend.answers(None);
        let admin = Admin::new();
        let daemon = admin.of(setup.clone()).start().await;
        let exporter = Exporter::new("127.0.0.2", daemon.address());
        exporter.send(&v5_datagram(now(), 60, 1000, 30));
        admin
            .until("/api/status", |body| {
                part(&serde_json::from_str(body).unwrap(), "accepted") == 90
            })
            .await;
        let status = admin.json("/api/status").await;
        assert_balanced(&status);
        assert_eq!(
            (part(&status, "made"), part(&status, "recovered")),
            (30, 60)
        );
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        ended.assert_totals(&[("flow_spans_recovered", 60), ("flow_spans_spooled", 0)]);
        let times = accepted(&backend);
        assert_eq!(times.len(), 90 + 3 * 3, "{mode}");
        assert!(times.values().all(|times| *times == 1), "{mode}");
        // Nothing is left, and nothing is delivered twice.
        let ended = setup.start().await.stop().await;
        ended.assert_totals(&[("flow_spans_recovered", 0), ("flow_spans_spooled", 0)]);
    }
}

/// A spool with three batches of 30 flows, each in a segment or an entry of its own, of a daemon that has ended.
async fn left(spool: &Path, backend: &FakeBackend) -> Setup {
    backend.answers(Some(Reply::Grpc(Code::Unavailable, "away")));
    let setup = spooling(Setup::to_grpc(backend), spool, "always")
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "1s")
        .with("OTEL_BSP_SCHEDULE_DELAY", "1");
    let admin = Admin::new();
    let daemon = admin.of(setup.clone()).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    for number in 0..3 {
        exporter.send(&v5_datagram(now(), number * 30, 1000, 30));
        admin
            .until("/api/status", |body| {
                let status: Value = serde_json::from_str(body).unwrap();
                status["delivery"]["spool"]["written"]["batches"] == number + 1
            })
            .await;
    }
    let ended = daemon.stop().await;
    ended.assert_totals(&[("flow_spans_spooled", 90)]);
    setup
}

#[tokio::test]
async fn damage_is_counted_in_accounts_metrics_and_the_exit_code() {
    /// What is changed: the octets at this place of the first segment; and what of the 90 flows is lost.
    const DAMAGES: [(&str, u64, u64); 3] = [
        ("the segment's header", 20, 90),
        ("an entry's header", 32 + 20, 30),
        ("a batch", 32 + 44 + 100, 30),
    ];
    for (what, at, lost) in DAMAGES {
        let spool = tempfile::tempdir().unwrap();
        let backend = FakeBackend::grpc().start().await;
        let setup = left(spool.path(), &backend).await;
        let files = fs::read_dir(spool.path()).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        let path = paths
            .find(|path| path.extension().is_some_and(|known| known == "segment"))
            .unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut octet = [0];
        file.read_exact_at(&mut octet, at).unwrap();
        file.write_all_at(&[!octet[0]], at).unwrap();
        backend.answers(None);
        let admin = Admin::new();
        let daemon = admin.of(setup).start().await;
        let unreadable = |body: &str| {
            let status = serde_json::from_str(body).unwrap();
            part(&status, "dropped_spool_unreadable") == lost
                && part(&status, "accepted") == 90 - lost
        };
        admin.until("/api/status", unreadable).await;
        assert_balanced(&admin.json("/api/status").await);
        let metric = r#"netflow_spans_dropped_total{kind="flow",reason="spool_unreadable"}"#;
        assert_eq!(admin.metric(metric).await, lost as f64, "{what}");
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(1), "{what}: {:#?}", ended.log);
        ended.assert_totals(&[("flow_spans_dropped", lost)]);
    }
}

#[tokio::test]
async fn a_directory_that_another_daemon_uses_is_refused() {
    let spool = tempfile::tempdir().unwrap();
    let backend = FakeBackend::grpc().start().await;
    let setup = spooling(Setup::to_grpc(&backend), spool.path(), "overflow");
    let first = setup.clone().start().await;
    let Err(ended) = setup.start_on(1).await else {
        panic!("it started");
    };
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    let said = format!("{:?}", ended.log);
    assert!(
        said.contains("another process uses this directory"),
        "{said}"
    );
    assert_eq!(first.stop().await.code, Some(0));
}
