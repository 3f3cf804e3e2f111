//! Datagrams of any content: the process lives, a good exporter beside them loses nothing, and every
//! one is counted.

use netflow_wire::write::{V1Header, V1Record, V7Header, V7Record, v1, v7};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::backend::{FakeBackend, Received};
use crate::daemon::Setup;
use crate::exporter::{Content, Exporter, ipfix_datagram, now, v5_datagram, v9_datagram};
use crate::spans::attributes;

const BOTH: Content = Content::Both {
    first_port: 3000,
    flows: 4,
};

/// The exporter that must not suffer.
const GOOD: &str = "127.0.0.2";

/// The largest payload that a UDP datagram of IPv4 has.
const MAX_PAYLOAD: usize = 65_507;

#[tokio::test]
async fn noise_of_any_length() {
    let mut random = SmallRng::seed_from_u64(1);
    let lengths = (0..600).chain([1472, 1500, 9000, 40_000, MAX_PAYLOAD]);
    let mut noise = Vec::new();
    for length in lengths {
        let mut datagram = vec![0; length];
        random.fill_bytes(&mut datagram);
        noise.push(datagram.clone());
        // The same behind a version that is known.
        for version in [1, 5, 7, 9, 10] {
            if length >= 2 {
                datagram[..2].copy_from_slice(&u16::to_be_bytes(version));
                noise.push(datagram.clone());
            }
        }
    }
    assert_harmless(&noise).await;
}

#[tokio::test]
async fn real_datagrams_cut_at_every_octet() {
    let noise: Vec<_> = real_datagrams()
        .iter()
        .flat_map(|datagram| (0..datagram.len()).map(|length| datagram[..length].to_vec()))
        .collect();
    assert_harmless(&noise).await;
}

#[tokio::test]
async fn versions_that_claim_to_be_another() {
    let mut noise = Vec::new();
    for datagram in real_datagrams() {
        for version in (0..=12).chain([0x0500, 0x0900, u16::MAX]) {
            let mut confused = datagram.clone();
            confused[..2].copy_from_slice(&version.to_be_bytes());
            noise.push(confused);
        }
    }
    assert_harmless(&noise).await;
}

#[tokio::test]
async fn real_datagrams_with_wrong_octets() {
    let mut random = SmallRng::seed_from_u64(2);
    let mut noise = Vec::new();
    for datagram in real_datagrams() {
        for _ in 0..300 {
            let mut broken = datagram.clone();
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(0..broken.len());
                broken[at] = random.random();
            }
            noise.push(broken);
        }
    }
    assert_harmless(&noise).await;
}

fn real_datagrams() -> Vec<Vec<u8>> {
    let v1_header = V1Header {
        unix_secs: now(),
        ..V1Header::default()
    };
    let v7_header = V7Header {
        unix_secs: now(),
        ..V7Header::default()
    };
    vec![
        v1(&v1_header, &[V1Record::default(); 3]).unwrap(),
        v5_datagram(now(), 0, 1000, 3),
        v7(&v7_header, &[V7Record::default(); 3]).unwrap(),
        v9_datagram(now(), 0, BOTH),
        ipfix_datagram(now(), 0, BOTH),
    ]
}

/// Sends these from one exporter, and good flows from the same address and from another between
/// them.
async fn assert_harmless(noise: &[Vec<u8>]) {
    let backend = FakeBackend::grpc().start().await;
    // One worker reads in the order of the sending, so that a good flow seen says that what was sent
    // before it has been read: no socket overflows.
    let daemon = Setup::to_grpc(&backend)
        .with("NETFLOW_WORKERS", "1")
        .start()
        .await;
    let bad = Exporter::new("127.0.0.66", daemon.address());
    let good = Exporter::new(GOOD, daemon.address());
    let (mut rounds, mut octets) = (0, 0);
    for datagram in noise {
        bad.send(datagram);
        octets += datagram.len() + 1024;
        if octets > 64 << 10 {
            octets = 0;
            rounds += 1;
            send_good(&backend, &good, rounds).await;
        }
    }
    rounds += 1;
    send_good(&backend, &good, rounds).await;
    let ended = daemon.stop().await;
    let total = |name| ended.total(name);
    assert_eq!(total("datagrams"), noise.len() as u64 + u64::from(rounds));
    assert_eq!(
        total("datagrams"),
        total("datagrams_decoded") + total("datagrams_rejected")
    );
    assert_eq!(total("kernel_drops") + total("truncated"), 0);
    assert_eq!(total("flow_spans"), total("flow_spans_accepted"));
    let panicked = ended
        .log
        .iter()
        .any(|line| line["level"] == "ERROR" || line.is_string());
    assert!(!panicked, "{:#?}", ended.log);
}

/// Sends good flows and waits until the backend has all of them, which by then is all there is.
async fn send_good(backend: &FakeBackend, good: &Exporter, round: u32) {
    good.send(&v5_datagram(now(), (round - 1) * 30, 1000, 30));
    let sent = 30 * round as usize;
    backend
        .until("the good exporter's flows", |received| {
            flows_of(GOOD, received) >= sent
        })
        .await;
    assert_eq!(flows_of(GOOD, &backend.received()), sent);
}

/// How many flow spans of an exporter were accepted.
fn flows_of(exporter: &str, received: &[Received]) -> usize {
    let accepted = received.iter().filter(|request| request.accepted);
    let of_exporter = accepted
        .flat_map(|request| &request.request.resource_spans)
        .filter(|spans| {
            let resource = attributes(&spans.resource.as_ref().unwrap().attributes);
            resource["netflow.exporter.address"] == exporter
        });
    of_exporter
        .flat_map(|spans| &spans.scope_spans)
        .flat_map(|scope| &scope.spans)
        .filter(|span| span.name == "netflow.flow")
        .count()
}
