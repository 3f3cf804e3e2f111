//! Files of TLS and headers are renewed on disk while the daemon runs, in any order.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use netflow2traces::config::{Deliver, Exporter, Protocol, Tls};
use netflow2traces::deliver::Delivery;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::backend::{FakeBackend, Reply};
use crate::certificates::Authority;
use crate::faults::rebind;
use crate::{batch, count, finish, http_to, ids_of, otlp, start, to, until};

/// The files that the daemon reads.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(authority: &Authority) -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for (name, source) in renewed(authority) {
            files.put(name, &source);
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another file takes the place of this one, as by `mv`.
    fn put(&self, name: &str, source: &Path) {
        let new = self.path("new");
        std::fs::copy(source, &new).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    fn tls(&self) -> Tls {
        Tls {
            certificate: Some(self.path("ca.pem")),
            client_certificate: Some(self.path("client.pem")),
            client_key: Some(self.path("client.key")),
        }
    }
}

/// Each file, and where an authority has it.
fn renewed(authority: &Authority) -> [(&'static str, PathBuf); 3] {
    let (certificate, key) = authority.client_files();
    [
        ("ca.pem", authority.file()),
        ("client.pem", certificate),
        ("client.key", key),
    ]
}

fn setup(grpc: bool) -> crate::backend::Setup {
    if grpc {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    }
}

fn config(backend: &FakeBackend, grpc: bool, files: &Files) -> Deliver {
    let (protocol, path) = if grpc {
        (Protocol::Grpc, "")
    } else {
        (Protocol::HttpProtobuf, "/v1/traces")
    };
    let mut otlp = otlp(protocol, backend.endpoint(path));
    otlp.tls = files.tls();
    to(otlp)
}

async fn accepted(delivery: &Delivery, batches: u64) {
    until("acceptance", || {
        delivery.counters().accepted.load().work == batches
    })
    .await;
}

/// The server is renewed before the files, after them, or between them; the files come in this order.
async fn all_are_renewed(grpc: bool, order: [usize; 3], server_after: usize) {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::new(&old);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let protocols: &[&str] = if grpc { &["h2"] } else { &["http/1.1"] };
    let before = setup(grpc)
        .tls(old.mutual_server(protocols))
        .listener(listener)
        .start()
        .await;
    let batches: Vec<_> = (0..6).map(|_| batch(5, 0)).collect();
    let delivery = start(&config(&before, grpc, &files), &batches[..2]);
    accepted(&delivery, 2).await;

    let mut before = Some(before);
    let mut after = None;
    let renewed = renewed(&new);
    for step in 0..=order.len() {
        if step == server_after {
            // It ends all its connections.
            before = None;
            let listener = rebind(address).await;
            let server = setup(grpc)
                .tls(new.mutual_server(protocols))
                .listener(listener);
            after = Some(server.start().await);
            for batch in &batches[2..] {
                delivery.queue().push(batch.clone());
            }
        }
        if let Some(&next) = order.get(step) {
            let (name, source) = &renewed[next];
            files.put(name, source);
            delivery.reload_files();
        }
    }
    drop(before);
    accepted(&delivery, 6).await;
    finish(&delivery).await;
    let after = after.expect("it was started");
    assert_eq!(
        after.accepted_ids(),
        ids_of(&batches[2..]),
        "{order:?} {server_after}"
    );
}

#[tokio::test]
async fn everything_is_renewed_in_any_order_and_delivery_goes_on() {
    let mut cases = JoinSet::new();
    for grpc in [true, false] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            for server_after in 0..=3 {
                cases.spawn(all_are_renewed(grpc, order, server_after));
            }
        }
    }
    cases.join_all().await;
}

#[tokio::test]
async fn a_change_is_noticed_without_a_word_and_renews_the_connections_that_are_open() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let backend = FakeBackend::grpc()
        .tls(authority.mutual_server(&["h2"]))
        .start()
        .await;
    let mut config = config(&backend, true, &files);
    config.concurrency = 1;
    let delivery = start(&config, &[batch(1, 0)]);
    accepted(&delivery, 1).await;
    assert_eq!(backend.connections(), 1);
    let [_, (certificate, new_certificate), (key, new_key)] = renewed(&authority);
    files.put(certificate, &new_certificate);
    files.put(key, &new_key);
    until("a new connection", || {
        if delivery.counters().in_flight.load() == count(0, 0) {
            delivery.queue().push(batch(1, 0));
        }
        backend.connections() == 2
    })
    .await;
    finish(&delivery).await;
    assert_eq!(delivery.counters().failures.load(Relaxed), 0);
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let backend = FakeBackend::http()
        .tls(authority.mutual_server(&["http/1.1"]))
        .start()
        .await;
    let delivery = start(&config(&backend, false, &files), &[batch(1, 0)]);
    accepted(&delivery, 1).await;
    std::fs::write(files.path("ca.pem"), "").unwrap();
    delivery.reload_files();
    std::fs::remove_file(files.path("client.key")).unwrap();
    delivery.reload_files();
    delivery.queue().push(batch(1, 0));
    accepted(&delivery, 2).await;
    assert_eq!(finish(&delivery).await.accepted, count(2, 2));
    assert_eq!(delivery.counters().failures.load(Relaxed), 0);
}

#[tokio::test]
async fn headers_of_a_file_are_sent_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    std::fs::write(&file, "Authorization: Bearer one\n").unwrap();
    let backend = FakeBackend::http().start().await;
    let mut config = http_to(&backend);
    if let Exporter::Otlp(otlp) = &mut config.exporter {
        otlp.headers_file = Some(file.clone());
        let unused = http::HeaderValue::from_static("Bearer zero");
        otlp.headers = vec![(http::header::AUTHORIZATION, unused)];
    }
    let delivery = start(&config, &[batch(1, 0)]);
    accepted(&delivery, 1).await;
    std::fs::write(&file, "Authorization: Bearer two\n").unwrap();
    delivery.reload_files();
    delivery.queue().push(batch(1, 0));
    accepted(&delivery, 2).await;
    finish(&delivery).await;
    let received = backend.received();
    let sent = received
        .iter()
        .map(|request| &request.headers["authorization"]);
    assert_eq!(sent.collect::<Vec<_>>(), ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn a_token_that_was_renewed_while_the_old_one_was_refused_loses_nothing() {
    for (grpc, refusal) in [
        (true, Reply::Grpc(tonic::Code::Unauthenticated, "expired")),
        (false, Reply::http(401)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(&file, "authorization=Bearer%20old").unwrap();
        let backend = setup(grpc).script([refusal]).start().await;
        let mut config = if grpc {
            crate::grpc_to(&backend)
        } else {
            http_to(&backend)
        };
        if let Exporter::Otlp(otlp) = &mut config.exporter {
            otlp.headers_file = Some(file.clone());
        }
        let delivery = start(&config, &[]);
        // The daemon looks at the file when the token is refused, if not before.
        std::fs::write(&file, "authorization=Bearer%20renewed").unwrap();
        delivery.queue().push(batch(5, 0));
        assert_eq!(finish(&delivery).await.accepted, count(5, 1));
        let received = backend.received();
        assert_eq!(received[1].headers["authorization"], "Bearer renewed");
    }
}

#[tokio::test]
async fn a_headers_file_that_cannot_be_used_stops_the_start() {
    let mut otlp = otlp(Protocol::Grpc, "http://localhost:4317".parse().unwrap());
    otlp.headers_file = Some("/nowhere/headers".into());
    let error = Delivery::start(&to(otlp))
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("NETFLOW_OTLP_HEADERS_FILE=/nowhere/headers"),
        "{error}"
    );
}
