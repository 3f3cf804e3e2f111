//! What a new exporter's spans have in common: its resource, encoded once and again when its names change, and its
//! configured sampling.

use std::net::IpAddr;

use otlp_wire::{ResourceFront, Value};

use crate::config::{self, SamplingOverride, ServiceName};
use crate::enrich::networks::{About, MAX_TEXT};
use crate::exporter::NewExporter;
use crate::exporter::metadata::ExporterMetadata;
use crate::plan::sampling::ConfiguredSampling;
use crate::writing::Writing;

/// The resource attribute by which exporters are distinguished.
const EXPORTER_ADDRESS: &str = "netflow.exporter.address";
/// And the one for the sFlow agents behind one address.
const EXPORTER_AGENT: &str = "netflow.exporter.agent";
/// What `NETFLOW_NETWORKS` calls the exporter's address, and the network that holds it.
const EXPORTER_NAME: &str = "netflow.exporter.name";
const EXPORTER_NETWORK: &str = "netflow.exporter.network";
/// The longest text of an address.
const MAX_ADDRESS: &str = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255";

/// What is known of an exporter.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    address: &'a str,
    agent: Option<&'a str>,
    known: Option<About<'a>>,
    /// The name of the device that metered, else its address.
    service: &'a str,
}

impl NewExporter for Writing {
    fn front(&self, address: IpAddr, agent: Option<IpAddr>) -> ResourceFront {
        let about = |address| self.networks.as_ref()?.about(address);
        let (text, agent_text) = (address.to_string(), agent.map(|agent| agent.to_string()));
        let name = about(agent.unwrap_or(address)).and_then(|known| known.own_name);
        let source = Source {
            address: &text,
            agent: agent_text.as_deref(),
            known: about(address),
            service: name.or(agent_text.as_deref()).unwrap_or(&text),
        };
        encode(&self.config, source)
    }

    fn version(&self) -> u32 {
        self.names_version
    }

    fn sampling(&self, address: IpAddr) -> ConfiguredSampling {
        configured_sampling(&self.config.sampling_override, address)
    }

    fn metadata(&self) -> ExporterMetadata {
        ExporterMetadata::new(self.config.fields.clone())
    }
}

/// The most octets that a resource takes, for any exporter and any client in a service graph.
pub(crate) fn most_octets(config: &config::Translate) -> usize {
    let name = "n".repeat(MAX_TEXT);
    let source = Source {
        address: MAX_ADDRESS,
        agent: Some(MAX_ADDRESS),
        known: Some(About {
            network: &name,
            own_name: Some(&name),
        }),
        service: &name,
    };
    let front = encode(config, source);
    let of_client = front.with_text("service.name", &name);
    front.octets().len().max(of_client.octets().len())
}

fn encode(config: &config::Translate, source: Source<'_>) -> ResourceFront {
    let own = [
        (EXPORTER_ADDRESS, Some(source.address)),
        (EXPORTER_AGENT, source.agent),
        (EXPORTER_NAME, source.known.and_then(|known| known.own_name)),
        (EXPORTER_NETWORK, source.known.map(|known| known.network)),
    ];
    let attributes = config
        .resource
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, _)| own.iter().all(|(own, _)| own != key))
        .map(|(key, value)| match (key, config.service_name) {
            ("service.name", ServiceName::Exporter) => (key, source.service),
            _ => (key, value),
        })
        .chain(
            own.into_iter()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .map(|(key, value)| (key, Value::Text(value)));
    ResourceFront::new(attributes, "netflow2traces", env!("CARGO_PKG_VERSION"))
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
