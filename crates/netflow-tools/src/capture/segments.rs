//! IPFIX messages out of the segments of captured TCP connections: put in order, bounded in connections and octets.
//!
//! A direction of a connection is taken for IPFIX when its first octets begin a message. Segments may come in any order
//! and more than once. Where segments are missing from the capture, reading goes on with the next segment that begins a
//! message, and what lies between is counted.
//!
//! Sources: RFC 9293; RFC 7011, sections 3.1 and 10.4.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

use super::ip::Addresses;
use netflow_wire::{u16_at, u32_at};

/// Directions of connections that are followed.
const MAX_STREAMS: usize = 2048;
/// Octets of one direction that wait for a segment before them …
const MAX_AHEAD: usize = 1 << 20;
/// … and of all.
const MAX_AHEAD_OF_ALL: usize = 32 << 20;
/// The least header of TCP, and of a message.
const TCP_HEADER: usize = 20;
const MESSAGE_HEADER: usize = 16;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// A direction of a connection.
type Ends = (SocketAddr, SocketAddr);

/// A message, whole.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct StreamMessage {
    pub(super) ends: Ends,
    pub(super) octets: Vec<u8>,
    /// It is the first of its connection.
    pub(super) begins: bool,
}

/// What a segment was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Segment {
    /// Part of a connection with IPFIX.
    Taken,
    /// Of another connection, or damaged.
    Other,
    /// Octets before it are missing from the capture, or it is cut: some messages are lost.
    Gap,
}

#[derive(Debug)]
struct Stream {
    /// The sequence number of the next octet.
    next: u32,
    /// In order, without a whole message at its beginning.
    buffer: Vec<u8>,
    /// Segments that are ahead, by sequence number.
    ahead: BTreeMap<u32, Vec<u8>>,
    ahead_octets: usize,
    /// No message of it has been given yet.
    is_new: bool,
    /// When it was last used, in segments.
    used: u64,
}

/// All connections of a capture.
#[derive(Debug, Default)]
pub(super) struct Segments {
    streams: HashMap<Ends, Stream>,
    ready: VecDeque<StreamMessage>,
    /// Octets that are ahead.
    ahead: usize,
    clock: u64,
}

impl Segments {
    /// The next message that is whole.
    pub(super) fn next(&mut self) -> Option<StreamMessage> {
        self.ready.pop_front()
    }

    /// Takes a TCP segment: header and payload.
    pub(super) fn add(&mut self, addresses: Addresses, octets: &[u8], is_cut: bool) -> Segment {
        self.clock += 1;
        let Some(header) = Header::read(addresses, octets) else {
            return Segment::Other;
        };
        let payload = octets.get(header.octets..).unwrap_or_default();
        if header.flags & SYN != 0 {
            self.forget(header.ends);
            return self.begin(&header, payload, header.sequence.wrapping_add(1));
        }
        let Some(stream) = self.streams.get_mut(&header.ends) else {
            if !begins_message(payload) {
                return Segment::Other;
            }
            return self.begin(&header, payload, header.sequence);
        };
        stream.used = self.clock;
        let before = stream.ahead_octets;
        let mut taken = stream.take(header.sequence, payload, is_cut);
        if self.ahead + stream.ahead_octets > MAX_AHEAD_OF_ALL + before {
            taken = stream.skip_gap();
        }
        self.ahead = self.ahead + stream.ahead_octets - before;
        // What it is can be told by its first octets.
        if stream.is_new && stream.buffer.len() >= 2 && !stream.buffer.starts_with(&[0, 10]) {
            self.forget(header.ends);
            return Segment::Other;
        }
        if stream.give_whole(header.ends, &mut self.ready).is_err() {
            stream.buffer.clear();
            taken = Segment::Gap;
        }
        // A segment before the last may still come.
        let is_whole = stream.ahead.is_empty() && stream.next == header.end(payload);
        if header.flags & RST != 0 || header.flags & FIN != 0 && is_whole {
            let ended = self.forget(header.ends);
            if ended.is_some_and(|mut ended| ended.finish(header.ends, &mut self.ready)) {
                return Segment::Gap;
            }
        }
        taken
    }

    /// The capture has ended: gives what is behind gaps; how many connections have some.
    pub(super) fn finish(&mut self) -> u64 {
        let mut streams: Vec<_> = self.streams.drain().collect();
        streams.sort_unstable_by_key(|(ends, _)| *ends);
        self.ahead = 0;
        let ready = &mut self.ready;
        let gaps = streams
            .iter_mut()
            .filter_map(|(ends, stream)| stream.finish(*ends, ready).then_some(()));
        gaps.count() as u64
    }

    fn forget(&mut self, ends: Ends) -> Option<Stream> {
        let gone = self.streams.remove(&ends)?;
        self.ahead -= gone.ahead_octets;
        Some(gone)
    }

    fn begin(&mut self, header: &Header, payload: &[u8], next: u32) -> Segment {
        if self.streams.len() >= MAX_STREAMS {
            let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.used);
            if let Some(ends) = oldest.map(|(ends, _)| *ends) {
                self.forget(ends);
            }
        }
        let mut stream = Stream {
            next,
            buffer: Vec::new(),
            ahead: BTreeMap::new(),
            ahead_octets: 0,
            is_new: true,
            used: self.clock,
        };
        stream.take(next, payload, false);
        let given = stream.give_whole(header.ends, &mut self.ready);
        self.streams.insert(header.ends, stream);
        match given {
            Ok(()) if begins_message(payload) => Segment::Taken,
            _ => Segment::Other,
        }
    }
}

impl Stream {
    /// Adds a segment, and those that it joins.
    fn take(&mut self, sequence: u32, payload: &[u8], is_cut: bool) -> Segment {
        if payload.is_empty() {
            return Segment::Taken;
        }
        let distance = sequence.wrapping_sub(self.next).cast_signed();
        if distance > 0 {
            self.ahead_octets += payload.len();
            self.ahead.insert(sequence, payload.to_vec());
            if self.ahead_octets <= MAX_AHEAD {
                return Segment::Taken;
            }
            return self.skip_gap();
        }
        let known = distance.unsigned_abs() as usize;
        if let Some(fresh) = payload.get(known..) {
            self.append(fresh);
            self.join();
        }
        if is_cut { Segment::Gap } else { Segment::Taken }
    }

    fn append(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
        self.next = self.next.wrapping_add(octets.len() as u32);
    }

    /// Appends what is no longer ahead.
    fn join(&mut self) {
        loop {
            let next = self.next;
            let ahead = self.ahead.keys().copied();
            let joins = |sequence: &u32| sequence.wrapping_sub(next).cast_signed() <= 0;
            let Some(sequence) = ahead.into_iter().find(joins) else {
                return;
            };
            if let Some(octets) = self.ahead.remove(&sequence) {
                self.ahead_octets -= octets.len();
                let known = next.wrapping_sub(sequence) as usize;
                if let Some(fresh) = octets.get(known..) {
                    self.append(fresh);
                }
            }
        }
    }

    /// Goes on behind a gap, with the first segment there that begins a message.
    fn skip_gap(&mut self) -> Segment {
        self.buffer.clear();
        let next = self.next;
        while let Some(sequence) = self
            .ahead
            .keys()
            .copied()
            .min_by_key(|sequence| sequence.wrapping_sub(next))
        {
            let Some(octets) = self.ahead.remove(&sequence) else {
                break;
            };
            self.ahead_octets -= octets.len();
            if begins_message(&octets) {
                self.next = sequence;
                self.append(&octets);
                self.join();
                break;
            }
            self.next = sequence.wrapping_add(octets.len() as u32);
        }
        Segment::Gap
    }

    /// No more segments come: gives the messages behind gaps; whether anything is missing.
    fn finish(&mut self, ends: Ends, ready: &mut VecDeque<StreamMessage>) -> bool {
        let has_gap = !self.ahead.is_empty() || !self.buffer.is_empty();
        while !self.ahead.is_empty() {
            self.skip_gap();
            if self.give_whole(ends, ready).is_err() {
                self.buffer.clear();
            }
        }
        has_gap
    }

    /// Gives the whole messages away; an error if what comes next is none.
    fn give_whole(&mut self, ends: Ends, ready: &mut VecDeque<StreamMessage>) -> Result<(), ()> {
        loop {
            let (Some(version), Some(length)) = (u16_at(&self.buffer, 0), u16_at(&self.buffer, 2))
            else {
                return Ok(());
            };
            let length = usize::from(length);
            if version != 10 || length < MESSAGE_HEADER {
                return Err(());
            }
            if self.buffer.len() < length {
                return Ok(());
            }
            let rest = self.buffer.split_off(length);
            ready.push_back(StreamMessage {
                ends,
                octets: std::mem::replace(&mut self.buffer, rest),
                begins: std::mem::take(&mut self.is_new),
            });
        }
    }
}

/// Of a segment.
struct Header {
    ends: Ends,
    sequence: u32,
    flags: u8,
    octets: usize,
}

impl Header {
    /// The sequence number of what follows the segment's payload.
    fn end(&self, payload: &[u8]) -> u32 {
        self.sequence.wrapping_add(payload.len() as u32)
    }

    fn read(addresses: Addresses, octets: &[u8]) -> Option<Self> {
        let length = usize::from(octets.get(12)? >> 4) * 4;
        if length < TCP_HEADER {
            return None;
        }
        Some(Self {
            ends: (
                SocketAddr::new(addresses.0, u16_at(octets, 0)?),
                SocketAddr::new(addresses.1, u16_at(octets, 2)?),
            ),
            sequence: u32_at(octets, 4)?,
            flags: *octets.get(13)?,
            octets: length,
        })
    }
}

/// Whether a segment's payload begins with what can be the header of a message, and its first Set's.
fn begins_message(payload: &[u8]) -> bool {
    let (Some(10), Some(length)) = (u16_at(payload, 0), u16_at(payload, 2)) else {
        return false;
    };
    match (
        u16_at(payload, MESSAGE_HEADER),
        u16_at(payload, MESSAGE_HEADER + 2),
    ) {
        (Some(id), Some(set)) => {
            let is_set = matches!(id, 2 | 3) || id >= 256;
            is_set && set >= 4 && usize::from(set) + MESSAGE_HEADER <= usize::from(length)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    const ENDS: Addresses = (
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    );

    fn segment(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0x10, 0, 0x12, 0x83];
        octets.extend(sequence.to_be_bytes());
        octets.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        octets.extend(payload);
        octets
    }

    fn message(number: u8, octets: usize) -> Vec<u8> {
        let length = u16::try_from(20 + octets).unwrap();
        let mut message = vec![0, 10];
        message.extend(length.to_be_bytes());
        message.extend([number; 12]);
        message.extend([1, 0]);
        message.extend((length - 16).to_be_bytes());
        message.extend(vec![number; octets]);
        message
    }

    fn all(segments: &mut Segments) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| segments.next().map(|message| message.octets)).collect()
    }

    proptest! {
        #[test]
        fn segments_of_any_size_in_any_order_and_twice_give_the_messages(
            sizes in prop::collection::vec(0_usize..300, 1..8),
            cut in 1_usize..200,
            start in any::<u32>(),
            order in any::<u64>(),
            has_syn in any::<bool>(),
        ) {
            let sent: Vec<_> = (0..).zip(&sizes).map(|(number, size)| message(number, *size)).collect();
            let stream = sent.concat();
            let mut segments = Segments::default();
            if has_syn {
                segments.add(ENDS, &segment(start.wrapping_sub(1), SYN, &[]), false);
            }
            let mut pieces: Vec<_> = stream
                .chunks(cut)
                .scan(start, |at, piece| {
                    let sequence = *at;
                    *at = at.wrapping_add(piece.len() as u32);
                    Some(segment(sequence, 0, piece))
                })
                .collect();
            let end = start.wrapping_add(stream.len() as u32);
            // Without its beginning a connection must be recognised by its first segment.
            let (fixed, rest) = pieces.split_at_mut(usize::from(!has_syn || cut < 20));
            let mut random = order;
            for index in (1..rest.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                rest.swap(index, (random >> 33) as usize % (index + 1));
            }
            prop_assume!(has_syn || cut >= 20);
            for piece in fixed.iter().chain(rest.iter()).chain(rest.iter().take(2)) {
                segments.add(ENDS, piece, false);
            }
            let closed = segments.add(ENDS, &segment(end, FIN, &[]), false);
            prop_assert_eq!(all(&mut segments), sent);
            prop_assert_eq!(closed, Segment::Taken);
            prop_assert!(segments.streams.is_empty());
        }

        #[test]
        fn octets_of_any_kind_never_panic(
            inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20),
        ) {
            let mut segments = Segments::default();
            for input in inputs {
                segments.add(ENDS, &input, false);
                let after_header = [&segment(0, 0, &[])[..], &input].concat();
                segments.add(ENDS, &after_header, true);
            }
        }
    }

    #[test]
    fn behind_a_gap_reading_goes_on_with_the_next_message() {
        let mut segments = Segments::default();
        let large = vec![7; 60_000];
        segments.add(ENDS, &segment(99, SYN, &[]), false);
        segments.add(ENDS, &segment(100, 0, &message(1, 0)), false);
        // The segment at 120 is not in the capture.
        let (mut at, mut gaps) = (200, 0);
        for number in 2..30 {
            let mut whole = message(number, 0);
            whole[2..4].copy_from_slice(&60_020_u16.to_be_bytes());
            whole[18..20].copy_from_slice(&60_004_u16.to_be_bytes());
            whole.extend(&large);
            gaps += u32::from(segments.add(ENDS, &segment(at, 0, &whole), false) == Segment::Gap);
            at += whole.len() as u32;
        }
        let given = all(&mut segments);
        assert_eq!(gaps, 1);
        assert_eq!((given[0][4], given[1][4], given.len()), (1, 2, 29));
    }

    #[test]
    fn other_connections_are_no_messages_and_a_new_one_from_the_same_port_begins_anew() {
        let mut segments = Segments::default();
        let web = segments.add(ENDS, &segment(1, 0, b"GET / HTTP/1.1\r\n\r\n"), false);
        assert_eq!(web, Segment::Other);
        segments.add(ENDS, &segment(99, SYN, &[]), false);
        assert_eq!(
            segments.add(ENDS, &segment(100, 0, b"GET /"), false),
            Segment::Other
        );
        for _ in 0..2 {
            segments.add(ENDS, &segment(4_999, SYN, &[]), false);
            segments.add(ENDS, &segment(5_000, 0, &message(1, 0)), false);
            segments.add(ENDS, &segment(5_020, 0, &message(2, 0)), false);
        }
        let begins: Vec<_> =
            std::iter::from_fn(|| segments.next().map(|message| message.begins)).collect();
        assert_eq!(begins, [true, false, true, false]);
    }

    #[test]
    fn no_more_connections_are_followed_than_may_be() {
        let mut segments = Segments::default();
        for port in 0..3 * MAX_STREAMS as u16 {
            let mut first = segment(0, 0, &message(1, 0));
            first[..2].copy_from_slice(&port.to_be_bytes());
            segments.add(ENDS, &first, false);
            assert!(segments.streams.len() <= MAX_STREAMS);
        }
        assert_eq!(all(&mut segments).len(), 3 * MAX_STREAMS);
    }
}
