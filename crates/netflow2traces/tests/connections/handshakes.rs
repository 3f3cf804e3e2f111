//! TLS: certificates that are wrong in each way, and other mistakes of a set-up, each with a line that names it.

use crate::backend::FakeBackend;
use crate::daemon::{Daemon, Setup};
use crate::identities::{Authority, over_tls, text};
use crate::sender::{Sender, both, closed_for, listening, wait_for_flows};

/// A daemon that asks exporters for a certificate.
async fn mutual(backend: &FakeBackend, authority: &Authority) -> Daemon {
    let setup = over_tls(Setup::to_grpc(backend), &authority.signs("server"));
    let authorities = authority.file();
    setup
        .with("NETFLOW_LISTEN_TLS_CLIENT_CA", text(&authorities))
        .start()
        .await
}

/// What is said of an exporter's handshake that fails.
async fn refusal(daemon: &Daemon, config: rustls::ClientConfig) -> String {
    let to = listening(daemon, "tls").await;
    // With TLS 1.3 the client has finished before it is refused.
    if let Ok(mut sender) = Sender::tls(to, config).await {
        sender.closed().await;
    }
    closed_for(daemon, "handshake").await
}

#[tokio::test]
async fn an_exporter_with_a_certificate_of_the_authority_is_let_in() {
    let backend = FakeBackend::grpc().start().await;
    let authority = Authority::new();
    let daemon = mutual(&backend, &authority).await;
    let client = authority.client(Some(&authority.signs("client")));
    let to = listening(&daemon, "tls").await;
    let mut sender = Sender::tls(to, client).await.unwrap();
    sender.send(&both(1_000, 3)).await;
    wait_for_flows(&backend, 3).await;
    sender.close().await;
    assert_eq!(closed_for(&daemon, "exporter").await, "connection closed");
}

#[tokio::test]
async fn each_wrong_certificate_has_a_line_of_its_own() {
    let backend = FakeBackend::grpc().start().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let expired = authority.client(Some(&authority.signs_until("expired", 2021)));
    let unknown = authority.client(Some(&other.signs("unknown")));
    for (client, part) in [
        (authority.client(None), "sent no certificate"),
        (expired, "has expired"),
        (
            unknown,
            "not signed by an authority in NETFLOW_LISTEN_TLS_CLIENT_CA",
        ),
        // This one doesn't trust ours.
        (other.client(None), "doesn't trust our certificate"),
    ] {
        let daemon = mutual(&backend, &authority).await;
        let said = refusal(&daemon, client).await;
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn an_exporter_says_that_our_certificate_has_expired() {
    let backend = FakeBackend::grpc().start().await;
    let authority = Authority::new();
    let files = authority.signs_until("server", 2021);
    let daemon = over_tls(Setup::to_grpc(&backend), &files).start().await;
    let said = refusal(&daemon, authority.client(None)).await;
    assert!(
        said.contains("renew NETFLOW_LISTEN_TLS_CERTIFICATE"),
        "{said}"
    );
}

#[tokio::test]
async fn tcp_on_the_port_of_tls_and_the_other_way_round_name_the_other_port() {
    let backend = FakeBackend::grpc().start().await;
    let authority = Authority::new();
    let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
    let daemon = over_tls(setup, &authority.signs("server")).start().await;
    let mut plain = Sender::tcp(listening(&daemon, "tls").await).await;
    plain.send(&both(1_000, 1)).await;
    plain.closed().await;
    let said = closed_for(&daemon, "handshake").await;
    assert!(said.contains("NETFLOW_LISTEN_TCP_PORT"), "{said}");
    let tcp = listening(&daemon, "tcp").await;
    assert!(Sender::tls(tcp, authority.client(None)).await.is_err());
    let said = closed_for(&daemon, "framing").await;
    assert!(said.contains("NETFLOW_LISTEN_TLS_PORT"), "{said}");
}
