//! The traffic that flows carried, second by second: the octets of each record spread over the flow's duration.
//!
//! Exporters report a flow when it ends or when a timeout expires, so counting its octets at their arrival would show
//! bursts that the network never saw. Spread, the last seconds are incomplete until the flows in them are reported.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::record::Record;

/// Seconds shown.
pub(super) const SECONDS: usize = 300;
const NANOS: u64 = 1_000_000_000;
/// More octets than a record can mean.
const MAX_OCTETS: f64 = 1e15;

/// Octets of the last five minutes by second, since a page was opened.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    octets: VecDeque<f64>,
    /// The second after the last one, since 1970.
    end: u64,
}

impl Traffic {
    /// Begins the seconds up to now. To be called before records are added.
    pub(crate) fn turn(&mut self, now: u64) {
        let end = now / NANOS + 1;
        let new = end.saturating_sub(self.end).min(SECONDS as u64);
        // A clock that was set back: what is shown begins again.
        if self.end > end + 1 {
            self.octets.clear();
        }
        self.octets.extend((0..new).map(|_| 0.0));
        let surplus = self.octets.len().saturating_sub(SECONDS);
        self.octets.drain(..surplus);
        self.octets.resize(SECONDS, 0.0);
        self.end = end;
    }

    /// Adds a record that stands for `weight` of its kind.
    pub(crate) fn add(&mut self, record: &Record, weight: f64) {
        let [there, back] = record.estimated();
        let octets = (there.saturating_add(back) as f64 * weight).min(MAX_OCTETS);
        let first = self.end.saturating_sub(SECONDS as u64);
        let (start, end) = record.times();
        // A clock that is ahead of ours: the flow ended when it came.
        let ahead = end.saturating_sub(self.end.saturating_mul(NANOS));
        let (start, end) = (start.saturating_sub(ahead), end - ahead);
        let duration = end.saturating_sub(start);
        if duration == 0 {
            let second = (end / NANOS).min(self.end.saturating_sub(1));
            self.add_to(second, first, octets);
            return;
        }
        for second in (start / NANOS).max(first)..self.end.min(end.div_ceil(NANOS)) {
            let from = start.max(second * NANOS);
            let to = end.min((second + 1) * NANOS);
            let share = to.saturating_sub(from) as f64 / duration as f64;
            self.add_to(second, first, octets * share);
        }
    }

    fn add_to(&mut self, second: u64, first: u64, octets: f64) {
        let place = second.checked_sub(first).map(|place| place as usize);
        if let Some(sum) = place.and_then(|place| self.octets.get_mut(place)) {
            *sum += octets;
        }
    }

    /// For the page: octets of each second, oldest first, and the milliseconds since 1970 at which the last one ended.
    pub(crate) fn shown(&self) -> Value {
        let octets: Vec<u64> = self.octets.iter().map(|octets| *octets as u64).collect();
        json!({ "end": self.end * 1000, "octets": octets })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn seconds(traffic: &Traffic) -> Vec<u64> {
        let shown = traffic.shown();
        let octets = shown["octets"].as_array().unwrap();
        octets[SECONDS - 10..]
            .iter()
            .map(|octets| octets.as_u64().unwrap())
            .collect()
    }

    #[test]
    fn a_flow_is_spread_over_its_duration() {
        let mut traffic = Traffic::default();
        traffic.turn(1000 * NANOS);
        let flow = |start, end| record("10.0.0.1:50000", "192.0.2.7:443", 6, 1000).at(start, end);
        // Four and a half seconds: 996.5 to 1001.
        traffic.add(&flow(996 * NANOS + NANOS / 2, 1001 * NANOS), 1.0);
        assert_eq!(seconds(&traffic), [0, 0, 0, 0, 0, 111, 222, 222, 222, 222]);
        // A packet, and a flow of which only the last part is shown.
        traffic.add(&flow(999 * NANOS, 999 * NANOS), 1.0);
        traffic.add(&flow(0, 1000 * NANOS), 1.0);
        assert_eq!(seconds(&traffic)[8], 222 + 1000 + 1);
        // Time passes.
        traffic.turn(1002 * NANOS);
        assert_eq!(seconds(&traffic)[6], 222 + 1000 + 1);
        assert_eq!(seconds(&traffic)[8..], [0, 0]);
        // A sample of every second record, and a clock that is an hour ahead.
        traffic.add(&flow(4600 * NANOS, 4601 * NANOS), 2.0);
        assert_eq!(seconds(&traffic)[9], 2000);
    }

    #[test]
    fn a_pause_leaves_nothing_behind() {
        let mut traffic = Traffic::default();
        traffic.turn(1000 * NANOS);
        traffic.add(&record("10.0.0.1:1", "192.0.2.7:443", 6, 9).at(0, 0), 1.0);
        traffic.turn(5000 * NANOS);
        assert!(seconds(&traffic).iter().all(|octets| *octets == 0));
        traffic.turn(100 * NANOS);
        assert_eq!(traffic.shown()["octets"].as_array().unwrap().len(), SECONDS);
    }
}
