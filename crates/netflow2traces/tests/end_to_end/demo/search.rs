//! `/api/search`.

use http::{StatusCode, header};
use netflow2traces::demo::BackendOptions;
use serde_json::json;

use super::rig::{T0, get, id, insert, json_of, request, start, traces};

#[tokio::test]
async fn search_finds_by_tags_and_by_selector() {
    let backend = start(BackendOptions::default()).await;
    insert(&backend, &request(1, "10.0.0.1", 443));
    insert(&backend, &request(2, "10.0.0.1", 53));
    insert(&backend, &request(3, "10.0.0.2", 443));

    for (query, expected) in [
        ("", vec![3, 2, 1]),
        ("tags=destination.port%3D443", vec![3, 1]),
        (
            "tags=destination.port=443%20netflow.exporter.address=10.0.0.1",
            vec![1],
        ),
        ("tags=network.transport=%22TCP%22", vec![3, 2, 1]),
        (
            "q=%7B%20span.destination.port%20%3D%20443%20%7D",
            vec![3, 1],
        ),
        (
            "q=%7B+span.destination.port+%3D+443+%26%26+\
             resource.netflow.exporter.address+%3D+%2210.0.0.1%22+%7D",
            vec![1],
        ),
        ("q=%7B%7D&limit=2", vec![3, 2]),
        (
            "q=%7Bname=%22netflow.export%22%20%26%26%20kind=internal%7D&limit=1",
            vec![3],
        ),
        ("tags=destination.port=1", vec![]),
        ("minDuration=2s", vec![3, 2, 1]),
        ("minDuration=2001ms", vec![]),
        ("maxDuration=1.9s", vec![]),
        ("start=1700000000&end=1700000001", vec![3, 2, 1]),
        ("start=1700000003&end=1700000009", vec![]),
        ("start=1600000000&end=1600000001", vec![]),
    ] {
        let body = json_of(&backend, &format!("/api/search?{query}")).await;
        let found: Vec<&str> = traces(&body)
            .iter()
            .map(|trace| trace["traceID"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = expected.into_iter().map(id).collect();
        assert_eq!(found, expected, "{query}");
    }

    let body = json_of(&backend, "/api/search?q=%7Bspan.destination.port=53%7D").await;
    let span_set = json!({
        "matched": 1,
        "spans": [{
            "spanID": "0202020202020202",
            "name": "netflow.flow",
            "startTimeUnixNano": (T0 + 500_000_000).to_string(),
            "durationNanos": "1500000000",
            "attributes": [{ "key": "destination.port", "value": { "intValue": "53" } }],
        }],
    });
    let expected = json!({
        "traces": [{
            "traceID": id(2),
            "rootServiceName": "netflow-to-traces",
            "rootTraceName": "netflow.export",
            "startTimeUnixNano": T0.to_string(),
            "durationMs": 2000,
            "spanSet": span_set,
            "spanSets": [span_set],
        }],
        "metrics": { "inspectedTraces": 3 },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_graphical_builders_write_is_understood() {
    let backend = start(BackendOptions::default()).await;
    for (trace, exporter, port) in [(1, "10.0.0.1", 443), (2, "10.0.0.2", 53)] {
        let request = request(trace, exporter, port);
        insert(&backend, &request);
    }
    for (query, expected) in [
        (
            r#"{resource.netflow.exporter.address=~"10.0.0.1|10.0.0.7"}"#,
            vec![1],
        ),
        (
            r#"{span.destination.port>=50 && span.destination.port<100}"#,
            vec![2],
        ),
        (
            r#"{resource.service.name="netflow-to-traces" && name!="netflow.flow" && duration<1.5s}"#,
            vec![2, 1],
        ),
        (r#"{duration>1s} && {name="netflow.export"}"#, vec![2, 1]),
        (r#"{traceDuration>3s}"#, vec![]),
        (r#"{} | count() > 2"#, vec![]),
    ] {
        let query: String = url_encoded(query);
        let body = json_of(&backend, &format!("/api/search?q={query}&limit=20&spss=10")).await;
        let found: Vec<&str> = traces(&body)
            .iter()
            .map(|trace| trace["traceID"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = expected.into_iter().map(id).collect();
        assert_eq!(found, expected, "{query}");
    }

    let query = url_encoded("{} | count() > 1 | select(span.network.transport, status)");
    let body = json_of(&backend, &format!("/api/search?q={query}&limit=1&spss=1")).await;
    let span_set = &traces(&body)[0]["spanSets"][0];
    assert_eq!(span_set["matched"], 2);
    assert_eq!(
        span_set["attributes"],
        json!([{ "key": "count()", "value": { "intValue": "2" } }])
    );
    assert_eq!(span_set["spans"].as_array().unwrap().len(), 1);
    let status = json!([{ "key": "status", "value": { "stringValue": "ok" } }]);
    assert_eq!(span_set["spans"][0]["attributes"], status);
}

fn url_encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn wrong_searches_get_a_sentence() {
    let backend = start(BackendOptions::default()).await;
    for (query, text) in [
        (
            "q=%7Bspan.a%3E%7D",
            "at character 9. This backend understands selectors",
        ),
        ("q=garbage", "a { was expected"),
        ("q=%7B%7D&tags=a%3Db", "can't be used together"),
        ("tags=a", "KEY=VALUE"),
        ("limit=0", "invalid limit"),
        ("limit=many", "a number above 0"),
        ("spss=-1", "invalid spss"),
        ("minDuration=fast", "invalid minDuration"),
        ("maxDuration=1", "100ms"),
        ("start=yesterday", "seconds since 1970"),
    ] {
        let (status, headers, body) = get(&backend, &format!("/api/search?{query}"), &[]).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(
            headers[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with("text/plain")
        );
        assert!(body.contains(text), "{query}: {body}");
    }
}
