//! What the translator's counters mean for a capture: which of them say that something was not understood.

use netflow_translate::TranslateCounters;

/// Counters of what was not understood, with what they count.
pub(super) const TROUBLES: &[(&str, &str)] = &[
    ("datagrams_truncated", "datagrams shorter than their header"),
    (
        "datagrams_unknown_version",
        "datagrams that are not flow messages (--port excludes other traffic)",
    ),
    (
        "datagrams_bad_length",
        "IPFIX messages whose length is smaller than their header",
    ),
    (
        "datagrams_bad_agent",
        "sFlow datagrams whose agent has an address of an unknown type",
    ),
    ("samples_unknown", "sFlow samples of unknown types"),
    (
        "samples_truncated",
        "sFlow samples that extend beyond their datagram",
    ),
    (
        "samples_malformed",
        "sFlow samples whose fields extend beyond their length",
    ),
    (
        "sample_records_truncated",
        "records of sFlow samples that extend beyond their sample",
    ),
    (
        "sample_records_malformed",
        "records of sFlow samples whose fields extend beyond their length",
    ),
    (
        "templates_evicted",
        "templates forgotten to make room for others of their exporter",
    ),
    (
        "options_refused",
        "names and samplers of options data for which there is no room",
    ),
    ("records_too_large", "records that are too large for a span"),
    (
        "records_cut",
        "records beyond what one datagram may cause, without a span",
    ),
    ("lists_cut", "attributes whose lists were cut"),
    (
        "sets_expired",
        "sets dropped while they waited for their template",
    ),
    ("sets_bad_length", "sets with a length below 4"),
    ("sets_truncated", "sets that extend beyond the datagram"),
    ("sets_reserved_id", "sets with a reserved id"),
    (
        "sets_malformed_template",
        "templates that extend beyond their set",
    ),
    ("sets_too_many_fields", "templates with too many fields"),
    ("sets_empty_record", "sets whose records would be empty"),
    (
        "sets_truncated_record",
        "sets whose last record extends beyond their end",
    ),
    (
        "exporters_evicted",
        "exporters forgotten to make room for others, with their templates",
    ),
];

/// Counters that don't mean that something was not understood.
pub(super) const UNDERSTOOD: &[&str] = &[
    "datagrams_decoded",
    "datagrams_sflow",
    // A capture's exporters are all allowed, at any rate.
    "datagrams_not_allowed",
    "datagrams_rate_limited",
    "records_rate_limited",
    // Exporters that gave way to the budget of memory: their templates come again.
    "evicted_for_memory",
    "flow_samples",
    "counter_samples",
    "flow_spans",
    "work_spans",
    "records_filtered",
    "records_sampled_out",
    "records_sampled_by_size",
    "options_records",
    "times_suspect",
    "sets_waited",
    "sets_decoded_late",
    // Levels; what waits at the end is reported separately.
    "sets_waiting",
    "open_flow_spans",
    "open_work_spans",
    // By reason above.
    "sets_bad",
    "templates_learnt",
    "templates_refreshed",
    "templates_replaced",
    "templates_expired",
    "templates_withdrawn",
    "templates_ended",
    "withdrawals_ignored",
    "lost_flows",
    "lost_messages",
    "lost_records",
    "lost_datagrams",
    "late_datagrams",
    "late_flows",
    "late_messages",
    "late_records",
    "exporter_restarts",
    "state_changes",
    "exporters",
    "batches",
    "batch_octets",
];

/// The counters at a moment.
pub(super) struct Snapshot(Vec<u64>);

pub(super) fn snapshot(counters: &TranslateCounters) -> Snapshot {
    Snapshot(counters.each().map(|(_, value)| value).collect())
}

/// A Set has begun to wait since.
pub(super) fn has_waiting(counters: &TranslateCounters, before: &Snapshot) -> bool {
    since(counters, before).any(|(name, _)| name == "sets_waited")
}

/// The counters that have grown, and by how much.
pub(super) fn since<'a>(
    counters: &'a TranslateCounters,
    before: &'a Snapshot,
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    let all = counters.each().zip(&before.0);
    all.filter_map(|((name, after), before)| {
        let grown = after.wrapping_sub(*before);
        (grown > 0 && after > *before).then_some((name, grown))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_judged() {
        for (name, _) in TranslateCounters::default().each() {
            let is_trouble = TROUBLES.iter().any(|(known, _)| *known == name);
            assert_ne!(
                is_trouble,
                UNDERSTOOD.contains(&name),
                "{name} belongs either to TROUBLES or to UNDERSTOOD"
            );
        }
    }
}
