//! What flow metrics count of a record, found once for each template.

use std::net::IpAddr;

use netflow_wire::{Location, ie};

use super::record::{Layout, Record};
use super::sampling::scaled;
use super::{Choices, Compiler, Step};
use crate::attributes::names::Name;
use crate::attributes::table::ATTRIBUTES;
use crate::metrics::{Direction, Endpoints, FlowFacts, Wants};

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
    bytes: Option<Number>,
    packets: Option<Number>,
    input: Option<Number>,
    output: Option<Number>,
    direction: Option<u16>,
    source: Option<Step>,
    destination: Option<Step>,
    source_port: Option<Number>,
    destination_port: Option<Number>,
    protocol: Option<u16>,
    source_as: Option<Number>,
    destination_as: Option<Number>,
    tcp_flags: Option<Number>,
    /// Element 239.
    initiator: Option<u16>,
    application: Option<Step>,
    is_biflow: bool,
}

impl FactsPlan {
    /// The sources of each are those of its attribute, at whatever level.
    pub(super) fn new(compiler: &mut Compiler<'_>, locations: Option<&[Location]>) -> Self {
        let initiator = compiler.field((0, 239));
        let mut fields = compiler.template.fields.iter();
        let is_biflow = fields.any(|field| field.enterprise == ie::REVERSE);
        let mut step = |name: Name| {
            let attribute = ATTRIBUTES.iter().find(|attribute| attribute.name == name)?;
            compiler.step(attribute)
        };
        let direction = match step(Name::Direction) {
            Some(Step::Direction(field)) => Some(field),
            _ => None,
        };
        let protocol = match step(Name::Transport) {
            Some(Step::Protocol(field) | Step::WideProtocol(field)) => Some(field),
            _ => None,
        };
        let (source, destination) = (step(Name::SourceAddress), step(Name::DestinationAddress));
        let application = step(Name::ApplicationName);
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
            source_port: number(Name::SourcePort),
            destination_port: number(Name::DestinationPort),
            source_as: number(Name::SourceAs),
            destination_as: number(Name::DestinationAs),
            tcp_flags: number(Name::TcpFlags),
            direction,
            source,
            destination,
            protocol,
            initiator,
            application,
            is_biflow,
        }
    }
}

impl FactsPlan {
    /// The template has bytes, and packets.
    #[inline]
    pub(crate) fn has_counts(&self) -> (bool, bool) {
        (self.bytes.is_some(), self.packets.is_some())
    }
}

impl<'a, L: Layout> Record<'a, L> {
    /// What is counted of the record.
    #[inline(always)]
    pub(super) fn flow_facts(&self, interval: u64, wants: Wants) -> FlowFacts<'a> {
        let plan = &self.plan.facts;
        let mut facts = FlowFacts {
            input: self.number_u32(plan.input),
            output: self.number_u32(plan.output),
            direction: plan.direction.and_then(|field| match self.unsigned(field) {
                0 => Some(Direction::Ingress),
                1 => Some(Direction::Egress),
                _ => None,
            }),
            bytes: self.number(plan.bytes),
            packets: self.number(plan.packets),
            is_sampled: interval > 1,
            is_biflow: plan.is_biflow,
            ..FlowFacts::default()
        };
        if wants.endpoints || self.plan.frame.is_some() {
            self.read_endpoints(&mut facts);
        }
        if wants.application {
            facts.application = self.application();
        }
        facts.bytes = scaled(facts.bytes, interval);
        facts.packets = scaled(facts.packets, interval);
        facts
    }

    /// Reads the two ends of a flow; from a section of a packet, what the record itself doesn't have.
    #[inline(never)]
    fn read_endpoints(&self, facts: &mut FlowFacts<'a>) {
        let plan = &self.plan.facts;
        let port = |number| u16::try_from(self.number(number)).unwrap_or(0);
        facts.ends = Endpoints {
            source: plan.source.and_then(|step| self.address(step)),
            destination: plan.destination.and_then(|step| self.address(step)),
            source_port: port(plan.source_port),
            destination_port: port(plan.destination_port),
            protocol: plan
                .protocol
                .and_then(|field| u8::try_from(self.unsigned(field)).ok()),
        };
        facts.source_as = self.number_u32(plan.source_as);
        facts.destination_as = self.number_u32(plan.destination_as);
        facts.tcp_flags = plan.tcp_flags.map(|flags| self.number(Some(flags)) as u8);
        facts.initiator_is_source = plan.initiator.and_then(|field| match self.unsigned(field) {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        });
        let Some(frame) = &self.plan.frame else {
            return;
        };
        let Some((frame, bytes, is_one)) = frame.counts(|field| self.field(field)) else {
            return;
        };
        facts.bytes = bytes.unwrap_or(facts.bytes);
        if is_one {
            facts.packets = 1;
        }
        if let Some(packet) = &frame.packet {
            facts.fill_from(packet);
        }
    }

    /// The application, as the exporter names it.
    #[inline(never)]
    fn application(&self) -> Option<&'a str> {
        match self.plan.facts.application? {
            Step::ApplicationName(field) => {
                let id = self.field(field);
                self.context.metadata.find(|known| known.application(id))
            }
            Step::FirstApplicationName(choices) => self.first_application(choices),
            Step::Text(field) => {
                let octets = self.field(field);
                let end = octets.iter().position(|octet| *octet == 0);
                let octets = octets.get(..end.unwrap_or(octets.len()))?;
                let name = str::from_utf8(octets).ok()?.trim();
                (!name.is_empty()).then_some(name)
            }
            _ => None,
        }
    }

    fn address(&self, step: Step) -> Option<IpAddr> {
        let field = match step {
            Step::Ipv4(field) | Step::Ipv6(field) => field,
            Step::Address(choices) => self.by_family(choices, self.family())?.field,
            _ => return None,
        };
        match *self.field(field) {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
            ref octets => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        }
    }

    #[inline(always)]
    fn number_u32(&self, number: Option<Number>) -> u32 {
        u32::try_from(self.number(number)).unwrap_or(0)
    }

    #[inline(always)]
    fn number(&self, number: Option<Number>) -> u64 {
        let Some(Number { step, at }) = number else {
            return 0;
        };
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
