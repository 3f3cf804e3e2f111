//! The admin server: metrics, health and state over HTTP/1.1. It only ever reads: GET and HEAD, no bodies, a bounded
//! number of connections, and times after which a slow one is closed.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::{self, Watched};
use super::live::{self, Lease};

/// Connections at once; the next one is accepted when one of them has ended.
pub const MAX_CONNECTIONS: usize = 64;
/// From the connection, or the last answer, to the end of a request's head.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Octets of a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// A connection is closed after this, whatever it does: nobody keeps one by reading slowly. Only the live events of
/// the page prolong it, as long as somebody takes them.
const LIFETIME: Duration = Duration::from_secs(60);
/// For answers that are under way when their connection is to end.
const GRACE: Duration = Duration::from_secs(2);
/// After a failed accept, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        let bind = || {
            let listener = StdListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().map_err(|source| AdminError::new(address, source))
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
    pub fn serve(self, watched: Watched) -> Result<AdminServer, AdminError> {
        let address = self.address;
        let listener = TcpListener::from_std(self.listener)
            .map_err(|source| AdminError::new(address, source))?;
        let guard = Guard {
            loopback: address.ip().is_loopback(),
        };
        let watched = Arc::new(watched);
        let router =
            api::router(Arc::clone(&watched)).layer(middleware::from_fn_with_state(guard, guarded));
        let (stop, stopped) = watch::channel(());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = accept(listener, router, stopped) => {}
                () = live::keep_looking(watched) => {}
            }
        });
        Ok(AdminServer {
            address,
            _stop: stop,
            task,
        })
    }
}

/// The running server. Dropping it closes the port; answers that are under way get two seconds.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    /// Its end is the signal.
    _stop: watch::Sender<()>,
    task: JoinHandle<()>,
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
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, router: axum::Router, stopped: watch::Receiver<()>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), stopped.clone(), permit);
                tokio::spawn(connection);
            }
            Err(error) => {
                tracing::debug!(%error, "a connection of the admin server could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: axum::Router,
    mut stopped: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
) {
    let lease = Lease::new(LIFETIME);
    let router = router.layer(Extension(lease.clone()));
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
            _ = stopped.changed() => break,
        }
    }
    served.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, served).await;
}

/// What every request has to pass.
#[derive(Clone, Copy, Debug)]
struct Guard {
    /// Only this machine can reach the port.
    loopback: bool,
}

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

impl Guard {
    fn refusal(self, request: &Request) -> Option<Response> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let allow = [(header::ALLOW, "GET, HEAD")];
            let text = "this server only shows things: GET and HEAD\n";
            return Some((StatusCode::METHOD_NOT_ALLOWED, allow, text).into_response());
        }
        let headers = request.headers();
        if has_body(headers) {
            let close = [(header::CONNECTION, "close")];
            let text = "requests have no body here\n";
            return Some((StatusCode::PAYLOAD_TOO_LARGE, close, text).into_response());
        }
        if self.loopback && !names_this_machine(headers, request.version()) {
            let text = "this server is for this machine alone: ask for it by localhost or by its \
                        IP address\n";
            return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
        }
        None
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// A page of any site can send a browser to a name that it lets point to 127.0.0.1. Such a request names that
/// site as its host, so a port of this machine alone takes no names but its own.
fn names_this_machine(headers: &HeaderMap, version: Version) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return version < Version::HTTP_11;
    };
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<http::uri::Authority>().ok())
    else {
        return false;
    };
    let host = authority.host().to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_names() {
        for (host, is_ours) in [
            ("localhost:9464", true),
            ("127.0.0.1:9464", true),
            ("[::1]:9464", true),
            ("app.localhost", true),
            ("LOCALHOST", true),
            ("evil.example:9464", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            assert_eq!(
                names_this_machine(&headers, Version::HTTP_11),
                is_ours,
                "{host}"
            );
        }
        assert!(!names_this_machine(&HeaderMap::new(), Version::HTTP_11));
        assert!(names_this_machine(&HeaderMap::new(), Version::HTTP_10));
    }

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
