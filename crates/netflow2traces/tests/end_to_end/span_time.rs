//! `NETFLOW_SPAN_TIME`: which times a flow's span carries.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::spans::{Seen, flows_at, named};

const SECOND: u64 = 1_000_000_000;
const DURATION: u64 = 9 * SECOND;

fn wall_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// The span of a flow that was exported at `export_time` and ended a second before, and the wall
/// time before its datagram was sent.
async fn flow(span_time: &str, export_time: u32) -> (Seen, u64) {
    let backend = FakeBackend::grpc().start().await;
    let daemon = Setup::to_grpc(&backend)
        .with("NETFLOW_SPAN_TIME", span_time)
        .start()
        .await;
    let before = wall_time();
    Exporter::new("127.0.0.2", daemon.address()).send(&v5_datagram(export_time, 0, 1000, 1));
    let spans = flows_at(&backend, 1).await;
    (named(&spans, "netflow.flow")[0].clone(), before)
}

fn assert_told(seen: &Seen, export_time: u32) {
    let end = (u64::from(export_time) - 1) * SECOND;
    assert_eq!(
        seen.attributes["netflow.flow.start_unix_nano"],
        end - DURATION
    );
    assert_eq!(seen.attributes["netflow.flow.end_unix_nano"], end);
    assert!(!seen.attributes.contains_key("netflow.time.suspect"));
}

#[tokio::test]
async fn received_is_the_time_of_arrival() {
    let export_time = now();
    let (seen, before) = flow("received", export_time).await;
    assert!((before..=wall_time()).contains(&seen.span.start_time_unix_nano));
    assert_eq!(seen.span.start_time_unix_nano, seen.span.end_time_unix_nano);
    assert_told(&seen, export_time);
}

#[tokio::test]
async fn clamped_moves_an_old_flow_to_its_arrival() {
    let export_time = now() - 60;
    let (seen, before) = flow("clamped", export_time).await;
    let (start, end) = (seen.span.start_time_unix_nano, seen.span.end_time_unix_nano);
    assert!((before..=wall_time()).contains(&end));
    assert_eq!(end - start, DURATION);
    assert_told(&seen, export_time);
}

#[tokio::test]
async fn clamped_leaves_a_young_flow_alone() {
    let export_time = now();
    let (seen, _) = flow("clamped", export_time).await;
    let end = (u64::from(export_time) - 1) * SECOND;
    assert_eq!(seen.span.start_time_unix_nano, end - DURATION);
    assert_eq!(seen.span.end_time_unix_nano, end);
    assert!(!seen.attributes.contains_key("netflow.flow.end_unix_nano"));
}
