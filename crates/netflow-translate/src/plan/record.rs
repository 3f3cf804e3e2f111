//! One Data Record to one Span, by its plan: from octets to octets in one pass.

use std::net::IpAddr;

use netflow_wire::{Header, Location, unsigned};
use otlp_wire::{Key, SpanHead, SpanId, SpanWriter, Status, TraceId, UnixNanos, Value};

use crate::attributes::encoded::{encoded_values, value_text};
use crate::attributes::protocols::protocols;
use crate::attributes::short_text::ShortText;
use crate::attributes::table::AGENT;
use crate::config::SpanTime;
use crate::exporter::metadata::DomainMetadata;
use crate::flow::frame::write_address;
use crate::message::Records;
use crate::plan::elements::{self, Lists};
use crate::plan::sampling::{Sampling, scaled};
use crate::plan::times::FlowTimes;
use crate::plan::{
    Choice, Choices, DESTINATION_PORT, Family, FamilyPlan, IcmpPart, Op, SpanPlan, Step,
};

/// What every record of a Set shares.
pub(crate) struct SetContext<'a> {
    pub(crate) header: &'a Header,
    pub(crate) trace_id: TraceId,
    pub(crate) parent: SpanId,
    /// When the datagram came.
    pub(crate) received_at: UnixNanos,
    pub(crate) span_time: SpanTime,
    /// Nanoseconds.
    pub(crate) span_max_age: u64,
    pub(crate) metadata: DomainMetadata<'a>,
    /// Element 160 of the options data.
    pub(crate) init_time: Option<u64>,
    /// Who metered, as the options data say, where it isn't who sends.
    pub(crate) agent: Option<IpAddr>,
    /// `None`: nothing asks for it.
    pub(crate) sampling: Option<Sampling<'a>>,
    /// The interval is an attribute.
    pub(crate) show_sampling: bool,
    /// Templates and types for the lists within records.
    pub(crate) lists: Lists<'a>,
    /// Counts are multiplied by the sampling interval.
    pub(crate) scale: bool,
    /// The times that were told are attributes, even if the span has the same.
    pub(crate) tells_times: bool,
}

/// Keys of attributes that aren't of one element.
#[derive(Debug)]
struct Keys {
    start: Key,
    end: Key,
    suspect: Key,
    sampling_interval: Key,
    sampling_scaled: Key,
    agent: Key,
}

static KEYS: Keys = Keys {
    start: Key::literal("netflow.flow.start_unix_nano"),
    end: Key::literal("netflow.flow.end_unix_nano"),
    suspect: Key::literal("netflow.time.suspect"),
    sampling_interval: Key::literal("netflow.sampling.interval"),
    sampling_scaled: Key::literal("netflow.sampling.scaled"),
    agent: Key::literal(AGENT),
};

/// What came of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Written {
    /// Nothing: the writer's room is too small.
    No,
    /// Its span.
    Plain,
    /// Its span, but its times are not believed.
    Suspect,
}

/// Writes the span of one record.
#[inline]
pub(crate) fn write_flow<R: Records>(
    plan: &SpanPlan,
    octets: &[u8],
    locations: &[Location],
    context: &SetContext<'_>,
    span_id: SpanId,
    scratch: &mut Vec<u8>,
    writer: &mut SpanWriter<'_>,
) -> Written {
    let record = Record {
        plan,
        octets,
        locations,
        context,
    };
    writer.apart(|writer| write_record::<R>(record, span_id, scratch, writer))
}

/// What isn't inlined here is given a writer `apart`, for speed.
#[inline(always)]
fn write_record<R: Records>(
    record: Record<'_>,
    span_id: SpanId,
    scratch: &mut Vec<u8>,
    writer: &mut SpanWriter<'_>,
) -> Written {
    let Record { plan, context, .. } = record;
    let times = record.times::<R>();
    let (start, end) = span_times(&times, context);
    writer.begin(
        &plan.front,
        &SpanHead {
            trace_id: context.trace_id,
            span_id,
            parent: context.parent,
            start,
            end,
        },
    );
    let family = match plan.family {
        FamilyPlan { asked: false, .. } => None,
        FamilyPlan {
            constant: Some(family),
            ..
        } => Some(family),
        _ => record.family(),
    };
    let interval = context.sampling.as_ref().and_then(|sampling| {
        sampling.of_record(
            &plan.sampling,
            |field| record.unsigned(field),
            |field| record.field(field),
        )
    });
    let factor = match interval {
        Some((interval, _)) if context.scale && interval > 1 => Some(interval),
        _ => None,
    };
    for op in &plan.ops {
        record.write::<R>(op, family, factor, writer);
    }
    if let Some(frame) = &plan.frame {
        writer.apart(|writer| frame.write(|field| record.field(field), factor, writer));
    }
    if !plan.elements.is_empty() {
        writer.apart(|writer| record.write_elements(family, scratch, writer));
    }
    if let (Some((interval, origin)), true) = (interval, context.show_sampling) {
        writer.unsigned(&KEYS.sampling_interval, interval);
        writer.encoded(encoded_values().origin(origin));
    }
    if factor.is_some() {
        writer.boolean(&KEYS.sampling_scaled, true);
    }
    if let (Some(agent), false) = (context.agent, plan.names_agent) {
        write_address(&KEYS.agent, agent, writer);
    }
    if context.tells_times {
        writer.apart(|writer| write_only_told_times(&times, writer));
    } else if times.suspect || start != times.start || end != times.end {
        writer.apart(|writer| write_told_times(&times, writer));
    }
    match writer.end(Status::Ok) {
        false => Written::No,
        true if times.suspect => Written::Suspect,
        true => Written::Plain,
    }
}

#[inline]
fn span_times(times: &FlowTimes, context: &SetContext<'_>) -> (UnixNanos, UnixNanos) {
    match context.span_time {
        SpanTime::Flow => (times.start, times.end),
        SpanTime::Received => (context.received_at, context.received_at),
        SpanTime::Clamped => {
            let received = context.received_at.0;
            if received.saturating_sub(times.end.0) <= context.span_max_age {
                return (times.start, times.end);
            }
            let duration = times.end.0.saturating_sub(times.start.0);
            (
                UnixNanos(received.saturating_sub(duration)),
                context.received_at,
            )
        }
    }
}

/// The span's times aren't the flow's own: these are.
#[cold]
fn write_told_times(times: &FlowTimes, writer: &mut SpanWriter<'_>) {
    let own = |told: Option<UnixNanos>, usable: UnixNanos| match told {
        Some(told) => Some(told),
        None if times.suspect => None,
        None => Some(usable),
    };
    if let Some(start) = own(times.told_start, times.start) {
        writer.unsigned(&KEYS.start, start.0);
    }
    if let Some(end) = own(times.told_end, times.end) {
        writer.unsigned(&KEYS.end, end.0);
    }
    if times.suspect {
        writer.boolean(&KEYS.suspect, true);
    }
}

/// For whoever must not take a usable time for one that was told.
#[cold]
fn write_only_told_times(times: &FlowTimes, writer: &mut SpanWriter<'_>) {
    if let Some(start) = times.told_start {
        writer.unsigned(&KEYS.start, start.0);
    }
    if let Some(end) = times.told_end {
        writer.unsigned(&KEYS.end, end.0);
    }
    if times.suspect {
        writer.boolean(&KEYS.suspect, true);
    }
}

/// `N` octets at `at`.
#[inline(always)]
fn chunk<const N: usize>(octets: &[u8], at: u16) -> Option<[u8; N]> {
    let at = usize::from(at);
    octets.get(at..at + N)?.first_chunk().copied()
}

#[derive(Clone, Copy)]
struct Record<'a> {
    plan: &'a SpanPlan,
    octets: &'a [u8],
    locations: &'a [Location],
    context: &'a SetContext<'a>,
}

impl<'a> Record<'a> {
    #[inline(always)]
    fn times<R: Records>(&self) -> FlowTimes {
        let times = &self.plan.times;
        let (header, init_time) = (self.context.header, self.context.init_time);
        if R::FIXED
            && let Some(plain) = times.read_plain(self.octets, header)
        {
            return plain;
        }
        times.read(self.octets, self.locations, header, init_time)
    }

    #[inline]
    fn field(&self, field: u16) -> &'a [u8] {
        self.locations
            .get(usize::from(field))
            .map_or(&[], |at| at.of(self.octets))
    }

    #[inline]
    fn fixed<const N: usize>(&self, field: u16) -> Option<[u8; N]> {
        chunk(self.octets, self.locations.get(usize::from(field))?.offset)
    }

    /// The field of a step of known width.
    #[inline(always)]
    fn operand<R: Records, const N: usize>(&self, op: &Op, field: u16) -> Option<[u8; N]> {
        if R::FIXED {
            chunk(self.octets, op.at)
        } else {
            self.fixed(field)
        }
    }

    #[inline]
    fn unsigned(&self, field: u16) -> u64 {
        unsigned(self.field(field))
    }

    #[inline]
    fn choices(&self, choices: Choices) -> &'a [Choice] {
        self.plan
            .choices
            .get(usize::from(choices.from)..usize::from(choices.to))
            .unwrap_or_default()
    }

    fn is_zero(&self, field: u16) -> bool {
        self.field(field).iter().all(|octet| *octet == 0)
    }

    /// The record's address family: what element 60 says, else that of the first address that isn't zero.
    fn family(&self) -> Option<Family> {
        match self
            .plan
            .family
            .ip_version
            .map(|field| self.unsigned(field))
        {
            Some(4) => return Some(Family::V4),
            Some(6) => return Some(Family::V6),
            _ => {}
        }
        let addresses = self.choices(self.plan.family.addresses?);
        let told = addresses.iter().find(|choice| !self.is_zero(choice.field));
        told.or(addresses.first())?.family
    }

    /// Of several fields the first of the record's family, unless it is zero and another isn't.
    fn by_family(&self, choices: Choices, family: Option<Family>) -> Option<Choice> {
        let choices = self.choices(choices).iter();
        let mut of_family = choices.clone().filter(|choice| choice.family == family);
        let named = of_family.clone().next().or(choices.clone().next())?;
        if !self.is_zero(named.field) {
            return Some(*named);
        }
        let told = |choice: &&Choice| !self.is_zero(choice.field);
        let other = of_family.find(told).or_else(|| choices.clone().find(told));
        other.or(Some(named)).copied()
    }

    #[inline(always)]
    fn write<R: Records>(
        &self,
        op: &Op,
        family: Option<Family>,
        factor: Option<u64>,
        writer: &mut SpanWriter<'_>,
    ) {
        let key = &op.key;
        let count = match op.step {
            Step::U8(field) => {
                if let Some([octet]) = self.operand::<R, 1>(op, field) {
                    writer.unsigned_u16(key, u16::from(octet));
                }
                return;
            }
            Step::U16(field) => {
                if let Some(octets) = self.operand::<R, 2>(op, field) {
                    writer.unsigned_u16(key, u16::from_be_bytes(octets));
                }
                return;
            }
            Step::U32(field) => {
                if let Some(octets) = self.operand::<R, 4>(op, field) {
                    writer.unsigned_u32(key, u32::from_be_bytes(octets));
                }
                return;
            }
            Step::Ipv4(field) => {
                if let Some(address) = self.operand::<R, 4>(op, field) {
                    writer.ipv4(key, address);
                }
                return;
            }
            Step::Ipv6(field) => {
                if let Some(address) = self.operand::<R, 16>(op, field) {
                    writer.ipv6(key, address);
                }
                return;
            }
            Step::Protocol(field) => {
                if let Some([number]) = self.operand::<R, 1>(op, field) {
                    writer.encoded(protocols().attributes(number));
                }
                return;
            }
            Step::Mac(field) => {
                if let Some(address) = self.operand::<R, 6>(op, field) {
                    writer.mac(key, address);
                }
                return;
            }
            Step::NetworkType => {
                if let Some(family) = family {
                    writer.encoded(encoded_values().network_type(family));
                }
                return;
            }
            Step::Direction(field) => {
                if let Some(direction) = encoded_values().direction(self.unsigned(field)) {
                    writer.encoded(direction);
                }
                return;
            }
            Step::ValueName(field, element) => {
                let value = self.unsigned(field);
                match encoded_values().named(element, value) {
                    Some(named) => writer.encoded(named),
                    None => {
                        writer
                            .apart(|writer| writer.text(key, value_text(element, value).as_str()));
                    }
                }
                return;
            }
            Step::IcmpInPort(..) if !self.is_icmp() => return,
            Step::Count32(field) => match self.operand::<R, 4>(op, field) {
                Some(octets) => u64::from(u32::from_be_bytes(octets)),
                None => return,
            },
            Step::U64(field) => match self.operand::<R, 8>(op, field) {
                Some(octets) => u64::from_be_bytes(octets),
                None => return,
            },
            Step::Unsigned(field) => self.unsigned(field),
            Step::FirstNonZero(choices) => self.first_non_zero(choices),
            _ => return writer.apart(|writer| self.write_rare(op, family, writer)),
        };
        let value = match factor {
            Some(factor) if op.count => scaled(count, factor),
            _ => count,
        };
        writer.unsigned(key, value);
    }

    #[inline(never)]
    fn first_non_zero(&self, choices: Choices) -> u64 {
        let choices = self.choices(choices);
        let told = choices.iter().map(|choice| self.unsigned(choice.field));
        told.clone()
            .find(|value| *value != 0)
            .or_else(|| told.clone().next())
            .unwrap_or(0)
    }

    #[inline(never)]
    fn write_elements(
        &self,
        family: Option<Family>,
        scratch: &mut Vec<u8>,
        writer: &mut SpanWriter<'_>,
    ) {
        let is_told = |choices: Choices, field: u16| {
            let told = self.by_family(choices, family);
            told.is_some_and(|choice| choice.field == field)
        };
        elements::write(
            &self.plan.elements,
            self.octets,
            self.locations,
            self.context.lists,
            is_told,
            scratch,
            writer,
        );
    }

    #[inline(never)]
    fn write_rare(&self, op: &Op, family: Option<Family>, writer: &mut SpanWriter<'_>) {
        let key = &op.key;
        match op.step {
            Step::Address(choices) => {
                let Some(choice) = self.by_family(choices, family) else {
                    return;
                };
                match *self.field(choice.field) {
                    [a, b, c, d] => writer.ipv4(key, [a, b, c, d]),
                    ref octets => {
                        if let Ok(address) = octets.try_into() {
                            writer.ipv6(key, address);
                        }
                    }
                }
            }
            Step::ByFamily(choices) => {
                if let Some(choice) = self.by_family(choices, family) {
                    writer.unsigned(key, self.unsigned(choice.field));
                }
            }
            Step::WideProtocol(field) => {
                let number = self.unsigned(field);
                match u8::try_from(number) {
                    Ok(number) => writer.encoded(protocols().attributes(number)),
                    // The element has one octet; a wider one was sent with a value that no protocol has.
                    Err(_) => writer.attribute("network.protocol.number", Value::Unsigned(number)),
                }
            }
            Step::Text(field) => write_text(key, self.field(field), writer),
            Step::Icmp(part, choices) | Step::IcmpInPort(part, choices) => {
                if let Some(value) = self.icmp(part, choices, family) {
                    writer.unsigned(key, value);
                }
            }
            Step::MplsLabel(field) => {
                // Label (20 bits), traffic class (3), bottom of stack (1); then TTL where 4 octets are sent.
                let octets = self.field(field);
                if let Some([a, b, c]) = octets.first_chunk::<3>() {
                    writer.unsigned(key, u64::from(u32::from_be_bytes([0, *a, *b, *c]) >> 4));
                }
            }
            Step::ApplicationId(field) => {
                if let Some((engine, selector)) = self.field(field).split_first() {
                    let mut text = ShortText::default();
                    text.push_number(u64::from(*engine));
                    text.push(b':');
                    text.push_number(unsigned(selector));
                    writer.text(key, text.as_str());
                }
            }
            Step::ApplicationName(field) => {
                if let Some(name) = self
                    .context
                    .metadata
                    .find(|known| known.application(self.field(field)))
                {
                    writer.text(key, name);
                }
            }
            Step::InterfaceName(field) => {
                let index = self.unsigned(field);
                if let Some(name) = self.context.metadata.find(|known| known.interface(index)) {
                    writer.text(key, name);
                }
            }
            Step::VrfName(field) => {
                let id = self.unsigned(field);
                if let Some(name) = self.context.metadata.find(|known| known.vrf(id)) {
                    writer.text(key, name);
                }
            }
            _ => {}
        }
    }

    fn icmp(&self, part: IcmpPart, choices: Choices, family: Option<Family>) -> Option<u64> {
        let choices = self.choices(choices);
        let own = || {
            choices
                .iter()
                .filter(|choice| choice.element != DESTINATION_PORT)
        };
        let named = own()
            .find(|choice| choice.family == family && !self.is_zero(choice.field))
            .or_else(|| own().find(|choice| !self.is_zero(choice.field)))
            .or_else(|| own().find(|choice| choice.family == family))
            .or_else(|| own().next());
        if let Some(choice) = named {
            let value = self.unsigned(choice.field);
            return Some(match (choice.element, part) {
                (32 | 139, IcmpPart::Type) => value >> 8 & 0xff,
                (32 | 139, IcmpPart::Code) => value & 0xff,
                _ => value,
            });
        }
        // v5 and many others put both into the destination port.
        let port = self.unsigned(choices.first()?.field);
        self.is_icmp().then_some(match part {
            IcmpPart::Type => port >> 8 & 0xff,
            IcmpPart::Code => port & 0xff,
        })
    }

    /// ICMP, or ICMP for IPv6.
    #[inline]
    fn is_icmp(&self) -> bool {
        let protocol = self.plan.protocol.map(|field| match *self.field(field) {
            [octet] => u64::from(octet),
            ref octets => unsigned(octets),
        });
        matches!(protocol, Some(1 | 58))
    }
}

/// Text as an exporter sent it: without the zeros that fill it up, invalid UTF-8 replaced.
pub(crate) fn write_text(key: &Key, octets: &[u8], writer: &mut SpanWriter<'_>) {
    let end = octets
        .iter()
        .position(|octet| *octet == 0)
        .unwrap_or(octets.len());
    let octets = octets.get(..end).unwrap_or_default();
    match str::from_utf8(octets) {
        Ok("") => {}
        Ok(text) => writer.text(key, text),
        Err(_) => writer.text(key, &String::from_utf8_lossy(octets)),
    }
}
