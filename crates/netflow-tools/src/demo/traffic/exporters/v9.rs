//! NetFlow v9: templates and options data that are re-sent, times relative to uptime, the
//! sequence in packets.

use std::net::{IpAddr, Ipv4Addr};

use netflow_wire::write::{Field, MessageWriter, V9Header, WriteError};

use super::{
    Exporter, Flow, MAX_RECORD_OCTETS, due, interface, next_hop, observe_both_ways, octets,
    sampled, seconds, since,
};
use crate::demo::traffic::conversations::{Conversation, Side, Site, UnixMillis};

/// A core router with v9; its options data reports its sampler and the names of its interfaces.
pub(super) struct Core {
    boot: UnixMillis,
    flows: Vec<Flow>,
    /// Export Packets sent.
    sequence: u32,
    /// When templates and options were sent last.
    refreshed: Option<UnixMillis>,
}

const SOURCE_ID: u32 = 7;
const FLOWS: u16 = 260;
const SAMPLER: u16 = 261;
const INTERFACES: u16 = 262;
const SAMPLER_ID: u8 = 1;
const SAMPLING: u32 = 100;

/// Field types of RFC 3954 section 8.
const FLOW_FIELDS: [Field; 20] = [
    Field::new(8, 4),  // IPV4_SRC_ADDR
    Field::new(12, 4), // IPV4_DST_ADDR
    Field::new(15, 4), // IPV4_NEXT_HOP
    Field::new(10, 4), // INPUT_SNMP
    Field::new(14, 4), // OUTPUT_SNMP
    Field::new(2, 4),  // IN_PKTS
    Field::new(1, 4),  // IN_BYTES
    Field::new(22, 4), // FIRST_SWITCHED
    Field::new(21, 4), // LAST_SWITCHED
    Field::new(7, 2),  // L4_SRC_PORT
    Field::new(11, 2), // L4_DST_PORT
    Field::new(4, 1),  // PROTOCOL
    Field::new(6, 1),  // TCP_FLAGS
    Field::new(5, 1),  // TOS
    Field::new(16, 4), // SRC_AS
    Field::new(17, 4), // DST_AS
    Field::new(9, 1),  // SRC_MASK
    Field::new(13, 1), // DST_MASK
    Field::new(61, 1), // DIRECTION
    Field::new(48, 1), // FLOW_SAMPLER_ID
];
const FLOW_OCTETS: usize = octets(&FLOW_FIELDS);
/// Scope System (RFC 3954 section 6.1).
const SAMPLER_SCOPE: [Field; 1] = [Field::new(1, 4)];
const SAMPLER_FIELDS: [Field; 3] = [
    Field::new(48, 1), // FLOW_SAMPLER_ID
    Field::new(49, 1), // FLOW_SAMPLER_MODE
    Field::new(50, 4), // FLOW_SAMPLER_RANDOM_INTERVAL
];
/// Scope Interface (RFC 3954 section 6.1).
const INTERFACE_SCOPE: [Field; 1] = [Field::new(2, 4)];
const INTERFACE_FIELDS: [Field; 2] = [
    Field::new(82, 16), // IF_NAME
    Field::new(83, 32), // IF_DESC
];

impl Core {
    pub(super) fn new(boot: UnixMillis) -> Self {
        Self {
            boot,
            flows: Vec::new(),
            sequence: 0,
            refreshed: None,
        }
    }
}

impl Exporter for Core {
    fn name(&self) -> &'static str {
        "NetFlow v9, the core router"
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 10, 0, 2)
    }

    fn site(&self) -> Site {
        Site::Core
    }

    fn observe(&mut self, conversation: &Conversation) -> usize {
        observe_both_ways(&mut self.flows, conversation)
    }

    fn export(&mut self, now: UnixMillis) -> Result<Vec<Vec<u8>>, WriteError> {
        // The header has whole seconds, which uptime has to agree with for times to be exact.
        let now = now - now % 1_000;
        let flows = std::mem::take(&mut self.flows);
        let mut datagrams = Vec::new();
        for chunk in flows.chunks(MAX_RECORD_OCTETS / FLOW_OCTETS) {
            let mut message = MessageWriter::v9(V9Header {
                sys_uptime_ms: since(self.boot, now),
                unix_secs: seconds(now),
                sequence: self.sequence,
                source_id: SOURCE_ID,
                count: None,
            });
            self.sequence = self.sequence.wrapping_add(1);
            if due(&mut self.refreshed, now) {
                write_core_options(&mut message);
            } else {
                message.declare(FLOWS, &FLOW_FIELDS);
            }
            message.data_set(FLOWS, |set| {
                for flow in chunk {
                    let (IpAddr::V4(source), IpAddr::V4(destination)) =
                        (flow.source.address, flow.destination.address)
                    else {
                        continue;
                    };
                    let (packets, octets) = sampled(&flow.seen, u64::from(SAMPLING));
                    set.record(|r| {
                        r.ipv4(source)
                            .ipv4(destination)
                            .ipv4(next_hop(flow.destination.side));
                        r.u32(interface(flow.source.side).into());
                        r.u32(interface(flow.destination.side).into());
                        r.u32(packets).u32(octets);
                        r.u32(since(self.boot, flow.seen.start));
                        r.u32(since(self.boot, flow.seen.end));
                        r.u16(flow.source_port).u16(flow.destination_port);
                        r.u8(flow.protocol).u8(flow.seen.tcp_flags).u8(flow.tos);
                        r.u32(flow.source.autonomous_system);
                        r.u32(flow.destination.autonomous_system);
                        r.u8(flow.source.prefix).u8(flow.destination.prefix);
                        r.u8(0).u8(SAMPLER_ID);
                    });
                }
            });
            datagrams.push(message.finish()?);
        }
        Ok(datagrams)
    }
}

fn write_core_options(message: &mut MessageWriter) {
    message
        .template(FLOWS, &FLOW_FIELDS)
        .options_template(SAMPLER, &SAMPLER_SCOPE, &SAMPLER_FIELDS)
        .options_template(INTERFACES, &INTERFACE_SCOPE, &INTERFACE_FIELDS)
        .data_set(SAMPLER, |set| {
            set.record(|r| {
                // Mode 2 is random sampling.
                r.u32(0).u8(SAMPLER_ID).u8(2).u32(SAMPLING);
            });
        })
        .data_set(INTERFACES, |set| {
            for (side, name, description) in [
                (Side::Internet, "Te0/0/0", "Internet"),
                (Side::Offices, "Te0/1/0", "Branch offices"),
                (Side::Servers, "Te0/2/0", "Data centre"),
            ] {
                set.record(|r| {
                    r.u32(interface(side).into())
                        .text(name, 16)
                        .text(description, 32);
                });
            }
        });
}
