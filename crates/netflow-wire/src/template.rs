//! Templates and Options Templates: what the fields of a record are.
//!
//! Sources: RFC 3954 sections 5.2 and 6.1 (v9), RFC 7011 section 3.4 (IPFIX).

use crate::error::SetError;
use crate::limits::Limits;
use crate::message::Version;
use crate::octets::{u16_at, u32_at};
use crate::set::{Set, SetKind};

/// The length that says "variable" (RFC 7011, section 7). Some v9 exporters use it too.
pub const VARIABLE_LENGTH: u16 = 65535;

/// An enterprise number that no one has: under it stand the scope types of v9 Options Templates, which are
/// not Information Elements (RFC 3954, section 6.1).
pub const V9_SCOPE: u32 = u32::MAX;

/// A field of a Template: which Information Element, how many octets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FieldSpecifier {
    /// 0 for IANA's elements and for all of v9's, whose top bit is part of the number.
    pub enterprise: u32,
    /// The Information Element identifier, or the v9 field type.
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
            for field in fields.iter_mut().take(scope.unwrap_or(0)) {
                field.enterprise = V9_SCOPE;
            }
        }
        self.at = end;
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
