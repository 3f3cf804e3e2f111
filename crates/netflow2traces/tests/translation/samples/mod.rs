//! Sampled packets become spans: those of sFlow, and those in records of IPFIX.

mod sections;
mod sflow;

use std::collections::BTreeMap;
use std::time::Instant;

use netflow2traces::config::{AttributeLevel, Translate};
use netflow2traces::translate::{Datagram, Ids, Translator};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use otlp_wire::UnixNanos;
use prost::Message as _;

/// When every datagram was received.
const RECEIVED: u64 = 1_700_000_000_000_000_000;

fn clock() -> UnixNanos {
    UnixNanos(RECEIVED + 1000)
}

/// Where every attribute is documented.
const REFERENCE: [&str; 2] = [
    include_str!("../../../../../docs/attributes.md"),
    include_str!("../../../../../docs/sflow.md"),
];

/// Attributes with their values as text.
type Attributes = BTreeMap<String, String>;

#[derive(Debug)]
struct Shown {
    name: String,
    resource: Attributes,
    attributes: Attributes,
    times: [u64; 2],
    error: Option<String>,
}

/// The daemon's defaults, but for the attributes.
fn configuration(attributes: AttributeLevel) -> Translate {
    Translate {
        attributes,
        ..crate::defaults::translate()
    }
}

fn translator(config: &Translate) -> Translator {
    Translator::new(config, clock, Ids::new([7; 32]))
}

fn take(translator: &mut Translator, octets: &[u8]) {
    let datagram = Datagram {
        octets,
        source: "192.0.2.1:50000".parse().expect("an address"),
        received_at: UnixNanos(RECEIVED),
    };
    translator.on_datagram(&datagram, Instant::now());
}

/// All spans made so far.
fn shown(translator: &mut Translator) -> Vec<Shown> {
    translator.flush();
    let mut all = Vec::new();
    while let Some(batch) = translator.poll_batch(Instant::now()) {
        let request = ExportTraceServiceRequest::decode(batch.octets).expect("OTLP");
        for of_resource in request.resource_spans {
            let resource = texts(of_resource.resource.expect("a resource").attributes);
            let spans = of_resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| {
                Shown {
                    name: span.name,
                    resource: resource.clone(),
                    attributes: texts(span.attributes),
                    times: [span.start_time_unix_nano, span.end_time_unix_nano],
                    error: span
                        .status
                        .map(|status| status.message)
                        .filter(|message| !message.is_empty()),
                }
            }));
        }
    }
    all
}

fn flows(translator: &mut Translator) -> Vec<Shown> {
    let mut all = shown(translator);
    all.retain(|span| span.name == "netflow.flow");
    all
}

fn texts(attributes: Vec<KeyValue>) -> Attributes {
    let mut texts = Attributes::new();
    for KeyValue { key, value, .. } in attributes {
        let text = match value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
            other => format!("{other:?}"),
        };
        let quoted = format!("`{key}`");
        assert!(
            REFERENCE.iter().any(|text| text.contains(&quoted)),
            "{key} is in no reference"
        );
        assert!(texts.insert(key.clone(), text).is_none(), "{key} twice");
    }
    texts
}

#[track_caller]
fn assert_attributes(attributes: &Attributes, expected: &[(&str, &str)]) {
    let expected: Attributes = expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(attributes, &expected);
}

/// An Ethernet frame of VLAN 30: IPv4 and the front of TCP.
const FRAME: [u8; 52] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0x20, 30, 8, 0, // link
    0x45, 0x28, 5, 0xdc, 0, 1, 0x40, 0, 61, 6, 0, 0, // IPv4
    192, 0, 2, 10, 198, 51, 100, 20, // from, to
    0xc7, 0x38, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, // TCP
];
