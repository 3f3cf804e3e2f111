//! The vocabulary: what can be asked of a flow, under which words.

use super::view::{Number, Place};

/// What a word asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    /// Every flow.
    Any,
    /// An address of IPv4 (`false`) or IPv6 at either end.
    Family(bool),
    /// The addresses of the flow's ends, which stand alone or as prefixes.
    Host,
    /// As `Host`, with a prefix.
    Net,
    /// The names of their networks.
    Network,
    /// An address that the flow has once.
    At(Place),
    /// A number of each end.
    Pair(Number, Number, Sides, Form),
    /// A number that the flow has once.
    Single(Number, Form),
    /// TCP flags, by letters.
    Flags,
}

/// What may stand before a word with two ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sides {
    /// `src` and `dst`.
    Ends,
    /// `in` and `out`.
    Interfaces,
    /// Either of them.
    Any,
}

/// How values are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// A whole number up to this one.
    Plain(u64),
    /// With `k`, `m`, `g`, `t` behind it.
    Scaled,
    /// With `ms`, `s`, `min`, `h` behind it.
    Duration,
    Protocol,
    Dscp,
    Mac,
    Direction,
    Version,
}

impl Form {
    /// To stand behind "expected".
    pub(super) fn describe(self) -> String {
        match self {
            Self::Plain(max) => format!("a number from 0 to {max}, or a range such as 1-10"),
            Self::Scaled => "a number such as 1500, 100k, 1.5m or 2g".to_owned(),
            Self::Duration => {
                "a duration such as 500ms, 30s, 5min or 1h (a number alone counts milliseconds)"
                    .to_owned()
            }
            Self::Protocol => {
                "a protocol by name or number, such as tcp, udp, icmp or 47".to_owned()
            }
            Self::Dscp => {
                "a code point from 0 to 63 or by name, such as EF, AF41 or CS6".to_owned()
            }
            Self::Mac => "a MAC address such as 00:53:00:12:34:56".to_owned(),
            Self::Direction => "\"ingress\" or \"egress\"".to_owned(),
            Self::Version => "a version: 1, 5, 7, 9, or 10 for IPFIX".to_owned(),
        }
    }
}

const OCTET: Form = Form::Plain(u8::MAX as u64);
const U16: Form = Form::Plain(u16::MAX as u64);
const U32: Form = Form::Plain(u32::MAX as u64);
const PREFIX_LENGTH: Form = Form::Plain(128);

/// Every word that begins a comparison. The first of several stands for the others in hints.
pub(super) const WORDS: &[(&[&str], Subject)] = &[
    (&["any"], Subject::Any),
    (&["inet", "ipv4"], Subject::Family(false)),
    (&["inet6", "ipv6"], Subject::Family(true)),
    (&["host", "ip"], Subject::Host),
    (&["net"], Subject::Net),
    (&["network"], Subject::Network),
    (&["exporter", "router"], Subject::At(Place::Exporter)),
    (&["nexthop"], Subject::At(Place::NextHop)),
    (
        &["port"],
        Subject::Pair(
            Number::SourcePort,
            Number::DestinationPort,
            Sides::Ends,
            U16,
        ),
    ),
    (
        &["as"],
        Subject::Pair(Number::SourceAs, Number::DestinationAs, Sides::Ends, U32),
    ),
    (
        &["mask"],
        Subject::Pair(
            Number::SourceMask,
            Number::DestinationMask,
            Sides::Ends,
            PREFIX_LENGTH,
        ),
    ),
    (
        &["mac"],
        Subject::Pair(
            Number::SourceMac,
            Number::DestinationMac,
            Sides::Ends,
            Form::Mac,
        ),
    ),
    (
        &["if", "interface"],
        Subject::Pair(
            Number::InputInterface,
            Number::OutputInterface,
            Sides::Interfaces,
            U32,
        ),
    ),
    (
        &["vlan"],
        Subject::Pair(Number::InputVlan, Number::OutputVlan, Sides::Any, U16),
    ),
    (
        &["proto", "protocol"],
        Subject::Single(Number::Protocol, Form::Protocol),
    ),
    (
        &["bytes", "octets"],
        Subject::Single(Number::Bytes, Form::Scaled),
    ),
    (&["packets"], Subject::Single(Number::Packets, Form::Scaled)),
    (
        &["duration"],
        Subject::Single(Number::Duration, Form::Duration),
    ),
    (
        &["bps"],
        Subject::Single(Number::BitsPerSecond, Form::Scaled),
    ),
    (
        &["pps"],
        Subject::Single(Number::PacketsPerSecond, Form::Scaled),
    ),
    (
        &["bpp"],
        Subject::Single(Number::BytesPerPacket, Form::Scaled),
    ),
    (&["flags"], Subject::Flags),
    (&["tos"], Subject::Single(Number::Tos, OCTET)),
    (&["dscp"], Subject::Single(Number::Dscp, Form::Dscp)),
    (&["icmp-type"], Subject::Single(Number::IcmpType, OCTET)),
    (&["icmp-code"], Subject::Single(Number::IcmpCode, OCTET)),
    (
        &["direction", "flowdir"],
        Subject::Single(Number::Direction, Form::Direction),
    ),
    (
        &["version"],
        Subject::Single(Number::Version, Form::Version),
    ),
];

/// Words that stand before or between comparisons.
pub(super) const OTHERS: &[&str] = &[
    "src",
    "dst",
    "source",
    "destination",
    "in",
    "out",
    "not",
    "and",
    "or",
    "tcp",
    "udp",
    "icmp",
];

/// What a word asks for, whatever its case.
pub(super) fn subject(word: &str) -> Option<Subject> {
    let (_, subject) = WORDS
        .iter()
        .find(|(names, _)| names.iter().any(|name| word.eq_ignore_ascii_case(name)))?;
    Some(*subject)
}

/// The word that was probably meant.
pub(super) fn nearest<'w>(word: &str, of: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_ascii_lowercase();
    // A word of three letters with two of them wrong is another word.
    let allowed = match word.chars().count() {
        0..=1 => 0,
        2..=4 => 1,
        _ => 2,
    };
    of.map(|known| (strsim::damerau_levenshtein(&word, known), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, known)| (*distance, !known.starts_with(&*word)))
        .map(|(_, known)| known)
}
