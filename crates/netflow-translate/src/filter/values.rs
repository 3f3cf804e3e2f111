//! The values that stand in filters: numbers, addresses, names of protocols.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use netflow_wire::ie;

use super::error::FilterError;
use super::lexer::{Kind, Token};
use super::syntax::AddressRange;
use super::view::Address;
use super::words::{Form, nearest};

/// A number or a range of them.
pub(super) fn numbers(token: &Token<'_>, form: Form) -> Result<RangeInclusive<u64>, FilterError> {
    let expected = || FilterError::expected(form.describe(), token);
    if token.kind != Kind::Word {
        return Err(expected());
    }
    let text = token.text;
    if let Some(value) = number(text, form) {
        return Ok(value..=value);
    }
    if let Some((from, to)) = text.split_once('-')
        && let (Some(from), Some(to)) = (number(from, form), number(to, form))
    {
        return if from <= to {
            Ok(from..=to)
        } else {
            Err(FilterError::at(
                token,
                format!("the range {text:?} ends before it begins"),
            ))
        };
    }
    if form == Form::Protocol
        && let Some(meant) = nearest(text, COMMON_PROTOCOLS.iter().copied())
    {
        let message = format!("{text:?} is not a known protocol; did you mean {meant:?}?");
        return Err(FilterError::at(token, message));
    }
    Err(expected())
}

fn number(text: &str, form: Form) -> Option<u64> {
    match form {
        Form::Plain(max) => plain(text).filter(|value| *value <= max),
        Form::Scaled => scaled(text, SCALES),
        Form::Duration => scaled(text, TIMES),
        Form::Protocol => plain(text)
            .filter(|value| *value <= 255)
            .or_else(|| protocol_name(text).map(u64::from)),
        Form::Dscp => plain(text)
            .filter(|value| *value < 64)
            .or_else(|| dscp_name(text)),
        Form::Mac => mac(text),
        Form::Direction => match &*text.to_ascii_lowercase() {
            "ingress" | "0" => Some(0),
            "egress" | "1" => Some(1),
            _ => None,
        },
        Form::Version => match &*text.to_ascii_lowercase() {
            "ipfix" => Some(10),
            other => plain(other.strip_prefix('v').unwrap_or(other)).filter(|value| *value <= 10),
        },
    }
}

fn plain(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => all_digits(digits, 16).then(|| u64::from_str_radix(digits, 16).ok())?,
        None => all_digits(text, 10).then(|| text.parse().ok())?,
    }
}

/// `from_str` would take a sign too.
fn all_digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix))
}

type Scales = &'static [(&'static str, u64)];

/// As nfdump's: by thousands; with an `i` by 1,024.
const SCALES: Scales = &[
    ("", 1),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
];

/// To nanoseconds. `m` is left out: it could mean minutes or millions.
const TIMES: Scales = &[
    ("", 1_000_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

fn scaled(text: &str, scales: Scales) -> Option<u64> {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let (_, scale) = scales
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if !all_digits(whole, 10) || !all_digits(fraction, 10) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let parts = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = u128::from(fraction.parse::<u64>().ok()?) * u128::from(*scale);
    // A part of a byte or of a nanosecond can't be meant.
    if fraction % u128::from(parts) != 0 {
        return None;
    }
    let fraction = u64::try_from(fraction / u128::from(parts)).ok()?;
    whole.checked_mul(*scale)?.checked_add(fraction)
}

const COMMON_PROTOCOLS: &[&str] = &[
    "tcp", "udp", "icmp", "icmp6", "igmp", "gre", "esp", "ah", "sctp", "ospf", "pim", "vrrp",
    "l2tp", "eigrp", "ipip",
];

/// By IANA's keyword, or by a name that is common instead.
pub(super) fn protocol_name(name: &str) -> Option<u8> {
    let usual = [("icmp6", 58), ("icmpv6", 58), ("ospf", 89), ("ipip", 4)];
    if let Some((_, number)) = usual
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
    {
        return Some(*number);
    }
    // 255 is "Reserved", which is no protocol's name.
    (0..u8::MAX).find(|number| {
        ie::protocol_keyword(*number).is_some_and(|keyword| keyword.eq_ignore_ascii_case(name))
    })
}

/// RFC 2474, 2597, 3246, 5865, 8622.
fn dscp_name(name: &str) -> Option<u64> {
    let name = name.to_ascii_lowercase();
    match &*name {
        "be" | "df" => return Some(0),
        "le" => return Some(1),
        "va" => return Some(44),
        "ef" => return Some(46),
        _ => {}
    }
    let digit = |text: &str| text.parse::<u64>().ok().filter(|_| text.len() == 1);
    if let Some(class) = name.strip_prefix("cs").and_then(digit) {
        return (class < 8).then_some(class << 3);
    }
    let (class, drop) = name.strip_prefix("af")?.split_at_checked(1)?;
    let (class, drop) = (digit(class)?, digit(drop)?);
    ((1..=4).contains(&class) && (1..=3).contains(&drop)).then_some(class << 3 | drop << 1)
}

fn mac(text: &str) -> Option<u64> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut value = 0;
    let mut parts = text.split(separator);
    for _ in 0..6 {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2))?;
        if !all_digits(part, 16) {
            return None;
        }
        value = value << 8 | u64::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(value)
}

/// The bits of letters, in any order.
pub(super) fn flags(token: &Token<'_>) -> Option<u64> {
    if token.kind != Kind::Word {
        return None;
    }
    token.text.chars().try_fold(0, |bits, letter| {
        Some(
            bits | match letter.to_ascii_uppercase() {
                'F' => 1,
                'S' => 2,
                'R' => 4,
                'P' => 8,
                'A' => 16,
                'U' => 32,
                'E' => 64,
                'C' => 128,
                'X' => 63,
                _ => return None,
            },
        )
    })
}

/// An address, a prefix, or a range of addresses.
pub(super) fn addresses(token: &Token<'_>) -> Result<AddressRange, FilterError> {
    let text = token.text;
    let expected = || {
        FilterError::expected(
            "an address such as 192.0.2.1, or a prefix such as 10.0.0.0/8",
            token,
        )
    };
    if token.kind != Kind::Word {
        return Err(expected());
    }
    if let Some((from, to)) = text.split_once('-') {
        let (Some(from), Some(to)) = (single_address(from), single_address(to)) else {
            return Err(expected());
        };
        if from.is_v6 != to.is_v6 || from.bits > to.bits {
            let message = format!("the range {text:?} ends before it begins");
            return Err(FilterError::at(token, message));
        }
        return Ok(AddressRange { from, to: to.bits });
    }
    if text.contains('/') {
        return prefix(text).ok_or_else(expected);
    }
    let from = single_address(text).ok_or_else(expected)?;
    Ok(AddressRange {
        from,
        to: from.bits,
    })
}

pub(super) fn single_address(text: &str) -> Option<Address> {
    text.parse::<IpAddr>().ok().map(Address::from)
}

/// `10.0.0.0/8`, `10/8`, `2001:db8::/32`. Bits behind the prefix are let pass.
pub(super) fn prefix(text: &str) -> Option<AddressRange> {
    let (address, length) = text.split_once('/')?;
    let address = single_address(address).or_else(|| short_v4(address))?;
    let width: u32 = if address.is_v6 { 128 } else { 32 };
    if !all_digits(length, 10) {
        return None;
    }
    let length: u32 = length.parse().ok().filter(|length| *length <= width)?;
    let host = low_ones(width - length);
    Some(AddressRange {
        from: Address {
            bits: address.bits & !host,
            ..address
        },
        to: address.bits | host,
    })
}

/// An IPv4 address and a mask.
pub(super) fn with_mask(address: Address, mask: u128) -> Option<AddressRange> {
    let host = !mask & low_ones(32);
    // Ones, then zeros: the host's part is one less than a power of two.
    if host & (host + 1) != 0 {
        return None;
    }
    Some(AddressRange {
        from: Address {
            bits: address.bits & mask,
            ..address
        },
        to: address.bits | host,
    })
}

/// Every address of a family.
pub(super) fn whole_family(is_v6: bool) -> AddressRange {
    AddressRange {
        from: Address { is_v6, bits: 0 },
        to: low_ones(if is_v6 { 128 } else { 32 }),
    }
}

fn low_ones(count: u32) -> u128 {
    u128::MAX.checked_shr(128 - count).unwrap_or(0)
}

/// The first octets of an IPv4 address, as in `172.16/12`.
fn short_v4(text: &str) -> Option<Address> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for (index, part) in parts.by_ref().enumerate() {
        if !all_digits(part, 10) {
            return None;
        }
        *octets.get_mut(index)? = part.parse().ok()?;
    }
    Some(IpAddr::V4(Ipv4Addr::from(octets)).into())
}
