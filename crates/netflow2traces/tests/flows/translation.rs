//! The one place that knows how a translator is driven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;

use super::defaults;
use super::pcap::Captured;

/// Between two datagrams, whatever the capture's own pace was: no template grows old.
const GAP: Duration = Duration::from_millis(2);

/// The encoded requests that a fresh translator makes of the datagrams, with the daemon's defaults.
pub(crate) fn translate(datagrams: &[Captured]) -> Vec<Bytes> {
    let clock = Arc::new(AtomicU64::new(0));
    let reading = Arc::clone(&clock);
    let wall = move || UnixNanos(reading.load(Ordering::Relaxed));
    let mut translator = Translator::new(&defaults::translate(), wall, Ids::new([7; 32]));
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
