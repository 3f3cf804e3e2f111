//! Where the daemon's own metrics go, and how.

use super::*;

#[test]
fn they_go_where_spans_go_unless_told_otherwise() {
    assert!(Surroundings::sound().config().own_metrics.is_none());
    let own = Surroundings::sound().own_metrics();
    assert_eq!(otlp(&own).endpoint, "http://tempo:4317/");
    assert_eq!(otlp(&own).protocol, Protocol::Grpc);
    assert_eq!(otlp(&own).timeout, seconds(10));
    assert_eq!((own.interval, own.timeout), (seconds(60), seconds(30)));

    let http = Surroundings::default()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4318/otlp/")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "a=1")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "5000")
        .env("OTEL_METRIC_EXPORT_TIMEOUT", "700")
        .own_metrics();
    assert_eq!(otlp(&http).endpoint, "http://tempo:4318/otlp/v1/metrics");
    assert_eq!(otlp(&http).compression, Compression::Gzip);
    assert_eq!(otlp(&http).headers[0].0, "a");
    assert_eq!(http.interval, seconds(5));
    assert_eq!(http.timeout, Duration::from_millis(700));
}

#[test]
fn the_summary_says_where_they_go() {
    let own = Surroundings::sound().env("OTEL_METRICS_EXPORTER", "otlp");
    let summary = print::summary(&own.config());
    let line = "  own metrics  http://tempo:4317 over grpc, every 1m\n";
    assert!(summary.contains(line), "{summary}");
}

#[test]
fn the_form_for_metrics_wins_and_the_one_for_traces_does_not_hold() {
    let own = Surroundings::sound()
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:4318/x")
        .env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "traces=1")
        .env("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
        .env("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000")
        .own_metrics();
    assert_eq!(otlp(&own).endpoint, "http://tempo:4317/");
    assert_eq!(otlp(&own).protocol, Protocol::Grpc);
    assert_eq!(otlp(&own).compression, Compression::None);
    assert!(otlp(&own).headers.is_empty());
    assert_eq!(otlp(&own).timeout, seconds(2));

    let own = Surroundings::sound()
        .env("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
        .env(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "http://mimir:8080/otlp/v1/metrics",
        )
        .env("OTEL_EXPORTER_OTLP_HEADERS", "a=1")
        .env("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "b=2")
        .own_metrics();
    assert_eq!(otlp(&own).endpoint, "http://mimir:8080/otlp/v1/metrics");
    assert_eq!(otlp(&own).headers.len(), 1);
    assert_eq!(otlp(&own).headers[0].0, "b");

    let by_flag = Surroundings::sound()
        .flag("otlp-endpoint", "http://flag:4317")
        .own_metrics();
    assert_eq!(otlp(&by_flag).endpoint, "http://flag:4317/");
}

#[test]
fn metrics_may_be_sent_though_spans_are_not() {
    let surroundings = Surroundings::sound()
        .env("OTEL_TRACES_EXPORTER", "console")
        .env("OTEL_METRICS_EXPORTER", "otlp");
    assert_eq!(surroundings.warnings(), Vec::<String>::new());
    assert!(surroundings.config().own_metrics.is_some());
}

#[test]
fn what_cannot_be_used_is_said_once() {
    let nowhere = Surroundings::default()
        .env("OTEL_TRACES_EXPORTER", "none")
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .mistakes();
    assert_eq!(nowhere.len(), 1);
    assert!(
        nowhere[0].starts_with("OTEL_METRICS_EXPORTER=otlp: there is nowhere to send metrics"),
        "{nowhere:?}"
    );
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4317/path"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "thrift"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "http://tempo:4317/path",
        ),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
    ] {
        let mistakes = Surroundings::sound()
            .env("OTEL_METRICS_EXPORTER", "otlp")
            .env(variable, value)
            .mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with(variable), "{mistakes:?}");
    }
}

#[test]
fn settings_without_effect_give_a_warning() {
    let warnings = Surroundings::sound()
        .env("OTEL_METRIC_EXPORT_INTERVAL", "5000")
        .warnings();
    assert!(
        warnings[0].contains("OTEL_METRICS_EXPORTER is none"),
        "{warnings:?}"
    );
    let demo = Surroundings::default().env("OTEL_METRICS_EXPORTER", "otlp");
    let demo = load(Purpose::Demo, &demo.sources(), &machine()).unwrap();
    assert!(demo.config.own_metrics.is_none());
    assert!(
        demo.warnings[0].contains("look at /metrics"),
        "{:?}",
        demo.warnings
    );
}

fn otlp(own: &OwnMetrics) -> &Otlp {
    match &own.to {
        MetricsTo::Otlp(otlp) => otlp,
        MetricsTo::Kafka(_) => panic!("not OTLP"),
    }
}
