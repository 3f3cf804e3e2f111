//! The ways to run a translator that a flow can take.

use std::sync::Arc;
use std::time::Duration;

use netflow2traces::config::{
    AttributeLevel, Semconv, ServiceGraph, SpanName, TraceShape, Translate,
};
use netflow2traces::translate::Translator;
use netflow2traces::translate::enrich::geo::{Database, DatabaseKind, Databases};
use netflow2traces::translate::enrich::interfaces::Interfaces;
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{Places, View};

use super::{configuration, mmdb, translator, warm_allocations};

const LEVELS: [AttributeLevel; 3] = [
    AttributeLevel::Minimal,
    AttributeLevel::Standard,
    AttributeLevel::All,
];

/// What is looked up for a flow.
#[derive(Clone, Copy, Debug, Default)]
struct LookUps {
    networks: bool,
    interfaces: bool,
    databases: bool,
}

/// One way to run the translator.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    shape: TraceShape,
    semconv: Semconv,
    level: AttributeLevel,
    /// Names of spans tell the service, and in shape `flow` requests are spans of the service graph.
    names_services: bool,
    views: Vec<View>,
    look_ups: LookUps,
}

impl Way {
    fn new(shape: TraceShape, semconv: Semconv, level: AttributeLevel) -> Self {
        Self {
            shape,
            semconv,
            level,
            names_services: false,
            views: Vec::new(),
            look_ups: LookUps::default(),
        }
    }

    /// With everything that can be asked of a flow.
    fn with_all(self) -> Self {
        Self {
            names_services: true,
            views: View::ALL.into(),
            look_ups: LookUps {
                networks: true,
                interfaces: true,
                databases: true,
            },
            ..self
        }
    }

    /// Every shape, schema and level, alone and with everything; then every view and every look-up by itself.
    pub(crate) fn every() -> Vec<Self> {
        let conversation = TraceShape::Conversation {
            window: Duration::from_secs(600),
            key: Some([3; 16]),
        };
        let mut ways = Vec::new();
        for shape in [TraceShape::Packet, TraceShape::Flow, conversation] {
            for semconv in Semconv::ALL {
                for level in LEVELS {
                    let way = Self::new(shape, semconv, level);
                    ways.extend([way.clone(), way.with_all()]);
                }
            }
        }
        let plain = Self::new(
            TraceShape::Packet,
            Semconv::Netflow,
            AttributeLevel::Standard,
        );
        ways.extend(View::ALL.map(Self::of_view));
        let one = |networks, interfaces, databases| Self {
            look_ups: LookUps {
                networks,
                interfaces,
                databases,
            },
            ..plain.clone()
        };
        ways.extend([
            one(true, false, false),
            one(false, true, false),
            one(false, false, true),
        ]);
        ways.push(Self {
            names_services: true,
            ..plain
        });
        ways
    }

    /// With this view alone.
    pub(crate) fn of_view(view: View) -> Self {
        let (shape, level) = (TraceShape::Packet, AttributeLevel::Standard);
        Self {
            views: vec![view],
            ..Self::new(shape, Semconv::Netflow, level)
        }
    }

    pub(crate) fn translator(&self) -> Translator {
        let (name, graph) = match (self.names_services, self.shape) {
            (true, TraceShape::Flow) => (SpanName::Service, ServiceGraph::Spans),
            (true, _) => (SpanName::Service, ServiceGraph::None),
            (false, _) => (SpanName::Schema, ServiceGraph::None),
        };
        let config = Translate {
            shape: self.shape,
            semconv: self.semconv,
            span_name: name,
            service_graph: graph,
            ..configuration(self.level)
        };
        let mut translator = translator(&config);
        if !self.views.is_empty() {
            let places = Places::new(self.views.iter().copied().collect(), 100);
            translator = translator.with_flow_metrics(&places);
        }
        if self.look_ups.networks {
            let networks = "192.0.2.0/24,clients,site=a\n198.51.100.0/24,web\n::/0,six\n";
            let networks = Networks::parse(networks, None).expect("valid");
            translator.name_networks(Some(Arc::new(networks)));
        }
        if self.look_ups.interfaces {
            let interfaces = "192.0.2.1,7,uplink\n192.0.2.1,8,office\n";
            let interfaces = Interfaces::parse(interfaces).expect("valid");
            translator.name_interfaces(Some(Arc::new(interfaces)));
        }
        if self.look_ups.databases {
            translator.locate(databases());
        }
        translator
    }

    /// Allocations of the last of the datagrams, repeated once all is warm.
    pub(crate) fn allocations(&self, datagrams: &[Vec<u8>]) -> usize {
        warm_allocations(&mut self.translator(), datagrams)
    }
}

fn databases() -> Databases {
    let networks = ["192.0.2.0/24", "198.51.100.0/24"];
    let all = |data: mmdb::Data| mmdb::database(&networks.map(|network| (network, data.clone())));
    let open = |octets, kind| Arc::new(Database::new(octets, kind).expect("a database"));
    Databases {
        country: Some(open(all(mmdb::country("DE")), DatabaseKind::Country)),
        asn: Some(open(
            all(mmdb::system(64_512, "Example")),
            DatabaseKind::Asn,
        )),
    }
}
