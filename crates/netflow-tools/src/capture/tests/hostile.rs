//! Whatever the octets are: no panic, an end, and no memory for what is only claimed.

use proptest::prelude::*;

use super::{RAW, pcap, pcap_header, read, whole_packet};
use crate::capture::{Capture, CaptureError, MAX_PACKET_OCTETS};

/// Reads to the end; gives the largest buffer that it took.
fn most_held(file: &[u8]) -> usize {
    let Ok(mut capture) = Capture::open(file) else {
        return 0;
    };
    let mut most = 0;
    while let Ok(Some(payload)) = capture.next_payload() {
        most = most.max(payload.octets.len());
        most = most.max(capture.packet.capacity() + capture.payload.capacity());
    }
    most.max(capture.packet.capacity() + capture.payload.capacity())
}

#[test]
fn claimed_lengths_are_not_allocated() {
    let mut classic = pcap_header(RAW);
    for word in [0, 0, MAX_PACKET_OCTETS as u32, MAX_PACKET_OCTETS as u32] {
        classic.extend(word.to_le_bytes());
    }
    classic.extend([0; 100]);
    assert!(matches!(read(&classic).error, Some(CaptureError::CutShort)));
    assert!(most_held(&classic) < 8 * 1024);

    let section = [
        0x0a0d_0d0a_u32,
        28,
        0x1a2b_3c4d,
        1,
        0xffff_ffff,
        0xffff_ffff,
        28,
    ];
    let section: Vec<u8> = section.iter().flat_map(|word| word.to_le_bytes()).collect();
    for kind in [1_u32, 6, 99, 0x0a0d_0d0a] {
        for length in [0_u32, 4, 11, 13, 0x0004_0000, 0xffff_fffc, 0xffff_ffff] {
            let mut file = section.clone();
            file.extend(kind.to_le_bytes());
            file.extend(length.to_le_bytes());
            file.extend(0x1a2b_3c4d_u32.to_le_bytes());
            file.extend([0; 100]);
            assert!(read(&file).error.is_some(), "{kind} {length}");
            assert!(most_held(&file) < 8 * 1024, "{kind} {length}");
        }
    }
}

#[test]
fn a_packet_longer_than_any_is_damage() {
    let mut file = pcap(RAW, &[whole_packet()]);
    for word in [0_u32, 0, 0xffff_ffff, 0xffff_ffff] {
        file.extend(word.to_le_bytes());
    }
    let all = read(&file);
    assert_eq!(all.payloads.len(), 1);
    assert!(matches!(all.error, Some(CaptureError::Damaged { .. })));
}

proptest! {
    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(most_held(&octets) < 16 * 1024);
    }

    #[test]
    fn any_octets_behind_a_header(
        start in 0_usize..5,
        octets in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut file = match start {
            0 => pcap_header(RAW),
            1 => pcap_header(1),
            2 => [0x0a0d_0d0a_u32, 28, 0x1a2b_3c4d, 1, 0, 0, 28]
                .iter().flat_map(|word| word.to_le_bytes()).collect(),
            3 => vec![0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            _ => vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3],
        };
        file.extend(octets);
        prop_assert!(most_held(&file) < 64 * 1024);
    }

    #[test]
    fn any_packet_of_any_link(
        link in prop::sample::select(vec![0_u16, 1, 9, 50, 51, 101, 108, 113, 276]),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..8),
        version in prop::sample::select(vec![0x45_u8, 0x60]),
    ) {
        let packets: Vec<_> = packets
            .into_iter()
            .map(|mut packet| {
                if link == RAW && let Some(first) = packet.first_mut() {
                    *first = version;
                }
                packet
            })
            .collect();
        let count = packets.len();
        let all = read(&pcap(link, &packets));
        prop_assert!(all.error.is_none());
        prop_assert!(all.payloads.len() <= count);
    }

    #[test]
    fn any_change_of_a_capture(
        at in 0_usize..200,
        to in any::<u8>(),
    ) {
        let mut file = pcap(RAW, &[whole_packet(), whole_packet(), whole_packet()]);
        if let Some(octet) = file.get_mut(at) {
            *octet = to;
        }
        prop_assert!(read(&file).payloads.len() <= 3);
    }
}
