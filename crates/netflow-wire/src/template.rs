//! Templates and Options Templates: what the fields of a record are.
//!
//! Sources: RFC 3954 sections 5.2 and 6.1 (v9), RFC 7011 section 3.4 (IPFIX).

use crate::error::SetError;
use crate::ie;
use crate::limits::Limits;
use crate::message::Version;
use crate::octets::{u16_at, u32_at};
use crate::set::{Set, SetKind};

/// The length that says "variable" (RFC 7011, section 7). Some v9 exporters use it too.
pub const VARIABLE_LENGTH: u16 = 65535;

/// An enterprise number that no one has: under it stand the scope types of v9 Options Templates, which are
/// not Information Elements (RFC 3954, section 6.1).
pub const V9_SCOPE: u32 = u32::MAX;

/// The last of them, "Template"; exporters that need another scope put a field type above it.
const LAST_V9_SCOPE: u16 = 5;

/// A field of a Template: which Information Element, how many octets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FieldSpecifier {
    /// 0 for IANA's elements and for v9 field types that belong to no enterprise's registry ([`ie::of_v9`]).
    pub enterprise: u32,
    /// The Information Element identifier, or such a field type.
    pub element: u16,
    /// Octets of the field in a record, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

impl FieldSpecifier {
    /// An element of IANA's registry.
    #[must_use]
    pub const fn iana(element: u16, length: u16) -> Self {
        Self {
            enterprise: 0,
            element,
            length,
        }
    }
}

/// A Template Record or Options Template Record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    /// The Template ID, 256 and above; below for the built-in ones of the fixed versions.
    pub id: u16,
    /// Its version decides how an element above 32767 is read.
    pub version: Version,
    /// `None`: a Template. `Some(n)`: an Options Template whose first `n` fields are its scope.
    pub scope_fields: Option<usize>,
    /// In the order of the record.
    pub fields: Box<[FieldSpecifier]>,
    min_record_octets: usize,
    variable: bool,
}

impl Template {
    /// Describes records of these fields.
    #[must_use]
    pub fn new(
        version: Version,
        id: u16,
        scope_fields: Option<usize>,
        fields: impl Into<Box<[FieldSpecifier]>>,
    ) -> Self {
        let fields = fields.into();
        // A variable-length field takes one octet at least.
        let octets = |field: &FieldSpecifier| match field.length {
            VARIABLE_LENGTH => 1,
            length => usize::from(length),
        };
        let min_record_octets = fields.iter().map(octets).sum();
        let variable = fields.iter().any(|field| field.length == VARIABLE_LENGTH);
        Self {
            id,
            version,
            scope_fields,
            fields,
            min_record_octets,
            variable,
        }
    }

    /// Octets of the shortest record; of every record unless there are variable-length fields.
    #[must_use]
    pub fn min_record_octets(&self) -> usize {
        self.min_record_octets
    }

    /// Some field has variable length.
    #[must_use]
    pub fn is_variable(&self) -> bool {
        self.variable
    }
}

/// What a Template Set says, one after another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TemplateRecord {
    /// A definition.
    Definition(Template),
    /// "Forget this Template" (RFC 7011, section 8.1), to be heeded on reliable transports only.
    Withdrawal(u16),
}

/// The Template Records of a Set of kind [`SetKind::Templates`] or [`SetKind::OptionsTemplates`].
#[derive(Clone, Debug)]
pub struct TemplateRecords<'a> {
    set: Set<'a>,
    version: Version,
    max_fields: usize,
    max_empty_fields: usize,
    at: usize,
}

impl<'a> TemplateRecords<'a> {
    /// Reads `set`, which must be one of the two kinds; of any other nothing comes out.
    #[must_use]
    pub fn new(set: Set<'a>, version: Version, limits: &Limits) -> Self {
        Self {
            set,
            version,
            max_fields: limits.max_fields,
            max_empty_fields: limits.max_empty_fields,
            at: 0,
        }
    }

    /// Fields from `from` on; returns where they end.
    fn fields(&self, from: usize, count: usize) -> Option<(Vec<FieldSpecifier>, usize)> {
        let body = self.set.body;
        let mut at = from;
        let mut fields = Vec::with_capacity(count.min(self.max_fields));
        for _ in 0..count {
            let (element, length) = (u16_at(body, at)?, u16_at(body, at + 2)?);
            at += 4;
            let mut field = FieldSpecifier::iana(element, length);
            if self.version == Version::Ipfix && element & 0x8000 != 0 {
                field.element = element & 0x7fff;
                field.enterprise = u32_at(body, at)?;
                at += 4;
            } else if self.version == Version::V9 {
                (field.enterprise, field.element) = ie::of_v9(element);
            }
            fields.push(field);
        }
        Some((fields, at))
    }

    fn definition(&mut self, id: u16) -> Option<Result<TemplateRecord, SetError>> {
        let offset = self.set.offset;
        let malformed = Some(Err(SetError::MalformedTemplate {
            offset,
            template_id: id,
        }));
        let body = self.set.body;
        let first = u16_at(body, self.at + 2)?;
        // (where fields begin, how many, how many of them are scope)
        let (from, count, scope) = match (self.set.kind, self.version) {
            (SetKind::Templates, _) => (self.at + 4, usize::from(first), None),
            (_, Version::Ipfix) => {
                // A withdrawal has no scope count.
                if first == 0 {
                    (self.at + 4, 0, None)
                } else {
                    let scope = usize::from(u16_at(body, self.at + 4)?);
                    if scope > usize::from(first) {
                        return malformed;
                    }
                    (self.at + 6, usize::from(first), Some(scope))
                }
            }
            // v9 gives octets, 4 to a field.
            _ => {
                let options = usize::from(u16_at(body, self.at + 4)?);
                let scope = usize::from(first);
                if scope % 4 != 0 || options % 4 != 0 {
                    return malformed;
                }
                (self.at + 6, (scope + options) / 4, Some(scope / 4))
            }
        };
        if count == 0 {
            self.at = from;
            return Some(if self.version == Version::Ipfix {
                Ok(TemplateRecord::Withdrawal(id))
            } else {
                Err(SetError::MalformedTemplate {
                    offset,
                    template_id: id,
                })
            });
        }
        if id < 256 {
            return malformed;
        }
        if count > self.max_fields {
            // Where it would end, so that the next one is still read; its octets are there or not.
            let too_many = SetError::TooManyFields {
                offset,
                template_id: id,
                fields: count,
            };
            self.at = self.skip_fields(from, count).unwrap_or(body.len());
            return Some(Err(too_many));
        }
        let Some((mut fields, end)) = self.fields(from, count) else {
            return malformed;
        };
        if self.version == Version::V9 {
            let scope = fields.iter_mut().take(scope.unwrap_or(0));
            for field in scope.filter(|field| field.element <= LAST_V9_SCOPE) {
                field.enterprise = V9_SCOPE;
            }
        }
        self.at = end;
        let empty = fields.iter().filter(|field| field.length == 0).count();
        if empty > self.max_empty_fields {
            return Some(Err(SetError::TooManyFields {
                offset,
                template_id: id,
                fields: empty,
            }));
        }
        Some(Ok(TemplateRecord::Definition(Template::new(
            self.version,
            id,
            scope,
            fields,
        ))))
    }

    fn skip_fields(&self, from: usize, count: usize) -> Option<usize> {
        let mut at = from;
        for _ in 0..count {
            let element = u16_at(self.set.body, at)?;
            at += if self.version == Version::Ipfix && element & 0x8000 != 0 {
                8
            } else {
                4
            };
        }
        Some(at)
    }
}

impl Iterator for TemplateRecords<'_> {
    type Item = Result<TemplateRecord, SetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.set.kind, SetKind::Data(_)) {
            return None;
        }
        let (id, count) = (
            u16_at(self.set.body, self.at)?,
            u16_at(self.set.body, self.at + 2)?,
        );
        // What is left is padding: fewer octets than a header, or zeros.
        if id == 0 && count == 0 {
            return None;
        }
        let before = self.at;
        let record = self.definition(id);
        if !matches!(record, Some(Ok(_))) && self.at == before {
            // Where the next one begins isn't known.
            self.at = self.set.body.len();
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        kind: SetKind,
        version: Version,
        body: &[u8],
        limits: &Limits,
    ) -> Vec<Result<TemplateRecord, SetError>> {
        let set = Set {
            kind,
            offset: 16,
            body,
        };
        TemplateRecords::new(set, version, limits).collect()
    }

    fn ipfix(body: &[u8]) -> Vec<Result<TemplateRecord, SetError>> {
        read(SetKind::Templates, Version::Ipfix, body, &Limits::default())
    }

    fn v9_options(body: &[u8]) -> Vec<Result<TemplateRecord, SetError>> {
        let limits = Limits::default();
        read(SetKind::OptionsTemplates, Version::V9, body, &limits)
    }

    fn definition(
        version: Version,
        scope: Option<usize>,
        fields: &[FieldSpecifier],
    ) -> Result<TemplateRecord, SetError> {
        Ok(TemplateRecord::Definition(Template::new(
            version, 256, scope, fields,
        )))
    }

    const MALFORMED: SetError = SetError::MalformedTemplate {
        offset: 16,
        template_id: 256,
    };

    const FIELD: FieldSpecifier = FieldSpecifier::iana(8, 4);

    #[test]
    fn the_enterprise_bit_says_the_number_in_ipfix_and_cisco_in_v9() {
        let own = FieldSpecifier {
            enterprise: 9,
            element: 5,
            length: 2,
        };
        let octets = [1, 0, 0, 2, 0x80, 5, 0, 2, 0, 0, 0, 9, 0, 8, 0, 4];
        assert_eq!(
            ipfix(&octets),
            [definition(Version::Ipfix, None, &[own, FIELD])]
        );
        let octets = [1, 0, 0, 2, 0x80, 5, 0, 2, 0, 8, 0, 4];
        assert_eq!(
            read(SetKind::Templates, Version::V9, &octets, &Limits::default()),
            [definition(Version::V9, None, &[own, FIELD])]
        );
        let vendor = FieldSpecifier::iana(40000, 2);
        let octets = [1, 0, 0, 2, 0x9c, 0x40, 0, 2, 0, 8, 0, 4];
        assert_eq!(
            read(SetKind::Templates, Version::V9, &octets, &Limits::default()),
            [definition(Version::V9, None, &[vendor, FIELD])]
        );
    }

    #[test]
    fn scopes_are_counted_in_fields_or_in_octets() {
        let octets = [1, 0, 0, 2, 0, 1, 0, 10, 0, 4, 0, 8, 0, 4];
        let interface = FieldSpecifier::iana(10, 4);
        assert_eq!(
            read(
                SetKind::OptionsTemplates,
                Version::Ipfix,
                &octets,
                &Limits::default()
            ),
            [definition(Version::Ipfix, Some(1), &[interface, FIELD])]
        );
        let scope = FieldSpecifier {
            enterprise: V9_SCOPE,
            element: 2,
            length: 4,
        };
        let octets = [1, 0, 0, 4, 0, 4, 0, 2, 0, 4, 0, 8, 0, 4, 0, 0];
        assert_eq!(
            v9_options(&octets),
            [definition(Version::V9, Some(1), &[scope, FIELD])]
        );
    }

    #[test]
    fn counts_that_contradict_each_other_are_malformed() {
        // More scope fields than fields; octets that are no whole fields.
        let octets = [1, 0, 0, 1, 0, 2, 0, 10, 0, 4, 0, 8, 0, 4];
        assert_eq!(
            read(
                SetKind::OptionsTemplates,
                Version::Ipfix,
                &octets,
                &Limits::default()
            ),
            [Err(MALFORMED)]
        );
        assert_eq!(
            v9_options(&[1, 0, 0, 3, 0, 4, 0, 2, 0, 4, 0, 8, 0, 4]),
            [Err(MALFORMED)]
        );
        assert_eq!(
            v9_options(&[1, 0, 0, 4, 0, 5, 0, 2, 0, 4, 0, 8, 0, 4]),
            [Err(MALFORMED)]
        );
    }

    #[test]
    fn fields_past_the_set_are_malformed() {
        assert_eq!(ipfix(&[1, 0, 0, 2, 0, 8, 0, 4]), [Err(MALFORMED)]);
        assert_eq!(ipfix(&[1, 0, 0, 1, 0x80, 8, 0, 4, 0, 0]), [Err(MALFORMED)]);
        assert_eq!(
            v9_options(&[1, 0, 0, 8, 0, 8, 0, 2, 0, 4]),
            [Err(MALFORMED)]
        );
    }

    #[test]
    fn a_template_id_below_256_is_malformed() {
        let error = SetError::MalformedTemplate {
            offset: 16,
            template_id: 255,
        };
        assert_eq!(ipfix(&[0, 255, 0, 1, 0, 8, 0, 4]), [Err(error)]);
    }

    #[test]
    fn no_fields_withdraw_in_ipfix_and_are_malformed_in_v9() {
        let after = definition(Version::Ipfix, None, &[FIELD]);
        assert_eq!(
            ipfix(&[1, 5, 0, 0, 1, 0, 0, 1, 0, 8, 0, 4]),
            [Ok(TemplateRecord::Withdrawal(0x105)), after]
        );
        let octets = [1, 0, 0, 0, 1, 0, 0, 1, 0, 8, 0, 4];
        assert_eq!(
            read(SetKind::Templates, Version::V9, &octets, &Limits::default()),
            [Err(MALFORMED), definition(Version::V9, None, &[FIELD])]
        );
    }

    #[test]
    fn padding_ends_the_templates() {
        for padding in [&[0][..], &[0, 0, 0], &[0, 0, 0, 0, 9, 9]] {
            let mut octets = vec![1, 0, 0, 1, 0, 8, 0, 4];
            octets.extend(padding);
            assert_eq!(ipfix(&octets), [definition(Version::Ipfix, None, &[FIELD])]);
        }
    }

    #[test]
    fn too_many_fields_cost_their_template_only() {
        let limits = Limits {
            max_fields: 1,
            ..Limits::default()
        };
        let octets = [
            1, 0, 0, 2, 0x80, 8, 0, 4, 0, 0, 0, 1, 0, 8, 0, 4, 1, 0, 0, 1, 0, 8, 0, 4,
        ];
        let too_many = SetError::TooManyFields {
            offset: 16,
            template_id: 256,
            fields: 2,
        };
        assert_eq!(
            read(SetKind::Templates, Version::Ipfix, &octets, &limits),
            [Err(too_many), definition(Version::Ipfix, None, &[FIELD])]
        );
        let lie = SetError::TooManyFields {
            offset: 16,
            template_id: 256,
            fields: 65_535,
        };
        assert_eq!(ipfix(&[1, 0, 0xff, 0xff, 0, 8, 0, 4]), [Err(lie)]);
    }

    #[test]
    fn too_many_empty_fields_cost_their_template_only() {
        let limits = Limits {
            max_empty_fields: 1,
            ..Limits::default()
        };
        let octets = [1, 0, 0, 2, 0, 1, 0, 0, 0, 2, 0, 0, 1, 0, 0, 1, 0, 8, 0, 4];
        let too_many = SetError::TooManyFields {
            offset: 16,
            template_id: 256,
            fields: 2,
        };
        assert_eq!(
            read(SetKind::Templates, Version::Ipfix, &octets, &limits),
            [Err(too_many), definition(Version::Ipfix, None, &[FIELD])]
        );
    }

    #[test]
    fn the_shortest_record_has_an_octet_for_each_variable_field() {
        let template = |lengths: &[u16]| {
            let fields: Vec<_> = lengths
                .iter()
                .map(|length| FieldSpecifier::iana(1, *length))
                .collect();
            Template::new(Version::Ipfix, 256, None, fields)
        };
        let variable = template(&[4, VARIABLE_LENGTH, 0, VARIABLE_LENGTH]);
        assert_eq!(
            (variable.min_record_octets(), variable.is_variable()),
            (6, true)
        );
        let long = template(&[65_534; 3]);
        assert_eq!(
            (long.min_record_octets(), long.is_variable()),
            (196_602, false)
        );
    }
}
