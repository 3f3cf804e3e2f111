//! Nobody reads the daemon's stderr or stdout: it receives, delivers and stops nevertheless.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::backend::FakeBackend;
use crate::daemon::{PATIENCE, Setup, is};
use crate::exporter::{Exporter, now, v5_datagram};
use crate::spans::{accepted, named};

/// A stream of a daemon that the test reads when it wants to.
struct Stream {
    reader: BufReader<UnixStream>,
    /// The daemon's end.
    writer: UnixStream,
}

impl Stream {
    fn new() -> Self {
        let (reader, writer) = UnixStream::pair().unwrap();
        reader.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            reader: BufReader::new(reader),
            writer,
        }
    }

    fn for_child(&self) -> Stdio {
        OwnedFd::from(self.writer.try_clone().unwrap()).into()
    }

    /// Leaves no room in it.
    fn fill(&mut self) {
        self.writer.set_nonblocking(true).unwrap();
        let error = loop {
            if let Err(error) = self.writer.write(b"\n") {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        self.writer.set_nonblocking(false).unwrap();
    }

    /// The next line of the log.
    fn line(&mut self) -> Value {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            if line != "\n" {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    /// Reads the log up to this message, and shows the line.
    fn line_with(&mut self, message: &str) -> Value {
        loop {
            let line = self.line();
            if is(&line, message) {
                return line;
            }
        }
    }
}

struct Daemon {
    child: Child,
    address: SocketAddr,
    log: Stream,
    stdout: Stream,
}

impl Daemon {
    fn start(setup: &Setup) -> Self {
        let (mut log, stdout) = (Stream::new(), Stream::new());
        let mut command = setup.command();
        command.stderr(log.for_child()).stdout(stdout.for_child());
        let child = command.spawn().unwrap();
        let line = log.line_with("listening for flow records");
        let address = line["address"].as_str().unwrap().parse().unwrap();
        Self {
            child,
            address,
            log,
            stdout,
        }
    }

    /// A flow from each of so many exporters; the log says something of each.
    fn send_from(&self, exporters: u8) {
        for number in 1..=exporters {
            let exporter = Exporter::new(&format!("127.0.9.{number}"), self.address);
            exporter.send(&v5_datagram(now(), 0, 1000, 1));
        }
    }

    fn terminate(&self) {
        let command = format!("kill -s TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }

    /// Sends the signal again and again: one right after the first may be taken for its echo.
    async fn terminate_until_it_ends(&mut self) {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        let ended = async {
            while self.child.try_wait().unwrap().is_none() {
                again.tick().await;
                self.terminate();
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
    }

    /// Waits for the end.
    async fn exit_code(mut self) -> Option<i32> {
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        let status = tokio::time::timeout(PATIENCE, ended).await;
        status.expect("an end in time").unwrap().code()
    }
}

async fn wait_for_flows(backend: &FakeBackend, flows: usize) {
    backend
        .until("all flows", |received| {
            named(&accepted(received), "netflow.flow").len() >= flows
        })
        .await;
}

#[tokio::test]
async fn while_nobody_reads_stderr_it_receives_delivers_and_stops() {
    let backend = FakeBackend::grpc().start().await;
    let mut daemon = Daemon::start(&Setup::to_grpc(&backend));
    daemon.log.fill();
    daemon.send_from(40);
    wait_for_flows(&backend, 40).await;
    daemon.terminate();
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn log_lines_come_when_stderr_is_read_again() {
    let backend = FakeBackend::grpc().start().await;
    let mut daemon = Daemon::start(&Setup::to_grpc(&backend));
    daemon.log.fill();
    daemon.send_from(40);
    wait_for_flows(&backend, 40).await;
    for _ in 0..40 {
        daemon.log.line_with("exporter appeared");
    }
    daemon.terminate();
    daemon.log.line_with("stopped");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn while_nobody_reads_stdout_the_console_exporter_stops_in_time_and_says_what_was_lost() {
    // With a second signal the first would wait for ever.
    for (timeout, signals) in [("200ms", 1), ("1h", 2)] {
        let setup = Setup::to_console().with("NETFLOW_SHUTDOWN_TIMEOUT", timeout);
        let mut daemon = Daemon::start(&setup);
        daemon.stdout.fill();
        daemon.send_from(40);
        daemon.log.line_with("exporter appeared");
        daemon.terminate();
        if signals == 2 {
            daemon.log.line_with("stopping");
            daemon.terminate_until_it_ends().await;
        }
        let totals = daemon.log.line_with("stopped");
        assert_eq!(totals["flow_spans_dropped"], 40, "{totals}");
        assert_eq!(daemon.exit_code().await, Some(1));
    }
}

#[tokio::test]
async fn a_copy_on_stdout_holds_up_nothing() {
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend)
        .with("OTEL_TRACES_EXPORTER", "otlp,console")
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "500ms");
    let mut daemon = Daemon::start(&setup);
    daemon.send_from(1);
    let span = daemon.stdout.line();
    assert!(span["traceId"].is_string(), "{span}");
    daemon.stdout.fill();
    daemon.send_from(40);
    wait_for_flows(&backend, 41).await;
    daemon.terminate();
    assert_eq!(daemon.exit_code().await, Some(0));
}
