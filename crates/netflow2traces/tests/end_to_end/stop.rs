//! The stop ends in time whatever hangs: the backend, the name service, the spool or the template store's disk;
//! with one signal or two. SIGHUP stops nothing.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;

use crate::admin_client::{Admin, value};
use crate::backend::{FakeBackend, Reply};
use crate::daemon::{Daemon, Ended, Setup};
use crate::exporter::{Exporter, now, v5_datagram};
use crate::left_out::left_out;
use crate::spans::flows_at;

/// What hangs.
#[derive(Clone, Copy, Debug)]
enum Hanging {
    Backend,
    Spool,
    TemplateStore,
}

impl Hanging {
    /// The part that a fault makes hang.
    const fn part(self) -> Option<&'static str> {
        match self {
            Self::Backend => None,
            Self::Spool => Some("spool"),
            Self::TemplateStore => Some("template_store"),
        }
    }
}

/// A daemon with a spool that has received 30 flows, of which the backend answers for none.
async fn start(directory: &Path, admin: Admin, backend: &FakeBackend, timeout: &str) -> Daemon {
    let path = |name: &str| directory.join(name).display().to_string();
    let daemon = admin
        .of(Setup::to_grpc(backend))
        .with("NETFLOW2TRACES_TEST_FAULTS", &path("."))
        .with("NETFLOW_SPOOL_DIR", &path("files"))
        .with("NETFLOW_SPOOL_MODE", "always")
        .with("NETFLOW_TEMPLATE_STORE", &path("templates"))
        .with("NETFLOW_WORKERS", "1")
        .with("NETFLOW_SHUTDOWN_TIMEOUT", timeout)
        .start()
        .await;
    send(&daemon, 0);
    backend.wait_for_arrivals(1).await;
    daemon
}

fn send(daemon: &Daemon, sequence: u32) {
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), sequence, 1000, 30));
}

async fn stop(hanging: Hanging, twice: bool) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let silence = std::iter::repeat_n(Reply::Silence, 100);
    let backend = FakeBackend::grpc().script(silence).start().await;
    // With a second signal the first would wait for ever.
    let timeout = if twice { "1h" } else { "300ms" };
    let admin = Admin::new();
    let daemon = start(directory.path(), admin, &backend, timeout).await;
    send(&daemon, 30);
    let written = |text: &str| value(text, "netflow_spool_written_batches_total") >= 2.0;
    admin.until("/metrics", written).await;
    // It hangs when it is asked for the next thing: at the stop at the latest.
    if let Some(part) = hanging.part() {
        let file = directory.path().join(part).with_extension("hang");
        std::fs::write(file, "").unwrap();
    }
    if twice {
        daemon.signal("TERM");
        daemon.says("stopping").await;
        daemon.end_by("TERM").await
    } else {
        daemon.stop().await
    }
}

#[tokio::test]
async fn it_ends_in_time_and_the_spool_has_what_the_backend_did_not_answer_for() {
    for twice in [false, true] {
        for hanging in [Hanging::Backend, Hanging::Spool, Hanging::TemplateStore] {
            let ended = stop(hanging, twice).await;
            assert_eq!(ended.code, Some(0), "{hanging:?}: {:#?}", ended.log);
            ended.assert_totals(&[("flow_spans_spooled", 60), ("flow_spans_dropped", 0)]);
        }
    }
}

#[tokio::test]
async fn it_ends_in_time_though_no_name_server_answers() {
    let server = Ipv4Addr::new(127, 0, 53, 7);
    let Ok(_silent) = UdpSocket::bind((server, 53)) else {
        return left_out("a port below 1024 can't be bound");
    };
    let can_mount = Command::new("unshare").args(["--mount", "true"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        return left_out("no file systems can be mounted");
    }
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("resolv.conf");
    std::fs::write(&conf, format!("nameserver {server}\n")).unwrap();
    let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let conf = conf.to_str().unwrap();
    let daemon = Setup::to_endpoint("http://backend.example.net:4317")
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "300ms")
        .through(&["unshare", "--mount", "sh", "-c", mount, conf])
        .start()
        .await;
    send(&daemon, 0);
    daemon.says("exporter appeared").await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_dropped", 30)]);
}

#[tokio::test]
async fn sighup_reads_files_again_and_stops_nothing() {
    let backend = FakeBackend::grpc().start().await;
    let directory = tempfile::tempdir().unwrap();
    let headers = directory.path().join("headers");
    std::fs::write(&headers, "x-tenant=one").unwrap();
    let daemon = Setup::to_grpc(&backend)
        .with("NETFLOW_OTLP_HEADERS_FILE", headers.to_str().unwrap())
        .start()
        .await;
    send(&daemon, 0);
    flows_at(&backend, 30).await;
    daemon.signal("HUP HUP");
    daemon.says("SIGHUP: reading files again").await;
    daemon.says("NETFLOW_OTLP_HEADERS_FILE read again").await;
    send(&daemon, 30);
    flows_at(&backend, 60).await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_accepted", 60)]);
}
