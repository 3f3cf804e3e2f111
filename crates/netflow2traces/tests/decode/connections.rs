//! A captured TCP connection with IPFIX: decoded as if its messages were datagrams.

use std::fs::File;

use netflow2traces::capture::Capture;
use serde_json::Value;

use super::other_traffic::{pcap, segment};
use super::{Ended, capture, decode, decode_stdin};

/// The octets of the messages of a capture.
fn stream() -> Vec<u8> {
    let file = File::open(capture("softflowd-ipfix")).unwrap();
    let mut capture = Capture::open(file).unwrap();
    let mut stream = Vec::new();
    while let Some(payload) = capture.next_payload().unwrap() {
        stream.extend_from_slice(payload.octets);
    }
    stream
}

/// What the records say, without what tells a frame or an exporter from another.
fn records(ended: &Ended) -> Vec<String> {
    let mut records: Vec<_> = ended
        .records()
        .into_iter()
        .map(|mut record| {
            let known = record.as_object_mut().unwrap();
            for key in ["frame", "received", "exporter", "port"] {
                known.remove(key);
            }
            Value::to_string(&record)
        })
        .collect();
    records.sort();
    records
}

#[test]
fn segments_give_the_records_of_datagrams_in_whatever_order_they_were_captured() {
    let path = capture("softflowd-ipfix");
    let expected = records(&decode(["--format", "json", &path]));
    assert!(expected.len() >= 8, "{expected:?}");
    let stream = stream();
    for size in [100, 1_000, stream.len()] {
        let mut at = 1_001_u32;
        let mut frames = vec![segment(1_000, 2, &[])];
        for payload in stream.chunks(size) {
            frames.push(segment(at, 0x18, payload));
            at += payload.len() as u32;
        }
        // Neighbours swapped, and one seen twice.
        for pair in frames[1..].chunks_exact_mut(2) {
            pair.swap(0, 1);
        }
        frames.insert(2, frames[1].clone());
        frames.push(segment(at, 0x11, &[]));
        let ended = decode_stdin(["--format", "json", "-"], &pcap(&frames));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(records(&ended), expected, "segments of {size}");
    }
}

#[test]
fn a_segment_that_is_missing_is_a_loss_and_what_comes_after_it_is_read() {
    let message = stream();
    let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
    assert_eq!(length, message.len());
    let (first, rest) = (&message, &message.repeat(2));
    let frames = [
        segment(1_000, 2, &[]),
        segment(1_001, 0x18, first),
        // Segments are missing here.
        segment(1_001 + 100_000, 0x18, rest),
        segment(1_001 + 100_000 + rest.len() as u32, 0x11, &[]),
    ];
    let ended = decode_stdin(["--format", "json", "-"], &pcap(&frames));
    ended.tells(1, "gaps in TCP connections with IPFIX");
    let whole = decode(["--format", "json", &capture("softflowd-ipfix")]);
    // Of the first message, and of two behind the gap.
    assert_eq!(ended.records().len(), 3 * whole.records().len());
}
