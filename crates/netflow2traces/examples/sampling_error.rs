//! The table of docs/sampling.md: what `NETFLOW_SAMPLE_BYTES` saves, for what error, beside sampling all records alike.
//!
//! `cargo run --release -p netflow2traces --example sampling_error`

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::Context as _;
use netflow_wire::write::{V5Header, V5Record, v5};
use netflow2traces::config::{self, Machine, Purpose, Sources, Translate};
use netflow2traces::translate::{Datagram, Ids, Translator};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use otlp_wire::UnixNanos;
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng};

const DATAGRAMS: usize = 5_000;
const OF_DATAGRAM: usize = 30;
const TALKERS: u32 = 5_000;
/// Those whose estimates are judged.
const TOP: usize = 100;
const SEEDS: u8 = 5;
/// For the last column: flow records a second, and seconds of a day.
const A_DAY: f64 = 10_000.0 * 86_400.0;
const NOW: u32 = 1_700_000_000;

fn main() -> anyhow::Result<()> {
    let traffic = traffic();
    let mut truth: HashMap<u32, f64> = HashMap::new();
    for (source, bytes) in traffic.iter().flatten() {
        *truth.entry(*source).or_default() += f64::from(*bytes);
    }
    let mut top: Vec<(u32, f64)> = truth.into_iter().collect();
    top.sort_by(|one, other| other.1.total_cmp(&one.1));
    top.truncate(TOP);
    let all = run(&traffic, None, 0)?;
    let octets_a_record = all.octets as f64 / records() as f64;
    println!(
        "| `NETFLOW_SAMPLE_BYTES` | spans kept | error of the top {TOP} talkers | error with equal probability | GB a day at 10,000 records/s |"
    );
    println!("|---|---|---|---|---|");
    println!(
        "| (not set) | 100 % | 0 % | 0 % | {:.0} |",
        octets_a_record * A_DAY / 1e9
    );
    for size in ["10kB", "100kB", "1MB", "10MB"] {
        let (mut kept, mut error, mut alike, mut octets) = (0.0, 0.0, 0.0, 0.0);
        for seed in 0..SEEDS {
            let run = run(&traffic, Some(size), seed)?;
            let share = run.kept as f64 / records() as f64;
            kept += share;
            octets += run.octets as f64 / records() as f64;
            error += mean_error(&top, &run.sums);
            alike += mean_error(&top, &uniform(&traffic, share, seed));
        }
        let seeds = f64::from(SEEDS);
        println!(
            "| `{size}` | {:.2} % | {:.1} % | {:.0} % | {:.1} |",
            100.0 * kept / seeds,
            100.0 * error / seeds,
            100.0 * alike / seeds,
            octets / seeds * A_DAY / 1e9
        );
    }
    Ok(())
}

fn records() -> usize {
    DATAGRAMS * OF_DATAGRAM
}

/// Sources and bytes: a few sources send most records, and a few records carry most bytes (Pareto, of shape 1.1).
fn traffic() -> Vec<Vec<(u32, u32)>> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut record = || {
        let source = f64::from(TALKERS) * random.random_range(0.0..1.0_f64).powi(3);
        let bytes = 300.0 / random.random_range(1e-9..1.0_f64).powf(1.0 / 1.1);
        (source as u32, bytes as u32)
    };
    let datagram = |_| (0..OF_DATAGRAM).map(|_| record()).collect();
    (0..DATAGRAMS).map(datagram).collect()
}

/// What the daemon's translation makes of the traffic.
struct Run {
    kept: usize,
    octets: usize,
    /// Adjusted bytes by source.
    sums: HashMap<u32, f64>,
}

fn run(traffic: &[Vec<(u32, u32)>], size: Option<&str>, seed: u8) -> anyhow::Result<Run> {
    let mut translator =
        Translator::new(&configuration(size)?, || UnixNanos(0), Ids::new([seed; 32]));
    let source: SocketAddr = "192.0.2.1:2055".parse().context("an address")?;
    let mut run = Run {
        kept: 0,
        octets: 0,
        sums: HashMap::new(),
    };
    let now = Instant::now();
    for datagram in traffic {
        let octets = encoded(datagram)?;
        let datagram = Datagram {
            octets: &octets,
            source,
            received_at: UnixNanos(u64::from(NOW) * 1_000_000_000),
        };
        translator.on_datagram(&datagram, now);
        while let Some(batch) = translator.poll_batch(now) {
            run.add(&batch.octets)?;
        }
    }
    translator.flush();
    while let Some(batch) = translator.poll_batch(now) {
        run.add(&batch.octets)?;
    }
    Ok(run)
}

fn configuration(size: Option<&str>) -> anyhow::Result<Translate> {
    let variables = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("NETFLOW_SAMPLE_BYTES", size.unwrap_or_default()),
    ];
    let sources = Sources::collect(vec![], &variables);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    Ok(loaded
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?
        .config
        .translate)
}

fn encoded(records: &[(u32, u32)]) -> anyhow::Result<Vec<u8>> {
    let records: Vec<V5Record> = records
        .iter()
        .map(|(source, bytes)| V5Record {
            source: Ipv4Addr::from(0x0a00_0000 | source),
            destination: Ipv4Addr::new(198, 51, 100, 9),
            octets: *bytes,
            packets: 1 + bytes / 1_000,
            protocol: 6,
            ..V5Record::default()
        })
        .collect();
    let header = V5Header {
        unix_secs: NOW,
        ..V5Header::default()
    };
    v5(&header, &records).context("a datagram")
}

impl Run {
    fn add(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        self.octets += octets.len();
        let request = ExportTraceServiceRequest::decode(octets)?;
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|of| of.scope_spans);
        for span in scopes.flat_map(|of| of.spans) {
            let value = |key: &str| {
                let found = span
                    .attributes
                    .iter()
                    .find(|attribute| attribute.key == key)?;
                found.value.as_ref()?.value.as_ref()
            };
            let Some(Value::StringValue(source)) = value("source.address") else {
                continue;
            };
            self.kept += 1;
            if let Some(Value::IntValue(bytes)) = value("netflow.sample.adjusted_bytes") {
                let source = u32::from(source.parse::<Ipv4Addr>()?) & 0x00ff_ffff;
                *self.sums.entry(source).or_default() += *bytes as f64;
            }
        }
        Ok(())
    }
}

/// Estimates of sampling every record with one probability.
fn uniform(traffic: &[Vec<(u32, u32)>], share: f64, seed: u8) -> HashMap<u32, f64> {
    let mut random = SmallRng::seed_from_u64(u64::from(seed) + 100);
    let mut sums: HashMap<u32, f64> = HashMap::new();
    for (source, bytes) in traffic.iter().flatten() {
        if random.random_range(0.0..1.0) < share {
            *sums.entry(*source).or_default() += f64::from(*bytes) / share;
        }
    }
    sums
}

/// How far the estimates are off, relative to the truth, on average.
fn mean_error(truth: &[(u32, f64)], sums: &HashMap<u32, f64>) -> f64 {
    let errors = truth.iter().map(|(source, bytes)| {
        let estimate = sums.get(source).copied().unwrap_or(0.0);
        (estimate - bytes).abs() / bytes
    });
    errors.sum::<f64>() / truth.len() as f64
}
