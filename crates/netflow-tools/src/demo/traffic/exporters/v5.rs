//! NetFlow v5: fixed records, the sampling interval in the header, the sequence in flows.

use std::net::{IpAddr, Ipv4Addr};

use netflow_wire::write::{self, V5_MAX_RECORDS, V5Header, V5Record, WriteError};

use super::{Exporter, Flow, interface, next_hop, observe_both_ways, sampled, seconds, since};
use crate::demo::traffic::conversations::{Conversation, Site, UnixMillis};

/// A branch router that speaks v5 and samples one packet of ten.
pub(super) struct Branch {
    boot: UnixMillis,
    flows: Vec<Flow>,
    /// Flows sent.
    sequence: u32,
}

const SAMPLING: u16 = 10;

impl Branch {
    pub(super) fn new(boot: UnixMillis) -> Self {
        Self {
            boot,
            flows: Vec::new(),
            sequence: 0,
        }
    }
}

impl Exporter for Branch {
    fn name(&self) -> &'static str {
        "NetFlow v5, a branch's router"
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 10, 0, 1)
    }

    fn site(&self) -> Site {
        Site::Branch
    }

    fn observe(&mut self, conversation: &Conversation) -> usize {
        observe_both_ways(&mut self.flows, conversation)
    }

    fn export(&mut self, now: UnixMillis) -> Result<Vec<Vec<u8>>, WriteError> {
        let flows = std::mem::take(&mut self.flows);
        let mut datagrams = Vec::new();
        for chunk in flows.chunks(V5_MAX_RECORDS) {
            let header = V5Header {
                sys_uptime_ms: since(self.boot, now),
                unix_secs: seconds(now),
                unix_nsecs: u32::try_from(now % 1_000 * 1_000_000).unwrap_or(0),
                flow_sequence: self.sequence,
                sampling_mode: 1,
                sampling_interval: SAMPLING,
                ..V5Header::default()
            };
            let records: Vec<V5Record> =
                chunk.iter().filter_map(|flow| self.record(flow)).collect();
            datagrams.push(write::v5(&header, &records)?);
            self.sequence = self
                .sequence
                .wrapping_add(u32::try_from(records.len()).unwrap_or(0));
        }
        Ok(datagrams)
    }
}

impl Branch {
    /// v5 has no IPv6.
    fn record(&self, flow: &Flow) -> Option<V5Record> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (flow.source.address, flow.destination.address)
        else {
            return None;
        };
        let (packets, octets) = sampled(&flow.seen, u64::from(SAMPLING));
        Some(V5Record {
            source,
            destination,
            next_hop: next_hop(flow.destination.side),
            input: interface(flow.source.side),
            output: interface(flow.destination.side),
            packets,
            octets,
            first_ms: since(self.boot, flow.seen.start),
            last_ms: since(self.boot, flow.seen.end),
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            tcp_flags: flow.seen.tcp_flags,
            protocol: flow.protocol,
            tos: flow.tos,
            source_as: u16::try_from(flow.source.autonomous_system).unwrap_or(0),
            destination_as: u16::try_from(flow.destination.autonomous_system).unwrap_or(0),
            source_mask: flow.source.prefix,
            destination_mask: flow.destination.prefix,
        })
    }
}
