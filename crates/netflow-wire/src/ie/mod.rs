//! Information Elements: what the numbers in a template mean.
//!
//! Enterprise number and element id come in; name, abstract data type and semantics go out. The
//! tables are constants generated from `registry/`, looked up once for each field of a template and
//! never for a record. An element that no table knows is `None`, never an error: it is carried on as
//! octets.

mod enterprise;
mod iana;
mod icmp;
mod names;
mod protocols;
mod values;
mod vendor_v9;

pub use icmp::is_icmp_assigned;
pub use names::snake_case;

/// Enterprise number of IANA's own elements: what a field without the enterprise bit belongs to.
pub const IANA: u32 = 0;

/// Enterprise number of reverse elements: the id is IANA's, and the value that of the opposite
/// direction of a bidirectional flow (RFC 5103 section 6.1).
pub const REVERSE: u32 = 29305;

/// How the octets of an element are read (RFC 7011 section 6.1, RFC 6313 section 4.5.1).
///
/// The discriminants are those of IANA's "IPFIX Information Element Data Types", which an exporter
/// uses to describe its own elements (RFC 5610).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum AbstractDataType {
    /// Octets without further meaning.
    OctetArray = 0,
    /// Integer of one octet.
    Unsigned8 = 1,
    /// Integer of at most two octets.
    Unsigned16 = 2,
    /// Integer of at most four octets.
    Unsigned32 = 3,
    /// Integer of at most eight octets.
    Unsigned64 = 4,
    /// Integer of one octet, two's complement.
    Signed8 = 5,
    /// Integer of at most two octets, two's complement.
    Signed16 = 6,
    /// Integer of at most four octets, two's complement.
    Signed32 = 7,
    /// Integer of at most eight octets, two's complement.
    Signed64 = 8,
    /// IEEE 754 of four octets.
    Float32 = 9,
    /// IEEE 754 of eight octets, or of four when reduced.
    Float64 = 10,
    /// One octet: 1 is true, 2 is false.
    Boolean = 11,
    /// Six octets.
    MacAddress = 12,
    /// UTF-8 text.
    String = 13,
    /// Seconds since 1970, four octets.
    DateTimeSeconds = 14,
    /// Milliseconds since 1970, eight octets.
    DateTimeMilliseconds = 15,
    /// NTP time-stamp: seconds since 1900 and a fraction of 2^32, its lowest eleven bits unused.
    DateTimeMicroseconds = 16,
    /// NTP time-stamp: seconds since 1900 and a fraction of 2^32.
    DateTimeNanoseconds = 17,
    /// Four octets.
    Ipv4Address = 18,
    /// Sixteen octets.
    Ipv6Address = 19,
    /// Values of one element (RFC 6313 section 4.5.1).
    BasicList = 20,
    /// Records of one template (RFC 6313 section 4.5.2).
    SubTemplateList = 21,
    /// Records of several templates (RFC 6313 section 4.5.3).
    SubTemplateMultiList = 22,
    /// Integer of at most 32 octets.
    Unsigned256 = 23,
}

impl AbstractDataType {
    const ALL: [Self; 24] = [
        Self::OctetArray,
        Self::Unsigned8,
        Self::Unsigned16,
        Self::Unsigned32,
        Self::Unsigned64,
        Self::Signed8,
        Self::Signed16,
        Self::Signed32,
        Self::Signed64,
        Self::Float32,
        Self::Float64,
        Self::Boolean,
        Self::MacAddress,
        Self::String,
        Self::DateTimeSeconds,
        Self::DateTimeMilliseconds,
        Self::DateTimeMicroseconds,
        Self::DateTimeNanoseconds,
        Self::Ipv4Address,
        Self::Ipv6Address,
        Self::BasicList,
        Self::SubTemplateList,
        Self::SubTemplateMultiList,
        Self::Unsigned256,
    ];

    /// The type that IANA's number stands for, as `informationElementDataType` (339) carries it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// IANA's number of the type.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The type's name as the registry writes it: `unsigned64`, `dateTimeSeconds`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OctetArray => "octetArray",
            Self::Unsigned8 => "unsigned8",
            Self::Unsigned16 => "unsigned16",
            Self::Unsigned32 => "unsigned32",
            Self::Unsigned64 => "unsigned64",
            Self::Signed8 => "signed8",
            Self::Signed16 => "signed16",
            Self::Signed32 => "signed32",
            Self::Signed64 => "signed64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Boolean => "boolean",
            Self::MacAddress => "macAddress",
            Self::String => "string",
            Self::DateTimeSeconds => "dateTimeSeconds",
            Self::DateTimeMilliseconds => "dateTimeMilliseconds",
            Self::DateTimeMicroseconds => "dateTimeMicroseconds",
            Self::DateTimeNanoseconds => "dateTimeNanoseconds",
            Self::Ipv4Address => "ipv4Address",
            Self::Ipv6Address => "ipv6Address",
            Self::BasicList => "basicList",
            Self::SubTemplateList => "subTemplateList",
            Self::SubTemplateMultiList => "subTemplateMultiList",
            Self::Unsigned256 => "unsigned256",
        }
    }
}

/// What kind of quantity an element holds (RFC 7012 section 3.2).
///
/// The discriminants are those of IANA's "IPFIX Information Element Semantics".
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Semantics {
    /// Nothing said.
    Default = 0,
    /// A measured value.
    Quantity = 1,
    /// Counts from a start far back.
    TotalCounter = 2,
    /// Counts since the flow's last report.
    DeltaCounter = 3,
    /// Names something; arithmetic on it means nothing.
    Identifier = 4,
    /// Each bit has its own meaning.
    Flags = 5,
    /// Zero or more elements.
    List = 6,
    /// A counter of SNMP.
    SnmpCounter = 7,
    /// A gauge of SNMP.
    SnmpGauge = 8,
}

impl Semantics {
    const ALL: [Self; 9] = [
        Self::Default,
        Self::Quantity,
        Self::TotalCounter,
        Self::DeltaCounter,
        Self::Identifier,
        Self::Flags,
        Self::List,
        Self::SnmpCounter,
        Self::SnmpGauge,
    ];

    /// The semantics that IANA's number stands for, as `informationElementSemantics` (344) carries
    /// it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// IANA's number of the semantics.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// An Information Element that a table knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Element {
    /// The registry's spelling; [`snake_case`] makes an attribute's name of it.
    pub name: &'static str,
    /// How its octets are read.
    pub data_type: AbstractDataType,
    /// What they count or name; [`Semantics::Default`] for all but IANA's elements.
    pub semantics: Semantics,
}

/// An element of IPFIX by enterprise number ([`IANA`] for fields without one) and id, the enterprise
/// bit taken off.
///
/// Under [`REVERSE`] the answer is the forward element; [`is_reverse`] shows the caller that the
/// value belongs to the other direction.
#[must_use]
pub fn lookup(enterprise: u32, id: u16) -> Option<&'static Element> {
    match enterprise {
        IANA | REVERSE => iana::ELEMENTS.get(usize::from(id))?.as_ref(),
        _ => {
            let key = (enterprise, id);
            find(&enterprise::ELEMENTS, |(number, id, _)| {
                (*number, *id).cmp(&key)
            })
            .map(|(_, _, element)| element)
        }
    }
}

/// Enterprise number of Cisco, whose elements NetFlow v9 numbers from 32768 on.
pub const CISCO: u32 = 9;

/// Enterprise number of ntop, whose elements NetFlow v9 numbers from 57472 on.
pub const NTOP: u32 = 35632;

/// nProbe's element 0 in NetFlow v9.
const NTOP_BASE: u16 = 57_472;

/// The enterprise number and id that a NetFlow v9 field type stands for.
///
/// Types below 32768 are IANA's, and some above it belong to one vendor's v9 alone ([`lookup_v9`] knows them): both
/// stay as they are, under 0. Of the others, those that nProbe defines are ntop's, and the rest Cisco's less 32768.
#[must_use]
pub fn of_v9(field_type: u16) -> (u32, u16) {
    let Some(cisco) = field_type.checked_sub(0x8000) else {
        return (IANA, field_type);
    };
    if lookup_v9(field_type).is_some() {
        return (IANA, field_type);
    }
    match field_type.checked_sub(NTOP_BASE) {
        Some(ntop) if lookup(NTOP, ntop).is_some() => (NTOP, ntop),
        _ => (CISCO, cisco),
    }
}

/// The NetFlow v9 field type that stands for an element of IPFIX: the opposite of [`of_v9`].
///
/// `None` for the elements of other vendors, which v9 has no numbers for.
#[must_use]
pub fn to_v9(enterprise: u32, id: u16) -> Option<u16> {
    match enterprise {
        IANA => Some(id),
        CISCO => id.checked_add(0x8000),
        NTOP => id.checked_add(NTOP_BASE),
        _ => None,
    }
}

/// An element of NetFlow v9 by field type: IANA's range first, vendors' numbers above it.
///
/// All sixteen bits are the number: the top bit marks no enterprise number in v9.
#[must_use]
pub fn lookup_v9(field_type: u16) -> Option<&'static Element> {
    lookup(IANA, field_type).or_else(|| {
        find(&vendor_v9::ELEMENTS, |(number, _)| number.cmp(&field_type))
            .map(|(_, element)| element)
    })
}

/// Whether an element under this enterprise number describes the reverse direction (RFC 5103).
#[must_use]
pub const fn is_reverse(enterprise: u32) -> bool {
    enterprise == REVERSE
}

/// The registry's name of an enumerated value of one of IANA's elements, such as `idle timeout` for
/// 1 of `flowEndReason` (136).
#[must_use]
pub fn value_name(element_id: u16, value: u64) -> Option<&'static str> {
    let key = (element_id, value);
    find(&values::NAMES, |(id, value, _)| (*id, *value).cmp(&key)).map(|(_, _, name)| *name)
}

/// IANA's keyword of an IP protocol number, in IANA's capitals: `TCP`, `IPv6-ICMP`.
///
/// `None` for unassigned and experimental numbers and those IANA describes without a keyword.
#[must_use]
pub fn protocol_keyword(number: u8) -> Option<&'static str> {
    protocols::KEYWORDS
        .get(usize::from(number))
        .copied()
        .flatten()
}

fn find<T>(table: &'static [T], order: impl Fn(&T) -> std::cmp::Ordering) -> Option<&'static T> {
    table.get(table.binary_search_by(order).ok()?)
}

/// An entry of the generated tables.
const fn element(name: &'static str, data_type: AbstractDataType, semantics: Semantics) -> Element {
    Element {
        name,
        data_type,
        semantics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iana_elements_are_found_by_id() {
        let octets = lookup(IANA, 1).unwrap();
        assert_eq!(octets.name, "octetDeltaCount");
        assert_eq!(octets.data_type, AbstractDataType::Unsigned64);
        assert_eq!(octets.semantics, Semantics::DeltaCounter);
        assert_eq!(
            lookup(IANA, 291).unwrap().data_type,
            AbstractDataType::BasicList
        );
    }

    #[test]
    fn rows_that_define_no_element_are_unknown() {
        for id in [0, 97, 416, 419, 32767, 65535] {
            assert_eq!(lookup(IANA, id), None, "{id}");
        }
    }

    #[test]
    fn reverse_elements_resolve_to_the_forward_one() {
        assert_eq!(lookup(REVERSE, 2), lookup(IANA, 2));
        assert!(is_reverse(REVERSE) && !is_reverse(IANA));
    }

    #[test]
    fn enterprise_elements_are_found_by_number_and_id() {
        assert_eq!(lookup(9, 8337).unwrap().name, "ciscoServerBytesNetwork");
        assert_eq!(lookup(9, 1), None);
        assert_eq!(lookup(u32::MAX, 1), None);
    }

    #[test]
    fn v9_field_types_have_no_enterprise_bit() {
        assert_eq!(lookup_v9(1), lookup(IANA, 1));
        assert_eq!(lookup_v9(33002).unwrap().name, "firewallExtendedEvent");
        assert_eq!(
            lookup_v9(56701).unwrap().data_type,
            AbstractDataType::String
        );
        assert_eq!(lookup_v9(60000), None);
    }

    #[test]
    fn v9_types_that_no_table_has_are_elements_of_cisco_or_ntop() {
        assert_eq!(of_v9(8), (IANA, 8));
        assert_eq!(of_v9(40000), (IANA, 40000));
        assert_eq!(of_v9(57591), (IANA, 57591));
        assert_eq!(of_v9(45004), (CISCO, 12236));
        assert_eq!(of_v9(0x8000), (CISCO, 0));
        assert_eq!(of_v9(57552), (NTOP, 80));
        assert_eq!(lookup(NTOP, 80).unwrap().name, "srcFragments");
        assert_eq!(of_v9(u16::MAX), (CISCO, 0x7fff));
        for field_type in 1..=u16::MAX {
            let (enterprise, id) = of_v9(field_type);
            assert_eq!(to_v9(enterprise, id), Some(field_type));
        }
        assert_eq!(to_v9(6871, 21), None);
        // What v9 and IPFIX call alike has one name.
        assert_eq!(
            lookup(NTOP, 119).unwrap().name,
            lookup_v9(57591).unwrap().name
        );
        assert_eq!(
            lookup(CISCO, 1232).unwrap().name,
            lookup_v9(34000).unwrap().name
        );
    }

    #[test]
    fn values_have_the_names_of_their_registry() {
        assert_eq!(value_name(136, 1), Some("idle timeout"));
        assert_eq!(value_name(89, 0x82), Some("ACL drop"));
        assert_eq!(value_name(233, 2), Some("Flow Deleted"));
        assert_eq!(value_name(136, 0x4000), None);
        assert_eq!(value_name(1, 1), None);
    }

    #[test]
    fn protocols_have_the_keywords_of_their_registry() {
        assert_eq!(protocol_keyword(6), Some("TCP"));
        assert_eq!(protocol_keyword(58), Some("IPv6-ICMP"));
        assert_eq!(protocol_keyword(13), Some("ARGUS"));
        assert_eq!(protocol_keyword(61), None);
        assert_eq!(protocol_keyword(200), None);
    }

    #[test]
    fn codes_and_types_agree_both_ways() {
        for code in 0..=u8::MAX {
            assert_eq!(
                AbstractDataType::from_code(code).map_or(code, AbstractDataType::code),
                code
            );
            assert_eq!(
                Semantics::from_code(code).map_or(code, Semantics::code),
                code
            );
        }
        assert_eq!(
            AbstractDataType::from_code(23),
            Some(AbstractDataType::Unsigned256)
        );
        assert_eq!(AbstractDataType::from_code(24), None);
        assert_eq!(Semantics::from_code(8), Some(Semantics::SnmpGauge));
    }

    #[test]
    fn every_name_becomes_an_attribute_name() {
        let elements = iana::ELEMENTS.iter().flatten();
        let elements = elements.chain(enterprise::ELEMENTS.iter().map(|(_, _, element)| element));
        let elements = elements.chain(vendor_v9::ELEMENTS.iter().map(|(_, element)| element));
        let names = elements.map(|element| element.name);
        let names = names.chain(values::NAMES.iter().map(|(_, _, name)| *name));
        for name in names.chain(protocols::KEYWORDS.iter().flatten().copied()) {
            let snake = snake_case(name);
            assert!(!snake.is_empty(), "{name}");
            assert!(!snake.contains("__"), "{name}: {snake}");
            assert!(
                !snake.starts_with('_') && !snake.ends_with('_'),
                "{name}: {snake}"
            );
            assert!(
                snake
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')),
                "{name}: {snake}"
            );
        }
    }

    #[test]
    fn no_two_iana_elements_share_an_attribute_name() {
        let mut names: Vec<_> = iana::ELEMENTS
            .iter()
            .flatten()
            .map(|element| snake_case(element.name))
            .collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
