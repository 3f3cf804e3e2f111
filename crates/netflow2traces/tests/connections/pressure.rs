//! A backend that hangs slows exporters down, and costs nothing.

use std::time::Duration;

use crate::backend::{FakeBackend, Reply};
use crate::daemon::Setup;
use crate::sender::{Sender, data, listening, template};

/// The most memory that a process had, in octets.
fn peak(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kibibytes = line.split_whitespace().nth(1).unwrap();
    kibibytes.parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_is_slowed_nothing_is_lost_and_the_memory_stays_within_the_budget() {
    const FLOWS: u16 = 200;
    let backend = FakeBackend::grpc().forgetful().start().await;
    backend.answers(Some(Reply::Silence));
    let setup = Setup::to_grpc(&backend)
        .with("NETFLOW_LISTEN_TCP_PORT", "0")
        .with("NETFLOW_MEMORY_LIMIT", "32MiB")
        .with("NETFLOW_QUEUE_SIZE", "4MiB")
        .with("NETFLOW_MAX_REQUEST_SIZE", "256KiB")
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "60s")
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "2000");
    let daemon = setup.start().await;
    let to = listening(&daemon, "tcp").await;
    let mut sender = Sender::tcp(to).await;
    sender.send(&template()).await;
    let mut sent = 0_u32;
    // A write that takes so long is one that waits for the daemon.
    let mut is_slowed = false;
    while !is_slowed && sent < 2_000_000 {
        let message = data(sent, 1_000, FLOWS);
        sent += u32::from(FLOWS);
        let sending = sender.send(&message);
        tokio::pin!(sending);
        let in_time = tokio::time::timeout(Duration::from_secs(2), &mut sending).await;
        if in_time.is_err() {
            is_slowed = true;
            backend.answers(None);
            sending.await;
        }
    }
    assert!(is_slowed, "{sent} flows were taken without an end");
    sender.close().await;
    let peak = peak(daemon.id());
    assert!(peak < (32 + 64) << 20, "{peak} octets");
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("flow_spans", u64::from(sent)),
        ("flow_spans_accepted", u64::from(sent)),
        ("flow_spans_dropped", 0),
    ]);
}
