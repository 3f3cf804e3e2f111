//! Flow metrics as OTLP, with exemplars in the data points.

use otlp_wire::messages::{
    AggregationTemporality, AnyValue, Exemplar, Gauge, Histogram, HistogramDataPoint, KeyValue,
    Metric, NumberDataPoint, Sum, any_value::Value, exemplar, metric, number_data_point,
};

use prost::Message as _;

use super::families::{Cursor, Exposition, Family};
use super::labels::{Labels, Number, Point};
use super::names::{Kind, OVERFLOW_ATTRIBUTE, OVERFLOW_LABEL};
use crate::translate::metrics::{GRAPH_BOUNDS, GraphTotals};

/// The metrics of a process that began at `start`, in stretches of bounded size.
#[derive(Debug)]
pub struct Stretches {
    metrics: Exposition,
    cursor: Cursor,
    /// Nanoseconds since 1970.
    start: u64,
    /// Likewise: of all points.
    now: u64,
}

impl Stretches {
    /// Of these metrics at `now`; both times in nanoseconds since 1970.
    #[must_use]
    pub fn new(metrics: Exposition, start: u64, now: u64) -> Self {
        Self {
            metrics,
            cursor: Cursor::default(),
            start,
            now,
        }
    }

    /// The next metrics, at least one point and then as many as this many octets have room for; none when all were given.
    /// A metric may go on in the next stretch.
    pub fn next(&mut self, room: usize) -> Vec<Metric> {
        let mut metrics: Vec<Metric> = Vec::new();
        let families = self.metrics.families();
        let mut octets = 0;
        while octets < room.max(1)
            && let Some((family, point, is_first)) = self.cursor.next(&families)
        {
            if is_first || metrics.is_empty() {
                let metric = metric(family);
                octets += metric.encoded_len() + FRAMING;
                metrics.push(metric);
            }
            if let Some(data) = metrics.last_mut().and_then(|metric| metric.data.as_mut()) {
                octets += self.push(data, &point) + FRAMING;
            }
        }
        metrics
    }

    /// Adds a point; gives its octets.
    fn push(&self, data: &mut metric::Data, point: &Point<'_>) -> usize {
        match data {
            metric::Data::Sum(Sum { data_points, .. }) => {
                push(data_points, data_point(point, self.start, self.now))
            }
            metric::Data::Gauge(Gauge { data_points }) => {
                push(data_points, data_point(point, 0, self.now))
            }
            metric::Data::Histogram(Histogram { data_points, .. }) => match point.number {
                Number::Seconds(totals) => {
                    let point = histogram_point(&point.labels, totals, self.start, self.now);
                    push(data_points, point)
                }
                _ => 0,
            },
        }
    }
}

/// Octets of a field's number and length around a message, at most.
const FRAMING: usize = 6;

fn push<T: prost::Message>(points: &mut Vec<T>, point: T) -> usize {
    let octets = point.encoded_len();
    points.push(point);
    octets
}

/// Without points.
fn metric(family: &Family<'_>) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match family.name.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge | Kind::Info => metric::Data::Gauge(Gauge::default()),
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: Vec::new(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: family.name.otlp.to_owned(),
        description: family.name.help.to_owned(),
        unit: family.name.unit.to_owned(),
        data: Some(data),
    }
}

fn histogram_point(
    labels: &Labels<'_>,
    totals: &GraphTotals,
    start: u64,
    now: u64,
) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: totals.requests,
        sum: Some(totals.nanos as f64 / 1e9),
        bucket_counts: totals.buckets.to_vec(),
        explicit_bounds: GRAPH_BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn data_point(point: &Point<'_>, start: u64, now: u64) -> NumberDataPoint {
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

fn attributes(labels: &Labels<'_>) -> Vec<KeyValue> {
    let attributes = labels.iter().map(|(name, value)| {
        let (key, value) = match (name, value) {
            (OVERFLOW_LABEL, _) => (OVERFLOW_ATTRIBUTE, Value::BoolValue(true)),
            (name, value) => (name, Value::StringValue(value.to_string())),
        };
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        }
    });
    attributes.collect()
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::exporters;
    use super::*;

    #[test]
    fn stretches_have_every_point_once_and_are_of_bounded_size() {
        const SERIES: u64 = 3_000;
        const ROOM: usize = 20_000;
        let mut stretches = Stretches::new(exporters(SERIES), 1, 2);
        let mut found: Vec<(String, i64)> = Vec::new();
        loop {
            let metrics = stretches.next(ROOM);
            if metrics.is_empty() {
                break;
            }
            let octets: usize = metrics.iter().map(Metric::encoded_len).sum();
            assert!(octets <= ROOM + 200, "{octets}");
            for metric in metrics {
                let Some(metric::Data::Sum(sum)) = metric.data else {
                    panic!("{metric:?}")
                };
                for point in sum.data_points {
                    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
                    let Some(number_data_point::Value::AsInt(count)) = point.value else {
                        panic!("{point:?}")
                    };
                    found.push((metric.name.clone(), count));
                }
            }
        }
        let names = ["bytes", "packets", "flows"].map(|name| format!("netflow.exporter.{name}"));
        let expected = names
            .iter()
            .flat_map(|name| (0..SERIES as i64).map(|n| (name.clone(), n)));
        assert!(found.into_iter().eq(expected));
    }
}
