//! A backend on loopback that answers as its script says, over gRPC (tonic's generated server) or
//! HTTP, and keeps what it was sent. When the script is over it accepts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1 as otlp;
use otlp::trace_service_server::{TraceService, TraceServiceServer};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tower_service::Service as _;

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
    /// Accepted, but not before this time has passed.
    Slow(Duration),
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
        matches!(self, Self::Ok | Self::Partial(..) | Self::Slow(_))
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
    accepted_spans: u64,
    received: Vec<Received>,
    arrivals: usize,
    connections: usize,
}

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    changed: watch::Sender<()>,
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
                ..Books::default()
            }),
            changed: watch::Sender::new(()),
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

    fn next_reply(&self) -> Reply {
        let mut books = self.books.lock().unwrap();
        let scripted = books.script.pop_front();
        scripted
            .or_else(|| books.standing.clone())
            .unwrap_or(Reply::Ok)
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

type ReplyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

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

/// Reads a part of the request, then cuts the connection.
async fn cut_request(mut request: Request<Incoming>, cut: &Notify) -> Response<ReplyBody> {
    let _ = request.body_mut().frame().await;
    cut.notify_one();
    std::future::pending().await
}

/// Begins an answer, then breaks it.
fn cut_answer(media_type: &'static str) -> Response<ReplyBody> {
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"\0\0\0"))),
        Err("cut".into()),
    ];
    let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
    Response::builder()
        .header("content-type", media_type)
        .body(body)
        .unwrap()
}

fn http_reply(
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static [u8],
) -> Response<ReplyBody> {
    let mut response = Response::new(full(Bytes::from_static(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

fn full(octets: Bytes) -> ReplyBody {
    Full::new(octets)
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn answer_grpc(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    cut: &Notify,
) -> Response<ReplyBody> {
    if shared.is_next(|reply| matches!(reply, Reply::CutRequest)) {
        shared.next_reply();
        return cut_request(request, cut).await;
    }
    if shared.is_next(|reply| matches!(reply, Reply::CutAnswer | Reply::Http(..))) {
        let (parts, body) = request.into_parts();
        let body = body.collect().await;
        let reply = shared.next_reply();
        if let Ok(body) = body {
            shared.keep(grpc_received(parts, &body.to_bytes(), &reply));
        }
        return match reply {
            Reply::Http(status, headers, body) => http_reply(status, headers, body),
            _ => cut_answer("application/grpc"),
        };
    }
    let path = request.uri().path().to_owned();
    let version = request.version();
    let max_body = shared.max_body;
    let mut server = TraceServiceServer::new(Export {
        shared,
        path,
        version,
    })
    .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
    .accept_compressed(tonic::codec::CompressionEncoding::Zstd)
    .max_decoding_message_size(max_body);
    let Ok(response) = server.call(request).await;
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// A gRPC request that tonic doesn't see, for its answer is none of gRPC.
fn grpc_received(parts: http::request::Parts, body: &Bytes, reply: &Reply) -> Received {
    // A flag and a length.
    let plain = decompress(parts.headers.get("grpc-encoding"), &body.slice(5..));
    Received {
        at: Instant::now(),
        path: parts.uri.path().to_owned(),
        version: parts.version,
        headers: parts.headers,
        request: otlp::ExportTraceServiceRequest::decode(&plain[..]).expect("OTLP protobuf"),
        reply: reply.clone(),
        accepted: false,
    }
}

/// tonic's side of a gRPC request.
struct Export {
    shared: Arc<Shared>,
    path: String,
    version: Version,
}

#[tonic::async_trait]
impl TraceService for Export {
    async fn export(
        &self,
        request: tonic::Request<otlp::ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<otlp::ExportTraceServiceResponse>, tonic::Status> {
        let reply = self.shared.next_reply();
        self.shared.keep(Received {
            at: Instant::now(),
            path: self.path.clone(),
            version: self.version,
            headers: request.metadata().clone().into_headers(),
            request: request.into_inner(),
            reply: reply.clone(),
            accepted: reply.accepts(),
        });
        match reply {
            Reply::Grpc(code, message) => Err(tonic::Status::new(code, message)),
            Reply::GrpcRetryInfo(code, delay) => {
                let details = retry_info_status(delay).into();
                Err(tonic::Status::with_details(code, "slow down", details))
            }
            Reply::Silence => std::future::pending().await,
            Reply::Slow(delay) => {
                tokio::time::sleep(delay).await;
                Ok(tonic::Response::new(response_to(&Reply::Ok)))
            }
            reply => Ok(tonic::Response::new(response_to(&reply))),
        }
    }
}

fn response_to(reply: &Reply) -> otlp::ExportTraceServiceResponse {
    let partial_success = match *reply {
        Reply::Partial(rejected_spans, message) => Some(otlp::ExportTracePartialSuccess {
            rejected_spans,
            error_message: message.to_owned(),
        }),
        _ => None,
    };
    otlp::ExportTraceServiceResponse { partial_success }
}

/// A `google.rpc.Status` with one `google.rpc.RetryInfo` in its details.
fn retry_info_status(delay: Duration) -> Vec<u8> {
    #[derive(prost::Message)]
    struct ProtoDuration {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    #[derive(prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<ProtoDuration>,
    }
    #[derive(prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(prost::Message)]
    struct Status {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    let retry_delay = ProtoDuration {
        seconds: i64::try_from(delay.as_secs()).unwrap(),
        nanos: i32::try_from(delay.subsec_nanos()).unwrap(),
    };
    let retry_info = RetryInfo {
        retry_delay: Some(retry_delay),
    };
    let any = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: retry_info.encode_to_vec(),
    };
    Status { details: vec![any] }.encode_to_vec()
}

async fn answer_http(
    request: Request<Incoming>,
    shared: &Shared,
    cut: &Notify,
) -> Response<ReplyBody> {
    if shared.is_next(|reply| matches!(reply, Reply::CutRequest)) {
        shared.next_reply();
        return cut_request(request, cut).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return http_reply(400, Vec::new(), b"broken body");
    };
    let plain = decompress(parts.headers.get("content-encoding"), &body);
    if plain.len() > shared.max_body {
        return http_reply(413, Vec::new(), b"too much");
    }
    let json = parts.headers["content-type"] == "application/json";
    let decoded = if json {
        serde_json::from_slice(&plain).expect("OTLP/JSON")
    } else {
        otlp::ExportTraceServiceRequest::decode(&plain[..]).expect("OTLP protobuf")
    };
    let reply = shared.next_reply();
    shared.keep(Received {
        at: Instant::now(),
        path: parts.uri.path().to_owned(),
        version: parts.version,
        headers: parts.headers,
        request: decoded,
        reply: reply.clone(),
        accepted: reply.accepts(),
    });
    match reply {
        Reply::Http(status, headers, body) => http_reply(status, headers, body),
        Reply::Silence => std::future::pending().await,
        Reply::CutAnswer => cut_answer("application/x-protobuf"),
        Reply::CutRequest | Reply::Grpc(..) | Reply::GrpcRetryInfo(..) => {
            panic!("{reply:?} is not for HTTP")
        }
        reply => {
            if let Reply::Slow(delay) = reply {
                tokio::time::sleep(delay).await;
            }
            let response = response_to(&reply);
            let (media_type, octets) = if json {
                ("application/json", serde_json::to_vec(&response).unwrap())
            } else {
                ("application/x-protobuf", response.encode_to_vec())
            };
            let builder = Response::builder().header("content-type", media_type);
            builder.body(full(octets.into())).unwrap()
        }
    }
}

fn decompress(coding: Option<&HeaderValue>, body: &Bytes) -> Bytes {
    let mut plain = Vec::new();
    match coding.map(|value| value.to_str().unwrap()) {
        None => return body.clone(),
        Some("gzip") => flate2::read::GzDecoder::new(&body[..])
            .read_to_end(&mut plain)
            .unwrap(),
        Some("zstd") => zstd::Decoder::new(&body[..])
            .unwrap()
            .read_to_end(&mut plain)
            .unwrap(),
        Some(other) => panic!("content-encoding {other}"),
    };
    plain.into()
}
