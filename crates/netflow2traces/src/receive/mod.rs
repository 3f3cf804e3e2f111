//! Stage 1: UDP sockets in, [`Datagram`]s out, on one thread per worker. A source address always
//! meets the same worker; a datagram is whole or it is counted as dropped.
//!
//! [`Receivers::open`] binds, [`Receivers::start`] runs a [`Handler`] on each worker, and
//! [`Running::stop_and_join`] gives the handlers back after what had arrived was handled.

#[cfg(target_os = "linux")]
mod burst;
mod counters;
#[cfg(target_os = "linux")]
mod drops;
mod error;
#[cfg(target_os = "linux")]
mod families;
#[cfg(target_os = "linux")]
mod inherited;
mod opening;
#[cfg(target_os = "linux")]
mod pace;
mod portable;
mod socket;
#[cfg(target_os = "linux")]
mod steering;
mod stop;
#[cfg(target_os = "linux")]
mod sys;
mod wake;
#[cfg(target_os = "linux")]
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use otlp_wire::UnixNanos;
use socket2::Socket;

pub use self::counters::WorkerCounters;
pub use self::error::BindError;
#[cfg(target_os = "linux")]
pub use self::inherited::{Inherited, Kept, Unusable};
pub use self::opening::Opening;
use self::socket::BoundSocket;
pub use self::socket::{ReceiveBuffer, Steering};
#[cfg(target_os = "linux")]
pub use self::steering::SteeringProgram;
pub use self::stop::Stopper;
pub use self::wake::Waker;
use crate::config;
use crate::translate::Datagram;

/// The worker that `source` (not an IPv4-mapped address) belongs to, of so many.
#[must_use]
pub fn worker_of(source: IpAddr, workers: usize) -> usize {
    #[cfg(target_os = "linux")]
    if workers > 1 {
        return steering::worker_of(source, workers);
    }
    let _ = (source, workers);
    0
}

/// What a worker does with its datagrams. It is called by that worker's thread alone.
pub trait Handler {
    /// The datagrams that follow came to the socket at this address.
    fn on_socket(&mut self, address: SocketAddr) {
        let _ = address;
    }

    /// Takes one datagram.
    fn on_datagram(&mut self, datagram: &Datagram<'_>);

    /// The burst is over: batches may be handed over. Also called once at the end.
    fn on_burst_end(&mut self);

    /// When it wants to be called although nothing arrives.
    fn next_deadline(&self) -> Option<Instant>;

    /// The deadline has passed. [`next_deadline`](Self::next_deadline) is to be later afterwards.
    fn on_deadline(&mut self, now: Instant);

    /// Its [`Waker`] was used.
    fn on_wake(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Bound sockets. Datagrams queue in them from here on, up to their buffers' size.
pub struct Receivers {
    workers: Vec<Vec<BoundSocket>>,
    portable: bool,
    local_addresses: Vec<SocketAddr>,
    steering: Steering,
    receive_buffer: ReceiveBuffer,
    counters: Arc<[WorkerCounters]>,
}

impl Receivers {
    /// Binds every address for each worker.
    ///
    /// # Errors
    /// When an address can't be bound, among others because anyone else has its port.
    pub fn open(config: &config::Receive) -> Result<Self, BindError> {
        Opening::new(config).open()
    }

    /// Workers without sockets, for datagrams that come another way.
    #[must_use]
    pub fn without_sockets(workers: usize) -> Self {
        let portable = cfg!(not(target_os = "linux"));
        let workers = if portable { 1 } else { workers.max(1) };
        Self {
            workers: (0..workers).map(|_| Vec::new()).collect(),
            portable,
            local_addresses: Vec::new(),
            steering: Steering::OneWorker,
            receive_buffer: ReceiveBuffer {
                requested: 0,
                granted: 0,
            },
            counters: (0..workers).map(|_| WorkerCounters::default()).collect(),
        }
    }

    /// Where the sockets are bound, in the order of the configuration, without what a wildcard
    /// address on the same port serves too; a port 0 has become a port.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.local_addresses
    }

    /// How many workers there are: fewer than configured where the kernel can't choose among them.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The worker that datagrams of `source` (not an IPv4-mapped address) come to, if the kernel steers by
    /// source address.
    #[must_use]
    pub fn worker_of(&self, source: IpAddr) -> usize {
        worker_of(source, self.workers())
    }

    /// Who chooses the worker for a datagram.
    #[must_use]
    pub fn steering(&self) -> &Steering {
        &self.steering
    }

    /// How the receive buffers came out.
    #[must_use]
    pub fn receive_buffer(&self) -> ReceiveBuffer {
        self.receive_buffer
    }

    /// The counters, one for each worker.
    #[must_use]
    pub fn counters(&self) -> Arc<[WorkerCounters]> {
        Arc::clone(&self.counters)
    }

    /// The sockets that were made here, each with a distinct name: what a service manager
    /// may keep while the daemon restarts.
    #[cfg(target_os = "linux")]
    pub fn made(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let workers = self.workers.iter().enumerate();
        let sockets = workers.flat_map(|(worker, sockets)| {
            let sockets = sockets.iter();
            sockets.map(move |bound| (worker, bound))
        });
        sockets
            .filter(|(_, bound)| !bound.is_kept)
            .map(|(worker, bound)| {
                let name = inherited::stored_name(worker, bound.address);
                (name, bound.socket.as_fd())
            })
    }

    /// Logs where the sockets listen, and warns of what didn't come out as configured.
    pub fn announce(&self) {
        for address in &self.local_addresses {
            tracing::info!(%address, workers = self.workers(), "listening for flow records");
        }
        if self.receive_buffer.is_short() {
            tracing::warn!(
                requested_bytes = self.receive_buffer.requested,
                granted_bytes = self.receive_buffer.granted,
                sysctl = ReceiveBuffer::SYSCTL,
                "the system gave a smaller receive buffer than NETFLOW_RECEIVE_BUFFER requests: bursts \
                 may be dropped; raise the sysctl to requested_bytes"
            );
        }
        #[cfg(target_os = "linux")]
        if self.local_addresses.iter().all(SocketAddr::is_ipv4)
            && self
                .local_addresses
                .iter()
                .any(|address| !address.ip().is_loopback())
            && families::only_ipv6()
        {
            tracing::warn!(
                "this host has only IPv6 addresses, and the daemon listens on IPv4 alone: exporters can't reach it; set \
                 NETFLOW_LISTEN_HOST=::, and NETFLOW_ADMIN_HOST=:: for probes from other hosts"
            );
        }
        if let Steering::Refused(error) = &self.steering {
            tracing::warn!(
                %error,
                "the kernel refused to choose workers by source address: one worker receives all"
            );
        }
    }

    /// Starts a thread named `receive-N` for each worker, with the handler that `handler` makes for
    /// its index.
    ///
    /// # Errors
    /// When the system gives no thread; then none is left running.
    pub fn start<H, F>(self, mut handler: F) -> io::Result<Running<H>>
    where
        H: Handler + Send + 'static,
        F: FnMut(usize) -> H,
    {
        let stopper = Stopper::new()?;
        let wakers = self.workers.iter().map(|_| Waker::new());
        let wakers = wakers.collect::<io::Result<Vec<_>>>()?;
        let (ends, ended) = mpsc::channel();
        let mut running = Running {
            threads: Vec::new(),
            ended,
            stopper,
            wakers,
            counters: Arc::clone(&self.counters),
        };
        for (index, sockets) in self.workers.into_iter().enumerate() {
            let handler = handler(index);
            let counters = Arc::clone(&self.counters);
            let signals = (running.stopper.clone(), running.wakers[index].clone());
            let run = run_on(self.portable, index, sockets, counters, signals, handler);
            let end = End {
                worker: index,
                ended: None,
                ends: ends.clone(),
            };
            let run = move || {
                let mut end = end;
                end.ended = Some(run());
            };
            match Builder::new().name(format!("receive-{index}")).spawn(run) {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    running.stop_and_join();
                    return Err(error);
                }
            }
        }
        Ok(running)
    }
}

/// What a worker's thread gives back: its handler, and its sockets for closing.
type Ended<H> = (H, Vec<Socket>);

/// Gives it back when the thread ends; nothing if it panicked.
struct End<H> {
    worker: usize,
    ended: Option<Ended<H>>,
    ends: Sender<(usize, Option<Ended<H>>)>,
}

impl<H> Drop for End<H> {
    fn drop(&mut self) {
        // Nobody waits any more for one that took too long.
        let _ = self.ends.send((self.worker, self.ended.take()));
    }
}

fn run_on<H: Handler>(
    portable: bool,
    index: usize,
    sockets: Vec<BoundSocket>,
    counters: Arc<[WorkerCounters]>,
    (stopper, waker): (Stopper, Waker),
    handler: H,
) -> impl FnOnce() -> Ended<H> {
    move || {
        #[cfg(target_os = "linux")]
        if !portable {
            return worker::Worker::new(index, sockets, counters, stopper, waker).run(handler);
        }
        debug_assert!(
            portable && index == 0,
            "the portable receiver has one worker"
        );
        portable::PortableWorker::new(sockets, counters, stopper, waker).run(handler)
    }
}

/// Workers at work. Dropping it stops them without waiting.
pub struct Running<H> {
    threads: Vec<JoinHandle<()>>,
    ended: Receiver<(usize, Option<Ended<H>>)>,
    stopper: Stopper,
    wakers: Vec<Waker>,
    counters: Arc<[WorkerCounters]>,
}

impl<H> Running<H> {
    /// What wakes each worker, in their order.
    #[must_use]
    pub fn wakers(&self) -> &[Waker] {
        &self.wakers
    }

    /// A handle that stops the workers from anywhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The counters, one for each worker.
    #[must_use]
    pub fn counters(&self) -> Arc<[WorkerCounters]> {
        Arc::clone(&self.counters)
    }

    /// Whether a worker has ended, which none does by itself: its handler panicked, and its
    /// exporters' datagrams are lost.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.stopper.stopped_at().is_none() && self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Lets the workers handle what their sockets hold at this moment, closes the sockets, and gives
    /// the handlers back in the order of their workers, without any that panicked.
    pub fn stop_and_join(self) -> Vec<H> {
        self.stop_by(None).handlers
    }

    /// As [`Running::stop_and_join`], but doesn't wait beyond `deadline` for workers that are busy.
    pub fn stop_by(self, deadline: Option<Instant>) -> Stopped<H> {
        self.stopper.stop();
        let mut busy: BTreeSet<usize> = (0..self.threads.len()).collect();
        let mut ended = BTreeMap::new();
        while !busy.is_empty() {
            let next = match deadline {
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.ended.recv_timeout(left).ok()
                }
                None => self.ended.recv().ok(),
            };
            let Some((worker, handler)) = next else { break };
            busy.remove(&worker);
            match handler {
                Some((handler, _sockets)) => {
                    ended.insert(worker, handler);
                }
                None => tracing::error!(worker, "a receive worker panicked"),
            }
        }
        for worker in &busy {
            tracing::error!(
                worker,
                "a receive worker is still busy: the stop doesn't wait for it, and its data is lost"
            );
        }
        Stopped {
            handlers: ended.into_values().collect(),
            busy: busy.len(),
        }
    }
}

/// What a stop gave back.
#[derive(Debug)]
pub struct Stopped<H> {
    /// In the order of their workers.
    pub handlers: Vec<H>,
    /// Workers that had not ended in time.
    pub busy: usize,
}

impl<H> Drop for Running<H> {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}

/// Shows an IPv4-mapped IPv6 address as the IPv4 address that it is.
fn canonical(source: SocketAddr) -> SocketAddr {
    match source {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(address) => SocketAddr::from((address, v6.port())),
            None => source,
        },
        SocketAddr::V4(_) => source,
    }
}

/// The system's clock: nanoseconds since 1970; 0 before that.
#[must_use]
pub fn wall_clock() -> UnixNanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    match (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec)) {
        (Ok(seconds), Ok(nanos)) => {
            UnixNanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
        }
        _ => UnixNanos(0),
    }
}
