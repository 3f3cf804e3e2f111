//! What one worker writes spans with.

use std::fmt;
use std::sync::Arc;

use netflow_wire::Location;
use otlp_wire::UnixNanos;

use crate::attributes::vocabulary::Vocabulary;
use crate::batch::Batches;
use crate::config;
use crate::counters::translate::TranslateCounters;
use crate::debug_log::DebugLog;
use crate::enrich::geo::Locator;
use crate::enrich::interfaces::Interfaces;
use crate::enrich::networks::Networks;
use crate::exporter::admission::Rate;
use crate::filter::Asked;
use crate::flow::fronts::Fronts;
use crate::flow::graph::Graph;
use crate::flow::ids::Ids;
use crate::flow::roles::Listeners;
use crate::flow::shape::Shape;
use crate::metrics::FlowMetrics;
use crate::plan::shared::Plans;
use crate::selection::TraceOdds;

/// Reads the wall time. It is no type parameter, so that the hot path is compiled once, in this crate.
pub(crate) struct Clock(pub(crate) Box<dyn Fn() -> UnixNanos + Send>);

impl Clock {
    pub(crate) fn now(&self) -> UnixNanos {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// What writing spans needs, whichever the exporter is.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) config: config::Translate,
    /// The keys of `NETFLOW_SEMCONV`.
    pub(crate) words: &'static Vocabulary,
    /// Names of flow spans, with what they begin with.
    pub(crate) fronts: &'static Fronts,
    /// `NETFLOW_TRACE_SHAPE`.
    pub(crate) shape: Shape,
    /// The wall time.
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<TranslateCounters>,
    pub(crate) batches: Batches,
    pub(crate) ids: Ids,
    /// `NETFLOW_MAX_RECORD_RATE_PER_EXPORTER`.
    pub(crate) record_rate: Option<Rate>,
    /// Each span says which times its exporter reported, and no others.
    pub(crate) shows_times: bool,
    pub(crate) debug_log: DebugLog,
    pub(crate) plans: Plans,
    /// Room for the fields of a record of variable length.
    pub(crate) locations: Vec<Location>,
    /// Room for an encoded value.
    pub(crate) scratch: Vec<u8>,
    /// `NETFLOW_NETWORKS`.
    pub(crate) networks: Option<Arc<Networks>>,
    /// Changes with the names, which resources have too.
    pub(crate) names_version: u32,
    /// `NETFLOW_INTERFACES`.
    pub(crate) interfaces: Option<Arc<Interfaces>>,
    /// `NETFLOW_GEOIP_COUNTRY` and `NETFLOW_GEOIP_ASN`.
    pub(crate) locator: Option<Box<Locator>>,
    /// How likely the sampler keeps a trace.
    pub(crate) odds: TraceOdds,
    /// What the selection asks of a flow; `None`: there is no selection.
    pub(crate) asked: Option<Asked>,
    /// `NETFLOW_SERVICE_GRAPH`; `None`: no span is a request.
    pub(crate) graph: Option<Box<Graph>>,
    /// Which ends of flows are servers, for names of spans and the service graph.
    pub(crate) listeners: Listeners,
    /// `None`: no view is counted.
    pub(crate) metrics: Option<Box<FlowMetrics>>,
}

impl Writing {
    /// The span of a flow depends at most on the names of the networks of its ends.
    pub(crate) fn asks_only_names(&self) -> bool {
        self.shape.is_packet()
            && self.locator.is_none()
            && self.graph.is_none()
            && !self.fronts.wants_endpoints()
    }
}
