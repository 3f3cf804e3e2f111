use super::*;

#[track_caller]
fn holds(flow: &FlowView<'_>, filters: &[&str]) {
    for text in filters {
        assert!(filter(text).matches(flow), "{text}");
        assert!(
            !filter(&format!("not ({text})")).matches(flow),
            "not ({text})"
        );
    }
}

#[track_caller]
fn fails(flow: &FlowView<'_>, filters: &[&str]) {
    for text in filters {
        assert!(!filter(text).matches(flow), "{text}");
    }
}

#[test]
fn addresses() {
    holds(
        &https(),
        &[
            "any",
            "inet",
            "ipv4",
            "host 10.1.2.3",
            "ip 203.0.113.7",
            "src host 10.1.2.3",
            "source ip = 10.1.2.3",
            "dst ip 203.0.113.7",
            "src net 10.0.0.0/8",
            "src net 10/8",
            "src net 10.1.255.255/16",
            "net 10.1.0.0 255.255.0.0",
            "net 0.0.0.0/0",
            "src host 10.1.2.3/32",
            "src ip 10.1.2.0-10.1.2.9",
            "src ip in [192.0.2.1, 10.1.0.0/16 2001:db8::/32]",
            "src ip not in [192.0.2.1]",
            "host 10.1.2.3, 10.1.2.4",
            "src host != 10.1.2.4",
            "src and dst net 0.0.0.0/0",
            "src or dst host 10.1.2.3",
            "exporter 192.0.2.1",
            "router ip 192.0.2.0/24",
            "exporter in [192.0.2.1 192.0.2.2]",
            "nexthop 192.0.2.254",
            "next ip 192.0.2.254",
            "next hop 192.0.2.254",
        ],
    );
    fails(
        &https(),
        &[
            "inet6",
            "dst host 10.1.2.3",
            "src and dst net 10.0.0.0/8",
            "net ::/0",
            "src net 11.0.0.0/8",
            "src ip 10.1.2.4-10.1.2.9",
            "host ::ffff:10.1.2.3",
            "exporter 192.0.2.2",
        ],
    );
    holds(
        &ping(),
        &[
            "inet6",
            "net ::/0",
            "src net 2001:db8::/48",
            "exporter 2001:db8::fe",
        ],
    );
    fails(
        &ping(),
        &[
            "inet",
            "net 0.0.0.0/0",
            "nexthop 192.0.2.254",
            "nexthop ::/0",
        ],
    );
}

#[test]
fn numbers() {
    holds(
        &https(),
        &[
            "port 443",
            "port = 443",
            "port == 443",
            "port eq 443",
            "PORT EQ 443",
            "dst port in [80, 443]",
            "dst port in [80 443]",
            "dst port in [ 400-500 ]",
            "dst port 80,443",
            "port 400-443",
            "port > 50000",
            "dst port < 444",
            "dst port <= 443",
            "dst port le 443",
            "dst port >= 443",
            "dst port != 80",
            "dst port <> 80",
            "dst port ne 80",
            "src port gt 1023 and dst port lt 1024",
            "src port not in [1-1023]",
            "src or dst port 443",
            "src and dst port > 400",
            "port 0x1bb",
            "tcp",
            "TCP",
            "proto tcp",
            "proto 6",
            "protocol in [tcp udp]",
            "proto 1-10",
            "if 3",
            "if 7",
            "in if 3",
            "out if 7",
            "interface in [1 2 3]",
            "in or out if 7",
            "as 64512",
            "src as 64512",
            "dst as > 65535",
            "src mask 24",
            "vlan 100",
            "in vlan 100",
            "src vlan 100",
            "out vlan 200",
            "mac 00:53:00:12:34:56",
            "src mac 00-53-00-12-34-56",
            "dst mac 0:53:0:0:0:1",
            "direction ingress",
            "flowdir ingress",
            "version 9",
            "version v9",
            "tos 184",
            "tos 0xb8",
            "dscp ef",
            "dscp 46",
            "dscp in [AF41, EF]",
        ],
    );
    fails(
        &https(),
        &[
            "src port 443",
            "port < 0",
            "port > 65535",
            "udp",
            "proto udp,icmp",
            "in if 7",
            "src and dst as 64512",
            "dst mac 00:53:00:12:34:56",
            "dscp cs5",
            "version ipfix",
        ],
    );
    holds(
        &ping(),
        &[
            "icmp6",
            "proto ipv6-icmp",
            "icmp-type 128",
            "icmp type 128 and icmp code 0",
            "direction egress",
            "version ipfix",
        ],
    );
}

#[test]
fn amounts() {
    holds(
        &https(),
        &[
            "bytes 2m",
            "bytes = 2000000",
            "bytes > 1.5m",
            "bytes < 2mi",
            "octets >= 2000k",
            "bytes 1m-3m",
            "packets > 1k",
            "packets 1.5k",
            "duration 4000",
            "duration 4s",
            "duration > 3999ms",
            "duration < 1min",
            "duration < 1h",
            "bps 4m",
            "bps > 3.9m",
            "pps 375",
            "bpp 1333",
        ],
    );
    fails(
        &https(),
        &["bytes > 2m", "packets < 1500", "duration > 4s", "bps > 4m"],
    );
    // Nothing can be divided by no packets, or by no time.
    fails(&ping(), &["bps 0", "pps 0", "bpp 0", "bps >= 0"]);
    holds(&ping(), &["not bps > 0", "bytes 0", "duration 0"]);
}

#[test]
fn tcp_flags() {
    holds(
        &https(),
        &[
            "flags S",
            "flags SA",
            "flags FSPA and not flags RU",
            "flags pA",
        ],
    );
    fails(&https(), &["flags R", "flags SR", "flags X"]);
    // Of another protocol they say nothing.
    fails(&ping(), &["flags S", "flags F"]);
    let mut unknown = FlowView::default();
    unknown.set(Number::TcpFlags, 2);
    holds(&unknown, &["flags S"]);
}

#[test]
fn networks() {
    holds(
        &https(),
        &[
            "network office",
            "src network office",
            "src network = 'office'",
            "dst network \"the internet\"",
            "network in [a, office]",
            "src network != b",
        ],
    );
    fails(
        &https(),
        &[
            "dst network office",
            "network Office",
            "src and dst network office",
        ],
    );
    assert!(filter("port 1 or not (network a)").names_networks());
    assert!(!filter("port 1 or net 10.0.0.0/8").names_networks());
    fails(&FlowView::default(), &["network office"]);
}

#[test]
fn what_a_flow_does_not_have_is_equal_to_nothing() {
    let nothing = FlowView::default();
    fails(
        &nothing,
        &[
            "port 0",
            "port >= 0",
            "host 0.0.0.0",
            "inet",
            "inet6",
            "bytes < 1",
            "dscp 0",
            "exporter ::/0",
        ],
    );
    holds(
        &nothing,
        &["not port 0", "port != 0", "src host != 10.0.0.1", "any"],
    );
}

#[test]
fn operators_bind_as_expected() {
    holds(
        &https(),
        &[
            // Not `(port 443 or port 80) and udp`.
            "port 443 or port 80 and udp",
            "not udp and port 443",
            "not (udp and port 443)",
            "!udp && (port 80 || port 443)",
            "! udp & port 443",
            "not not tcp",
            "udp or tcp or icmp",
            "(((tcp)))",
            "tcp # and a comment\nand port 443",
            "\ttcp\n and\r\n port 443  ",
        ],
    );
    fails(
        &https(),
        &["(port 443 or port 80) and udp", "not tcp or udp", "not any"],
    );
}

#[test]
fn a_filter_keeps_its_text() {
    let one = filter("port  443");
    assert_eq!(one.to_string(), "port  443");
    assert_eq!(one, filter("port  443"));
    assert_ne!(one, filter("port 443"));
}

#[test]
fn long_lists_and_chains_compile() {
    let ports: Vec<String> = (0..5_000).map(|port| (port * 2).to_string()).collect();
    let list = filter(&format!("dst port in [{}]", ports.join(" ")));
    assert!(!list.matches(&https()));
    let chain = ports.iter().map(|port| format!("port {port}"));
    let chain = chain.collect::<Vec<_>>().join(" or ");
    let mut flow = FlowView::default();
    flow.set(Number::DestinationPort, 9_998);
    assert!(list.matches(&flow));
    assert!(filter(&chain).matches(&flow));
    assert!(!filter(&chain).matches(&https()));
}
