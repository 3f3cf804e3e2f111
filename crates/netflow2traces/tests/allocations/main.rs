//! A warm translator allocates nothing for a flow, nothing for a datagram, and little for a batch.

#[expect(unsafe_code, reason = "an allocator that counts")]
#[path = "../support/allocator.rs"]
mod allocator;
mod inputs;
#[path = "../support/mmdb.rs"]
mod mmdb;
mod ways;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use netflow_wire::write::{Field, IpfixHeader, MessageWriter};
use netflow2traces::config::{
    self, AttributeLevel, Machine, Purpose, Selection, Sources, Translate,
};
use netflow2traces::translate::metrics::{TopKind, View};
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;

use allocator::{ALLOCATIONS, HELD};
use inputs::{
    COMMON, V4, common, inputs, ipfix_message, v5_datagram, v5_datagram_of, v9_message,
    with_template,
};
use ways::Way;

const SECONDS: u32 = 1_700_000_000;
const UPTIME_MS: u32 = 1_000_000;

fn configuration(attributes: AttributeLevel) -> Translate {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    Translate {
        attributes,
        // Large enough that none is full: what a batch costs is measured apart.
        batch_max_octets: 64 << 20,
        batch_max_spans: usize::MAX,
        ..loaded.expect("defaults are sound").config.translate
    }
}

fn translator(config: &Translate) -> Translator {
    Translator::new(config, || UnixNanos(1), Ids::new([7; 32]))
}

fn send(translator: &mut Translator, octets: &[u8], source: u8, now: Instant) {
    let datagram = Datagram {
        octets,
        source: SocketAddr::from(([192, 0, 2, source], 2055)),
        received_at: UnixNanos(1),
    };
    translator.on_datagram(&datagram, now);
}

/// Allocations while `work` is done.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Sends the datagrams until all is warm, then the last of them again and again.
fn warm_allocations(translator: &mut Translator, datagrams: &[Vec<u8>]) -> usize {
    const TIMES: u64 = 20;
    let now = Instant::now();
    for octets in datagrams {
        for _ in 0..3 {
            send(translator, octets, 1, now);
        }
    }
    // Nothing waits any more to be counted: the tables have their room.
    let _ = translator.flow_metrics(now);
    let last = datagrams.last().expect("one");
    let flows = translator.counters().flow_spans.value();
    let allocations = allocations(|| {
        for _ in 0..TIMES {
            send(translator, last, 1, now);
        }
    });
    assert!(translator.counters().flow_spans.value() >= flows + TIMES);
    allocations
}

#[test]
fn a_warm_flow_allocates_nothing_in_any_shape_schema_level_view_or_look_up() {
    let inputs = inputs();
    for way in Way::every() {
        for (name, datagrams) in &inputs {
            assert_eq!(way.allocations(datagrams), 0, "{name}: {way:?}");
        }
    }
}

/// Each flow is of a conversation of its own: the tables of the view are full, and each takes the place of
/// another.
#[test]
fn a_flow_that_takes_the_place_of_others_in_the_view_top_allocates_nothing() {
    const DATAGRAMS: u16 = 400;
    let sources = |datagram: u16| {
        let [high, low] = datagram.to_be_bytes();
        std::array::from_fn::<_, 30, _>(|flow| [10, high, low, flow as u8])
    };
    let datagrams: Vec<_> = (0..DATAGRAMS)
        .map(|datagram| v5_datagram_of(sources(datagram)))
        .collect();
    let mut translator = Way::of_view(View::Top).translator();
    let now = Instant::now();
    let (warm, counted) = datagrams.split_at(datagrams.len() / 2);
    for octets in warm {
        send(&mut translator, octets, 1, now);
    }
    let allocations = allocations(|| {
        for octets in counted {
            send(&mut translator, octets, 1, now);
        }
    });
    assert_eq!(allocations, 0);
    let rows = translator
        .flow_metrics(now)
        .expect("a view is counted")
        .top();
    assert!(rows.iter().any(|row| row.kind == TopKind::Source));
}

#[test]
fn deciding_which_flows_become_spans_allocates_nothing() {
    let config = Translate {
        selection: Selection {
            filter: Some(
                "net 0.0.0.0/0 and not port in [1, 3-5] and bytes < 1g"
                    .parse()
                    .unwrap(),
            ),
            keep: Some("flags S or duration >= 0 or packets > 0".parse().unwrap()),
            sample_bytes: NonZeroU64::new(1 << 40),
        },
        ..configuration(AttributeLevel::Standard)
    };
    let allocations = warm_allocations(&mut translator(&config), &[v5_datagram()]);
    assert_eq!(allocations, 0);
}

/// Two exporters in turn, so that requests are gathered; batches are dropped as a sender would.
#[test]
fn a_batch_allocates_a_bounded_number_of_times_however_many_flows() {
    for exporters in [1, 2] {
        let config = Translate {
            batch_max_octets: 256 << 10,
            ..configuration(AttributeLevel::Standard)
        };
        let mut translator = translator(&config);
        let (datagram, now) = (v5_datagram(), Instant::now());
        let mut run = |datagrams: u32| {
            let mut batches = 0;
            for index in 0..datagrams {
                send(
                    &mut translator,
                    &datagram,
                    1 + (index % exporters) as u8,
                    now,
                );
                while let Some(batch) = translator.poll_batch(now) {
                    batches += 1;
                    drop(batch);
                }
            }
            batches
        };
        run(400);
        let mut batches = 0;
        let allocations = allocations(|| batches = run(1000));
        assert!(batches > 20, "{batches}");
        assert!(
            allocations <= 4 * batches,
            "{allocations} allocations for {batches} batches of {exporters} exporters"
        );
    }
}

/// The most that one exporter can make the translator hold: templates of all the fields that it may have, of
/// elements that each become an attribute, and names up to their bound.
#[test]
fn an_exporter_holds_no_more_than_its_bound() {
    const MOST: isize = 48 << 20;
    let config = Translate {
        batch_max_octets: 1 << 20,
        ..configuration(AttributeLevel::All)
    };
    let mut translator = translator(&config);
    let now = Instant::now();
    send(&mut translator, &v5_datagram(), 1, now);
    let before = HELD.get();
    let drain = |translator: &mut Translator| {
        while let Some(batch) = translator.poll_batch(now) {
            drop(batch);
        }
    };
    for domain in 0..5000_u32 {
        let fields: Vec<_> = (0..16)
            .map(|field| Field::new(1 + ((domain * 16 + field) % 480) as u16, 4))
            .collect();
        let mut message = MessageWriter::ipfix(IpfixHeader {
            export_time: SECONDS,
            observation_domain: domain,
            ..IpfixHeader::default()
        });
        message.template(256, &fields);
        send(&mut translator, &message.finish().expect("fits"), 2, now);
        drain(&mut translator);
    }
    let templates = HELD.get() - before;
    for domain in 0..400_u32 {
        let mut message = MessageWriter::ipfix(IpfixHeader {
            export_time: SECONDS,
            observation_domain: domain,
            ..IpfixHeader::default()
        });
        let options = [Field::new(10, 4), Field::new(82, 250)];
        message
            .options_template(257, &options[..1], &options[1..])
            .data_set(257, |set| {
                for interface in 0..240 {
                    set.record(|record| {
                        record.u32(interface).bytes(&[b'x'; 250]);
                    });
                }
            });
        send(&mut translator, &message.finish().expect("fits"), 2, now);
        drain(&mut translator);
    }
    let all = HELD.get() - before;
    println!("{templates} octets with templates, {all} with names too");
    assert!(all <= MOST, "{all} octets");
}

/// Invented sources, each with a message of its own kind, beside one exporter that continues to send.
#[test]
fn a_flood_of_invented_sources_costs_bounded_memory_and_no_honest_flow() {
    const SOURCES: u32 = 100_000;
    const MOST: isize = 256 << 20;
    let fields = [&V4[..], &COMMON].concat();
    let [teaching, flows] = with_template(v9_message, &fields, |record| {
        record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
        common(record);
    });
    let [_, without_template] = with_template(ipfix_message, &fields, |record| {
        record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
        common(record);
    });
    let wide: Vec<_> = (0..60).map(|field| Field::new(1 + field, 4)).collect();
    let mut message = ipfix_message();
    message.template(300, &wide);
    let wide = message.finish().expect("fits");
    let floods = [v5_datagram(), without_template, wide, vec![0xff; 40]];

    let config = Translate {
        batch_max_octets: 1 << 20,
        ..configuration(AttributeLevel::Standard)
    };
    let mut translator = translator(&config);
    let counters = translator.counters();
    let mut now = Instant::now();
    let before = HELD.get();
    send(&mut translator, &teaching, 1, now);
    let (mut most, mut honest) = (0, 0);
    for source in 0..SOURCES {
        let octets = &floods[source as usize % floods.len()];
        let datagram = Datagram {
            octets,
            source: SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + source), 2055)),
            received_at: UnixNanos(1),
        };
        translator.on_datagram(&datagram, now);
        if source % 100 == 0 {
            let waiting = counters.sets_waited.value();
            send(&mut translator, &flows, 1, now);
            assert_eq!(counters.sets_waited.value(), waiting, "after {source}");
            honest += 14;
            now += Duration::from_millis(10);
            translator.on_deadline(now);
        }
        while let Some(batch) = translator.poll_batch(now) {
            drop(batch);
        }
        most = most.max(HELD.get() - before);
    }
    println!("{most} octets at most");
    assert!(most <= MOST, "{most} octets");
    let invented = u64::from(SOURCES / 4) * 30;
    assert_eq!(counters.flow_spans.value(), honest + invented);
    assert_eq!(
        counters.datagrams_decoded.value() + counters.datagrams_rejected(),
        1 + u64::from(SOURCES) + u64::from(SOURCES) / 100
    );
    assert!(counters.exporters_evicted.value() > 0);
}
