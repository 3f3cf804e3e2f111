//! The input against a broker in the process: what is committed and when, how partitions go and come.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netflow_wire::Transport;
use netflow_wire::write::{Field, IpfixHeader, MessageWriter};
use otlp_wire::{EncodedBatch, Settled};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::*;
use crate::config::{Kafka, KafkaCompression, KafkaInput};
use crate::config::{Machine, Purpose, Sources};
use crate::health::Health;
use crate::kafka::fake::FakeBroker;
use crate::kafka::{Client, FlowMessage, Producer, Record};
use crate::receive::wall_clock;
use crate::streams::Count;
use crate::translate::{Ids, Translator};

const GROUP: &str = "group";
const DATAGRAMS: &str = "datagrams";
const TEMPLATES: &str = "templates";
/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

fn config() -> KafkaInput {
    KafkaInput {
        kafka: Kafka {
            brokers: vec!["fake:9092".to_owned()],
            topic: DATAGRAMS.into(),
            traces_topic: "otlp_spans".into(),
            metrics_topic: "otlp_metrics".into(),
            max_message_size: 1 << 20,
            compression: KafkaCompression::None,
            create_topics: false,
            tls: None,
            sasl: None,
        },
        group: GROUP.to_owned(),
        templates_topic: TEMPLATES.into(),
    }
}

/// Waits until the condition holds, which other tasks bring about.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(1));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} in time");
        look.tick().await;
    }
}

/// Batches that a daemon has handed to delivery.
#[derive(Clone, Default)]
struct Delivered {
    held: Arc<Mutex<Vec<EncodedBatch>>>,
    flows: Arc<Mutex<u64>>,
    /// Acknowledged as soon as they come.
    at_once: Arc<AtomicBool>,
}

impl Delivered {
    fn put(&self, mut batch: EncodedBatch) {
        *self.flows.lock().unwrap() += u64::from(batch.flow_spans);
        if self.at_once.load(Relaxed) {
            batch.settle(Settled::Delivered);
        } else {
            self.held.lock().unwrap().push(batch);
        }
    }

    fn flows(&self) -> u64 {
        *self.flows.lock().unwrap()
    }

    fn settle(&self, outcome: Settled) {
        for mut batch in self.held.lock().unwrap().drain(..) {
            batch.settle(outcome);
        }
    }

    fn acknowledge(&self) {
        self.settle(Settled::Delivered);
    }
}

/// A daemon: one worker and its consumer.
struct Daemon {
    input: Input,
    worker: JoinHandle<()>,
    counters: Arc<InputCounters>,
    translated: Arc<crate::translate::TranslateCounters>,
    delivered: Delivered,
    has_room: Arc<AtomicBool>,
}

fn daemon(broker: &FakeBroker) -> Daemon {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    let mut translate = loaded.expect("defaults are valid").config.translate;
    translate.batch_delay = Duration::ZERO;
    let delivered = Delivered::default();
    let mut prepared = Prepared::new(1);
    prepared.most_waiting = 16 << 10;
    let (receipts, sink) = (prepared.receipts(0).unwrap(), delivered.clone());
    let mut machine = Translator::new(&translate, wall_clock, Ids::new([1; 32]));
    machine.hand_over_to(move |mut batch| {
        batch.receipt = Some(receipts.next());
        sink.put(batch);
    });
    let has_room = Arc::new(AtomicBool::new(true));
    let room = Arc::clone(&has_room);
    let room = Box::new(move || room.load(Relaxed));
    let mut reading = prepared.reading(0, room, &mut machine).unwrap();
    let translated = machine.counters();
    let worker = tokio::spawn(async move {
        let mut round = tokio::time::interval(Duration::from_millis(1));
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            reading.read_some(&mut machine, now);
            machine.on_deadline(now);
            machine.poll_batch(now);
            round.tick().await;
        }
    });
    let counters = prepared.counters();
    let health = Health::default();
    let broker = broker.clone();
    let connect: Connect = Arc::new(move || {
        let client: Arc<dyn Client> = Arc::new(broker.clone());
        Box::pin(std::future::ready(Ok(client)))
    });
    let waker = Waker::new().unwrap();
    let input = prepared.start_with(connect, &config(), &[waker], &health);
    Daemon {
        input,
        worker,
        counters,
        translated,
        delivered,
        has_room,
    }
}

impl Daemon {
    /// As a process that is killed: nothing is committed, handed over or left.
    fn kill(self) {
        self.worker.abort();
        drop(self.input);
    }

    async fn stop(mut self) {
        let until = Instant::now() + PATIENCE;
        self.input.stop_reading(until).await;
        self.worker.abort();
        self.input.leave(until).await;
    }
}

const FIELDS: [Field; 2] = [Field::new(8, 4), Field::new(1, 4)];

fn message(declares: bool, flows: u32) -> Vec<u8> {
    let seconds = wall_clock().0 / 1_000_000_000;
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time: u32::try_from(seconds).expect("before 2106"),
        observation_domain: 1,
        ..IpfixHeader::default()
    });
    if declares {
        message.template(256, &FIELDS);
    } else {
        message.declare(256, &FIELDS);
    }
    message.data_set(256, |set| {
        for flow in 0..flows {
            set.record(|record| {
                record.ipv4([192, 0, 2, 1]).u32(1_000 + flow);
            });
        }
    });
    message.finish().expect("it fits")
}

fn from(exporter: u8, octets: Vec<u8>) -> Record {
    let message = FlowMessage {
        octets: octets.into(),
        source: ([192, 0, 2, exporter], 4739).into(),
        local_port: 2055,
        transport: Transport::Udp,
        received_at: wall_clock(),
    };
    message.to_record(&DATAGRAMS.into())
}

async fn write(broker: &FakeBroker, records: &[Record]) {
    let queued = broker.queue(records).await;
    assert!(queued.error.is_none());
    assert!(queued.outcomes.await.iter().all(Result::is_ok));
}

/// The offsets committed, summed over the partitions.
fn committed(broker: &FakeBroker) -> i64 {
    broker.committed(GROUP).values().sum()
}

#[tokio::test]
async fn an_offset_is_committed_when_its_batches_are_acknowledged_and_not_before() {
    let broker = FakeBroker::new(1);
    let daemon = daemon(&broker);
    write(
        &broker,
        &[from(1, message(true, 3)), from(1, message(false, 2))],
    )
    .await;
    until("flows", || daemon.delivered.flows() == 5).await;
    // Its templates are written, and yet nothing is committed.
    broker.wait_for(TEMPLATES, 1).await;
    until("a state that is known to be written", || {
        daemon.counters.written.value() == 1
    })
    .await;
    assert_eq!(committed(&broker), 0);
    daemon.delivered.acknowledge();
    until("a commit", || committed(&broker) == 2).await;
    assert_eq!(daemon.counters.datagrams.value(), 2);
    assert_eq!(daemon.counters.partitions.value(), 1);
    assert!(daemon.counters.has_joined());
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_refused_for_good_passes_and_what_a_stop_leaves_is_read_once_more() {
    let broker = FakeBroker::new(1);
    let first = daemon(&broker);
    write(&broker, &[from(1, message(true, 1))]).await;
    until("a flow", || first.delivered.flows() == 1).await;
    first.delivered.settle(Settled::Dropped);
    until("a commit", || committed(&broker) == 1).await;
    assert_eq!(first.counters.batches_given_up.value(), 1);
    write(&broker, &[from(1, message(false, 1))]).await;
    until("another", || first.delivered.flows() == 2).await;
    first.delivered.settle(Settled::Stopped);
    let counters = Arc::clone(&first.counters);
    first.stop().await;
    assert_eq!(committed(&broker), 1);
    assert_eq!(counters.uncommitted.value(), 1);
    let second = daemon(&broker);
    until("it comes once more", || second.delivered.flows() == 1).await;
    assert_eq!(second.translated.sets_waited.value(), 0);
    second.kill();
}

#[tokio::test]
async fn who_takes_over_from_one_that_was_killed_has_its_templates_before_the_first_datagram() {
    let broker = FakeBroker::new(4);
    let first = daemon(&broker);
    let exporters = 1..=8;
    let records: Vec<_> = exporters
        .clone()
        .map(|exporter| from(exporter, message(true, 1)))
        .collect();
    write(&broker, &records).await;
    until("flows", || first.delivered.flows() == 8).await;
    first.delivered.acknowledge();
    until("commits", || committed(&broker) == 8).await;
    let records: Vec<_> = exporters
        .clone()
        .map(|exporter| from(exporter, message(false, 1)))
        .collect();
    write(&broker, &records).await;
    until("more flows", || first.delivered.flows() == 16).await;
    first.kill();
    // Its last batches were not acknowledged: they come once more, and nothing waits for a template.
    let second = daemon(&broker);
    until("all that was not committed", || {
        second.delivered.flows() == 8
    })
    .await;
    assert_eq!(second.translated.sets_waited.value(), 0);
    assert_eq!(second.counters.restored.value(), 8);
    second.delivered.acknowledge();
    until("commits", || committed(&broker) == 16).await;
    second.kill();
}

#[tokio::test]
async fn a_partition_is_handed_over_when_its_batches_are_done() {
    let broker = FakeBroker::new(2);
    let first = daemon(&broker);
    let records: Vec<_> = (1..=20)
        .map(|exporter| from(exporter, message(true, 1)))
        .collect();
    write(&broker, &records).await;
    until("flows", || first.delivered.flows() == 20).await;
    // One more joins: a partition is to go, and waits for delivery.
    let second = daemon(&broker);
    until("a partition that is asked for", || {
        first.counters.revoked.value() == 1
    })
    .await;
    assert_eq!(second.counters.partitions.value(), 0);
    assert_eq!(committed(&broker), 0);
    first.delivered.acknowledge();
    until("two with a partition each", || {
        first.counters.partitions.value() == 1 && second.counters.partitions.value() == 1
    })
    .await;
    until("commits", || committed(&broker) == 20).await;
    second.delivered.at_once.store(true, Relaxed);
    first.delivered.at_once.store(true, Relaxed);
    let records: Vec<_> = (1..=20)
        .map(|exporter| from(exporter, message(false, 1)))
        .collect();
    write(&broker, &records).await;
    let flows = || first.delivered.flows() + second.delivered.flows();
    until("every flow once", || flows() == 40).await;
    until("commits", || committed(&broker) == 40).await;
    assert!(second.delivered.flows() > 0);
    assert_eq!(second.translated.sets_waited.value(), 0);
    assert_eq!(first.counters.uncommitted.value(), 0);
    second.stop().await;
    until("both partitions", || first.counters.partitions.value() == 2).await;
    first.stop().await;
}

#[tokio::test]
async fn of_partitions_that_are_lost_nothing_is_committed() {
    let broker = FakeBroker::new(1);
    let daemon = daemon(&broker);
    write(&broker, &[from(1, message(true, 1))]).await;
    until("a flow", || daemon.delivered.flows() == 1).await;
    broker.expel_first(GROUP);
    until("the loss", || daemon.counters.lost.value() == 1).await;
    daemon.delivered.acknowledge();
    // It joins again, and reads what was not committed once more.
    until("the flow once more", || daemon.delivered.flows() == 2).await;
    assert_eq!(committed(&broker), 0);
    assert_eq!(daemon.counters.uncommitted.value(), 1);
    assert_eq!(daemon.counters.replayed.value(), 1);
    assert_eq!(daemon.translated.sets_waited.value(), 0);
    daemon.delivered.acknowledge();
    until("a commit", || committed(&broker) == 1).await;
    daemon.kill();
}

#[tokio::test]
async fn messages_that_are_no_datagrams_are_counted_and_pass() {
    let broker = FakeBroker::new(1);
    let daemon = daemon(&broker);
    let good = from(1, message(true, 1));
    let mut no_key = good.clone();
    no_key.key = None;
    let mut no_value = good.clone();
    no_value.value = None;
    let mut no_headers = good.clone();
    no_headers.headers.clear();
    let poisoned = from(1, vec![0, 9, 255, 255, 1]);
    let mut early = from(1, message(false, 1));
    for (name, value) in &mut early.headers {
        if *name == "received_at" {
            *value = Bytes::from_static(b"1");
        }
    }
    write(
        &broker,
        &[no_key, no_value, no_headers, poisoned, good, early],
    )
    .await;
    until("the flows behind them", || daemon.delivered.flows() == 2).await;
    daemon.delivered.acknowledge();
    until("a commit", || committed(&broker) == 6).await;
    let counters = &daemon.counters;
    let alien = [&counters.no_value, &counters.key, &counters.header];
    assert_eq!(alien.map(Count::value), [1; 3]);
    assert_eq!(counters.datagrams.value(), 3);
    assert_eq!(counters.times_replaced.value(), 1);
    assert_eq!(daemon.translated.datagrams_rejected(), 1);
    daemon.stop().await;
}

/// A daemon without room that has paused its partition, and the 50 messages of 50 flows that it was sent.
async fn paused() -> (FakeBroker, Daemon, Vec<Record>) {
    let broker = FakeBroker::new(1);
    let daemon = daemon(&broker);
    daemon.delivered.at_once.store(true, Relaxed);
    daemon.has_room.store(false, Relaxed);
    let some: Vec<_> = (0..50).map(|_| from(1, message(true, 50))).collect();
    write(&broker, &some).await;
    until("a pause", || daemon.counters.paused.value() == 1).await;
    (broker, daemon, some)
}

#[tokio::test]
async fn while_there_is_no_room_partitions_are_paused_and_nothing_is_lost() {
    let (broker, daemon, some) = paused().await;
    write(&broker, &some).await;
    assert_eq!(daemon.delivered.flows(), 0);
    daemon.has_room.store(true, Relaxed);
    until("all flows", || daemon.delivered.flows() == 100 * 50).await;
    until("a commit", || committed(&broker) == 100).await;
    until("none paused", || daemon.counters.paused.value() == 0).await;
    assert!(daemon.counters.pauses.value() >= 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_partition_that_was_lost_while_it_was_paused_is_paused_anew() {
    let (broker, daemon, _) = paused().await;
    broker.expel_first(GROUP);
    until("the partition again", || {
        daemon.counters.assigned.value() == 2
    })
    .await;
    until("another pause", || daemon.counters.pauses.value() == 2).await;
    daemon.has_room.store(true, Relaxed);
    until("a commit", || committed(&broker) == 50).await;
    assert_eq!(daemon.delivered.flows(), 50 * 50, "none of them twice");
    daemon.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_away_costs_nothing() {
    let broker = FakeBroker::new(1);
    broker.stop(true);
    let daemon = daemon(&broker);
    until("failures", || daemon.counters.poll_failures.value() > 0).await;
    assert!(!daemon.counters.has_joined());
    broker.stop(false);
    write(&broker, &[from(1, message(true, 1))]).await;
    until("a flow", || daemon.delivered.flows() == 1).await;
    let failures = daemon.counters.failed.value();
    broker.stop(true);
    daemon.delivered.acknowledge();
    until("a commit that fails", || {
        daemon.counters.failed.value() > failures
    })
    .await;
    broker.stop(false);
    until("a commit", || committed(&broker) == 1).await;
    assert_eq!(daemon.counters.uncommitted.value(), 0);
    daemon.stop().await;
}

#[tokio::test]
async fn hostile_states_are_counted_and_the_others_are_taken() {
    let broker = FakeBroker::new(1);
    let first = daemon(&broker);
    write(&broker, &[from(1, message(true, 1))]).await;
    let states = broker.wait_for(TEMPLATES, 1).await;
    first.kill();
    let good = states[0].value.clone().unwrap();
    let state = |key: &'static str, value: Option<Bytes>| Record {
        topic: TEMPLATES.into(),
        key: Some(Bytes::from_static(key.as_bytes())),
        value,
        ..Record::default()
    };
    let mut changed = good.to_vec();
    changed[40] ^= 1;
    let hostile = [
        // Of another exporter than its key says.
        state("192.0.2.9", Some(good.clone())),
        state("192.0.2.8", Some(changed.into())),
        state("192.0.2.7", Some(good.slice(..good.len() / 2))),
        state("192.0.2.6", Some(Bytes::new())),
        state("no address", Some(good.clone())),
        // Deleted.
        state("192.0.2.5", Some(good.clone())),
        state("192.0.2.5", None),
    ];
    write(&broker, &hostile).await;
    let second = daemon(&broker);
    until("the state", || second.counters.restored.value() == 1).await;
    assert_eq!(second.counters.unreadable.value(), 5);
    second.kill();
}

#[tokio::test]
async fn sets_without_their_template_keep_the_offset_until_it_comes() {
    let broker = FakeBroker::new(1);
    let first = daemon(&broker);
    first.delivered.at_once.store(true, Relaxed);
    write(
        &broker,
        &[from(1, message(false, 1)), from(2, message(true, 1))],
    )
    .await;
    until("the other's flow", || first.delivered.flows() == 1).await;
    // Killed now, the flow that waits is lost from memory, and not from Kafka.
    assert_eq!(committed(&broker), 0);
    first.kill();
    let second = daemon(&broker);
    second.delivered.at_once.store(true, Relaxed);
    until("the other's flow", || second.delivered.flows() == 1).await;
    write(&broker, &[from(1, message(true, 1))]).await;
    until("all", || second.delivered.flows() == 3).await;
    until("a commit", || committed(&broker) == 3).await;
    assert_eq!(second.translated.sets_decoded_late.value(), 1);
    second.stop().await;
}
