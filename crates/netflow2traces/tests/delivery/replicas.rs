//! Several replicas behind one address: a sick one holds nothing up, a new one gets its share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use netflow2traces::config::{Deliver, Exporter, Protocol};
use netflow2traces::deliver::Delivery;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;

use crate::backend::{FakeBackend, Reply};
use crate::failures::{endpoint_of, reserved_port};
use crate::log::Log;
use crate::{batch, count, finish, ids_of, otlp, start, to, until};

/// A balancer of TCP connections: the `n`th goes to the address that `choose` names.
struct Balancer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Balancer {
    async fn new(choose: impl Fn(usize) -> SocketAddr + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let target = choose(counted.fetch_add(1, Relaxed));
                open.spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    fn config(&self, grpc: bool) -> Deliver {
        let (protocol, path) = if grpc {
            (Protocol::Grpc, "")
        } else {
            (Protocol::HttpProtobuf, "/v1/traces")
        };
        let endpoint = format!("http://{}{path}", self.address).parse().unwrap();
        let mut config = to(otlp(protocol, endpoint));
        config.concurrency = 4;
        config
    }
}

async fn backend(grpc: bool) -> FakeBackend {
    let setup = if grpc {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    };
    setup.start().await
}

/// How a replica can be sick: each keeps its connection and is worth another attempt.
fn sicknesses(grpc: bool) -> Vec<Reply> {
    let mut sicknesses = vec![Reply::http(503), Reply::http(502)];
    if grpc {
        sicknesses.push(Reply::Grpc(Code::Unavailable, "memory limit"));
    } else {
        let page = Reply::Http(200, vec![("content-type", "text/html")], b"<html>");
        sicknesses.extend([Reply::http(429), page]);
    }
    sicknesses
}

#[tokio::test]
async fn a_sick_replica_behind_a_balancer_holds_nothing_up() {
    let mut cases = JoinSet::new();
    for grpc in [true, false] {
        for sickness in sicknesses(grpc) {
            for first_four in [true, false] {
                let sickness = sickness.clone();
                cases.spawn(async move {
                    let what = format!("gRPC {grpc}, {sickness:?}, first four {first_four}");
                    let (sick, well) = (backend(grpc).await, backend(grpc).await);
                    sick.answers(Some(sickness));
                    let (a, b) = (sick.address, well.address);
                    let balancer = Balancer::new(move |n| {
                        let to_sick = if first_four { n < 4 } else { n % 2 == 0 };
                        if to_sick { a } else { b }
                    })
                    .await;
                    let batches: Vec<_> = (0..12).map(|_| batch(5, 100)).collect();
                    let delivery = start(&balancer.config(grpc), &batches);
                    until(&what, || delivery.counters().accepted.load().work == 12).await;
                    let asked = sick.arrivals();
                    assert!(asked <= 8, "{what}: {asked} requests to the sick replica");
                    assert_eq!(well.accepted_ids(), ids_of(&batches), "{what}");
                    finish(&delivery).await;
                });
            }
        }
    }
    cases.join_all().await;
}

#[tokio::test]
async fn connections_are_replaced_when_they_are_old_and_nothing_fails() {
    for grpc in [true, false] {
        let (one, other) = (backend(grpc).await, backend(grpc).await);
        let (a, b) = (one.address, other.address);
        // The other replica came later.
        let balancer = Balancer::new(move |n| if n < 4 { a } else { b }).await;
        let mut config = balancer.config(grpc);
        if let Exporter::Otlp(otlp) = &mut config.exporter {
            otlp.connections.max_age = Duration::from_millis(200);
        }
        let delivery = start(&config, &[]);
        until("a request to the replica that came later", || {
            delivery.queue().push(batch(1, 0));
            other.accepted_spans() > 0
        })
        .await;
        finish(&delivery).await;
        assert_eq!(delivery.counters().failures.load(Relaxed), 0);
        assert!(balancer.connections.load(Relaxed) > 4 || one.accepted_spans() == 0);
    }
}

async fn looking(delivery: &Delivery) {
    delivery.look_for_backend();
    until("a failure", || {
        delivery.counters().failures.load(Relaxed) > 2
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_is_away_is_reported_before_there_is_anything_to_send() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let (log, _guard) = Log::begin(tracing::Level::INFO);
        let socket = reserved_port();
        let delivery = start(&to(otlp(protocol, endpoint_of(&socket))), &[]);
        looking(&delivery).await;
        assert!(delivery.counters().backend_away.load(Relaxed));
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].to_string().contains("nothing listens there"));
        // It comes, and is found without a flow.
        let setup = match protocol {
            Protocol::Grpc => FakeBackend::grpc(),
            _ => FakeBackend::http(),
        };
        let backend = setup.listener(socket.listen(64).unwrap()).start().await;
        until("the backend", || {
            !delivery.counters().backend_away.load(Relaxed)
        })
        .await;
        assert_eq!((backend.connections(), backend.arrivals()), (1, 0));
        delivery.queue().push(batch(5, 0));
        assert_eq!(finish(&delivery).await.accepted, count(5, 1));
        assert_eq!(backend.connections(), 1, "the first connection serves");
    }
}

#[tokio::test]
async fn looking_for_a_backend_does_not_hold_up_the_end() {
    let socket = reserved_port();
    let delivery = start(&to(otlp(Protocol::Grpc, endpoint_of(&socket))), &[]);
    looking(&delivery).await;
    finish(&delivery).await;
}
