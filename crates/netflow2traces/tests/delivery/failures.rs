//! Backends that refuse, throttle, break or are not there.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use netflow2traces::config::Protocol;
use netflow2traces::deliver::Delivery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tonic::Code;

use crate::backend::{FakeBackend, Reply};
use crate::{
    assert_settled, batch, count, deliver, finish, grpc_to, http_to, ids_of, otlp, start, to, until,
};

/// A port on which nothing listens yet.
pub(crate) fn reserved_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

pub(crate) fn endpoint_of(socket: &TcpSocket) -> http::Uri {
    format!("http://{}", socket.local_addr().unwrap())
        .parse()
        .unwrap()
}

pub(crate) fn last_error(delivery: &Delivery) -> String {
    delivery
        .counters()
        .last_error()
        .map(|error| error.text)
        .unwrap_or_default()
}

/// Runs them side by side: each waits for a back-off.
async fn all(cases: impl IntoIterator<Item = impl Future<Output = ()> + Send + 'static>) {
    cases.into_iter().collect::<JoinSet<_>>().join_all().await;
}

/// One failure, then success: the same octets must come again, and be accepted.
async fn is_retried(grpc: bool, failure: Reply) {
    let setup = if grpc {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    };
    let backend = setup.script([failure.clone()]).start().await;
    let config = if grpc {
        grpc_to(&backend)
    } else {
        http_to(&backend)
    };
    let batches = [batch(20, 20_000)];
    let delivery = start(&config, &batches);
    let totals = finish(&delivery).await;
    assert_eq!(totals.accepted, count(20, 1), "{failure:?}");
    assert_eq!(backend.accepted_ids(), ids_of(&batches), "{failure:?}");
    assert_eq!(backend.arrivals(), 2, "{failure:?}");
    assert_eq!(delivery.counters().retries.load(Relaxed), 1, "{failure:?}");
    for received in backend.received() {
        assert_eq!(
            received.request,
            backend.received()[0].request,
            "{failure:?}"
        );
    }
}

/// One refusal: nothing comes again, and all is counted as rejected.
async fn is_rejected(grpc: bool, refusal: Reply) {
    let setup = if grpc {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    };
    let backend = setup.script([refusal.clone()]).start().await;
    let config = if grpc {
        grpc_to(&backend)
    } else {
        http_to(&backend)
    };
    let totals = deliver(&config, &[batch(20, 10)]).await;
    assert_eq!(totals.rejected, count(20, 1), "{refusal:?}");
    assert_eq!(backend.arrivals(), 1, "{refusal:?}");
}

#[tokio::test]
async fn retryable_grpc_statuses_are_retried_with_the_same_octets() {
    all([
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ]
    .map(|code| is_retried(true, Reply::Grpc(code, "later"))))
    .await;
}

#[tokio::test]
async fn other_grpc_statuses_are_not_retried() {
    all([
        Code::Unknown,
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Unimplemented,
        Code::Internal,
        Code::Unauthenticated,
    ]
    .map(|code| is_rejected(true, Reply::Grpc(code, "never"))))
    .await;
}

#[tokio::test]
async fn retryable_http_statuses_are_retried_with_the_same_octets() {
    all([429, 502, 503, 504].map(|status| is_retried(false, Reply::http(status)))).await;
}

#[tokio::test]
async fn other_http_statuses_are_not_retried() {
    all([301, 307, 400, 401, 403, 404, 405, 408, 415, 500, 501, 505]
        .map(|status| is_rejected(false, Reply::http(status))))
    .await;
}

#[tokio::test]
async fn a_request_that_was_cut_on_the_way_is_retried_though_the_backend_refuses_it() {
    let ends = vec![("connection", "close")];
    let lives = vec![];
    let cut = &b"unexpected EOF"[..];
    all([
        is_retried(false, Reply::Http(400, ends.clone(), cut)),
        is_retried(false, Reply::Http(408, ends.clone(), b"")),
    ])
    .await;
    all([
        is_rejected(false, Reply::Http(400, lives, cut)),
        is_rejected(false, Reply::Http(400, ends.clone(), b"no such span")),
        is_rejected(false, Reply::Http(500, ends, cut)),
    ])
    .await;
}

#[tokio::test]
async fn http_statuses_of_proxies_before_grpc_are_understood() {
    all([429, 502, 503, 504].map(|status| is_retried(true, Reply::http(status)))).await;
    all([401, 403, 404, 500].map(|status| is_rejected(true, Reply::http(status)))).await;
}

#[tokio::test]
async fn broken_connections_are_retried() {
    for grpc in [true, false] {
        all([Reply::CutRequest, Reply::CutAnswer].map(|cut| is_retried(grpc, cut))).await;
    }
}

#[tokio::test]
async fn retry_info_is_honoured() {
    let asked = Duration::from_millis(700);
    let reply = Reply::GrpcRetryInfo(Code::ResourceExhausted, asked);
    let backend = FakeBackend::grpc().script([reply]).start().await;
    let totals = deliver(&grpc_to(&backend), &[batch(3, 0)]).await;
    assert_eq!(totals.accepted, count(3, 1));
    let received = backend.received();
    assert!(received[1].at - received[0].at >= asked);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let reply = Reply::Http(429, vec![("retry-after", "1")], b"");
    let backend = FakeBackend::http().script([reply]).start().await;
    let totals = deliver(&http_to(&backend), &[batch(3, 0)]).await;
    assert_eq!(totals.accepted, count(3, 1));
    let received = backend.received();
    assert!(received[1].at - received[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_silent_backend_costs_its_timeout_and_its_connection() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let setup = match protocol {
            Protocol::Grpc => FakeBackend::grpc(),
            _ => FakeBackend::http(),
        };
        let backend = setup.script([Reply::Silence]).start().await;
        let mut otlp = otlp(protocol, backend.endpoint(""));
        otlp.timeout = Duration::from_millis(100);
        let mut config = to(otlp);
        config.concurrency = 1;
        let delivery = start(&config, &[batch(3, 0)]);
        let totals = finish(&delivery).await;
        assert_eq!(totals.accepted, count(3, 1));
        assert_eq!(backend.connections(), 2, "{protocol:?}");
        let error = last_error(&delivery);
        assert!(error.contains("OTEL_EXPORTER_OTLP_TIMEOUT"), "{error}");
    }
}

#[tokio::test]
async fn a_backend_that_comes_later_gets_everything() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let socket = reserved_port();
        let delivery = start(&to(otlp(protocol, endpoint_of(&socket))), &[]);
        let batches: Vec<_> = (0..6).map(|_| batch(5, 0)).collect();
        for batch in &batches {
            delivery.queue().push(batch.clone());
        }
        until("an outage", || {
            delivery.counters().backend_away.load(Relaxed)
        })
        .await;
        let error = last_error(&delivery);
        assert!(error.contains("nothing listens there"), "{error}");
        let setup = match protocol {
            Protocol::Grpc => FakeBackend::grpc(),
            _ => FakeBackend::http(),
        };
        let backend = setup.listener(socket.listen(64).unwrap()).start().await;
        let totals = finish(&delivery).await;
        assert_eq!(totals.accepted, count(30, 6));
        assert_eq!(backend.accepted_ids(), ids_of(&batches));
        assert!(!delivery.counters().backend_away.load(Relaxed));
    }
}

#[tokio::test]
async fn while_the_backend_is_away_few_requests_are_made() {
    let script = std::iter::repeat_n(Reply::Grpc(Code::Unavailable, "away"), 3);
    let backend = FakeBackend::grpc().script(script).start().await;
    let mut config = grpc_to(&backend);
    config.concurrency = 8;
    let batches: Vec<_> = (0..8).map(|_| batch(5, 0)).collect();
    let delivery = start(&config, &batches[..1]);
    until("a failure", || {
        delivery.counters().failures.load(Relaxed) == 1
    })
    .await;
    for batch in &batches[1..] {
        delivery.queue().push(batch.clone());
    }
    until("success", || delivery.counters().accepted.load().work == 8).await;
    // Two failed probes after the first failure, then all of them once.
    assert_eq!(backend.arrivals(), 11);
    assert_eq!(finish(&delivery).await.accepted, count(40, 8));
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_it() {
    let socket = reserved_port();
    let batches: Vec<_> = (0..6).map(|_| batch(5, 100)).collect();
    let mut config = to(otlp(Protocol::Grpc, endpoint_of(&socket)));
    config.concurrency = 1;
    config.queue_size = batches[0].octets.len() * 2 + 10;
    let delivery = start(&config, &batches[..1]);
    until("a batch in flight", || {
        delivery.counters().in_flight.load() == count(5, 1)
    })
    .await;
    for batch in &batches[1..] {
        delivery.queue().push(batch.clone());
    }
    let counters = delivery.counters();
    assert_eq!(counters.dropped.queue_full.load(), count(15, 3));
    assert!(counters.totals().balanced());
    let backend = FakeBackend::grpc()
        .listener(socket.listen(64).unwrap())
        .start()
        .await;
    let totals = finish(&delivery).await;
    assert_eq!(totals.accepted, count(15, 3));
    let kept = [batches[0].clone(), batches[4].clone(), batches[5].clone()];
    assert_eq!(backend.accepted_ids(), ids_of(&kept));
}

/// Delivers to an endpoint that can't work and returns what the log says.
async fn told(otlp: netflow2traces::config::Otlp) -> String {
    let delivery = start(&to(otlp), &[batch(1, 0)]);
    let counters = delivery.counters();
    until("an error", || counters.last_error().is_some()).await;
    let error = last_error(&delivery);
    delivery.abort_handle().abort();
    let totals = finish(&delivery).await;
    assert_eq!(totals.accepted, count(0, 0));
    assert_settled(&delivery, totals);
    error
}

/// The address of a server that says this to every client, and closes.
async fn saying(words: &'static [u8]) -> http::Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 24];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(words).await;
        }
    });
    format!("http://{address}").parse().unwrap()
}

#[tokio::test]
async fn http_where_grpc_is_set_is_reported() {
    let endpoint = saying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let error = told(otlp(Protocol::Grpc, endpoint)).await;
    assert!(
        error.contains("speaks HTTP/1.1, but the protocol is gRPC"),
        "{error}"
    );
    assert!(
        error.contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        "{error}"
    );
    // hyper's server closes without a word.
    let backend = FakeBackend::http().start().await;
    let error = told(otlp(Protocol::Grpc, backend.endpoint(""))).await;
    assert!(
        error.contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        "{error}"
    );
}

#[tokio::test]
async fn something_else_is_reported() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let error = told(otlp(protocol, saying(b"SSH-2.0-OpenSSH_9.6\r\n").await)).await;
        assert!(error.contains("neither HTTP nor gRPC"), "{error}");
    }
}

#[tokio::test]
async fn grpc_where_http_is_set_is_reported() {
    let backend = FakeBackend::grpc().start().await;
    let error = told(otlp(Protocol::HttpProtobuf, backend.endpoint("/v1/traces"))).await;
    assert!(
        error.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_paths_and_credentials_are_reported() {
    for (status, setting) in [
        (404, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (401, "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let backend = FakeBackend::http()
            .script([Reply::http(status)])
            .start()
            .await;
        let error = told(otlp(Protocol::HttpProtobuf, backend.endpoint("/"))).await;
        assert!(error.contains(setting), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_reported() {
    let endpoint = "http://backend.invalid:4317".parse().unwrap();
    let error = told(otlp(Protocol::Grpc, endpoint)).await;
    assert!(error.contains("can't be resolved"), "{error}");
}
