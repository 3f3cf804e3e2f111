//! `--filter`: the records that match, of every protocol.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{capture, captures, decode};

/// Recordings of softflowd, and of `send` in every protocol.
fn every_capture() -> Vec<String> {
    let folders = [captures(), captures().join("../differential")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "pcap")
        })
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

fn number(record: &Value, key: &str) -> Option<u64> {
    record["attributes"][key].as_u64()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record["attributes"][key].as_str().unwrap_or("")
}

/// A filter, and what it means of a record of JSON.
type Case = (&'static str, fn(&Value) -> bool);

const CASES: &[Case] = &[
    ("tcp", |record| {
        number(record, "network.protocol.number") == Some(6)
    }),
    ("dst port < 1024", |record| {
        number(record, "destination.port").is_some_and(|port| port < 1024)
    }),
    ("port in [53, 443]", |record| {
        ["source.port", "destination.port"]
            .iter()
            .any(|key| matches!(number(record, key), Some(53 | 443)))
    }),
    ("src net 10.0.0.0/8", |record| {
        text(record, "source.address").starts_with("10.")
    }),
    ("dst ip 127.0.0.3", |record| {
        text(record, "destination.address") == "127.0.0.3"
    }),
    ("inet6", |record| {
        text(record, "source.address").contains(':')
            || text(record, "destination.address").contains(':')
    }),
    ("bytes > 1k and packets <= 100", |record| {
        number(record, "netflow.flow.bytes").is_some_and(|bytes| bytes > 1_000)
            && number(record, "netflow.flow.packets").is_some_and(|packets| packets <= 100)
    }),
    ("duration > 100", |record| {
        match (
            record["start_unix_nano"].as_u64(),
            record["end_unix_nano"].as_u64(),
        ) {
            (Some(start), Some(end)) => end.saturating_sub(start) > 100_000_000,
            _ => false,
        }
    }),
    ("flags S and not flags R", |record| {
        let flags = number(record, "netflow.tcp_flags");
        number(record, "network.protocol.number") == Some(6)
            && flags.is_some_and(|flags| flags & 2 == 2 && flags & 4 == 0)
    }),
    ("in if > 1 or out if > 1", |record| {
        ["netflow.interface.input", "netflow.interface.output"]
            .iter()
            .any(|key| number(record, key).is_some_and(|index| index > 1))
    }),
    ("src as >= 64512", |record| {
        number(record, "netflow.src_as").is_some_and(|number| number >= 64_512)
    }),
    ("exporter 127.0.0.0/8", |record| {
        record["exporter"]
            .as_str()
            .is_some_and(|address| address.starts_with("127."))
    }),
    ("version ipfix", |record| {
        number(record, "netflow.version") == Some(10)
    }),
    ("icmp-type 8 or icmp-type 128", |record| {
        matches!(number(record, "netflow.icmp.type"), Some(8 | 128))
    }),
    ("direction egress", |record| {
        text(record, "network.io.direction") == "transmit"
    }),
];

#[test]
fn filters_select_what_their_meaning_does_in_every_protocol() {
    let files = every_capture();
    let files = || files.iter().map(String::as_str);
    let all = decode(files()).records();
    assert!(all.len() > 100, "{}", all.len());
    for protocol in ["netflow", "ipfix", "sflow"] {
        assert!(
            all.iter().any(|record| record["protocol"] == protocol),
            "{protocol}"
        );
    }
    for (filter, meaning) in CASES {
        let selected = decode(["--filter", filter].into_iter().chain(files()));
        let expected: Vec<&Value> = all.iter().filter(|record| meaning(record)).collect();
        assert_eq!(
            selected.records().iter().collect::<Vec<_>>(),
            expected,
            "{filter}"
        );
        assert!(!expected.is_empty(), "no record shows what {filter} does");
    }
}

#[test]
fn levels_show_no_more_because_of_a_filter() {
    let file = capture("softflowd-v5");
    let all = decode(["--attributes", "minimal", &*file]);
    let filtered = decode([
        "--attributes",
        "minimal",
        "--filter",
        "flags S or not tcp",
        &*file,
    ]);
    assert_eq!(filtered.stdout, all.stdout);
}

#[test]
fn requests_keep_the_work_spans_of_what_is_left() {
    let names = |filter| {
        let ended = decode([
            "--format",
            "otlp",
            "--filter",
            filter,
            &*capture("softflowd-v5"),
        ]);
        let mut names: Vec<String> = Vec::new();
        for request in ended.records() {
            for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]
                .as_array()
                .unwrap()
            {
                names.push(span["name"].as_str().unwrap().to_owned());
            }
        }
        names
    };
    assert_eq!(
        names("udp"),
        [
            "netflow.flow",
            "netflow.flow",
            "netflow.export",
            "netflow.parse_packet",
            "netflow.process_flows"
        ]
    );
    assert!(names("port 1").is_empty());
}

#[test]
fn an_error_shows_the_place() {
    let ended = decode(["--filter", "port 80 and byts > 1m", "x.pcap"]);
    ended.tells(
        2,
        "column 13: \"byts\" is not a word of the filter language; did you mean \"bytes\"?\n  \
         port 80 and byts > 1m\n              ^^^^\n",
    );
}
