//! Stage 1 for connections: IPFIX over TCP and TLS (RFC 7011, sections 8.1 and 10.4). Messages go to the worker of their
//! exporter's address, as the kernel would have it for datagrams.
//!
//! [`Listeners::open`] binds, [`Streams::start`] accepts, [`Streams::stop`] ends with what had been sent. Nothing is dropped
//! because a queue is full: then connections are not read, and TCP slows the exporters down.

mod connection;
mod counters;
mod frames;
mod inbox;
mod listen;
mod log;
mod registry;
#[cfg(test)]
mod tests;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netflow_wire::Transport;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

pub use self::counters::{Count, Reason, StreamCounters, TransportCounters};
pub use self::inbox::Inbox;
use self::inbox::Outlet;
pub(crate) use self::inbox::{Reading, Room, Sink};
pub use self::listen::StreamError;
use self::listen::{Bound, Listener};
use self::log::Log;
pub use self::registry::Registry;
use self::tls::ServerTls;
pub use self::tls::check_tls;
use crate::config;
use crate::health::{Health, Kind, Part, caught};
use crate::receive::Waker;

/// How often the TLS files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A look takes no longer.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// What a connection takes besides its messages: 17 KiB were measured with TLS, 11 KiB without.
const CONNECTION: usize = 16 << 10;

/// What connections may take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Of all exporters.
    pub connections: usize,
    /// From one address.
    pub connections_of_address: usize,
    /// Octets of messages that were read and wait for their worker.
    pub octets_waiting: usize,
    /// Octets of incomplete messages.
    pub octets_incomplete: usize,
    /// How long the rest of a message may be waited for.
    pub incomplete: Duration,
    /// How long a connection may bring no message.
    pub idle: Duration,
    /// A connection that brought no message for so long makes room for another.
    pub quiet: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a new connection waits for a place that is being left.
    pub patience: Duration,
    /// Messages a second of one exporter; beyond them its connections are not read.
    pub messages_per_second: Option<u32>,
}

impl Bounds {
    /// Fits them to so many octets of memory and to `NETFLOW_MAX_RATE_PER_EXPORTER`.
    #[must_use]
    pub fn for_memory(octets: usize, messages_per_second: Option<u32>) -> Self {
        let third = octets / 3;
        let connections = (third / CONNECTION).clamp(64, 4_096);
        Self {
            connections,
            connections_of_address: connections.min(1_024),
            octets_waiting: third,
            octets_incomplete: third,
            incomplete: Duration::from_secs(60),
            idle: Duration::from_secs(60 * 60),
            quiet: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            messages_per_second,
        }
    }
}

/// Bound ports; connections wait in them until they are accepted.
#[derive(Debug)]
pub struct Listeners {
    bound: Vec<Bound>,
    tls: Option<Arc<ServerTls>>,
}

impl Listeners {
    /// Binds every address, and reads the TLS files.
    ///
    /// # Errors
    /// [`StreamError`], with what to do about it.
    pub fn open(config: &config::Streams) -> Result<Self, StreamError> {
        let tls = config.tls_files.clone().map(ServerTls::new).transpose();
        let tls = tls.map_err(StreamError::Files)?;
        let tcp = config.tcp.iter().map(|address| (*address, Transport::Tcp));
        let over_tls = config.tls.iter().map(|address| (*address, Transport::Tls));
        let mut bound: Vec<Bound> = Vec::new();
        for (address, transport) in tcp.chain(over_tls) {
            bound.push(Bound::new(address, transport)?);
        }
        if !bound.is_empty() {
            listen::raise_descriptors();
        }
        Ok(Self {
            bound,
            tls: tls.map(Arc::new),
        })
    }

    /// Where they are bound, and for what; a port 0 has become a port.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<(SocketAddr, Transport)> {
        let bound = self.bound.iter();
        bound
            .map(|bound| (bound.address, bound.transport))
            .collect()
    }
}

/// What the workers' ends and the listeners share.
#[derive(Debug)]
pub struct Exchange {
    bounds: Bounds,
    registry: Arc<Registry>,
    counters: Arc<StreamCounters>,
    inboxes: Vec<Arc<Inbox>>,
}

impl Exchange {
    /// For so many workers.
    #[must_use]
    pub fn new(bounds: Bounds, workers: usize) -> Self {
        let counters = Arc::<StreamCounters>::default();
        Self {
            registry: Registry::new(bounds.clone(), Arc::clone(&counters)),
            bounds,
            counters,
            inboxes: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    /// What all connections count.
    #[must_use]
    pub fn counters(&self) -> Arc<StreamCounters> {
        Arc::clone(&self.counters)
    }

    /// The end of a worker, if there is one with this index.
    pub(crate) fn reading(&self, worker: usize, room: Room) -> Option<Reading> {
        let inbox = Arc::clone(self.inboxes.get(worker)?);
        let (counters, registry) = (self.counters(), Arc::clone(&self.registry));
        Some(Reading::new(inbox, room, counters, registry))
    }
}

/// Which worker an exporter belongs to.
type WorkerOf = Arc<dyn Fn(IpAddr) -> usize + Send + Sync>;

/// The listeners at work. Dropped, they accept no more.
#[derive(Debug)]
pub struct Streams {
    stop: watch::Sender<Option<Instant>>,
    accepting: Vec<JoinHandle<()>>,
    watching: Option<JoinHandle<()>>,
    registry: Arc<Registry>,
    tls: Option<Arc<ServerTls>>,
}

impl Streams {
    /// Accepts connections. `wakers` are those of the workers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime doesn't take a socket.
    pub fn start(
        listeners: Listeners,
        exchange: &Exchange,
        wakers: &[Waker],
        worker_of: impl Fn(IpAddr) -> usize + Send + Sync + 'static,
        allows: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
        health: &Health,
    ) -> Result<Self, StreamError> {
        let (stop, stopped) = watch::channel(None);
        let inboxes = exchange.inboxes.iter().cloned().zip(wakers.iter().cloned());
        let outlets: Arc<[Outlet]> = inboxes
            .map(|(inbox, waker)| Outlet { inbox, waker })
            .collect();
        let worker_of: WorkerOf = Arc::new(worker_of);
        let allows: Arc<dyn Fn(IpAddr) -> bool + Send + Sync> = Arc::new(allows);
        let shared = Arc::new(connection::Shared::new(
            exchange.bounds.clone(),
            Arc::clone(&exchange.registry),
            exchange.counters(),
        ));
        let log = Arc::new(Log::default());
        let mut accepting = Vec::new();
        for (index, bound) in listeners.bound.into_iter().enumerate() {
            let (address, transport) = (bound.address, bound.transport);
            let part = Part::numbered(Kind::Connections, index);
            health.add(&part);
            let listener = Listener {
                socket: bound.into_tokio()?,
                transport,
                tls: listeners
                    .tls
                    .clone()
                    .filter(|_| transport == Transport::Tls),
                shared: Arc::clone(&shared),
                outlets: Arc::clone(&outlets),
                worker_of: Arc::clone(&worker_of),
                allows: Arc::clone(&allows),
                log: Arc::clone(&log),
                stop: stopped.clone(),
            };
            info!(%address, transport = transport.as_str(), "listening for IPFIX connections");
            accepting.push(tokio::spawn(async move {
                while caught(listener.accept(&part)).await.is_err() {
                    part.restart().await;
                }
            }));
        }
        let watching = listeners.tls.clone().map(|tls| {
            let part = health.part(Kind::Certificates);
            tokio::spawn(async move {
                while caught(watch_files(&tls, &part)).await.is_err() {
                    part.restart().await;
                }
            })
        });
        Ok(Self {
            stop,
            accepting,
            watching,
            registry: Arc::clone(&exchange.registry),
            tls: listeners.tls,
        })
    }

    /// Looks at the TLS files now.
    pub fn reload_files(&self) {
        if let Some(tls) = self.tls.clone() {
            tokio::task::spawn_blocking(move || tls.look());
        }
    }

    /// Accepts no more, reads what had been sent, and waits until the workers have read it, but not beyond `until`.
    pub async fn stop(mut self, until: Instant) {
        self.stop.send_replace(Some(until));
        let accepting = std::mem::take(&mut self.accepting);
        let aborts: Vec<_> = accepting.iter().map(JoinHandle::abort_handle).collect();
        let ended = async {
            for task in accepting {
                // One that was aborted accepts no more, either.
                let _ = task.await;
            }
            self.registry.all_closed().await;
        };
        let _ = tokio::time::timeout_at(until.into(), ended).await;
        aborts.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for task in self.accepting.iter().chain(&self.watching) {
            task.abort();
        }
    }
}

async fn watch_files(tls: &Arc<ServerTls>, part: &Part) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        part.works(LONGEST_LOOK);
        ticks.tick().await;
        let tls = Arc::clone(tls);
        // A look that panics is tried again.
        let _ = tokio::task::spawn_blocking(move || tls.look()).await;
    }
}
