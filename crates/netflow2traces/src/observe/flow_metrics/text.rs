//! Flow metrics as text. Our own lines, for prometheus-client has no way to make an exemplar of what is counted
//! elsewhere.

use std::fmt::Write;

use otlp_wire::text::hex;

use super::families::{Family, Kind, Labels, Number, Point};
use crate::observe::metrics::Format;
use crate::translate::metrics::{Exemplar, GRAPH_BOUNDS, GraphTotals};

/// Appends the metrics to the text of a scrape, before its end.
pub fn write(families: &[Family], format: Format, out: &mut String) {
    for family in families {
        // Writing to memory can't fail.
        let _ = write_family(family, format, out);
    }
}

fn write_family(family: &Family, format: Format, out: &mut String) -> std::fmt::Result {
    let name = &family.name;
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
    writeln!(out, "# TYPE {}{of_family} {kind}", name.text)?;
    for Point {
        labels,
        number,
        exemplar,
    } in &family.points
    {
        if let Number::Seconds(totals) = number {
            write_seconds(name.text, labels, totals, out)?;
            continue;
        }
        write!(out, "{}{suffix}", name.text)?;
        write_labels(labels, None, out);
        match number {
            Number::Count(count) => write!(out, " {count}")?,
            Number::Level(level) => write!(out, " {level}")?,
            Number::Seconds(_) => {}
        }
        if let (Format::OpenMetrics, Some(exemplar)) = (format, exemplar) {
            write_exemplar(exemplar, out)?;
        }
        out.push('\n');
    }
    Ok(())
}

/// A histogram's buckets, each with those below it, its sum and its count.
fn write_seconds(
    name: &str,
    labels: &Labels,
    totals: &GraphTotals,
    out: &mut String,
) -> std::fmt::Result {
    let bounds = GRAPH_BOUNDS.iter().map(f64::to_string);
    let mut below = 0_u64;
    for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(totals.buckets) {
        below = below.wrapping_add(bucket);
        write!(out, "{name}_bucket")?;
        write_labels(labels, Some(("le", bound)), out);
        writeln!(out, " {below}")?;
    }
    write!(out, "{name}_sum")?;
    write_labels(labels, None, out);
    writeln!(out, " {}", totals.nanos as f64 / 1e9)?;
    write!(out, "{name}_count")?;
    write_labels(labels, None, out);
    writeln!(out, " {}", totals.requests)
}

fn write_labels(labels: &Labels, last: Option<(&'static str, String)>, out: &mut String) {
    let is_empty = labels.is_empty() && last.is_none();
    for (n, (name, value)) in labels.iter().chain(&last).enumerate() {
        out.push(if n == 0 { '{' } else { ',' });
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    if !is_empty {
        out.push('}');
    }
}

fn write_exemplar(exemplar: &Exemplar, out: &mut String) -> std::fmt::Result {
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
    use std::sync::Arc;

    use otlp_wire::UnixNanos;

    use super::super::families::Name;
    use super::*;

    fn family(kind: Kind) -> Family {
        Family {
            name: Name {
                text: "netflow_interface_bytes",
                otlp: "",
                unit: "By",
                kind,
                help: "Bytes",
                labels: "",
            },
            points: vec![Point {
                labels: Arc::new(vec![
                    ("exporter", "192.0.2.1".to_owned()),
                    ("name", "a\"b\\c\nd".to_owned()),
                ]),
                number: Number::Count(7),
                exemplar: Some(Box::new(Exemplar {
                    trace_id: [0xab; 16],
                    span_id: [0x0c; 8],
                    bytes: 5,
                    received_at: UnixNanos(1_700_000_000_012_345_678),
                })),
            }],
        }
    }

    fn text(kind: Kind, format: Format) -> String {
        let mut out = String::new();
        write(&[family(kind)], format, &mut out);
        out
    }

    #[test]
    fn open_metrics_have_the_exemplar() {
        assert_eq!(
            text(Kind::Counter, Format::OpenMetrics),
            "# HELP netflow_interface_bytes Bytes.\n# TYPE netflow_interface_bytes counter\n\
             netflow_interface_bytes_total{exporter=\"192.0.2.1\",name=\"a\\\"b\\\\c\\nd\"} 7 \
             # {trace_id=\"abababababababababababababababab\",span_id=\"0c0c0c0c0c0c0c0c\"} 5 1700000000.012\n"
        );
    }

    #[test]
    fn a_histogram_has_cumulative_buckets() {
        let mut family = family(Kind::Histogram);
        family.points[0].labels = Arc::new(vec![("client", "a".to_owned())]);
        family.points[0].number = Number::Seconds(GraphTotals {
            requests: 3,
            failed: 0,
            nanos: 1_500_000_000,
            buckets: [1, 0, 0, 1, 0, 0, 0, 0, 1],
        });
        let mut out = String::new();
        write(&[family], Format::Prometheus, &mut out);
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
            text(Kind::Counter, Format::Prometheus),
            "# HELP netflow_interface_bytes_total Bytes.\n# TYPE netflow_interface_bytes_total counter\n\
             netflow_interface_bytes_total{exporter=\"192.0.2.1\",name=\"a\\\"b\\\\c\\nd\"} 7\n"
        );
        let info = text(Kind::Info, Format::Prometheus);
        assert!(
            info.contains("# TYPE netflow_interface_bytes_info gauge\n"),
            "{info}"
        );
    }
}
