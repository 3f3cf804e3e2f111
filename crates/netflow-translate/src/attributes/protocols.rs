//! `network.transport` and `network.protocol.number` of every protocol number, encoded once.

use netflow_wire::ie;
use otlp_wire::{Encoded, Value};

use crate::attributes::names::{Keys, Name};

/// Both attributes for each of the 256 numbers.
#[derive(Debug)]
pub(crate) struct Protocols(Box<[Encoded; 256]>);

impl Protocols {
    pub(crate) fn new(keys: &Keys) -> Self {
        let attributes = |number| {
            let name = transport(number);
            let texts = keys.text(Name::Transport);
            let numbers = keys.text(Name::ProtocolNumber);
            let attributes: Vec<_> = texts
                .map(|key| (key, Value::Text(&name)))
                .chain(numbers.map(|key| (key, Value::Unsigned(u64::from(number)))))
                .collect();
            Encoded::new(&attributes).expect("keywords are short")
        };
        let table: Vec<_> = (0..=u8::MAX).map(attributes).collect();
        Self(table.try_into().expect("256 numbers"))
    }

    /// The encoded attributes of a number.
    #[inline]
    pub(crate) fn attributes(&self, number: u8) -> &Encoded {
        &self.0[usize::from(number)]
    }
}

/// IANA's keyword in lower case, `protocol-N` where there is none.
pub fn transport(number: u8) -> String {
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
