//! The log says what changed, once.

use std::io::{self, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Once};

use netflow2traces::config::Protocol;
use tonic::Code;
use tracing_subscriber::fmt::MakeWriter;

use crate::backend::{FakeBackend, Reply};
use crate::failures::{endpoint_of, reserved_port};
use crate::{batch, count, finish, grpc_to, otlp, start, to, until};

/// The log of this thread, on which the test's runtime runs everything.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        // Whether a line is of interest is remembered for the process, and with one subscriber alone the
        // answer is that of the thread that asks first, which may be a test without one.
        static EVERY_THREAD: Once = Once::new();
        EVERY_THREAD.call_once(|| {
            let listening = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::INFO)
                .with_writer(io::sink)
                .finish();
            tracing::subscriber::set_global_default(listening).unwrap();
        });
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<String> {
        let text = self.0.lock().unwrap().clone();
        String::from_utf8(text)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn an_outage_is_two_lines() {
    let (log, _guard) = Log::begin();
    let socket = reserved_port();
    let batches = [batch(5, 0), batch(5, 0), batch(5, 0)];
    let delivery = start(&to(otlp(Protocol::Grpc, endpoint_of(&socket))), &batches);
    until("failures", || {
        delivery.counters().failures.load(Relaxed) >= 4
    })
    .await;
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("WARN"), "{}", lines[0]);
    assert!(lines[0].contains("Connection refused"), "{}", lines[0]);
    assert!(lines[0].contains("nothing listens there"), "{}", lines[0]);
    let _backend = FakeBackend::grpc()
        .listener(socket.listen(64).unwrap())
        .start()
        .await;
    finish(&delivery).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[1].contains("INFO") && lines[1].contains("waiting_spans=18"),
        "{}",
        lines[1]
    );
}

#[tokio::test]
async fn refusals_are_one_line_a_minute() {
    let (log, _guard) = Log::begin();
    let script = std::iter::repeat_n(Reply::Grpc(Code::Unauthenticated, "no token"), 10);
    let backend = FakeBackend::grpc().script(script).start().await;
    let batches: Vec<_> = (0..10).map(|_| batch(5, 0)).collect();
    let delivery = start(&grpc_to(&backend), &batches);
    assert_eq!(finish(&delivery).await.rejected, count(50, 10));
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("OTEL_EXPORTER_OTLP_HEADERS"),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn a_hiccup_is_no_line() {
    let (log, _guard) = Log::begin();
    let backend = FakeBackend::grpc()
        .script([Reply::Grpc(Code::Unavailable, "busy")])
        .start()
        .await;
    let delivery = start(&grpc_to(&backend), &[batch(5, 0)]);
    assert_eq!(finish(&delivery).await.accepted, count(5, 1));
    assert_eq!(log.lines(), Vec::<String>::new());
}
