use super::*;

#[test]
fn errors_name_the_column_and_what_was_expected() {
    for (text, expected) in [
        (
            "",
            "column 1: expected a comparison such as \"src net 10.0.0.0/8\", \"port 443\" or \"bytes > 1m\", found the end of the filter",
        ),
        (
            "prot tcp",
            "column 1: \"prot\" is not a word of the filter language; did you mean \"proto\"?",
        ),
        (
            "port 80 and byts > 1m",
            "column 13: \"byts\" is not a word of the filter language; did you mean \"bytes\"?",
        ),
        (
            "port 80 and xyzzy",
            "column 13: expected a comparison such as \"src net 10.0.0.0/8\", \"port 443\" or \"bytes > 1m\", found \"xyzzy\"",
        ),
        (
            "10.0.0.1",
            "column 1: \"10.0.0.1\" is not a word of the filter language; did you mean \"host 10.0.0.1\"?",
        ),
        (
            "src 10.0.0.0/8",
            "column 5: \"10.0.0.0/8\" is not a word of the filter language; did you mean \"net 10.0.0.0/8\"?",
        ),
        (
            "dst 53",
            "column 5: expected \"host\", \"net\", \"network\", \"port\", \"as\", \"mask\", \"vlan\" or \"mac\" after \"dst\", found \"53\"",
        ),
        (
            "in port 80",
            "column 1: the ends of a flow are \"src port\" and \"dst port\", not \"in\"",
        ),
        (
            "src if 3",
            "column 1: interfaces are \"in if\" and \"out if\", not \"src\"",
        ),
        (
            "src bytes > 3",
            "column 1: a flow has one \"bytes\": leave \"src\" out",
        ),
        (
            "port http",
            "column 6: expected a number from 0 to 65535, or a range such as 1-10, found \"http\"",
        ),
        (
            "port 65536",
            "column 6: expected a number from 0 to 65535, or a range such as 1-10, found \"65536\"",
        ),
        (
            "port",
            "column 5: expected a number from 0 to 65535, or a range such as 1-10, found the end of the filter",
        ),
        (
            "port 90-80",
            "column 6: the range \"90-80\" ends before it begins",
        ),
        (
            "port > 80-90",
            "column 8: a range can't be compared so: write one of its ends",
        ),
        (
            "port > 80, 90",
            "column 8: only one value can be compared so; with several: \"in [ ]\"",
        ),
        (
            "port in 80",
            "column 9: expected \"[\" after \"in\", found \"80\"",
        ),
        (
            "port in [80",
            "column 9: this \"[\" is never closed: a \"]\" is missing",
        ),
        (
            "port in []",
            "column 10: expected a number from 0 to 65535, or a range such as 1-10, found \"]\"",
        ),
        (
            "proto tpc",
            "column 7: \"tpc\" is not a known protocol; did you mean \"tcp\"?",
        ),
        (
            "proto 256",
            "column 7: expected a protocol by name or number, such as tcp, udp, icmp or 47, found \"256\"",
        ),
        (
            "bytes > 1x",
            "column 9: expected a number such as 1500, 100k, 1.5m or 2g, found \"1x\"",
        ),
        (
            "bytes > 0.5",
            "column 9: expected a number such as 1500, 100k, 1.5m or 2g, found \"0.5\"",
        ),
        (
            "bytes > -1",
            "column 9: expected a number such as 1500, 100k, 1.5m or 2g, found \"-1\"",
        ),
        (
            "bytes 18446744073709551616",
            "column 7: expected a number such as 1500, 100k, 1.5m or 2g, found \"18446744073709551616\"",
        ),
        (
            "duration > 5m",
            "column 12: expected a duration such as 500ms, 30s, 5min or 1h (a number alone counts milliseconds), found \"5m\"",
        ),
        (
            "net 10.0.0.1",
            "column 5: expected a prefix such as 10.0.0.0/8 after \"net\", found \"10.0.0.1\"",
        ),
        (
            "net 10.0.0.0 255.0.255.0",
            "column 14: the ones of a mask must be together",
        ),
        (
            "net 10.0.0.0/33",
            "column 5: expected an address such as 192.0.2.1, or a prefix such as 10.0.0.0/8, found \"10.0.0.0/33\"",
        ),
        (
            "host example.org",
            "column 6: expected an address such as 192.0.2.1, or a prefix such as 10.0.0.0/8, found \"example.org\"",
        ),
        (
            "host 10.0.0.9-10.0.0.1",
            "column 6: the range \"10.0.0.9-10.0.0.1\" ends before it begins",
        ),
        (
            "host > 10.0.0.1",
            "column 6: addresses can only be equal or not",
        ),
        ("network < a", "column 9: names can only be equal or not"),
        (
            "network (",
            "column 9: expected the name of a network (in quotation marks if it has blanks), found \"(\"",
        ),
        (
            "network 'a b",
            "column 9: a name begins with ' here, and the closing ' is missing",
        ),
        (
            "flags Q",
            "column 7: expected the letters of flags that are all set, of F, S, R, P, A, U, E, C or X for all of the first six, found \"Q\"",
        ),
        (
            "dscp af44",
            "column 6: expected a code point from 0 to 63 or by name, such as EF, AF41 or CS6, found \"af44\"",
        ),
        (
            "mac 00:53:00",
            "column 5: expected a MAC address such as 00:53:00:12:34:56, found \"00:53:00\"",
        ),
        (
            "direction up",
            "column 11: expected \"ingress\" or \"egress\", found \"up\"",
        ),
        (
            "port 80 port 90",
            "column 9: expected \"and\", \"or\" or the end of the filter, found \"port\"",
        ),
        (
            "port 80 and",
            "column 12: expected a comparison such as \"src net 10.0.0.0/8\", \"port 443\" or \"bytes > 1m\", found the end of the filter",
        ),
        (
            "(port 80 or tcp",
            "column 1: this \"(\" is never closed: a \")\" is missing",
        ),
        (
            "(port 80 tcp)",
            "column 10: expected \"and\", \"or\" or \")\", found \"tcp\"",
        ),
        ("port 80)", "column 8: this \")\" has no \"(\" before it"),
        (
            "größe > 3",
            "column 1: expected a comparison such as \"src net 10.0.0.0/8\", \"port 443\" or \"bytes > 1m\", found \"größe\"",
        ),
        (
            "network ö and prot 3",
            "column 15: \"prot\" is not a word of the filter language; did you mean \"proto\"?",
        ),
        ("tcp \u{7}", "column 5: '\\u{7}' has no meaning in a filter"),
    ] {
        let error = text.parse::<Filter>().expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
        let column: usize = expected[7..].split(':').next().unwrap().parse().unwrap();
        assert_eq!(error.column(), column);
    }
}

#[test]
fn a_mark_stands_under_the_column() {
    let text = "port 80\nand\tbyts > 1m";
    let error = text.parse::<Filter>().unwrap_err();
    assert_eq!(error.mark(text), "  and\tbyts > 1m\n     \t^^^^");
    let text = "port 80 and";
    let error = text.parse::<Filter>().unwrap_err();
    assert_eq!(error.mark(text), "  port 80 and\n             ^");
}

#[test]
fn what_would_need_too_much_is_refused() {
    let deep = format!("{}tcp{}", "(".repeat(65), ")".repeat(65));
    let error = deep.parse::<Filter>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 65: more than 64 brackets or \"not\" within each other"
    );
    assert!("not ".repeat(65).parse::<Filter>().is_err());
    assert!(filter(&format!("{}tcp{}", "(".repeat(64), ")".repeat(64))).matches(&https()));
    let long = "tcp or ".repeat(20_000);
    assert!(
        long.parse::<Filter>()
            .unwrap_err()
            .to_string()
            .contains("too long")
    );
}
