//! Many connections, slow ones, and senders of something else.

use std::time::Duration;

use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::sender::{Sender, both, closed_for, data, listening, template, wait_for_flows};

#[tokio::test]
async fn a_thousand_connections_are_served_at_once() {
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend)
        .with("NETFLOW_LISTEN_TCP_PORT", "0")
        .with("NETFLOW_MEMORY_LIMIT", "320MiB");
    let daemon = setup.start().await;
    let to = listening(&daemon, "tcp").await;
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: Some(4_096),
            maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
        },
    )
    .unwrap();
    let mut senders = Vec::new();
    for _ in 0..1_000 {
        senders.push(Sender::tcp(to).await);
    }
    for sender in &mut senders {
        sender.send(&template()).await;
    }
    for sender in &mut senders {
        sender.send(&data(0, 1_000, 2)).await;
    }
    wait_for_flows(&backend, 2_000).await;
    for sender in senders {
        sender.close().await;
    }
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_accepted", 2_000), ("sets_expired", 0)]);
}

#[tokio::test]
async fn connections_that_trickle_hold_nobody_up() {
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend)
        .with("NETFLOW_LISTEN_TCP_PORT", "0")
        .with("NETFLOW_MEMORY_LIMIT", "64MiB");
    let daemon = setup.start().await;
    let to = listening(&daemon, "tcp").await;
    // Each says that it will send much, and sends an octet now and then.
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut sender = Sender::from("127.0.0.9", to).await;
        sender.send(&[0, 10, 0xff, 0xff, 0]).await;
        slow.push(sender);
    }
    let mut sender = Sender::tcp(to).await;
    sender.send(&template()).await;
    for round in 0..20_u16 {
        for slow in &mut slow {
            slow.send(&[0]).await;
        }
        sender.send(&data(u32::from(round) * 50, 1_000, 50)).await;
        let arrived = usize::from(round + 1) * 50;
        tokio::time::timeout(Duration::from_secs(10), wait_for_flows(&backend, arrived))
            .await
            .expect("the quick one isn't held up");
    }
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
}

#[tokio::test]
async fn what_is_no_ipfix_closes_the_connection_with_a_line() {
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
    for (octets, part) in [
        (&[0, 9, 0, 1, 0, 0, 0, 1][..], "NetFlow v9"),
        (&[0, 10, 0, 3], "3 octets"),
        (b"GET / HTTP/1.1\r\n\r\n", "only IPFIX"),
    ] {
        let daemon = setup.clone().start().await;
        let to = listening(&daemon, "tcp").await;
        let mut sender = Sender::tcp(to).await;
        // What came before is used.
        sender.send(&[&both(1_000, 1)[..], octets].concat()).await;
        sender.closed().await;
        let said = closed_for(&daemon, "framing").await;
        assert!(said.contains(part), "{said}");
        let ended = daemon.stop().await;
        ended.assert_totals(&[("flow_spans_accepted", 1)]);
    }
}
