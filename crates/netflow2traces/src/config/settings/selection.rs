//! Settings: which flow records become spans.

use std::num::NonZeroU64;

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values::{self, Rejection};
use crate::translate::filter::{Filter, FilterError};

settings! { SELECTION:
    FILTER: Filter {
        section: Spans,
        variables: ["NETFLOW_FILTER"],
        flag: "filter",
        placeholder: "EXPRESSION",
        preset: Preset::Nothing("every flow record counts"),
        accepted: "a filter such as dst port 443 and bytes > 1m",
        summary: "Flow records to count at all",
        details: "The others become neither spans nor metrics; they are counted in \
            `netflow_flows_skipped_total` (`filtered`). The language is like nfdump's: \
            docs/filter.md describes it.",
        parse: filter,
    }
    KEEP: Filter {
        section: Spans,
        variables: ["NETFLOW_KEEP"],
        flag: "keep",
        placeholder: "EXPRESSION",
        preset: Preset::Nothing("the samplers decide about every record"),
        accepted: "a filter such as flags R or port 53",
        summary: "Flow records that no sampler may leave out",
        details: "They become spans whatever `NETFLOW_SAMPLE_BYTES` and `OTEL_TRACES_SAMPLER` \
            decide. docs/sampling.md shows how the three work together.",
        parse: filter,
    }
    SAMPLE_BYTES: NonZeroU64 {
        section: Spans,
        variables: ["NETFLOW_SAMPLE_BYTES"],
        flag: "sample-bytes",
        placeholder: "SIZE",
        preset: Preset::Nothing("flow records of every size become spans"),
        accepted: "a size from 1 to 1TiB, such as 100kB or 1MiB",
        summary: "Size from which every flow record becomes a span",
        details: "A smaller record becomes a span with a probability equal to its share of this size: few spans \
            still give good estimates of traffic, because most flows are small and most traffic is in large ones. \
            Each span carries `netflow.sample.adjusted_bytes`, whose sums are unbiased. Flow metrics count every \
            record. docs/sampling.md says how much is saved.",
        parse: |text| values::size(text, 1..=1 << 40)
            .map(|size| NonZeroU64::new(size as u64).unwrap_or(NonZeroU64::MIN)),
    }
}

fn filter(text: &str) -> Result<Filter, Rejection> {
    text.parse()
        .map_err(|error: FilterError| Rejection(error.to_string()))
}
