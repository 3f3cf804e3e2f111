"""The differences that are known: a rule each, what it explains, and the captures where it is seen.

A difference is explained by the first rule that accepts it in a capture that the rule names. A rule that explains
nothing in one of its captures is stale, and that is a failure as well. docs/differential.md has a row for each rule.
"""

import fields

# What the rules were made for. Another version may have mended what a rule explains: it isn't stale by that.
VERSIONS = {"tshark": "4.0.", "nfdump": "1.7.1", "nfacctd": "1.7."}
WRAP = 1 << 32
ADDRESSES = ("source.address", "destination.address", "netflow.nexthop", "netflow.bgp_nexthop")


class Rule:
    def __init__(self, oracle, name, reason, explains, cases):
        self.oracle, self.name, self.reason, self.explains = oracle, name, reason, explains
        self.cases = frozenset(cases.split())


def among_tshark(difference):
    """tshark shows our value too, but not first."""
    rows = fields.SFLOW if difference.case.startswith("sflow") else fields.CFLOW
    read, *names = rows.get(difference.field, (None,))
    _, theirs = difference.record
    return difference.field in ADDRESSES and difference.ours in [read(octets) for octets in theirs.octets(*names)]


def attributes(difference):
    return difference.record[0]["attributes"] if difference.record else {}


def within(difference):
    """tshark takes an octetArray apart, which stands whole in ours."""
    record, theirs = difference.record
    whole = "".join(str(value) for value in record["attributes"].values())
    octets = theirs.octets(difference.field)[0]
    return octets.hex() in whole or octets.decode(errors="replace") in whole


COUNTS = ("netflow.flow.estimated.bytes", "netflow.flow.estimated.packets")


def not_multiplied(difference):
    interval = attributes(difference).get("netflow.sampling.interval", 1)
    return difference.field in COUNTS and interval > 1 and difference.ours == difference.theirs * interval


def has(difference, *names):
    return any(name in attributes(difference) for name in names)


def lists_twice(difference):
    """Elements that stand in the record more than once: the last is nfdump's, and shows in no attribute of ours."""
    return difference.field in (
        "source.address", "destination.address", "source.port", "destination.port", "network.protocol.number",
        "netflow.tos", "netflow.icmp") and difference.ours is not None and difference.theirs is not None


def is_zero(value):
    return value in (0, None, "0.0.0.0", "::", "00:00:00:00:00:00")


RULES = [
    Rule("tshark", "late", "data before its template waits, and is decoded when the template comes",
         lambda d: d.field == "records late" and d.ours > d.theirs,
         "nf9_akvorado_data_templates nf9_nprobe_4"),
    Rule("tshark", "refused", "an element of unusual length costs its own octets; tshark gives the frame up",
         lambda d: d.field == "records refused" and d.ours > d.theirs,
         "nf9_h3c"),
    Rule("tshark", "choice", "of several addresses that of the family in use, else the outermost header's; tshark shows all",
         among_tshark,
         "ipfix_akvorado_mpls ipfix_cisco_mpls_401 ipfix_cisco_srv6_400 ipfix_cisco_srv6_500 "
         "ipfix_cisco_srv6_502 ipfix_cisco_vrf_403 ipfix_huawei_vrf ipfix_netgauze_srv6 "
         "sflow_akvorado_1140"),
    Rule("tshark", "parts", "an octetArray whose meaning its registry doesn't tell stands whole in ours",
         lambda d: d.field.startswith("cflow.pie.cisco.application_http") and within(d),
         "ipfix_np_cisco_enterprise"),
    Rule("tshark", "direction", "a flowDirection that is neither 0 nor 1 says nothing",
         lambda d: d.field == "network.io.direction" and d.ours is None and d.theirs not in (0, 1),
         "ipfix_cisco_pmacct_100"),
    Rule("tshark", "no-interface", "sFlow's interface may be the device itself, none, or several: that is no ifIndex",
         lambda d: d.field.startswith("netflow.interface.") and d.ours is None and
         has(d, d.field.replace("netflow.interface", "sflow") + ".interfaces",
             d.field.replace("netflow.interface", "sflow") + ".internal",
             d.field.replace("netflow.interface", "sflow") + ".discarded", "netflow.discard.reason")
         or d.field.startswith("netflow.interface.") and d.theirs == 0x3FFFFFFF,
         "sflow_akvorado_icmpv4 sflow_akvorado_icmpv6 sflow_akvorado_local_interface sflow_gopacket_ext "
         "sflow_logstash_flow sflow_tcpdump_v6"),
    Rule("tshark", "no-label", "labels end at the bottom of the stack, and sections of zeros with nothing behind them are none",
         lambda d: d.field.startswith("netflow.mpls.label.") and d.ours is None,
         "ipfix_akvorado_mpls ipfix_cisco_mpls_401 ipfix_cisco_pmacct_100 ipfix_cisco_srv6_400 ipfix_cisco_srv6_502 "
         "ipfix_cisco_vrf_403 nf9_cisco_pmacct_101 nf9_cisco_pmacct_111"),
    Rule("tshark", "no-icmp", "ICMP type and code only where the protocol is ICMP; a destination port of 0 says neither",
         lambda d: d.field in ("netflow.icmp.type", "netflow.icmp.code") and d.ours is None and d.theirs == 0,
         "derived-icmp-ipfix-combined derived-icmp-v9-combined "
         "ipfix_akvorado_mpls ipfix_akvorado_physif ipfix_cisco_pmacct_100 ipfix_ixia_256 ipfix_ixia_271 ipfix_scapy "
         "ipfix_softflowd ipfix_viptela nf9_paloalto_panos nf9_scapy_multi_flowset nf9_telegraf"),
    Rule("tshark", "first-nonzero", "of a repeated element the first that isn't zero",
         lambda d: d.field in ("source.port", "destination.port", "netflow.tos") and d.theirs == 0 and bool(d.ours),
         "ipfix_cisco_srv6_400 ipfix_cisco_srv6_500 ipfix_cisco_srv6_502 ipfix_cisco_vrf_403 ipfix_huawei_vrf "
         "ipfix_netgauze_srv6"),
    Rule("tshark", "last-before-first", "an end shortly before the start is a flow of no length at its end",
         lambda d: d.field == "start",
         "nf5_invalid02"),
    Rule("tshark", "own-as", "a source AS of 0 in sFlow is the AS of the device",
         lambda d: d.field == "netflow.src_as" and d.theirs == 0 and bool(d.ours),
         "sflow_akvorado_1140"),
    Rule("nfdump", "avc", "Cisco's elements of client and server stand in for ports, which nfdump doesn't read",
         lambda d: d.field == "destination.port" and not d.theirs and bool(d.ours),
         "ipfix_np_cisco_enterprise ipfix_np_cisco_mixed"),
    Rule("nfdump", "icmp-low", "an ICMP type in the low octet of the port, told by which pairs IANA assigns",
         lambda d: d.field == "netflow.icmp" and d.ours == (d.theirs & 0xff) << 8 | d.theirs >> 8,
         "ipfix_cisco_mpls_401"),
    Rule("nfdump", "protocol-by-icmp", "ICMP's elements tell the protocol where no element does",
         lambda d: d.field == "network.protocol.number" and d.theirs == 0 and d.ours in (1, 58),
         "ipfix_python"),
    Rule("nfdump", "late", "data before its template waits, and is decoded when the template comes",
         lambda d: d.field == "records" and d.ours > d.theirs > 0,
         "nf9_akvorado_data_templates nf9_nprobe_4"),
    Rule("nfdump", "over-count", "a v5 header that counts more records than came: those that came are good",
         lambda d: d.field == "records" and d.theirs == 0,
         "nf5_invalid02"),
    Rule("nfdump", "family", "of two address families the one in use; nfdump keeps IPv4, zero or not",
         lambda d: d.field in ADDRESSES and is_zero(d.theirs),
         "ipfix_akvorado_physif ipfix_cisco_mpls_401 ipfix_cisco_srv6_400 ipfix_cisco_srv6_502 "
         "ipfix_cisco_vrf_403"),
    Rule("nfdump", "icmp", "ICMP type and code, which nfdump takes from some elements only, and shows as the port else",
         lambda d: d.field in ("netflow.icmp", "destination.port") and has(d, "netflow.icmp.type"),
         "derived-icmp-ipfix-apart ipfix_python nf9_akvorado_icmp nf9_fuzz_a nf9_graylog nf9_softflowd"),
    Rule("nfdump", "repeated", "of a repeated element the first, which is the outermost header's; nfdump keeps the last",
         lists_twice,
         "ipfix_cisco_srv6_400 ipfix_cisco_srv6_500 ipfix_cisco_srv6_502 ipfix_cisco_vrf_403 "
         "ipfix_huawei_vrf ipfix_netgauze_srv6"),
    Rule("nfdump", "section", "a sampled frame in the record is dissected; nfdump doesn't look into it",
         lambda d: d.record and is_zero(d.theirs) and has(d, "ipfix.data_link_frame_section"),
         "ipfix_akvorado_datalink"),
    Rule("nfdump", "sampling", "an interval that options data report, which nfdump doesn't apply", not_multiplied,
         "derived-sampling-ipfix-interval derived-sampling-ipfix-random derived-sampling-ipfix-samplers "
         "derived-sampling-ipfix-selectors derived-sampling-v9-interval derived-sampling-v9-random "
         "derived-sampling-v9-samplers derived-sampling-v9-selectors ipfix_akvorado_mpls ipfix_akvorado_physif nf9_akvorado_multi_sampling nf9_graylog "
         "nf9_invalid01"),
    Rule("nfacctd", "random", "309 packets of every 310 (algorithm 3), which nfacctd doesn't apply", not_multiplied,
         "derived-sampling-ipfix-random derived-sampling-v9-random"),
    Rule("nfdump", "v7-reserved", "v7 has no sampling: nfdump takes the reserved end of its header for an interval",
         lambda d: d.field in COUNTS and attributes(d)["netflow.version"] == 7 and d.theirs % d.ours == 0,
         "nf7_netflow_parser"),
    Rule("nfdump", "initiator", "counts of initiator and responder stand in for missing ones; nfdump leaves zero",
         lambda d: d.field in COUNTS and d.theirs == 0 and
         has(d, "ipfix.initiator_octets", "ipfix.initiator_packets", "netflow.flow.reverse.bytes"),
         "ipfix_np_cisco_mixed"),
    Rule("nfdump", "v5-mask", "prefix lengths of v5 and v7, which nfdump doesn't keep",
         lambda d: d.field in ("netflow.src_mask", "netflow.dst_mask") and d.theirs == 0 and
         attributes(d)["netflow.version"] in (5, 7),
         "nf5_juniper_mx80 nf5_netflow_parser nf5_netgraph nf5_vflow nf7_netflow_parser send-v5 send-v7"),
    Rule("nfdump", "forwarding", "forwardingStatus, which nfdump reads as zero from IPFIX",
         lambda d: d.field == "netflow.forwarding_status" and d.theirs == 0,
         "ipfix_akvorado_mpls ipfix_cisco_111 ipfix_cisco_mpls_401 ipfix_cisco_srv6_400 "
         "ipfix_cisco_srv6_400b ipfix_cisco_srv6_500 ipfix_cisco_srv6_502 ipfix_cisco_vrf_403 "
         "ipfix_huawei_vrf ipfix_netgauze_srv6"),
    Rule("nfdump", "post-mac", "postDestinationMacAddress stands in for the destination's; nfdump keeps it apart",
         lambda d: d.field == "netflow.dst_mac" and d.record[1].get("out_dst_mac") == d.ours,
         "ipfix_nprobe_35632"),
    Rule("nfdump", "swapped", "IPFIX's uptimes 21 and 22: nfdump takes the first for the last",
         lambda d: d.field in ("start", "end") and has_uptimes(d) and swapped(d),
         "derived-times-ipfix-uptimes ipfix_cisco_mpls_401 ipfix_cisco_srv6_400 ipfix_cisco_srv6_400b "
         "ipfix_cisco_srv6_500 ipfix_cisco_srv6_502 ipfix_cisco_vrf_403 ipfix_huawei_vrf ipfix_netgauze_srv6 ipfix_python "
         "ipfix_softflowd softflowd-ipfix"),
    Rule("nfdump", "no-time", "elements 150, 151, 154 to 157 and event times, which nfdump doesn't read",
         lambda d: d.field in ("start", "end") and not d.theirs,
         "derived-times-ipfix-microseconds derived-times-ipfix-seconds derived-times-v9-microseconds "
         "derived-times-v9-seconds ipfix_akvorado_ipfixprobe ipfix_viptela nf9_akvorado_nat nf9_cisco_asa_1 nf9_ie150_151 "
         "nf9_libnetflow9_1 nf9_nprobe_2"),
    Rule("nfdump", "wrap", "uptimes are counted modulo 2^32 ms; nfdump doesn't",
         lambda d: d.field in ("start", "end") and abs(d.ours - d.theirs) == WRAP,
         "derived-times-v9-wrap nf5_netflow_parser nf7_netflow_parser nf9_python_softflowd"),
]


def has_uptimes(difference):
    return attributes(difference)["netflow.version"] == 10


def swapped(difference):
    record, theirs = difference.record
    other = "end" if difference.field == "start" else "start"
    return difference.theirs == record[other + "_unix_nano"] // 10**6


def explain(differences, cases):
    """What no rule explains, how often each rule did, and rules that did nothing in a capture of theirs."""
    unknown, used = [], {}
    for difference in differences:
        rule = next((rule for rule in RULES if rule.oracle == difference.oracle and
                     difference.case in rule.cases and rule.explains(difference)), None)
        if rule is None:
            unknown.append(difference)
        else:
            used.setdefault(rule, {}).setdefault(difference.case, []).append(difference)
    stale = [(rule, case) for rule in RULES for case in sorted(rule.cases & cases) if case not in used.get(rule, {})]
    return unknown, used, stale
