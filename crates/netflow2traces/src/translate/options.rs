//! Options data: read for what they say of the exporter, never shown as flows.

use netflow_wire::ie::AbstractDataType;
use netflow_wire::{FieldSpecifier, Location, Template, V9_SCOPE, unsigned};

use super::elements::ElementTypes;
use super::knowledge::{Knowledge, Sampler};
use super::sampling::RecordSampling;

/// v9's scope type "Interface" (RFC 3954, section 6.1).
const V9_SCOPE_INTERFACE: u16 = 2;

/// Fields that could tell one thing; more of the same element than this are not looked at.
const MAX_CANDIDATES: usize = 4;

/// Where the records of an Options Template tell what. Compiled once, so that a record costs the same however
/// many fields it has.
#[derive(Clone, Debug)]
pub(crate) struct OptionsPlan {
    interface: Candidates,
    interface_name: Candidates,
    vrf: Candidates,
    vrf_name: Candidates,
    application: Candidates,
    application_name: Candidates,
    init_time: Candidates,
    sampling: RecordSampling,
    /// RFC 5610: privateEnterpriseNumber, informationElementId, informationElementDataType,
    /// informationElementName.
    described_enterprise: Candidates,
    described_element: Candidates,
    described_type: Candidates,
    described_name: Candidates,
}

/// Fields in order of preference: the first that isn't empty counts.
type Candidates = Box<[u16]>;

/// One options record.
#[derive(Clone, Copy)]
pub(crate) struct OptionsRecord<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) locations: &'a [Location],
}

impl<'a> OptionsRecord<'a> {
    fn field(&self, field: u16) -> &'a [u8] {
        self.locations
            .get(usize::from(field))
            .map_or(&[], |at| at.of(self.octets))
    }

    fn find(&self, candidates: &Candidates) -> Option<&'a [u8]> {
        let octets = candidates.iter().map(|field| self.field(*field));
        octets.into_iter().find(|octets| !octets.is_empty())
    }

    fn number(&self, candidates: &Candidates) -> Option<u64> {
        self.find(candidates).map(unsigned)
    }
}

impl OptionsPlan {
    pub(crate) fn new(template: &Template) -> Self {
        let elements = |wanted: &[u16]| -> Candidates {
            let of = |element: &u16| {
                candidates(template, |field| {
                    field.enterprise == 0 && field.element == *element
                })
            };
            wanted.iter().flat_map(of).collect()
        };
        let is_interface = |field: &FieldSpecifier| match field.enterprise {
            0 => matches!(field.element, 10 | 14 | 252 | 253),
            V9_SCOPE => field.element == V9_SCOPE_INTERFACE,
            _ => false,
        };
        Self {
            interface: candidates(template, is_interface).into(),
            interface_name: elements(&[82, 83]),
            vrf: elements(&[234, 235]),
            vrf_name: elements(&[236]),
            application: elements(&[95]),
            application_name: elements(&[96, 94]),
            init_time: elements(&[160]),
            sampling: RecordSampling::new(template),
            described_enterprise: elements(&[346]),
            described_element: elements(&[303]),
            described_type: elements(&[339]),
            described_name: elements(&[341]),
        }
    }

    /// Takes one options record in.
    pub(crate) fn apply(&self, record: OptionsRecord<'_>, knowledge: &mut Knowledge) {
        let interface = record.number(&self.interface);
        if let (Some(index), Some(name)) = (interface, record.find(&self.interface_name)) {
            knowledge.name_interface(index, name);
        }
        if let (Some(id), Some(name)) = (record.number(&self.vrf), record.find(&self.vrf_name)) {
            knowledge.name_vrf(id, name);
        }
        if let (Some(id), Some(name)) = (
            record.find(&self.application),
            record.find(&self.application_name),
        ) {
            knowledge.name_application(id, name);
        }
        if let Some(init_time) = record.number(&self.init_time) {
            knowledge.started(init_time);
        }
        let number = |field| unsigned(record.field(field));
        let octets = |field| record.field(field);
        if let Some(interval) = self.sampling.interval(number, octets) {
            let id = self.sampling.sampler.map(number);
            knowledge.sample(id, interface, Sampler { interval });
        }
    }

    /// Takes in what an options record says of an Information Element (RFC 5610, section 3.9); whether it is
    /// news.
    pub(crate) fn describe(&self, record: OptionsRecord<'_>, types: &mut ElementTypes) -> bool {
        let (Some(enterprise), Some(element)) = (
            record.number(&self.described_enterprise),
            record.number(&self.described_element),
        ) else {
            return false;
        };
        let (Ok(enterprise), Ok(element)) = (u32::try_from(enterprise), u16::try_from(element))
        else {
            return false;
        };
        let data_type = record
            .number(&self.described_type)
            .and_then(|code| u8::try_from(code).ok())
            .and_then(AbstractDataType::from_code);
        let name = record.find(&self.described_name).unwrap_or_default();
        // The enterprise bit may stand in the id.
        types.learn(enterprise, element & 0x7fff, name, data_type)
    }
}

fn candidates(template: &Template, is: impl Fn(&FieldSpecifier) -> bool) -> Vec<u16> {
    let fields = template.fields.iter().zip(0..);
    fields
        .filter(|(field, _)| field.length > 0 && is(field))
        .map(|(_, index)| index)
        .take(MAX_CANDIDATES)
        .collect()
}
