"""Which attribute of ours is which field of an oracle's, and how each is read."""

import ipaddress
import re
import struct

FIREWALL_EVENTS = {1: "flow_created", 2: "flow_deleted", 3: "flow_denied", 4: "flow_alert", 5: "flow_update"}
NAT_EVENTS = {1: "nat_translation_create_historic", 2: "nat_translation_delete_historic"}
END_REASONS = {1: "idle_timeout", 2: "active_timeout", 3: "end_of_flow_detected", 4: "forced_end",
               5: "lack_of_resources"}


def number(octets):
    return int.from_bytes(octets, "big")


def address(octets):
    """RFC 5952, with the IPv4 address that is mapped as such."""
    if len(octets) not in (4, 16):
        return octets.hex()
    told = ipaddress.ip_address(octets)
    mapped = getattr(told, "ipv4_mapped", None)
    return "::ffff:%s" % mapped if mapped else str(told)


def mac(octets):
    return octets.hex(":")


def text(octets):
    return octets.split(b"\0")[0].decode(errors="replace").strip()


def direction(octets):
    return {0: "receive", 1: "transmit"}.get(number(octets), number(octets))


def end_reason(octets):
    return END_REASONS.get(number(octets), str(number(octets)))


def firewall_event(octets):
    return FIREWALL_EVENTS.get(number(octets), str(number(octets)))


def nat_event(octets):
    return NAT_EVENTS.get(number(octets), str(number(octets)))


def family(octets):
    return {4: "ipv4", 6: "ipv6"}.get(number(octets), number(octets))


# tshark's fields of a NetFlow or IPFIX record, in order of preference, by our attribute.
CFLOW = {
    "source.address": (address, "cflow.srcaddr", "cflow.srcaddrv6"),
    "destination.address": (address, "cflow.dstaddr", "cflow.dstaddrv6"),
    "source.port": (number, "cflow.srcport", "cflow.udp_srcport", "cflow.tcp_srcport"),
    "destination.port": (number, "cflow.dstport", "cflow.udp_dstport", "cflow.tcp_dstport"),
    "network.protocol.number": (number, "cflow.protocol"),
    "network.type": (family, "cflow.ip_version"),
    "network.io.direction": (direction, "cflow.direction"),
    "netflow.flow.bytes": (number, "cflow.octets", "cflow.octets64", "cflow.permanent_octets", "cflow.post_octets",
                           "cflow.initiator_octets"),
    "netflow.flow.packets": (number, "cflow.packets", "cflow.packets64", "cflow.permanent_packets",
                             "cflow.post_packets", "cflow.initiator_packets"),
    "netflow.flow.reverse.bytes": (number, "cflow.responder_octets"),
    "netflow.flow.reverse.packets": (number, "cflow.responder_packets"),
    "netflow.interface.input": (number, "cflow.inputint", "cflow.ingress_physical_interface"),
    "netflow.interface.output": (number, "cflow.outputint", "cflow.egress_physical_interface"),
    "netflow.src_as": (number, "cflow.srcas"),
    "netflow.dst_as": (number, "cflow.dstas"),
    "netflow.src_mask": (number, "cflow.srcmask", "cflow.srcmaskv6"),
    "netflow.dst_mask": (number, "cflow.dstmask", "cflow.dstmaskv6"),
    "netflow.tos": (number, "cflow.tos"),
    "netflow.tcp_flags": (number, "cflow.tcpflags", "cflow.tcpflags16"),
    "netflow.nexthop": (address, "cflow.nexthop", "cflow.nexthopv6"),
    "netflow.bgp_nexthop": (address, "cflow.bgpnexthop", "cflow.bgpnexthopv6"),
    "netflow.icmp.type": (number, "cflow.icmp_ipv4_type", "cflow.icmp_ipv6_type"),
    "netflow.icmp.code": (number, "cflow.icmp_ipv4_code", "cflow.icmp_ipv6_code"),
    "netflow.vlan.input": (number, "cflow.vlanid", "cflow.dot1q_vlan_id"),
    "netflow.vlan.output": (number, "cflow.post_vlanid", "cflow.post_dot1q_vlan_id"),
    "netflow.src_mac": (mac, "cflow.srcmac", "cflow.post_srcmac"),
    "netflow.dst_mac": (mac, "cflow.dstmac", "cflow.post_dstmac"),
    "netflow.firewall.event": (firewall_event, "cflow.firewall_event"),
    "netflow.nat.event": (nat_event, "cflow.nat_event"),
    "netflow.end_reason": (end_reason, "cflow.flow_end_reason"),
    "netflow.nat.source.address": (address, "cflow.post_natsource_ipv4_address", "cflow.post_nat_source_ipv6_address"),
    "netflow.nat.destination.address": (address, "cflow.post_natdestination_ipv4_address",
                                        "cflow.post_nat_destination_ipv6_address"),
    "netflow.nat.source.port": (number, "cflow.post_naptsource_transport_port"),
    "netflow.nat.destination.port": (number, "cflow.post_naptdestination_transport_port"),
    "netflow.vrf.input": (number, "cflow.ingress_vrfid"),
    "netflow.vrf.output": (number, "cflow.egress_vrfid"),
    "netflow.application.name": (text, "cflow.appl_name"),
    "netflow.user": (text, "cflow.aaa_username"),
    **{"netflow.mpls.label.%d" % place: (number, "label %d" % place) for place in range(1, 11)},
}
# And of an sFlow sample.
SFLOW = {
    "netflow.sampling.interval": (number, "sflow.flow_sample.sampling_rate"),
    "sflow.sample.sequence": (number, "sflow.flow_sample.sequence_number"),
    "sflow.sample.pool": (number, "sflow.flow_sample.sample_pool"),
    "sflow.sample.drops": (number, "sflow.flow_sample.dropped_packets"),
    "sflow.source.index": (number, "sflow.flow_sample.index"),
    "netflow.interface.input": (number, "sflow.flow_sample.input_interface"),
    "netflow.interface.output": (number, "sflow.flow_sample.output_interface_value"),
    "netflow.flow.bytes": (number, "sflow_245.header.frame_length"),
    "sflow.header.stripped": (number, "sflow_245.header.payload_stripped"),
    "source.address": (address, "ip.src", "ipv6.src", "sflow_245.ipv4_src", "sflow_245.ipv6_src"),
    "destination.address": (address, "ip.dst", "ipv6.dst", "sflow_245.ipv4_dst", "sflow_245.ipv6_dst"),
    "source.port": (number, "tcp.srcport", "udp.srcport"),
    "destination.port": (number, "tcp.dstport", "udp.dstport"),
    "network.protocol.number": (number, "ip.proto"),
    "netflow.src_mac": (mac, "eth.src"),
    "netflow.dst_mac": (mac, "eth.dst"),
    "netflow.icmp.type": (number, "icmp.type", "icmpv6.type"),
    "netflow.icmp.code": (number, "icmp.code", "icmpv6.code"),
    "netflow.src_mask": (number, "sflow_245.nexthop.src_mask"),
    "netflow.dst_mask": (number, "sflow_245.nexthop.dst_mask"),
    "netflow.nexthop": (address, "sflow_245.nexthop"),
    "netflow.src_as": (number, "sflow_245.srcAS"),
    "ipfix.ip_ttl": (number, "ip.ttl", "ipv6.hlim"),
    "ipfix.ethernet_type": (number, "vlan.etype", "eth.type"),
}

# tshark's fields of a record that say nothing of their own, or that stand in another one.
NOT_FIELDS = re.compile(
    r"cflow\.(tcpflags\.|mpls_(label|exp|bos)|string_len|padding|template_|enterprise_private_entry|pie\.\w+$|pen|"
    r"unknown_field_type|forwarding_status|appl_id|icmp_type_code|scope_|sampling_interval$|sampling_algorithm$|"
    r"(abs)?time(start|end|delta)|reserved|scope|sampler_random_interval|flags$|option)|eth\.|vlan\.|ip\.|ipv6\.|udp\.|tcp\.|"
    r"icmp|_ws\.|sflow|data|frame\.|mpls\.|arp\.|dns|http|tls|ssl|stp|llc")


def readings(shown, octets):
    """Everything that a field's octets could be shown as."""
    said = {octets.hex(), str(number(octets)), octets.hex(":"), text(octets), shown, (shown or "").rstrip()}
    if len(octets) in (4, 16):
        said.add(address(octets))
    said.add(str(int.from_bytes(octets, "big", signed=True)))
    said.add(octets.decode(errors="replace"))
    if len(octets) in (4, 8):
        (real,) = struct.unpack(">f" if len(octets) == 4 else ">d", octets)
        # As short as tells it from its neighbours, like tshark's six digits.
        said.add("%.6g" % real)
    return said


def as_shown(value):
    """Forms of an attribute's value that a reading may have."""
    if isinstance(value, list):
        return {form for part in value for form in as_shown(part)}
    forms = {str(value)}
    if isinstance(value, float):
        forms.add("%.6g" % value)
    return forms


def flags(shown):
    """`...AP.SF` as a number."""
    return sum(1 << place for place, letter in enumerate(reversed(shown)) if letter != ".")


def nfdump_direction(value):
    return {0: "receive", 1: "transmit"}.get(value, value)


# nfdump's names, by our attribute, in order of preference.
NFDUMP = {
    "source.address": (str, "src4_addr", "src6_addr"), "destination.address": (str, "dst4_addr", "dst6_addr"),
    "source.port": (int, "src_port"), "network.protocol.number": (int, "proto"),
    "netflow.flow.estimated.packets": (int, "in_packets"), "netflow.flow.estimated.bytes": (int, "in_bytes"),
    "netflow.tcp_flags": (flags, "tcp_flags"), "netflow.tos": (int, "src_tos"),
    "netflow.interface.input": (int, "input_snmp"), "netflow.interface.output": (int, "output_snmp"),
    "netflow.src_as": (int, "src_as"), "netflow.dst_as": (int, "dst_as"),
    "netflow.src_mask": (int, "src_mask"), "netflow.dst_mask": (int, "dst_mask"),
    "netflow.nexthop": (str, "ip4_next_hop", "ip6_next_hop"),
    "netflow.bgp_nexthop": (str, "bgp4_next_hop", "bgp6_next_hop"),
    "network.io.direction": (nfdump_direction, "direction"), "netflow.forwarding_status": (int, "fwd_status"),
    "netflow.vlan.input": (int, "src_vlan"), "netflow.vlan.output": (int, "dst_vlan"),
    "netflow.src_mac": (str, "in_src_mac"), "netflow.dst_mac": (str, "in_dst_mac"),
    "netflow.nat.source.address": (str, "src4_xlt_ip", "src6_xlt_ip"),
    "netflow.nat.destination.address": (str, "dst4_xlt_ip", "dst6_xlt_ip"),
    "netflow.nat.source.port": (int, "src_xlt_port"), "netflow.nat.destination.port": (int, "dst_xlt_port"),
    "netflow.vrf.input": (int, "ingress_vrf"), "netflow.vrf.output": (int, "egress_vrf"),
    "netflow.user": (str, "user_name"),
    **{"netflow.mpls.label.%d" % place: (lambda shown: int(shown.split("-")[0]), "mpls_%d" % place)
       for place in range(1, 11)},
}
