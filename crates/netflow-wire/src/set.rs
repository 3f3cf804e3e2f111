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
