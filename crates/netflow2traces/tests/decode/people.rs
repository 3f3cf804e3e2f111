//! Tables, comma-separated values, totals.

use std::collections::HashMap;
use std::fs;

use otlp_wire::controls::is_steering;
use serde_json::Value;
use tempfile::TempDir;

use super::{Ended, NAMES, capture, decode, decode_stdin, decode_with};

#[test]
fn a_table_has_columns() {
    let ended = decode(["--format", "table", &*capture("softflowd-ipfix")]);
    ended.tells(0, "everything was decoded");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "START (UTC)              DURATION  PROTO  SOURCE           DESTINATION      PACKETS  BYTES  EXPORTER"
    );
    assert_eq!(
        lines[1],
        "2026-11-22 12:49:08.631   0.007 s  tcp    127.0.0.2:35049  127.0.0.3:38400        6   4407  127.0.0.1"
    );
    assert!(lines.iter().any(|line| line.contains("127.0.0.2 (8/0)")));
    assert!(lines.iter().any(|line| line.contains("[::1]:56144")));
    // Every exporter begins in the same column.
    let at = lines[0].find("EXPORTER");
    assert!(lines[1..].iter().all(|line| line.rfind("127.0.0.1") == at));
}

#[test]
fn comma_separated_values_are_those_of_json() {
    for name in NAMES {
        let records = decode([&*capture(name)]).records();
        let ended = decode(["--format", "csv", &*capture(name)]);
        ended.tells(0, "everything was decoded");
        let mut lines = ended.stdout.lines();
        let names: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!(
            names[..6],
            ["start", "end", "file", "exporter", "domain", "protocol"]
        );
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), records.len());
        for (row, record) in rows.iter().zip(&records) {
            assert_eq!(row.len(), names.len());
            for (name, cell) in names.iter().zip(row) {
                let value = match *name {
                    "file" => continue,
                    "start" | "end" | "exporter" | "domain" | "protocol" => &record[name],
                    attribute => &record["attributes"][attribute],
                };
                let expected = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(*cell, expected, "{name}: {record}");
            }
        }
    }
}

#[test]
fn the_names_of_columns_come_without_records() {
    let ended = decode([
        "--format",
        "csv",
        "--filter",
        "not any",
        &*capture("softflowd-v5"),
    ]);
    ended.tells(0, "left out by --filter: 6 further records");
    assert_eq!(ended.stdout.lines().count(), 1);
    assert!(ended.stdout.starts_with("start,end,file,"));
}

/// An IPFIX message, in hexadecimal, with a record of one address and a user's name (element 371).
fn named(name: &str) -> String {
    let length = u16::try_from(name.len()).unwrap().to_be_bytes();
    let template = [
        0, 2, 0, 16, 1, 0, 0, 2, 0, 8, 0, 4, 1, 115, length[0], length[1],
    ];
    let mut data = vec![1, 0];
    data.extend(u16::try_from(8 + name.len()).unwrap().to_be_bytes());
    data.extend([192, 0, 2, 1]);
    data.extend(name.as_bytes());
    let whole = 16 + template.len() + data.len();
    let mut message = vec![0, 10];
    message.extend(u16::try_from(whole).unwrap().to_be_bytes());
    message.extend([0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    message.extend(template);
    message.extend(data);
    let hex = message.iter().map(|octet| format!("{octet:02x}"));
    hex.collect::<String>() + "\n"
}

#[test]
fn a_text_from_the_network_steers_no_terminal() {
    let nasty = "red\u{1b}[31m\u{9b}31m\u{7f}\u{202e}gnp\u{2066}\u{200f}end";
    for format in ["json", "otlp", "csv", "table"] {
        let mut arguments = vec!["--format", format, "--attributes", "all", "-"];
        if ["csv", "table"].contains(&format) {
            arguments.splice(..0, ["--top", "9", "--by", "netflow.user"]);
        }
        let ended = decode_stdin(arguments, named(nasty).as_bytes());
        let shown = &ended.stdout;
        assert!(shown.contains("gnp"), "{format}: {shown:?}");
        let steers = |c: char| (c.is_control() && c != '\n') || is_steering(c);
        assert!(!shown.contains(steers), "{format}: {shown:?}");
        if format == "json" {
            assert!(shown.contains(r"\u202egnp\u2066"), "{shown}");
        }
    }
}

/// Bytes, packets and flows by source and protocol, of JSON records.
fn sums(records: &[Value]) -> HashMap<(String, String), [u64; 3]> {
    let mut sums: HashMap<_, [u64; 3]> = HashMap::new();
    for record in records {
        let attributes = &record["attributes"];
        let text = |key: &str| attributes[key].as_str().unwrap().to_owned();
        let key = (text("source.address"), text("network.transport"));
        let sum = sums.entry(key).or_default();
        sum[0] += attributes["netflow.flow.bytes"].as_u64().unwrap();
        sum[1] += attributes["netflow.flow.packets"].as_u64().unwrap();
        sum[2] += 1;
    }
    sums
}

#[test]
fn totals_are_the_sums_of_records_with_the_largest_first() {
    for name in NAMES {
        let expected = sums(&decode([&*capture(name)]).records());
        let ended = decode(["--top", "100", "--by", "src,proto", &*capture(name)]);
        let totals = ended.records();
        assert_eq!(totals.len(), expected.len());
        for total in &totals {
            let text = |key: &str| total[key].as_str().unwrap().to_owned();
            let sum = expected[&(text("source.address"), text("network.transport"))];
            let found = ["bytes", "packets", "flows"].map(|key| total[key].as_u64().unwrap());
            assert_eq!(found, sum, "{total}");
        }
        let bytes: Vec<_> = totals.iter().map(|total| total["bytes"].as_u64()).collect();
        assert!(bytes.is_sorted_by(|one, other| one >= other));
    }
}

#[test]
fn totals_can_be_a_table_or_comma_separated() {
    let file = capture("softflowd-v5");
    let ended = decode([
        "--top",
        "2",
        "--by",
        "src,dstport",
        "--format",
        "table",
        &*file,
    ]);
    ended.tells(0, "top: 2 of 6 totals, of 5305 bytes in 20 packets in all");
    assert_eq!(
        ended.stdout,
        "SRC        DSTPORT  FLOWS  PACKETS  BYTES   SHARE\n\
         127.0.0.2  38400        1        6   4407  83.0 %\n\
         127.0.0.3  35049        1        6    408   7.6 %\n"
    );
    let ended = decode([
        "--top",
        "1",
        "--by",
        "exporter,netflow.version",
        "--format",
        "csv",
        &*file,
    ]);
    assert_eq!(
        ended.stdout,
        "exporter,netflow.version,flows,packets,bytes\n127.0.0.1,5,6,20,5305\n"
    );
    // Without fields: the pairs with the most bytes.
    let totals = decode(["--top", "1", &*file]).records();
    assert_eq!(totals[0]["source.address"], "127.0.0.2");
    assert_eq!(totals[0]["destination.address"], "127.0.0.3");
}

#[test]
fn what_a_record_does_not_have_is_a_value_too() {
    let totals = decode([
        "--top",
        "9",
        "--by",
        "netflow.no.such",
        &*capture("softflowd-v5"),
    ]);
    assert_eq!(totals.records()[0]["netflow.no.such"], Value::Null);
    assert_eq!(totals.records()[0]["flows"], 6);
}

#[test]
fn totals_of_sampled_records_are_estimates() {
    // v5, one packet in 100 (header: sampling mode 1, interval 100), 3 packets of 300 bytes.
    let header = "0005 0001 000003e8 65536800 00000000 00000000 00 00 4064";
    let record = "c0000201 c0000202 00000000 0000 0000 00000003 0000012c 00000000 00000000 \
                  0035 0035 00 00 11 00 0000 0000 00 00 0000";
    let input = format!("{header} {record}\n");
    let ended = decode_stdin(["--top", "1", "-"], input.as_bytes());
    ended.tells(
        0,
        "whose bytes and packets are estimates (count times sampling interval): 1",
    );
    let [total] = &ended.records()[..] else {
        panic!("{}", ended.stdout);
    };
    assert_eq!(total["bytes"], 30_000);
    assert_eq!(total["packets"], 300);
    assert_eq!(total["flows"], 1);
}

#[test]
fn wrong_arguments_say_what_is_accepted() {
    let file = capture("softflowd-v5");
    let ended = decode(["--top", "1", "--by", "exportr", &*file]);
    ended.tells(2, "\"exportr\" is not a field; did you mean \"exporter\"?");
    decode(["--top", "0", &*file]).tells(2, "not a whole number from 1");
    decode(["--by", "src", &*file]).tells(2, "--top");
    let ended = decode(["--top", "1", "--format", "otlp", &*file]);
    ended.tells(2, "--top has no OTLP form: use --format table, csv or json");
}

#[test]
fn definitions_of_elements_come_from_a_flag_or_from_the_daemons_variable() {
    // IPFIX: element 7 of enterprise 32473 in four octets, with the value 5.
    let message =
        b"000a002865530000000000000000000100020010010000018007000400007ed90100000800000005\n";
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("fields.csv");
    fs::write(&file, "32473,7,acmeDelay,unsigned32,acme.delay\n").unwrap();
    let path = file.to_str().unwrap();
    let delay = |ended: &Ended, key: &str| ended.records()[0]["attributes"][key].clone();

    let plain = decode_stdin(["--format", "json", "-"], message);
    assert_eq!(delay(&plain, "ipfix.enterprise_32473.7"), "00000005");
    let named = decode_stdin(["--format", "json", "--fields", path, "-"], message);
    assert_eq!(delay(&named, "acme.delay"), 5);
    let arguments = ["--format", "json", "-"];
    let named = decode_with(arguments, &[("NETFLOW_FIELDS", path)], message);
    assert_eq!(delay(&named, "acme.delay"), 5);

    fs::write(&file, "32473,7,acmeDelay,number\n").unwrap();
    let reason = "line 1: type \"number\" is not known";
    decode(["--fields", path, "-"]).tells(2, reason);
    let refused = decode_with(["-"], &[("NETFLOW_FIELDS", path)], b"");
    refused.tells(2, &format!("NETFLOW_FIELDS={path}: {reason}"));
}
