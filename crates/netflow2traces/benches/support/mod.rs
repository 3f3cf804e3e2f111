//! Requests as the daemon sends them, made of what `netflow2traces send` invents.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
use netflow2traces::send::{self, Family, GenerateOptions, Pattern, Protocol};
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::{EncodedBatch, UnixNanos};

fn wall() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixNanos(since.map_or(0, |since| since.as_nanos() as u64))
}

/// The requests that so many flows of ten exporters become.
pub(crate) fn batches(
    protocol: Protocol,
    family: Family,
    level: AttributeLevel,
    flows: u64,
) -> Vec<EncodedBatch> {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    let config = config::Translate {
        attributes: level,
        ..loaded.expect("defaults are sound").config.translate
    };
    let mut translator = Translator::new(&config, wall, Ids::new([7; 32]));
    let options = GenerateOptions {
        protocol,
        pattern: Pattern::Mixed,
        family,
        flows_per_packet: None,
        rate: None,
        count: Some(flows),
        exporters: 10,
        template_interval: Duration::from_secs(60),
        seed: 3,
    };
    let now = Instant::now();
    let mut batches = Vec::new();
    send::invent(&options, wall().0 / 1_000_000, |exporter, octets| {
        let datagram = Datagram {
            octets,
            source: ([192, 0, 2, exporter as u8 + 1], 2055).into(),
            received_at: wall(),
        };
        translator.on_datagram(&datagram, now);
        batches.extend(std::iter::from_fn(|| translator.poll_batch(now)));
    })
    .expect("records fit");
    translator.flush();
    batches.extend(std::iter::from_fn(|| translator.poll_batch(now)));
    batches
}
