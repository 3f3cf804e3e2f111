//! A backend on loopback that answers as its script says, over gRPC (tonic's generated server) or
//! HTTP, and keeps what it was sent. When the script is over it accepts.

mod answers;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1 as otlp;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

use answers::{answer_grpc, answer_http};

/// Longest wait in a test for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Ok,
    /// Accepted, with so many spans rejected.
    Partial(i64, &'static str),
    /// A gRPC status.
    Grpc(tonic::Code, &'static str),
    /// A gRPC status with `google.rpc.RetryInfo`.
    GrpcRetryInfo(tonic::Code, Duration),
    /// An HTTP status with headers and a body, over either protocol.
    Http(u16, Vec<(&'static str, &'static str)>, &'static [u8]),
    /// Accepted, but not before the test releases it.
    Held,
    /// The request is read and never answered.
    Silence,
    /// The connection is cut before the request was read whole.
    CutRequest,
    /// The connection is cut in the middle of the answer.
    CutAnswer,
}

impl Reply {
    pub(crate) fn http(status: u16) -> Self {
        Self::Http(status, Vec::new(), b"")
    }

    fn accepts(&self) -> bool {
        matches!(self, Self::Ok | Self::Partial(..) | Self::Held)
    }
}

/// A request that was read whole.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) request: otlp::ExportTraceServiceRequest,
    pub(crate) reply: Reply,
    pub(crate) accepted: bool,
}

impl Received {
    /// Trace and span ids in the order of the request.
    pub(crate) fn ids(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        ids(&self.request)
    }
}

/// Trace and span ids of a request, in its order.
pub(crate) fn ids(request: &otlp::ExportTraceServiceRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
    request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .map(|span| (span.trace_id.clone(), span.span_id.clone()))
        .collect()
}

#[derive(Debug, Default)]
struct Books {
    script: VecDeque<Reply>,
    /// The answer after the script.
    standing: Option<Reply>,
    /// What requests with larger bodies meet instead.
    over: Option<(usize, Reply)>,
    /// What an HTTP request meets that has a span with this id.
    poison: Option<(Vec<u8>, Reply)>,
    accepted_spans: u64,
    received: Vec<Received>,
    arrivals: usize,
    connections: usize,
}

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    changed: watch::Sender<()>,
    /// How many answers that are held may go.
    released: Semaphore,
    /// HTTP: larger bodies get 413. gRPC: tonic's own limit.
    max_body: usize,
    /// Counts and keeps nothing.
    forgetful: bool,
}

/// How a backend is set up.
#[derive(Default)]
pub(crate) struct Setup {
    grpc: bool,
    script: Vec<Reply>,
    over: Option<(usize, Reply)>,
    poison: Option<(Vec<u8>, Reply)>,
    tls: Option<Arc<rustls::ServerConfig>>,
    max_body: Option<usize>,
    forgetful: bool,
    listener: Option<TcpListener>,
}

impl Setup {
    pub(crate) fn script(mut self, script: impl IntoIterator<Item = Reply>) -> Self {
        self.script = script.into_iter().collect();
        self
    }

    /// Requests whose body has more octets meet this, as from a device on the way.
    pub(crate) fn over(mut self, octets: usize, reply: Reply) -> Self {
        self.over = Some((octets, reply));
        self
    }

    /// HTTP requests that have a span with this id meet this.
    pub(crate) fn poison(mut self, span_id: Vec<u8>, reply: Reply) -> Self {
        self.poison = Some((span_id, reply));
        self
    }

    pub(crate) fn tls(mut self, tls: rustls::ServerConfig) -> Self {
        self.tls = Some(Arc::new(tls));
        self
    }

    pub(crate) fn max_body(mut self, octets: usize) -> Self {
        self.max_body = Some(octets);
        self
    }

    /// Received requests are counted, not kept: for long runs.
    pub(crate) fn forgetful(mut self) -> Self {
        self.forgetful = true;
        self
    }

    pub(crate) fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    pub(crate) async fn start(self) -> FakeBackend {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind(("127.0.0.1", 0)).await.unwrap(),
        };
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            books: Mutex::new(Books {
                script: self.script.into(),
                over: self.over,
                poison: self.poison,
                ..Books::default()
            }),
            changed: watch::Sender::new(()),
            released: Semaphore::new(0),
            max_body: self.max_body.unwrap_or(16 << 20),
            forgetful: self.forgetful,
        });
        let task = tokio::spawn(accept(
            listener,
            Arc::clone(&shared),
            self.grpc,
            self.tls.clone(),
        ));
        FakeBackend {
            address,
            tls: self.tls.is_some(),
            shared,
            task,
        }
    }
}

/// A running backend; it ends with the value.
pub(crate) struct FakeBackend {
    pub(crate) address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeBackend {
    pub(crate) fn grpc() -> Setup {
        Setup {
            grpc: true,
            ..Setup::default()
        }
    }

    pub(crate) fn http() -> Setup {
        Setup::default()
    }

    pub(crate) fn endpoint(&self, path: &str) -> http::Uri {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
            .parse()
            .unwrap()
    }

    /// What it answers from here on, after the script: `None` is success.
    pub(crate) fn answers(&self, reply: Option<Reply>) {
        self.shared.books.lock().unwrap().standing = reply;
    }

    /// Lets so many answers go that are held, or will be.
    pub(crate) fn release(&self, answers: usize) {
        self.shared.released.add_permits(answers);
    }

    /// Whatever large or poisonous requests met, they meet it no more.
    pub(crate) fn heals(&self) {
        let mut books = self.shared.books.lock().unwrap();
        (books.over, books.poison) = (None, None);
    }

    /// Spans of the requests that were accepted.
    pub(crate) fn accepted_spans(&self) -> u64 {
        self.shared.books.lock().unwrap().accepted_spans
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.books.lock().unwrap().received.clone()
    }

    /// Requests whose headers came, read whole or not.
    pub(crate) fn arrivals(&self) -> usize {
        self.shared.books.lock().unwrap().arrivals
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.books.lock().unwrap().connections
    }

    /// Ids of all spans that were accepted, sorted.
    pub(crate) fn accepted_ids(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let received = self.received();
        let accepted = received.iter().filter(|request| request.accepted);
        let mut ids: Vec<_> = accepted.flat_map(Received::ids).collect();
        ids.sort();
        ids
    }

    pub(crate) async fn wait_for_arrivals(&self, least: usize) {
        self.wait("requests", || self.arrivals() >= least).await;
    }

    /// Waits until this holds for what was received.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&[Received]) -> bool) {
        self.wait(what, || holds(&self.shared.books.lock().unwrap().received))
            .await;
    }

    async fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let waiting = changed.wait_for(|()| holds());
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        let _ = waited.unwrap_or_else(|_| panic!("{what} in time"));
    }
}

impl Shared {
    fn arrived(&self) {
        self.books.lock().unwrap().arrivals += 1;
        self.changed.send_replace(());
    }

    /// What a request with so many octets meets on the way.
    fn on_the_way(&self, content_length: Option<usize>) -> Option<Reply> {
        let books = self.books.lock().unwrap();
        let (most, reply) = books.over.as_ref()?;
        (content_length? > *most).then(|| reply.clone())
    }

    fn poisoned(&self, request: &otlp::ExportTraceServiceRequest) -> Option<Reply> {
        let books = self.books.lock().unwrap();
        let (id, reply) = books.poison.as_ref()?;
        let has_it = ids(request).iter().any(|(_, span)| span == id);
        has_it.then(|| reply.clone())
    }

    fn next_reply(&self) -> Reply {
        let mut books = self.books.lock().unwrap();
        let scripted = books.script.pop_front();
        scripted
            .or_else(|| books.standing.clone())
            .unwrap_or(Reply::Ok)
    }

    async fn released(&self) {
        if let Ok(permit) = self.released.acquire().await {
            permit.forget();
        }
    }

    fn is_next(&self, wanted: impl Fn(&Reply) -> bool) -> bool {
        let books = self.books.lock().unwrap();
        let next = books.script.front().or(books.standing.as_ref());
        next.is_some_and(wanted)
    }

    fn keep(&self, received: Received) {
        let mut books = self.books.lock().unwrap();
        if received.accepted {
            books.accepted_spans += received.ids().len() as u64;
        }
        if !self.forgetful {
            books.received.push(received);
        }
        drop(books);
        self.changed.send_replace(());
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    grpc: bool,
    tls: Option<Arc<rustls::ServerConfig>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.books.lock().unwrap().connections += 1;
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(TokioIo::new(stream), shared, grpc, false).await,
                Some(tls) => {
                    let accepted = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await;
                    if let Ok(stream) = accepted {
                        serve(TokioIo::new(stream), shared, grpc, true).await;
                    }
                }
            }
        });
    }
}

async fn serve<I>(io: I, shared: Arc<Shared>, grpc: bool, tls: bool)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let cut = Arc::new(Notify::new());
    let service = {
        let cut = Arc::clone(&cut);
        service_fn(move |request: Request<Incoming>| {
            let (shared, cut) = (Arc::clone(&shared), Arc::clone(&cut));
            async move {
                shared.arrived();
                Ok::<_, Infallible>(if grpc {
                    answer_grpc(request, shared, &cut).await
                } else {
                    answer_http(request, &shared, &cut).await
                })
            }
        })
    };
    let builder = auto::Builder::new(TokioExecutor::new());
    // Each speaks its own protocol alone, as real backends do on their ports; TLS can negotiate.
    let builder = match (grpc, tls) {
        (true, _) => builder.http2_only(),
        (false, false) => builder.http1_only(),
        (false, true) => builder,
    };
    let connection = builder.serve_connection(io, service);
    tokio::select! {
        _ = connection => {}
        () = cut.notified() => {}
    }
}
