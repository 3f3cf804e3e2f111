//! Settings: batches, requests, the queue.

use std::time::Duration;

use super::{GIB, HOUR, KIB, MIB};
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;

settings! { DELIVERY:
    BATCH_DELAY: Duration {
        section: Delivery,
        variables: ["OTEL_BSP_SCHEDULE_DELAY"],
        flag: "batch-delay",
        placeholder: "MS",
        preset: Preset::Text("1000"),
        accepted: "milliseconds from 1 to 60000 (older spans are of no use to most backends)",
        summary: "Age at which a batch leaves, in milliseconds",
        details: "A batch leaves when it is this old, holds `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` \
            spans, or reaches `NETFLOW_MAX_REQUEST_SIZE`, whichever is first. Shorter delays \
            show flows sooner and make more and smaller requests.",
        parse: |text| values::milliseconds(text, 1..=60_000),
    }
    BATCH_MAX_SPANS: usize {
        section: Delivery,
        variables: ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
        flag: "batch-max-spans",
        placeholder: "N",
        preset: Preset::Nothing("no limit but the size of a request"),
        accepted: "a whole number from 1 to 1000000",
        summary: "Spans at which a batch leaves",
        details: "Seldom needed: backends limit requests by their size, for which there is \
            `NETFLOW_MAX_REQUEST_SIZE`.",
        parse: |text| values::count(text, 1..=1_000_000),
    }
    MAX_REQUEST_SIZE: usize {
        section: Delivery,
        variables: ["NETFLOW_MAX_REQUEST_SIZE"],
        flag: "max-request-size",
        placeholder: "SIZE",
        preset: Preset::Text("2MiB"),
        accepted: "a size from 64KiB (less would split the spans of single datagrams) to 64MiB",
        summary: "Size of one request, before compression",
        details: "Encoded octets before compression. Most gRPC servers take up to 4MiB, the \
            Collector's HTTP receiver 20MiB.",
        parse: |text| values::size(text, 64 * KIB..=64 * MIB),
    }
    EXPORT_CONCURRENCY: usize {
        section: Delivery,
        variables: ["NETFLOW_EXPORT_CONCURRENCY"],
        flag: "export-concurrency",
        placeholder: "N",
        preset: Preset::Text("4"),
        accepted: "a whole number from 1 to 256",
        summary: "Requests in flight at the same time",
        details: "More requests hide the latency of a distant backend.",
        parse: |text| values::count(text, 1..=256),
    }
    QUEUE_SIZE: usize {
        section: Delivery,
        variables: ["NETFLOW_QUEUE_SIZE"],
        flag: "queue-size",
        placeholder: "SIZE",
        preset: Preset::Text("64MiB"),
        accepted: "a size from 1MiB to 64GiB, and not less than NETFLOW_MAX_REQUEST_SIZE",
        summary: "Memory for spans that wait for the backend",
        details: "Encoded octets. When it is full, the oldest batch is dropped and counted.",
        parse: |text| values::size(text, MIB..=64 * GIB),
    }
    SHUTDOWN_TIMEOUT: Duration {
        section: Delivery,
        variables: ["NETFLOW_SHUTDOWN_TIMEOUT"],
        flag: "shutdown-timeout",
        placeholder: "DURATION",
        preset: Preset::Text("8s"),
        accepted: "a duration from 0s to 1h, such as 8s",
        summary: "How long to go on delivering after SIGTERM or SIGINT",
        details: "Container runtimes kill ten seconds after SIGTERM; give both more time if the \
            queue is large.",
        parse: |text| values::duration(text, Duration::ZERO..=HOUR),
    }
}
