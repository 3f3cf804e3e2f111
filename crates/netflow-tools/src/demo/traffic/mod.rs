//! Traffic without a router: three exporters report the conversations of a simulated network by
//! NetFlow v5, v9 and IPFIX, in datagrams over real UDP sockets.
//!
//! The content follows from a seed; times are the clock's. Each exporter has a loopback address of
//! its own where the system lets it bind one (Linux), else a port of its own.

mod conversations;
mod exporters;
mod tide;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use netflow_wire::write::WriteError;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use self::conversations::{Conversations, UnixMillis};
use self::exporters::Exporter;
use crate::traffic::unix_millis;

/// How often conversations end.
const TICK: Duration = Duration::from_millis(100);
/// How long exporters collect before they send.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// How long they collect the first time: a newcomer is waiting.
const FIRST_EXPORT: Duration = Duration::from_millis(300);
/// Time that is made up for at most when the process was held up.
const MAX_BACKLOG: Duration = Duration::from_secs(1);

/// How much traffic, and which.
#[derive(Clone, Copy, Debug)]
pub struct TrafficOptions {
    /// Flow records a second over all exporters in the mean, at most 100,000.
    pub flows_per_second: u32,
    /// Of the conversations' content.
    pub seed: u64,
}

impl Default for TrafficOptions {
    fn default() -> Self {
        Self {
            flows_per_second: 80,
            seed: 1,
        }
    }
}

/// What was sent since the start.
#[derive(Debug, Default)]
pub struct TrafficCounters {
    /// Datagrams that the system took.
    pub datagrams: AtomicU64,
    /// Octets in them.
    pub octets: AtomicU64,
    /// Flow records passed to the exporters; options records aren't counted.
    pub flows: AtomicU64,
    /// Datagrams that the system refused, for example because nothing listens at the target.
    pub failures: AtomicU64,
}

/// One of the exporters.
#[derive(Clone, Debug)]
pub struct ExporterInfo {
    /// For people: version and place.
    pub name: &'static str,
    /// Where its datagrams come from.
    pub address: SocketAddr,
}

/// Why no traffic can be made.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// No socket could be bound or connected.
    #[error("can't send flow records to {target}: {source}")]
    Socket {
        /// Where they should go.
        target: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// A running traffic source. Dropped, it ends at once.
#[derive(Debug)]
pub struct Traffic {
    /// The exporters.
    pub exporters: Vec<ExporterInfo>,
    /// What was sent.
    pub counters: Arc<TrafficCounters>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Binds a socket for each exporter and begins to send to `target`.
    ///
    /// # Errors
    /// [`TrafficError::Socket`].
    pub async fn start(target: SocketAddr, options: TrafficOptions) -> Result<Self, TrafficError> {
        let network = Network::new(unix_millis(), options.seed);
        let mut sockets = Vec::new();
        let mut exporters = Vec::new();
        for exporter in &network.exporters {
            let error = |source| TrafficError::Socket { target, source };
            let socket = connected(exporter.address(), target).await.map_err(error)?;
            let address = socket.local_addr().map_err(error)?;
            exporters.push(ExporterInfo {
                name: exporter.name(),
                address,
            });
            sockets.push(socket);
        }
        let counters = Arc::new(TrafficCounters::default());
        let (stop, stopped) = watch::channel(false);
        let source = Source {
            network,
            sockets,
            counters: Arc::clone(&counters),
        };
        let task = tokio::spawn(source.run(options.flows_per_second.min(100_000), stopped));
        Ok(Self {
            exporters,
            counters,
            stop,
            task,
        })
    }

    /// Sends what the exporters hold, and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // A task that panicked has ended too.
        let _ended = (&mut self.task).await.is_ok();
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Exporters and what they see. No sockets, no clock.
struct Network {
    conversations: Conversations,
    exporters: Vec<Box<dyn Exporter>>,
}

impl Network {
    fn new(now: UnixMillis, seed: u64) -> Self {
        Self {
            conversations: Conversations::new(seed),
            exporters: exporters::all(now),
        }
    }

    /// Lets conversations end until their records are at least this many; returns how many.
    fn observe(&mut self, now: UnixMillis, records: usize) -> usize {
        let mut observed = 0;
        while observed < records {
            let conversation = self.conversations.next(now);
            let sees = |exporter: &&mut Box<dyn Exporter>| exporter.site() == conversation.site;
            match self.exporters.iter_mut().find(sees) {
                Some(exporter) => observed += exporter.observe(&conversation),
                None => break,
            }
        }
        observed
    }

    /// Each exporter's datagrams, by its number.
    fn export(&mut self, now: UnixMillis) -> Result<Vec<(usize, Vec<u8>)>, WriteError> {
        let mut datagrams = Vec::new();
        for (number, exporter) in self.exporters.iter_mut().enumerate() {
            datagrams.extend(
                exporter
                    .export(now)?
                    .into_iter()
                    .map(|octets| (number, octets)),
            );
        }
        Ok(datagrams)
    }
}

/// A network with its sockets.
struct Source {
    network: Network,
    sockets: Vec<UdpSocket>,
    counters: Arc<TrafficCounters>,
}

impl Source {
    async fn run(mut self, flows_per_second: u32, mut stopped: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let rate = f64::from(flows_per_second);
        let mut last_tick = Instant::now();
        let mut next_export = last_tick + FIRST_EXPORT;
        // Records that should have been observed but weren't; below zero when there were too many.
        let mut owed = 0.0;
        loop {
            let stop = tokio::select! {
                _ = ticks.tick() => false,
                // An error says that the sender is gone, which means the same.
                _ = stopped.wait_for(|stopped| *stopped) => true,
            };
            let now = Instant::now();
            let wall = unix_millis();
            let passed = now.duration_since(last_tick).min(MAX_BACKLOG);
            owed += rate * tide::load(wall) * passed.as_secs_f64();
            last_tick = now;
            let flows = self.network.observe(wall, owed.max(0.0) as usize);
            owed -= flows as f64;
            self.counters
                .flows
                .fetch_add(flows as u64, Ordering::Relaxed);
            if stop || now >= next_export {
                next_export = now + EXPORT_EVERY;
                self.export().await;
            }
            if stop {
                return;
            }
        }
    }

    async fn export(&mut self) {
        let datagrams = match self.network.export(unix_millis()) {
            Ok(datagrams) => datagrams,
            Err(error) => {
                // Templates and records are constants of this program.
                tracing::error!(%error, "demo traffic can't be written");
                return;
            }
        };
        for (exporter, octets) in datagrams {
            let Some(socket) = self.sockets.get(exporter) else {
                continue;
            };
            match socket.send(&octets).await {
                Ok(_) => {
                    self.counters.datagrams.fetch_add(1, Ordering::Relaxed);
                    self.counters
                        .octets
                        .fetch_add(octets.len() as u64, Ordering::Relaxed);
                }
                Err(_) => {
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A socket from the exporter's own loopback address if there can be one, else from any address.
async fn connected(own: Ipv4Addr, target: SocketAddr) -> io::Result<UdpSocket> {
    let any = match target.ip() {
        IpAddr::V4(address) if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let own = if target.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        own.into()
    } else {
        any
    };
    let socket = match UdpSocket::bind((own, 0)).await {
        Ok(socket) => socket,
        Err(_) => UdpSocket::bind((any, 0)).await?,
    };
    socket.connect(target).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = 1_700_000_000_250;

    /// Datagrams of so many seconds, by exporter.
    fn datagrams(seed: u64, seconds: u64) -> Vec<Vec<Vec<u8>>> {
        let mut network = Network::new(NOW, seed);
        let mut all = vec![Vec::new(); 3];
        for second in 0..seconds {
            let now = NOW + 1_000 * second;
            assert!(network.observe(now, 200) >= 200);
            for (exporter, octets) in network.export(now).unwrap() {
                all[exporter].push(octets);
            }
        }
        all
    }

    fn u16_at(octets: &[u8], at: usize) -> u16 {
        u16::from_be_bytes(octets[at..at + 2].try_into().unwrap())
    }

    fn u32_at(octets: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(octets[at..at + 4].try_into().unwrap())
    }

    /// IDs and contents of the Sets after a header.
    fn sets(octets: &[u8], header: usize) -> Vec<(u16, &[u8])> {
        let mut sets = Vec::new();
        let mut at = header;
        while at < octets.len() {
            let length = usize::from(u16_at(octets, at + 2));
            sets.push((u16_at(octets, at), &octets[at + 4..at + length]));
            at += length;
        }
        assert_eq!(at, octets.len(), "the Sets fill the message");
        sets
    }

    #[test]
    fn content_follows_from_the_seed() {
        assert_eq!(datagrams(1, 3), datagrams(1, 3));
        assert_ne!(datagrams(1, 3), datagrams(2, 3));
    }

    #[test]
    fn datagrams_fit_a_frame() {
        let all = datagrams(3, 40);
        assert!(all.iter().flatten().all(|octets| octets.len() <= 1_472));
    }

    #[test]
    fn v5_counts_flows_and_its_times_are_recent() {
        let [v5, ..] = &datagrams(4, 30)[..] else {
            panic!("three exporters")
        };
        let mut sequence = 0;
        for octets in v5 {
            let count = u16_at(octets, 2);
            assert_eq!(
                (u16_at(octets, 0), octets.len()),
                (5, 24 + 48 * usize::from(count))
            );
            assert_eq!(u32_at(octets, 16), sequence);
            sequence += u32::from(count);
            assert_eq!(
                u16_at(octets, 22),
                1 << 14 | 10,
                "sampling mode and interval"
            );
            let uptime = u32_at(octets, 4);
            for record in octets[24..].chunks(48) {
                let (first, last) = (u32_at(record, 24), u32_at(record, 28));
                assert!(first <= last && last < uptime && uptime - last < 10_000);
                assert!(u32_at(record, 16) > 0 && u32_at(record, 20) >= u32_at(record, 16));
            }
        }
        assert!(sequence > 100);
    }

    #[test]
    fn v9_counts_packets_and_sends_its_templates_again() {
        let v9 = &datagrams(5, 40)[1];
        let mut refreshed = Vec::new();
        for (sequence, octets) in v9.iter().enumerate() {
            assert_eq!(u16_at(octets, 0), 9);
            assert_eq!(u32_at(octets, 12) as usize, sequence);
            let boot = u64::from(u32_at(octets, 8)) * 1_000 - u64::from(u32_at(octets, 4));
            assert_eq!(boot, (NOW - 987_654_000) / 1_000 * 1_000 + NOW % 1_000);
            let sets = sets(octets, 20);
            let ids: Vec<u16> = sets.iter().map(|(id, _)| *id).collect();
            if ids.contains(&0) {
                assert_eq!(ids, [0, 1, 1, 261, 262, 260]);
                refreshed.push(u32_at(octets, 8));
            } else {
                assert_eq!(ids, [260]);
            }
            let flows = sets.last().unwrap().1;
            let records = flows.len() / 55;
            let options = if ids.len() > 1 { 7 } else { 0 };
            assert_eq!(usize::from(u16_at(octets, 2)), records + options);
            for record in flows.chunks_exact(55) {
                assert!(
                    u32_at(record, 32) <= u32_at(octets, 4),
                    "ended before the export"
                );
            }
        }
        let start = refreshed[0];
        assert_eq!(refreshed, [start, start + 15, start + 30]);
    }

    #[test]
    fn ipfix_counts_records_and_sends_its_templates_again() {
        let ipfix = &datagrams(6, 40)[2];
        let mut expected = 0;
        let mut refreshed = 0;
        let mut seen = [0; 4];
        for octets in ipfix {
            assert_eq!(
                (u16_at(octets, 0), usize::from(u16_at(octets, 2))),
                (10, octets.len())
            );
            assert_eq!(u32_at(octets, 8), expected);
            for (id, content) in sets(octets, 16) {
                let length = match id {
                    2 => {
                        refreshed += 1;
                        continue;
                    }
                    3 => continue,
                    // Ten applications and three interfaces, of variable length.
                    512 => {
                        expected += 10;
                        continue;
                    }
                    513 => {
                        expected += 3;
                        continue;
                    }
                    256 => 72,
                    257 => 96,
                    258 => 88,
                    259 => 112,
                    other => panic!("set {other}"),
                };
                assert_eq!(content.len() % length, 0, "set {id}");
                let records = content.len() / length;
                seen[usize::from(id - 256)] += records;
                expected += u32::try_from(records).unwrap();
            }
        }
        assert_eq!(refreshed, 4 * 3);
        assert!(seen.iter().all(|records| *records > 0), "{seen:?}");
    }

    #[tokio::test]
    async fn every_exporter_sends_from_its_own_address_until_stopped() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = receiver.local_addr().unwrap();
        let options = TrafficOptions {
            flows_per_second: 500,
            seed: 7,
        };
        let traffic = Traffic::start(target, options).await.unwrap();
        let mut missing: Vec<SocketAddr> = traffic
            .exporters
            .iter()
            .map(|exporter| exporter.address)
            .collect();
        let mut buffer = [0; 2_000];
        let arrival = async {
            while !missing.is_empty() {
                let (_, source) = receiver.recv_from(&mut buffer).await.unwrap();
                missing.retain(|address| *address != source);
            }
        };
        tokio::time::timeout(Duration::from_secs(20), arrival)
            .await
            .unwrap();
        if cfg!(target_os = "linux") {
            let mut addresses: Vec<IpAddr> = traffic
                .exporters
                .iter()
                .map(|exporter| exporter.address.ip())
                .collect();
            addresses.dedup();
            assert_eq!(addresses.len(), 3, "distinct addresses");
        }
        let counters = Arc::clone(&traffic.counters);
        assert!(counters.flows.load(Ordering::Relaxed) > 0);
        tokio::time::timeout(Duration::from_secs(20), traffic.stop())
            .await
            .unwrap();
        assert!(counters.datagrams.load(Ordering::Relaxed) >= 3);
    }
}
