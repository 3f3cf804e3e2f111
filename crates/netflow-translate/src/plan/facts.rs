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

/// In every record the same bits of the same octets: of those from `at` on, as one number, moved right by so many bits,
/// those of the mask.
#[derive(Clone, Copy, Debug)]
struct Window {
    mask: u64,
    at: u16,
    shift: u8,
}

impl Window {
    /// Of a number that isn't there: no record has an octet there, so that 0 is read.
    const NOWHERE: Self = Self {
        mask: 0,
        at: u16::MAX,
        shift: 0,
    };
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
    /// `None`: there is none.
    direction: Option<Window>,
}

/// Ports, protocol and flags, of which none needs a step, without an end that began: of most templates.
#[derive(Clone, Copy, Debug)]
struct PlainTransport {
    source_port: Window,
    destination_port: Window,
    protocol: Window,
    /// `None`: there are none.
    tcp_flags: Option<Window>,
}

/// An address in a record. A tag of its own is read faster than one that the step's lends it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(u8)]
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
    plain_transport: Option<PlainTransport>,
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
            // Of an octet at least: else a record says 0.
            let is_read = (1..=WINDOW).contains(&at.length) && end <= record;
            is_read.then(|| {
                Self::Plain(Window {
                    mask: u64::MAX >> (8 * (WINDOW - at.length)),
                    at: end - WINDOW,
                    shift,
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
            Self::Absent => Some(Window::NOWHERE),
            Self::Plain(window) => Some(window),
            Self::Other(_) => None,
        }
    }

    /// The same; `Some(None)`: it isn't there.
    fn optional_window(self) -> Option<Option<Window>> {
        match self {
            Self::Absent => Some(None),
            number => number.window().map(Some),
        }
    }

    /// The same, of a number that is never larger.
    fn window_of(self, largest: u64) -> Option<Window> {
        let is_small = |window: &Window| window.mask <= largest;
        self.window().filter(is_small)
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

impl PlainTransport {
    fn new(ports: [Number; 2], protocol: Number, tcp_flags: Number) -> Option<Self> {
        let [source_port, destination_port] = ports;
        Some(Self {
            source_port: source_port.window_of(u16::MAX.into())?,
            destination_port: destination_port.window_of(u16::MAX.into())?,
            protocol: match protocol {
                Number::Absent => return None,
                protocol => protocol.window_of(u8::MAX.into())?,
            },
            tcp_flags: tcp_flags.optional_window()?,
        })
    }
}

impl PlainCounts {
    fn new(counts: [Number; 2], interfaces: [Number; 2], direction: Number) -> Option<Self> {
        // ifIndex has 32 bits.
        let index = |number: Number| number.window_of(u32::MAX.into());
        let ([bytes, packets], [input, output]) = (counts, interfaces);
        Some(Self {
            bytes: bytes.window()?,
            packets: packets.window()?,
            input: index(input)?,
            output: index(output)?,
            direction: direction.optional_window()?,
        })
    }
}

impl FactsPlan {
    /// The sources of each are those of its attribute, at whatever level. A section of a packet in the records may say more
    /// of their counts.
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        locations: Option<&[Location]>,
        has_section: bool,
    ) -> Self {
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
        let ports = [Name::SourcePort, Name::DestinationPort].map(|name| of(step(name)));
        let [source_port, destination_port] = ports;
        let (protocol, tcp_flags) = (of(protocol), of(step(Name::TcpFlags)));
        let direction = of(step(Name::Direction));
        let plain_transport = match initiator {
            None => PlainTransport::new(ports, protocol, tcp_flags),
            Some(_) => None,
        };
        Self {
            plain_transport,
            plain: PlainCounts::new([bytes, packets], [input, output], direction)
                .filter(|_| !has_section),
            bytes,
            packets,
            input,
            output,
            source_port,
            destination_port,
            source_as: of(step(Name::SourceAs)),
            destination_as: of(step(Name::DestinationAs)),
            tcp_flags,
            direction,
            source: address(step(Name::SourceAddress)),
            destination: address(step(Name::DestinationAddress)),
            protocol,
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
        let Some(plain) = &self.plan.facts.plain else {
            return self.other_counts(interval);
        };
        let mut counts = FlowCounts {
            input: self.window(&plain.input) as u32,
            output: self.window(&plain.output) as u32,
            direction: match &plain.direction {
                None => None,
                Some(direction) => Direction::of(self.window(direction)),
            },
            bytes: self.window(&plain.bytes),
            packets: self.window(&plain.packets),
            duration: 0,
        };
        counts.scale(interval);
        counts
    }

    /// The same of any record.
    #[inline(never)]
    fn other_counts(self, interval: u64) -> FlowCounts {
        let plan = &self.plan.facts;
        let mut counts = FlowCounts {
            input: self.number_u32(plan.input),
            output: self.number_u32(plan.output),
            direction: match plan.direction {
                Number::Absent => None,
                number => Direction::of(self.number(number)),
            },
            bytes: self.number(plan.bytes),
            packets: self.number(plan.packets),
            duration: 0,
        };
        if self.plan.frame.is_some() {
            let (bytes, packets) = self.frame_counts();
            counts.bytes = bytes.unwrap_or(counts.bytes);
            counts.packets = packets.unwrap_or(counts.packets);
        }
        counts.scale(interval);
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
    fn reverse_counts(self, interval: u64) -> Option<Reverse> {
        let plan = &self.plan.facts;
        let [bytes, packets] = [plan.reverse_bytes, plan.reverse_packets]
            .map(|number| scaled(self.number(number), interval));
        let is_any = bytes != 0 || packets != 0;
        is_any.then_some(Reverse { bytes, packets })
    }

    /// The addresses of both ends.
    #[inline(always)]
    pub(super) fn flow_ends(&self) -> [Option<IpAddr>; 2] {
        let plan = &self.plan.facts;
        let ends = [plan.source, plan.destination].map(|address| self.address(address));
        match self.plan.frame {
            None => ends,
            Some(_) => self.ends_of_packet(),
        }
    }

    #[cold]
    fn ends_of_packet(self) -> [Option<IpAddr>; 2] {
        let mut facts = FlowFacts::default();
        let wants = Wants {
            addresses: true,
            ..Wants::default()
        };
        self.flow_facts(1, wants, &mut facts);
        [facts.ends.source, facts.ends.destination]
    }

    /// Fills in what is asked of the record; what isn't stays as it is.
    #[inline(never)]
    pub(super) fn flow_facts<'f>(&self, interval: u64, wants: Wants, facts: &mut FlowFacts<'f>)
    where
        'a: 'f,
    {
        let plan = &self.plan.facts;
        if wants.counts {
            facts.set_counts(self.flow_counts(interval));
        }
        if plan.is_biflow {
            facts.reverse = self.reverse_counts(interval);
        }
        facts.is_sampled = interval > 1;
        facts.is_biflow = plan.is_biflow;
        if wants.autonomous_systems {
            facts.source_as = self.number_u32(plan.source_as);
            facts.destination_as = self.number_u32(plan.destination_as);
        }
        if wants.addresses {
            self.read_address(&plan.source, &mut facts.ends.source);
            self.read_address(&plan.destination, &mut facts.ends.destination);
        }
        if wants.transport {
            self.read_transport(facts);
        }
        if self.plan.frame.is_some() && (wants.addresses || wants.transport) {
            self.read_packet(facts);
        }
        if wants.application {
            facts.application = self.application();
        }
    }

    /// Reads ports, protocol, flags and which end began, as far as the record itself has them.
    #[inline(always)]
    fn read_transport(&self, facts: &mut FlowFacts<'_>) {
        let plan = &self.plan.facts;
        if let Some(plain) = &plan.plain_transport {
            facts.ends.source_port = self.window(&plain.source_port) as u16;
            facts.ends.destination_port = self.window(&plain.destination_port) as u16;
            facts.ends.protocol = Some(self.window(&plain.protocol) as u8);
            let flags = plain.tcp_flags.as_ref();
            facts.tcp_flags = flags.map(|flags| self.window(flags) as u8);
        } else {
            self.read_other_transport(facts);
        }
    }

    #[inline(never)]
    fn read_other_transport(self, facts: &mut FlowFacts<'_>) {
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
    fn read_packet(&self, facts: &mut FlowFacts<'_>) {
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

    /// As [`address`](Self::address), without a copy of the usual one.
    #[inline(always)]
    fn read_address(&self, address: &Address, to: &mut Option<IpAddr>) {
        match address {
            Address::V4(at) => {
                if let Some(octets) = self.at::<4>(*at) {
                    *to = Some(IpAddr::V4(octets.into()));
                }
            }
            Address::Absent => {}
            address => *to = self.address(*address),
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
    fn other_address(self, step: Step) -> Option<IpAddr> {
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
    fn other_number(self, step: Step) -> u64 {
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
