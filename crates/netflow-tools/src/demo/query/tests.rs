//! Queries against a trace of three spans: a root and two flows, one of them with an attribute of
//! each type.

use otlp_wire::messages::{
    AnyValue, ArrayValue, KeyValue, Resource, ResourceSpans, ScopeSpans, Status,
    any_value::Value as Attribute, span::SpanKind, status::StatusCode,
};
use proptest::prelude::*;

use super::*;
use crate::demo::store::{StoreLimits, TraceStore};

fn key_value(key: &str, value: Attribute) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
    }
}

fn text(text: &str) -> Attribute {
    Attribute::StringValue(text.to_owned())
}

fn span(id: u8, name: &str, duration_ms: u64, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![id; 8],
        parent_span_id: if id == 1 { Vec::new() } else { vec![1; 8] },
        name: name.to_owned(),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_000_000_000 + duration_ms * 1_000_000,
        attributes,
        status: Some(Status {
            code: StatusCode::Ok as i32,
            message: String::new(),
        }),
        ..Span::default()
    }
}

fn with_trace<T>(look: impl FnOnce(&StoredTrace) -> T) -> T {
    let array = vec![AnyValue {
        value: Some(Attribute::IntValue(16)),
    }];
    let web = vec![
        key_value("destination.port", Attribute::IntValue(443)),
        key_value("netflow.flow.bytes", Attribute::IntValue(1_000)),
        key_value("network.transport", text("tcp")),
        key_value("ratio", Attribute::DoubleValue(0.5)),
        key_value("netflow.sampling.scaled", Attribute::BoolValue(true)),
        key_value(
            "labels",
            Attribute::ArrayValue(ArrayValue { values: array }),
        ),
        key_value("a key", text("say \"hi\"")),
    ];
    let dns = vec![
        key_value("destination.port", Attribute::IntValue(53)),
        key_value("netflow.flow.bytes", Attribute::IntValue(60)),
        key_value("network.transport", text("udp")),
    ];
    let resource = Resource {
        attributes: vec![
            key_value("netflow.exporter.address", text("10.0.0.1")),
            key_value("service.name", text("netflow-to-traces")),
        ],
        ..Resource::default()
    };
    let store = TraceStore::new(StoreLimits::default());
    store.insert(vec![ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![ScopeSpans {
            spans: vec![
                span(1, "netflow.export", 1, Vec::new()),
                span(2, "netflow.flow", 2_500, web),
                span(3, "netflow.flow", 20, dns),
            ],
            ..ScopeSpans::default()
        }],
        schema_url: String::new(),
    }]);
    look(&store.trace([0xab; 16]).unwrap())
}

/// The ids of the spans that answer.
fn answering(query: &Query) -> Vec<u8> {
    with_trace(|trace| {
        let found = query.find(trace);
        let spans = found.iter().flat_map(|set| &set.spans);
        spans.map(|(_, span)| span.span_id[0]).collect()
    })
}

#[track_caller]
fn asked(query: &str) -> Vec<u8> {
    answering(&Query::from_trace_ql(query).unwrap_or_else(|error| panic!("{query}: {error}")))
}

#[test]
fn selectors_find_spans() {
    for (query, expected) in [
        ("{}", &[1, 2, 3][..]),
        ("  { }  ", &[1, 2, 3]),
        ("{ true }", &[1, 2, 3]),
        ("{ false }", &[]),
        (
            "{ span.destination.port = 443 && resource.netflow.exporter.address = \"10.0.0.1\" }",
            &[2],
        ),
        ("{.destination.port=443}", &[2]),
        (
            "{ .netflow.exporter.address = `10.0.0.1` && span.network.transport = 'tcp' }",
            &[2],
        ),
        (
            "{ span.ratio = 0.5 && span.destination.port = 443.0 }",
            &[2],
        ),
        ("{ span.netflow.sampling.scaled = true }", &[2]),
        ("{ span.netflow.sampling.scaled }", &[2]),
        ("{ span.labels = 16 }", &[2]),
        ("{ span.\"a key\" = \"say \\\"hi\\\"\" }", &[2]),
        (
            "{ name = \"netflow.flow\" && kind = internal && status = ok }",
            &[2, 3],
        ),
        (
            "{ span:name = \"netflow.export\" && rootServiceName = \"netflow-to-traces\" }",
            &[1],
        ),
        (
            "{ trace:id = \"abababababababababababababababab\" }",
            &[1, 2, 3],
        ),
        ("{ span:id = \"0303030303030303\" }", &[3]),
        ("{ span.destination.port = 80 }", &[]),
        ("{ span.destination.port = \"443\" }", &[]),
        ("{ resource.destination.port = 443 }", &[]),
        ("{ span.netflow.exporter.address = \"10.0.0.1\" }", &[]),
        ("{ span.destination.port = 443 && span.absent = 1 }", &[]),
        ("{ status = error }", &[]),
        ("{ span.network.transport = \"tc\" }", &[]),
    ] {
        assert_eq!(asked(query), expected, "{query}");
    }
}

#[test]
fn comparisons_are_as_in_trace_ql() {
    for (query, expected) in [
        ("{ span.destination.port != 443 }", &[3][..]),
        ("{ span.destination.port > 53 }", &[2]),
        ("{ span.destination.port >= 53 }", &[2, 3]),
        ("{ span.destination.port < 443 }", &[3]),
        ("{ span.destination.port <= 52.9 }", &[]),
        ("{ 443 = span.destination.port }", &[2]),
        ("{ span.ratio > 0 && span.ratio < 1 }", &[2]),
        ("{ span.absent != 1 }", &[]),
        ("{ span.destination.port != nil }", &[2, 3]),
        ("{ span.destination.port = nil }", &[1]),
        ("{ .service.name != nil }", &[1, 2, 3]),
        ("{ duration > 1s }", &[2]),
        ("{ duration >= 20ms && duration < 2.5s }", &[3]),
        ("{ span:duration < 1500us }", &[1]),
        ("{ traceDuration = 2500ms }", &[1, 2, 3]),
        ("{ trace:duration > 1h }", &[]),
        ("{ kind != server }", &[1, 2, 3]),
        ("{ status != ok }", &[]),
        ("{ rootName = \"netflow.export\" }", &[1, 2, 3]),
        ("{ statusMessage = \"\" }", &[1, 2, 3]),
        ("{ span.network.transport =~ \"tcp|sctp\" }", &[2]),
        ("{ span.network.transport =~ \"t\" }", &[]),
        ("{ span.network.transport =~ `[tu].p` }", &[2, 3]),
        ("{ span.network.transport !~ \"t.*\" }", &[3]),
        (
            "{ resource.netflow.exporter.address =~ \"10\\\\.0\\\\..*\" }",
            &[1, 2, 3],
        ),
        ("{ span.destination.port =~ \"4.*\" }", &[]),
        ("{ name =~ \"netflow[.]e.*\" }", &[1]),
    ] {
        assert_eq!(asked(query), expected, "{query}");
    }
}

#[test]
fn conditions_join_from_left_to_right() {
    for (query, expected) in [
        (
            "{ .destination.port = 443 || .destination.port = 53 }",
            &[2, 3][..],
        ),
        ("{ !(.destination.port = 443) }", &[1, 3]),
        (
            "{ !(.destination.port = 443) && .destination.port != nil }",
            &[3],
        ),
        ("{ !.netflow.sampling.scaled }", &[1, 3]),
        // (a || b) && c, and not a || (b && c): as Tempo has it.
        (
            "{ .destination.port = 443 || .destination.port = 53 && .network.transport = \"udp\" }",
            &[3],
        ),
        (
            "{ .destination.port = 443 || (.destination.port = 53 && .network.transport = \"udp\") }",
            &[2, 3],
        ),
        ("{ ((.destination.port) = (53)) }", &[3]),
        ("{ (.destination.port = 53) = true }", &[3]),
    ] {
        assert_eq!(asked(query), expected, "{query}");
    }
}

#[test]
fn sets_of_spans_join_too() {
    for (query, expected) in [
        (
            "{ .destination.port = 443 } && { .destination.port = 53 }",
            &[2, 3][..],
        ),
        (
            "{ .destination.port = 443 } && { .destination.port = 80 }",
            &[],
        ),
        (
            "{ .destination.port = 443 } || { .destination.port = 80 }",
            &[2],
        ),
        (
            "({ name = \"netflow.export\" } || { .x = 1 }) && { duration > 1s }",
            &[1, 2],
        ),
        (
            "{ .x = 1 } && { .y = 1 } || { .destination.port = 53 }",
            &[3],
        ),
        ("{ name = \"netflow.flow\" } | { duration > 1s }", &[2]),
        ("{ name = \"netflow.flow\" } | count() > 1", &[2, 3]),
        ("{ name = \"netflow.flow\" } | count() > 2", &[]),
        (
            "{ name = \"netflow.flow\" } | count() = 2 | { duration > 1s }",
            &[2],
        ),
        ("{ } | avg(duration) > 500ms", &[1, 2, 3]),
        ("{ } | sum(span.netflow.flow.bytes) = 1060", &[1, 2, 3]),
        ("{ } | min(.netflow.flow.bytes) < 60", &[]),
        ("{ } | max(.netflow.flow.bytes) >= 1000", &[1, 2, 3]),
        ("{ } | max(.absent) >= 0", &[]),
        (
            "{ duration > 1s } | select(span.ratio, resource.service.name)",
            &[2],
        ),
        ("{ duration > 1s } with (most_recent=true)", &[2]),
    ] {
        assert_eq!(asked(query), expected, "{query}");
    }
}

#[test]
fn what_was_asked_for_is_shown() {
    let query = Query::from_trace_ql(
        "{ span.destination.port > 60 && status = ok && name != \"\" } | count() = 1 \
         | max(duration) > 1s | select(.netflow.exporter.address, span.absent)",
    )
    .unwrap();
    with_trace(|trace| {
        let found = query.find(trace).unwrap();
        let numbers: Vec<_> = found
            .attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_text()))
            .collect();
        assert_eq!(
            numbers,
            [("count()", "1".into()), ("max(duration)", "2.5s".into())]
        );
        let (origin, span) = found.spans[0];
        let at = Context {
            trace,
            origin,
            span,
        };
        let shown = query.shown(at);
        let shown: Vec<_> = shown
            .iter()
            .map(|(key, value)| (key.as_str(), value.to_text()))
            .collect();
        assert_eq!(
            shown,
            [
                ("destination.port", "443".into()),
                ("status", "ok".into()),
                ("netflow.exporter.address", "10.0.0.1".into()),
            ]
        );
    });
}

#[test]
fn what_is_not_understood_is_refused_with_place_and_sentence() {
    for (refused, at, what) in [
        ("", 1, "a { was expected, not the end"),
        ("{", 2, "a field like"),
        ("{ span.a = 1", 13, "&&, || or } was expected, not the end"),
        ("{ span.a = 1 } | rate()", 18, "rate() makes metrics"),
        ("{ span.a = 1 } | by(name)", 18, "count(), min()"),
        ("{ span.a = 1 } >> { span.b = 2 }", 16, "how spans relate"),
        ("{ span.a = 1 } { span.b = 2 }", 16, "&&, ||, | or the end"),
        ("{ span.a = \"x }", 12, "a closing \" is missing"),
        ("{ span.a = x }", 12, "a field like"),
        ("{ kind = ok }", 10, "internal, server, client"),
        ("{ status = 2 }", 12, "ok, error or unset"),
        ("{ status > ok }", 12, "have no order"),
        ("{ name = 1 }", 10, "quotes around a text"),
        ("{ span.a = ok }", 12, "quotes around a text"),
        ("{ duration = \"1s\" }", 14, "a duration like"),
        ("{ parent.a = 1 }", 3, "one of the scopes"),
        ("{ span. = 1 }", 3, "a field like"),
        ("{ name }", 3, "a condition was expected"),
        ("{ 1 && true }", 5, "a comparison was expected"),
        ("{ true && 1 }", 11, "a condition was expected"),
        ("{ span.a =~ 1 }", 13, "a pattern in quotes"),
        ("{ span.a =~ \"(\" }", 13, "a regular expression"),
        ("{ span.a =~ \"a{9999999}\" }", 13, "a regular expression"),
        ("{ status =~ \"o.*\" }", 10, "=~ and !~ go with texts"),
        ("{ span.a > nil }", 10, "nil goes with"),
        ("{ span.a + 1 = 2 }", 10, "arithmetic"),
        ("{ } | count() > \"x\"", 17, "a number or a duration"),
        ("{ } | count()", 14, "one of =, !="),
        ("{ } | avg(name) > 1", 11, "a field with numbers"),
        ("{ } | select()", 14, "a field like"),
        ("{ !1 }", 4, "a condition, in parentheses"),
    ] {
        let error = Query::from_trace_ql(refused).unwrap_err();
        let QueryError::TraceQl {
            what: met,
            at: place,
        } = &error
        else {
            panic!("{error}");
        };
        assert!(
            met.contains(what) && *place == at,
            "{refused}: {met} at {place}"
        );
        let sentence = error.to_string();
        assert!(sentence.contains("at character") && sentence.contains("understands"));
    }
    let deep = format!("{{ {}true{} }}", "(".repeat(200), ")".repeat(200));
    let error = Query::from_trace_ql(&deep).unwrap_err().to_string();
    assert!(error.contains("fewer parentheses"), "{error}");
    let long = format!("{{ {} }}", ["true"; 2_000].join("&&"));
    assert!(Query::from_trace_ql(&long).is_err());
}

#[test]
fn of_an_unfinished_selector_what_is_there_counts() {
    for (query, expected) in [
        ("{ .destination.port = 443 && .x = }", &[2][..]),
        ("{ .destination.port = 443 && ", &[2]),
        ("{ .destination.port = 443 && .x }", &[]),
        ("{ .destination.port = }", &[1, 2, 3]),
        ("{ .destination.port = 443 || .x = }", &[1, 2, 3]),
        ("{ } | count() > 7", &[1, 2, 3]),
        ("garbage", &[1, 2, 3]),
        ("", &[1, 2, 3]),
    ] {
        assert_eq!(
            answering(&Query::from_unfinished_trace_ql(query)),
            expected,
            "{query}"
        );
    }
}

#[test]
fn tags_match_texts_in_part_and_numbers_whole() {
    for (tags, expected) in [
        ("", &[1, 2, 3][..]),
        ("destination.port=443", &[2]),
        ("destination.port=44", &[]),
        ("network.transport=TC", &[2]),
        ("service.name=netflow destination.port=443", &[2]),
        ("netflow.sampling.scaled=true name=flow", &[2]),
        ("absent=1", &[]),
        ("status.code=ok root.name=netflow", &[1, 2, 3]),
        ("network.transport=\"tcp\"", &[2]),
    ] {
        assert_eq!(
            answering(&Query::from_tags(tags).unwrap()),
            expected,
            "{tags}"
        );
    }
    let error = Query::from_tags("destination.port")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("an = was expected") && error.contains("KEY=VALUE"),
        "{error}"
    );
    assert!(Query::from_tags("a=\"b").is_err());
    assert!(Query::from_tags("\"a").is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics(text in "\\PC{0,200}") {
        let _ = Query::from_trace_ql(&text);
        let _ = Query::from_unfinished_trace_ql(&text);
        let _ = Query::from_tags(&text);
        let _ = duration_nanos("minDuration", &text);
        let _ = Field::from_trace_ql(&text);
    }

    #[test]
    fn near_misses_never_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", " ", "=", "!", ">", "<", "&&", "||", "&", "|", "(", ")", ",", "span.",
                "resource.", "event.", "link:spanID", ".", "a", "name", "kind", "nil", "\"", "`", "\\", "1", "-", "1.5", "2s",
                "true", "ok", "é", "~", "count()", "avg(", "select(", "with", "duration",
            ]),
            0..24,
        )
    ) {
        let text = parts.concat();
        let _ = Query::from_tags(&text);
        let _ = answering(&Query::from_unfinished_trace_ql(&text));
        if let Ok(query) = Query::from_trace_ql(&text) {
            let _ = answering(&query);
        }
    }
}
