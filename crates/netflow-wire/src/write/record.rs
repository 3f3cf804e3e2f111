//! One Data Record: the values of its fields one after another, in network octet order
//! (RFC 7011 section 6.1), with the lists of RFC 6313.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::VARIABLE_LENGTH;
use super::{Field, WriteError};

/// How the elements of a list relate (RFC 6313 section 4.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ListSemantic {
    /// None of the elements are properties of the record.
    NoneOf = 0,
    /// Exactly one of them is.
    ExactlyOneOf = 1,
    /// One or more of them are.
    OneOrMoreOf = 2,
    /// All of them are.
    AllOf = 3,
    /// All of them are, in this order.
    Ordered = 4,
    /// Nothing is known.
    Undefined = 255,
}

/// Values of one Data Record, in the order of its template. Every method but the lists' own writes
/// one field.
#[derive(Clone, Debug, Default)]
pub struct Record {
    octets: Vec<u8>,
    fields: Vec<Written>,
    error: Option<WriteError>,
}

/// What a field came to, to be held against the template.
#[derive(Clone, Copy, Debug)]
struct Written {
    octets: usize,
    variable: bool,
}

impl Record {
    /// A record without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The octets so far.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// unsigned8.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// unsigned16.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// unsigned32, dateTimeSeconds.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// unsigned64, dateTimeMilliseconds, and the NTP fractions of dateTimeMicroseconds and
    /// dateTimeNanoseconds.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// float64.
    pub fn f64(&mut self, value: f64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// An unsigned number in `length` octets, 1 to 8: reduced-size encoding (RFC 7011 section 6.2).
    pub fn uint(&mut self, value: u64, length: usize) -> &mut Self {
        let all = value.to_be_bytes();
        let (cut, kept) = all.split_at(all.len().saturating_sub(length));
        if length > all.len() || cut.iter().any(|&octet| octet != 0) {
            self.fail(WriteError::ValueTooLarge { value, length });
        }
        self.bytes(kept)
    }

    /// ipv4Address.
    pub fn ipv4(&mut self, address: impl Into<Ipv4Addr>) -> &mut Self {
        self.bytes(&address.into().octets())
    }

    /// ipv6Address.
    pub fn ipv6(&mut self, address: impl Into<Ipv6Addr>) -> &mut Self {
        self.bytes(&address.into().octets())
    }

    /// macAddress.
    pub fn mac(&mut self, address: [u8; 6]) -> &mut Self {
        self.bytes(&address)
    }

    /// A field of fixed length, as it is.
    pub fn bytes(&mut self, octets: &[u8]) -> &mut Self {
        self.octets.extend_from_slice(octets);
        self.fields.push(Written {
            octets: octets.len(),
            variable: false,
        });
        self
    }

    /// A text in a field of `length` octets, cut or filled up with zeros: the way v9 exporters send
    /// names.
    pub fn text(&mut self, value: &str, length: usize) -> &mut Self {
        let mut octets = value.as_bytes().to_vec();
        octets.resize(length, 0);
        self.bytes(&octets)
    }

    /// A field of variable length: one octet of length below 255, else 255 and two octets
    /// (RFC 7011 section 7).
    pub fn variable(&mut self, octets: &[u8]) -> &mut Self {
        match u8::try_from(octets.len()) {
            Ok(length) if length < 255 => {
                self.octets.push(length);
                self.octets.extend_from_slice(octets);
                self.fields.push(Written {
                    octets: octets.len().saturating_add(1),
                    variable: true,
                });
                self
            }
            _ => self.variable_long(octets),
        }
    }

    /// A field of variable length whose length takes three octets whatever it is, which RFC 7011
    /// section 7 allows.
    pub fn variable_long(&mut self, octets: &[u8]) -> &mut Self {
        let Ok(length) = u16::try_from(octets.len()) else {
            return self.fail(WriteError::ValueTooLong {
                octets: octets.len(),
            });
        };
        self.octets.push(255);
        self.octets.extend_from_slice(&length.to_be_bytes());
        self.octets.extend_from_slice(octets);
        self.fields.push(Written {
            octets: octets.len().saturating_add(3),
            variable: true,
        });
        self
    }

    /// A basicList (RFC 6313 section 4.5.1): values of one element, each a field of `list`.
    pub fn basic_list(
        &mut self,
        semantic: ListSemantic,
        element: Field,
        list: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let mut content = vec![semantic as u8];
        if let Err(error) = element.specifier(&mut content) {
            self.fail(error);
        }
        let mut values = Self::new();
        list(&mut values);
        for (index, written) in values.fields.iter().enumerate() {
            if !written.fits(element.length) {
                self.fail(WriteError::FieldLength {
                    template_id: 0,
                    field: index,
                    expected: element.length,
                    written: written.octets,
                });
            }
        }
        self.list(content, &values)
    }

    /// A subTemplateList (RFC 6313 section 4.5.2): the records of `list` follow each other, so that
    /// its fields are written record after record.
    pub fn sub_template_list(
        &mut self,
        semantic: ListSemantic,
        template_id: u16,
        list: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let mut content = vec![semantic as u8];
        content.extend_from_slice(&template_id.to_be_bytes());
        let mut values = Self::new();
        list(&mut values);
        self.list(content, &values)
    }

    /// A subTemplateMultiList (RFC 6313 section 4.5.3): records of several templates.
    pub fn sub_template_multi_list(
        &mut self,
        semantic: ListSemantic,
        list: impl FnOnce(&mut MultiList),
    ) -> &mut Self {
        let mut multi = MultiList::default();
        list(&mut multi);
        self.list(vec![semantic as u8], &multi.content)
    }

    fn list(&mut self, mut content: Vec<u8>, values: &Self) -> &mut Self {
        if let Some(error) = values.error {
            self.fail(error);
        }
        content.extend_from_slice(&values.octets);
        self.variable_long(&content)
    }

    fn fail(&mut self, error: WriteError) -> &mut Self {
        self.error.get_or_insert(error);
        self
    }

    pub(super) fn error(&self) -> Option<WriteError> {
        self.error
    }

    pub(super) fn clear(&mut self) {
        self.octets.clear();
        self.fields.clear();
        self.error = None;
    }

    /// Holds the fields written against those of the template.
    pub(super) fn check(&self, template_id: u16, fields: &[Field]) -> Result<(), WriteError> {
        if fields.len() != self.fields.len() {
            return Err(WriteError::FieldCount {
                template_id,
                expected: fields.len(),
                written: self.fields.len(),
            });
        }
        for (index, (field, written)) in fields.iter().zip(&self.fields).enumerate() {
            if !written.fits(field.length) {
                return Err(WriteError::FieldLength {
                    template_id,
                    field: index,
                    expected: field.length,
                    written: written.octets,
                });
            }
        }
        Ok(())
    }
}

impl Written {
    fn fits(self, length: u16) -> bool {
        if length == VARIABLE_LENGTH {
            self.variable
        } else {
            !self.variable && self.octets == usize::from(length)
        }
    }
}

/// The content of a subTemplateMultiList.
#[derive(Clone, Debug, Default)]
pub struct MultiList {
    content: Record,
}

impl MultiList {
    /// Records of one template. Their length counts its own two octets and those of the Template ID
    /// (RFC 6313 section 4.5.3).
    pub fn template(&mut self, template_id: u16, records: impl FnOnce(&mut Record)) -> &mut Self {
        let mut values = Record::new();
        records(&mut values);
        let octets = values.octets.len().saturating_add(4);
        match (values.error, u16::try_from(octets)) {
            (Some(error), _) => {
                self.content.fail(error);
            }
            (None, Err(_)) => {
                self.content.fail(WriteError::ValueTooLong { octets });
            }
            (None, Ok(length)) => {
                self.content
                    .u16(template_id)
                    .u16(length)
                    .bytes(&values.octets);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_network_order_and_reduced_on_request() {
        let mut r = Record::new();
        r.u8(1)
            .u16(0x0203)
            .u32(0x0405_0607)
            .u64(8)
            .uint(0x00ab_cdef, 3)
            .mac([1, 2, 3, 4, 5, 6]);
        let expected = [
            1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0xab, 0xcd, 0xef, 1, 2, 3, 4, 5, 6,
        ];
        assert_eq!(r.octets(), expected);
        assert_eq!(r.error(), None);
        r.uint(256, 1);
        assert_eq!(
            r.error(),
            Some(WriteError::ValueTooLarge {
                value: 256,
                length: 1
            })
        );
    }

    #[test]
    fn variable_length_has_two_forms() {
        let mut r = Record::new();
        r.variable(b"ab").variable_long(b"c").variable(&[]);
        assert_eq!(r.octets(), [2, b'a', b'b', 255, 0, 1, b'c', 0]);
        let mut long = Record::new();
        long.variable(&[7; 255]);
        assert_eq!(long.octets().get(..4), Some([255, 0, 255, 7].as_slice()));
        long.variable(&vec![0; 65_536]);
        assert_eq!(
            long.error(),
            Some(WriteError::ValueTooLong { octets: 65_536 })
        );
    }

    #[test]
    fn lists_are_laid_out_as_rfc_6313_says() {
        let mut r = Record::new();
        r.basic_list(ListSemantic::AllOf, Field::new(10, 2), |list| {
            list.u16(1).u16(4);
        });
        let basic = [
            255, 0, 9, // length, section 4.5
            3, // allOf
            0, 10, // Field ID
            0, 2, // Element Length
            0, 1, 0, 4,
        ];
        assert_eq!(r.octets(), basic);

        let mut r = Record::new();
        r.basic_list(
            ListSemantic::Undefined,
            Field::enterprise(5951, 7, 1),
            |list| {
                list.u8(9);
            },
        );
        let enterprise = [255, 0, 10, 255, 0x80, 7, 0, 1, 0, 0, 0x17, 0x3f, 9];
        assert_eq!(r.octets(), enterprise);

        let mut r = Record::new();
        r.sub_template_list(ListSemantic::Ordered, 300, |list| {
            list.u8(1).u8(2);
        });
        assert_eq!(r.octets(), [255, 0, 5, 4, 1, 44, 1, 2]);

        let mut r = Record::new();
        r.sub_template_multi_list(ListSemantic::NoneOf, |list| {
            list.template(300, |t| {
                t.u8(1);
            })
            .template(301, |t| {
                t.u16(2);
            });
        });
        assert_eq!(
            r.octets(),
            [255, 0, 12, 0, 1, 44, 0, 5, 1, 1, 45, 0, 6, 0, 2]
        );
    }

    #[test]
    fn list_elements_fit_the_element_length() {
        let mut r = Record::new();
        r.basic_list(ListSemantic::AllOf, Field::new(10, 2), |list| {
            list.u32(1);
        });
        let error = WriteError::FieldLength {
            template_id: 0,
            field: 0,
            expected: 2,
            written: 4,
        };
        assert_eq!(r.error(), Some(error));
    }
}
