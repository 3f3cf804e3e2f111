//! What flow metrics and look-ups ask of a record, found once for each template.

use std::net::IpAddr;

use netflow_wire::{Location, ie};

use super::record::{Layout, Record};
use super::sampling::scaled;
use super::{Choices, Compiler, Step};
use crate::attributes::names::Name;
use crate::attributes::table::ATTRIBUTES;
use crate::metrics::{Direction, FlowCounts, FlowFacts, Reverse, Wants};

/// Octets that a number is read with.
const WINDOW: u16 = 8;

/// In every record the same bits of the same octets: those from `at` on, as one number, shifted and masked. Of a number
/// that isn't there the mask is 0.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    at: u16,
    shift: u8,
    mask: u64,
}

/// A number in a record.
#[derive(Clone, Copy, Debug, Default)]
enum Number {
    #[default]
    Absent,
    Plain(Window),
    Other(Step),
}

/// Bytes, packets and both interfaces, of which none needs a step: of most templates.
#[derive(Clone, Copy, Debug)]
struct PlainCounts {
    bytes: Window,
    packets: Window,
    input: Window,
    output: Window,
}

/// An address in a record.
#[derive(Clone, Copy, Debug, Default)]
enum Address {
    #[default]
    Absent,
    /// From this octet on in every record.
    V4(u16),
    /// Likewise.
    V6(u16),
    Other(Step),
}

/// Where a record of a template has what is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FactsPlan {
    bytes: Number,
    packets: Number,
    input: Number,
    output: Number,
    plain: Option<PlainCounts>,
    direction: Number,
    source: Address,
    destination: Address,
    source_port: Number,
    destination_port: Number,
    protocol: Number,
    source_as: Number,
    destination_as: Number,
    tcp_flags: Number,
    /// Element 239.
    initiator: Number,
    application: Option<Step>,
    /// Records count the other direction too, or have anything else of it.
    is_biflow: bool,
    reverse_bytes: Number,
    reverse_packets: Number,
}

impl Number {
    fn new(step: Step, locations: Option<&[Location]>) -> Self {
        let plain = || {
            let field = match step {
                Step::Unsigned(field) | Step::Direction(field) | Step::WideProtocol(field) => field,
                _ => step.field()?,
            };
            let at = locations?.get(usize::from(field))?;
            let record = locations?.last()?;
            let record = record.offset.checked_add(record.length)?;
            // The octets of the window end with the number's, or with the record's.
            let end = at.offset.checked_add(at.length)?.max(WINDOW);
            let shift = 8 * u8::try_from(end - at.offset - at.length).ok()?;
            let bits = 8 * u32::from(at.length.min(WINDOW));
            (at.length <= WINDOW && end <= record).then(|| {
                Self::Plain(Window {
                    at: end - WINDOW,
                    shift,
                    mask: u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0),
                })
            })
        };
        plain().unwrap_or(Self::Other(step))
    }

    fn is_present(self) -> bool {
        !matches!(self, Self::Absent)
    }

    fn window(self) -> Option<Window> {
        match self {
            Self::Absent => Some(Window::default()),
            Self::Plain(window) => Some(window),
            Self::Other(_) => None,
        }
    }
}

impl Address {
    fn new(step: Step, locations: Option<&[Location]>) -> Self {
        let at = |field: u16| Some(locations?.get(usize::from(field))?.offset);
        let plain = match step {
            Step::Ipv4(field) => at(field).map(Self::V4),
            Step::Ipv6(field) => at(field).map(Self::V6),
            _ => None,
        };
        plain.unwrap_or(Self::Other(step))
    }
}

impl PlainCounts {
    fn new(counts: [Number; 2], interfaces: [Number; 2]) -> Option<Self> {
        let index = |number: Number| {
            let window = number.window()?;
            // ifIndex has 32 bits.
            (window.mask <= u64::from(u32::MAX)).then_some(window)
        };
        let ([bytes, packets], [input, output]) = (counts, interfaces);
        Some(Self {
            bytes: bytes.window()?,
            packets: packets.window()?,
            input: index(input)?,
            output: index(output)?,
        })
    }
}

impl FactsPlan {
    /// The sources of each are those of its attribute, at whatever level.
    pub(super) fn new(compiler: &mut Compiler<'_>, locations: Option<&[Location]>) -> Self {
        let initiator = compiler.field((0, 239)).map(Step::Unsigned);
        let mut fields = compiler.template.fields.iter();
        let has_reverse = fields.any(|field| field.enterprise == ie::REVERSE);
        let mut step = |name: Name| {
            let attribute = ATTRIBUTES.iter().find(|attribute| attribute.name == name)?;
            compiler.step(attribute)
        };
        let of =
            |step: Option<Step>| step.map_or(Number::Absent, |step| Number::new(step, locations));
        let address =
            |step: Option<Step>| step.map_or(Address::Absent, |step| Address::new(step, locations));
        // Of ICMP's elements alone it isn't found out.
        let protocol = step(Name::Transport).filter(|step| !matches!(step, Step::ProtocolOfIcmp));
        let [reverse_bytes, reverse_packets] =
            [Name::ReverseBytes, Name::ReversePackets].map(|name| of(step(name)));
        let bytes = of(step(Name::Bytes));
        let packets = of(step(Name::Packets));
        let input = of(step(Name::InterfaceInput));
        let output = of(step(Name::InterfaceOutput));
        Self {
            plain: PlainCounts::new([bytes, packets], [input, output]),
            bytes,
            packets,
            input,
            output,
            source_port: of(step(Name::SourcePort)),
            destination_port: of(step(Name::DestinationPort)),
            source_as: of(step(Name::SourceAs)),
            destination_as: of(step(Name::DestinationAs)),
            tcp_flags: of(step(Name::TcpFlags)),
            direction: of(step(Name::Direction)),
            source: address(step(Name::SourceAddress)),
            destination: address(step(Name::DestinationAddress)),
            protocol: of(protocol),
            initiator: of(initiator),
            application: step(Name::ApplicationName),
            is_biflow: has_reverse || reverse_bytes.is_present() || reverse_packets.is_present(),
            reverse_bytes,
            reverse_packets,
        }
    }
}

impl FactsPlan {
    /// The template has AS numbers of source and destination.
    #[inline]
    pub(crate) fn has_systems(&self) -> [bool; 2] {
        [self.source_as, self.destination_as].map(|number| !matches!(number, Number::Absent))
    }
}

impl<'a, L: Layout> Record<'a, L> {
    /// What it says of its interfaces and its size.
    #[inline(always)]
    pub(super) fn flow_counts(&self, interval: u64) -> FlowCounts {
        let plan = &self.plan.facts;
        let ([bytes, packets], [input, output]) = match &plan.plain {
            Some(plain) => (
                [self.window(&plain.bytes), self.window(&plain.packets)],
                [&plain.input, &plain.output].map(|index| self.window(index) as u32),
            ),
            None => (
                [self.number(plan.bytes), self.number(plan.packets)],
                [self.number_u32(plan.input), self.number_u32(plan.output)],
            ),
        };
        let mut counts = FlowCounts {
            input,
            output,
            direction: match plan.direction {
                Number::Absent => None,
                number => match self.number(number) {
                    0 => Some(Direction::Ingress),
                    1 => Some(Direction::Egress),
                    _ => None,
                },
            },
            bytes,
            packets,
            duration: 0,
        };
        if self.plan.frame.is_some() {
            let (bytes, packets) = self.frame_counts();
            counts.bytes = bytes.unwrap_or(counts.bytes);
            counts.packets = packets.unwrap_or(counts.packets);
        }
        if interval > 1 {
            counts.bytes = scaled(counts.bytes, interval);
            counts.packets = scaled(counts.packets, interval);
        }
        counts
    }

    /// What went the other way.
    #[inline(always)]
    pub(super) fn flow_reverse(&self, interval: u64) -> Option<Reverse> {
        match self.plan.facts.is_biflow {
            true => self.reverse_counts(interval),
            false => None,
        }
    }

    #[cold]
    fn reverse_counts(&self, interval: u64) -> Option<Reverse> {
        let plan = &self.plan.facts;
        let [bytes, packets] = [plan.reverse_bytes, plan.reverse_packets]
            .map(|number| scaled(self.number(number), interval));
        let is_any = bytes != 0 || packets != 0;
        is_any.then_some(Reverse { bytes, packets })
    }

    /// What is asked of the record.
    #[inline(never)]
    pub(super) fn flow_facts(&self, interval: u64, wants: Wants) -> FlowFacts<'a> {
        let plan = &self.plan.facts;
        let (counts, reverse) = match wants.counts {
            true => (self.flow_counts(interval), self.flow_reverse(interval)),
            false => (FlowCounts::default(), None),
        };
        let mut facts = FlowFacts {
            is_sampled: interval > 1,
            is_biflow: plan.is_biflow,
            reverse,
            ..FlowFacts::from(counts)
        };
        if wants.autonomous_systems {
            facts.source_as = self.number_u32(plan.source_as);
            facts.destination_as = self.number_u32(plan.destination_as);
        }
        if wants.addresses {
            facts.ends.source = self.address(plan.source);
            facts.ends.destination = self.address(plan.destination);
        }
        if wants.transport {
            self.read_transport(&mut facts);
        }
        if self.plan.frame.is_some() && (wants.addresses || wants.transport) {
            self.read_packet(&mut facts);
        }
        if wants.application {
            facts.application = self.application();
        }
        facts
    }

    /// Reads ports, protocol, flags and which end began, as far as the record itself has them.
    #[inline(always)]
    fn read_transport(&self, facts: &mut FlowFacts<'a>) {
        let plan = &self.plan.facts;
        let port = |number| u16::try_from(self.number(number)).unwrap_or(0);
        facts.ends.source_port = port(plan.source_port);
        facts.ends.destination_port = port(plan.destination_port);
        facts.ends.protocol = match plan.protocol {
            Number::Absent => None,
            number => u8::try_from(self.number(number)).ok(),
        };
        if plan.tcp_flags.is_present() {
            facts.tcp_flags = Some(self.number(plan.tcp_flags) as u8);
        }
        if plan.initiator.is_present() {
            facts.initiator_is_source = match self.number(plan.initiator) {
                1 => Some(true),
                2 => Some(false),
                _ => None,
            };
        }
    }

    /// Bytes and packets of a section of a packet, where the record itself has none.
    #[cold]
    fn frame_counts(&self) -> (Option<u64>, Option<u64>) {
        let frame = self.plan.frame.as_ref();
        let counts = frame.and_then(|frame| frame.counts(|field| self.field(field)));
        counts.map_or((None, None), |(_, bytes, is_one)| {
            (bytes, is_one.then_some(1))
        })
    }

    /// Reads of a section of a packet what the record itself doesn't have.
    #[cold]
    fn read_packet(&self, facts: &mut FlowFacts<'a>) {
        let frame = self.plan.frame.as_ref();
        let counts = frame.and_then(|frame| frame.counts(|field| self.field(field)));
        if let Some(packet) = counts.and_then(|(frame, ..)| frame.packet) {
            facts.fill_from(&packet);
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

    #[inline(always)]
    fn address(&self, address: Address) -> Option<IpAddr> {
        match address {
            Address::Absent => None,
            Address::V4(at) => self.at::<4>(at).map(IpAddr::from),
            Address::V6(at) => self.at::<16>(at).map(IpAddr::from),
            Address::Other(step) => self.other_address(step),
        }
    }

    #[inline(never)]
    fn other_address(&self, step: Step) -> Option<IpAddr> {
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
    fn window(&self, window: &Window) -> u64 {
        let octets = self.at::<{ WINDOW as usize }>(window.at);
        octets.map_or(0, |octets| {
            u64::from_be_bytes(octets) >> (window.shift & 63) & window.mask
        })
    }

    #[inline(always)]
    fn number_u32(&self, number: Number) -> u32 {
        u32::try_from(self.number(number)).unwrap_or(0)
    }

    #[inline(always)]
    fn number(&self, number: Number) -> u64 {
        match number {
            Number::Plain(window) => self.window(&window),
            Number::Absent => 0,
            Number::Other(step) => self.other_number(step),
        }
    }

    #[inline(never)]
    fn other_number(&self, step: Step) -> u64 {
        match step {
            Step::FirstNonZero(choices) | Step::FirstOf(_, choices) => self.first_non_zero(choices),
            Step::ByFamily(choices) => self.number_of_family(choices),
            Step::Unsigned(field) | Step::Direction(field) | Step::WideProtocol(field) => {
                self.unsigned(field)
            }
            _ => step.field().map_or(0, |field| self.unsigned(field)),
        }
    }

    fn number_of_family(&self, choices: Choices) -> u64 {
        let choice = self.by_family(choices, self.family());
        choice.map_or(0, |choice| self.unsigned(choice.field))
    }
}
