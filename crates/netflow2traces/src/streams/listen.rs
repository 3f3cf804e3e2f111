//! Ports that accept connections, and what happens to each of these from its beginning to its end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use netflow_wire::Transport;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::WorkerOf;
use super::connection::{Connection, End, Shared, Stop};
use super::counters::Reason;
use super::inbox::Outlet;
use super::log::Log;
use super::registry::Place;
use super::tls::{ServerTls, explain};
use crate::health::{Part, caught};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1_024;
/// Connections that have been accepted and have no place yet.
const MAX_ENTERING: usize = 64;
const MAX_ENTERING_PERMITS: u32 = MAX_ENTERING as u32;
/// The kernel's buffer of each connection.
const RECEIVE_BUFFER: usize = 128 << 10;
/// Until a peer that is gone is noticed: five minutes.
const KEEPALIVE: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_RETRIES: u32 = 3;
/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// A port that can't be listened on, or files that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    #[error(
        "cannot listen on TCP {address}: another program already uses port {}; `ss -tlpn 'sport = :{}'` shows which, or \
         choose another port with {variable}",
        .address.port(), .address.port()
    )]
    InUse {
        address: SocketAddr,
        variable: &'static str,
    },
    #[error(
        "cannot listen on TCP {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or choose \
         a port from 1024 up with {variable}"
    )]
    NotPermitted {
        address: SocketAddr,
        variable: &'static str,
    },
    #[error(
        "cannot listen on TCP {address}: no interface of this machine has the address {}; NETFLOW_LISTEN_HOST=0.0.0.0 \
         listens on all of them",
        .address.ip()
    )]
    NotOurs { address: SocketAddr },
    #[error("cannot listen on TCP {address}: {source}; choose another port with {variable}")]
    System {
        address: SocketAddr,
        variable: &'static str,
        source: io::Error,
    },
    /// `VARIABLE=FILE: what is wrong`.
    #[error("{0}")]
    Files(String),
}

impl StreamError {
    fn new(address: SocketAddr, transport: Transport, source: io::Error) -> Self {
        let variable = match transport {
            Transport::Tls => "NETFLOW_LISTEN_TLS_PORT",
            _ => "NETFLOW_LISTEN_TCP_PORT",
        };
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, variable },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address, variable },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { address },
            _ => Self::System {
                address,
                variable,
                source,
            },
        }
    }
}

/// A port that is bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    listener: StdListener,
}

impl Bound {
    pub(super) fn new(address: SocketAddr, transport: Transport) -> Result<Self, StreamError> {
        let bind = |address: SocketAddr| {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            // Where these are refused, a restart may have to wait, or bursts be slower.
            let _ = socket.set_reuse_address(true);
            let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            let listener: StdListener = socket.into();
            let address = listener.local_addr()?;
            Ok(Self {
                address,
                transport,
                listener,
            })
        };
        let bound = bind(address).or_else(|error: io::Error| {
            let no_ipv6 = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
            if !no_ipv6 || !address.ip().is_unspecified() {
                return Err(error);
            }
            warn!(%address, "this system has no IPv6: listening for connections on 0.0.0.0 instead");
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        });
        bound.map_err(|source| StreamError::new(address, transport, source))
    }

    pub(super) fn into_tokio(self) -> Result<TcpListener, StreamError> {
        let (address, transport) = (self.address, self.transport);
        TcpListener::from_std(self.listener)
            .map_err(|source| StreamError::new(address, transport, source))
    }
}

/// Lets the process open as many descriptors as it may: each connection needs one.
pub(super) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        debug!(%error, "the limit of open files stays as it is");
    }
}

/// A port at work.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) transport: Transport,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) shared: Arc<Shared>,
    pub(super) outlets: Arc<[Outlet]>,
    pub(super) worker_of: WorkerOf,
    pub(super) allows: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    pub(super) log: Arc<Log>,
    pub(super) stop: Stop,
}

/// What a connection's task has.
struct Entering {
    peer: SocketAddr,
    local_port: u16,
    transport: Transport,
    tls: Option<Arc<ServerTls>>,
    shared: Arc<Shared>,
    outlet: Outlet,
    log: Arc<Log>,
    stop: Stop,
}

impl Listener {
    /// Accepts connections until the daemon stops, and those that have come by then.
    pub(super) async fn accept(&self, part: &Part) {
        let entering = Arc::new(Semaphore::new(MAX_ENTERING));
        let mut stop = self.stop.clone();
        loop {
            part.rests();
            // It is never closed.
            let Ok(place) = Arc::clone(&entering).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                biased;
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(Option::is_some) => {
                    drop(place);
                    break;
                }
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, canonical(peer), place),
                Err(error) => {
                    self.shared.counters.closed(Reason::Accept).add(1);
                    self.log.not_accepted(&error);
                    // One descriptor more, if it is for want of them.
                    self.shared.registry.close_quietest();
                    tokio::time::sleep(PAUSE).await;
                    if stop.borrow().is_some() {
                        break;
                    }
                }
            }
        }
        // Those that wait for a place have been sent something, too.
        let _ = entering.acquire_many(MAX_ENTERING_PERMITS).await;
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, entering: OwnedSemaphorePermit) {
        self.shared.counters.of(self.transport).accepted.add(1);
        let outlet = self.outlets.get((self.worker_of)(peer.ip()));
        let (Some(outlet), true) = (outlet, (self.allows)(peer.ip())) else {
            return self.refused(peer, Reason::NotAllowed);
        };
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        // Without it, a peer that is gone stays until the idle limit.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        // It has none only if it is closed already.
        let local_port = stream.local_addr().map_or(0, |address| address.port());
        let connection = Entering {
            peer,
            local_port,
            transport: self.transport,
            tls: self.tls.clone(),
            shared: Arc::clone(&self.shared),
            outlet: outlet.clone(),
            log: Arc::clone(&self.log),
            stop: self.stop.clone(),
        };
        tokio::spawn(connection.serve(stream, entering));
    }

    fn refused(&self, peer: SocketAddr, reason: Reason) {
        self.shared.counters.closed(reason).add(1);
        self.log.ended(peer, self.transport, 0, &reason.into());
    }
}

impl Entering {
    /// From the place to the end of the session, which the worker is told.
    async fn serve(mut self, stream: TcpStream, entering: OwnedSemaphorePermit) {
        let mut messages = 0;
        let end = match self.shared.registry.enter(self.peer, self.transport).await {
            Err(reason) => reason.into(),
            Ok(place) => {
                drop(entering);
                let reading = caught(self.read(stream, &place, &mut messages)).await;
                let end = reading.unwrap_or_else(|_| Reason::Failed.into());
                self.outlet.ended(place);
                end
            }
        };
        self.shared.counters.closed(end.reason).add(1);
        self.log.ended(self.peer, self.transport, messages, &end);
    }

    async fn read(&mut self, stream: TcpStream, place: &Place, messages: &mut u64) -> End {
        let Some(tls) = self.tls.take() else {
            return self.read_from(stream, place, messages).await;
        };
        let mut stop = self.stop.clone();
        let handshake = timeout(self.shared.bounds.handshake, tls.acceptor().accept(stream));
        let shaken = tokio::select! {
            biased;
            reason = place.asked_to_close() => return reason.into(),
            shaken = handshake => shaken,
            _ = stop.wait_for(Option::is_some) => return Reason::Stop.into(),
        };
        match shaken {
            Ok(Ok(stream)) => self.read_from(stream, place, messages).await,
            Ok(Err(error)) => End {
                reason: Reason::Handshake,
                detail: Some(explain(&error)),
            },
            Err(_) => Reason::Handshake.into(),
        }
    }

    async fn read_from<S>(&self, stream: S, place: &Place, messages: &mut u64) -> End
    where
        S: tokio::io::AsyncRead + Unpin,
    {
        self.log.opened(self.peer, self.transport);
        let (ends, transport) = ((self.peer, self.local_port), self.transport);
        let mut connection =
            Connection::new(stream, ends, transport, place, &self.outlet, &self.shared);
        let end = connection.read(&mut self.stop.clone()).await;
        *messages = connection.messages;
        end
    }
}

/// Shows an IPv4-mapped IPv6 address as the IPv4 address that it is.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
