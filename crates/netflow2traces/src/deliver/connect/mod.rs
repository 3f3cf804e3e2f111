//! Makes connections to one backend: look-up, TCP, proxy, TLS, HTTP. Each step has its own time limit and its own
//! sentence when it fails; an address that fails yields to the next.

mod book;
mod proxy;
mod race;
mod resolve;
#[cfg(test)]
mod swallowing;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::body::Frames;
use super::cork::CorkedStream;
use super::diagnose::{self, Configured};
use super::first_octets::{FirstOctets, NotingStream};
use super::outcome::Cause;
use super::sender::DeliverError;
use super::tls::Client;
use super::transport::Versions;
use crate::config::{Otlp, Proxy};
use book::Book;
use proxy::Refused;
use resolve::Resolver;

#[cfg(test)]
pub(super) use swallowing::Swallowing;

pub(super) use race::Why;
pub(super) use resolve::Unresolved;

/// A look-up may ask several name servers, one after the other.
const LOOK_UP: Duration = Duration::from_secs(8);
/// The kernel repeats a lost SYN after 1 s and 3 s.
const CONNECT: Duration = Duration::from_secs(5);
const PROXY: Duration = Duration::from_secs(5);
const TLS: Duration = Duration::from_secs(5);
/// A connection that takes the place of one that works must come soon.
const REPLACE: Duration = Duration::from_secs(2);
/// The kernel asks after the other end of an unused connection this often.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Octets of all header fields of an answer over HTTP/2.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Octets of a body that HTTP/2 takes at once, which copies none of them. More than most requests have: each
/// further piece would be a wake-up.
const SEND_BUFFER: usize = 8 << 20;

/// Makes connections to one backend and knows its addresses.
#[derive(Debug)]
pub(super) struct Connector {
    versions: Versions,
    /// Of the backend, or of the proxy before it.
    resolver: Resolver,
    book: Arc<Mutex<Book>>,
    /// Of the backend, with its port.
    target: Authority,
    /// With TLS: the name that the certificate must have.
    server_name: Option<ServerName<'static>>,
    proxy: Option<Proxy>,
    configured: Configured,
    /// No step takes longer than a request may.
    timeout: Duration,
}

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) requests: Requests,
    pub(super) lease: Lease,
    pub(super) first: FirstOctets,
    /// Why the connection ended, when it has.
    pub(super) ended: oneshot::Receiver<hyper::Error>,
}

/// The side of a connection that takes requests.
#[derive(Debug)]
pub(super) enum Requests {
    Http1(http1::SendRequest<Frames>),
    Http2(http2::SendRequest<Frames>),
}

/// Counts a connection to an address for as long as it lives.
#[derive(Debug)]
pub(super) struct Lease {
    book: Arc<Mutex<Book>>,
    pub(super) address: SocketAddr,
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.book).closed(self.address);
    }
}

/// Ends a move between addresses, whatever becomes of it.
struct Moving<'a>(&'a Mutex<Book>);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        lock(self.0).moved();
    }
}

/// What bytes go through.
trait Link: Read + Write + Send + Unpin {}
impl<T: Read + Write + Send + Unpin> Link for T {}

impl Connector {
    /// The endpoint has been checked: it has a host.
    ///
    /// # Errors
    /// [`DeliverError`], if the host can't be in a certificate.
    pub(super) fn new(otlp: &Otlp, versions: Versions) -> Result<Self, DeliverError> {
        let (host, port) = host_and_port(&otlp.endpoint);
        let zone = otlp.connections.zone.as_deref();
        let zone = zone.map_or_else(String::new, |zone| format!("%{zone}"));
        let resolver = match &otlp.connections.proxy {
            Some(proxy) => {
                let (host, port) = host_and_port(&proxy.uri);
                Resolver::new(host, port)
            }
            None => Resolver::new(&format!("{host}{zone}"), port),
        };
        Self::with(otlp, versions, resolver)
    }

    fn with(otlp: &Otlp, versions: Versions, resolver: Resolver) -> Result<Self, DeliverError> {
        let (host, port) = host_and_port(&otlp.endpoint);
        let tls = otlp.endpoint.scheme() == Some(&Scheme::HTTPS);
        let bracketed = otlp.endpoint.host().unwrap_or_default();
        let target = format!("{bracketed}:{port}").parse();
        let server_name = if tls {
            let name = ServerName::try_from(host.to_owned());
            let name = name.map_err(|_| DeliverError::Host {
                host: host.to_owned(),
            })?;
            Some(name)
        } else {
            None
        };
        Ok(Self {
            versions,
            resolver,
            book: Arc::new(Mutex::new(Book::new(rand::random::<u32>() as usize))),
            // A host with a port is an authority.
            target: target.unwrap_or_else(|_| Authority::from_static("localhost")),
            server_name,
            proxy: otlp.connections.proxy.clone(),
            configured: Configured {
                versions,
                tls,
                authority: otlp.tls.certificate.is_some(),
                client_certificate: otlp.tls.client_certificate.is_some(),
                proxy: otlp.connections.proxy.is_some(),
            },
            timeout: otlp.timeout,
        })
    }

    pub(super) const fn configured(&self) -> Configured {
        self.configured
    }

    /// The proxy that requests name their whole address to: a tunnel would be refused by many for plain HTTP.
    pub(super) fn forwarding_proxy(&self) -> Option<&Proxy> {
        let plain_http = !self.configured.tls && self.versions == Versions::Any;
        self.proxy.as_ref().filter(|_| plain_http)
    }

    /// A new connection to the least used address that works.
    ///
    /// # Errors
    /// The cause, with the step that failed.
    pub(super) async fn connect(&self, tls: &Client) -> Result<Opened, Cause> {
        let limit = LOOK_UP.min(self.timeout);
        let addresses = self.resolver.addresses(limit).await;
        let (addresses, stale) = addresses
            .map_err(|why| diagnose::unresolved(self.resolver.host(), &why, self.configured))?;
        let order = {
            let mut book = lock(&self.book);
            book.learn(&addresses);
            book.order(now())
        };
        let connected = self.connect_to(order, tls).await;
        connected.map_err(|cause| match &stale {
            Some(why) => {
                let host = self.resolver.host();
                diagnose::outdated(host, why, &cause, self.configured)
            }
            None => cause,
        })
    }

    /// A connection in place of one that works: nothing is waited for that the other one makes needless.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub(super) async fn replace(&self, tls: &Client) -> Result<Opened, Cause> {
        let order = {
            let mut book = lock(&self.book);
            book.learn(&self.resolver.known());
            book.order(now())
        };
        self.within(order, tls).await
    }

    /// A connection to an address that has too few, in place of one to `from` that works. `None`: all is well, or
    /// another connection moves.
    pub(super) async fn rebalance(&self, from: SocketAddr, tls: &Client) -> Option<Opened> {
        self.resolver.refresh();
        let target = {
            let mut book = lock(&self.book);
            book.learn(&self.resolver.known());
            book.begin_move(from, now())?
        };
        let _moving = Moving(&self.book);
        self.within(vec![target], tls).await.ok()
    }

    /// The request on a connection to this address failed in a way that is worth another attempt.
    pub(super) fn failed(&self, address: SocketAddr) {
        lock(&self.book).failed(address, now());
    }

    /// The backend at this address answered.
    pub(super) fn answered(&self, address: SocketAddr) {
        lock(&self.book).answered(address);
    }

    async fn within(&self, order: Vec<SocketAddr>, tls: &Client) -> Result<Opened, Cause> {
        let targets = order.clone();
        match timeout(REPLACE, self.connect_to(order, tls)).await {
            Ok(opened) => opened,
            Err(_) => {
                if let [target] = targets[..] {
                    self.failed(target);
                }
                Err(Cause::new(format!("no new connection within {REPLACE:?}")))
            }
        }
    }

    /// Connects to the first of the addresses that lets all steps succeed.
    async fn connect_to(&self, mut order: Vec<SocketAddr>, tls: &Client) -> Result<Opened, Cause> {
        let limit = CONNECT.min(self.timeout);
        let end = Instant::now() + limit + TLS.min(self.timeout);
        let mut first_failure = None;
        while !order.is_empty() && (first_failure.is_none() || Instant::now() < end) {
            let won = match race::connect(&order, limit).await {
                Ok(won) => won,
                Err(lost) => {
                    for (address, _) in &lost.tried {
                        self.failed(*address);
                    }
                    first_failure
                        .get_or_insert_with(|| diagnose::unreachable(&lost.tried, self.configured));
                    break;
                }
            };
            for &address in &won.passed_over {
                self.failed(address);
            }
            match self.dress(won.stream, won.address, tls).await {
                Ok(opened) => return Ok(opened),
                Err(cause) => {
                    self.failed(won.address);
                    first_failure.get_or_insert(cause);
                }
            }
            order.retain(|address| *address != won.address && !won.passed_over.contains(address));
        }
        Err(first_failure.unwrap_or_else(|| diagnose::unreachable(&[], self.configured)))
    }

    /// From TCP to HTTP.
    async fn dress(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: &Client,
    ) -> Result<Opened, Cause> {
        let lease = self.lease(address);
        // A connection works without these too.
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let corked = CorkedStream::new(stream);
        let link: Box<dyn Link> = match &self.proxy {
            Some(proxy) if self.forwarding_proxy().is_none() => {
                Box::new(self.through(corked, proxy).await?)
            }
            _ => Box::new(corked),
        };
        let first = FirstOctets::default();
        let noting = NotingStream::new(link, first.clone());
        let (link, http2): (Box<dyn Link>, bool) = match &self.server_name {
            None => (Box::new(noting), self.versions == Versions::Http2),
            Some(name) => {
                let handshake = tls.connector().connect(name.clone(), TokioIo::new(noting));
                let limit = TLS.min(self.timeout);
                let stream = match timeout(limit, handshake).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        let asked = tls.was_asked();
                        return Err(diagnose::handshake(
                            &error,
                            first.spoken(),
                            asked,
                            self.configured,
                        ));
                    }
                    Err(_) => {
                        return Err(diagnose::handshake_silent(address, first.spoken(), limit));
                    }
                };
                let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let http2 = agreed || self.versions == Versions::Http2;
                (Box::new(TokioIo::new(stream)), http2)
            }
        };
        let broken =
            |error: hyper::Error| diagnose::broken(&error, first.spoken(), false, self.configured);
        let (end, ended) = oneshot::channel();
        let requests = if http2 {
            let (requests, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(MAX_HEADER_LIST)
                .max_send_buf_size(SEND_BUFFER)
                .handshake(link)
                .await
                .map_err(broken)?;
            tokio::spawn(until_its_end(connection, end));
            Requests::Http2(requests)
        } else {
            let (requests, connection) = http1::handshake(link).await.map_err(broken)?;
            tokio::spawn(until_its_end(connection, end));
            Requests::Http1(requests)
        };
        Ok(Opened {
            requests,
            lease,
            first,
            ended,
        })
    }

    async fn through(
        &self,
        stream: CorkedStream,
        proxy: &Proxy,
    ) -> Result<hyper::upgrade::Upgraded, Cause> {
        let limit = PROXY.min(self.timeout);
        let tunnel = proxy::tunnel(stream, proxy, &self.target);
        match timeout(limit, tunnel).await {
            Ok(Ok(upgraded)) => Ok(upgraded),
            Ok(Err(refused)) => {
                let status = match &refused {
                    Refused::Status(status) => Some(status.as_u16()),
                    Refused::Broken(_) => None,
                };
                let text = refused.text();
                Err(diagnose::proxy_refused(self.target.as_str(), status, &text))
            }
            Err(_) => Err(diagnose::proxy_silent(self.target.as_str(), limit)),
        }
    }

    /// With another way to look the name up.
    #[cfg(test)]
    pub(super) fn by(otlp: &Otlp, versions: Versions, look_up: resolve::LookUp) -> Self {
        let resolver = Resolver::with("backend.test", 0, look_up);
        Self::with(otlp, versions, resolver).expect("a host")
    }

    fn lease(&self, address: SocketAddr) -> Lease {
        lock(&self.book).opened(address);
        Lease {
            book: Arc::clone(&self.book),
            address,
        }
    }
}

/// Runs a connection. A backend that closes it before the first request says why to no request.
async fn until_its_end(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    end: oneshot::Sender<hyper::Error>,
) {
    if let Err(error) = connection.await {
        // The caller may be gone.
        let _ = end.send(error);
    }
}

/// An IPv6 address without its brackets; the port of the scheme if none is given.
fn host_and_port(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let default = if uri.scheme() == Some(&Scheme::HTTPS) {
        443
    } else {
        80
    };
    (bare, uri.port_u16().unwrap_or(default))
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// tokio's clock, which tests may stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
