//! The books after each fault, without a spool and with it in both modes: what arrived and what is counted is what was
//! made; what the protocol forbids is not retried; ids and octets stay.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use netflow2traces::config::{Deliver, Exporter, Protocol, SpoolMode};
use netflow2traces::deliver::{Count, Delivery};
use otlp_wire::EncodedBatch;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;

use crate::backend::{FakeBackend, Received, Reply};
use crate::certificates::Authority;
use crate::spool::{fresh, spooled};
use crate::{AMPLE, finish, ids_of, otlp, start, to, until};

const BATCHES: usize = 6;

/// How delivery may keep what waits.
const KEEPING: [Option<SpoolMode>; 3] = [None, Some(SpoolMode::Overflow), Some(SpoolMode::Always)];

fn keeping(config: Deliver, directory: &tempfile::TempDir, mode: Option<SpoolMode>) -> Deliver {
    match mode {
        Some(mode) => spooled(config, directory.path(), mode),
        None => config,
    }
}

/// Asserts the books of a run that is over, for what was made and what a backend saw of it.
fn assert_books(what: &str, made: &[EncodedBatch], received: &[Received], delivery: &Delivery) {
    let totals = delivery.counters().totals();
    assert!(totals.balanced(), "{what}: {totals:?}");
    let all = made
        .iter()
        .fold(Count::default(), |sum, batch| sum.plus(Count::of(batch)));
    assert_eq!(totals.pushed, all, "{what}");
    let open = totals.queued.plus(totals.in_flight).plus(totals.spooled);
    assert_eq!(open, Count::default(), "{what}");

    let known = ids_of(made);
    let mut accepted: BTreeMap<_, usize> = BTreeMap::new();
    let mut refused: BTreeMap<_, usize> = BTreeMap::new();
    let mut shapes: BTreeMap<_, Vec<&Received>> = BTreeMap::new();
    let mut partly = 0;
    for request in received {
        for id in request.ids() {
            assert!(known.binary_search(&id).is_ok(), "{what}: an id of nobody");
            if request.accepted {
                *accepted.entry(id.clone()).or_default() += 1;
            } else if is_final(&request.reply) {
                *refused.entry(id.clone()).or_default() += 1;
            }
            shapes.entry(id).or_default().push(request);
        }
        if let Reply::Partial(rejected, _) = request.reply {
            partly += u64::try_from(rejected).unwrap();
        }
    }
    // Where a request timed out, the backend may have taken it.
    if !what.starts_with("silent") && !what.starts_with("half-open") {
        assert!(accepted.values().all(|times| *times == 1), "{what}: twice");
    }
    for (id, times) in &refused {
        let last = shapes[id].last().expect("it was sent");
        let once = *times == 1 && is_final(&last.reply);
        assert!(once, "{what}: sent again after a refusal");
    }
    let counted = totals.accepted.all() + partly;
    assert_eq!(counted, accepted.len() as u64, "{what}");
    assert_eq!(
        totals.rejected.all(),
        refused.len() as u64 + partly,
        "{what}"
    );
    assert_eq!(
        accepted.len() as u64 + refused.len() as u64 + totals.dropped.all(),
        all.all(),
        "{what}: what arrived and what is counted is what was made"
    );
    // Retries were the same, except for requests that had to get smaller.
    for requests in shapes.values() {
        for pair in requests.windows(2) {
            let smaller = pair[1].ids().len() < pair[0].ids().len();
            assert!(smaller || pair[0].request == pair[1].request, "{what}");
        }
    }
}

/// Whether the protocol forbids to send it again as it is.
fn is_final(reply: &Reply) -> bool {
    match reply {
        Reply::Http(status, ..) => !matches!(status, 413 | 429 | 502 | 503 | 504),
        Reply::Grpc(code, text) => {
            !matches!(
                code,
                Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DataLoss
            ) && !text.contains("larger")
        }
        _ => false,
    }
}

fn endpoint(backend: &FakeBackend, grpc: bool) -> Deliver {
    let (protocol, path) = if grpc {
        (Protocol::Grpc, "")
    } else {
        (Protocol::HttpProtobuf, "/v1/traces")
    };
    to(otlp(protocol, backend.endpoint(path)))
}

/// With a timeout that a test can wait for. An answer may come after it where the machine is busy.
fn impatient(mut config: Deliver) -> Deliver {
    if let Exporter::Otlp(otlp) = &mut config.exporter {
        otlp.timeout = Duration::from_secs(1);
    }
    config
}

fn setup(grpc: bool) -> crate::backend::Setup {
    if grpc {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    }
}

/// The faults that a backend can have in its answers.
fn scripts(grpc: bool) -> Vec<(&'static str, Vec<Reply>)> {
    let http = |status, headers| Reply::Http(status, headers, b"");
    let mut scripts = vec![
        ("held", vec![Reply::Held; 4]),
        ("silent", vec![Reply::Silence; 2]),
        (
            "a part",
            vec![Reply::Partial(2, "no room"), Reply::Partial(0, "a hint")],
        ),
        ("cut in the body", vec![Reply::CutRequest; 3]),
        ("cut in the answer", vec![Reply::CutAnswer; 2]),
        ("a proxy's 503", vec![http(503, vec![]); 3]),
        ("401", vec![http(401, vec![])]),
        ("404", vec![http(404, vec![]), Reply::Ok, http(400, vec![])]),
        ("too large", vec![http(413, vec![])]),
        (
            "mixed",
            vec![
                http(502, vec![]),
                Reply::CutRequest,
                http(403, vec![]),
                Reply::Held,
                Reply::Partial(1, "x"),
            ],
        ),
    ];
    if grpc {
        let retry = Reply::GrpcRetryInfo(Code::ResourceExhausted, Duration::from_millis(300));
        scripts.extend([
            ("RetryInfo", vec![retry; 2]),
            (
                "unavailable",
                vec![Reply::Grpc(Code::Unavailable, "away"); 3],
            ),
            (
                "refused",
                vec![
                    Reply::Grpc(Code::InvalidArgument, "no"),
                    Reply::Grpc(Code::ResourceExhausted, "quota"),
                ],
            ),
            (
                "too large by status",
                vec![Reply::Grpc(
                    Code::ResourceExhausted,
                    "grpc: received message larger than max (9 vs. 4)",
                )],
            ),
        ]);
    } else {
        scripts.extend([
            ("Retry-After", vec![http(429, vec![("retry-after", "1")])]),
            (
                "Retry-After as a date",
                vec![http(
                    503,
                    vec![("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")],
                )],
            ),
            ("500", vec![http(500, vec![]); 2]),
        ]);
    }
    scripts
}

#[tokio::test]
async fn the_books_balance_after_every_answer() {
    let mut cases = JoinSet::new();
    for grpc in [true, false] {
        for mode in KEEPING {
            for (name, script) in scripts(grpc) {
                cases.spawn(async move {
                    let what = format!("{name}, gRPC {grpc}, {mode:?}");
                    let directory = tempfile::tempdir().unwrap();
                    let backend = setup(grpc).script(script).start().await;
                    let mut config = endpoint(&backend, grpc);
                    if name == "silent" {
                        config = impatient(config);
                    }
                    let config = keeping(config, &directory, mode);
                    let batches = fresh(BATCHES, 5, 100);
                    let delivery = start(&config, &batches);
                    backend.wait_for_arrivals(1).await;
                    backend.release(BATCHES);
                    finish(&delivery).await;
                    assert_books(&what, &batches, &backend.received(), &delivery);
                });
            }
        }
    }
    cases.join_all().await;
}

#[tokio::test]
async fn a_backend_that_is_away_for_seconds_gets_everything() {
    let mut cases = JoinSet::new();
    for grpc in [true, false] {
        for mode in KEEPING {
            cases.spawn(async move {
                let directory = tempfile::tempdir().unwrap();
                let backend = setup(grpc).start().await;
                let away = if grpc {
                    Reply::Grpc(Code::Unavailable, "away")
                } else {
                    Reply::http(503)
                };
                backend.answers(Some(away));
                let config = keeping(endpoint(&backend, grpc), &directory, mode);
                let delivery = start(&config, &[]);
                let batches = fresh(40, 5, 100);
                let begin = Instant::now();
                for batch in &batches {
                    delivery.queue().push(batch.clone());
                }
                // Until the back-off has grown, whatever its jitter.
                let is_long = || {
                    delivery.counters().failures.load(Relaxed) >= 5
                        && begin.elapsed() > Duration::from_secs(1)
                };
                until("an outage of seconds", is_long).await;
                backend.answers(None);
                finish(&delivery).await;
                let what = format!("away, gRPC {grpc}, {mode:?}");
                assert_books(&what, &batches, &backend.received(), &delivery);
                assert_eq!(backend.accepted_ids(), ids_of(&batches), "{what}");
            });
        }
    }
    cases.join_all().await;
}

#[tokio::test]
async fn an_oversize_refusal_makes_requests_smaller_and_loses_nothing() {
    for grpc in [true, false] {
        for mode in KEEPING {
            let directory = tempfile::tempdir().unwrap();
            let backend = setup(grpc).max_body(100 << 10).start().await;
            let config = keeping(endpoint(&backend, grpc), &directory, mode);
            let batches = fresh(3, 200, 1 << 10);
            let delivery = start(&config, &batches);
            finish(&delivery).await;
            let what = format!("oversize, gRPC {grpc}, {mode:?}");
            assert_books(&what, &batches, &backend.received(), &delivery);
            assert_eq!(backend.accepted_ids(), ids_of(&batches), "{what}");
        }
    }
}

#[tokio::test]
async fn an_expired_certificate_holds_up_and_its_renewal_delivers() {
    for mode in KEEPING {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let expired = FakeBackend::grpc()
            .tls(authority.expired_server(&["h2"]))
            .listener(listener)
            .start()
            .await;
        let mut config = endpoint(&expired, true);
        if let Exporter::Otlp(otlp) = &mut config.exporter {
            otlp.tls.certificate = Some(authority.file());
        }
        let config = keeping(config, &directory, mode);
        let batches = fresh(BATCHES, 5, 100);
        let delivery = start(&config, &batches);
        until("an error", || delivery.counters().last_error().is_some()).await;
        let error = delivery.counters().last_error().unwrap().text;
        assert!(error.contains("has expired"), "{error}");
        assert!(delivery.counters().totals().balanced());
        assert_eq!(expired.arrivals(), 0);
        drop(expired);

        let listener = rebind(address).await;
        let renewed = FakeBackend::grpc()
            .tls(authority.server(&["h2"]))
            .listener(listener)
            .start()
            .await;
        finish(&delivery).await;
        let what = format!("certificate, {mode:?}");
        assert_books(&what, &batches, &renewed.received(), &delivery);
        assert_eq!(renewed.accepted_ids(), ids_of(&batches), "{what}");
    }
}

/// The same port again, as soon as the server that had it is gone.
pub(crate) async fn rebind(address: std::net::SocketAddr) -> TcpListener {
    let deadline = Instant::now() + AMPLE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Between us and a backend: on command it continues to read what we send and says nothing any more, on the connections
/// that are open, as when the other machine is gone without a word. New connections work.
struct Vanishing {
    address: std::net::SocketAddr,
    gone: tokio::sync::watch::Sender<bool>,
    _task: tokio::task::JoinHandle<()>,
}

impl Vanishing {
    async fn before(backend: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gone = tokio::sync::watch::Sender::new(false);
        let watch = gone.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(backend).await.unwrap();
                let mut gone = watch.subscribe();
                gone.mark_unchanged();
                connections.spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = gone.changed() => {}
                    }
                    // What comes is acknowledged by the kernel, and lost.
                    let mut lost = [0; 4096];
                    while near.read(&mut lost).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        Self {
            address,
            gone,
            _task: task,
        }
    }
}

#[tokio::test]
async fn a_half_open_connection_costs_a_timeout_and_is_replaced() {
    for grpc in [true, false] {
        for mode in KEEPING {
            let directory = tempfile::tempdir().unwrap();
            let backend = setup(grpc).start().await;
            let between = Vanishing::before(backend.address).await;
            let mut config = impatient(endpoint(&backend, grpc));
            if let Exporter::Otlp(otlp) = &mut config.exporter {
                let path = if grpc { "" } else { "/v1/traces" };
                otlp.endpoint = format!("http://{}{path}", between.address).parse().unwrap();
            }
            let config = keeping(config, &directory, mode);
            let batches = fresh(8, 5, 100);
            let delivery = start(&config, &batches[..4]);
            let counters = delivery.counters();
            until("connections", || counters.accepted.load().work == 4).await;
            between.gone.send_replace(true);
            for batch in &batches[4..] {
                delivery.queue().push(batch.clone());
            }
            until("the others", || counters.accepted.load().work == 8).await;
            assert!(counters.failures.load(Relaxed) > 0);
            finish(&delivery).await;
            let what = format!("half-open, gRPC {grpc}, {mode:?}");
            assert_books(&what, &batches, &backend.received(), &delivery);
        }
    }
}
