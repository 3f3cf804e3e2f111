//! How much real traffic was reported, and of whom: hosts, ports, autonomous systems, interfaces and exporters, of the
//! records that a filter lets through.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::conversations::Conversations;
use super::kept::Look;
use super::record::{Filter, Record};
use crate::translate::transport;

/// Older records are not of now.
const WINDOW: Duration = Duration::from_secs(60);
/// Keys of one list. What comes when it is full is in the sums of the whole alone.
const MAX_KEYS: usize = 20_000;

/// Octets in two directions.
#[derive(Clone, Copy, Debug, Default)]
struct Sum([u64; 2]);

impl Sum {
    fn all(self) -> u64 {
        self.0.into_iter().fold(0, u64::saturating_add)
    }
}

/// Sums by key.
#[derive(Debug)]
struct Sums<K>(HashMap<K, Sum>);

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash + Ord> Sums<K> {
    /// Adds octets in the first or in the second direction.
    fn add(&mut self, key: K, direction: usize, octets: u64) {
        let is_full = self.0.len() >= MAX_KEYS;
        let sum = match self.0.get_mut(&key) {
            Some(sum) => sum,
            None if is_full || octets == 0 => return,
            None => self.0.entry(key).or_default(),
        };
        if let Some(side) = sum.0.get_mut(direction) {
            *side = side.saturating_add(octets);
        }
    }

    fn heaviest(&self, rows: usize) -> Vec<(&K, Sum)> {
        let mut all: Vec<_> = self.0.iter().map(|(key, sum)| (key, *sum)).collect();
        all.sort_unstable_by_key(|(key, sum)| (Reverse(sum.all()), *key));
        all.truncate(rows);
        all
    }
}

/// An interface of an exporter.
type InterfaceKey = (Arc<str>, u32);

/// What the records of the last minute add up to.
#[derive(Debug, Default)]
pub(super) struct Tops {
    seconds: f64,
    octets: u64,
    records: u64,
    /// Sent, received.
    hosts: Sums<IpAddr>,
    /// To the port, from it; with the protocol.
    ports: Sums<(u16, Option<u8>)>,
    /// Sent, received.
    systems: Sums<u32>,
    /// Received, sent.
    interfaces: Sums<InterfaceKey>,
    exporters: Sums<Arc<str>>,
    interface_names: HashMap<InterfaceKey, Box<str>>,
    organizations: HashMap<u32, Box<str>>,
    conversations: Conversations,
    now: Option<Instant>,
}

impl Tops {
    /// Of the looks of the last minute, as far as they are kept.
    pub(super) fn of(looks: &[Look], filter: &Filter, now: Instant) -> Self {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        let recent: Vec<&Look> = looks.iter().filter(|(at, _)| is_recent(*at)).collect();
        let mut tops = Self {
            now: Some(now),
            ..Self::default()
        };
        let Some((first, _)) = recent.first() else {
            return tops;
        };
        // The first look has what came in the second before it.
        let length = now.saturating_duration_since(*first) + Duration::from_secs(1);
        tops.seconds = length.min(WINDOW).as_secs_f64();
        tops.conversations.turn(*first);
        for record in recent.iter().flat_map(|(_, records)| records.iter()) {
            if filter.matches(record) {
                tops.add(record);
            }
        }
        tops
    }

    fn add(&mut self, record: &Record) {
        let [there, back] = record.weighed();
        self.records += 1;
        self.octets = self.octets.saturating_add(there).saturating_add(back);
        let ends = [record.source, record.destination];
        for (side, end) in ends.iter().enumerate() {
            if let Some(address) = end.address {
                self.hosts.add(address, side, there);
                self.hosts.add(address, 1 - side, back);
            }
        }
        let ports = ends.map(|end| end.port.filter(|port| *port != 0));
        if let [Some(source), Some(destination)] = ports {
            // The server's port is the lower one, as for conversations.
            let is_to_server = destination <= source;
            let port = (source.min(destination), record.transport);
            self.ports.add(port, usize::from(!is_to_server), there);
            self.ports.add(port, usize::from(is_to_server), back);
        }
        for (side, system) in record.systems.into_iter().enumerate() {
            if system != 0 {
                self.systems.add(system, side, there);
                self.systems.add(system, 1 - side, back);
                if let Some(Some(name)) = record.organizations.get(side) {
                    let known = self.organizations.entry(system);
                    known.or_insert_with(|| name.clone());
                }
            }
        }
        for (side, interface) in record.interfaces.into_iter().enumerate() {
            if let Some(interface) = interface.filter(|interface| *interface != 0) {
                let key = (Arc::clone(&record.exporter), interface);
                if let Some(Some(name)) = record.interface_names.get(side) {
                    let known = self.interface_names.entry(key.clone());
                    known.or_insert_with(|| name.clone());
                }
                self.interfaces.add(key.clone(), side, there);
                self.interfaces.add(key, 1 - side, back);
            }
        }
        let exporter = &record.exporter;
        self.exporters.add(Arc::clone(exporter), 0, there);
        self.exporters.add(Arc::clone(exporter), 1, back);
        self.conversations.add(record, record.weight);
    }

    /// The heaviest conversations.
    pub(super) fn conversations(&self, rows: usize) -> Value {
        let now = self.now.unwrap_or_else(Instant::now);
        self.conversations.heaviest(rows, now)
    }

    /// Octets a second in the flows of each exporter with records in the last minute.
    pub(super) fn by_exporter(&self) -> HashMap<Arc<str>, f64> {
        let sums = self.exporters.0.iter();
        sums.map(|(exporter, sum)| (Arc::clone(exporter), self.rate(sum.all())))
            .collect()
    }

    /// A second.
    fn rate(&self, octets: u64) -> f64 {
        match self.seconds > 0.0 {
            true => octets as f64 / self.seconds,
            false => 0.0,
        }
    }

    /// For the page.
    pub(super) fn shown(&self, rows: usize) -> Value {
        let hosts = self.hosts.heaviest(rows).into_iter().map(|(address, sum)| {
            let Sum([sent, received]) = sum;
            json!({ "address": address, "sent": sent, "received": received })
        });
        let ports = self.ports.heaviest(rows).into_iter();
        let ports = ports.map(|((port, protocol), Sum([to, from]))| {
            json!({ "port": port, "transport": protocol.map(transport), "to": to, "from": from })
        });
        let systems = self.systems.heaviest(rows).into_iter();
        let systems = systems.map(|(system, Sum([sent, received]))| {
            let organization = self.organizations.get(system);
            json!({ "as": system, "organization": organization, "sent": sent, "received": received })
        });
        let interfaces = self.interfaces.heaviest(rows).into_iter();
        let interfaces = interfaces.map(|(key, Sum([received, sent]))| {
            let (exporter, interface) = key;
            let name = self.interface_names.get(key);
            json!({ "exporter": **exporter, "interface": interface, "name": name, "received": received, "sent": sent })
        });
        let exporters = self.exporters.heaviest(rows).into_iter();
        let exporters =
            exporters.map(|(exporter, sum)| json!({ "exporter": **exporter, "octets": sum.all() }));
        json!({
            "seconds": self.seconds.round(),
            "records": self.records,
            "octets": self.octets,
            "bits": (self.rate(self.octets) * 8.0).round(),
            "hosts": hosts.collect::<Vec<_>>(),
            "ports": ports.collect::<Vec<_>>(),
            "systems": systems.collect::<Vec<_>>(),
            "interfaces": interfaces.collect::<Vec<_>>(),
            "exporters": exporters.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::FilterText;
    use super::super::record::tests::record;
    use super::*;

    fn tops(filter: &Filter) -> Value {
        let now = Instant::now();
        let mut asked = record("10.0.0.1:50000", "192.0.2.7:443", 6, 100);
        asked.weight = 3.0;
        asked.systems = [0, 64_500];
        let answered = record("192.0.2.7:443", "10.0.0.1:50000", 6, 900);
        let other = record("10.0.0.9:40000", "192.0.2.9:53", 17, 50);
        let looks = [
            (now - Duration::from_secs(100), vec![other.clone()].into()),
            (now - Duration::from_secs(9), vec![asked, other].into()),
            (now, vec![answered].into()),
        ];
        Tops::of(&looks, filter, now).shown(1)
    }

    #[test]
    fn the_last_minute_adds_up_by_host_port_system_and_interface() {
        let shown = tops(&Filter::default());
        assert_eq!(
            (&shown["seconds"], &shown["octets"]),
            (&json!(10.0), &json!(1_250))
        );
        assert_eq!(shown["bits"], 1_000.0);
        let host = json!({ "address": "10.0.0.1", "sent": 300, "received": 900 });
        assert_eq!(shown["hosts"], json!([host]));
        let port = json!({ "port": 443, "transport": "tcp", "to": 300, "from": 900 });
        assert_eq!(shown["ports"], json!([port]));
        let system = json!({ "as": 64_500, "organization": null, "sent": 0, "received": 300 });
        assert_eq!(shown["systems"], json!([system]));
        assert_eq!(shown["interfaces"][0]["received"], 1_250);
        assert_eq!(shown["exporters"][0]["octets"], 1_250);
    }

    #[test]
    fn an_exporter_has_its_own_rate() {
        let now = Instant::now();
        let records = vec![record("10.0.0.1:1", "192.0.2.7:443", 6, 1_250)];
        let looks = [(now - Duration::from_secs(9), records.into())];
        let exporters = Tops::of(&looks, &Filter::default(), now).by_exporter();
        assert_eq!(exporters.into_values().collect::<Vec<_>>(), [125.0]);
    }

    #[test]
    fn a_filter_narrows_every_list() {
        let text = FilterText {
            port: "53".to_owned(),
            ..FilterText::default()
        };
        let shown = tops(&Filter::read(&text).unwrap());
        assert_eq!(
            (&shown["octets"], &shown["records"]),
            (&json!(50), &json!(1))
        );
        assert_eq!(shown["hosts"][0]["address"], "10.0.0.9");
    }
}
