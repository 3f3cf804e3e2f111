use super::*;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filter.md"));

/// The filters of the page's examples, in its order.
fn examples() -> Vec<&'static str> {
    let rows = PAGE.lines().skip_while(|line| *line != "## Examples");
    rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect()
}

type Numbers = &'static [(Number, u64)];

/// A flow from the first address to the second.
fn between(source: &str, destination: &str, numbers: Numbers) -> FlowView<'static> {
    flow(
        &[(Place::Source, source), (Place::Destination, destination)],
        numbers,
    )
}

fn v4(numbers: Numbers) -> FlowView<'static> {
    between("192.0.2.1", "192.0.2.2", numbers)
}

fn networks(source: &'static str, destination: &'static str) -> FlowView<'static> {
    let mut flow = v4(&[]);
    flow.set_name(Name::SourceNetwork, source);
    flow.set_name(Name::DestinationNetwork, destination);
    flow
}

/// Each example, with a flow that it selects and one that it doesn't.
fn expected() -> Vec<(&'static str, FlowView<'static>, FlowView<'static>)> {
    use Number::*;
    vec![
        (
            "host 192.0.2.10",
            between("198.51.100.1", "192.0.2.10", &[]),
            between("198.51.100.1", "192.0.2.11", &[]),
        ),
        (
            "src net 10.0.0.0/8 and not dst net 10.0.0.0/8",
            between("10.1.1.1", "203.0.113.1", &[]),
            between("10.1.1.1", "10.2.2.2", &[]),
        ),
        (
            "net 172.16/12 or net 192.168/16",
            between("203.0.113.1", "172.31.255.255", &[]),
            between("203.0.113.1", "172.32.0.0", &[]),
        ),
        (
            "inet6 and not net fe80::/10",
            between("2001:db8::1", "2001:db8::2", &[]),
            between("fe80::1", "fe80::2", &[]),
        ),
        (
            "port 53 and proto udp",
            v4(&[(DestinationPort, 53), (Protocol, 17)]),
            v4(&[(DestinationPort, 53), (Protocol, 6)]),
        ),
        (
            "tcp and dst port in [80, 443, 8080-8089]",
            v4(&[(DestinationPort, 8085), (Protocol, 6)]),
            v4(&[(DestinationPort, 8090), (Protocol, 6)]),
        ),
        (
            "src port > 1023 and dst port < 1024",
            v4(&[(SourcePort, 40_000), (DestinationPort, 22)]),
            v4(&[(SourcePort, 22), (DestinationPort, 40_000)]),
        ),
        (
            "proto not in [tcp, udp, icmp, icmp6]",
            v4(&[(Protocol, 47)]),
            v4(&[(Protocol, 17)]),
        ),
        (
            "bytes > 100m",
            v4(&[(Bytes, 100_000_001)]),
            v4(&[(Bytes, 100_000_000)]),
        ),
        (
            "bytes > 1g or packets > 1m or duration > 10min",
            v4(&[(Bytes, 1), (Duration, 601_000_000_000)]),
            v4(&[(Bytes, 1), (Packets, 1), (Duration, 600_000_000_000)]),
        ),
        (
            "flags S and not flags ARF",
            v4(&[(Protocol, 6), (TcpFlags, 0x02)]),
            v4(&[(Protocol, 6), (TcpFlags, 0x17)]),
        ),
        (
            "tcp and packets < 4 and flags SR",
            v4(&[(Protocol, 6), (Packets, 2), (TcpFlags, 0x16)]),
            v4(&[(Protocol, 6), (Packets, 4), (TcpFlags, 0x16)]),
        ),
        (
            "icmp and icmp-type 3 and icmp-code 1",
            v4(&[(Protocol, 1), (IcmpType, 3), (IcmpCode, 1)]),
            v4(&[(Protocol, 1), (IcmpType, 3), (IcmpCode, 3)]),
        ),
        (
            "exporter 192.0.2.1 and in if 3",
            https(),
            flow(
                &[(Place::Exporter, "192.0.2.1")],
                &[(InputInterface, 7), (OutputInterface, 3)],
            ),
        ),
        (
            "if in [3, 4] and direction ingress",
            v4(&[(OutputInterface, 4), (Direction, 0)]),
            v4(&[(OutputInterface, 4), (Direction, 1)]),
        ),
        (
            "src as 64512 and dst as != 64512",
            v4(&[(SourceAs, 64_512), (DestinationAs, 64_513)]),
            v4(&[(SourceAs, 64_512), (DestinationAs, 64_512)]),
        ),
        (
            "dscp in [EF, CS5] and not udp",
            v4(&[(Tos, 0xa0), (Protocol, 6)]),
            v4(&[(Tos, 0xb8), (Protocol, 17)]),
        ),
        (
            "src network office and dst network \"data centre\"",
            networks("office", "data centre"),
            networks("data centre", "office"),
        ),
        (
            "bps > 100m and duration >= 1s",
            v4(&[(Bytes, 100_000_000), (Duration, 1_000_000_000)]),
            v4(&[(Bytes, 100_000_000), (Duration, 1_000_000)]),
        ),
        (
            "src and dst port 123 and bpp > 200",
            v4(&[
                (SourcePort, 123),
                (DestinationPort, 123),
                (Bytes, 4_820),
                (Packets, 10),
            ]),
            v4(&[
                (SourcePort, 123),
                (DestinationPort, 123),
                (Bytes, 760),
                (Packets, 10),
            ]),
        ),
        (
            "vlan 100 or mac 00:53:00:12:34:56",
            v4(&[(InputVlan, 1), (DestinationMac, 0x0053_0012_3456)]),
            v4(&[(InputVlan, 1), (DestinationMac, 0x0053_0012_3457)]),
        ),
        (
            "not (port 22 or port 3389) and version ipfix",
            v4(&[(DestinationPort, 443), (Version, 10)]),
            v4(&[(SourcePort, 3389), (Version, 10)]),
        ),
    ]
}

#[test]
fn the_examples_of_the_page_select_what_it_says() {
    let expected = expected();
    let texts: Vec<_> = expected.iter().map(|(text, ..)| *text).collect();
    assert_eq!(examples(), texts);
    assert!(texts.len() >= 20);
    for (text, selected, other) in expected {
        let filter = filter(text);
        assert!(filter.matches(&selected), "{text}");
        assert!(!filter.matches(&other), "{text}");
    }
}

#[test]
fn the_error_of_the_page_is_what_is_printed() {
    let text = "port 80 and byts > 1m";
    let error = text.parse::<Filter>().unwrap_err();
    assert!(PAGE.contains(&format!("{error}\n{}", error.mark(text))));
}

#[test]
fn every_word_is_on_the_page() {
    for (words, _) in super::super::words::WORDS {
        for word in *words {
            assert!(
                PAGE.contains(&format!("`{word}")) || PAGE.contains(&format!("(`{word}")),
                "{word}"
            );
        }
    }
}
