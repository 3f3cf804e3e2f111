//! The lists of RFC 6313: arrays of values, and of records that follow another Template, which is compiled for that
//! once.

use std::cell::Cell;
use std::collections::HashSet;

use netflow_wire::ie::AbstractDataType;
use netflow_wire::{FieldSpecifier, Siblings, Template, VARIABLE_LENGTH, Version};
use otlp_wire::proto::push_delimited;

use super::{ANY_ARRAY, ElementTypes, PADDING, VALUES, nest, push_value};
use crate::allowance::COMPILATION;
use crate::plan::compiled::Compiled;

/// Encoded octets of one attribute after which its lists take no more.
const MAX_LIST_OCTETS: usize = 64 * 1024;
/// Lists within lists.
pub(super) const MAX_DEPTH: u8 = 4;
/// `AnyValue.kvlist_value`, length-delimited.
const ANY_LIST: u8 = 6 << 3 | 2;
/// What the allocator adds to a piece of memory, on average.
const ALLOCATION: usize = 16;
/// `KeyValue.value`, length-delimited.
const KEY_VALUE_VALUE: u8 = 2 << 3 | 2;

/// Gives Templates of the record's own session, for the lists that name one.
pub(crate) trait Resolve {
    /// A Template as lists need it; `room` may forbid to compile one that isn't yet.
    fn list(&self, id: u16, types: &ElementTypes, room: &ListRoom) -> Option<&ListPlan>;
}

impl Resolve for Siblings<'_, Compiled> {
    fn list(&self, id: u16, types: &ElementTypes, room: &ListRoom) -> Option<&ListPlan> {
        let known = self.find(id)?;
        let compiled = known.plan(|_| Compiled::default());
        compiled.list(&known.template, types, room)
    }
}

/// The versions without Templates.
pub(crate) struct NoTemplates;

impl Resolve for NoTemplates {
    fn list(&self, _: u16, _: &ElementTypes, _: &ListRoom) -> Option<&ListPlan> {
        None
    }
}

/// What the lists of one datagram may still make, and what was cut for that.
#[derive(Debug)]
pub(crate) struct ListRoom {
    octets: Cell<usize>,
    /// Fields of Templates that may be compiled.
    fields: Cell<usize>,
    /// Octets of the plans that were compiled.
    compiled: Cell<usize>,
    is_cut: Cell<bool>,
    cut: Cell<u64>,
}

impl ListRoom {
    /// Room for so many encoded octets, and for the compilation of so many fields.
    pub(crate) fn new(octets: usize, fields: usize) -> Self {
        Self {
            octets: Cell::new(octets),
            fields: Cell::new(fields),
            compiled: Cell::new(0),
            is_cut: Cell::new(false),
            cut: Cell::new(0),
        }
    }

    /// Attributes whose lists lack elements.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.get()
    }

    /// A plan of so many octets was compiled for this Template alone.
    pub(crate) fn compiled(&self, octets: usize) {
        self.compiled.set(self.compiled.get() + octets);
    }

    /// Octets of all such plans.
    pub(crate) fn compiled_octets(&self) -> usize {
        self.compiled.get()
    }

    /// Fields that may still be compiled.
    pub(crate) fn fields_left(&self) -> usize {
        self.fields.get()
    }

    /// Takes the work of compiling a Template, if there is room for it.
    pub(crate) fn may_compile(&self, template: &Template) -> bool {
        let work = template.fields.len() + COMPILATION;
        let left = self.fields.get().checked_sub(work);
        self.fields.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// What a list's elements are, and how much of them there may be.
#[derive(Clone, Copy)]
pub(crate) struct Lists<'a> {
    templates: &'a dyn Resolve,
    types: &'a ElementTypes,
    room: &'a ListRoom,
    /// Octets of the attribute after which its lists end.
    end: usize,
}

impl<'a> Lists<'a> {
    pub(crate) fn new(
        templates: &'a dyn Resolve,
        types: &'a ElementTypes,
        room: &'a ListRoom,
    ) -> Self {
        Self {
            templates,
            types,
            room,
            end: MAX_LIST_OCTETS,
        }
    }

    /// For the next attribute.
    pub(super) fn of_attribute(self) -> Self {
        Self {
            end: MAX_LIST_OCTETS.min(self.room.octets.get()),
            ..self
        }
    }

    /// An attribute with lists is complete, in so many octets.
    pub(super) fn made(self, octets: usize) {
        let room = self.room;
        room.octets.set(room.octets.get().saturating_sub(octets));
        if room.is_cut.take() {
            room.cut.set(room.cut.get() + 1);
        }
    }

    /// Whether an attribute of these octets takes no more elements; then some are left out.
    fn is_full(self, out: &[u8]) -> bool {
        let is_full = out.len() >= self.end;
        if is_full {
            self.room.is_cut.set(true);
        }
        is_full
    }

    fn plan(self, id: u16) -> Option<&'a ListPlan> {
        let Self {
            templates,
            types,
            room,
            ..
        } = self;
        templates.list(id, types, room)
    }
}

/// A Template as the records of lists follow it.
#[derive(Debug)]
pub(crate) struct ListPlan {
    steps: Box<[ListStep]>,
    /// Octets behind the last step's field.
    tail: usize,
    /// Octets of the shortest record.
    shortest: usize,
}

#[derive(Debug)]
struct ListStep {
    /// Octets before the field that nothing shows.
    skip: usize,
    /// Of the field; never 0.
    length: u16,
    /// The encoded key; `None`: the field is only skipped.
    key: Option<Box<[u8]>>,
    data_type: Option<AbstractDataType>,
}

impl ListPlan {
    /// Octets that it takes.
    pub(crate) fn octets(&self) -> usize {
        let keys = self.steps.iter().filter_map(|step| step.key.as_ref());
        let keys: usize = keys.map(|key| key.len() + ALLOCATION).sum();
        self.steps.len() * size_of::<ListStep>() + keys
    }

    /// Fields of no octets are left out. A key stands once in a list: of a repeated element the first counts.
    pub(crate) fn compile(template: &Template, types: &ElementTypes) -> Self {
        let (mut steps, mut keys) = (Vec::new(), HashSet::new());
        let mut skip = 0;
        for field in template.fields.iter().filter(|field| field.length > 0) {
            let is_padding = field.enterprise == 0 && field.element == PADDING;
            let described = (!is_padding).then(|| types.describe(template.version, field));
            let shown = described.filter(|(name, _)| keys.insert(name.clone()));
            if shown.is_none() && field.length != VARIABLE_LENGTH {
                skip += usize::from(field.length);
                continue;
            }
            let (key, data_type) = shown.unzip();
            steps.push(ListStep {
                skip: std::mem::take(&mut skip),
                length: field.length,
                key: key.map(|name| {
                    let mut key = Vec::with_capacity(name.len() + 2);
                    push_delimited(&mut key, 1, name.as_bytes());
                    key.into()
                }),
                data_type: data_type.flatten(),
            });
        }
        Self {
            steps: steps.into(),
            tail: skip,
            shortest: template.min_record_octets(),
        }
    }

    /// Appends the first of `records` as a key-value list; gives its octets. `None`: a field goes past the end.
    fn push(
        &self,
        out: &mut Vec<u8>,
        records: &[u8],
        lists: Lists<'_>,
        depth: u8,
    ) -> Option<usize> {
        let mut at = 0;
        for step in &self.steps {
            let (value, end) = value(step.length, records, at + step.skip)?;
            at = end;
            let Some(key) = &step.key else { continue };
            if lists.is_full(out) {
                // No record is read after this one.
                return Some(records.len());
            }
            nest(out, VALUES, |out| {
                out.extend_from_slice(key);
                nest(out, KEY_VALUE_VALUE, |out| {
                    push_value(out, step.data_type, value, lists, depth + 1);
                });
            });
        }
        at += self.tail;
        (at <= records.len()).then_some(at)
    }

    /// The records, each as a key-value list within an array.
    fn push_all(
        &self,
        out: &mut Vec<u8>,
        mut records: &[u8],
        lists: Lists<'_>,
        depth: u8,
    ) -> Option<()> {
        while self.shortest > 0 && records.len() >= self.shortest && !lists.is_full(out) {
            let len = nest(out, VALUES, |out| {
                nest(out, ANY_LIST, |out| self.push(out, records, lists, depth))
            })?;
            records = records.get(len..)?;
        }
        Some(())
    }
}

/// The field at `at`, and where it ends.
fn value(length: u16, octets: &[u8], mut at: usize) -> Option<(&[u8], usize)> {
    let mut length = usize::from(length);
    if length == usize::from(VARIABLE_LENGTH) {
        // One octet of length, or 255 and two of them (RFC 7011, section 7).
        let (first, rest) = octets.get(at..)?.split_first()?;
        (length, at) = match *first {
            255 => {
                let long = rest.first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*long)), at + 3)
            }
            short => (usize::from(short), at + 1),
        };
    }
    let end = at + length;
    Some((octets.get(at..end)?, end))
}

pub(super) fn is_list(data_type: AbstractDataType) -> bool {
    use AbstractDataType as Type;
    matches!(
        data_type,
        Type::BasicList | Type::SubTemplateList | Type::SubTemplateMultiList
    )
}

/// Appends a list; `None` if it makes no sense.
pub(super) fn push(
    out: &mut Vec<u8>,
    kind: AbstractDataType,
    octets: &[u8],
    lists: Lists<'_>,
    depth: u8,
) -> Option<()> {
    match kind {
        AbstractDataType::SubTemplateList => sub_template_list(out, octets, lists, depth),
        AbstractDataType::SubTemplateMultiList => multi_list(out, octets, lists, depth),
        _ => basic_list(out, octets, lists, depth),
    }
}

/// RFC 6313, section 4.5.1: semantic, Field Specifier, values of that element.
fn basic_list(out: &mut Vec<u8>, octets: &[u8], lists: Lists<'_>, depth: u8) -> Option<()> {
    let (_semantic, rest) = octets.split_first()?;
    let (id, rest) = rest.split_first_chunk::<2>()?;
    let (length, mut rest) = rest.split_first_chunk::<2>()?;
    let (id, length) = (u16::from_be_bytes(*id), u16::from_be_bytes(*length));
    let mut field = FieldSpecifier {
        enterprise: 0,
        element: id & 0x7fff,
        length,
    };
    if id & 0x8000 != 0 {
        let (enterprise, after) = rest.split_first_chunk::<4>()?;
        field.enterprise = u32::from_be_bytes(*enterprise);
        rest = after;
    }
    let data_type = lists.types.data_type(Version::Ipfix, &field);
    nest(out, ANY_ARRAY, |out| {
        while !rest.is_empty() && !lists.is_full(out) {
            let (value, end) = value(length, rest, 0).filter(|(_, end)| *end > 0)?;
            nest(out, VALUES, |out| {
                push_value(out, data_type, value, lists, depth + 1);
            });
            rest = rest.get(end..)?;
        }
        Some(())
    })
}

/// RFC 6313, section 4.5.2: semantic, Template ID, records.
fn sub_template_list(out: &mut Vec<u8>, octets: &[u8], lists: Lists<'_>, depth: u8) -> Option<()> {
    let (_semantic, rest) = octets.split_first()?;
    let (id, records) = rest.split_first_chunk::<2>()?;
    let plan = lists.plan(u16::from_be_bytes(*id))?;
    nest(out, ANY_ARRAY, |out| {
        plan.push_all(out, records, lists, depth)
    })
}

/// RFC 6313, section 4.5.3: semantic, then Template ID, length and records of each template.
fn multi_list(out: &mut Vec<u8>, octets: &[u8], lists: Lists<'_>, depth: u8) -> Option<()> {
    let (_semantic, mut rest) = octets.split_first()?;
    nest(out, ANY_ARRAY, |out| {
        while !rest.is_empty() && !lists.is_full(out) {
            let (id, after) = rest.split_first_chunk::<2>()?;
            let (length, _) = after.split_first_chunk::<2>()?;
            let records = rest.get(4..usize::from(u16::from_be_bytes(*length)))?;
            let plan = lists.plan(u16::from_be_bytes(*id))?;
            plan.push_all(out, records, lists, depth)?;
            rest = rest.get(4 + records.len()..)?;
        }
        Some(())
    })
}
