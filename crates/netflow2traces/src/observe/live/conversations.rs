//! Conversations: records in, the largest conversations of the last minutes out, in bounded memory.
//!
//! A sum for each conversation, in panes of a minute. A pane that is full keeps its heavier half: what is forgotten
//! is lighter than each that stays, so that the heavy ones of the answer are right.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::record::Record;
use crate::translate::transport;

/// Time of a pane.
const PANE: Duration = Duration::from_secs(60);
/// Panes that an answer covers.
const MAX_PANES: usize = 5;
/// Conversations in a pane.
const MAX_IN_PANE: usize = 4096;

/// More octets than a record can mean.
const MAX_OCTETS: f64 = 1e15;

/// The protocols that have ports.
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// Both directions share one; the client stands first.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    client: IpAddr,
    server: IpAddr,
    /// The server's.
    port: Option<u16>,
    transport: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    from_client: u64,
    from_server: u64,
    records: u64,
    /// From counts of a sample of the packets.
    is_estimate: bool,
}

impl Sum {
    fn octets(&self) -> u64 {
        self.from_client.saturating_add(self.from_server)
    }

    fn add(&mut self, other: &Self) {
        self.from_client = self.from_client.saturating_add(other.from_client);
        self.from_server = self.from_server.saturating_add(other.from_server);
        self.records += other.records;
        self.is_estimate |= other.is_estimate;
    }
}

#[derive(Debug)]
struct Pane {
    since: Instant,
    sums: HashMap<Key, Sum>,
    /// Of all, also of those forgotten.
    octets: u64,
}

/// The conversations of the last five minutes, or since a page was opened.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    panes: VecDeque<Pane>,
}

impl Conversations {
    /// Begins a new pane if it is time for one. To be called before records are added.
    pub(crate) fn turn(&mut self, now: Instant) {
        let latest = self.panes.back().map(|pane| pane.since);
        if latest.is_none_or(|since| now.saturating_duration_since(since) >= PANE) {
            self.panes.push_back(Pane {
                since: now,
                sums: HashMap::new(),
                octets: 0,
            });
        }
        while self.panes.len() > MAX_PANES {
            self.panes.pop_front();
        }
    }

    /// Adds a record that stands for `weight` of its kind.
    pub(crate) fn add(&mut self, record: &Record, weight: f64) {
        let Some(pane) = self.panes.back_mut() else {
            return;
        };
        let Some((key, from_client)) = key_of(record) else {
            return;
        };
        let octets = |octets: u64| (octets as f64 * weight).min(MAX_OCTETS) as u64;
        let [there, back] = record.estimated().map(octets);
        let (up, down) = if from_client {
            (there, back)
        } else {
            (back, there)
        };
        let added = Sum {
            from_client: up,
            from_server: down,
            records: 1,
            is_estimate: weight > 1.0 || record.is_estimate(),
        };
        pane.octets = pane.octets.saturating_add(added.octets());
        if pane.sums.len() >= MAX_IN_PANE && !pane.sums.contains_key(&key) {
            forget_half(&mut pane.sums);
        }
        pane.sums.entry(key).or_default().add(&added);
    }

    /// The heaviest, how much all together were, and for how long it was looked.
    pub(crate) fn heaviest(&self, limit: usize, now: Instant) -> Value {
        let mut all: HashMap<Key, Sum> = HashMap::new();
        for (key, sum) in self.panes.iter().flat_map(|pane| &pane.sums) {
            all.entry(*key).or_default().add(sum);
        }
        let mut rows: Vec<(Key, Sum)> = all.into_iter().collect();
        let conversations = rows.len();
        if rows.len() > limit {
            rows.select_nth_unstable_by_key(limit, |(_, sum)| std::cmp::Reverse(sum.octets()));
            rows.truncate(limit);
        }
        rows.sort_by_key(|(key, sum)| (std::cmp::Reverse(sum.octets()), key.client, key.server));
        let since = self.panes.front().map_or(now, |pane| pane.since);
        json!({
            "seconds": now.saturating_duration_since(since).as_secs(),
            "conversations": conversations,
            "octets": self.panes.iter().fold(0_u64, |sum, pane| sum.saturating_add(pane.octets)),
            "heaviest": rows.iter().map(|(key, sum)| shown(key, sum)).collect::<Vec<_>>(),
        })
    }
}

fn shown(key: &Key, sum: &Sum) -> Value {
    json!({
        "client": key.client,
        "server": key.server,
        "port": key.port,
        "transport": key.transport.map(transport),
        "from_client": sum.from_client,
        "from_server": sum.from_server,
        "records": sum.records,
        "is_estimate": sum.is_estimate,
    })
}

fn forget_half(sums: &mut HashMap<Key, Sum>) {
    let mut octets: Vec<u64> = sums.values().map(Sum::octets).collect();
    let (_, &mut median, _) = octets.select_nth_unstable(MAX_IN_PANE / 2);
    let mut as_heavy = MAX_IN_PANE / 4;
    sums.retain(|_, sum| {
        sum.octets() > median || {
            // Many may be equally light, such as those of a scan.
            let stays = sum.octets() == median && as_heavy > 0;
            as_heavy -= usize::from(stays);
            stays
        }
    });
}

/// The conversation of a record, and whether the client sent it. The server is the end with the lower port, as servers
/// nearly always do; without ports the lower address stands first.
fn key_of(record: &Record) -> Option<(Key, bool)> {
    let (source, destination) = (record.source, record.destination);
    let (from, to) = (source.address?, destination.address?);
    // Exporters send zeros, or ICMP's type and code, where a protocol has none.
    let has_ports = matches!(
        record.transport,
        None | Some(TCP | UDP | DCCP | SCTP | UDP_LITE)
    );
    let ports = source.port.zip(destination.port).filter(|_| has_ports);
    let (from_client, port) = match ports {
        Some((source, destination)) if source != destination => {
            (destination < source, Some(source.min(destination)))
        }
        Some((port, _)) => (from <= to, Some(port)),
        None => (from <= to, None),
    };
    let (client, server) = if from_client { (from, to) } else { (to, from) };
    let key = Key {
        client,
        server,
        port,
        transport: record.transport,
    };
    Some((key, from_client))
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn both_directions_are_one_conversation() {
        let now = Instant::now();
        let mut conversations = Conversations::default();
        conversations.turn(now);
        conversations.add(&record("10.0.0.1:50000", "192.0.2.7:443", 6, 100), 1.0);
        conversations.add(&record("192.0.2.7:443", "10.0.0.1:50000", 6, 900), 1.0);
        conversations.add(&record("10.0.0.1:50001", "192.0.2.7:443", 6, 10), 4.0);
        conversations.add(&record("10.0.0.1:50000", "192.0.2.9:53", 17, 60), 1.0);
        let answer = conversations.heaviest(1, now + Duration::from_secs(7));
        assert_eq!(
            (&answer["seconds"], &answer["conversations"]),
            (&json!(7), &json!(2))
        );
        assert_eq!(answer["octets"], 1100);
        let first = json!({
            "client": "10.0.0.1", "server": "192.0.2.7", "port": 443, "transport": "tcp",
            "from_client": 140, "from_server": 900, "records": 3, "is_estimate": true,
        });
        assert_eq!(answer["heaviest"], json!([first]));
    }

    #[test]
    fn heavy_ones_survive_a_scan() {
        let now = Instant::now();
        let mut conversations = Conversations::default();
        conversations.turn(now);
        for round in 0..20_000_u32 {
            let [_, _, high, low] = round.to_be_bytes();
            let scanned = format!("10.9.{high}.{low}:23");
            conversations.add(&record("198.51.100.1:40000", &scanned, 6, 40), 1.0);
            conversations.add(&record("10.0.0.1:50000", "192.0.2.7:443", 6, 50), 1.0);
        }
        assert!(conversations.panes[0].sums.len() <= MAX_IN_PANE);
        let answer = conversations.heaviest(2, now);
        assert_eq!(answer["heaviest"][0]["from_client"], 1_000_000);
        assert_eq!(answer["octets"], 1_800_000);
    }

    #[test]
    fn panes_are_forgotten_after_five_minutes() {
        let start = Instant::now();
        let mut conversations = Conversations::default();
        for minute in 0..10 {
            let now = start + PANE * minute;
            conversations.turn(now);
            conversations.turn(now + PANE / 2);
            conversations.add(&record("10.0.0.1:50000", "192.0.2.7:443", 6, 100), 1.0);
        }
        let answer = conversations.heaviest(5, start + PANE * 9);
        assert_eq!(
            (&answer["octets"], &answer["seconds"]),
            (&json!(500), &json!(240))
        );
    }
}
