//! Compression of finished octets, once per batch: every attempt sends the same result. Level 1 of
//! either method: the octets repeat so much that higher levels cost more than they save.

use std::io::{self, Write as _};

use crate::config::Compression;

/// The name of a method in `Content-Encoding` and `grpc-encoding`; `None` for no compression.
pub(super) const fn encoding_name(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

/// Compresses on the calling thread; tens of milliseconds for a few MiB, so not on an async one.
///
/// # Errors
/// Out of memory, in effect: the input can't be wrong.
pub(super) fn compress(compression: Compression, octets: &[u8]) -> io::Result<Vec<u8>> {
    // Flow spans shrink about fivefold.
    let guess = octets.len() / 4 + 64;
    match compression {
        Compression::None => Ok(octets.to_vec()),
        Compression::Gzip => {
            let level = flate2::Compression::new(1);
            let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(guess), level);
            encoder.write_all(octets)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(octets, 1),
    }
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
                let small = compress(compression, &octets).unwrap();
                prop_assert_eq!(&decompress(compression, &small), &octets);
            }
        }
    }
}
