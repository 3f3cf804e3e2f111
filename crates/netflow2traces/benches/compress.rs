//! Compression of requests of 2 MiB, of several kinds: our own gzip, zlib-rs at level 1, zstd at level 1. Octets of
//! the request a second of one core; before that, octets that each makes of a flow.
#![expect(clippy::print_stdout, reason = "sizes are printed")]

use std::io::Write as _;

use divan::Bencher;
use divan::counter::BytesCount;
use netflow2traces::config::AttributeLevel::{self, All, Minimal, Standard};
use netflow2traces::send::Family::{self, V4, V6};
use netflow2traces::send::Protocol::{self, Ipfix, Sflow, V5, V9};
use otlp_wire::EncodedBatch;

mod support;

type Kind = (Protocol, Family, AttributeLevel);

const KINDS: [(&str, Kind); 8] = [
    ("v5 minimal", (V5, V4, Minimal)),
    ("v5 standard", (V5, V4, Standard)),
    ("v9 minimal", (V9, V4, Minimal)),
    ("ipfix minimal", (Ipfix, V4, Minimal)),
    ("ipfix v6 minimal", (Ipfix, V6, Minimal)),
    ("ipfix v6 standard", (Ipfix, V6, Standard)),
    ("sflow minimal", (Sflow, V4, Minimal)),
    ("sflow all", (Sflow, V4, All)),
];
const NAMES: [&str; 8] = {
    let mut names = [""; 8];
    let mut index = 0;
    while index < names.len() {
        names[index] = KINDS[index].0;
        index += 1;
    }
    names
};

fn main() {
    println!("octets a flow: plain, own gzip, zlib-rs 1, zstd 1");
    for name in NAMES {
        let batch = batch(name);
        let flow = |octets: usize| octets as f64 / f64::from(batch.flow_spans.max(1));
        println!(
            "{name:18} {:6.1} {:6.1} {:6.1} {:6.1}",
            flow(batch.octets.len()),
            flow(own(&batch.octets).len()),
            flow(zlib(&batch.octets).len()),
            flow(zstd_1(&batch.octets).len()),
        );
    }
    divan::main();
}

/// The first request of so many flows that it is a full one.
fn batch(name: &str) -> EncodedBatch {
    let kind = KINDS.iter().find(|(other, _)| *other == name);
    let (protocol, family, level) = kind.expect("a kind").1;
    support::batches(protocol, family, level, 6_000).swap_remove(0)
}

fn own(octets: &[u8]) -> Vec<u8> {
    otlp_wire::gzip::compress(octets).unwrap_or_default()
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

fn run(bencher: Bencher<'_, '_>, name: &str, compress: fn(&[u8]) -> Vec<u8>) {
    let octets = batch(name).octets;
    bencher
        .counter(BytesCount::new(octets.len()))
        .bench_local(|| compress(divan::black_box(&octets)));
}

#[divan::bench(args = NAMES)]
fn own_gzip(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, own);
}

#[divan::bench(args = NAMES)]
fn zlib_rs_1(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, zlib);
}

#[divan::bench(args = NAMES)]
fn zstd_level_1(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, zstd_1);
}
