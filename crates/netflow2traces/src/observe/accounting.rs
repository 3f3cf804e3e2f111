//! The accounts: each says that everything received at one point has an outcome. At rest they balance; under load
//! what moves at the moment of reading may be seen twice or not at all.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::stages::Stages;
use crate::deliver::{Count, DropReason};
use crate::translate::Protocol;

/// One identity: `total` is the sum of `parts`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Account {
    /// A stable word.
    pub name: &'static str,
    /// What `total` counts.
    pub counts: &'static str,
    pub total: u64,
    /// What `total` is the sum of, where it comes from more than one place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Part>,
    pub parts: Vec<Part>,
    /// `total` less the sum of `parts`.
    pub difference: i64,
}

/// Where a share of the total went.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub value: u64,
}

impl Account {
    fn new<const N: usize>(
        name: &'static str,
        counts: &'static str,
        total: u64,
        parts: [(&'static str, u64); N],
    ) -> Self {
        let sum = parts
            .iter()
            .fold(0_u64, |sum, (_, value)| sum.wrapping_add(*value));
        Self {
            name,
            counts,
            total,
            sources: Vec::new(),
            parts: parts.map(|(name, value)| Part { name, value }).to_vec(),
            difference: total.wrapping_sub(sum).cast_signed(),
        }
    }

    /// An account of what comes from several places.
    fn of_sources<const M: usize, const N: usize>(
        name: &'static str,
        counts: &'static str,
        sources: [(&'static str, u64); M],
        parts: [(&'static str, u64); N],
    ) -> Self {
        let total = sources.iter().map(|(_, value)| value).sum();
        Self {
            sources: sources.map(|(name, value)| Part { name, value }).to_vec(),
            ..Self::new(name, counts, total, parts)
        }
    }

    /// Whether nothing is missing and nothing is there twice.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.difference == 0
    }
}

/// All accounts at this moment, in the order of the data.
#[must_use]
pub fn accounts(stages: &Stages) -> [Account; 5] {
    [
        datagrams(stages),
        sets(stages),
        flow_records(stages),
        spans(
            stages,
            "flow_spans",
            "flow spans (new, or recovered from the spool)",
            |c| c.flow,
        ),
        spans(
            stages,
            "work_spans",
            "processing spans (new, or recovered from the spool)",
            |c| c.work,
        ),
    ]
}

fn datagrams(stages: &Stages) -> Account {
    let count = |counter| stages.translate(counter);
    Account::of_sources(
        "datagrams",
        "datagrams and messages of connections received",
        [
            ("datagrams", stages.receive(|all| all.datagrams.value())),
            ("messages", stages.streams.messages()),
            ("kafka", stages.from_kafka(|all| all.datagrams.value())),
        ],
        [
            ("decoded", count(|all| all.datagrams_decoded.value())),
            ("truncated", count(|all| all.datagrams_truncated.value())),
            (
                "unknown_version",
                count(|all| all.datagrams_unknown_version.value()),
            ),
            ("bad_length", count(|all| all.datagrams_bad_length.value())),
            ("bad_agent", count(|all| all.datagrams_bad_agent.value())),
            (
                "not_allowed",
                count(|all| all.datagrams_not_allowed.value()),
            ),
            (
                "rate_limited",
                count(|all| all.datagrams_rate_limited.value()),
            ),
            ("relayed", stages.relayed.relayed.load(Relaxed)),
            ("relay_waiting", stages.relayed.waiting.load(Relaxed)),
            ("relay_dropped", stages.relayed.dropped_for_any_reason()),
        ],
    )
}

/// Without its template the number of records in a Set is unknown, so these are counted in Sets.
fn sets(stages: &Stages) -> Account {
    let count = |counter| stages.translate(counter);
    Account::new(
        "sets_without_template",
        "Sets received before their template",
        count(|all| all.sets_waited.value()),
        [
            ("decoded_late", count(|all| all.sets_decoded_late.value())),
            ("expired", count(|all| all.sets_expired.value())),
            ("waiting", count(|all| all.sets_waiting.value())),
        ],
    )
}

fn flow_records(stages: &Stages) -> Account {
    let count = |counter| stages.translate(counter);
    let protocols = Protocol::ALL.into_iter();
    Account::new(
        "flow_records",
        "flow records decoded",
        protocols
            .map(|protocol| stages.traffic(protocol, |all| all.flows.value()))
            .sum(),
        [
            ("spans", count(|all| all.flow_spans.value())),
            ("filtered", count(|all| all.records_filtered.value())),
            ("sampled_out", count(|all| all.records_sampled_out.value())),
            (
                "sampled_by_size",
                count(|all| all.records_sampled_by_size.value()),
            ),
            ("too_large", count(|all| all.records_too_large.value())),
            ("cut", count(|all| all.records_cut.value())),
            (
                "rate_limited",
                count(|all| all.records_rate_limited.value()),
            ),
        ],
    )
}

fn spans(
    stages: &Stages,
    name: &'static str,
    counts: &'static str,
    kind: fn(Count) -> u64,
) -> Account {
    let is_flow = kind(Count { flow: 1, work: 0 }) == 1;
    let (made, open) = if is_flow {
        (
            stages.translate(|all| all.flow_spans.value()),
            stages.translate(|all| all.open_flow_spans.value()),
        )
    } else {
        (
            stages.translate(|all| all.work_spans.value()),
            stages.translate(|all| all.open_work_spans.value()),
        )
    };
    let delivered = &stages.delivered;
    let dropped = |reason| kind(delivered.dropped.by(reason).load());
    Account::of_sources(
        name,
        counts,
        [
            ("made", made),
            ("recovered", kind(delivered.recovered.load())),
        ],
        [
            ("accepted", kind(delivered.accepted.load())),
            ("rejected", kind(delivered.rejected.load())),
            ("discarded", kind(delivered.discarded.load())),
            ("dropped_queue_full", dropped(DropReason::QueueFull)),
            ("dropped_too_large", dropped(DropReason::TooLarge)),
            ("dropped_shutdown", dropped(DropReason::Shutdown)),
            ("dropped_encoding", dropped(DropReason::Encoding)),
            ("dropped_spool_full", dropped(DropReason::SpoolFull)),
            ("dropped_spool_age", dropped(DropReason::SpoolAge)),
            (
                "dropped_spool_unreadable",
                dropped(DropReason::SpoolUnreadable),
            ),
            ("in_open_batch", open),
            ("queued", kind(delivered.queued.load())),
            ("in_flight", kind(delivered.in_flight.load())),
            ("spooled", kind(delivered.spooled.load())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_its_sign() {
        let account = Account::new("a", "all", 10, [("b", 4), ("c", 3)]);
        assert_eq!((account.difference, account.balances()), (3, false));
        let account = Account::new("a", "all", 10, [("b", 11)]);
        assert_eq!(account.difference, -1);
        assert!(Account::new("a", "all", 10, [("b", 4), ("c", 6)]).balances());
        let account = Account::of_sources("a", "all", [("made", 3), ("found", 7)], [("b", 10)]);
        assert_eq!((account.total, account.balances()), (10, true));
    }
}
