//! Data Records: where in a Set each one lies, and where in a record each field.

use crate::error::SetError;
use crate::template::{Template, VARIABLE_LENGTH};

/// Where a field's value lies in its record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Location {
    /// From the record's first octet.
    pub offset: u16,
    /// Octets of the value, without the length in front of a variable one.
    pub length: u16,
}

impl Location {
    /// The field's octets in `record`; empty if it lies outside.
    #[inline]
    #[must_use]
    pub fn of(self, record: &[u8]) -> &[u8] {
        let offset = usize::from(self.offset);
        record
            .get(offset..offset + usize::from(self.length))
            .unwrap_or_default()
    }
}

impl Template {
    /// Finds the fields of the record at the front of `octets` and returns the record's length.
    ///
    /// `locations` is filled with one entry a field. `None`: a variable-length field goes past the end.
    pub fn locate(&self, octets: &[u8], locations: &mut Vec<Location>) -> Option<usize> {
        locations.clear();
        let mut at = 0_usize;
        for field in &*self.fields {
            let mut length = field.length;
            if length == VARIABLE_LENGTH {
                // One octet of length, or 255 and two of them (RFC 7011, section 7).
                length = u16::from(*octets.get(at)?);
                at += 1;
                if length == 255 {
                    length = crate::octets::u16_at(octets, at)?;
                    at += 2;
                }
            }
            let end = at + usize::from(length);
            if end > octets.len() {
                return None;
            }
            // A Set is at most 65,535 octets long.
            locations.push(Location {
                offset: u16::try_from(at).ok()?,
                length,
            });
            at = end;
        }
        Some(at)
    }
}

/// A record and where its fields lie.
pub type Located<'a, 'l> = (&'a [u8], &'l [Location]);

/// The records of a Set, one after another: for readers that need not be the fastest.
#[derive(Debug)]
pub struct DataRecords<'t, 'a> {
    template: &'t Template,
    body: &'a [u8],
    locations: Vec<Location>,
    set_offset: usize,
}

impl<'t, 'a> DataRecords<'t, 'a> {
    /// Reads `body`, the octets behind the header of the Set at `set_offset`.
    #[must_use]
    pub fn new(template: &'t Template, body: &'a [u8], set_offset: usize) -> Self {
        Self {
            template,
            body,
            locations: Vec::new(),
            set_offset,
        }
    }

    /// The next record with the locations of its fields. Octets fewer than the shortest record are padding,
    /// whatever their value (RFC 7011, section 3.3.1).
    ///
    /// # Errors
    /// [`SetError::EmptyRecord`] if records are zero octets long, [`SetError::TruncatedRecord`] if a
    /// variable-length field goes past the end; nothing comes after an error.
    #[expect(clippy::should_implement_trait, reason = "lends its locations")]
    pub fn next(&mut self) -> Option<Result<Located<'a, '_>, SetError>> {
        let shortest = self.template.min_record_octets();
        let (offset, template_id) = (self.set_offset, self.template.id);
        if shortest == 0 && !self.body.is_empty() {
            self.body = &[];
            return Some(Err(SetError::EmptyRecord {
                offset,
                template_id,
            }));
        }
        if self.body.len() < shortest.max(1) {
            return None;
        }
        let Some(length) = self.template.locate(self.body, &mut self.locations) else {
            self.body = &[];
            return Some(Err(SetError::TruncatedRecord {
                offset,
                template_id,
            }));
        };
        let (record, rest) = self.body.split_at(length);
        self.body = rest;
        Some(Ok((record, &self.locations)))
    }
}
