//! Below IP: Ethernet with its tags, PPP, MPLS.

use super::{Frame, LinkType, Macs};
use crate::octets::{u16_at, u32_at};

/// Tags followed in one frame.
const MAX_TAGS: usize = 4;
/// Labels followed in one stack; the bottom is found behind those that are kept too.
const MAX_STACK: usize = 32;

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
/// Upstream-assigned labels or multicast (RFC 5332).
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_SESSION: u16 = 0x8864;
/// The service instance tag of Provider Backbone Bridges (IEEE 802.1ah): four octets, then the customer's frame.
const SERVICE_INSTANCE: u16 = 0x88e7;
/// Cisco's metadata, a security group tag for example: version, words, so many words, and the next EtherType.
const METADATA: u16 = 0x8909;
/// A smaller number in EtherType's place is a length (IEEE 802.3, section 3.2.6).
const MIN_ETHERTYPE: u16 = 0x0600;

/// Finds the IP header, and notes in `frame` what stands before it.
pub(super) fn find_ip<'a>(link: LinkType, octets: &'a [u8], frame: &mut Frame) -> Option<&'a [u8]> {
    match link {
        LinkType::Ethernet => ethernet(octets, frame),
        LinkType::Ppp => ppp(octets, frame),
        LinkType::Mpls => mpls(octets, frame),
        LinkType::Ip => Some(octets),
    }
}

fn ethernet<'a>(octets: &'a [u8], frame: &mut Frame) -> Option<&'a [u8]> {
    let destination = *octets.first_chunk()?;
    let source = *octets.get(6..)?.first_chunk()?;
    frame.macs = Some(Macs {
        source,
        destination,
    });
    let (ethertype, payload) = untagged(octets, |vlan| frame.vlans.push(vlan))?;
    frame.ethertype = Some(ethertype);
    by_ethertype(ethertype, payload, frame)
}

/// The EtherType behind the addresses and tags of a frame, and what follows it; the tags' identifiers go to `vlan`.
fn untagged(octets: &[u8], mut vlan: impl FnMut(u16)) -> Option<(u16, &[u8])> {
    let mut at = 12;
    let mut ethertype = u16_at(octets, at)?;
    for _ in 0..MAX_TAGS {
        // 802.1Q, 802.1ad, and what was used for the latter before it was one.
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100 | 0x9200) {
            break;
        }
        vlan(u16_at(octets, at + 2)? & 0x0fff);
        at += 4;
        ethertype = u16_at(octets, at)?;
    }
    let payload = octets.get(at + 2..)?;
    if ethertype < MIN_ETHERTYPE {
        // LLC with SNAP (RFC 1042); other LLC carries no IP.
        let snap = payload.strip_prefix(&[0xaa, 0xaa, 3, 0, 0, 0])?;
        return Some((u16_at(snap, 0)?, snap.get(2..)?));
    }
    Some((ethertype, payload))
}

/// The IP packet in a frame that another network carries; its addresses and tags aren't kept. Nothing has said that the
/// octets are a frame, so that EtherType and version must agree.
fn customer_ip(octets: &[u8]) -> Option<&[u8]> {
    let (ethertype, payload) = untagged(octets, |_| {})?;
    let version = payload.first()? >> 4;
    matches!((ethertype, version), (IPV4, 4) | (IPV6, 6)).then_some(payload)
}

/// What an EtherType says of the octets behind it.
pub(super) fn by_ethertype<'a>(
    ethertype: u16,
    payload: &'a [u8],
    frame: &mut Frame,
) -> Option<&'a [u8]> {
    let (ethertype, payload) = match ethertype {
        METADATA => {
            let at = 2 + 4 * usize::from(*payload.get(1)?);
            (u16_at(payload, at)?, payload.get(at + 2..)?)
        }
        _ => (ethertype, payload),
    };
    match ethertype {
        IPV4 | IPV6 => Some(payload),
        MPLS | MPLS_MULTICAST => mpls(payload, frame),
        // Version and type, code, session, length; then PPP's protocol (RFC 2516, section 4).
        PPPOE_SESSION => ppp_protocol(payload.get(6..)?, frame),
        SERVICE_INSTANCE => customer_ip(payload.get(4..)?),
        _ => None,
    }
}

fn ppp<'a>(octets: &'a [u8], frame: &mut Frame) -> Option<&'a [u8]> {
    ppp_protocol(octets.strip_prefix(&[0xff, 3]).unwrap_or(octets), frame)
}

/// A protocol is one octet if that is odd (RFC 1661, section 2), else two.
fn ppp_protocol<'a>(octets: &'a [u8], frame: &mut Frame) -> Option<&'a [u8]> {
    let first = *octets.first()?;
    let (protocol, payload) = if first & 1 == 1 {
        (u16::from(first), octets.get(1..)?)
    } else {
        (u16_at(octets, 0)?, octets.get(2..)?)
    };
    match protocol {
        0x0021 | 0x0057 => Some(payload),
        0x0281 | 0x0283 => mpls(payload, frame),
        _ => None,
    }
}

/// Label (20 bits), traffic class (3), bottom of stack (1), TTL (8), until the bottom.
fn mpls<'a>(octets: &'a [u8], frame: &mut Frame) -> Option<&'a [u8]> {
    for entry in 0..MAX_STACK {
        let word = u32_at(octets, entry * 4)?;
        frame.labels.push(word >> 12);
        if word & 0x100 != 0 {
            let payload = octets.get(entry * 4 + 4..)?;
            // Nothing names the payload: an IP version is believed, another first nibble is a pseudowire's
            // (RFC 4928, section 3). In one of Ethernet a control word may stand before the frame, and begins with a
            // zero (RFC 4448, section 4.6).
            return match payload.first()? >> 4 {
                4 | 6 => Some(payload),
                0 => customer_ip(payload.get(4..)?).or_else(|| customer_ip(payload)),
                _ => customer_ip(payload),
            };
        }
    }
    None
}
