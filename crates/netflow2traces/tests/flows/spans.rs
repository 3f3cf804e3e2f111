//! Flow spans of encoded requests, with their attributes under the names of expected records.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use netflow_wire::ie;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;

use super::expected::canonical;

/// Attributes and the fields of records that they show.
const ATTRIBUTES: [(&str, &str); 41] = [
    ("source.address", "src_addr"),
    ("destination.address", "dst_addr"),
    ("source.port", "src_port"),
    ("destination.port", "dst_port"),
    ("network.protocol.number", "protocol"),
    ("netflow.version", "version"),
    ("sflow.version", "version"),
    ("netflow.flow.bytes", "bytes"),
    ("netflow.flow.packets", "packets"),
    ("netflow.nexthop", "next_hop"),
    ("netflow.bgp_nexthop", "bgp_next_hop"),
    ("netflow.interface.input", "input_if"),
    ("netflow.interface.output", "output_if"),
    ("netflow.src_as", "src_as"),
    ("netflow.dst_as", "dst_as"),
    ("netflow.src_mask", "src_mask"),
    ("netflow.dst_mask", "dst_mask"),
    ("netflow.tcp_flags", "tcp_flags"),
    ("netflow.tos", "tos"),
    ("netflow.icmp.type", "icmp_type"),
    ("netflow.icmp.code", "icmp_code"),
    ("netflow.vlan.input", "vlan"),
    ("netflow.vlan.output", "post_vlan"),
    ("netflow.src_mac", "src_mac"),
    ("netflow.dst_mac", "dst_mac"),
    ("netflow.end_reason", "flow_end_reason"),
    ("netflow.forwarding_status", "forwarding_status"),
    ("netflow.firewall.event", "fw_event"),
    ("netflow.nat.event", "nat_event"),
    ("netflow.nat.source.address", "post_nat_src_addr"),
    ("netflow.nat.source.port", "post_nat_src_port"),
    ("netflow.nat.destination.address", "post_nat_dst_addr"),
    ("netflow.nat.destination.port", "post_nat_dst_port"),
    ("netflow.flow.reverse.bytes", "rev_bytes"),
    ("netflow.flow.reverse.packets", "rev_packets"),
    ("netflow.vrf.input", "ingress_vrf_id"),
    ("netflow.vrf.output", "egress_vrf_id"),
    ("netflow.user", "username"),
    ("netflow.application.name", "application_name"),
    ("netflow.template_id", "template_id"),
    ("netflow.observation_domain", "source_id"),
];

/// Fields whose values are numbers of an element's value registry, shown by name.
const NAMED: [(&str, u16); 3] = [
    ("flow_end_reason", 136),
    ("fw_event", 233),
    ("nat_event", 230),
];

/// Numbers by element and attribute form of the registry's name.
static NUMBERS: LazyLock<BTreeMap<(u16, String), u64>> = LazyLock::new(|| {
    let mut numbers = BTreeMap::new();
    for (_, element) in NAMED {
        for number in 0..=u64::from(u8::MAX) {
            if let Some(name) = ie::value_name(element, number) {
                numbers.insert((element, ie::snake_case(name)), number);
            }
        }
    }
    numbers
});

/// A flow span by the fields of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FlowSpan {
    pub(crate) fields: BTreeMap<String, Value>,
    /// Bytes and packets were multiplied by the sampling interval.
    pub(crate) scaled: bool,
}

/// The spans named `netflow.flow` of encoded requests, in their order.
pub(crate) fn flow_spans(requests: &[impl AsRef<[u8]>]) -> Result<Vec<FlowSpan>, String> {
    let mut spans = Vec::new();
    for request in requests {
        let request = ExportTraceServiceRequest::decode(request.as_ref())
            .map_err(|error| format!("a request is no OTLP: {error}"))?;
        let scopes = request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans);
        let named = scopes
            .flat_map(|scope| &scope.spans)
            .filter(|span| span.name == "netflow.flow");
        spans.extend(named.map(flow_span));
    }
    Ok(spans)
}

fn flow_span(span: &Span) -> FlowSpan {
    let attributes: BTreeMap<&str, Value> = span
        .attributes
        .iter()
        .filter_map(|attribute| Some((attribute.key.as_str(), value(attribute.value.as_ref()?)?)))
        .collect();
    let mut fields = BTreeMap::new();
    for (key, field) in ATTRIBUTES {
        if let Some(value) = attributes.get(key) {
            fields.insert(field.to_owned(), canonical(field, &number(field, value)));
        }
    }
    let transport = attributes.get("network.transport").and_then(Value::as_str);
    if let Some(protocol) = transport.and_then(protocol) {
        fields
            .entry("protocol".to_owned())
            .or_insert_with(|| protocol.into());
    }
    match attributes.get("network.type").and_then(Value::as_str) {
        Some("ipv4") => _ = fields.insert("ip_version".to_owned(), 4.into()),
        Some("ipv6") => _ = fields.insert("ip_version".to_owned(), 6.into()),
        _ => {}
    }
    let labels: Vec<Value> = (1..=10)
        .map_while(|label| {
            attributes
                .get(format!("netflow.mpls.label.{label}").as_str())
                .cloned()
        })
        .collect();
    if !labels.is_empty() {
        fields.insert("mpls_labels".to_owned(), labels.into());
    }
    // The flow's own times stand in attributes where the span's are others.
    for (side, own) in [
        ("start", span.start_time_unix_nano),
        ("end", span.end_time_unix_nano),
    ] {
        let told = attributes
            .get(format!("netflow.flow.{side}_unix_nano").as_str())
            .cloned();
        let time = told.or_else(|| (own != 0).then(|| own.into()));
        if let Some(time) = time {
            fields.insert(format!("{side}_time_unix_nano"), time);
        }
    }
    let scaled = attributes
        .get("netflow.sampling.scaled")
        .is_some_and(|scaled| scaled == true);
    FlowSpan { fields, scaled }
}

/// The number of a protocol by its keyword in lower case, or by `protocol-N`.
fn protocol(transport: &str) -> Option<u8> {
    if let Some(number) = transport.strip_prefix("protocol-") {
        return number.parse().ok();
    }
    let named = |number: &u8| {
        ie::protocol_keyword(*number).is_some_and(|name| name.eq_ignore_ascii_case(transport))
    };
    (0..=u8::MAX).find(named)
}

/// Numbers written as text or by a registry's name, as numbers; names of users and applications,
/// and MAC addresses, are text whatever they look like.
fn number(field: &str, value: &Value) -> Value {
    let Some(text) = value.as_str() else {
        return value.clone();
    };
    if matches!(
        field,
        "username" | "application_name" | "src_mac" | "dst_mac"
    ) {
        return value.clone();
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let registry = NAMED.into_iter().find(|(name, _)| *name == field);
    let known = registry.and_then(|(_, element)| NUMBERS.get(&(element, text.to_owned())));
    known.map_or_else(|| value.clone(), |number| (*number).into())
}

fn value(value: &AnyValue) -> Option<Value> {
    Some(match value.value.as_ref()? {
        any_value::Value::StringValue(text) => text.as_str().into(),
        any_value::Value::BoolValue(flag) => (*flag).into(),
        any_value::Value::IntValue(number) => (*number).into(),
        any_value::Value::DoubleValue(number) => (*number).into(),
        any_value::Value::ArrayValue(array) => {
            array.values.iter().filter_map(self::value).collect()
        }
        _ => return None,
    })
}
