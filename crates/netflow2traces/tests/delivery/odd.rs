//! Odd and hostile answers, octet by octet: nothing wedges, nothing is lost, and the cause is named.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use netflow2traces::config::{Deliver, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::backend::FakeBackend;
use crate::failures::last_error;
use crate::{batch, count, finish, ids_of, otlp, start, to, until};

/// What follows an odd answer.
#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    Reset,
    /// Nothing more comes.
    Hang,
}

/// The first connections get an odd answer to their first request, the others lead to a backend.
struct OddBackend {
    address: SocketAddr,
    grpc: bool,
    /// So many get an odd answer …
    odd: usize,
    /// … of so many.
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for OddBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OddBackend {
    async fn before(
        backend: &FakeBackend,
        grpc: bool,
        odd: usize,
        (answer, then): (Vec<u8>, Then),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let (counted, target) = (Arc::clone(&connections), backend.address);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                if counted.fetch_add(1, Relaxed) >= odd {
                    open.spawn(async move {
                        let mut far = TcpStream::connect(target).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                    continue;
                }
                let answer = answer.clone();
                open.spawn(async move {
                    if grpc {
                        read_http2(&mut near).await;
                    } else {
                        read_http1(&mut near).await;
                    }
                    // It may have had enough of us already.
                    let _ = near.write_all(&answer).await;
                    match then {
                        Then::Close => {}
                        Then::Reset => near.set_zero_linger().unwrap(),
                        Then::Hang => std::future::pending().await,
                    }
                });
            }
        });
        Self {
            address,
            grpc,
            odd,
            connections,
            task,
        }
    }

    fn config(&self) -> Deliver {
        let (protocol, path) = match self.grpc {
            true => (Protocol::Grpc, ""),
            false => (Protocol::HttpProtobuf, "/v1/traces"),
        };
        let endpoint = format!("http://{}{path}", self.address).parse().unwrap();
        let mut otlp = otlp(protocol, endpoint);
        otlp.timeout = Duration::from_secs(1);
        let mut config = to(otlp);
        config.concurrency = 1;
        config
    }
}

/// Reads a whole request of HTTP/1.1.
async fn read_http1(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
}

/// Reads the preface and frames up to the end of the first stream, and says what a server says first.
async fn read_http2(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        let (kind, flags) = (head[3], head[4]);
        if kind <= 1 && flags & 1 == 1 {
            return;
        }
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let name_length = [0, length(name)];
    [
        &name_length[..],
        name.as_bytes(),
        &[length(value)],
        value.as_bytes(),
    ]
    .concat()
}

/// `:status: 200` and the media type of gRPC.
fn grpc_headers() -> Vec<u8> {
    [vec![0x88], literal("content-type", "application/grpc")].concat()
}

fn goaway(last_stream: u32, reason: u32, text: &str) -> Vec<u8> {
    let payload = [
        &last_stream.to_be_bytes(),
        &reason.to_be_bytes(),
        text.as_bytes(),
    ];
    frame(7, 0, 0, &payload.concat())
}

fn reset(reason: u32) -> Vec<u8> {
    frame(3, 0, 1, &reason.to_be_bytes())
}

/// An answer, what follows it, and what the cause says.
type Case = (&'static str, Vec<u8>, Then, &'static str);

fn http1_cases() -> Vec<Case> {
    let ok = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes();
    let giant = format!("Set-Cookie: {}\r\n\r\n", "x".repeat(1 << 20));
    let continues = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    vec![
        (
            "no answer",
            vec![],
            Then::Close,
            "closed the connection without an answer",
        ),
        (
            "a reset",
            vec![],
            Then::Reset,
            "closed the connection without an answer",
        ),
        (
            "half a status line",
            b"HTT".to_vec(),
            Then::Hang,
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ),
        (
            "100 for ever",
            continues.into_bytes(),
            Then::Hang,
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ),
        (
            "half a head",
            ok("Content-Le"),
            Then::Close,
            "closed before message completed",
        ),
        (
            "a reset in the body",
            ok("Content-Length: 5\r\n\r\n\x0a"),
            Then::Reset,
            "body",
        ),
        (
            "a body cut off",
            ok("Content-Length: 5\r\n\r\n\x0a"),
            Then::Close,
            "before message length",
        ),
        (
            "a chunk cut off",
            ok("Transfer-Encoding: chunked\r\n\r\n5\r\n\x0a"),
            Then::Close,
            "before message length",
        ),
        (
            "no chunk",
            ok("Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            Then::Hang,
            "chunk size",
        ),
        (
            "two lengths",
            ok("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
            Then::Hang,
            "content-length",
        ),
        (
            "a body that hangs",
            ok("Content-Length: 5\r\n\r\n\x0a"),
            Then::Hang,
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ),
        ("a giant head", ok(&giant), Then::Hang, "head is too large"),
        (
            "a page of HTTP/1.0",
            b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>".to_vec(),
            Then::Close,
            "<html>",
        ),
        (
            "no gzip",
            ok("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
            Then::Hang,
            "coded as gzip",
        ),
        (
            "another protocol",
            b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
            Then::Close,
            "speaks neither HTTP nor gRPC",
        ),
        (
            "an unknown version",
            b"HTTP/9.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Then::Hang,
            "version",
        ),
        (
            "another protocol from now on",
            b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_vec(),
            Then::Hang,
            "something other than an OTLP backend",
        ),
        (
            "a proxy's question",
            b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Then::Hang,
            "USER:PASSWORD",
        ),
        (
            "a network's login",
            b"HTTP/1.1 511 X\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Then::Hang,
            "requires a login",
        ),
    ]
}

fn http2_cases() -> Vec<Case> {
    let headers = frame(1, 4, 1, &grpc_headers());
    let status = |code: &str| frame(1, 5, 1, &literal("grpc-status", code));
    let message = frame(0, 0, 1, &[0; 5]);
    let last_message = frame(0, 1, 1, &[0; 5]);
    let no_streams = frame(4, 0, 0, &[0, 3, 0, 0, 0, 0]);
    let proxy = frame(1, 5, 1, &literal(":status", "407"));
    let flood: Vec<u8> = frame(0, 0, 1, &[]).repeat(50_000);
    vec![
        ("no answer", vec![], Then::Close, "connection"),
        (
            "too many pings",
            goaway(0, 11, "too_many_pings"),
            Then::Close,
            "GOAWAY ENHANCE_YOUR_CALM",
        ),
        (
            "a stream that ends in order",
            reset(0),
            Then::Hang,
            "RST_STREAM NO_ERROR",
        ),
        (
            "no trailers",
            [headers.clone(), last_message].concat(),
            Then::Hang,
            "ended before its gRPC status",
        ),
        (
            "headers and no more",
            headers.clone(),
            Then::Hang,
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ),
        (
            "UNAVAILABLE after OK",
            [
                frame(
                    1,
                    4,
                    1,
                    &[grpc_headers(), literal("grpc-status", "0")].concat(),
                ),
                message,
                status("14"),
            ]
            .concat(),
            Then::Hang,
            "UNAVAILABLE",
        ),
        (
            "no streams",
            no_streams,
            Then::Hang,
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ),
        (
            "broken headers",
            frame(1, 5, 1, &[0xff; 6]),
            Then::Hang,
            "protocol error",
        ),
        (
            "a promise",
            frame(5, 4, 1, &[0, 0, 0, 2, 0x88]),
            Then::Hang,
            "protocol error",
        ),
        (
            "frames of nothing",
            [headers, flood].concat(),
            Then::Hang,
            "excessive load",
        ),
        (
            "HTTP/1",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Then::Close,
            "http2 error",
        ),
        ("a proxy's question", proxy, Then::Hang, "USER:PASSWORD"),
    ]
}

#[tokio::test]
async fn after_odd_answers_everything_is_delivered_and_the_cause_was_named() {
    let mut cases = JoinSet::new();
    for grpc in [false, true] {
        let all = if grpc { http2_cases() } else { http1_cases() };
        for (name, answer, then, says) in all {
            cases.spawn(async move {
                let what = format!("{name}, gRPC {grpc}");
                let backend = match grpc {
                    true => FakeBackend::grpc().start().await,
                    false => FakeBackend::http().start().await,
                };
                let odd = OddBackend::before(&backend, grpc, 2, (answer, then)).await;
                let batches: Vec<_> = (0..3).map(|_| batch(5, 100)).collect();
                let delivery = start(&odd.config(), &batches);
                until(&what, || delivery.counters().accepted.load().work == 3).await;
                let error = last_error(&delivery);
                assert!(error.contains(says), "{what}: {error}");
                let totals = finish(&delivery).await;
                assert_eq!(totals.accepted, count(15, 3), "{what}");
                assert_eq!(backend.accepted_ids(), ids_of(&batches), "{what}");
                assert!(odd.connections.load(Relaxed) > odd.odd, "{what}");
            });
        }
    }
    cases.join_all().await;
}

/// A server that ends its connection in order, for its age or its own end, may say so when a request is on its way.
#[tokio::test]
async fn what_the_backend_did_not_look_at_is_sent_on_another_connection_without_a_failure() {
    const REFUSED: u32 = 7;
    for (answer, then) in [
        (goaway(0, 0, ""), Then::Close),
        (goaway(0, 0, ""), Then::Hang),
        (reset(REFUSED), Then::Hang),
    ] {
        let backend = FakeBackend::grpc().start().await;
        let odd = OddBackend::before(&backend, true, 1, (answer, then)).await;
        let batches: Vec<_> = (0..4).map(|_| batch(5, 100)).collect();
        let delivery = start(&odd.config(), &batches);
        let totals = finish(&delivery).await;
        assert_eq!(totals.accepted, count(20, 4), "{then:?}");
        assert_eq!(backend.accepted_ids(), ids_of(&batches), "{then:?}");
        assert!(odd.connections.load(Relaxed) > odd.odd, "{then:?}");
        let failures = delivery.counters().failures.load(Relaxed);
        assert_eq!(
            failures,
            0,
            "{then:?}: {:?}",
            delivery.counters().last_error()
        );
    }
}
