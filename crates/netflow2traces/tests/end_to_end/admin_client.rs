//! The admin server of a daemon, and a plain client for it.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::daemon::Setup;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 9464;

/// Where an admin server listens, or will.
#[derive(Clone, Copy)]
pub(crate) struct Admin(pub(crate) SocketAddr);

/// An answer of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Admin {
    /// An address that no other test has: port 0 means that there is no server, so each has a loopback address of
    /// its own.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [low, high, ..] = std::process::id().to_le_bytes();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(SocketAddr::from((
            [127, 100 + number, high, low.max(1)],
            PORT,
        )))
    }

    /// A daemon that serves it.
    pub(crate) fn of(self, setup: Setup) -> Setup {
        setup
            .with("NETFLOW_ADMIN_HOST", &self.0.ip().to_string())
            .with("NETFLOW_ADMIN_PORT", &self.0.port().to_string())
    }

    pub(crate) async fn connect(self) -> TcpStream {
        TcpStream::connect(self.0).await.unwrap()
    }

    pub(crate) async fn get(self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.0))
            .await
    }

    /// Sends a head, all but its end, and reads to the end of the connection.
    pub(crate) async fn ask(self, head: &str) -> Answer {
        let mut stream = self.connect().await;
        let request = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        answer(&mut stream).await
    }

    pub(crate) async fn json(self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The value of a series.
    pub(crate) async fn metric(self, series: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        value(&text, series)
    }

    /// Asks again and again until this holds for a path's answer.
    pub(crate) async fn until(self, path: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            again.tick().await;
            let body = self.get(path).await.body;
            if holds(&body) {
                return body;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path}: {body}");
        }
    }

    /// Runs `netflow2traces healthcheck` for it.
    pub(crate) async fn healthcheck(self) -> Output {
        let host = self.0.ip().to_string();
        run(&["healthcheck", "--admin-host", &host]).await
    }
}

/// The value of a series in a scrape.
pub(crate) fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} in {text}"))
        .parse()
        .unwrap()
}

/// Reads an answer to the end of its connection.
pub(crate) async fn answer(stream: &mut TcpStream) -> Answer {
    let mut octets = Vec::new();
    let read = stream.read_to_end(&mut octets);
    let _ = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("an answer in time");
    let text = String::from_utf8(octets).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("{text}")),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// Runs the program to its end, in an empty environment.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netflow2traces"));
    command
        .args(arguments)
        .env_clear()
        .current_dir(directory.path());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}
