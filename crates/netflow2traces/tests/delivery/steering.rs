//! One exporter, one worker, from the socket to the span: templates that came from one port, or to one, serve the
//! records of every other, whether the kernel chooses the workers or refuses to.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, in its helpers too"
)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netflow_wire::write::{Field, IpfixHeader, MessageWriter};
use netflow2traces::config::{self, Machine, Purpose, Sources};
use netflow2traces::receive::{Handler, Opening, Receivers, Running, Steering, SteeringProgram};
use netflow2traces::translate::{Datagram, Ids, TranslateCounters, Translator};
use otlp_wire::UnixNanos;
use serde_json::Value;
use tracing::Level;

use crate::log::Log;

/// Long enough for any machine; a test that waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(30);
/// Exporters of a test, as addresses of loopback.
const EXPORTERS: u8 = 32;
/// Datagrams of each, after the one with its template.
const DATAGRAMS: u32 = 6;

#[test]
fn templates_serve_every_port_of_their_exporter_with_two_workers() {
    let receivers = open(Opening::new(&receive(2)));
    assert!(matches!(receivers.steering(), Steering::BySourceAddress));
    assert_eq!(receivers.workers(), 2);
    let collector = Collector::start(receivers);
    let flows = collector.send_all();
    collector.await_flows(flows);
    let shares: Vec<_> = collector.shares();
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    collector.assert_apart();
}

#[test]
fn refused_steering_is_said_and_all_is_decoded_by_one_worker() {
    let (log, guard) = Log::begin(Level::WARN);
    let config = receive(4);
    let receivers = open(Opening::new(&config).steering(SteeringProgram::refused()));
    receivers.announce();
    drop(guard);
    assert!(matches!(receivers.steering(), Steering::Refused(_)));
    assert_eq!(receivers.workers(), 1);
    let said = log.lines();
    let is_warned_of = |line: &Value| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.contains("one worker receives all"))
    };
    assert!(said.iter().any(is_warned_of), "{said:?}");

    let collector = Collector::start(receivers);
    let flows = collector.send_all();
    collector.await_flows(flows);
    assert_eq!(collector.shares(), [flows]);
    collector.assert_apart();
}

fn receive(workers: usize) -> config::Receive {
    config::Receive {
        listen: vec![
            "127.0.0.1:0".parse().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
        ],
        workers,
        receive_buffer: 8 << 20,
    }
}

fn open(opening: Opening<'_>) -> Receivers {
    opening.open().expect("free ports")
}

/// The receive stage with a translator behind each worker.
struct Collector {
    local: Vec<SocketAddr>,
    counters: Vec<Arc<TranslateCounters>>,
    running: Option<Running<Worker>>,
}

impl Collector {
    fn start(receivers: Receivers) -> Self {
        let local = receivers.local_addresses().to_vec();
        let mut counters = Vec::new();
        let running = receivers.start(|_| {
            let worker = Worker::new();
            counters.push(worker.0.counters());
            worker
        });
        Self {
            local,
            counters,
            running: Some(running.unwrap()),
        }
    }

    /// The template from one port to one of ours, then records from three ports to both: how many flows.
    fn send_all(&self) -> u64 {
        for exporter in 1..=EXPORTERS {
            let sockets: Vec<_> = (0..3)
                .map(|_| UdpSocket::bind((format!("127.0.3.{exporter}"), 0)).unwrap())
                .collect();
            sockets[0].send_to(&template(), self.local[0]).unwrap();
            for sequence in 0..DATAGRAMS {
                let datagram = sequence as usize;
                let to = self.local[datagram / 3 % 2];
                sockets[datagram % 3].send_to(&data(sequence), to).unwrap();
            }
        }
        u64::from(EXPORTERS) * u64::from(DATAGRAMS)
    }

    fn sum(&self, of: impl Fn(&TranslateCounters) -> u64) -> u64 {
        self.counters.iter().map(|counters| of(counters)).sum()
    }

    fn await_flows(&self, flows: u64) {
        let deadline = Instant::now() + DEADLINE;
        while self.sum(|counters| counters.flow_spans.value()) < flows {
            assert!(
                Instant::now() < deadline,
                "{} of {flows} flows",
                self.sum(|c| c.flow_spans.value())
            );
            std::thread::yield_now();
        }
    }

    /// Flows by worker.
    fn shares(&self) -> Vec<u64> {
        let flows = |counters: &Arc<TranslateCounters>| counters.flow_spans.value();
        self.counters.iter().map(flows).collect()
    }

    /// Every exporter is known to one worker alone, and its template was learnt once.
    fn assert_apart(mut self) {
        assert_eq!(
            self.sum(|counters| counters.templates_learnt.value()),
            u64::from(EXPORTERS)
        );
        let workers = self.running.take().expect("it ran").stop_and_join();
        let mut known: Vec<_> = workers
            .iter()
            .flat_map(|worker| worker.0.exporters(usize::MAX).rows)
            .map(|exporter| exporter.address)
            .collect();
        assert_eq!(known.len(), usize::from(EXPORTERS));
        known.sort();
        known.dedup();
        assert_eq!(known.len(), usize::from(EXPORTERS));
    }
}

struct Worker(Translator);

impl Worker {
    fn new() -> Self {
        let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
        let loaded = config::load(Purpose::Run, &sources, &Machine::read());
        let config = loaded.expect("defaults are sound").config.translate;
        Self(Translator::new(&config, || UnixNanos(1), Ids::new([7; 32])))
    }
}

impl Handler for Worker {
    fn on_datagram(&mut self, datagram: &Datagram<'_>) {
        self.0.on_datagram(datagram, Instant::now());
    }

    fn on_burst_end(&mut self) {
        while let Some(batch) = self.0.poll_batch(Instant::now()) {
            drop(batch);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.0.next_deadline()
    }

    fn on_deadline(&mut self, now: Instant) {
        self.0.on_deadline(now);
    }
}

const FIELDS: [Field; 3] = [Field::new(8, 4), Field::new(12, 4), Field::new(1, 8)];

fn message(sequence: u32) -> MessageWriter {
    MessageWriter::ipfix(IpfixHeader {
        export_time: 1_700_000_000,
        sequence,
        ..IpfixHeader::default()
    })
}

fn template() -> Vec<u8> {
    message(0).template(256, &FIELDS).finish().unwrap()
}

/// One record.
fn data(sequence: u32) -> Vec<u8> {
    let mut message = message(sequence);
    message.declare(256, &FIELDS).data_set(256, |set| {
        set.record(|record| {
            record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]).u64(1);
        });
    });
    message.finish().unwrap()
}
