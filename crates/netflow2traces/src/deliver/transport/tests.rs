//! Slots over two replicas behind one name, whose addresses the test chooses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::header::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::Protocol;

/// Answers each request over HTTP/1.1 with nothing, or with 503 while it is sick; keeps its connections.
struct Replica {
    address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    sick: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Replica {
    async fn at(host: &str, port: u16) -> Self {
        let listener = TcpListener::bind((host, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Relaxed);
                // It ends with the other side.
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    fn connections(&self) -> usize {
        self.state.connections.load(Relaxed)
    }

    fn requests(&self) -> usize {
        self.state.requests.load(Relaxed)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: tokio::net::TcpStream, state: Arc<State>) {
    let mut octets = Vec::new();
    while stream
        .read_buf(&mut octets)
        .await
        .is_ok_and(|read| read > 0)
    {
        // Requests here have no body.
        if !octets.ends_with(b"\r\n\r\n") {
            continue;
        }
        octets.clear();
        state.requests.fetch_add(1, Relaxed);
        let status = if state.sick.load(Relaxed) {
            "503 Busy"
        } else {
            "200 OK"
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Two replicas at addresses with the same port.
async fn replicas() -> (Replica, Replica) {
    loop {
        let one = Replica::at("127.0.0.1", 0).await;
        if TcpListener::bind(("127.0.0.2", one.address.port()))
            .await
            .is_ok()
        {
            let other = Replica::at("127.0.0.2", one.address.port()).await;
            return (one, other);
        }
    }
}

fn otlp() -> Otlp {
    let endpoint = "http://backend.test/v1/traces".parse().unwrap();
    Otlp::new(Protocol::HttpProtobuf, endpoint)
}

fn transport(otlp: &Otlp, addresses: Vec<SocketAddr>) -> Transport {
    let versions = Versions::Any;
    let credentials = Credentials::new(otlp, false, versions, HeaderMap::new()).unwrap();
    let look_up = move |_: &str, _| Ok(addresses.clone());
    let connector = Connector::by(otlp, versions, Arc::new(look_up));
    Transport::with(otlp, connector, credentials, 4)
}

/// One attempt; whether it succeeded.
async fn exchange(transport: &Transport, slot: usize) -> bool {
    let mut request = Request::new(Frames::plain(Bytes::new()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = otlp().endpoint;
    let judge = |answer: &Answer| {
        if answer.status.is_success() {
            Outcome::Accepted
        } else {
            let cause = Cause::new(answer.status.to_string());
            Outcome::Retry { after: None, cause }
        }
    };
    transport.exchange(slot, request, judge).await == Outcome::Accepted
}

async fn all_slots(transport: &Transport) -> usize {
    let mut accepted = 0;
    for slot in 0..4 {
        accepted += usize::from(exchange(transport, slot).await);
    }
    accepted
}

/// As if this time had passed for the connections.
fn age(transport: &Transport, by: Duration) {
    for slot in 0..4 {
        if let Some(kept) = &mut *transport.slot(slot) {
            kept.used -= by;
            kept.renew -= by;
            kept.settled -= by;
        }
    }
}

#[tokio::test]
async fn connections_spread_over_the_addresses_and_are_kept() {
    let (one, other) = replicas().await;
    let transport = transport(&otlp(), vec![one.address, other.address]);
    for _ in 0..3 {
        assert_eq!(all_slots(&transport).await, 4);
    }
    assert_eq!((one.connections(), other.connections()), (2, 2));
    assert_eq!((one.requests(), other.requests()), (6, 6));
}

#[tokio::test]
async fn a_sick_replica_costs_one_attempt() {
    let (sick, well) = replicas().await;
    sick.state.sick.store(true, Relaxed);
    let transport = transport(&otlp(), vec![sick.address, well.address]);
    assert_eq!(all_slots(&transport).await, 3);
    assert_eq!(all_slots(&transport).await, 4);
    assert_eq!(sick.requests(), 1);
}

#[tokio::test]
async fn a_replica_that_is_back_gets_its_share_without_a_failure() {
    let (gone, well) = replicas().await;
    let address = gone.address;
    drop(gone);
    let transport = transport(&otlp(), vec![address, well.address]);
    assert_eq!(
        all_slots(&transport).await,
        4,
        "the other address took over at once"
    );
    assert_eq!(well.connections(), 4);
    let back = loop {
        if TcpListener::bind(address).await.is_ok() {
            break Replica::at("127.0.0.1", address.port()).await;
        }
    };
    // As if the time were over for which an address that failed is avoided.
    transport.connector.answered(address);
    age(&transport, SETTLED);
    assert_eq!(all_slots(&transport).await, 4);
    assert_eq!(back.connections(), 2);
    age(&transport, SETTLED);
    assert_eq!(all_slots(&transport).await, 4);
    assert_eq!((back.connections(), well.connections()), (2, 4));
}

#[tokio::test]
async fn an_old_connection_is_replaced_and_kept_if_it_can_not_be() {
    let mut replica = Replica::at("127.0.0.1", 0).await;
    let otlp = otlp();
    let transport = transport(&otlp, vec![replica.address]);
    assert_eq!(all_slots(&transport).await, 4);
    let old = |transport: &Transport| {
        for slot in 0..4 {
            if let Some(kept) = &mut *transport.slot(slot) {
                kept.renew -= otlp.connections.max_age;
            }
        }
    };
    old(&transport);
    assert_eq!(all_slots(&transport).await, 4);
    assert_eq!(replica.connections(), 8);
    // No new connection can be made; those that are open still work.
    replica.task.abort();
    assert!((&mut replica.task).await.is_err());
    old(&transport);
    assert_eq!(all_slots(&transport).await, 4);
    assert_eq!((replica.connections(), replica.requests()), (8, 12));
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_or_closed_is_not_used_again() {
    let replica = Replica::at("127.0.0.1", 0).await;
    let transport = transport(&otlp(), vec![replica.address]);
    assert!(exchange(&transport, 0).await);
    age(&transport, IDLE);
    assert!(exchange(&transport, 0).await);
    assert_eq!(replica.connections(), 2);
}

#[tokio::test]
async fn a_first_connection_serves_the_first_request() {
    let replica = Replica::at("127.0.0.1", 0).await;
    let transport = transport(&otlp(), vec![replica.address]);
    transport.warm_up(0).await.unwrap();
    transport.warm_up(0).await.unwrap();
    assert!(exchange(&transport, 0).await);
    assert_eq!((replica.connections(), replica.requests()), (1, 1));
}

/// What the log says about a backend that can't be reached within a short time.
async fn told(
    look_up: impl Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
) -> String {
    let mut otlp = otlp();
    otlp.protocol = Protocol::Grpc;
    otlp.timeout = Duration::from_millis(300);
    let versions = Versions::Http2;
    let credentials = Credentials::new(&otlp, false, versions, HeaderMap::new()).unwrap();
    let connector = Connector::by(&otlp, versions, Arc::new(look_up));
    let transport = Transport::with(&otlp, connector, credentials, 1);
    transport.warm_up(0).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_look_up_and_a_connect_that_never_end_have_sentences_of_their_own() {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let hanging = move |_: &str, _| {
        let _ = ended.lock().unwrap().recv();
        Ok(Vec::new())
    };
    let error = told(hanging).await;
    assert!(error.contains("the name server doesn't answer"), "{error}");
    drop(end);

    let silent = crate::deliver::connect::Swallowing::new().await;
    let address = silent.address;
    let error = told(move |_, _| Ok(vec![address])).await;
    let no_connection = format!("no connection to {address}: no answer within 300ms");
    assert!(error.starts_with(&no_connection), "{error}");
    assert!(error.contains("firewalls"), "{error}");
    assert!(!error.contains("HTTP/2"), "{error}");
}
