//! The one place that knows how a translator is driven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netflow2traces::config::{AttributeLevel, SpanTime, TraceSampler, Translate};
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;

use super::pcap::Captured;

/// Between two datagrams, whatever the capture's own pace was: no template grows old.
const GAP: Duration = Duration::from_millis(2);

/// The encoded requests that a fresh translator makes of the datagrams, with the daemon's defaults.
pub(crate) fn translate(datagrams: &[Captured]) -> Vec<Bytes> {
    let clock = Arc::new(AtomicU64::new(0));
    let reading = Arc::clone(&clock);
    let wall = move || UnixNanos(reading.load(Ordering::Relaxed));
    let mut translator = Translator::new(&configuration(), wall, Ids::new([7; 32]));
    let mut now = Instant::now();
    let mut requests = Vec::new();
    for captured in datagrams {
        clock.store(captured.at.0, Ordering::Relaxed);
        now += GAP;
        let datagram = Datagram {
            octets: &captured.octets,
            source: captured.source,
            received_at: captured.at,
        };
        translator.on_datagram(&datagram, now);
        while let Some(batch) = translator.poll_batch(now) {
            requests.push(batch.octets);
        }
    }
    translator.flush();
    while let Some(batch) = translator.poll_batch(now) {
        requests.push(batch.octets);
    }
    requests
}

fn configuration() -> Translate {
    Translate {
        template_lifetime: Duration::from_secs(24 * 60 * 60),
        allowed_exporters: Vec::new(),
        max_rate_per_exporter: None,
        max_record_rate_per_exporter: None,
        template_store: None,
        max_exporters: 65_536,
        max_templates_per_exporter: 4_096,
        span_time: SpanTime::Flow,
        span_max_age: Duration::from_secs(25),
        attributes: AttributeLevel::Standard,
        semconv: netflow2traces::config::Semconv::Netflow,
        shape: netflow2traces::config::TraceShape::Packet,
        span_name: netflow2traces::config::SpanName::Schema,
        service_name: netflow2traces::config::ServiceName::Fixed,
        service_graph: netflow2traces::config::ServiceGraph::None,
        sampler: TraceSampler::AlwaysOn,
        selection: netflow2traces::config::Selection::default(),
        resource: vec![("service.name".to_owned(), "netflow-to-traces".to_owned())],
        batch_delay: Duration::from_secs(1),
        batch_max_spans: 8_192,
        batch_max_octets: 2 << 20,
        sampling_override: Vec::new(),
        fields: None,
        scale_sampled: false,
    }
}
