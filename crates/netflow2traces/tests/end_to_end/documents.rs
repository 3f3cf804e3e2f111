//! Requests that the documents print are answered: by the admin server of a daemon, and by the demo's backend.

use std::net::SocketAddr;

use netflow2traces::demo::BackendOptions;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::admin_client::Admin;
use crate::backend::FakeBackend;
use crate::commands::{documents, inline, lines, words};
use crate::daemon::Setup;
use crate::demo::rig;

#[tokio::test]
async fn requests_in_the_documents_are_answered() {
    let accepting = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_grpc(&accepting)).start().await;
    let demo = rig::start(BackendOptions::default()).await;
    let servers = [("9464", admin.0), ("3200", demo.api_address)];
    let mut asked = [0; 2];
    for (path, text) in documents() {
        for command in lines(&text).into_iter().chain(inline(&text)) {
            let Some((port, target)) = request(&command) else {
                continue;
            };
            let Some(server) = servers.iter().position(|(known, _)| *known == port) else {
                continue;
            };
            let address: SocketAddr = servers[server].1;
            let answer = Admin(address).get(&target).await;
            assert_eq!(
                answer.status,
                200,
                "{}: {command}\n{}",
                path.display(),
                answer.body
            );
            asked[server] += 1;
        }
    }
    assert!(asked[0] > 5 && asked[1] > 2, "{asked:?}");
    daemon.stop().await;
}

/// The port and the target that a command with `curl` asks for at this machine.
fn request(command: &str) -> Option<(String, String)> {
    let words = words(command);
    if words.first()? != "curl" {
        return None;
    }
    let url = words.iter().find(|word| {
        let host = word.strip_prefix("http://").unwrap_or(word);
        host.starts_with("localhost:") || host.starts_with("127.0.0.1:")
    })?;
    let (_, rest) = url.strip_prefix("http://").unwrap_or(url).split_once(':')?;
    let (port, mut target) = match rest.split_once('/') {
        Some((port, path)) => (port.to_owned(), format!("/{path}")),
        None => (rest.to_owned(), "/".to_owned()),
    };
    let encoded = words
        .windows(2)
        .filter(|pair| pair[0] == "--data-urlencode");
    for (number, pair) in encoded.enumerate() {
        let (name, value) = pair[1].split_once('=')?;
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let before = if number == 0 { '?' } else { '&' };
        target.push_str(&format!("{before}{name}={value}"));
    }
    Some((port, target))
}
