//! An OTLP backend inside the process: spans in over gRPC and HTTP, traces out over Tempo's HTTP API.
//!
//! It stands in for Tempo where none is there. What it holds is bounded, and gone when it ends.

use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::serve::Listener as _;
use http::{HeaderMap, StatusCode, Version};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::listen::{BoundedConnection, BoundedListener};
use super::store::{StoreLimits, TraceStore};
use super::{ingest, tempo};

/// The port of Tempo's HTTP API.
pub const TEMPO_PORT: u16 = 3200;

/// How long connections get to finish their requests at the end.
const GRACE: Duration = Duration::from_secs(2);
/// Requests of one gRPC connection that are worked on at once.
const REQUESTS_PER_CONNECTION: u32 = 16;
/// Octets of a request that may wait to be read. All of a connection's fit into its own window, so that requests that wait
/// for their turn never stop those that are being read.
const REQUEST_WINDOW: u32 = 64 << 10;

/// Says whether a request of this version with these headers asks for a host that is the backend's.
#[derive(Clone)]
pub struct HostFilter(pub Arc<AllowsHost>);

/// See [`HostFilter`].
pub type AllowsHost = dyn Fn(&HeaderMap, Version) -> bool + Send + Sync;

impl fmt::Debug for HostFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFilter").finish_non_exhaustive()
    }
}

/// Where the backend listens and what it holds.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// Tempo's HTTP API.
    pub api: SocketAddr,
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// OTLP/HTTP.
    pub http: SocketAddr,
    /// Bounds of the store.
    pub limits: StoreLimits,
    /// Octets of a request's body, before and after decompression.
    pub max_body: usize,
    /// For requests to the API, so that no web site can read it through a visitor's browser; without one every host is
    /// the backend's.
    pub hosts: Option<HostFilter>,
}

impl Default for BackendOptions {
    /// The API at 127.0.0.1:3200, OTLP at ports that are free, bodies of at most 16 MiB.
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, TEMPO_PORT)),
            grpc: any_port,
            http: any_port,
            limits: StoreLimits::default(),
            max_body: 16 << 20,
            hosts: None,
        }
    }
}

/// Why the backend can't start.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Another program listens where the API should.
    #[error(
        "the demo can't show traces on {address}: another program already uses TCP port {}, maybe \
         {}another demo; `ss -ltnp 'sport = :{}'` shows which, or choose another port with --http-port",
        .address.port(),
        if .address.port() == TEMPO_PORT { "Tempo, whose port it is, or " } else { "" },
        .address.port()
    )]
    ApiInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Any other failure to listen.
    #[error("can't listen on {address} for {what}: {source}")]
    Listen {
        /// What would be served there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A running backend. Dropped, it ends at once; [`shutdown`](Self::shutdown) lets requests finish.
#[derive(Debug)]
pub struct Backend {
    /// Where Tempo's API is served.
    pub api_address: SocketAddr,
    /// Where OTLP/gRPC is accepted: `http://` and this is an endpoint for `grpc`.
    pub grpc_address: SocketAddr,
    /// Where OTLP/HTTP is accepted: `http://` and this is an endpoint for `http/protobuf`.
    pub http_address: SocketAddr,
    /// What came.
    pub store: TraceStore,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Backend {
    /// Binds all three addresses and serves them.
    ///
    /// # Errors
    /// [`BackendError`]: an address can't be listened on. Nothing is served then.
    pub async fn start(options: BackendOptions) -> Result<Self, BackendError> {
        let api = listen("the trace API", options.api)
            .await
            .map_err(|error| match error {
                BackendError::Listen {
                    address, source, ..
                } if source.kind() == std::io::ErrorKind::AddrInUse => {
                    BackendError::ApiInUse { address }
                }
                other => other,
            })?;
        let grpc = listen("OTLP/gRPC", options.grpc).await?;
        let http = listen("OTLP/HTTP", options.http).await?;
        let address = |listener: &BoundedListener, asked| listener.address().unwrap_or(asked);
        let (api_address, grpc_address, http_address) = (
            address(&api, options.api),
            address(&grpc, options.grpc),
            address(&http, options.http),
        );

        let store = TraceStore::new(options.limits);
        let (stop, _) = watch::channel(false);
        let servers = vec![
            serve(
                api,
                guarded(tempo::router(store.clone()), options.hosts),
                &stop,
            ),
            serve(http, ingest::http(store.clone(), options.max_body), &stop),
            serve_grpc(grpc, ingest::grpc(store.clone(), options.max_body), &stop),
        ];
        Ok(Self {
            api_address,
            grpc_address,
            http_address,
            store,
            stop,
            servers,
        })
    }

    /// Accepts no more connections, lets requests that are under way finish for up to two seconds, and
    /// closes what is left.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + GRACE;
        for server in &mut self.servers {
            if tokio::time::timeout_at(deadline, &mut *server)
                .await
                .is_err()
            {
                server.abort();
            }
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<BoundedListener, BackendError> {
    BoundedListener::bind(address)
        .await
        .map_err(|source| BackendError::Listen {
            what,
            address,
            source,
        })
}

fn guarded(router: Router, hosts: Option<HostFilter>) -> Router {
    let Some(HostFilter(allows)) = hosts else {
        return router;
    };
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let is_allowed = allows(request.headers(), request.version());
        async move {
            if is_allowed {
                return next.run(request).await;
            }
            let text = "the Host header names none of this server's hosts: ask for it by its IP address or as localhost, \
                        or add the name to NETFLOW_ADMIN_ALLOWED_HOSTS\n";
            (StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
    }))
}

fn serve(listener: BoundedListener, router: Router, stop: &watch::Sender<bool>) -> JoinHandle<()> {
    let server = axum::serve(listener, router).with_graceful_shutdown(stopped(stop));
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::warn!(%error, "demo backend's HTTP server ended");
        }
    })
}

/// HTTP/2 without TLS, from its first octet.
fn serve_grpc(
    mut listener: BoundedListener,
    service: Router,
    stop: &watch::Sender<bool>,
) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        let stopping = stopped(&stop);
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                (stream, _) = listener.accept() => {
                    let service = TowerToHyperService::new(service.clone());
                    connections.spawn(serve_http2(stream, service, stopped(&stop)));
                }
                Some(_) = connections.join_next() => {}
                () = &mut stopping => break,
            }
        }
        drop(listener);
        connections.join_all().await;
    })
}

async fn serve_http2(
    stream: BoundedConnection,
    service: TowerToHyperService<Router>,
    stopped: impl Future<Output = ()>,
) {
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS_PER_CONNECTION)
        .initial_stream_window_size(REQUEST_WINDOW)
        .initial_connection_window_size(REQUEST_WINDOW * REQUESTS_PER_CONNECTION)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection, stopped);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = &mut stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a gRPC connection of the demo's backend ended");
    }
}

/// Resolves when the backend is to end, or is gone.
fn stopped(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut stop = stop.subscribe();
    async move {
        // An error says that the sender is gone, which means the same.
        let _ended = stop.wait_for(|stopped| *stopped).await.is_err();
    }
}
