//! NetFlow v1, v5 and v7: a header and records of one fixed layout. Layouts as in Cisco's
//! "NetFlow Export Datagram Format" (tables of the version 1, 5 and 7 headers and flow records).

use std::net::Ipv4Addr;

use super::WriteError;

/// Records that a conforming v1 datagram holds at most.
pub const V1_MAX_RECORDS: usize = 24;
/// Records that a conforming v5 datagram holds at most.
pub const V5_MAX_RECORDS: usize = 30;
/// Records that a conforming v7 datagram holds at most.
pub const V7_MAX_RECORDS: usize = 28;

/// Header of a v1 datagram, 16 octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct V1Header {
    /// Milliseconds since the exporter booted.
    pub sys_uptime_ms: u32,
    /// Seconds since 1970 at the export.
    pub unix_secs: u32,
    /// Residual nanoseconds of the export time.
    pub unix_nsecs: u32,
    /// The count field, where it should differ from the number of records.
    pub count: Option<u16>,
}

/// A v1 flow record, 48 octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct V1Record {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Next hop router.
    pub next_hop: Ipv4Addr,
    /// SNMP index of the input interface.
    pub input: u16,
    /// SNMP index of the output interface.
    pub output: u16,
    /// Packets of the flow.
    pub packets: u32,
    /// Layer 3 octets of the flow.
    pub octets: u32,
    /// Uptime in milliseconds at the first packet.
    pub first_ms: u32,
    /// Uptime in milliseconds at the last packet.
    pub last_ms: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port; for ICMP type × 256 + code.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Cumulative OR of the TCP flags.
    pub tcp_flags: u8,
}

impl Default for V1Record {
    fn default() -> Self {
        Self {
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::UNSPECIFIED,
            next_hop: Ipv4Addr::UNSPECIFIED,
            input: 0,
            output: 0,
            packets: 0,
            octets: 0,
            first_ms: 0,
            last_ms: 0,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            tos: 0,
            tcp_flags: 0,
        }
    }
}

/// Header of a v5 datagram, 24 octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct V5Header {
    /// Milliseconds since the exporter booted.
    pub sys_uptime_ms: u32,
    /// Seconds since 1970 at the export.
    pub unix_secs: u32,
    /// Residual nanoseconds of the export time.
    pub unix_nsecs: u32,
    /// Flows exported before this datagram.
    pub flow_sequence: u32,
    /// Type of the flow switching engine.
    pub engine_type: u8,
    /// Slot of the flow switching engine.
    pub engine_id: u8,
    /// Sampling mode, the two high bits of the field; higher bits of this value are cut off.
    pub sampling_mode: u8,
    /// Sampling interval, the 14 low bits of the field; higher bits of this value are cut off.
    pub sampling_interval: u16,
    /// The count field, where it should differ from the number of records.
    pub count: Option<u16>,
}

/// A v5 flow record, 48 octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct V5Record {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Next hop router.
    pub next_hop: Ipv4Addr,
    /// SNMP index of the input interface.
    pub input: u16,
    /// SNMP index of the output interface.
    pub output: u16,
    /// Packets of the flow.
    pub packets: u32,
    /// Layer 3 octets of the flow.
    pub octets: u32,
    /// Uptime in milliseconds at the first packet.
    pub first_ms: u32,
    /// Uptime in milliseconds at the last packet.
    pub last_ms: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port; for ICMP type × 256 + code.
    pub destination_port: u16,
    /// Cumulative OR of the TCP flags.
    pub tcp_flags: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Autonomous system of the source, origin or peer.
    pub source_as: u16,
    /// Autonomous system of the destination, origin or peer.
    pub destination_as: u16,
    /// Prefix length of the source.
    pub source_mask: u8,
    /// Prefix length of the destination.
    pub destination_mask: u8,
}

impl Default for V5Record {
    fn default() -> Self {
        Self {
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::UNSPECIFIED,
            next_hop: Ipv4Addr::UNSPECIFIED,
            input: 0,
            output: 0,
            packets: 0,
            octets: 0,
            first_ms: 0,
            last_ms: 0,
            source_port: 0,
            destination_port: 0,
            tcp_flags: 0,
            protocol: 0,
            tos: 0,
            source_as: 0,
            destination_as: 0,
            source_mask: 0,
            destination_mask: 0,
        }
    }
}

/// Header of a v7 datagram, 24 octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct V7Header {
    /// Milliseconds since the exporter booted.
    pub sys_uptime_ms: u32,
    /// Seconds since 1970 at the export.
    pub unix_secs: u32,
    /// Residual nanoseconds of the export time.
    pub unix_nsecs: u32,
    /// Flows exported before this datagram.
    pub flow_sequence: u32,
    /// The count field, where it should differ from the number of records.
    pub count: Option<u16>,
}

/// A v7 flow record, 52 octets: a v5 record whose padding shows which fields are invalid, followed
/// by the address of the router that the switch bypassed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct V7Record {
    /// What v7 shares with v5.
    pub flow: V5Record,
    /// Flags of fields that are invalid (octet 36).
    pub flags1: u8,
    /// Flags of fields that are invalid (octets 46 and 47).
    pub flags2: u16,
    /// Router that the switch bypassed.
    pub router: Ipv4Addr,
}

impl Default for V7Record {
    fn default() -> Self {
        Self {
            flow: V5Record::default(),
            flags1: 0,
            flags2: 0,
            router: Ipv4Addr::UNSPECIFIED,
        }
    }
}

/// Builds a v1 datagram. More than [`V1_MAX_RECORDS`] records are written as asked.
///
/// # Errors
/// [`WriteError::MessageTooLong`] past 65,535 octets.
pub fn v1(header: &V1Header, records: &[V1Record]) -> Result<Vec<u8>, WriteError> {
    let mut out = start(1, header.count, 16, records.len(), 48)?;
    put_u32s(
        &mut out,
        &[header.sys_uptime_ms, header.unix_secs, header.unix_nsecs],
    );
    for r in records {
        put_flow(
            &mut out,
            r.source,
            r.destination,
            r.next_hop,
            [r.input, r.output],
        );
        put_u32s(&mut out, &[r.packets, r.octets, r.first_ms, r.last_ms]);
        put_u16s(&mut out, &[r.source_port, r.destination_port, 0]);
        out.extend_from_slice(&[r.protocol, r.tos, r.tcp_flags, 0, 0, 0]);
        out.extend_from_slice(&[0; 4]);
    }
    Ok(out)
}

/// Builds a v5 datagram. More than [`V5_MAX_RECORDS`] records are written as asked.
///
/// # Errors
/// [`WriteError::MessageTooLong`] past 65,535 octets.
pub fn v5(header: &V5Header, records: &[V5Record]) -> Result<Vec<u8>, WriteError> {
    let mut out = start(5, header.count, 24, records.len(), 48)?;
    let h = header;
    put_u32s(
        &mut out,
        &[h.sys_uptime_ms, h.unix_secs, h.unix_nsecs, h.flow_sequence],
    );
    out.extend_from_slice(&[h.engine_type, h.engine_id]);
    let sampling = u16::from(h.sampling_mode) << 14 | h.sampling_interval & 0x3fff;
    put_u16s(&mut out, &[sampling]);
    for r in records {
        put_v5_record(&mut out, r, 0, 0);
    }
    Ok(out)
}

/// Builds a v7 datagram. More than [`V7_MAX_RECORDS`] records are written as asked.
///
/// # Errors
/// [`WriteError::MessageTooLong`] past 65,535 octets.
pub fn v7(header: &V7Header, records: &[V7Record]) -> Result<Vec<u8>, WriteError> {
    let mut out = start(7, header.count, 24, records.len(), 52)?;
    let h = header;
    put_u32s(
        &mut out,
        &[
            h.sys_uptime_ms,
            h.unix_secs,
            h.unix_nsecs,
            h.flow_sequence,
            0,
        ],
    );
    for r in records {
        put_v5_record(&mut out, &r.flow, r.flags1, r.flags2);
        out.extend_from_slice(&r.router.octets());
    }
    Ok(out)
}

/// A buffer that holds the version and the count.
fn start(
    version: u16,
    count: Option<u16>,
    header_octets: usize,
    records: usize,
    record_octets: usize,
) -> Result<Vec<u8>, WriteError> {
    let octets = records
        .saturating_mul(record_octets)
        .saturating_add(header_octets);
    if octets > usize::from(u16::MAX) {
        return Err(WriteError::MessageTooLong { octets });
    }
    let mut out = Vec::with_capacity(octets);
    put_u16s(
        &mut out,
        &[version, count.unwrap_or_else(|| super::length16(records))],
    );
    Ok(out)
}

fn put_v5_record(out: &mut Vec<u8>, r: &V5Record, pad1: u8, pad2: u16) {
    put_flow(
        out,
        r.source,
        r.destination,
        r.next_hop,
        [r.input, r.output],
    );
    put_u32s(out, &[r.packets, r.octets, r.first_ms, r.last_ms]);
    put_u16s(out, &[r.source_port, r.destination_port]);
    out.extend_from_slice(&[pad1, r.tcp_flags, r.protocol, r.tos]);
    put_u16s(out, &[r.source_as, r.destination_as]);
    out.extend_from_slice(&[r.source_mask, r.destination_mask]);
    put_u16s(out, &[pad2]);
}

fn put_flow(
    out: &mut Vec<u8>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    next_hop: Ipv4Addr,
    interfaces: [u16; 2],
) {
    for address in [source, destination, next_hop] {
        out.extend_from_slice(&address.octets());
    }
    put_u16s(out, &interfaces);
}

fn put_u16s(out: &mut Vec<u8>, values: &[u16]) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn put_u32s(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> V5Record {
        V5Record {
            source: Ipv4Addr::new(10, 1, 2, 3),
            destination: Ipv4Addr::new(192, 0, 2, 9),
            next_hop: Ipv4Addr::new(10, 1, 0, 1),
            input: 3,
            output: 0x0104,
            packets: 7,
            octets: 0x0001_0203,
            first_ms: 1000,
            last_ms: 2000,
            source_port: 51000,
            destination_port: 443,
            tcp_flags: 0x1b,
            protocol: 6,
            tos: 0x2e,
            source_as: 64500,
            destination_as: 64501,
            source_mask: 24,
            destination_mask: 16,
        }
    }

    /// Octets 0 to 43 of a v5 and a v7 record, but for the padding octet 36.
    const COMMON: [u8; 36] = [
        10, 1, 2, 3, // 0: srcaddr
        192, 0, 2, 9, // 4: dstaddr
        10, 1, 0, 1, // 8: nexthop
        0, 3, // 12: input
        1, 4, // 14: output
        0, 0, 0, 7, // 16: dPkts
        0, 1, 2, 3, // 20: dOctets
        0, 0, 0x03, 0xe8, // 24: First
        0, 0, 0x07, 0xd0, // 28: Last
        0xc7, 0x38, // 32: srcport
        0x01, 0xbb, // 34: dstport
    ];
    const AFTER_PAD: [u8; 9] = [
        0x1b, // 37: tcp_flags
        6,    // 38: prot
        0x2e, // 39: tos
        0xfb, 0xf4, // 40: src_as
        0xfb, 0xf5, // 42: dst_as
        24, 16, // 44: src_mask, dst_mask
    ];

    #[test]
    fn v5_is_laid_out_as_the_format_says() {
        let header = V5Header {
            sys_uptime_ms: 0x0102_0304,
            unix_secs: 0x6500_0000,
            unix_nsecs: 5,
            flow_sequence: 9,
            engine_type: 1,
            engine_id: 2,
            sampling_mode: 1,
            sampling_interval: 100,
            count: None,
        };
        let mut expected = vec![
            0, 5, // version
            0, 1, // count
            1, 2, 3, 4, // SysUptime
            0x65, 0, 0, 0, // unix_secs
            0, 0, 0, 5, // unix_nsecs
            0, 0, 0, 9, // flow_sequence
            1, 2, // engine_type, engine_id
            0x40, 100, // sampling: mode 1, interval 100
        ];
        expected.extend_from_slice(&COMMON);
        expected.push(0); // 36: pad1
        expected.extend_from_slice(&AFTER_PAD);
        expected.extend_from_slice(&[0, 0]); // 46: pad2
        assert_eq!(v5(&header, &[record()]).unwrap(), expected);
    }

    #[test]
    fn v7_carries_its_flags_and_the_router() {
        let record = V7Record {
            flow: record(),
            flags1: 0x81,
            flags2: 0x1234,
            router: Ipv4Addr::new(172, 16, 0, 1),
        };
        let header = V7Header {
            sys_uptime_ms: 1,
            unix_secs: 2,
            unix_nsecs: 3,
            flow_sequence: 4,
            count: None,
        };
        let mut expected = vec![
            0, 7, 0, 1, // version, count
            0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, // SysUptime, unix_secs, unix_nsecs
            0, 0, 0, 4, // flow_sequence
            0, 0, 0, 0, // reserved
        ];
        expected.extend_from_slice(&COMMON);
        expected.push(0x81); // 36: flags
        expected.extend_from_slice(&AFTER_PAD);
        expected.extend_from_slice(&[0x12, 0x34]); // 46: flags
        expected.extend_from_slice(&[172, 16, 0, 1]); // 48: router_sc
        assert_eq!(v7(&header, &[record]).unwrap(), expected);
    }

    #[test]
    fn v1_is_laid_out_as_the_format_says() {
        let r = record();
        let record = V1Record {
            source: r.source,
            destination: r.destination,
            next_hop: r.next_hop,
            input: r.input,
            output: r.output,
            packets: r.packets,
            octets: r.octets,
            first_ms: r.first_ms,
            last_ms: r.last_ms,
            source_port: r.source_port,
            destination_port: r.destination_port,
            protocol: 17,
            tos: 4,
            tcp_flags: 2,
        };
        let header = V1Header {
            sys_uptime_ms: 1,
            unix_secs: 2,
            unix_nsecs: 3,
            count: None,
        };
        let mut expected = vec![0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        expected.extend_from_slice(&COMMON);
        expected.extend_from_slice(&[0, 0]); // 36: pad1
        expected.extend_from_slice(&[17, 4, 2]); // 38: prot, tos, flags
        expected.extend_from_slice(&[0; 7]); // 41: padding and reserved
        assert_eq!(v1(&header, &[record]).unwrap(), expected);
        assert_eq!(expected.len(), 16 + 48);
    }

    #[test]
    fn count_may_lie_and_length_is_bounded() {
        let header = V5Header {
            count: Some(30),
            ..V5Header::default()
        };
        let octets = v5(&header, &[]).unwrap();
        assert_eq!(octets.get(..4), Some([0, 5, 0, 30].as_slice()));
        assert_eq!(
            v5(&header, &vec![V5Record::default(); 1366]),
            Err(WriteError::MessageTooLong {
                octets: 24 + 1366 * 48
            })
        );
    }
}
