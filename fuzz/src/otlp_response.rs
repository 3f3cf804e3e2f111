//! What a backend answers, and requests from a disk: read as the generated types read them, every text and
//! delay bounded; a request that can be cut in two keeps its spans.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use otlp_wire::response::{
    MAX_ERROR_TEXT, MAX_RETRY_DELAY, ResponseError, bounded_text, decode_binary_header,
    read_partial_success, read_partial_success_json, read_retry_info, read_status_message,
    read_status_message_json,
};
use otlp_wire::{EncodedBatch, UnixNanos, WireError, json, split};
use prost::Message as _;

/// JSON of a request: octets become base64 and hexadecimal, lines repeat a resource.
const MOST_PER_OCTET: usize = 256;

pub fn run(input: &[u8]) {
    response(input);
    request(input);
}

fn response(input: &[u8]) {
    let ours = read_partial_success(input);
    // Groups are not in use in any of these messages: prost passes over unknown ones, we refuse them.
    let has_groups = matches!(
        ours,
        Err(ResponseError::Protobuf(WireError::WireType(3 | 4)))
    );
    if let Ok(theirs) = ExportTraceServiceResponse::decode(input)
        && !has_groups
    {
        let ours = ours.as_ref().expect("what prost reads we read");
        let theirs = theirs.partial_success.unwrap_or_default();
        assert_eq!(
            ours.rejected_spans,
            theirs.rejected_spans.max(0).unsigned_abs()
        );
        if theirs.error_message.len() <= MAX_ERROR_TEXT {
            assert_eq!(ours.error_message, theirs.error_message);
        }
    }
    for read in [ours.ok(), read_partial_success_json(input).ok()]
        .into_iter()
        .flatten()
    {
        assert!(read.error_message.len() <= MAX_ERROR_TEXT);
    }
    for text in [read_status_message(input), read_status_message_json(input)]
        .into_iter()
        .flatten()
    {
        assert!(!text.is_empty() && text.len() <= MAX_ERROR_TEXT);
    }
    assert!(bounded_text(input).len() <= MAX_ERROR_TEXT);
    assert!(read_retry_info(input).is_none_or(|delay| delay <= MAX_RETRY_DELAY));
    if let Some(details) = decode_binary_header(input) {
        assert!(details.len() <= input.len());
        assert!(read_retry_info(&details).is_none_or(|delay| delay <= MAX_RETRY_DELAY));
    }
}

fn request(input: &[u8]) {
    let mut out = Vec::new();
    if json::write_request(input, &mut out).is_ok() {
        serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
        assert!(out.len() <= (input.len() + 1) * MOST_PER_OCTET);
    } else {
        assert!(out.is_empty());
    }
    out.clear();
    if json::write_span_lines(input, &mut out).is_ok() {
        for line in out
            .split(|octet| *octet == b'\n')
            .filter(|line| !line.is_empty())
        {
            serde_json::from_slice::<serde_json::Value>(line).expect("JSON");
        }
    } else {
        assert!(out.is_empty());
    }
    let batch = EncodedBatch {
        octets: Bytes::copy_from_slice(input),
        flow_spans: 0,
        work_spans: 0,
        oldest: UnixNanos(1),
        receipt: None,
    };
    let Some((left, right)) = split(&batch) else {
        return;
    };
    assert!(left.spans() > 0 && right.spans() > 0);
    let Ok(whole) = ExportTraceServiceRequest::decode(input) else {
        return;
    };
    let [left, right] = [left, right].map(|half| {
        let request = ExportTraceServiceRequest::decode(&half.octets[..]).expect("a request");
        let ids = span_ids(&request);
        assert_eq!(ids.len(), half.spans() as usize);
        ids
    });
    assert_eq!(span_ids(&whole), [left, right].concat());
}

fn span_ids(request: &ExportTraceServiceRequest) -> Vec<Vec<u8>> {
    let scopes = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    spans.map(|span| span.span_id.clone()).collect()
}
