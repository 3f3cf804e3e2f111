//! What a datagram that is no flow message probably is: for the sentence that tells an operator what is sent to a
//! collector by mistake.

/// A protocol that collectors are sent by mistake, or that a capture holds besides flow export.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Foreign {
    /// NetFlow v8: aggregated records, which have no decoder here.
    NetFlowV8,
    /// sFlow before version 5.
    SflowV4,
    /// RFC 3164 and RFC 5424.
    Syslog,
    /// RFC 1157, RFC 3416, RFC 3412: polls and traps.
    Snmp,
    /// RFC 1035.
    Dns,
    /// RFC 2131.
    Dhcp,
    /// RFC 5905.
    Ntp,
    /// RFC 2865, RFC 2866.
    Radius,
    /// RFC 9112.
    Http,
    /// RFC 6347, RFC 8446: a handshake of TLS or DTLS.
    Tls,
    /// RFC 9000.
    Quic,
    /// A line of StatsD.
    Statsd,
}

impl Foreign {
    /// Its name, for a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NetFlowV8 => "NetFlow v8",
            Self::SflowV4 => "sFlow v4 or older",
            Self::Syslog => "syslog",
            Self::Snmp => "SNMP",
            Self::Dns => "DNS",
            Self::Dhcp => "DHCP",
            Self::Ntp => "NTP",
            Self::Radius => "RADIUS",
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Quic => "QUIC",
            Self::Statsd => "StatsD",
        }
    }
}

/// Judges by the octets, and by the port at either end where octets alone say little. Never certain: something that is a
/// flow message by its first octets may be named here all the same, so ask only about what could not be decoded.
#[must_use]
pub fn guess(octets: &[u8], ports: &[u16]) -> Option<Foreign> {
    let is_port = |known: &[u16]| ports.iter().any(|port| known.contains(port));
    let word = |at: usize| {
        octets
            .get(at..)?
            .first_chunk()
            .copied()
            .map(u16::from_be_bytes)
    };
    let length = octets.len();
    match octets {
        // An aggregation scheme of 1 to 14 stands in octet 22.
        [0, 8, ..]
            if (28..=1_500).contains(&length) && (1..=14).contains(&octets.get(22).copied()?) =>
        {
            return Some(Foreign::NetFlowV8);
        }
        // The version of sFlow has four octets; behind it the type of the agent's address.
        [0, 0, 0, 2 | 4, 0, 0, 0, 1 | 2, ..] => return Some(Foreign::SflowV4),
        [b'<', rest @ ..] if is_priority(rest) => return Some(Foreign::Syslog),
        _ if is_snmp(octets) => return Some(Foreign::Snmp),
        _ if is_http(octets) => return Some(Foreign::Http),
        // Handshake, alert or application data of TLS 1.x or DTLS 1.x.
        [20..=23, 3, 0..=4, ..] | [20..=23, 0xfe, 0xfd..=0xff, ..] => return Some(Foreign::Tls),
        _ => {}
    }
    // The magic number behind the fields of BOOTP.
    if octets.get(236..240) == Some(&[0x63, 0x82, 0x53, 0x63]) {
        return Some(Foreign::Dhcp);
    }
    // One question at least and a code that is in use.
    if is_port(&[53, 5353, 5355]) && length >= 12 && (word(2)? >> 11 & 0xf) <= 6 {
        return Some(Foreign::Dns);
    }
    // Version 1 to 4 with a mode.
    let first = octets.first().copied().unwrap_or(0);
    if is_port(&[123]) && length >= 12 && (1..=4).contains(&(first >> 3 & 7)) && first & 7 != 0 {
        return Some(Foreign::Ntp);
    }
    if is_port(&[1812, 1813, 1645, 1646]) && length >= 20 && usize::from(word(2)?) == length {
        return Some(Foreign::Radius);
    }
    if is_port(&[443]) && first & 0x40 != 0 {
        return Some(Foreign::Quic);
    }
    if is_port(&[514]) && is_text(octets) {
        return Some(Foreign::Syslog);
    }
    (is_text(octets) && is_statsd(octets)).then_some(Foreign::Statsd)
}

/// `<34>`: a number below 192 without leading zeros, closed.
fn is_priority(behind: &[u8]) -> bool {
    let Some(end) = behind.iter().take(4).position(|octet| *octet == b'>') else {
        return false;
    };
    let digits = behind.get(..end).unwrap_or_default();
    let number = str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse::<u16>().ok());
    number.is_some_and(|number| number < 192)
}

/// A SEQUENCE that begins with the version as an INTEGER of one octet.
fn is_snmp(octets: &[u8]) -> bool {
    let ([0x30, 0..=0x7f, behind_length @ ..]
    | [0x30, 0x81, _, behind_length @ ..]
    | [0x30, 0x82, _, _, behind_length @ ..]) = octets
    else {
        return false;
    };
    matches!(behind_length, [2, 1, 0 | 1 | 3, 4 | 0x30, ..])
}

fn is_http(octets: &[u8]) -> bool {
    const STARTS: [&[u8]; 9] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"PRI * HTTP/2",
        b"CONNECT ",
        b"HTTP/1.",
    ];
    STARTS.iter().any(|start| octets.starts_with(start))
}

fn is_text(octets: &[u8]) -> bool {
    !octets.is_empty()
        && octets
            .iter()
            .take(256)
            .all(|octet| matches!(octet, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..))
}

/// `name:1|c`.
fn is_statsd(octets: &[u8]) -> bool {
    let line = octets
        .split(|octet| *octet == b'\n')
        .next()
        .unwrap_or_default();
    let mut parts = line.split(|octet| *octet == b'|');
    let value = parts.next().unwrap_or_default();
    let kind = parts.next().unwrap_or_default();
    value.contains(&b':') && [&b"c"[..], b"g", b"ms", b"h", b"s", b"d"].contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
