//! From every link type to the same payload, and what is left out for which reason.

use super::{
    ETHERNET, PAYLOAD, RAW, ethernet, ipv4, ipv6, pcap, pcap_header, pcap_packet, read, udp,
    whole_packet,
};
use crate::capture::Skipped;

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn link_types() {
    let packet = whole_packet();
    let six = ipv6(17, &udp(PAYLOAD));
    let tagged = joined(&[&[0x00, 0x05, 0x81, 0x00, 0x00, 0x07, 0x08, 0x00], &packet]);
    let sll = joined(&[&[0; 14], &[0x08, 0x00], &packet]);
    let sll2 = joined(&[&[0x86, 0xdd], &[0; 18], &six]);
    let cases: [(u16, Vec<u8>); 16] = [
        (1, ethernet(0x0800, &packet)),
        (1, ethernet(0x86dd, &six)),
        (1, ethernet(0x88a8, &tagged)),
        (
            1,
            ethernet(
                0x8847,
                &joined(&[&[0, 1, 0x20, 64, 0, 1, 0x31, 64], &packet]),
            ),
        ),
        (
            1,
            ethernet(
                0x8864,
                &joined(&[&[0x11, 0, 0, 1, 0, 50, 0x00, 0x21], &packet]),
            ),
        ),
        (113, sll),
        (276, sll2),
        (101, packet.clone()),
        (12, six.clone()),
        (228, packet.clone()),
        (0, joined(&[&[2, 0, 0, 0], &packet])),
        (0, joined(&[&[0, 0, 0, 30], &six])),
        (108, joined(&[&[0, 0, 0, 2], &packet])),
        (9, joined(&[&[0xff, 0x03, 0x00, 0x57], &six])),
        (9, joined(&[&[0x21], &packet])),
        (50, joined(&[&[0x0f, 0x00, 0x08, 0x00], &packet])),
    ];
    for (link, frame) in cases {
        let all = read(&pcap(link, std::slice::from_ref(&frame)));
        assert_eq!(all.octets(), [PAYLOAD], "{link} {frame:02x?}");
        // However short the frame is, nothing is made up.
        for end in 0..frame.len() {
            let cut = read(&pcap(link, &[frame[..end].to_vec()]));
            assert!(cut.payloads.is_empty(), "{link} {end}");
        }
    }
    let all = read(&pcap(147, &[whole_packet()]));
    assert_eq!(all.skipped, [(Skipped::UnknownLink(147), 1)]);
}

#[test]
fn ipv4_options_and_padding() {
    let mut packet = whole_packet();
    packet[0] = 0x46;
    packet.splice(20..20, [1, 1, 1, 0]);
    packet[3] += 4;
    packet.extend([0xee; 9]);
    assert_eq!(read(&pcap(RAW, &[packet])).octets(), [PAYLOAD]);
}

#[test]
fn ipv6_extension_headers() {
    let rest = udp(PAYLOAD);
    // Hop-by-hop of 16 octets, routing of 8, authentication of 24, an atomic fragment, destination options.
    let body = joined(&[
        &[43, 1],
        &[0; 14],
        &[51, 0],
        &[0; 6],
        &[44, 4],
        &[0; 22],
        &[60, 0, 0, 0, 0, 0, 0, 9],
        &[17, 0],
        &[0; 6],
        &rest,
    ]);
    let all = read(&pcap(RAW, &[ipv6(0, &body)]));
    assert_eq!(all.octets(), [PAYLOAD]);
    assert_eq!(
        all.payloads[0].from,
        Some("[2001:db8::1]:2000".parse().unwrap())
    );
}

#[test]
fn other_traffic_is_no_loss() {
    let frames = [
        ethernet(0x0806, &[0; 28]),
        ethernet(0x0800, &ipv4(0, 0, 6, &[0; 20])),
        ethernet(0x0800, &ipv4(0, 0x2000, 6, &[0; 24])),
        ethernet(0x86dd, &ipv6(58, &[0; 8])),
    ];
    let all = read(&pcap(ETHERNET, &frames));
    assert_eq!(all.skipped, [(Skipped::NotUdp, 4)]);
    assert!(!Skipped::NotUdp.is_loss());
}

#[test]
fn lengths_that_contradict_each_other_are_damage() {
    let mut short_header = whole_packet();
    short_header[0] = 0x44;
    let mut total_below_header = whole_packet();
    total_below_header[3] = 19;
    let mut both_past_packet = whole_packet();
    both_past_packet[3] += 1;
    both_past_packet[25] += 1;
    let mut udp_past_packet = whole_packet();
    udp_past_packet[25] += 1;
    let mut udp_below_header = whole_packet();
    udp_below_header[25] = 7;
    let no_ip = vec![0x75; 40];
    let packets = [
        short_header,
        total_below_header,
        both_past_packet,
        udp_past_packet,
        udp_below_header,
        no_ip,
    ];
    let count = packets.len() as u64;
    let all = read(&pcap(RAW, &packets));
    assert_eq!(all.skipped, [(Skipped::Malformed, count)]);
    assert!(all.payloads.is_empty());
}

#[test]
fn snapped_packets_are_told() {
    let packet = whole_packet();
    let original = packet.len() as u32;
    let mut file = pcap_header(RAW);
    file.extend(pcap_packet(0, original, &packet[..packet.len() - 2]));
    file.extend(pcap_packet(1, original, &packet[..22]));
    file.extend(pcap_packet(2, original, &packet));
    let all = read(&file);
    assert_eq!(all.octets(), [&PAYLOAD[..PAYLOAD.len() - 2], PAYLOAD]);
    let cut: Vec<_> = all.payloads.iter().map(|got| got.is_cut).collect();
    assert_eq!(cut, [true, false]);
    assert_eq!(all.skipped, [(Skipped::CutHeader, 1), (Skipped::Cut, 1)]);
}

#[test]
fn frames_are_numbered_as_in_the_file() {
    let other = ipv4(0, 0, 6, &[0; 20]);
    let all = read(&pcap(
        RAW,
        &[other.clone(), whole_packet(), other, whole_packet()],
    ));
    let frames: Vec<_> = all.payloads.iter().map(|got| got.frame).collect();
    assert_eq!(frames, [2, 4]);
}
