//! The last quarter of an hour, a sample a second: counters in, rates out.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use crate::observe::stages::Stages;
use crate::translate::{Protocol, TranslateCounters};

/// Samples kept: 15 minutes.
pub(crate) const MAX_SAMPLES: usize = 900;

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sample {
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    /// Milliseconds since the start.
    pub(crate) uptime: u64,
    pub(crate) datagrams: u64,
    pub(crate) octets: u64,
    pub(crate) flows: u64,
    /// Flow spans that the backend has.
    pub(crate) accepted: u64,
    /// Flow spans that it refused.
    pub(crate) rejected: u64,
    /// Flow spans given up.
    pub(crate) dropped: u64,
    pub(crate) kernel_drops: u64,
    /// Datagrams that could not be read.
    pub(crate) refused: u64,
    pub(crate) queued_octets: u64,
}

impl Sample {
    pub(crate) fn read(stages: &Stages) -> Self {
        let traffic = |counter| -> u64 {
            let protocols = Protocol::ALL.into_iter();
            protocols
                .map(|protocol| stages.traffic(protocol, counter))
                .sum()
        };
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(0);
        let delivered = &stages.delivered;
        Self {
            at: millis(since_1970.unwrap_or_default()),
            uptime: millis(stages.facts.started_instant.elapsed()),
            datagrams: stages.receive(|all| all.datagrams.value())
                + stages.from_kafka(|all| all.datagrams.value()),
            octets: stages.receive(|all| all.octets.value()),
            flows: traffic(|all| all.flows.value()),
            accepted: delivered.accepted.load().flow,
            rejected: delivered.rejected.load().flow,
            dropped: delivered.dropped.load().flow,
            kernel_drops: stages.receive(|all| all.kernel_drops.value()),
            refused: stages.translate(TranslateCounters::datagrams_rejected),
            queued_octets: delivered.queued_octets.load(Relaxed),
        }
    }

    /// Rates a second between an earlier sample and this one.
    pub(crate) fn rates(&self, earlier: &Self) -> Rates {
        let seconds = self.uptime.saturating_sub(earlier.uptime) as f64 / 1000.0;
        let rate = |counter: fn(&Self) -> u64| {
            let many = counter(self).saturating_sub(counter(earlier));
            if seconds > 0.0 {
                many as f64 / seconds
            } else {
                0.0
            }
        };
        Rates {
            at: self.at,
            flows: rate(|sample| sample.flows),
            datagrams: rate(|sample| sample.datagrams),
            octets: rate(|sample| sample.octets),
            accepted: rate(|sample| sample.accepted),
        }
    }
}

/// A second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) flows: f64,
    pub(crate) datagrams: f64,
    pub(crate) octets: f64,
    pub(crate) accepted: f64,
}

/// The samples, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
}

impl History {
    pub(crate) fn push(&mut self, sample: Sample) {
        // One more than the number of rates.
        if self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Rates of the last second.
    pub(crate) fn now(&self) -> Rates {
        let mut latest = self.samples.iter().rev();
        match (latest.next(), latest.next()) {
            (Some(last), Some(before)) => last.rates(before),
            _ => Rates::default(),
        }
    }

    /// How much a counter grew in the last seconds, as far as they are kept.
    pub(crate) fn growth(&self, seconds: u64, counter: fn(&Sample) -> u64) -> u64 {
        let Some(last) = self.samples.back() else {
            return 0;
        };
        let from = last.uptime.saturating_sub(seconds * 1000);
        let mut samples = self.samples.iter();
        let first = samples.find(|sample| sample.uptime >= from);
        first.map_or(0, |first| counter(last).saturating_sub(counter(first)))
    }

    /// Seconds since a counter last grew; `None` if that is longer ago than what is kept.
    pub(crate) fn quiet_for(&self, counter: fn(&Sample) -> u64) -> Option<u64> {
        let last = self.samples.back()?;
        let mut samples = self.samples.iter().rev();
        let before = samples.find(|sample| counter(sample) < counter(last))?;
        Some(last.uptime.saturating_sub(before.uptime) / 1000)
    }

    /// Columns of rates, oldest first, with the time of each.
    pub(crate) fn columns(&self) -> Value {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        let rates: Vec<Rates> = pairs.map(|(before, after)| after.rates(before)).collect();
        let column = |of: fn(&Rates) -> f64| -> Vec<u64> {
            // Never negative, and far below where a float has no whole numbers.
            rates.iter().map(|all| of(all).round() as u64).collect()
        };
        json!({
            "at": rates.iter().map(|all| all.at).collect::<Vec<_>>(),
            "flows": column(|all| all.flows),
            "datagrams": column(|all| all.datagrams),
            "octets": column(|all| all.octets),
            "accepted": column(|all| all.accepted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, flows: u64) -> Sample {
        Sample {
            at: 1_000_000 + second * 1000,
            uptime: second * 1000,
            flows,
            ..Sample::default()
        }
    }

    #[test]
    fn rates_come_from_what_passed_between_samples() {
        let mut history = History::default();
        for (second, flows) in [(0, 0), (1, 100), (3, 400), (4, 400)] {
            history.push(sample(second, flows));
        }
        assert_eq!(history.columns()["flows"], json!([100, 150, 0]));
        assert_eq!(
            history.columns()["at"],
            json!([1_001_000, 1_003_000, 1_004_000])
        );
        assert_eq!((history.now().at, history.now().flows), (1_004_000, 0.0));
        assert_eq!(history.growth(2, |sample| sample.flows), 0);
        assert_eq!(history.growth(3, |sample| sample.flows), 300);
        assert_eq!(history.quiet_for(|sample| sample.flows), Some(3));
        assert_eq!(history.quiet_for(|sample| sample.octets), None);
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept() {
        let mut history = History::default();
        for second in 0..2000 {
            history.push(sample(second, second * 7));
        }
        let columns = history.columns();
        let flows = columns["flows"].as_array().unwrap();
        assert_eq!(flows.len(), MAX_SAMPLES);
        assert!(flows.iter().all(|rate| *rate == 7));
    }
}
