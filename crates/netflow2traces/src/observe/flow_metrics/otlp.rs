//! Flow metrics as OTLP, with exemplars in the data points.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, Sum, exemplar, metric, number_data_point,
};

use crate::translate::metrics::GRAPH_BOUNDS;

use super::families::{Family, Kind, Labels, Number, OVERFLOW_ATTRIBUTE, OVERFLOW_LABEL, Point};

/// The metrics at `now` of a process that began at `start`, both in nanoseconds since 1970.
#[must_use]
pub fn metrics(families: &[Family], start: u64, now: u64) -> Vec<Metric> {
    let metrics = families.iter().map(|family| {
        if family.name.kind == Kind::Histogram {
            return histogram(family, start, now);
        }
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
        metric(family, data)
    });
    metrics.collect()
}

fn metric(family: &Family, data: metric::Data) -> Metric {
    Metric {
        name: family.name.otlp.to_owned(),
        description: family.name.help.to_owned(),
        unit: family.name.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn histogram(family: &Family, start: u64, now: u64) -> Metric {
    let points = family.points.iter().filter_map(|point| {
        let Number::Seconds(totals) = point.number else {
            return None;
        };
        Some(HistogramDataPoint {
            attributes: attributes(&point.labels),
            start_time_unix_nano: start,
            time_unix_nano: now,
            count: totals.requests,
            sum: Some(totals.nanos as f64 / 1e9),
            bucket_counts: totals.buckets.to_vec(),
            explicit_bounds: GRAPH_BOUNDS.to_vec(),
            ..HistogramDataPoint::default()
        })
    });
    let data = metric::Data::Histogram(Histogram {
        data_points: points.collect(),
        aggregation_temporality: AggregationTemporality::Cumulative as i32,
    });
    metric(family, data)
}

fn data_point(point: &Point, start: u64, now: u64) -> NumberDataPoint {
    let value = match point.number {
        Number::Count(count) => number_data_point::Value::AsInt(int(count)),
        Number::Level(level) => number_data_point::Value::AsDouble(level),
        Number::Seconds(totals) => number_data_point::Value::AsInt(int(totals.requests)),
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
