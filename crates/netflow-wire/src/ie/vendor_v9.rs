//! NetFlow v9 field types that vendors took above IANA's range, in order.
//!
//! Generated from `registry/` by `tests/generated_tables.rs`; changes made here are lost.

use super::{AbstractDataType as T, Element, Semantics as S, element};

#[rustfmt::skip]
pub(super) static ELEMENTS: [(u16, Element); 17] = [
    (33000, element("ingressAclId", T::OctetArray, S::Default)), // Cisco ASA
    (33001, element("egressAclId", T::OctetArray, S::Default)), // Cisco ASA
    (33002, element("firewallExtendedEvent", T::Unsigned16, S::Default)), // Cisco ASA
    (34000, element("ciscoTrustSecSourceGroupTag", T::Unsigned16, S::Default)), // Cisco TrustSec
    (34001, element("ciscoTrustSecDestinationGroupTag", T::Unsigned16, S::Default)), // Cisco TrustSec
    (34002, element("ciscoTrustSecSourceGroupName", T::String, S::Default)), // Cisco TrustSec
    (34003, element("ciscoTrustSecDestinationGroupName", T::String, S::Default)), // Cisco TrustSec
    (40000, element("aaaUsername", T::String, S::Default)), // Cisco ASA
    (40001, element("postNatSourceIPv4Address", T::Ipv4Address, S::Default)), // Cisco ASA (old releases)
    (40002, element("postNatDestinationIPv4Address", T::Ipv4Address, S::Default)), // Cisco ASA (old releases)
    (40003, element("postNaptSourceTransportPort", T::Unsigned16, S::Default)), // Cisco ASA (old releases)
    (40004, element("postNaptDestinationTransportPort", T::Unsigned16, S::Default)), // Cisco ASA (old releases)
    (40005, element("firewallEvent", T::Unsigned8, S::Default)), // Cisco ASA (old releases)
    (56701, element("applicationId", T::String, S::Default)), // Palo Alto App-ID
    (56702, element("userId", T::String, S::Default)), // Palo Alto User-ID
    (57590, element("l7Protocol", T::Unsigned16, S::Default)), // ntop nProbe
    (57591, element("l7ProtocolName", T::String, S::Default)), // ntop nProbe
];
