//! From a frame to the IP packet in it, by link type.
//!
//! Source: the registry of link-layer header types (draft-ietf-opsawg-pcaplinktype).

use netflow_wire::{u16_at, u32_at};

use super::octets::Order;

/// What a frame holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Network<'a> {
    /// An IP packet, perhaps with padding behind it.
    Ip(&'a [u8]),
    /// Another protocol, by its EtherType where the frame has one.
    Other(Option<u16>),
    /// The link type is not read.
    UnknownLink,
    /// The frame is shorter than its headers.
    Malformed,
}

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const PPP: u16 = 9;
/// Raw IP has one number in files and others in the systems that write them.
const RAW: [u16; 5] = [12, 14, 101, 228, 229];
const PPP_SERIAL: u16 = 50;
const PPPOE: u16 = 51;
const LOOP: u16 = 108;
const LINUX_COOKED: u16 = 113;
const LINUX_COOKED_2: u16 = 276;

pub(super) fn network(link: u16, frame: &[u8]) -> Network<'_> {
    let found = match link {
        ETHERNET => ether_type(frame, 12),
        LINUX_COOKED => ether_type(frame, 14),
        // The protocol stands first; the packet begins behind 20 octets.
        LINUX_COOKED_2 => u16_at(frame, 0)
            .zip(frame.get(20..))
            .map(|(protocol, rest)| by_ether_type(protocol, rest)),
        NULL | LOOP => loopback(link, frame),
        PPP | PPP_SERIAL => ppp(frame),
        PPPOE => frame.get(6..).map(ppp_protocol),
        link if RAW.contains(&link) => Some(Network::Ip(frame)),
        _ => return Network::UnknownLink,
    };
    found.unwrap_or(Network::Malformed)
}

fn ether_type(frame: &[u8], at: usize) -> Option<Network<'_>> {
    Some(by_ether_type(u16_at(frame, at)?, frame.get(at + 2..)?))
}

fn by_ether_type(mut protocol: u16, mut rest: &[u8]) -> Network<'_> {
    loop {
        match protocol {
            0x0800 | 0x86dd => return Network::Ip(rest),
            // 802.1Q, 802.1ad, and what stood for the latter before it was one.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                let (Some(inner), Some(behind)) = (u16_at(rest, 2), rest.get(4..)) else {
                    return Network::Malformed;
                };
                (protocol, rest) = (inner, behind);
            }
            0x8847 | 0x8848 => return mpls(rest).unwrap_or(Network::Malformed),
            // PPPoE: version, code, session, length; then PPP.
            0x8864 => return rest.get(6..).map_or(Network::Malformed, ppp_protocol),
            other => return Network::Other(Some(other)),
        }
    }
}

/// Labels up to the bottom of the stack; behind it an IP packet shows itself by its first four bits.
fn mpls(mut rest: &[u8]) -> Option<Network<'_>> {
    loop {
        let label = u32_at(rest, 0)?;
        rest = rest.get(4..)?;
        if label & 0x100 != 0 {
            return Some(match rest.first()? >> 4 {
                4 | 6 => Network::Ip(rest),
                _ => Network::Other(None),
            });
        }
    }
}

/// An address family before the packet: in the capturing machine's byte order, or in the network's.
fn loopback(link: u16, frame: &[u8]) -> Option<Network<'_>> {
    let family = u32_at(frame, 0)?;
    let family = match Order::Little.u32(frame, 0)? {
        little if link == NULL && family > 0xffff => little,
        _ => family,
    };
    let packet = frame.get(4..)?;
    // AF_INET; AF_INET6 of Linux, the BSDs and macOS.
    Some(match family {
        2 | 10 | 24 | 28 | 30 => Network::Ip(packet),
        _ => Network::Other(None),
    })
}

/// With or without the address and control octets of HDLC; Cisco's HDLC has an EtherType instead.
fn ppp(frame: &[u8]) -> Option<Network<'_>> {
    Some(match frame {
        [0xff, 0x03, rest @ ..] => ppp_protocol(rest),
        [0x0f | 0x8f, 0x00, rest @ ..] => return ether_type(rest, 0),
        [] => return None,
        _ => ppp_protocol(frame),
    })
}

/// A protocol of one octet where its lowest bit is set, else of two (RFC 1661, section 2).
fn ppp_protocol(rest: &[u8]) -> Network<'_> {
    match rest {
        [0x21 | 0x57, packet @ ..] | [0x00, 0x21 | 0x57, packet @ ..] => Network::Ip(packet),
        [] | [0x00] => Network::Malformed,
        _ => Network::Other(None),
    }
}
