//! The table of metrics as OTLP requests: the names and labels of `/metrics`, with sums since the start.

use std::time::{SystemTime, UNIX_EPOCH};

use otlp_wire::messages::{
    AggregationTemporality, AnyValue, ExportMetricsServiceRequest, Gauge, Histogram,
    HistogramDataPoint, InstrumentationScope, KeyValue, Metric, NumberDataPoint, Resource,
    ResourceMetrics, ScopeMetrics, Sum, any_value::Value, metric, number_data_point,
};
use prost::Message as _;

use super::flow_metrics::Exposition;
use super::flow_metrics::otlp::Stretches;
use super::metric_table::{METRICS, Series};
use super::stages::Stages;
use crate::translate::counters::Distribution;

/// All metrics at one moment, in requests of bounded size. The daemon's own are in the first.
#[derive(Debug)]
pub struct Requests {
    /// Of the daemon, until they were given.
    own: Option<Vec<Metric>>,
    flows: Option<Stretches>,
    resource: Resource,
    /// Octets.
    limit: usize,
}

impl Requests {
    /// Of a process with these resource attributes. A request has about `limit` octets at most, or the daemon's own
    /// metrics if they are more.
    #[must_use]
    pub fn new(
        stages: &Stages,
        flows: Option<Exposition>,
        resource: &[(String, String)],
        now: SystemTime,
        limit: usize,
    ) -> Self {
        let times = Times {
            start: unix_nanos(stages.facts.started),
            now: unix_nanos(now),
        };
        let own = METRICS.iter().map(|row| Metric {
            name: row.name.to_owned(),
            description: row.help.to_owned(),
            unit: String::new(),
            data: Some(times.data(&row.series, stages)),
        });
        let attributes = resource.iter().map(|(key, value)| attribute(key, value));
        Self {
            own: Some(own.collect()),
            flows: flows.map(|flows| Stretches::new(flows, times.start, times.now)),
            resource: Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            },
            limit,
        }
    }
}

impl Iterator for Requests {
    type Item = ExportMetricsServiceRequest;

    fn next(&mut self) -> Option<ExportMetricsServiceRequest> {
        let mut metrics = self.own.take().unwrap_or_default();
        let taken: usize = metrics.iter().map(Metric::encoded_len).sum();
        if let Some(flows) = &mut self.flows
            && taken < self.limit
        {
            metrics.extend(flows.next(self.limit - taken));
        }
        if metrics.is_empty() {
            return None;
        }
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        Some(ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope),
                    metrics,
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        })
    }
}

/// Of all points of a request, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
}

impl Times {
    fn data(self, series: &Series, stages: &Stages) -> metric::Data {
        match series {
            Series::Counters(rows) => self.sum(rows.iter().map(|(labels, read)| {
                let labels = labels.iter().map(|(key, value)| attribute(key, value));
                (labels.collect(), read(stages))
            })),
            Series::ByWorker(read) => {
                let workers = stages.received.iter().enumerate();
                self.sum(workers.map(|(index, worker)| {
                    (vec![attribute("worker", &index.to_string())], read(worker))
                }))
            }
            Series::ByProtocol(protocols, read) => self.sum(protocols.iter().map(|protocol| {
                let label = attribute("version", protocol.as_str());
                (vec![label], stages.traffic(*protocol, *read))
            })),
            Series::Gauges(rows) => {
                let points = rows.iter().map(|(labels, read)| {
                    let labels = labels.iter().map(|(key, value)| attribute(key, value));
                    self.point(labels.collect(), int(read(stages)))
                });
                gauge(points.collect())
            }
            Series::Seconds(read) => {
                let value = number_data_point::Value::AsDouble(read(stages));
                gauge(vec![self.point(Vec::new(), value)])
            }
            Series::Info(read) => {
                let labels = read(stages);
                let labels = labels.iter().map(|(key, value)| attribute(key, value));
                gauge(vec![self.point(labels.collect(), int(1))])
            }
            Series::Histogram(read) => {
                let workers = stages.translated.iter();
                let all = workers.fold(Distribution::default(), |all, worker| {
                    all.plus(&read(&worker.traffic))
                });
                self.histogram(&all)
            }
        }
    }

    fn sum(self, points: impl Iterator<Item = (Vec<KeyValue>, u64)>) -> metric::Data {
        let points = points.map(|(labels, value)| NumberDataPoint {
            start_time_unix_nano: self.start,
            ..self.point(labels, int(value))
        });
        metric::Data::Sum(Sum {
            data_points: points.collect(),
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
            is_monotonic: true,
        })
    }

    fn point(self, attributes: Vec<KeyValue>, value: number_data_point::Value) -> NumberDataPoint {
        NumberDataPoint {
            attributes,
            time_unix_nano: self.now,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }

    fn histogram(self, all: &Distribution) -> metric::Data {
        let counts = all.buckets.iter().map(|(_, count)| *count);
        metric::Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                start_time_unix_nano: self.start,
                time_unix_nano: self.now,
                count: all.count(),
                sum: Some(all.sum as f64),
                bucket_counts: counts.chain([all.beyond]).collect(),
                explicit_bounds: all.buckets.iter().map(|(bound, _)| *bound as f64).collect(),
                ..HistogramDataPoint::default()
            }],
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
        })
    }
}

fn gauge(data_points: Vec<NumberDataPoint>) -> metric::Data {
    metric::Data::Gauge(Gauge { data_points })
}

fn int(value: u64) -> number_data_point::Value {
    number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
