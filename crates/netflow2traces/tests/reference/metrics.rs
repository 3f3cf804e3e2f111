//! `docs/metrics.md` is what the table of metrics makes it, and the table keeps the rules of names.

use std::collections::BTreeSet;
use std::path::Path;

use netflow2traces::observe::metric_table::{METRICS, Series};
use netflow2traces::observe::metrics_reference::{markdown, type_name};

#[test]
fn the_reference_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = markdown();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/metrics.md is stale: run UPDATE_GENERATED=1 cargo test -p netflow2traces --test reference"
    );
}

#[test]
fn names_of_the_original_program_stay() {
    for (name, kind) in [
        ("netflow_packets_total", "counter"),
        ("netflow_packet_bytes_total", "counter"),
        ("netflow_flows_total", "counter"),
        ("netflow_packet_errors_total", "counter"),
        ("netflow_packet_size_bytes", "histogram"),
        ("netflow_flows_per_packet", "histogram"),
        ("netflow_kernel_drops_total", "counter"),
    ] {
        let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
        assert_eq!(type_name(metric.series.kind()), kind, "{name}");
    }
}

#[test]
fn names_follow_the_rules() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(names.insert(name), "{name} stands twice");
        assert!(name.starts_with("netflow_"), "{name}");
        let allowed = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(allowed), "{name}");
        let kind = type_name(metric.series.kind());
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert_eq!(name.ends_with("_info"), kind == "info", "{name}");
        assert!(!metric.help.ends_with('.') && !metric.help.contains(['\n', '|', '\\']));
        let (Series::Counters(rows) | Series::Gauges(rows)) = metric.series else {
            continue;
        };
        let labels: BTreeSet<_> = rows.iter().map(|(labels, _)| labels).collect();
        assert_eq!(labels.len(), rows.len(), "{name} has a series twice");
        let keys: BTreeSet<Vec<_>> = rows
            .iter()
            .map(|(labels, _)| labels.iter().map(|(key, _)| *key).collect())
            .collect();
        assert_eq!(keys.len(), 1, "{name} has series with other labels");
    }
}
