//! Why a packet was discarded.

/// Names of the codes of ICMP's Destination Unreachable (RFC 1812, section 5.2.7.1), which are reasons 0 to 15.
const UNREACHABLE: [&str; 16] = [
    "net_unreachable",
    "host_unreachable",
    "protocol_unreachable",
    "port_unreachable",
    "frag_needed",
    "src_route_failed",
    "dst_net_unknown",
    "dst_host_unknown",
    "src_host_isolated",
    "dst_net_prohibited",
    "dst_host_prohibited",
    "dst_net_tos_unreachable",
    "dst_host_tos_unreachable",
    "comm_admin_prohibited",
    "host_precedence_violation",
    "precedence_cutoff",
];

/// The first reason that isn't an ICMP code.
const FIRST_OWN: u32 = 256;

/// sFlow's own reasons, from 256 on.
const OWN: [&str; 51] = [
    "unknown",
    "ttl_exceeded",
    "acl",
    "no_buffer_space",
    "red",
    "traffic_shaping",
    "pkt_too_big",
    "src_mac_is_multicast",
    "vlan_tag_mismatch",
    "ingress_vlan_filter",
    "ingress_spanning_tree_filter",
    "port_list_is_empty",
    "port_loopback_filter",
    "blackhole_route",
    "non_ip",
    "uc_dip_over_mc_dmac",
    "dip_is_loopback_address",
    "sip_is_mc",
    "sip_is_loopback_address",
    "ip_header_corrupted",
    "ipv4_sip_is_limited_bc",
    "ipv6_mc_dip_reserved_scope",
    "ipv6_mc_dip_interface_local_scope",
    "unresolved_neigh",
    "mc_reverse_path_forwarding",
    "non_routable_packet",
    "decap_error",
    "overlay_smac_is_mc",
    "unknown_l2",
    "unknown_l3",
    "unknown_l3_exception",
    "unknown_buffer",
    "unknown_tunnel",
    "unknown_l4",
    "sip_is_unspecified",
    "mlag_port_isolation",
    "blackhole_arp_neigh",
    "src_mac_is_dmac",
    "dmac_is_reserved",
    "sip_is_class_e",
    "mc_dmac_mismatch",
    "sip_is_dip",
    "dip_is_local_network",
    "dip_is_link_local",
    "overlay_smac_is_dmac",
    "egress_vlan_filter",
    "uc_reverse_path_forwarding",
    "split_horizon",
    "locked_port",
    "dmac_filter",
    "blackhole_nexthop",
];

/// The name of a discard reason in snake case, as "sFlow Dropped Packet Notification Structures" has it.
#[must_use]
pub fn discard_reason(reason: u32) -> Option<&'static str> {
    let (table, index) = match reason.checked_sub(FIRST_OWN) {
        Some(index) => (&OWN[..], index),
        None => (&UNREACHABLE[..], reason),
    };
    table.get(usize::try_from(index).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::discard_reason;

    #[test]
    fn names_stand_at_their_numbers() {
        assert_eq!(discard_reason(15), Some("precedence_cutoff"));
        assert_eq!(discard_reason(16), None);
        assert_eq!(discard_reason(256), Some("unknown"));
        assert_eq!(discard_reason(269), Some("blackhole_route"));
        assert_eq!(discard_reason(304), Some("locked_port"));
        assert_eq!(discard_reason(u32::MAX), None);
    }
}
