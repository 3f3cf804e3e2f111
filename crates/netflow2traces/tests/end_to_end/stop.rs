//! The stop ends in time whatever hangs: the backend, the name service, the reader of stdout, a worker, the spool or the
//! template store's disk; with one signal or two. SIGHUP stops nothing.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;

use tokio::net::TcpStream;

use crate::admin_client::{Admin, value};
use crate::backend::{FakeBackend, Reply};
use crate::daemon::{Daemon, Ended, Setup, is};
use crate::exporter::{Exporter, now, v5_datagram};
use crate::left_out::left_out;
use crate::spans::flows_at;

/// What hangs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hanging {
    Backend,
    NameServer,
    Console,
    Worker,
    Spool,
    TemplateStore,
}

impl Hanging {
    /// The part that a fault makes hang.
    const fn part(self) -> Option<&'static str> {
        match self {
            Self::Backend | Self::NameServer | Self::Console => None,
            Self::Worker => Some("receive-0"),
            Self::Spool => Some("spool"),
            Self::TemplateStore => Some("template_store"),
        }
    }
}

/// Where name servers are asked that never answer.
struct SilentNames {
    _socket: UdpSocket,
    conf: String,
}

impl SilentNames {
    /// At an address of 127.0.53. `None`: this user can't do that.
    fn new(directory: &Path, last: u8) -> Option<Self> {
        let server = Ipv4Addr::new(127, 0, 53, last);
        let socket = UdpSocket::bind((server, 53)).ok()?;
        let mount = Command::new("unshare").args(["--mount", "true"]).status();
        let conf = directory.join("resolv.conf");
        std::fs::write(&conf, format!("nameserver {server}\n")).unwrap();
        mount.ok()?.success().then(|| Self {
            _socket: socket,
            conf: conf.to_str().unwrap().to_owned(),
        })
    }

    fn of(&self, setup: Setup) -> Setup {
        let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        setup.through(&["unshare", "--mount", "sh", "-c", mount, &self.conf])
    }
}

/// With a stdout that nobody reads, and that is full.
fn with_full_stdout(setup: Setup, pipe: &str) -> Setup {
    let fill = "mkfifo \"$0\" && exec 1<>\"$0\" && \
        { dd if=/dev/zero of=\"$0\" bs=4096 count=1000 oflag=nonblock 2>/dev/null; exec \"$@\"; }";
    setup.through(&["sh", "-c", fill, pipe])
}

fn send(daemon: &Daemon, sequence: u32) {
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), sequence, 1000, 30));
}

/// A daemon with a spool that has 60 flows, of which nobody takes any, or so many as it could get before something hangs.
async fn stop(hanging: Hanging, twice: bool) -> Option<Ended> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let silence = std::iter::repeat_n(Reply::Silence, 100);
    let backend = FakeBackend::grpc().script(silence).start().await;
    let (mut names, admin) = (None, Admin::new());
    let setup = match hanging {
        Hanging::NameServer => {
            names = Some(SilentNames::new(directory.path(), 7)?);
            Setup::to_endpoint("http://backend.example.net:4317")
        }
        Hanging::Console => Setup::to_grpc(&backend).with("OTEL_TRACES_EXPORTER", "otlp,console"),
        _ => Setup::to_grpc(&backend),
    };
    // With a second signal the first would wait for ever.
    let timeout = if twice { "1h" } else { "300ms" };
    let setup = admin
        .of(setup)
        .with("NETFLOW2TRACES_TEST_FAULTS", &path("."))
        .with("NETFLOW_SPOOL_DIR", &path("files"))
        .with("NETFLOW_SPOOL_MODE", "always")
        .with("NETFLOW_TEMPLATE_STORE", &path("templates"))
        .with("NETFLOW_WORKERS", "1")
        .with("NETFLOW_SHUTDOWN_TIMEOUT", timeout);
    let daemon = match &names {
        Some(names) => names.of(setup).start().await,
        None if hanging == Hanging::Console => {
            with_full_stdout(setup, &path("stdout")).start().await
        }
        None => setup.start().await,
    };
    let written = |batches: f64| {
        move |text: &str| value(text, "netflow_spool_written_batches_total") >= batches
    };
    send(&daemon, 0);
    admin.until("/metrics", written(1.0)).await;
    if hanging != Hanging::Worker {
        send(&daemon, 30);
        admin.until("/metrics", written(2.0)).await;
    }
    // It hangs when it is asked for the next thing: at the stop at the latest.
    if let Some(part) = hanging.part() {
        let file = directory.path().join(part).with_extension("hang");
        std::fs::write(file, "").unwrap();
    }
    if hanging == Hanging::Worker {
        let named = |answer: &str| answer.starts_with("not ready: receive-0 makes no progress");
        admin.until("/readyz", named).await;
        send(&daemon, 30);
    }
    let ended = if twice {
        daemon.signal("TERM");
        daemon.says("stopping").await;
        daemon.end_by("TERM").await
    } else {
        daemon.stop().await
    };
    // Nothing serves any more.
    assert!(TcpStream::connect(admin.0).await.is_err());
    Some(ended)
}

#[tokio::test]
async fn it_ends_in_time_and_the_spool_has_what_was_not_delivered() {
    for twice in [false, true] {
        for hanging in [
            Hanging::Backend,
            Hanging::NameServer,
            Hanging::Console,
            Hanging::Worker,
            Hanging::Spool,
            Hanging::TemplateStore,
        ] {
            let Some(ended) = stop(hanging, twice).await else {
                left_out(
                    "a stop while no name server answers: this user can't mount, or bind port 53",
                );
                continue;
            };
            let what = format!("{hanging:?}, twice: {twice}");
            // What a busy worker's socket held is lost.
            let (code, spooled) = match hanging {
                Hanging::Worker => (1, 30),
                _ => (0, 60),
            };
            assert_eq!(ended.code, Some(code), "{what}: {:#?}", ended.log);
            ended.assert_totals(&[("flow_spans_spooled", spooled), ("flow_spans_dropped", 0)]);
            // The watch did not have to end it.
            let watch =
                |line: &serde_json::Value| line.to_string().contains("the stop took too long");
            assert!(!ended.log.iter().any(watch), "{what}: {:#?}", ended.log);
            assert!(ended.log.iter().any(|line| is(line, "stopped")), "{what}");
        }
    }
}

#[tokio::test]
async fn without_a_spool_what_no_name_server_led_to_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let Some(names) = SilentNames::new(directory.path(), 8) else {
        return left_out(
            "a stop while no name server answers: this user can't mount, or bind port 53",
        );
    };
    let setup = Setup::to_endpoint("http://backend.example.net:4317")
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "300ms");
    let daemon = names.of(setup).start().await;
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
