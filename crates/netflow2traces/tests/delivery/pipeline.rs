//! The ways that all goes well.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Version;
use netflow2traces::config::{Compression, Deliver, Exporter, Protocol};
use netflow2traces::deliver::{Delivery, Outcome, try_backend};

use crate::backend::{FakeBackend, Reply};
use crate::certificates::Authority;
use crate::{batch, count, deliver, finish, grpc_to, http_to, ids_of, otlp, start, to, until};

#[tokio::test]
async fn grpc_delivers_every_span_once() {
    let backend = FakeBackend::grpc().start().await;
    let batches: Vec<_> = (0..20).map(|_| batch(30, 10)).collect();
    let totals = deliver(&grpc_to(&backend), &batches).await;
    assert_eq!(totals.accepted, count(600, 20));
    assert_eq!(backend.accepted_ids(), ids_of(&batches));
    let first = &backend.received()[0];
    assert_eq!(
        first.path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    assert_eq!(first.version, Version::HTTP_2);
}

#[tokio::test]
async fn http_protobuf_delivers_every_span_once() {
    let backend = FakeBackend::http().start().await;
    let batches: Vec<_> = (0..20).map(|_| batch(30, 10)).collect();
    let totals = deliver(&http_to(&backend), &batches).await;
    assert_eq!(totals.accepted, count(600, 20));
    assert_eq!(backend.accepted_ids(), ids_of(&batches));
    assert_eq!(backend.received()[0].path, "/v1/traces");
    assert!(
        backend.connections() <= 2,
        "connections are kept: {}",
        backend.connections()
    );
}

#[tokio::test]
async fn http_json_delivers_every_span_once() {
    let backend = FakeBackend::http().start().await;
    let batches: Vec<_> = (0..5).map(|_| batch(30, 10)).collect();
    let config = to(otlp(Protocol::HttpJson, backend.endpoint("/v1/traces")));
    let totals = deliver(&config, &batches).await;
    assert_eq!(totals.accepted, count(150, 5));
    assert_eq!(backend.accepted_ids(), ids_of(&batches));
}

#[tokio::test]
async fn compressed_bodies_are_understood() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson] {
            let (backend, path) = match protocol {
                Protocol::Grpc => (FakeBackend::grpc().start().await, ""),
                _ => (FakeBackend::http().start().await, "/v1/traces"),
            };
            let mut otlp = otlp(protocol, backend.endpoint(path));
            otlp.compression = compression;
            let batches = [batch(100, 200), batch(100, 200)];
            let delivery = start(&to(otlp), &batches);
            let totals = finish(&delivery).await;
            assert_eq!(
                totals.accepted,
                count(200, 2),
                "{protocol:?} {compression:?}"
            );
            assert_eq!(backend.accepted_ids(), ids_of(&batches));
            let counters = delivery.counters();
            let load = |counter: &std::sync::atomic::AtomicU64| {
                counter.load(std::sync::atomic::Ordering::Relaxed)
            };
            assert!(load(&counters.octets_sent) * 3 < load(&counters.octets_encoded));
        }
    }
}

#[tokio::test]
async fn requests_share_several_connections() {
    let backend = FakeBackend::grpc()
        .script([Reply::Silence, Reply::Silence])
        .start()
        .await;
    let delivery = start(&grpc_to(&backend), &[batch(1, 0), batch(1, 0)]);
    backend.wait_for_arrivals(2).await;
    assert_eq!(backend.connections(), 2);
    assert_eq!(
        delivery
            .counters()
            .requests_in_flight
            .load(std::sync::atomic::Ordering::Relaxed),
        2
    );
}

#[tokio::test]
async fn partial_success_is_counted_and_not_retried() {
    for grpc in [true, false] {
        let setup = if grpc {
            FakeBackend::grpc()
        } else {
            FakeBackend::http()
        };
        let backend = setup.script([Reply::Partial(11, "no room")]).start().await;
        let config = if grpc {
            grpc_to(&backend)
        } else {
            http_to(&backend)
        };
        let delivery = start(&config, &[batch(32, 0)]);
        let totals = finish(&delivery).await;
        assert_eq!(totals.rejected, count(11, 0));
        assert_eq!(totals.accepted, count(21, 1));
        assert_eq!(backend.arrivals(), 1);
        let error = delivery.counters().last_error().expect("recorded");
        assert!(error.text.contains("no room"), "{}", error.text);
    }
}

#[tokio::test]
async fn partial_success_over_json_is_understood() {
    let backend = FakeBackend::http()
        .script([Reply::Partial(3, "why")])
        .start()
        .await;
    let config = to(otlp(Protocol::HttpJson, backend.endpoint("/v1/traces")));
    let totals = deliver(&config, &[batch(2, 0)]).await;
    assert_eq!(totals.rejected, count(2, 1));
}

#[tokio::test]
async fn a_warning_rejects_nothing() {
    let backend = FakeBackend::grpc()
        .script([Reply::Partial(0, "old client")])
        .start()
        .await;
    let totals = deliver(&grpc_to(&backend), &[batch(2, 0)]).await;
    assert_eq!(totals.accepted, count(2, 1));
    assert_eq!(totals.lost(), count(0, 0));
}

/// Nothing waits in the kernel for more to come: the fastest of some requests takes but a moment.
#[tokio::test]
async fn requests_of_every_size_leave_at_once() {
    let authority = Authority::new();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        for tls in [false, true] {
            let setup = if protocol == Protocol::Grpc {
                FakeBackend::grpc()
            } else {
                FakeBackend::http()
            };
            let setup = if tls {
                setup.tls(authority.server(&["h2", "http/1.1"]))
            } else {
                setup
            };
            let backend = setup.start().await;
            let mut otlp = otlp(protocol, backend.endpoint("/v1/traces"));
            otlp.tls.certificate = Some(authority.file());
            let delivery = start(&to(otlp), &[]);
            for octets in [0, 5_000, 20_000, 40_000, 100_000, 1_000_000] {
                let mut fastest = Duration::MAX;
                for _ in 0..5 {
                    let (begin, before) =
                        (Instant::now(), delivery.counters().accepted.load().work);
                    delivery.queue().push(batch(1, octets));
                    until("an answer", || {
                        delivery.counters().accepted.load().work > before
                    })
                    .await;
                    fastest = fastest.min(begin.elapsed());
                }
                let moment = Duration::from_millis(150);
                assert!(
                    fastest < moment,
                    "{protocol:?}, TLS {tls}, {octets} octets: {fastest:?}"
                );
            }
        }
    }
}

/// A `Write` whose content the test can see.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn exporter(exporter: Exporter) -> Deliver {
    Deliver {
        exporter,
        console_copy: false,
        queue_size: 1 << 20,
        concurrency: 2,
        max_request_size: 1 << 20,
        spool: None,
    }
}

#[tokio::test]
async fn the_console_gets_one_json_line_a_span() {
    let lines = Lines::default();
    let delivery =
        Delivery::start_with_stdout(&exporter(Exporter::Console), lines.clone()).unwrap();
    delivery.queue().push(batch(4, 0));
    delivery.queue().push(batch(3, 0));
    let totals = finish(&delivery).await;
    assert_eq!(totals.accepted, count(7, 2));
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 9);
    for line in text.lines() {
        let span: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(span.is_object(), "{line}");
    }
}

#[tokio::test]
async fn a_closed_stdout_rejects() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let delivery = Delivery::start_with_stdout(&exporter(Exporter::Console), Closed).unwrap();
    delivery.queue().push(batch(4, 0));
    assert_eq!(finish(&delivery).await.rejected, count(4, 1));
}

#[tokio::test]
async fn none_discards() {
    let totals = deliver(&exporter(Exporter::None), &[batch(4, 0), batch(4, 0)]).await;
    assert_eq!(totals.discarded, count(8, 2));
    assert_eq!(totals.accepted, count(0, 0));
}

#[tokio::test]
async fn a_backend_can_be_tried_without_spans() {
    for (protocol, grpc) in [
        (Protocol::Grpc, true),
        (Protocol::HttpProtobuf, false),
        (Protocol::HttpJson, false),
    ] {
        let setup = if grpc {
            FakeBackend::grpc()
        } else {
            FakeBackend::http()
        };
        let script = [Reply::Ok, Reply::http(401)];
        let backend = setup.script(script).start().await;
        let exporter = Exporter::Otlp(otlp(protocol, backend.endpoint("/v1/traces")));
        assert_eq!(try_backend(&exporter).await.unwrap(), Outcome::Accepted);
        let outcome = try_backend(&exporter).await.unwrap();
        assert!(matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
        assert_eq!(backend.accepted_ids(), []);
    }
}
