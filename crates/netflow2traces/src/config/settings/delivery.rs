//! Settings: batches, requests, the queues in memory and on disk.

use std::path::PathBuf;
use std::time::Duration;

use super::{DAY, GIB, HOUR, KIB, MIB, SECOND};
use crate::config::SpoolMode;
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values::{self, choice};

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
        details: "Encoded bytes before compression. Most gRPC servers accept up to 4MiB, the \
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
        preset: Preset::Computed("64MiB, at most a quarter of NETFLOW_MEMORY_LIMIT"),
        accepted: "a size from 1MiB to 64GiB, and not less than NETFLOW_MAX_REQUEST_SIZE",
        summary: "Memory for spans that wait for the backend",
        details: "Encoded bytes; at most half of `NETFLOW_MEMORY_LIMIT`. When it is full, the \
            exporters with the most in it lose their oldest spans, which is counted; with a spool, the oldest are written to disk from half of it on.",
        parse: |text| values::size(text, MIB..=64 * GIB),
    }
    SPOOL_DIR: PathBuf {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_DIR"],
        flag: "spool-dir",
        placeholder: "DIR",
        preset: Preset::Nothing("none"),
        accepted: "a directory that may be written, or can be made; each daemon needs its own",
        summary: "Directory of the disk queue",
        details: "With it, spans that wait for the backend outlive an outage that is longer than \
            the memory queue, and a restart. docs/operating.md says how large it should be, and \
            docs/spool.md what the files look like.",
        parse: values::directory,
    }
    SPOOL_MODE: SpoolMode {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_MODE"],
        flag: "spool-mode",
        placeholder: "MODE",
        preset: Preset::Text("overflow"),
        accepted: "overflow, always",
        summary: "What is written to the disk queue",
        details: "`overflow`: what the memory queue can't hold, and at the end of the daemon what \
            could not be delivered. `always`: every batch before it is sent, so that even a \
            daemon that is killed loses no more than the batch that it is filling.",
        parse: |text| choice(text, &[
            ("overflow", SpoolMode::Overflow),
            ("always", SpoolMode::Always),
        ]),
    }
    SPOOL_MAX_SIZE: usize {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_MAX_SIZE"],
        flag: "spool-max-size",
        placeholder: "SIZE",
        preset: Preset::Text("1GiB"),
        accepted: "a size from 4MiB to 16384GiB, and not less than four times NETFLOW_MAX_REQUEST_SIZE",
        summary: "Size limit of the disk queue",
        details: "Bytes of all its files. When it is full, the oldest batches are dropped and \
            counted, up to a sixteenth of it at once.",
        parse: |text| values::size(text, 4 * MIB..=16_384 * GIB),
    }
    SPOOL_MAX_AGE: Duration {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_MAX_AGE"],
        flag: "spool-max-age",
        placeholder: "DURATION",
        preset: Preset::Text("7d"),
        accepted: "a duration from 1s to 365d, such as 12h or 7d",
        summary: "Age at which spans in the disk queue are dropped",
        details: "Batches that were received longer ago are dropped and counted. Many backends \
            take no spans that are older than some hours or days.",
        parse: |text| values::duration(text, SECOND..=365 * DAY),
    }
    SHUTDOWN_TIMEOUT: Duration {
        section: Delivery,
        variables: ["NETFLOW_SHUTDOWN_TIMEOUT"],
        flag: "shutdown-timeout",
        placeholder: "DURATION",
        preset: Preset::Text("8s"),
        accepted: "a duration from 0s to 1h, such as 8s",
        summary: "How long to continue delivering after SIGTERM or SIGINT",
        details: "Container runtimes kill ten seconds after SIGTERM; give both more time if the \
            queue is large.",
        parse: |text| values::duration(text, Duration::ZERO..=HOUR),
    }
}
