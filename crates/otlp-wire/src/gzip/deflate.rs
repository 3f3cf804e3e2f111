//! DEFLATE's alphabets and blocks: tokens in, bits out (RFC 1951, sections 3.2.5 to 3.2.7).

use super::bits::{BitWriter, Item, MAX_ITEM};
use super::huffman::Codes;

pub(super) const MIN_COPY: usize = 3;
pub(super) const MAX_COPY: usize = 258;
pub(super) const MAX_DISTANCE: usize = 32 << 10;

/// Literals, the end of a block, and lengths.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const END_OF_BLOCK: usize = 256;
/// A length with its 5 extra bits is an item, and so is a distance with its 13.
const LITERAL_LIMIT: u8 = 14;
const DISTANCE_LIMIT: u8 = 14;
const _: () = assert!(LITERAL_LIMIT as u32 + 5 <= MAX_ITEM);
const _: () = assert!(DISTANCE_LIMIT as u32 + 13 <= MAX_ITEM);

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

/// Symbol of a distance.
#[inline(always)]
fn distance_symbol(distance: usize) -> usize {
    let less_one = distance as u32 - 1;
    if less_one < 4 {
        return less_one as usize;
    }
    let log = 31 - less_one.leading_zeros();
    let bits = log - 1;
    (2 * log + (less_one >> bits & 1)) as usize
}

/// How many extra bits the distances of a symbol have.
fn distance_bits(symbol: u32) -> u32 {
    (symbol / 2).saturating_sub(1)
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
        self.distances[distance_symbol(distance).min(DISTANCES - 1)] += ONE;
    }
}

/// A literal, a length or a distance, with its extra bits: an octet, [`LENGTH`] and more, or [`DISTANCE`] and more.
type Symbol = u16;
/// Three octets.
const LENGTH: Symbol = 1 << 8;
/// One octet back.
const DISTANCE: Symbol = 1 << 15;

/// What the codes of a block make of each [`Symbol`].
pub(super) struct Table {
    items: Vec<Item>,
    end_of_block: Item,
    /// Bits of each symbol's code.
    code_lengths: [u8; LITERALS + DISTANCES],
}

impl Table {
    /// Without codes yet.
    pub(super) fn new() -> Self {
        Self {
            items: vec![Item::default(); 1 << Symbol::BITS],
            end_of_block: Item::default(),
            code_lengths: [0; LITERALS + DISTANCES],
        }
    }

    /// Makes the codes of a block from the counts of a sample.
    pub(super) fn make(&mut self, counts: &Counts) {
        let counts = counts.complete();
        let literals = Codes::new(&counts.literals, LITERAL_LIMIT);
        let distances = Codes::new(&counts.distances, DISTANCE_LIMIT);
        self.end_of_block = literals.items[END_OF_BLOCK];
        let (of_literals, of_distances) = self.code_lengths.split_at_mut(LITERALS);
        of_literals.copy_from_slice(&literals.lengths);
        of_distances.copy_from_slice(&distances.lengths);
        let (below, of_distances) = self.items.split_at_mut(DISTANCE.into());
        let octets = literals.items.iter().take(END_OF_BLOCK).copied();
        let lengths = (0..).zip(LENGTH_INDEX).map(|(less_three, index)| {
            let (shortest, extra_bits) = LENGTHS[usize::from(index)];
            let extra = less_three + MIN_COPY as u32 - u32::from(shortest);
            literals.items[257 + usize::from(index)].and(extra, extra_bits.into())
        });
        for (to, item) in below.iter_mut().zip(octets.chain(lengths)) {
            *to = item;
        }
        let mut rest = of_distances.iter_mut();
        for (symbol, item) in (0..).zip(distances.items) {
            let bits = distance_bits(symbol);
            for (extra, to) in (0..1 << bits).zip(&mut rest) {
                *to = item.and(extra, bits);
            }
        }
    }
}

/// Symbols that wait and are then written together. The walker's branches can't be predicted and writing has none:
/// in a loop of its own it never waits for them.
const SYMBOLS: usize = 4 << 10;
/// Literals that are copied at once; those beyond the end are overwritten. Their number can't be predicted either, so
/// that no branch depends on it.
const AT_ONCE: usize = 16;

/// Writes the tokens of a block.
pub(super) struct Block<'a> {
    table: &'a Table,
    bits: &'a mut BitWriter,
    symbols: [Symbol; SYMBOLS],
    waiting: usize,
}

impl<'a> Block<'a> {
    /// Begins a block: its header and its codes.
    pub(super) fn begin(table: &'a Table, bits: &'a mut BitWriter, is_last: bool) -> Self {
        put_header(table, bits, is_last);
        Self {
            table,
            bits,
            symbols: [0; SYMBOLS],
            waiting: 0,
        }
    }

    pub(super) fn end(mut self) {
        self.write();
        self.bits.put_items(&[self.table.end_of_block]);
    }

    #[inline(never)]
    fn write(&mut self) {
        let symbols = self.symbols.get(..self.waiting).unwrap_or_default();
        if let Some(items) = self.table.items.first_chunk() {
            self.bits.put_symbols(symbols, items);
        }
        self.waiting = 0;
    }

    /// Long runs of literals, and those near the end of the input.
    #[inline(never)]
    fn many_literals(&mut self, octets: &[u8]) {
        for octet in octets {
            if let Some([room]) = self.room(1) {
                *room = Symbol::from(*octet);
            }
        }
    }

    /// Room for N symbols, of which the first `used` are kept.
    #[inline(always)]
    fn room<const N: usize>(&mut self, used: usize) -> Option<&mut [Symbol; N]> {
        if self.waiting + N > SYMBOLS {
            self.write();
        }
        let room = self.symbols.get_mut(self.waiting..);
        self.waiting += used;
        room.and_then(|room| room.first_chunk_mut())
    }
}

impl Sink for Block<'_> {
    #[inline(always)]
    fn literals(&mut self, octets: &[u8], from: usize, to: usize) {
        let used = to.saturating_sub(from);
        let some = octets.get(from..).and_then(|rest| rest.first_chunk());
        match some {
            Some(some) if used <= AT_ONCE => {
                let some: &[u8; AT_ONCE] = some;
                if let Some(room) = self.room::<AT_ONCE>(used) {
                    *room = some.map(Symbol::from);
                }
            }
            _ => self.many_literals(octets.get(from..to).unwrap_or_default()),
        }
    }

    #[inline(always)]
    fn id(&mut self, id: &[u8; 8]) {
        if let Some(room) = self.room(id.len()) {
            *room = id.map(Symbol::from);
        }
    }

    #[inline(always)]
    fn copy(&mut self, length: usize, distance: usize) {
        debug_assert!((MIN_COPY..=MAX_COPY).contains(&length));
        debug_assert!((1..=MAX_DISTANCE).contains(&distance));
        if let Some(room) = self.room(2) {
            *room = [
                LENGTH + ((length - MIN_COPY) & 255) as Symbol,
                DISTANCE + ((distance - 1) & (MAX_DISTANCE - 1)) as Symbol,
            ];
        }
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
    let lengths = table.code_lengths.iter();
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
    bits.put(u32::from(is_last), 1);
    bits.put(2, 2);
    bits.put(LITERALS as u32 - 257, 5);
    bits.put(DISTANCES as u32 - 1, 5);
    bits.put(ORDER.len() as u32 - 4, 4);
    for symbol in ORDER {
        bits.put(u32::from(codes.lengths[symbol]), 3);
    }
    for (step, extra) in steps {
        let code = codes.items[usize::from(step).min(18)];
        let extra_bits = if step == AGAIN { 2 } else { 0 };
        bits.put_items(&[code.and(extra.into(), extra_bits)]);
    }
}

fn push_again(steps: &mut Vec<(u8, u8)>, length: u8, again: u8) {
    if again >= 3 {
        steps.push((AGAIN, again - 3));
    } else {
        steps.extend((0..again).map(|_| (length, 0)));
    }
}
