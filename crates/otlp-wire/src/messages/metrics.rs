//! Packages `metrics` and `collector.metrics`: sums, gauges and histograms. They are written, never read.

use prost::Message;
use serde::Serialize;

use super::json_form::{hex_of_id, text_of_u64, texts_of_u64s};
use super::value::{InstrumentationScope, KeyValue, Resource};

/// What an exporter of metrics sends.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportMetricsServiceRequest {
    /// Metrics by resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// Metrics of one resource.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceMetrics {
    /// The resource.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Metrics by scope.
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
    /// Schema of the resource.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// Metrics of one instrumentation scope.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeMetrics {
    /// The scope.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    /// The metrics.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    /// Schema of the metrics.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// A metric with its points.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it counts, for people.
    #[prost(string, tag = "2")]
    pub description: String,
    /// UCUM's code of its unit.
    #[prost(string, tag = "3")]
    pub unit: String,
    /// Its points.
    #[prost(oneof = "metric::Data", tags = "5, 7, 9")]
    #[serde(flatten)]
    pub data: Option<metric::Data>,
}

/// Of [`Metric`].
pub mod metric {
    use prost::Oneof;
    use serde::Serialize;

    use super::{Gauge, Histogram, Sum};

    /// The kinds of metrics.
    #[derive(Clone, Oneof, PartialEq, Serialize)]
    #[serde(rename_all = "camelCase")]
    pub enum Data {
        /// Levels.
        #[prost(message, tag = "5")]
        Gauge(Gauge),
        /// Sums since a start.
        #[prost(message, tag = "7")]
        Sum(Sum),
        /// Counts of values by their size.
        #[prost(message, tag = "9")]
        Histogram(Histogram),
    }
}

/// Levels.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gauge {
    /// One for each set of attributes.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberDataPoint>,
}

/// Sums.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// One for each set of attributes.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberDataPoint>,
    /// An [`AggregationTemporality`].
    #[prost(enumeration = "AggregationTemporality", tag = "2")]
    pub aggregation_temporality: i32,
    /// They never fall but by a restart.
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

/// Histograms with explicit bounds.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// One for each set of attributes.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<HistogramDataPoint>,
    /// An [`AggregationTemporality`].
    #[prost(enumeration = "AggregationTemporality", tag = "2")]
    pub aggregation_temporality: i32,
}

/// Since when sums are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, prost::Enumeration)]
#[repr(i32)]
pub enum AggregationTemporality {
    /// Not said.
    Unspecified = 0,
    /// Since the last report.
    Delta = 1,
    /// Since the start.
    Cumulative = 2,
}

/// A number at a moment.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NumberDataPoint {
    /// What it is the number of.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
    /// Of a sum: since when, in nanoseconds since 1970.
    #[prost(fixed64, tag = "2")]
    #[serde(serialize_with = "text_of_u64")]
    pub start_time_unix_nano: u64,
    /// When, in nanoseconds since 1970.
    #[prost(fixed64, tag = "3")]
    #[serde(serialize_with = "text_of_u64")]
    pub time_unix_nano: u64,
    /// Spans behind the number.
    #[prost(message, repeated, tag = "5")]
    pub exemplars: Vec<Exemplar>,
    /// 1: there is no number.
    #[prost(uint32, tag = "8")]
    pub flags: u32,
    /// The number.
    #[prost(oneof = "number_data_point::Value", tags = "4, 6")]
    #[serde(flatten)]
    pub value: Option<number_data_point::Value>,
}

/// Of [`NumberDataPoint`].
pub mod number_data_point {
    use prost::Oneof;
    use serde::Serialize;

    use crate::messages::json_form::{number_or_word, text_of_i64};

    /// The number.
    #[derive(Clone, Copy, Oneof, PartialEq, Serialize)]
    #[serde(rename_all = "camelCase")]
    pub enum Value {
        /// Any number.
        #[prost(double, tag = "4")]
        #[serde(serialize_with = "number_or_word")]
        AsDouble(f64),
        /// A whole number.
        #[prost(sfixed64, tag = "6")]
        #[serde(serialize_with = "text_of_i64")]
        AsInt(i64),
    }
}

/// A histogram at a moment.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistogramDataPoint {
    /// What it is the histogram of.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// Since when, in nanoseconds since 1970.
    #[prost(fixed64, tag = "2")]
    #[serde(serialize_with = "text_of_u64")]
    pub start_time_unix_nano: u64,
    /// When, in nanoseconds since 1970.
    #[prost(fixed64, tag = "3")]
    #[serde(serialize_with = "text_of_u64")]
    pub time_unix_nano: u64,
    /// Values in all.
    #[prost(fixed64, tag = "4")]
    #[serde(serialize_with = "text_of_u64")]
    pub count: u64,
    /// Their sum.
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    /// Values of each bucket; one more than there are bounds.
    #[prost(fixed64, repeated, tag = "6")]
    #[serde(serialize_with = "texts_of_u64s")]
    pub bucket_counts: Vec<u64>,
    /// The upper bound of each bucket but the last, which has none.
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    /// Spans behind the values.
    #[prost(message, repeated, tag = "8")]
    pub exemplars: Vec<Exemplar>,
    /// 1: there are no values.
    #[prost(uint32, tag = "10")]
    pub flags: u32,
    /// The smallest value.
    #[prost(double, optional, tag = "11")]
    pub min: Option<f64>,
    /// The largest value.
    #[prost(double, optional, tag = "12")]
    pub max: Option<f64>,
}

/// A span behind a number.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exemplar {
    /// Attributes of the span that the point doesn't have.
    #[prost(message, repeated, tag = "7")]
    pub filtered_attributes: Vec<KeyValue>,
    /// When, in nanoseconds since 1970.
    #[prost(fixed64, tag = "2")]
    #[serde(serialize_with = "text_of_u64")]
    pub time_unix_nano: u64,
    /// 8 octets.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(serialize_with = "hex_of_id")]
    pub span_id: Vec<u8>,
    /// 16 octets.
    #[prost(bytes = "vec", tag = "5")]
    #[serde(serialize_with = "hex_of_id")]
    pub trace_id: Vec<u8>,
    /// Its part of the number.
    #[prost(oneof = "exemplar::Value", tags = "3, 6")]
    #[serde(flatten)]
    pub value: Option<exemplar::Value>,
}

/// Of [`Exemplar`].
pub mod exemplar {
    use prost::Oneof;
    use serde::Serialize;

    use crate::messages::json_form::{number_or_word, text_of_i64};

    /// Its part of the number.
    #[derive(Clone, Copy, Oneof, PartialEq, Serialize)]
    #[serde(rename_all = "camelCase")]
    pub enum Value {
        /// Any number.
        #[prost(double, tag = "3")]
        #[serde(serialize_with = "number_or_word")]
        AsDouble(f64),
        /// A whole number.
        #[prost(sfixed64, tag = "6")]
        #[serde(serialize_with = "text_of_i64")]
        AsInt(i64),
    }
}
