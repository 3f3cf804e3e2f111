//! What is said at the end.

use std::sync::atomic::Ordering::Relaxed;

use tracing::{info, warn};

use crate::deliver::Totals;
use crate::observe::accounting::accounts;
use crate::observe::stages::Stages;
use crate::translate::TranslateCounters;

/// The line of totals at the end, a warning if anything was lost; whether it was.
pub(super) fn say_totals(stages: &Stages, totals: &Totals, sets_waiting: usize) -> bool {
    let translate = |counter| stages.translate(counter);
    let kernel_drops = stages.receive(|all| all.kernel_drops.value());
    let truncated = stages.receive(|all| all.truncated.value());
    let too_large = translate(|all| all.records_too_large.value());
    let cut = translate(|all| all.records_cut.value());
    let sets_expired = translate(|all| all.sets_expired.value());
    let mut delivered = totals.lost();
    if stages.kafka_input.is_some() {
        // Its offsets are not committed: it stays in Kafka.
        delivered = delivered.minus(stages.delivered.dropped.shutdown.load());
    }
    let relayed = &stages.relayed;
    let lost = relayed.lost()
        + delivered.flow
        + delivered.work
        + kernel_drops
        + truncated
        + too_large
        + cut
        + sets_expired
        > 0
        || sets_waiting > 0;
    macro_rules! say {
        ($level:ident) => {
            $level!(
                datagrams = stages.receive(|all| all.datagrams.value())
                    + stages.from_kafka(|all| all.datagrams.value()),
                datagrams_decoded = translate(|all| all.datagrams_decoded.value()),
                datagrams_rejected = translate(TranslateCounters::datagrams_rejected),
                datagrams_not_allowed = translate(|all| all.datagrams_not_allowed.value()),
                datagrams_rate_limited = translate(|all| all.datagrams_rate_limited.value()),
                kernel_drops,
                truncated,
                flow_spans = translate(|all| all.flow_spans.value()),
                work_spans = translate(|all| all.work_spans.value()),
                records_filtered = translate(|all| all.records_filtered.value()),
                records_sampled_out = translate(|all| all.records_sampled_out.value()),
                records_sampled_by_size = translate(|all| all.records_sampled_by_size.value()),
                records_too_large = too_large,
                records_cut = cut,
                records_rate_limited = translate(|all| all.records_rate_limited.value()),
                options_records = translate(|all| all.options_records.value()),
                sets_bad = translate(|all| all.sets_bad.value()),
                sets_waiting,
                sets_expired,
                flow_spans_accepted = totals.accepted.flow,
                flow_spans_rejected = totals.rejected.flow,
                flow_spans_dropped = totals.dropped.flow,
                flow_spans_discarded = totals.discarded.flow,
                flow_spans_spooled = totals.spooled.flow,
                flow_spans_recovered = totals.recovered.flow,
                relayed = relayed.relayed.load(Relaxed),
                relay_dropped = relayed.lost(),
                "stopped"
            )
        };
    }
    // Who only wants to see warnings wants to see this one.
    if lost {
        say!(warn);
    } else {
        say!(info);
    }
    for account in accounts(stages) {
        if !account.balances() {
            warn!(
                account = account.name,
                total = account.total,
                difference = account.difference,
                "the accounts don't balance: something went uncounted"
            );
        }
    }
    lost
}
