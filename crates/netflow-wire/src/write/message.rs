//! NetFlow v9 (RFC 3954) and IPFIX (RFC 7011): a header and Sets of templates and Data Records.

use super::{Record, WriteError, length16};

/// The length of a field of variable length in a template (RFC 7011 section 7).
pub const VARIABLE_LENGTH: u16 = 0xffff;

/// The smallest Template ID (RFC 7011 section 3.4.1, RFC 3954 section 5.2).
const FIRST_TEMPLATE_ID: u16 = 256;

/// Header of a v9 Export Packet, 20 octets (RFC 3954 section 5.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct V9Header {
    /// Milliseconds since the exporter booted.
    pub sys_uptime_ms: u32,
    /// Seconds since 1970 at the export.
    pub unix_secs: u32,
    /// Export Packets sent before this one.
    pub sequence: u32,
    /// Source ID, the Observation Domain.
    pub source_id: u32,
    /// The count field, where it should differ from the number of records and templates.
    pub count: Option<u16>,
}

/// Header of an IPFIX Message, 16 octets (RFC 7011 section 3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct IpfixHeader {
    /// Seconds since 1970 at the export.
    pub export_time: u32,
    /// Data Records sent before this Message in the Observation Domain, options records included.
    pub sequence: u32,
    /// Observation Domain ID.
    pub observation_domain: u32,
    /// The length field, where it should differ from the octets of the Message.
    pub length: Option<u16>,
}

/// A Field Specifier (RFC 7011 section 3.2, RFC 3954 section 5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field {
    /// Information Element, without the enterprise bit; in v9 the field type, or the scope type.
    pub element: u16,
    /// Private Enterprise Number; 0 stands for the IANA registry.
    pub enterprise: u32,
    /// Octets, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

impl Field {
    /// An element of the IANA registry, or a v9 field type.
    #[must_use]
    pub const fn new(element: u16, length: u16) -> Self {
        Self {
            element,
            enterprise: 0,
            length,
        }
    }

    /// An element of the IANA registry with variable length (RFC 7011 section 7).
    #[must_use]
    pub const fn variable(element: u16) -> Self {
        Self::new(element, VARIABLE_LENGTH)
    }

    /// An element of an enterprise.
    #[must_use]
    pub const fn enterprise(enterprise: u32, element: u16, length: u16) -> Self {
        Self {
            element,
            enterprise,
            length,
        }
    }

    /// The reverse of an element of the IANA registry in a biflow (RFC 5103 section 6.1).
    #[must_use]
    pub const fn reverse(element: u16, length: u16) -> Self {
        Self {
            element,
            enterprise: 29305,
            length,
        }
    }

    /// Appends the IPFIX form.
    pub(super) fn specifier(self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let bit = if self.enterprise == 0 { 0 } else { 0x8000 };
        out.extend_from_slice(&(self.element | bit).to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        if bit != 0 {
            out.extend_from_slice(&self.enterprise.to_be_bytes());
        }
        if self.element >= 0x8000 {
            return Err(WriteError::ElementOutOfRange {
                element: self.element,
            });
        }
        Ok(())
    }

    fn specifier_v9(self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        out.extend_from_slice(&self.element.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        if self.enterprise != 0 {
            return Err(WriteError::NotInV9 {
                what: "enterprise elements",
            });
        }
        if self.length == VARIABLE_LENGTH {
            return Err(WriteError::NotInV9 {
                what: "fields of variable length",
            });
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    V9 { count: Option<u16> },
    Ipfix { length: Option<u16> },
}

/// Builds one v9 Export Packet or IPFIX Message, Set by Set.
///
/// Records are held against templates that the message carries or that were
/// [declared](Self::declare); of a template that it doesn't know it takes any record. The first
/// mistake is kept, and [`finish`](Self::finish) returns it.
#[derive(Clone, Debug)]
pub struct MessageWriter {
    octets: Vec<u8>,
    protocol: Protocol,
    templates: Vec<(u16, Vec<Field>)>,
    alignment: usize,
    data_records: usize,
    template_records: usize,
    scratch: Record,
    error: Option<WriteError>,
}

impl MessageWriter {
    /// A v9 Export Packet. Its Sets are padded to multiples of four octets (RFC 3954 section 5.3).
    #[must_use]
    pub fn v9(header: V9Header) -> Self {
        let mut octets = vec![0, 9, 0, 0];
        for value in [
            header.sys_uptime_ms,
            header.unix_secs,
            header.sequence,
            header.source_id,
        ] {
            octets.extend_from_slice(&value.to_be_bytes());
        }
        Self::new(
            octets,
            Protocol::V9 {
                count: header.count,
            },
            4,
        )
    }

    /// An IPFIX Message. Its Sets aren't padded unless [`align`](Self::align) says so.
    #[must_use]
    pub fn ipfix(header: IpfixHeader) -> Self {
        let mut octets = vec![0, 10, 0, 0];
        for value in [
            header.export_time,
            header.sequence,
            header.observation_domain,
        ] {
            octets.extend_from_slice(&value.to_be_bytes());
        }
        Self::new(
            octets,
            Protocol::Ipfix {
                length: header.length,
            },
            1,
        )
    }

    fn new(octets: Vec<u8>, protocol: Protocol, alignment: usize) -> Self {
        Self {
            octets,
            protocol,
            templates: Vec::new(),
            alignment,
            data_records: 0,
            template_records: 0,
            scratch: Record::new(),
            error: None,
        }
    }

    /// Pads the Sets that follow to multiples of `octets` with zeros; 1 (or 0) for no padding.
    /// Padding as long as a record would be read as one (RFC 7011 section 3.3.1): that is the
    /// caller's to avoid.
    pub fn align(&mut self, octets: usize) -> &mut Self {
        self.alignment = octets.max(1);
        self
    }

    /// Tells the fields of a template that an earlier message carried, so that records are held
    /// against it. Writes nothing.
    pub fn declare(&mut self, id: u16, fields: &[Field]) -> &mut Self {
        match self.templates.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) => *known = fields.to_vec(),
            None => self.templates.push((id, fields.to_vec())),
        }
        self
    }

    /// A Template Set with one Template Record (RFC 7011 section 3.4.1, RFC 3954 section 5.2).
    pub fn template(&mut self, id: u16, fields: &[Field]) -> &mut Self {
        self.templates(&[(id, fields)])
    }

    /// A Template Set with several Template Records.
    pub fn templates(&mut self, templates: &[(u16, &[Field])]) -> &mut Self {
        let set_id = match self.protocol {
            Protocol::V9 { .. } => 0,
            Protocol::Ipfix { .. } => 2,
        };
        let start = self.open_set(set_id);
        for (id, fields) in templates {
            self.template_id(*id);
            match u16::try_from(fields.len()) {
                Ok(count) => self.octets.extend_from_slice(&count.to_be_bytes()),
                Err(_) => {
                    self.fail(WriteError::TooManyFields {
                        template_id: *id,
                        fields: fields.len(),
                    });
                }
            }
            self.specifiers(fields);
            self.declare(*id, fields);
            self.count_template();
        }
        self.close_set(start, set_id)
    }

    /// An Options Template Set with one Options Template Record (RFC 7011 section 3.4.2, RFC 3954
    /// section 6.1, where a scope's `element` is the scope type: 1 system, 2 interface, 3 line card,
    /// 4 cache, 5 template).
    pub fn options_template(&mut self, id: u16, scope: &[Field], fields: &[Field]) -> &mut Self {
        let all: Vec<Field> = scope.iter().chain(fields).copied().collect();
        let too_many = WriteError::TooManyFields {
            template_id: id,
            fields: all.len(),
        };
        let (set_id, counts) = match self.protocol {
            Protocol::V9 { .. } => (1, [scope.len().checked_mul(4), fields.len().checked_mul(4)]),
            Protocol::Ipfix { .. } => (3, [Some(all.len()), Some(scope.len())]),
        };
        let start = self.open_set(set_id);
        self.template_id(id);
        for count in counts {
            match count.and_then(|count| u16::try_from(count).ok()) {
                Some(count) => self.octets.extend_from_slice(&count.to_be_bytes()),
                None => {
                    self.fail(too_many);
                }
            }
        }
        self.specifiers(&all);
        self.declare(id, &all);
        self.count_template();
        self.close_set(start, set_id)
    }

    /// Withdraws an IPFIX template (RFC 7011 section 8.1); `id` 2 withdraws all.
    pub fn withdraw(&mut self, id: u16) -> &mut Self {
        self.withdrawal(2, id)
    }

    /// Withdraws an IPFIX options template (RFC 7011 section 8.1); `id` 3 withdraws all.
    pub fn withdraw_options(&mut self, id: u16) -> &mut Self {
        self.withdrawal(3, id)
    }

    fn withdrawal(&mut self, set_id: u16, id: u16) -> &mut Self {
        if let Protocol::V9 { .. } = self.protocol {
            return self.fail(WriteError::NotInV9 {
                what: "template withdrawal",
            });
        }
        self.templates
            .retain(|(known, _)| *known != id && id != set_id);
        let start = self.open_set(set_id);
        self.octets.extend_from_slice(&id.to_be_bytes());
        self.octets.extend_from_slice(&0u16.to_be_bytes());
        self.close_set(start, set_id)
    }

    /// A Data Set (RFC 7011 section 3.4.3, RFC 3954 section 5.3) of the template `id`; records of
    /// options templates too.
    pub fn data_set(&mut self, id: u16, records: impl FnOnce(&mut SetWriter<'_>)) -> &mut Self {
        if id < FIRST_TEMPLATE_ID {
            self.fail(WriteError::ReservedId { id });
        }
        let start = self.open_set(id);
        let template = self.templates.iter().position(|(known, _)| *known == id);
        records(&mut SetWriter {
            message: self,
            id,
            template,
        });
        self.close_set(start, id)
    }

    /// A Set of any ID with any content and, where one is given, any length. Its octets are taken as
    /// they are, without padding; the records in it aren't counted.
    pub fn raw_set(&mut self, id: u16, length: Option<u16>, content: &[u8]) -> &mut Self {
        let octets = content.len().saturating_add(4);
        if length.is_none() && octets > usize::from(u16::MAX) {
            self.fail(WriteError::SetTooLong { set_id: id, octets });
        }
        self.octets.extend_from_slice(&id.to_be_bytes());
        self.octets
            .extend_from_slice(&length.unwrap_or_else(|| length16(octets)).to_be_bytes());
        self.octets.extend_from_slice(content);
        self
    }

    /// Any octets, as they are.
    pub fn raw(&mut self, octets: &[u8]) -> &mut Self {
        self.octets.extend_from_slice(octets);
        self
    }

    /// Data Records so far, options records included: what the next IPFIX sequence number grows by
    /// (RFC 7011 section 3.1).
    #[must_use]
    pub fn data_records(&self) -> usize {
        self.data_records
    }

    /// Octets so far.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets.len()
    }

    /// The finished message; the writer is left empty.
    ///
    /// # Errors
    /// The first mistake made, or a message that is too long for its header.
    pub fn finish(&mut self) -> Result<Vec<u8>, WriteError> {
        let mut octets = std::mem::take(&mut self.octets);
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let long = octets.len();
        if long > usize::from(u16::MAX) {
            return Err(WriteError::MessageTooLong { octets: long });
        }
        let second = match self.protocol {
            Protocol::V9 { count: Some(count) } => count,
            Protocol::V9 { count: None } => {
                let records = self.data_records.saturating_add(self.template_records);
                u16::try_from(records).map_err(|_| WriteError::TooManyRecords { records })?
            }
            Protocol::Ipfix { length } => length.unwrap_or_else(|| length16(long)),
        };
        patch(&mut octets, 2, second);
        Ok(octets)
    }

    fn open_set(&mut self, id: u16) -> usize {
        let start = self.octets.len();
        self.octets.extend_from_slice(&id.to_be_bytes());
        self.octets.extend_from_slice(&[0, 0]);
        start
    }

    fn close_set(&mut self, start: usize, set_id: u16) -> &mut Self {
        let bare = self.octets.len().saturating_sub(start);
        let padded = bare.next_multiple_of(self.alignment);
        self.octets.resize(start.saturating_add(padded), 0);
        match u16::try_from(padded) {
            Ok(length) => patch(&mut self.octets, start.saturating_add(2), length),
            Err(_) => {
                self.fail(WriteError::SetTooLong {
                    set_id,
                    octets: padded,
                });
            }
        }
        self
    }

    fn template_id(&mut self, id: u16) {
        if id < FIRST_TEMPLATE_ID {
            self.fail(WriteError::ReservedId { id });
        }
        self.octets.extend_from_slice(&id.to_be_bytes());
    }

    fn specifiers(&mut self, fields: &[Field]) {
        for field in fields {
            let written = match self.protocol {
                Protocol::V9 { .. } => field.specifier_v9(&mut self.octets),
                Protocol::Ipfix { .. } => field.specifier(&mut self.octets),
            };
            if let Err(error) = written {
                self.fail(error);
            }
        }
    }

    fn count_template(&mut self) {
        self.template_records = self.template_records.saturating_add(1);
    }

    fn fail(&mut self, error: WriteError) -> &mut Self {
        self.error.get_or_insert(error);
        self
    }
}

/// Writes the records of one Data Set.
#[derive(Debug)]
pub struct SetWriter<'w> {
    message: &'w mut MessageWriter,
    id: u16,
    template: Option<usize>,
}

impl SetWriter<'_> {
    /// A Data Record.
    pub fn record(&mut self, fields: impl FnOnce(&mut Record)) -> &mut Self {
        let mut record = std::mem::take(&mut self.message.scratch);
        record.clear();
        fields(&mut record);
        if let Some(error) = record.error() {
            self.message.fail(error);
        }
        let template = self
            .template
            .and_then(|index| self.message.templates.get(index));
        if let Some((_, fields)) = template
            && let Err(error) = record.check(self.id, fields)
        {
            self.message.fail(error);
        }
        self.message.octets.extend_from_slice(record.octets());
        self.message.data_records = self.message.data_records.saturating_add(1);
        self.message.scratch = record;
        self
    }

    /// Octets as they are, held against nothing and not counted as a record.
    pub fn raw(&mut self, octets: &[u8]) -> &mut Self {
        self.message.octets.extend_from_slice(octets);
        self
    }

    /// Zeros at the end of the Set (RFC 7011 section 3.3.1).
    pub fn padding(&mut self, octets: usize) -> &mut Self {
        let end = self.message.octets.len().saturating_add(octets);
        self.message.octets.resize(end, 0);
        self
    }
}

/// Overwrites the two octets at `at`, which were written before.
fn patch(octets: &mut [u8], at: usize, value: u16) {
    if let Some(target) = octets.get_mut(at..at.saturating_add(2)) {
        target.copy_from_slice(&value.to_be_bytes());
    }
}
