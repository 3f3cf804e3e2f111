//! `network.transport` and `network.protocol.number` of every protocol number, encoded once.

use std::sync::LazyLock;

use netflow_wire::ie;
use otlp_wire::Value;
use otlp_wire::attributes::push_key_value;

/// `Span.attributes`.
const SPAN_ATTRIBUTES: u32 = 9;

/// Both attributes for each of the 256 numbers.
pub(crate) struct Protocols {
    octets: Vec<u8>,
    ends: [u32; 256],
}

/// The table, made at its first use.
pub(crate) fn protocols() -> &'static Protocols {
    static TABLE: LazyLock<Protocols> = LazyLock::new(Protocols::new);
    &TABLE
}

impl Protocols {
    fn new() -> Self {
        let mut octets = Vec::new();
        let mut ends = [0; 256];
        for (number, end) in (0..=u8::MAX).zip(&mut ends) {
            let name = transport(number);
            push_key_value(
                &mut octets,
                SPAN_ATTRIBUTES,
                "network.transport",
                Value::Text(&name),
            );
            let value = Value::Unsigned(u64::from(number));
            push_key_value(
                &mut octets,
                SPAN_ATTRIBUTES,
                "network.protocol.number",
                value,
            );
            *end = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        }
        Self { octets, ends }
    }

    /// The encoded attributes of a number.
    #[inline]
    pub(crate) fn attributes(&self, number: u8) -> &[u8] {
        let to = self.ends[usize::from(number)] as usize;
        let from = if number == 0 {
            0
        } else {
            self.ends[usize::from(number) - 1] as usize
        };
        self.octets.get(from..to).unwrap_or_default()
    }
}

/// IANA's keyword in lower case, `protocol-N` where there is none.
pub(crate) fn transport(number: u8) -> String {
    match ie::protocol_keyword(number) {
        // IANA's word for 255 is no protocol's name.
        Some(keyword) if keyword != "Reserved" => keyword.to_ascii_lowercase(),
        _ => format!("protocol-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_keywords_in_lower_case() {
        assert_eq!(transport(6), "tcp");
        assert_eq!(transport(17), "udp");
        assert_eq!(transport(58), "ipv6-icmp");
        assert_eq!(transport(255), "protocol-255");
    }
}
