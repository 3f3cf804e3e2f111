//! The daemon as a child process, on ports that the system chooses; its log is read as JSON, line by
//! line.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::backend::FakeBackend;

/// Longest wait for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How the daemon is started: alone with these variables, in an empty directory.
#[derive(Clone)]
pub(crate) struct Setup {
    variables: Vec<(String, String)>,
    /// What starts the program, with its arguments, if it isn't started at once.
    through: Vec<String>,
}

impl Setup {
    /// On loopback, with short batches; without a place to send spans to.
    fn new() -> Self {
        Self {
            variables: Vec::new(),
            through: Vec::new(),
        }
        .with("NETFLOW_LISTEN_HOST", "127.0.0.1")
        .with("NETFLOW_LISTEN_PORT", "0")
        .with("NETFLOW_WORKERS", "2")
        .with("NETFLOW_ADMIN_PORT", "0")
        .with("OTEL_BSP_SCHEDULE_DELAY", "20")
        .with("LOG_FORMAT", "json")
    }

    pub(crate) fn to_grpc(backend: &FakeBackend) -> Self {
        Self::to_endpoint(&backend.endpoint("").to_string())
    }

    pub(crate) fn to_http(backend: &FakeBackend) -> Self {
        Self::to_endpoint(&backend.endpoint("").to_string())
            .with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    }

    pub(crate) fn to_endpoint(endpoint: &str) -> Self {
        Self::new().with("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    }

    pub(crate) fn to_console() -> Self {
        Self::new().with("OTEL_TRACES_EXPORTER", "console")
    }

    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != variable);
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Starts it by another program, which executes its arguments.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The program, with its variables and no others, in a directory without files of ours.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netflow2traces"));
        command
            .env_clear()
            .envs(self.variables.clone())
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(self) -> Daemon {
        self.start_on(1)
            .await
            .unwrap_or_else(|ended| panic!("it ended: {:#?}", ended.log))
    }

    /// Starts it and waits until it listens on so many addresses, or has ended instead.
    pub(crate) async fn start_on(self, addresses: usize) -> Result<Daemon, Ended> {
        let program = env!("CARGO_BIN_EXE_netflow2traces").to_owned();
        let mut words = self.through.iter().cloned().chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        self.start_as(command, addresses).await
    }

    /// Starts it by a command that ends up as the daemon.
    pub(crate) async fn start_as(
        self,
        mut command: Command,
        addresses: usize,
    ) -> Result<Daemon, Ended> {
        let directory = tempfile::tempdir().unwrap();
        let mut child = command
            .env_clear()
            .envs(self.variables)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may hold what it gave to the child.
        drop(command);
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().unwrap();
        let reading = {
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.push(&line);
                }
                log.changed.send_replace(true);
            }
        };
        std::thread::spawn(reading);
        let stdout = child.stdout.take().unwrap();
        let mut daemon = Daemon {
            child,
            stdout: Some(tokio::task::spawn_blocking(|| read(stdout))),
            log,
            addresses: Vec::new(),
            _directory: directory,
        };
        let listening = |lines: &[Value]| -> Vec<SocketAddr> {
            let listening = lines.iter().filter(|line| is(line, LISTENING));
            let addresses = listening.map(|line| line["address"].as_str().unwrap());
            addresses.map(|address| address.parse().unwrap()).collect()
        };
        let enough = |lines: &[Value]| listening(lines).len() >= addresses;
        if !daemon.log.until("the daemon listens", enough).await {
            return Err(daemon.end().await);
        }
        daemon.addresses = listening(&daemon.log());
        Ok(daemon)
    }
}

const UNBALANCED: &str = "the accounts don't balance: something went uncounted";
const LISTENING: &str = "listening for flow records";

/// The running daemon; it is killed when the value goes.
pub(crate) struct Daemon {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    log: Arc<Log>,
    pub(crate) addresses: Vec<SocketAddr>,
    _directory: TempDir,
}

/// What the daemon left behind.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) log: Vec<Value>,
}

impl Daemon {
    /// The first address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits for a line of the log with this message.
    pub(crate) async fn says(&self, message: &str) {
        let said = |lines: &[Value]| lines.iter().any(|line| is(line, message));
        self.until(message, said).await;
    }

    /// Waits until this holds for the lines of the log.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) {
        let met = self.log.until(what, holds).await;
        assert!(met, "{what}: {:#?}", self.log());
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, without a chance to do anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends signals by their names without `SIG`, right after one another. The shell's own `kill` is
    /// everywhere.
    pub(crate) fn signal(&self, names: &str) {
        let id = self.child.id();
        let command = format!("for name in {names}; do kill -s $name {id} || exit; done");
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(self) -> Ended {
        self.signal("TERM");
        self.end().await
    }

    /// Sends a signal again and again until it has ended: one that comes right after another may be
    /// taken for its echo.
    pub(crate) async fn end_by(self, name: &str) -> Ended {
        let mut changed = self.log.changed.subscribe();
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                ended = changed.wait_for(|ended| *ended) => {
                    drop(ended.unwrap());
                    return self.end().await;
                }
                _ = again.tick() => self.signal(name),
            }
        }
    }

    /// Waits until it has ended by itself, or by a signal that was sent.
    pub(crate) async fn end(mut self) -> Ended {
        let mut changed = self.log.changed.subscribe();
        tokio::time::timeout(PATIENCE, changed.wait_for(|ended| *ended))
            .await
            .expect("an end in time")
            .unwrap();
        let stdout = self.stdout.take().unwrap().await.unwrap();
        let unbalanced = self.log().into_iter().find(|line| is(line, UNBALANCED));
        assert_eq!(unbalanced, None, "{:#?}", self.log());
        // It has closed both of its outputs.
        let code = self.child.wait().unwrap().code();
        Ended {
            code,
            stdout,
            log: self.log(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// A number of the line of totals.
    pub(crate) fn total(&self, name: &str) -> u64 {
        let totals = self.log.iter().find(|line| is(line, "stopped"));
        let totals = totals.unwrap_or_else(|| panic!("no totals: {:#?}", self.log));
        totals[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {totals}"))
    }

    /// Asserts numbers of the line of totals.
    pub(crate) fn assert_totals(&self, expected: &[(&str, u64)]) {
        for (name, expected) in expected {
            assert_eq!(self.total(name), *expected, "{name}: {:#?}", self.log);
        }
    }
}

/// The lines so far, and whether there will be no more.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    changed: watch::Sender<bool>,
}

impl Log {
    /// A line that is no JSON is kept as text.
    fn push(&self, line: &str) {
        let value = serde_json::from_str(line).unwrap_or_else(|_| line.into());
        self.lines.lock().unwrap().push(value);
        self.changed.send_modify(|_| {});
    }

    /// Waits until this holds for the lines; `false` if there will be no more and it doesn't.
    async fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> bool {
        let holds = || holds(&self.lines.lock().unwrap());
        let mut changed = self.changed.subscribe();
        let met = changed.wait_for(|ended| *ended || holds());
        if tokio::time::timeout(PATIENCE, met).await.is_err() {
            panic!("{what} in time: {:#?}", self.lines.lock().unwrap());
        }
        holds()
    }
}

pub(crate) fn is(line: &Value, message: &str) -> bool {
    line["message"] == message
}

fn read(mut stdout: ChildStdout) -> String {
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    text
}
