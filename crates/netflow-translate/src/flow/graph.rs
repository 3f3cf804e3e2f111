//! `NETFLOW_SERVICE_GRAPH=spans`: requests between networks, as backends look for them that draw graphs of spans.
//!
//! Zipkin and Tempo's generator draw an edge from the service of a CLIENT span to its `peer.service`. A service is a
//! resource's, so that a request's span stands under a resource of its client: the exporter's, with the name of the
//! client's network as `service.name`.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use otlp_wire::{ResourceFront, Value, push_key_value};

use super::roles::{End, Listeners};
use crate::attributes::names::{Keys, Name};
use crate::batch::Membership;
use crate::config::{self, ServiceGraph, TraceShape};
use crate::enrich::networks::{Enriched, Known, NameId, Networks};
use crate::metrics::{FlowFacts, has_failed, requested};

/// Clients, by exporter, and servers that are remembered at once. With more of them all are forgotten, which costs the
/// encoding of those that come again.
const MAX_NODES: usize = 4096;
/// The network of an address that has none.
const OTHER: &str = "other";
const SERVICE_NAME: &str = "service.name";
/// A number for [`OTHER`]: there are fewer names.
const OTHER_ID: NameId = NameId::MAX;

/// A network by the number of its name.
pub(crate) type Node = NameId;

/// A record that is a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Request {
    pub(super) client: Node,
    pub(super) server: Node,
    /// Nobody answered, or the connection was refused.
    pub(super) failed: bool,
}

/// The request that a record is; `None`: it is an answer. Which end is the server is noted in `facts`.
pub(super) fn request(
    facts: &mut FlowFacts<'_>,
    known: &Enriched<'_>,
    listeners: &mut Listeners,
) -> Option<Request> {
    let server = note_server(facts, listeners);
    let node = |known: Option<Known<'_>>| known.map_or(OTHER_ID, |known| known.name);
    let (source, destination) = (node(known.source), node(known.destination));
    let (client, server) = match requested(facts, server)? {
        End::Destination => (source, destination),
        End::Source => (destination, source),
    };
    Some(Request {
        client,
        server,
        failed: has_failed(facts),
    })
}

/// Finds out once which end is the server, for spans and metrics alike.
pub(super) fn note_server(facts: &mut FlowFacts<'_>, listeners: &mut Listeners) -> End {
    let server = facts.server.unwrap_or_else(|| listeners.server(facts));
    facts.server = Some(server);
    server
}

/// An exporter's resource by its address in memory, and a client.
type Client = (usize, Node);

#[derive(Debug)]
struct Place {
    /// Kept, so that its address in memory isn't another's.
    _exporter: Arc<ResourceFront>,
    front: Arc<ResourceFront>,
    member: Membership,
}

/// Resources of clients.
#[derive(Debug, Default)]
pub(crate) struct Clients(HashMap<Client, Place, RandomState>);

impl Clients {
    /// Where the spans of a client's requests go, as an exporter reported them.
    pub(super) fn place(
        &mut self,
        exporter: &Arc<ResourceFront>,
        client: Node,
        networks: Option<&Networks>,
    ) -> (&mut Membership, &Arc<ResourceFront>) {
        let key = (Arc::as_ptr(exporter).addr(), client);
        if self.0.len() >= MAX_NODES && !self.0.contains_key(&key) {
            self.0.clear();
        }
        let place = self.0.entry(key).or_insert_with(|| Place {
            _exporter: Arc::clone(exporter),
            front: Arc::new(exporter.with_text(SERVICE_NAME, name(client, networks))),
            member: Membership::default(),
        });
        (&mut place.member, &place.front)
    }
}

/// Encoded attributes of spans that ask a server.
#[derive(Debug, Default)]
pub(crate) struct Servers(HashMap<Node, Box<[u8]>, RandomState>);

impl Servers {
    pub(super) fn peer(&mut self, server: Node, networks: Option<&Networks>, keys: &Keys) -> &[u8] {
        if self.0.len() >= MAX_NODES && !self.0.contains_key(&server) {
            self.0.clear();
        }
        self.0.entry(server).or_insert_with(|| {
            let name = Value::Text(name(server, networks));
            let mut octets = Vec::new();
            for key in [Name::PeerService, Name::PeerName]
                .into_iter()
                .flat_map(|name| keys.text(name))
            {
                push_key_value(&mut octets, 9, key, name);
            }
            octets.into()
        })
    }
}

fn name(node: Node, networks: Option<&Networks>) -> &str {
    networks
        .and_then(|networks| networks.names().get(node))
        .unwrap_or(OTHER)
}

/// The service graph of one worker.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(super) clients: Clients,
    pub(super) servers: Servers,
}

impl Graph {
    /// `None`: no span is a request.
    pub(crate) fn new(config: &config::Translate) -> Option<Box<Self>> {
        let is_on = config.service_graph == ServiceGraph::Spans && config.shape == TraceShape::Flow;
        is_on.then(Box::default)
    }
}
