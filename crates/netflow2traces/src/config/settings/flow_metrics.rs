//! Settings: flow metrics.

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;
use crate::translate::metrics::Views;

settings! { FLOW_METRICS:
    FLOW_VIEWS: Views {
        section: FlowMetrics,
        variables: ["NETFLOW_METRICS"],
        flag: "metrics",
        placeholder: "VIEW,…",
        preset: Preset::Text("interface"),
        accepted: "none, or views separated by commas: interface, exporter",
        summary: "Which flow metrics are counted",
        details: "Every flow record is counted, before any sampling of spans. `interface`: by \
            exporter, interface and direction. `exporter`: by exporter, with what was lost on the \
            way and the longest flow. `none`: nothing is counted, and nothing is paid for it.",
        parse: values::views,
    }
    METRICS_MAX_SERIES: u32 {
        section: FlowMetrics,
        variables: ["NETFLOW_METRICS_MAX_SERIES"],
        flag: "metrics-max-series",
        placeholder: "N",
        preset: Preset::Text("2000"),
        accepted: "a whole number from 1 to 1000000",
        summary: "Series of each view at most",
        details: "What finds no place counts into one series with the label \
            `otel_metric_overflow=\"true\"`, until it has been seen in two different minutes and \
            another series makes room: one that nothing has touched for five minutes, or one of \
            an exporter that holds more than a quarter of the view. A series that nothing touches \
            for an hour goes. A series takes about 200 bytes of memory and 600 bytes of a scrape.",
        parse: |text| values::whole_number(text, 1..=1_000_000)
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
    }
}
