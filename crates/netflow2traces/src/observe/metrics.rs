//! `/metrics`: the table of metrics, read from the stages at the moment of a scrape, as OpenMetrics or Prometheus
//! text. Nothing is kept here and nothing is counted here.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::flow_metrics::Exposition;
use super::flow_metrics::text::Parts;
use super::metric_table::{METRICS, Metric, Series};
use super::stages::Stages;
use crate::translate::counters::Distribution;

/// Labels and their values.
type Labels<'a> = [(&'a str, &'a str)];

/// How the text of a scrape is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

impl Format {
    /// What the values of the Accept header prefer; without any wish it is the older one, which everything reads.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        let weight = |wanted: &[&str]| {
            let offers = accept.split(',').filter_map(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                let name = parts.next()?.to_ascii_lowercase();
                if !wanted.contains(&name.as_str()) {
                    return None;
                }
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                Some(quality.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
            });
            offers.fold(0.0_f64, f64::max)
        };
        let open = weight(&["application/openmetrics-text"]);
        let plain = weight(&["text/plain"]);
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of the Content-Type header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes all metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Of these stages.
    #[must_use]
    pub fn new(stages: Arc<Stages>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(StagesCollector(stages)));
        Self { registry }
    }

    /// The text of a scrape, part by part; flow metrics stand last.
    ///
    /// # Errors
    /// None that can come from writing to memory.
    pub fn scrape(
        &self,
        flows: Option<Exposition>,
        format: Format,
    ) -> Result<impl Iterator<Item = String> + use<>, fmt::Error> {
        let mut own = String::with_capacity(16 << 10);
        text::encode_registry(&mut own, &self.registry)?;
        if format == Format::Prometheus {
            own = prometheus(&own);
        }
        let mut end = String::new();
        if format == Format::OpenMetrics {
            text::encode_eof(&mut end)?;
        }
        let flows = flows.map(|flows| Parts::new(flows, format));
        let parts = [own].into_iter().chain(flows.into_iter().flatten());
        Ok(parts.chain([end]))
    }
}

#[derive(Debug)]
struct StagesCollector(Arc<Stages>);

impl Collector for StagesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        METRICS
            .iter()
            .try_for_each(|metric| encode(metric, &self.0, &mut encoder))
    }
}

/// OpenMetrics names a family without the suffix of its samples.
fn family(metric: &Metric) -> &'static str {
    let suffix = match metric.series.kind() {
        MetricType::Counter => "_total",
        MetricType::Info => "_info",
        _ => "",
    };
    metric.name.strip_suffix(suffix).unwrap_or(metric.name)
}

fn encode(metric: &Metric, stages: &Stages, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let kind = metric.series.kind();
    let mut family = encoder.encode_descriptor(family(metric), metric.help, None, kind)?;
    match &metric.series {
        Series::Counters(rows) => rows
            .iter()
            .try_for_each(|(labels, read)| counter(&mut family, labels, read(stages))),
        Series::Gauges(rows) => rows
            .iter()
            .try_for_each(|(labels, read)| gauge(&mut family, labels, read(stages))),
        Series::ByWorker(read) => {
            let mut workers = stages.received.iter().enumerate();
            workers.try_for_each(|(index, worker)| {
                let index = index.to_string();
                counter(&mut family, &[("worker", &index)], read(worker))
            })
        }
        Series::ByProtocol(protocols, read) => protocols.iter().try_for_each(|protocol| {
            let labels = [("version", protocol.as_str())];
            counter(&mut family, &labels, stages.traffic(*protocol, *read))
        }),
        Series::Seconds(read) => family.encode_gauge(&read(stages)),
        Series::Histogram(read) => {
            let workers = stages.translated.iter();
            let all = workers.fold(Distribution::default(), |all, worker| {
                all.plus(&read(&worker.traffic))
            });
            histogram(&mut family, &all)
        }
        Series::Info(read) => family.encode_info(&read(stages)),
    }
}

fn counter(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: u64) -> fmt::Result {
    if labels.is_empty() {
        return family.encode_counter::<[(&str, &str); 0], _, f64>(&value, None);
    }
    family
        .encode_family(&labels)?
        .encode_counter::<[(&str, &str); 0], _, f64>(&value, None)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: u64) -> fmt::Result {
    if labels.is_empty() {
        return family.encode_gauge(&value);
    }
    family.encode_family(&labels)?.encode_gauge(&value)
}

fn histogram(family: &mut MetricEncoder<'_>, all: &Distribution) -> fmt::Result {
    let buckets = all.buckets.iter();
    let mut buckets: Vec<(f64, u64)> = buckets
        .map(|(bound, count)| (*bound as f64, *count))
        .collect();
    buckets.push((f64::INFINITY, all.beyond));
    family.encode_histogram::<[(&str, &str); 0]>(all.sum as f64, all.count(), &buckets, None)
}

/// The same in the older format, which names a family as its samples, has neither units nor an end, and knows no
/// type for information.
fn prometheus(open: &str) -> String {
    let mut plain = String::with_capacity(open.len() + 1024);
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let metric = METRICS.iter().find(|metric| family(metric) == name);
                let rest = match (what, rest) {
                    ("TYPE", "info") => "gauge",
                    _ => rest,
                };
                let name = metric.map_or(name, |metric| metric.name);
                plain.extend(["# ", what, " ", name, " ", rest]);
            }
            _ => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_scraper_prefers() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0.2, text/plain; q=0.8",
                Format::Prometheus,
            ),
            ("application/openmetrics-text;q=0", Format::Prometheus),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_older_format_names_families_as_samples() {
        let open = "# HELP netflow_packets Datagrams.\n# TYPE netflow_packets counter\n\
                    netflow_packets_total{version=\"v5\"} 3\n# HELP netflow_build Build.\n\
                    # TYPE netflow_build info\nnetflow_build_info{version=\"1\"} 1\n# EOF\n";
        assert_eq!(
            prometheus(open),
            "# HELP netflow_packets_total Datagrams.\n# TYPE netflow_packets_total counter\n\
             netflow_packets_total{version=\"v5\"} 3\n# HELP netflow_build_info Build.\n\
             # TYPE netflow_build_info gauge\nnetflow_build_info{version=\"1\"} 1\n"
        );
    }
}
