//! `docs/metrics.md`, made from the table of metrics.

use std::collections::BTreeMap;
use std::fmt::Write;

use prometheus_client::metrics::MetricType;

use super::flow_metrics::{Name, names as flow_names};
use super::metric_table::{METRICS, Metric, Section, Series};

const OPENING: &str = "\
# Metrics

<!-- Made from the table in crates/netflow2traces/src/observe/metric_table.rs. To change it, change the
table and run: UPDATE_GENERATED=1 cargo test -p netflow2traces --test reference -->

`http://127.0.0.1:9464/metrics` (`NETFLOW_ADMIN_HOST`, `NETFLOW_ADMIN_PORT`) has all metrics of the daemon, in the text format of Prometheus, or as OpenMetrics if the client asks for it.

```yaml
scrape_configs:
  - job_name: netflow2traces
    static_configs:
      - targets: [\"127.0.0.1:9464\"]
```

With `OTEL_METRICS_EXPORTER=otlp` the daemon also sends them over OTLP ([backends.md](backends.md#the-daemons-own-metrics)): with the names and labels below, counters and histograms as totals since the start, information as a gauge with the value 1.

Every label of the daemon's own metrics has a closed set of values, so their number doesn't grow with the traffic. Flow
metrics ([flow-metrics.md](flow-metrics.md)) do grow with it, up to `NETFLOW_METRICS_MAX_SERIES` series in each view.
`/api/exporters` has further details of single exporters.

**Every loss is counted.** At rest these sums balance, over all labels that aren't named:

- received: `netflow_worker_packets_total` + `netflow_messages_total` = `netflow_packets_total` of all versions except `unknown` +
  `netflow_packet_errors_total` + `netflow_packets_dropped_total`;
- flow records: `netflow_flows_total` = `netflow_spans_total{kind=\"flow\"}` + `netflow_flows_skipped_total`;
- Sets without a template: `netflow_sets_waited_total` = `netflow_sets_decoded_late_total` +
  `netflow_sets_expired_total` + `netflow_sets_waiting`;
- spans, of each kind: `netflow_spans_total` = `netflow_spans_open` + `netflow_spans_queued` +
  `netflow_spans_in_flight` + `netflow_spans_accepted_total` + `netflow_spans_rejected_total` +
  `netflow_spans_discarded_total` + `netflow_spans_dropped_total`.

`/api/status` has the same sums with their differences. Under load the counters aren't read at exactly the same moment, so a difference can appear for a short time.

**Worth an alert:**

```text
rate(netflow_kernel_drops_total[5m]) > 0          a receive buffer is too small, or a worker too slow
rate(netflow_spans_dropped_total[5m]) > 0         spans are dropped here
rate(netflow_spans_rejected_total[5m]) > 0        the backend rejects spans
netflow_backend_up == 0                           the backend is not accepting spans
netflow_queue_bytes / netflow_queue_limit_bytes   how close the queue is to dropping spans
rate(netflow_packets_total[15m]) == 0             nothing arrives
rate(netflow_lost_total[5m]) > 0                  records are lost on the network
rate(netflow_template_store_writes_total{outcome=\"failed\"}[15m]) > 0   templates won't survive a restart
```
";

/// The text of `docs/metrics.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = OPENING.to_owned();
    for section in Section::ALL {
        let _ = writeln!(text, "\n## {}\n", section.title());
        text.push_str("| metric | type | labels | counts |\n|---|---|---|---|\n");
        for metric in METRICS.iter().filter(|metric| metric.section == section) {
            let Metric { name, help, .. } = metric;
            let _ = writeln!(
                text,
                "| `{name}` | {} | {} | {help} |",
                type_name(metric.series.kind()),
                labels(&metric.series)
            );
        }
    }
    text.push_str(FLOW_METRICS);
    for (view, name) in flow_names() {
        let Name {
            text: base,
            otlp,
            kind,
            help,
            labels,
            ..
        } = name;
        let (view, suffix) = (view.as_str(), kind.suffix());
        let _ = writeln!(
            text,
            "| `{view}` | `{base}{suffix}` | `{otlp}` | {} | {labels} | {help} |",
            kind.as_str()
        );
    }
    text
}

const FLOW_METRICS: &str = "
## Flow metrics

Of the views that `NETFLOW_METRICS` names; [flow-metrics.md](flow-metrics.md) explains them. Over OTLP they have names of
their own.

| view | metric | over OTLP | type | labels | counts |
|---|---|---|---|---|---|
";

/// The word of a type, as both formats have it.
#[must_use]
pub fn type_name(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Info => "info",
        MetricType::Unknown => "unknown",
    }
}

fn labels(series: &Series) -> String {
    match series {
        Series::ByWorker(_) => "`worker`: `0` to the number of workers less one".to_owned(),
        Series::ByProtocol(protocols, _) => {
            let values = protocols.iter().map(|protocol| protocol.as_str());
            one_label("version", values)
        }
        Series::Info(_) => "`version`".to_owned(),
        Series::Histogram(_) => "`le`".to_owned(),
        Series::Seconds(_) => String::new(),
        Series::Counters(rows) | Series::Gauges(rows) => {
            let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (name, value) in rows.iter().flat_map(|(labels, _)| *labels) {
                let values = labels.entry(name).or_default();
                if !values.contains(value) {
                    values.push(value);
                }
            }
            let labels: Vec<String> = labels
                .into_iter()
                .map(|(name, values)| one_label(name, values.into_iter()))
                .collect();
            labels.join("; ")
        }
    }
}

fn one_label<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> String {
    let values: Vec<String> = values.map(|value| format!("`{value}`")).collect();
    format!("`{name}`: {}", values.join(", "))
}
