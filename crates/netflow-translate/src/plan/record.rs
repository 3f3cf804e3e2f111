//! One Data Record to one Span, by its plan: from octets to octets in one pass.

use std::cell::Cell;
use std::marker::PhantomData;
use std::net::IpAddr;

use netflow_wire::{Header, Location, unsigned};
use otlp_wire::{Key, SpanWriter, UnixNanos, Value};

use crate::attributes::application_id::ApplicationId;
use crate::attributes::encoded::value_text;
use crate::attributes::names::Name;
use crate::attributes::short_text::ShortText;
use crate::attributes::vocabulary::{Attributes, Vocabulary};
use crate::enrich::interfaces::OfExporter;
use crate::exporter::metadata::DomainMetadata;
use crate::filter::FlowView;
use crate::flow::Flow;
use crate::flow::fronts::Format;
use crate::metrics::{FlowCounts, FlowFacts, Reverse, Wants};
use crate::plan::elements::{self, Lists};
use crate::plan::sampling::{Origin, Sampling, Scaling, scaled};
use crate::plan::times::{Clocks, FlowTimes, TimeSpan};
use crate::plan::{Choice, Choices, Count, Family, FamilyPlan, Op, SpanPlan, Step};

/// What every record of a Set shares.
pub(crate) struct SetContext<'a> {
    pub(crate) words: &'static Vocabulary,
    pub(crate) header: &'a Header,
    pub(crate) metadata: DomainMetadata<'a>,
    /// `NETFLOW_INTERFACES`, of this exporter.
    pub(crate) interfaces: Option<&'a OfExporter>,
    /// An index may have a name, by `interfaces` or by the options data.
    pub(crate) names_interfaces: bool,
    /// When the datagram came.
    pub(crate) received_at: UnixNanos,
    /// Element 160 of the options data.
    pub(crate) init_time: Option<u64>,
    /// The device that metered, by the options data, where it isn't the sender.
    pub(crate) agent: Option<IpAddr>,
    pub(crate) sampling: Sampling<'a>,
    /// The exporter has the code before the type where both are in the destination port.
    pub(crate) icmp_swapped: &'a Cell<bool>,
    /// Templates and types for the lists within records.
    pub(crate) lists: Lists<'a>,
}

/// How the fields of a record are found.
pub(crate) trait Layout: Copy {
    /// All records have the same length, and their fields lie where the plan says.
    const FIXED: bool;
}

/// Of templates without fields of variable length.
#[derive(Clone, Copy)]
pub(crate) enum Fixed {}
/// Of all others.
#[derive(Clone, Copy)]
pub(crate) enum Variable {}

impl Layout for Fixed {
    const FIXED: bool = true;
}

impl Layout for Variable {
    const FIXED: bool = false;
}

/// `N` octets at `at`.
#[inline(always)]
fn chunk<const N: usize>(octets: &[u8], at: u16) -> Option<[u8; N]> {
    let at = usize::from(at);
    octets.get(at..at + N)?.first_chunk().copied()
}

/// A Data Record, to be read by its template's plan.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a, L> {
    pub(super) plan: &'a SpanPlan,
    octets: &'a [u8],
    locations: &'a [Location],
    pub(super) context: &'a SetContext<'a>,
    layout: PhantomData<L>,
}

impl<L: Layout> Flow for Record<'_, L> {
    #[inline(always)]
    fn format(&self) -> Format {
        self.plan.format
    }

    #[inline(always)]
    fn time_span(&self) -> TimeSpan {
        match self.plan.times.read_plain(self.octets, self.context.header) {
            Some(plain) => plain,
            None => self.times().span(),
        }
    }

    #[inline(never)]
    fn times(&self) -> FlowTimes {
        let times = &self.plan.times;
        let (header, init_time) = (self.context.header, self.context.init_time);
        if let Some(plain) = times.read_plain(self.octets, header) {
            return plain.into();
        }
        let clocks = Clocks {
            header,
            received: self.context.received_at,
            init_time,
        };
        times.read(self.octets, self.locations, clocks)
    }

    #[inline(always)]
    fn interval(&self) -> Option<(u64, Origin)> {
        self.context.sampling.of_record(
            &self.plan.sampling,
            |field| self.unsigned(field),
            |field| self.field(field),
        )
    }

    #[inline(always)]
    fn agent(&self) -> Option<IpAddr> {
        self.context.agent.filter(|_| !self.plan.names_agent)
    }

    #[inline(always)]
    fn has_systems(&self) -> [bool; 2] {
        self.plan.facts.has_systems()
    }

    #[inline(always)]
    fn counts(&self, interval: u64) -> FlowCounts {
        self.flow_counts(interval)
    }

    #[inline(always)]
    fn reverse(&self, interval: u64) -> Option<Reverse> {
        self.flow_reverse(interval)
    }

    #[inline(always)]
    fn facts<'f>(&'f self, interval: u64, wants: Wants, facts: &mut FlowFacts<'f>) {
        self.flow_facts(interval, wants, facts);
    }

    #[inline(always)]
    fn ends(&self) -> [Option<IpAddr>; 2] {
        self.flow_ends()
    }

    fn fill(&self, view: &mut FlowView<'_>) {
        if let Some(plan) = &self.plan.view {
            self.fill_by(plan, view);
        }
    }

    /// What isn't inlined here is given a writer `apart`, for speed.
    #[inline(always)]
    fn write(&self, scaling: Scaling, scratch: &mut Vec<u8>, writer: &mut SpanWriter<'_>) {
        let plan = self.plan;
        let family = match plan.family {
            FamilyPlan { asked: false, .. } => None,
            FamilyPlan {
                constant: Some(family),
                ..
            } => Some(family),
            _ => self.family(),
        };
        for op in &plan.ops {
            self.execute(op, family, scaling, writer);
        }
        if let Some(frame) = &plan.frame {
            writer.apart(|writer| {
                let mut out = self.attributes(writer);
                frame.write(|field| self.field(field), scaling, &mut out);
            });
        }
        if !plan.elements.is_empty() {
            writer.apart(|writer| self.write_elements(family, scratch, writer));
        }
    }
}

impl<'a, L: Layout> Record<'a, L> {
    #[inline(always)]
    pub(crate) fn new(
        plan: &'a SpanPlan,
        octets: &'a [u8],
        locations: &'a [Location],
        context: &'a SetContext<'a>,
    ) -> Self {
        Self {
            plan,
            octets,
            locations,
            context,
            layout: PhantomData,
        }
    }

    #[inline]
    pub(super) fn field(&self, field: u16) -> &'a [u8] {
        self.locations
            .get(usize::from(field))
            .map_or(&[], |at| at.of(self.octets))
    }

    #[inline]
    fn fixed<const N: usize>(&self, field: u16) -> Option<[u8; N]> {
        chunk(self.octets, self.locations.get(usize::from(field))?.offset)
    }

    /// Octets that lie at the same place in every record.
    #[inline(always)]
    pub(super) fn at<const N: usize>(&self, at: u16) -> Option<[u8; N]> {
        chunk(self.octets, at)
    }

    /// The field of a step of known width.
    #[inline(always)]
    pub(super) fn operand<const N: usize>(&self, at: u16, field: u16) -> Option<[u8; N]> {
        if L::FIXED {
            chunk(self.octets, at)
        } else {
            self.fixed(field)
        }
    }

    #[inline]
    pub(super) fn unsigned(&self, field: u16) -> u64 {
        unsigned(self.field(field))
    }

    #[inline]
    pub(super) fn choices(&self, choices: Choices) -> &'a [Choice] {
        self.plan
            .choices
            .get(usize::from(choices.from)..usize::from(choices.to))
            .unwrap_or_default()
    }

    pub(super) fn attributes<'w, 'room>(
        &self,
        writer: &'w mut SpanWriter<'room>,
    ) -> Attributes<'w, 'room> {
        Attributes {
            words: self.context.words,
            writer,
        }
    }

    #[inline]
    pub(super) fn is_zero(&self, field: u16) -> bool {
        self.field(field).iter().all(|octet| *octet == 0)
    }

    /// Some of them isn't zero.
    #[inline(always)]
    fn says(&self, choices: Choices) -> bool {
        let mut choices = self.choices(choices).iter();
        choices.any(|choice| !self.is_zero(choice.field))
    }

    /// The record's address family: what element 60 says, else that of the first address that isn't zero.
    pub(super) fn family(&self) -> Option<Family> {
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
        if let Some(versions) = self.plan.family.ip_versions {
            let versions = self.choices(versions).iter();
            let mut versions = versions.map(|choice| self.unsigned(choice.field));
            match versions.find(|version| matches!(version, 4 | 6)) {
                Some(4) => return Some(Family::V4),
                Some(_) => return Some(Family::V6),
                None => {}
            }
        }
        let addresses = self.choices(self.plan.family.addresses?);
        let told = addresses.iter().find(|choice| !self.is_zero(choice.field));
        told.or(addresses.first())?.family
    }

    /// Of several fields the first of the record's family, unless it is zero and another isn't.
    pub(super) fn by_family(&self, choices: Choices, family: Option<Family>) -> Option<Choice> {
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
    fn execute(
        &self,
        op: &Op,
        family: Option<Family>,
        scaling: Scaling,
        writer: &mut SpanWriter<'_>,
    ) {
        let key = &op.key;
        let count = match op.step {
            Step::U8(field) => {
                if let Some([octet]) = self.operand::<1>(op.at, field) {
                    writer.unsigned_u16(key, u16::from(octet));
                }
                return;
            }
            Step::U16(field) => {
                if let Some(octets) = self.operand::<2>(op.at, field) {
                    writer.unsigned_u16(key, u16::from_be_bytes(octets));
                }
                return;
            }
            Step::U32(field) => {
                if let Some(octets) = self.operand::<4>(op.at, field) {
                    writer.unsigned_u32(key, u32::from_be_bytes(octets));
                }
                return;
            }
            Step::Ipv4(field) => {
                if let Some(address) = self.operand::<4>(op.at, field) {
                    writer.ipv4(key, address);
                }
                return;
            }
            Step::Ipv6(field) => {
                if let Some(address) = self.operand::<16>(op.at, field) {
                    writer.apart(|writer| writer.ipv6(key, address));
                }
                return;
            }
            Step::Protocol(field) => {
                if let Some([number]) = self.operand::<1>(op.at, field) {
                    writer.encoded(self.context.words.protocols.attributes(number));
                }
                return;
            }
            Step::Mac(field) => {
                if let Some(address) = self.operand::<6>(op.at, field) {
                    writer.mac(key, address);
                }
                return;
            }
            Step::NetworkType => {
                if let Some(family) = family {
                    writer.encoded(self.context.words.values.network_type(family));
                }
                return;
            }
            Step::Direction(field) => {
                if let Some(direction) = self.context.words.values.direction(self.unsigned(field)) {
                    writer.encoded(direction);
                }
                return;
            }
            Step::ValueName(field, element) => {
                let value = self.unsigned(field);
                match self.context.words.values.named(element, value) {
                    Some(named) => writer.encoded(named),
                    None => writer.apart(|writer| {
                        let text = value_text(element, value);
                        self.attributes(writer).text(op.name, text.as_str());
                    }),
                }
                return;
            }
            Step::Icmp(_) if !self.may_be_icmp() => return,
            Step::ZeroPrefix(addresses, _) if self.says(addresses) => return,
            Step::InterfaceName(..)
                if !self.context.names_interfaces && !self.plan.names_interfaces =>
            {
                return;
            }
            Step::Count32(field) => match self.operand::<4>(op.at, field) {
                Some(octets) => u64::from(u32::from_be_bytes(octets)),
                None => return,
            },
            Step::U64(field) => match self.operand::<8>(op.at, field) {
                Some(octets) => u64::from_be_bytes(octets),
                None => return,
            },
            Step::Unsigned(field) => self.unsigned(field),
            Step::FirstNonZero(choices) => self.first_non_zero(choices),
            _ => return writer.apart(|writer| self.write_rare(op, family, writer)),
        };
        let value = match op.count {
            Count::No => count,
            Count::Sampled => match scaling.factor {
                Some(factor) => scaled(count, factor),
                None => count,
            },
            Count::Estimate => match scaling.estimate {
                Some(interval) => scaled(count, interval),
                None => return,
            },
        };
        writer.unsigned(key, value);
    }

    #[inline(never)]
    pub(super) fn first_non_zero(&self, choices: Choices) -> u64 {
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
            Step::WideProtocol(field) => self.write_protocol(self.unsigned(field), writer),
            Step::Text(field) => write_text(key, self.field(field), writer),
            Step::ApplicationId(field) => write_application_id(key, self.field(field), writer),
            Step::ApplicationName(field) => {
                if let Some(name) = self
                    .context
                    .metadata
                    .find(|known| known.application(self.field(field)))
                {
                    writer.text(key, name);
                }
            }
            Step::VrfName(field) => self.write_vrf_name(key, field, writer),
            _ => self.write_together(op, family, writer),
        }
    }

    pub(super) fn write_protocol(&self, number: u64, writer: &mut SpanWriter<'_>) {
        match u8::try_from(number) {
            Ok(number) => writer.encoded(self.context.words.protocols.attributes(number)),
            // The element has one octet; a wider one was sent with a value that no protocol has.
            Err(_) => self
                .attributes(writer)
                .unsigned(Name::ProtocolNumber, number),
        }
    }

    pub(super) fn write_vrf_name(&self, key: &Key, field: u16, writer: &mut SpanWriter<'_>) {
        let id = self.unsigned(field);
        if let Some(name) = self.context.metadata.find(|known| known.vrf(id)) {
            writer.text(key, name);
        }
    }

    /// The protocol's number, if it is exported.
    #[inline]
    pub(super) fn protocol(&self) -> Option<u64> {
        if let Some(protocols) = self.plan.protocols {
            return Some(self.first_non_zero(protocols));
        }
        self.plan.protocol.map(|field| match *self.field(field) {
            [octet] => u64::from(octet),
            ref octets => unsigned(octets),
        })
    }

    /// The protocol is ICMP or ICMP for IPv6, or isn't exported.
    #[inline]
    pub(super) fn may_be_icmp(&self) -> bool {
        matches!(self.protocol(), None | Some(1 | 58))
    }

    pub(super) fn words(&self) -> &'static Vocabulary {
        self.context.words
    }

    pub(super) fn interfaces(&self) -> Option<&'a OfExporter> {
        self.context.interfaces
    }

    pub(super) fn metadata(&self) -> DomainMetadata<'a> {
        self.context.metadata
    }

    pub(super) fn icmp_swapped(&self) -> &'a Cell<bool> {
        self.context.icmp_swapped
    }
}

/// `engine:selector`, of an engine with enterprise numbers that between them.
pub(super) fn write_application_id(key: &Key, octets: &[u8], writer: &mut SpanWriter<'_>) {
    let Some(id) = ApplicationId::read(octets) else {
        return;
    };
    let mut text = ShortText::default();
    text.push_number(u64::from(id.engine));
    text.push(b':');
    if let Some(enterprise) = id.enterprise {
        text.push_number(u64::from(enterprise));
        text.push(b':');
    }
    text.push_number(id.selector);
    writer.text(key, text.as_str());
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
        Err(_) => writer.attribute(key.name(), Value::Lossy(octets)),
    }
}
