//! Stage 1 over loopback: what is sent arrives whole, at one worker per exporter, and is counted.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise, in its helpers too"
)]

mod rig;

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use self::rig::*;
use netflow2traces::receive::{BindError, Handler, Opening, Receivers, Steering};
use netflow2traces::translate::Datagram;

/// Long enough for any machine; a test that waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn datagram_arrives_with_its_source() {
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        if loopback == "[::1]:0" && !has_ipv6() {
            continue;
        }
        for receivers in [open(&[loopback], 2), open_portable(&[loopback])] {
            let mut inbox = Inbox::start(receivers);
            let exporter = Exporter::at(loopback);
            exporter.send(b"octets", inbox.local(0));
            let arrived = inbox.next();
            assert_eq!(arrived.octets, b"octets");
            assert_eq!(arrived.source, exporter.address());
            inbox.stop();
        }
    }
}

#[test]
fn dual_stack_socket_shows_ipv4_exporters_as_ipv4() {
    if !has_ipv6() {
        return;
    }
    for receivers in [open(&["[::]:0"], 2), open_portable(&["[::]:0"])] {
        let mut inbox = Inbox::start(receivers);
        let port = inbox.local(0).port();
        for (exporter, to) in [("127.0.0.9:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let exporter = Exporter::at(exporter);
            exporter.send(b"octets", SocketAddr::new(to.parse().unwrap(), port));
            assert_eq!(inbox.next().source, exporter.address());
        }
        inbox.stop();
    }
}

#[test]
fn both_wildcards_share_a_port() {
    if !has_ipv6() {
        return;
    }
    for portable in [false, true] {
        let port = free_port();
        let wildcards = [format!("[::]:{port}"), format!("0.0.0.0:{port}")];
        let listen = [&wildcards[0], &wildcards[1], &format!("127.0.0.2:{port}")];
        let listen = listen.map(String::as_str);
        let receivers = if portable {
            open_portable(&listen)
        } else {
            open(&listen, 2)
        };
        let mut inbox = Inbox::start(receivers);
        let local: Vec<_> = inbox.local.iter().map(SocketAddr::to_string).collect();
        assert_eq!(local, wildcards);
        for (exporter, to) in [
            ("127.0.0.9:0", "127.0.0.1"),
            ("127.0.0.9:0", "127.0.0.2"),
            ("[::1]:0", "::1"),
        ] {
            let exporter = Exporter::at(exporter);
            exporter.send(to.as_bytes(), SocketAddr::new(to.parse().unwrap(), port));
            let arrived = inbox.next();
            assert_eq!(arrived.octets, to.as_bytes());
            assert_eq!(arrived.source, exporter.address());
        }
        inbox.stop();
    }
}

#[test]
fn every_address_and_port_is_served() {
    let listen = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0"];
    for receivers in [open(&listen, 2), open_portable(&listen)] {
        let mut inbox = Inbox::start(receivers);
        let exporter = Exporter::at("127.0.0.1:0");
        for (index, local) in inbox.local.clone().into_iter().enumerate() {
            let configured: SocketAddr = listen[index].parse().unwrap();
            assert_eq!(local.ip(), configured.ip());
            exporter.send(&[index as u8], local);
            assert_eq!(inbox.next().octets, [index as u8]);
        }
        inbox.stop();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn exporter_meets_one_worker_from_every_port_to_every_port() {
    let listen: &[&str] = if has_ipv6() {
        &["127.0.0.1:0", "127.0.0.1:0", "[::]:0"]
    } else {
        &["127.0.0.1:0", "127.0.0.1:0"]
    };
    let receivers = open(listen, 2);
    assert!(matches!(receivers.steering(), Steering::BySourceAddress));
    let mut inbox = Inbox::start(receivers);
    let sent = send_from_64_addresses(&inbox.local);

    let mut workers = HashMap::new();
    let mut sequences: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for _ in 0..sent {
        let arrived = inbox.next();
        let address = arrived.source.ip();
        let worker = *workers.entry(address).or_insert(arrived.worker);
        assert_eq!(worker, arrived.worker, "{address} met two workers");
        let [port, sequence] = arrived.octets[..] else {
            panic!("two octets were sent");
        };
        sequences.entry((address, port)).or_default().push(sequence);
    }
    assert_eq!(workers.len(), 64);
    for sequence in sequences.values() {
        assert_eq!(sequence, &[0, 1, 2, 3, 4, 5]);
    }
    let second = workers.values().filter(|worker| **worker == 1).count();
    assert!(
        (16..=48).contains(&second),
        "{second} of 64 met the second worker"
    );
    let counters = inbox.stop();
    assert!(inbox.rest().is_empty());
    assert_eq!(sum(&counters, |of| of.datagrams.value()), sent as u64);
}

#[test]
#[cfg(target_os = "linux")]
fn refused_steering_leaves_one_worker_that_gets_all() {
    use netflow2traces::receive::SteeringProgram;

    let config = config(&["127.0.0.1:0", "127.0.0.1:0"], 4);
    let opening = Opening::new(&config).steering(SteeringProgram::refused());
    let receivers = opening.open().expect("free ports");
    assert!(matches!(receivers.steering(), Steering::Refused(_)));
    assert_eq!(receivers.workers(), 1);
    let mut inbox = Inbox::start(receivers);
    let sent = send_from_64_addresses(&inbox.local);
    for _ in 0..sent {
        assert_eq!(inbox.next().worker, 0);
    }
    let counters = inbox.stop();
    assert_eq!(counters.len(), 1);
    assert_eq!(counters[0].kernel_drops.value(), 0);
}

#[test]
fn second_instance_is_refused() {
    for (host, workers) in [
        ("127.0.0.1", 1),
        ("127.0.0.1", 2),
        ("0.0.0.0", 1),
        ("[::]", 2),
    ] {
        if host == "[::]" && !has_ipv6() {
            continue;
        }
        let first = open(&[&format!("{host}:0")], workers);
        let address = first.local_addresses()[0];
        for workers in [1, 2] {
            let Err(error) = Receivers::open(&config(&[&address.to_string()], workers)) else {
                panic!("{address} was bound twice");
            };
            assert!(matches!(error, BindError::InUse { address: of } if of == address));
        }
    }
}

#[test]
fn port_of_another_program_is_refused() {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    for address in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}")] {
        let config = config(&[&address], 2);
        for opened in [
            Receivers::open(&config),
            Opening::new(&config).portable().open(),
        ] {
            let error = opened.err().expect("the port is in use").to_string();
            assert!(
                error.contains(&format!("already uses port {port}")),
                "{error}"
            );
            assert!(error.contains("ss -ulpn") && error.contains("NETFLOW_LISTEN_PORT"));
        }
    }
}

#[test]
fn port_is_free_again_after_the_stop() {
    let mut inbox = Inbox::start(open(&["127.0.0.1:0"], 2));
    let address = inbox.local(0).to_string();
    inbox.stop();
    drop(open(&[&address], 2));
    drop(open(&[&address], 1));
}

#[test]
fn foreign_address_and_empty_list_are_refused() {
    // An address of a network for documentation (RFC 5737).
    let foreign = Receivers::open(&config(&["198.51.100.77:0"], 2));
    assert!(matches!(foreign.err(), Some(BindError::NotOurs { .. })));
    let none = Receivers::open(&config(&[], 2));
    assert!(matches!(none.err(), Some(BindError::NoAddress)));
}

#[test]
fn longest_datagram_arrives_whole() {
    // 65,535 octets of an IPv4 packet without its header's 20 and UDP's 8.
    let longest: Vec<u8> = (0..65_507_u32).map(|at| (at % 251) as u8).collect();
    for receivers in [open(&["127.0.0.1:0"], 1), open_portable(&["127.0.0.1:0"])] {
        let mut inbox = Inbox::start(receivers);
        let exporter = Exporter::at("127.0.0.1:0");
        for payload in [&longest[..], &[]] {
            exporter.send(payload, inbox.local(0));
            assert!(inbox.next().octets == payload);
        }
        let counters = inbox.stop();
        assert_eq!(counters[0].datagrams.value(), 2);
        assert_eq!(counters[0].octets.value(), longest.len() as u64);
        assert_eq!(counters[0].truncated.value(), 0);
    }
}

#[test]
fn stop_handles_what_was_queued() {
    let listen = ["127.0.0.1:0", "127.0.0.1:0"];
    for receivers in [open(&listen, 2), open_portable(&listen)] {
        let sent = send_from_64_addresses(receivers.local_addresses());
        let mut inbox = Inbox::start(receivers);
        inbox.stop();
        assert_eq!(inbox.rest().len(), sent);
    }
}

#[test]
fn stop_ends_under_load() {
    for receivers in [open(&["127.0.0.1:0"], 2), open_portable(&["127.0.0.1:0"])] {
        let mut inbox = Inbox::start(receivers);
        let load = Load::start(inbox.local(0));
        for _ in 0..1000 {
            inbox.next();
        }
        let counters = inbox.stop();
        load.stop();
        let handled = sum(&counters, |of| of.datagrams.value());
        assert_eq!(inbox.rest().len() as u64 + 1000, handled);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn datagrams_dropped_by_the_kernel_are_counted() {
    for workers in [1, 2] {
        let mut config = config(&["127.0.0.1:0"], workers);
        config.receive_buffer = 4096;
        let receivers = Receivers::open(&config).expect("a free port");
        let to = receivers.local_addresses()[0];
        let exporter = Exporter::at("127.0.0.1:0");
        for _ in 0..300 {
            exporter.send(&[0; 1000], to);
        }
        let mut inbox = Inbox::start(receivers);
        let mut sent = 300;
        inbox.next();
        let deadline = Instant::now() + DEADLINE;
        while sum(&inbox.counters, |of| of.kernel_drops.value()) == 0 {
            assert!(Instant::now() < deadline, "no drop was counted");
            // The number of drops comes with a datagram that is queued after them.
            exporter.send(&[1], to);
            sent += 1;
            inbox.next();
        }
        let counters = inbox.stop();
        let received = sum(&counters, |of| of.datagrams.value());
        let dropped = sum(&counters, |of| of.kernel_drops.value());
        assert_eq!(received + dropped, sent, "{received} received");
        assert!(dropped > 200, "{dropped} dropped");
    }
}

#[test]
fn time_stamps_are_those_of_the_arrival() {
    let linux = cfg!(target_os = "linux");
    for (receivers, kernel_stamps) in [
        (open(&["127.0.0.1:0"], 1), linux),
        (open_portable(&["127.0.0.1:0"]), false),
    ] {
        let mut inbox = Inbox::start(receivers);
        let exporter = Exporter::at("127.0.0.1:0");
        // The kernel begins to stamp some time after it is asked; until then reading does.
        let deadline = Instant::now() + DEADLINE;
        let mut stamped = !kernel_stamps;
        while !stamped {
            exporter.send(&[0], inbox.local(0));
            let sent = now();
            stamped = inbox.next().received_at <= sent;
            assert!(Instant::now() < deadline, "the kernel doesn't stamp");
        }
        let before = now();
        for _ in 0..100 {
            exporter.send(&[0], inbox.local(0));
        }
        let sent = now();
        let stamps: Vec<_> = (0..100).map(|_| inbox.next().received_at).collect();
        // On loopback the kernel stamps a datagram while it is being sent.
        let latest = if kernel_stamps { sent } else { now() };
        assert!(stamps.is_sorted(), "{stamps:?}");
        assert!(before <= stamps[0] && stamps[99] <= latest);
        inbox.stop();
    }
}

#[test]
fn deadlines_are_kept_whether_or_not_datagrams_arrive() {
    for under_load in [false, true] {
        for receivers in [open(&["127.0.0.1:0"], 2), open_portable(&["127.0.0.1:0"])] {
            let load = under_load.then(|| Load::start(receivers.local_addresses()[0]));
            let workers = receivers.workers();
            let (sender, passed) = channel();
            let alarm = |worker| Alarm {
                worker,
                at: Instant::now(),
                passed: sender.clone(),
            };
            let running = receivers.start(alarm).unwrap();
            let mut rounds = vec![0; workers];
            while rounds.iter().any(|rounds| *rounds < 3) {
                rounds[passed.recv_timeout(DEADLINE).expect("a deadline passes")] += 1;
            }
            assert_eq!(running.stop_and_join().len(), workers);
            load.into_iter().for_each(Load::stop);
        }
    }
}

#[test]
fn receive_buffer_is_read_back() {
    for (requested, may_be_short) in [(64 << 10, false), (1 << 30, true)] {
        let mut config = config(&["127.0.0.1:0"], 1);
        config.receive_buffer = requested;
        let buffer = Receivers::open(&config)
            .expect("a free port")
            .receive_buffer();
        assert_eq!(buffer.requested, requested);
        assert!(buffer.granted > 0);
        assert!(may_be_short || !buffer.is_short(), "{buffer:?}");
    }
}

#[test]
fn stopper_ends_idle_workers() {
    for receivers in [open(&["127.0.0.1:0"], 2), open_portable(&["127.0.0.1:0"])] {
        let workers = receivers.workers();
        let (sender, ended) = channel();
        let running = receivers.start(|_| TellsBurstEnd(sender.clone())).unwrap();
        let stopper = running.stopper();
        assert_eq!(stopper.stopped_at(), None);
        thread::spawn(move || stopper.stop()).join().unwrap();
        for _ in 0..workers {
            ended.recv_timeout(DEADLINE).expect("a worker ends");
        }
        assert!(running.stopper().stopped_at().is_some());
        assert_eq!(running.stop_and_join().len(), workers);
    }
}

#[test]
fn a_stop_does_not_wait_beyond_its_deadline_for_a_worker_that_is_busy() {
    struct Busy {
        began: Sender<()>,
        release: Arc<Mutex<Receiver<()>>>,
    }
    impl Handler for Busy {
        fn on_datagram(&mut self, _: &Datagram<'_>) {
            self.began.send(()).unwrap();
            // Until the test ends.
            let _ = self.release.lock().unwrap().recv();
        }
        fn on_burst_end(&mut self) {}
        fn next_deadline(&self) -> Option<Instant> {
            None
        }
        fn on_deadline(&mut self, _: Instant) {}
    }
    let receivers = open(&["127.0.0.1:0"], 2);
    let (workers, to) = (receivers.workers(), receivers.local_addresses()[0]);
    let (began, begun) = channel();
    let (_held, release) = channel();
    let release = Arc::new(Mutex::new(release));
    let running = receivers
        .start(|_| Busy {
            began: began.clone(),
            release: Arc::clone(&release),
        })
        .unwrap();
    Exporter::at("127.0.0.1:0").send(&[0], to);
    begun.recv_timeout(DEADLINE).expect("a worker begins");
    let until = Instant::now() + Duration::from_secs(1);
    let stopped = running.stop_by(Some(until));
    assert_eq!(stopped.busy, 1);
    assert_eq!(stopped.handlers.len(), workers - 1);
}

#[test]
fn panic_of_a_handler_is_noticed() {
    let receivers = open(&["127.0.0.1:0"], 1);
    let to = receivers.local_addresses()[0];
    let running = receivers.start(|_| Panics).unwrap();
    assert!(!running.has_failed());
    Exporter::at("127.0.0.1:0").send(&[0], to);
    let deadline = Instant::now() + DEADLINE;
    while !running.has_failed() {
        assert!(Instant::now() < deadline, "the panic wasn't noticed");
        thread::yield_now();
    }
    assert!(running.stop_and_join().is_empty());
}
