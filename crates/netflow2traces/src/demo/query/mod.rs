//! What a search asks for: tags, a TraceQL selector, durations; and whether a span answers it.
//!
//! Of TraceQL this is one selector whose conditions are equalities joined by `&&`. Whatever else is
//! asked is refused with a sentence that says what is understood.

mod parse;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::store::{Origin, StoredTrace, attribute};

pub use parse::duration_nanos;

/// The longest query that is read, in octets.
const MAX_QUERY_OCTETS: usize = 8 << 10;

/// Why a query can't be answered, in a sentence for its author.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// The selector.
    #[error(
        "invalid TraceQL query: {what} at character {at}. This backend understands equalities \
         joined by &&, like {{ span.destination.port = 443 && \
         resource.netflow.exporter.address = \"10.0.0.1\" }}, of span.KEY, resource.KEY, .KEY, \
         name, kind, status, statusMessage, rootName, rootServiceName, trace:id and span:id; \
         Tempo understands all of TraceQL"
    )]
    Selector {
        /// What was met.
        what: String,
        /// Where, from 1.
        at: usize,
    },
    /// The tags.
    #[error(
        "invalid tags: {what} at character {at}. Tags are KEY=VALUE, separated by spaces, with \
         quotes around a value that has spaces: tags=destination.port=443 name=netflow.flow"
    )]
    Tags {
        /// What was met.
        what: String,
        /// Where, from 1.
        at: usize,
    },
    /// A duration.
    #[error("invalid {parameter}: {value:?} is not a duration like 100ms, 1.5s or 2m30s")]
    Duration {
        /// Name of the parameter.
        parameter: &'static str,
        /// Its value.
        value: String,
    },
    /// Any query.
    #[error("the query is {octets} octets long; at most {MAX_QUERY_OCTETS} are read")]
    TooLong {
        /// Its length.
        octets: usize,
    },
}

/// Conditions that one span, with its resource and its trace, has to meet together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    field: Field,
    test: Test,
}

/// What a condition or a tag name speaks of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Field {
    /// An attribute of the span.
    Span(String),
    /// An attribute of the resource.
    Resource(String),
    /// An attribute of the span or of the resource.
    Either(String),
    /// The span's name.
    Name,
    /// The span's kind.
    Kind,
    /// The span's status.
    Status,
    /// The message of the span's status.
    StatusMessage,
    /// The name of the trace's root span.
    RootName,
    /// The service of the trace's root span.
    RootServiceName,
    /// The trace's id in hexadecimal.
    TraceId,
    /// The span's id in hexadecimal.
    SpanId,
}

/// A value in a query or in an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Any number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// One of TraceQL's words for kinds and status: `internal`, `ok`.
    Keyword(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// TraceQL: the same value of the same type; whole and other numbers compare.
    Equal(Value),
    /// Tags: a text that contains this one, whatever the case, or another value of this text.
    Like(String),
}

impl Query {
    /// Reads Tempo's `tags` parameter: `key=value` pairs in logfmt. A text matches when it contains
    /// the value, whatever the case; a number or truth value when it is the same text. All tags are
    /// looked for on one span (or its resource).
    ///
    /// # Errors
    /// [`QueryError::Tags`], [`QueryError::TooLong`].
    pub fn from_tags(tags: &str) -> Result<Self, QueryError> {
        parse::tags(tags).map(|conditions| Self { conditions })
    }

    /// Reads Tempo's `q` parameter as far as it is understood: `{ }` with equalities joined by `&&`.
    ///
    /// # Errors
    /// [`QueryError::Selector`], [`QueryError::TooLong`].
    pub fn from_trace_ql(query: &str) -> Result<Self, QueryError> {
        parse::selector(query).map(|conditions| Self { conditions })
    }

    /// Whether this span meets all conditions.
    #[must_use]
    pub fn matches(&self, trace: &StoredTrace, origin: &Origin, span: &Span) -> bool {
        self.conditions.iter().all(|condition| {
            let mut met = false;
            condition.field.each(trace, origin, span, &mut |value| {
                met = met || condition.test.accepts(&value);
            });
            met
        })
    }

    /// The fields that are asked for, each with its value at this span: what Tempo shows of a
    /// matched span.
    #[must_use]
    pub fn shown(&self, trace: &StoredTrace, origin: &Origin, span: &Span) -> Vec<(String, Value)> {
        let mut shown: Vec<(String, Value)> = Vec::new();
        for condition in &self.conditions {
            let name = condition.field.shown_as();
            if shown.iter().any(|(known, _)| known == name) {
                continue;
            }
            let mut found = None;
            condition.field.each(trace, origin, span, &mut |value| {
                if condition.test.accepts(&value) {
                    found.get_or_insert(value);
                }
            });
            shown.extend(found.map(|value| (name.to_owned(), value)));
        }
        shown
    }
}

impl Field {
    /// Reads an attribute or intrinsic name as TraceQL writes it: `span.destination.port`, `.key`,
    /// `name`.
    #[must_use]
    pub fn from_trace_ql(name: &str) -> Option<Self> {
        parse::field_name(name)
    }

    /// Gives every value that the field has at this span to `visit`; arrays give their elements.
    pub fn each(
        &self,
        trace: &StoredTrace,
        origin: &Origin,
        span: &Span,
        visit: &mut dyn FnMut(Value),
    ) {
        let root = || trace.root();
        match self {
            Self::Span(key) => each_value(attribute(&span.attributes, key), visit),
            Self::Resource(key) => each_value(attribute(&origin.resource.attributes, key), visit),
            Self::Either(key) => {
                each_value(attribute(&span.attributes, key), visit);
                each_value(attribute(&origin.resource.attributes, key), visit);
            }
            Self::Name => visit(Value::Text(span.name.clone())),
            Self::Kind => visit(Value::Keyword(kind_keyword(span.kind()))),
            Self::Status => {
                let code = span
                    .status
                    .as_ref()
                    .map_or(StatusCode::Unset, |status| status.code());
                visit(Value::Keyword(status_keyword(code)));
            }
            Self::StatusMessage => {
                let message = span.status.as_ref().map(|status| status.message.clone());
                visit(Value::Text(message.unwrap_or_default()));
            }
            Self::RootName => {
                if let Some((_, span)) = root() {
                    visit(Value::Text(span.name.clone()));
                }
            }
            Self::RootServiceName => {
                if let Some((origin, _)) = root() {
                    visit(Value::Text(origin.service_name().to_owned()));
                }
            }
            Self::TraceId => visit(Value::Text(hex(&trace.id))),
            Self::SpanId => visit(Value::Text(hex(&span.span_id))),
        }
    }

    fn shown_as(&self) -> &str {
        match self {
            Self::Span(key) | Self::Resource(key) | Self::Either(key) => key,
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Status => "status",
            Self::StatusMessage => "statusMessage",
            Self::RootName => "rootName",
            Self::RootServiceName => "rootServiceName",
            Self::TraceId => "trace:id",
            Self::SpanId => "span:id",
        }
    }
}

impl Test {
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Equal(wanted) => match (wanted, value) {
                (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => {
                    // TraceQL compares whole and other numbers as floats.
                    *int as f64 == *float
                }
                _ => wanted == value,
            },
            Self::Like(wanted) => match value {
                Value::Text(text) => text.to_lowercase().contains(wanted.as_str()),
                other => other.to_text().eq_ignore_ascii_case(wanted),
            },
        }
    }
}

impl Value {
    /// The value as text, without quotes.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(int) => int.to_string(),
            Self::Float(float) => float.to_string(),
            Self::Bool(bool) => bool.to_string(),
            Self::Keyword(word) => (*word).to_owned(),
        }
    }

    /// Tempo's name of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::Keyword(_) => "keyword",
        }
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(
        String::with_capacity(octets.len() * 2),
        |mut text, octet| {
            let _infallible = write!(text, "{octet:02x}");
            text
        },
    )
}

fn each_value(value: Option<&Attribute>, visit: &mut dyn FnMut(Value)) {
    match value {
        Some(Attribute::StringValue(text)) => visit(Value::Text(text.clone())),
        Some(Attribute::IntValue(int)) => visit(Value::Int(*int)),
        Some(Attribute::DoubleValue(float)) => visit(Value::Float(*float)),
        Some(Attribute::BoolValue(bool)) => visit(Value::Bool(*bool)),
        Some(Attribute::ArrayValue(array)) => {
            for element in &array.values {
                match &element.value {
                    // Tempo looks one level deep, and so the depth of a search is bounded.
                    Some(Attribute::ArrayValue(_)) | None => {}
                    value => each_value(value.as_ref(), visit),
                }
            }
        }
        _ => {}
    }
}

const KINDS: [(SpanKind, &str); 6] = [
    (SpanKind::Unspecified, "unspecified"),
    (SpanKind::Internal, "internal"),
    (SpanKind::Server, "server"),
    (SpanKind::Client, "client"),
    (SpanKind::Producer, "producer"),
    (SpanKind::Consumer, "consumer"),
];

const STATUSES: [(StatusCode, &str); 3] = [
    (StatusCode::Unset, "unset"),
    (StatusCode::Ok, "ok"),
    (StatusCode::Error, "error"),
];

fn kind_keyword(kind: SpanKind) -> &'static str {
    KINDS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("unspecified", |(_, word)| word)
}

fn status_keyword(code: StatusCode) -> &'static str {
    STATUSES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("unset", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Status};
    use proptest::prelude::*;

    use super::*;
    use crate::demo::store::{StoreLimits, TraceStore};

    fn key_value(key: &str, value: Attribute) -> KeyValue {
        let value = Some(AnyValue { value: Some(value) });
        KeyValue {
            key: key.to_owned(),
            value,
            ..KeyValue::default()
        }
    }

    /// Whether a span with one attribute of each type matches.
    fn answers(query: &Query) -> bool {
        let text = |text: &str| Attribute::StringValue(text.to_owned());
        let array = vec![AnyValue {
            value: Some(Attribute::IntValue(16)),
        }];
        let span = Span {
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            name: "netflow.flow".to_owned(),
            kind: SpanKind::Internal as i32,
            attributes: vec![
                key_value("destination.port", Attribute::IntValue(443)),
                key_value("network.transport", text("tcp")),
                key_value("ratio", Attribute::DoubleValue(0.5)),
                key_value("netflow.sampling.scaled", Attribute::BoolValue(true)),
                key_value(
                    "labels",
                    Attribute::ArrayValue(ArrayValue { values: array }),
                ),
                key_value("a key", text("say \"hi\"")),
            ],
            status: Some(Status {
                code: StatusCode::Ok as i32,
                message: String::new(),
            }),
            ..Span::default()
        };
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
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            schema_url: String::new(),
        }]);
        let trace = store.trace([0xab; 16]).unwrap();
        trace
            .spans()
            .any(|(origin, span)| query.matches(&trace, origin, span))
    }

    #[test]
    fn selectors_match_by_equality() {
        for matching in [
            "{}",
            "  { }  ",
            "{ span.destination.port = 443 && resource.netflow.exporter.address = \"10.0.0.1\" }",
            "{.destination.port=443}",
            "{ .netflow.exporter.address = `10.0.0.1` && span.network.transport = 'tcp' }",
            "{ span.ratio = 0.5 && span.destination.port = 443.0 }",
            "{ span.netflow.sampling.scaled = true }",
            "{ span.labels = 16 }",
            "{ span.\"a key\" = \"say \\\"hi\\\"\" }",
            "{ name = \"netflow.flow\" && kind = internal && status = ok }",
            "{ span:name = \"netflow.flow\" && rootServiceName = \"netflow-to-traces\" }",
            "{ trace:id = \"abababababababababababababababab\" }",
        ] {
            assert!(
                answers(&Query::from_trace_ql(matching).unwrap()),
                "{matching}"
            );
        }
        for other in [
            "{ span.destination.port = 80 }",
            "{ span.destination.port = \"443\" }",
            "{ resource.destination.port = 443 }",
            "{ span.netflow.exporter.address = \"10.0.0.1\" }",
            "{ span.destination.port = 443 && span.absent = 1 }",
            "{ status = error }",
            "{ span.network.transport = \"tc\" }",
        ] {
            assert!(!answers(&Query::from_trace_ql(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_a_sentence() {
        for refused in [
            "",
            "{",
            "{ span.a = 1",
            "{ span.a != 1 }",
            "{ span.a =~ \"x\" }",
            "{ span.a > 1 }",
            "{ span.a = 1 || span.b = 2 }",
            "{ span.a = 1 } | rate()",
            "{ span.a = 1 } && { span.b = 2 }",
            "{ span.a = \"x }",
            "{ span.a = x }",
            "{ kind = ok }",
            "{ status = 2 }",
            "{ link.a = 1 }",
            "{ duration = 1s }",
            "{ span. = 1 }",
            "{ true }",
        ] {
            let error = Query::from_trace_ql(refused).unwrap_err().to_string();
            assert!(
                error.contains("at character") && error.contains("understands"),
                "{error}"
            );
        }
        let error = Query::from_trace_ql("{ span.a > 1 }").unwrap_err();
        let what = "an = was expected, not '>',".to_owned();
        assert_eq!(error, QueryError::Selector { what, at: 10 });
    }

    #[test]
    fn tags_match_texts_in_part_and_numbers_whole() {
        for (tags, expected) in [
            ("", true),
            ("destination.port=443", true),
            ("destination.port=44", false),
            ("network.transport=TC", true),
            ("service.name=netflow destination.port=443", true),
            ("netflow.sampling.scaled=true name=flow", true),
            ("\"a", false),
            ("absent=1", false),
            ("status.code=ok root.name=netflow", true),
            ("network.transport=\"tcp\"", true),
        ] {
            let found = Query::from_tags(tags)
                .map(|query| answers(&query))
                .unwrap_or(false);
            assert_eq!(found, expected, "{tags}");
        }
        let error = Query::from_tags("destination.port")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("an = was expected") && error.contains("KEY=VALUE"),
            "{error}"
        );
        assert!(Query::from_tags("a=\"b").is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}") {
            let _ = Query::from_trace_ql(&text);
            let _ = Query::from_tags(&text);
            let _ = duration_nanos("minDuration", &text);
            let _ = Field::from_trace_ql(&text);
        }

        #[test]
        fn near_misses_never_panic(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", " ", "=", "&&", "&", "span.", "resource.", ".", "a", "name", "kind",
                    "\"", "`", "\\", "1", "-", "1.5", "true", "ok", "é", "~",
                ]),
                0..24,
            )
        ) {
            let text = parts.concat();
            let _ = Query::from_tags(&text);
            if let Ok(query) = Query::from_trace_ql(&text) {
                let _ = answers(&query);
            }
        }
    }
}
