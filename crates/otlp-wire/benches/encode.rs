//! Encoding alone: spans of fourteen attributes into a room that is used again. Spans a second of one core.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use otlp_wire::{
    Encoded, EncodedBatch, Key, ResourceFront, SpanFront, SpanHead, SpanKind, SpanWriter, Status,
    UnixNanos, Value, split,
};

fn main() {
    divan::main();
}

static INTEGERS: [Key; 8] = [
    Key::literal("source.port"),
    Key::literal("destination.port"),
    Key::literal("netflow.flow.bytes"),
    Key::literal("netflow.flow.packets"),
    Key::literal("netflow.interface.input"),
    Key::literal("netflow.interface.output"),
    Key::literal("netflow.src_as"),
    Key::literal("netflow.dst_as"),
];
static ADDRESSES: [Key; 3] = [
    Key::literal("source.address"),
    Key::literal("destination.address"),
    Key::literal("netflow.nexthop"),
];

const SPANS: usize = 1000;

fn front() -> SpanFront {
    SpanFront::new("netflow.flow", SpanKind::Internal, true)
        .and_then(|front| front.with_attribute("netflow.version", 5))
        .expect("short")
}

fn head(index: u64) -> SpanHead {
    SpanHead {
        trace_id: [7; 16],
        span_id: index.max(1).to_be_bytes(),
        parent: [9; 8],
        start: UnixNanos(1_700_000_000_000_000_000 + index),
        end: UnixNanos(1_700_000_001_000_000_000 + index),
    }
}

/// Writes a thousand spans and says where they end.
fn write(room: &mut [u8], address: impl Fn(&mut SpanWriter<'_>, &Key, u32)) -> usize {
    let protocol = Encoded::new(&[
        ("network.transport", Value::Text("tcp")),
        ("network.protocol.number", Value::Unsigned(6)),
    ])
    .expect("short");
    let front = front();
    let mut writer = SpanWriter::new(room, 0);
    for index in 0..SPANS as u64 {
        let x = (index as u32).wrapping_mul(2_654_435_761);
        writer.begin(&front, &head(index));
        for key in &ADDRESSES {
            address(&mut writer, key, x);
        }
        for (key, shift) in INTEGERS.iter().zip([16, 20, 4, 12, 26, 24, 16, 18]) {
            writer.unsigned(key, u64::from(x >> shift));
        }
        writer.encoded(&protocol);
        assert!(writer.end(Status::Ok));
    }
    writer.position()
}

fn run(bencher: Bencher<'_, '_>, address: impl Fn(&mut SpanWriter<'_>, &Key, u32) + Copy) {
    let mut room = vec![0; 1 << 20];
    let octets = write(&mut room, address);
    bencher
        .counter(ItemsCount::new(SPANS))
        .counter(BytesCount::new(octets))
        .bench_local(|| write(black_box(&mut room), address));
}

#[divan::bench]
fn spans_with_ipv4(bencher: Bencher<'_, '_>) {
    run(bencher, |writer, key, x| writer.ipv4(key, x.to_be_bytes()));
}

#[divan::bench]
fn spans_with_ipv6(bencher: Bencher<'_, '_>) {
    run(bencher, |writer, key, x| {
        let address = 0x2001_0db8_0a0b_0000_0000_0000_0000_0000_u128 | u128::from(x) << 24;
        writer.ipv6(key, address.to_be_bytes());
    });
}

#[divan::bench]
fn spans_with_text(bencher: Bencher<'_, '_>) {
    run(bencher, |writer, key, _| writer.text(key, "192.0.2.123"));
}

/// A request of about 2 MB into two, as for a backend that takes less.
#[divan::bench]
fn split_of_a_request(bencher: Bencher<'_, '_>) {
    let mut spans = vec![0; 1 << 20];
    let end = write(&mut spans, |writer, key, x| {
        writer.ipv4(key, x.to_be_bytes());
    });
    let spans = spans[..end].repeat(4);
    let resource = ResourceFront::new(
        [("service.name", Value::Text("netflow-to-traces"))],
        "netflow2traces",
        "0.1.0",
    );
    let mut request = Vec::new();
    resource.push_before(&mut request, spans.len());
    request.extend_from_slice(&spans);
    let octets = request.len();
    let request = EncodedBatch {
        octets: request.into(),
        flow_spans: 4 * SPANS as u32,
        work_spans: 0,
        oldest: UnixNanos(1),
        receipt: None,
    };
    assert!(split(&request).is_some());
    bencher
        .counter(BytesCount::new(octets))
        .bench_local(|| split(black_box(&request)));
}
