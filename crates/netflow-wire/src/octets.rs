//! Reading of numbers at an offset, big-endian, never past the end.

/// A number of two octets from `at` on; `None` where the octets end before.
#[inline]
#[must_use]
pub fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets
        .get(at..)?
        .first_chunk()
        .map(|octets| u16::from_be_bytes(*octets))
}

/// A number of four octets from `at` on; `None` where the octets end before.
#[inline]
#[must_use]
pub fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets
        .get(at..)?
        .first_chunk()
        .map(|octets| u32::from_be_bytes(*octets))
}

/// An unsigned number of up to 8 octets; of a longer field the last 8 (reduced-size encoding only shortens,
/// so a longer one has leading zeros).
#[inline]
#[must_use]
pub fn unsigned(octets: &[u8]) -> u64 {
    match *octets {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => octets
            .iter()
            .fold(0, |value, octet| value << 8 | u64::from(*octet)),
    }
}

/// A signed number in two's complement, of up to 8 octets.
#[must_use]
pub fn signed(octets: &[u8]) -> i64 {
    let unused = 64 - 8 * octets.len().min(8) as u32;
    if unused == 64 {
        return 0;
    }
    (unsigned(octets) << unused).cast_signed() >> unused
}
