//! v1, v5 and v7: versions whose records are the same everywhere, written as Templates.
//!
//! Source: Cisco's "NetFlow Export Datagram Format". What has no Information Element is paddingOctets (210).

use crate::message::{Message, Version};
use crate::template::{FieldSpecifier, Template};

const PADDING: u16 = 210;

/// srcaddr, dstaddr, nexthop, input, output, dPkts, dOctets, First, Last, srcport, dstport
const COMMON: [(u16, u16); 11] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 2),
    (14, 2),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
];

impl Version {
    /// The Template of a version whose records are fixed; `None` for v9 and IPFIX. Its ID is the version.
    #[must_use]
    pub fn built_in_template(self) -> Option<Template> {
        let rest: &[(u16, u16)] = match self {
            // pad, prot, tos, tcp_flags, pad and reserved
            Self::V1 => &[(PADDING, 2), (4, 1), (5, 1), (6, 1), (PADDING, 7)],
            // pad1, tcp_flags, prot, tos, src_as, dst_as, src_mask, dst_mask, pad2
            Self::V5 => &[
                (PADDING, 1),
                (6, 1),
                (4, 1),
                (5, 1),
                (16, 2),
                (17, 2),
                (9, 1),
                (13, 1),
                (PADDING, 2),
            ],
            // flags, tcp_flags, prot, tos, src_as, dst_as, src_mask, dst_mask, flags, router_sc
            Self::V7 => &[
                (PADDING, 1),
                (6, 1),
                (4, 1),
                (5, 1),
                (16, 2),
                (17, 2),
                (9, 1),
                (13, 1),
                (PADDING, 2),
                (PADDING, 4),
            ],
            Self::V9 | Self::Ipfix => return None,
        };
        let fields: Vec<_> = COMMON
            .iter()
            .chain(rest)
            .map(|(element, length)| FieldSpecifier::iana(*element, *length))
            .collect();
        Some(Template::new(self, self.number(), None, fields))
    }
}

impl<'a> Message<'a> {
    /// The records of a fixed version: as many as the header counts and the datagram holds.
    #[must_use]
    pub fn fixed_records(&self, template: &Template) -> &'a [u8] {
        let octets = self.octets();
        let from = self.body_offset();
        let stated = usize::from(self.header.count) * template.min_record_octets();
        let whole = (octets.len().saturating_sub(from) / template.min_record_octets().max(1))
            * template.min_record_octets();
        octets
            .get(from..from + stated.min(whole))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_long_as_the_formats_say() {
        for (version, octets) in [(Version::V1, 48), (Version::V5, 48), (Version::V7, 52)] {
            let template = version.built_in_template().expect("fixed");
            assert_eq!(template.min_record_octets(), octets, "{version:?}");
        }
    }
}
