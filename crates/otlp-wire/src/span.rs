//! Writes Spans into a fixed room, one after another, as `ScopeSpans.spans` (field 2).
//!
//! A [`SpanKind`]'s name, kind and layout are encoded once as a [`SpanFront`]; a Span is that front with
//! ids and times put in, attributes behind it, the status last, and its length patched. The octets are
//! canonical: fields in ascending order, shortest varints, as the generated types of prost write them.
//!
//! Nothing here panics or allocates. What doesn't fit marks the writer as full: [`SpanWriter::end`] then
//! gives the room back as it was.

use crate::attributes::{
    AROUND_KEY, ENCODED_ROOM, Encoded, KEY_ROOM, Key, MOST_ENCODED, Prepared, TAG_BOOL, TAG_DOUBLE,
    TAG_INT, TAG_SPAN_ATTRIBUTES, TAG_STRING, Value, lossy, lossy_len, push_key_value,
};
use crate::batch::UnixNanos;
use crate::proto::{
    SHORT_VARINT_BITS, put_varint, short_varint, varint_len, varint_of_u16, varint_of_u32,
};
use crate::text::{put_decimal, put_ipv4, put_ipv6, put_mac};

/// `Span.trace_id`: 16 octets, not all zero.
pub type TraceId = [u8; 16];
/// `Span.span_id`: 8 octets, not all zero.
pub type SpanId = [u8; 8];

/// The most that one short attribute takes: its key and the longest value behind it.
const ATTRIBUTE_ROOM: usize = 192;
/// The longest text that the one-octet lengths of [`Key`] leave room for.
const SHORT_TEXT: usize = 56;
/// Room of a Span's front: ids, times and a name of at most 44 octets.
const FRONT_ROOM: usize = 128;

/// `Span.kind`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SpanKind {
    /// `SPAN_KIND_INTERNAL`.
    Internal = 1,
    /// `SPAN_KIND_SERVER`.
    Server = 2,
    /// `SPAN_KIND_CLIENT`.
    Client = 3,
}

/// `Span.status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status<'a> {
    /// `STATUS_CODE_UNSET`: no status is written.
    Unset,
    /// `STATUS_CODE_OK`.
    Ok,
    /// `STATUS_CODE_ERROR` with its message.
    Error(&'a str),
}

/// The encoded front of a Span: everything before its attributes, with gaps for ids and times.
#[derive(Clone, Debug)]
pub struct SpanFront {
    octets: [u8; FRONT_ROOM],
    len: usize,
    /// Where the start time goes; the end time is 9 octets further.
    times_at: usize,
    has_parent: bool,
}

/// Octets of the Span's own tag and its length, for which two are reserved (128 to 16,383).
const SPAN_HEAD: usize = 3;
const TRACE_ID_AT: usize = SPAN_HEAD + 2;
const SPAN_ID_AT: usize = TRACE_ID_AT + 16 + 2;
const PARENT_AT: usize = SPAN_ID_AT + 8 + 2;
const TRACE_STATE_AT: usize = SPAN_ID_AT + 8;
const MAX_TRACE_STATE: usize = 32;

impl SpanFront {
    /// Encodes the front of Spans named `name`. `None` if the name is empty or longer than 44 octets.
    #[must_use]
    pub fn new(name: &str, kind: SpanKind, has_parent: bool) -> Option<Self> {
        if name.is_empty() || name.len() > 44 {
            return None;
        }
        let mut octets = vec![2 << 3 | 2, 0, 0, 1 << 3 | 2, 16];
        octets.extend_from_slice(&[0; 16]);
        octets.extend_from_slice(&[2 << 3 | 2, 8]);
        octets.extend_from_slice(&[0; 8]);
        if has_parent {
            octets.extend_from_slice(&[4 << 3 | 2, 8]);
            octets.extend_from_slice(&[0; 8]);
        }
        crate::proto::push_delimited(&mut octets, 5, name.as_bytes());
        octets.extend_from_slice(&[6 << 3, kind as u8]);
        octets.push(7 << 3 | 1);
        let times_at = octets.len();
        octets.extend_from_slice(&[0; 8]);
        octets.push(8 << 3 | 1);
        octets.extend_from_slice(&[0; 8]);
        let len = octets.len();
        octets.resize(FRONT_ROOM, 0);
        Some(Self {
            octets: octets.try_into().ok()?,
            len,
            times_at,
            has_parent,
        })
    }

    /// Adds an integer attribute that all these Spans have. `None` if there is no room for it.
    #[must_use]
    pub fn with_attribute(mut self, key: &str, value: i64) -> Option<Self> {
        let mut attribute = Vec::new();
        push_key_value(&mut attribute, 9, key, Value::Signed(value));
        let end = self.len + attribute.len();
        self.octets
            .get_mut(self.len..end)?
            .copy_from_slice(&attribute);
        self.len = end;
        Some(self)
    }
}

/// `Span.flags`: the trace is sampled, the right-most 56 bits of its id are random (W3C Trace Context, level 2), and the
/// parent, as far as there is one, is not remote.
pub const SAMPLED_AND_RANDOM: u32 = 0x103;

/// Ids and times of one Span.
#[derive(Clone, Copy, Debug)]
pub struct SpanHead {
    /// `trace_id`.
    pub trace_id: TraceId,
    /// `span_id`.
    pub span_id: SpanId,
    /// `parent_span_id`; written only if the [`SpanFront`] has a parent.
    pub parent: SpanId,
    /// `start_time_unix_nano`; always written, also when it is zero.
    pub start: UnixNanos,
    /// `end_time_unix_nano`.
    pub end: UnixNanos,
}

/// Where a writer stands once something didn't fit: behind the end of any room.
const FULL: usize = usize::MAX;

/// Appends Spans to a room given by the caller.
#[derive(Debug)]
pub struct SpanWriter<'a> {
    octets: &'a mut [u8],
    /// End of the last whole Span.
    finished: usize,
    /// Where the next octet goes, or [`FULL`].
    at: usize,
}

impl<'a> SpanWriter<'a> {
    /// Writes into `octets` from `at` on.
    #[inline]
    #[must_use]
    pub fn new(octets: &'a mut [u8], at: usize) -> Self {
        Self {
            octets,
            finished: at,
            at,
        }
    }

    /// Lets `write` continue with a separate writer, and then continues where that one stopped.
    ///
    /// A writer that is given away by reference lives in memory from then on, and every attribute waits for the
    /// position that the one before has stored. Where the position shall stay in a register, what is not
    /// inlined gets another writer this way.
    #[inline(always)]
    pub fn apart<R>(&mut self, write: impl FnOnce(&mut SpanWriter<'_>) -> R) -> R {
        let mut apart = SpanWriter {
            octets: &mut *self.octets,
            finished: self.finished,
            at: self.at,
        };
        let result = write(&mut apart);
        (self.finished, self.at) = (apart.finished, apart.at);
        result
    }

    /// Begins a Span. A Span begun and not ended is given up.
    #[inline(always)]
    pub fn begin(&mut self, front: &SpanFront, head: &SpanHead) {
        let Some(room) = room::<FRONT_ROOM>(self.octets, self.finished) else {
            self.at = FULL;
            return;
        };
        *room = front.octets;
        room[TRACE_ID_AT..TRACE_ID_AT + 16].copy_from_slice(&head.trace_id);
        room[SPAN_ID_AT..SPAN_ID_AT + 8].copy_from_slice(&head.span_id);
        if front.has_parent {
            room[PARENT_AT..PARENT_AT + 8].copy_from_slice(&head.parent);
        }
        // It is less anyway; said here, no bounds are checked.
        let times_at = front.times_at.min(FRONT_ROOM - 17);
        room[times_at..times_at + 8].copy_from_slice(&head.start.0.to_le_bytes());
        room[times_at + 9..times_at + 17].copy_from_slice(&head.end.0.to_le_bytes());
        self.at = self.finished + front.len;
    }

    /// As [`begin`](Self::begin), with a `trace_state` of at most 32 octets; a longer one is left out.
    #[inline(never)]
    pub fn begin_with_state(&mut self, front: &SpanFront, head: &SpanHead, trace_state: &str) {
        self.begin(front, head);
        let state = trace_state.as_bytes();
        if self.at == FULL || state.is_empty() || state.len() > MAX_TRACE_STATE {
            return;
        }
        // The field stands between the span's id and its parent.
        let field = 2 + state.len();
        let from = self.finished + TRACE_STATE_AT;
        let end = self.finished + front.len;
        let Some(room) = self.octets.get_mut(from..end + field) else {
            self.at = FULL;
            return;
        };
        room.copy_within(..end - from, field);
        let (front, _) = room.split_at_mut(field);
        front[0] = 3 << 3 | 2;
        front[1] = state.len() as u8;
        front[2..].copy_from_slice(state);
        self.at += field;
    }

    /// Ends the Span with its status: `true` if it is whole, `false` if the room was too small, and then
    /// nothing of it is left.
    #[inline(always)]
    pub fn end(&mut self, status: Status<'_>) -> bool {
        self.status(status);
        self.close_span()
    }

    /// As [`end`](Self::end), with `flags` (field 16) behind the status.
    #[inline]
    pub fn end_with_flags(&mut self, status: Status<'_>, flags: u32) -> bool {
        self.status(status);
        let [a, b, c, d] = flags.to_le_bytes();
        // Two octets of tag: field 16, of wire type 5.
        self.put(&[0x85, 0x01, a, b, c, d]);
        self.close_span()
    }

    #[inline(always)]
    fn status(&mut self, status: Status<'_>) {
        match status {
            Status::Unset => {}
            Status::Ok => self.put(&[15 << 3 | 2, 2, 3 << 3, 1]),
            Status::Error(message) => self.apart(|writer| writer.error_status(message)),
        }
    }

    #[inline(always)]
    fn close_span(&mut self) -> bool {
        if self.at == FULL {
            self.at = self.finished;
            return false;
        }
        let len = self.at - self.finished - SPAN_HEAD;
        if (0x80..0x4000).contains(&len) {
            if let Some(room) = room::<2>(self.octets, self.finished + 1) {
                *room = [len as u8 | 0x80, (len >> 7) as u8];
            }
        } else if !self.apart(|writer| writer.move_body(len)) {
            self.at = self.finished;
            return false;
        }
        self.finished = self.at;
        true
    }

    /// Where the last whole Span ends.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.finished
    }

    /// An integer attribute. A value above 2^63 - 1 becomes decimal text: see [`Value::Unsigned`].
    #[inline(always)]
    pub fn unsigned(&mut self, key: &Key, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            self.unsigned_u32(key, value);
        } else {
            self.apart(|writer| writer.large_unsigned(key, value));
        }
    }

    /// As [`unsigned`](Self::unsigned), and a little faster.
    #[inline(always)]
    pub fn unsigned_u32(&mut self, key: &Key, value: u32) {
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        let (octets, len) = varint_of_u32(value);
        room[key_len + 1..key_len + 9].copy_from_slice(&octets);
        self.at += close(room, key_len, TAG_INT, len);
    }

    /// As [`unsigned`](Self::unsigned), and faster.
    #[inline(always)]
    pub fn unsigned_u16(&mut self, key: &Key, value: u16) {
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        let (octets, len) = varint_of_u16(value);
        room[key_len + 1..key_len + 5].copy_from_slice(&octets);
        self.at += close(room, key_len, TAG_INT, len);
    }

    #[inline(never)]
    fn large_unsigned(&mut self, key: &Key, value: u64) {
        if value >> SHORT_VARINT_BITS != 0 {
            return self.attribute(key.name(), Value::Unsigned(value));
        }
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        let (octets, len) = short_varint(value);
        room[key_len + 1..key_len + 9].copy_from_slice(&octets);
        self.at += close(room, key_len, TAG_INT, len);
    }

    /// A boolean attribute.
    #[inline(always)]
    pub fn boolean(&mut self, key: &Key, value: bool) {
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        room[key_len + 1] = u8::from(value);
        self.at += close(room, key_len, TAG_BOOL, 1);
    }

    /// A text attribute: an IPv4 address in dotted decimal form.
    #[inline(always)]
    pub fn ipv4(&mut self, key: &Key, address: [u8; 4]) {
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        if let Some(to) = room[key_len + 2..].first_chunk_mut::<32>() {
            let len = put_ipv4(to, address);
            self.at += close_text(room, key_len, len);
        }
    }

    /// A text attribute: an IPv6 address as RFC 5952 says.
    #[inline(never)]
    pub fn ipv6(&mut self, key: &Key, address: [u8; 16]) {
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        if let Some(to) = room[key_len + 2..].first_chunk_mut::<48>() {
            let len = put_ipv6(to, address);
            self.at += close_text(room, key_len, len);
        }
    }

    /// A text attribute: a MAC address as `aa:bb:cc:dd:ee:ff`.
    #[inline(always)]
    pub fn mac(&mut self, key: &Key, address: [u8; 6]) {
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        if let Some(to) = room[key_len + 2..].first_chunk_mut::<18>() {
            let len = put_mac(to, address);
            self.at += close_text(room, key_len, len);
        }
    }

    /// A text attribute of any length.
    #[inline]
    pub fn text(&mut self, key: &Key, text: &str) {
        if text.len() > SHORT_TEXT {
            return self.apart(|writer| writer.attribute(key.name(), Value::Text(text)));
        }
        let text = text.as_bytes();
        let Some(room) = self.attribute_room() else {
            return;
        };
        let key_len = put_key(room, key);
        if let Some(to) = room.get_mut(key_len + 2..key_len + 2 + text.len()) {
            to.copy_from_slice(text);
        }
        self.at += close_text(room, key_len, text.len());
    }

    /// Attributes that were encoded before.
    #[inline(always)]
    pub fn encoded(&mut self, attributes: &Encoded) {
        let Some(room) = self.attribute_room() else {
            return;
        };
        room[..MOST_ENCODED].copy_from_slice(&attributes.octets[..MOST_ENCODED]);
        if usize::from(attributes.len) > MOST_ENCODED {
            room[MOST_ENCODED..ENCODED_ROOM].copy_from_slice(&attributes.octets[MOST_ENCODED..]);
        }
        self.at += usize::from(attributes.len);
    }

    /// Attributes of any length that were encoded before.
    #[inline(always)]
    pub fn prepared(&mut self, attributes: Prepared<'_>) {
        match attributes.octets.first_chunk::<MOST_ENCODED>() {
            Some(octets) if attributes.len <= MOST_ENCODED => {
                if let Some(room) = self.attribute_room() {
                    room[..MOST_ENCODED].copy_from_slice(octets);
                    self.at += attributes.len;
                }
            }
            _ => self.apart(|writer| writer.encoded_octets(attributes.octets())),
        }
    }

    /// Attributes of any length that were encoded before, by [`push_key_value`](crate::push_key_value) as field 9.
    pub fn encoded_octets(&mut self, attributes: &[u8]) {
        self.put(attributes);
    }

    /// An attribute of any key and value, not the fastest way.
    #[inline(never)]
    pub fn attribute(&mut self, key: &str, value: Value<'_>) {
        match value {
            Value::Text(text) => self.any_text(key, text.as_bytes()),
            Value::Lossy(octets) => {
                let len = lossy_len(octets);
                self.before_value(key, 1 + varint_len(len as u64) + len);
                self.put(&[TAG_STRING]);
                self.put_length(len);
                lossy(octets, |part| self.put(part));
            }
            Value::Bool(flag) => self.any_value(key, &[TAG_BOOL, u8::from(flag)]),
            Value::Unsigned(number) => match i64::try_from(number) {
                Ok(number) => self.any_int(key, number),
                Err(_) => {
                    let mut digits = [0; 20];
                    let len = put_decimal(&mut digits, number);
                    self.any_text(key, digits.get(..len).unwrap_or_default());
                }
            },
            Value::Signed(number) => self.any_int(key, number),
            Value::Double(number) => {
                let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
                self.any_value(key, &[TAG_DOUBLE, a, b, c, d, e, f, g, h]);
            }
            Value::Encoded(any) => self.any_value(key, any),
        }
    }

    fn any_int(&mut self, key: &str, number: i64) {
        let mut varint = [0; 10];
        let len = put_varint(&mut varint, number.cast_unsigned());
        self.before_value(key, 1 + len);
        self.put(&[TAG_INT]);
        self.put(varint.get(..len).unwrap_or_default());
    }

    fn any_text(&mut self, key: &str, text: &[u8]) {
        self.before_value(key, 1 + varint_len(text.len() as u64) + text.len());
        self.put(&[TAG_STRING]);
        self.put_length(text.len());
        self.put(text);
    }

    /// An attribute of any key whose value is already encoded: the octets of an `AnyValue`, without tag and
    /// length.
    pub fn any_value(&mut self, key: &str, any: &[u8]) {
        self.before_value(key, any.len());
        self.put(any);
    }

    /// What stands before an `AnyValue` of so many octets.
    fn before_value(&mut self, key: &str, len: usize) {
        let pair_len =
            1 + varint_len(key.len() as u64) + key.len() + 1 + varint_len(len as u64) + len;
        self.put(&[TAG_SPAN_ATTRIBUTES]);
        self.put_length(pair_len);
        self.put(&[1 << 3 | 2]);
        self.put_length(key.len());
        self.put(key.as_bytes());
        self.put(&[2 << 3 | 2]);
        self.put_length(len);
    }

    fn error_status(&mut self, message: &str) {
        let len = 1 + varint_len(message.len() as u64) + message.len() + 2;
        self.put(&[15 << 3 | 2]);
        self.put_length(len);
        self.put(&[2 << 3 | 2]);
        self.put_length(message.len());
        self.put(message.as_bytes());
        self.put(&[3 << 3, 2]);
    }

    fn put_length(&mut self, len: usize) {
        let mut varint = [0; 10];
        let varint_len = put_varint(&mut varint, len as u64);
        self.put(&varint[..varint_len]);
    }

    #[inline(always)]
    fn put(&mut self, octets: &[u8]) {
        let room = self.octets.get_mut(self.at..);
        match room.and_then(|room| room.get_mut(..octets.len())) {
            Some(to) => {
                to.copy_from_slice(octets);
                self.at += octets.len();
            }
            None => self.at = FULL,
        }
    }

    #[inline(always)]
    fn attribute_room(&mut self) -> Option<&mut [u8; ATTRIBUTE_ROOM]> {
        // Written so for the borrow checker: `at` can't be set in the closure of an `or_else`. And without saturation, for
        // then the compiler knows that what follows needs no check of its own.
        let len = self.octets.len();
        if self.at > len || len - self.at < ATTRIBUTE_ROOM {
            self.at = FULL;
            return None;
        }
        room(self.octets, self.at)
    }

    /// Makes the length field as wide as `len` needs; `false` if the room is too small for it.
    #[cold]
    fn move_body(&mut self, len: usize) -> bool {
        let mut varint = [0; 10];
        let width = put_varint(&mut varint, len as u64);
        let body = self.finished + SPAN_HEAD..self.at;
        let to = self.finished + 1 + width;
        if to + len > self.octets.len() {
            return false;
        }
        self.octets.copy_within(body, to);
        if let Some(head) = self.octets.get_mut(self.finished + 1..to) {
            head.copy_from_slice(&varint[..width]);
        }
        self.at = to + len;
        true
    }
}

#[inline(always)]
fn room<const N: usize>(octets: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    octets.get_mut(at..)?.first_chunk_mut()
}

/// Octets that hold most keys whole.
const MOST_KEYS: usize = 32;

/// Copies the key and returns its octets, up to the value's own tag.
#[inline(always)]
fn put_key(room: &mut [u8; ATTRIBUTE_ROOM], key: &Key) -> usize {
    room[..MOST_KEYS].copy_from_slice(&key.octets[..MOST_KEYS]);
    if usize::from(key.name_len) > MOST_KEYS - AROUND_KEY {
        room[MOST_KEYS..KEY_ROOM].copy_from_slice(&key.octets[MOST_KEYS..]);
    }
    // It is less than 64 anyway; said here, no bounds are checked.
    AROUND_KEY + (usize::from(key.name_len) & 0x3f)
}

/// Puts the tag of the value, `len` octets that stand behind it already, and the lengths that count them; returns
/// the octets of the attribute.
#[inline(always)]
fn close(room: &mut [u8; ATTRIBUTE_ROOM], key_len: usize, tag: u8, len: usize) -> usize {
    room[key_len] = tag;
    let value_len = 1 + len;
    // The first two octets are not among those that they count.
    room[1] = (key_len - 2 + value_len) as u8;
    room[key_len - 1] = value_len as u8;
    key_len + value_len
}

/// As [`close`], of a text whose octets stand behind its tag and length.
#[inline(always)]
fn close_text(room: &mut [u8; ATTRIBUTE_ROOM], key_len: usize, len: usize) -> usize {
    room[key_len + 1] = len as u8;
    close(room, key_len, TAG_STRING, 1 + len)
}
