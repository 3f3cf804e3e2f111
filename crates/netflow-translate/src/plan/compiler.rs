//! How the Template's fields become steps: which fields an attribute may be taken from, and which of them it is.

use std::collections::{HashMap, HashSet};

use netflow_wire::{FieldSpecifier, Template, VARIABLE_LENGTH, Version};

use super::together::Together;
use super::{Choice, Choices, Family, HOLDS_AT_ZERO, IcmpPart, MAX_REPEATED, Side, Step};
use crate::attributes::encoded::named_like;
use crate::attributes::names::Name;
use crate::attributes::table::{Attribute, Form, Pick, Source};

/// Elements that belong to an address family.
const IPV4_ELEMENTS: &[u16] = &[
    8, 12, 15, 18, 9, 13, 44, 45, 176, 177, 32, 225, 226, 881, 882, 12236, 12237, 40001, 40002,
];
const IPV6_ELEMENTS: &[u16] = &[
    27, 28, 62, 63, 29, 30, 169, 170, 178, 179, 139, 281, 282, 883, 884, 12238, 12239,
];

/// Above any element's real width.
const MAX_PLAIN_FIELD: u16 = 8;

fn choice_of(field: u16, element: u16) -> Choice {
    let family = if IPV4_ELEMENTS.contains(&element) {
        Some(Family::V4)
    } else if IPV6_ELEMENTS.contains(&element) {
        Some(Family::V6)
    } else {
        None
    };
    Choice {
        field,
        element,
        family,
    }
}

pub(super) struct Compiler<'a> {
    pub(super) template: &'a Template,
    pub(super) choices: Vec<Choice>,
    /// Fields that named attributes show.
    pub(super) shown: HashSet<u16>,
    /// Fields that they choose from by the record's family.
    pub(super) rivals: HashMap<u16, Choices>,
    pub(super) together: Together,
}

impl Compiler<'_> {
    /// The first field of an element: of a repeated one the outermost header (RFC 7011, section 8).
    pub(super) fn field(&self, source: Source) -> Option<u16> {
        let found = self
            .template
            .fields
            .iter()
            .position(|field| self.is(field, source) && field.length != 0)?;
        u16::try_from(found).ok()
    }

    pub(super) fn is(&self, field: &FieldSpecifier, (enterprise, element): Source) -> bool {
        // Vendors' v9 types have no enterprise number, and IPFIX no elements above 32767.
        let vendor = element > 0x7fff && self.template.version != Version::V9;
        field.enterprise == enterprise && field.element == element && !vendor
    }

    pub(super) fn length(&self, field: u16) -> u16 {
        self.template
            .fields
            .get(usize::from(field))
            .map_or(0, |field| field.length)
    }

    /// The fields of an element, in the record's order, but no more than [`MAX_REPEATED`].
    pub(super) fn every(&self, source: Source) -> impl Iterator<Item = Choice> {
        let fields = self.template.fields.iter().zip(0..);
        fields
            .filter(move |(field, _)| self.is(field, source) && field.length != 0)
            .map(move |(_, index)| choice_of(index, source.1))
            .take(MAX_REPEATED)
    }

    /// All of an element that the template repeats.
    pub(super) fn repeated(&mut self, source: Source) -> Option<Choices> {
        let every: Vec<_> = self.every(source).collect();
        (every.len() > 1).then(|| self.stretch(every))?
    }

    pub(super) fn stretch(&mut self, choices: Vec<Choice>) -> Option<Choices> {
        if choices.is_empty() {
            return None;
        }
        let from = u16::try_from(self.choices.len()).ok()?;
        self.choices.extend(choices);
        Some(Choices {
            from,
            to: u16::try_from(self.choices.len()).ok()?,
        })
    }

    /// Of several fields all of one family or meaning count as shown; of counters only the first, since the
    /// others measure something else.
    pub(super) fn note_shown(&mut self, step: Step) {
        let stretch = |choices: Choices| {
            self.choices
                .get(usize::from(choices.from)..usize::from(choices.to))
                .unwrap_or_default()
        };
        match step {
            Step::NetworkType => self.shown.extend(self.field((0, 60))),
            Step::FirstNonZero(choices)
            | Step::FirstMac(choices)
            | Step::FirstText(choices)
            | Step::FirstOf(_, choices)
            | Step::FirstApplicationName(choices) => {
                let first = stretch(choices).first().map(|choice| choice.field);
                self.shown.extend(first);
            }
            // An index is shown by an attribute of its own.
            Step::InterfaceName(_, choices) => {
                let mut names = stretch(choices).iter();
                let name = names.find(|choice| choice.element == 82);
                self.shown.extend(name.map(|choice| choice.field));
            }
            Step::Prefix(prefixes, _) => {
                let prefixes: Vec<_> = stretch(prefixes)
                    .iter()
                    .map(|choice| choice.field)
                    .collect();
                self.shown.extend(prefixes);
            }
            Step::Address(choices) | Step::ByFamily(choices) => {
                let rivals = stretch(choices)
                    .iter()
                    .map(|choice| (choice.field, choices));
                let rivals: Vec<_> = rivals.collect();
                self.rivals.extend(rivals);
            }
            Step::Icmp(_) => {
                let own = self
                    .together
                    .icmp_elements()
                    .map(stretch)
                    .unwrap_or_default();
                let own: Vec<_> = own.iter().map(|choice| choice.field).collect();
                self.shown.extend(own);
            }
            // They show what options data say of the number, not the number; or no field of their own.
            Step::VrfName(_)
            | Step::ApplicationName(_)
            | Step::ProtocolOfIcmp
            | Step::ZeroPrefix(..)
            | Step::Cumulative => {}
            Step::U8(field)
            | Step::U16(field)
            | Step::U32(field)
            | Step::U64(field)
            | Step::Count32(field)
            | Step::Unsigned(field)
            | Step::Ipv4(field)
            | Step::Ipv6(field)
            | Step::Mac(field)
            | Step::Text(field)
            | Step::Protocol(field)
            | Step::WideProtocol(field)
            | Step::Direction(field)
            | Step::ValueName(field, _)
            | Step::MplsLabel(field)
            | Step::ApplicationId(field) => {
                self.shown.insert(field);
            }
        }
    }

    pub(super) fn step(&mut self, attribute: &Attribute) -> Option<Step> {
        if attribute.form == Form::NetworkType {
            let told = attribute
                .sources
                .iter()
                .any(|source| self.field(*source).is_some());
            return told.then_some(Step::NetworkType);
        }
        match attribute.form {
            Form::IcmpType => return self.icmp(IcmpPart::Type),
            Form::IcmpCode => return self.icmp(IcmpPart::Code),
            Form::Prefix if attribute.name == Name::SourcePrefix => {
                return self.prefix(Side::Input);
            }
            Form::Prefix => return self.prefix(Side::Output),
            Form::Cumulative => return self.is_cumulative(),
            _ => {}
        }
        // Of a repeated element, and of several, the first that says something.
        let mut present = self.candidates(attribute);
        if present.is_empty() && attribute.form == Form::Protocol {
            return self.protocol_of_icmp();
        }
        let first = present.first()?.field;
        let element = present.first()?.element;
        if attribute.form == Form::Unsigned
            && attribute.pick != Pick::Family
            && HOLDS_AT_ZERO.contains(&element)
        {
            present.retain(|choice| choice.element == element);
        }
        Some(match attribute.form {
            Form::Unsigned if attribute.pick == Pick::Family && present.len() > 1 => {
                Step::ByFamily(self.stretch(present)?)
            }
            Form::Unsigned if present.len() == 1 => match self.length(first) {
                1 if !attribute.is_count() => Step::U8(first),
                2 if !attribute.is_count() => Step::U16(first),
                4 if !attribute.is_count() => Step::U32(first),
                4 => Step::Count32(first),
                8 => Step::U64(first),
                1..=MAX_PLAIN_FIELD | VARIABLE_LENGTH => Step::Unsigned(first),
                _ => return None,
            },
            Form::Unsigned => Step::FirstNonZero(self.stretch(present)?),
            Form::Address if present.len() == 1 => match self.length(first) {
                4 => Step::Ipv4(first),
                16 => Step::Ipv6(first),
                VARIABLE_LENGTH => Step::Address(self.stretch(present)?),
                _ => return None,
            },
            Form::Address => Step::Address(self.stretch(present)?),
            Form::Mac => {
                present.retain(|choice| self.length(choice.field) == 6);
                match *present.as_slice() {
                    [Choice { field, .. }] => Step::Mac(field),
                    _ => Step::FirstMac(self.stretch(present)?),
                }
            }
            Form::Text if present.len() == 1 => Step::Text(first),
            Form::Text => Step::FirstText(self.stretch(present)?),
            Form::NetworkType => Step::NetworkType,
            form if form.is_of_one() && present.len() > 1 => {
                Step::FirstOf(form, self.stretch(present)?)
            }
            Form::Protocol if self.length(first) == 1 => Step::Protocol(first),
            Form::Protocol => Step::WideProtocol(first),
            Form::Direction => Step::Direction(first),
            Form::ValueName => Step::ValueName(first, named_like(element)),
            Form::MplsLabel => Step::MplsLabel(first),
            Form::ApplicationId => Step::ApplicationId(first),
            Form::InterfaceName => {
                let side = match attribute.name {
                    Name::InterfaceInputName => Side::Input,
                    _ => Side::Output,
                };
                Step::InterfaceName(side, self.stretch(present)?)
            }
            Form::VrfName => Step::VrfName(first),
            Form::ApplicationName => self.application_name(present)?,
            Form::IcmpType | Form::IcmpCode | Form::Prefix | Form::Cumulative => return None,
        })
    }
}
