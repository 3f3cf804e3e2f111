//! NetFlow v1, v5 and v7.

use netflow_wire::write::{
    self, V1Header, V1Record, V5Header, V5Record, V7Header, V7Record, WriteError,
};

use super::super::Protocol;
use super::super::flows::Flow;
use super::{Patch, Prepared, v4};

/// `protocol` is one of these three.
pub(super) fn prepare(protocol: Protocol, flows: &[Flow]) -> Result<Prepared, WriteError> {
    let (octets, header, record) = match protocol {
        Protocol::V1 => {
            let records: Vec<_> = flows.iter().map(v1_record).collect();
            (write::v1(&V1Header::default(), &records)?, 16, 48)
        }
        Protocol::V7 => {
            let records: Vec<_> = flows
                .iter()
                .map(|flow| V7Record {
                    flow: v5_record(flow),
                    router: v4(flow.next_hop),
                    ..V7Record::default()
                })
                .collect();
            (write::v7(&V7Header::default(), &records)?, 24, 52)
        }
        _ => {
            let records: Vec<_> = flows.iter().map(v5_record).collect();
            (write::v5(&V5Header::default(), &records)?, 24, 48)
        }
    };
    // dPkts, dOctets, First and Last stand at 16, 20, 24 and 28 in the records of all three.
    let patches = flows.iter().enumerate().flat_map(|(index, flow)| {
        let start = header + index * record;
        let [first, last] =
            [(24, flow.first_age_ms), (28, flow.last_age_ms)].map(|(at, age_ms)| Patch::Uptime {
                at: start + at,
                age_ms,
            });
        let size = Patch::Size {
            at: start + 16,
            size: flow.size,
        };
        [size, first, last]
    });
    Ok(Prepared {
        octets,
        patches: patches.collect(),
        flows: flows.len() as u32,
    })
}

fn v1_record(flow: &Flow) -> V1Record {
    V1Record {
        source: v4(flow.source),
        destination: v4(flow.destination),
        next_hop: v4(flow.next_hop),
        input: flow.input,
        output: flow.output,
        packets: flow.packets,
        octets: flow.octets,
        first_ms: 0,
        last_ms: 0,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        protocol: flow.protocol,
        tos: flow.tos,
        tcp_flags: flow.tcp_flags,
    }
}

fn v5_record(flow: &Flow) -> V5Record {
    V5Record {
        source: v4(flow.source),
        destination: v4(flow.destination),
        next_hop: v4(flow.next_hop),
        input: flow.input,
        output: flow.output,
        packets: flow.packets,
        octets: flow.octets,
        first_ms: 0,
        last_ms: 0,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        tcp_flags: flow.tcp_flags,
        protocol: flow.protocol,
        tos: flow.tos,
        source_as: flow.source_as,
        destination_as: flow.destination_as,
        source_mask: 16,
        destination_mask: 24,
    }
}
