//! The relay against a broker in the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use netflow_wire::Transport;
use otlp_wire::UnixNanos;

use super::{DropReason, Outlet, Relay, RelayCounters};
use crate::health::Health;
use crate::kafka::fake::FakeBroker;
use crate::kafka::{Client, FlowMessage, Later};
use crate::translate::{AllowList, Datagram};

const TOPIC: &str = "raw";

fn start(broker: &FakeBroker, queue_size: usize) -> Relay {
    let broker = broker.clone();
    let connect = move || -> Later<'static, _> {
        let client: Arc<dyn Client> = Arc::new(broker.clone());
        Box::pin(std::future::ready(Ok(client)))
    };
    Relay::start_with(
        &TOPIC.into(),
        queue_size,
        &Health::default(),
        Box::new(connect),
    )
}

fn outlet(relay: &Relay) -> Outlet {
    relay.outlet(AllowList::new(&[]))
}

/// A datagram with this number, from one of four exporters.
fn put(outlet: &mut Outlet, number: u32) {
    let source = SocketAddr::from(([192, 0, 2, (number % 4) as u8], 9_000));
    let datagram = Datagram {
        octets: &number.to_be_bytes(),
        source,
        received_at: UnixNanos(u64::from(number) * 1_000_000),
    };
    outlet.put(&datagram, Transport::Udp, 2055);
}

fn numbers(messages: &[FlowMessage], exporter: u8) -> Vec<u32> {
    let of = messages
        .iter()
        .filter(|message| message.source == SocketAddr::from(([192, 0, 2, exporter], 9_000)));
    of.map(|message| u32::from_be_bytes(message.octets[..].try_into().expect("four octets")))
        .collect()
}

fn balances(counters: &RelayCounters, put: u64) {
    let outcomes = counters.relayed.load(Relaxed)
        + counters.waiting.load(Relaxed)
        + counters.dropped_for_any_reason();
    assert_eq!(outcomes, put, "{counters:?}");
}

async fn drained(relay: Relay, within: Duration) -> Arc<RelayCounters> {
    let counters = relay.counters();
    relay.drain_by(Instant::now() + within).await;
    counters
}

#[tokio::test]
async fn every_datagram_is_a_message_and_those_of_an_exporter_keep_their_order() {
    let broker = FakeBroker::new(3);
    let relay = start(&broker, 8 << 20);
    let mut outlet = outlet(&relay);
    for number in 0..1_000 {
        put(&mut outlet, number);
        if number % 64 == 0 {
            outlet.hand_over();
        }
    }
    outlet.hand_over();
    let counters = drained(relay, Duration::from_secs(30)).await;
    let messages = broker.messages(TOPIC);
    let messages: Vec<_> = messages
        .iter()
        .map(|message| FlowMessage::read(message).expect("a relay wrote it"))
        .collect();
    for exporter in 0..4_u8 {
        let expected: Vec<u32> = (0..1_000)
            .filter(|n| n % 4 == u32::from(exporter))
            .collect();
        assert_eq!(numbers(&messages, exporter), expected);
    }
    assert!(messages.iter().all(|message| message.local_port == 2055));
    assert_eq!(counters.relayed_octets.load(Relaxed), 4_000);
    assert_eq!(counters.waiting_octets.load(Relaxed), 0);
    balances(&counters, 1_000);
}

#[tokio::test]
async fn datagrams_wait_for_a_broker_that_is_away() {
    let broker = FakeBroker::new(1);
    broker.stop(true);
    let relay = start(&broker, 1 << 20);
    let counters = relay.counters();
    let mut outlet = outlet(&relay);
    for number in 0..20 {
        put(&mut outlet, number);
    }
    outlet.hand_over();
    until(|| counters.is_away.load(Relaxed)).await;
    balances(&counters, 20);
    broker.stop(false);
    broker.wait_for(TOPIC, 20).await;
    // It goes away with what waits given to it.
    broker.stop(true);
    for number in 20..30 {
        put(&mut outlet, number);
    }
    outlet.hand_over();
    let failures = counters.failures.load(Relaxed);
    until(|| counters.failures.load(Relaxed) > failures).await;
    broker.stop(false);
    let messages = broker.wait_for(TOPIC, 30).await;
    let messages = messages.iter().map(FlowMessage::read);
    let messages: Vec<_> = messages
        .collect::<Result<_, _>>()
        .expect("a relay wrote them");
    let expected: Vec<u32> = (0..30).filter(|number| number % 4 == 1).collect();
    assert_eq!(numbers(&messages, 1), expected);
    let counters = drained(relay, Duration::from_secs(30)).await;
    assert_eq!(counters.relayed.load(Relaxed), 30);
    assert!(!counters.is_away.load(Relaxed));
    balances(&counters, 30);
}

/// Lets others work until this holds.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .expect("it holds in time");
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_what_waits_at_the_end_too() {
    let broker = FakeBroker::new(1);
    broker.stop(true);
    let relay = start(&broker, 4_096);
    let room = relay.room();
    assert!(room());
    let mut outlet = outlet(&relay);
    for number in 0..100 {
        put(&mut outlet, number);
    }
    outlet.hand_over();
    assert!(!room());
    let counters = relay.counters();
    let (waiting, full) = (
        counters.waiting.load(Relaxed),
        counters.dropped(DropReason::QueueFull),
    );
    assert!(waiting > 0 && full > 0);
    assert!(counters.waiting_octets.load(Relaxed) <= 4_096);
    balances(&counters, 100);
    let counters = drained(relay, Duration::from_secs(1)).await;
    assert_eq!(counters.dropped(DropReason::Shutdown), waiting);
    assert_eq!(counters.lost(), 100);
    balances(&counters, 100);
    // Whatever a worker still has then.
    put(&mut outlet, 100);
    outlet.hand_over();
    balances(&counters, 101);
}

#[tokio::test]
async fn a_datagram_that_the_broker_refuses_is_counted_and_holds_up_no_other() {
    let broker = FakeBroker::new(1);
    broker.refuse_over(4);
    let relay = start(&broker, 1 << 20);
    let mut outlet = outlet(&relay);
    put(&mut outlet, 1);
    let large = Datagram {
        octets: &[0; 5],
        source: SocketAddr::from(([192, 0, 2, 1], 9_000)),
        received_at: UnixNanos(0),
    };
    outlet.put(&large, Transport::Tcp, 4739);
    put(&mut outlet, 5);
    outlet.hand_over();
    let counters = drained(relay, Duration::from_secs(30)).await;
    assert_eq!(broker.messages(TOPIC).len(), 2);
    assert_eq!(counters.dropped(DropReason::TooLarge), 1);
    balances(&counters, 3);
}

#[tokio::test]
async fn senders_that_are_not_allowed_are_counted() {
    let broker = FakeBroker::new(1);
    let relay = start(&broker, 1 << 20);
    let allowed = ["192.0.2.1/32".parse().expect("a network")];
    let mut outlet = relay.outlet(AllowList::new(&allowed));
    for number in 0..4 {
        put(&mut outlet, number);
    }
    outlet.hand_over();
    let counters = drained(relay, Duration::from_secs(30)).await;
    assert_eq!(counters.relayed.load(Relaxed), 1);
    assert_eq!(counters.dropped(DropReason::NotAllowed), 3);
    assert_eq!(counters.lost(), 0);
    balances(&counters, 4);
}

#[tokio::test]
async fn a_stop_with_nothing_that_waits_waits_for_no_broker() {
    let broker = FakeBroker::new(1);
    broker.stop(true);
    let relay = start(&broker, 1 << 20);
    let counters = relay.counters();
    until(|| counters.is_away.load(Relaxed)).await;
    let ended = drained(relay, Duration::from_secs(600));
    let counters = tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .expect("it ends long before the deadline");
    balances(&counters, 0);
}
