//! A long run against a backend that fails a fifth of the time: memory, descriptors, threads and tasks stay as they
//! are, all sums hold, everything arrives. `NETFLOW_SOAK_SECONDS` makes it as long as it should be (`scripts/soak.sh`).

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tonic::Code;

use super::{PATIENCE, assert_balanced, part, spooling};
use crate::admin_client::{Admin, value};
use crate::backend::{FakeBackend, Reply};
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};

/// Without a wish, so long that it goes through all that a long run does.
const SHORT: Duration = Duration::from_secs(20);
/// The backend fails in the last fifth of each such time.
const CYCLE: Duration = Duration::from_secs(300);
/// A datagram of 30 flows each.
const PACE: Duration = Duration::from_millis(20);
const FLOWS: u16 = 30;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
    tasks: u64,
    spooled_octets: u64,
}

impl Sample {
    async fn take(process: u32, admin: Admin, at: Duration) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number.unwrap().parse::<u64>().unwrap()
        };
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let metrics = admin.get("/metrics").await.body;
        Self {
            at,
            resident_kib: field("VmRSS:"),
            descriptors: descriptors.count(),
            threads: field("Threads:"),
            tasks: value(&metrics, "netflow_tasks") as u64,
            spooled_octets: value(&metrics, "netflow_spool_bytes") as u64,
        }
    }
}

/// The highest of these, over the samples in a part of the run.
fn highest<T: Ord>(
    samples: &[Sample],
    from: Duration,
    to: Duration,
    of: impl Fn(&Sample) -> T,
) -> T {
    let part = samples
        .iter()
        .filter(|sample| (from..to).contains(&sample.at));
    part.map(of).max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_run_with_a_failing_backend_stays_as_it_is_and_loses_nothing() {
    let wished = std::env::var("NETFLOW_SOAK_SECONDS").ok();
    let length = wished.map_or(SHORT, |seconds| {
        Duration::from_secs(seconds.parse().expect("NETFLOW_SOAK_SECONDS is a number"))
    });
    let cycle = CYCLE.min(length / 4);
    // So that every outage is longer than the memory.
    let (queue, pace, delay) = if length > SHORT * 10 {
        ("16MiB", PACE, "1000")
    } else {
        ("1MiB", PACE / 2, "100")
    };
    let spool = tempfile::tempdir().unwrap();
    let backend = FakeBackend::grpc().forgetful().start().await;
    let admin = Admin::new();
    let setup = spooling(Setup::to_grpc(&backend), spool.path(), "overflow")
        .with("NETFLOW_QUEUE_SIZE", queue)
        .with("NETFLOW_MAX_REQUEST_SIZE", "256KiB")
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
        .with("OTEL_BSP_SCHEDULE_DELAY", delay);
    let daemon = admin.of(setup).start().await;
    let exporters: Vec<_> = (2..10)
        .map(|number| Exporter::new(&format!("127.0.0.{number}"), daemon.address()))
        .collect();

    let failures = [
        Reply::Grpc(Code::Unavailable, "away"),
        Reply::Silence,
        Reply::CutRequest,
    ];
    let begin = Instant::now();
    let (mut samples, mut sent) = (Vec::new(), 0u32);
    let mut failing = false;
    let mut outages = 0;
    let mut pace = tokio::time::interval(pace);
    let between = (cycle / 40).min(Duration::from_secs(5));
    let mut next_sample = Duration::ZERO;
    while begin.elapsed() < length {
        pace.tick().await;
        let exporter = &exporters[sent as usize % exporters.len()];
        let sequence = sent / 8 * u32::from(FLOWS);
        exporter.send(&v5_datagram(now(), sequence, 1000, FLOWS));
        sent += 1;
        let at = begin.elapsed();
        let in_cycle = Duration::from_nanos((at.as_nanos() % cycle.as_nanos()) as u64);
        let fails = in_cycle > cycle / 5 * 4;
        if fails != failing {
            failing = fails;
            let failure = &failures[outages % failures.len()];
            backend.answers(failing.then(|| failure.clone()));
            outages += usize::from(failing);
        }
        if at >= next_sample {
            next_sample = at + between;
            samples.push(Sample::take(daemon.id(), admin, at).await);
        }
    }
    backend.answers(None);

    let made = u64::from(sent) * u64::from(FLOWS);
    let deadline = Instant::now() + PATIENCE.max(cycle);
    let mut dropped;
    let status = loop {
        let status: Value = admin.json("/api/status").await;
        dropped = part(&status, "dropped_queue_full");
        if part(&status, "accepted") + dropped == made {
            break status;
        }
        assert!(Instant::now() < deadline, "all is delivered: {status:#}");
        pace.tick().await;
    };
    assert_balanced(&status);
    let spooled = status["delivery"]["spool"]["written"]["batches"].as_u64();
    assert!(spooled.unwrap() > 0, "{status:#}");
    let ended = daemon.stop().await;
    // Where the disk is too slow for the small memory of a short run, some may go; no more than is counted.
    assert_eq!(ended.code, Some(i32::from(dropped > 0)), "{:#?}", ended.log);
    ended.assert_totals(&[
        ("flow_spans_accepted", made - dropped),
        ("flow_spans_dropped", dropped),
        ("flow_spans_spooled", 0),
    ]);
    assert!(backend.accepted_spans() >= made - dropped);
    assert!(
        length < SHORT * 10 || dropped == 0,
        "{dropped} spans were dropped"
    );

    // The first cycle warms up; then the last is to be as the second.
    let (second, last) = ((cycle, cycle * 2), (length - cycle, length));
    let compare = |of: fn(&Sample) -> u64| {
        let before = highest(&samples, second.0, second.1, of);
        let after = highest(&samples, last.0, last.1, of);
        (before, after)
    };
    let resident = compare(|sample| sample.resident_kib);
    let descriptors = compare(|sample| sample.descriptors as u64);
    let threads = compare(|sample| sample.threads);
    let tasks = compare(|sample| sample.tasks);
    let on_disk = samples.iter().map(|sample| sample.spooled_octets).max();
    println!(
        "soak: {length:?}, {outages} outages, {sent} datagrams, {made} flows, {dropped} dropped, all others accepted; spool up to {} KiB, \
         {} batches written; second cycle → last: resident {} → {} KiB, descriptors {} → {}, threads {} → {}, \
         tasks {} → {}",
        on_disk.unwrap_or_default() / 1024,
        spooled.unwrap(),
        resident.0,
        resident.1,
        descriptors.0,
        descriptors.1,
        threads.0,
        threads.1,
        tasks.0,
        tasks.1,
    );
    assert!(
        resident.1 <= resident.0 + resident.0 / 8 + 4096,
        "memory grows: {resident:?} KiB\n{samples:#?}"
    );
    for (what, (before, after)) in [
        ("descriptors", descriptors),
        ("threads", threads),
        ("tasks", tasks),
    ] {
        // A scrape, a connection that is being replaced.
        assert!(
            after <= before + 8,
            "{what}: {before} → {after}\n{samples:#?}"
        );
    }
}
