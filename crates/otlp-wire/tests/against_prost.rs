//! The generated types of OpenTelemetry judge what this crate makes of encoded requests: the JSON form
//! means the same, halves hold the same spans, and octets of any kind do no harm.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod support;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otlp_wire::json::{JsonError, MAX_NESTING, write_request, write_span_lines};
use otlp_wire::response::{
    MAX_ERROR_TEXT, MAX_RETRY_DELAY, bounded_text, decode_binary_header, read_partial_success,
    read_partial_success_json, read_retry_info, read_status_message, read_status_message_json,
};
use otlp_wire::{EncodedBatch, UnixNanos, groups, split};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use support::{attribute, request_of, requests, resource_spans, spans, text_attribute};

fn json(octets: &[u8]) -> Result<String, JsonError> {
    let mut out = Vec::new();
    write_request(octets, &mut out)?;
    Ok(String::from_utf8(out).expect("JSON is UTF-8"))
}

fn lines(octets: &[u8]) -> Result<String, JsonError> {
    let mut out = Vec::new();
    write_span_lines(octets, &mut out)?;
    Ok(String::from_utf8(out).expect("JSON is UTF-8"))
}

fn batch_of(request: &ExportTraceServiceRequest) -> EncodedBatch {
    let names = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .map(|span| otlp_wire::view::is_flow_name(span.name.as_bytes()));
    let (flow, work): (Vec<bool>, Vec<bool>) = names.partition(|is_flow| *is_flow);
    EncodedBatch {
        octets: Bytes::from(request.encode_to_vec()),
        flow_spans: u32::try_from(flow.len()).unwrap(),
        work_spans: u32::try_from(work.len()).unwrap(),
        oldest: UnixNanos(7),
        receipt: None,
    }
}

fn decoded(batch: &EncodedBatch) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(batch.octets.clone()).unwrap()
}

/// Each span with all that it belongs to.
fn flat(request: &ExportTraceServiceRequest) -> Vec<ExportTraceServiceRequest> {
    let mut flat = Vec::new();
    for resource in &request.resource_spans {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let mut scope = scope.clone();
                scope.spans = vec![span.clone()];
                let mut resource = resource.clone();
                resource.scope_spans = vec![scope];
                flat.push(ExportTraceServiceRequest {
                    resource_spans: vec![resource],
                });
            }
        }
    }
    flat
}

fn span_of_trace(trace: u8, name: &str) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![1; 8],
        name: name.into(),
        ..Span::default()
    }
}

/// The text of the attribute that names a group.
fn exporter(resource: &ResourceSpans) -> String {
    let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
    let mut named = attributes.filter(|attribute| attribute.key == "exporter");
    let value = named.find_map(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

#[test]
fn groups_are_found_by_an_attribute_and_taken_out_whole() {
    let resource = |name: &str, spans: usize| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![
                attribute("other", Value::IntValue(7)),
                attribute("exporter", Value::StringValue(name.into())),
            ],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: (0..=spans)
                .map(|number| Span {
                    name: if number == 0 {
                        "netflow.export"
                    } else {
                        "netflow.flow"
                    }
                    .into(),
                    ..Span::default()
                })
                .collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![
            resource("a", 3),
            resource("b", 2),
            resource("a", 1),
            resource("c", 4),
        ],
    };
    let batch = batch_of(&request);
    let groups = groups::groups(&batch.octets, "exporter").unwrap();
    let names: Vec<&[u8]> = groups.iter().map(|(_, name)| *name).collect();
    assert_eq!(names, [b"a", b"b", b"a", b"c"]);
    let octets: usize = groups.iter().map(|(group, _)| group.octets()).sum();
    assert_eq!(octets, batch.octets.len());
    for name in ["a", "b", "c", "d"] {
        let taken = groups.iter().filter(|(_, found)| *found == name.as_bytes());
        let taken: Vec<_> = taken.map(|(group, _)| group.clone()).collect();
        let (left, out) = groups::without(&batch, &taken).unwrap();
        let mut expected = request.clone();
        expected
            .resource_spans
            .retain(|resource| exporter(resource) != name);
        assert_eq!(decoded(&left), expected);
        assert_eq!(left.spans(), batch_of(&expected).spans());
        assert_eq!(out.flow_spans + left.flow_spans, batch.flow_spans);
        assert_eq!(out.work_spans + left.work_spans, batch.work_spans);
    }
    let all: Vec<_> = groups.iter().map(|(group, _)| group.clone()).collect();
    assert!(groups::without(&batch, &all).is_none(), "nothing is left");
    assert!(groups::groups(&batch.octets[..50], "exporter").is_err());
}

proptest! {
    #[test]
    fn json_reads_back_as_the_same_request(request in requests()) {
        let json = json(&request.encode_to_vec()).unwrap();
        let back: ExportTraceServiceRequest = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back, request);
        prop_assert!(!json.contains(char::is_control));
    }

    #[test]
    fn each_line_is_a_span_with_its_resource(request in requests()) {
        let text = lines(&request.encode_to_vec()).unwrap();
        let expected = flat(&request);
        prop_assert_eq!(text.lines().count(), expected.len());
        prop_assert_eq!(text.chars().filter(|c| c.is_control()).count(), expected.len());
        for (line, expected) in text.lines().zip(expected) {
            let resource_spans = &expected.resource_spans[0];
            let scope_spans = &resource_spans.scope_spans[0];
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let members = line.as_object_mut().unwrap();
            let resource = members.remove("resource").map(|r| serde_json::from_value(r).unwrap());
            let scope = members.remove("scope").map(|s| serde_json::from_value(s).unwrap());
            let span: Span = serde_json::from_value(line).unwrap();
            prop_assert_eq!(&resource, &resource_spans.resource);
            prop_assert_eq!(&scope, &scope_spans.scope);
            prop_assert_eq!(&span, &scope_spans.spans[0]);
        }
    }

    #[test]
    fn halves_hold_the_same_spans_in_order(request in requests()) {
        let batch = batch_of(&request);
        let Some((left, right)) = split(&batch) else {
            prop_assert!(batch.spans() < 2);
            return Ok(());
        };
        let mut together = flat(&decoded(&left));
        together.extend(flat(&decoded(&right)));
        prop_assert_eq!(together, flat(&request));
        prop_assert_eq!(left.flow_spans + right.flow_spans, batch.flow_spans);
        prop_assert_eq!(left.work_spans + right.work_spans, batch.work_spans);
        for half in [&left, &right] {
            let request = decoded(half);
            prop_assert_eq!(half.flow_spans, batch_of(&request).flow_spans);
            prop_assert_eq!(half.work_spans, batch_of(&request).work_spans);
            prop_assert_eq!(&half.octets, &request.encode_to_vec(), "canonical");
            prop_assert!(half.octets.len() < batch.octets.len());
            prop_assert!(half.spans() > 0);
            prop_assert_eq!(half.oldest, batch.oldest);
        }
    }

    #[test]
    fn splitting_ends_with_single_spans(request in requests()) {
        let (mut waiting, mut singles) = (vec![batch_of(&request)], Vec::new());
        while let Some(batch) = waiting.pop() {
            match split(&batch) {
                Some((left, right)) => waiting.extend([right, left]),
                None => singles.extend(flat(&decoded(&batch))),
            }
        }
        prop_assert_eq!(singles, flat(&request));
    }

    #[test]
    fn responses_read_as_the_generated_types_do(
        rejected_spans: i64,
        error_message in vec(any::<char>(), 0..20).prop_map(String::from_iter),
        present: bool,
    ) {
        let partial = ExportTracePartialSuccess { rejected_spans, error_message };
        let response =
            ExportTraceServiceResponse { partial_success: present.then(|| partial.clone()) };
        let read = read_partial_success(&response.encode_to_vec()).unwrap();
        let from_json = read_partial_success_json(&serde_json::to_vec(&response).unwrap()).unwrap();
        prop_assert_eq!(&read, &from_json);
        let expected = response.partial_success.unwrap_or_default();
        prop_assert_eq!(read.rejected_spans, u64::try_from(expected.rejected_spans).unwrap_or(0));
        prop_assert_eq!(read.error_message, expected.error_message);
    }

    #[test]
    fn random_octets_do_no_harm(octets in vec(any::<u8>(), 0..400)) {
        harmless(&octets)?;
    }

    #[test]
    fn damaged_requests_do_no_harm(
        request in requests(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let mut octets = request.encode_to_vec();
        if !octets.is_empty() {
            for (index, octet) in changes {
                *index.get_mut(&mut octets) = octet;
            }
            if cut {
                octets.truncate(end.index(octets.len()));
            }
        }
        harmless(&octets)?;
    }

    #[test]
    fn fields_may_come_in_any_order(
        span in spans(),
        keys in vec(any::<u32>(), 64),
    ) {
        let canonical = span.encode_to_vec();
        let mut fields = fields_of(&canonical);
        // Occurrences of one field keep their order, as protobuf demands of encoders that reorder.
        let mut keyed: Vec<(u32, usize)> = Vec::new();
        for (index, (number, _)) in fields.iter().enumerate() {
            keyed.push((keys[*number as usize % keys.len()], index));
        }
        keyed.sort_by_key(|(key, index)| (*key, *index));
        // Two occurrences of one field end up at both ends of the message.
        if let Some(at) = keyed.iter().position(|(_, index)| fields[*index].0 == 9) {
            let first = keyed.remove(at);
            keyed.insert(0, first);
        }
        let shuffled: Vec<u8> =
            keyed.iter().flat_map(|(_, index)| std::mem::take(&mut fields[*index].1)).collect();
        let wrapped = |span: &[u8]| nested(1, &nested(2, &nested(2, span)));
        prop_assert_eq!(Span::decode(shuffled.as_slice()).unwrap(), span);
        prop_assert_eq!(json(&wrapped(&shuffled)), json(&wrapped(&canonical)));
    }
}

/// The fields of a message, cut with prost's own primitives.
fn fields_of(message: &[u8]) -> Vec<(u32, Vec<u8>)> {
    use prost::encoding::{DecodeContext, decode_key, skip_field};
    let mut rest = message;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let before = rest;
        let (number, wire_type) = decode_key(&mut rest).unwrap();
        skip_field(wire_type, number, &mut rest, DecodeContext::default()).unwrap();
        fields.push((number, before[..before.len() - rest.len()].to_vec()));
    }
    fields
}

fn nested(number: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::bytes::encode(number, &message.to_vec(), &mut out);
    out
}

/// Nothing panics, and what comes out is bounded by what went in, and well-formed.
fn harmless(octets: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(text) = json(octets) {
        prop_assert!(text.len() <= 32 * octets.len() + 32);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        if let Ok(request) = ExportTraceServiceRequest::decode(octets) {
            prop_assert_eq!(text, json(&request.encode_to_vec()).unwrap());
        }
    }
    if let Ok(text) = lines(octets) {
        for line in text.lines() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(line).is_ok());
        }
    }
    let batch = EncodedBatch {
        octets: Bytes::copy_from_slice(octets),
        ..EncodedBatch::default()
    };
    if let Some((left, right)) = split(&batch) {
        prop_assert!(left.spans() > 0 && right.spans() > 0);
    }
    if let Ok(groups) = groups::groups(octets, "exporter") {
        let taken: Vec<_> = groups.into_iter().map(|(group, _)| group).collect();
        let _ = groups::without(&batch, &taken[..taken.len() / 2]);
    }
    if let Ok(partial) = read_partial_success(octets) {
        prop_assert!(partial.error_message.len() <= MAX_ERROR_TEXT);
    }
    let _ = read_partial_success_json(octets);
    prop_assert!(read_retry_info(octets).is_none_or(|delay| delay <= MAX_RETRY_DELAY));
    prop_assert!(read_status_message(octets).is_none_or(|text| text.len() <= MAX_ERROR_TEXT));
    let _ = read_status_message_json(octets);
    let _ = decode_binary_header(octets);
    prop_assert!(bounded_text(octets).len() <= MAX_ERROR_TEXT);
    Ok(())
}

#[test]
fn json_is_as_the_specification_shows() {
    let request = request_of(vec![Span {
        trace_id: vec![0x5b; 16],
        span_id: vec![0xee; 8],
        name: "I'm a \"span\"".into(),
        kind: 2,
        start_time_unix_nano: 1_544_712_660_000_000_000,
        end_time_unix_nano: u64::MAX,
        attributes: vec![
            attribute("int", Value::IntValue(i64::MIN)),
            attribute("nan", Value::DoubleValue(f64::NAN)),
            attribute("infinity", Value::DoubleValue(f64::NEG_INFINITY)),
            attribute("bytes", Value::BytesValue(vec![0xff, 0xfe])),
            attribute("empty", Value::StringValue(String::new())),
            attribute("zero", Value::IntValue(0)),
            attribute("index", Value::StringValueStrindex(3)),
        ],
        status: Some(Status {
            message: String::new(),
            code: 2,
        }),
        ..Span::default()
    }]);
    let span = concat!(
        r#"{"name":"I'm a \"span\"","traceId":"5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b","#,
        r#""spanId":"eeeeeeeeeeeeeeee","kind":2,"startTimeUnixNano":"1544712660000000000","#,
        r#""endTimeUnixNano":"18446744073709551615","status":{"code":2},"attributes":["#,
        r#"{"key":"int","value":{"intValue":"-9223372036854775808"}},"#,
        r#"{"key":"nan","value":{"doubleValue":"NaN"}},"#,
        r#"{"key":"infinity","value":{"doubleValue":"-Infinity"}},"#,
        r#"{"key":"bytes","value":{"bytesValue":"//4="}},"#,
        r#"{"key":"empty","value":{"stringValue":""}},"#,
        r#"{"key":"zero","value":{"intValue":"0"}},"#,
        r#"{"key":"index","value":{"stringValueStrindex":3}}]"#,
    );
    let resource = r#""resource":{"attributes":[{"key":"exporter","value":{"stringValue":"a"}}]}"#;
    let octets = request.encode_to_vec();
    assert_eq!(
        json(&octets).unwrap(),
        format!(
            r#"{{"resourceSpans":[{{{resource},"scopeSpans":[{{"scope":{{"name":"n"}},"spans":[{span}}}],"schemaUrl":"s"}}],"schemaUrl":"r"}}]}}"#
        )
    );
    assert_eq!(
        lines(&octets).unwrap(),
        format!("{span},{resource},\"scope\":{{\"name\":\"n\"}}}}\n")
    );
}

#[test]
fn an_empty_request_is_an_empty_object_and_no_line() {
    assert_eq!(json(b"").unwrap(), "{}");
    assert_eq!(lines(b"").unwrap(), "");
    // A span without a field, in messages without any other.
    let bare = request_of(vec![Span::default()]).encode_to_vec();
    assert!(json(&bare).unwrap().contains(r#""spans":[{}]"#));
    assert_eq!(
        lines(&nested(1, &nested(2, &nested(2, b"")))).unwrap(),
        "{}\n"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested_in = |levels: u32| {
        let mut value = Value::BoolValue(true);
        for _ in 0..levels {
            let values = vec![AnyValue { value: Some(value) }];
            value = Value::ArrayValue(ArrayValue { values });
        }
        let span = Span {
            attributes: vec![attribute("k", value)],
            ..Span::default()
        };
        request_of(vec![span]).encode_to_vec()
    };
    let json_text = json(&nested_in(MAX_NESTING)).unwrap();
    assert!(serde_json::from_str::<ExportTraceServiceRequest>(&json_text).is_ok());
    for write in [write_request, write_span_lines] {
        let mut out = b"before".to_vec();
        assert_eq!(
            write(&nested_in(MAX_NESTING + 1), &mut out),
            Err(JsonError::TooDeep)
        );
        assert_eq!(out, b"before", "an error leaves nothing behind");
    }
}

#[test]
fn a_message_that_stands_twice_is_refused() {
    let status = nested(15, b"");
    let span = nested(1, &nested(2, &nested(2, &[&status[..], &status].concat())));
    assert_eq!(json(&span), Err(JsonError::RepeatedMessage(15)));
}

#[test]
fn lines_have_a_limit() {
    let mut request = request_of(vec![Span::default(); 300]);
    let resource = request.resource_spans[0].resource.as_mut().unwrap();
    resource
        .attributes
        .push(text_attribute("long", &"x".repeat(1 << 20)));
    assert_eq!(lines(&request.encode_to_vec()), Err(JsonError::TooLarge));
}

#[test]
fn halves_are_of_about_equal_size() {
    let spans = (0..100).map(|_| span_of_trace(1, "netflow.flow")).collect();
    let batch = batch_of(&request_of(spans));
    let (left, right) = split(&batch).unwrap();
    assert_eq!((left.flow_spans, right.flow_spans), (50, 50));
    assert!(left.octets.len().abs_diff(right.octets.len()) < 4);
}

#[test]
fn a_large_resource_does_not_unbalance_the_halves() {
    let spans = (0..100).map(|_| span_of_trace(1, "netflow.flow")).collect();
    let mut request = request_of(spans);
    let resource = request.resource_spans[0].resource.as_mut().unwrap();
    resource
        .attributes
        .push(text_attribute("long", &"x".repeat(100_000)));
    let (left, right) = split(&batch_of(&request)).unwrap();
    assert_eq!((left.flow_spans, right.flow_spans), (50, 50));
}

#[test]
fn a_trace_near_the_middle_stays_whole() {
    // One span of its own, then traces of 7: the middle of 96 spans, 48, lies between 43 and 50.
    let mut spans = vec![span_of_trace(200, "netflow.export")];
    spans.extend((0..95).map(|index| span_of_trace(index / 7, "netflow.flow")));
    let (left, right) = split(&batch_of(&request_of(spans))).unwrap();
    let traces = |batch: &EncodedBatch| -> Vec<Vec<u8>> {
        let spans = decoded(batch)
            .resource_spans
            .remove(0)
            .scope_spans
            .remove(0)
            .spans;
        spans.into_iter().map(|span| span.trace_id).collect()
    };
    assert_ne!(traces(&left).last(), traces(&right).first());
    assert!(left.spans().abs_diff(right.spans()) <= 7);
    assert_eq!(left.work_spans, 1);
}

#[test]
fn a_resource_near_the_middle_stays_whole() {
    let of = |exporter, spans: u8| {
        resource_spans(
            exporter,
            (0..spans)
                .map(|i| span_of_trace(i, "netflow.flow"))
                .collect(),
        )
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![of("a", 10), of("b", 35), of("c", 40)],
    };
    let (left, right) = split(&batch_of(&request)).unwrap();
    assert_eq!((left.flow_spans, right.flow_spans), (45, 40));
    assert_eq!(decoded(&right).resource_spans.len(), 1);
    // Far from the middle it is no reason for a lopsided cut.
    let request = ExportTraceServiceRequest {
        resource_spans: vec![of("a", 2), of("b", 40)],
    };
    let (left, _) = split(&batch_of(&request)).unwrap();
    assert_eq!(left.flow_spans, 21);
    assert_eq!(decoded(&left).resource_spans.len(), 2);
}

#[test]
fn what_holds_one_span_or_is_malformed_is_not_split() {
    assert!(split(&batch_of(&request_of(Vec::new()))).is_none());
    assert!(
        split(&batch_of(&request_of(vec![span_of_trace(
            1,
            "netflow.flow"
        )])))
        .is_none()
    );
    let two = request_of(vec![Span::default(), Span::default()]);
    let mut batch = batch_of(&two);
    assert!(split(&batch).is_some());
    batch.octets = batch.octets.slice(..batch.octets.len() - 1);
    assert!(split(&batch).is_none());
}
