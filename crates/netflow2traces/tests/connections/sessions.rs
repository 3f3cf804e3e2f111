//! Connections come, bring templates and data, and go.

use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::identities::{Authority, over_tls, text};
use crate::sender::{Sender, both, closed_for, data, listening, template, wait_for_flows};

#[tokio::test]
async fn messages_cut_at_every_octet_are_read_whole() {
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
    let daemon = setup.start().await;
    let to = listening(&daemon, "tcp").await;
    let stream = both(1_000, 2);
    for cut in 0..=stream.len() {
        let mut sender = Sender::tcp(to).await;
        let (first, rest) = stream.split_at(cut);
        sender.send(first).await;
        sender.send(rest).await;
        sender.close().await;
    }
    wait_for_flows(&backend, 2 * (stream.len() + 1)).await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("sets_bad", 0),
        ("sets_expired", 0),
        ("datagrams_rejected", 0),
    ]);
}

#[tokio::test]
async fn templates_end_with_their_connection() {
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
    let daemon = setup.start().await;
    let to = listening(&daemon, "tcp").await;
    let mut first = Sender::tcp(to).await;
    first.send(&both(1_000, 3)).await;
    wait_for_flows(&backend, 3).await;
    let mut other = Sender::tcp(to).await;
    other.send(&data(0, 2_000, 3)).await;
    daemon
        .says("received data before its template; buffering it")
        .await;
    first.close().await;
    other.send(&template()).await;
    wait_for_flows(&backend, 6).await;
    other.close().await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
}

#[tokio::test]
async fn what_was_sent_before_the_stop_is_read() {
    let backend = FakeBackend::grpc().start().await;
    let authority = Authority::new();
    let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
    let setup = over_tls(setup, &authority.signs("server"));
    let daemon = setup.start().await;
    let (tcp, tls) = (
        listening(&daemon, "tcp").await,
        listening(&daemon, "tls").await,
    );
    let mut senders = Vec::new();
    for _ in 0..20 {
        senders.push(Sender::tcp(tcp).await);
        senders.push(Sender::tls(tls, authority.client(None)).await.unwrap());
    }
    for sender in &mut senders {
        sender.send(&both(1_000, 50)).await;
    }
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_accepted", 40 * 50)]);
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_used_by_the_next_connection() {
    let backend = FakeBackend::grpc().start().await;
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.signs("server");
    let daemon = over_tls(Setup::to_grpc(&backend), &files).start().await;
    let to = listening(&daemon, "tls").await;
    let mut sender = Sender::tls(to, old.client(None)).await.unwrap();
    sender.send(&both(1_000, 1)).await;
    let renewed = new.signs("server");
    std::fs::copy(&renewed.key, &files.key).unwrap();
    std::fs::copy(&renewed.certificate, &files.certificate).unwrap();
    daemon
        .says("the TLS certificate for exporters has changed and was read again; new connections use it")
        .await;
    let mut next = Sender::tls(to, new.client(None)).await.unwrap();
    next.send(&both(2_000, 1)).await;
    // One that is open stays.
    sender.send(&data(1, 1_001, 1)).await;
    wait_for_flows(&backend, 3).await;
    assert!(text(&files.key).ends_with("server.key"));
}

#[tokio::test]
async fn an_exporter_that_is_not_allowed_is_turned_away() {
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend)
        .with("NETFLOW_LISTEN_TCP_PORT", "0")
        .with("NETFLOW_ALLOWED_EXPORTERS", "127.0.0.2/32");
    let daemon = setup.start().await;
    let to = listening(&daemon, "tcp").await;
    Sender::from("127.0.0.3", to).await.closed().await;
    let said = closed_for(&daemon, "not_allowed").await;
    assert!(said.contains("NETFLOW_ALLOWED_EXPORTERS"), "{said}");
    let mut allowed = Sender::from("127.0.0.2", to).await;
    allowed.send(&both(1_000, 1)).await;
    wait_for_flows(&backend, 1).await;
}
