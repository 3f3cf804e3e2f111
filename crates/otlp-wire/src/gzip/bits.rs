//! Bits into octets, the first bit lowest (RFC 1951, section 3.1.1).

/// Bits that may be put between two flushes.
pub(super) const MAX_UNFLUSHED: u32 = 56;

/// Bits that wait to become octets.
///
/// A [`BitWriter`] gives out at most 7. Whoever puts at most [`MAX_UNFLUSHED`] to them never has more than 63, so that
/// the 64 bits can't overflow. A value of its own, that it may stay in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    bits: u64,
    count: u32,
}

impl Waiting {
    /// Puts the lowest `count` bits of `value`; the others are zero.
    #[inline(always)]
    pub(super) fn put(&mut self, value: u64, count: u32) {
        debug_assert!(self.count + count <= 63 && value >> count == 0);
        self.bits |= value << (self.count & 63);
        self.count += count;
    }

    /// Puts an entry of [`Codes`](super::huffman::Codes).
    #[inline(always)]
    pub(super) fn put_entry(&mut self, entry: u32) {
        self.put(u64::from(entry & 0x00ff_ffff), entry >> 24);
    }
}

/// Writes bits into a room of fixed size; what doesn't fit is lost, and then the writer says so.
#[derive(Debug)]
pub(super) struct BitWriter {
    room: Vec<u8>,
    at: usize,
    waiting: Waiting,
    is_full: bool,
}

impl BitWriter {
    /// Writes behind `head`, into at most `octets` octets with it.
    pub(super) fn new(head: &[u8], octets: usize) -> Self {
        let mut room = vec![0; octets.max(head.len())];
        if let Some(to) = room.get_mut(..head.len()) {
            to.copy_from_slice(head);
        }
        Self {
            room,
            at: head.len(),
            waiting: Waiting { bits: 0, count: 0 },
            is_full: false,
        }
    }

    /// What waits, at most 7 bits, to put more to it.
    #[inline(always)]
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Takes back what [`waiting`](Self::waiting) gave, with what was put to it.
    #[inline(always)]
    pub(super) fn flush(&mut self, waiting: Waiting) -> Waiting {
        let Waiting { bits, count } = waiting;
        match self
            .room
            .get_mut(self.at..)
            .and_then(|room| room.first_chunk_mut::<8>())
        {
            Some(room) => {
                *room = bits.to_le_bytes();
                self.at += (count >> 3) as usize;
            }
            None => self.is_full = true,
        }
        self.waiting = Waiting {
            bits: bits >> (count & 56),
            count: count & 7,
        };
        self.waiting
    }

    /// Puts and flushes.
    pub(super) fn put(&mut self, value: u64, count: u32) {
        let mut waiting = self.waiting;
        waiting.put(value, count);
        self.flush(waiting);
    }

    /// Puts an entry of [`Codes`](super::huffman::Codes) and flushes.
    pub(super) fn put_entry(&mut self, entry: u32) {
        let mut waiting = self.waiting;
        waiting.put_entry(entry);
        self.flush(waiting);
    }

    /// Something didn't fit.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Puts zeros up to the end of the octet, then whole octets; `None` if anything didn't fit.
    pub(super) fn finish(mut self, tail: &[u8]) -> Option<Vec<u8>> {
        let mut waiting = self.waiting;
        waiting.count = waiting.count.next_multiple_of(8);
        self.flush(waiting);
        let end = self.at + tail.len();
        self.room.get_mut(self.at..end)?.copy_from_slice(tail);
        self.room.truncate(end);
        (!self.is_full).then_some(self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_out_lowest_first() {
        let mut writer = BitWriter::new(&[9], 64);
        let mut waiting = writer.waiting();
        waiting.put(0b1, 1);
        waiting.put(0b10, 2);
        waiting.put(0x1_ffff, 17);
        writer.flush(waiting);
        writer.put((1 << MAX_UNFLUSHED) - 1, MAX_UNFLUSHED);
        let octets = writer.finish(&[7]).unwrap();
        let all = [
            9, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 7,
        ];
        assert_eq!(octets, all);
    }

    #[test]
    fn a_room_too_small_is_told() {
        for octets in 0..=9 {
            let mut writer = BitWriter::new(&[], octets);
            for _ in 0..3 {
                writer.put(0xffff, 16);
            }
            // Each flush wants eight octets of room.
            assert_eq!(writer.finish(&[]).is_some(), octets >= 6 + 8, "{octets}");
        }
    }
}
