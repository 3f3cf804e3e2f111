//! Who is heard, and how often.

use std::time::Duration;

use super::rig::{Rig, f, ipfix, record, rig_with, v5_flows, v5_header};

fn heard(rig: &mut Rig, sources: &[&str]) -> Vec<String> {
    for source in sources {
        rig.take(source, &v5_flows(&v5_header(), 1));
    }
    let spans = rig.flush();
    let spans = spans.iter().flat_map(super::rig::spans);
    let flows = spans.filter(|span| span.name == "netflow.flow");
    let mut exporters: Vec<_> = flows.map(|span| span.exporter).collect();
    exporters.sort();
    exporters
}

#[test]
fn who_is_not_allowed_leaves_nothing_but_a_count() {
    let mut rig = rig_with(|config| {
        config.allowed_exporters = vec![
            "192.0.2.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
    });
    let sources = [
        "192.0.2.1:1",
        "192.0.3.1:1",
        "[2001:db8::1]:1",
        "[2001:db9::1]:1",
    ];
    assert_eq!(heard(&mut rig, &sources), ["192.0.2.1", "2001:db8::1"]);
    rig.take("192.0.3.1:1", b"garbage");
    assert!(rig.flush().is_empty(), "no span for what is wrong with it");
    let counters = rig.counters();
    assert_eq!(counters.datagrams_not_allowed.value(), 3);
    assert_eq!(counters.datagrams_decoded.value(), 2);
    assert_eq!(counters.datagrams_rejected(), 0);
    assert_eq!(counters.exporters.value(), 2);
}

#[test]
fn an_exporter_over_its_rate_is_cut_and_the_others_are_not() {
    let mut rig = rig_with(|config| config.max_rate_per_exporter = Some(10));
    let many = ["192.0.2.1:1"; 25];
    assert_eq!(heard(&mut rig, &many).len(), 10);
    assert_eq!(heard(&mut rig, &["192.0.2.2:1"]).len(), 1);
    // Another port is the same exporter.
    assert_eq!(heard(&mut rig, &["192.0.2.1:2"]).len(), 0);
    rig.pass(Duration::from_millis(300));
    assert_eq!(heard(&mut rig, &many).len(), 3);
    let counters = rig.counters();
    assert_eq!(counters.datagrams_decoded.value(), 14);
    assert_eq!(counters.datagrams_rate_limited.value(), 15 + 1 + 22);
    assert_eq!(counters.flow_spans.value(), 14);
}

/// Templates are worth more than data, but what is over the rate isn't looked at.
#[test]
fn what_is_over_the_rate_teaches_nothing() {
    let mut rig = rig_with(|config| config.max_rate_per_exporter = Some(1));
    let message = record(ipfix(1), &[f(8, 4)], |r| {
        r.ipv4([192, 0, 2, 1]);
    });
    rig.take("192.0.2.1:1", &v5_flows(&v5_header(), 1));
    rig.take("192.0.2.1:1", &message);
    assert_eq!(rig.counters().templates_learnt.value(), 0);
    rig.pass(Duration::from_secs(1));
    rig.take("192.0.2.1:1", &message);
    assert_eq!(rig.counters().templates_learnt.value(), 1);
}
