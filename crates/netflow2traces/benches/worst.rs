//! What the most expensive datagrams cost: the longest time for which one keeps its worker, at every level. Prints the table of
//! docs/performance.md.
//!
//! Each case is repeated with fresh state and its shortest run is printed, so that other work on the machine matters
//! little: `cargo bench -p netflow2traces --bench worst`, some seconds.
#![expect(
    clippy::print_stdout,
    reason = "a bench prints, and ends at the first mistake"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netflow_wire::write::{Field, IpfixHeader, MessageWriter, V9Header};
use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources, TraceShape};
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;

const WALL: u64 = 1_700_000_000_000_000_000;
const SECONDS: u32 = 1_700_000_000;
const ROUNDS: usize = 8;
/// What one UDP datagram can hold.
const MOST: usize = 65_000;

/// Datagrams that prepare, and the one that is measured.
struct Case {
    what: &'static str,
    before: Vec<Vec<u8>>,
    datagram: Vec<u8>,
}

fn main() {
    let levels = [
        ("minimal", AttributeLevel::Minimal, TraceShape::Packet),
        ("standard", AttributeLevel::Standard, TraceShape::Packet),
        (
            "standard, shape flow",
            AttributeLevel::Standard,
            TraceShape::Flow,
        ),
        ("all", AttributeLevel::All, TraceShape::Packet),
    ];
    println!(
        "| datagram | bytes | `minimal`, ms | `standard`, ms | `standard`, shape `flow`, ms | `all`, ms |"
    );
    println!("|---|---|---|---|---|---|");
    for case in cases() {
        let figures = levels.map(|(_, level, shape)| {
            let rounds = (0..ROUNDS).map(|_| run(&case, level, shape));
            format!(
                "{:.1}",
                rounds.min().unwrap_or_default().as_secs_f64() * 1e3
            )
        });
        println!(
            "| {} | {} | {} |",
            case.what,
            case.datagram.len(),
            figures.join(" | ")
        );
    }
}

/// How long the longest piece of work between two moments at which the worker can do something else takes.
fn run(case: &Case, level: AttributeLevel, shape: TraceShape) -> Duration {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    let mut config = loaded.expect("defaults are valid").config.translate;
    config.attributes = level;
    config.shape = shape;
    let mut translator = Translator::new(&config, || UnixNanos(WALL), Ids::new([7; 32]));
    translator.hand_over_to(|batch| drop(std::hint::black_box(batch)));
    let mut now = Instant::now();
    for octets in &case.before {
        send(&mut translator, octets, now);
        now += Duration::from_millis(1);
    }
    let began = Instant::now();
    send(&mut translator, &case.datagram, now);
    let mut longest = began.elapsed();
    // What waits is done in slices.
    while translator.next_deadline().is_some_and(|due| due <= now) {
        let began = Instant::now();
        translator.on_deadline(now);
        translator.poll_batch(now);
        longest = longest.max(began.elapsed());
    }
    longest
}

fn cases() -> Vec<Case> {
    let name = interface_name(255);
    let one = |octets: usize| template(256, &[Field::new(10, 1)], octets);
    let mut cases = vec![
        Case {
            what: "records of one byte, each with an interface name of 255",
            before: vec![name.clone(), one(0)],
            datagram: data(256, &vec![7; MOST]),
        },
        Case {
            what: "records of one byte, template and data in one datagram",
            before: vec![name.clone()],
            datagram: one(MOST),
        },
        Case {
            what: "records of two variable-length fields without content",
            before: vec![],
            datagram: template(256, &[Field::variable(82), Field::variable(83)], MOST),
        },
        Case {
            what: "records of one unknown variable-length element",
            before: vec![],
            datagram: template(256, &[Field::enterprise(9999, 1, 65_535)], MOST),
        },
        Case {
            what: "records of 20 addresses",
            before: vec![],
            datagram: template(256, &[Field::new(8, 4); 20], MOST),
        },
    ];
    // A template of fields without length: each record has as many attributes as fields.
    let empty: Vec<_> = (0..60).map(|n| Field::enterprise(9999, 1 + n, 0)).collect();
    let with_one: Vec<_> = empty.iter().copied().chain([Field::new(1, 1)]).collect();
    cases.push(Case {
        what: "records of one byte and 60 fields without length",
        before: vec![],
        datagram: template(256, &with_one, MOST - 5000),
    });
    cases.push(Case {
        what: "lists of one-byte records with 60 fields without length",
        before: vec![list_templates(60)],
        datagram: data(1001, &list(MOST - 100)),
    });
    cases.push(Case {
        what: "many small lists of one-byte records",
        before: vec![list_templates(60)],
        datagram: data(1001, &list(40).repeat(MOST / 46)),
    });
    cases.push(Case {
        what: "templates, each replaced and compiled anew",
        before: vec![templates(0)],
        datagram: templates(1),
    });
    cases.push(Case {
        what: "names of interfaces",
        before: vec![],
        datagram: names(),
    });
    cases.push(Case {
        what: "a template that sets waiting Sets of 600 kB free",
        before: (0..10)
            .map(|_| data(256, &vec![7; MOST]))
            .chain([name])
            .collect(),
        datagram: one(0),
    });
    cases.push(Case {
        what: "sFlow: samples of one header each",
        before: vec![],
        datagram: sflow(),
    });
    cases
}

fn ipfix() -> MessageWriter {
    MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        ..IpfixHeader::default()
    })
}

fn finish(mut message: MessageWriter) -> Vec<u8> {
    message.finish().expect("fits")
}

/// A template and, in the same datagram, as many octets of data by it.
fn template(id: u16, fields: &[Field], octets: usize) -> Vec<u8> {
    let mut message = ipfix();
    message.template(id, fields);
    let message = finish(message);
    match octets {
        0 => message,
        _ => with_set(message, id, &vec![0; octets - fields.len() * 8]),
    }
}

fn data(id: u16, octets: &[u8]) -> Vec<u8> {
    with_set(finish(ipfix()), id, octets)
}

/// The message with one more Set, whose octets needn't be records.
fn with_set(mut message: Vec<u8>, id: u16, octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len() + 4).expect("fits");
    message.extend([id, length].map(u16::to_be_bytes).concat());
    message.extend(octets);
    let length = u16::try_from(message.len()).expect("fits");
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

/// Interface 7, and 0, have a name of that length; one-octet records name interface 7.
fn interface_name(octets: u16) -> Vec<u8> {
    let mut message = ipfix();
    message
        .options_template(300, &[Field::new(10, 4)], &[Field::new(82, octets)])
        .data_set(300, |set| {
            for interface in [0, 7] {
                set.record(|record| {
                    record
                        .u32(interface)
                        .text(&"n".repeat(octets.into()), octets.into());
                });
            }
        });
    finish(message)
}

fn list_templates(empty: u16) -> Vec<u8> {
    let fields: Vec<_> = (0..empty)
        .map(|n| Field::enterprise(9999, 1 + n, 0))
        .chain([Field::new(1, 1)])
        .collect();
    let mut message = ipfix();
    message
        .template(1000, &fields)
        .template(1001, &[Field::variable(292)]);
    finish(message)
}

/// A subTemplateList of template 1000, as a field of variable length.
fn list(octets: usize) -> Vec<u8> {
    let length = u16::try_from(octets + 3).expect("fits").to_be_bytes();
    let head = [255, length[0], length[1], 3, 3, 232];
    head.into_iter()
        .chain(std::iter::repeat_n(1, octets))
        .collect()
}

fn templates(round: u16) -> Vec<u8> {
    let mut message = ipfix();
    for id in 0..700 {
        let fields: Vec<_> = (0..15)
            .map(|field| Field::new(1 + (id * 7 + field * 3 + round) % 430, 1))
            .collect();
        message
            .template(256 + id, &fields)
            .data_set(256 + id, |set| {
                set.record(|record| {
                    for _ in 0..15 {
                        record.u8(1);
                    }
                });
            });
    }
    finish(message)
}

fn names() -> Vec<u8> {
    let mut message = MessageWriter::v9(V9Header {
        unix_secs: SECONDS,
        sys_uptime_ms: 1_000_000,
        ..V9Header::default()
    });
    message
        .options_template(
            300,
            &[Field::new(1, 4)],
            &[Field::new(10, 4), Field::new(82, 4)],
        )
        .data_set(300, |set| {
            for interface in 0..5000 {
                set.record(|record| {
                    record.u32(0).u32(interface).u32(interface);
                });
            }
        });
    finish(message)
}

/// A datagram of flow samples whose headers are of Ethernet, IPv4 and TCP.
fn sflow() -> Vec<u8> {
    let word = |value: u32| value.to_be_bytes();
    let mut frame = vec![2; 12];
    frame.extend([
        8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend([
        0, 80, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 16, 0, 0, 0, 0, 0, 0,
    ]);
    frame.resize(56, 0);
    let header = [1, 58, 4, 56].map(word).concat();
    let record = [word(1), word((header.len() + frame.len()) as u32)].concat();
    let sample = [1, 1, 1000, 1000, 0, 1, 2, 1].map(word).concat();
    let sample: Vec<_> = [sample, record, header, frame].concat();
    let number = (MOST - 28) / (sample.len() + 8);
    let mut octets = [5, 1, 0x0a00_0001, 0, 1, 1000, number as u32]
        .map(word)
        .concat();
    for _ in 0..number {
        octets.extend([1, sample.len() as u32].map(word).concat());
        octets.extend(&sample);
    }
    octets
}

fn send(translator: &mut Translator, octets: &[u8], now: Instant) {
    let datagram = Datagram {
        octets,
        source: SocketAddr::from(([10, 0, 0, 1], 2055)),
        received_at: UnixNanos(WALL),
    };
    translator.on_datagram(&datagram, now);
}
