//! Attributes: keys encoded once, values written behind them.
//!
//! A `KeyValue` of a Span (field 9) with a short scalar value is
//! `4a <len> 0a <len> key… 12 <len> <value>`: all of it but the value and three lengths is known when
//! the key is. [`Key`] holds that front part; a write copies it, adds the value's length to the lengths,
//! and puts the value.

use crate::proto::{push_delimited, push_varint};

/// `Span.attributes`, length-delimited.
const SPAN_ATTRIBUTES: u8 = 9 << 3 | 2;
/// `KeyValue.key`, length-delimited.
const KEY_VALUE_KEY: u8 = 1 << 3 | 2;
/// `KeyValue.value`, length-delimited.
const KEY_VALUE_VALUE: u8 = 2 << 3 | 2;
/// `AnyValue.string_value`, length-delimited.
const ANY_STRING: u8 = 1 << 3 | 2;
/// `AnyValue.bool_value`, varint.
const ANY_BOOL: u8 = 2 << 3;
/// `AnyValue.int_value`, varint.
const ANY_INT: u8 = 3 << 3;
/// `AnyValue.double_value`, eight octets.
const ANY_DOUBLE: u8 = 4 << 3 | 1;

/// The longest key that [`Key`] holds.
pub const MAX_KEY: usize = KEY_ROOM - 8;
/// Room for the front part of the longest key.
pub(crate) const KEY_ROOM: usize = 64;
/// Octets in front of the key's own: a tag and a length of the `KeyValue`, a tag and a length of the key.
const BEFORE_KEY: usize = 4;
/// Octets besides the key's own, with the tag and the length of the value.
pub(crate) const AROUND_KEY: usize = BEFORE_KEY + 2;

/// The encoded front of a Span attribute whose value is an integer, a boolean or a short string.
///
/// The length of the value is zero in it, and is missing from the length of the whole.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub(crate) octets: [u8; KEY_ROOM],
    /// Octets of the key itself, 1 to [`MAX_KEY`].
    pub(crate) name_len: u8,
}

impl Key {
    /// Encodes `key`; `None` if it is empty or longer than [`MAX_KEY`] octets (write such attributes
    /// with [`SpanWriter::attribute`](crate::SpanWriter::attribute)).
    #[must_use]
    pub const fn new(key: &str) -> Option<Self> {
        let key = key.as_bytes();
        if key.is_empty() || key.len() > MAX_KEY {
            return None;
        }
        let mut octets = [0; KEY_ROOM];
        octets[0] = SPAN_ATTRIBUTES;
        // Without the value: its message's tag and length are counted here, its octets are added later.
        octets[1] = (2 + key.len() + 2) as u8;
        octets[2] = KEY_VALUE_KEY;
        octets[3] = key.len() as u8;
        let mut n = 0;
        while n < key.len() {
            octets[BEFORE_KEY + n] = key[n];
            n += 1;
        }
        octets[BEFORE_KEY + key.len()] = KEY_VALUE_VALUE;
        Some(Self {
            octets,
            name_len: key.len() as u8,
        })
    }

    /// Encodes a key that stands in the source: one that doesn't fit does not compile in a constant.
    ///
    /// # Panics
    /// If the key is empty or longer than [`MAX_KEY`] octets.
    #[must_use]
    pub const fn literal(key: &'static str) -> Self {
        Self::new(key).expect("the key is empty or too long")
    }

    /// The key as text.
    #[must_use]
    pub fn name(&self) -> &str {
        let end = BEFORE_KEY + usize::from(self.name_len);
        self.octets
            .get(BEFORE_KEY..end)
            .and_then(|key| str::from_utf8(key).ok())
            .unwrap_or_default()
    }
}

/// Octets that hold most of what is encoded before.
pub(crate) const MOST_ENCODED: usize = 64;
/// The most that [`Encoded`] holds.
pub(crate) const ENCODED_ROOM: usize = 96;

/// Attributes of a Span that are the same again and again, encoded once: at most 96 octets of them.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    pub(crate) octets: [u8; ENCODED_ROOM],
    pub(crate) len: u8,
}

impl Encoded {
    /// Encodes the attributes; `None` if they are too long.
    #[must_use]
    pub fn new(attributes: &[(&str, Value<'_>)]) -> Option<Self> {
        let mut encoded = Vec::new();
        for (key, value) in attributes {
            push_key_value(&mut encoded, 9, key, *value);
        }
        let mut octets = [0; ENCODED_ROOM];
        octets.get_mut(..encoded.len())?.copy_from_slice(&encoded);
        Some(Self {
            octets,
            len: encoded.len() as u8,
        })
    }
}

/// Attributes of any length, encoded before by [`push_key_value`] as field 9: the first of some octets. What follows them
/// is of no account, but with [`COPIED`](Self::COPIED) octets in all they are written faster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prepared<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) len: usize,
}

impl<'a> Prepared<'a> {
    /// Octets that are copied at once, whether all of them are meant or not.
    pub const COPIED: usize = MOST_ENCODED;

    /// The first `len` of these octets.
    #[inline(always)]
    #[must_use]
    pub fn new(octets: &'a [u8], len: usize) -> Self {
        Self {
            octets,
            len: len.min(octets.len()),
        }
    }

    /// The attributes alone.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

pub(crate) const TAG_STRING: u8 = ANY_STRING;
pub(crate) const TAG_BOOL: u8 = ANY_BOOL;
pub(crate) const TAG_INT: u8 = ANY_INT;
pub(crate) const TAG_DOUBLE: u8 = ANY_DOUBLE;
pub(crate) const TAG_SPAN_ATTRIBUTES: u8 = SPAN_ATTRIBUTES;

/// An attribute's value, for the ways of writing that needn't be the fastest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `string_value`.
    Text(&'a str),
    /// `string_value`: what isn't valid UTF-8 becomes U+FFFD, as [`String::from_utf8_lossy`] does it.
    Lossy(&'a [u8]),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`. A number above 2^63 - 1 is written as decimal text, as OpenTelemetry's
    /// "Mapping arbitrary data to OTLP AnyValue" asks.
    Unsigned(u64),
    /// `int_value`.
    Signed(i64),
    /// `double_value`.
    Double(f64),
    /// An `AnyValue` that is already encoded: its octets without tag and length.
    Encoded(&'a [u8]),
}

/// Gives text in parts, with U+FFFD for what isn't valid UTF-8.
pub(crate) fn lossy(octets: &[u8], mut part: impl FnMut(&[u8])) {
    for chunk in octets.utf8_chunks() {
        part(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            part("\u{fffd}".as_bytes());
        }
    }
}

pub(crate) fn lossy_len(octets: &[u8]) -> usize {
    let mut len = 0;
    lossy(octets, |part| len += part.len());
    len
}

/// Appends the octets of an `AnyValue` message, without tag and length.
pub fn push_any_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Text(text) => push_delimited(out, 1, text.as_bytes()),
        Value::Lossy(octets) => {
            out.push(ANY_STRING);
            push_varint(out, lossy_len(octets) as u64);
            lossy(octets, |part| out.extend_from_slice(part));
        }
        Value::Bool(flag) => out.extend_from_slice(&[ANY_BOOL, u8::from(flag)]),
        Value::Unsigned(number) => match i64::try_from(number) {
            Ok(number) => push_any_value(out, Value::Signed(number)),
            Err(_) => push_delimited(out, 1, number.to_string().as_bytes()),
        },
        Value::Signed(number) => {
            out.push(ANY_INT);
            push_varint(out, number.cast_unsigned());
        }
        Value::Double(number) => {
            out.push(ANY_DOUBLE);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Encoded(octets) => out.extend_from_slice(octets),
    }
}

/// Appends a `KeyValue` as field `field` of the message that `out` is.
pub fn push_key_value(out: &mut Vec<u8>, field: u32, key: &str, value: Value<'_>) {
    let mut any = Vec::with_capacity(32);
    push_any_value(&mut any, value);
    let mut pair = Vec::with_capacity(key.len() + any.len() + 8);
    push_delimited(&mut pair, 1, key.as_bytes());
    push_delimited(&mut pair, 2, &any);
    push_delimited(out, field, &pair);
}
