//! A request's octets in, tokens out: what stands here is known from what stood there before.
//!
//! Repetitions aren't searched for. The walker follows the fields of the request; for each it looks at a few places
//! where the same should stand: the last attribute of that key, the last span of that name, the same value. A
//! copy is told only of octets that were compared, so that the tokens give the input back whatever it is. Where it
//! isn't a request, the octets are literals.

use std::mem::replace;

use super::deflate::{MAX_COPY, MAX_DISTANCE, MIN_COPY, Sink};

/// Copies of fewer octets aren't worth their distance in text, of which a literal has about 5 bits.
const MIN_TEXT: usize = 4;
/// Slots of a table of places, as a power of two.
const KEY_SLOTS: u32 = 9;
const VALUE_SLOTS: u32 = 10;

/// `ExportTraceServiceRequest.resource_spans`, `ResourceSpans.resource`.
const FIELD_1: u8 = 1 << 3 | 2;
/// `ResourceSpans.scope_spans`, `ScopeSpans.spans`.
const FIELD_2: u8 = 2 << 3 | 2;
const TRACE_ID: [u8; 2] = [1 << 3 | 2, 16];
const SPAN_ID: [u8; 2] = [2 << 3 | 2, 8];
const PARENT_SPAN_ID: [u8; 2] = [4 << 3 | 2, 8];
const NAME: u8 = 5 << 3 | 2;
const KIND: u8 = 6 << 3;
const START_TIME: u8 = 7 << 3 | 1;
const END_TIME: u8 = 8 << 3 | 1;

/// Where a Span stood.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Its `trace_id` field.
    trace_id: usize,
    /// Octets of its `span_id`.
    span_id: usize,
    /// Its `start_time_unix_nano` field.
    times: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Walker<'a> {
    octets: &'a [u8],
    /// Tokens cover everything before it.
    told: usize,
    /// Beginning of the next field.
    next: usize,
    resource_spans_end: usize,
    scope_spans_end: usize,
    /// Of the last copy.
    distance: usize,
    /// The last two Spans, the last first.
    spans: [Seen; 2],
    /// The last place of a field, by its length and key.
    keys: [u32; 1 << KEY_SLOTS],
    /// The last place of a field, by its key.
    names: [u32; 1 << KEY_SLOTS],
    /// The last end of a field, by its last octets.
    values: [u32; 1 << VALUE_SLOTS],
}

impl<'a> Walker<'a> {
    /// Whether octets may be a request.
    pub(super) fn is_for(octets: &[u8]) -> bool {
        octets.first() == Some(&FIELD_1)
    }

    /// `octets` are fewer than 2^32.
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self {
            octets,
            told: 0,
            next: 0,
            resource_spans_end: 0,
            scope_spans_end: 0,
            distance: 0,
            spans: [Seen::default(); 2],
            keys: [0; 1 << KEY_SLOTS],
            names: [0; 1 << KEY_SLOTS],
            values: [0; 1 << VALUE_SLOTS],
        }
    }

    /// Tells tokens up to `until` at least, which is within the octets, and then to the end of what has begun.
    pub(super) fn walk(&mut self, sink: &mut impl Sink, until: usize) {
        while self.next < until {
            let end = self.step(sink);
            self.next = end.unwrap_or(self.octets.len());
        }
        self.literals(sink, self.next);
    }

    pub(super) fn position(&self) -> usize {
        self.next
    }

    /// Goes over what begins at `next` and says where it ends; `None` if that is unknown.
    fn step(&mut self, sink: &mut impl Sink) -> Option<usize> {
        let start = self.next;
        if start < self.scope_spans_end {
            if self.octets.get(start) == Some(&FIELD_2) {
                return self.span(sink, start);
            }
            return self.field(sink, start);
        }
        if start < self.resource_spans_end {
            let (body, end) = delimited(self.octets, start)?;
            return match *self.octets.get(start)? {
                FIELD_1 => {
                    let mut at = body;
                    while at < end {
                        at = self.field(sink, at)?;
                    }
                    Some(at)
                }
                FIELD_2 => {
                    self.scope_spans_end = end;
                    Some(body)
                }
                _ => None,
            };
        }
        if self.octets.get(start)? != &FIELD_1 {
            return None;
        }
        let (body, end) = delimited(self.octets, start)?;
        self.resource_spans_end = end;
        Some(body)
    }

    fn span(&mut self, sink: &mut impl Sink, start: usize) -> Option<usize> {
        let octets = self.octets;
        let (body, end) = delimited(octets, start)?;
        let mut at = body;
        if let Some(front) = Front::read(octets, body) {
            at = self.front(sink, body, &front);
        }
        while at < end {
            at = self.field(sink, at)?;
        }
        Some(at)
    }

    /// Ids, name, kind and times.
    #[inline(always)]
    fn front(&mut self, sink: &mut impl Sink, body: usize, front: &Front) -> usize {
        let octets = self.octets;
        let [last, before] = self.spans;
        let span_id = body + 20;
        let times = front.times;
        self.spans = [
            Seen {
                trace_id: body,
                span_id,
                times,
            },
            last,
        ];
        if self.told < span_id {
            // The trace is that of the last Span, and so may be the Span's own tag and length before it.
            let back = body - last.trace_id;
            let before = self.same_before(body, back);
            self.copy(sink, body - before, back, MIN_TEXT);
            if self.told <= span_id
                && let Some(id) = octets.get(span_id..).and_then(|rest| rest.first_chunk())
            {
                self.literals(sink, span_id);
                sink.id(id);
                self.told = span_id + id.len();
            }
        }
        let name = front.name;
        let seen = replace(&mut self.names[key_slot(front.name_hash)], name as u32);
        let back = name.wrapping_sub(seen as usize);
        let mut at = name;
        if let Some(parent) = front.parent {
            if parent
                .checked_sub(back)
                .is_some_and(|then| load(octets, parent + 2) == load(octets, then + 2))
            {
                at = parent;
            } else if self.told <= parent + 1 {
                // Tag and length of the id come with it.
                let _ = self.copy(sink, parent + 1, parent + 2 - last.span_id, 9)
                    || self.copy(sink, parent + 1, parent + 2 - before.span_id, 9);
            }
        }
        self.copy(sink, at, back, MIN_TEXT);
        self.time(sink, times + 1, [back, times - last.times]);
        self.time(sink, times + 10, [back, 9]);
        times + 18
    }

    /// Eight octets of which the upper ones are those of another time, one of `back` octets before.
    #[inline(always)]
    fn time(&mut self, sink: &mut impl Sink, at: usize, back: [usize; 2]) {
        let octets = self.octets;
        if self.told > at + 5 {
            return;
        }
        let Some(now) = load(octets, at) else {
            return;
        };
        let same = |back: usize| {
            let then = at.checked_sub(back).and_then(|then| load(octets, then));
            then.map_or(0, |then| (now ^ then).leading_zeros() as usize / 8)
        };
        let [one, other] = back.map(same);
        let (same, back) = if other > one {
            (other, back[1])
        } else {
            (one, back[0])
        };
        self.copy(sink, at + 8 - same, back, MIN_COPY);
    }

    /// A field of any message: an attribute in most cases.
    #[inline(always)]
    fn field(&mut self, sink: &mut impl Sink, start: usize) -> Option<usize> {
        let octets = self.octets;
        let Some(head) = load(octets, start) else {
            return self.other_field(sink, start);
        };
        // Tag and length of one octet each.
        if head & 0x8007 != 2 {
            return self.other_field(sink, start);
        }
        let end = start + 2 + (head >> 8 & 0x7f) as usize;
        if end > octets.len() {
            return None;
        }
        let at = self.told.max(start);
        if at + MIN_TEXT > end {
            return Some(end);
        }
        // As if it were a `KeyValue`, whose key has a length of one octet. Of anything else the slot is a poor one.
        let key = (head >> 24 & 0x7f) as usize;
        let key_end = start + 4 + key;
        let Some(tail) = load(octets, key_end.wrapping_sub(6)) else {
            return self.other_field(sink, start);
        };
        let Some(value) = load(octets, end.wrapping_sub(8)) else {
            return self.other_field(sink, start);
        };
        let now = start as u32;
        let alike = replace(&mut self.keys[key_slot(tail ^ (head >> 8) << 40)], now);
        let named = replace(&mut self.names[key_slot(tail << 16 ^ key as u64)], now);
        let same = replace(&mut self.values[value_slot(value)], end as u32);
        // A field that ends alike: the same key and value in most cases.
        let value_back = end.wrapping_sub(same as usize);
        let is_same = load(octets, (same as usize).wrapping_sub(8)) == Some(value);
        if is_same {
            let n = self.reach(at, value_back);
            if at + n >= end {
                self.tell_copy(sink, at, n, value_back);
                return Some(end);
            }
        }
        // Of that key and length all but the value is the same, and maybe its beginning.
        let back = start.wrapping_sub(alike as usize);
        let n = self.reach(at, back);
        if n >= MIN_TEXT {
            self.tell_copy(sink, at, n, back);
        } else if self.told <= start + 2 {
            // Any of that key.
            let back = start.wrapping_sub(named as usize);
            self.copy(sink, start + 2, back, MIN_TEXT);
        }
        // The value alone, from another key.
        let rest = self.told.max(at);
        if is_same && rest + MIN_TEXT <= end {
            self.copy(sink, rest, value_back, MIN_TEXT);
        }
        Some(end)
    }

    /// A field of another form: a number, a long value, or one near the end. Maybe it is as the last copy's.
    #[inline(never)]
    fn other_field(&mut self, sink: &mut impl Sink, start: usize) -> Option<usize> {
        let octets = self.octets;
        let end = match octets.get(start)? & 7 {
            0 => {
                let rest = octets.get(start + 1..)?;
                start + 2 + rest.iter().position(|octet| octet & 0x80 == 0)?
            }
            1 => start + 9,
            2 => delimited(octets, start)?.1,
            5 => start + 5,
            _ => return None,
        };
        let end = end.min(octets.len());
        let at = self.told.max(start);
        if at < end {
            self.copy(sink, at, self.distance, MIN_TEXT);
        }
        Some(end)
    }

    /// How many octets before `at`, up to eight and not covered by tokens yet, equal those `back` octets before them.
    #[inline(always)]
    fn same_before(&self, at: usize, back: usize) -> usize {
        let before = at.wrapping_sub(8);
        let (now, then) = (
            load(self.octets, before),
            load(self.octets, before.wrapping_sub(back)),
        );
        let same = match (now, then) {
            (Some(now), Some(then)) => (now ^ then).leading_zeros() as usize / 8,
            _ => 0,
        };
        same.min(at.saturating_sub(self.told))
    }

    /// How many octets at `at` are those that stand `back` octets before.
    #[inline(always)]
    fn reach(&self, at: usize, back: usize) -> usize {
        if back.wrapping_sub(1) >= MAX_DISTANCE || back > at {
            return 0;
        }
        common(self.octets, at, at - back)
    }

    /// Tells a copy from `back` octets before, as long as it goes, if that is at least `least` octets.
    #[inline(always)]
    fn copy(&mut self, sink: &mut impl Sink, at: usize, back: usize, least: usize) -> bool {
        let at = at.max(self.told);
        let n = self.reach(at, back);
        if n < least {
            return false;
        }
        self.tell_copy(sink, at, n, back);
        true
    }

    #[inline(always)]
    fn tell_copy(&mut self, sink: &mut impl Sink, at: usize, length: usize, distance: usize) {
        self.literals(sink, at);
        self.distance = distance;
        let mut left = length;
        while left > MAX_COPY {
            // What is left must be long enough for a copy of its own.
            let part = MAX_COPY.min(left - MIN_COPY);
            sink.copy(part, distance);
            left -= part;
        }
        sink.copy(left, distance);
        self.told = at + length;
    }

    #[inline(always)]
    fn literals(&mut self, sink: &mut impl Sink, to: usize) {
        sink.literals(self.octets, self.told, to);
        self.told = self.told.max(to);
    }
}

/// Where the parts of a Span's front stand, as [`SpanWriter`](crate::SpanWriter) orders them.
struct Front {
    /// The `parent_span_id` field.
    parent: Option<usize>,
    /// The `name` field.
    name: usize,
    name_hash: u64,
    /// The `start_time_unix_nano` field; the end's is nine octets further.
    times: usize,
}

impl Front {
    #[inline(always)]
    fn read(octets: &[u8], body: usize) -> Option<Self> {
        let ids = octets.get(body..)?.first_chunk::<40>()?;
        if ids[..2] != TRACE_ID || ids[18..20] != SPAN_ID {
            return None;
        }
        let parent = (ids[28..30] == PARENT_SPAN_ID).then_some(body + 28);
        let name = body + if parent.is_some() { 38 } else { 28 };
        let head = octets.get(name..)?.first_chunk::<8>()?;
        let length = usize::from(head[1]);
        if head[0] != NAME || length > 0x7f {
            return None;
        }
        let kind = octets.get(name + 2 + length..)?.first_chunk::<20>()?;
        if kind[0] != KIND || kind[1] > 0x7f || kind[2] != START_TIME || kind[11] != END_TIME {
            return None;
        }
        let last = load(octets, name + length - 6)?;
        Some(Self {
            parent,
            name,
            name_hash: last ^ (length as u64) << 40,
            times: name + 4 + length,
        })
    }
}

/// Body and end of a length-delimited field with a tag of one octet; `None` if it isn't one. The end of one that
/// reaches too far is that of the octets.
#[inline(always)]
fn delimited(octets: &[u8], start: usize) -> Option<(usize, usize)> {
    let (tag, rest) = octets.get(start..)?.split_first()?;
    if tag & 0x87 != 2 {
        return None;
    }
    let mut length = 0;
    for (index, octet) in rest.iter().take(5).enumerate() {
        length |= u64::from(octet & 0x7f) << (7 * index);
        if octet & 0x80 == 0 {
            let body = start + 2 + index;
            let end = body.saturating_add(usize::try_from(length).ok()?);
            return Some((body, end.min(octets.len())));
        }
    }
    None
}

#[inline(always)]
fn load(octets: &[u8], at: usize) -> Option<u64> {
    let octets = octets.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*octets))
}

/// How many octets are equal at `at` and at `from`, which is before it.
#[inline(always)]
fn common(octets: &[u8], at: usize, from: usize) -> usize {
    let (Some(ahead), Some(behind)) = (octets.get(at..), octets.get(from..)) else {
        return 0;
    };
    // Most fields differ within two chunks: the fewer there are, the easier it is to predict in which.
    let (ahead, ahead_rest) = ahead.as_chunks::<16>();
    let (behind, _) = behind.as_chunks::<16>();
    let mut same = 0;
    for (now, then) in ahead.iter().zip(behind) {
        let differ = u128::from_le_bytes(*now) ^ u128::from_le_bytes(*then);
        if differ != 0 {
            return same + (differ.trailing_zeros() / 8) as usize;
        }
        same += 16;
    }
    let rest = octets.get(from + same..).unwrap_or_default();
    same + ahead_rest
        .iter()
        .zip(rest)
        .take_while(|(now, then)| now == then)
        .count()
}

#[inline(always)]
fn key_slot(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - KEY_SLOTS)) as usize
}

#[inline(always)]
fn value_slot(value: u64) -> usize {
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - VALUE_SLOTS)) as usize
}
