//! A flow as filters see it: plain numbers and addresses, and which of them the flow has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A number of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Number {
    /// Transport port of the source.
    SourcePort,
    /// Transport port of the destination.
    DestinationPort,
    /// IP protocol.
    Protocol,
    /// The control bits of all packets, ORed; the low octet is FIN, SYN, RST, PSH, ACK, URG, ECE, CWR from the lowest.
    TcpFlags,
    /// The octet of IPv4's type of service or IPv6's traffic class.
    Tos,
    /// ICMP type, of ICMP for IPv4 or IPv6.
    IcmpType,
    /// ICMP code.
    IcmpCode,
    /// Bytes as exported.
    Bytes,
    /// Packets as exported.
    Packets,
    /// From the first packet to the last, in nanoseconds.
    Duration,
    /// ifIndex of the interface that the flow came in by.
    InputInterface,
    /// ifIndex of the interface that it left by.
    OutputInterface,
    /// Autonomous system of the source.
    SourceAs,
    /// Autonomous system of the destination.
    DestinationAs,
    /// Length of the source's prefix.
    SourceMask,
    /// Length of the destination's prefix.
    DestinationMask,
    /// VLAN on the way in.
    InputVlan,
    /// VLAN on the way out.
    OutputVlan,
    /// MAC address of the source; the first octet is the highest.
    SourceMac,
    /// MAC address of the destination.
    DestinationMac,
    /// 0 metered on the way in, 1 on the way out (element 61).
    Direction,
    /// Version of the export protocol: 1, 5, 7, 9, 10; none for sFlow.
    Version,
    /// Differentiated services code point; where it isn't given, the upper six bits of `Tos`.
    Dscp,
    // What follows is made of the others.
    /// Bits a second; a flow without a duration has none.
    BitsPerSecond,
    /// Packets a second, likewise.
    PacketsPerSecond,
    /// Bytes a packet.
    BytesPerPacket,
}

impl Number {
    /// The flow carries it as it is.
    pub(super) fn is_stored(self) -> bool {
        (self as usize) < STORED && !matches!(self, Self::TcpFlags | Self::Dscp)
    }
}

/// Numbers that a flow carries.
const STORED: usize = Number::BitsPerSecond as usize;

const TCP: u64 = 6;
const NANOS: u128 = 1_000_000_000;

/// Whose address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Place {
    /// Of the flow's source.
    Source,
    /// Of the flow's destination.
    Destination,
    /// Of the device that exported the flow.
    Exporter,
    /// Of the next router.
    NextHop,
}

const PLACES: usize = 4;

/// Whose name of a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Name {
    /// Of the flow's source.
    SourceNetwork,
    /// Of the flow's destination.
    DestinationNetwork,
}

const NAMES: usize = 2;

/// An IP address as a number within its family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address {
    /// `false`: of IPv4, whose 32 bits are the lowest.
    pub is_v6: bool,
    /// The address, most significant octet first.
    pub bits: u128,
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self {
                is_v6: false,
                bits: u128::from(address.to_bits()),
            },
            IpAddr::V6(address) => Self {
                is_v6: true,
                bits: address.to_bits(),
            },
        }
    }
}

impl Address {
    /// As the standard library has it.
    #[must_use]
    pub fn to_ip(self) -> IpAddr {
        match u32::try_from(self.bits) {
            Ok(bits) if !self.is_v6 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(self.bits)),
        }
    }
}

/// What a filter asks of a flow: nothing else needs to be in its view.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    numbers: u32,
    places: u8,
    names: bool,
}

impl Asked {
    /// Whether the view must have this number, where the flow has it.
    #[inline]
    #[must_use]
    pub fn asks(self, number: Number) -> bool {
        self.numbers >> (number as u32) & 1 == 1
    }

    /// Whether the view must have this address, where the flow has it.
    #[inline]
    #[must_use]
    pub fn asks_address(self, place: Place) -> bool {
        self.places >> (place as u32) & 1 == 1
    }

    /// Whether the view must have the names of networks, where they are known.
    #[inline]
    #[must_use]
    pub fn asks_names(self) -> bool {
        self.names
    }

    /// Everything that either asks for.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            numbers: self.numbers | other.numbers,
            places: self.places | other.places,
            names: self.names || other.names,
        }
    }

    /// Asks for a number, and for those that it is made of.
    #[must_use]
    pub fn and_number(mut self, number: Number) -> Self {
        let made_of: &[Number] = match number {
            Number::TcpFlags => &[Number::TcpFlags, Number::Protocol],
            Number::Dscp => &[Number::Dscp, Number::Tos],
            Number::BitsPerSecond => &[Number::Bytes, Number::Duration],
            Number::PacketsPerSecond => &[Number::Packets, Number::Duration],
            Number::BytesPerPacket => &[Number::Bytes, Number::Packets],
            _ => &[number],
        };
        for number in made_of {
            self.numbers |= 1 << (*number as u32);
        }
        self
    }

    /// Asks for names of networks, which are found by the addresses of both ends.
    pub(super) fn and_names(self) -> Self {
        Self {
            names: true,
            ..self
                .and_address(Place::Source)
                .and_address(Place::Destination)
        }
    }

    pub(super) fn and_address(mut self, place: Place) -> Self {
        self.places |= 1 << (place as u32);
        self
    }
}

/// What filters can ask of a flow. Everything is a plain value, so that one view can be used again for every record.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowView<'a> {
    numbers: [u64; STORED],
    /// A bit for each of `numbers` that the flow has.
    present: u32,
    addresses: [Option<Address>; PLACES],
    names: [Option<&'a str>; NAMES],
}

impl<'a> FlowView<'a> {
    /// Gives the flow a number. Those made of others ([`Number::BitsPerSecond`] and what follows it) are not stored.
    #[inline]
    pub fn set(&mut self, number: Number, value: u64) {
        if let Some(slot) = self.numbers.get_mut(number as usize) {
            *slot = value;
            self.present |= 1 << (number as u32);
        }
    }

    /// Gives the flow an address.
    #[inline]
    pub fn set_address(&mut self, place: Place, address: Address) {
        if let Some(slot) = self.addresses.get_mut(place as usize) {
            *slot = Some(address);
        }
    }

    /// Gives an end of the flow the name of its network.
    #[inline]
    pub fn set_name(&mut self, name: Name, value: &'a str) {
        if let Some(slot) = self.names.get_mut(name as usize) {
            *slot = Some(value);
        }
    }

    /// A number, if the flow has it.
    #[inline]
    #[must_use]
    pub fn number(&self, number: Number) -> Option<u64> {
        match number {
            Number::TcpFlags if !self.may_be_tcp() => None,
            Number::Dscp => self
                .stored(Number::Dscp)
                .or_else(|| self.stored(Number::Tos).map(|tos| tos >> 2)),
            Number::BitsPerSecond => self.rate(Number::Bytes, 8),
            Number::PacketsPerSecond => self.rate(Number::Packets, 1),
            Number::BytesPerPacket => {
                let packets = self
                    .stored(Number::Packets)
                    .filter(|packets| *packets > 0)?;
                Some(self.stored(Number::Bytes)? / packets)
            }
            stored => self.stored(stored),
        }
    }

    /// An address, if the flow has it.
    #[inline]
    #[must_use]
    pub fn address(&self, place: Place) -> Option<Address> {
        *self.addresses.get(place as usize)?
    }

    /// The name of an end's network, if it is known.
    #[inline]
    #[must_use]
    pub fn name(&self, name: Name) -> Option<&'a str> {
        *self.names.get(name as usize)?
    }

    /// A number as it was given.
    #[inline]
    pub(crate) fn stored(&self, number: Number) -> Option<u64> {
        let value = *self.numbers.get(number as usize)?;
        (self.present >> (number as u32) & 1 == 1).then_some(value)
    }

    /// Exporters fill the flags of other protocols with zeros, or with anything.
    #[inline]
    fn may_be_tcp(&self) -> bool {
        self.stored(Number::Protocol)
            .is_none_or(|protocol| protocol == TCP)
    }

    fn rate(&self, number: Number, factor: u128) -> Option<u64> {
        let duration = self
            .stored(Number::Duration)
            .filter(|duration| *duration > 0)?;
        let rate = u128::from(self.stored(number)?) * factor * NANOS / u128::from(duration);
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}
