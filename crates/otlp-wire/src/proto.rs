//! The protobuf wire format: varints, tags, lengths. What stands here knows nothing of OTLP.
//!
//! Source: the protocol buffers encoding specification ("Encoding"), wire types 0, 1, 2 and 5.

/// Octets that `value` takes as a varint: 1 to 10.
#[inline]
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    // 7 bits an octet; `| 1` because zero takes one octet too.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

/// Values of fewer bits than this take at most 8 octets.
pub(crate) const SHORT_VARINT_BITS: u32 = 56;

/// The octets of a value below 2^56 and how many of them count, without a branch.
#[inline(always)]
pub(crate) fn short_varint(value: u64) -> ([u8; 8], usize) {
    // Spreads the 7-bit groups over octets by halves: 28, 14, 7 bits.
    let x = (value & 0x0000_0000_0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    let x = (x & 0x0000_3fff_0000_3fff) | ((x & 0x0fff_c000_0fff_c000) << 2);
    let x = (x & 0x007f_007f_007f_007f) | ((x & 0x3f80_3f80_3f80_3f80) << 1);
    let len = varint_len(value);
    // Of 8 octets the last has no continuation bit either.
    let continued = 0x8080_8080_8080_8080_u64 & ((1_u64 << ((8 * (len as u32 - 1)) & 63)) - 1);
    ((x | continued).to_le_bytes(), len)
}

/// As [`short_varint`], of a value that was sent in one or two octets.
#[inline(always)]
pub(crate) fn varint_of_u16(value: u16) -> ([u8; 4], usize) {
    let value = u32::from(value);
    let (second, third) = (u32::from(value >= 1 << 7), u32::from(value >= 1 << 14));
    let x = (value & 0x7f) | (value & 0x3f80) << 1 | (value & 0xc000) << 2;
    let octets = x | second << 7 | third << 15;
    (octets.to_le_bytes(), (1 + second + third) as usize)
}

/// As [`short_varint`], of a value that was sent in four octets.
#[inline(always)]
pub(crate) fn varint_of_u32(value: u32) -> ([u8; 8], usize) {
    let wide = u64::from(value);
    let x = (wide & 0x0fff_ffff) | (wide & 0xf000_0000) << 4;
    let x = (x & 0x000f_0000_3fff) | (x & 0x0fff_c000) << 2;
    let x = (x & 0x000f_007f_007f) | (x & 0x3f80_3f80) << 1;
    // Comparisons cost less than looking for the highest bit.
    let more = u32::from(value >= 1 << 7)
        + u32::from(value >= 1 << 14)
        + u32::from(value >= 1 << 21)
        + u32::from(value >= 1 << 28);
    let continued = 0x8080_8080_u64 & ((1_u64 << (8 * more)) - 1);
    ((x | continued).to_le_bytes(), 1 + more as usize)
}

/// Writes `value` as a varint at the front of `room` and says how many octets it took.
///
/// Values below 2^56 are written as one 8-octet store, so the octets after the varint are
/// overwritten; the caller writes there next.
#[inline]
pub fn put_varint(room: &mut [u8; 10], value: u64) -> usize {
    if value >> SHORT_VARINT_BITS == 0 {
        let (octets, len) = short_varint(value);
        room[..8].copy_from_slice(&octets);
        return len;
    }
    let len = varint_len(value);
    let mut rest = value;
    for octet in room.iter_mut().take(len - 1) {
        *octet = (rest as u8 & 0x7f) | 0x80;
        rest >>= 7;
    }
    room[len - 1] = rest as u8;
    len
}

/// Octets of a length that is put in when it is known.
pub(crate) const PATCHED_LENGTH: usize = 4;

/// A length below 2^28 in [`PATCHED_LENGTH`] octets: longer than it need be, as readers of varints must take it.
pub(crate) fn padded_length(length: usize) -> [u8; PATCHED_LENGTH] {
    let group = |shift: u32| (length >> shift) as u8 & 0x7f;
    [
        group(0) | 0x80,
        group(7) | 0x80,
        group(14) | 0x80,
        group(21),
    ]
}

/// The tag of a length-delimited field below 16.
pub(crate) const fn tag_of(field: u8) -> u8 {
    field << 3 | 2
}

/// Appends `value` as a varint.
pub fn push_varint(out: &mut Vec<u8>, value: u64) {
    let mut room = [0; 10];
    let len = put_varint(&mut room, value);
    out.extend_from_slice(&room[..len]);
}

/// Appends a length-delimited field: its one- or two-octet tag, its length, its octets.
pub fn push_delimited(out: &mut Vec<u8>, field: u32, octets: &[u8]) {
    push_varint(out, u64::from(field << 3 | 2));
    push_varint(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    /// Around each power of two.
    fn values() -> impl Iterator<Item = u64> {
        (0..64).flat_map(|shift| {
            [-1_i64, 0, 1].map(|delta| (1_u64 << shift).wrapping_add_signed(delta))
        })
    }

    #[test]
    fn varints_of_every_width_are_one() {
        for value in 0..=u16::MAX {
            let (octets, len) = varint_of_u16(value);
            assert_eq!(octets[..len], plain(value.into()), "{value}");
        }
        for value in values().filter_map(|value| u32::try_from(value).ok()) {
            let (octets, len) = varint_of_u32(value);
            assert_eq!(octets[..len], plain(value.into()), "{value}");
        }
    }

    #[test]
    fn varints_equal_the_plain_form_at_every_width() {
        for value in values() {
            let mut out = Vec::new();
            push_varint(&mut out, value);
            assert_eq!(out, plain(value), "{value}");
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
        assert_eq!(varint_len(u64::MAX), 10);
    }
}
