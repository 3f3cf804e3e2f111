//! Every file format gives the same payload, with its time.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{ETHERNET, Got, PAYLOAD, RAW, ethernet, pcap, pcap_header, read, whole_packet};
use crate::capture::CaptureError;

/// A block of a next-generation capture, in the byte order that `word` gives.
fn block(word: fn(u32) -> [u8; 4], kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = padded as u32 + 12;
    let mut octets = Vec::new();
    octets.extend(word(kind));
    octets.extend(word(length));
    octets.extend(body);
    octets.resize(8 + padded, 0);
    octets.extend(word(length));
    octets
}

fn section(word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(word(0x1a2b_3c4d));
    let mut version = word(1);
    // Two halves: major 1, minor 0.
    if word(1)[3] == 1 {
        version = [0, 1, 0, 0];
    }
    body.extend(version);
    body.extend([0xff; 8]);
    block(word, 0x0a0d_0d0a, &body)
}

fn half(word: fn(u32) -> [u8; 4], value: u16) -> [u8; 2] {
    match word(u32::from(value)) {
        [0, 0, high, low] => [high, low],
        [low, high, ..] => [low, high],
    }
}

fn interface(word: fn(u32) -> [u8; 4], snap: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(half(word, ETHERNET));
    body.extend([0, 0]);
    body.extend(word(snap));
    for (code, value) in options {
        body.extend(half(word, *code));
        body.extend(half(word, value.len() as u16));
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    block(word, 1, &body)
}

fn enhanced(word: fn(u32) -> [u8; 4], interface: u32, ticks: u64, packet: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in [
        interface,
        (ticks >> 32) as u32,
        ticks as u32,
        packet.len() as u32,
        packet.len() as u32,
    ] {
        body.extend(word(value));
    }
    body.extend(packet);
    block(word, 6, &body)
}

const LITTLE: fn(u32) -> [u8; 4] = u32::to_le_bytes;
const BIG: fn(u32) -> [u8; 4] = u32::to_be_bytes;

fn frame() -> Vec<u8> {
    ethernet(0x0800, &whole_packet())
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn only(file: &[u8]) -> Got {
    let mut read = read(file);
    assert!(read.error.is_none(), "{:?}", read.error);
    assert_eq!(read.payloads.len(), 1);
    read.payloads.remove(0)
}

#[test]
fn classic_captures_of_either_byte_order_and_unit() {
    for (magic, nanos) in [(0xa1b2_c3d4_u32, 5_000), (0xa1b2_3c4d, 5)] {
        for word in [LITTLE, BIG] {
            let packet = frame();
            let mut file = Vec::new();
            // A frame check sequence of 4 octets, said in the upper bits, is no other link type.
            for value in [magic, 0, 0, 0, 65_535, 0x5400_0001] {
                file.extend(word(value));
            }
            for value in [7, 5, packet.len() as u32, packet.len() as u32] {
                file.extend(word(value));
            }
            file.extend(&packet);
            let got = only(&file);
            assert_eq!(got.at, Some(7_000_000_000 + nanos));
            assert_eq!(got.octets, PAYLOAD);
            assert_eq!(got.from, Some("192.0.2.1:2000".parse().unwrap()));
            assert_eq!(got.frame, 1);
        }
    }
}

#[test]
fn next_generation_captures_of_either_byte_order() {
    for word in [LITTLE, BIG] {
        let mut file = section(word);
        file.extend(interface(word, 0, &[]));
        // Statistics and an unknown type are skipped.
        file.extend(block(word, 5, &[0; 16]));
        file.extend(block(word, 0x0bad, b"anything"));
        file.extend(enhanced(word, 0, 7_000_005, &frame()));
        let got = only(&file);
        assert_eq!(got.at, Some(7_000_005_000));
        assert_eq!(got.octets, PAYLOAD);
    }
}

#[test]
fn times_follow_the_interface() {
    let offset = 100_i64.to_le_bytes();
    let before = (-1_i64).to_le_bytes();
    type Options<'a> = &'a [(u16, &'a [u8])];
    let cases: [(Options<'_>, u64, Option<u64>); 7] = [
        (&[(9, &[9])], 7, Some(7)),
        (&[(9, &[3])], 7_000, Some(7_000_000_000)),
        (&[(9, &[0x80 | 10])], 1 << 9, Some(500_000_000)),
        (&[(14, &offset)], 2_000_000, Some(102_000_000_000)),
        (&[(2, b"eth0"), (9, &[12]), (0, &[])], 5_000, Some(5)),
        (&[(9, &[127])], u64::MAX, Some(0)),
        (&[(14, &before)], 0, None),
    ];
    for (options, ticks, at) in cases {
        let mut file = section(LITTLE);
        file.extend(interface(LITTLE, 0, options));
        file.extend(enhanced(LITTLE, 0, ticks, &frame()));
        assert_eq!(only(&file).at, at, "{options:?}");
    }
}

#[test]
fn sections_have_their_own_interfaces_and_byte_order() {
    let mut file = section(LITTLE);
    file.extend(interface(LITTLE, 0, &[]));
    file.extend(interface(LITTLE, 0, &[(9, &[9])]));
    file.extend(enhanced(LITTLE, 1, 3, &frame()));
    file.extend(section(BIG));
    file.extend(interface(BIG, 0, &[]));
    file.extend(enhanced(BIG, 0, 4, &frame()));
    let all = read(&file);
    assert!(all.error.is_none());
    let times: Vec<_> = all.payloads.iter().map(|got| got.at).collect();
    assert_eq!(times, [Some(3), Some(4_000)]);
    assert_eq!(all.payloads[1].frame, 2);
    // An interface of the section before doesn't hold.
    file.extend(enhanced(BIG, 1, 4, &frame()));
    assert!(matches!(
        read(&file).error,
        Some(CaptureError::Damaged { .. })
    ));
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    let packet = frame();
    let length = packet.len() as u32;
    let mut file = section(LITTLE);
    file.extend(interface(LITTLE, 0, &[]));
    let mut simple = LITTLE(length).to_vec();
    simple.extend(&packet);
    file.extend(block(LITTLE, 3, &simple));
    let mut obsolete = vec![0, 0, 9, 0];
    for value in [0, 7, length, length] {
        obsolete.extend(LITTLE(value));
    }
    obsolete.extend(&packet);
    file.extend(block(LITTLE, 2, &obsolete));
    let all = read(&file);
    assert!(all.error.is_none());
    assert_eq!(all.octets(), [PAYLOAD, PAYLOAD]);
    assert_eq!(all.payloads[0].at, None);
    assert_eq!(all.payloads[1].at, Some(7_000));
}

#[test]
fn simple_packet_blocks_are_cut_as_the_interface_says() {
    let packet = frame();
    let mut file = section(LITTLE);
    let snap = packet.len() as u32 - 3;
    file.extend(interface(LITTLE, snap, &[]));
    let mut simple = LITTLE(packet.len() as u32).to_vec();
    simple.extend(&packet[..packet.len() - 3]);
    file.extend(block(LITTLE, 3, &simple));
    let got = only(&file);
    assert_eq!(got.octets, &PAYLOAD[..PAYLOAD.len() - 3]);
    assert!(got.is_cut);
}

#[test]
fn gzip_of_several_members() {
    let file = pcap(ETHERNET, &[frame(), frame()]);
    let (one, other) = file.split_at(50);
    let mut packed = gzip(one);
    packed.extend(gzip(other));
    let all = read(&packed);
    assert!(all.error.is_none(), "{:?}", all.error);
    assert_eq!(all.payloads, read(&file).payloads);
    assert_eq!(all.payloads.len(), 2);
    // Cut anywhere it is cut short, or damaged where the cut is in a header.
    for end in 2..packed.len() {
        let cut = read(&packed[..end]);
        assert!(cut.error.is_some() || cut.payloads.len() < 2, "{end}");
    }
}

#[test]
fn ipfix_files_are_messages_one_behind_another() {
    let message = |domain: u32, body: &[u8]| {
        let mut octets = 10_u16.to_be_bytes().to_vec();
        octets.extend((16 + body.len() as u16).to_be_bytes());
        octets.extend(1_700_000_000_u32.to_be_bytes());
        octets.extend(0_u32.to_be_bytes());
        octets.extend(domain.to_be_bytes());
        octets.extend(body);
        octets
    };
    let (one, other) = (message(1, b"sets"), message(2, b""));
    let mut file = one.clone();
    file.extend(&other);
    let all = read(&file);
    assert!(all.error.is_none());
    assert_eq!(all.octets(), [&*one, &*other]);
    assert_eq!(all.payloads[1].at, Some(1_700_000_000_000_000_000));
    assert_eq!(all.payloads[1].from, None);
    file.extend(b"something else ..");
    assert!(matches!(
        read(&file).error,
        Some(CaptureError::Damaged { .. })
    ));
}

#[test]
fn hexadecimal_text_is_a_datagram_a_line() {
    let all = read(b"# from a bug report\n\n0x0005 0001\n00:09 # v9\r\n0A0b");
    assert!(all.error.is_none(), "{:?}", all.error);
    assert_eq!(all.octets(), [&[0, 5, 0, 1][..], &[0, 9], &[0x0a, 0x0b]]);
    let lines: Vec<_> = all.payloads.iter().map(|got| got.frame).collect();
    assert_eq!(lines, [3, 4, 5]);
    for wrong in ["00050\n", "0005 0001 0002 0003 000g\n", "00 05 0 0\n"] {
        assert!(
            matches!(
                read(wrong.as_bytes()).error,
                Some(CaptureError::Damaged { .. })
            ),
            "{wrong}"
        );
    }
}

#[test]
fn what_is_no_capture_is_told_by_its_first_octets() {
    assert!(matches!(read(b"").error, Some(CaptureError::Empty)));
    for (octets, message) in [
        (
            &b"\x01\x02\x03zip"[..],
            "it is neither pcap, pcapng (or gzip of them), an IPFIX File, nor hexadecimal text; it begins with \
             0102037a6970",
        ),
        (b"PK\x03\x04zip", "it is a zip archive, not a capture"),
        (
            b"\x28\xb5\x2f\xfd\0",
            "it is a file compressed with zstd (decompress it first), not a capture",
        ),
        (
            b"{\"frame\":1}\n",
            "it is a text file, not a capture; it begins with \"{\\\"frame\\\":1}\"",
        ),
        (
            "größer als 16 Zeichen\nund mehr".as_bytes(),
            "it is a text file, not a capture; it begins with \"größer als 16 Zeichen\"",
        ),
        (
            b"# a comment first\nhello world\n",
            "it is a text file, not a capture; it begins with \"hello world\"",
        ),
        (
            b"dead letters and more\n",
            "it is a text file, not a capture; it begins with \"dead letters and more\"",
        ),
    ] {
        let error = read(octets).error.unwrap();
        assert_eq!(error.to_string(), message);
        assert!(error.is_unreadable());
    }
}

#[test]
fn a_file_cut_anywhere_gives_the_packets_before() {
    let file = pcap(RAW, &[whole_packet(), whole_packet()]);
    let first_end = pcap_header(RAW).len() + 16 + whole_packet().len();
    for end in 4..file.len() {
        let cut = read(&file[..end]);
        let whole = usize::from(end >= first_end);
        assert_eq!(cut.payloads.len(), whole, "{end}");
        let is_at_a_border = end == first_end || end == pcap_header(RAW).len();
        assert_eq!(
            cut.error.is_none(),
            is_at_a_border,
            "{end}: {:?}",
            cut.error
        );
    }
}
