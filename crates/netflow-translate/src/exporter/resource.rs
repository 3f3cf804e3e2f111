//! What a new exporter's spans have in common: its resource, encoded once, and its configured sampling.

use std::net::IpAddr;

use otlp_wire::{ResourceFront, Value};

use crate::config::{self, SamplingOverride, ServiceGraph, ServiceName};
use crate::enrich::networks::MAX_TEXT;
use crate::exporter::NewExporter;
use crate::exporter::metadata::ExporterMetadata;
use crate::plan::sampling::ConfiguredSampling;

/// The resource attribute that tells exporters apart.
const EXPORTER_ADDRESS: &str = "netflow.exporter.address";
/// And the one that tells the sFlow agents behind one address apart.
const EXPORTER_AGENT: &str = "netflow.exporter.agent";
/// The longest text of an address.
const MAX_ADDRESS: &str = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255";

impl NewExporter for config::Translate {
    fn front(&self, address: &str, agent: Option<&str>) -> ResourceFront {
        let attributes = self
            .resource
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let service = agent.unwrap_or(address);
        let attributes = attributes
            .filter(|(key, _)| *key != EXPORTER_ADDRESS && *key != EXPORTER_AGENT)
            .map(|(key, value)| match (key, self.service_name) {
                ("service.name", ServiceName::Exporter) => (key, service),
                _ => (key, value),
            })
            .chain([(EXPORTER_ADDRESS, address)])
            .chain(agent.map(|agent| (EXPORTER_AGENT, agent)))
            .map(|(key, value)| (key, Value::Text(value)));
        ResourceFront::new(attributes, "netflow2traces", env!("CARGO_PKG_VERSION"))
    }

    fn sampling(&self, address: IpAddr) -> ConfiguredSampling {
        configured_sampling(&self.sampling_override, address)
    }

    fn metadata(&self) -> ExporterMetadata {
        ExporterMetadata::new(self.fields.clone())
    }
}

impl config::Translate {
    /// The most octets that a resource takes, whatever the exporter is and whoever its clients are.
    pub(crate) fn longest_front(&self) -> usize {
        let front = self.front(MAX_ADDRESS, Some(MAX_ADDRESS));
        let front = match self.service_graph {
            ServiceGraph::None => front,
            ServiceGraph::Spans => front.with_text("service.name", &"x".repeat(MAX_TEXT)),
        };
        front.octets().len()
    }
}

/// What a list with the most specific network first says of one exporter.
fn configured_sampling(items: &[SamplingOverride], address: IpAddr) -> ConfiguredSampling {
    let mut found = ConfiguredSampling::default();
    let mut interfaces = Vec::new();
    let items = items.iter();
    for item in items.filter(|item| item.exporters.contains(&address)) {
        let interval = u64::from(item.interval);
        match item.interface {
            Some(interface) => interfaces.push((u64::from(interface), interval)),
            None => {
                // It holds for all interfaces; those of less specific networks say nothing more.
                found.all = Some(interval);
                break;
            }
        }
    }
    found.interfaces = interfaces.into();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_network_holds_and_its_interfaces_before_the_whole_exporter() {
        let item = |network: &str, interface, interval| SamplingOverride {
            exporters: network.parse().expect("a network"),
            interface,
            interval,
        };
        let items = [
            item("10.1.1.1/32", None, 10),
            item("10.1.0.0/16", Some(5), 20),
            item("10.1.0.0/16", None, 30),
            item("10.0.0.0/8", Some(6), 40),
        ];
        let interval = |address: &str, interfaces| {
            let sampling = configured_sampling(&items, address.parse().expect("an address"));
            sampling.interval(|| interfaces)
        };
        assert_eq!(interval("10.1.1.1", [Some(5), None]), Some(10));
        assert_eq!(interval("10.1.2.1", [Some(5), Some(9)]), Some(20));
        assert_eq!(interval("10.1.2.1", [Some(9), Some(5)]), Some(20));
        assert_eq!(interval("10.1.2.1", [Some(6), None]), Some(30));
        assert_eq!(interval("10.2.0.1", [Some(6), None]), Some(40));
        assert_eq!(interval("10.2.0.1", [Some(5), None]), None);
        assert_eq!(interval("192.0.2.1", [Some(6), None]), None);
    }
}
