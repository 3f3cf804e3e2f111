//! Names of registries in the form of attribute names.

/// Words that the registries write with capitals inside or run together with what follows.
const UNITS: [&str; 6] = ["IPv4", "IPv6", "IPSec", "MCast", "TEid", "VRF"];

/// A registry's name in lower case with `_` between its words; the result has only `[a-z0-9_]`,
/// without `_` at either end or twice in a row.
///
/// A name of one identifier is split where its capitals say so (`octetDeltaCount` is
/// `octet_delta_count`); text of several words is split between the words alone (`NAT44 session
/// create` is `nat44_session_create`).
#[must_use]
pub fn snake_case(name: &str) -> String {
    let identifier = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let mut snake = String::with_capacity(name.len() + 8);
    let mut rest = name;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        let unit = UNITS
            .iter()
            .find(|unit| identifier && rest.starts_with(**unit));
        let length = unit.map_or(first.len_utf8(), |unit| unit.len());
        let (word, after) = rest.split_at(length);
        if !first.is_ascii_alphanumeric() {
            part(&mut snake);
        } else {
            if identifier && begins_word(before, first, unit.is_some(), after) {
                part(&mut snake);
            }
            snake.extend(word.chars().map(|c| c.to_ascii_lowercase()));
            if unit.is_some() {
                part(&mut snake);
            }
        }
        before = word.chars().next_back();
        rest = after;
    }
    if snake.ends_with('_') {
        snake.pop();
    }
    snake
}

/// Whether a word of an identifier begins at `first`: a capital after a small letter or a digit, the
/// last of several capitals before a small letter, or a unit.
fn begins_word(before: Option<char>, first: char, unit: bool, after: &str) -> bool {
    let Some(before) = before else { return false };
    if unit {
        return true;
    }
    first.is_ascii_uppercase()
        && (!before.is_ascii_uppercase() || after.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn part(snake: &mut String) {
    if !snake.is_empty() && !snake.ends_with('_') {
        snake.push('_');
    }
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn identifiers_are_split_at_capitals() {
        for (name, snake) in [
            ("octetDeltaCount", "octet_delta_count"),
            ("sourceIPv4Address", "source_ipv4_address"),
            ("bgpSourceAsNumber", "bgp_source_as_number"),
            ("mplsTopLabelStackSection", "mpls_top_label_stack_section"),
            ("mplsLabelStackSection10", "mpls_label_stack_section10"),
            ("icmpTypeCodeIPv4", "icmp_type_code_ipv4"),
            ("ipv4IHL", "ipv4_ihl"),
            ("srhSegmentIPv6BasicList", "srh_segment_ipv6_basic_list"),
            ("VRFname", "vrf_name"),
            ("ingressVRFID", "ingress_vrf_id"),
            ("IPSecSPI", "ipsec_spi"),
            ("dot1qVlanId", "dot1q_vlan_id"),
            ("dot1qDEI", "dot1q_dei"),
            ("postMCastPacketDeltaCount", "post_mcast_packet_delta_count"),
            (
                "postNAPTSourceTransportPort",
                "post_napt_source_transport_port",
            ),
            ("messageMD5Checksum", "message_md5_checksum"),
            ("mibObjectValueIPAddress", "mib_object_value_ip_address"),
            ("rfc3550JitterMilliseconds", "rfc3550_jitter_milliseconds"),
            ("gtpuTEid", "gtpu_teid"),
            (
                "tcpSharedOptionExID16List",
                "tcp_shared_option_ex_id16_list",
            ),
            ("FW_Rule", "fw_rule"),
            ("http2_header_raw", "http2_header_raw"),
            ("BindIPv4Address", "bind_ipv4_address"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
    }

    #[test]
    fn text_is_split_between_words_alone() {
        for (name, snake) in [
            ("idle timeout", "idle_timeout"),
            ("end of Flow detected", "end_of_flow_detected"),
            ("Flow Created", "flow_created"),
            (
                "NAT translation create (Historic)",
                "nat_translation_create_historic",
            ),
            ("Port block de-allocation", "port_block_de_allocation"),
            ("OSPFv2 Segment Routing", "ospfv2_segment_routing"),
            ("IPv4-->IPv4 (no NAT)", "ipv4_ipv4_no_nat"),
            ("R&S ipoque DPI vPACE engine", "r_s_ipoque_dpi_vpace_engine"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
    }

    #[test]
    fn any_text_gives_a_name_of_plain_characters() {
        assert_eq!(snake_case(""), "");
        assert_eq!(snake_case("__"), "");
        assert_eq!(snake_case(" Zähler für VRF "), "z_hler_f_r_vrf");
        assert_eq!(
            snake_case("_leading__and_trailing_"),
            "leading_and_trailing"
        );
    }
}
