//! What flow metrics count of a record, found once for each template.

use netflow_wire::Location;

use super::record::{Layout, Record};
use super::sampling::scaled;
use super::{Choices, Compiler, Step};
use crate::attributes::names::Name;
use crate::attributes::table::ATTRIBUTES;
use crate::flow::frame::FramePlan;
use crate::metrics::{Direction, FlowFacts};

/// A number in a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) step: Step,
    /// As in [`Op`](super::Op).
    pub(super) at: u16,
}

/// Where a record of a template has what is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FactsPlan {
    pub(super) bytes: Option<Number>,
    pub(super) packets: Option<Number>,
    pub(super) input: Option<Number>,
    pub(super) output: Option<Number>,
    pub(super) direction: Option<u16>,
}

impl FactsPlan {
    /// The sources of each are those of its attribute, at whatever level.
    pub(super) fn new(compiler: &mut Compiler<'_>, locations: Option<&[Location]>) -> Self {
        let mut step = |name: Name| {
            let attribute = ATTRIBUTES.iter().find(|attribute| attribute.name == name)?;
            compiler.step(attribute)
        };
        let direction = match step(Name::Direction) {
            Some(Step::Direction(field)) => Some(field),
            _ => None,
        };
        let mut number = |name: Name| {
            let step = step(name)?;
            let at = step.field().zip(locations);
            let at = at.and_then(|(field, locations)| locations.get(usize::from(field)));
            Some(Number {
                step,
                at: at.map_or(0, |at| at.offset),
            })
        };
        Self {
            bytes: number(Name::Bytes),
            packets: number(Name::Packets),
            input: number(Name::InterfaceInput),
            output: number(Name::InterfaceOutput),
            direction,
        }
    }
}

/// The counts, or those of the packet's section where the record has none.
#[inline(never)]
fn of_frame<L: Layout>(
    frame: &FramePlan,
    record: &Record<'_, L>,
    bytes: u64,
    packets: u64,
) -> (u64, u64) {
    let (of_section, packet) = frame.counts(|field| record.field(field));
    (
        of_section.unwrap_or(bytes),
        if packet { 1 } else { packets },
    )
}

impl<L: Layout> Record<'_, L> {
    /// What is counted of the record.
    #[inline(always)]
    pub(super) fn flow_facts(&self, interval: u64) -> FlowFacts {
        let number = |number: Option<Number>| number.map_or(0, |number| self.number(number));
        let interface = |index| u32::try_from(number(index)).unwrap_or(0);
        let facts = &self.plan.facts;
        let (mut bytes, mut packets) = (number(facts.bytes), number(facts.packets));
        if let Some(frame) = &self.plan.frame {
            (bytes, packets) = of_frame(frame, self, bytes, packets);
        }
        FlowFacts {
            input: interface(facts.input),
            output: interface(facts.output),
            direction: facts
                .direction
                .and_then(|field| match self.unsigned(field) {
                    0 => Some(Direction::Ingress),
                    1 => Some(Direction::Egress),
                    _ => None,
                }),
            bytes: scaled(bytes, interval),
            packets: scaled(packets, interval),
            duration: 0,
        }
    }

    #[inline(always)]
    fn number(&self, Number { step, at }: Number) -> u64 {
        match step {
            Step::U32(field) | Step::Count32(field) => {
                let octets = self.operand::<4>(at, field);
                octets.map_or(0, |octets| u64::from(u32::from_be_bytes(octets)))
            }
            Step::U16(field) => {
                let octets = self.operand::<2>(at, field);
                octets.map_or(0, |octets| u64::from(u16::from_be_bytes(octets)))
            }
            Step::U64(field) => {
                let octets = self.operand::<8>(at, field);
                octets.map_or(0, u64::from_be_bytes)
            }
            _ => self.rare_number(step),
        }
    }

    #[inline(never)]
    fn rare_number(&self, step: Step) -> u64 {
        match step {
            Step::U8(field) | Step::Unsigned(field) => self.unsigned(field),
            Step::FirstNonZero(choices) => self.first_non_zero(choices),
            Step::ByFamily(choices) => self.number_of_family(choices),
            _ => 0,
        }
    }

    fn number_of_family(&self, choices: Choices) -> u64 {
        let choice = self.by_family(choices, self.family());
        choice.map_or(0, |choice| self.unsigned(choice.field))
    }
}
