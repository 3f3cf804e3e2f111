//! Delivery against scripted backends: nothing is lost without a counter, nothing is sent that the
//! protocol forbids.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[expect(dead_code, reason = "parts of it serve other tests")]
#[path = "../support/backend/mod.rs"]
mod backend;
#[path = "../support/certificates.rs"]
mod certificates;
#[expect(dead_code, reason = "parts of it serve other tests")]
#[path = "../support/log.rs"]
mod log;

mod failures;
mod fair;
mod faults;
mod foreign;
mod headers;
mod logging;
mod never_pass;
mod odd;
mod pipeline;
mod proxy;
mod receipts;
mod receive;
mod renewal;
mod replicas;
mod shutdown;
mod spool;
#[cfg(target_os = "linux")]
mod steering;
mod tls;
mod too_large;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use netflow2traces::config::{Deliver, Exporter, Otlp, Protocol};
use netflow2traces::deliver::{Count, Delivery, Totals};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp_wire::{EncodedBatch, UnixNanos};
use prost::Message as _;
use tokio::time::MissedTickBehavior;

use backend::FakeBackend;

/// Time that a drain in a test may take; it ends as soon as all is settled.
const AMPLE: Duration = Duration::from_secs(30);

/// A request of so many flow spans and one work span, with ids that no other batch has. Flow spans
/// have an attribute of `padding` octets.
pub(crate) fn batch(flow_spans: u32, padding: usize) -> EncodedBatch {
    let span = |name: &str, padding: usize| {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Relaxed).to_be_bytes();
        let value = any_value::Value::StringValue("x".repeat(padding));
        Span {
            trace_id: [number, number].concat(),
            span_id: number.to_vec(),
            name: name.into(),
            kind: 1,
            start_time_unix_nano: 1_700_000_000_000_000_000,
            end_time_unix_nano: 1_700_000_001_000_000_000,
            attributes: vec![KeyValue {
                key: "padding".into(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            }],
            ..Span::default()
        }
    };
    let mut spans = vec![span("netflow.export", 0)];
    spans.extend((0..flow_spans).map(|_| span("netflow.flow", padding)));
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource::default()),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    EncodedBatch {
        octets: request.encode_to_vec().into(),
        flow_spans,
        work_spans: 1,
        oldest: UnixNanos(1),
        receipt: None,
    }
}

/// The ids inside, sorted.
pub(crate) fn ids_of(batches: &[EncodedBatch]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut ids: Vec<_> = batches
        .iter()
        .flat_map(|batch| {
            backend::ids(&ExportTraceServiceRequest::decode(&batch.octets[..]).unwrap())
        })
        .collect();
    ids.sort();
    ids
}

pub(crate) fn count(flow: u64, work: u64) -> Count {
    Count { flow, work }
}

pub(crate) fn otlp(protocol: Protocol, endpoint: http::Uri) -> Otlp {
    Otlp::new(protocol, endpoint)
}

pub(crate) fn to(otlp: Otlp) -> Deliver {
    Deliver {
        exporter: Exporter::Otlp(otlp),
        console_copy: false,
        queue_size: 64 << 20,
        concurrency: 2,
        max_request_size: 2 << 20,
        spool: None,
    }
}

pub(crate) fn grpc_to(backend: &FakeBackend) -> Deliver {
    to(otlp(Protocol::Grpc, backend.endpoint("")))
}

pub(crate) fn http_to(backend: &FakeBackend) -> Deliver {
    to(otlp(Protocol::HttpProtobuf, backend.endpoint("/v1/traces")))
}

/// Delivers batches and drains; the books must balance with nothing left inside.
pub(crate) async fn deliver(config: &Deliver, batches: &[EncodedBatch]) -> Totals {
    let delivery = start(config, batches);
    finish(&delivery).await
}

pub(crate) fn start(config: &Deliver, batches: &[EncodedBatch]) -> Delivery {
    let delivery = Delivery::start(config).expect("a sound configuration");
    for batch in batches {
        delivery.queue().push(batch.clone());
    }
    delivery
}

pub(crate) async fn finish(delivery: &Delivery) -> Totals {
    let totals = delivery.drain(Instant::now() + AMPLE).await;
    assert_settled(delivery, totals);
    totals
}

pub(crate) fn assert_settled(delivery: &Delivery, totals: Totals) {
    let counters = delivery.counters();
    assert!(totals.balanced(), "{totals:?}");
    assert_eq!(totals.queued, Count::default());
    assert_eq!(totals.in_flight, Count::default());
    assert_eq!(counters.queued_octets.load(Relaxed), 0);
    assert_eq!(counters.queued_batches.load(Relaxed), 0);
    assert_eq!(counters.requests_in_flight.load(Relaxed), 0);
}

/// Waits until the condition holds, which counters reach without a signal. At first it looks all the time, so that what
/// holds for a moment is seen; then now and then, so that the processor is left to those waited for.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(5));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !condition() {
        assert!(start.elapsed() < AMPLE, "{what} in time");
        if start.elapsed() < Duration::from_millis(50) {
            tokio::task::yield_now().await;
        } else {
            look.tick().await;
        }
    }
}
