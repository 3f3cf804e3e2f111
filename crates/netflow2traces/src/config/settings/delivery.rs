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
        summary: "Age at which a batch is sent, in milliseconds",
        details: "A batch is sent when it is this old, holds `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` spans, or reaches \
            `NETFLOW_MAX_REQUEST_SIZE`, whichever comes first. With a shorter delay, flows appear sooner, and \
            requests are smaller and more frequent.",
        parse: |text| values::milliseconds(text, 1..=60_000),
    }
    BATCH_MAX_SPANS: usize {
        section: Delivery,
        variables: ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
        flag: "batch-max-spans",
        placeholder: "N",
        preset: Preset::Nothing("no limit but the size of a request"),
        accepted: "a whole number from 1 to 1000000",
        summary: "Number of spans at which a batch is sent",
        details: "Rarely needed: backends limit requests by size, see `NETFLOW_MAX_REQUEST_SIZE`.",
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
        details: "Encoded bytes; at most half of `NETFLOW_MEMORY_LIMIT`. When the queue is full, the exporters with \
            the most spans in it lose their oldest ones, which is counted. With a spool, the oldest batches are \
            written to disk once the queue is half full.",
        parse: |text| values::size(text, MIB..=64 * GIB),
    }
    SPOOL_DIR: PathBuf {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_DIR"],
        flag: "spool-dir",
        placeholder: "DIR",
        preset: Preset::Nothing("none"),
        accepted: "a directory that is writable, or can be created; each daemon needs its own",
        summary: "Directory of the disk queue",
        details: "With a spool, spans that wait for the backend survive a restart, and outages longer than the \
            memory queue can cover. docs/operating.md says how large it should be; docs/spool.md describes the \
            files.",
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
        details: "`overflow`: batches that the memory queue can't hold and, when the daemon stops, batches that \
            could not be delivered. `always`: every batch before it is sent, so that even if the daemon is killed, \
            it loses only the batch that it is filling.",
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
        details: "The size of all its files in bytes. When the spool is full, the oldest batches are dropped and \
            counted, up to a sixteenth of it at a time.",
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
        details: "Batches that were received longer ago are dropped and counted. Many backends don't accept spans \
            that are older than some hours or days.",
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
        details: "Container runtimes kill a process ten seconds after SIGTERM; if the queue is large, raise both \
            times.",
        parse: |text| values::duration(text, Duration::ZERO..=HOUR),
    }
}
