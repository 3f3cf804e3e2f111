//! `send` as a built binary: what arrives at a socket is what it says it sent, and our own decoder understands it
//! to the last record.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};

use netflow2traces::capture::Capture;
use netflow2traces::config::{self, Machine, Purpose, Sources};
use netflow2traces::translate::{Datagram, Ids, TranslateCounters, Translator};
use otlp_wire::UnixNanos;
use serde_json::Value;

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);
const RECEIVE_BUFFER: usize = 8 << 20;

/// A socket whose datagrams are read as they arrive.
struct Collector {
    address: SocketAddr,
    datagrams: Receiver<Arrived>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Arrived {
    source: SocketAddr,
    octets: Vec<u8>,
}

impl Collector {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // What the system doesn't grant isn't needed: a thread takes them at once.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        let address = socket.local_addr().unwrap();
        let (sender, datagrams) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                let octets = buffer[..length].to_vec();
                if sender.send(Arrived { source, octets }).is_err() {
                    return;
                }
            }
        });
        Self { address, datagrams }
    }

    fn take(&self, datagrams: u64) -> Vec<Arrived> {
        let mut taken = Vec::new();
        for _ in 0..datagrams {
            let arrived = self.datagrams.recv_timeout(PATIENCE);
            taken.push(arrived.expect("what was sent has arrived"));
        }
        taken
    }

    /// Asserts that nothing else has come: what the program sent before it ended is in the socket.
    fn assert_empty(&self) {
        let last = UdpSocket::bind("127.0.0.1:0").unwrap();
        last.send_to(b"last", self.address).unwrap();
        assert_eq!(self.take(1)[0].octets, b"last");
    }
}

/// What the program reported at its end.
struct Ended {
    code: Option<i32>,
    totals: Value,
    stderr: String,
}

impl Ended {
    fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self {
            code: output.status.code(),
            totals: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            stderr,
        }
    }

    fn total(&self, name: &str) -> u64 {
        let total = self.totals[name].as_u64();
        assert!(total.is_some(), "{name}: {} {}", self.totals, self.stderr);
        total.unwrap_or_default()
    }
}

fn start(arguments: &str, target: SocketAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_netflow2traces"))
        .arg("send")
        .args(arguments.split_whitespace())
        .args(["--json", "--quiet", "--to", &target.to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends to a collector: what arrived and what was reported. Both agree.
fn sent(arguments: &str) -> (Vec<Arrived>, Ended) {
    let collector = Collector::new();
    let ended = Ended::of(start(arguments, collector.address));
    assert_eq!(ended.code, Some(0), "{arguments}: {}", ended.stderr);
    let arrived = collector.take(ended.total("datagrams"));
    collector.assert_empty();
    let octets: usize = arrived.iter().map(|arrived| arrived.octets.len()).sum();
    assert_eq!(ended.total("octets"), octets as u64);
    (arrived, ended)
}

fn wall() -> UnixNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixNanos(since.unwrap().as_nanos() as u64)
}

/// What the daemon's decoder counts.
fn translated(arrived: &[Arrived]) -> Arc<TranslateCounters> {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read()).unwrap();
    let mut translator = Translator::new(&loaded.config.translate, wall, Ids::new([7; 32]));
    let now = Instant::now();
    for Arrived { source, octets } in arrived {
        let datagram = Datagram {
            octets,
            source: *source,
            received_at: wall(),
        };
        translator.on_datagram(&datagram, now);
        while translator.poll_batch(now).is_some() {}
    }
    translator.flush();
    while translator.poll_batch(now).is_some() {}
    translator.counters()
}

fn addresses(arrived: &[Arrived]) -> BTreeSet<IpAddr> {
    arrived.iter().map(|arrived| arrived.source.ip()).collect()
}

/// Counters that are zero where everything was decoded and nothing is missing.
fn assert_no_trouble(counters: &TranslateCounters) {
    let harmless = [
        "datagrams_decoded",
        "datagrams_sflow",
        "flow_spans",
        "work_spans",
        "open_flow_spans",
        "open_work_spans",
        "flow_samples",
        "templates_learnt",
        "templates_refreshed",
        "exporters",
        "batches",
        "batch_octets",
    ];
    for (name, value) in counters.each() {
        assert!(value == 0 || harmless.contains(&name), "{name}: {value}");
    }
}

#[test]
fn every_protocol_is_understood_to_the_last_record() {
    for protocol in ["v1", "v5", "v7", "v9", "ipfix", "sflow"] {
        let (arrived, ended) = sent(&format!(
            "--protocol {protocol} --exporters 3 --count 2345 --rate 20k"
        ));
        let counters = translated(&arrived);
        assert_no_trouble(&counters);
        assert_eq!(ended.total("flow_records"), 2_345, "{protocol}");
        assert_eq!(counters.flow_spans.value(), 2_345, "{protocol}");
        assert_eq!(counters.datagrams_decoded.value(), ended.total("datagrams"));
        assert_eq!(counters.exporters.value(), 3);
        assert_eq!(addresses(&arrived).len(), 3);
        let templates = if matches!(protocol, "v9" | "ipfix") {
            3
        } else {
            0
        };
        assert_eq!(ended.total("template_datagrams"), templates);
    }
}

#[test]
fn both_families_every_pattern_and_any_size_are_understood() {
    for arguments in [
        "--protocol ipfix --ip both --pattern http",
        "--protocol v9 --ip both --pattern dns --flows-per-packet 1",
        "--protocol sflow --ip both --pattern mixed --flows-per-packet 3",
        "--protocol ipfix --ip 6 --pattern ssh --flows-per-packet 600",
        "--protocol v5 --pattern https --flows-per-packet 7",
        "--protocol v5 --pattern random",
        "--protocol ipfix --ip both --pattern random",
        "--protocol sflow --ip both --pattern random",
        "--protocol v9 --rate max",
        "--protocol v9 --rate max --no-gso --exporters 5",
    ] {
        let rate = if arguments.contains("--rate") {
            ""
        } else {
            "--rate 20k"
        };
        let (arrived, ended) = sent(&format!("{arguments} --count 2003 {rate}"));
        let counters = translated(&arrived);
        assert_no_trouble(&counters);
        assert_eq!(counters.flow_spans.value(), 2_003, "{arguments}");
        assert_eq!(ended.total("flow_records"), 2_003);
    }
}

#[test]
fn templates_are_sent_again() {
    let (arrived, ended) =
        sent("--protocol ipfix --exporters 2 --rate 2000 --count 1000 --template-interval 100ms");
    let templates = ended.total("template_datagrams");
    // Half a second, and at the slowest no more often than each time a datagram is sent.
    assert!(templates >= 6, "{templates}");
    let counters = translated(&arrived);
    assert_no_trouble(&counters);
    assert_eq!(counters.templates_learnt.value(), 4);
    assert_eq!(counters.templates_refreshed.value(), 2 * templates - 4);
}

/// v5 without what follows the clock.
fn timeless(mut arrived: Vec<Arrived>) -> Vec<(IpAddr, Vec<u8>)> {
    for Arrived { octets, .. } in &mut arrived {
        octets[4..16].fill(0);
        for record in octets[24..].chunks_mut(48) {
            record[24..32].fill(0);
        }
    }
    let each = arrived.into_iter();
    each.map(|arrived| (arrived.source.ip(), arrived.octets))
        .collect()
}

#[test]
fn the_same_seed_sends_the_same() {
    let with_seed = |seed: u64| {
        let arguments = format!("--protocol v5 --exporters 4 --count 999 --rate 20k --seed {seed}");
        timeless(sent(&arguments).0)
    };
    assert_eq!(with_seed(5), with_seed(5));
    assert_ne!(with_seed(5), with_seed(6));
}

#[test]
fn segments_cut_by_the_kernel_are_the_datagrams_sent_one_by_one() {
    let with = |flag: &str| {
        let arguments = format!("--protocol v5 --exporters 2 --count 2000 --rate max {flag}");
        timeless(sent(&arguments).0)
    };
    assert_eq!(with(""), with("--no-gso"));
}

#[test]
fn the_rate_is_kept_and_the_duration_ends_it() {
    let started = Instant::now();
    let (_, ended) = sent("--protocol v5 --rate 1000 --flows-per-packet 10 --duration 1s");
    assert!(started.elapsed() >= Duration::from_secs(1));
    let flows = ended.total("flow_records");
    // A hundred datagrams, never more; fewer if this machine stood still.
    assert!((200..=1_000).contains(&flows), "{flows}");
}

#[test]
fn a_signal_ends_it_with_its_totals() {
    let collector = Collector::new();
    let child = start("--protocol v9 --rate 2000", collector.address);
    let mut arrived = collector.take(20);
    let signalled = Command::new("sh")
        .args(["-c", &format!("kill -s INT {}", child.id())])
        .status();
    assert!(signalled.unwrap().success());
    let ended = Ended::of(child);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    arrived.extend(collector.take(ended.total("datagrams") - 20));
    collector.assert_empty();
    let counters = translated(&arrived);
    assert_eq!(counters.flow_spans.value(), ended.total("flow_records"));
}

#[test]
fn without_a_listener_it_says_so() {
    // The port is taken, but only for datagrams from another.
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    deaf.connect("127.0.0.1:9").unwrap();
    let nobody = deaf.local_addr().unwrap();
    let ended = Ended::of(start("--protocol v5 --count 90 --rate max", nobody));
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.total("datagrams"), 3);
    assert!(ended.total("refused") > 0);
    assert!(
        ended.stderr.contains("reached no program"),
        "{}",
        ended.stderr
    );
}

/// Captures of ours: formats of several kinds.
fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/captures");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "pcap" || end == "pcapng")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn payloads(file: &Path) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut capture = Capture::open(File::open(file).unwrap()).unwrap();
    let mut payloads = Vec::new();
    while let Some(payload) = capture.next_payload().unwrap() {
        let (source, _) = payload.addresses.unwrap();
        payloads.push((source, payload.octets.to_vec()));
    }
    payloads
}

#[test]
fn a_capture_arrives_as_it_was_with_its_sources_apart() {
    for file in captures() {
        let expected = payloads(&file);
        let (arrived, ended) = sent(&format!("{} --rate 2000", file.display()));
        let octets = arrived.iter().map(|arrived| &arrived.octets);
        assert!(
            octets.eq(expected.iter().map(|(_, octets)| octets)),
            "{file:?}"
        );
        assert_eq!(ended.total("datagrams"), expected.len() as u64);
        assert_eq!(ended.totals["flow_records"], Value::Null);
        // One source there is one source here.
        for (a, (source_a, _)) in arrived.iter().zip(&expected) {
            for (b, (source_b, _)) in arrived.iter().zip(&expected) {
                assert_eq!(a.source == b.source, source_a == source_b);
                assert_eq!(
                    a.source.ip() == b.source.ip(),
                    source_a.ip() == source_b.ip()
                );
            }
        }
    }
}

#[test]
fn only_what_went_to_a_port_is_sent_where_one_is_named() {
    let file = captures().remove(0);
    let (arrived, _) = sent(&format!("{} --at-once --port 1", file.display()));
    assert!(arrived.is_empty());
}

#[test]
fn a_file_that_is_no_capture_is_an_error() {
    let collector = Collector::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let ended = Ended::of(start(&file.display().to_string(), collector.address));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("can't be read"), "{}", ended.stderr);
}

#[test]
fn arguments_that_do_not_fit_end_with_2() {
    let target = "127.0.0.1:2055".parse().unwrap();
    for arguments in [
        "--protocol v5 --ip 6",
        "--protocol v5 --flows-per-packet 31",
        "a.pcap --count 3",
        "--rate fast",
    ] {
        let ended = Ended::of(start(arguments, target));
        assert_eq!(ended.code, Some(2), "{arguments}: {}", ended.stderr);
    }
}
