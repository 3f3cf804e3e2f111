//! Octets that may be a request, compressed by our own gzip: what another inflates is the same, octet for octet.

use std::io::Read as _;

use flate2::read::GzDecoder;
use otlp_wire::gzip::compress;

/// A `ResourceSpans` and a `ScopeSpans` that are as long as may be.
const FRONT: [u8; 12] = [
    0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 0x12, 0xff, 0xff, 0xff, 0xff, 0x07,
];
/// Octets of a body at most, so that the fuzzer stays quick.
const MOST: usize = 128 << 10;

/// The first octet chooses: whether a request is begun, how often the rest comes again, and whether each time is a
/// little different.
pub fn run(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else {
        return;
    };
    let mut body = Vec::new();
    if choice & 1 == 1 {
        body.extend_from_slice(&FRONT);
    }
    for turn in 0..1 << (choice >> 2 & 7) {
        let start = body.len();
        if start + rest.len() > MOST {
            break;
        }
        body.extend_from_slice(rest);
        if choice & 2 == 2 && !rest.is_empty() {
            body[start + turn * 7 % rest.len()] ^= turn as u8;
        }
    }
    let Some(gzip) = compress(&body) else {
        return;
    };
    assert!(
        gzip.len() <= body.len() / 2,
        "{} of {}",
        gzip.len(),
        body.len()
    );
    let mut decoder = GzDecoder::new(&gzip[..]);
    let mut plain = Vec::with_capacity(body.len());
    let read = decoder.read_to_end(&mut plain);
    assert_eq!(read.ok(), Some(body.len()));
    assert!(plain == body, "other octets came back");
    assert!(decoder.into_inner().is_empty(), "octets behind the member");
}
