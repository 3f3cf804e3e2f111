//! Exporters on loopback, and the messages that they send: flows with known values and times.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, Record, V5Header, V5Record, V9Header, v5,
};

/// A socket that sends from an address of its own.
pub(crate) struct Exporter {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Exporter {
    pub(crate) fn new(address: &str, to: SocketAddr) -> Self {
        let ip: std::net::IpAddr = address.parse().unwrap();
        Self {
            socket: UdpSocket::bind((ip, 0)).unwrap(),
            to,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        let sent = self.socket.send_to(datagram, self.to).unwrap();
        assert_eq!(sent, datagram.len());
    }
}

/// Whether this machine can send over IPv6.
pub(crate) fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

/// Seconds since 1970.
pub(crate) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}

pub(crate) const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
pub(crate) const DESTINATION: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// Milliseconds that the exporters have been up at the export.
pub(crate) const UPTIME_MS: u32 = 3_600_000;
/// A flow began and ended so many milliseconds before its export.
pub(crate) const BEGAN_BEFORE_MS: u32 = 10_000;
pub(crate) const ENDED_BEFORE_MS: u32 = 1_000;
pub(crate) const TEMPLATE: u16 = 256;

/// A v5 datagram of flows whose source ports begin at `first_port`.
pub(crate) fn v5_datagram(export_time: u32, sequence: u32, first_port: u16, flows: u16) -> Vec<u8> {
    let header = V5Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: export_time,
        flow_sequence: sequence,
        ..V5Header::default()
    };
    let records: Vec<_> = (0..flows)
        .map(|flow| V5Record {
            source: SOURCE,
            destination: DESTINATION,
            next_hop: Ipv4Addr::new(10, 0, 0, 1),
            input: 3,
            output: 4,
            packets: 12,
            octets: 3456,
            first_ms: UPTIME_MS - BEGAN_BEFORE_MS,
            last_ms: UPTIME_MS - ENDED_BEFORE_MS,
            source_port: first_port + flow,
            destination_port: 443,
            tcp_flags: 0x1b,
            protocol: 6,
            tos: 8,
            source_as: 64512,
            destination_as: 64513,
            source_mask: 24,
            destination_mask: 16,
        })
        .collect();
    v5(&header, &records).unwrap()
}

/// Addresses, ports, protocol, octets, packets, and times by uptime.
const V9_FIELDS: [Field; 9] = [
    Field::new(8, 4),
    Field::new(12, 4),
    Field::new(7, 2),
    Field::new(11, 2),
    Field::new(4, 1),
    Field::new(1, 4),
    Field::new(2, 4),
    Field::new(22, 4),
    Field::new(21, 4),
];

/// The same with the times in milliseconds since 1970.
const IPFIX_FIELDS: [Field; 9] = [
    Field::new(8, 4),
    Field::new(12, 4),
    Field::new(7, 2),
    Field::new(11, 2),
    Field::new(4, 1),
    Field::new(1, 8),
    Field::new(2, 8),
    Field::new(152, 8),
    Field::new(153, 8),
];

/// What a v9 or IPFIX message holds.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    Template,
    /// Flows whose source ports begin here.
    Data {
        first_port: u16,
        flows: u16,
    },
    /// A template, then flows.
    Both {
        first_port: u16,
        flows: u16,
    },
}

impl Content {
    fn has_template(self) -> bool {
        !matches!(self, Self::Data { .. })
    }

    fn source_ports(self) -> std::ops::Range<u16> {
        match self {
            Self::Template => 0..0,
            Self::Data { first_port, flows } | Self::Both { first_port, flows } => {
                first_port..first_port + flows
            }
        }
    }
}

fn key(record: &mut Record, source_port: u16) -> &mut Record {
    record
        .ipv4(SOURCE)
        .ipv4(DESTINATION)
        .u16(source_port)
        .u16(53)
        .u8(17)
}

pub(crate) fn v9_datagram(export_time: u32, sequence: u32, content: Content) -> Vec<u8> {
    let mut message = MessageWriter::v9(V9Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: export_time,
        sequence,
        source_id: 7,
        count: None,
    });
    if content.has_template() {
        message.template(TEMPLATE, &V9_FIELDS);
    }
    write_data(&mut message, content, |record, port| {
        key(record, port)
            .u32(120)
            .u32(2)
            .u32(UPTIME_MS - BEGAN_BEFORE_MS)
            .u32(UPTIME_MS - ENDED_BEFORE_MS);
    });
    message.finish().unwrap()
}

pub(crate) fn ipfix_datagram(export_time: u32, sequence: u32, content: Content) -> Vec<u8> {
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time,
        sequence,
        observation_domain: 9,
        length: None,
    });
    if content.has_template() {
        message.template(TEMPLATE, &IPFIX_FIELDS);
    }
    let export_ms = u64::from(export_time) * 1000;
    write_data(&mut message, content, |record, port| {
        key(record, port)
            .u64(5_000_000_000)
            .u64(4_000_000)
            .u64(export_ms - u64::from(BEGAN_BEFORE_MS))
            .u64(export_ms - u64::from(ENDED_BEFORE_MS));
    });
    message.finish().unwrap()
}

fn write_data(message: &mut MessageWriter, content: Content, flow: impl Fn(&mut Record, u16)) {
    let ports = content.source_ports();
    if ports.is_empty() {
        return;
    }
    message.data_set(TEMPLATE, |set| {
        for port in ports {
            set.record(|record| flow(record, port));
        }
    });
}
