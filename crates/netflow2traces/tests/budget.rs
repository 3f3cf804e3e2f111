//! However many senders say whatever: what one worker keeps for them is no more than its budget, and what datagrams
//! cause is no more than theirs. Measured by an allocator that counts, over sequences with kept state.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[expect(unsafe_code, reason = "an allocator that counts")]
#[path = "support/allocator.rs"]
mod allocator;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use allocator::{LIVE, PEAK};
use netflow_wire::sflow::InterfaceCounters;
use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, SflowHeader, SflowWriter, V5Header, V5Record, V9Header, v5,
};
use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
use netflow2traces::observe::flow_metrics::Exposition;
use netflow2traces::observe::flow_metrics::otlp::Stretches;
use netflow2traces::observe::flow_metrics::text::Parts;
use netflow2traces::observe::metrics::Format;
use netflow2traces::translate::enrich::networks::Networks;
use netflow2traces::translate::metrics::{FlowReading, Places, View};
use netflow2traces::translate::{Datagram, Ids, StateBudget, Translator};
use otlp_wire::UnixNanos;
use proptest::prelude::*;

/// There is one allocator: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const WALL: u64 = 1_700_000_000_000_000_000;
const SECONDS: u32 = 1_700_000_000;
const STATE: usize = 16 << 20;
/// A table that grows exists twice for a moment; the batch that is being filled; the tables of all exporters, which
/// are shared out among them in the estimate.
const SLACK: usize = 12 << 20;

struct Rig {
    translator: Translator,
    budget: Arc<StateBudget>,
    /// Octets of the batches so far.
    made: Arc<AtomicUsize>,
    now: Instant,
    before: usize,
}

fn rig(level: AttributeLevel, state: usize) -> Rig {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    let mut config = loaded.unwrap().config.translate;
    config.attributes = level;
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let budget = StateBudget::new(state, 1);
    let made = Arc::new(AtomicUsize::new(0));
    let mut translator =
        Translator::new(&config, || UnixNanos(WALL), Ids::new([7; 32])).with_budget(&budget);
    let sum = Arc::clone(&made);
    translator.hand_over_to(move |batch| {
        sum.fetch_add(batch.octets.len(), Relaxed);
    });
    Rig {
        translator,
        budget,
        made,
        now: Instant::now(),
        before,
    }
}

impl Rig {
    /// Octets of batches that a datagram has made leave.
    fn take(&mut self, source: u32, port: u16, octets: &[u8]) -> usize {
        let before = self.made.load(Relaxed);
        let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + source));
        let datagram = Datagram {
            octets,
            source: SocketAddr::new(address, port),
            received_at: UnixNanos(WALL),
        };
        self.now += Duration::from_millis(1);
        self.translator.on_datagram(&datagram, self.now);
        self.made.load(Relaxed) - before
    }

    /// The most that the worker held.
    fn peak(&self) -> usize {
        PEAK.load(Relaxed).saturating_sub(self.before)
    }
}

fn ipfix(domain: u32) -> MessageWriter {
    MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        observation_domain: domain,
        ..IpfixHeader::default()
    })
}

fn v9(domain: u32) -> MessageWriter {
    MessageWriter::v9(V9Header {
        unix_secs: SECONDS,
        sys_uptime_ms: 1_000_000,
        source_id: domain,
        ..V9Header::default()
    })
}

fn names(domain: u32, entries: u32, octets: u16) -> Vec<u8> {
    let mut message = v9(domain);
    message
        .options_template(
            300,
            &[Field::new(1, 4)],
            &[Field::new(10, 4), Field::new(82, octets)],
        )
        .data_set(300, |set| {
            for entry in 0..entries {
                let name = format!("interface {domain} {entry}");
                set.record(|r| {
                    r.u32(0).u32(entry).text(&name, usize::from(octets));
                });
            }
        });
    message.finish().unwrap()
}

/// Templates that differ, each with a record, so that they are compiled.
fn templates(domain: u32, number: u16, fields: u16) -> Vec<u8> {
    let mut message = ipfix(domain);
    for id in 0..number {
        let fields: Vec<_> = (0..fields)
            .map(|field| Field::new(1 + (id * 7 + field * 3 + domain as u16) % 430, 1))
            .collect();
        message
            .template(256 + id, &fields)
            .data_set(256 + id, |set| {
                set.record(|r| {
                    for _ in &fields {
                        r.u8(1);
                    }
                });
            });
    }
    message.finish().unwrap()
}

fn held(domain: u32, octets: usize) -> Vec<u8> {
    let mut message = ipfix(domain);
    message.data_set(999, |set| {
        set.record(|r| {
            r.bytes(&vec![1; octets]);
        });
    });
    message.finish().unwrap()
}

fn v5_flow() -> Vec<u8> {
    let header = V5Header {
        unix_secs: SECONDS,
        sys_uptime_ms: 1_000_000,
        ..V5Header::default()
    };
    v5(&header, &[V5Record::default()]).unwrap()
}

/// RFC 5610: descriptions of elements.
fn descriptions(domain: u32, number: u16) -> Vec<u8> {
    let scope = [Field::new(346, 4), Field::new(303, 2)];
    let mut message = ipfix(domain);
    message
        .options_template(301, &scope, &[Field::new(339, 1), Field::new(341, 32)])
        .data_set(301, |set| {
            for element in 0..number {
                let name = format!("element{domain}x{element}");
                set.record(|r| {
                    r.u32(9999).u16(element + 1).u8(1).text(&name, 32);
                });
            }
        });
    message.finish().unwrap()
}

/// A flood of one kind of state, from as many sources as it takes to fill the budget several times.
fn flood(level: AttributeLevel, kind: &str, message: impl Fn(u32) -> Vec<u8>, datagrams: u32) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rig = rig(level, STATE);
    let mut fullest = 0;
    for number in 0..datagrams {
        rig.take(number, 2055, &message(number));
        fullest = fullest.max(rig.budget.used());
        if number % 512 == 0 {
            rig.now += Duration::from_secs(10);
            rig.translator.on_deadline(rig.now);
        }
    }
    let peak = rig.peak();
    assert!(rig.budget.used() <= STATE, "{kind}");
    assert!(peak <= STATE + SLACK, "{kind}: {peak}");
    // It measures: exporters had to go.
    assert!(fullest >= STATE / 2, "{kind}: {fullest}");
    assert!(
        rig.translator.counters().exporters_evicted.value() > 0,
        "{kind}"
    );
}

#[test]
fn a_flood_of_names_keeps_to_the_budget() {
    flood(
        AttributeLevel::Standard,
        "names",
        |n| names(n, 400, 32),
        1500,
    );
}

#[test]
fn a_flood_of_templates_keeps_to_the_budget_at_every_level() {
    for level in [AttributeLevel::Standard, AttributeLevel::All] {
        flood(level, "templates", |n| templates(n, 60, 40), 700);
        flood(level, "small templates", |n| templates(n, 400, 1), 400);
    }
}

#[test]
fn a_flood_of_sources_keeps_to_the_budget() {
    flood(
        AttributeLevel::Standard,
        "sources of v5",
        |_| v5_flow(),
        30_000,
    );
}

#[test]
fn a_flood_of_descriptions_keeps_to_the_budget() {
    flood(
        AttributeLevel::All,
        "descriptions",
        |n| descriptions(n, 800),
        600,
    );
}

#[test]
fn a_flood_of_sets_that_wait_keeps_to_a_quarter_of_the_budget() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rig = rig(AttributeLevel::Standard, STATE);
    for number in 0..2000 {
        rig.take(number % 200, 2055, &held(number, 16_000));
    }
    let peak = rig.peak();
    assert!(rig.budget.used() <= STATE / 4 + (2 << 20));
    assert!(peak <= STATE / 4 + SLACK, "{peak}");
    assert!(rig.translator.counters().sets_expired.value() > 0);
}

#[derive(Clone, Debug)]
enum Step {
    Names { entries: u32, octets: u16 },
    Templates { number: u16, fields: u16 },
    Held { octets: usize },
    Tiny { records: usize },
    TinyTemplate { variable: bool },
    Lists { empty: u16, octets: usize },
    Descriptions { number: u16 },
    V5,
    Garbage { octets: Vec<u8> },
    Time { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..300_u32, 1..200_u16).prop_map(|(entries, octets)| Step::Names { entries, octets }),
        (1..200_u16, 1..60_u16).prop_map(|(number, fields)| Step::Templates { number, fields }),
        (1..60_000_usize).prop_map(|octets| Step::Held { octets }),
        (1..60_000_usize).prop_map(|records| Step::Tiny { records }),
        any::<bool>().prop_map(|variable| Step::TinyTemplate { variable }),
        (0..60_u16, 1..50_000_usize).prop_map(|(empty, octets)| Step::Lists { empty, octets }),
        (1..500_u16).prop_map(|number| Step::Descriptions { number }),
        Just(Step::V5),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|octets| Step::Garbage { octets }),
        (1..30_u64).prop_map(|seconds| Step::Time { seconds }),
    ]
}

impl Step {
    fn message(&self) -> Vec<u8> {
        match self {
            Self::Names { entries, octets } => {
                let fitting = 60_000 / (u32::from(*octets) + 8);
                names(1, (*entries).min(fitting), *octets)
            }
            Self::Templates { number, fields } => {
                let fitting = 50_000 / (5 * fields + 12);
                templates(1, (*number).min(fitting), *fields)
            }
            Self::Held { octets } => held(1, *octets),
            Self::Tiny { records } => {
                let mut message = ipfix(1);
                message.data_set(999, |set| {
                    set.record(|r| {
                        r.bytes(&vec![1; *records]);
                    });
                });
                message.finish().unwrap()
            }
            Self::TinyTemplate { variable } => {
                let field = match variable {
                    true => Field::variable(82),
                    false => Field::new(10, 1),
                };
                let mut message = ipfix(1);
                message.template(999, &[field]);
                message.finish().unwrap()
            }
            Self::Lists { empty, octets } => {
                let empty = (0..*empty).map(|n| Field::enterprise(9999, 1 + n, 0));
                let fields: Vec<_> = empty.chain([Field::new(1, 1)]).collect();
                let list: Vec<_> = [3, 3, 232].into_iter().chain(vec![1; *octets]).collect();
                let mut message = ipfix(1);
                message
                    .template(1000, &fields)
                    .template(1001, &[Field::variable(292)])
                    .data_set(1001, |set| {
                        set.record(|r| {
                            r.variable_long(&list);
                        });
                    });
                message.finish().unwrap()
            }
            Self::Descriptions { number } => descriptions(1, *number),
            Self::V5 => v5_flow(),
            Self::Garbage { octets } => octets.clone(),
            Self::Time { .. } => Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Whatever several exporters send one after the other: no datagram and no round of late Sets causes more than
    /// its budget, memory stays within its own, and every record is counted once.
    #[test]
    fn no_sequence_of_datagrams_goes_past_the_budgets(
        level in prop_oneof![
            Just(AttributeLevel::Minimal), Just(AttributeLevel::Standard), Just(AttributeLevel::All)
        ],
        steps in prop::collection::vec((0..6_u32, 0..3_u16, step()), 1..50),
    ) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // So little that exporters have to go.
        let state = 2 << 20;
        let mut rig = rig(level, state);
        let (mut most, mut round) = (0, 0);
        let budget = |octets: usize| (4 << 20).max(128 * octets);
        for (source, port, step) in &steps {
            if let Step::Time { seconds } = step {
                rig.now += Duration::from_secs(*seconds);
                rig.translator.on_deadline(rig.now);
                continue;
            }
            let octets = step.message();
            let made = rig.take(*source, 2055 + port, &octets);
            // A batch that others had begun leaves with it, and the late Sets that are few.
            prop_assert!(made <= budget(octets.len()) + (4 << 20), "{} of {}", made, octets.len());
            most = most.max(made);
            while rig.translator.next_deadline().is_some_and(|due| due <= rig.now) {
                let before = rig.made.load(Relaxed);
                rig.translator.on_deadline(rig.now);
                rig.translator.poll_batch(rig.now);
                round = round.max(rig.made.load(Relaxed) - before);
            }
            // The last exporter stays whatever it weighs: its own bounds hold, of which those of templates are the largest.
            prop_assert!(rig.budget.used() <= state.max(5 << 20), "{}", rig.budget.used());
        }
        prop_assert!(round <= budget(2 * 65_535) + (4 << 20), "{}", round);
        rig.translator.flush();
        let peak = rig.peak();
        prop_assert!(peak <= state + SLACK + (4 << 20), "{}", peak);
        let all = rig.translator.counters();
        let records: u64 = netflow2traces::translate::Protocol::ALL
            .into_iter()
            .map(|protocol| all.traffic.of(protocol).flows.value())
            .sum();
        let counted = all.flow_spans.value() + all.records_cut.value() + all.records_too_large.value();
        prop_assert_eq!(records, counted);
        let waited = all.sets_decoded_late.value() + all.sets_expired.value() + all.sets_waiting.value();
        prop_assert_eq!(all.sets_waited.value(), waited);
    }
}

/// Every view with as many series as it may have by default: one of each exporter.
fn full_views(series: u32) -> Translator {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    let config = loaded.unwrap().config.translate;
    let places = Places::new(View::ALL.into_iter().collect(), series);
    let clock: fn() -> UnixNanos = || UnixNanos(WALL);
    let mut translator =
        Translator::new(&config, clock, Ids::new([7; 32])).with_flow_metrics(&places);
    let networks = "172.16.0.0/12,branches\n10.0.0.0/9,office\n10.128.0.0/9,data centre\n";
    translator.name_networks(Some(Arc::new(Networks::parse(networks, None).unwrap())));
    let (now, header) = (Instant::now(), V5Header::default());
    for n in 0..series {
        let [.., high, low] = n.to_be_bytes();
        let flow = V5Record {
            source: [10, high, low, 1].into(),
            destination: [10, 128, high, low].into(),
            source_port: 50_000,
            destination_port: 443,
            protocol: 6,
            octets: 1_000 + n,
            packets: 3,
            input: 1 + n as u16,
            source_as: 64_512,
            destination_as: 64_513,
            ..V5Record::default()
        };
        let counters = InterfaceCounters {
            index: 1 + n,
            ..InterfaceCounters::default()
        };
        let mut sflow = SflowWriter::new(&SflowHeader::default());
        for octets in [
            v5(&header, &[flow]).unwrap(),
            sflow.interface_counters(1, &counters).finish().unwrap(),
        ] {
            let datagram = Datagram {
                octets: &octets,
                source: SocketAddr::from(([172, 16, high, low], 2055)),
                received_at: UnixNanos(WALL),
            };
            translator.on_datagram(&datagram, now);
            while translator.poll_batch(now).is_some() {}
        }
    }
    translator
}

#[test]
fn full_views_are_shown_in_bounded_memory() {
    const SERIES: u32 = 2_000;
    const GOAL: usize = 16 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut translator = full_views(SERIES);
    let mut shown = || {
        let reading = translator.flow_metrics(Instant::now()).unwrap();
        for (view, reading) in &reading.views {
            assert_eq!(reading.series.len(), SERIES as usize, "{view:?}");
        }
        Exposition::new(Arc::new(FlowReading::merge(vec![reading])))
    };
    let held_for = |work: &mut dyn FnMut() -> usize| {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        (work(), PEAK.load(Relaxed) - before)
    };
    let (octets, scrape) = held_for(&mut || {
        let parts = Parts::new(shown(), Format::OpenMetrics);
        parts.map(|part| part.len()).sum()
    });
    assert!(octets > 4 << 20, "{octets} octets of text");
    assert!(scrape < GOAL, "a scrape held {scrape} octets");
    let (requests, export) = held_for(&mut || {
        let mut stretches = Stretches::new(shown(), 1, 2);
        std::iter::from_fn(|| Some(stretches.next(1 << 20)).filter(|metrics| !metrics.is_empty()))
            .count()
    });
    assert!(requests > 3, "{requests} requests");
    assert!(export < GOAL, "an export held {export} octets");
}
