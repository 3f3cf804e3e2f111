//! Flow metrics as OTLP, with exemplars in the data points.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Metric, NumberDataPoint, Sum, exemplar, metric,
    number_data_point,
};

use super::families::{Family, Kind, Labels, Number, OVERFLOW_ATTRIBUTE, OVERFLOW_LABEL, Point};

/// The metrics at `now` of a process that began at `start`, both in nanoseconds since 1970.
#[must_use]
pub fn metrics(families: &[Family], start: u64, now: u64) -> Vec<Metric> {
    let metrics = families.iter().map(|family| {
        let is_sum = family.name.kind == Kind::Counter;
        let points = family.points.iter();
        let data_points = points
            .map(|point| data_point(point, if is_sum { start } else { 0 }, now))
            .collect();
        let data = match is_sum {
            true => metric::Data::Sum(Sum {
                data_points,
                aggregation_temporality: AggregationTemporality::Cumulative as i32,
                is_monotonic: true,
            }),
            false => metric::Data::Gauge(Gauge { data_points }),
        };
        Metric {
            name: family.name.otlp.to_owned(),
            description: family.name.help.to_owned(),
            unit: family.name.unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        }
    });
    metrics.collect()
}

fn data_point(point: &Point, start: u64, now: u64) -> NumberDataPoint {
    let value = match point.number {
        Number::Count(count) => number_data_point::Value::AsInt(int(count)),
        Number::Level(level) => number_data_point::Value::AsDouble(level),
    };
    let exemplars = point.exemplar.iter().map(|of| Exemplar {
        time_unix_nano: of.received_at.0,
        span_id: of.span_id.to_vec(),
        trace_id: of.trace_id.to_vec(),
        value: Some(exemplar::Value::AsInt(int(of.bytes))),
        ..Exemplar::default()
    });
    NumberDataPoint {
        attributes: attributes(&point.labels),
        start_time_unix_nano: start,
        time_unix_nano: now,
        exemplars: exemplars.collect(),
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let attributes = labels.iter().map(|(name, value)| {
        let (key, value) = match *name {
            OVERFLOW_LABEL => (OVERFLOW_ATTRIBUTE, Value::BoolValue(true)),
            name => (name, Value::StringValue(value.clone())),
        };
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    });
    attributes.collect()
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
