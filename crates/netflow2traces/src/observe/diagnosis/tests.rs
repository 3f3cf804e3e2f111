use super::*;

fn healthy() -> Findings {
    Findings {
        listening: vec!["0.0.0.0:2055".parse().unwrap()],
        uptime_seconds: 90,
        datagrams: 100,
        decoded: 100,
        flows: 1000,
        silent_for: Some(1),
        endpoint: Some("http://tempo:4317".to_owned()),
        queue_limit: 100,
        buffer_requested: 100,
        buffer_granted: 100,
        ..Findings::default()
    }
}

fn codes(seen: &Findings) -> Vec<&'static str> {
    findings(seen).iter().map(|finding| finding.code).collect()
}

#[test]
fn all_is_well() {
    assert!(findings(&healthy()).is_empty());
}

#[test]
fn nothing_arrives_names_the_addresses_and_what_to_try() {
    let seen = Findings {
        datagrams: 0,
        decoded: 0,
        flows: 0,
        silent_for: None,
        ..healthy()
    };
    let all = findings(&seen);
    assert_eq!(codes(&seen), ["nothing_received"]);
    assert!(
        all[0].text[0].contains("for 90 s on UDP 0.0.0.0:2055"),
        "{all:?}"
    );
    assert_eq!(all[0].commands[0].1, "sudo tcpdump -ni any 'udp port 2055'");
    assert!(
        all[0].commands[2].1.contains("--to 127.0.0.1:2055"),
        "{all:?}"
    );
    let loopback = Findings {
        listening: vec!["127.0.0.1:2055".parse().unwrap()],
        ..seen
    };
    let text = findings(&loopback)[0].text.join(" ");
    assert!(text.contains("NETFLOW_LISTEN_HOST"), "{text}");
}

#[test]
fn each_failure_has_its_sentence() {
    let unreadable = Findings {
        decoded: 0,
        flows: 0,
        refused: vec![("were too short", 0), ("had an unknown version", 100)],
        ..healthy()
    };
    assert_eq!(codes(&unreadable), ["none_readable"]);
    assert_eq!(
        findings(&unreadable)[0].text[0],
        "All 100 had an unknown version."
    );
    let syslog = Findings {
        strangers: vec![("192.0.2.7".into(), Foreign::Syslog)],
        ..unreadable
    };
    let text = &findings(&syslog)[0].text[1];
    assert!(
        text.starts_with("What 192.0.2.7 sends looks like syslog: send it to another port"),
        "{text}"
    );
    for (seen, code) in [
        (
            Findings {
                flows: 0,
                sets_waiting: 3,
                ..healthy()
            },
            "awaits_templates",
        ),
        (
            Findings {
                flows: 0,
                ..healthy()
            },
            "no_flows",
        ),
        (
            Findings {
                silent_for: Some(31),
                ..healthy()
            },
            "silence",
        ),
        (
            Findings {
                backend_away: true,
                ..healthy()
            },
            "backend_away",
        ),
        (
            Findings {
                rejected_recently: 1,
                ..healthy()
            },
            "backend_refuses",
        ),
        (
            Findings {
                dropped_recently: 1,
                ..healthy()
            },
            "dropped",
        ),
        (
            Findings {
                kernel_drops_recently: 1,
                ..healthy()
            },
            "kernel_drops",
        ),
        (
            Findings {
                refused_recently: 1,
                ..healthy()
            },
            "refused",
        ),
        (
            Findings {
                spool_fails: true,
                ..healthy()
            },
            "spool_fails",
        ),
        (
            Findings {
                is_stopping: true,
                ..healthy()
            },
            "stopping",
        ),
        (
            Findings {
                has_failed: true,
                ..healthy()
            },
            "worker_failed",
        ),
    ] {
        assert_eq!(codes(&seen), [code]);
        let all = findings(&seen);
        assert!(!all[0].text.is_empty(), "{code}");
    }
}

#[test]
fn a_backend_that_is_away_says_its_error_and_the_queue() {
    let seen = Findings {
        backend_away: true,
        last_error: Some("nothing listens there".to_owned()),
        queued_octets: 40,
        ..healthy()
    };
    let all = findings(&seen);
    assert_eq!(all[0].title, "http://tempo:4317 is not accepting spans");
    assert_eq!(all[0].text[0], "nothing listens there");
    assert!(all[0].text[1].contains("40 % full"), "{all:?}");
}

#[test]
fn a_buffer_that_the_kernel_cut_names_the_sysctl() {
    let seen = Findings {
        kernel_drops_recently: 7,
        buffer_granted: 50,
        ..healthy()
    };
    let all = findings(&seen);
    assert!(
        all[0].commands[0].1.contains("net.core.rmem_max=100"),
        "{all:?}"
    );
}

#[test]
fn one_of_something_is_singular() {
    let seen = Findings {
        refused_recently: 1,
        kernel_drops_recently: 1,
        rejected_recently: 1,
        ..healthy()
    };
    for finding in findings(&seen) {
        let has_plural =
            ["1 datagrams", "1 flow spans"].map(|plural| finding.title.contains(plural));
        assert_eq!(has_plural, [false; 2], "{}", finding.title);
    }
}

#[test]
fn a_relay_speaks_of_kafka_and_not_of_decoding() {
    let seen = |relay| Findings {
        datagrams: 1_000,
        endpoint: Some("the topic raw of Kafka at kafka-1:9092".to_owned()),
        queue_limit: 100,
        relay: Some(relay),
        ..Findings::default()
    };
    assert_eq!(findings(&seen(Relayed::default())), []);
    let all = findings(&seen(Relayed {
        is_away: true,
        waiting: 7,
        waiting_octets: 50,
        queue_full: 3,
        refused: 2,
    }));
    let codes: Vec<&str> = all.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["relay_away", "relay_dropped", "relay_refused"]);
    assert!(all[0].title.contains("kafka-1:9092"), "{}", all[0].title);
    assert!(all[0].text[0].contains("7 datagrams wait, and the queue is 50 % full"));
}
