//! A flow span as filters see it.

use std::net::IpAddr;

use netflow_translate::filter::{Address, FlowView, Name, Number, Place};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::output::{END, START, nanos};
use super::records::value;

/// Attributes that are a number of the flow.
const NUMBERS: &[(&str, Number)] = &[
    ("source.port", Number::SourcePort),
    ("destination.port", Number::DestinationPort),
    ("network.protocol.number", Number::Protocol),
    ("netflow.tcp_flags", Number::TcpFlags),
    ("netflow.tos", Number::Tos),
    ("netflow.dscp", Number::Dscp),
    ("netflow.icmp.type", Number::IcmpType),
    ("netflow.icmp.code", Number::IcmpCode),
    ("netflow.flow.bytes", Number::Bytes),
    ("netflow.flow.packets", Number::Packets),
    ("netflow.interface.input", Number::InputInterface),
    ("netflow.interface.output", Number::OutputInterface),
    ("netflow.src_as", Number::SourceAs),
    ("netflow.dst_as", Number::DestinationAs),
    ("netflow.src_mask", Number::SourceMask),
    ("netflow.dst_mask", Number::DestinationMask),
    ("netflow.vlan.input", Number::InputVlan),
    ("netflow.vlan.output", Number::OutputVlan),
    ("netflow.version", Number::Version),
];

const ADDRESSES: &[(&str, Place)] = &[
    ("source.address", Place::Source),
    ("destination.address", Place::Destination),
    ("netflow.nexthop", Place::NextHop),
];

const MACS: &[(&str, Number)] = &[
    ("netflow.src_mac", Number::SourceMac),
    ("netflow.dst_mac", Number::DestinationMac),
];

const NETWORKS: &[(&str, Name)] = &[
    ("netflow.source.network", Name::SourceNetwork),
    ("netflow.destination.network", Name::DestinationNetwork),
];

/// Every attribute that a filter asks for, where the span has it. A duration is known if start and end were exported.
pub(super) fn flow_view(span: &Span, exporter: Option<IpAddr>) -> FlowView<'_> {
    let mut view = FlowView::default();
    for attribute in &span.attributes {
        let key = attribute.key.as_str();
        let Some(value) = attribute.value.as_ref().and_then(|any| any.value.as_ref()) else {
            continue;
        };
        match value {
            Value::IntValue(number) => {
                if let Some((_, field)) = NUMBERS.iter().find(|(known, _)| *known == key)
                    && let Ok(number) = u64::try_from(*number)
                {
                    view.set(*field, number);
                }
            }
            Value::StringValue(text) => set_text(&mut view, key, text),
            _ => {}
        }
    }
    let told = |key| value(&span.attributes, key).and_then(nanos);
    if let (Some(start), Some(end)) = (told(START), told(END)) {
        view.set(Number::Duration, end.0.saturating_sub(start.0));
    }
    if let Some(exporter) = exporter {
        view.set_address(Place::Exporter, exporter.into());
    }
    view
}

fn set_text<'a>(view: &mut FlowView<'a>, key: &str, text: &'a str) {
    if let Some((_, place)) = ADDRESSES.iter().find(|(known, _)| *known == key) {
        if let Ok(address) = text.parse::<IpAddr>() {
            view.set_address(*place, Address::from(address));
        }
    } else if let Some((_, field)) = MACS.iter().find(|(known, _)| *known == key) {
        let octets = text.split(':').map(|octet| u64::from_str_radix(octet, 16));
        if let Ok(octets) = octets.collect::<Result<Vec<_>, _>>() {
            view.set(
                *field,
                octets.iter().fold(0, |value, octet| value << 8 | octet),
            );
        }
    } else if let Some((_, name)) = NETWORKS.iter().find(|(known, _)| *known == key) {
        view.set_name(*name, text);
    } else if key == "network.io.direction" {
        view.set(Number::Direction, u64::from(text == "transmit"));
    } else if let Some((_, field)) = NUMBERS.iter().find(|(known, _)| *known == key) {
        // Numbers past 2^63 are text in OTLP.
        if let Ok(number) = text.parse() {
            view.set(*field, number);
        }
    }
}
