//! Flow metrics: every flow record counted into series of bounded number, each with an exemplar that names the span
//! of its largest kept record.
//!
//! Each worker counts into tables of its own; they are merged when they are read. There is no lock and no clock here:
//! minutes come from the instants that the worker passes on.

mod applications;
mod candidates;
mod devices;
mod exporter;
mod facts;
mod graph;
mod pairs;
mod read;
mod series;
mod top;
mod view;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;
use otlp_wire::{SpanId, TraceId, UnixNanos};

use crate::enrich::networks::Enriched;
use crate::flow::roles::{End, Listeners};

use self::applications::Applications;
pub use self::devices::DeviceCounters;
pub(crate) use self::exporter::ExporterFlows;
pub(crate) use self::facts::{Direction, Endpoints, FlowCounts, FlowFacts, Reverse, Wants};
pub use self::graph::{GRAPH_BOUNDS, GraphTotals};
pub(crate) use self::graph::{has_failed, requested};
use self::pairs::{Pair, Pairs, Waited};
pub use self::read::{ExporterInfo, FlowReading, InterfaceInfo};
pub(crate) use self::series::address_key;
pub use self::series::{Addition, Exemplar, SeriesKey, SeriesReading, Tally, Totals, ViewReading};
use self::series::{Room, SeriesTable, exporter_hash};
use self::top::Top;
pub use self::top::{TopKind, TopReading, TopRow};
pub use self::view::{View, Views};

/// Seconds of a minute.
const MINUTE: u64 = 60;

/// What all records of one datagram share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting {
    exporter: [u64; 2],
    /// Of all tables.
    exporter_hash: u64,
    received_at: UnixNanos,
    minute: u32,
    /// Of the longest flow.
    look: u32,
    /// Of the view `top`.
    top: top::By,
}

impl Counting {
    /// The exporter with its hash.
    const fn of(&self) -> ([u64; 2], u64) {
        (self.exporter, self.exporter_hash)
    }
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
    top: usize,
    /// Of names of applications.
    names: RandomState,
}

/// Rows of each kind of the view `top`, where nothing else was chosen.
const DEFAULT_TOP: usize = 50;

impl Places {
    /// For these views, each of at most `max_series` series.
    #[must_use]
    pub fn new(views: Views, max_series: u32) -> Self {
        Self {
            views,
            rooms: View::ALL.map(|_| Arc::new(Room::new(max_series))),
            top: DEFAULT_TOP,
            names: RandomState::default(),
        }
    }

    /// With so many rows of each kind of the view `top`.
    #[must_use]
    pub const fn with_top(mut self, rows: usize) -> Self {
        self.top = rows;
        self
    }

    fn room(&self, view: View) -> Option<&Arc<Room>> {
        let room = self.rooms.get(view as usize);
        room.filter(|_| self.views.contains(view))
    }
}

/// Stands for a protocol that isn't known.
const UNKNOWN_PROTOCOL: u32 = 256;

/// The flow metrics of one worker.
#[derive(Debug)]
pub(crate) struct FlowMetrics {
    views: Views,
    /// Of all tables.
    hasher: RandomState,
    /// The first instant.
    began: Option<Instant>,
    /// When series were last looked through.
    swept: u32,
    /// In the order of [`View::ALL`].
    tables: Tables,
    /// What waits for the view `interface`.
    pairs: Option<Pairs>,
    /// The view `service_graph`.
    graph: Option<SeriesTable<GraphTotals>>,
    /// The view `top`.
    top: Option<Top>,
    top_rows: usize,
    /// A view asks which end of a flow is the server.
    wants_server: bool,
    /// The view `sflow_counters`.
    devices: Option<SeriesTable<DeviceCounters>>,
    listeners: Listeners,
    applications: Applications,
}

impl FlowMetrics {
    pub(crate) fn new(places: &Places) -> Self {
        let hasher = RandomState::default();
        let tables = View::ALL.map(|view| {
            let room = places.room(view).filter(|_| view.counts_records())?;
            Some(SeriesTable::new(Arc::clone(room), hasher.clone()))
        });
        let graph = places.room(View::ServiceGraph);
        let devices = places.room(View::SflowCounters);
        let has_top = places.views.contains(View::Top);
        Self {
            views: places.views,
            began: None,
            swept: 0,
            tables,
            pairs: places.room(View::Interface).map(|_| Pairs::new()),
            graph: graph.map(|room| SeriesTable::new(Arc::clone(room), hasher.clone())),
            top: has_top.then(|| Top::new(hasher.clone())),
            top_rows: places.top,
            wants_server: [View::Application, View::ServiceGraph, View::Top]
                .into_iter()
                .any(|view| places.views.contains(view)),
            devices: devices.map(|room| SeriesTable::new(Arc::clone(room), hasher.clone())),
            hasher,
            listeners: Listeners::default(),
            applications: Applications::new(places.names.clone()),
        }
    }

    /// Seconds since the first instant.
    fn seconds(&self, now: Instant) -> u64 {
        self.began
            .map_or(0, |began| now.saturating_duration_since(began).as_secs())
    }

    /// Minutes since the first instant.
    fn minute(&self, now: Instant) -> u32 {
        number(self.seconds(now) / MINUTE)
    }

    /// Panes of the view `top` since the first instant.
    fn pane(&self, now: Instant) -> u32 {
        number(self.seconds(now) / top::PANE)
    }

    /// What the views that are counted ask of every flow.
    pub(crate) fn wants(&self) -> Wants {
        let transport = self.wants_server;
        let by_address = [View::Network, View::Country];
        let addresses = transport || by_address.into_iter().any(|view| self.views.contains(view));
        Wants {
            counts: true,
            addresses,
            transport,
            autonomous_systems: self.views.contains(View::As),
            application: self.views.contains(View::Application),
        }
    }

    /// Begins to count records of one datagram.
    pub(crate) fn datagram(
        &mut self,
        exporter: IpAddr,
        received_at: UnixNanos,
        now: Instant,
    ) -> Counting {
        self.began.get_or_insert(now);
        let exporter = address_key(exporter);
        let exporter_hash = exporter_hash(&self.hasher, exporter);
        let (minute, pane) = (self.minute(now), self.pane(now));
        if self.pairs.as_ref().is_some_and(|of| minute > of.minute) {
            self.settle(minute);
        }
        let top = self.top.as_mut();
        Counting {
            exporter,
            exporter_hash,
            received_at,
            minute,
            look: exporter::look(minute),
            top: top.map_or_else(top::By::default, |top| top.begin(exporter_hash, pane)),
        }
    }

    /// Only `interface` counts records.
    #[inline(always)]
    pub(crate) fn is_only_interface(&self) -> bool {
        self.views.is_only_interface()
    }

    /// Counts a record; `span` is its trace and its span, if it is kept.
    #[inline(always)]
    pub(crate) fn count(
        &mut self,
        flow: &FlowFacts<'_>,
        known: &Enriched<'_>,
        span: Option<&(TraceId, SpanId)>,
        counting: &Counting,
        exporter: &mut ExporterFlows,
    ) {
        let counts = flow.counts();
        self.count_interfaces(counts, span, counting, exporter);
        let back = flow.reverse.map(|reverse| counts.reversed(reverse));
        if let Some(back) = back {
            self.count_reverse(back, span, counting, exporter);
        }
        if self.views.is_only_interface() {
            return;
        }
        let server = match self.wants_server {
            true => flow.server.unwrap_or_else(|| self.listeners.server(flow)),
            false => End::Destination,
        };
        if let Some(top) = &mut self.top {
            top.count(flow, server, counting.top);
            if let Some(reverse) = flow.reverse {
                top.count_reverse(flow, reverse, server, counting.top);
            }
        }
        if self.views.has_more_series() {
            let addition = Addition::new(counts, span, counting);
            let back = back.map(|back| Addition::reverse(back, span, counting));
            self.count_beyond(flow, known, server, &addition, back.as_ref(), counting);
        }
    }

    /// Counts a record into the view `interface` alone.
    #[inline(always)]
    pub(crate) fn count_interfaces(
        &mut self,
        flow: FlowCounts,
        span: Option<&(TraceId, SpanId)>,
        counting: &Counting,
        exporter: &mut ExporterFlows,
    ) {
        exporter.observe(flow.duration, counting.look);
        let pair = match flow.direction {
            None => Pair::new(flow.input, flow.output),
            Some(direction) => {
                exporter.saw(direction);
                Pair::of(&flow, exporter)
            }
        };
        if let Some(pairs) = &mut self.pairs
            && !pairs.add(pair, &flow, span, counting)
        {
            self.count_first(pair, flow, span, counting);
        }
    }

    /// Counts a record of a pair of interfaces that has no place, and gives it one.
    #[inline(never)]
    fn count_first(
        &mut self,
        pair: Pair,
        flow: FlowCounts,
        span: Option<&(TraceId, SpanId)>,
        counting: &Counting,
    ) {
        let Some(pairs) = &mut self.pairs else { return };
        let minute = pairs.minute;
        let needed = span.map_or(0, |_| flow.bytes.saturating_add(1));
        if let Some(waited) = pairs.begin(pair, counting, needed) {
            add_waited(&mut self.tables, &self.hasher, &waited, minute);
        }
        let addition = Addition::new(flow, span, counting);
        add_sides(&mut self.tables, counting.of(), pair, &addition, minute);
    }

    /// Counts the other direction of a biflow, as [`FlowCounts::reversed`] makes it, into the view `interface` alone. The
    /// record itself is counted already.
    #[cold]
    pub(crate) fn count_reverse(
        &mut self,
        reversed: FlowCounts,
        span: Option<&(TraceId, SpanId)>,
        counting: &Counting,
        exporter: &ExporterFlows,
    ) {
        let addition = Addition::reverse(reversed, span, counting);
        let pair = Pair::of(&reversed, exporter);
        let minute = counting.minute;
        add_sides(&mut self.tables, counting.of(), pair, &addition, minute);
    }

    /// Lets nothing wait for the view `interface` any more; what follows is of this minute.
    #[cold]
    fn settle(&mut self, minute: u32) {
        if let Some(pairs) = &mut self.pairs {
            let of = pairs.minute;
            for waited in pairs.take() {
                add_waited(&mut self.tables, &self.hasher, &waited, of);
            }
            pairs.minute = minute.max(of);
        }
    }

    /// Counts a record into the series of views besides `interface`; `back` is the other direction of a biflow.
    #[inline(never)]
    fn count_beyond(
        &mut self,
        flow: &FlowFacts<'_>,
        known: &Enriched<'_>,
        server: End,
        addition: &Addition<'_>,
        back: Option<&Addition<'_>>,
        counting: &Counting,
    ) {
        let views = self.views;
        let add =
            |tables: &mut Tables, view, [first, second]: [u32; 2], addition: &Addition<'_>| {
                if let Some(table) = table(tables, view) {
                    let key = SeriesKey::new(counting.exporter, first, second);
                    table.count(counting.exporter_hash, key, addition, counting.minute);
                }
            };
        // Of both directions, for series that have none.
        let sum;
        let both = match back {
            Some(back) => {
                sum = addition.with(back);
                &sum
            }
            None => addition,
        };
        let between = |tables: &mut Tables, view, [source, destination]: [u32; 2]| match back {
            Some(back) if source != destination => {
                add(tables, view, [source, destination], addition);
                add(tables, view, [destination, source], back);
            }
            _ => add(tables, view, [source, destination], both),
        };
        if views.contains(View::Exporter) {
            add(&mut self.tables, View::Exporter, [0, 0], both);
        }
        if views.contains(View::Application) {
            self.count_application(flow, server, both, counting);
        }
        if views.contains(View::Network) {
            between(&mut self.tables, View::Network, known.networks());
        }
        if views.contains(View::As) {
            let systems = known.systems([flow.source_as, flow.destination_as]);
            between(&mut self.tables, View::As, systems);
        }
        if views.contains(View::Country) {
            between(&mut self.tables, View::Country, known.countries());
        }
        if let Some(graph) = &mut self.graph {
            let [source, destination] = known.networks();
            let edge = graph::edge(counting.exporter, flow, server, source, destination);
            if let Some(edge) = edge {
                let failed = has_failed(flow);
                let addition = Addition {
                    failed,
                    ..*addition
                };
                graph.count(counting.exporter_hash, edge, &addition, counting.minute);
            }
        }
    }

    /// Counts a record as of the application that the exporter names, else of the server's port.
    fn count_application(
        &mut self,
        flow: &FlowFacts<'_>,
        server: End,
        addition: &Addition<'_>,
        counting: &Counting,
    ) {
        let Some(table) = table(&mut self.tables, View::Application) else {
            return;
        };
        let protocol = flow.ends.protocol.map_or(UNKNOWN_PROTOCOL, u32::from);
        let (exporter, minute) = (counting.exporter_hash, counting.minute);
        let named = flow
            .application
            .and_then(|name| Some((name, self.applications.number(name)?)));
        let Some((name, (number, is_kept))) = named else {
            let port = u32::from(match server {
                End::Source => flow.ends.source_port,
                End::Destination => flow.ends.destination_port,
            });
            let key = SeriesKey::new(counting.exporter, protocol, port);
            table.count(exporter, key, addition, minute);
            return;
        };
        let key = SeriesKey::new(counting.exporter, protocol, number);
        table.count(exporter, key, addition, minute);
        if !is_kept && table.totals_mut(exporter, &key).is_some() {
            self.applications.keep(number, name);
        }
    }

    /// Forgets what is too old, at most once a minute.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        let minute = self.minute(now);
        if minute == self.swept {
            return;
        }
        self.swept = minute;
        self.settle(minute);
        for table in self.tables.iter_mut().flatten() {
            table.sweep(minute);
        }
        if let Some(table) = table(&mut self.tables, View::Application) {
            self.applications.retain(table.keys().map(|key| key.second));
        }
        if let Some(graph) = &mut self.graph {
            graph.sweep(minute);
        }
        if let Some(devices) = &mut self.devices {
            devices.sweep(minute);
        }
    }
}

fn number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

type Tables = [Option<SeriesTable>; View::ALL.len()];

/// Counts what waited for the view `interface`.
fn add_waited(tables: &mut Tables, hasher: &RandomState, waited: &Waited, minute: u32) {
    let exporter = (waited.exporter, exporter_hash(hasher, waited.exporter));
    let exemplar = waited.exemplar.as_ref();
    let span = exemplar.map(|of| (of.trace_id, of.span_id));
    let addition = Addition {
        bytes: waited.bytes,
        packets: waited.packets,
        flows: waited.flows,
        duration: 0,
        failed: false,
        span: span.as_ref(),
        largest: exemplar.map_or(0, |of| of.bytes),
        received_at: exemplar.map_or(UnixNanos(0), |of| of.received_at),
    };
    add_sides(tables, exporter, waited.pair, &addition, minute);
}

/// Counts into the series of both sides; the exporter comes with its hash.
fn add_sides(
    tables: &mut Tables,
    (exporter, hash): ([u64; 2], u64),
    pair: Pair,
    addition: &Addition<'_>,
    minute: u32,
) {
    let Some(table) = table(tables, View::Interface) else {
        return;
    };
    for (interface, side) in [
        (pair.input(), Side::Receive),
        (pair.output(), Side::Transmit),
    ] {
        if interface != 0 {
            let key = SeriesKey::new(exporter, interface, side as u32);
            table.count(hash, key, addition, minute);
        }
    }
}

#[inline(always)]
fn table(tables: &mut Tables, view: View) -> Option<&mut SeriesTable> {
    tables.get_mut(view as usize)?.as_mut()
}

#[cfg(test)]
mod tests;
