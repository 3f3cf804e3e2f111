//! Names of flow spans, and what each of them begins with: encoded once, for every version and name there is.

use std::net::IpAddr;
use std::sync::LazyLock;

use netflow_wire::{Version, sflow};
use otlp_wire::{SpanFront, SpanKind};

use crate::attributes::protocols::transport;
use crate::config::{self, Semconv, ServiceGraph, SpanName, TraceShape};
use crate::flow::services;
use crate::metrics::Endpoints;

/// What a flow's record is of: each has an attribute of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    V1,
    V5,
    V7,
    V9,
    Ipfix,
    Sflow,
}

impl Format {
    const ALL: [Self; 6] = [
        Self::V1,
        Self::V5,
        Self::V7,
        Self::V9,
        Self::Ipfix,
        Self::Sflow,
    ];

    fn version(self) -> (&'static str, i64) {
        match self {
            Self::V1 => ("netflow.version", 1),
            Self::V5 => ("netflow.version", 5),
            Self::V7 => ("netflow.version", 7),
            Self::V9 => ("netflow.version", 9),
            Self::Ipfix => ("netflow.version", 10),
            Self::Sflow => ("sflow.version", sflow::VERSION as i64),
        }
    }
}

impl From<Version> for Format {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Self::V1,
            Version::V5 => Self::V5,
            Version::V7 => Self::V7,
            Version::V9 => Self::V9,
            Version::Ipfix => Self::Ipfix,
        }
    }
}

/// What the name of a span says of its flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Naming {
    /// `netflow.flow`
    Flow,
    /// `flow_ipv4_tcp`
    Transport,
    /// `https`, or the transport.
    Service,
}

/// The fronts of all flow spans of one configuration.
#[derive(Debug)]
pub(crate) struct Fronts {
    naming: Naming,
    formats: [Vec<SpanFront>; Format::ALL.len()],
    /// How many names there are; the fronts of requests follow, in the same order.
    names: usize,
}

/// What a span can be besides the flow that it is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// A span among others of its trace.
    Child,
    Root,
    /// A root, or a request of the service graph.
    RootOrRequest,
}

impl Role {
    const ALL: [Self; 3] = [Self::Child, Self::Root, Self::RootOrRequest];
}

/// Protocols of [`Naming::Transport`], for each of no family, IPv4 and IPv6.
const PROTOCOLS: usize = 256;

impl Fronts {
    /// Those of a configuration, made at their first use.
    pub(crate) fn of(config: &config::Translate) -> &'static Self {
        static FRONTS: [[LazyLock<Fronts>; Role::ALL.len()]; 3] = [
            [
                LazyLock::new(|| Fronts::new(Naming::Flow, Role::Child)),
                LazyLock::new(|| Fronts::new(Naming::Flow, Role::Root)),
                LazyLock::new(|| Fronts::new(Naming::Flow, Role::RootOrRequest)),
            ],
            [
                LazyLock::new(|| Fronts::new(Naming::Transport, Role::Child)),
                LazyLock::new(|| Fronts::new(Naming::Transport, Role::Root)),
                LazyLock::new(|| Fronts::new(Naming::Transport, Role::RootOrRequest)),
            ],
            [
                LazyLock::new(|| Fronts::new(Naming::Service, Role::Child)),
                LazyLock::new(|| Fronts::new(Naming::Service, Role::Root)),
                LazyLock::new(|| Fronts::new(Naming::Service, Role::RootOrRequest)),
            ],
        ];
        let naming = match (config.span_name, config.semconv) {
            (SpanName::Service, _) => Naming::Service,
            (SpanName::Schema, Semconv::Flow) => Naming::Transport,
            (SpanName::Schema, Semconv::Netflow | Semconv::Both) => Naming::Flow,
        };
        let role = match (config.shape, config.service_graph) {
            (TraceShape::Packet, _) => Role::Child,
            (TraceShape::Flow, ServiceGraph::Spans) => Role::RootOrRequest,
            _ => Role::Root,
        };
        &FRONTS[naming as usize][role as usize]
    }

    fn new(naming: Naming, role: Role) -> Self {
        let names: Vec<String> = match naming {
            Naming::Flow => vec!["netflow.flow".to_owned()],
            Naming::Transport => ["", "_ipv4", "_ipv6"]
                .iter()
                .flat_map(|family| (0..=u8::MAX).map(move |protocol| flow_name(family, protocol)))
                .collect(),
            Naming::Service => (0..=u8::MAX)
                .map(transport)
                .chain(services::names().map(str::to_owned))
                .collect(),
        };
        let formats = Format::ALL.map(|format| {
            let (key, version) = format.version();
            let front = |kind, name: &String| {
                SpanFront::new(name, kind, role == Role::Child)
                    .and_then(|front| front.with_attribute(key, version))
                    .expect("names are short, and a test makes them all")
            };
            let requests = names.iter().filter(|_| role == Role::RootOrRequest);
            let requests = requests.map(|name| front(SpanKind::Client, name));
            let all = names.iter().map(|name| front(SpanKind::Internal, name));
            all.chain(requests).collect()
        });
        Self {
            naming,
            formats,
            names: names.len(),
        }
    }

    /// The same name, of a request.
    #[inline(always)]
    pub(crate) fn of_request(&self, name: usize) -> usize {
        name + self.names
    }

    /// The name depends on the flow's endpoints.
    #[inline(always)]
    pub(crate) fn wants_endpoints(&self) -> bool {
        self.naming != Naming::Flow
    }

    /// The front of a flow between these ends; `server_port` is the port of the end that is asked.
    #[inline(always)]
    pub(crate) fn front(&self, format: Format, name: usize) -> &SpanFront {
        let fronts = &self.formats[format as usize];
        fronts.get(name).unwrap_or(&fronts[0])
    }

    /// Which of the names is that of a flow between these ends.
    pub(crate) fn name(&self, ends: &Endpoints, server_port: impl FnOnce() -> u16) -> usize {
        let protocol = usize::from(ends.protocol.unwrap_or(u8::MAX));
        match self.naming {
            Naming::Flow => 0,
            Naming::Transport => {
                let family = match ends.source.or(ends.destination) {
                    None => 0,
                    Some(IpAddr::V4(_)) => 1,
                    Some(IpAddr::V6(_)) => 2,
                };
                family * PROTOCOLS + protocol
            }
            Naming::Service => match services::index(server_port()) {
                Some(service) if has_ports(ends.protocol) => PROTOCOLS + service,
                _ => protocol,
            },
        }
    }
}

/// TCP, UDP, DCCP, SCTP, UDP-Lite.
fn has_ports(protocol: Option<u8>) -> bool {
    matches!(protocol, Some(6 | 17 | 33 | 132 | 136))
}

/// `flow_ipv4_tcp`; ICMP for IPv6 is `icmpv6` in the documentation that these names are of.
fn flow_name(family: &str, protocol: u8) -> String {
    match protocol {
        u8::MAX => format!("flow{family}"),
        58 => format!("flow{family}_icmpv6"),
        _ => format!("flow{family}_{}", transport(protocol)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: [u8; 4], protocol: Option<u8>) -> Endpoints {
        Endpoints {
            source: Some(source.into()),
            protocol,
            ..Endpoints::default()
        }
    }

    #[test]
    fn every_name_can_be_encoded() {
        for naming in [Naming::Flow, Naming::Transport, Naming::Service] {
            for role in Role::ALL {
                let fronts = Fronts::new(naming, role);
                assert!(
                    fronts
                        .formats
                        .iter()
                        .all(|of| of.len() == fronts.formats[0].len())
                );
            }
        }
    }

    #[test]
    fn names_are_of_the_transport_or_of_the_service() {
        let tcp = ends([10, 0, 0, 1], Some(6));
        let transport = Fronts::new(Naming::Transport, Role::Root);
        assert_eq!(transport.name(&tcp, || 443), PROTOCOLS + 6);
        assert_eq!(flow_name("_ipv4", 6), "flow_ipv4_tcp");
        assert_eq!(flow_name("_ipv6", 58), "flow_ipv6_icmpv6");
        let service = Fronts::new(Naming::Service, Role::RootOrRequest);
        let https = services::index(443).unwrap();
        assert_eq!(service.name(&tcp, || 443), PROTOCOLS + https);
        assert_eq!(service.name(&tcp, || 50_000), 6);
        // A port means nothing to ICMP.
        assert_eq!(service.name(&ends([10, 0, 0, 1], Some(1)), || 443), 1);
    }
}
