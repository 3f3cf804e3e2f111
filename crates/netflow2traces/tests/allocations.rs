//! A warm translator allocates nothing for a flow, nothing for a datagram, and little for a batch.

#[expect(unsafe_code, reason = "an allocator that counts")]
#[path = "support/allocator.rs"]
mod allocator;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Instant;

use allocator::{ALLOCATIONS, HELD};
use netflow_wire::sflow::{FlowRecord, RawHeader};
use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, Record, SflowHeader, SflowSample, SflowWriter, V5Header,
    V5Record, V9Header, v5,
};
use netflow2traces::config::{
    self, AttributeLevel, Machine, Purpose, Selection, Sources, Translate,
};
use netflow2traces::translate::{Datagram, Ids, Translator};
use otlp_wire::UnixNanos;

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

fn translator(config: &Translate) -> Translator<fn() -> UnixNanos> {
    Translator::new(config, || UnixNanos(1), Ids::new([7; 32]))
}

fn send(translator: &mut Translator<fn() -> UnixNanos>, octets: &[u8], source: u8, now: Instant) {
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
fn warm_allocations(level: AttributeLevel, datagrams: &[Vec<u8>]) -> usize {
    warm_allocations_of(&configuration(level), datagrams)
}

fn warm_allocations_of(config: &Translate, datagrams: &[Vec<u8>]) -> usize {
    let mut translator = translator(config);
    let now = Instant::now();
    for octets in datagrams {
        for _ in 0..3 {
            send(&mut translator, octets, 1, now);
        }
    }
    let last = datagrams.last().expect("one");
    let flows = translator.counters().flow_spans.value();
    let allocations = allocations(|| {
        for _ in 0..200 {
            send(&mut translator, last, 1, now);
        }
    });
    assert!(translator.counters().flow_spans.value() >= flows + 200);
    allocations
}

fn v5_datagram() -> Vec<u8> {
    let header = V5Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        sampling_interval: 100,
        ..V5Header::default()
    };
    let flow = V5Record {
        source: [192, 0, 2, 7].into(),
        destination: [198, 51, 100, 9].into(),
        packets: 3,
        octets: 180,
        first_ms: UPTIME_MS - 5000,
        last_ms: UPTIME_MS - 1000,
        protocol: 6,
        ..V5Record::default()
    };
    v5(&header, &[flow; 30]).expect("fits")
}

const V4: [Field; 2] = [Field::new(8, 4), Field::new(12, 4)];
const V6: [Field; 2] = [Field::new(27, 16), Field::new(28, 16)];
const COMMON: [Field; 8] = [
    Field::new(7, 2),
    Field::new(11, 2),
    Field::new(4, 1),
    Field::new(1, 8),
    Field::new(2, 8),
    Field::new(10, 4),
    Field::new(136, 1),
    Field::new(56, 6),
];

fn common(record: &mut Record) -> &mut Record {
    record
        .u16(50_000)
        .u16(443)
        .u8(6)
        .u64(1500)
        .u64(3)
        .u32(7)
        .u8(1)
        .mac([2, 0, 0, 0, 0, 1])
}

/// A datagram with the template and an interface's name, and one with records only.
fn with_template(
    message: impl Fn() -> MessageWriter,
    fields: &[Field],
    write: impl Fn(&mut Record),
) -> [Vec<u8>; 2] {
    let options = [Field::new(10, 4), Field::new(82, 8), Field::new(34, 4)];
    let mut first = message();
    first
        .template(256, fields)
        .options_template(257, &options[..1], &options[1..])
        .data_set(257, |set| {
            set.record(|record| {
                record.u32(7).text("Gi0/7", 8).u32(100);
            });
        });
    let mut second = message();
    second.declare(256, fields).data_set(256, |set| {
        for _ in 0..14 {
            set.record(&write);
        }
    });
    [first, second].map(|mut message| message.finish().expect("fits"))
}

fn v9_message() -> MessageWriter {
    MessageWriter::v9(V9Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        ..V9Header::default()
    })
}

fn ipfix_message() -> MessageWriter {
    MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        ..IpfixHeader::default()
    })
}

const LEVELS: [AttributeLevel; 2] = [AttributeLevel::Minimal, AttributeLevel::Standard];

#[test]
fn a_v5_flow_allocates_nothing() {
    for level in LEVELS {
        assert_eq!(warm_allocations(level, &[v5_datagram()]), 0, "{level:?}");
    }
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
    assert_eq!(warm_allocations_of(&config, &[v5_datagram()]), 0);
}

#[test]
fn a_v9_flow_allocates_nothing() {
    let times = [Field::new(22, 4), Field::new(21, 4)];
    let fields = [&V4[..], &COMMON, &times].concat();
    let datagrams = with_template(v9_message, &fields, |record| {
        record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
        common(record).u32(UPTIME_MS - 5000).u32(UPTIME_MS - 1000);
    });
    for level in LEVELS {
        assert_eq!(warm_allocations(level, &datagrams), 0, "{level:?}");
    }
}

#[test]
fn an_ipfix_flow_allocates_nothing_in_either_family() {
    let times = [Field::new(152, 8), Field::new(153, 8)];
    let end = u64::from(SECONDS) * 1000;
    let v4 = with_template(
        ipfix_message,
        &[&V4[..], &COMMON, &times].concat(),
        |record| {
            record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
            common(record).u64(end - 5000).u64(end - 1000);
        },
    );
    let v6 = with_template(
        ipfix_message,
        &[&V6[..], &COMMON, &times].concat(),
        |record| {
            record.ipv6(7_u128 << 96).ipv6(9_u128 << 96);
            common(record).u64(end - 5000).u64(end - 1000);
        },
    );
    for level in LEVELS {
        assert_eq!(warm_allocations(level, &v4), 0, "{level:?}");
        assert_eq!(warm_allocations(level, &v6), 0, "{level:?}");
    }
}

#[test]
fn a_sampled_packet_of_sflow_allocates_nothing() {
    let mut header = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    header.extend_from_slice(&[0x45, 0, 5, 0xdc, 0, 1, 0x40, 0, 61, 6, 0, 0]);
    header.extend_from_slice(&[192, 0, 2, 7, 198, 51, 100, 9, 0xc3, 0x50, 1, 0xbb]);
    header.resize(128, 0);
    let mut writer = SflowWriter::new(&SflowHeader::default());
    for sequence in 0..7 {
        let sample = SflowSample {
            sequence,
            sampling_rate: 1000,
            ..SflowSample::default()
        };
        writer.flow(&sample, |records| {
            records.record(&FlowRecord::RawHeader(RawHeader {
                protocol: 1,
                frame_length: 1518,
                stripped: 4,
                octets: &header,
            }));
        });
    }
    let datagram = writer.finish().expect("fits");
    for level in LEVELS {
        let datagrams = [datagram.clone()];
        assert_eq!(warm_allocations(level, &datagrams), 0, "{level:?}");
    }
}

#[test]
fn a_flow_of_variable_length_allocates_nothing() {
    let fields = [&V4[..], &COMMON, &[Field::variable(371)]].concat();
    let datagrams = with_template(ipfix_message, &fields, |record| {
        record.ipv4([192, 0, 2, 7]).ipv4([198, 51, 100, 9]);
        common(record).variable(b"somebody");
    });
    for level in LEVELS {
        assert_eq!(warm_allocations(level, &datagrams), 0, "{level:?}");
    }
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
    let drain = |translator: &mut Translator<fn() -> UnixNanos>| {
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
            now += std::time::Duration::from_millis(10);
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
