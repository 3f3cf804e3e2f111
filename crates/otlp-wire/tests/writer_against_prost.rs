//! Spans written here are, octet for octet, what prost's generated types encode.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value as ProstValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status as ProstStatus, status::StatusCode,
};
use otlp_wire::{
    Key, Prepared, ResourceFront, SpanFront, SpanHead, SpanKind, SpanWriter, Status, UnixNanos,
    Value, push_key_value,
};
use proptest::prelude::*;
use prost::Message;

/// An attribute by each of the writer's ways.
#[derive(Clone, Debug)]
enum Attribute {
    Unsigned(u64),
    Boolean(bool),
    Ipv4([u8; 4]),
    Ipv6([u8; 16]),
    Mac([u8; 6]),
    Text(String),
    /// Encoded before; so many octets follow what is encoded.
    Prepared(String, usize),
    Lossy(Vec<u8>),
    Signed(i64),
    Double(f64),
}

#[derive(Clone, Debug)]
struct Case {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: [u8; 8],
    has_parent: bool,
    start: u64,
    end: u64,
    name: String,
    attributes: Vec<(String, Attribute)>,
    error: Option<String>,
    /// A trace state, and flags.
    sampled: Option<(String, u32)>,
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        any::<u64>().prop_map(Attribute::Unsigned),
        (0..100_000_u64).prop_map(Attribute::Unsigned),
        any::<bool>().prop_map(Attribute::Boolean),
        any::<[u8; 4]>().prop_map(Attribute::Ipv4),
        any::<[u8; 16]>().prop_map(Attribute::Ipv6),
        any::<[u8; 6]>().prop_map(Attribute::Mac),
        "\\PC{0,80}".prop_map(Attribute::Text),
        Just(Attribute::Text("x".repeat(20_000))),
        ("[a-z]{0,80}", 0..100_usize).prop_map(|(text, behind)| Attribute::Prepared(text, behind)),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Attribute::Lossy),
        any::<i64>().prop_map(Attribute::Signed),
        any::<f64>()
            .prop_filter("NaN differs from itself", |x| !x.is_nan())
            .prop_map(Attribute::Double),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (
        any::<([u8; 16], [u8; 8], [u8; 8], bool)>(),
        (1..u64::MAX, 1..u64::MAX),
        "[a-z._]{1,44}",
        prop::collection::vec(("[a-z._]{1,40}", attribute()), 0..20),
        (
            prop::option::of("[ -~]{1,300}"),
            prop::option::of(("[ -~]{1,32}", 1..=u32::MAX)),
        ),
    )
        .prop_map(
            |(
                (trace_id, span_id, parent, has_parent),
                (start, end),
                name,
                attributes,
                (error, sampled),
            )| {
                Case {
                    trace_id,
                    span_id,
                    parent,
                    has_parent,
                    start,
                    end,
                    name,
                    attributes,
                    error,
                    sampled,
                }
            },
        )
}

fn by_prost(case: &Case) -> Span {
    let attributes = case
        .attributes
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Attribute::Unsigned(x) => i64::try_from(*x).map_or_else(
                    |_| ProstValue::StringValue(x.to_string()),
                    ProstValue::IntValue,
                ),
                Attribute::Boolean(x) => ProstValue::BoolValue(*x),
                Attribute::Ipv4(x) => {
                    ProstValue::StringValue(std::net::Ipv4Addr::from(*x).to_string())
                }
                Attribute::Ipv6(x) => {
                    ProstValue::StringValue(std::net::Ipv6Addr::from(*x).to_string())
                }
                Attribute::Mac(x) => ProstValue::StringValue(
                    x.iter()
                        .map(|o| format!("{o:02x}"))
                        .collect::<Vec<_>>()
                        .join(":"),
                ),
                Attribute::Text(x) | Attribute::Prepared(x, _) => {
                    ProstValue::StringValue(x.clone())
                }
                Attribute::Lossy(x) => {
                    ProstValue::StringValue(String::from_utf8_lossy(x).into_owned())
                }
                Attribute::Signed(x) => ProstValue::IntValue(*x),
                Attribute::Double(x) => ProstValue::DoubleValue(*x),
            };
            KeyValue {
                key: key.clone(),
                value: Some(AnyValue { value: Some(value) }),
                ..Default::default()
            }
        })
        .collect();
    Span {
        trace_id: case.trace_id.to_vec(),
        span_id: case.span_id.to_vec(),
        parent_span_id: if case.has_parent {
            case.parent.to_vec()
        } else {
            Vec::new()
        },
        name: case.name.clone(),
        kind: 1,
        start_time_unix_nano: case.start,
        end_time_unix_nano: case.end,
        attributes,
        status: Some(match &case.error {
            None => ProstStatus {
                code: StatusCode::Ok.into(),
                message: String::new(),
            },
            Some(message) => ProstStatus {
                code: StatusCode::Error.into(),
                message: message.clone(),
            },
        }),
        trace_state: case
            .sampled
            .clone()
            .map_or(String::new(), |(state, _)| state),
        flags: case.sampled.as_ref().map_or(0, |(_, flags)| *flags),
        ..Default::default()
    }
}

fn write(writer: &mut SpanWriter<'_>, case: &Case) -> bool {
    let front =
        SpanFront::new(&case.name, SpanKind::Internal, case.has_parent).expect("short name");
    let head = SpanHead {
        trace_id: case.trace_id,
        span_id: case.span_id,
        parent: case.parent,
        start: UnixNanos(case.start),
        end: UnixNanos(case.end),
    };
    match &case.sampled {
        Some((state, _)) => writer.begin_with_state(&front, &head, state),
        None => writer.begin(&front, &head),
    }
    for (name, value) in &case.attributes {
        let key = Key::new(name).expect("short key");
        match value {
            Attribute::Unsigned(x) => writer.unsigned(&key, *x),
            Attribute::Boolean(x) => writer.boolean(&key, *x),
            Attribute::Ipv4(x) => writer.ipv4(&key, *x),
            Attribute::Ipv6(x) => writer.ipv6(&key, *x),
            Attribute::Mac(x) => writer.mac(&key, *x),
            Attribute::Text(x) => writer.text(&key, x),
            Attribute::Prepared(x, behind) => {
                const SPAN_ATTRIBUTES: u32 = 9;
                let mut octets = Vec::new();
                push_key_value(&mut octets, SPAN_ATTRIBUTES, name, Value::Text(x));
                let len = octets.len();
                octets.resize(len + behind, 0xff);
                writer.prepared(Prepared::new(&octets, len));
            }
            Attribute::Lossy(x) => writer.attribute(name, Value::Lossy(x)),
            Attribute::Signed(x) => writer.attribute(name, Value::Signed(*x)),
            Attribute::Double(x) => writer.attribute(name, Value::Double(*x)),
        }
    }
    let status = match &case.error {
        None => Status::Ok,
        Some(message) => Status::Error(message),
    };
    match &case.sampled {
        Some((_, flags)) => writer.end_with_flags(status, *flags),
        None => writer.end(status),
    }
}

proptest! {
    #[test]
    fn spans_equal_prost_octet_for_octet(cases in prop::collection::vec(case(), 1..4), resource in "[a-z]{0,200}") {
        let mut room = vec![0xaa; 1 << 20];
        let mut writer = SpanWriter::new(&mut room, 0);
        for case in &cases {
            prop_assert!(write(&mut writer, case));
        }
        let end = writer.position();
        let front = ResourceFront::new(
            [("service.name", Value::Text(&resource)), ("answer", Value::Unsigned(42))], "netflow2traces", "0.1.0");
        let mut octets = Vec::new();
        front.push_before(&mut octets, end);
        prop_assert!(octets.len() <= front.octets().len());
        octets.extend_from_slice(&room[..end]);

        let key_value = |key: &str, value| KeyValue {
            key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default()
        };
        let request = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    key_value("service.name", ProstValue::StringValue(resource)),
                    key_value("answer", ProstValue::IntValue(42)),
                ],
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope { name: "netflow2traces".into(), version: "0.1.0".into(), ..Default::default() }),
                spans: cases.iter().map(by_prost).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }] };
        prop_assert_eq!(ExportTraceServiceRequest::decode(octets.as_slice()), Ok(request.clone()));
        prop_assert!(octets == request.encode_to_vec(), "the meaning is equal but the octets differ");

        // Put in front before the Spans are there: the same meaning, with lengths that are longer than they need be.
        let mut patched = front.octets().to_vec();
        front.patch(&mut patched, end);
        prop_assert_eq!(patched.len(), front.octets().len());
        patched.extend_from_slice(&room[..end]);
        prop_assert_eq!(ExportTraceServiceRequest::decode(patched.as_slice()), Ok(request));
    }

    #[test]
    fn a_room_too_small_keeps_the_whole_spans_before(first in case(), second in case(), missing in 1..400_usize) {
        let mut room = vec![0; 1 << 20];
        let mut writer = SpanWriter::new(&mut room, 0);
        prop_assert!(write(&mut writer, &first));
        let first_end = writer.position();
        prop_assert!(write(&mut writer, &second));
        let whole = writer.position();
        let expected = room[..first_end].to_vec();

        let mut small = vec![0; whole.saturating_sub(missing).max(first_end)];
        small[..first_end].copy_from_slice(&expected);
        let mut writer = SpanWriter::new(&mut small, first_end);
        prop_assert!(!write(&mut writer, &second));
        prop_assert_eq!(writer.position(), first_end);
        prop_assert_eq!(&small[..first_end], &expected[..]);
    }
}
