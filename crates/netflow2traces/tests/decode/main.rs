//! `netflow2traces decode`: what it prints of captures, and its exit codes.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../flows/mod.rs"]
mod flows;

mod connections;
mod filters;
mod other_traffic;
mod people;
mod softflowd;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use flows::expected::Expected;
use flows::{compare, spans};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn records(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[track_caller]
    fn tells(&self, code: i32, text: &str) {
        assert!(self.stderr.contains(text), "{text}\n{}", self.stderr);
        assert_eq!(self.code, Some(code), "{}", self.stderr);
    }
}

fn decode<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Ended {
    decode_stdin(arguments, b"")
}

fn decode_stdin<'a>(arguments: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Ended {
    decode_with(arguments, &[], input)
}

fn decode_with<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    environment: &[(&str, &str)],
    input: &[u8],
) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netflow2traces"))
        .arg("decode")
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that ends before it has read all is judged by what it says.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/captures")
}

fn capture(name: &str) -> String {
    let path = captures().join(name).with_extension("pcap");
    path.to_str().unwrap().to_owned()
}

const NAMES: [&str; 3] = ["softflowd-v5", "softflowd-v9", "softflowd-ipfix"];

#[test]
fn otlp_lines_have_the_expected_records() {
    for name in NAMES {
        let expected = captures().join(name).with_extension("expected.json");
        let expected = Expected::read(&expected).unwrap();
        let ended = decode(["--format", "otlp", &capture(name)]);
        ended.tells(0, "everything was decoded");
        let requests: Vec<Vec<u8>> = ended
            .stdout
            .lines()
            .map(|line| {
                let request: ExportTraceServiceRequest = serde_json::from_str(line).unwrap();
                request.encode_to_vec()
            })
            .collect();
        let spans = spans::flow_spans(&requests).unwrap();
        let difference = compare::compare(&expected, &spans)
            .err()
            .unwrap_or_default();
        assert!(difference.is_empty(), "{name}: {difference}");
    }
}

#[test]
fn json_lines_have_the_expected_records() {
    for name in NAMES {
        let expected = captures().join(name).with_extension("expected.json");
        let expected: Value = serde_json::from_slice(&fs::read(expected).unwrap()).unwrap();
        let ended = decode([&*capture(name)]);
        let records = ended.records();
        let expected = expected["records"].as_array().unwrap();
        assert_eq!(records.len(), expected.len());
        for (record, expected) in records.iter().zip(expected) {
            let attributes = &record["attributes"];
            for (key, field) in [
                ("source.address", "src_addr"),
                ("destination.address", "dst_addr"),
                ("source.port", "src_port"),
                ("destination.port", "dst_port"),
                ("network.protocol.number", "protocol"),
                ("netflow.flow.bytes", "bytes"),
                ("netflow.flow.packets", "packets"),
            ] {
                assert_eq!(attributes[key], expected[field], "{name} {key}: {record}");
            }
            assert_eq!(record["start_unix_nano"], expected["start_time_unix_nano"]);
            assert_eq!(record["end_unix_nano"], expected["end_time_unix_nano"]);
            assert_eq!(record["version"], expected["version"]);
            assert_eq!(record["exporter"], "127.0.0.1");
            assert_eq!(record["frame"], 1);
            assert_eq!(attributes["netflow.flow.start_unix_nano"], Value::Null);
        }
    }
}

#[test]
fn a_record_is_a_flat_line() {
    let ended = decode(["--attributes", "minimal", &*capture("softflowd-v5")]);
    assert_eq!(
        ended.stdout.lines().next().unwrap(),
        "{\"frame\":1,\"received\":\"2026-11-22T12:49:10.433779Z\",\"exporter\":\"127.0.0.1\",\
         \"port\":37277,\"protocol\":\"netflow\",\"version\":5,\"domain\":0,\
         \"start\":\"2026-11-22T12:49:08.631886Z\",\"end\":\"2026-11-22T12:49:08.638886Z\",\
         \"start_unix_nano\":1795351748631886000,\"end_unix_nano\":1795351748638886000,\
         \"attributes\":{\"netflow.version\":5,\"source.address\":\"127.0.0.2\",\
         \"source.port\":35049,\"destination.address\":\"127.0.0.3\",\"destination.port\":38400,\
         \"network.transport\":\"tcp\",\"network.protocol.number\":6,\"netflow.flow.bytes\":4407,\
         \"netflow.flow.packets\":6,\"netflow.nexthop\":\"0.0.0.0\",\
         \"netflow.interface.input\":0,\"netflow.interface.output\":0,\"netflow.src_as\":0,\
         \"netflow.dst_as\":0}}"
    );
}

/// The packets of a classic capture of little-endian microseconds as a capture of the next generation.
fn next_generation(pcap: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let length = (padded as u32 + 12).to_le_bytes();
        let mut octets = kind.to_le_bytes().to_vec();
        octets.extend(length);
        octets.extend(body);
        octets.resize(8 + padded, 0);
        octets.extend(length);
        octets
    };
    let word = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().unwrap());
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    let mut file = block(0x0a0d_0d0a, &section);
    let mut interface = (word(20) as u16).to_le_bytes().to_vec();
    interface.extend([0; 6]);
    file.extend(block(1, &interface));
    let mut at = 24;
    while at < pcap.len() {
        let (captured, original) = (word(at + 8), word(at + 12));
        let micros = u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4));
        let mut body = Vec::new();
        for value in [0, (micros >> 32) as u32, micros as u32, captured, original] {
            body.extend(value.to_le_bytes());
        }
        at += 16;
        body.extend(&pcap[at..at + captured as usize]);
        at += captured as usize;
        file.extend(block(6, &body));
    }
    file
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn written(folder: &TempDir, name: &str, octets: &[u8]) -> String {
    let path = folder.path().join(name);
    fs::write(&path, octets).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn formats_and_stdin_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let classic = fs::read(capture(name)).unwrap();
        let wanted = decode([&*capture(name)]);
        assert!(!wanted.stdout.is_empty());
        let next = next_generation(&classic);
        let files = [
            ("a.pcapng", next.clone()),
            ("a.pcap.gz", gzip(&classic)),
            ("a.pcapng.gz", gzip(&next)),
        ];
        for (file, octets) in files {
            let ended = decode([&*written(&folder, file, &octets)]);
            assert_eq!(ended.stdout, wanted.stdout, "{name} {file}");
            assert_eq!(ended.code, Some(0));
            assert_eq!(
                decode_stdin(["-"], &octets).stdout,
                wanted.stdout,
                "{name} {file}"
            );
        }
    }
}

#[test]
fn octets_of_a_message_need_no_packets_around_them() {
    let folder = tempfile::tempdir().unwrap();
    let classic = fs::read(capture("softflowd-ipfix")).unwrap();
    // File header, packet header, Ethernet, IPv4, UDP.
    let message = &classic[24 + 16 + 14 + 20 + 8..];
    let wanted = decode([&*capture("softflowd-ipfix")]).records();
    let hex: String = message.iter().map(|octet| format!("{octet:02x}")).collect();
    let hex = format!("# from a router\n{hex}\n");
    for (name, octets, frame) in [("a.ipfix", message, 1), ("a.hex", hex.as_bytes(), 2)] {
        let ended = decode([&*written(&folder, name, octets)]);
        ended.tells(0, "everything was decoded");
        let records = ended.records();
        assert_eq!(records.len(), wanted.len());
        for (record, wanted) in records.iter().zip(&wanted) {
            assert_eq!(record["attributes"], wanted["attributes"]);
            assert_eq!(record["start"], wanted["start"]);
            assert_eq!(record["frame"], frame);
            assert_eq!(record["exporter"], Value::Null);
        }
    }
}

#[test]
fn templates_hold_over_files_and_data_may_come_first() {
    let folder = tempfile::tempdir().unwrap();
    // Template 256: source address; one record of it.
    let template = "0009 0001 00000000 65000000 00000000 00000007 0000 000c 0100 0001 0008 0004\n";
    let data = "0009 0001 00000000 65000000 00000001 00000007 0100 0008 c0000201\n";
    let template = written(&folder, "template.hex", template.as_bytes());
    let data = written(&folder, "data.hex", data.as_bytes());
    for (files, note) in [
        ([&*template, &*data], "everything was decoded"),
        (
            [&*data, &*template],
            "note: 1 set before the template, decoded when that came",
        ),
    ] {
        let ended = decode(files);
        ended.tells(0, note);
        let [record] = &ended.records()[..] else {
            panic!("{}", ended.stdout);
        };
        assert_eq!(record["attributes"]["source.address"], "192.0.2.1");
        assert_eq!(record["file"], *data);
        assert_eq!(record["frame"], 1);
        assert_eq!(record["domain"], 7);
        // It has no time, and none is invented.
        assert_eq!(record["start"], Value::Null);
        assert_eq!(record["end_unix_nano"], Value::Null);
    }
    let ended = decode([&*data]);
    ended.tells(1, "sets whose template is not in the capture: 1");
    ended.tells(1, "version 9, domain 7, template 256: 1 set of 4 bytes");
    assert!(ended.stdout.is_empty());
}

#[test]
fn implausible_times_are_shown_as_they_were_told() {
    // v5, up since 1 s, sent in 2023; the flow began 2 s and ended 30 days before its exporter started.
    let header = "0005 0001 000003e8 65536800 00000000 00000000 00 00 0000";
    let addresses = "c0000201 c0000202 00000000 0000 0000 00000001 00000028";
    let record =
        format!("{addresses} fffffc18 658c0418 0035 0035 00 00 11 00 0000 0000 00 00 0000");
    let ended = decode_stdin(["-"], format!("{header} {record}\n").as_bytes());
    ended.tells(0, "note: 1 record with impossible or unknown times");
    let record = &ended.records()[0];
    let export = 0x6553_6800_u64 * 1_000_000_000;
    assert_eq!(record["start_unix_nano"], export - 2_000_000_000);
    assert_ne!(record["end_unix_nano"], export);
    assert_eq!(record["attributes"]["netflow.time.suspect"], true);
}

#[test]
fn what_is_no_flow_message_is_reported_with_its_place() {
    let ended = decode_stdin(["-"], b"0005\nffff 0102\n0000\n");
    ended.tells(1, "datagrams that are not flow messages");
    ended.tells(1, "frame 2: version 65535 is unknown; bytes ffff0102");
    ended.tells(1, "datagrams shorter than their header: 1");
    assert!(ended.stdout.is_empty());
}

#[test]
fn ports_narrow_what_is_looked_at() {
    let ended = decode(["--port", "9995,9996", &*capture("softflowd-v5")]);
    ended.tells(2, "excluded by --port: 1 UDP payload");
    ended.tells(2, "nothing to decode");
    assert!(ended.stdout.is_empty());
    let ended = decode([
        "--port",
        "9995",
        "--port",
        "2055",
        &*capture("softflowd-v5"),
    ]);
    assert_eq!(ended.records().len(), 6);
}

#[test]
fn damaged_files_give_what_is_before_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut octets = fs::read(capture("softflowd-v5")).unwrap();
    octets.extend([0; 7]);
    let name = written(&folder, "cut.pcap", &octets);
    let ended = decode([&*name]);
    ended.tells(
        1,
        "cut.pcap: it ends in the middle of a packet, after frame 1",
    );
    assert_eq!(ended.records().len(), 6);
    octets.extend([0xff; 40]);
    let ended = decode([&*written(&folder, "damaged.pcap", &octets)]);
    ended.tells(1, "damaged.pcap: it is damaged: a packet of ");
    assert_eq!(ended.records().len(), 6);
}

#[test]
fn unreadable_files_don_t_keep_the_others_from_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.pcap");
    let zip = written(&folder, "a.zip", b"PK\x03\x04 and more");
    for (wrong, reason) in [
        (absent.to_str().unwrap(), "absent.pcap: No such file"),
        (folder.path().to_str().unwrap(), ": Is a directory"),
        (&*zip, "a.zip: it is a zip archive"),
        (&*written(&folder, "empty", b""), "empty: it is empty"),
    ] {
        let ended = decode([wrong, &*capture("softflowd-v5")]);
        ended.tells(2, reason);
        assert_eq!(ended.records().len(), 6);
    }
}

#[test]
fn usage() {
    assert_eq!(decode([]).code, Some(2));
    assert_eq!(decode(["--format", "xml", "a"]).code, Some(2));
    let ended = decode(["--help"]);
    assert_eq!(ended.code, Some(0));
    for text in ["Examples:", "Exit codes:", "pcapng", "| jq"] {
        assert!(ended.stdout.contains(text), "{text}\n{}", ended.stdout);
    }
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netflow2traces"))
        .args(["decode", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(&fs::read(Path::new(&capture("softflowd-v5"))).unwrap());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}
