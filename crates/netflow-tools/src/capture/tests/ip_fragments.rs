//! Fragments in any order give their datagram, and no more than a bound waits.

use super::{PAYLOAD, RAW, Read, ipv4, ipv6, pcap, pcap_header, pcap_packet, read, udp};
use crate::capture::Skipped;

const MORE: u16 = 0x2000;

/// A datagram of 40 octets of payload as three IPv4 fragments.
fn fragments(id: u16) -> (Vec<u8>, [Vec<u8>; 3]) {
    let payload: Vec<u8> = (0..40).collect();
    let whole = udp(&payload);
    let fragments = [
        ipv4(id, MORE, 17, &whole[..16]),
        ipv4(id, MORE | 2, 17, &whole[16..40]),
        ipv4(id, 5, 17, &whole[40..]),
    ];
    (payload, fragments)
}

fn losses(read: &Read) -> Vec<(Skipped, u64)> {
    let losses = read.skipped.iter().filter(|(skipped, _)| skipped.is_loss());
    losses.copied().collect()
}

#[test]
fn fragments_come_in_any_order_and_twice() {
    let (payload, [a, b, c]) = fragments(1);
    let orders: [&[&Vec<u8>]; 5] = [
        &[&a, &b, &c],
        &[&c, &b, &a],
        &[&b, &c, &a],
        &[&c, &a, &c, &a, &b],
        &[&a, &a, &c, &b],
    ];
    for order in orders {
        let packets: Vec<Vec<u8>> = order.iter().map(|packet| (*packet).clone()).collect();
        let all = read(&pcap(RAW, &packets));
        assert_eq!(all.octets(), [&*payload]);
        assert_eq!(all.payloads[0].frame, packets.len() as u64);
        assert_eq!(losses(&all), []);
    }
}

#[test]
fn datagrams_are_told_apart_by_their_ids() {
    let (payload, [a, b, c]) = fragments(1);
    let (_, [d, e, f]) = fragments(2);
    let all = read(&pcap(RAW, &[a, d, b, e, f, c]));
    assert_eq!(all.octets(), [&*payload, &*payload]);
}

#[test]
fn ipv6_fragments() {
    let whole = udp(PAYLOAD);
    let piece = |offset: u16, more: u16, octets: &[u8]| {
        let mut body = vec![17, 0];
        body.extend((offset << 3 | more).to_be_bytes());
        body.extend(77_u32.to_be_bytes());
        body.extend(octets);
        ipv6(44, &body)
    };
    let all = read(&pcap(
        RAW,
        &[piece(1, 0, &whole[8..]), piece(0, 1, &whole[..8])],
    ));
    assert_eq!(all.octets(), [PAYLOAD]);
}

#[test]
fn missing_fragments_are_told_at_the_end() {
    let (_, [a, b, _]) = fragments(1);
    let all = read(&pcap(RAW, &[a, b]));
    assert!(all.payloads.is_empty());
    assert_eq!(losses(&all), [(Skipped::FragmentMissing, 1)]);
}

#[test]
fn fragments_are_not_waited_for_for_ever() {
    let (_, [a, b, c]) = fragments(1);
    let mut file = pcap_header(RAW);
    for (second, packet) in [(0, a), (30, b), (61, c)] {
        file.extend(pcap_packet(second, packet.len() as u32, &packet));
    }
    let all = read(&file);
    assert!(all.payloads.is_empty());
    // What came before the age's end, and what came behind it.
    assert_eq!(losses(&all), [(Skipped::FragmentMissing, 2)]);
}

#[test]
fn overlapping_fragments_cost_their_datagram_only() {
    let (payload, [a, b, c]) = fragments(1);
    let (_, [d, e, f]) = fragments(2);
    let overlapping = ipv4(1, MORE | 1, 17, &[9; 16]);
    let all = read(&pcap(RAW, &[a, d, overlapping, e, f, b, c]));
    assert_eq!(all.octets(), [&*payload]);
    assert_eq!(
        losses(&all),
        [(Skipped::FragmentMissing, 1), (Skipped::FragmentOverlap, 1)]
    );
}

#[test]
fn fragments_past_the_longest_datagram_are_refused() {
    let all = read(&pcap(
        RAW,
        &[ipv4(1, 0x1fff, 17, &[0; 16]), ipv4(2, MORE, 17, &[0; 15])],
    ));
    assert_eq!(losses(&all), [(Skipped::Malformed, 2)]);
}

#[test]
fn a_flood_of_fragments_is_bounded() {
    let count = 3_000;
    let mut packets: Vec<_> = (0..count)
        .map(|id| ipv4(id, MORE, 17, &[0; 1480]))
        .collect();
    let (payload, last) = fragments(9_999);
    packets.extend(last);
    let all = read(&pcap(RAW, &packets));
    assert_eq!(all.octets(), [&*payload]);
    assert_eq!(losses(&all), [(Skipped::FragmentMissing, u64::from(count))]);
}
