//! Flow metrics as they are read: the tables of all workers brought together, and what is known besides of the exporters
//! and interfaces in them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{
    DeviceCounters, FlowMetrics, GraphTotals, Places, TopReading, TopRow, View, ViewReading,
};
use crate::enrich::geo::{Databases, Locator};
use crate::enrich::interfaces::Interfaces;
use crate::enrich::networks::Networks;
use crate::exporter::Exporter;
use crate::translator::Translator;

/// The flow metrics of one worker, or of all.
#[derive(Clone, Debug, Default)]
pub struct FlowReading {
    /// Each view that counts bytes, packets and flows of records.
    pub views: Vec<(View, ViewReading)>,
    /// The view `service_graph`.
    pub graph: Option<ViewReading<GraphTotals>>,
    /// The view `sflow_counters`.
    pub devices: Option<ViewReading<DeviceCounters>>,
    /// The view `top`, and how many rows of each kind it has.
    pub(super) top: Option<(TopReading, usize)>,
    /// The exporters of any series that are known still.
    pub exporters: Vec<ExporterInfo>,
    /// The interfaces of any series whose name is known.
    pub interfaces: Vec<InterfaceInfo>,
    /// The newest names of networks, if there are any.
    pub networks: Option<Arc<Networks>>,
}

/// What is known of an exporter besides its series.
#[derive(Clone, Debug, PartialEq)]
pub struct ExporterInfo {
    /// Its address.
    pub exporter: IpAddr,
    /// What was lost on the way from it by its sequence numbers, by unit.
    pub lost: Vec<(&'static str, u64)>,
    /// Seconds of the longest flow that it reported in the last ten to twenty minutes.
    pub longest_flow: f64,
}

/// What is known of an interface.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct InterfaceInfo {
    /// Address of its exporter.
    pub exporter: IpAddr,
    /// ifIndex.
    pub interface: u32,
    /// Of `NETFLOW_INTERFACES`, else as the exporter's options data name it.
    pub name: Box<str>,
    /// Of `NETFLOW_INTERFACES`; may be empty.
    pub description: Box<str>,
    /// Bits a second, of `NETFLOW_INTERFACES`.
    pub speed: Option<u64>,
}

impl Translator {
    /// Counts flow metrics too, in places that it shares with the other workers.
    #[must_use]
    pub fn with_flow_metrics(mut self, places: &Places) -> Self {
        let is_counted = !places.views.is_empty();
        self.writing.metrics = is_counted.then(|| Box::new(FlowMetrics::new(places)));
        self
    }

    /// Names networks and exporters from here on; of a new version of the file too. An exporter's resource follows with
    /// its next datagram.
    pub fn name_networks(&mut self, networks: Option<Arc<Networks>>) {
        self.writing.networks = networks;
        self.writing.names_version = self.writing.names_version.wrapping_add(1);
    }

    /// Names interfaces in spans from here on; of a new version of the file too.
    pub fn name_interfaces(&mut self, interfaces: Option<Arc<Interfaces>>) {
        self.writing.interfaces = interfaces;
    }

    /// Looks addresses up in databases from here on; in new versions of them too.
    pub fn locate(&mut self, databases: Databases) {
        let has_any = databases.country.is_some() || databases.asn.is_some();
        self.writing.locator = has_any.then(|| Box::new(Locator::new(databases)));
    }

    /// The flow metrics of this worker; `None` if no view is counted. Reading changes none of them.
    #[must_use]
    pub fn flow_metrics(&mut self, now: Instant) -> Option<FlowReading> {
        let metrics = self.writing.metrics.as_mut()?;
        let reading = metrics.read(now, |address| self.exporters.get(address));
        Some(FlowReading {
            networks: self.writing.networks.clone(),
            ..reading
        })
    }
}

impl FlowMetrics {
    pub(super) fn read<'a>(
        &mut self,
        now: Instant,
        find: impl Fn(IpAddr) -> Option<&'a Exporter>,
    ) -> FlowReading {
        let (minute, pane) = (self.minute(now), self.pane(now));
        self.settle(minute);
        let views = View::ALL.into_iter().zip(&self.tables);
        let mut views: Vec<_> = views
            .filter_map(|(view, table)| Some((view, table.as_ref()?.read(minute))))
            .collect();
        for (_, reading) in views
            .iter_mut()
            .filter(|(view, _)| *view == View::Application)
        {
            for series in &mut reading.series {
                series.name = series
                    .key
                    .and_then(|key| self.applications.name(key.second).cloned());
            }
        }
        let (mut exporters, mut interfaces) = (Vec::new(), Vec::new());
        for (view, reading) in &views {
            for key in reading.series.iter().filter_map(|series| series.key) {
                exporters.push(key.exporter());
                if *view == View::Interface {
                    interfaces.push((key.exporter(), key.first));
                }
            }
        }
        exporters.sort_unstable();
        exporters.dedup();
        interfaces.sort_unstable();
        interfaces.dedup();
        let exporters = exporters.into_iter().filter_map(|exporter| {
            let known = find(exporter)?;
            Some(ExporterInfo {
                exporter,
                lost: known.activity.lost_by_unit().collect(),
                longest_flow: known.counted.longest_seconds(minute),
            })
        });
        let interfaces = interfaces.into_iter().filter_map(|(exporter, interface)| {
            let name = find(exporter)?.metadata.interface_name(interface)?;
            Some(InterfaceInfo {
                exporter,
                interface,
                name: name.into(),
                description: Box::default(),
                speed: None,
            })
        });
        FlowReading {
            exporters: exporters.collect(),
            interfaces: interfaces.collect(),
            networks: None,
            graph: self.graph.as_ref().map(|graph| graph.read(minute)),
            devices: self.devices.as_ref().map(|devices| devices.read(minute)),
            top: self.top.as_mut().map(|top| (top.read(pane), self.top_rows)),
            views,
        }
    }
}

impl FlowReading {
    /// Without what [`top`](Self::top) is made of, which may be more than all the rest.
    #[must_use]
    pub fn without_top(self) -> Self {
        Self { top: None, ..self }
    }

    /// The rows of the view `top`, by kind, the heaviest first.
    #[must_use]
    pub fn top(&self) -> Vec<TopRow> {
        let top = self.top.as_ref();
        top.map_or_else(Vec::new, |(sums, rows)| sums.heaviest(*rows))
    }

    /// Adds what a file says of the interfaces in any series; it wins over what exporters say.
    #[must_use]
    pub fn described(mut self, file: &Interfaces) -> Self {
        let mut described: Vec<InterfaceInfo> = Vec::new();
        let interfaces = self
            .views
            .iter()
            .filter(|(view, _)| *view == View::Interface);
        let series = interfaces.flat_map(|(_, reading)| &reading.series);
        for key in series.filter_map(|series| series.key) {
            let (exporter, interface) = (key.exporter(), key.first);
            if let Some(known) = file.get(exporter, interface) {
                described.push(InterfaceInfo {
                    exporter,
                    interface,
                    name: known.name.clone(),
                    description: known.description.clone(),
                    speed: known.speed,
                });
            }
        }
        // Of equal keys the first stays.
        described.append(&mut self.interfaces);
        described.sort_by_key(|info| (info.exporter, info.interface));
        described.dedup_by_key(|info| (info.exporter, info.interface));
        self.interfaces = described;
        self
    }

    /// Brings the readings of all workers together.
    #[must_use]
    pub fn merge(workers: Vec<Self>) -> Self {
        let mut all = Self::default();
        let mut views: Vec<(View, Vec<ViewReading>)> = Vec::new();
        let (mut graphs, mut devices) = (Vec::new(), Vec::new());
        for worker in workers {
            graphs.extend(worker.graph);
            devices.extend(worker.devices);
            match (&mut all.top, worker.top) {
                (Some((all, _)), Some((sums, _))) => all.append(sums),
                (all, Some(top)) => *all = Some(top),
                (_, None) => {}
            }
            for (view, reading) in worker.views {
                match views.iter_mut().find(|(other, _)| *other == view) {
                    Some((_, readings)) => readings.push(reading),
                    None => views.push((view, vec![reading])),
                }
            }
            all.exporters.extend(worker.exporters);
            all.interfaces.extend(worker.interfaces);
            // Names keep their numbers, so that a newer version has no fewer of them.
            let versions = all.networks.take().into_iter().chain(worker.networks);
            all.networks = versions.max_by_key(|networks| networks.names().len());
        }
        let views = views.into_iter();
        all.views = views
            .map(|(view, readings)| (view, ViewReading::merge(readings)))
            .collect();
        all.graph = (!graphs.is_empty()).then(|| ViewReading::merge(graphs));
        all.devices = (!devices.is_empty()).then(|| ViewReading::merge(devices));
        all.exporters.sort_by_key(|info| info.exporter);
        all.exporters.dedup_by_key(|info| info.exporter);
        all.interfaces.sort_unstable();
        all.interfaces
            .dedup_by_key(|info| (info.exporter, info.interface));
        all
    }
}
