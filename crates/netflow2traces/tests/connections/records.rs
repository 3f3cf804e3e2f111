//! A recorded capture, replayed over each transport: the same records come out.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use netflow2traces::capture::Capture;

use crate::backend::{FakeBackend, Received};
use crate::daemon::Setup;
use crate::identities::{Authority, over_tls};
use crate::sender::{Sender, listening};

/// The messages of a capture, by who sent them.
fn messages() -> BTreeMap<SocketAddr, Vec<Vec<u8>>> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/captures");
    let file = File::open(captures.join("softflowd-ipfix.pcap")).unwrap();
    let mut capture = Capture::open(file).unwrap();
    let mut messages = BTreeMap::<_, Vec<_>>::new();
    while let Some(payload) = capture.next_payload().unwrap() {
        let (from, _) = payload.addresses.unwrap();
        messages
            .entry(from)
            .or_default()
            .push(payload.octets.to_vec());
    }
    assert!(!messages.is_empty());
    messages
}

/// Waits for the flow spans, and gives them without what tells one run from another.
async fn flows(backend: &FakeBackend, count: Option<usize>) -> Vec<String> {
    let flows = |received: &[Received]| {
        let resources = received
            .iter()
            .flat_map(|received| &received.request.resource_spans);
        let spans = resources.flat_map(|resource| &resource.scope_spans);
        let spans = spans.flat_map(|scope| &scope.spans);
        let flows = spans.filter(|span| span.name == "netflow.flow");
        let mut flows: Vec<_> = flows
            .map(|span| {
                let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
                format!("{start} {end} {:?}", span.attributes)
            })
            .collect();
        flows.sort();
        flows
    };
    if let Some(count) = count {
        let all = |received: &[Received]| flows(received).len() >= count;
        backend.until("all flows", all).await;
    }
    flows(&backend.received())
}

#[tokio::test]
async fn the_same_messages_give_the_same_records_over_udp_tcp_and_tls() {
    let messages = messages();
    let by_udp = {
        let backend = FakeBackend::grpc().start().await;
        let daemon = Setup::to_grpc(&backend).start().await;
        for of_exporter in messages.values() {
            let socket = UdpSocket::bind("127.0.0.5:0").unwrap();
            for message in of_exporter {
                socket.send_to(message, daemon.address()).unwrap();
            }
        }
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        flows(&backend, None).await
    };
    assert!(by_udp.len() >= 8, "{}", by_udp.len());
    let authority = Authority::new();
    for transport in ["tcp", "tls"] {
        let backend = FakeBackend::grpc().start().await;
        let setup = Setup::to_grpc(&backend).with("NETFLOW_LISTEN_TCP_PORT", "0");
        let daemon = over_tls(setup, &authority.signs("server")).start().await;
        let to = listening(&daemon, transport).await;
        for of_exporter in messages.values() {
            let mut sender = match transport {
                "tls" => Sender::tls_from("127.0.0.5", to, authority.client(None))
                    .await
                    .unwrap(),
                _ => Sender::from("127.0.0.5", to).await,
            };
            sender.send(&of_exporter.concat()).await;
            sender.close().await;
        }
        assert_eq!(
            flows(&backend, Some(by_udp.len())).await,
            by_udp,
            "{transport}"
        );
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    }
}
