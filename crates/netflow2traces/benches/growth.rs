//! What a flow costs as exporters, templates and attributes become many: CPU time of the translating thread, batches
//! dropped at once. Prints the table of docs/performance.md.
//!
//! Rounds of all sizes are interleaved and the cheapest of each is reported, so that other work on the machine matters
//! little: `cargo bench --bench growth`, about half a minute.
#![expect(
    clippy::print_stdout,
    reason = "a bench prints, and ends at the first mistake"
)]

use std::net::SocketAddr;
use std::time::Instant;

use netflow_wire::write::{Field, IpfixHeader, MessageWriter, V5Header, V5Record, v5};
use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
use netflow2traces::receive::wall_clock;
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;

const SECONDS: u32 = 1_700_000_000;
const ROUNDS: usize = 7;
/// Flow records of a round: enough for every exporter or template of the largest size to come once.
const FLOWS: usize = 300_000;
/// Numbers that level `all` shows, none of them known to another level.
const PLAIN: [u16; 32] = [
    164, 165, 166, 167, 168, 171, 172, 173, 174, 175, 184, 185, 194, 198, 199, 201, 202, 204, 208,
    209, 213, 218, 219, 220, 221, 222, 223, 224, 249, 251, 278, 279,
];

fn main() {
    let sizes = [1, 10, 100, 1_000, 10_000];
    let mut exporters: Vec<_> = sizes.map(Case::exporters).into();
    let mut templates: Vec<_> = sizes.map(Case::templates).into();
    let mut attributes: Vec<_> = [14, 18, 22, 30, 46].map(Case::attributes).into();
    for _ in 0..ROUNDS {
        for case in exporters
            .iter_mut()
            .chain(&mut templates)
            .chain(&mut attributes)
        {
            case.round();
        }
    }
    println!(
        "| what grows | how many | ns per flow | bytes per flow | ns per byte | relative to the first row |"
    );
    println!("|---|---|---|---|---|---|");
    for cases in [exporters, templates] {
        let first = cases.first().map_or(1.0, |case| case.best);
        cases.iter().for_each(|case| case.print(case.best / first));
    }
    let first = attributes.first().map_or(1.0, Case::by_octet);
    for case in &attributes {
        case.print(case.by_octet() / first);
    }
}

/// One size, with a translator of its own.
struct Case {
    what: &'static str,
    size: usize,
    translator: Translator,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// Nanoseconds a flow, and octets.
    best: f64,
    octets: f64,
}

impl Case {
    fn new(
        what: &'static str,
        size: usize,
        level: AttributeLevel,
        templates: &[Vec<u8>],
        datagrams: Vec<(SocketAddr, Vec<u8>)>,
    ) -> Self {
        let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
        let loaded = config::load(Purpose::Run, &sources, &Machine::read());
        let config = config::Translate {
            attributes: level,
            max_templates_per_exporter: 20_000,
            ..loaded.expect("defaults are sound").config.translate
        };
        let mut translator = Translator::new(&config, wall_clock, Ids::new([7; 32]));
        for octets in templates {
            send(&mut translator, exporter(0), octets, Instant::now());
        }
        let mut case = Self {
            what,
            size,
            translator,
            datagrams,
            best: f64::INFINITY,
            octets: 0.0,
        };
        // Every exporter is known and every plan was run.
        case.round();
        case.best = f64::INFINITY;
        case
    }

    fn exporters(size: usize) -> Self {
        let datagram = v5_datagram();
        let datagrams = (0..size).map(|index| (exporter(index), datagram.clone()));
        Self::new(
            "exporters (v5, `minimal`)",
            size,
            AttributeLevel::Minimal,
            &[],
            datagrams.collect(),
        )
    }

    fn templates(size: usize) -> Self {
        // An exporter may have templates of 65,536 fields together.
        let fields = &fields(0)[..6];
        let (templates, datagrams) = (0..size)
            .map(|index| ipfix(256 + index as u16, fields))
            .map(|[template, data]| (template, (exporter(0), data)))
            .unzip::<_, _, Vec<_>, Vec<_>>();
        Self::new(
            "templates of one exporter (IPFIX, `minimal`)",
            size,
            AttributeLevel::Minimal,
            &templates,
            datagrams,
        )
    }

    /// The fourteen of `minimal`, and others of level `all`.
    fn attributes(size: usize) -> Self {
        let fields = fields(size - 14);
        let [template, data] = ipfix(256, &fields);
        Self::new(
            "attributes (IPFIX, `all`)",
            size,
            AttributeLevel::All,
            &[template],
            vec![(exporter(0), data)],
        )
    }

    fn round(&mut self) {
        let counters = self.translator.counters();
        let (flows, octets) = (counters.flow_spans.value(), counters.batch_octets.value());
        let now = Instant::now();
        let began = cpu_nanos();
        for (source, datagram) in self.datagrams.iter().cycle() {
            if counters.flow_spans.value() - flows >= FLOWS as u64 {
                break;
            }
            send(&mut self.translator, *source, datagram, now);
            while let Some(batch) = self.translator.poll_batch(now) {
                drop(std::hint::black_box(batch));
            }
        }
        let flows = (counters.flow_spans.value() - flows) as f64;
        self.best = self.best.min((cpu_nanos() - began) as f64 / flows);
        self.octets = (counters.batch_octets.value() - octets) as f64 / flows;
    }

    fn by_octet(&self) -> f64 {
        self.best / self.octets
    }

    fn print(&self, ratio: f64) {
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.3} | {ratio:.2} |",
            self.what,
            self.size,
            self.best,
            self.octets,
            self.by_octet(),
        );
    }
}

/// CPU time of this thread: the first figure of `/proc/thread-self/schedstat`.
fn cpu_nanos() -> u64 {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let first = figures.split_whitespace().next();
    first
        .and_then(|nanos| nanos.parse().ok())
        .expect("a number")
}

fn exporter(index: usize) -> SocketAddr {
    SocketAddr::from((
        [10, (index >> 16) as u8, (index >> 8) as u8, index as u8],
        2055,
    ))
}

fn send(translator: &mut Translator, source: SocketAddr, octets: &[u8], now: Instant) {
    let datagram = Datagram {
        octets,
        source,
        received_at: UnixNanos(1),
    };
    translator.on_datagram(&datagram, now);
}

fn v5_datagram() -> Vec<u8> {
    let records: Vec<_> = (0..30_u32)
        .map(|index| {
            let x = index.wrapping_mul(2_654_435_761);
            V5Record {
                source: (0x0a00_0000 | x >> 8).into(),
                destination: (0xc0a8_0000 | x & 0xffff).into(),
                next_hop: [10, 255, 0, 1].into(),
                packets: 1 + (x >> 20),
                octets: 64 + (x >> 10),
                first_ms: 940_000 + (x & 0x3fff),
                last_ms: 999_000,
                source_port: (x >> 3) as u16,
                destination_port: 443,
                protocol: 6,
                ..V5Record::default()
            }
        })
        .collect();
    let header = V5Header {
        sys_uptime_ms: 1_000_000,
        unix_secs: SECONDS,
        ..V5Header::default()
    };
    v5(&header, &records).expect("fits")
}

/// Those that become the attributes of `minimal`, times, and more.
fn fields(more: usize) -> Vec<Field> {
    let minimal = [
        (8, 4),
        (12, 4),
        (15, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (1, 8),
        (2, 8),
        (10, 4),
        (14, 4),
        (16, 4),
        (17, 4),
        (152, 8),
        (153, 8),
    ];
    let minimal = minimal.map(|(element, length)| Field::new(element, length));
    let more = PLAIN
        .into_iter()
        .take(more)
        .map(|element| Field::new(element, 4));
    minimal.into_iter().chain(more).collect()
}

/// A template, and a datagram of eight records by it.
fn ipfix(id: u16, fields: &[Field]) -> [Vec<u8>; 2] {
    let header = IpfixHeader {
        export_time: SECONDS,
        ..IpfixHeader::default()
    };
    let mut template = MessageWriter::ipfix(header);
    template.template(id, fields);
    let mut data = MessageWriter::ipfix(header);
    data.declare(id, fields).data_set(id, |set| {
        for index in 0..8_u32 {
            let x = index.wrapping_mul(2_654_435_761);
            let end = u64::from(SECONDS) * 1000 - 900;
            set.record(|record| {
                for field in fields {
                    match field.element {
                        8 | 12 | 15 => record.ipv4(0x0a00_0000 | x >> field.element),
                        4 => record.u8(6),
                        152 | 153 => record.u64(end),
                        _ => record.uint(u64::from(x >> 16), field.length.into()),
                    };
                }
            });
        }
    });
    [template, data].map(|mut message| message.finish().expect("fits"))
}
