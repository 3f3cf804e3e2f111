//! The structs of OTLP's messages mean what the generated types of OpenTelemetry mean, as protobuf and as JSON.

#[expect(dead_code, reason = "other tests need the rest")]
mod support;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest as TheirMetrics;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest as TheirRequest, ExportTraceServiceResponse as TheirResponse,
};
use opentelemetry_proto::tonic::common::v1 as theirs;
use otlp_wire::messages::any_value::Value;
use otlp_wire::messages::{
    AggregationTemporality, AnyValue, ArrayValue, Exemplar, ExportMetricsServiceRequest,
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, Gauge,
    Histogram, HistogramDataPoint, InstrumentationScope, KeyValue, KeyValueList, Metric,
    NumberDataPoint, Resource, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric,
    number_data_point,
};
use proptest::prelude::*;
use prost::Message;
use serde_json::json;
use support::requests;

/// Without the indexes that only profiles use, which ours don't have.
fn plain(mut request: TheirRequest) -> TheirRequest {
    for of_resource in &mut request.resource_spans {
        if let Some(resource) = &mut of_resource.resource {
            clear(&mut resource.attributes);
        }
        for of_scope in &mut of_resource.scope_spans {
            if let Some(scope) = &mut of_scope.scope {
                clear(&mut scope.attributes);
            }
            for span in &mut of_scope.spans {
                clear(&mut span.attributes);
                for event in &mut span.events {
                    clear(&mut event.attributes);
                }
                for link in &mut span.links {
                    clear(&mut link.attributes);
                }
            }
        }
    }
    request
}

fn clear(attributes: &mut [theirs::KeyValue]) {
    for attribute in attributes {
        attribute.key_strindex = 0;
        attribute.value.iter_mut().for_each(clear_value);
    }
}

fn clear_value(value: &mut theirs::AnyValue) {
    match &mut value.value {
        Some(theirs::any_value::Value::ArrayValue(list)) => {
            list.values.iter_mut().for_each(clear_value);
        }
        Some(theirs::any_value::Value::KvlistValue(list)) => clear(&mut list.values),
        _ => {}
    }
}

proptest! {
    #[test]
    fn requests_are_the_same_as_protobuf_and_as_json(request in requests()) {
        let request = plain(request);
        let octets = request.encode_to_vec();
        let ours = ExportTraceServiceRequest::decode(octets.as_slice()).unwrap();
        prop_assert_eq!(ours.encode_to_vec(), octets);
        let json = serde_json::to_vec(&request).unwrap();
        let read: ExportTraceServiceRequest = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(read, ours);
    }

    #[test]
    fn octets_of_any_kind_do_no_harm(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let theirs = TheirRequest::decode(octets.as_slice());
        let ours = ExportTraceServiceRequest::decode(octets.as_slice());
        prop_assert!(ours.is_ok() || theirs.is_err());
    }
}

fn read(attribute: &str) -> Result<Option<AnyValue>, serde_json::Error> {
    let json = format!(r#"{{"key":"k","value":{attribute}}}"#);
    serde_json::from_str(&json).map(|attribute: KeyValue| attribute.value)
}

#[test]
fn json_is_read_in_every_form_that_otlp_allows() {
    let some = |value| Some(AnyValue { value });
    for (json, expected) in [
        (r#"{"intValue":"-7"}"#, Some(Value::IntValue(-7))),
        (r#"{"intValue":7}"#, Some(Value::IntValue(7))),
        (r#"{"doubleValue":2}"#, Some(Value::DoubleValue(2.0))),
        (
            r#"{"doubleValue":"-Infinity"}"#,
            Some(Value::DoubleValue(f64::NEG_INFINITY)),
        ),
        (
            r#"{"stringValue":null,"boolValue":false}"#,
            Some(Value::BoolValue(false)),
        ),
        (
            r#"{"bytesValue":"AP8="}"#,
            Some(Value::BytesValue(vec![0, 255])),
        ),
        (
            r#"{"later":{"a":[1]},"arrayValue":{}}"#,
            Some(Value::ArrayValue(ArrayValue::default())),
        ),
        ("{}", None),
    ] {
        assert_eq!(read(json).unwrap(), some(expected), "{json}");
    }
    assert_eq!(read("null").unwrap(), None);
    let spans = json!({ "resourceSpans": [{ "later": 1, "scopeSpans": [{ "spans": [{
        "traceId": "0A0b", "startTimeUnixNano": 7, "endTimeUnixNano": "18446744073709551615",
        "kind": 3, "later": {}, "status": { "code": 2 },
    }] }] }] });
    let request: ExportTraceServiceRequest = serde_json::from_value(spans).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.trace_id, [0x0a, 0x0b]);
    assert_eq!(span.start_time_unix_nano, 7);
    assert_eq!(span.end_time_unix_nano, u64::MAX);
    assert_eq!(span.kind, 3);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
}

#[test]
fn json_that_means_nothing_is_refused() {
    for json in [
        r#"{"intValue":"9223372036854775808"}"#,
        r#"{"intValue":1.5}"#,
        r#"{"doubleValue":"much"}"#,
        r#"{"bytesValue":"?"}"#,
        r#"{"arrayValue":7}"#,
        "7",
    ] {
        assert!(read(json).is_err(), "{json}");
    }
    for span in [
        r#"{"traceId":"abc"}"#,
        r#"{"traceId":"0x"}"#,
        r#"{"startTimeUnixNano":-1}"#,
        r#"{"startTimeUnixNano":"18446744073709551616"}"#,
    ] {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
        let read: Result<ExportTraceServiceRequest, _> = serde_json::from_str(&json);
        assert!(read.is_err(), "{span}");
    }
}

#[test]
fn answers_are_the_same() {
    for partial_success in [
        None,
        Some(ExportTracePartialSuccess {
            rejected_spans: 7,
            error_message: "no".to_owned(),
        }),
    ] {
        let ours = ExportTraceServiceResponse { partial_success };
        let theirs = TheirResponse::decode(ours.encode_to_vec().as_slice()).unwrap();
        assert_eq!(theirs.encode_to_vec(), ours.encode_to_vec());
        let json = serde_json::to_vec(&ours).unwrap();
        let read: TheirResponse = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, theirs);
    }
}

fn attributes() -> Vec<KeyValue> {
    let list = vec![
        Value::BoolValue(true),
        Value::IntValue(i64::MIN),
        Value::DoubleValue(0.5),
        Value::StringValue("\"\n".to_owned()),
        Value::BytesValue(vec![0, 255]),
    ];
    let values = list
        .into_iter()
        .map(|value| AnyValue { value: Some(value) });
    let list = Value::ArrayValue(ArrayValue {
        values: values.collect(),
    });
    let members = Value::KvlistValue(KeyValueList {
        values: vec![KeyValue {
            key: "inner".to_owned(),
            value: Some(AnyValue { value: Some(list) }),
        }],
    });
    vec![KeyValue {
        key: "outer".to_owned(),
        value: Some(AnyValue {
            value: Some(members),
        }),
    }]
}

/// Every field has a value that is not its default.
fn metrics() -> ExportMetricsServiceRequest {
    let exemplar = |value| Exemplar {
        filtered_attributes: attributes(),
        time_unix_nano: u64::MAX,
        span_id: vec![0xab; 8],
        trace_id: vec![0xcd; 16],
        value: Some(value),
    };
    let exemplars = vec![
        exemplar(exemplar::Value::AsInt(i64::MAX)),
        exemplar(exemplar::Value::AsDouble(1.5)),
    ];
    let number = |value| NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: u64::MAX,
        exemplars: exemplars.clone(),
        flags: 1,
        value: Some(value),
    };
    let data_points = vec![
        number(number_data_point::Value::AsInt(-1)),
        number(number_data_point::Value::AsDouble(0.25)),
    ];
    let histogram = HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(4.5),
        bucket_counts: vec![1, u64::MAX],
        explicit_bounds: vec![0.5],
        exemplars: exemplars.clone(),
        flags: 1,
        min: Some(0.125),
        max: Some(8.5),
    };
    let cumulative = AggregationTemporality::Cumulative as i32;
    let kinds = [
        metric::Data::Gauge(Gauge {
            data_points: data_points.clone(),
        }),
        metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        metric::Data::Histogram(Histogram {
            data_points: vec![histogram],
            aggregation_temporality: cumulative,
        }),
    ];
    let metrics = kinds.map(|data| Metric {
        name: "n".to_owned(),
        description: "d".to_owned(),
        unit: "By".to_owned(),
        data: Some(data),
    });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes(),
                dropped_attributes_count: 1,
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "n".to_owned(),
                    version: "v".to_owned(),
                    attributes: attributes(),
                    dropped_attributes_count: 1,
                }),
                metrics: metrics.into(),
                schema_url: "s".to_owned(),
            }],
            schema_url: "r".to_owned(),
        }],
    }
}

#[test]
fn metrics_are_the_same_as_protobuf_and_as_json() {
    let ours = metrics();
    let octets = ours.encode_to_vec();
    let theirs = TheirMetrics::decode(octets.as_slice()).unwrap();
    assert_eq!(theirs.encode_to_vec(), octets);
    let json = serde_json::to_vec(&ours).unwrap();
    let read: TheirMetrics = serde_json::from_slice(&json).unwrap();
    assert_eq!(read, theirs);
}

#[test]
fn metrics_that_are_no_number_are_words_in_json() {
    for (number, word) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        let point = NumberDataPoint {
            value: Some(number_data_point::Value::AsDouble(number)),
            ..NumberDataPoint::default()
        };
        assert_eq!(serde_json::to_value(point).unwrap()["asDouble"], word);
    }
}
