//! A translator that is given messages, and the spans that come out of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, Record, V5Header, V5Record, V9Header, v5,
};
use netflow2traces::config::{self, Machine, Purpose, Sources, Translate};
use netflow2traces::translate::metrics::{FlowReading, Places};
use netflow2traces::translate::{Datagram, Ids, TranslateCounters, Translator};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use otlp_wire::{EncodedBatch, UnixNanos};
use prost::Message as _;
use serde_json::{Map, Value};

/// 2023-11-14 22:13:20 UTC: the export time of all messages, and when they are received.
pub(crate) const SECONDS: u32 = 1_700_000_000;
pub(crate) const NANOS: u64 = SECONDS as u64 * 1_000_000_000;
pub(crate) const UPTIME_MS: u32 = 1_000_000;

/// A span and the exporter whose resource it stands under.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) exporter: String,
    /// `service.name` of the same resource.
    pub(crate) service: String,
    /// `Span.kind`.
    pub(crate) kind: i32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) trace_id: Vec<u8>,
    pub(crate) trace_state: String,
    pub(crate) flags: u32,
    /// By key; one that isn't there is `null`.
    pub(crate) attributes: Value,
    /// The message of status ERROR.
    pub(crate) error: Option<String>,
}

impl Span {
    pub(crate) fn get(&self, key: &str) -> &Value {
        &self.attributes[key]
    }
}

pub(crate) struct Rig {
    translator: Translator,
    config: Translate,
    pub(crate) now: Instant,
    pub(crate) received_at: u64,
}

pub(crate) fn rig() -> Rig {
    rig_with(|_| {})
}

pub(crate) fn rig_with(change: impl FnOnce(&mut Translate)) -> Rig {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    let mut config = loaded.expect("defaults are sound").config.translate;
    change(&mut config);
    Rig {
        translator: Translator::new(&config, || UnixNanos(NANOS), Ids::new([7; 32])),
        config,
        now: Instant::now(),
        received_at: NANOS,
    }
}

impl Rig {
    /// Takes a datagram in without asking for batches.
    pub(crate) fn take(&mut self, source: &str, octets: &[u8]) {
        let datagram = Datagram {
            octets,
            source: source.parse::<SocketAddr>().expect("an address"),
            received_at: UnixNanos(self.received_at),
        };
        self.translator.on_datagram(&datagram, self.now);
    }

    /// Flow metrics are counted from here on.
    pub(crate) fn count_flows(&mut self, places: &Places) {
        let clock: fn() -> UnixNanos = || UnixNanos(NANOS);
        let config = &self.config;
        self.translator =
            Translator::new(config, clock, Ids::new([7; 32])).with_flow_metrics(places);
    }

    pub(crate) fn flow_metrics(&mut self) -> FlowReading {
        let reading = self.translator.flow_metrics(self.now);
        reading.expect("a view is counted")
    }

    /// The batches that are ready.
    pub(crate) fn poll(&mut self) -> Vec<EncodedBatch> {
        std::iter::from_fn(|| self.translator.poll_batch(self.now)).collect()
    }

    pub(crate) fn flush(&mut self) -> Vec<EncodedBatch> {
        self.translator.flush();
        self.poll()
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.translator.on_deadline(self.now);
    }

    pub(crate) fn translator(&mut self) -> &mut Translator {
        &mut self.translator
    }

    pub(crate) fn counters(&self) -> std::sync::Arc<TranslateCounters> {
        self.translator.counters()
    }

    /// All spans that a datagram of one exporter makes.
    pub(crate) fn spans(&mut self, octets: &[u8]) -> Vec<Span> {
        self.take("192.0.2.1:2055", octets);
        self.flush().iter().flat_map(spans).collect()
    }

    /// Its flow spans.
    pub(crate) fn flows(&mut self, octets: &[u8]) -> Vec<Span> {
        let mut spans = self.spans(octets);
        spans.retain(|span| span.name == "netflow.flow" || !span.name.starts_with("netflow."));
        spans
    }

    /// Its one flow span.
    pub(crate) fn flow(&mut self, octets: &[u8]) -> Span {
        let flows = self.flows(octets);
        assert_eq!(flows.len(), 1, "{flows:?}");
        flows.into_iter().next().expect("one")
    }

    /// Its export span.
    pub(crate) fn export(&mut self, octets: &[u8]) -> Span {
        let mut spans = self.spans(octets).into_iter();
        let export = spans.find(|span| span.name == "netflow.export");
        export.expect("each datagram has one")
    }
}

pub(crate) fn spans(batch: &EncodedBatch) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(&batch.octets[..]).expect("a request");
    let mut found = Vec::new();
    for resource in request.resource_spans {
        let attributes = values(&resource.resource.expect("a resource").attributes);
        let exporter = attributes["netflow.exporter.address"]
            .as_str()
            .expect("text");
        let service = attributes["service.name"].as_str().expect("text");
        let spans = resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans);
        found.extend(spans.map(|span| {
            Span {
                name: span.name,
                exporter: exporter.to_owned(),
                service: service.to_owned(),
                kind: span.kind,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                id: span.span_id,
                parent: span.parent_span_id,
                trace_id: span.trace_id,
                trace_state: span.trace_state,
                flags: span.flags,
                attributes: values(&span.attributes),
                error: span
                    .status
                    .filter(|status| status.code == StatusCode::Error as i32)
                    .map(|status| status.message),
            }
        }));
    }
    assert_eq!(found.len(), batch.spans() as usize);
    found
}

/// The attributes of each resource of a batch.
pub(crate) fn resource_attributes(batch: &EncodedBatch) -> Vec<Value> {
    let request = ExportTraceServiceRequest::decode(&batch.octets[..]).expect("a request");
    let resources = request.resource_spans.into_iter();
    let resources = resources.map(|resource| resource.resource.expect("a resource"));
    resources
        .map(|resource| values(&resource.attributes))
        .collect()
}

/// The exporter of each resource of a batch.
pub(crate) fn resources(batch: &EncodedBatch) -> Vec<String> {
    let resources = resource_attributes(batch).into_iter();
    let exporters = resources.map(|resource| {
        let address = resource["netflow.exporter.address"].as_str();
        address.expect("text").to_owned()
    });
    exporters.collect()
}

fn values(attributes: &[KeyValue]) -> Value {
    let mut values = Map::new();
    for attribute in attributes {
        let value = attribute.value.as_ref().expect("a value");
        let before = values.insert(attribute.key.clone(), json_value(value));
        assert!(before.is_none(), "{} twice", attribute.key);
    }
    Value::Object(values)
}

fn json_value(value: &AnyValue) -> Value {
    match value.value.as_ref().expect("a value") {
        any_value::Value::StringValue(text) => text.as_str().into(),
        any_value::Value::BoolValue(flag) => (*flag).into(),
        any_value::Value::IntValue(number) => (*number).into(),
        any_value::Value::ArrayValue(array) => array.values.iter().map(json_value).collect(),
        other => unreachable!("{other:?}"),
    }
}

/// A v9 message of a domain.
pub(crate) fn v9(domain: u32) -> MessageWriter {
    MessageWriter::v9(V9Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        source_id: domain,
        ..V9Header::default()
    })
}

/// An IPFIX message of a domain.
pub(crate) fn ipfix(domain: u32) -> MessageWriter {
    MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        observation_domain: domain,
        ..IpfixHeader::default()
    })
}

/// A message with a template of its own and one record of it.
pub(crate) fn record(
    mut message: MessageWriter,
    fields: &[Field],
    write: impl FnOnce(&mut Record),
) -> Vec<u8> {
    message.template(256, fields).data_set(256, |set| {
        set.record(write);
    });
    message.finish().expect("fits")
}

/// A message with an options template of its own and one record of it.
pub(crate) fn options(
    mut message: MessageWriter,
    scope: &[Field],
    fields: &[Field],
    write: impl FnOnce(&mut Record),
) -> Vec<u8> {
    message
        .options_template(300, scope, fields)
        .data_set(300, |set| {
            set.record(write);
        });
    message.finish().expect("fits")
}

pub(crate) fn v5_header() -> V5Header {
    V5Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        ..V5Header::default()
    }
}

/// A v5 datagram of so many records.
pub(crate) fn v5_flows(header: &V5Header, records: usize) -> Vec<u8> {
    let flow = V5Record {
        source: [192, 0, 2, 7].into(),
        destination: [198, 51, 100, 9].into(),
        packets: 3,
        octets: 180,
        first_ms: UPTIME_MS - 5000,
        last_ms: UPTIME_MS - 1000,
        protocol: 17,
        ..V5Record::default()
    };
    v5(header, &vec![flow; records]).expect("fits")
}

pub(crate) const fn f(element: u16, length: u16) -> Field {
    Field::new(element, length)
}
