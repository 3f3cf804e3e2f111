//! Code lengths and canonical codes from counts (RFC 1951, sections 3.2.1 and 3.2.2).

use super::bits::Item;

/// Codes of an alphabet, their bits in the order in which DEFLATE writes them.
#[derive(Clone, Debug)]
pub(super) struct Codes<const N: usize> {
    pub(super) items: [Item; N],
    pub(super) lengths: [u8; N],
}

impl<const N: usize> Codes<N> {
    /// Codes of at most `limit` bits, 15 at most; the alphabet has at most 2^`limit` symbols. A symbol that is
    /// counted zero times has no code; a symbol alone has one of one bit.
    pub(super) fn new(counts: &[u32; N], limit: u8) -> Self {
        let lengths = lengths(counts, limit);
        Self {
            items: canonical(&lengths).map(|(code, count)| Item::new(code, count)),
            lengths,
        }
    }
}

/// Lengths of an optimal code; where the limit is exceeded, of one that is close to it.
fn lengths<const N: usize>(counts: &[u32; N], limit: u8) -> [u8; N] {
    let mut symbols: Vec<(u32, usize)> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(symbol, count)| (*count, symbol))
        .collect();
    symbols.sort_unstable();
    let mut of_length = numbers_of_lengths(&symbols);
    limit_lengths(&mut of_length, limit);
    let mut lengths = [0; N];
    // The rarest symbols have the longest codes.
    let mut rarest_first = symbols.iter();
    for (length, number) in of_length.iter().enumerate().rev() {
        for (_, symbol) in rarest_first.by_ref().take(*number as usize) {
            if let Some(to) = lengths.get_mut(*symbol) {
                *to = length as u8;
            }
        }
    }
    lengths
}

/// How many codes have each length, by Huffman's algorithm with two queues: the symbols, sorted by count, and the
/// nodes made of them, which come sorted. Lengths above 63 are counted as 63.
fn numbers_of_lengths(symbols: &[(u32, usize)]) -> [u32; 64] {
    let mut of_length = [0; 64];
    if symbols.len() < 2 {
        of_length[1] = symbols.len() as u32;
        return of_length;
    }
    /// Where a node's parent stands, among the nodes.
    const NO_PARENT: usize = usize::MAX;
    let leaves = symbols.len();
    let mut weights: Vec<u64> = symbols.iter().map(|(count, _)| u64::from(*count)).collect();
    let mut parents = vec![NO_PARENT; 2 * leaves - 1];
    let (mut leaf, mut node) = (0, leaves);
    while weights.len() < 2 * leaves - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            let is_leaf = leaf < leaves
                && weights
                    .get(node)
                    .is_none_or(|weight| weights.get(leaf).is_some_and(|other| other <= weight));
            let least = if is_leaf { &mut leaf } else { &mut node };
            sum += weights.get(*least).copied().unwrap_or_default();
            let parent = weights.len();
            if let Some(to) = parents.get_mut(*least) {
                *to = parent;
            }
            *least += 1;
        }
        weights.push(sum);
    }
    let mut depths = vec![0_usize; parents.len()];
    for index in (0..parents.len()).rev() {
        let parent = parents.get(index).copied().unwrap_or(NO_PARENT);
        let depth = depths.get(parent).map_or(0, |depth| depth + 1);
        if let Some(to) = depths.get_mut(index) {
            *to = depth;
        }
        if index < leaves
            && let Some(number) = of_length.get_mut(depth.min(63))
        {
            *number += 1;
        }
    }
    of_length
}

/// Shortens the codes longer than `limit` to it, and lengthens others until the code is a prefix code again and
/// whole: the sum of 2^-length is one.
fn limit_lengths(of_length: &mut [u32; 64], limit: u8) {
    let limit = usize::from(limit.clamp(1, 15));
    let (kept, beyond) = of_length.split_at_mut(limit + 1);
    let too_long: u32 = beyond.iter().sum();
    if too_long == 0 {
        return;
    }
    beyond.fill(0);
    kept[limit] += too_long;
    let weigh = |length: usize, number: u32| u64::from(number) << (limit - length);
    let mut sum: u64 = kept
        .iter()
        .enumerate()
        .skip(1)
        .map(|(length, number)| weigh(length, *number))
        .sum();
    while sum > 1 << limit {
        // One of the longest codes goes, and its symbol shares the place of a shorter one, a level deeper.
        let Some(length) = (1..limit).rev().find(|length| kept[*length] > 0) else {
            return;
        };
        kept[limit] -= 1;
        kept[length] -= 1;
        kept[length + 1] += 2;
        sum -= 1;
    }
}

/// Each code and how many bits it has.
fn canonical<const N: usize>(lengths: &[u8; N]) -> [(u32, u32); N] {
    let mut next = [0_u32; 17];
    for length in lengths {
        next[usize::from(*length & 15) + 1] += u32::from(*length > 0);
    }
    // From numbers of codes to the first code of each length.
    let mut code = 0;
    for first in &mut next {
        code = (code + *first) << 1;
        *first = code;
    }
    let mut codes = [(0, 0); N];
    for (code, length) in codes.iter_mut().zip(lengths) {
        if *length > 0 {
            let next = &mut next[usize::from(*length & 15)];
            let reversed = (*next).reverse_bits() >> (32 - u32::from(*length & 15));
            *code = (reversed, u32::from(*length));
            *next += 1;
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2^15 times the sum of 2^-length: 2^15 for a code without gaps.
    fn kraft(lengths: &[u8]) -> u32 {
        let used = lengths.iter().filter(|length| **length > 0);
        used.map(|length| 1 << (15 - length)).sum()
    }

    fn cost(counts: &[u32], lengths: &[u8]) -> u64 {
        let pairs = counts.iter().zip(lengths);
        pairs
            .map(|(count, length)| u64::from(*count) * u64::from(*length))
            .sum()
    }

    #[test]
    fn the_codes_of_the_rfcs_example() {
        // Section 3.2.2: A to H with lengths 3, 3, 3, 3, 3, 2, 4, 4.
        let codes = canonical(&[3, 3, 3, 3, 3, 2, 4, 4])
            .map(|(code, count)| code.reverse_bits() >> (32 - count));
        let expected = [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111];
        assert_eq!(codes, expected);
    }

    #[test]
    fn few_symbols_have_codes_too() {
        assert_eq!(lengths(&[0, 0, 0], 7), [0, 0, 0]);
        assert_eq!(lengths(&[0, 9, 0], 7), [0, 1, 0]);
        assert_eq!(lengths(&[4, 9, 0], 7), [1, 1, 0]);
    }

    #[test]
    fn the_steepest_counts_keep_the_limit() {
        let mut counts = [1_u32; 40];
        for index in 2..40 {
            counts[index] = counts[index - 1] + counts[index - 2];
        }
        let lengths = lengths(&counts, 14);
        assert_eq!(lengths.iter().max(), Some(&14));
        assert_eq!(kraft(&lengths), 1 << 15);
    }

    proptest! {
        #[test]
        fn every_code_is_whole_and_within_the_limit(
            counts in proptest::array::uniform32(prop_oneof![Just(0), 1..10_u32, 1..1_000_000_u32]),
            limit in 5..=15_u8,
        ) {
            let lengths = lengths(&counts, limit);
            prop_assert!(lengths.iter().all(|length| *length <= limit));
            for (count, length) in counts.iter().zip(&lengths) {
                prop_assert_eq!(*count > 0, *length > 0);
            }
            if counts.iter().filter(|count| **count > 0).count() > 1 {
                prop_assert_eq!(kraft(&lengths), 1 << 15);
            }
        }

        #[test]
        fn no_code_is_shorter_than_huffmans(
            counts in proptest::array::uniform16(1..1_000_u32),
        ) {
            // The cost of an optimal code is the sum of the inner nodes' weights.
            let mut weights: Vec<u64> = counts.iter().map(|count| u64::from(*count)).collect();
            let mut least = 0;
            while weights.len() > 1 {
                weights.sort_unstable_by(|a, b| b.cmp(a));
                let (a, b) = (weights.pop().unwrap(), weights.pop().unwrap());
                weights.push(a + b);
                least += a + b;
            }
            prop_assert_eq!(cost(&counts, &lengths(&counts, 15)), least);
        }
    }
}
