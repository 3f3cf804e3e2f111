//! A Template compiled once into the steps that turn one of its records into attributes.
//!
//! What can be decided by the Template is decided here: which of several elements, how wide a number is,
//! how a key is encoded. A record then only runs the steps.

pub(crate) mod compiled;
mod compiler;
pub(crate) mod elements;
pub(crate) mod facts;
pub(crate) mod options;
pub(crate) mod record;
pub(crate) mod sampling;
pub(crate) mod shared;
pub(crate) mod times;
mod together;
pub(crate) mod view;

use std::collections::{HashMap, HashSet};

use netflow_wire::{Location, Template};
use otlp_wire::Key;

use crate::attributes::names::Name;
use crate::attributes::table::{ATTRIBUTES, Form};
use crate::attributes::vocabulary::Vocabulary;
use crate::config::AttributeLevel;
use crate::filter::Asked;
use crate::flow::frame::FramePlan;
use crate::flow::fronts::Format;
use crate::plan::compiler::Compiler;
use crate::plan::elements::{ElementStep, ElementTypes};
use crate::plan::facts::FactsPlan;
use crate::plan::options::OptionsPlan;
use crate::plan::sampling::RecordSampling;
use crate::plan::times::TimePlan;
use crate::plan::together::Together;
use crate::plan::view::ViewPlan;

/// What to do for one attribute. Numbers are indices into the record's fields.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    U8(u16),
    U16(u16),
    U32(u16),
    U64(u16),
    /// As `U32`, of what `NETFLOW_SCALE_SAMPLED` multiplies.
    Count32(u16),
    /// Any other width, or a variable one.
    Unsigned(u16),
    /// The first that is not zero, else the first; of `SpanPlan::choices`.
    FirstNonZero(Choices),
    Ipv4(u16),
    Ipv6(u16),
    /// An address by family: of `SpanPlan::choices`, the record's family first.
    Address(Choices),
    /// A number by family, likewise.
    ByFamily(Choices),
    Mac(u16),
    Text(u16),
    Protocol(u16),
    /// The protocol, of any width but one octet.
    WideProtocol(u16),
    NetworkType,
    Direction(u16),
    ValueName(u16, u16),
    /// Of elements of its own, or of the destination port.
    Icmp(IcmpPart),
    /// Of a record whose protocol only ICMP's elements show.
    ProtocolOfIcmp,
    MplsLabel(u16),
    ApplicationId(u16),
    /// The record's own name, or that of an index.
    InterfaceName(Side, Choices),
    VrfName(u16),
    /// By application id.
    ApplicationName(u16),
    /// The first that isn't blank, else by application id.
    FirstApplicationName(Choices),
    /// The first that isn't zero or blank, else the first.
    FirstMac(Choices),
    FirstText(Choices),
    /// Of a form that reads one field ([`Form::is_of_one`]).
    FirstOf(Form, Choices),
    /// A prefix and its length.
    Prefix(Choices, Choices),
    /// An address and its mask, if the address is zero.
    ZeroPrefix(Choices, Choices),
    /// Bytes or packets come from a running total.
    Cumulative,
}

/// Of two interfaces, or of source and destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Input,
    Output,
}

impl Step {
    /// Its values are encoded once, under every key of their name.
    fn is_encoded(self) -> bool {
        matches!(
            self,
            Self::Protocol(_)
                | Self::WideProtocol(_)
                | Self::ProtocolOfIcmp
                | Self::NetworkType
                | Self::Direction(_)
                | Self::ValueName(..)
                | Self::FirstOf(Form::Protocol | Form::Direction | Form::ValueName, _)
        )
    }

    /// The field, of a step that reads one of a known width.
    fn field(self) -> Option<u16> {
        match self {
            Self::U8(field)
            | Self::U16(field)
            | Self::U32(field)
            | Self::U64(field)
            | Self::Count32(field)
            | Self::Ipv4(field)
            | Self::Ipv6(field)
            | Self::Protocol(field)
            | Self::Mac(field) => Some(field),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum IcmpPart {
    Type,
    Code,
}

/// A stretch of `SpanPlan::choices`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    pub(crate) from: u16,
    pub(crate) to: u16,
}

/// One of several fields for an attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) field: u16,
    pub(crate) element: u16,
    /// The family that the element belongs to, where it belongs to one.
    pub(crate) family: Option<Family>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A step and the key of what it writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) name: Name,
    pub(crate) key: Key,
    pub(crate) step: Step,
    /// Where the step's field lies in every record, if `SpanPlan::locations` says it.
    pub(crate) at: u16,
    pub(crate) count: Count,
}

/// What sampling means for a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Count {
    /// Nothing.
    No,
    /// It counts sampled packets or octets, so that `NETFLOW_SCALE_SAMPLED` multiplies it.
    Sampled,
    /// It is the estimate of such a count.
    Estimate,
}

/// Where a record has its family.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FamilyPlan {
    /// Element 60.
    pub(crate) ip_version: Option<u16>,
    /// Where the template repeats it: all of them.
    pub(crate) ip_versions: Option<Choices>,
    /// Source and destination addresses, in the record's order.
    pub(crate) addresses: Option<Choices>,
    /// Some step asks for it.
    pub(crate) asked: bool,
    /// Every record has it.
    pub(crate) constant: Option<Family>,
}

/// A Template, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct SpanPlan {
    pub(crate) format: Format,
    pub(crate) ops: Box<[Op]>,
    /// What no op shows: at level `all` everything, at `standard` what the operator has given an attribute.
    pub(crate) elements: Box<[ElementStep]>,
    /// The record itself names the exporter behind the one that sends it.
    pub(crate) names_agent: bool,
    /// The record itself has names of interfaces.
    pub(crate) names_interfaces: bool,
    /// What a section of a packet in the record adds.
    pub(crate) frame: Option<FramePlan>,
    pub(crate) choices: Box<[Choice]>,
    pub(crate) times: TimePlan,
    pub(crate) family: FamilyPlan,
    together: Together,
    pub(crate) sampling: RecordSampling,
    /// What flow metrics count.
    pub(crate) facts: FactsPlan,
    /// What the selection asks; `None`: there is no selection.
    pub(crate) view: Option<Box<ViewPlan>>,
    /// Of an Options Template.
    pub(crate) options: Option<Box<OptionsPlan>>,
    /// The protocol, for ICMP in the destination port.
    pub(crate) protocol: Option<u16>,
    /// Where the template repeats it: all of them.
    pub(crate) protocols: Option<Choices>,
    /// Where the fields lie, if that is the same in every record.
    pub(crate) locations: Option<Box<[Location]>>,
    /// Octets of every record, or of the shortest.
    pub(crate) record_octets: usize,
}

/// A port that is there is the port, and a delta counter that is there is what the flow adds to a sum, zero or
/// not: the others only stand in for them.
pub(crate) const HOLDS_AT_ZERO: &[u16] = &[1, 2, 7, 11];

/// Of a repeated element so many fields may be chosen from: each record compares them, and templates of a thousand
/// addresses can be forged.
const MAX_REPEATED: usize = 8;

/// What an options plan takes with its lists of fields.
const OPTIONS_OCTETS: usize = 1024;
/// What the parts of a plan take besides: lists of a few fields, and what the allocator adds.
const PARTS_OCTETS: usize = 256;

impl SpanPlan {
    /// Octets that it takes, about.
    pub(crate) fn octets(&self) -> usize {
        size_of::<Self>()
            + self.ops.len() * size_of::<Op>()
            + elements::octets(&self.elements)
            + self.choices.len() * size_of::<Choice>()
            + self.locations.as_ref().map_or(0, |all| size_of_val(&**all))
            + self.options.as_ref().map_or(0, |_| OPTIONS_OCTETS)
            + PARTS_OCTETS
    }

    pub(crate) fn compile(
        template: &Template,
        level: AttributeLevel,
        words: &Vocabulary,
        asked: Option<Asked>,
        types: &ElementTypes,
    ) -> Self {
        let mut compiler = Compiler {
            template,
            choices: Vec::new(),
            shown: HashSet::new(),
            rivals: HashMap::new(),
            together: Together::default(),
        };
        compiler.join();
        let locations = locations(template);
        let mut ops = Vec::new();
        let mut family = FamilyPlan::default();
        for attribute in ATTRIBUTES
            .iter()
            .filter(|attribute| attribute.name.level() <= level)
        {
            let Some(step) = compiler.step(attribute) else {
                continue;
            };
            family.asked |= matches!(
                step,
                Step::Address(_)
                    | Step::ByFamily(_)
                    | Step::NetworkType
                    | Step::Icmp(_)
                    | Step::ProtocolOfIcmp
                    | Step::Prefix(..)
                    | Step::ZeroPrefix(..)
            );
            compiler.note_shown(step);
            let at = step.field().zip(locations.as_ref());
            let at = at.and_then(|(field, locations)| locations.get(usize::from(field)));
            let keys = words.keys.of(attribute.name);
            // Encoded values have every key already.
            let keys = keys.take(if step.is_encoded() { 1 } else { usize::MAX });
            ops.extend(keys.map(|key| Op {
                name: attribute.name,
                key: *key,
                step,
                at: at.map_or(0, |at| at.offset),
                count: if attribute.is_count() {
                    Count::Sampled
                } else {
                    Count::No
                },
            }));
        }
        let estimates = estimates(&ops, level, words);
        ops.extend(estimates);
        family.ip_version = compiler.field((0, 60));
        family.ip_versions = compiler.repeated((0, 60));
        let addresses = ATTRIBUTES.iter().filter(|attribute| {
            matches!(
                attribute.name,
                Name::SourceAddress | Name::DestinationAddress
            )
        });
        let mut addresses: Vec<_> = addresses
            .flat_map(|attribute| compiler.candidates(attribute))
            .collect();
        addresses.sort_by_key(|choice| choice.field);
        let first = addresses.first().and_then(|choice| choice.family);
        let is_one = addresses.iter().all(|choice| choice.family == first);
        family.constant = first.filter(|_| is_one && family.ip_version.is_none());
        family.addresses = compiler.stretch(addresses);
        let frame = FramePlan::new(template, level, &ops);
        let facts = FactsPlan::new(&mut compiler, locations.as_deref(), frame.is_some());
        let view = asked.map(|asked| {
            let frame = FramePlan::new(template, AttributeLevel::Standard, &[]);
            Box::new(ViewPlan::new(&mut compiler, asked, frame))
        });
        let names_interfaces = compiler.has_interface_names();
        let times = TimePlan::new(template);
        compiler.shown.extend(times.first_fields());
        let asks_elements = match level {
            AttributeLevel::Minimal => false,
            AttributeLevel::Standard => types.has_attributes(),
            AttributeLevel::All => true,
        };
        let elements = if asks_elements {
            elements::compile(template, level, &compiler.shown, &compiler.rivals, types)
        } else {
            Box::default()
        };
        Self {
            format: Format::from(template.version),
            names_agent: ops.iter().any(|op| op.name == Name::ExporterAgent),
            names_interfaces,
            frame,
            ops: ops.into(),
            elements,
            times,
            family,
            together: compiler.together,
            sampling: RecordSampling::new(template),
            facts,
            view,
            options: template
                .scope_fields
                .map(|_| Box::new(OptionsPlan::new(template))),
            protocol: compiler.field((0, 4)),
            protocols: compiler.repeated((0, 4)),
            locations,
            record_octets: template.min_record_octets(),
            choices: compiler.choices.into(),
        }
    }
}

/// The steps that write bytes and packets times the sampling interval: those of the counts, under other keys.
fn estimates(ops: &[Op], level: AttributeLevel, words: &Vocabulary) -> Vec<Op> {
    let of = [
        (Name::Bytes, Name::EstimatedBytes),
        (Name::Packets, Name::EstimatedPackets),
    ];
    let of = of.iter().filter(|(_, name)| name.level() <= level);
    let counts = of.filter_map(|(count, name)| {
        let op = ops.iter().find(|op| op.name == *count)?;
        let keys = words.keys.of(*name);
        Some(keys.map(|key| Op {
            name: *name,
            key: *key,
            count: Count::Estimate,
            ..*op
        }))
    });
    counts.flatten().collect()
}

/// Field locations, if every record has the same.
fn locations(template: &Template) -> Option<Box<[Location]>> {
    if template.is_variable() {
        return None;
    }
    let mut offset = 0_usize;
    let mut locations = Vec::with_capacity(template.fields.len());
    for field in &*template.fields {
        // A field past 65,535 octets can't lie in a Set: such records never come.
        let at = u16::try_from(offset).unwrap_or(u16::MAX);
        locations.push(Location {
            offset: at,
            length: field.length,
        });
        offset += usize::from(field.length);
    }
    Some(locations.into())
}
