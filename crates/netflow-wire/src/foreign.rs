//! What a datagram that is no flow message probably is: for the sentence that names what a collector is sent by mistake,
//! or what else a capture holds. A guess reads a bounded number of octets.

/// Octets of a datagram that a guess looks at.
const MAX_READ: usize = 512;

/// A protocol that collectors are sent by mistake, or that a capture holds besides flow export.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Foreign {
    /// NetFlow v8: aggregated records, which have no decoder here.
    NetFlowV8,
    /// sFlow before version 5.
    SflowV4,
    /// RFC 3164 or RFC 5424: `<priority>` and text.
    Syslog,
    /// RFC 1157, 3416, 3412: BER with a version.
    Snmp,
    /// A request or a response of HTTP/1 or the preface of HTTP/2.
    Http,
    /// RFC 3261.
    Sip,
    /// Simple Service Discovery Protocol.
    Ssdp,
    /// A ClientHello or another record of TLS or DTLS.
    Tls,
    /// RFC 9000, with a long header.
    Quic,
    /// RFC 1035, mDNS and LLMNR too.
    Dns,
    /// RFC 2131.
    Dhcp,
    /// RFC 5905.
    Ntp,
    /// RFC 2865.
    Radius,
    /// RFC 7348.
    Vxlan,
    /// `name:value|type`.
    Statsd,
    /// The binary protocol of collectd.
    Collectd,
    /// Graylog's format: chunks, or JSON with `short_message`.
    Gelf,
    /// An object or a list of JSON.
    Json,
    /// Compressed with gzip or zlib.
    Gzip,
}

impl Foreign {
    /// For people, to stand behind "this looks like".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetFlowV8 => "NetFlow v8",
            Self::SflowV4 => "sFlow v4 or older",
            Self::Syslog => "syslog",
            Self::Snmp => "SNMP",
            Self::Http => "HTTP",
            Self::Sip => "SIP",
            Self::Ssdp => "SSDP",
            Self::Tls => "TLS",
            Self::Quic => "QUIC",
            Self::Dns => "DNS",
            Self::Dhcp => "DHCP",
            Self::Ntp => "NTP",
            Self::Radius => "RADIUS",
            Self::Vxlan => "VXLAN",
            Self::Statsd => "StatsD",
            Self::Collectd => "collectd",
            Self::Gelf => "GELF",
            Self::Json => "JSON",
            Self::Gzip => "compressed data",
        }
    }

    /// What to change, as a sentence.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NetFlowV8 => {
                "set the exporter to version 9 or IPFIX (5 if it has neither), and turn router-based aggregation off"
            }
            Self::SflowV4 => "set the agent to sFlow version 5",
            _ => {
                "send it to another port, or configure the sender to export NetFlow, IPFIX or sFlow v5 here"
            }
        }
    }
}

/// Judges by the octets, and by the port at either end where octets alone say little. Never certain: something that is a
/// flow message by its first octets may be named here too, so ask only about what could not be decoded.
#[must_use]
pub fn guess(octets: &[u8], ports: &[u16]) -> Option<Foreign> {
    let read = octets.get(..MAX_READ).unwrap_or(octets);
    flow_records(read)
        .or_else(|| lines(read))
        .or_else(|| snmp(read).then_some(Foreign::Snmp))
        .or_else(|| tls(read).then_some(Foreign::Tls))
        .or_else(|| dhcp(read).then_some(Foreign::Dhcp))
        .or_else(|| ntp(octets).then_some(Foreign::Ntp))
        .or_else(|| radius(octets).then_some(Foreign::Radius))
        .or_else(|| dns(read).then_some(Foreign::Dns))
        .or_else(|| vxlan(read).then_some(Foreign::Vxlan))
        .or_else(|| collectd(read).then_some(Foreign::Collectd))
        .or_else(|| read.starts_with(&[0x1e, 0x0f]).then_some(Foreign::Gelf))
        .or_else(|| read.starts_with(&[0x1f, 0x8b, 8]).then_some(Foreign::Gzip))
        .or_else(|| quic(read).then_some(Foreign::Quic))
        .or_else(|| by_port(octets, ports))
}

/// What says little by itself.
fn by_port(octets: &[u8], ports: &[u16]) -> Option<Foreign> {
    let is_port = |known: &[u16]| ports.iter().any(|port| known.contains(port));
    let first = *octets.first()?;
    // One question at least and a code that is in use.
    if is_port(&[53, 5353, 5355]) && octets.len() >= 12 && (number(octets, 2)? >> 11 & 0xf) <= 6 {
        return Some(Foreign::Dns);
    }
    // Version 1 to 4 with a mode.
    if is_port(&[123])
        && octets.len() >= 12
        && (1..=4).contains(&(first >> 3 & 7))
        && first & 7 != 0
    {
        return Some(Foreign::Ntp);
    }
    if is_port(&[443]) && first & 0x40 != 0 {
        return Some(Foreign::Quic);
    }
    let is_radius = is_port(&[1812, 1813, 1645, 1646]) && octets.len() >= 20;
    if is_radius && usize::from(number(octets, 2)?) == octets.len() {
        return Some(Foreign::Radius);
    }
    (is_port(&[514]) && is_text(octets)).then_some(Foreign::Syslog)
}

fn number(octets: &[u8], at: usize) -> Option<u16> {
    let two = octets.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

/// A header of a version that isn't read.
fn flow_records(octets: &[u8]) -> Option<Foreign> {
    const HEADER_V8: usize = 28;
    match octets {
        // The version of sFlow has four octets; behind it the type of the agent's address.
        [0, 0, 0, 2 | 4, 0, 0, 0, 1 | 2, ..] => Some(Foreign::SflowV4),
        // An aggregation scheme of 1 to 14 stands in octet 22, the number of records in octet 3.
        [0, 8, 0, 1..=64, ..] if octets.len() >= HEADER_V8 => Some(Foreign::NetFlowV8),
        [0, 8, ..] if octets.len() >= HEADER_V8 && matches!(octets.get(22), Some(1..=14)) => {
            Some(Foreign::NetFlowV8)
        }
        _ => None,
    }
}

/// Protocols of text.
fn lines(octets: &[u8]) -> Option<Foreign> {
    if syslog(octets) {
        return Some(Foreign::Syslog);
    }
    let begins = |words: &[&str]| words.iter().any(|word| octets.starts_with(word.as_bytes()));
    let has = |word: &str| {
        octets
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    if has("SIP/2.0") {
        return Some(Foreign::Sip);
    }
    if begins(&["M-SEARCH * HTTP", "NOTIFY * HTTP"]) {
        return Some(Foreign::Ssdp);
    }
    if begins(&[
        "GET ",
        "HEAD ",
        "POST ",
        "PUT ",
        "DELETE ",
        "OPTIONS ",
        "PATCH ",
        "CONNECT ",
        "HTTP/1.",
        "PRI * HTTP/2",
    ]) {
        return Some(Foreign::Http);
    }
    if !is_text(octets) {
        return None;
    }
    if begins(&["{", "["]) {
        return Some(if has("\"short_message\"") {
            Foreign::Gelf
        } else {
            Foreign::Json
        });
    }
    statsd(octets).then_some(Foreign::Statsd)
}

fn is_text(octets: &[u8]) -> bool {
    let is_text = |octet: &u8| matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x80..);
    !octets.is_empty() && octets.iter().take(MAX_READ).all(is_text)
}

/// `<0>` to `<191>`.
fn syslog(octets: &[u8]) -> bool {
    let Some(rest) = octets.strip_prefix(b"<") else {
        return false;
    };
    let Some(end @ 1..=3) = rest.iter().take(4).position(|octet| *octet == b'>') else {
        return false;
    };
    let digits = rest.get(..end).unwrap_or_default();
    let priority = digits.iter().try_fold(0_u16, |all, digit| {
        digit
            .is_ascii_digit()
            .then(|| all * 10 + u16::from(digit - b'0'))
    });
    priority.is_some_and(|priority| priority <= 191)
}

/// `name:value|c`, in the first line.
fn statsd(octets: &[u8]) -> bool {
    let line = octets
        .split(|octet| *octet == b'\n')
        .next()
        .unwrap_or_default();
    let Some(colon) = line.iter().position(|octet| *octet == b':') else {
        return false;
    };
    let rest = line.get(colon..).unwrap_or_default();
    let Some(bar) = rest.iter().position(|octet| *octet == b'|') else {
        return false;
    };
    let kind = rest.get(bar + 1..).unwrap_or_default();
    [&b"c"[..], b"g", b"ms", b"h", b"s", b"d", b"m"]
        .iter()
        .any(|known| {
            kind.strip_prefix(*known)
                .is_some_and(|rest| rest.first().is_none_or(|next| matches!(next, b'|' | b'\r')))
        })
}

/// SEQUENCE { INTEGER 0, 1 or 3, … }.
fn snmp(octets: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = octets else {
        return false;
    };
    let skipped = match length {
        0x81 => 1,
        0x82 => 2,
        0x83.. => return false,
        _ => 0,
    };
    matches!(
        rest.get(skipped..),
        Some([2, 1, 0 | 1, 4, ..] | [2, 1, 3, 0x30, ..])
    )
}

/// A record with its content type, version and a length that isn't more than is there.
fn tls(octets: &[u8]) -> bool {
    match octets {
        [20..=23, 3, 0..=4, ..] => {
            number(octets, 3).is_some_and(|length| length > 0 && length <= 16_640)
        }
        [20..=23, 0xfe, 0xfd..=0xff, ..] => true,
        _ => false,
    }
}

/// A long header of version 1 or 2 with connection ids that fit.
fn quic(octets: &[u8]) -> bool {
    let long_header = octets.first().is_some_and(|first| first & 0xc0 == 0xc0);
    let known = matches!(
        octets.get(1..5),
        Some([0, 0, 0, 1] | [0x6b, 0x33, 0x43, 0xcf])
    );
    long_header && known && octets.get(5).is_some_and(|length| *length <= 20)
}

/// The magic cookie.
fn dhcp(octets: &[u8]) -> bool {
    matches!(octets.first(), Some(1 | 2)) && octets.get(236..240) == Some(&[0x63, 0x82, 0x53, 0x63])
}

/// Version 3 or 4, and a length of NTP.
fn ntp(octets: &[u8]) -> bool {
    let Some(first) = octets.first() else {
        return false;
    };
    let (version, mode) = (first >> 3 & 7, first & 7);
    let stratum = octets.get(1).copied().unwrap_or(u8::MAX);
    matches!(version, 3 | 4)
        && matches!(mode, 1..=5)
        && stratum <= 16
        && matches!(octets.len(), 48 | 68 | 72)
}

/// A known code, and its own length.
fn radius(octets: &[u8]) -> bool {
    matches!(octets.first(), Some(1..=5 | 11 | 40..=45))
        && octets.len() >= 20
        && number(octets, 2).is_some_and(|length| usize::from(length) == octets.len())
}

/// Plausible flags and counts, and a first name whose labels end.
fn dns(octets: &[u8]) -> bool {
    let counts = [4, 6, 8, 10].map(|at| number(octets, at).unwrap_or(u16::MAX));
    let [questions, answers, authorities, additional] = counts;
    let opcode = octets.get(2).map_or(u8::MAX, |flags| flags >> 3 & 15);
    let is_plausible = questions <= 4
        && questions + answers.min(100) > 0
        && answers < 100
        && authorities < 100
        && additional < 100
        && matches!(opcode, 0..=5);
    is_plausible && ends_in_labels(octets.get(12..).unwrap_or_default())
}

/// Labels of host names, a zero, a type and a class.
fn ends_in_labels(mut name: &[u8]) -> bool {
    for _ in 0..=127 {
        let Some((length @ 0..=63, rest)) = name.split_first().map(|(first, rest)| (*first, rest))
        else {
            return false;
        };
        if length == 0 {
            // The highest bit of the class is mDNS's.
            return number(rest, 0).is_some_and(|kind| kind != 0)
                && matches!(
                    number(rest, 2).map(|class| class & 0x7fff),
                    Some(1..=4 | 254 | 255)
                );
        }
        let Some((label, rest)) = rest.split_at_checked(usize::from(length)) else {
            return false;
        };
        if !label
            .iter()
            .all(|octet| matches!(octet, b'!'..=b'~' | 0x80..))
        {
            return false;
        }
        name = rest;
    }
    false
}

/// Its flag and its zeros, before an Ethernet header.
fn vxlan(octets: &[u8]) -> bool {
    matches!(octets, [8, 0, 0, 0, _, _, _, 0, ..]) && octets.len() >= 8 + 14
}

/// The part "host": a zero type, a length, and a text that ends in a NUL.
fn collectd(octets: &[u8]) -> bool {
    let Some(length) = number(octets, 2).map(usize::from) else {
        return false;
    };
    let [0, 0, _, _, rest @ ..] = octets else {
        return false;
    };
    let Some([host @ .., 0]) = length.checked_sub(4).and_then(|text| rest.get(..text)) else {
        return false;
    };
    !host.is_empty() && host.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(beginning: &[u8], length: usize) -> Vec<u8> {
        let mut octets = beginning.to_vec();
        octets.resize(length, 0);
        octets
    }

    #[test]
    fn what_is_sent_by_mistake_is_named() {
        let dhcp = [
            &with(&[1, 1, 6, 0, 1, 2, 3, 4], 236)[..],
            &[0x63, 0x82, 0x53, 0x63, 0xff],
        ]
        .concat();
        let dns = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
        let snmp = b"\x30\x29\x02\x01\x01\x04\x06public\xa7\x1c\x02\x04\x01\x02\x03\x04\x02\x01\x00\x02\x01\x00";
        let snmp3 =
            b"\x30\x3e\x02\x01\x03\x30\x11\x02\x04\x00\x00\x00\x01\x02\x03\x00\xff\xe3\x04\x01\x04";
        let long_trap = b"\x30\x82\x01\x10\x02\x01\x00\x04\x06public\xa4\x82\x01\x01";
        let cases: &[(&[u8], Foreign, &str)] = &[
            (
                b"<134>Nov 28 12:00:00 sw1 %LINK-3-UPDOWN: down",
                Foreign::Syslog,
                "syslog",
            ),
            (b"<0>1 - - - - - -", Foreign::Syslog, "syslog"),
            (snmp, Foreign::Snmp, "SNMP"),
            (snmp3, Foreign::Snmp, "SNMP"),
            (long_trap, Foreign::Snmp, "SNMP"),
            (
                &with(&[0, 8, 0, 12], 28 + 12 * 28),
                Foreign::NetFlowV8,
                "NetFlow v8",
            ),
            (
                &with(&[0, 0, 0, 4, 0, 0, 0, 1, 192, 0, 2, 1], 120),
                Foreign::SflowV4,
                "sFlow v4 or older",
            ),
            (
                &with(&[0, 0, 0, 2, 0, 0, 0, 2], 120),
                Foreign::SflowV4,
                "sFlow v4 or older",
            ),
            (
                b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
                Foreign::Http,
                "HTTP",
            ),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Foreign::Http, "HTTP"),
            (b"OPTIONS sip:a@b SIP/2.0\r\n", Foreign::Sip, "SIP"),
            (b"M-SEARCH * HTTP/1.1\r\n", Foreign::Ssdp, "SSDP"),
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                Foreign::Tls,
                "TLS",
            ),
            (&with(b"\x16\xfe\xfd\x00\x00", 60), Foreign::Tls, "TLS"),
            (
                &with(b"\xc3\x00\x00\x00\x01\x08", 1200),
                Foreign::Quic,
                "QUIC",
            ),
            (dns, Foreign::Dns, "DNS"),
            (&dhcp, Foreign::Dhcp, "DHCP"),
            (&with(&[0x23, 0, 6, 0xec], 48), Foreign::Ntp, "NTP"),
            (&with(&[4, 77, 0, 38], 38), Foreign::Radius, "RADIUS"),
            (
                &with(&[8, 0, 0, 0, 0, 0, 42, 0, 1], 80),
                Foreign::Vxlan,
                "VXLAN",
            ),
            (b"requests.total:1|c|#env:prod", Foreign::Statsd, "StatsD"),
            (
                b"\x00\x00\x00\x09host\x00\x00\x08",
                Foreign::Collectd,
                "collectd",
            ),
            (b"\x1e\x0f12345678\x00\x02payload", Foreign::Gelf, "GELF"),
            (
                b"{\"version\":\"1.1\",\"short_message\":\"a\"}",
                Foreign::Gelf,
                "GELF",
            ),
            (b"[{\"cpu\": 1}]", Foreign::Json, "JSON"),
            (b"\x1f\x8b\x08\x00\x00", Foreign::Gzip, "compressed data"),
        ];
        for (octets, expected, name) in cases {
            assert_eq!(guess(octets, &[2055]), Some(*expected), "{octets:02x?}");
            assert_eq!(expected.name(), *name);
            assert!(!expected.remedy().is_empty());
        }
    }

    #[test]
    fn protocols_are_told_by_their_octets_and_ports() {
        let v8 = {
            let mut octets = vec![0; 28];
            octets[1] = 8;
            octets[22] = 5;
            octets
        };
        let dhcp = {
            let mut octets = vec![0; 236];
            octets[0] = 1;
            octets.extend([0x63, 0x82, 0x53, 0x63, 53]);
            octets
        };
        let radius = [&[1, 7, 0, 20][..], &[9; 16]].concat();
        let dns = [
            0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1,
        ];
        let ntp = [&[0x23, 0, 6, 0xec][..], &[0; 44]].concat();
        for (octets, ports, expected) in [
            (&v8[..], &[2055][..], Foreign::NetFlowV8),
            (
                &[0, 0, 0, 4, 0, 0, 0, 1, 192, 0, 2, 1],
                &[6343],
                Foreign::SflowV4,
            ),
            (
                b"<34>Oct 11 22:14:15 router su: failed",
                &[514],
                Foreign::Syslog,
            ),
            (
                b"<165>1 2003-10-11T22:14:15.003Z host app - - -",
                &[2055],
                Foreign::Syslog,
            ),
            (b"%LINK-3-UPDOWN: Interface up", &[514], Foreign::Syslog),
            (b"\x30\x26\x02\x01\x01\x04\x06public", &[161], Foreign::Snmp),
            (
                b"\x30\x82\x01\x10\x02\x01\x03\x30\x0f",
                &[162],
                Foreign::Snmp,
            ),
            (&dns, &[53], Foreign::Dns),
            (&dhcp, &[67], Foreign::Dhcp),
            (&ntp, &[123], Foreign::Ntp),
            (&radius, &[1813], Foreign::Radius),
            (b"GET / HTTP/1.1\r\n", &[80], Foreign::Http),
            (b"HTTP/1.1 200 OK\r\n", &[80], Foreign::Http),
            (b"\x16\x03\x01\x02\x00", &[443], Foreign::Tls),
            (b"\x16\xfe\xfd\x00\x00", &[4433], Foreign::Tls),
            (b"\xc3\x00\x00\x00\x01", &[443], Foreign::Quic),
            (b"requests:1|c|@0.1", &[8125], Foreign::Statsd),
        ] {
            assert_eq!(guess(octets, ports), Some(expected), "{octets:02x?}");
        }
    }

    #[test]
    fn what_says_little_is_not_named() {
        for octets in [
            &b""[..],
            b"\0",
            b"\0\x05\0\x01",
            b"\0\x08\0\x01",
            b"\0\x0a\0\x10",
            b"\0\0\0\x05\0\0\0\x01",
            b"<999>x",
            b"<>x",
            b"\xff\xff\x01\x02",
            b"hello",
            b"\x30\x03\x02\x01\x05",
        ] {
            assert_eq!(guess(octets, &[2055]), None, "{octets:02x?}");
        }
    }

    /// Every beginning of every example, and every octet in front of it.
    #[test]
    fn no_input_panics() {
        let seeds: [&[u8]; 4] = [
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01",
            b"\x30\x82\x01\x10\x02\x01\x00\x04\x06public",
            b"\x00\x00\x00\x09host\x00\x00\x08",
            b"<134>a:1|c",
        ];
        let mut named = 0;
        for seed in seeds {
            for length in 0..=seed.len() {
                for first in 0..=u8::MAX {
                    let mut octets = seed[..length].to_vec();
                    if let Some(octet) = octets.first_mut() {
                        *octet = first;
                    }
                    named += usize::from(guess(&octets, &[514, 53]).is_some());
                }
            }
        }
        assert!(named > 0);
    }
}
