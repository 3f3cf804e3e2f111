//! What a new exporter's spans have in common: its resource, encoded once, and its configured sampling.

use std::net::IpAddr;

use otlp_wire::{ResourceFront, Value};

use crate::config;
use crate::exporter::NewExporter;

/// The resource attribute that tells exporters apart.
const EXPORTER_ADDRESS: &str = "netflow.exporter.address";
/// And the one that tells the sFlow agents behind one address apart.
const EXPORTER_AGENT: &str = "netflow.exporter.agent";

impl NewExporter for config::Translate {
    fn front(&self, address: &str, agent: Option<&str>) -> ResourceFront {
        let attributes = self
            .resource
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let attributes = attributes
            .filter(|(key, _)| *key != EXPORTER_ADDRESS && *key != EXPORTER_AGENT)
            .chain([(EXPORTER_ADDRESS, address)])
            .chain(agent.map(|agent| (EXPORTER_AGENT, agent)))
            .map(|(key, value)| (key, Value::Text(value)));
        ResourceFront::new(attributes, "netflow2traces", env!("CARGO_PKG_VERSION"))
    }

    fn sampling(&self, address: IpAddr) -> Option<u64> {
        let found = self
            .sampling_override
            .iter()
            .find(|item| item.exporters.contains(&address))?;
        Some(u64::from(found.interval))
    }
}
