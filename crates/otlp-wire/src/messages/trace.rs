//! Packages `trace` and `collector.trace`.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::json_form::{id_from_hex, u64_from_text};
use super::value::{InstrumentationScope, KeyValue, Resource};

/// What an exporter of spans sends.
#[derive(Clone, Deserialize, Message, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ExportTraceServiceRequest {
    /// Spans by resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// What a backend answers.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportTraceServiceResponse {
    /// There when the backend refused a part of the request, or has something to say.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<ExportTracePartialSuccess>,
}

/// A part of a request was refused.
#[derive(Clone, Message, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportTracePartialSuccess {
    /// Spans that were refused; zero with a message is a warning.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// Spans outside of a request.
#[derive(Clone, Message, PartialEq)]
pub struct TracesData {
    /// Spans by resource.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// Spans of one resource.
#[derive(Clone, Deserialize, Message, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceSpans {
    /// The resource; none is one that isn't known.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Spans by scope.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
    /// Schema of the resource.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// Spans of one instrumentation scope.
#[derive(Clone, Deserialize, Message, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ScopeSpans {
    /// The scope; none is one that isn't known.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    /// The spans.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
    /// Schema of the spans.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// A span.
#[derive(Clone, Deserialize, Message, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Span {
    /// 16 octets.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "id_from_hex")]
    pub trace_id: Vec<u8>,
    /// 8 octets.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "id_from_hex")]
    pub span_id: Vec<u8>,
    /// As W3C's `tracestate` header has it.
    #[prost(string, tag = "3")]
    pub trace_state: String,
    /// 8 octets; none for a root.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(deserialize_with = "id_from_hex")]
    pub parent_span_id: Vec<u8>,
    /// W3C's trace flags, and whether the parent is remote.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
    /// What it is called.
    #[prost(string, tag = "5")]
    pub name: String,
    /// A [`span::SpanKind`].
    #[prost(enumeration = "span::SpanKind", tag = "6")]
    pub kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    #[serde(deserialize_with = "u64_from_text")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    #[serde(deserialize_with = "u64_from_text")]
    pub end_time_unix_nano: u64,
    /// Its attributes.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// Attributes that the sender left out.
    #[prost(uint32, tag = "10")]
    pub dropped_attributes_count: u32,
    /// What happened within it.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<span::Event>,
    /// Events that the sender left out.
    #[prost(uint32, tag = "12")]
    pub dropped_events_count: u32,
    /// Spans that it is related to.
    #[prost(message, repeated, tag = "13")]
    pub links: Vec<span::Link>,
    /// Links that the sender left out.
    #[prost(uint32, tag = "14")]
    pub dropped_links_count: u32,
    /// How it ended.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

/// Of [`Span`].
pub mod span {
    use prost::{Enumeration, Message};
    use serde::Deserialize;

    use super::{KeyValue, id_from_hex, u64_from_text};

    /// Something that happened within a span.
    #[derive(Clone, Deserialize, Message, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    pub struct Event {
        /// Nanoseconds since 1970.
        #[prost(fixed64, tag = "1")]
        #[serde(deserialize_with = "u64_from_text")]
        pub time_unix_nano: u64,
        /// What it is called.
        #[prost(string, tag = "2")]
        pub name: String,
        /// Its attributes.
        #[prost(message, repeated, tag = "3")]
        pub attributes: Vec<KeyValue>,
        /// Attributes that the sender left out.
        #[prost(uint32, tag = "4")]
        pub dropped_attributes_count: u32,
    }

    /// A span that another is related to.
    #[derive(Clone, Deserialize, Message, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    pub struct Link {
        /// 16 octets.
        #[prost(bytes = "vec", tag = "1")]
        #[serde(deserialize_with = "id_from_hex")]
        pub trace_id: Vec<u8>,
        /// 8 octets.
        #[prost(bytes = "vec", tag = "2")]
        #[serde(deserialize_with = "id_from_hex")]
        pub span_id: Vec<u8>,
        /// As W3C's `tracestate` header has it.
        #[prost(string, tag = "3")]
        pub trace_state: String,
        /// Its attributes.
        #[prost(message, repeated, tag = "4")]
        pub attributes: Vec<KeyValue>,
        /// Attributes that the sender left out.
        #[prost(uint32, tag = "5")]
        pub dropped_attributes_count: u32,
        /// As those of a span.
        #[prost(fixed32, tag = "6")]
        pub flags: u32,
    }

    /// How a span relates to its parent and its children.
    #[derive(Clone, Copy, Debug, Enumeration, Eq, Hash, Ord, PartialEq, PartialOrd)]
    #[repr(i32)]
    pub enum SpanKind {
        /// Not said.
        Unspecified = 0,
        /// Within one program.
        Internal = 1,
        /// Answers a request.
        Server = 2,
        /// Makes a request.
        Client = 3,
        /// Sends a message.
        Producer = 4,
        /// Handles a message.
        Consumer = 5,
    }

    impl SpanKind {
        /// Its name in protobuf.
        #[must_use]
        pub fn as_str_name(self) -> &'static str {
            match self {
                Self::Unspecified => "SPAN_KIND_UNSPECIFIED",
                Self::Internal => "SPAN_KIND_INTERNAL",
                Self::Server => "SPAN_KIND_SERVER",
                Self::Client => "SPAN_KIND_CLIENT",
                Self::Producer => "SPAN_KIND_PRODUCER",
                Self::Consumer => "SPAN_KIND_CONSUMER",
            }
        }
    }
}

/// How a span ended.
#[derive(Clone, Deserialize, Message, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// Of an error, for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// A [`status::StatusCode`].
    #[prost(enumeration = "status::StatusCode", tag = "3")]
    pub code: i32,
}

/// Of [`Status`].
pub mod status {
    use prost::Enumeration;

    /// How a span ended.
    #[derive(Clone, Copy, Debug, Enumeration, Eq, Hash, Ord, PartialEq, PartialOrd)]
    #[repr(i32)]
    pub enum StatusCode {
        /// Not said.
        Unset = 0,
        /// Its operator says that it ended well.
        Ok = 1,
        /// It failed.
        Error = 2,
    }

    impl StatusCode {
        /// Its name in protobuf.
        #[must_use]
        pub fn as_str_name(self) -> &'static str {
            match self {
                Self::Unset => "STATUS_CODE_UNSET",
                Self::Ok => "STATUS_CODE_OK",
                Self::Error => "STATUS_CODE_ERROR",
            }
        }
    }
}
