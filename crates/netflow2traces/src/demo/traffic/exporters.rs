//! Three exporters as routers are: conversations in, datagrams out, with sequence numbers, uptime,
//! templates and options data kept as each version asks. No sockets, no clock.

use std::net::{IpAddr, Ipv4Addr};

use netflow_wire::write::{
    self, Field, IpfixHeader, MessageWriter, V5_MAX_RECORDS, V5Header, V5Record, V9Header,
    WriteError,
};

use super::conversations::{
    APPLICATIONS, Conversation, Direction, ECHO_REPLY, ECHO_REPLY_V6, Host, ICMP, ICMP_V6, Side,
    Site, TCP, UnixMillis,
};

/// Octets of a datagram's records at most, so that it fits an Ethernet frame with its headers and
/// templates.
const MAX_RECORD_OCTETS: usize = 1_000;
/// How often templates and options are sent again (RFC 7011 section 8.4 asks for it over UDP).
const REFRESH_MS: u64 = 15_000;

/// One way of a conversation, as records tell it.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: Host,
    destination: Host,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    tos: u8,
    application: (u8, u16),
    seen: Direction,
    /// The other way, where one record tells of both.
    reverse: Option<Direction>,
    end_reason: u8,
}

/// What an exporter is.
pub(super) trait Exporter: Send {
    /// For people: version and place.
    fn name(&self) -> &'static str;

    /// The loopback address it sends from, where that is possible.
    fn address(&self) -> Ipv4Addr;

    /// The place whose conversations it sees.
    fn site(&self) -> Site;

    /// Sees a conversation, and says how many records it will tell of it.
    fn observe(&mut self, conversation: &Conversation) -> usize;

    /// The datagrams that tell everything observed since the last call, at this time.
    fn export(&mut self, now: UnixMillis) -> Result<Vec<Vec<u8>>, WriteError>;
}

/// The three, as if booted a while before `now`.
pub(super) fn all(now: UnixMillis) -> Vec<Box<dyn Exporter>> {
    vec![
        Box::new(Branch {
            boot: now.saturating_sub(3_456_789_000),
            flows: Vec::new(),
            sequence: 0,
        }),
        Box::new(Core {
            boot: now.saturating_sub(987_654_000),
            flows: Vec::new(),
            sequence: 0,
            refreshed: None,
        }),
        Box::new(DataCentre {
            flows: Vec::new(),
            sequence: 0,
            refreshed: None,
        }),
    ]
}

/// A branch router that speaks v5 and samples one packet of ten.
struct Branch {
    boot: UnixMillis,
    flows: Vec<Flow>,
    /// Flows sent.
    sequence: u32,
}

const BRANCH_SAMPLING: u16 = 10;

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
                sampling_interval: BRANCH_SAMPLING,
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
        let (packets, octets) = sampled(&flow.seen, u64::from(BRANCH_SAMPLING));
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

/// A core router that speaks v9; its options data tells its sampler and the names of its interfaces.
struct Core {
    boot: UnixMillis,
    flows: Vec<Flow>,
    /// Export Packets sent.
    sequence: u32,
    /// When templates and options were sent last.
    refreshed: Option<UnixMillis>,
}

const CORE_SOURCE_ID: u32 = 7;
const CORE_FLOWS: u16 = 260;
const CORE_SAMPLER: u16 = 261;
const CORE_INTERFACES: u16 = 262;
const CORE_SAMPLER_ID: u8 = 1;
const CORE_SAMPLING: u32 = 100;

/// Field types of RFC 3954 section 8.
const CORE_FLOW_FIELDS: [Field; 20] = [
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
const CORE_FLOW_OCTETS: usize = octets(&CORE_FLOW_FIELDS);
/// Scope System (RFC 3954 section 6.1).
const CORE_SAMPLER_SCOPE: [Field; 1] = [Field::new(1, 4)];
const CORE_SAMPLER_FIELDS: [Field; 3] = [
    Field::new(48, 1), // FLOW_SAMPLER_ID
    Field::new(49, 1), // FLOW_SAMPLER_MODE
    Field::new(50, 4), // FLOW_SAMPLER_RANDOM_INTERVAL
];
/// Scope Interface (RFC 3954 section 6.1).
const CORE_INTERFACE_SCOPE: [Field; 1] = [Field::new(2, 4)];
const CORE_INTERFACE_FIELDS: [Field; 2] = [
    Field::new(82, 16), // IF_NAME
    Field::new(83, 32), // IF_DESC
];

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
        for chunk in flows.chunks(MAX_RECORD_OCTETS / CORE_FLOW_OCTETS) {
            let mut message = MessageWriter::v9(V9Header {
                sys_uptime_ms: since(self.boot, now),
                unix_secs: seconds(now),
                sequence: self.sequence,
                source_id: CORE_SOURCE_ID,
                count: None,
            });
            self.sequence = self.sequence.wrapping_add(1);
            if due(&mut self.refreshed, now) {
                write_core_options(&mut message);
            } else {
                message.declare(CORE_FLOWS, &CORE_FLOW_FIELDS);
            }
            message.data_set(CORE_FLOWS, |set| {
                for flow in chunk {
                    let (IpAddr::V4(source), IpAddr::V4(destination)) =
                        (flow.source.address, flow.destination.address)
                    else {
                        continue;
                    };
                    let (packets, octets) = sampled(&flow.seen, u64::from(CORE_SAMPLING));
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
                        r.u8(0).u8(CORE_SAMPLER_ID);
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
        .template(CORE_FLOWS, &CORE_FLOW_FIELDS)
        .options_template(CORE_SAMPLER, &CORE_SAMPLER_SCOPE, &CORE_SAMPLER_FIELDS)
        .options_template(
            CORE_INTERFACES,
            &CORE_INTERFACE_SCOPE,
            &CORE_INTERFACE_FIELDS,
        )
        .data_set(CORE_SAMPLER, |set| {
            set.record(|r| {
                // Mode 2 is random sampling.
                r.u32(0).u8(CORE_SAMPLER_ID).u8(2).u32(CORE_SAMPLING);
            });
        })
        .data_set(CORE_INTERFACES, |set| {
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

/// The data centre's switch: IPFIX for IPv4 and IPv6, both ways of a connection in one record where
/// it knows both (RFC 5103), with names of interfaces and applications by options data.
struct DataCentre {
    flows: Vec<Flow>,
    /// Data Records sent.
    sequence: u32,
    /// When templates and options were sent last.
    refreshed: Option<UnixMillis>,
}

const CENTRE_DOMAIN: u32 = 4_711;
const CENTRE_V4: u16 = 256;
const CENTRE_V6: u16 = 257;
const CENTRE_V4_BOTH: u16 = 258;
const CENTRE_V6_BOTH: u16 = 259;
const CENTRE_APPLICATIONS: u16 = 512;
const CENTRE_INTERFACES: u16 = 513;
/// The longest record: IPv6, both ways.
const CENTRE_RECORD_OCTETS: usize =
    octets(&CENTRE_V6_FIELDS) + octets(&CENTRE_COMMON) + octets(&CENTRE_REVERSE);

/// What every flow record has after its addresses and prefix lengths.
const CENTRE_COMMON: [Field; 16] = [
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
const CENTRE_V4_FIELDS: [Field; 4] = [
    Field::new(8, 4),  // sourceIPv4Address
    Field::new(12, 4), // destinationIPv4Address
    Field::new(9, 1),  // sourceIPv4PrefixLength
    Field::new(13, 1), // destinationIPv4PrefixLength
];
const CENTRE_V6_FIELDS: [Field; 4] = [
    Field::new(27, 16), // sourceIPv6Address
    Field::new(28, 16), // destinationIPv6Address
    Field::new(29, 1),  // sourceIPv6PrefixLength
    Field::new(30, 1),  // destinationIPv6PrefixLength
];
const CENTRE_REVERSE: [Field; 2] = [
    Field::reverse(2, 8), // reversePacketDeltaCount
    Field::reverse(1, 8), // reverseOctetDeltaCount
];

/// Fields of one of the four flow templates.
fn centre_fields(template: u16) -> Vec<Field> {
    let mut fields = match template {
        CENTRE_V4 | CENTRE_V4_BOTH => CENTRE_V4_FIELDS.to_vec(),
        _ => CENTRE_V6_FIELDS.to_vec(),
    };
    fields.extend_from_slice(&CENTRE_COMMON);
    if matches!(template, CENTRE_V4_BOTH | CENTRE_V6_BOTH) {
        fields.extend_from_slice(&CENTRE_REVERSE);
    }
    fields
}

const CENTRE_TEMPLATES: [u16; 4] = [CENTRE_V4, CENTRE_V6, CENTRE_V4_BOTH, CENTRE_V6_BOTH];

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
        flows.sort_by_key(Flow::centre_template);
        let mut datagrams = Vec::new();
        if !flows.is_empty() && due(&mut self.refreshed, now) {
            datagrams.push(self.options(now)?);
        }
        for chunk in flows.chunks(MAX_RECORD_OCTETS / CENTRE_RECORD_OCTETS) {
            let mut message = self.message(now);
            for of_template in chunk.chunk_by(|a, b| a.centre_template() == b.centre_template()) {
                let Some(template) = of_template.first().map(Flow::centre_template) else {
                    continue;
                };
                message.declare(template, &centre_fields(template));
                message.data_set(template, |set| {
                    for flow in of_template {
                        set.record(|r| flow.centre_record(r));
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
            observation_domain: CENTRE_DOMAIN,
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
        for template in CENTRE_TEMPLATES {
            message.template(template, &centre_fields(template));
        }
        message
            .options_template(
                CENTRE_APPLICATIONS,
                &[Field::new(95, 4)],                        // applicationId
                &[Field::variable(96), Field::variable(94)], // applicationName, -Description
            )
            .options_template(
                CENTRE_INTERFACES,
                &[Field::new(10, 4)],                        // ingressInterface
                &[Field::variable(82), Field::variable(83)], // interfaceName, -Description
            )
            .data_set(CENTRE_APPLICATIONS, |set| {
                for application in APPLICATIONS {
                    set.record(|r| {
                        r.u32(application_id((application.engine, application.selector)));
                        r.variable(application.name.as_bytes());
                        r.variable(application.description.as_bytes());
                    });
                }
            })
            .data_set(CENTRE_INTERFACES, |set| {
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
    fn centre_template(&self) -> u16 {
        match (self.source.address, self.reverse) {
            (IpAddr::V4(_), None) => CENTRE_V4,
            (IpAddr::V6(_), None) => CENTRE_V6,
            (IpAddr::V4(_), Some(_)) => CENTRE_V4_BOTH,
            (IpAddr::V6(_), Some(_)) => CENTRE_V6_BOTH,
        }
    }

    fn centre_record(&self, r: &mut write::Record) {
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

fn observe_both_ways(flows: &mut Vec<Flow>, conversation: &Conversation) -> usize {
    flows.push(there(conversation));
    let Some(back) = conversation.back else {
        return 1;
    };
    let there = there(conversation);
    let (source_port, destination_port) = match conversation.protocol {
        ICMP => (0, ECHO_REPLY),
        ICMP_V6 => (0, ECHO_REPLY_V6),
        _ => (there.destination_port, there.source_port),
    };
    flows.push(Flow {
        source: there.destination,
        destination: there.source,
        source_port,
        destination_port,
        seen: back,
        ..there
    });
    2
}

fn there(conversation: &Conversation) -> Flow {
    // flowEndReason (RFC 5102): 1 idle timeout, 2 active timeout, 3 end of flow.
    let end_reason = match (conversation.goes_on, conversation.protocol) {
        (true, _) => 2,
        (false, TCP) => 3,
        (false, _) => 1,
    };
    Flow {
        source: conversation.client,
        destination: conversation.server,
        source_port: conversation.client_port,
        destination_port: conversation.server_port,
        protocol: conversation.protocol,
        tos: conversation.tos,
        application: conversation.application,
        seen: conversation.there,
        reverse: None,
        end_reason,
    }
}

/// Whether templates are to be sent, which is then noted.
fn due(refreshed: &mut Option<UnixMillis>, now: UnixMillis) -> bool {
    let due = refreshed.is_none_or(|last| now.abs_diff(last) >= REFRESH_MS);
    if due {
        *refreshed = Some(now);
    }
    due
}

/// Packets and octets that a sampler of one packet in `interval` sees of a flow. A flow without a
/// sampled packet would not be told; here it is told of with one.
fn sampled(seen: &Direction, interval: u64) -> (u32, u32) {
    let packets = (seen.packets / interval).max(1);
    let octets = seen.octets / seen.packets.max(1) * packets;
    (
        u32::try_from(packets).unwrap_or(u32::MAX),
        u32::try_from(octets).unwrap_or(u32::MAX),
    )
}

/// SNMP index of the interface on this side, the same at every exporter.
fn interface(side: Side) -> u16 {
    match side {
        Side::Internet => 1,
        Side::Offices => 2,
        Side::Servers => 3,
    }
}

fn next_hop(side: Side) -> Ipv4Addr {
    match side {
        Side::Internet => Ipv4Addr::new(192, 0, 2, 254),
        Side::Offices => Ipv4Addr::new(10, 20, 0, 1),
        Side::Servers => Ipv4Addr::new(10, 40, 1, 1),
    }
}

/// Engine in the first octet, selector in the others (RFC 6759 section 4.1).
fn application_id((engine, selector): (u8, u16)) -> u32 {
    u32::from(engine) << 24 | u32::from(selector)
}

/// Octets of a record with these fields, all of fixed length.
const fn octets(fields: &[Field]) -> usize {
    let mut sum = 0;
    let mut rest = fields;
    while let Some((first, others)) = rest.split_first() {
        sum += first.length as usize;
        rest = others;
    }
    sum
}

/// Milliseconds of uptime, which wraps as sysUpTime does.
fn since(boot: UnixMillis, time: UnixMillis) -> u32 {
    (time.saturating_sub(boot) & u64::from(u32::MAX)) as u32
}

fn seconds(time: UnixMillis) -> u32 {
    u32::try_from(time / 1_000).unwrap_or(u32::MAX)
}
