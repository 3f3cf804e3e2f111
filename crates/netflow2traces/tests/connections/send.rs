//! `send` over TCP and TLS.

use std::path::Path;
use std::process::{Command, Output};

use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::identities::{Authority, over_tls, text};
use crate::sender::{listening, wait_for_flows};

async fn send(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netflow2traces"));
    command
        .arg("send")
        .args(arguments)
        .arg("--quiet")
        .env_clear();
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
    ran.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_several_exporters_arrive_over_tcp_and_tls() {
    let authority = Authority::new();
    let (server, client) = (authority.signs("server"), authority.signs("client"));
    let ca = authority.file();
    for transport in ["tcp", "tls"] {
        let backend = FakeBackend::grpc().start().await;
        let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
        let setup = over_tls(setup, &server).with("NETFLOW_LISTEN_TLS_CLIENT_CA", text(&ca));
        let daemon = setup.start().await;
        let to = listening(&daemon, transport).await.to_string();
        let mut arguments = vec!["--transport", transport, "--to", &to];
        arguments.extend(["--exporters", "3", "--count", "300", "--rate", "max"]);
        if transport == "tls" {
            arguments.extend(["--tls-ca", text(&ca), "--tls-key", text(&client.key)]);
            arguments.extend(["--tls-certificate", text(&client.certificate)]);
        }
        let sent = send(&arguments).await;
        assert!(sent.status.success(), "{sent:?}");
        wait_for_flows(&backend, 300).await;
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_capture_what_is_ipfix_is_sent_and_the_rest_is_named() {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/captures");
    let backend = FakeBackend::grpc().start().await;
    let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
    let daemon = setup.start().await;
    let to = listening(&daemon, "tcp").await.to_string();
    let replay = async |name: &str| {
        let file = captures.join(name);
        send(&[text(&file), "--at-once", "--transport", "tcp", "--to", &to]).await
    };
    let sent = replay("softflowd-ipfix.pcap").await;
    assert!(sent.status.success(), "{sent:?}");
    wait_for_flows(&backend, 8).await;
    let sent = replay("softflowd-v9.pcap").await;
    assert_eq!(sent.status.code(), Some(1));
    let said = String::from_utf8(sent.stderr).unwrap();
    assert!(said.contains("only IPFIX can be sent"), "{said}");
}
