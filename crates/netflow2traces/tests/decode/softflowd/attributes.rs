//! Attributes of spans are read as the fields of records.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Value, json};

use crate::flows::spans::flow_spans;

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn request(name: &str, attributes: Vec<KeyValue>) -> Vec<u8> {
    let span = Span {
        name: name.to_owned(),
        attributes,
        start_time_unix_nano: 5,
        end_time_unix_nano: 7,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn fields(attributes: Vec<KeyValue>) -> Value {
    let spans = flow_spans(&[request("netflow.flow", attributes)]).expect("the request is whole");
    assert_eq!(spans.len(), 1);
    serde_json::to_value(&spans[0].fields).expect("names and values are JSON")
}

#[test]
fn attributes_stand_under_the_names_of_records() {
    let shown = fields(vec![
        text("source.address", "2001:DB8:0:0::1"),
        int("netflow.flow.bytes", 0),
        text("netflow.end_reason", "idle_timeout"),
        text("netflow.nat.event", "200"),
        text("netflow.user", "1234"),
        text("network.transport", "ipv6-icmp"),
        text("network.type", "ipv6"),
        text("ipfix.unheard_of", "left out"),
    ]);
    assert_eq!(
        shown,
        json!({
            "src_addr": "2001:db8::1", "bytes": 0, "flow_end_reason": 1, "nat_event": 200,
            "username": "1234", "protocol": 58, "ip_version": 6,
            "start_time_unix_nano": 5, "end_time_unix_nano": 7
        })
    );
}

#[test]
fn labels_are_in_the_order_of_their_numbers() {
    let labels = (1..=10)
        .rev()
        .map(|n| int(&format!("netflow.mpls.label.{n}"), n))
        .collect();
    assert_eq!(
        fields(labels)["mpls_labels"],
        json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    );
}

#[test]
fn the_flows_own_times_go_before_the_spans() {
    let shown = fields(vec![int("netflow.flow.start_unix_nano", 3)]);
    assert_eq!(shown["start_time_unix_nano"], 3);
    assert_eq!(shown["end_time_unix_nano"], 7);
}

#[test]
fn the_number_goes_before_the_keyword() {
    let both = vec![
        text("network.transport", "tcp"),
        int("network.protocol.number", 17),
    ];
    assert_eq!(fields(both)["protocol"], 17);
    assert_eq!(
        fields(vec![text("network.transport", "protocol-253")])["protocol"],
        253
    );
}

#[test]
fn scaled_counters_and_lists_are_read() {
    let list = ArrayValue {
        values: vec![AnyValue { value: None }],
    };
    let attributes = vec![
        attribute("netflow.sampling.scaled", any_value::Value::BoolValue(true)),
        attribute("ipfix.some_list", any_value::Value::ArrayValue(list)),
    ];
    assert!(flow_spans(&[request("netflow.flow", attributes)]).unwrap()[0].scaled);
}

#[test]
fn work_spans_are_no_flows_and_other_octets_no_request() {
    assert_eq!(
        flow_spans(&[request("netflow.export", Vec::new())]),
        Ok(Vec::new())
    );
    assert!(flow_spans(&[[0xff_u8]]).is_err());
}
