//! A file of any format that captures come in: an end, no payload that isn't in the file, memory by what was
//! read and never by what is claimed, and every packet counted once.

use std::io::Read as _;
use std::net::SocketAddr;

use flate2::bufread::MultiGzDecoder;
use netflow2traces::capture::{Capture, MAX_PACKET_OCTETS, Skipped};

use super::memory::peak_of;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Octets that a gzipped file is unpacked to for comparison.
const MOST_UNPACKED: usize = 1 << 20;
/// Read-ahead, the window of decompression, and small change.
const FIXED_OCTETS: usize = 192 << 10;
/// A fragment of 8 octets is kept with tables around it; no other octet costs more.
const MOST_PER_OCTET: usize = 64;
/// What a file of any length may hold in memory: fragments, interfaces, and two packets.
const MOST_OCTETS: usize = 16 << 20;

/// A payload without its borrow.
#[derive(Debug, Eq, PartialEq)]
struct Payload {
    frame: u64,
    at: Option<u64>,
    addresses: Option<(SocketAddr, SocketAddr)>,
    octets: Vec<u8>,
}

/// All that a file gives.
#[derive(Debug, Default)]
struct File {
    packets: u64,
    payloads: Vec<Payload>,
    is_whole: bool,
}

pub fn run(input: &[u8]) {
    let (counts, most) = peak_of(|| count(input));
    assert!(most <= MOST_OCTETS, "{most} octets held");
    if !input.starts_with(&GZIP) {
        let bound = FIXED_OCTETS + MOST_PER_OCTET * input.len();
        assert!(most <= bound, "{most} octets held, at most {bound}");
        assert!(counts.octets <= input.len(), "{counts:?}");
        // The shortest packet is an octet of hexadecimal text and the end of its line.
        assert!(counts.packets <= input.len() as u64 / 2 + 1, "{counts:?}");
        return;
    }
    let mut plain = Vec::new();
    let unpacked = MultiGzDecoder::new(input)
        .take(MOST_UNPACKED as u64)
        .read_to_end(&mut plain);
    if unpacked.is_err() || plain.len() == MOST_UNPACKED || plain.starts_with(&GZIP) {
        return;
    }
    assert!(counts.octets <= plain.len(), "{counts:?}");
    let (packed, plain) = (read(input), read(&plain));
    assert_eq!(packed.payloads, plain.payloads, "gzip makes a difference");
    assert_eq!(packed.packets, plain.packets);
    assert_eq!(packed.is_whole, plain.is_whole);
}

/// Without keeping anything, so that what is held is the reader's own.
#[derive(Debug, Default)]
struct Counts {
    packets: u64,
    octets: usize,
}

fn count(file: &[u8]) -> Counts {
    let mut counts = Counts::default();
    let Ok(mut capture) = Capture::open(file) else {
        return counts;
    };
    let (mut payloads, mut frame) = (0, 0);
    let is_whole = loop {
        match capture.next_payload() {
            Ok(Some(payload)) => {
                payloads += 1;
                counts.octets += payload.octets.len();
                assert!(payload.octets.len() <= MAX_PACKET_OCTETS);
                assert!(payload.frame > frame, "frames go forward");
                frame = payload.frame;
            }
            Ok(None) => break true,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break false;
            }
        }
    };
    assert!(
        matches!(capture.next_payload(), Ok(None)),
        "something comes after the end"
    );
    let tally = capture.tally();
    assert_eq!(tally.payloads, payloads);
    let mut skipped = 0;
    for (reason, seen) in tally.skipped() {
        assert!(seen.count > 0 && seen.first_frame > 0);
        assert!(!reason.to_string().is_empty());
        // Told of a payload that is given, or of a datagram beside the packet.
        let is_beside = matches!(
            reason,
            Skipped::Cut
                | Skipped::FragmentMissing
                | Skipped::FragmentOverlap
                | Skipped::FragmentCut
        );
        // A fragment is damaged or not, and belongs to a datagram either way.
        if !is_beside && reason != Skipped::Malformed {
            skipped += seen.count;
        }
        if is_beside || reason == Skipped::Malformed {
            assert!(seen.count <= tally.packets);
        }
    }
    assert!(payloads + skipped <= tally.packets, "{tally:?}");
    let all: u64 = tally.skipped().map(|(_, seen)| seen.count).sum();
    assert!(
        payloads + all >= tally.packets,
        "a packet without a reason: {tally:?}"
    );
    assert!(tally.fragments <= tally.packets);
    assert!(is_whole || tally.packets >= payloads);
    counts.packets = tally.packets;
    counts
}

fn read(file: &[u8]) -> File {
    let mut read = File::default();
    let Ok(mut capture) = Capture::open(file) else {
        return read;
    };
    read.is_whole = loop {
        match capture.next_payload() {
            Ok(Some(payload)) => read.payloads.push(Payload {
                frame: payload.frame,
                at: payload.at.map(|at| at.0),
                addresses: payload.addresses,
                octets: payload.octets.to_vec(),
            }),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    read.packets = capture.tally().packets;
    read
}
