//! Compression of requests of 2 MiB: our own gzip, zlib-rs at level 1, zstd at level 1, one core. Prints the table of
//! docs/performance.md.
//!
//! *Fresh* bodies come once in a round, as in the daemon; *repeated* is one of them again and again, which branch
//! predictors learn: the two side by side show what the second would hide. Compressors and rounds are interleaved and
//! the fastest round of each body counts, so that other work on the machine matters little:
//! `cargo bench -p netflow2traces --bench compress`, about two minutes.
#![expect(
    clippy::print_stdout,
    reason = "a bench prints, and ends at the first mistake"
)]

use std::io::Write as _;
use std::time::{Duration, Instant};

use netflow2traces::config::AttributeLevel::{self, Minimal, Standard};
use support::{Batches, Form, Traffic};

mod support;

const SEED: u64 = 11;
const ROUNDS: usize = 9;
/// Bodies of a kind: about fifty thousand flows, more than a predictor remembers.
const BODIES: usize = 12;

const KINDS: [(&str, Form, AttributeLevel); 5] = [
    ("v5, `minimal`", Form::V5, Minimal),
    ("v5, `standard`", Form::V5, Standard),
    ("IPFIX, IPv4, `minimal`", Form::Ipfix4, Minimal),
    ("IPFIX, IPv6, `minimal`", Form::Ipfix6, Minimal),
    ("IPFIX, IPv6, `standard`", Form::Ipfix6, Standard),
];

type Compress = fn(&[u8]) -> Vec<u8>;

fn main() {
    let compressors: [(&str, Compress); 3] =
        [("own gzip", own), ("zlib-rs 1", zlib), ("zstd 1", zstd_1)];
    println!(
        "| traffic | flows | compressor | of the size | fresh, MB/s | repeated, MB/s | fresh, ns a flow | own gzip by it |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (traffic, name) in [
        (Traffic::HeavyTailed, "heavy-tailed"),
        (Traffic::Random, "random"),
    ] {
        for (flows, form, level) in KINDS {
            let batches: Vec<_> = Batches::new(form, traffic, level, SEED)
                .take(BODIES)
                .collect();
            let spans: u32 = batches.iter().map(|batch| batch.flow_spans).sum();
            let bodies: Vec<_> = batches.into_iter().map(|batch| batch.octets).collect();
            let octets: usize = bodies.iter().map(|body| body.len()).sum();
            let mut sizes = [0; 3];
            // Of each body the fastest round: [compressor][fresh, repeated].
            let mut best = vec![[[Duration::MAX; 2]; 3]; bodies.len()];
            for _ in 0..ROUNDS {
                for (body, best) in bodies.iter().zip(&mut best) {
                    for (index, (_, compress)) in compressors.iter().enumerate() {
                        let size;
                        (best[index][0], size) = time(*compress, body, best[index][0]);
                        sizes[index] += size;
                    }
                }
            }
            for (index, (_, compress)) in compressors.iter().enumerate() {
                for best in &mut best {
                    (best[index][1], _) = time(*compress, &bodies[0], best[index][1]);
                }
            }
            let best: [[f64; 2]; 3] = std::array::from_fn(|index| {
                std::array::from_fn(|how| {
                    best.iter().map(|best| best[index][how].as_secs_f64()).sum()
                })
            });
            for (index, (compressor, _)) in compressors.iter().enumerate() {
                let [fresh, repeated] = best[index].map(|best| octets as f64 / best / 1e6);
                println!(
                    "| {name} | {flows} | {compressor} | {:.3} | {fresh:.0} | {repeated:.0} | {:.0} | {:.2} |",
                    sizes[index] as f64 / (ROUNDS * octets) as f64,
                    best[index][0] * 1e9 / f64::from(spans),
                    best[index][0] / best[0][0],
                );
            }
        }
    }
}

/// The shorter of what it takes and of the best so far; and what comes out.
fn time(compress: Compress, body: &[u8], best: Duration) -> (Duration, usize) {
    let began = Instant::now();
    let size = std::hint::black_box(compress(body)).len();
    (best.min(began.elapsed()), size)
}

fn own(octets: &[u8]) -> Vec<u8> {
    otlp_wire::gzip::compress(octets).expect("a request is worth it")
}

fn zlib(octets: &[u8]) -> Vec<u8> {
    let room = Vec::with_capacity(octets.len() / 4);
    let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::new(1));
    encoder.write_all(octets).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd_1(octets: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(octets, 1).expect("memory")
}
