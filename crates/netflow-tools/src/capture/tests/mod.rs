//! Tiny captures made by hand.

mod formats;
mod hostile;
mod ip_fragments;
mod packets;

use std::net::SocketAddr;

use super::{Capture, CaptureError, Skipped};

/// A payload without its borrow.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Got {
    frame: u64,
    at: Option<u64>,
    from: Option<SocketAddr>,
    octets: Vec<u8>,
    is_cut: bool,
}

/// All that a file gives, how it ended, and the packets that were left out.
struct Read {
    payloads: Vec<Got>,
    error: Option<CaptureError>,
    skipped: Vec<(Skipped, u64)>,
}

impl Read {
    fn octets(&self) -> Vec<&[u8]> {
        self.payloads.iter().map(|got| &*got.octets).collect()
    }
}

fn read(file: &[u8]) -> Read {
    let mut read = Read {
        payloads: Vec::new(),
        error: None,
        skipped: Vec::new(),
    };
    let mut capture = match Capture::open(file) {
        Ok(capture) => capture,
        Err(error) => {
            read.error = Some(error);
            return read;
        }
    };
    loop {
        match capture.next_payload() {
            Ok(Some(payload)) => read.payloads.push(Got {
                frame: payload.frame,
                at: payload.at.map(|at| at.0),
                from: payload.addresses.map(|(from, _)| from),
                octets: payload.octets.to_vec(),
                is_cut: payload.is_cut,
            }),
            Ok(None) => break,
            Err(error) => {
                read.error = Some(error);
                break;
            }
        }
    }
    let skipped = capture.tally().skipped();
    read.skipped = skipped
        .map(|(skipped, seen)| (skipped, seen.count))
        .collect();
    read
}

const PAYLOAD: &[u8] = b"payload";
const ETHERNET: u16 = 1;
const RAW: u16 = 101;

/// A UDP header and its payload, from port 2000 to 2055.
fn udp(payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend(2000_u16.to_be_bytes());
    octets.extend(2055_u16.to_be_bytes());
    octets.extend((payload.len() as u16 + 8).to_be_bytes());
    octets.extend([0, 0]);
    octets.extend(payload);
    octets
}

/// An IPv4 packet from 192.0.2.1; `flags` holds flags and fragment offset.
fn ipv4(id: u16, flags: u16, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x45, 0];
    octets.extend((body.len() as u16 + 20).to_be_bytes());
    octets.extend(id.to_be_bytes());
    octets.extend(flags.to_be_bytes());
    octets.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 254]);
    octets.extend(body);
    octets
}

/// An IPv6 packet from 2001:db8::1.
fn ipv6(next_header: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x60, 0, 0, 0];
    octets.extend((body.len() as u16).to_be_bytes());
    octets.extend([next_header, 64]);
    for last in [1, 2] {
        octets.extend([
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last,
        ]);
    }
    octets.extend(body);
    octets
}

fn ethernet(ether_type: u16, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![2; 12];
    octets.extend(ether_type.to_be_bytes());
    octets.extend(body);
    octets
}

fn whole_packet() -> Vec<u8> {
    ipv4(0, 0, 17, &udp(PAYLOAD))
}

/// A little-endian capture in microseconds, a packet a second.
fn pcap(link: u16, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = pcap_header(link);
    for (second, packet) in packets.iter().enumerate() {
        file.extend(pcap_packet(second as u32, packet.len() as u32, packet));
    }
    file
}

fn pcap_header(link: u16) -> Vec<u8> {
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, u32::from(link)];
    words
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect()
}

fn pcap_packet(second: u32, original: u32, packet: &[u8]) -> Vec<u8> {
    let words = [second, 5, packet.len() as u32, original];
    let mut octets: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    octets.extend(packet);
    octets
}
