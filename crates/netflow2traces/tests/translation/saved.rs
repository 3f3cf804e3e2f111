//! What a translator gives away of its exporters, another takes back.

use std::time::Duration;

use netflow_wire::write::{Field, MessageWriter, Record, V9Header};
use netflow_wire::{FieldSpecifier, Session, Template, Transport, Version};
use netflow2traces::translate::{Datagram, SavedExporter, SavedTemplate};
use otlp_wire::UnixNanos;

use super::rig::{
    NANOS, Rig, SECONDS, UPTIME_MS, f, ipfix, options, record, rig, rig_with, v5_flows, v5_header,
    v9,
};

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

/// One that remembers what changed.
fn keeping() -> Rig {
    let mut rig = rig();
    rig.translator().keep_changes();
    rig
}

fn changed(rig: &mut Rig) -> Vec<SavedExporter> {
    let now = rig.now;
    let saved = rig.translator().take_changes(now);
    assert!(!saved.more);
    saved.exporters
}

fn restored(saved: Vec<SavedExporter>) -> Rig {
    let mut rig = keeping();
    let now = rig.now;
    for saved in saved {
        rig.translator().restore(saved, now);
    }
    rig
}

/// A template of an interface and a flow of it.
fn flow() -> Vec<u8> {
    record(v9(1), &[f(8, 4), f(10, 2), f(1, 4)], |r| {
        r.ipv4([192, 0, 2, 1]).u16(3).u32(1000);
    })
}

/// The same without the template.
fn flow_alone() -> Vec<u8> {
    let fields = [f(8, 4), f(10, 2), f(1, 4)];
    let mut message = v9(1);
    message.declare(256, &fields).data_set(256, |set| {
        set.record(|r| {
            r.ipv4([192, 0, 2, 1]).u16(3).u32(1000);
        });
    });
    message.finish().expect("fits")
}

fn told() -> Vec<u8> {
    options(v9(1), &[f(2, 4)], &[f(82, 16), f(34, 4)], |r| {
        r.u32(3).text("Gi0/3", 16).u32(50);
    })
}

#[test]
fn templates_names_and_sampling_survive() {
    let mut before = keeping();
    before.spans(&flow());
    before.spans(&told());
    let mut after = restored(changed(&mut before));
    assert!(changed(&mut after).is_empty(), "it is as it was saved");
    let span = after.flow(&flow_alone());
    assert_eq!(span.get("netflow.interface.input.name"), "Gi0/3");
    assert_eq!(span.get("netflow.sampling.interval"), 50);
    assert_eq!(span.get("netflow.sampling.origin"), "options");
    assert_eq!(after.counters().sets_waited.value(), 0);
    assert_eq!(after.counters().exporters.value(), 1);
}

#[test]
fn every_kind_of_sampler_survives() {
    type Write = fn(&mut Record);
    /// The scope and what the options say; a flow's field, its width and its value.
    type Case<'a> = (&'a [Field], Write, (u16, u16, u64));
    let cases: [Case<'_>; 6] = [
        (&[f(302, 4)], |r| _ = r.u32(7).u32(50), (302, 4, 7)),
        (&[f(10, 4)], |r| _ = r.u32(3).u32(50), (10, 4, 3)),
        (
            &[f(10, 4), f(61, 1)],
            |r| _ = r.u32(0).u8(1).u32(50),
            (61, 1, 1),
        ),
        (&[f(145, 2)], |r| _ = r.u16(256).u32(50), (1, 4, 9)),
        (&[f(141, 4)], |r| _ = r.u32(2).u32(50), (1, 4, 9)),
        (&[f(149, 4)], |r| _ = r.u32(1).u32(50), (1, 4, 9)),
    ];
    for (scope, write, (element, octets, value)) in cases {
        let mut before = keeping();
        before.spans(&options(ipfix(1), scope, &[f(34, 4)], write));
        let mut after = restored(changed(&mut before));
        assert!(changed(&mut after).is_empty(), "it is as it was saved");
        let flow = record(ipfix(1), &[f(8, 4), f(element, octets)], |r| {
            let value = value.to_be_bytes();
            r.ipv4([192, 0, 2, 1])
                .bytes(&value[8 - usize::from(octets)..]);
        });
        let interval = after.flow(&flow);
        assert_eq!(interval.get("netflow.sampling.interval"), 50, "{scope:?}");
    }
}

#[test]
fn a_sampler_of_each_interface_survives() {
    let mut before = keeping();
    let fields = [f(48, 1), f(10, 4), f(50, 4)];
    let mut message = v9(1);
    message
        .options_template(300, &[f(1, 4)], &fields)
        .data_set(300, |set| {
            for (interface, interval) in [(3, 100), (4, 200)] {
                set.record(|r| {
                    r.u32(0).u8(1).u32(interface).u32(interval);
                });
            }
        });
    before.spans(&message.finish().expect("fits"));
    let mut after = restored(changed(&mut before));
    for (interface, interval) in [(3, 100), (4, 200)] {
        let span = after.flow(&record(v9(1), &[f(48, 1), f(10, 4)], |r| {
            r.u8(1).u32(interface);
        }));
        assert_eq!(span.get("netflow.sampling.interval"), interval);
    }
}

/// A message without templates, as [`flow_alone`].
fn flow_at(uptime_ms: u32, later: u32) -> Vec<u8> {
    let fields = [f(8, 4), f(10, 2), f(1, 4)];
    let mut message = MessageWriter::v9(V9Header {
        sys_uptime_ms: uptime_ms,
        unix_secs: SECONDS + later,
        source_id: 1,
        ..V9Header::default()
    });
    message.declare(256, &fields).data_set(256, |set| {
        set.record(|r| {
            r.ipv4([192, 0, 2, 1]).u16(3).u32(1000);
        });
    });
    message.finish().expect("fits")
}

#[test]
fn an_exporter_that_restarted_meanwhile_is_not_read_by_its_templates_of_before() {
    let mut before = keeping();
    before.spans(&flow());
    let saved = changed(&mut before);
    let mut after = restored(saved.clone());
    assert_eq!(after.flows(&flow_at(UPTIME_MS + 60_000, 60)).len(), 1);
    let mut after = restored(saved);
    assert!(after.flows(&flow_at(20_000, 60)).is_empty());
    assert_eq!(after.counters().exporter_restarts.value(), 1);
    assert_eq!(after.counters().sets_waiting.value(), 1);
    // Nor are they kept for the next time.
    assert!(after.flows(&told()).is_empty());
    let saved = changed(&mut after);
    assert!(
        saved[0]
            .templates
            .iter()
            .all(|kept| kept.template.id != 256)
    );
}

#[test]
fn exporters_behind_an_exporter_survive() {
    let mut before = keeping();
    before.spans(&options(ipfix(5), &[f(144, 4)], &[f(130, 4)], |r| {
        r.u32(1).ipv4([10, 0, 0, 1]);
    }));
    let mut after = restored(changed(&mut before));
    assert!(changed(&mut after).is_empty(), "it is as it was saved");
    let flow = record(ipfix(5), &[f(8, 4)], |r| {
        r.ipv4([192, 0, 2, 1]);
    });
    assert_eq!(after.flow(&flow).get("netflow.exporter.agent"), "10.0.0.1");
    // Told again it is no news.
    after.spans(&options(ipfix(5), &[f(144, 4)], &[f(130, 4)], |r| {
        r.u32(1).ipv4([10, 0, 0, 1]);
    }));
    changed(&mut after);
    after.spans(&options(ipfix(5), &[f(144, 4)], &[f(130, 4)], |r| {
        r.u32(1).ipv4([10, 0, 0, 2]);
    }));
    assert_eq!(changed(&mut after).len(), 1, "another one is");
}

#[test]
fn descriptions_of_elements_survive() {
    let mut before =
        rig_with(|config| config.attributes = netflow2traces::config::AttributeLevel::All);
    before.translator().keep_changes();
    let scope = [f(346, 4), f(303, 2)];
    before.spans(&options(ipfix(1), &scope, &[f(339, 1), f(341, 8)], |r| {
        r.u32(64_999).u16(7).u8(3).text("ourCount", 8);
    }));
    let saved = changed(&mut before);
    assert_eq!(&*saved[0].types[0].name, "our_count");
    let mut after =
        rig_with(|config| config.attributes = netflow2traces::config::AttributeLevel::All);
    let now = after.now;
    after.translator().restore(saved[0].clone(), now);
    let own = Field {
        element: 7,
        enterprise: 64_999,
        length: 4,
    };
    let span = after.flow(&record(ipfix(1), &[f(8, 4), own], |r| {
        r.ipv4([192, 0, 2, 1]).u32(12);
    }));
    assert_eq!(span.get("ipfix.our_count"), 12);
}

#[test]
fn only_what_is_news_is_to_be_saved() {
    let mut rig = keeping();
    rig.spans(&v5_flows(&v5_header(), 3));
    assert!(changed(&mut rig).is_empty(), "v5 has nothing to keep");
    for news in [flow(), told()] {
        rig.spans(&news);
        assert_eq!(changed(&mut rig).len(), 1);
        for _ in 0..3 {
            rig.spans(&news);
            rig.spans(&flow_alone());
            assert!(changed(&mut rig).is_empty());
        }
    }
    // Another definition of the template.
    rig.spans(&record(v9(1), &[f(8, 4), f(10, 2)], |r| {
        r.ipv4([192, 0, 2, 1]).u16(3);
    }));
    let saved = changed(&mut rig);
    assert_eq!(saved[0].templates.len(), 2, "with that of the options");
    // Another name.
    rig.spans(&options(v9(1), &[f(2, 4)], &[f(82, 16), f(34, 4)], |r| {
        r.u32(3).text("uplink", 16).u32(50);
    }));
    assert_eq!(changed(&mut rig).len(), 1);
    assert_eq!(rig.counters().state_changes.value(), 4);
}

#[test]
fn a_refresh_is_saved_once_in_a_while() {
    let mut rig = keeping();
    rig.spans(&flow());
    changed(&mut rig);
    let mut saved = 0;
    for _ in 0..24 * 6 {
        rig.pass(Duration::from_secs(600));
        rig.spans(&flow());
        saved += changed(&mut rig).len();
    }
    assert_eq!(saved, 8, "in a day");
}

#[test]
fn age_goes_on_over_a_restart() {
    let mut before = keeping();
    before.spans(&flow());
    let mut saved = changed(&mut before);
    assert_eq!(saved[0].templates[0].refreshed, UnixNanos(NANOS));
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
    saved[0].templates[0].refreshed.0 -= nanos(LIFETIME - 60 * SECOND);
    let mut after = restored(saved.clone());
    after.pass(50 * SECOND);
    assert_eq!(after.flows(&flow_alone()).len(), 1);
    after.pass(20 * SECOND);
    assert_eq!(after.flows(&flow_alone()).len(), 0);
    // Too old already.
    saved[0].templates[0].refreshed.0 -= nanos(61 * SECOND);
    let mut after = restored(saved.clone());
    assert_eq!(after.flows(&flow_alone()).len(), 0);
    saved[0].seen.0 -= nanos(LIFETIME + SECOND);
    assert_eq!(restored(saved).counters().exporters.value(), 0);
}

#[test]
fn what_a_file_says_is_bounded_as_what_a_message_says() {
    let template = |version, id, fields: usize, length| {
        let fields = vec![FieldSpecifier::iana(8, length); fields];
        SavedTemplate {
            session: Session::udp(2055),
            domain: 1,
            refreshed: UnixNanos(NANOS),
            uptime: None,
            template: Template::new(version, id, None, fields),
        }
    };
    let mut templates = vec![
        template(Version::V9, 255, 2, 4),
        template(Version::V5, 256, 2, 4),
        template(Version::V9, 257, 2000, 4),
        template(Version::V9, 258, 200, 0),
        template(Version::V9, 259, 0, 4),
    ];
    templates.extend((1000..9000).map(|id| template(Version::Ipfix, id, 1, 4)));
    let mut rig = keeping();
    let now = rig.now;
    let saved = SavedExporter {
        address: "192.0.2.1".parse().unwrap(),
        seen: UnixNanos(u64::from(SECONDS) * 1_000_000_000),
        templates,
        domains: Vec::new(),
        agents: Vec::new(),
        types: Vec::new(),
    };
    let known = rig.translator().restore(saved, now);
    assert!((1..=4096).contains(&known), "{known}");
    let templates = rig.translator().templates(None, 10_000, now);
    assert!(templates.rows.iter().all(|row| row.version == "ipfix"));
}

#[test]
fn who_is_not_allowed_any_more_is_not_restored() {
    let mut before = keeping();
    before.spans(&flow());
    let saved = changed(&mut before);
    let mut after = rig_with(|config| {
        config.allowed_exporters = vec!["10.0.0.0/8".parse().unwrap()];
    });
    let now = after.now;
    assert_eq!(after.translator().restore(saved[0].clone(), now), 0);
    assert_eq!(after.counters().exporters.value(), 0);
}

/// Of exporters behind a relay, each belongs to a share that another translator may have next.
fn behind_a_relay() -> Rig {
    let mut rig = keeping();
    rig.translator().put_behind_relay();
    rig
}

#[test]
fn a_share_is_forgotten_and_the_others_stay() {
    let mut rig = behind_a_relay();
    for (share, source) in [(1, "192.0.2.1:2055"), (2, "192.0.2.2:2055")] {
        rig.translator().read_from(share);
        rig.take(source, &flow());
    }
    assert_eq!(changed(&mut rig).len(), 2);
    rig.flush();
    rig.translator().forget(1);
    assert_eq!(rig.counters().exporters.value(), 1);
    rig.translator().read_from(1);
    rig.take("192.0.2.1:2055", &flow_alone());
    assert_eq!(rig.counters().sets_waiting.value(), 1);
    rig.translator().read_from(2);
    rig.take("192.0.2.2:2055", &flow_alone());
    assert_eq!(rig.counters().sets_waited.value(), 1);
    // What waits there goes too, and is counted.
    rig.translator().forget(1);
    assert_eq!(rig.counters().sets_waiting.value(), 0);
    assert_eq!(rig.counters().sets_expired.value(), 1);
    assert!(rig.translator().has_open_batch());
    rig.flush();
    assert!(!rig.translator().has_open_batch());
}

#[test]
fn behind_a_relay_connections_outlive_the_translator_and_older_messages_are_no_restart() {
    let message = |uptime, octets: Vec<u8>| {
        let mut octets = octets;
        octets[4..8].copy_from_slice(&u32::to_be_bytes(uptime));
        octets
    };
    let over_tcp = |rig: &mut Rig, octets: &[u8]| {
        let datagram = Datagram {
            octets,
            source: "192.0.2.1:4000".parse().unwrap(),
            received_at: UnixNanos(NANOS),
        };
        let now = rig.now;
        rig.translator().on_message(&datagram, Transport::Tcp, now);
        rig.flush()
            .iter()
            .map(|batch| batch.flow_spans)
            .sum::<u32>()
    };
    let mut before = behind_a_relay();
    assert_eq!(over_tcp(&mut before, &message(600_000, flow())), 1);
    let mut after = behind_a_relay();
    let now = after.now;
    for saved in changed(&mut before) {
        after.translator().restore(saved, now);
    }
    // Read again from where the other had committed, five minutes before.
    let old = message(300_000, flow_alone());
    assert_eq!(over_tcp(&mut after, &old), 1);
    assert_eq!(after.counters().sets_waited.value(), 0);
}
