//! The page and its live events: what a browser gets, what is kept while a page is open, and how many may be.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::admin_client::{Admin, PATIENCE};
use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{Content, Exporter, now, v5_datagram, v9_datagram};
use crate::spans::flows_at;

/// As the server has it.
const MAX_PAGES: usize = 8;

/// An open page.
struct Page {
    stream: TcpStream,
    text: String,
}

impl Page {
    async fn open(admin: Admin, query: &str) -> Self {
        let mut stream = admin.connect().await;
        let request = format!("GET /api/live{query} HTTP/1.1\r\nHost: {}\r\n\r\n", admin.0);
        stream.write_all(request.as_bytes()).await.unwrap();
        let text = String::new();
        Self { stream, text }
    }

    /// Reads until this holds for what came since the last such time.
    async fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let read = async {
            let mut octets = vec![0; 1 << 16];
            while !holds(&self.text) {
                let length = self.stream.read(&mut octets).await.unwrap();
                assert!(length > 0, "the stream ended: {}", self.text);
                self.text
                    .push_str(&String::from_utf8_lossy(&octets[..length]));
            }
        };
        if tokio::time::timeout(PATIENCE, read).await.is_err() {
            panic!("waited in vain for {what}: {}", self.text);
        }
        std::mem::take(&mut self.text)
    }

    /// The records of the next event that has some.
    async fn records(&mut self) -> Vec<Value> {
        fn found(text: &str) -> Vec<Value> {
            let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            data.filter_map(|data| serde_json::from_str::<Value>(data).ok())
                .find_map(|data| {
                    let records = data["records"].as_array()?;
                    (!records.is_empty()).then(|| records.clone())
                })
                .unwrap_or_default()
        }
        let text = self.until("records", |text| !found(text).is_empty()).await;
        found(&text)
    }
}

#[tokio::test]
async fn its_files_come_with_a_policy_that_lets_nothing_else_in() {
    let admin = Admin::new();
    let _daemon = admin.of(Setup::to_console()).start().await;
    let page = admin.get("/").await;
    assert_eq!(page.status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.head.contains(header), "{header} in {}", page.head);
    }
    assert!(!page.head.contains("unsafe"), "{}", page.head);
    let files = page
        .body
        .split('"')
        .filter(|word| word.starts_with("/page/"));
    for file in files {
        assert_eq!(admin.get(file).await.status, 200, "{file}");
    }
    let other = format!(
        "GET / HTTP/1.1\r\nHost: rebound.example:{}\r\n",
        admin.0.port()
    );
    assert_eq!(admin.ask(&other).await.status, 421);
}

#[tokio::test]
async fn an_open_page_gets_records_and_their_trace_and_a_closed_one_costs_nothing() {
    let backend = FakeBackend::grpc().start().await;
    let admin = Admin::new();
    let setup = admin
        .of(Setup::to_grpc(&backend))
        .with("NETFLOW_TRACE_URL", "http://jaeger:16686/trace/{trace_id}");
    let daemon = setup.start().await;
    let v5 = Exporter::new("127.0.0.2", daemon.address());
    v5.send(&v5_datagram(now(), 0, 1000, 30));
    flows_at(&backend, 30).await;

    let mut page = Page::open(admin, "").await;
    let hello = page
        .until("a greeting", |text| text.contains("event: hello"))
        .await;
    assert!(
        hello.contains("http://jaeger:16686/trace/{trace_id}"),
        "{hello}"
    );
    // From its first look on batches are kept.
    let status = page
        .until("a status", |text| text.contains("\"phase\":\"running\""))
        .await;
    assert!(
        !status.contains("\"source\":"),
        "kept though nobody looked: {status}"
    );
    let v9 = Exporter::new("127.0.0.3", daemon.address());
    let content = Content::Both {
        first_port: 3000,
        flows: 4,
    };
    v9.send(&v9_datagram(now(), 0, content));
    let records = page.records().await;
    assert_eq!(records.len(), 4, "{records:?}");
    let first = records
        .iter()
        .find(|record| record["source_port"] == 3000)
        .unwrap();
    assert_eq!(
        (&first["exporter"], &first["version"]),
        (&"127.0.0.3".into(), &9.into())
    );

    let path = format!("/api/traces/{}", first["trace"].as_str().unwrap());
    let trace = admin.json(&path).await;
    let scope = &trace["resourceSpans"][0]["scopeSpans"][0];
    let names: Vec<&str> = scope["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 7, "{names:?}");
    assert!(names.contains(&"netflow.export"), "{names:?}");
    assert_eq!(admin.get("/api/traces/00").await.status, 400);
    let unknown = format!("/api/traces/{}", "0".repeat(31) + "1");
    assert_eq!(admin.get(&unknown).await.status, 404);
    page.until("conversations", |text| {
        text.contains("event: conversations") && text.contains("\"records\":4")
    })
    .await;
    page.until("exporters", |text| {
        text.contains("event: exporters") && text.contains("127.0.0.3")
    })
    .await;
    let history = admin.json("/api/history").await;
    let flows = history["flows"].as_array().unwrap();
    assert!(flows.len() >= 2 && flows.len() == history["at"].as_array().unwrap().len());
    // An open page holds nothing up.
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_page_gets_what_its_filter_lets_through_or_hears_what_is_wrong_with_it() {
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_console()).start().await;
    let mut filtered = Page::open(admin, "?port=1002&protocol=tcp").await;
    let mut wrong = Page::open(admin, "?address=router").await;
    let sentence = wrong
        .until("what is wrong", |text| text.contains("event: hello"))
        .await;
    assert!(sentence.contains("\"field\":\"address\""), "{sentence}");
    for page in [&mut filtered, &mut wrong] {
        page.until("a look", |text| text.contains("event: status"))
            .await;
    }
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    let records = filtered.records().await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["source_port"], 1002);
    let looks = wrong
        .until("two looks", |text| {
            text.matches("event: status").count() >= 2
        })
        .await;
    assert!(!looks.contains("event: records"), "{looks}");
}

#[tokio::test]
async fn only_so_many_pages_may_be_open() {
    let admin = Admin::new();
    let _daemon = admin.of(Setup::to_console()).start().await;
    let mut pages = Vec::new();
    for _ in 0..MAX_PAGES {
        let mut page = Page::open(admin, "").await;
        page.until("a greeting", |text| text.contains("event: hello"))
            .await;
        pages.push(page);
    }
    let one_more = admin.get("/api/live").await;
    assert_eq!(one_more.status, 503);
    assert!(
        one_more.body.contains("too many pages are open (limit: 8)"),
        "{}",
        one_more.body
    );
    assert_eq!(admin.get("/livez").await.status, 200);
    pages.pop();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut again = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        again.tick().await;
        let mut page = Page::open(admin, "").await;
        let answered = |text: &str| text.contains("event: hello") || text.contains("close one");
        if page.until("an answer", answered).await.contains("hello") {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no page can be opened again"
        );
    }
}
