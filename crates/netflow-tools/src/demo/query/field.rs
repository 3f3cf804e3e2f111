//! What a query speaks of: an attribute or an intrinsic of a span, its resource or its trace, and
//! the values it has there.

use std::borrow::Cow;
use std::cmp::Ordering;

use otlp_wire::messages::{
    Span, any_value::Value as Attribute, span::SpanKind, status::StatusCode,
};
use otlp_wire::text::hex;

use crate::demo::store::{Origin, StoredTrace, attribute};

/// What a condition or a tag name speaks of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Field {
    /// An attribute of the span.
    Span(String),
    /// An attribute of the resource.
    Resource(String),
    /// An attribute of the span or of the resource.
    Either(String),
    /// An attribute of one of the span's events.
    Event(String),
    /// An attribute of one of the span's links.
    Link(String),
    /// An attribute of the instrumentation scope.
    Instrumentation(String),
    /// The span's name.
    Name,
    /// The span's duration.
    Duration,
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
    /// From the trace's earliest start to its latest end.
    TraceDuration,
    /// The trace's id in hexadecimal.
    TraceId,
    /// The span's id in hexadecimal.
    SpanId,
    /// The id of the span's parent in hexadecimal; a root has none.
    ParentId,
    /// The name of one of the span's events.
    EventName,
    /// From the span's start to one of its events.
    EventTimeSinceStart,
    /// The trace that one of the span's links leads to, in hexadecimal.
    LinkTraceId,
    /// The span that one of the span's links leads to, in hexadecimal.
    LinkSpanId,
    /// The name of the instrumentation scope.
    InstrumentationName,
    /// The version of the instrumentation scope.
    InstrumentationVersion,
}

/// Intrinsics as TraceQL names them, the older name first.
pub const INTRINSICS: [(&str, Field); 25] = [
    ("duration", Field::Duration),
    ("kind", Field::Kind),
    ("name", Field::Name),
    ("rootName", Field::RootName),
    ("rootServiceName", Field::RootServiceName),
    ("status", Field::Status),
    ("statusMessage", Field::StatusMessage),
    ("traceDuration", Field::TraceDuration),
    ("event:name", Field::EventName),
    ("event:timeSinceStart", Field::EventTimeSinceStart),
    ("instrumentation:name", Field::InstrumentationName),
    ("instrumentation:version", Field::InstrumentationVersion),
    ("link:spanID", Field::LinkSpanId),
    ("link:traceID", Field::LinkTraceId),
    ("span:duration", Field::Duration),
    ("span:id", Field::SpanId),
    ("span:kind", Field::Kind),
    ("span:name", Field::Name),
    ("span:parentID", Field::ParentId),
    ("span:status", Field::Status),
    ("span:statusMessage", Field::StatusMessage),
    ("trace:duration", Field::TraceDuration),
    ("trace:id", Field::TraceId),
    ("trace:rootName", Field::RootName),
    ("trace:rootService", Field::RootServiceName),
];

/// A value in a query or at a span.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Int(i64),
    /// Any number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// One of TraceQL's words for kinds: `internal`.
    Kind(&'static str),
    /// One of TraceQL's words for status: `ok`.
    Status(&'static str),
}

/// A span with all that a query can ask about it.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Its trace.
    pub trace: &'a StoredTrace,
    /// Its resource and scope.
    pub origin: &'a Origin,
    /// Itself.
    pub span: &'a Span,
}

impl Field {
    /// Gives every value that the field has at this span to `visit`; arrays give their elements.
    pub fn each<'a>(&self, at: Context<'a>, visit: &mut dyn FnMut(Value<'a>)) {
        let Context {
            trace,
            origin,
            span,
        } = at;
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        let id = |octets: &[u8]| Value::Text(Cow::Owned(hex(octets)));
        match self {
            Self::Span(key) => each_value(attribute(&span.attributes, key), visit),
            Self::Resource(key) => each_value(attribute(&origin.resource.attributes, key), visit),
            Self::Either(key) => {
                each_value(attribute(&span.attributes, key), visit);
                each_value(attribute(&origin.resource.attributes, key), visit);
            }
            Self::Name => visit(text(&span.name)),
            Self::Duration => visit(duration(span_duration(span))),
            Self::Kind => visit(Value::Kind(kind_keyword(span.kind()))),
            Self::Status => {
                let status = span.status.as_ref();
                let code = status.map_or(StatusCode::Unset, |status| status.code());
                visit(Value::Status(status_keyword(code)));
            }
            Self::StatusMessage => {
                let status = span.status.as_ref();
                visit(text(status.map_or("", |status| status.message.as_str())));
            }
            Self::RootName => {
                if let Some((_, span)) = trace.root() {
                    visit(text(&span.name));
                }
            }
            Self::RootServiceName => {
                if let Some((origin, _)) = trace.root() {
                    visit(text(origin.service_name()));
                }
            }
            Self::TraceDuration => visit(duration(trace.duration())),
            Self::TraceId => visit(id(&trace.id)),
            Self::SpanId => visit(id(&span.span_id)),
            Self::ParentId if span.parent_span_id.is_empty() => {}
            Self::ParentId => visit(id(&span.parent_span_id)),
            Self::Event(key) => {
                for event in &span.events {
                    each_value(attribute(&event.attributes, key), visit);
                }
            }
            Self::EventName => {
                for event in &span.events {
                    visit(text(&event.name));
                }
            }
            Self::EventTimeSinceStart => {
                for event in &span.events {
                    let since = event
                        .time_unix_nano
                        .saturating_sub(span.start_time_unix_nano);
                    visit(duration(since));
                }
            }
            Self::Link(key) => {
                for link in &span.links {
                    each_value(attribute(&link.attributes, key), visit);
                }
            }
            Self::LinkTraceId => {
                for link in &span.links {
                    visit(id(&link.trace_id));
                }
            }
            Self::LinkSpanId => {
                for link in &span.links {
                    visit(id(&link.span_id));
                }
            }
            Self::Instrumentation(key) => {
                let scope = origin.scope.as_ref();
                each_value(scope.and_then(|it| attribute(&it.attributes, key)), visit);
            }
            Self::InstrumentationName | Self::InstrumentationVersion => {
                let told = origin.scope.as_ref().map(|scope| match self {
                    Self::InstrumentationName => &scope.name,
                    _ => &scope.version,
                });
                if let Some(told) = told.filter(|told| !told.is_empty()) {
                    visit(text(told));
                }
            }
        }
    }

    /// The first value at this span.
    #[must_use]
    pub fn first<'a>(&self, at: Context<'a>) -> Option<Value<'a>> {
        let mut first = None;
        self.each(at, &mut |value| {
            first.get_or_insert(value);
        });
        first
    }

    /// The key under which an answer shows the value; nothing for what the answer has anyway.
    pub(super) fn shown_as(&self) -> Option<&str> {
        match self {
            Self::Span(key)
            | Self::Resource(key)
            | Self::Either(key)
            | Self::Event(key)
            | Self::Link(key)
            | Self::Instrumentation(key) => Some(key),
            Self::Kind
            | Self::Status
            | Self::StatusMessage
            | Self::ParentId
            | Self::EventName
            | Self::EventTimeSinceStart
            | Self::LinkTraceId
            | Self::LinkSpanId
            | Self::InstrumentationName
            | Self::InstrumentationVersion => self.intrinsic(),
            Self::Name
            | Self::Duration
            | Self::RootName
            | Self::RootServiceName
            | Self::TraceDuration
            | Self::TraceId
            | Self::SpanId => None,
        }
    }

    /// The field as TraceQL writes it.
    pub(super) fn to_trace_ql(&self) -> String {
        match self {
            Self::Span(key) => format!("span.{key}"),
            Self::Resource(key) => format!("resource.{key}"),
            Self::Either(key) => format!(".{key}"),
            Self::Event(key) => format!("event.{key}"),
            Self::Link(key) => format!("link.{key}"),
            Self::Instrumentation(key) => format!("instrumentation.{key}"),
            other => other.intrinsic().unwrap_or_default().to_owned(),
        }
    }

    /// Its older name, if it isn't an attribute.
    fn intrinsic(&self) -> Option<&'static str> {
        let known = INTRINSICS.iter().find(|(_, field)| field == self);
        known.map(|(name, _)| *name)
    }

    /// Whether a span, or a trace, shares its values with others only by chance.
    #[must_use]
    pub fn is_of_one(&self) -> bool {
        matches!(
            self,
            Self::Duration
                | Self::TraceDuration
                | Self::TraceId
                | Self::SpanId
                | Self::ParentId
                | Self::EventTimeSinceStart
                | Self::LinkTraceId
                | Self::LinkSpanId
        )
    }
}

impl Value<'_> {
    /// The value as text, without quotes.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone().into_owned(),
            Self::Int(int) => int.to_string(),
            Self::Float(float) => float.to_string(),
            Self::Bool(bool) => bool.to_string(),
            Self::Duration(nanos) => duration_text(*nanos),
            Self::Kind(word) | Self::Status(word) => (*word).to_owned(),
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
            Self::Duration(_) => "duration",
            Self::Kind(_) | Self::Status(_) => "keyword",
        }
    }

    /// How this value stands to another: nothing where the two can't be compared. Numbers and
    /// durations compare with each other, as in Tempo.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(one), Value::Text(other)) => Some(one.cmp(other)),
            (Self::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            (Self::Kind(one), Value::Kind(other)) | (Self::Status(one), Value::Status(other)) => {
                Some(one.cmp(other))
            }
            (Self::Int(one) | Self::Duration(one), Value::Int(other) | Value::Duration(other)) => {
                Some(one.cmp(other))
            }
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }

    /// Numbers, and durations in nanoseconds.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(int) | Self::Duration(int) => Some(*int as f64),
            Self::Float(float) => Some(*float),
            _ => None,
        }
    }

    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Int(int) => Value::Int(int),
            Self::Float(float) => Value::Float(float),
            Self::Bool(bool) => Value::Bool(bool),
            Self::Duration(nanos) => Value::Duration(nanos),
            Self::Kind(word) => Value::Kind(word),
            Self::Status(word) => Value::Status(word),
        }
    }
}

/// From the span's start to its end, in nanoseconds.
pub(super) fn span_duration(span: &Span) -> u64 {
    span.end_time_unix_nano
        .saturating_sub(span.start_time_unix_nano)
}

fn duration(nanos: u64) -> Value<'static> {
    Value::Duration(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// As Go writes durations below a minute: `1.5s`, `250ms`, `7ns`.
fn duration_text(nanos: i64) -> String {
    let (scale, unit) = match nanos.unsigned_abs() {
        0 => return "0s".to_owned(),
        1..1_000 => (1.0, "ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{}{unit}", nanos as f64 / scale)
}

fn each_value<'a>(value: Option<&'a Attribute>, visit: &mut dyn FnMut(Value<'a>)) {
    match value {
        Some(Attribute::StringValue(text)) => visit(Value::Text(Cow::Borrowed(text))),
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

pub(super) const KINDS: [(SpanKind, &str); 6] = [
    (SpanKind::Unspecified, "unspecified"),
    (SpanKind::Internal, "internal"),
    (SpanKind::Server, "server"),
    (SpanKind::Client, "client"),
    (SpanKind::Producer, "producer"),
    (SpanKind::Consumer, "consumer"),
];

pub(super) const STATUSES: [(StatusCode, &str); 3] = [
    (StatusCode::Unset, "unset"),
    (StatusCode::Ok, "ok"),
    (StatusCode::Error, "error"),
];

fn kind_keyword(kind: SpanKind) -> &'static str {
    let known = KINDS.iter().find(|(known, _)| *known == kind);
    known.map_or("unspecified", |(_, word)| word)
}

fn status_keyword(code: StatusCode) -> &'static str {
    let known = STATUSES.iter().find(|(known, _)| *known == code);
    known.map_or("unset", |(_, word)| word)
}
