//! OTLP's messages as structs, for what is not on the way of flow records: the demo's backend, `decode`, and the
//! metrics that the daemon exports.
//!
//! Only the messages and fields that are read or written here. Fields that are not known are skipped, as protobuf and
//! OTLP/JSON ask for; tests compare both forms with the types that OpenTelemetry generates.
//! Source: opentelemetry-proto, packages `common`, `resource`, `trace`, `metrics` and `collector`.

mod json_form;
mod metrics;
mod trace;
mod value;

pub use metrics::{
    AggregationTemporality, Exemplar, ExportMetricsServiceRequest, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
    metric, number_data_point,
};
pub use trace::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    ResourceSpans, ScopeSpans, Span, Status, TracesData, span, status,
};
pub use value::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, Resource,
    any_value,
};
