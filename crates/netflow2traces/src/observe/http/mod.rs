//! The admin server: metrics, health and state over HTTP/1.1. It only ever reads: GET and HEAD, no bodies, a bounded
//! number of connections, and times after which a slow one is closed. Probes have room beside all other clients
//! (`connections`).

mod connections;
mod guard;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header;
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use self::connections::{Answering, Connection, Connections};
pub use self::guard::AllowedHosts;
use super::api::{self, Watched};
use super::live::{self, Lease};
use crate::health::{Kind, Part, caught};

/// Connections that wait in the kernel while the server is busy with others.
const BACKLOG: i32 = 1024;
/// From the connection, or the last answer, to the end of a request's head.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Octets of a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// A connection is closed after this, whatever it does: a client can't keep one by reading slowly. Only the live events of
/// the page prolong it, as long as they are read.
const LIFETIME: Duration = Duration::from_secs(60);
/// For answers that are under way when their connection is to end.
const GRACE: Duration = Duration::from_secs(2);
/// After a failed accept, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "can't serve metrics and health on {address}: another program, maybe another \
         netflow2traces, already uses TCP port {}; `ss -ltnp 'sport = :{}'` shows which; choose \
         another port with --admin-port (NETFLOW_ADMIN_PORT), or 0 to turn it off",
        .address.port(), .address.port()
    )]
    InUse { address: SocketAddr },
    #[error(
        "can't serve metrics and health on {address}: no interface of this machine has the \
         address {}; set NETFLOW_ADMIN_HOST to 127.0.0.1, or to 0.0.0.0 for all addresses",
        .address.ip()
    )]
    NotOurs { address: SocketAddr },
    #[error(
        "can't serve metrics and health on {address}: {source}; choose another address with \
         NETFLOW_ADMIN_HOST and NETFLOW_ADMIN_PORT, or port 0 to turn it off"
    )]
    Other {
        address: SocketAddr,
        source: io::Error,
    },
}

impl AdminError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { address },
            _ => Self::Other { address, source },
        }
    }
}

/// A bound port; connections wait in it until it is served.
#[derive(Debug)]
pub struct AdminListener {
    listener: StdListener,
    address: SocketAddr,
}

impl AdminListener {
    /// Binds the address.
    ///
    /// # Errors
    /// [`AdminError`], with what to do about it.
    pub fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let bind = |address: SocketAddr| {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            // Where it is refused, a restart may have to wait for old connections to end.
            let _ = socket.set_reuse_address(true);
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            let listener: StdListener = socket.into();
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        let bound = bind(address).or_else(|error: io::Error| {
            let no_ipv6 = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
            if !no_ipv6 || !address.ip().is_unspecified() {
                return Err(error);
            }
            warn!(%address, "this system has no IPv6: the admin server listens on 0.0.0.0 instead");
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        });
        bound.map_err(|source| AdminError::new(address, source))
    }

    /// Where it is bound; a port 0 has become a port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what is watched, until the server is dropped. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime doesn't take the socket.
    pub fn serve(self, watched: Watched, hosts: AllowedHosts) -> Result<AdminServer, AdminError> {
        let address = self.address;
        let listener = TcpListener::from_std(self.listener)
            .map_err(|source| AdminError::new(address, source))?;
        let watched = Arc::new(watched);
        let router = api::router(Arc::clone(&watched))
            .layer(middleware::from_fn(admitted))
            .layer(middleware::from_fn_with_state(
                Arc::new(hosts),
                guard::guarded,
            ));
        let (stop, stopped) = watch::channel(());
        let health = Arc::clone(&watched.stages.health);
        let (admin, page) = (health.part(Kind::Admin), health.part(Kind::Page));
        let accepting = tokio::spawn(async move {
            while caught(accept(&listener, &router, &stopped, &admin))
                .await
                .is_err()
            {
                admin.restart().await;
            }
        });
        let looking = tokio::spawn(async move {
            while caught(live::keep_looking(&watched, &page)).await.is_err() {
                page.restart().await;
            }
        });
        Ok(AdminServer {
            address,
            _stop: stop,
            tasks: [accepting, looking],
        })
    }
}

/// The running server. Dropping it closes the port; answers that are under way get two seconds.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    /// Its end is the signal.
    _stop: watch::Sender<()>,
    tasks: [JoinHandle<()>; 2],
}

impl AdminServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn accept(
    listener: &TcpListener,
    router: &axum::Router,
    stopped: &watch::Receiver<()>,
    part: &Part,
) {
    let connections = Connections::new();
    while let Some(place) = connections.place().await {
        part.rests();
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connections.enter(place);
                tokio::spawn(serve(stream, router.clone(), stopped.clone(), connection));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection of the admin server could not be accepted");
                // One descriptor more, if it is for want of them.
                connections.close_quietest(|_| true);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    router: axum::Router,
    mut stopped: watch::Receiver<()>,
    connection: Arc<Connection>,
) {
    let lease = Lease::new(LIFETIME);
    let router = router
        .layer(Extension(lease.clone()))
        .layer(Extension(Arc::clone(&connection)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    while Instant::now() < lease.end() {
        tokio::select! {
            // How a client's connection ends is the client's affair.
            _ = &mut served => return,
            () = tokio::time::sleep_until(lease.end()) => {}
            () = connection.asked_to_close() => break,
            _ = stopped.changed() => break,
        }
    }
    served.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, served).await;
}

/// The body of an answer; while it is there, its connection is not quiet.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lets a request in if its connection has, or gets, a place among the clients. Probes need none.
async fn admitted(
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
    next: Next,
) -> Response {
    let answering = connection.answering();
    let response = if is_probe(&request) || connection.become_client().await.is_ok() {
        next.run(request).await
    } else {
        let wait = [(header::RETRY_AFTER, "1"), (header::CONNECTION, "close")];
        let text = "too many clients are being served: try again in a second\n";
        (StatusCode::SERVICE_UNAVAILABLE, wait, text).into_response()
    };
    response.map(|body| {
        Body::new(Answer {
            body,
            _answering: answering,
        })
    })
}

/// Whether something asks only how the daemon is.
fn is_probe(request: &Request) -> bool {
    matches!(request.uri().path(), "/livez" | "/readyz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_the_setting() {
        let first = AdminListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let error = AdminListener::bind(first.address()).unwrap_err();
        let sentence = error.to_string();
        assert!(matches!(error, AdminError::InUse { .. }), "{sentence}");
        assert!(sentence.contains("NETFLOW_ADMIN_PORT"), "{sentence}");
        assert!(!sentence.contains("  "), "{sentence}");
    }
}
