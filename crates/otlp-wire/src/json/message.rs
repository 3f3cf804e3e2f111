//! The parts that every message is made of: its repeated fields, and the JSON object written of it.
//!
//! A message is passed over once to note where its fields are; the object is written from the notes.
//! So fields may come in any order, as protobuf allows, and nothing is copied or collected.

use super::JsonError;
use crate::read::{Field, Reader, WireError};

/// Where the occurrences of a repeated field are. (`count` ends the walk at the last of them.)
#[derive(Clone, Copy)]
pub(super) struct Repeated<'a> {
    from: Reader<'a>,
    number: u32,
    count: usize,
}

impl<'a> Repeated<'a> {
    pub(super) fn none() -> Self {
        Self {
            from: Reader::new(&[]),
            number: 0,
            count: 0,
        }
    }

    /// Notes an occurrence; `at` is a reader that will yield it next.
    pub(super) fn note(&mut self, field: &Field<'a>, at: Reader<'a>) {
        if self.count == 0 {
            self.from = at;
            self.number = field.number;
        }
        self.count += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each occurrence, all of which are length-delimited.
    pub(super) fn each(self) -> impl Iterator<Item = Result<&'a [u8], WireError>> {
        self.from
            .filter(move |field| field.map_or(true, |field| field.number == self.number))
            .take(self.count)
            .map(|field| field.and_then(|field| field.octets()))
    }
}

/// The fields of a message, each with a reader that stands before it.
pub(super) fn fields(
    message: &[u8],
) -> impl Iterator<Item = Result<(Field<'_>, Reader<'_>), WireError>> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(move || {
        let at = reader;
        reader.next().map(|field| field.map(|field| (field, at)))
    })
}

/// Notes a message that may stand once. Twice would mean to merge them, which no encoder asks for.
pub(super) fn once<'a>(slot: &mut Option<&'a [u8]>, field: &Field<'a>) -> Result<(), JsonError> {
    match slot.replace(field.octets()?) {
        None => Ok(()),
        Some(_) => Err(JsonError::RepeatedMessage(field.number)),
    }
}

/// A JSON object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_empty: true,
        }
    }

    /// Begins a member; the caller writes its value next.
    pub(super) fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Appends members that are written already, each with a comma before it.
    pub(super) fn written_members(&mut self, members: &[u8]) {
        let members = if self.is_empty {
            members.get(1..).unwrap_or_default()
        } else {
            members
        };
        self.is_empty &= members.is_empty();
        self.out.extend_from_slice(members);
    }

    /// A member that is left out when it has its default, as protobuf's JSON form does.
    pub(super) fn non_default<T: Default + PartialEq>(
        &mut self,
        name: &'static str,
        value: T,
        push: impl FnOnce(&mut Vec<u8>, T),
    ) {
        if value != T::default() {
            push(self.member(name), value);
        }
    }

    /// A member that is an array of messages, left out when there are none.
    pub(super) fn array<'a>(
        &mut self,
        name: &'static str,
        messages: Repeated<'a>,
        push: impl FnMut(&mut Vec<u8>, &'a [u8]) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if messages.is_empty() {
            Ok(())
        } else {
            push_array(self.member(name), messages, push)
        }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }
}

pub(super) fn push_array<'a>(
    out: &mut Vec<u8>,
    messages: Repeated<'a>,
    mut push: impl FnMut(&mut Vec<u8>, &'a [u8]) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    out.push(b'[');
    for (index, message) in messages.each().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, message?)?;
    }
    out.push(b']');
    Ok(())
}
