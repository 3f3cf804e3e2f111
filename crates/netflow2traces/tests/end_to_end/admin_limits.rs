//! The admin server only shows things, and can't be made to hold much.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::admin_client::{Admin, answer};
use crate::daemon::{Daemon, Setup};

/// As the server has them.
const MAX_CONNECTIONS: usize = 512;
const MAX_CLIENTS: usize = 64;
/// Less than the time after which quiet connections are closed, and what a kubelet may wait.
const SOON: Duration = Duration::from_secs(4);

async fn started() -> (Admin, Daemon) {
    let admin = Admin::new();
    let daemon = admin.of(Setup::to_console()).start().await;
    (admin, daemon)
}

#[tokio::test]
async fn only_get_and_head_without_a_body() {
    let (admin, _daemon) = started().await;
    let host = format!("Host: {}\r\n", admin.0);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let answer = admin
            .ask(&format!("{method} /metrics HTTP/1.1\r\n{host}"))
            .await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    for body in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let head = format!("GET /metrics HTTP/1.1\r\n{host}{body}\r\n");
        assert_eq!(admin.ask(&head).await.status, 413, "{body}");
    }
    let head = admin
        .ask(&format!("HEAD /metrics HTTP/1.1\r\n{host}"))
        .await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(admin.get("/etc/passwd").await.status, 404);
}

#[tokio::test]
async fn a_head_has_a_limit() {
    let (admin, _daemon) = started().await;
    let long = "x".repeat(20_000);
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nCookie: {long}\r\n",
        admin.0
    );
    assert_eq!(admin.ask(&head).await.status, 431);
    assert_eq!(admin.get("/livez").await.status, 200);
}

#[tokio::test]
async fn answers_are_for_who_asked_alone() {
    let (admin, _daemon) = started().await;
    let answer = admin.get("/api/status").await;
    for header in [
        "cache-control: no-store",
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(answer.head.contains(header), "{header}: {}", answer.head);
    }
    // A name that a site lets point here.
    let head = "GET /api/status HTTP/1.1\r\nHost: rebound.example:9464\r\n";
    assert_eq!(admin.ask(head).await.status, 421);
    assert_eq!(
        admin
            .ask("GET /livez HTTP/1.1\r\nHost: localhost\r\n")
            .await
            .status,
        200
    );
}

/// Opens connections, each of which sends this and stays.
async fn crowd(admin: Admin, size: usize, request: &str) -> Vec<TcpStream> {
    let mut crowd = Vec::with_capacity(size);
    for _ in 0..size {
        let mut stream = admin.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        crowd.push(stream);
    }
    crowd
}

async fn answered_soon(admin: Admin, path: &str) {
    let answer = tokio::time::timeout(SOON, admin.get(path));
    let answer = answer.await.unwrap_or_else(|_| panic!("{path} in time"));
    assert_eq!(answer.status, 200, "{path}");
}

#[tokio::test]
async fn probes_are_answered_beside_any_crowd() {
    let (admin, _daemon) = started().await;
    for request in [
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: local",
        "",
    ] {
        // Half of them come while the first probe is under way.
        let _first = crowd(admin, MAX_CONNECTIONS / 2, request).await;
        let (_second, ()) = tokio::join!(
            crowd(admin, MAX_CONNECTIONS / 2 + 50, request),
            answered_soon(admin, "/livez")
        );
        answered_soon(admin, "/readyz").await;
        answered_soon(admin, "/livez").await;
    }
}

#[tokio::test]
async fn a_client_takes_the_place_of_one_that_asks_nothing_more() {
    let (admin, _daemon) = started().await;
    let request = "GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut crowd = crowd(admin, MAX_CLIENTS, request).await;
    for stream in &mut crowd {
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    answered_soon(admin, "/metrics").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (admin, _daemon) = started().await;
    let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = crowd(admin, 1, request).await.remove(0);
    // Without `Connection: close`, to the end that the server makes.
    assert_eq!(answer(&mut stream).await.body, "alive\n");
}

#[tokio::test]
async fn only_probes_answer_to_every_name() {
    let admin = Admin::new();
    let setup = admin.of(Setup::to_console());
    let setup = setup.with("NETFLOW_ADMIN_ALLOWED_HOSTS", "*.svc,flows.example.com");
    let _daemon = setup.start().await;
    for (host, status) in [
        ("netflow2traces", 200),
        ("netflow2traces.monitoring.svc:9464", 200),
        ("flows.example.com", 200),
        ("www.flows.example.com", 421),
        ("rebound.example:9464", 421),
    ] {
        let ask = async |path| {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
            admin.ask(&head).await.status
        };
        for path in ["/", "/metrics", "/api/status"] {
            assert_eq!(ask(path).await, status, "{host}{path}");
        }
        for path in ["/livez", "/readyz"] {
            assert_eq!(ask(path).await, 200, "{host}{path}");
        }
    }
}
