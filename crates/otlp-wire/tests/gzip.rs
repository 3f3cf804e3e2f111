//! Whatever is compressed comes back, octet for octet, by a decompressor that isn't ours.

use std::io::Read as _;

use flate2::read::GzDecoder;
use otlp_wire::gzip::compress;
use otlp_wire::{
    Key, ResourceFront, SpanFront, SpanHead, SpanKind, SpanWriter, Status, UnixNanos, Value,
};
use proptest::prelude::*;

/// Inflates exactly one member, and nothing may follow it.
fn inflate(gzip: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(gzip);
    decoder
        .read_to_end(&mut plain)
        .map(drop)
        .expect("a gzip member");
    assert!(decoder.into_inner().is_empty(), "octets behind the member");
    plain
}

fn comes_back(octets: &[u8]) -> Result<Option<usize>, TestCaseError> {
    let Some(gzip) = compress(octets) else {
        return Ok(None);
    };
    prop_assert!(inflate(&gzip) == octets);
    prop_assert!(gzip.len() <= octets.len() / 2);
    Ok(Some(gzip.len()))
}

const KEYS: [Key; 8] = [
    Key::literal("source.address"),
    Key::literal("destination.address"),
    Key::literal("source.port"),
    Key::literal("network.transport"),
    Key::literal("netflow.flow.bytes"),
    Key::literal("netflow.flow.packets"),
    Key::literal("x"),
    Key::literal("netflow.exporter.uptime_ms"),
];

#[derive(Clone, Debug)]
enum Attribute {
    Number(u64),
    Flag(bool),
    Ipv4([u8; 4]),
    Ipv6([u8; 16]),
    Mac([u8; 6]),
    Text(String),
}

#[derive(Clone, Debug)]
struct Flow {
    front: usize,
    new_trace: bool,
    id: [u8; 8],
    start: u64,
    lasts: u64,
    attributes: Vec<(usize, Attribute)>,
    error: Option<String>,
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        (0..64_u32, any::<u64>()).prop_map(|(shift, number)| Attribute::Number(number >> shift)),
        any::<bool>().prop_map(Attribute::Flag),
        // Few enough to come again.
        (0..4_u8, any::<u8>()).prop_map(|(a, b)| Attribute::Ipv4([10, 0, a, b])),
        any::<[u8; 16]>().prop_map(Attribute::Ipv6),
        any::<[u8; 6]>().prop_map(Attribute::Mac),
        ".{0,200}".prop_map(Attribute::Text),
        prop_oneof![Just("tcp"), Just("udp")].prop_map(|text| Attribute::Text(text.into())),
    ]
}

fn flow() -> impl Strategy<Value = Flow> {
    (
        0..3_usize,
        any::<bool>(),
        any::<[u8; 8]>(),
        1_700_000_000_000_000_000..1_700_000_100_000_000_000_u64,
        prop_oneof![Just(0), 0..1_000_000_000_u64, any::<u64>()],
        proptest::collection::vec((0..KEYS.len(), attribute()), 0..16),
        proptest::option::weighted(0.1, ".{0,40}"),
    )
        .prop_map(
            |(front, new_trace, id, start, lasts, attributes, error)| Flow {
                front,
                new_trace,
                id,
                start,
                lasts,
                attributes,
                error,
            },
        )
}

/// A request as the daemon writes it, of two resources.
fn request(flows: &[Flow], repeats: usize) -> Vec<u8> {
    let fronts = [
        SpanFront::new("netflow.export", SpanKind::Internal, false),
        SpanFront::new("netflow.process_flows", SpanKind::Internal, true),
        SpanFront::new("netflow.flow", SpanKind::Internal, true)
            .and_then(|front| front.with_attribute("netflow.version", 10)),
    ]
    .map(|front| front.expect("a short name"));
    let mut request = Vec::new();
    for exporter in ["192.0.2.1", "192.0.2.2"] {
        let mut room = vec![0; 8 << 20];
        let mut writer = SpanWriter::new(&mut room, 0);
        let (mut trace_id, mut parent) = ([1; 16], [2; 8]);
        for _ in 0..repeats {
            for flow in flows {
                let front = &fronts[flow.front];
                if flow.new_trace {
                    trace_id = [flow.id, flow.id].concat().try_into().expect("16");
                }
                let head = SpanHead {
                    trace_id,
                    span_id: flow.id,
                    parent,
                    start: UnixNanos(flow.start),
                    end: UnixNanos(flow.start.saturating_add(flow.lasts)),
                };
                writer.begin(front, &head);
                for (key, value) in &flow.attributes {
                    let key = &KEYS[*key];
                    match value {
                        Attribute::Number(number) => writer.unsigned(key, *number),
                        Attribute::Flag(flag) => writer.boolean(key, *flag),
                        Attribute::Ipv4(address) => writer.ipv4(key, *address),
                        Attribute::Ipv6(address) => writer.ipv6(key, *address),
                        Attribute::Mac(address) => writer.mac(key, *address),
                        Attribute::Text(text) => writer.text(key, text),
                    }
                }
                assert!(writer.end(flow.error.as_deref().map_or(Status::Ok, Status::Error)));
                parent = flow.id;
            }
        }
        let end = writer.position();
        let resource = ResourceFront::new(
            [
                ("service.name", Value::Text("netflow-to-traces")),
                ("netflow.exporter.address", Value::Text(exporter)),
            ],
            "netflow2traces",
            "0.1.0",
        );
        resource.push_before(&mut request, end);
        request.extend_from_slice(&room[..end]);
    }
    request
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_octets_come_back(octets in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        comes_back(&octets)?;
        // The same as if it were a request.
        let mut octets = octets;
        if let Some(first) = octets.first_mut() {
            *first = 0x0a;
            comes_back(&octets)?;
        }
    }

    #[test]
    fn octets_that_repeat_come_back(
        octets in proptest::collection::vec(0..4_u8, 1..700),
        fields in proptest::collection::vec(prop_oneof![
            Just(0x0a_u8), Just(0x12), Just(0x4a), Just(0x22), Just(0x2a), Just(0x39), Just(0x08), Just(16), any::<u8>(),
        ], 1..300),
        times in 20..400_usize,
    ) {
        let mut all = vec![0x0a, 0xff, 0xff, 0xff, 0x7f, 0x12, 0xff, 0xff, 0xff, 0x7f];
        for turn in 0..times {
            all.extend_from_slice(if turn % 3 == 0 { &fields } else { &octets });
        }
        comes_back(&all)?;
    }

    #[test]
    fn requests_come_back_and_shrink(flows in proptest::collection::vec(flow(), 1..40), repeats in 1..40_usize) {
        let request = request(&flows, repeats);
        let size = comes_back(&request)?;
        // A few hundred octets of what repeats are enough to save half.
        prop_assert!(size.is_some() || repeats < 8 || request.len() < 16 << 10, "{} octets", request.len());
    }

    #[test]
    fn damaged_requests_come_back(
        flows in proptest::collection::vec(flow(), 1..40),
        repeats in 1..20_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..60),
        end in any::<proptest::sample::Index>(),
    ) {
        let mut request = request(&flows, repeats);
        comes_back(&request[..end.index(request.len())])?;
        for (at, octet) in damage {
            let at = at.index(request.len());
            request[at] = octet;
            comes_back(&request)?;
        }
        comes_back(&request[end.index(request.len())..])?;
    }
}

#[test]
fn what_is_no_request_is_left_to_others() {
    assert_eq!(compress(&[]), None);
    assert_eq!(compress(&[b'{'; 1 << 16]), None);
    // Random octets can't be halved.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..1 << 16)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    assert_eq!(compress(&[&[0x0a], &noise[..]].concat()), None);
}

#[test]
fn a_last_block_is_told_wherever_the_octets_end() {
    // A copy can reach from the block before beyond the end of the last.
    for octets in [
        (1 << 20) - 1,
        1 << 20,
        (1 << 20) + 1,
        (1 << 20) + 300,
        3 << 20,
    ] {
        let mut request = vec![0x0a, 0x80, 0x80, 0x80, 0x40, 0x12, 0x80, 0x80, 0x80, 0x40];
        request.resize(octets, 0x12);
        let gzip = compress(&request).expect("repeats");
        assert!(inflate(&gzip) == request, "{octets}");
    }
}
