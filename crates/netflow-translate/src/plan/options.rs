//! Options data: read for what they say of the exporter, never shown as flows.

use std::net::IpAddr;

use netflow_wire::ie::AbstractDataType;
use netflow_wire::{FieldSpecifier, Location, Template, V9_SCOPE, unsigned};

use crate::exporter::metadata::{Metadata, Sampler, Scope};
use crate::plan::elements::ElementTypes;
use crate::plan::sampling::RecordSampling;

/// v9's scope type "System" (RFC 3954, section 6.1).
const V9_SCOPE_SYSTEM: u16 = 1;
/// v9's scope type "Interface" (RFC 3954, section 6.1).
const V9_SCOPE_INTERFACE: u16 = 2;
/// v9's scope type "Template" (RFC 3954, section 6.1).
const V9_SCOPE_TEMPLATE: u16 = 5;

/// Candidate fields for one value; more of the same element than this are not looked at.
const MAX_CANDIDATES: usize = 4;

/// Where the records of an Options Template have which value. Compiled once, so that a record costs the same however
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
    /// Of the scope: the template, and parts of the device that no record names.
    template: Candidates,
    parts: Candidates,
    /// RFC 5610: privateEnterpriseNumber, informationElementId, informationElementDataType,
    /// informationElementName.
    /// Addresses of the exporter whose data these are; none where the scope is a part of its data.
    agent: Candidates,
    /// Element 149 in the scope: the Observation Domain that they are about.
    domain: Candidates,
    described_enterprise: Candidates,
    described_element: Candidates,
    described_type: Candidates,
    described_name: Candidates,
}

/// Fields in order of preference: the first that says something counts.
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

    /// The first that isn't zero, else the first that is there.
    fn find(&self, candidates: &Candidates) -> Option<&'a [u8]> {
        let octets = candidates.iter().map(|field| self.field(*field));
        let mut told = octets.filter(|octets| !octets.is_empty());
        let is_told = |octets: &&[u8]| octets.iter().any(|octet| *octet != 0);
        told.clone().find(is_told).or_else(|| told.next())
    }

    fn number(&self, candidates: &Candidates) -> Option<u64> {
        self.find(candidates).map(unsigned)
    }

    /// The first that isn't blank.
    fn text(&self, candidates: &Candidates) -> Option<&'a [u8]> {
        let octets = candidates.iter().map(|field| self.field(*field));
        octets.into_iter().find(|octets| is_text(octets))
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
        let is_template = |field: &FieldSpecifier| match field.enterprise {
            0 => field.element == 145,
            V9_SCOPE => field.element == V9_SCOPE_TEMPLATE,
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
            template: in_scope(template, is_template).into(),
            parts: in_scope(template, |field| {
                !is_interface(field) && !is_template(field) && is_part(field)
            })
            .into(),
            agent: if is_of_exporter(template) {
                elements(&[403, 404, 130, 131])
            } else {
                Candidates::default()
            },
            domain: scope(template)
                .zip(0..)
                .find(|(field, _)| (field.enterprise, field.element) == (0, 149))
                .map(|(_, index)| index)
                .into_iter()
                .collect(),
            described_enterprise: elements(&[346]),
            described_element: elements(&[303]),
            described_type: elements(&[339]),
            described_name: elements(&[341]),
        }
    }

    /// Takes one options record in.
    pub(crate) fn apply(&self, record: OptionsRecord<'_>, metadata: &mut Metadata) {
        let interface = record.number(&self.interface);
        if let (Some(index), Some(name)) = (interface, record.text(&self.interface_name)) {
            metadata.name_interface(index, name);
        }
        if let (Some(id), Some(name)) = (record.number(&self.vrf), record.text(&self.vrf_name)) {
            metadata.name_vrf(id, name);
        }
        if let (Some(id), Some(name)) = (
            record.find(&self.application),
            record.text(&self.application_name),
        ) {
            metadata.name_application(id, name);
        }
        if let Some(init_time) = record.number(&self.init_time) {
            metadata.started(init_time);
        }
        let number = |field| unsigned(record.field(field));
        let octets = |field| record.field(field);
        if let Some(interval) = self.sampling.interval(number, octets) {
            let scope = Scope {
                id: self.sampling.sampler(number),
                interface,
                egress: self.sampling.egress(number),
                template: record.number(&self.template),
                part: self.part(record),
            };
            metadata.sample(scope, Sampler { interval });
        }
    }

    /// What stands in the scope for a part of the device, as one number.
    fn part(&self, record: OptionsRecord<'_>) -> Option<u64> {
        let parts = self
            .parts
            .iter()
            .map(|field| unsigned(record.field(*field)));
        parts.reduce(|all, part| all.rotate_left(16) ^ part)
    }

    /// The Observation Domain that the record is about, where its scope names one: a chassis may report for its line
    /// cards. 0 is the exporter as a whole.
    pub(crate) fn domain(&self, record: OptionsRecord<'_>) -> Option<u32> {
        let domain = record.number(&self.domain)?;
        u32::try_from(domain).ok().filter(|domain| *domain != 0)
    }

    /// Who metered what is sent in a domain: the original exporter of a mediator (RFC 7119), or the exporter itself where
    /// a relay or NAT hides it.
    pub(crate) fn agent(&self, record: OptionsRecord<'_>) -> Option<IpAddr> {
        let addresses = self.agent.iter().filter_map(|field| {
            let octets = record.field(*field);
            let four: Result<[u8; 4], _> = octets.try_into();
            let sixteen: Result<[u8; 16], _> = octets.try_into();
            four.map(IpAddr::from).or(sixteen.map(IpAddr::from)).ok()
        });
        { addresses }
            .map(|address| address.to_canonical())
            .find(|address| !address.is_unspecified())
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

/// Something stands before the zeros that fill it up, and not only blanks.
pub(crate) fn is_text(octets: &[u8]) -> bool {
    let mut text = octets.iter().take_while(|octet| **octet != 0);
    text.any(|octet| !octet.is_ascii_whitespace())
}

fn scope(template: &Template) -> impl Iterator<Item = &FieldSpecifier> {
    template
        .fields
        .iter()
        .take(template.scope_fields.unwrap_or(0))
}

/// Fields of the scope, the first of them.
fn in_scope(template: &Template, is: impl Fn(&FieldSpecifier) -> bool) -> Vec<u16> {
    let fields = scope(template).zip(0..);
    fields
        .filter(|(field, _)| field.length > 0 && is(field))
        .map(|(_, index)| index)
        .take(MAX_CANDIDATES)
        .collect()
}

/// Neither the exporter and what else holds for a whole domain, nor a sampler (48, 302) or a direction (61).
fn is_part(field: &FieldSpecifier) -> bool {
    match field.enterprise {
        0 => !matches!(
            field.element,
            48 | 61 | 130 | 131 | 143 | 144 | 149 | 267 | 302 | 403 | 404
        ),
        V9_SCOPE => field.element != V9_SCOPE_SYSTEM,
        _ => true,
    }
}

/// The scope is the exporter, or what of it a whole Observation Domain is: v9's "System"; meteringProcessId,
/// exportingProcessId, observationDomainId, sessionScope.
fn is_of_exporter(template: &Template) -> bool {
    scope(template).all(|field| match field.enterprise {
        0 => matches!(field.element, 143 | 144 | 149 | 267),
        V9_SCOPE => field.element == V9_SCOPE_SYSTEM,
        _ => false,
    })
}

fn candidates(template: &Template, is: impl Fn(&FieldSpecifier) -> bool) -> Vec<u16> {
    let fields = template.fields.iter().zip(0..);
    fields
        .filter(|(field, _)| field.length > 0 && is(field))
        .map(|(_, index)| index)
        .take(MAX_CANDIDATES)
        .collect()
}
