//! Datagrams of a classic capture file: Ethernet, IPv4, UDP.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use otlp_wire::UnixNanos;

/// A UDP datagram of a capture.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) at: UnixNanos,
    pub(crate) source: SocketAddr,
    pub(crate) octets: Vec<u8>,
}

const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
const ETHERNET_HEADER: usize = 14;
const UDP_HEADER: usize = 8;

/// Every packet of a file of little-endian microseconds; one that isn't UDP over IPv4 over Ethernet,
/// or isn't whole, is an error.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Captured>> {
    let file = fs::read(path)?;
    if !file.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]) || file.get(20) != Some(&1) {
        return Err(broken("not a capture of Ethernet frames in classic form"));
    }
    let mut rest = file
        .get(FILE_HEADER..)
        .ok_or_else(|| broken("no file header"))?;
    let mut datagrams = Vec::new();
    while !rest.is_empty() {
        let (header, after) = rest
            .split_at_checked(PACKET_HEADER)
            .ok_or_else(|| broken("a packet header is cut"))?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (frame, next) = after
            .split_at_checked(word(8) as usize)
            .ok_or_else(|| broken("the last packet is cut"))?;
        let at = u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * 1_000;
        let (source, octets) = udp(frame).ok_or_else(|| broken("not UDP over IPv4"))?;
        datagrams.push(Captured {
            at: UnixNanos(at),
            source,
            octets: octets.to_vec(),
        });
        rest = next;
    }
    Ok(datagrams)
}

fn udp(frame: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let packet = frame
        .get(ETHERNET_HEADER..)
        .filter(|_| frame[12..14] == [0x08, 0x00])?;
    let header = packet
        .get(..20)
        .filter(|header| header[0] >> 4 == 4 && header[9] == 17)?;
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let datagram = packet.get(usize::from(header[0] & 0x0f) * 4..)?;
    let length = datagram
        .get(4..6)
        .map(|octets| u16::from_be_bytes([octets[0], octets[1]]))?;
    let port = u16::from_be_bytes([datagram[0], datagram[1]]);
    let payload = datagram.get(UDP_HEADER..usize::from(length))?;
    Some((SocketAddr::from((source, port)), payload))
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
