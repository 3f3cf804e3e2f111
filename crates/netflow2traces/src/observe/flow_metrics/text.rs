//! Flow metrics as text. Our own lines, for prometheus-client has no way to make an exemplar of what is counted
//! elsewhere.

use std::fmt::{self, Write};

use otlp_wire::text::hex;

use super::families::{Cursor, Exposition};
use super::labels::{Label, Labels, Number, Point};
use super::names::{Kind, Name};
use crate::observe::metrics::Format;
use crate::translate::metrics::{Exemplar, GRAPH_BOUNDS, GraphTotals};

/// Bytes of a part of the text: it ends with the line that reaches them.
const PART: usize = 64 << 10;
/// Room for the longest line, in most cases.
const LINE: usize = 2 << 10;

/// The text of a scrape, part by part: only one of them is in memory.
#[derive(Debug)]
pub struct Parts {
    metrics: Exposition,
    format: Format,
    cursor: Cursor,
    /// Labels of one series.
    labels: String,
}

impl Parts {
    /// Of these metrics.
    #[must_use]
    pub fn new(metrics: Exposition, format: Format) -> Self {
        Self {
            metrics,
            format,
            cursor: Cursor::default(),
            labels: String::new(),
        }
    }
}

impl Iterator for Parts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut part = String::with_capacity(PART + LINE);
        let families = self.metrics.families();
        while part.len() < PART
            && let Some((family, point, is_first)) = self.cursor.next(&families)
        {
            // Writing to memory can't fail.
            if is_first {
                let _ = write_head(&family.name, self.format, &mut part);
            }
            let _ = write_point(
                &family.name,
                &point,
                self.format,
                &mut self.labels,
                &mut part,
            );
        }
        (!part.is_empty()).then_some(part)
    }
}

fn write_head(name: &Name, format: Format, out: &mut String) -> fmt::Result {
    let suffix = name.kind.suffix();
    // OpenMetrics names a family without the suffix of its samples.
    let (of_family, kind) = match (format, name.kind) {
        (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
        (Format::OpenMetrics, Kind::Info) => ("", "info"),
        (Format::Prometheus, Kind::Counter) => (suffix, "counter"),
        (_, Kind::Histogram) => ("", "histogram"),
        (_, Kind::Gauge | Kind::Info) => (suffix, "gauge"),
    };
    // Help has neither line breaks nor backslashes.
    writeln!(out, "# HELP {}{of_family} {}.", name.text, name.help)?;
    writeln!(out, "# TYPE {}{of_family} {kind}", name.text)
}

fn write_point(
    name: &Name,
    point: &Point<'_>,
    format: Format,
    labels: &mut String,
    out: &mut String,
) -> fmt::Result {
    labels.clear();
    write_labels(&point.labels, labels)?;
    if let Number::Seconds(totals) = point.number {
        return write_seconds(name.text, labels, totals, out);
    }
    write!(out, "{}{}{}", name.text, name.kind.suffix(), Braced(labels))?;
    match point.number {
        Number::Count(count) => write!(out, " {count}")?,
        Number::Level(level) => write!(out, " {level}")?,
        Number::Seconds(_) => {}
    }
    if let (Format::OpenMetrics, Some(exemplar)) = (format, &point.exemplar) {
        write_exemplar(exemplar, out)?;
    }
    out.push('\n');
    Ok(())
}

/// A histogram's buckets, each with those below it, its sum and its count.
fn write_seconds(name: &str, labels: &str, totals: &GraphTotals, out: &mut String) -> fmt::Result {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut below = 0_u64;
    for (n, bucket) in totals.buckets.iter().enumerate() {
        below = below.wrapping_add(*bucket);
        write!(out, "{name}_bucket{{{labels}{comma}le=\"")?;
        match GRAPH_BOUNDS.get(n) {
            Some(bound) => write!(out, "{bound}")?,
            None => out.push_str("+Inf"),
        }
        writeln!(out, "\"}} {below}")?;
    }
    let (labels, seconds) = (Braced(labels), totals.nanos as f64 / 1e9);
    writeln!(out, "{name}_sum{labels} {seconds}")?;
    writeln!(out, "{name}_count{labels} {}", totals.requests)
}

/// Labels in braces, if there are any.
struct Braced<'a>(&'a str);

impl fmt::Display for Braced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            labels => write!(f, "{{{labels}}}"),
        }
    }
}

fn write_labels(labels: &Labels<'_>, out: &mut String) -> fmt::Result {
    for (name, value) in labels.iter() {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
        out.push_str("=\"");
        match value {
            Label::Text(text) => write_text(text, out),
            plain => write!(out, "{plain}")?,
        }
        out.push('"');
    }
    Ok(())
}

fn write_text(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

fn write_exemplar(exemplar: &Exemplar, out: &mut String) -> fmt::Result {
    let (trace, span) = (hex(&exemplar.trace_id), hex(&exemplar.span_id));
    let millis = exemplar.received_at.0 / 1_000_000;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    write!(
        out,
        " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {} {seconds}.{millis:03}",
        exemplar.bytes
    )
}

#[cfg(test)]
mod tests {
    use otlp_wire::UnixNanos;

    use super::super::exporters;
    use super::*;

    fn text(kind: Kind, format: Format, labels: Labels<'_>, number: Number<'_>) -> String {
        let name = Name {
            text: "netflow_interface_bytes",
            otlp: "",
            unit: "By",
            kind,
            help: "Bytes",
            labels: "",
        };
        let point = Point {
            labels,
            number,
            exemplar: Some(Exemplar {
                trace_id: [0xab; 16],
                span_id: [0x0c; 8],
                bytes: 5,
                received_at: UnixNanos(1_700_000_000_012_345_678),
            }),
        };
        let (mut labels, mut out) = (String::new(), String::new());
        write_head(&name, format, &mut out).unwrap();
        write_point(&name, &point, format, &mut labels, &mut out).unwrap();
        out
    }

    fn named() -> Labels<'static> {
        Labels::new([
            ("exporter", Label::Address([192, 0, 2, 1].into())),
            ("name", Label::Text("a\"b\\c\nd")),
        ])
    }

    #[test]
    fn open_metrics_have_the_exemplar() {
        assert_eq!(
            text(
                Kind::Counter,
                Format::OpenMetrics,
                named(),
                Number::Count(7)
            ),
            "# HELP netflow_interface_bytes Bytes.\n# TYPE netflow_interface_bytes counter\n\
             netflow_interface_bytes_total{exporter=\"192.0.2.1\",name=\"a\\\"b\\\\c\\nd\"} 7 \
             # {trace_id=\"abababababababababababababababab\",span_id=\"0c0c0c0c0c0c0c0c\"} 5 1700000000.012\n"
        );
    }

    #[test]
    fn a_histogram_has_cumulative_buckets() {
        let seconds = GraphTotals {
            requests: 3,
            failed: 0,
            nanos: 1_500_000_000,
            buckets: [1, 0, 0, 1, 0, 0, 0, 0, 1],
        };
        let labels = Labels::new([("client", Label::Text("a"))]);
        let out = text(
            Kind::Histogram,
            Format::Prometheus,
            labels,
            Number::Seconds(&seconds),
        );
        for line in [
            "# TYPE netflow_interface_bytes histogram",
            "netflow_interface_bytes_bucket{client=\"a\",le=\"0.1\"} 1",
            "netflow_interface_bytes_bucket{client=\"a\",le=\"0.8\"} 2",
            "netflow_interface_bytes_bucket{client=\"a\",le=\"+Inf\"} 3",
            "netflow_interface_bytes_sum{client=\"a\"} 1.5",
            "netflow_interface_bytes_count{client=\"a\"} 3",
        ] {
            assert!(out.lines().any(|found| found == line), "{line} in {out}");
        }
    }

    #[test]
    fn the_older_format_has_no_exemplars_and_names_families_as_samples() {
        assert_eq!(
            text(Kind::Counter, Format::Prometheus, named(), Number::Count(7)),
            "# HELP netflow_interface_bytes_total Bytes.\n# TYPE netflow_interface_bytes_total counter\n\
             netflow_interface_bytes_total{exporter=\"192.0.2.1\",name=\"a\\\"b\\\\c\\nd\"} 7\n"
        );
        let info = text(Kind::Info, Format::Prometheus, named(), Number::Count(1));
        assert!(
            info.contains("# TYPE netflow_interface_bytes_info gauge\n"),
            "{info}"
        );
    }

    #[test]
    fn a_scrape_comes_in_parts_of_bounded_size_and_has_every_series_once() {
        const SERIES: u64 = 5_000;
        let parts: Vec<String> = Parts::new(exporters(SERIES), Format::OpenMetrics).collect();
        assert!(parts.len() > 3, "{}", parts.len());
        assert!(parts.iter().all(|part| part.len() < PART + LINE));
        let text = parts.concat();
        for metric in ["bytes", "packets", "flows"] {
            let name = format!("netflow_exporter_{metric}");
            let head = format!("# TYPE {name} counter\n");
            assert_eq!(text.matches(&head).count(), 1, "{metric}");
            let lines = text.lines().filter_map(|line| {
                let (labels, number) = line.strip_prefix(&name)?.rsplit_once(' ')?;
                (labels == "_total{otel_metric_overflow=\"true\"}").then_some(number)
            });
            assert!(lines.eq((0..SERIES).map(|n| n.to_string())), "{metric}");
        }
    }
}
