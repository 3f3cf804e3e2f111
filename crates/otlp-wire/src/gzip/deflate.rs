//! DEFLATE's alphabets and blocks: tokens in, bits out (RFC 1951, sections 3.2.5 to 3.2.7).

use super::bits::{BitWriter, MAX_UNFLUSHED};
use super::huffman::Codes;

pub(super) const MIN_COPY: usize = 3;
pub(super) const MAX_COPY: usize = 258;
pub(super) const MAX_DISTANCE: usize = 32 << 10;

/// Literals, the end of a block, and lengths.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const END_OF_BLOCK: usize = 256;
/// Four literals fit between two flushes, and so does a copy: a length of 14 + 5 bits, a distance of 15 + 13.
const LITERAL_LIMIT: u8 = 14;
const DISTANCE_LIMIT: u8 = 15;
const LITERALS_A_FLUSH: usize = 4;
const _: () = assert!(LITERALS_A_FLUSH as u32 * LITERAL_LIMIT as u32 <= MAX_UNFLUSHED);
const _: () = assert!(LITERAL_LIMIT as u32 + 5 + DISTANCE_LIMIT as u32 + 13 <= MAX_UNFLUSHED);

/// Shortest length of each length symbol, from 257 on, and its extra bits.
const LENGTHS: [(u16, u8); 29] = {
    let mut lengths = [(0, 0); 29];
    let mut index = 0;
    let mut length = 3;
    while index < 28 {
        let bits = if index < 8 { 0 } else { index / 4 - 1 };
        lengths[index] = (length, bits as u8);
        length += 1 << bits;
        index += 1;
    }
    lengths[28] = (258, 0);
    lengths
};

/// Index into [`LENGTHS`] of a length less three.
const LENGTH_INDEX: [u8; 256] = {
    let mut indexes = [0; 256];
    let mut index = 0;
    while index < 29 {
        let mut at = LENGTHS[index].0 as usize - MIN_COPY;
        while at < 256 {
            indexes[at] = index as u8;
            at += 1;
        }
        index += 1;
    }
    indexes
};

/// What takes tokens.
pub(super) trait Sink {
    /// The octets of `octets` from `from` to `to`.
    fn literals(&mut self, octets: &[u8], from: usize, to: usize);
    /// An id, of which every octet is as likely as any.
    fn id(&mut self, id: &[u8; 8]);
    /// `length` octets again that stand `distance` octets back: 3 to 258, 1 to 32,768.
    fn copy(&mut self, length: usize, distance: usize);
}

/// Symbol of a distance, its extra bits and how many there are.
#[inline(always)]
fn distance_symbol(distance: usize) -> (usize, u32, u32) {
    let less_one = distance as u32 - 1;
    if less_one < 4 {
        return (less_one as usize, 0, 0);
    }
    let log = 31 - less_one.leading_zeros();
    let bits = log - 1;
    let symbol = 2 * log + (less_one >> bits & 1);
    (symbol as usize, less_one & ((1 << bits) - 1), bits)
}

/// Counts symbols.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
    /// Octets of ids.
    random: u32,
}

/// What a token counts: ids count this much for all octets together.
const ONE: u32 = 256;
/// What every symbol counts, for each can come.
const LEAST: u32 = 64;

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
            random: 0,
        }
    }

    /// Has all symbols, also those not seen yet.
    fn complete(&self) -> Self {
        let mut complete = self.clone();
        for (symbol, count) in complete.literals.iter_mut().enumerate() {
            *count += LEAST + if symbol < 256 { self.random } else { 0 };
        }
        for count in &mut complete.distances {
            *count += LEAST;
        }
        complete
    }
}

impl Sink for Counts {
    #[inline]
    fn literals(&mut self, octets: &[u8], from: usize, to: usize) {
        for octet in octets.get(from..to).unwrap_or_default() {
            self.literals[usize::from(*octet)] += ONE;
        }
    }

    #[inline]
    fn id(&mut self, id: &[u8; 8]) {
        self.random += id.len() as u32;
    }

    #[inline]
    fn copy(&mut self, length: usize, distance: usize) {
        let index = LENGTH_INDEX[(length - MIN_COPY) & 255];
        self.literals[257 + usize::from(index & 31).min(28)] += ONE;
        let (symbol, ..) = distance_symbol(distance);
        self.distances[symbol.min(DISTANCES - 1)] += ONE;
    }
}

/// The codes of a block.
pub(super) struct Table {
    literals: Codes<LITERALS>,
    /// Of each length less three, its extra bits behind its code.
    lengths: [u32; 256],
    distances: Codes<DISTANCES>,
}

impl Table {
    pub(super) fn new(counts: &Counts) -> Self {
        let counts = counts.complete();
        let literals = Codes::new(&counts.literals, LITERAL_LIMIT);
        let mut lengths = [0; 256];
        for (less_three, entry) in lengths.iter_mut().enumerate() {
            let index = usize::from(LENGTH_INDEX[less_three]);
            let (shortest, extra_bits) = LENGTHS[index];
            let code = literals.entries[257 + index];
            let extra = (less_three + MIN_COPY - usize::from(shortest)) as u32;
            *entry = code + (extra << (code >> 24)) + (u32::from(extra_bits) << 24);
        }
        Self {
            literals,
            lengths,
            distances: Codes::new(&counts.distances, DISTANCE_LIMIT),
        }
    }
}

/// Writes the tokens of a block.
pub(super) struct Block<'a> {
    table: &'a Table,
    bits: &'a mut BitWriter,
}

impl<'a> Block<'a> {
    /// Begins a block: its header and its codes.
    pub(super) fn begin(table: &'a Table, bits: &'a mut BitWriter, is_last: bool) -> Self {
        put_header(table, bits, is_last);
        Self { table, bits }
    }

    pub(super) fn end(self) {
        self.bits
            .put_entry(self.table.literals.entries[END_OF_BLOCK]);
    }
}

impl Sink for Block<'_> {
    #[inline(always)]
    fn literals(&mut self, octets: &[u8], from: usize, to: usize) {
        let entries = &self.table.literals.entries;
        let mut waiting = self.bits.waiting();
        let mut at = from;
        while at < to {
            match octets.get(at..).and_then(|rest| rest.first_chunk()) {
                // Four at once, without a branch for those that aren't meant: how many there are can't be foreseen.
                Some(four) => {
                    let four: &[u8; LITERALS_A_FLUSH] = four;
                    for (index, octet) in four.iter().enumerate() {
                        let mask = u32::from(at + index < to).wrapping_neg();
                        waiting.put_entry(entries[usize::from(*octet)] & mask);
                    }
                }
                None => {
                    for octet in octets.get(at..to).unwrap_or_default() {
                        waiting.put_entry(entries[usize::from(*octet)]);
                    }
                }
            }
            waiting = self.bits.flush(waiting);
            at += LITERALS_A_FLUSH;
        }
    }

    #[inline(always)]
    fn id(&mut self, id: &[u8; 8]) {
        let entries = &self.table.literals.entries;
        let mut waiting = self.bits.waiting();
        let (fours, _) = id.as_chunks::<LITERALS_A_FLUSH>();
        for four in fours {
            for octet in four {
                waiting.put_entry(entries[usize::from(*octet)]);
            }
            waiting = self.bits.flush(waiting);
        }
    }

    #[inline(always)]
    fn copy(&mut self, length: usize, distance: usize) {
        debug_assert!((MIN_COPY..=MAX_COPY).contains(&length));
        debug_assert!((1..=MAX_DISTANCE).contains(&distance));
        let mut waiting = self.bits.waiting();
        waiting.put_entry(self.table.lengths[(length - MIN_COPY) & 255]);
        let (symbol, extra, bits) = distance_symbol(distance);
        waiting.put_entry(self.table.distances.entries[symbol.min(DISTANCES - 1)]);
        waiting.put(u64::from(extra), bits);
        self.bits.flush(waiting);
    }
}

/// The last block of all, without tokens, by the fixed codes.
pub(super) fn put_empty_last_block(bits: &mut BitWriter) {
    bits.put(0b011, 3);
    bits.put(0, 7);
}

/// The order in which the lengths of the code for lengths are written.
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// Says how often the last length comes again, 3 to 6 times, in 2 bits.
const AGAIN: u8 = 16;

fn put_header(table: &Table, bits: &mut BitWriter, is_last: bool) {
    // Each length, or AGAIN and its extra bits. No length is zero: every symbol has a code.
    let mut steps: Vec<(u8, u8)> = Vec::with_capacity(LITERALS + DISTANCES);
    let lengths = table
        .literals
        .lengths
        .iter()
        .chain(&table.distances.lengths);
    let mut last = None;
    let mut again = 0;
    for length in lengths.map(Some).chain([None]) {
        if length == last && again < 6 {
            again += 1;
            continue;
        }
        if let Some(last) = last {
            push_again(&mut steps, *last, again);
        }
        if let Some(length) = length {
            steps.push((*length, 0));
        }
        last = length;
        again = 0;
    }
    let mut counts = [0; 19];
    for (step, _) in &steps {
        counts[usize::from(*step).min(18)] += 1;
    }
    let codes = Codes::new(&counts, 7);
    bits.put(u64::from(is_last), 1);
    bits.put(2, 2);
    bits.put(LITERALS as u64 - 257, 5);
    bits.put(DISTANCES as u64 - 1, 5);
    bits.put(ORDER.len() as u64 - 4, 4);
    for symbol in ORDER {
        bits.put(u64::from(codes.lengths[symbol]), 3);
    }
    for (step, extra) in steps {
        bits.put_entry(codes.entries[usize::from(step).min(18)]);
        if step == AGAIN {
            bits.put(u64::from(extra), 2);
        }
    }
}

fn push_again(steps: &mut Vec<(u8, u8)>, length: u8, again: u8) {
    if again >= 3 {
        steps.push((AGAIN, again - 3));
    } else {
        steps.extend((0..again).map(|_| (length, 0)));
    }
}
