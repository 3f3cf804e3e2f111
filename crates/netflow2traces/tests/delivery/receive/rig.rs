//! Handlers, exporters and what arrived, for the tests of stage 1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use netflow2traces::config;
use netflow2traces::receive::{Handler, Opening, Receivers, Running, WorkerCounters};
use netflow2traces::translate::Datagram;
use otlp_wire::UnixNanos;

use super::DEADLINE;

/// A datagram as a worker saw it.
pub(crate) struct Arrived {
    pub(crate) worker: usize,
    pub(crate) octets: Vec<u8>,
    pub(crate) source: SocketAddr,
    pub(crate) received_at: UnixNanos,
}

/// Passes each datagram on.
pub(crate) struct Forward {
    pub(crate) worker: usize,
    pub(crate) to: Sender<Arrived>,
}

impl Handler for Forward {
    fn on_datagram(&mut self, datagram: &Datagram<'_>) {
        let arrived = Arrived {
            worker: self.worker,
            octets: datagram.octets.to_vec(),
            source: datagram.source,
            received_at: datagram.received_at,
        };
        // A test may end before its load does.
        let _ = self.to.send(arrived);
    }

    fn on_burst_end(&mut self) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn on_deadline(&mut self, _: Instant) {
        panic!("there was no deadline");
    }
}

/// Wants to be called every millisecond.
pub(crate) struct Alarm {
    pub(crate) worker: usize,
    pub(crate) at: Instant,
    pub(crate) passed: Sender<usize>,
}

impl Handler for Alarm {
    fn on_datagram(&mut self, _: &Datagram<'_>) {}

    fn on_burst_end(&mut self) {}

    fn next_deadline(&self) -> Option<Instant> {
        Some(self.at)
    }

    fn on_deadline(&mut self, now: Instant) {
        assert!(now >= self.at);
        self.at = now + Duration::from_millis(1);
        self.passed.send(self.worker).expect("the test waits");
    }
}

/// Without datagrams, the only burst to end is the last.
pub(crate) struct TellsBurstEnd(pub(crate) Sender<()>);

impl Handler for TellsBurstEnd {
    fn on_datagram(&mut self, _: &Datagram<'_>) {}

    fn on_burst_end(&mut self) {
        self.0.send(()).expect("the test waits");
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn on_deadline(&mut self, _: Instant) {}
}

pub(crate) struct Panics;

impl Handler for Panics {
    fn on_datagram(&mut self, _: &Datagram<'_>) {
        panic!("as the test wants it");
    }

    fn on_burst_end(&mut self) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn on_deadline(&mut self, _: Instant) {}
}

/// Running workers and what they received.
pub(crate) struct Inbox {
    pub(crate) local: Vec<SocketAddr>,
    pub(crate) running: Option<Running<Forward>>,
    pub(crate) counters: Arc<[WorkerCounters]>,
    pub(crate) arrived: Receiver<Arrived>,
}

impl Inbox {
    pub(crate) fn start(receivers: Receivers) -> Self {
        let local = receivers.local_addresses().to_vec();
        let counters = receivers.counters();
        let (to, arrived) = channel();
        let forward = |worker| Forward {
            worker,
            to: to.clone(),
        };
        let running = Some(receivers.start(forward).unwrap());
        Self {
            local,
            running,
            counters,
            arrived,
        }
    }

    pub(crate) fn local(&self, index: usize) -> SocketAddr {
        self.local[index]
    }

    pub(crate) fn next(&self) -> Arrived {
        self.arrived
            .recv_timeout(DEADLINE)
            .expect("a datagram arrives")
    }

    pub(crate) fn stop(&mut self) -> Arc<[WorkerCounters]> {
        let running = self.running.take().expect("stopped once");
        assert_eq!(running.stop_and_join().len(), self.counters.len());
        Arc::clone(&self.counters)
    }

    /// What was not read yet, after the stop.
    pub(crate) fn rest(&self) -> Vec<Arrived> {
        self.arrived.iter().collect()
    }
}

/// A device that sends flow records.
pub(crate) struct Exporter(pub(crate) UdpSocket);

impl Exporter {
    pub(crate) fn at(address: &str) -> Self {
        Self(UdpSocket::bind(address).expect("a loopback address"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn send(&self, octets: &[u8], to: SocketAddr) {
        assert_eq!(self.0.send_to(octets, to).unwrap(), octets.len());
    }
}

/// An exporter that sends as fast as it can.
pub(crate) struct Load {
    pub(crate) done: Arc<AtomicBool>,
    pub(crate) thread: thread::JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let exporter = Exporter::at("127.0.0.1:0");
            while !seen.load(Ordering::Relaxed) {
                // Nobody listens before the start or after the stop.
                let _ = exporter.0.send_to(&[0; 64], to);
            }
        });
        Self { done, thread }
    }

    pub(crate) fn stop(self) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Sends from 64 addresses in four networks, from three ports each, six times to each of `local`:
/// two octets, the index of the address sent to and the number of the datagram. Says how many.
pub(crate) fn send_from_64_addresses(local: &[SocketAddr]) -> usize {
    let mut sent = 0;
    for exporter in 0..64_u8 {
        let address = Ipv4Addr::new(127, exporter % 4, 7, 1 + exporter / 4);
        let ports: Vec<_> = (0..3)
            .map(|_| Exporter::at(&format!("{address}:0")))
            .collect();
        for sequence in 0..6_u8 {
            for (index, to) in local.iter().enumerate() {
                let to = match to.ip() {
                    IpAddr::V6(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, to.port())),
                    IpAddr::V4(_) => *to,
                };
                ports[usize::from(sequence) % 3].send(&[index as u8, sequence], to);
                sent += 1;
            }
        }
    }
    sent
}

pub(crate) fn config(listen: &[&str], workers: usize) -> config::Receive {
    config::Receive {
        listen: listen
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        workers,
        receive_buffer: 8 << 20,
    }
}

pub(crate) fn open(listen: &[&str], workers: usize) -> Receivers {
    let receivers = Receivers::open(&config(listen, workers)).expect("free ports");
    let expected = if cfg!(target_os = "linux") {
        workers
    } else {
        1
    };
    assert_eq!(receivers.workers(), expected);
    receivers
}

pub(crate) fn open_portable(listen: &[&str]) -> Receivers {
    let config = config(listen, 2);
    Opening::new(&config).portable().open().expect("free ports")
}

pub(crate) fn sum(counters: &[WorkerCounters], read: fn(&WorkerCounters) -> u64) -> u64 {
    counters.iter().map(read).sum()
}

/// Whether loopback speaks IPv6, which containers often lack.
pub(crate) fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

/// A port that is free on every address.
pub(crate) fn free_port() -> u16 {
    UdpSocket::bind("[::]:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub(crate) fn now() -> UnixNanos {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixNanos(since_1970.as_nanos() as u64)
}
