//! One trace by its id.

use http::{StatusCode, header};
use netflow2traces::demo::BackendOptions;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;

use super::rig::{get, id, insert, json_of, request, start, tempo_form};

#[tokio::test]
async fn trace_by_id_has_every_form() {
    let backend = start(BackendOptions::default()).await;
    insert(&backend, &request(7, "10.0.0.1", 443));
    let expected = TracesData {
        resource_spans: request(7, "10.0.0.1", 443).resource_spans,
    };

    let protobuf = [("accept", "application/protobuf")];
    let (_, headers, body) = get(&backend, &format!("/api/traces/{}", id(7)), &protobuf).await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/protobuf");
    assert_eq!(TracesData::decode(body).unwrap(), expected);

    let (_, _, body) = get(&backend, &format!("/api/v2/traces/{}", id(7)), &protobuf).await;
    // TraceByIDResponse: field 1 is the trace.
    assert_eq!(body[0], 0x0a);
    let trace = TracesData::decode_length_delimited(body.slice(1..)).unwrap();
    assert_eq!(trace, expected);

    let body = json_of(&backend, &format!("/api/v2/traces/{}", id(7))).await;
    assert_eq!(body["trace"]["resourceSpans"], tempo_form(7)["batches"]);

    // Leading zeros may be left out.
    let mut short = request(8, "10.0.0.1", 443);
    for span in &mut short.resource_spans[0].scope_spans[0].spans {
        span.trace_id = 0xabc_u128.to_be_bytes().to_vec();
    }
    insert(&backend, &short);
    assert_eq!(
        get(&backend, "/api/traces/abc", &[]).await.0,
        StatusCode::OK
    );

    for (path, status, text) in [
        (format!("/api/traces/{}", id(9)), 404, "not found"),
        (format!("/api/v2/traces/{}", id(9)), 404, "not found"),
        ("/api/traces/xyz".to_owned(), 400, "hexadecimal"),
        (format!("/api/traces/{}0", id(9)), 400, "32"),
        ("/api/traces/0".to_owned(), 400, "zeros"),
        ("/api/nothing".to_owned(), 404, "/api/search"),
    ] {
        let (found, _, body) = get(&backend, &path, &[]).await;
        assert_eq!(found.as_u16(), status, "{path}");
        assert!(
            String::from_utf8_lossy(&body).contains(text),
            "{path}: {body:?}"
        );
    }
}

/// The link of the daemon's page leads here.
#[tokio::test]
async fn a_browser_gets_a_trace_as_a_page() {
    let backend = start(BackendOptions::default()).await;
    let mut request = request(7, "10.0.0.1", 443);
    let marked = &mut request.resource_spans[0].scope_spans[0].spans[0];
    marked.name = "<script>alert(1)</script>".to_owned();
    insert(&backend, &request);
    let (status, headers, body) = get(&backend, &format!("/trace/{}", id(7)), &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = String::from_utf8(body.to_vec()).unwrap();
    for text in ["<title>Trace ", "10.0.0.1", "443", "&lt;script&gt;alert(1)"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("<script"), "{page}");
    let (status, _, _) = get(&backend, &format!("/trace/{}", id(9)), &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
