//! IPFIX: four flow templates, options data with fields of variable length, times in milliseconds
//! since 1970, the sequence in Data Records.

use std::net::{IpAddr, Ipv4Addr};

use netflow_wire::write::{self, Field, IpfixHeader, MessageWriter, WriteError};

use super::{
    Exporter, Flow, MAX_RECORD_OCTETS, due, interface, observe_both_ways, octets, seconds, there,
};
use crate::demo::traffic::conversations::{APPLICATIONS, Conversation, Side, Site, UnixMillis};
use crate::traffic::TCP;

/// The data centre's switch: IPFIX for IPv4 and IPv6, both ways of a connection in one record where
/// it knows both (RFC 5103), with names of interfaces and applications by options data.
pub(super) struct DataCentre {
    flows: Vec<Flow>,
    /// Data Records sent.
    sequence: u32,
    /// When templates and options were sent last.
    refreshed: Option<UnixMillis>,
}

const DOMAIN: u32 = 4_711;
const V4: u16 = 256;
const V6: u16 = 257;
const V4_BOTH: u16 = 258;
const V6_BOTH: u16 = 259;
const APPLICATION_NAMES: u16 = 512;
const INTERFACE_NAMES: u16 = 513;
/// The longest record: IPv6, both ways.
const RECORD_OCTETS: usize = octets(&V6_FIELDS) + octets(&COMMON) + octets(&REVERSE);

/// What every flow record has after its addresses and prefix lengths.
const COMMON: [Field; 16] = [
    Field::new(7, 2),   // sourceTransportPort
    Field::new(11, 2),  // destinationTransportPort
    Field::new(4, 1),   // protocolIdentifier
    Field::new(6, 2),   // tcpControlBits
    Field::new(5, 1),   // ipClassOfService
    Field::new(10, 4),  // ingressInterface
    Field::new(14, 4),  // egressInterface
    Field::new(16, 4),  // bgpSourceAsNumber
    Field::new(17, 4),  // bgpDestinationAsNumber
    Field::new(61, 1),  // flowDirection
    Field::new(136, 1), // flowEndReason
    Field::new(95, 4),  // applicationId
    Field::new(152, 8), // flowStartMilliseconds
    Field::new(153, 8), // flowEndMilliseconds
    Field::new(2, 8),   // packetDeltaCount
    Field::new(1, 8),   // octetDeltaCount
];
const V4_FIELDS: [Field; 4] = [
    Field::new(8, 4),  // sourceIPv4Address
    Field::new(12, 4), // destinationIPv4Address
    Field::new(9, 1),  // sourceIPv4PrefixLength
    Field::new(13, 1), // destinationIPv4PrefixLength
];
const V6_FIELDS: [Field; 4] = [
    Field::new(27, 16), // sourceIPv6Address
    Field::new(28, 16), // destinationIPv6Address
    Field::new(29, 1),  // sourceIPv6PrefixLength
    Field::new(30, 1),  // destinationIPv6PrefixLength
];
const REVERSE: [Field; 2] = [
    Field::reverse(2, 8), // reversePacketDeltaCount
    Field::reverse(1, 8), // reverseOctetDeltaCount
];

/// Fields of one of the four flow templates.
fn fields_of(template: u16) -> Vec<Field> {
    let mut fields = match template {
        V4 | V4_BOTH => V4_FIELDS.to_vec(),
        _ => V6_FIELDS.to_vec(),
    };
    fields.extend_from_slice(&COMMON);
    if matches!(template, V4_BOTH | V6_BOTH) {
        fields.extend_from_slice(&REVERSE);
    }
    fields
}

const TEMPLATES: [u16; 4] = [V4, V6, V4_BOTH, V6_BOTH];

impl DataCentre {
    pub(super) fn new() -> Self {
        Self {
            flows: Vec::new(),
            sequence: 0,
            refreshed: None,
        }
    }
}

impl Exporter for DataCentre {
    fn name(&self) -> &'static str {
        "IPFIX, the data centre's switch"
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 10, 0, 3)
    }

    fn site(&self) -> Site {
        Site::DataCentre
    }

    fn observe(&mut self, conversation: &Conversation) -> usize {
        if conversation.protocol != TCP {
            return observe_both_ways(&mut self.flows, conversation);
        }
        let mut flow = there(conversation);
        flow.reverse = conversation.back;
        self.flows.push(flow);
        1
    }

    fn export(&mut self, now: UnixMillis) -> Result<Vec<Vec<u8>>, WriteError> {
        let mut flows = std::mem::take(&mut self.flows);
        // One Set for each template in a datagram.
        flows.sort_by_key(Flow::template);
        let mut datagrams = Vec::new();
        if !flows.is_empty() && due(&mut self.refreshed, now) {
            datagrams.push(self.options(now)?);
        }
        for chunk in flows.chunks(MAX_RECORD_OCTETS / RECORD_OCTETS) {
            let mut message = self.message(now);
            for of_template in chunk.chunk_by(|a, b| a.template() == b.template()) {
                let Some(template) = of_template.first().map(Flow::template) else {
                    continue;
                };
                message.declare(template, &fields_of(template));
                message.data_set(template, |set| {
                    for flow in of_template {
                        set.record(|r| flow.record(r));
                    }
                });
            }
            datagrams.push(self.sent(&mut message)?);
        }
        Ok(datagrams)
    }
}

impl DataCentre {
    fn message(&self, now: UnixMillis) -> MessageWriter {
        MessageWriter::ipfix(IpfixHeader {
            export_time: seconds(now),
            sequence: self.sequence,
            observation_domain: DOMAIN,
            length: None,
        })
    }

    fn sent(&mut self, message: &mut MessageWriter) -> Result<Vec<u8>, WriteError> {
        let records = u32::try_from(message.data_records()).unwrap_or(0);
        self.sequence = self.sequence.wrapping_add(records);
        message.finish()
    }

    fn options(&mut self, now: UnixMillis) -> Result<Vec<u8>, WriteError> {
        let mut message = self.message(now);
        for template in TEMPLATES {
            message.template(template, &fields_of(template));
        }
        message
            .options_template(
                APPLICATION_NAMES,
                &[Field::new(95, 4)],                        // applicationId
                &[Field::variable(96), Field::variable(94)], // applicationName, -Description
            )
            .options_template(
                INTERFACE_NAMES,
                &[Field::new(10, 4)],                        // ingressInterface
                &[Field::variable(82), Field::variable(83)], // interfaceName, -Description
            )
            .data_set(APPLICATION_NAMES, |set| {
                for application in APPLICATIONS {
                    set.record(|r| {
                        r.u32(application_id((application.engine, application.selector)));
                        r.variable(application.name.as_bytes());
                        r.variable(application.description.as_bytes());
                    });
                }
            })
            .data_set(INTERFACE_NAMES, |set| {
                for (side, name, description) in [
                    (Side::Internet, "xe-0/0/0", "To the core, Internet"),
                    (Side::Offices, "xe-0/0/1", "To the core, offices"),
                    (Side::Servers, "ae0.40", "Servers"),
                ] {
                    set.record(|r| {
                        r.u32(interface(side).into());
                        r.variable(name.as_bytes()).variable(description.as_bytes());
                    });
                }
            });
        self.sent(&mut message)
    }
}

impl Flow {
    fn template(&self) -> u16 {
        match (self.source.address, self.reverse) {
            (IpAddr::V4(_), None) => V4,
            (IpAddr::V6(_), None) => V6,
            (IpAddr::V4(_), Some(_)) => V4_BOTH,
            (IpAddr::V6(_), Some(_)) => V6_BOTH,
        }
    }

    fn record(&self, r: &mut write::Record) {
        for address in [self.source.address, self.destination.address] {
            match address {
                IpAddr::V4(address) => r.ipv4(address),
                IpAddr::V6(address) => r.ipv6(address),
            };
        }
        r.u8(self.source.prefix).u8(self.destination.prefix);
        r.u16(self.source_port)
            .u16(self.destination_port)
            .u8(self.protocol);
        r.u16(self.seen.tcp_flags.into()).u8(self.tos);
        r.u32(interface(self.source.side).into())
            .u32(interface(self.destination.side).into());
        r.u32(self.source.autonomous_system)
            .u32(self.destination.autonomous_system);
        r.u8(0)
            .u8(self.end_reason)
            .u32(application_id(self.application));
        r.u64(self.seen.start).u64(self.seen.end);
        r.u64(self.seen.packets).u64(self.seen.octets);
        if let Some(reverse) = &self.reverse {
            r.u64(reverse.packets).u64(reverse.octets);
        }
    }
}

/// Engine in the first octet, selector in the others (RFC 6759 section 4.1).
fn application_id((engine, selector): (u8, u16)) -> u32 {
    u32::from(engine) << 24 | u32::from(selector)
}
