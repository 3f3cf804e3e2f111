//! Protobuf octets in, fields out: a bounds-checked reader over one message.
//!
//! It never copies, allocates or recurses; every step consumes at least one octet or ends. Groups
//! (deprecated, and in none of the messages here) are refused. Source: the protobuf encoding guide.

use thiserror::Error;

/// Octets that are not well-formed protobuf.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum WireError {
    /// A field goes past the end of its message.
    #[error("a field goes past the end of its message")]
    Truncated,
    /// A varint is longer than 10 octets or does not fit 64 bits.
    #[error("a varint does not fit 64 bits")]
    Varint,
    /// A field number is 0 or above 2^29 - 1.
    #[error("a field number is out of range")]
    FieldNumber,
    /// A wire type is reserved, or a group.
    #[error("wire type {0} is not in use")]
    WireType(u32),
    /// A known field has another wire type than its definition.
    #[error("field {0} has the wrong wire type")]
    FieldType(u32),
}

/// One field as it stands on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Octets(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// A length-delimited value: string, bytes or message.
    pub(crate) fn octets(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Octets(octets) => Ok(octets),
            _ => Err(WireError::FieldType(self.number)),
        }
    }

    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::FieldType(self.number)),
        }
    }

    /// `int64`: the 64 bits, taken as two's complement.
    pub(crate) fn int64(&self) -> Result<i64, WireError> {
        self.varint().map(u64::cast_signed)
    }

    /// `int32` and enums: the low 32 bits, as protobuf's decoders do.
    pub(crate) fn int32(&self) -> Result<i32, WireError> {
        self.uint32().map(u32::cast_signed)
    }

    /// `uint32`: the low 32 bits, as protobuf's decoders do.
    pub(crate) fn uint32(&self) -> Result<u32, WireError> {
        self.varint().map(low_32_bits)
    }

    pub(crate) fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(WireError::FieldType(self.number)),
        }
    }

    pub(crate) fn fixed32(&self) -> Result<u32, WireError> {
        match self.value {
            Value::Fixed32(value) => Ok(value),
            _ => Err(WireError::FieldType(self.number)),
        }
    }
}

fn low_32_bits(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The fields of one message, in the order of the wire. After an error it yields nothing more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Octets not read yet, so that a caller knows where in the message a field begins or ends.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let key = self.varint()?;
        // A key has 32 bits: 29 of the field number, 3 of the wire type.
        let key = u32::try_from(key).map_err(|_| WireError::FieldNumber)?;
        let number = key >> 3;
        if number == 0 {
            return Err(WireError::FieldNumber);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                let (octets, rest) = self
                    .rest
                    .split_at_checked(length)
                    .ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Octets(octets)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(WireError::WireType(other)),
        };
        Ok(Field { number, value })
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&octet, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
            self.rest = rest;
            let bits = u64::from(octet & 0x7f);
            // The tenth octet has room for one bit.
            if shift == 63 && octet > 1 {
                return Err(WireError::Varint);
            }
            value |= bits << shift;
            if octet < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(octets: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
        Reader::new(octets).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let octets = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x11, 1, 0, 0, 0, 0, 0, 0, 0, // 2: fixed64 1
            0x1a, 2, b'h', b'i', // 3: octets
            0x25, 2, 0, 0, 0, // 4: fixed32 2
        ];
        assert_eq!(
            fields(&octets).unwrap(),
            [
                Field {
                    number: 1,
                    value: Value::Varint(150)
                },
                Field {
                    number: 2,
                    value: Value::Fixed64(1)
                },
                Field {
                    number: 3,
                    value: Value::Octets(b"hi")
                },
                Field {
                    number: 4,
                    value: Value::Fixed32(2)
                },
            ]
        );
    }

    #[test]
    fn varints_reach_64_bits_and_no_further() {
        let mut longest = vec![0x08];
        longest.extend([0xff; 9]);
        longest.push(0x01);
        assert_eq!(
            fields(&longest).unwrap(),
            [Field {
                number: 1,
                value: Value::Varint(u64::MAX)
            }]
        );
        *longest.last_mut().unwrap() = 0x02;
        assert_eq!(fields(&longest), Err(WireError::Varint));
        *longest.last_mut().unwrap() = 0x81;
        longest.push(0);
        assert_eq!(fields(&longest), Err(WireError::Varint));
    }

    #[test]
    fn cut_fields_are_refused() {
        for octets in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x11, 0, 0, 0],
            &[0x1a, 3, 0, 0],
            &[0x25, 0],
            &[0x80],
            // A length far past what is there, and past what an address can hold.
            &[
                0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ] {
            assert_eq!(fields(octets), Err(WireError::Truncated), "{octets:02x?}");
        }
    }

    #[test]
    fn groups_reserved_types_and_field_zero_are_refused() {
        assert_eq!(fields(&[0x0b]), Err(WireError::WireType(3)));
        assert_eq!(fields(&[0x0c]), Err(WireError::WireType(4)));
        assert_eq!(fields(&[0x0e]), Err(WireError::WireType(6)));
        assert_eq!(fields(&[0x0f]), Err(WireError::WireType(7)));
        assert_eq!(fields(&[0x02, 0]), Err(WireError::FieldNumber));
        assert_eq!(
            fields(&[0x80, 0x80, 0x80, 0x80, 0x10, 0]),
            Err(WireError::FieldNumber),
            "a key above 32 bits"
        );
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut reader = Reader::new(&[0x0b, 0x08, 0x01]);
        assert_eq!(reader.next(), Some(Err(WireError::WireType(3))));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn narrow_integers_take_the_low_bits() {
        let field = Field {
            number: 1,
            value: Value::Varint(u64::MAX),
        };
        assert_eq!(field.int64(), Ok(-1));
        assert_eq!(field.int32(), Ok(-1));
        assert_eq!(field.uint32(), Ok(u32::MAX));
        assert_eq!(field.octets(), Err(WireError::FieldType(1)));
    }
}
