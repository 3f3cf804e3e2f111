//! The view `sflow_counters`: what devices themselves count of their interfaces, as sFlow reports it.

use netflow_wire::sflow::{DirectionCounters, InterfaceCounters};
use otlp_wire::UnixNanos;

use super::series::{Addition, SeriesKey, SeriesTable, Tally};
use super::{Counting, FlowMetrics};

/// The newest counters of an interface. Of the overflow series, and of those that have gone, only the number of reports
/// means something.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DeviceCounters {
    /// Reports counted.
    pub reports: u64,
    /// What came in, as the last report has it.
    pub received: DirectionCounters,
    /// What went out.
    pub transmitted: DirectionCounters,
}

impl Tally for DeviceCounters {
    fn add(&mut self, _: &Addition<'_>) {
        self.reports = self.reports.wrapping_add(1);
    }

    /// An exporter belongs to one worker: of two readings the one with more reports has the newest counters.
    fn plus(self, other: Self) -> Self {
        let newest = if other.reports > self.reports {
            other
        } else {
            self
        };
        Self {
            reports: self.reports.wrapping_add(other.reports),
            ..newest
        }
    }
}

impl FlowMetrics {
    /// Takes in what a device counted of an interface.
    pub(crate) fn report(&mut self, counters: &InterfaceCounters, counting: &Counting) {
        let Some(table) = &mut self.devices else {
            return;
        };
        if counters.index == 0 {
            return;
        }
        let key = SeriesKey::new(counting.exporter, counters.index, 0);
        set(table, key, counters, counting);
    }
}

fn set(
    table: &mut SeriesTable<DeviceCounters>,
    key: SeriesKey,
    counters: &InterfaceCounters,
    counting: &Counting,
) {
    let report = Addition {
        bytes: 0,
        packets: 0,
        flows: 1,
        duration: 0,
        failed: false,
        span: None,
        largest: 0,
        received_at: UnixNanos(0),
    };
    table.count(counting.exporter_hash, key, &report, counting.minute);
    if let Some(series) = table.totals_mut(counting.exporter_hash, &key) {
        series.received = counters.received;
        series.transmitted = counters.transmitted;
    }
}
