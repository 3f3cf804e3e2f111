//! Numbers and addresses as text, written into a fixed room and without a branch per digit.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Decimal text of an octet and a dot behind it: "7.", "42.", "255.".
const DECIMAL: [[u8; 4]; 256] = decimal_table();
/// Octets of the decimal text with its dot.
const DECIMAL_LEN: [u8; 256] = decimal_lengths();
/// Two hexadecimal digits of an octet.
const HEX_PAIR: [[u8; 2]; 256] = hex_table();
/// For each set of zero groups (bit 7 is the first group) the run that `::` replaces: its first
/// group and its length, 8 and 0 where there is none of at least two (RFC 5952, section 4.2).
const ZERO_RUN: [(u8, u8); 256] = zero_run_table();

/// Writes an IPv4 address in dotted decimal form; returns its length, 7 to 15. The octets behind it are scratch.
#[inline(always)]
pub fn put_ipv4(room: &mut [u8; 32], address: [u8; 4]) -> usize {
    let mut at = 0;
    for octet in address {
        // The last dot is scratch.
        room[at..at + 4].copy_from_slice(&DECIMAL[octet as usize]);
        // At most 4, which the mask says once more: so no bounds are checked.
        at += DECIMAL_LEN[octet as usize] as usize & 7;
    }
    at - 1
}

/// Writes an IPv6 address as RFC 5952 says: lower case, no leading zeros, the longest run of at least two
/// zero groups as `::` (the first of equal ones), an IPv4-mapped address in mixed form (section 5).
/// Returns its length; the octets behind it are scratch.
#[inline]
pub fn put_ipv6(room: &mut [u8; 48], address: [u8; 16]) -> usize {
    let value = u128::from_be_bytes(address);
    if value >> 32 == 0xffff {
        room[..7].copy_from_slice(b"::ffff:");
        let mut dotted = [0; 32];
        let len = put_ipv4(&mut dotted, (value as u32).to_be_bytes());
        room[7..39].copy_from_slice(&dotted);
        return 7 + len;
    }
    let [first, second] = [(value >> 64) as u64, value as u64];
    let zeros = zero_groups(first) << 4 | zero_groups(second);
    let (run_start, run_len) = ZERO_RUN[zeros & 0xff];
    if run_len == 0 {
        let mut at = 0;
        for half in [first, second] {
            for shift in [48, 32, 16, 0] {
                at = put_group(room, at, (half >> shift) as u16);
            }
        }
        // Every group wrote a colon behind itself; the last one doesn't belong.
        return at - 1;
    }
    let (run_start, run_end) = (run_start as usize, (run_start + run_len) as usize);
    let group = |index: usize| (value >> (112 - 16 * (index & 7))) as u16;
    let mut at = 0;
    for index in 0..run_start {
        at = put_group(room, at, group(index));
    }
    // The colon of the group before stands already, except at the very front.
    if run_start == 0 {
        room[0] = b':';
        at = 1;
    }
    room[at.min(40)] = b':';
    at += 1;
    for index in run_end..8 {
        at = put_group(room, at, group(index));
    }
    // As above, unless the text ends in `::`.
    if run_end == 8 { at } else { at - 1 }
}

/// Which of the four groups are zero; bit 3 is the first.
#[inline]
fn zero_groups(half: u64) -> usize {
    const LOW: u64 = 0x7fff_7fff_7fff_7fff;
    // The top bit of a group is set here if the group is zero: no sum carries into the next.
    let zero = !(((half & LOW) + LOW) | half | LOW);
    // The four bits beside each other: no two products meet.
    let gathered = (zero >> 15).wrapping_mul(1 << 3 | 1 << 18 | 1 << 33 | 1 << 48);
    (gathered >> 48) as usize & 0xf
}

/// Writes a group without leading zeros and a colon; returns where they end. What stands behind is scratch.
#[inline(always)]
fn put_group(room: &mut [u8; 48], at: usize, group: u16) -> usize {
    let zeros =
        usize::from(group < 0x1000) + usize::from(group < 0x100) + usize::from(group < 0x10);
    let [high, low] = group.to_be_bytes();
    let (high, low) = (HEX_PAIR[high as usize], HEX_PAIR[low as usize]);
    let digits = u32::from_le_bytes([high[0], high[1], low[0], low[1]]);
    let text = (u64::from(digits) | u64::from(b':') << 32) >> (8 * zeros);
    // 8 groups of at most 5 octets end at 40: said here, no bounds are checked.
    let to = at.min(40);
    room[to..to + 8].copy_from_slice(&text.to_le_bytes());
    at + 5 - zeros
}

/// Writes a MAC address as `aa:bb:cc:dd:ee:ff`; returns 17. Octet 18 is scratch.
#[inline]
pub fn put_mac(room: &mut [u8; 18], address: [u8; 6]) -> usize {
    for (to, octet) in room.chunks_exact_mut(3).zip(address) {
        let [high, low] = HEX_PAIR[octet as usize];
        to.copy_from_slice(&[high, low, b':']);
    }
    17
}

/// Writes lower-case hexadecimal digits, as many octets as both sides have; returns the digits written.
pub fn put_hex(room: &mut [u8], octets: &[u8]) -> usize {
    let mut written = 0;
    for (to, octet) in room.chunks_exact_mut(2).zip(octets) {
        to.copy_from_slice(&HEX_PAIR[*octet as usize]);
        written += 2;
    }
    written
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    let pairs = octets.iter().flat_map(|octet| HEX_PAIR[*octet as usize]);
    pairs.map(char::from).collect()
}

/// Writes a number in decimal; returns its length, 1 to 20.
#[inline]
pub fn put_decimal(room: &mut [u8; 20], value: u64) -> usize {
    let mut digits = [0_u8; 20];
    let mut first = 20;
    let mut rest = value;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let len = 20 - first;
    room[..len].copy_from_slice(&digits[first..]);
    len
}

const fn decimal_table() -> [[u8; 4]; 256] {
    let mut table = [[b'.'; 4]; 256];
    let mut n = 0;
    while n < 256 {
        let (hundreds, tens, ones) = (
            b'0' + (n / 100) as u8,
            b'0' + (n / 10 % 10) as u8,
            b'0' + (n % 10) as u8,
        );
        if n >= 100 {
            table[n] = [hundreds, tens, ones, b'.'];
        } else if n >= 10 {
            table[n] = [tens, ones, b'.', b'.'];
        } else {
            table[n] = [ones, b'.', b'.', b'.'];
        }
        n += 1;
    }
    table
}

const fn decimal_lengths() -> [u8; 256] {
    let mut table = [2; 256];
    let mut n = 10;
    while n < 256 {
        table[n] = if n >= 100 { 4 } else { 3 };
        n += 1;
    }
    table
}

const fn hex_table() -> [[u8; 2]; 256] {
    let mut table = [[0; 2]; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = [HEX[n >> 4], HEX[n & 15]];
        n += 1;
    }
    table
}

const fn zero_run_table() -> [(u8, u8); 256] {
    let mut table = [(8, 0); 256];
    let mut zeros = 0;
    while zeros < 256 {
        let (mut best_start, mut best_len) = (8, 0);
        let (mut start, mut len) = (0, 0);
        let mut group = 0;
        while group < 8 {
            if zeros & (0x80 >> group) != 0 {
                if len == 0 {
                    start = group;
                }
                len += 1;
                if len > best_len {
                    (best_start, best_len) = (start, len);
                }
            } else {
                len = 0;
            }
            group += 1;
        }
        if best_len >= 2 {
            table[zeros] = (best_start, best_len);
        }
        zeros += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn ipv6_text(address: [u8; 16]) -> String {
        let mut room = [0xee; 48];
        let len = put_ipv6(&mut room, address);
        String::from_utf8(room[..len].to_vec()).expect("ASCII")
    }

    #[test]
    fn every_pattern_of_zero_groups_reads_as_the_standard_library_writes_it() {
        for zeros in 0..256_u32 {
            for fill in [[0x0d, 0xb8], [0, 1], [0xab, 0xcd], [0, 0xf0], [0x0a, 0]] {
                let mut address = [0; 16];
                for group in 0..8 {
                    if zeros & (0x80 >> group) == 0 {
                        address[2 * group..2 * group + 2].copy_from_slice(&fill);
                    }
                }
                assert_eq!(ipv6_text(address), Ipv6Addr::from(address).to_string());
            }
        }
        let mapped = Ipv4Addr::new(255, 0, 29, 7).to_ipv6_mapped();
        assert_eq!(ipv6_text(mapped.octets()), mapped.to_string());
    }

    proptest! {
        #[test]
        fn addresses_read_as_the_standard_library_writes_them(v6: [u8; 16], v4: [u8; 4]) {
            prop_assert_eq!(ipv6_text(v6), Ipv6Addr::from(v6).to_string());
            let mut room = [0; 32];
            let len = put_ipv4(&mut room, v4);
            prop_assert_eq!(room[..len].to_vec(), Ipv4Addr::from(v4).to_string().into_bytes());
        }

        #[test]
        fn decimals_read_as_the_standard_library_writes_them(value: u64) {
            let mut room = [0; 20];
            let len = put_decimal(&mut room, value);
            prop_assert_eq!(room[..len].to_vec(), value.to_string().into_bytes());
        }
    }

    #[test]
    fn macs_and_hex_are_lower_case() {
        let mut room = [0; 18];
        let len = put_mac(&mut room, [0, 0x1b, 0xAB, 0xCD, 0xEF, 9]);
        assert_eq!(&room[..len], b"00:1b:ab:cd:ef:09");
        let mut room = [0; 6];
        assert_eq!(put_hex(&mut room, &[0xde, 0xad, 0xbe, 0xef]), 6);
        assert_eq!(&room, b"deadbe");
    }
}
