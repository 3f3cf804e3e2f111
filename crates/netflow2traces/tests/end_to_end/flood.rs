//! Many unknown sources, beside one known exporter.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use netflow_wire::write::{IpfixHeader, MessageWriter};

use crate::admin_client::{Admin, value};
use crate::daemon::{Daemon, Setup};
use crate::exporter::{Content, Exporter, now, v5_datagram, v9_datagram};

const SOURCES: u32 = 100_000;
/// Datagrams that the smallest usual receive buffers (208 KiB, doubled for the kernel) of two workers hold.
const AT_ONCE: usize = 450;
/// Flows in each datagram of the exporter that is known.
const FLOWS: u16 = 10;
/// Of the daemon's memory.
const MOST: u64 = 768 << 20;

/// 127.1.0.0 and on, none of which another test uses.
fn source(number: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x7f01_0000 + number), 0))
}

fn resident_octets(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() << 10
}

fn template_of_60_fields() -> Vec<u8> {
    let fields: Vec<_> = (1..=60)
        .map(|element| netflow_wire::write::Field::new(element, 4))
        .collect();
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time: now(),
        ..IpfixHeader::default()
    });
    message.template(300, &fields);
    message.finish().unwrap()
}

#[tokio::test]
async fn a_flood_of_invented_sources_harms_no_exporter_that_is_known() {
    let admin = Admin::new();
    let setup = admin.of(Setup::to_console().with("OTEL_TRACES_EXPORTER", "none"));
    let daemon = setup.start().await;
    let data = Content::Data {
        first_port: 1,
        flows: FLOWS,
    };
    let known = Exporter::new("127.0.0.2", daemon.address());
    known.send(&v9_datagram(now(), 0, Content::Template));
    let floods = [
        v5_datagram(now(), 0, 1, 1),
        v9_datagram(now(), 0, data),
        template_of_60_fields(),
        vec![0xff; 40],
    ];
    let numbers: Vec<u32> = (0..SOURCES).collect();
    let (mut sent, mut honest) = (1, 0);
    for (round, numbers) in numbers.chunks(AT_ONCE).enumerate() {
        for number in numbers {
            let socket = UdpSocket::bind(source(*number)).unwrap();
            let flood = &floods[*number as usize % floods.len()];
            socket.send_to(flood, daemon.address()).unwrap();
        }
        known.send(&v9_datagram(now(), round as u32 + 1, data));
        sent += numbers.len() + 1;
        honest += u64::from(FLOWS);
        // No more than a receive buffer holds.
        admin
            .until("/metrics", |text| {
                let workers = ["0", "1"].map(|worker| {
                    value(
                        text,
                        &format!("netflow_worker_packets_total{{worker=\"{worker}\"}}"),
                    )
                });
                workers.iter().sum::<f64>() >= sent as f64
            })
            .await;
    }
    let octets = resident_octets(&daemon);
    assert!(octets <= MOST, "{octets} octets");
    let ended = daemon.stop().await;
    let each = u64::from(SOURCES) / floods.len() as u64;
    ended.assert_totals(&[
        ("datagrams", sent as u64),
        ("kernel_drops", 0),
        ("datagrams_rejected", each),
        ("flow_spans", honest + each),
        ("flow_spans_discarded", honest + each),
    ]);
    let waited = ended.total("sets_waiting") + ended.total("sets_expired");
    assert_eq!(waited, each, "only those whose template never came");
    let lines = ended.log.len();
    assert!(lines < 20_000, "{lines} lines of the log");
}

#[tokio::test]
async fn who_is_not_allowed_and_who_sends_too_much_is_counted() {
    let admin = Admin::new();
    let setup = admin.of(Setup::to_console().with("OTEL_TRACES_EXPORTER", "none"));
    let daemon = setup
        .with("NETFLOW_ALLOWED_EXPORTERS", "127.0.0.2,127.0.0.4/30")
        .with("NETFLOW_MAX_RATE_PER_EXPORTER", "1")
        .start()
        .await;
    for exporter in ["127.0.0.2", "127.0.0.3", "127.0.0.5"] {
        let exporter = Exporter::new(exporter, daemon.address());
        // At most a handful pass in the time that this takes.
        (0..100).for_each(|_| exporter.send(&v5_datagram(now(), 0, 1, 1)));
    }
    let text = admin
        .until("/metrics", |text| {
            let count = |series| value(text, series);
            count("netflow_packets_dropped_total{reason=\"not_allowed\"}") == 100.0
                && count("netflow_packets_dropped_total{reason=\"rate_limited\"}")
                    + count("netflow_packets_total{version=\"v5\"}")
                    == 200.0
        })
        .await;
    let passed = value(&text, "netflow_packets_total{version=\"v5\"}") as u64;
    assert!((2..=100).contains(&passed), "{passed}");
    let exporters = admin.get("/api/exporters").await;
    let exporters: serde_json::Value = serde_json::from_str(&exporters.body).unwrap();
    let rows = exporters["exporters"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{exporters:#}");
    let limited = rows.iter().map(|row| {
        let warnings = row["warnings"].as_array().unwrap();
        assert!(warnings.contains(&"rate_limited".into()), "{row:#}");
        row["rate_limited"].as_u64().unwrap()
    });
    assert_eq!(limited.sum::<u64>(), 200 - passed);
    let ended = daemon.stop().await;
    ended.assert_totals(&[
        ("datagrams", 300),
        ("datagrams_decoded", passed),
        ("datagrams_not_allowed", 100),
        ("datagrams_rate_limited", 200 - passed),
    ]);
}
