//! Steps that look at several fields together, or that few records have.

use netflow_wire::ie::is_icmp_assigned;
use netflow_wire::unsigned;
use otlp_wire::text::{put_ipv4, put_ipv6};
use otlp_wire::{Key, SpanWriter};

use super::record::{Layout, Record, write_application_id, write_text};
use super::{Choice, Choices, Compiler, Family, IcmpPart, Op, Side, Step};
use crate::attributes::encoded::{named_like, value_text};
use crate::attributes::names::Name;
use crate::attributes::short_text::ShortText;
use crate::attributes::table::{ATTRIBUTES, Attribute, Form};
use crate::plan::options::is_text;

/// Elements of their own for ICMP's type, its code, or both.
const ICMP_TYPES: &[u16] = &[176, 178];
const ICMP_CODES: &[u16] = &[177, 179];
const ICMP_PAIRS: &[u16] = &[32, 139];
/// Ports of any transport.
const PORTS: &[u16] = &[7, 11, 180, 181, 182, 183];
/// Names of interfaces.
pub(super) const INTERFACE_NAMES: &[u16] = &[82, 83];
/// applicationId.
const APPLICATION_ID: u16 = 95;

/// Fields that several steps look at, or that one looks at beside its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Together {
    /// ICMP's elements of its own.
    icmp: Option<Choices>,
    /// 11, where many exporters put ICMP's type and code, if the protocol is exported.
    icmp_port: Option<u16>,
    /// 7: if it isn't zero, the ports hold something else.
    source_port: Option<u16>,
    ports: Option<Choices>,
    /// The sections of an MPLS stack, from the top.
    labels: Option<Choices>,
    /// 61.
    direction: Option<u16>,
    /// Candidates for bytes and for packets, if the first is a running total.
    totals: [Option<Choices>; 2],
}

impl Compiler<'_> {
    /// To be called before the first step is compiled.
    pub(super) fn join(&mut self) {
        let of = |compiler: &Self, elements: &[&[u16]]| -> Vec<Choice> {
            let elements = elements.iter().copied().flatten();
            elements
                .flat_map(|element| compiler.every((0, *element)))
                .collect()
        };
        let icmp = of(self, &[ICMP_TYPES, ICMP_CODES, ICMP_PAIRS]);
        let ports = of(self, &[PORTS]);
        let labels: Vec<u16> = (70..80).collect();
        let labels = of(self, &[&labels]);
        self.together = Together {
            icmp: self.stretch(icmp),
            icmp_port: self.field((0, 4)).and_then(|_| self.field((0, 11))),
            source_port: self.field((0, 7)),
            ports: self.stretch(ports),
            labels: self.stretch(labels),
            direction: self.field((0, 61)),
            totals: [(Name::Bytes, 85), (Name::Packets, 86)]
                .map(|(name, total)| self.totals(name, total)),
        };
    }

    /// The candidates for a count, if the one that counts is a running total.
    fn totals(&mut self, name: Name, total: u16) -> Option<Choices> {
        let attribute = ATTRIBUTES.iter().find(|attribute| attribute.name == name)?;
        let candidates = self.candidates(attribute);
        let first = candidates.first()?;
        (first.element == total).then(|| self.stretch(candidates))?
    }

    pub(super) fn has_interface_names(&self) -> bool {
        let mut names = INTERFACE_NAMES.iter();
        names.any(|element| self.field((0, *element)).is_some())
    }

    /// All fields that an attribute may be taken from, in order of preference.
    pub(super) fn candidates(&self, attribute: &Attribute) -> Vec<Choice> {
        let sources = attribute.sources.iter();
        sources.flat_map(|source| self.every(*source)).collect()
    }

    pub(super) fn icmp(&self, part: IcmpPart) -> Option<Step> {
        let own = self.together.icmp.is_some_and(|own| {
            let choices = self.choices.get(own.range()).unwrap_or_default();
            choices.iter().any(|choice| part.is_told_by(choice.element))
        });
        (own || self.together.icmp_port.is_some()).then_some(Step::Icmp(part))
    }

    /// ICMP's elements alone say what the protocol is.
    pub(super) fn protocol_of_icmp(&self) -> Option<Step> {
        self.together.icmp.map(|_| Step::ProtocolOfIcmp)
    }

    pub(super) fn is_cumulative(&self) -> Option<Step> {
        let totals = self.together.totals.iter();
        totals.flatten().next().map(|_| Step::Cumulative)
    }

    /// A prefix and its length; or, of a record that has only addresses and masks, those.
    pub(super) fn prefix(&mut self, side: Side) -> Option<Step> {
        let [prefixes, masks, addresses] = match side {
            Side::Input => [[44, 170], [9, 29], [8, 27]],
            Side::Output => [[45, 169], [13, 30], [12, 28]],
        }
        .map(|elements| -> Vec<Choice> {
            let elements = elements.iter();
            elements
                .flat_map(|element| self.every((0, *element)))
                .collect()
        });
        let masks = self.stretch(masks)?;
        match self.stretch(prefixes) {
            Some(prefixes) => Some(Step::Prefix(prefixes, masks)),
            None => Some(Step::ZeroPrefix(self.stretch(addresses)?, masks)),
        }
    }

    pub(super) fn application_name(&mut self, candidates: Vec<Choice>) -> Option<Step> {
        match *candidates.as_slice() {
            [
                Choice {
                    field,
                    element: APPLICATION_ID,
                    ..
                },
            ] => Some(Step::ApplicationName(field)),
            [Choice { field, .. }] => Some(Step::Text(field)),
            _ => self.stretch(candidates).map(Step::FirstApplicationName),
        }
    }
}

impl Together {
    /// ICMP's elements of its own.
    pub(super) fn icmp_elements(&self) -> Option<Choices> {
        self.icmp
    }
}

impl Choices {
    pub(super) fn range(self) -> std::ops::Range<usize> {
        usize::from(self.from)..usize::from(self.to)
    }
}

impl IcmpPart {
    fn is_told_by(self, element: u16) -> bool {
        let own = match self {
            Self::Type => ICMP_TYPES,
            Self::Code => ICMP_CODES,
        };
        own.contains(&element) || ICMP_PAIRS.contains(&element)
    }
}

impl<'a, L: Layout> Record<'a, L> {
    /// The first that isn't zero, else the first.
    fn first_choice(&self, choices: Choices) -> Option<Choice> {
        let choices = self.choices(choices);
        let told = choices.iter().find(|choice| !self.is_zero(choice.field));
        told.or(choices.first()).copied()
    }

    fn write_chosen(&self, op: &Op, form: Form, choice: Choice, writer: &mut SpanWriter<'_>) {
        let Choice { field, element, .. } = choice;
        let values = &self.words().values;
        match form {
            Form::ApplicationId => write_application_id(&op.key, self.field(field), writer),
            Form::Protocol => self.write_protocol(self.unsigned(field), writer),
            Form::MplsLabel => self.write_mpls_label(&op.key, field, writer),
            Form::VrfName => self.write_vrf_name(&op.key, field, writer),
            Form::Direction => {
                if let Some(direction) = values.direction(self.unsigned(field)) {
                    writer.encoded(direction);
                }
            }
            _ => {
                let (element, value) = (named_like(element), self.unsigned(field));
                match values.named(element, value) {
                    Some(named) => writer.encoded(named),
                    None => {
                        let text = value_text(element, value);
                        self.attributes(writer).text(op.name, text.as_str());
                    }
                }
            }
        }
    }

    fn write_mpls_label(&self, key: &Key, field: u16, writer: &mut SpanWriter<'_>) {
        if let Some(label) = self.mpls_label(field) {
            writer.unsigned(key, u64::from(label));
        }
    }

    /// Runs a step of this file.
    pub(super) fn write_together(
        &self,
        op: &Op,
        family: Option<Family>,
        writer: &mut SpanWriter<'_>,
    ) {
        let key = &op.key;
        match op.step {
            Step::Icmp(part) => {
                if let Some(value) = self.icmp(part, family) {
                    writer.unsigned(key, value);
                }
            }
            Step::ProtocolOfIcmp => {
                if let Some(number) = self.protocol_of_icmp(family) {
                    writer.encoded(self.words().protocols.attributes(number));
                }
            }
            Step::MplsLabel(field) => self.write_mpls_label(key, field, writer),
            Step::FirstMac(choices) => {
                let choice = self.first_choice(choices);
                let octets = choice.map(|choice| self.field(choice.field));
                if let Some(Ok(address)) = octets.map(TryInto::try_into) {
                    writer.mac(key, address);
                }
            }
            Step::FirstText(choices) => {
                if let Some(octets) = self.first_text(choices, |_| true) {
                    write_text(key, octets, writer);
                }
            }
            Step::FirstOf(form, choices) => {
                if let Some(choice) = self.first_choice(choices) {
                    self.write_chosen(op, form, choice, writer);
                }
            }
            Step::FirstApplicationName(choices) => {
                self.write_application_name(key, choices, writer);
            }
            Step::InterfaceName(side, choices) => {
                self.write_interface_name(key, side, choices, writer);
            }
            // Of addresses that are zero, for others the step isn't run.
            Step::Prefix(prefixes, masks) | Step::ZeroPrefix(prefixes, masks) => {
                let text = self.prefix(prefixes, masks, family);
                if let Some(text) = text {
                    writer.text(key, text.as_str());
                }
            }
            Step::Cumulative if self.is_cumulative() => writer.boolean(key, true),
            _ => {}
        }
    }

    /// ICMP's type or code: of its own elements, unless they are all zero and the destination port says more.
    pub(super) fn icmp(&self, part: IcmpPart, family: Option<Family>) -> Option<u64> {
        let own = self.plan.together.icmp.map(|own| self.choices(own));
        let own = own.unwrap_or_default();
        let says = |choice: &&Choice| !self.is_zero(choice.field);
        if !own.iter().any(|choice| says(&choice))
            && let Some([icmp_type, code]) = self.icmp_in_port()
        {
            return Some(u64::from(match part {
                IcmpPart::Type => icmp_type,
                IcmpPart::Code => code,
            }));
        }
        let of_part = || own.iter().filter(|choice| part.is_told_by(choice.element));
        let of_family = || of_part().filter(|choice| choice.family == family);
        let choice = of_family()
            .find(says)
            .or_else(|| of_part().find(says))
            .or_else(|| of_family().next())
            .or_else(|| of_part().next())?;
        let value = self.unsigned(choice.field);
        Some(match part {
            _ if !ICMP_PAIRS.contains(&choice.element) => value,
            IcmpPart::Type => value >> 8 & 0xff,
            IcmpPart::Code => value & 0xff,
        })
    }

    /// Type and code in the destination port, in either order: a pair that IANA has assigned. Where both orders are,
    /// the one that the exporter has used before.
    fn icmp_in_port(&self) -> Option<[u8; 2]> {
        let together = &self.plan.together;
        let protocol = u8::try_from(self.protocol()?).ok()?;
        let port = u16::try_from(self.unsigned(together.icmp_port?)).ok()?;
        let source_port = together.source_port.map(|field| self.unsigned(field));
        if port == 0 || source_port.is_some_and(|port| port != 0) {
            return None;
        }
        let [high, low] = port.to_be_bytes();
        let swapped = self.icmp_swapped();
        match (
            is_icmp_assigned(protocol, high, low),
            is_icmp_assigned(protocol, low, high),
        ) {
            (false, false) => return None,
            (true, true) => {}
            (_, only_swapped) => swapped.set(only_swapped),
        }
        Some(if swapped.get() {
            [low, high]
        } else {
            [high, low]
        })
    }

    /// The protocol of a record in which only ICMP's elements show it.
    pub(super) fn protocol_of_icmp(&self, family: Option<Family>) -> Option<u8> {
        let ports = self.plan.together.ports.map(|ports| self.choices(ports));
        let is_told = |choice: &Choice| !self.is_zero(choice.field);
        if ports.unwrap_or_default().iter().any(is_told) {
            return None;
        }
        let own = self.by_family(self.plan.together.icmp?, family)?;
        Some(match own.family {
            Some(Family::V6) => 58,
            _ => 1,
        })
    }

    /// Label (20 bits), traffic class (3), bottom of stack (1); then TTL where 4 octets are sent (RFC 3032). Behind
    /// the bottom there are no labels, nor are zeros with nothing behind them.
    fn mpls_label(&self, field: u16) -> Option<u32> {
        let entry = |field: u16| {
            let [a, b, c] = *self.field(field).first_chunk::<3>()?;
            Some(u32::from_be_bytes([0, a, b, c]))
        };
        let label = entry(field)?;
        let mut is_below = false;
        for section in self.choices(self.plan.together.labels?) {
            let Some(other) = entry(section.field) else {
                continue;
            };
            if section.field == field {
                if label != 0 {
                    break;
                }
                is_below = true;
            } else if is_below && other != 0 {
                return Some(0);
            } else if !is_below && other & 1 != 0 {
                return None;
            }
        }
        (label != 0).then_some(label >> 4)
    }

    /// The first that isn't blank, without what fills it up.
    fn first_text(&self, choices: Choices, is: impl Fn(u16) -> bool) -> Option<&'a [u8]> {
        let choices = self.choices(choices).iter();
        let texts = choices
            .filter(|choice| is(choice.element))
            .map(|choice| self.field(choice.field));
        let text = texts.into_iter().find(|octets| is_text(octets))?;
        let end = text.iter().position(|octet| *octet == 0);
        Some(text.get(..end.unwrap_or(text.len()))?.trim_ascii())
    }

    fn write_application_name(&self, key: &Key, choices: Choices, writer: &mut SpanWriter<'_>) {
        if let Some(own) = self.first_text(choices, |element| element != APPLICATION_ID) {
            return write_text(key, own, writer);
        }
        if let Some(name) = self.known_application(choices) {
            writer.text(key, name);
        }
    }

    /// The options data's name of an application id.
    fn known_application(&self, choices: Choices) -> Option<&'a str> {
        let choices = self.choices(choices).iter();
        let mut ids = choices.filter(|choice| choice.element == APPLICATION_ID);
        let metadata = self.metadata();
        ids.find_map(|id| metadata.find(|known| known.application(self.field(id.field))))
    }

    /// The application's name, for callers that need UTF-8.
    pub(super) fn first_application(&self, choices: Choices) -> Option<&'a str> {
        let own = self.first_text(choices, |element| element != APPLICATION_ID);
        let own = own.and_then(|octets| str::from_utf8(octets).ok());
        own.or_else(|| self.known_application(choices))
    }

    /// What `NETFLOW_INTERFACES` says of the index, else the record's own name of the interface it was metered at, else
    /// what options data say of its index.
    fn write_interface_name(
        &self,
        key: &Key,
        side: Side,
        choices: Choices,
        writer: &mut SpanWriter<'_>,
    ) {
        let is_name = |element| INTERFACE_NAMES.contains(&element);
        let indexes = self.choices(choices).iter();
        let indexes = indexes.filter(|choice| !is_name(choice.element));
        let mut indexes = indexes.map(|choice| self.unsigned(choice.field));
        let index = indexes.clone().find(|index| *index != 0);
        let index = index.or_else(|| indexes.next());
        if let (Some(interfaces), Some(index)) = (self.interfaces(), index)
            && let Ok(index) = u32::try_from(index)
            && let Some(name) = interfaces.name(index)
        {
            return writer.text(key, name);
        }
        let direction = self.plan.together.direction;
        let metered = match direction.map(|field| self.unsigned(field)) {
            Some(1) => Side::Output,
            _ => Side::Input,
        };
        if side == metered
            && let Some(own) = self.first_text(choices, is_name)
        {
            return write_text(key, own, writer);
        }
        if let Some(index) = index
            && let Some(name) = self.metadata().find(|known| known.interface(index))
        {
            writer.text(key, name);
        }
    }

    /// `address/length`, without the bits behind the length.
    fn prefix(
        &self,
        prefixes: Choices,
        masks: Choices,
        family: Option<Family>,
    ) -> Option<ShortText> {
        let prefix = self.by_family(prefixes, family)?;
        // Of a repeated prefix the mask that stands in the same place.
        let of_family = |choices: Choices| {
            let choices = self.choices(choices).iter();
            choices.filter(|choice| choice.family == prefix.family)
        };
        let place = of_family(prefixes).position(|choice| choice.field == prefix.field)?;
        let masks = of_family(masks);
        let mask = masks.clone().nth(place).or_else(|| masks.clone().next())?;
        let length = u32::try_from(self.unsigned(mask.field)).ok()?;
        let octets = self.field(prefix.field);
        let mut address = [0; 48];
        let len = match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
            (Ok(octets), _) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                let network = u32::from_be_bytes(octets) & mask;
                let mut text = [0; 32];
                let len = put_ipv4(&mut text, network.to_be_bytes());
                address.first_chunk_mut::<32>()?.copy_from_slice(&text);
                len
            }
            (_, Ok(octets)) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                let network = u128::from_be_bytes(octets) & mask;
                put_ipv6(&mut address, network.to_be_bytes())
            }
            _ => return None,
        };
        let mut text = ShortText::default();
        address.iter().take(len).for_each(|octet| text.push(*octet));
        text.push(b'/');
        text.push_number(u64::from(length));
        Some(text)
    }

    /// Bytes or packets of the record come from a running total: the total isn't zero, or nothing else says more.
    fn is_cumulative(&self) -> bool {
        let totals = self.plan.together.totals.iter().flatten();
        totals.into_iter().any(|candidates| {
            let mut candidates = self.choices(*candidates).iter();
            let value = |choice: &Choice| unsigned(self.field(choice.field));
            let total = candidates.next().map_or(0, value);
            total != 0 || candidates.all(|choice| value(choice) == 0)
        })
    }
}
