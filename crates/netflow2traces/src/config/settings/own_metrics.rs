//! Settings: the daemon's own metrics, sent over OTLP. Those of the OTLP exporter apply to metrics
//! only; if one isn't set, its general form applies.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values::{self, Rejection, choice};
use crate::config::{Compression, Headers, MetricsExporter, Protocol};
use crate::config::{headers, otlp};

settings! { OWN_METRICS:
    METRICS_EXPORTER: MetricsExporter {
        section: OwnMetrics,
        variables: ["OTEL_METRICS_EXPORTER"],
        flag: "metrics-exporter",
        placeholder: "EXPORTER",
        preset: Preset::Text("none"),
        accepted: "otlp, kafka, none",
        summary: "Whether the daemon sends its own metrics, and how",
        details: "`otlp` sends what `/metrics` shows, under the same names, every \
            `OTEL_METRIC_EXPORT_INTERVAL`, to the endpoint of the spans or to \
            `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`. `kafka` writes the same requests to `NETFLOW_KAFKA_METRICS_TOPIC`. \
            Prometheus needs no \
            setting: it scrapes `/metrics`.",
        parse: metrics_exporter,
    }
    METRICS_ENDPOINT: String {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"],
        flag: "otlp-metrics-endpoint",
        placeholder: "URL",
        preset: Preset::Nothing("the general endpoint"),
        accepted: "a URL such as http://localhost:4318/v1/metrics",
        summary: "Where to send metrics, as the full URL",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_ENDPOINT` and is used unchanged: for HTTP, nothing is \
            appended. If only the general endpoint is set, `/v1/metrics` is appended to it for HTTP.",
        secrecy: Url,
        parse: otlp::url_text,
    }
    METRICS_PROTOCOL: Protocol {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"],
        flag: "otlp-metrics-protocol",
        placeholder: "PROTOCOL",
        preset: Preset::Nothing("the general protocol"),
        accepted: "grpc, http/protobuf (or http), http/json",
        summary: "Protocol between the daemon and the backend of metrics",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_PROTOCOL`.",
        parse: otlp::protocol,
    }
    METRICS_HEADERS: Headers {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_HEADERS"],
        flag: "otlp-metrics-headers",
        placeholder: "NAME=VALUE,…",
        preset: Preset::Nothing("the general headers"),
        accepted: "name=value pairs separated by commas, the values percent-encoded \
            (%20 is a space, %2C a comma)",
        summary: "Headers of every request with metrics",
        details: "Sent instead of `OTEL_EXPORTER_OTLP_HEADERS`. Values are never \
            printed or logged.",
        secrecy: Secret,
        parse: headers::headers,
    }
    METRICS_COMPRESSION: Compression {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_COMPRESSION"],
        flag: "otlp-metrics-compression",
        placeholder: "KIND",
        preset: Preset::Nothing("the general compression"),
        accepted: "none, gzip, zstd",
        summary: "Compression of requests with metrics",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_COMPRESSION`.",
        parse: otlp::compression,
    }
    METRICS_TIMEOUT: Duration {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"],
        flag: "otlp-metrics-timeout",
        placeholder: "MS",
        preset: Preset::Nothing("the general timeout"),
        accepted: "milliseconds from 1 to 600000",
        summary: "How long one request with metrics may take, in milliseconds",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_TIMEOUT`.",
        parse: |text| values::milliseconds(text, 1..=600_000),
    }
    METRICS_CERTIFICATE: PathBuf {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE"],
        flag: "otlp-metrics-certificate",
        placeholder: "FILE",
        preset: Preset::Nothing("the general certificate"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Certificates to trust for metrics",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_CERTIFICATE`.",
        parse: otlp::authority_file,
    }
    METRICS_CLIENT_CERTIFICATE: PathBuf {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE"],
        flag: "otlp-metrics-client-certificate",
        placeholder: "FILE",
        preset: Preset::Nothing("the general client certificate"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Client certificate for metrics, for mutual TLS",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`. Needs \
            `OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY` too.",
        parse: otlp::certificate_file,
    }
    METRICS_CLIENT_KEY: PathBuf {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY"],
        flag: "otlp-metrics-client-key",
        placeholder: "FILE",
        preset: Preset::Nothing("the general client key"),
        accepted: "a readable PEM file with a private key",
        summary: "The key of the client certificate for metrics",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_CLIENT_KEY`.",
        parse: otlp::key_file,
    }
    METRICS_INSECURE: bool {
        section: OwnMetrics,
        variables: ["OTEL_EXPORTER_OTLP_METRICS_INSECURE"],
        flag: "otlp-metrics-insecure",
        placeholder: "BOOL",
        preset: Preset::Nothing("the general choice"),
        accepted: "true or false",
        summary: "Don't encrypt gRPC with metrics when the endpoint has no scheme",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_INSECURE`.",
        switch: true,
        parse: values::switch,
    }
    METRIC_EXPORT_INTERVAL: Duration {
        section: OwnMetrics,
        variables: ["OTEL_METRIC_EXPORT_INTERVAL"],
        flag: "metric-export-interval",
        placeholder: "MS",
        preset: Preset::Text("60000"),
        accepted: "milliseconds from 100 to 86400000",
        summary: "How often metrics are sent, in milliseconds",
        details: "Each request has all metrics with their totals since the start, so a lost request loses no counts.",
        parse: |text| values::milliseconds(text, 100..=86_400_000),
    }
    METRIC_EXPORT_TIMEOUT: Duration {
        section: OwnMetrics,
        variables: ["OTEL_METRIC_EXPORT_TIMEOUT"],
        flag: "metric-export-timeout",
        placeholder: "MS",
        preset: Preset::Text("30000"),
        accepted: "milliseconds from 1 to 600000",
        summary: "How long to try to send metrics, in milliseconds",
        details: "Covers a request and its retries. After that, the daemon waits for the next interval, which has \
            newer numbers.",
        parse: |text| values::milliseconds(text, 1..=600_000),
    }
}

fn metrics_exporter(text: &str) -> Result<MetricsExporter, Rejection> {
    let words = [
        ("otlp", MetricsExporter::Otlp),
        ("kafka", MetricsExporter::Kafka),
        ("none", MetricsExporter::None),
    ];
    choice(text, &words).map_err(|rejection| scraped(text, rejection))
}

/// Words of the specification for what is there without a setting.
fn scraped(text: &str, rejection: Rejection) -> Rejection {
    if text.eq_ignore_ascii_case("prometheus") {
        Rejection::new("/metrics of the admin server is always there for Prometheus; unset it")
    } else {
        rejection
    }
}
