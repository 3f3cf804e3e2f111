//! The same fault means the same in every protocol: counters, log lines, rejected datagrams and the datagram's span.

use netflow_wire::sflow::{FlowRecord, RawHeader};
use netflow_wire::write::{
    Field, IpfixHeader, MessageWriter, SflowHeader, SflowSample, SflowWriter, V5Header, V9Header,
};
use netflow2traces::config::Translate;
use tracing::Level;

use super::log::Log;
use super::rig::{Rig, SECONDS, UPTIME_MS, f, rig_with, v5_flows};

const TEMPLATE: [Field; 2] = [f(8, 4), f(12, 4)];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    V5,
    V9,
    Ipfix,
    Sflow,
}

impl Way {
    const ALL: [Self; 4] = [Self::V5, Self::V9, Self::Ipfix, Self::Sflow];
}

/// One datagram with one flow.
#[derive(Clone, Copy)]
struct Sent {
    /// In the protocol's own unit, which is one for each of these datagrams.
    sequence: u32,
    uptime_ms: u32,
    /// Seconds since 1970; sFlow has none.
    exported: u32,
    /// With a Set or a sample that can't be used.
    damaged: bool,
}

/// The steady beginning: so many datagrams, nothing missing.
const STEADY: u32 = 5;
const FIRST: u32 = 5_000_000;

fn sent(number: u32) -> Sent {
    Sent {
        sequence: FIRST + number,
        uptime_ms: UPTIME_MS + number,
        exported: SECONDS,
        damaged: false,
    }
}

fn datagram(way: Way, sent: Sent) -> Vec<u8> {
    match way {
        Way::V5 => v5_flows(
            &V5Header {
                sys_uptime_ms: sent.uptime_ms,
                unix_secs: sent.exported,
                flow_sequence: sent.sequence,
                ..V5Header::default()
            },
            1,
        ),
        Way::V9 => message(
            MessageWriter::v9(V9Header {
                sys_uptime_ms: sent.uptime_ms,
                unix_secs: sent.exported,
                sequence: sent.sequence,
                ..V9Header::default()
            }),
            sent.damaged,
        ),
        Way::Ipfix => message(
            MessageWriter::ipfix(IpfixHeader {
                export_time: sent.exported,
                sequence: sent.sequence,
                ..IpfixHeader::default()
            }),
            sent.damaged,
        ),
        Way::Sflow => {
            let mut datagram = SflowWriter::new(&SflowHeader {
                sequence: sent.sequence,
                uptime_ms: sent.uptime_ms,
                ..SflowHeader::default()
            });
            datagram.flow(&SflowSample::default(), |records| {
                records.record(&FlowRecord::RawHeader(RawHeader {
                    protocol: 11,
                    frame_length: 20,
                    stripped: 0,
                    octets: &[0x45; 20],
                }));
            });
            if sent.damaged {
                datagram.sample(0, 1, &[0; 8]);
            }
            datagram.finish().expect("fits")
        }
    }
}

fn message(mut message: MessageWriter, damaged: bool) -> Vec<u8> {
    message.template(256, &TEMPLATE).data_set(256, |set| {
        set.record(|record| {
            record.u32(0x0a00_0001).u32(0x0a00_0002);
        });
    });
    if damaged {
        // Ids from 4 to 255 are reserved.
        message.raw_set(5, None, &[0; 4]);
    }
    message.finish().expect("fits")
}

/// Everything by which an operator could tell one protocol's fault from another's.
#[derive(Debug, Default, Eq, PartialEq)]
struct Seen {
    decoded: u64,
    rejected: u64,
    not_allowed: u64,
    rate_limited: u64,
    restarts: u64,
    lost: u64,
    flows: u64,
    /// Of each rejected datagram: nothing of it was used.
    whole: Vec<bool>,
    /// Datagrams' spans with `netflow.lost`, and with status ERROR.
    spans_with_loss: usize,
    spans_with_error: usize,
    log: Vec<String>,
}

/// What is seen of `faults` after a steady beginning.
fn seen(way: Way, change: impl FnOnce(&mut Translate), faults: &[Vec<u8>]) -> Seen {
    let (log, _guard) = Log::begin(Level::INFO);
    let mut rig = rig_with(change);
    for number in 0..STEADY {
        rig.take("192.0.2.1:2055", &datagram(way, sent(number)));
    }
    rig.flush();
    log.clear();
    for fault in faults {
        rig.take("192.0.2.1:2055", fault);
    }
    let (spans_with_loss, spans_with_error) = marked(&mut rig);
    // Losses are said at the next look around.
    rig.pass(std::time::Duration::from_secs(20));
    let counters = rig.counters();
    let lost = [
        &counters.lost_flows,
        &counters.lost_messages,
        &counters.lost_records,
        &counters.lost_datagrams,
    ];
    Seen {
        decoded: counters.datagrams_decoded.value(),
        rejected: counters.datagrams_rejected(),
        not_allowed: counters.datagrams_not_allowed.value(),
        rate_limited: counters.datagrams_rate_limited.value(),
        restarts: counters.exporter_restarts.value(),
        lost: lost
            .map(netflow2traces::translate::counters::Counter::value)
            .iter()
            .sum(),
        flows: counters.flow_spans.value(),
        whole: rig
            .translator()
            .rejected()
            .iter()
            .map(|one| one.whole)
            .collect(),
        spans_with_loss,
        spans_with_error,
        log: log
            .lines()
            .iter()
            .map(|line| format!("{} {}", line["level"], line["message"]))
            .collect(),
    }
}

/// Datagrams' spans with a loss, and with an error.
fn marked(rig: &mut Rig) -> (usize, usize) {
    let batches = rig.flush();
    let exports: Vec<_> = batches
        .iter()
        .flat_map(super::rig::spans)
        .filter(|span| span.name == "netflow.export")
        .collect();
    let with_loss = exports
        .iter()
        .filter(|span| !span.get("netflow.lost").is_null());
    let with_error = exports.iter().filter(|span| span.error.is_some());
    (with_loss.count(), with_error.count())
}

/// Asserts that all ways show the same, and gives it.
fn alike(
    ways: &[Way],
    change: impl Fn(&mut Translate) + Copy,
    faults: impl Fn(Way) -> Vec<Vec<u8>>,
) -> Seen {
    let mut all = ways
        .iter()
        .map(|way| (way, seen(*way, change, &faults(*way))));
    let (_, first) = all.next().expect("there are some");
    for (way, other) in all {
        assert_eq!(first, other, "{way:?}");
    }
    first
}

#[test]
fn a_header_cut_short_is_rejected_alike() {
    let seen = alike(
        &Way::ALL,
        |_| {},
        |way| vec![datagram(way, sent(STEADY))[..10].to_vec()],
    );
    assert_eq!(
        (seen.rejected, seen.whole, seen.spans_with_error),
        (1, vec![true], 1)
    );
    assert_eq!(seen.decoded, u64::from(STEADY));
}

#[test]
fn a_part_that_cannot_be_used_costs_that_part_alike() {
    // v5 has no parts.
    let seen = alike(
        &Way::ALL[1..],
        |_| {},
        |way| {
            vec![datagram(
                way,
                Sent {
                    damaged: true,
                    ..sent(STEADY)
                },
            )]
        },
    );
    assert_eq!(
        (seen.rejected, seen.whole, seen.spans_with_error),
        (0, vec![false], 1)
    );
    assert_eq!(seen.flows, u64::from(STEADY) + 1);
}

#[test]
fn a_restart_is_seen_and_said_alike() {
    let seen = alike(
        &Way::ALL,
        |_| {},
        |way| {
            let begun_anew = Sent {
                sequence: 1,
                uptime_ms: 500,
                ..sent(0)
            };
            vec![datagram(way, begun_anew)]
        },
    );
    assert_eq!((seen.restarts, seen.lost), (1, 0));
    assert_eq!(seen.log.len(), 1, "{:?}", seen.log);
    assert!(seen.log[0].contains("restarted"), "{:?}", seen.log);
}

#[test]
fn a_loss_is_counted_shown_and_said_alike() {
    let seen = alike(
        &Way::ALL,
        |_| {},
        |way| vec![datagram(way, sent(STEADY + 3))],
    );
    assert_eq!((seen.lost, seen.spans_with_loss, seen.restarts), (3, 1, 0));
    assert_eq!(seen.log.len(), 1, "{:?}", seen.log);
}

#[test]
fn an_exporter_that_is_not_allowed_is_counted_alike() {
    let only_others = |config: &mut Translate| {
        config.allowed_exporters = vec!["198.51.100.0/24".parse().expect("a network")];
    };
    let seen = alike(&Way::ALL, only_others, |way| {
        vec![datagram(way, sent(STEADY))]
    });
    assert_eq!((seen.not_allowed, seen.decoded), (u64::from(STEADY) + 1, 0));
}

#[test]
fn an_exporter_over_its_rate_is_limited_alike() {
    let slowly = |config: &mut Translate| config.max_rate_per_exporter = Some(STEADY);
    let seen = alike(&Way::ALL, slowly, |way| {
        (0..3)
            .map(|number| datagram(way, sent(STEADY + number)))
            .collect()
    });
    assert_eq!((seen.rate_limited, seen.decoded), (3, u64::from(STEADY)));
    assert_eq!(seen.log.len(), 1, "{:?}", seen.log);
}

#[test]
fn a_clock_that_is_off_is_said_alike() {
    // sFlow has no clock.
    let seen = alike(
        &Way::ALL[..3],
        |_| {},
        |way| {
            vec![datagram(
                way,
                Sent {
                    exported: SECONDS - 7200,
                    ..sent(STEADY)
                },
            )]
        },
    );
    assert_eq!(seen.log.len(), 1, "{:?}", seen.log);
    assert!(seen.log[0].contains("clock"), "{:?}", seen.log);
}
