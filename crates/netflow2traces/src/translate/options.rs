//! Options data: read for what they say of the exporter, never shown as flows.

use netflow_wire::ie::AbstractDataType;
use netflow_wire::{FieldSpecifier, Location, Template, V9_SCOPE, unsigned};

use super::elements::ElementTypes;
use super::knowledge::{Knowledge, Sampler};
use super::sampling::RecordSampling;

/// v9's scope type "Interface" (RFC 3954, section 6.1).
const V9_SCOPE_INTERFACE: u16 = 2;

/// Takes one options record in. Not on the hot path: it looks at the template field by field.
pub(crate) fn apply(
    template: &Template,
    record: &[u8],
    locations: &[Location],
    knowledge: &mut Knowledge,
) {
    let fields = || {
        template
            .fields
            .iter()
            .zip(locations)
            .map(|(field, at)| (field, at.of(record)))
            .filter(|(_, octets)| !octets.is_empty())
    };
    let find = |wanted: &[u16]| {
        wanted.iter().find_map(|element| {
            fields()
                .find(|(field, _)| field.enterprise == 0 && field.element == *element)
                .map(|(_, octets)| octets)
        })
    };
    let is_interface = |field: &FieldSpecifier| match field.enterprise {
        0 => matches!(field.element, 10 | 14 | 252 | 253),
        V9_SCOPE => field.element == V9_SCOPE_INTERFACE,
        _ => false,
    };
    let interface = fields()
        .find(|(field, _)| is_interface(field))
        .map(|(_, octets)| unsigned(octets));

    if let (Some(index), Some(name)) = (interface, find(&[82, 83])) {
        knowledge.name_interface(index, name);
    }
    if let (Some(id), Some(name)) = (find(&[234, 235]), find(&[236])) {
        knowledge.name_vrf(unsigned(id), name);
    }
    if let (Some(id), Some(name)) = (find(&[95]), find(&[96, 94])) {
        knowledge.name_application(id, name);
    }
    if let Some(init_time) = find(&[160]) {
        knowledge.started(unsigned(init_time));
    }
    let sampling = RecordSampling::new(template);
    let octets = |field: u16| {
        locations
            .get(usize::from(field))
            .map_or(&[][..], |at| at.of(record))
    };
    if let Some(interval) = sampling.interval(|field| unsigned(octets(field)), octets) {
        let id = sampling.sampler.map(|field| unsigned(octets(field)));
        knowledge.sample(id, interface, Sampler { interval });
    }
}

/// Takes in what an options record says of an Information Element (RFC 5610, section 3.9); whether it is news.
pub(crate) fn describe(
    template: &Template,
    record: &[u8],
    locations: &[Location],
    types: &mut ElementTypes,
) -> bool {
    let find = |element: u16| {
        let mut fields = template.fields.iter().zip(locations);
        fields
            .find(|(field, _)| field.enterprise == 0 && field.element == element)
            .map(|(_, at)| at.of(record))
    };
    // privateEnterpriseNumber, informationElementId, informationElementDataType, informationElementName
    let (Some(enterprise), Some(element)) = (find(346), find(303)) else {
        return false;
    };
    let (Ok(enterprise), Ok(element)) = (
        u32::try_from(unsigned(enterprise)),
        u16::try_from(unsigned(element)),
    ) else {
        return false;
    };
    let data_type = find(339)
        .and_then(|code| u8::try_from(unsigned(code)).ok())
        .and_then(AbstractDataType::from_code);
    // The enterprise bit may stand in the id.
    types.learn(
        enterprise,
        element & 0x7fff,
        find(341).unwrap_or_default(),
        data_type,
    )
}
