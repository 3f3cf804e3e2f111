//! Compresses requests of varied spans until so many went through, and compares what flate2 inflates of each, octet
//! for octet. Ends at the first difference.
//!
//! `cargo run --release -p otlp-wire --example gzip_soak -- [SPANS] [SEED] [FOLDER]`: a hundred million spans unless
//! set otherwise. Into the folder go some of the bodies, as `N.gz` beside `N.pb`, for other tools to read.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example tells what it does"
)]

use std::error::Error;
use std::fs;
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Instant;

use flate2::read::GzDecoder;
use otlp_wire::{
    Key, ResourceFront, SpanFront, SpanHead, SpanKind, SpanWriter, Status, UnixNanos, Value, gzip,
};

const SPANS: u64 = 100_000_000;
/// Octets of a request, from few to the daemon's default and beyond what a block holds.
const BODIES: [usize; 6] = [8 << 10, 60 << 10, 500 << 10, 1 << 20, 2 << 20, 3 << 20];
/// One body in so many is kept, the first of all too, and 40 at most.
const KEPT: u64 = 500;

/// xorshift64*: the bodies follow from the seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    fn octets<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| (self.next() >> 40) as u8)
    }
}

/// How an attribute's values are spread.
#[derive(Clone, Copy)]
enum Form {
    /// Numbers below 2^bits.
    Number(u32),
    /// One of a few numbers.
    Few(u64),
    /// Addresses of a network of so many hosts.
    Ipv4(u64),
    Ipv6(u64),
    Mac(u64),
    Flag,
    Word,
    Text,
}

/// The fourteen of every flow, then those that some records have.
const ATTRIBUTES: [(Key, Form); 28] = [
    (Key::literal("source.address"), Form::Ipv4(1 << 20)),
    (Key::literal("source.port"), Form::Number(16)),
    (Key::literal("destination.address"), Form::Ipv4(1 << 9)),
    (Key::literal("destination.port"), Form::Few(12)),
    (Key::literal("network.transport"), Form::Word),
    (Key::literal("network.protocol.number"), Form::Few(3)),
    (Key::literal("netflow.flow.bytes"), Form::Number(22)),
    (Key::literal("netflow.flow.packets"), Form::Number(10)),
    (Key::literal("netflow.nexthop"), Form::Ipv4(4)),
    (Key::literal("netflow.interface.input"), Form::Few(20)),
    (Key::literal("netflow.interface.output"), Form::Few(20)),
    (Key::literal("netflow.src_as"), Form::Few(40)),
    (Key::literal("netflow.dst_as"), Form::Number(17)),
    (Key::literal("network.type"), Form::Word),
    (Key::literal("network.io.direction"), Form::Word),
    (Key::literal("netflow.tcp_flags"), Form::Few(9)),
    (Key::literal("netflow.tos"), Form::Few(5)),
    (Key::literal("netflow.src_mac"), Form::Mac(60)),
    (Key::literal("netflow.bgp_nexthop"), Form::Ipv6(16)),
    (
        Key::literal("netflow.nat.source.address"),
        Form::Ipv6(1 << 30),
    ),
    (Key::literal("netflow.application.name"), Form::Text),
    (
        Key::literal("netflow.flow.start_unix_nano"),
        Form::Number(61),
    ),
    (Key::literal("netflow.end_reason"), Form::Word),
    (Key::literal("netflow.mpls.label.1"), Form::Number(20)),
    (Key::literal("netflow.sampling.scaled"), Form::Flag),
    (Key::literal("netflow.sampling.interval"), Form::Few(2)),
    (Key::literal("netflow.element.12345.678"), Form::Text),
    (Key::literal("netflow.user"), Form::Number(64)),
];

/// Layouts of records: which attributes are there, and of which form addresses are.
struct Exporter {
    front: ResourceFront,
    mask: u64,
    is_v6: bool,
    flows: u64,
    /// Nanoseconds that times are multiples of.
    precision: u64,
}

impl Exporter {
    fn new(random: &mut Random) -> Self {
        let address = format!("192.0.{}.{}", random.below(256), random.below(256));
        let attributes = [
            ("service.name", Value::Text("netflow-to-traces")),
            ("host.name", Value::Text("soak")),
            ("netflow.exporter.address", Value::Text(&address)),
        ];
        Self {
            front: ResourceFront::new(attributes, "netflow2traces", "0.1.0"),
            // The first thirteen in most records.
            mask: match random.below(3) {
                0 => 0x1fff,
                1 => 0x1fff | random.next(),
                _ => random.next(),
            },
            is_v6: random.below(3) == 0,
            flows: 1 + random.below(40),
            precision: [1, 1_000, 1_000_000, 1_000_000_000][random.below(4) as usize],
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let most = match arguments.next() {
        Some(spans) => spans.parse()?,
        None => SPANS,
    };
    let seed = match arguments.next() {
        Some(seed) => seed.parse::<u64>()?,
        None => 1,
    };
    let folder = arguments.next().map(PathBuf::from);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut room = vec![0; 4 << 20];
    let started = Instant::now();
    let (mut spans, mut bodies, mut left, mut octets, mut sent) = (0, 0_u64, 0_u64, 0, 0);
    let mut kept = 0;
    while spans < most {
        let body = body(&mut random, &mut room, &mut spans);
        bodies += 1;
        octets += body.len() as u64;
        let Some(small) = gzip::compress(&body) else {
            left += 1;
            continue;
        };
        sent += small.len() as u64;
        let mut plain = Vec::with_capacity(body.len());
        let mut decoder = GzDecoder::new(&small[..]);
        decoder.read_to_end(&mut plain).map(drop)?;
        if plain != body || !decoder.into_inner().is_empty() {
            return Err(format!("body {bodies} of seed {seed} came back otherwise").into());
        }
        if let Some(folder) = &folder
            && kept < 40
            && bodies % KEPT == 1
        {
            fs::write(folder.join(format!("{kept}.gz")), &small)?;
            fs::write(folder.join(format!("{kept}.pb")), &body)?;
            kept += 1;
        }
        if bodies % 256 == 0 {
            let percent = spans as f64 * 100.0 / most as f64;
            let end = if std::io::stderr().is_terminal() {
                '\r'
            } else {
                '\n'
            };
            eprint!(
                "{spans} spans, {percent:.1} %, {} s{end}",
                started.elapsed().as_secs()
            );
        }
    }
    println!(
        "{spans} spans in {bodies} bodies came back as they were; {octets} octets, {sent} compressed; \
         {left} bodies not compressed; {} s",
        started.elapsed().as_secs()
    );
    Ok(())
}

/// A request of some exporters.
fn body(random: &mut Random, room: &mut [u8], spans: &mut u64) -> Vec<u8> {
    let size = BODIES[random.below(BODIES.len() as u64) as usize];
    let mut body = Vec::with_capacity(size + (64 << 10));
    let exporters = 1 + random.below(4);
    for _ in 0..exporters {
        let exporter = Exporter::new(random);
        let mut writer = SpanWriter::new(room, 0);
        while writer.position() < size / exporters as usize {
            *spans += datagram(random, &exporter, &mut writer);
        }
        let end = writer.position();
        exporter.front.push_before(&mut body, end);
        body.extend_from_slice(&room[..end]);
    }
    body
}

/// The spans of a datagram: those of the work, and the flows.
fn datagram(random: &mut Random, exporter: &Exporter, writer: &mut SpanWriter<'_>) -> u64 {
    let front = |name, has_parent| SpanFront::new(name, SpanKind::Internal, has_parent);
    let (Some(export), Some(process), Some(flow)) = (
        front("netflow.export", false),
        front("netflow.process_flows", true),
        front("netflow.flow", true).and_then(|front| front.with_attribute("netflow.version", 9)),
    ) else {
        return 0;
    };
    let now = 1_700_000_000_000_000_000 + random.below(1 << 40);
    let head = SpanHead {
        trace_id: random.octets(),
        span_id: random.octets(),
        parent: [0; 8],
        start: UnixNanos(now),
        end: UnixNanos(now + random.below(100_000)),
    };
    writer.begin(&export, &head);
    writer.unsigned(&ATTRIBUTES[3].0, random.next() >> 32);
    let mut spans = u64::from(writer.end(Status::Ok));
    let process_head = SpanHead {
        parent: head.span_id,
        span_id: random.octets(),
        ..head
    };
    writer.begin(&process, &process_head);
    spans += u64::from(writer.end(Status::Ok));
    for _ in 0..exporter.flows {
        let age = random.below(60_000_000_000) / exporter.precision * exporter.precision;
        let lasts = match random.below(3) {
            0 => 0,
            _ => random.below(30_000_000_000) / exporter.precision * exporter.precision,
        };
        let head = SpanHead {
            parent: process_head.span_id,
            span_id: random.octets(),
            start: UnixNanos(now - age),
            end: UnixNanos(now - age + lasts),
            ..head
        };
        writer.begin(&flow, &head);
        for (index, (key, form)) in ATTRIBUTES.iter().enumerate() {
            // A record now and then lacks one.
            if exporter.mask >> index & 1 == 1 && random.below(64) > 0 {
                attribute(random, exporter.is_v6, writer, key, *form);
            }
        }
        let status = match random.below(200) {
            0 => Status::Error("a Set that can't be read"),
            1 => Status::Unset,
            _ => Status::Ok,
        };
        spans += u64::from(writer.end(status));
    }
    spans
}

fn attribute(random: &mut Random, is_v6: bool, writer: &mut SpanWriter<'_>, key: &Key, form: Form) {
    match form {
        Form::Number(bits) => {
            let shift = 64 - bits + random.below(u64::from(bits.min(12))) as u32;
            writer.unsigned(key, random.next() >> shift);
        }
        Form::Few(most) => writer.unsigned(key, random.below(most) * 443),
        Form::Ipv4(hosts) if !is_v6 => {
            let host = 0x0a00_0000 | random.below(hosts) as u32;
            writer.ipv4(key, host.to_be_bytes());
        }
        Form::Ipv4(hosts) | Form::Ipv6(hosts) => {
            let host = 0x2001_0db8_u128 << 96 | u128::from(random.below(hosts)) << 40 | 1;
            writer.ipv6(key, host.to_be_bytes());
        }
        Form::Mac(hosts) => writer.mac(key, [2, 0, 0, 0, 0, random.below(hosts) as u8]),
        Form::Flag => writer.boolean(key, random.below(2) == 0),
        Form::Word => {
            let word = ["tcp", "udp", "icmp", "idle_timeout"][random.below(4) as usize];
            writer.text(key, word);
        }
        Form::Text => {
            let text: String = (0..random.below(300))
                .map(|_| char::from(b' ' + random.below(95) as u8))
                .collect();
            writer.text(key, &text);
        }
    }
}
