//! Options data: read for what they say of the exporter, never shown as flows.

use netflow_wire::{FieldSpecifier, Location, Template, V9_SCOPE, unsigned};

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
