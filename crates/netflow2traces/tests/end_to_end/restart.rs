//! A restart while a service manager keeps the sockets: no datagram is lost, and the settings still decide.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::task::JoinHandle;

use crate::backend::FakeBackend;
use crate::daemon::{Daemon, Ended, Setup, is};
use crate::exporter::{Content, Exporter, now, v5_datagram, v9_datagram};
use crate::manager::Manager;
use crate::spans::{accepted, flows_at, named};

const EXPORTERS: u8 = 8;

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

fn on(backend: &FakeBackend, address: SocketAddr) -> Setup {
    Setup::to_grpc(backend)
        .with("NETFLOW_LISTEN_HOST", &address.ip().to_string())
        .with("NETFLOW_LISTEN_PORT", &address.port().to_string())
}

/// Exporters that send flows, each of which has its own number.
struct Senders {
    exporters: Vec<Exporter>,
    sent: AtomicUsize,
}

impl Senders {
    fn new(to: SocketAddr) -> Self {
        let exporters =
            (0..EXPORTERS).map(|last| Exporter::new(&format!("127.0.0.{}", last + 2), to));
        Self {
            exporters: exporters.collect(),
            sent: AtomicUsize::new(0),
        }
    }

    /// The templates of those that need one.
    fn teach(&self) {
        for exporter in self.exporters.iter().step_by(2) {
            exporter.send(&v9_datagram(now(), 0, Content::Template));
        }
    }

    /// One datagram of one flow: every other exporter sends v9 without its template.
    fn send_one(&self) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let exporter = number % self.exporters.len();
        let first_port = 1000 + u16::try_from(number).unwrap();
        let datagram = if exporter.is_multiple_of(2) {
            let data = Content::Data {
                first_port,
                flows: 1,
            };
            v9_datagram(now(), 0, data)
        } else {
            v5_datagram(now(), 0, first_port, 1)
        };
        self.exporters[exporter].send(&datagram);
    }

    fn send(&self, datagrams: usize) {
        (0..datagrams).for_each(|_| self.send_one());
    }

    /// Every flow that was sent has arrived, once.
    async fn assert_whole(&self, backend: &FakeBackend) {
        let sent = self.sent.load(Ordering::Relaxed);
        flows_at(backend, sent).await;
        let spans = accepted(&backend.received());
        let flows = named(&spans, "netflow.flow");
        assert_eq!(flows.len(), sent);
        let ports = flows.iter().map(|flow| {
            let port = flow.attributes["source.port"].as_u64().unwrap();
            usize::try_from(port).unwrap() - 1000
        });
        assert_eq!(ports.collect::<BTreeSet<_>>(), (0..sent).collect());
    }
}

/// Sends at a steady rate until it is stopped.
struct Load {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(senders: Arc<Senders>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while !stopped.load(Ordering::Relaxed) {
                pace.tick().await;
                senders.send_one();
            }
        });
        Self { task, stop }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

fn assert_ended_well(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("kernel_drops", 0),
        ("sets_waiting", 0),
        ("datagrams_rejected", 0),
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_lose_no_datagram() {
    let backend = FakeBackend::grpc().start().await;
    let (manager, address) = (Manager::new(), free_address());
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("templates");
    let setup = on(&backend, address).with("NETFLOW_TEMPLATE_STORE", store.to_str().unwrap());
    let senders = Arc::new(Senders::new(address));
    let mut daemon = manager.start(setup.clone()).await;
    assert_eq!(manager.stored().len(), 2);
    senders.teach();
    let load = Load::start(Arc::clone(&senders));
    for _ in 0..3 {
        let sent = senders.sent.load(Ordering::Relaxed);
        backend
            .until("flows under load", |received| {
                named(&accepted(received), "netflow.flow").len() >= sent + 50
            })
            .await;
        let ended = daemon.stop().await;
        assert_ended_well(&ended);
        // Nobody is there.
        senders.send(100);
        daemon = manager.start(setup.clone()).await;
    }
    load.stop().await;
    senders.assert_whole(&backend).await;
    assert_eq!(manager.stored().len(), 2, "the same sockets all the time");
    assert_ended_well(&daemon.stop().await);
}

fn gave_up(daemon: &Daemon) -> usize {
    let log = daemon.log();
    let lines = log.iter().filter(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("a socket that the service manager kept is closed")
    });
    lines.count()
}

#[tokio::test]
async fn another_number_of_workers_keeps_the_sockets_that_it_can_use() {
    let backend = FakeBackend::grpc().start().await;
    let (manager, address) = (Manager::new(), free_address());
    let senders = Senders::new(address);
    for (workers, stored, given_up) in [("3", 3, 0), ("1", 1, 2), ("2", 2, 0), ("2", 2, 0)] {
        let setup = on(&backend, address).with("NETFLOW_WORKERS", workers);
        let daemon = manager.start(setup).await;
        assert_eq!(manager.stored().len(), stored, "{:?}", manager.stored());
        assert_eq!(gave_up(&daemon), given_up, "{:#?}", daemon.log());
        // Wherever steering puts them, the template and its data meet.
        senders.teach();
        senders.send(32);
        senders.assert_whole(&backend).await;
        assert_ended_well(&daemon.stop().await);
    }
}

#[tokio::test]
async fn another_address_gives_the_old_one_free() {
    let backend = FakeBackend::grpc().start().await;
    let (manager, first, second) = (Manager::new(), free_address(), free_address());
    manager.start(on(&backend, first)).await.stop().await;
    let daemon = manager.start(on(&backend, second)).await;
    assert_eq!(daemon.address(), second);
    assert_eq!(gave_up(&daemon), 2);
    let stored = manager.stored();
    let port = format!("-{}-", second.port());
    assert!(stored.iter().all(|name| name.contains(&port)), "{stored:?}");
    UdpSocket::bind(first).expect("nobody has it any more");
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    // The same port at all addresses: the old sockets have to be gone before it can be bound.
    let everywhere = on(&backend, second).with("NETFLOW_LISTEN_HOST", "0.0.0.0");
    let daemon = manager.start(everywhere).await;
    assert_eq!(gave_up(&daemon), 2);
    daemon.stop().await;
}

/// As a socket unit with `ReusePort=yes` and a `ListenDatagram=` for each worker would make them.
fn activated(address: SocketAddr, sockets: usize) -> Vec<(String, OwnedFd)> {
    let socket = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        ("netflow2traces.socket".to_owned(), OwnedFd::from(socket))
    };
    std::iter::repeat_with(socket).take(sockets).collect()
}

#[tokio::test]
async fn activated_sockets_are_served_with_what_they_held() {
    for (sockets, workers) in [(2, 2), (1, 1), (3, 2)] {
        let backend = FakeBackend::grpc().start().await;
        let (manager, address) = (Manager::new(), free_address());
        let passed = activated(address, sockets);
        let senders = Senders::new(address);
        if sockets == 1 {
            // Before anyone is there. (Nothing steers yet, so not with more.)
            senders.teach();
            senders.send(32);
        }
        let elsewhere = on(&backend, free_address());
        let daemon = manager.start_with(elsewhere, passed).await;
        assert_eq!(daemon.address(), address);
        let log = daemon.log();
        let listening = log
            .iter()
            .find(|line| is(line, "listening for flow records"))
            .unwrap();
        assert_eq!(listening["workers"], workers, "with {sockets} sockets");
        assert!(manager.stored().is_empty(), "its unit keeps them");
        senders.teach();
        senders.send(32);
        senders.assert_whole(&backend).await;
        assert_ended_well(&daemon.stop().await);
    }
}

#[tokio::test]
async fn the_manager_hears_how_it_is() {
    let backend = FakeBackend::grpc().start().await;
    let (manager, address) = (Manager::new(), free_address());
    let setup = on(&backend, address).with("WATCHDOG_USEC", "150000");
    let daemon = manager.start(setup).await;
    let status = manager.status().unwrap();
    assert!(
        status.starts_with(&format!("listening on {address} with 2 workers")),
        "{status}"
    );
    manager.hears("WATCHDOG=1", 5).await;
    assert_eq!(manager.count("STOPPING=1"), 0);
    daemon.stop().await;
    manager.hears("STOPPING=1", 1).await;
}
