//! What Grafana asks for besides: health, version, names and values.

use http::StatusCode;
use netflow2traces::demo::{Backend, BackendOptions};
use serde_json::json;

use super::rig::{T0, get, insert, json_of, request, start};

/// With a trace to port 443 of one exporter and one to port 53 of another.
async fn with_two_traces() -> Backend {
    let backend = start(BackendOptions::default()).await;
    for (trace, exporter, port) in [(1, "10.0.0.1", 443), (2, "10.0.0.2", 53)] {
        let request = request(trace, exporter, port);
        insert(&backend, &request);
    }
    backend
}

#[tokio::test]
async fn health_and_version_are_reported() {
    let backend = start(BackendOptions::default()).await;
    for (path, text) in [("/ready", "ready\n"), ("/api/echo", "echo")] {
        let (status, _, body) = get(&backend, path, &[]).await;
        assert_eq!(
            (status, &*body),
            (StatusCode::OK, text.as_bytes()),
            "{path}"
        );
    }
    let info = json_of(&backend, "/api/status/buildinfo").await;
    assert!(info["version"].as_str().unwrap().starts_with("2."));
    let query = "/api/metrics/query_range?q=%7B%7D%7Crate()";
    let (status, _, body) = get(&backend, query, &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&body).contains("computes no metrics from traces"));
}

#[tokio::test]
async fn names_are_told_by_scope() {
    let backend = with_two_traces().await;
    let names = json_of(&backend, "/api/search/tags?scope=span").await;
    assert_eq!(
        names["tagNames"],
        json!(["destination.port", "network.transport"])
    );
    let names = json_of(&backend, "/api/v2/search/tags").await;
    let scopes = names["scopes"].as_array().unwrap().iter();
    let scopes: Vec<&str> = scopes
        .map(|scope| scope["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        scopes,
        [
            "resource",
            "span",
            "intrinsic",
            "event",
            "link",
            "instrumentation"
        ]
    );
    let resource = json!(["netflow.exporter.address", "service.name"]);
    assert_eq!(names["scopes"][0]["tags"], resource);
    let intrinsics = names["scopes"][2]["tags"].as_array().unwrap();
    for intrinsic in [
        "duration",
        "kind",
        "name",
        "rootServiceName",
        "trace:duration",
    ] {
        assert!(intrinsics.contains(&json!(intrinsic)), "{intrinsic}");
    }
    let names = json_of(&backend, "/api/v2/search/tags?scope=span&limit=1").await;
    assert_eq!(
        names["scopes"],
        json!([{ "name": "span", "tags": ["destination.port"] }])
    );
    assert_eq!(
        get(&backend, "/api/search/tags?scope=x", &[]).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn values_have_their_types() {
    let backend = with_two_traces().await;
    let values = json_of(&backend, "/api/search/tag/destination.port/values").await;
    assert_eq!(values["tagValues"], json!(["443", "53"]));
    for (tag, expected) in [
        (
            "span.destination.port",
            json!([{ "type": "int", "value": "443" }, { "type": "int", "value": "53" }]),
        ),
        (
            "resource.service.name",
            json!([{ "type": "string", "value": "netflow-to-traces" }]),
        ),
        ("status", json!([{ "type": "keyword", "value": "ok" }])),
        ("kind", json!([{ "type": "keyword", "value": "internal" }])),
        (
            "rootName",
            json!([{ "type": "string", "value": "netflow.export" }]),
        ),
        // Each span has its own.
        ("duration", json!([])),
        ("span.absent", json!([])),
    ] {
        let values = json_of(&backend, &format!("/api/v2/search/tag/{tag}/values")).await;
        assert_eq!(values["tagValues"], expected, "{tag}");
    }
    assert_eq!(
        get(&backend, "/api/v2/search/tag/a/values", &[]).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn values_are_those_of_the_spans_asked_for() {
    let backend = with_two_traces().await;
    let (after, before) = (T0 / 1_000_000_000 + 60, T0 / 1_000_000_000 - 60);
    for (parameters, expected) in [
        // { resource.netflow.exporter.address = "10.0.0.2" }
        (
            "q=%7Bresource.netflow.exporter.address%3D%2210.0.0.2%22%7D".to_owned(),
            json!(["53"]),
        ),
        // As an editor sends it: { .netflow.exporter.address = "10.0.0.1" && span.destination.port = }
        (
            "q=%7B.netflow.exporter.address%3D%2210.0.0.1%22%26%26span.destination.port%3D%7D"
                .to_owned(),
            json!(["443"]),
        ),
        ("q=garbage".to_owned(), json!(["443", "53"])),
        ("limit=1".to_owned(), json!(["53"])),
        (format!("start={before}&end={after}"), json!(["443", "53"])),
        (format!("start={after}&end=0"), json!([])),
    ] {
        let path = format!("/api/v2/search/tag/span.destination.port/values?{parameters}");
        let values = json_of(&backend, &path).await;
        let values = values["tagValues"].as_array().unwrap().iter();
        let values: Vec<&str> = values.map(|it| it["value"].as_str().unwrap()).collect();
        assert_eq!(json!(values), expected, "{parameters}");
    }
    for parameters in ["limit=0", "start=yesterday"] {
        let path = format!("/api/search/tag/name/values?{parameters}");
        assert_eq!(get(&backend, &path, &[]).await.0, StatusCode::BAD_REQUEST);
    }
}
