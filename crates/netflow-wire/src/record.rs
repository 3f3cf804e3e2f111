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

/// The fields of a Template before the first of variable length.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Front {
    fields: usize,
    octets: usize,
}

impl Template {
    /// Finds the fields of the record at the front of `octets` and returns the record's length.
    ///
    /// `locations` is filled with one entry a field. `None`: a variable-length field goes past the end.
    pub fn locate(&self, octets: &[u8], locations: &mut Vec<Location>) -> Option<usize> {
        let front = self.locate_front(locations);
        self.locate_rest(front, octets, locations)
    }

    /// Fills `locations` with the fields before the first of variable length: they lie at the same place in every record.
    pub fn locate_front(&self, locations: &mut Vec<Location>) -> Front {
        locations.clear();
        locations.reserve(self.fields.len());
        let mut octets = 0_usize;
        for field in &*self.fields {
            let Ok(offset) = u16::try_from(octets) else {
                break;
            };
            if field.length == VARIABLE_LENGTH {
                break;
            }
            locations.push(Location {
                offset,
                length: field.length,
            });
            octets += usize::from(field.length);
        }
        Front {
            fields: locations.len(),
            octets,
        }
    }

    /// As [`locate`](Self::locate), of a record whose front is in `locations` already.
    pub fn locate_rest(
        &self,
        front: Front,
        octets: &[u8],
        locations: &mut Vec<Location>,
    ) -> Option<usize> {
        locations.truncate(front.fields);
        let mut at = front.octets;
        if at > octets.len() {
            return None;
        }
        for field in self.fields.get(front.fields..).unwrap_or_default() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Version;
    use crate::template::FieldSpecifier;

    fn template(lengths: &[u16]) -> Template {
        let fields: Vec<_> = lengths
            .iter()
            .map(|length| FieldSpecifier::iana(1, *length))
            .collect();
        Template::new(Version::Ipfix, 256, None, fields)
    }

    const V: u16 = VARIABLE_LENGTH;

    /// The fields' octets and the record's length.
    fn locate<'a>(lengths: &[u16], octets: &'a [u8]) -> Option<(Vec<&'a [u8]>, usize)> {
        let mut locations = vec![Location::default(); 3];
        let length = template(lengths).locate(octets, &mut locations)?;
        Some((locations.iter().map(|at| at.of(octets)).collect(), length))
    }

    /// Octets of each record, or the error.
    fn records(lengths: &[u16], body: &[u8]) -> Vec<Result<usize, SetError>> {
        let template = template(lengths);
        let mut records = DataRecords::new(&template, body, 16);
        let mut found = Vec::new();
        while let Some(record) = records.next() {
            found.push(record.map(|(record, _)| record.len()));
        }
        assert!(records.next().is_none());
        found
    }

    const TRUNCATED: SetError = SetError::TruncatedRecord {
        offset: 16,
        template_id: 256,
    };

    #[test]
    fn both_forms_of_a_variable_length_are_read() {
        let octets = [9, 2, 8, 7, 255, 0, 1, 6, 5];
        let expected: [&[u8]; 4] = [&[9], &[8, 7], &[6], &[5]];
        assert_eq!(locate(&[1, V, V, 1], &octets), Some((expected.to_vec(), 9)));
    }

    #[test]
    fn a_long_value_has_the_long_form() {
        let mut octets = vec![255, 1, 2];
        octets.resize(3 + 258 + 1, 4);
        let (fields, length) = locate(&[V, 1], &octets).unwrap();
        assert_eq!((fields[0].len(), fields[1].len(), length), (258, 1, 262));
    }

    #[test]
    fn values_may_be_empty() {
        let expected: [&[u8]; 3] = [&[], &[], &[7]];
        assert_eq!(locate(&[V, 0, 1], &[0, 7]), Some((expected.to_vec(), 2)));
        assert_eq!(locate(&[V], &[255, 0, 0]), Some((vec![&[][..]], 3)));
    }

    #[test]
    fn a_length_past_the_end_gives_no_record() {
        for octets in [
            &[][..],
            &[1],
            &[3, 0, 0],
            &[255],
            &[255, 0],
            &[255, 0, 2, 0],
        ] {
            assert_eq!(locate(&[V], octets), None, "{octets:?}");
        }
        assert_eq!(locate(&[4], &[0; 3]), None);
        assert_eq!(locate(&[V, 4], &[0, 1, 2, 3]), None);
    }

    #[test]
    fn a_location_outside_its_record_is_empty() {
        let location = Location {
            offset: 3,
            length: 2,
        };
        assert_eq!(location.of(&[0; 4]), &[] as &[u8]);
    }

    #[test]
    fn octets_fewer_than_a_record_are_padding_whatever_their_value() {
        assert_eq!(records(&[4], &[9; 11]), [Ok(4), Ok(4)]);
        assert_eq!(records(&[4, V], &[1, 1, 1, 1, 0, 9, 9, 9, 9]), [Ok(5)]);
        assert_eq!(records(&[4], &[]), []);
    }

    #[test]
    fn records_before_a_truncated_one_are_good() {
        assert_eq!(
            records(&[V], &[1, 7, 0, 9, 9]),
            [Ok(2), Ok(1), Err(TRUNCATED)]
        );
    }

    #[test]
    fn empty_records_end_the_set() {
        let empty = SetError::EmptyRecord {
            offset: 16,
            template_id: 256,
        };
        assert_eq!(records(&[0, 0], &[1, 2, 3]), [Err(empty)]);
        assert_eq!(records(&[0], &[]), []);
    }
}
