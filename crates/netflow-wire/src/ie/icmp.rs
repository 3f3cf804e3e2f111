//! Types and codes of ICMP that IANA has assigned: whether a pair of octets can be one.
//!
//! Sources: IANA, "Internet Control Message Protocol (ICMP) Parameters" and "Internet Control Message Protocol version 6
//! (ICMPv6) Parameters".

/// A type and its codes, both ends included.
type Assigned = (u8, u8, u8);

/// Deprecated types, which have no list of codes, have the code 0.
const ICMP: &[Assigned] = &[
    (0, 0, 0),
    (3, 0, 15),
    (4, 0, 0),
    (5, 0, 3),
    (6, 0, 0),
    (8, 0, 0),
    (9, 0, 0),
    (9, 16, 16),
    (10, 0, 0),
    (11, 0, 1),
    (12, 0, 2),
    (13, 0, 0),
    (14, 0, 0),
    (15, 0, 0),
    (16, 0, 0),
    (17, 0, 0),
    (18, 0, 0),
    (30, 0, 1),
    (31, 0, 0),
    (32, 0, 0),
    (33, 0, 0),
    (34, 0, 0),
    (35, 0, 0),
    (36, 0, 0),
    (37, 0, 0),
    (38, 0, 0),
    (39, 0, 0),
    (40, 0, 5),
    (41, 0, 0),
    (42, 0, 0),
    (43, 0, 4),
];

const ICMPV6: &[Assigned] = &[
    (1, 0, 8),
    (2, 0, 0),
    (3, 0, 1),
    (4, 0, 10),
    (128, 0, 0),
    (129, 0, 0),
    (130, 0, 0),
    (131, 0, 0),
    (132, 0, 0),
    (133, 0, 0),
    (134, 0, 0),
    (135, 0, 0),
    (136, 0, 0),
    (137, 0, 0),
    (138, 0, 1),
    (138, 255, 255),
    (139, 0, 2),
    (140, 0, 2),
    (141, 0, 0),
    (142, 0, 0),
    (143, 0, 0),
    (144, 0, 0),
    (145, 0, 0),
    (146, 0, 0),
    (147, 0, 0),
    (148, 0, 0),
    (149, 0, 0),
    (150, 0, 0),
    (151, 0, 0),
    (152, 0, 0),
    (153, 0, 0),
    (154, 0, 5),
    (155, 0, 9),
    (155, 128, 138),
    (156, 0, 0),
    (157, 0, 0),
    (158, 0, 0),
    (159, 0, 0),
    (160, 0, 0),
    (161, 0, 4),
];

/// Whether IANA has assigned a type and code of ICMP (protocol 1) or ICMPv6 (58). Of any other protocol it has none.
#[must_use]
pub fn is_icmp_assigned(protocol: u8, icmp_type: u8, code: u8) -> bool {
    let assigned = match protocol {
        1 => ICMP,
        58 => ICMPV6,
        _ => return false,
    };
    assigned
        .iter()
        .any(|(of, from, to)| *of == icmp_type && (*from..=*to).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_assigned_by_protocol() {
        for (icmp_type, code) in [(0, 0), (8, 0), (3, 3), (3, 15), (11, 1)] {
            assert!(is_icmp_assigned(1, icmp_type, code), "{icmp_type}/{code}");
            assert!(!is_icmp_assigned(6, icmp_type, code));
        }
        for (icmp_type, code) in [(0, 8), (8, 1), (3, 16), (1, 0), (136, 0)] {
            assert!(!is_icmp_assigned(1, icmp_type, code), "{icmp_type}/{code}");
        }
        for (icmp_type, code) in [(1, 4), (4, 1), (128, 0), (136, 0)] {
            assert!(is_icmp_assigned(58, icmp_type, code), "{icmp_type}/{code}");
        }
        for (icmp_type, code) in [(0, 136), (8, 0), (0, 0), (128, 1)] {
            assert!(!is_icmp_assigned(58, icmp_type, code), "{icmp_type}/{code}");
        }
    }
}
