//! Sets (IPFIX, RFC 7011 section 3.3) and FlowSets (v9, RFC 3954 section 5) within a message.

use crate::error::SetError;
use crate::message::{Message, Version};
use crate::octets::u16_at;

/// What a Set holds, by its ID.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SetKind {
    /// Template Records.
    Templates,
    /// Options Template Records.
    OptionsTemplates,
    /// Data Records of the Template with this ID.
    Data(u16),
}

/// A Set that lies within its datagram.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// What it holds.
    pub kind: SetKind,
    /// Where it begins in the datagram.
    pub offset: usize,
    /// Behind its 4-octet header.
    pub body: &'a [u8],
}

/// The Sets of a v9 or IPFIX message, one after another; a bad one doesn't hide the next unless its
/// length can't be trusted.
#[derive(Clone, Debug)]
pub struct Sets<'a> {
    message: Message<'a>,
    at: usize,
}

impl<'a> Message<'a> {
    /// The Sets of a v9 or IPFIX message. Octets at the end that are too few for a Set header, or zeros in
    /// place of one, are padding. The count in a v9 header isn't looked at: exporters put records or
    /// FlowSets there.
    #[must_use]
    pub fn sets(&self) -> Sets<'a> {
        Sets {
            message: *self,
            at: self.body_offset(),
        }
    }
}

impl<'a> Iterator for Sets<'a> {
    type Item = Result<Set<'a>, SetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (offset, octets) = (self.at, self.message.octets());
        if offset + 4 > self.message.end() {
            return None;
        }
        let (id, length) = (u16_at(octets, offset)?, u16_at(octets, offset + 2)?);
        if length < 4 {
            self.at = usize::MAX - 4;
            let padding = id == 0 && length == 0;
            return (!padding).then_some(Err(SetError::BadLength { offset, length }));
        }
        let Some(body) = octets.get(offset + 4..offset + usize::from(length)) else {
            self.at = usize::MAX - 4;
            return Some(Err(SetError::Truncated { offset, length }));
        };
        self.at = offset + usize::from(length);
        let (templates, options) = match self.message.header.version {
            Version::Ipfix => (2, 3),
            _ => (0, 1),
        };
        let kind = match id {
            _ if id == templates => SetKind::Templates,
            _ if id == options => SetKind::OptionsTemplates,
            256.. => SetKind::Data(id),
            _ => return Some(Err(SetError::ReservedId { offset, id })),
        };
        Some(Ok(Set { kind, offset, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPFIX message of these octets, its length as given or true.
    fn ipfix(length: Option<u16>, sets: &[u8]) -> Vec<u8> {
        let length = length.unwrap_or_else(|| u16::try_from(16 + sets.len()).unwrap());
        let mut octets = vec![0, 10];
        octets.extend(length.to_be_bytes());
        octets.resize(16, 0);
        octets.extend(sets);
        octets
    }

    fn v9(sets: &[u8]) -> Vec<u8> {
        let mut octets = vec![0, 9];
        octets.resize(20, 0);
        octets.extend(sets);
        octets
    }

    /// Kinds and octets of the bodies, or errors.
    fn read(octets: &[u8]) -> Vec<Result<(SetKind, usize), SetError>> {
        let message = Message::parse(octets).unwrap();
        let sets = message.sets();
        sets.map(|set| set.map(|set| (set.kind, set.body.len())))
            .collect()
    }

    use SetKind::{Data, OptionsTemplates, Templates};

    #[test]
    fn set_ids_depend_on_the_version() {
        let sets = [0, 2, 0, 4, 0, 3, 0, 4, 1, 0, 0, 4];
        let expected = [
            Ok((Templates, 0)),
            Ok((OptionsTemplates, 0)),
            Ok((Data(256), 0)),
        ];
        assert_eq!(read(&ipfix(None, &sets)), expected);
        let sets = [0, 0, 0, 5, 9, 0, 1, 0, 4, 0xff, 0xff, 0, 6, 1, 2];
        let expected = [
            Ok((Templates, 1)),
            Ok((OptionsTemplates, 0)),
            Ok((Data(65535), 2)),
        ];
        assert_eq!(read(&v9(&sets)), expected);
    }

    #[test]
    fn a_reserved_id_costs_its_set_only() {
        for (octets, id) in [
            (ipfix(None, &[0, 0, 0, 5, 7, 1, 0, 0, 4]), 0),
            (ipfix(None, &[0, 1, 0, 5, 7, 1, 0, 0, 4]), 1),
            (ipfix(None, &[0, 255, 0, 5, 7, 1, 0, 0, 4]), 255),
            (v9(&[0, 2, 0, 5, 7, 1, 0, 0, 4]), 2),
            (v9(&[0, 3, 0, 5, 7, 1, 0, 0, 4]), 3),
        ] {
            let offset = octets.len() - 9;
            let expected = [Err(SetError::ReservedId { offset, id }), Ok((Data(256), 0))];
            assert_eq!(read(&octets), expected);
        }
    }

    #[test]
    fn zeros_in_place_of_a_set_are_padding() {
        assert_eq!(
            read(&v9(&[1, 0, 0, 4, 0, 0, 0, 0, 1, 0, 0, 4])),
            [Ok((Data(256), 0))]
        );
    }

    #[test]
    fn octets_too_few_for_a_set_are_padding() {
        assert_eq!(read(&v9(&[1, 0, 0, 4, 9, 9, 9])), [Ok((Data(256), 0))]);
        assert_eq!(read(&v9(&[])), []);
    }

    #[test]
    fn a_length_below_four_ends_the_message() {
        for length in 0..4 {
            let error = SetError::BadLength { offset: 24, length };
            let sets = [1, 0, 0, 4, 1, 1, 0, length as u8, 1, 0, 0, 4];
            assert_eq!(read(&v9(&sets)), [Ok((Data(256), 0)), Err(error)]);
        }
    }

    #[test]
    fn a_length_past_the_datagram_costs_its_set() {
        let error = SetError::Truncated {
            offset: 24,
            length: 9,
        };
        assert_eq!(
            read(&v9(&[1, 0, 0, 4, 1, 1, 0, 9, 1, 2, 3, 4])),
            [Ok((Data(256), 0)), Err(error)]
        );
    }

    #[test]
    fn a_message_length_past_the_datagram_is_the_datagrams() {
        assert_eq!(
            read(&ipfix(Some(500), &[1, 0, 0, 5, 7])),
            [Ok((Data(256), 1))]
        );
    }

    #[test]
    fn no_set_begins_behind_the_message_length() {
        let sets = [1, 0, 0, 5, 7, 1, 1, 0, 5, 7];
        assert_eq!(read(&ipfix(Some(21), &sets)), [Ok((Data(256), 1))]);
        assert_eq!(read(&ipfix(Some(24), &sets)), [Ok((Data(256), 1))]);
        assert_eq!(read(&ipfix(Some(25), &sets)).len(), 2);
        assert_eq!(read(&ipfix(Some(16), &sets)), []);
    }

    #[test]
    fn the_last_set_may_end_behind_the_message_length() {
        // Padding that the exporter left out of the message's length.
        let sets = [1, 0, 0, 8, 7, 0, 0, 0];
        assert_eq!(read(&ipfix(Some(21), &sets)), [Ok((Data(256), 4))]);
    }

    #[test]
    fn offsets_count_from_the_datagram() {
        let octets = v9(&[1, 0, 0, 6, 1, 2, 1, 0, 0, 4]);
        let message = Message::parse(&octets).unwrap();
        let offsets: Vec<_> = message.sets().map(|set| set.unwrap().offset).collect();
        assert_eq!(offsets, [20, 26]);
    }
}
