//! A stop while the backend is away: the rest is spooled, and the next run delivers it.

use tonic::Code;

use crate::admin_client::Admin;
use crate::backend::{FakeBackend, Reply};
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::{accepted, assert_balanced, part, spooling};

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
        // Nothing is left, and nothing is sent again.
        let ended = setup.start().await.stop().await;
        ended.assert_totals(&[("flow_spans_recovered", 0), ("flow_spans_spooled", 0)]);
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
