//! What is held, and the beginning and end of the backend.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use netflow2traces::demo::{Backend, BackendError, BackendOptions, HostFilter, StoreLimits};
use netflow2traces::observe::http::AllowedHosts;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{get, grpc_client, id, insert, json_of, request, start, traces};

#[tokio::test]
async fn bounds_hold_and_the_oldest_leaves() {
    let limits = StoreLimits {
        octets: 64 << 10,
        traces: 10,
    };
    let backend = start(BackendOptions {
        limits,
        ..BackendOptions::default()
    })
    .await;
    let mut client = grpc_client(&backend).await;
    for trace in 1..=30 {
        client
            .export(request(trace, "10.0.0.1", 443))
            .await
            .unwrap();
        let totals = backend.store.totals();
        assert!(totals.traces <= 10 && totals.octets <= 64 << 10);
    }
    assert_eq!(backend.store.totals().traces_evicted, 20);
    let evicted = format!("/api/traces/{}", id(20));
    assert_eq!(get(&backend, &evicted, &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        get(&backend, &format!("/api/traces/{}", id(21)), &[])
            .await
            .0,
        StatusCode::OK
    );
    let body = json_of(&backend, "/api/search?limit=100").await;
    assert_eq!(traces(&body).len(), 10);
}

#[tokio::test]
async fn who_waits_for_spans_is_woken() {
    let backend = start(BackendOptions::default()).await;
    let mut totals = backend.store.subscribe();
    insert(&backend, &request(1, "10.0.0.1", 443));
    let came = totals.wait_for(|totals| totals.spans_accepted == 2);
    tokio::time::timeout(Duration::from_secs(10), came)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn port_in_use_names_the_flag() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let api = taken.local_addr().unwrap();
    let error = Backend::start(BackendOptions {
        api,
        ..BackendOptions::default()
    })
    .await
    .expect_err("the port is taken");
    assert!(matches!(error, BackendError::ApiInUse { address } if address == api));
    let text = error.to_string();
    assert!(
        text.contains("--http-port") && text.contains(&api.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn a_host_that_is_not_the_backends_reads_nothing() {
    let hosts = AllowedHosts::new(&["host.docker.internal".to_owned()]);
    let allows = move |headers: &http::HeaderMap, version| hosts.allow(headers, version);
    let backend = start(BackendOptions {
        hosts: Some(HostFilter(Arc::new(allows))),
        ..BackendOptions::default()
    })
    .await;
    for (host, status) in [
        ("localhost:3200", "200"),
        ("host.docker.internal:3200", "200"),
        ("rebound.example", "421"),
    ] {
        for path in ["/api/echo", "/api/search", "/ready"] {
            let mut stream = TcpStream::connect(backend.api_address).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(
                answer.split(' ').nth(1),
                Some(status),
                "{host}{path}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn shutdown_ends_all_listeners_in_spite_of_idle_connections() {
    let backend = start(BackendOptions::default()).await;
    let addresses = [
        backend.api_address,
        backend.grpc_address,
        backend.http_address,
    ];
    let idle: Vec<_> = addresses
        .iter()
        .map(|address| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let _client = grpc_client(&backend).await;
    tokio::time::timeout(Duration::from_secs(20), backend.shutdown())
        .await
        .unwrap();
    drop(idle);
    for address in addresses {
        assert!(std::net::TcpStream::connect(address).is_err(), "{address}");
    }
}
