//! Compression of finished octets, once per batch: every attempt sends the same result. Level 1 of
//! either method: the octets repeat so much that higher levels cost more than they save.
//!
//! gzip is our own where the octets are a large request ([`otlp_wire::gzip`]), and zlib-rs's for all else: for small ones,
//! JSON, and requests that it makes smaller.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use otlp_wire::gzip;

use crate::config::Compression;

/// The name of a method in `Content-Encoding` and `grpc-encoding`; `None` for no compression.
pub(super) const fn encoding_name(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

/// Smaller requests are for zlib-rs: our own tables take more of them, and they cost little anyway.
const LEAST_OWN: usize = 64 << 10;
/// One request in so many is compressed in both ways, and the smaller one is the choice for the next.
const JUDGED: u32 = 64;
/// Octets of it that are enough to decide.
const SAMPLE: usize = 256 << 10;

/// One method of compression for all requests of a sender.
#[derive(Clone, Debug)]
pub(super) struct Compressor {
    method: Compression,
    gzip: Arc<GzipChoice>,
}

/// Whether our own gzip or zlib-rs's makes less of what is sent.
#[derive(Debug, Default)]
struct GzipChoice {
    requests: AtomicU32,
    own_is_larger: AtomicBool,
}

impl Compressor {
    pub(super) fn new(method: Compression) -> Self {
        Self {
            method,
            gzip: Arc::default(),
        }
    }

    pub(super) fn method(&self) -> Compression {
        self.method
    }

    /// Compresses on the calling thread; milliseconds for a few MiB, so not on an async one.
    ///
    /// # Errors
    /// Out of memory, in effect: the input can't be wrong.
    pub(super) fn compress(&self, octets: &[u8]) -> io::Result<Vec<u8>> {
        match self.method {
            Compression::None => Ok(octets.to_vec()),
            Compression::Gzip => {
                if self.gzip.is_own(octets)?
                    && let Some(small) = gzip::compress(octets)
                {
                    return Ok(small);
                }
                zlib(octets)
            }
            Compression::Zstd => zstd::bulk::compress(octets, 1),
        }
    }
}

impl GzipChoice {
    fn is_own(&self, octets: &[u8]) -> io::Result<bool> {
        if octets.len() < LEAST_OWN {
            return Ok(false);
        }
        if self.requests.fetch_add(1, Relaxed).is_multiple_of(JUDGED) {
            let sample = octets.get(..SAMPLE).unwrap_or(octets);
            let other = zlib(sample)?.len();
            let own = gzip::compress(sample).map_or(usize::MAX, |small| small.len());
            self.own_is_larger.store(own > other, Relaxed);
        }
        Ok(!self.own_is_larger.load(Relaxed))
    }
}

fn zlib(octets: &[u8]) -> io::Result<Vec<u8>> {
    // Flow spans shrink about fivefold.
    let room = Vec::with_capacity(octets.len() / 4 + 64);
    let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::new(1));
    encoder.write_all(octets)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read as _;

    fn decompress(compression: Compression, octets: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match compression {
            Compression::None => plain.extend_from_slice(octets),
            Compression::Gzip => {
                flate2::read::GzDecoder::new(octets)
                    .read_to_end(&mut plain)
                    .map(drop)
                    .unwrap();
            }
            Compression::Zstd => {
                zstd::Decoder::new(octets)
                    .unwrap()
                    .read_to_end(&mut plain)
                    .map(drop)
                    .unwrap();
            }
        }
        plain
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(octets in proptest::collection::vec(any::<u8>(), 0..4096)) {
            for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
                let small = Compressor::new(compression).compress(&octets).unwrap();
                prop_assert_eq!(&decompress(compression, &small), &octets);
            }
        }
    }

    /// Attributes as in a request, with numbers that differ.
    fn request(octets: usize) -> Vec<u8> {
        let mut request = vec![0x0a, 0x80, 0x80, 0x80, 0x40, 0x12, 0x80, 0x80, 0x80, 0x40];
        let mut number = 0_u32;
        while request.len() < octets {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            request.extend_from_slice(b"\x4a\x1c\x0a\x12netflow.flow.bytes\x12\x06\x18");
            for shift in [4, 11, 18, 25] {
                request.push((number >> shift) as u8 | 0x80);
            }
            request.push(1);
        }
        request
    }

    #[test]
    fn large_requests_are_our_own_and_all_else_is_not() {
        let own = Compressor::new(Compression::Gzip);
        for octets in [request(LEAST_OWN), request(1 << 20)] {
            let small = own.compress(&octets).unwrap();
            assert_eq!(Some(&small), gzip::compress(&octets).as_ref());
            assert_eq!(decompress(Compression::Gzip, &small), octets);
        }
        let small = request(LEAST_OWN / 2);
        assert_eq!(own.compress(&small).unwrap(), zlib(&small).unwrap());
        let json = Compressor::new(Compression::Gzip);
        let text = br#"{"resourceSpans":[]}"#.repeat(10_000);
        for _ in 0..3 {
            assert_eq!(json.compress(&text).unwrap(), zlib(&text).unwrap());
        }
    }

    #[test]
    fn the_smaller_one_is_judged_anew() {
        let compressor = Compressor::new(Compression::Gzip);
        // One octet over and over, behind the beginning of a request: nothing is known of it.
        let mut octets = vec![0x0a, 0x80, 0x80, 0x80, 0x40];
        octets.extend((0..LEAST_OWN).map(|index| ((index * index) >> 7) as u8 & 3));
        assert_eq!(
            compressor.compress(&octets).unwrap(),
            zlib(&octets).unwrap()
        );
        let request = request(LEAST_OWN);
        for _ in 1..JUDGED {
            assert_eq!(
                compressor.compress(&request).unwrap(),
                zlib(&request).unwrap()
            );
        }
        let own = gzip::compress(&request).unwrap();
        assert_eq!(compressor.compress(&request).unwrap(), own);
    }
}
