//! What receiving costs: CPU time of the worker's thread per datagram, at a steady rate and as fast
//! as one sender can, on loopback. Prints a line for each; run it several times and take medians.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends at the first mistake"
)]

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::hint::{black_box, spin_loop};
    use std::net::UdpSocket;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use netflow2traces::config;
    use netflow2traces::receive::{Handler, Opening, WorkerCounters};
    use netflow2traces::translate::Datagram;

    /// A NetFlow v5 datagram of 30 records.
    const PAYLOAD: [u8; 1464] = [5; 1464];
    const RUN: Duration = Duration::from_secs(4);

    pub(super) fn main() {
        println!(
            "{:>10} {:>9} {:>9} {:>7} {:>8} {:>8}",
            "rate/s", "received", "µs CPU", "lost", "p50 µs", "p99 µs"
        );
        for rate in [
            Some(10),
            Some(1_000),
            Some(5_000),
            Some(33_333),
            Some(100_000),
            None,
        ] {
            measure(rate, Receiver::Linux);
        }
        println!("without naps, for which the buffer is too small:");
        measure(Some(33_333), Receiver::SmallBuffer);
        println!("portable receiver:");
        measure(Some(33_333), Receiver::Portable);
    }

    #[derive(Clone, Copy, Eq, PartialEq)]
    enum Receiver {
        Linux,
        SmallBuffer,
        Portable,
    }

    /// Sends for a while at `rate`, evenly spaced, or at once where there is none.
    fn measure(rate: Option<u32>, receiver: Receiver) {
        let config = config::Receive {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            workers: 1,
            receive_buffer: if receiver == Receiver::SmallBuffer {
                256 << 10
            } else {
                64 << 20
            },
        };
        let opening = Opening::new(&config);
        let opening = match receiver {
            Receiver::Portable => opening.portable(),
            Receiver::Linux | Receiver::SmallBuffer => opening,
        };
        let receivers = opening.open().unwrap();
        let exporter = UdpSocket::bind("127.0.0.1:0").unwrap();
        exporter.connect(receivers.local_addresses()[0]).unwrap();
        let counters = receivers.counters();
        let running = receivers.start(|_| Latency::default()).unwrap();

        let cpu_before = receive_cpu();
        let start = Instant::now();
        let mut sent = 0_u32;
        while start.elapsed() < RUN {
            if let Some(rate) = rate {
                let due = start + Duration::from_secs(1) * sent / rate;
                while Instant::now() < due {
                    spin_loop();
                }
            }
            exporter.send(&PAYLOAD).unwrap();
            sent += 1;
        }
        while handled(&counters) < u64::from(sent) && start.elapsed() < 2 * RUN {
            std::thread::yield_now();
        }
        let cpu = receive_cpu() - cpu_before;
        let received = handled(&counters).max(1);
        let mut latencies = running.stop_and_join().remove(0).nanos;
        latencies.sort_unstable();
        let micros = |share: usize| latencies[latencies.len() * share / 100] / 1000;
        println!(
            "{:>10} {received:>9} {:>9.2} {:>7} {:>8} {:>8}",
            rate.map_or("most".to_owned(), |rate| rate.to_string()),
            cpu.as_secs_f64() * 1e6 / received as f64,
            u64::from(sent) - received,
            micros(50),
            micros(99),
        );
    }

    fn handled(counters: &[WorkerCounters]) -> u64 {
        counters.iter().map(|of| of.datagrams.value()).sum()
    }

    /// Samples how long datagrams wait for the worker.
    #[derive(Default)]
    struct Latency {
        seen: u32,
        nanos: Vec<u64>,
    }

    impl Handler for Latency {
        fn on_datagram(&mut self, datagram: &Datagram<'_>) {
            black_box(datagram.octets[0]);
            self.seen += 1;
            // More often than once in a burst, less than costs.
            if self.nanos.len() < 50 || self.seen.is_multiple_of(61) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                let now = now.as_nanos() as u64;
                self.nanos.push(now.saturating_sub(datagram.received_at.0));
            }
        }

        fn on_burst_end(&mut self) {}

        fn next_deadline(&self) -> Option<Instant> {
            None
        }

        fn on_deadline(&mut self, _: Instant) {}
    }

    /// CPU time, user and system, of the only worker's thread so far.
    fn receive_cpu() -> Duration {
        let mut nanos = 0;
        for task in fs::read_dir("/proc/self/task").unwrap() {
            let task = task.unwrap().path();
            // The bench's own thread bears the name of its file, which begins alike.
            if fs::read_to_string(task.join("comm")).unwrap() == "receive-0\n" {
                let schedstat = fs::read_to_string(task.join("schedstat")).unwrap();
                nanos += schedstat.split(' ').next().unwrap().parse::<u64>().unwrap();
            }
        }
        Duration::from_nanos(nanos)
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
