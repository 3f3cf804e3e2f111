//! A full queue drops spans of the exporters that fill it, and of no others.

use std::sync::atomic::Ordering::Relaxed;

use netflow2traces::config::Protocol;
use netflow2traces::deliver::Count;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use otlp_wire::{EncodedBatch, UnixNanos};
use prost::Message as _;

use crate::backend::FakeBackend;
use crate::failures::{endpoint_of, reserved_port};
use crate::{batch, finish, ids_of, otlp, start, to, until};

/// The spans of these batches in one, each under the resource of its exporter.
pub(crate) fn mixed(parts: &[(&str, &EncodedBatch)]) -> EncodedBatch {
    let named = |address: &str| {
        let value = any_value::Value::StringValue(address.into());
        Resource {
            attributes: vec![KeyValue {
                key: "netflow.exporter.address".into(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            }],
            ..Resource::default()
        }
    };
    let resource_spans = parts.iter().map(|(address, batch)| {
        let request = ExportTraceServiceRequest::decode(&batch.octets[..]).unwrap();
        ResourceSpans {
            resource: Some(named(address)),
            ..request.resource_spans[0].clone()
        }
    });
    let request = ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    };
    EncodedBatch {
        octets: request.encode_to_vec().into(),
        flow_spans: parts.iter().map(|(_, batch)| batch.flow_spans).sum(),
        work_spans: parts.iter().map(|(_, batch)| batch.work_spans).sum(),
        oldest: UnixNanos(1),
        receipt: None,
    }
}

#[tokio::test]
async fn only_the_exporters_that_fill_a_queue_lose_spans() {
    let socket = reserved_port();
    let mut config = to(otlp(Protocol::Grpc, endpoint_of(&socket)));
    config.queue_size = 300_000;
    let delivery = start(&config, &[]);
    let counters = delivery.counters();
    let (mut honest, mut hostile) = (Vec::new(), Vec::new());
    for round in 0..100 {
        let (one, two, many) = (batch(2, 100), batch(1, 100), batch(30, 400));
        // In any order, and not in every batch.
        let parts = match round % 3 {
            0 => vec![
                ("192.0.2.1", &one),
                ("203.0.113.9", &many),
                ("192.0.2.2", &two),
            ],
            1 => vec![("203.0.113.9", &many), ("192.0.2.1", &one)],
            _ => vec![("203.0.113.9", &many)],
        };
        delivery.queue().push(mixed(&parts));
        for (address, part) in parts {
            if address == "203.0.113.9" {
                hostile.push(part.clone());
            } else {
                honest.push(part.clone());
            }
        }
        assert!(counters.queued_octets.load(Relaxed) <= 300_000);
    }
    until("an outage", || counters.backend_away.load(Relaxed)).await;
    assert!(counters.totals().balanced());
    let backend = FakeBackend::grpc()
        .listener(socket.listen(64).unwrap())
        .start()
        .await;
    let totals = finish(&delivery).await;
    let accepted = backend.accepted_ids();
    assert!(
        ids_of(&honest)
            .iter()
            .all(|id| accepted.binary_search(id).is_ok())
    );
    let lost = ids_of(&hostile);
    let lost = lost.iter().filter(|id| accepted.binary_search(id).is_err());
    let lost = lost.count() as u64;
    assert!(lost > 0);
    assert_eq!(counters.dropped.queue_full.load().all(), lost);
    assert_eq!(totals.dropped.all(), lost);
    assert_ne!(totals.dropped, Count::default());
}

#[tokio::test]
async fn exporters_with_equal_shares_lose_the_oldest() {
    let mut config = to(otlp(Protocol::Grpc, "http://127.0.0.1:9".parse().unwrap()));
    config.queue_size = 100_000;
    let delivery = start(&config, &[]);
    for _ in 0..50 {
        let parts = [batch(5, 500), batch(5, 500)];
        delivery
            .queue()
            .push(mixed(&[("192.0.2.1", &parts[0]), ("192.0.2.2", &parts[1])]));
    }
    let counters = delivery.counters();
    assert!(counters.queued_octets.load(Relaxed) <= 100_000);
    // Nearly all of the room is used.
    assert!(counters.queued_octets.load(Relaxed) > 80_000);
    assert!(counters.dropped.queue_full.load().flow > 250);
    assert!(counters.totals().balanced());
}
