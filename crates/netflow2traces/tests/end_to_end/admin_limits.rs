//! The admin server only shows things, and can't be made to hold much.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::admin_client::{Admin, answer};
use crate::daemon::{Daemon, Setup};

/// As the server has it.
const MAX_CONNECTIONS: usize = 64;

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

#[tokio::test]
async fn idle_connections_make_room_after_a_while() {
    let (admin, _daemon) = started().await;
    let began = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = admin.connect().await;
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    // The next one waits in the kernel.
    let mut next = admin.connect().await;
    let request = format!(
        "GET /livez HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        admin.0
    );
    next.write_all(request.as_bytes()).await.unwrap();
    let mut octet = [0];
    let early = next.read(&mut octet);
    let early = tokio::time::timeout(Duration::from_millis(500), early).await;
    assert!(
        early.is_err(),
        "answered although all connections were taken"
    );
    assert_eq!(answer(&mut next).await.status, 200);
    assert!(began.elapsed() > Duration::from_secs(4));
    // One that ends makes room at once.
    drop(idle);
    assert_eq!(admin.get("/livez").await.status, 200);
}
