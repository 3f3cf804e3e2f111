//! Flow metrics: every flow record counted into series of bounded number, each with an exemplar that names the span
//! of its largest kept record.
//!
//! Each worker counts into tables of its own; they are merged when they are read. There is no lock and no clock here:
//! minutes come from the instants that the worker passes on.

mod candidates;
mod exporter;
mod read;
mod series;
mod view;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use otlp_wire::{SpanId, TraceId, UnixNanos};

pub(crate) use self::exporter::ExporterFlows;
pub use self::read::{ExporterInfo, FlowReading, InterfaceInfo};
use self::series::{Addition, Room, SeriesTable, address_key};
pub use self::series::{Exemplar, SeriesKey, SeriesReading, Totals, ViewReading};
pub use self::view::{View, Views};

/// Seconds of a minute.
const MINUTE: u64 = 60;

/// The direction in which a flow was metered (element 61).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// What a flow record says, as far as series are made of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlowFacts {
    /// ifIndex; 0: none.
    pub(crate) input: u32,
    /// ifIndex; 0: none.
    pub(crate) output: u32,
    pub(crate) direction: Option<Direction>,
    /// The count times the sampling interval.
    pub(crate) bytes: u64,
    /// The count times the sampling interval.
    pub(crate) packets: u64,
    /// Nanoseconds; 0 where its times are not believed.
    pub(crate) duration: u64,
}

/// What all records of one datagram share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting {
    exporter: [u64; 2],
    trace_id: TraceId,
    received_at: UnixNanos,
    minute: u32,
}

/// Direction label of a series of the view `interface`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Receive = 0,
    Transmit = 1,
}

/// The places of all views, shared by all workers.
#[derive(Clone, Debug)]
pub struct Places {
    views: Views,
    rooms: [Arc<Room>; View::ALL.len()],
}

impl Places {
    /// For these views, each of at most `max_series` series.
    #[must_use]
    pub fn new(views: Views, max_series: u32) -> Self {
        Self {
            views,
            rooms: View::ALL.map(|_| Arc::new(Room::new(max_series))),
        }
    }
}

/// The flow metrics of one worker.
#[derive(Debug)]
pub(crate) struct FlowMetrics {
    /// The first instant.
    began: Option<Instant>,
    /// When series were last looked through.
    swept: u32,
    interface: Option<SeriesTable>,
    exporter: Option<SeriesTable>,
}

impl FlowMetrics {
    pub(crate) fn new(places: &Places) -> Self {
        let table = |view: View| {
            let room = places.rooms.get(view as usize)?;
            let is_chosen = places.views.contains(view);
            is_chosen.then(|| SeriesTable::new(Arc::clone(room)))
        };
        Self {
            began: None,
            swept: 0,
            interface: table(View::Interface),
            exporter: table(View::Exporter),
        }
    }

    /// Minutes since the first instant.
    fn minute(&self, now: Instant) -> u32 {
        let passed = self
            .began
            .map_or(0, |began| now.saturating_duration_since(began).as_secs());
        u32::try_from(passed / MINUTE).unwrap_or(u32::MAX)
    }

    /// Begins to count records of one datagram, whose spans are of one trace.
    pub(crate) fn datagram(
        &mut self,
        exporter: IpAddr,
        trace_id: TraceId,
        received_at: UnixNanos,
        now: Instant,
    ) -> Counting {
        self.began.get_or_insert(now);
        Counting {
            exporter: address_key(exporter),
            trace_id,
            received_at,
            minute: self.minute(now),
        }
    }

    /// Counts a record; `span` is its span, if it is kept.
    #[inline]
    pub(crate) fn count(
        &mut self,
        flow: &FlowFacts,
        span: Option<SpanId>,
        counting: &Counting,
        exporter: &mut ExporterFlows,
    ) {
        let minute = counting.minute;
        exporter.observe(flow, minute);
        let addition = Addition {
            bytes: flow.bytes,
            packets: flow.packets,
            flows: 1,
            span: span.map(|span| (counting.trace_id, span)),
            received_at: counting.received_at,
        };
        if let Some(table) = &mut self.interface {
            let mut side = |interface, side: Side| {
                if interface != 0 {
                    let key = SeriesKey::new(counting.exporter, interface, side as u32);
                    table.count(key, &addition, minute);
                }
            };
            let one_side = flow.direction.filter(|_| exporter.sends_both_directions());
            if one_side != Some(Direction::Egress) {
                side(flow.input, Side::Receive);
            }
            if one_side != Some(Direction::Ingress) {
                side(flow.output, Side::Transmit);
            }
        }
        if let Some(table) = &mut self.exporter {
            let key = SeriesKey::new(counting.exporter, 0, 0);
            table.count(key, &addition, minute);
        }
    }

    fn tables(&self) -> [(View, Option<&SeriesTable>); View::ALL.len()] {
        [
            (View::Interface, self.interface.as_ref()),
            (View::Exporter, self.exporter.as_ref()),
        ]
    }

    /// Forgets what is too old, at most once a minute.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        let minute = self.minute(now);
        if minute == self.swept {
            return;
        }
        self.swept = minute;
        let views = [&mut self.interface, &mut self.exporter];
        for table in views.into_iter().flatten() {
            table.sweep(minute);
        }
    }
}

#[cfg(test)]
mod tests;
