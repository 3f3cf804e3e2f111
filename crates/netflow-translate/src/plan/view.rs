//! What filters ask of a record, found once for each template.

use std::net::IpAddr;

use super::record::{Layout, Record};
use super::{Compiler, Family, Step};
use crate::attributes::names::Name;
use crate::attributes::table::{ATTRIBUTES, Form};
use crate::filter::{Asked, FlowView, Number, Place};
use crate::flow::frame::FramePlan;

/// Attributes whose elements a filter's numbers come from.
const NUMBERS: &[(Name, Number)] = &[
    (Name::SourcePort, Number::SourcePort),
    (Name::DestinationPort, Number::DestinationPort),
    (Name::Transport, Number::Protocol),
    (Name::TcpFlags, Number::TcpFlags),
    (Name::Tos, Number::Tos),
    (Name::Dscp, Number::Dscp),
    (Name::IcmpType, Number::IcmpType),
    (Name::IcmpCode, Number::IcmpCode),
    (Name::Bytes, Number::Bytes),
    (Name::Packets, Number::Packets),
    (Name::InterfaceInput, Number::InputInterface),
    (Name::InterfaceOutput, Number::OutputInterface),
    (Name::SourceAs, Number::SourceAs),
    (Name::DestinationAs, Number::DestinationAs),
    (Name::SourceMask, Number::SourceMask),
    (Name::DestinationMask, Number::DestinationMask),
    (Name::VlanInput, Number::InputVlan),
    (Name::VlanOutput, Number::OutputVlan),
    (Name::SourceMac, Number::SourceMac),
    (Name::DestinationMac, Number::DestinationMac),
    (Name::Direction, Number::Direction),
];

/// Attributes whose elements a filter's addresses come from.
const ADDRESSES: &[(Name, Place)] = &[
    (Name::SourceAddress, Place::Source),
    (Name::DestinationAddress, Place::Destination),
    (Name::NextHop, Place::NextHop),
];

/// Where a record of a template has what is asked for.
#[derive(Clone, Debug)]
pub(crate) struct ViewPlan {
    numbers: Box<[(Number, Step)]>,
    addresses: Box<[(Place, Step)]>,
    version: Option<u64>,
    /// Some step chooses by the record's family.
    asks_family: bool,
    /// A section of a packet, which has what the record has no element for.
    frame: Option<FramePlan>,
}

impl ViewPlan {
    /// The sources of each are those of its attribute, at whatever level.
    pub(super) fn new(compiler: &mut Compiler<'_>, asked: Asked, frame: Option<FramePlan>) -> Self {
        let mut step = |name: Name| {
            let attribute = ATTRIBUTES.iter().find(|attribute| attribute.name == name)?;
            compiler.step(attribute)
        };
        let numbers: Box<[_]> = NUMBERS
            .iter()
            .filter(|(_, number)| asked.asks(*number))
            .filter_map(|(name, number)| Some((*number, step(*name)?)))
            .collect();
        let addresses: Box<[_]> = ADDRESSES
            .iter()
            .filter(|(_, place)| asked.asks_address(*place))
            .filter_map(|(name, place)| Some((*place, step(*name)?)))
            .collect();
        let steps = numbers.iter().map(|(_, step)| step);
        let asks_family = steps
            .chain(addresses.iter().map(|(_, step)| step))
            .any(|step| {
                matches!(
                    step,
                    Step::Address(_) | Step::ByFamily(_) | Step::Icmp(_) | Step::ProtocolOfIcmp
                )
            });
        let version = u64::from(compiler.template.version.number());
        Self {
            numbers,
            addresses,
            version: asked.asks(Number::Version).then_some(version),
            asks_family,
            frame,
        }
    }
}

impl<L: Layout> Record<'_, L> {
    /// Fills in what is asked for.
    #[inline(never)]
    pub(super) fn fill_by(&self, plan: &ViewPlan, view: &mut FlowView<'_>) {
        let family = match plan.asks_family {
            true => self.plan.family.constant.or_else(|| self.family()),
            false => None,
        };
        for (number, step) in &plan.numbers {
            if let Some(value) = self.value(*step, family) {
                view.set(*number, value);
            }
        }
        for (place, step) in &plan.addresses {
            if let Some(address) = self.address_of(*step, family) {
                view.set_address(*place, address.into());
            }
        }
        if let Some(version) = plan.version {
            view.set(Number::Version, version);
        }
        if let Some(section) = &plan.frame {
            section.fill(|field| self.field(field), view);
        }
    }

    fn value(&self, step: Step, family: Option<Family>) -> Option<u64> {
        let direction = |value: u64| (value <= 1).then_some(value);
        Some(match step {
            Step::U8(field)
            | Step::U16(field)
            | Step::U32(field)
            | Step::U64(field)
            | Step::Count32(field)
            | Step::Unsigned(field)
            | Step::Protocol(field)
            | Step::WideProtocol(field)
            | Step::Mac(field) => self.unsigned(field),
            Step::FirstNonZero(choices)
            | Step::FirstMac(choices)
            | Step::FirstOf(Form::Protocol, choices) => self.first_non_zero(choices),
            Step::ProtocolOfIcmp => return self.protocol_of_icmp(family).map(u64::from),
            Step::ByFamily(choices) => self.unsigned(self.by_family(choices, family)?.field),
            Step::Direction(field) => direction(self.unsigned(field))?,
            Step::FirstOf(Form::Direction, choices) => direction(self.first_non_zero(choices))?,
            Step::Icmp(_) if !self.may_be_icmp() => return None,
            Step::Icmp(part) => {
                return self.icmp(part, family);
            }
            _ => return None,
        })
    }

    fn address_of(&self, step: Step, family: Option<Family>) -> Option<IpAddr> {
        let field = match step {
            Step::Ipv4(field) | Step::Ipv6(field) => field,
            Step::Address(choices) => self.by_family(choices, family)?.field,
            _ => return None,
        };
        match *self.field(field) {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
            ref octets => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        }
    }
}
