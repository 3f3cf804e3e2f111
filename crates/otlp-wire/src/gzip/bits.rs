//! Bits into octets, the first bit lowest (RFC 1951, section 3.1.1).

/// Bits that may be put between two flushes.
pub(super) const MAX_UNFLUSHED: u32 = 56;
/// Bits of an [`Item`] at most.
pub(super) const MAX_ITEM: u32 = 27;
const _: () = assert!(2 * MAX_ITEM <= MAX_UNFLUSHED);

/// Some bits to be written: how many in the lowest five, and then those bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Item(u32);

impl Item {
    /// The lowest `count` bits of `value`, 27 at most; the others are zero.
    #[inline(always)]
    pub(super) fn new(value: u32, count: u32) -> Self {
        debug_assert!(count <= MAX_ITEM && u64::from(value) >> count == 0);
        Self(value << 5 | count)
    }

    /// These bits, and the lowest `count` of `value` behind them; the others are zero.
    #[inline(always)]
    pub(super) fn and(self, value: u32, count: u32) -> Self {
        let own = self.0 & 31;
        debug_assert!(own + count <= MAX_ITEM && u64::from(value) >> count == 0);
        Self(self.0 + (value << ((own + 5) & 31)) + count)
    }

    #[inline(always)]
    fn count(self) -> u32 {
        self.0 & 31
    }

    #[inline(always)]
    fn value(self) -> u64 {
        u64::from(self.0 >> 5)
    }
}

/// Writes bits into a room of limited size; what doesn't fit is lost, and then the writer says so.
#[derive(Debug)]
pub(super) struct BitWriter {
    room: Vec<u8>,
    /// Octets that `room` may have.
    limit: usize,
    at: usize,
    /// Bits that wait to become octets: at most 7 between two calls. With at most [`MAX_UNFLUSHED`] more they are 63.
    waiting: u64,
    count: u32,
    is_full: bool,
}

impl BitWriter {
    /// Writes behind `head`, into at most `limit` octets with it.
    pub(super) fn new(head: &[u8], limit: usize) -> Self {
        let mut room = Vec::with_capacity(limit.max(head.len()));
        room.extend_from_slice(head);
        Self {
            at: room.len(),
            room,
            limit,
            waiting: 0,
            count: 0,
            is_full: false,
        }
    }

    /// Puts the lowest `count` bits of `value`, at most 27; the others are zero.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        self.put_items(&[Item::new(value, count)]);
    }

    /// Puts all of these.
    pub(super) fn put_items(&mut self, items: &[Item]) {
        self.put_all(items, |item| *item);
    }

    /// Puts the items that these stand for.
    pub(super) fn put_symbols(&mut self, symbols: &[u16], items: &[Item; 1 << 16]) {
        self.put_all(symbols, |symbol| items[usize::from(*symbol)]);
    }

    #[inline(always)]
    fn put_all<T>(&mut self, all: &[T], item: impl Fn(&T) -> Item) {
        // Two items are 54 bits, and the last store writes eight octets.
        let most = self.at + all.len().div_ceil(2) * 7 + 8;
        let end = most.min(self.limit);
        if self.room.len() < end {
            self.room.resize(end, 0);
        }
        let room = self.room.as_mut_slice();
        let (mut at, mut bits, mut count) = (self.at, self.waiting, self.count);
        let mut is_full = self.is_full;
        let mut put = |one: Item, other: Item| {
            bits |= one.value() << (count & 63);
            count += one.count();
            bits |= other.value() << (count & 63);
            count += other.count();
            match room.get_mut(at..).and_then(|room| room.first_chunk_mut()) {
                Some(room) => *room = bits.to_le_bytes(),
                None => is_full = true,
            }
            at += (count >> 3) as usize;
            bits >>= count & 56;
            count &= 7;
        };
        let (pairs, rest) = all.as_chunks::<2>();
        for [one, other] in pairs {
            put(item(one), item(other));
        }
        if let [last] = rest {
            put(item(last), Item::default());
        }
        (self.at, self.waiting, self.count) = (at, bits, count);
        self.is_full = is_full;
    }

    /// Something didn't fit.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Puts zeros up to the end of the octet, then whole octets; `None` if anything didn't fit.
    pub(super) fn finish(mut self, tail: &[u8]) -> Option<Vec<u8>> {
        self.put(0, self.count.next_multiple_of(8) - self.count);
        self.room.truncate(self.at);
        self.room.extend_from_slice(tail);
        (!self.is_full && self.room.len() <= self.limit).then_some(self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_out_lowest_first() {
        let mut writer = BitWriter::new(&[9], 64);
        writer.put_items(&[
            Item::new(0b1, 1),
            Item::new(0b10, 2).and(0x1_ffff, 17),
            Item::default(),
        ]);
        writer.put((1 << MAX_ITEM) - 1, MAX_ITEM);
        writer.put((1 << MAX_ITEM) - 1, MAX_ITEM);
        let octets = writer.finish(&[7]).unwrap();
        let all = [
            9, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 7,
        ];
        assert_eq!(octets, all);
    }

    #[test]
    fn a_room_too_small_is_told() {
        for limit in 0..=20 {
            let mut writer = BitWriter::new(&[], limit);
            for _ in 0..3 {
                writer.put(0xffff, 16);
            }
            // Each store wants eight octets of room.
            assert_eq!(writer.finish(&[]).is_some(), limit >= 6 + 8, "{limit}");
        }
    }
}
