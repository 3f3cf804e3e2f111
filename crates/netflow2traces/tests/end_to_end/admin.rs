//! What the admin server shows is what happened.

use serde_json::{Value, json};

use crate::admin_client::{Admin, run, value};
use crate::backend::{FakeBackend, Reply};
use crate::daemon::{Setup, is};
use crate::exporter::{Content, Exporter, ipfix_datagram, now, v5_datagram, v9_datagram};
use crate::outage::reserved_port;
use crate::spans::flows_at;

const DATA: Content = Content::Data {
    first_port: 3000,
    flows: 4,
};
const BOTH: Content = Content::Both {
    first_port: 3000,
    flows: 4,
};

#[tokio::test]
async fn metrics_count_what_came_and_went() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_grpc(&backend)).start().await;
    let v5 = Exporter::new("127.0.0.2", daemon.address());
    for datagram in 0..5 {
        v5.send(&v5_datagram(now(), datagram * 30, 1000, 30));
    }
    let v9 = Exporter::new("127.0.0.3", daemon.address());
    v9.send(&v9_datagram(now(), 0, BOTH));
    v9.send(b"what is this?");
    let waits = Exporter::new("127.0.0.4", daemon.address());
    waits.send(&ipfix_datagram(now(), 0, DATA));
    flows_at(&backend, 154).await;
    let accepted = "netflow_spans_accepted_total{kind=\"flow\"}";
    let text = admin
        .until("/metrics", |text| {
            value(text, accepted) == 154.0 && value(text, "netflow_sets_waiting") == 1.0
        })
        .await;
    for (series, expected) in [
        ("netflow_packets_total{version=\"v5\"}", 5.0),
        ("netflow_packets_total{version=\"v9\"}", 1.0),
        ("netflow_packets_total{version=\"ipfix\"}", 1.0),
        ("netflow_packets_total{version=\"unknown\"}", 1.0),
        ("netflow_packet_bytes_total{version=\"v5\"}", 7320.0),
        ("netflow_packet_bytes_total{version=\"unknown\"}", 13.0),
        ("netflow_flows_total{version=\"v5\"}", 150.0),
        ("netflow_flows_total{version=\"v9\"}", 4.0),
        ("netflow_flows_total{version=\"ipfix\"}", 0.0),
        (
            "netflow_packet_errors_total{reason=\"unknown_version\"}",
            1.0,
        ),
        ("netflow_packet_size_bytes_count", 8.0),
        ("netflow_packet_size_bytes_bucket{le=\"+Inf\"}", 8.0),
        ("netflow_packet_size_bytes_bucket{le=\"64.0\"}", 1.0),
        ("netflow_flows_per_packet_count", 7.0),
        ("netflow_flows_per_packet_sum", 154.0),
        ("netflow_flows_per_packet_bucket{le=\"0.0\"}", 1.0),
        ("netflow_flows_per_packet_bucket{le=\"30.0\"}", 7.0),
        ("netflow_sets_waited_total", 1.0),
        ("netflow_templates_total{event=\"learnt\"}", 1.0),
        ("netflow_spans_total{kind=\"flow\"}", 154.0),
        (
            "netflow_spans_dropped_total{kind=\"flow\",reason=\"queue_full\"}",
            0.0,
        ),
        ("netflow_backend_up", 1.0),
        ("netflow_workers", 2.0),
        ("netflow_exporters", 3.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
    assert!(value(&text, "netflow_start_time_seconds") > 1.6e9);
    assert!(text.contains("\n# TYPE netflow_packets_total counter\n"));
    assert!(text.contains("\n# TYPE netflow_build_info gauge\n"));
    assert!(!text.contains("# EOF"), "{text}");
    assert_eq!(daemon.stop().await.code, Some(1), "a Set was left waiting");
}

#[tokio::test]
async fn a_scraper_gets_the_format_that_it_prefers() {
    let admin = Admin::new();
    let _daemon = admin.of(Setup::to_console()).start().await;
    let plain = admin.get("/metrics").await;
    let wanted = "text/plain; version=0.0.4; charset=utf-8";
    assert!(plain.head.contains(wanted), "{}", plain.head);
    let open = admin
        .ask(&format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: application/openmetrics-text;\
             version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n",
            admin.0
        ))
        .await;
    let given = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(open.head.contains(given), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"));
    assert!(open.body.contains("# TYPE netflow_packets counter\n"));
    assert!(open.body.contains("# TYPE netflow_build info\n"));
}

#[tokio::test]
async fn the_accounts_balance() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_grpc(&backend)).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v9_datagram(now(), 0, DATA));
    exporter.send(&v9_datagram(now(), 1, Content::Template));
    exporter.send(&v9_datagram(now(), 2, DATA));
    exporter.send(&[0, 9, 1]);
    flows_at(&backend, 8).await;
    let body = admin
        .until("/api/status", |body| {
            let status: Value = serde_json::from_str(body).unwrap();
            let settled = status["delivery"]["spans"]["accepted"]["flow"] == 8
                && status["accounts"][0]["total"] == 4;
            let accounts = status["accounts"].as_array().unwrap();
            settled && accounts.iter().all(|account| account["difference"] == 0)
        })
        .await;
    let status: Value = serde_json::from_str(&body).unwrap();
    let part = |account: usize, name: &str| {
        let parts = status["accounts"][account]["parts"].as_array().unwrap();
        let part = parts.iter().find(|part| part["name"] == name).unwrap();
        part["value"].as_u64().unwrap()
    };
    assert_eq!((part(0, "decoded"), part(0, "truncated")), (3, 1));
    assert_eq!((part(1, "decoded_late"), part(1, "waiting")), (1, 0));
    assert_eq!((part(2, "spans"), part(3, "accepted")), (8, 8));
    assert_eq!(status["phase"], "running");
    assert_eq!(status["receive"]["listening"], json!([daemon.address()]));
    assert_eq!(status["receive"]["workers"].as_array().unwrap().len(), 2);
    assert_eq!(status["delivery"]["backend"], "up");
    assert_eq!(status["delivery"]["last_error"], Value::Null);
    assert_eq!(status["translate"]["sets_waited"], 1);
    daemon.stop().await;
}

#[tokio::test]
async fn exporters_templates_and_refusals_are_shown() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_grpc(&backend)).start().await;
    // Asked before anything came, the workers are asleep.
    assert_eq!(admin.json("/api/exporters").await["total"], 0);
    let v9 = Exporter::new("127.0.0.3", daemon.address());
    v9.send(&v9_datagram(now(), 7, BOTH));
    v9.send(&v9_datagram(now(), 10, DATA));
    let v5 = Exporter::new("127.0.0.2", daemon.address());
    v5.send(&v5_datagram(now() - 3600, 0, 1000, 2));
    v5.send(&[0, 5, 0xab]);
    flows_at(&backend, 10).await;
    admin
        .until("/api/rejected", |body| body.contains("0005ab"))
        .await;

    let exporters = admin.json("/api/exporters").await;
    assert_eq!(
        (&exporters["total"], &exporters["shown"]),
        (&json!(2), &json!(2))
    );
    let [five, nine] = exporters["exporters"].as_array().unwrap().as_slice() else {
        panic!("{exporters}")
    };
    assert_eq!(five["address"], "127.0.0.2");
    assert_eq!((&five["flows"], &five["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(
        five["warnings"],
        json!(["clock_differs", "datagrams_rejected"])
    );
    assert_eq!(nine["address"], "127.0.0.3");
    assert_eq!(nine["versions"], json!(["v9"]));
    assert_eq!((&nine["datagrams"], &nine["flows"]), (&json!(2), &json!(8)));
    assert_eq!(
        (&nine["templates"], &nine["lost"]["messages"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(nine["warnings"], json!(["records_lost"]));

    let templates = admin.json("/api/templates?exporter=127.0.0.3").await;
    assert_eq!(templates["total"], 1);
    let template = &templates["templates"][0];
    assert_eq!(
        (&template["version"], &template["id"]),
        (&json!("v9"), &json!(256))
    );
    assert_eq!(
        (&template["kind"], &template["port"]),
        (&json!("data"), &json!(v9.port()))
    );
    let first = json!({"enterprise": 0, "element": 8, "name": "sourceIPv4Address", "length": 4});
    assert_eq!(template["fields"][0], first);
    assert_eq!(
        admin.json("/api/templates?exporter=127.0.0.2").await["total"],
        0
    );
    assert_eq!(admin.json("/api/templates?limit=0").await["shown"], 0);
    assert_eq!(admin.json("/api/exporters?limit=1").await["shown"], 1);
    assert_eq!(admin.get("/api/exporters?limit=x").await.status, 400);
    let misspelt = admin.get("/api/templates?exporters=127.0.0.3").await;
    assert_eq!(misspelt.status, 400);
    assert!(
        misspelt.body.contains("accepted: exporter, limit"),
        "{}",
        misspelt.body
    );

    let rejected = admin.json("/api/rejected").await;
    let refused = &rejected["rejected"][0];
    assert_eq!(refused["source"], json!(format!("127.0.0.2:{}", v5.port())));
    assert_eq!(
        (&refused["reason"], &refused["hex"]),
        (&json!("truncated"), &json!("0005ab"))
    );
    assert_eq!(
        (&refused["octets"], &refused["cut"]),
        (&json!(3), &json!(false))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn decode_reads_what_was_rejected() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_grpc(&backend)).start().await;
    let one = Exporter::new("127.0.0.2", daemon.address());
    one.send(&[0, 5, 0xab]);
    one.send(b"what is this?");
    Exporter::new("127.0.0.3", daemon.address()).send(&[0, 9]);
    let text = admin
        .until("/api/rejected?format=hex", |body| body.lines().count() == 6)
        .await;
    assert!(text.starts_with("# 20"), "{text}");
    assert!(
        text.contains(&format!("Z from 127.0.0.2:{}: ", one.port())),
        "{text}"
    );
    let of_one = admin
        .get("/api/rejected?format=hex&exporter=127.0.0.3")
        .await;
    assert!(of_one.head.contains("text/plain"), "{}", of_one.head);
    let hex: Vec<&str> = of_one
        .body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(hex, ["0009"]);
    assert_eq!(admin.get("/api/rejected?format=pcap").await.status, 400);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let decoded = run(&["decode", file.path().to_str().unwrap()]).await;
    assert_eq!(decoded.status.code(), Some(1), "{decoded:?}");
    let summary = String::from_utf8(decoded.stderr).unwrap();
    assert!(summary.contains("3 datagrams"), "{summary}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_sender_of_something_else_is_named() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_grpc(&backend)).start().await;
    let syslog = Exporter::new("127.0.0.2", daemon.address());
    for _ in 0..3 {
        syslog.send(b"<134>Nov 28 12:00:00 switch: port 7 is up");
    }
    let exporter = Exporter::new("127.0.0.3", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 2));
    exporter.send(b"GET / HTTP/1.1\r\n\r\n");
    admin
        .until("/api/rejected?format=hex", |body| body.lines().count() == 8)
        .await;

    let exporters = admin.json("/api/exporters").await;
    let named: Vec<_> = exporters["exporters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                &row["address"],
                &row["looks_like"],
                &row["rejected"],
                &row["proven"],
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            (
                &json!("127.0.0.2"),
                &json!("syslog"),
                &json!(3),
                &json!(false)
            ),
            (&json!("127.0.0.3"), &json!("HTTP"), &json!(1), &json!(true)),
        ]
    );
    assert_eq!(exporters["total"], 2);
    let rejected = admin.json("/api/rejected").await;
    let mut problems = rejected["rejected"].as_array().unwrap().iter();
    assert!(
        problems.any(|one| {
            let problem = one["problem"].as_str();
            problem.is_some_and(|problem| problem.ends_with("it looks like HTTP"))
        }),
        "{rejected}"
    );

    let is_named = |line: &&Value| is(line, "a sender's datagrams are not flow records");
    daemon
        .until("both to be named", |lines| {
            lines.iter().filter(is_named).count() == 2
        })
        .await;
    let log = daemon.log();
    let mut lines: Vec<_> = log
        .iter()
        .filter(is_named)
        .map(|line| (&line["level"], &line["sender"], &line["looks_like"]))
        .collect();
    // Each worker says its own.
    lines.sort_by_key(|(_, sender, _)| sender.as_str());
    assert_eq!(
        lines,
        [
            (&json!("WARN"), &json!("127.0.0.2"), &json!("syslog")),
            (&json!("WARN"), &json!("127.0.0.3"), &json!("HTTP")),
        ]
    );
    daemon.stop().await;
}

#[tokio::test]
async fn it_is_ready_while_the_backend_is_away_and_says_why_it_is() {
    let admin = Admin::new();
    let port = reserved_port();
    let endpoint = format!("http://{}", port.local_addr().unwrap());
    let before = admin.healthcheck().await;
    assert_eq!(before.status.code(), Some(1), "{before:?}");
    // The cause stands in the text, and is not added to it.
    let said = String::from_utf8_lossy(&before.stderr);
    assert_eq!(said.matches("refused").count(), 1, "{said}");
    let setup = Setup::to_endpoint(&endpoint).with("NETFLOW_SHUTDOWN_TIMEOUT", "200ms");
    let daemon = admin.of(setup).start().await;
    Exporter::new("127.0.0.2", daemon.address()).send(&v5_datagram(now(), 0, 1000, 30));
    let status = admin
        .until("/api/status", |body| body.contains("\"backend\":\"away\""))
        .await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let error = status["delivery"]["last_error"]["text"].as_str().unwrap();
    assert!(error.contains("nothing listens there"), "{error}");
    assert_eq!(admin.metric("netflow_backend_up").await, 0.0);
    assert_eq!(admin.get("/readyz").await.status, 200);
    assert_eq!(admin.get("/livez").await.body, "alive\n");
    let during = admin.healthcheck().await;
    assert_eq!(during.status.code(), Some(0), "{during:?}");
    daemon.stop().await;
    let after = admin.healthcheck().await;
    assert_eq!(after.status.code(), Some(1));
    let sentence = String::from_utf8(after.stderr).unwrap();
    assert!(sentence.contains("NETFLOW_ADMIN_PORT"), "{sentence}");
}

#[tokio::test]
async fn while_it_stops_it_is_alive_but_not_ready() {
    let backend = FakeBackend::grpc()
        .script(std::iter::repeat_n(Reply::Silence, 10))
        .start()
        .await;
    let admin = Admin::new();
    let setup = Setup::to_grpc(&backend)
        .with("NETFLOW_SHUTDOWN_TIMEOUT", "10m")
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "60000");
    let daemon = admin.of(setup).start().await;
    Exporter::new("127.0.0.2", daemon.address()).send(&v5_datagram(now(), 0, 1000, 30));
    backend.wait_for_arrivals(1).await;
    daemon.signal("TERM");
    daemon.says("stopping").await;
    admin
        .until("/readyz", |body| body == "not ready: stopping\n")
        .await;
    assert_eq!(admin.get("/livez").await.status, 200);
    assert_eq!(
        admin.metric("netflow_spans_in_flight{kind=\"flow\"}").await,
        30.0
    );
    daemon.end_by("TERM").await;
}

#[tokio::test]
async fn a_taken_port_names_the_setting_and_zero_turns_it_off() {
    let admin = Admin::new();
    let taken = std::net::TcpListener::bind(admin.0).unwrap();
    let Err(ended) = admin.of(Setup::to_console()).start_on(1).await else {
        panic!("it started")
    };
    assert_eq!(ended.code, Some(1));
    let last = ended.log.last().unwrap().as_str().unwrap().to_owned();
    assert!(last.starts_with("error: "), "{last}");
    assert!(last.contains("NETFLOW_ADMIN_PORT"), "{last}");
    drop(taken);
    let daemon = Setup::to_console().start().await;
    let log = daemon.log();
    assert!(
        log.iter()
            .all(|line| line["message"] != "serving the page, metrics and health")
    );
    let off = run(&["healthcheck", "--admin-port", "0"]).await;
    assert_eq!(off.status.code(), Some(1));
    assert_eq!(
        run(&["healthcheck", "--admin-port", "x"])
            .await
            .status
            .code(),
        Some(2)
    );
}

#[tokio::test]
async fn a_check_with_gzip_recommends_zstd_if_the_backend_accepts_it() {
    for (replies, is_recommended) in [(vec![], true), (vec![Reply::Ok, Reply::http(415)], false)] {
        let backend = FakeBackend::http().script(replies).start().await;
        let endpoint = backend.endpoint("").to_string();
        let check = run(&[
            "config",
            "check",
            "--connect",
            "--otlp-protocol=http/protobuf",
            "--otlp-compression=gzip",
            "--otlp-endpoint",
            &endpoint,
        ])
        .await;
        let text = String::from_utf8(check.stdout).unwrap();
        assert_eq!(check.status.code(), Some(0), "{text}");
        assert!(text.contains("accepts spans over http/protobuf"), "{text}");
        assert_eq!(text.contains("accepts zstd too"), is_recommended, "{text}");
        assert_eq!(backend.arrivals(), 2);
    }
}

#[tokio::test]
async fn a_check_can_try_the_backend() {
    let backend = FakeBackend::grpc().start().await;
    let endpoint = backend.endpoint("").to_string();
    let check = ["config", "check", "--connect", "--otlp-endpoint"];
    let sound = run(&[&check[..], &[&endpoint]].concat()).await;
    let text = String::from_utf8(sound.stdout).unwrap();
    assert_eq!(sound.status.code(), Some(0), "{text}");
    assert!(text.contains("accepts spans over grpc"), "{text}");
    assert_eq!(backend.arrivals(), 1);
    let port = reserved_port();
    let endpoint = format!("http://{}", port.local_addr().unwrap());
    let absent = run(&[&check[..], &[&endpoint]].concat()).await;
    let text = String::from_utf8(absent.stderr).unwrap();
    assert_eq!(absent.status.code(), Some(1), "{text}");
    assert!(text.contains("nothing listens there"), "{text}");
}
