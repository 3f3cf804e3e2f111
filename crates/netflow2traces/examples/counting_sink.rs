//! An OTLP backend that keeps nothing: it drains requests over gRPC and HTTP on one port and counts them, at the
//! cost of little more than the system calls. For measuring what sends to it.
//!
//! `cargo run --release --example counting_sink -- [--latency] [ADDRESS]`: prints the address it listens on (by
//! default a free port of loopback), accepts every trace request until SIGTERM or SIGINT, and then prints one line
//! of JSON. Spans of compressed requests aren't counted. With `--latency` requests are decoded, and the time between
//! the receipt of a datagram and the arrival of its `netflow.export` span is reported.
#![expect(
    clippy::print_stdout,
    reason = "the caller reads the address and the sums"
)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Windows of HTTP/2: larger than any request, so that they never hold one up.
const WINDOW: u32 = 64 << 20;
/// Flag and length before a message of gRPC.
const GRPC_PREFIX: usize = 5;

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    octets: u64,
    spans: u64,
    latencies_ns: Vec<u64>,
}

type Shared = Arc<Mutex<Counts>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let decodes = arguments.iter().any(|argument| argument == "--latency");
    let address = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let address = address.map_or("127.0.0.1:0", String::as_str);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} can't be bound"))?;
    println!("{}", listener.local_addr()?);
    let counts = Shared::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // One that is gone already has nothing to send.
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(TokioIo::new(stream), Arc::clone(&counts), decodes));
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{}", totals(&counts));
    Ok(())
}

fn totals(counts: &Counts) -> serde_json::Value {
    let mut latencies = counts.latencies_ns.clone();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies
            .get(index.min(latencies.len().saturating_sub(1)))
            .map(|nanos| *nanos as f64 / 1e6)
    };
    json!({
        "requests": counts.requests,
        "octets": counts.octets,
        "spans": counts.spans,
        "latency_ms": { "count": latencies.len(), "median": at(0.5), "p99": at(0.99), "max": at(1.0) },
    })
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, counts: Shared, decodes: bool) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size((1 << 24) - 1);
    let service = service_fn(move |request| {
        let counts = Arc::clone(&counts);
        async move { Ok::<_, Infallible>(answer(request, &counts, decodes).await) }
    });
    // The sender reports a broken connection.
    let _ = builder.serve_connection(stream, service).await;
}

async fn answer(request: Request<Incoming>, counts: &Shared, decodes: bool) -> Response<Accepted> {
    let says = |name, value: &str| {
        let header = request.headers().get(name);
        header.is_some_and(|header| header.as_bytes().starts_with(value.as_bytes()))
    };
    let is_grpc = says(header::CONTENT_TYPE, "application/grpc");
    let is_plain = !request.headers().contains_key(header::CONTENT_ENCODING)
        && !request.headers().contains_key("grpc-encoding");
    let prefix = if is_grpc { GRPC_PREFIX } else { 0 };
    let mut octets = 0;
    let mut walker = Walker::after(prefix);
    let mut whole = Vec::new();
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else {
            continue;
        };
        octets += data.len() as u64;
        if is_plain {
            walker.walk(data);
        }
        if decodes {
            whole.extend_from_slice(data);
        }
    }
    let latencies = latencies(whole.get(prefix..).unwrap_or_default());
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.requests += 1;
    counts.octets += octets;
    counts.spans += walker.spans;
    counts.latencies_ns.extend(latencies);
    let mut response = Response::new(Accepted { is_grpc, step: 0 });
    let kind = if is_grpc {
        "application/grpc"
    } else {
        "application/x-protobuf"
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Between the start of each `netflow.export` span, which is when its datagram came, and now.
fn latencies(request: &[u8]) -> Vec<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    let Ok(request) = ExportTraceServiceRequest::decode(request) else {
        return Vec::new();
    };
    request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .filter(|span| span.name == "netflow.export")
        .map(|span| now.saturating_sub(span.start_time_unix_nano))
        .collect()
}

/// An empty `ExportTraceServiceResponse`: all was accepted.
struct Accepted {
    is_grpc: bool,
    step: u8,
}

impl Body for Accepted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.step += 1;
        Poll::Ready(match (self.is_grpc, self.step) {
            (true, 1) => Some(Ok(Frame::data(Bytes::from_static(&[0; GRPC_PREFIX])))),
            (true, 2) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.is_grpc
    }
}

/// Counts spans in pieces of an `ExportTraceServiceRequest` by stepping over them: resource spans (field 1) hold
/// scope spans (field 2), which hold spans (field 2). All of their fields have a length.
struct Walker {
    /// Octets left of the messages that were entered.
    within: Vec<u64>,
    step: Step,
    spans: u64,
}

#[derive(Clone, Copy)]
enum Step {
    Skip(u64),
    /// The value of a tag so far, and its shift.
    Tag(u64, u32),
    /// The field, then its length so far, and its shift.
    Length(u64, u64, u32),
}

impl Walker {
    const SPAN_DEPTH: usize = 2;

    fn after(prefix: usize) -> Self {
        Self {
            within: Vec::new(),
            step: Step::Skip(prefix as u64),
            spans: 0,
        }
    }

    fn walk(&mut self, mut data: &[u8]) {
        loop {
            if let Step::Skip(left) = self.step {
                let skipped = left.min(data.len() as u64);
                data = &data[skipped as usize..];
                self.step = match left - skipped {
                    0 => Step::Tag(0, 0),
                    left => Step::Skip(left),
                };
            }
            let Some((&octet, rest)) = data.split_first() else {
                return;
            };
            data = rest;
            self.consumed(1);
            let bits = u64::from(octet & 0x7f);
            let is_last = octet & 0x80 == 0;
            self.step = match self.step {
                Step::Tag(value, shift) if is_last => Step::Length(value | bits << shift, 0, 0),
                Step::Tag(value, shift) => Step::Tag(value | bits << shift, (shift + 7) % 64),
                Step::Length(tag, value, shift) if is_last => {
                    self.field(tag, value | bits << shift)
                }
                Step::Length(tag, value, shift) => {
                    Step::Length(tag, value | bits << shift, (shift + 7) % 64)
                }
                step @ Step::Skip(_) => step,
            };
        }
    }

    /// A field whose length is known.
    fn field(&mut self, tag: u64, length: u64) -> Step {
        let wanted = if self.within.is_empty() { 1 } else { 2 };
        if tag >> 3 == wanted && self.within.len() < Self::SPAN_DEPTH {
            self.within.push(length);
            self.consumed(0);
            return Step::Tag(0, 0);
        }
        if tag >> 3 == wanted {
            self.spans += 1;
        }
        self.consumed(length);
        Step::Skip(length)
    }

    /// Leaves the messages that end here.
    fn consumed(&mut self, octets: u64) {
        for left in &mut self.within {
            *left = left.saturating_sub(octets);
        }
        while self.within.last() == Some(&0) {
            self.within.pop();
        }
    }
}
