//! An encoded request in, OTLP/JSON out: the body of `http/json`, or a line for each span.
//!
//! One pass over the octets, no objects between. Every field of `trace.proto` is written, unknown ones
//! are left out. On an error `out` is as it was before. Source: OTLP specification, "JSON Protobuf
//! Encoding", and protobuf's JSON mapping.

mod message;
mod span;
mod text;
mod value;

use thiserror::Error;

use crate::fields as number;
use crate::read::WireError;
use message::{Object, Repeated, fields, once};
use span::push_span;
use text::push_string;
use value::{push_resource, push_scope};

/// Arrays and lists inside one another that an attribute's value may have. One takes up to four levels
/// of JSON and three of protobuf, so a request stays under what readers commonly take: 128 levels of
/// JSON (serde_json), 100 of protobuf (prost, protobuf's own).
pub const MAX_NESTING: u32 = 24;

/// Octets that [`write_span_lines`] writes at most. As every line repeats the resource, a small
/// request could otherwise ask for more than a memory holds.
pub const MAX_LINES_OCTETS: usize = 256 * 1024 * 1024;

/// A request that has no OTLP/JSON form.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum JsonError {
    /// Not an `ExportTraceServiceRequest` in protobuf.
    #[error("the request is not OTLP protobuf: {0}")]
    Protobuf(#[from] WireError),
    /// A message that may stand once stands twice.
    #[error("the message in field {0} stands twice")]
    RepeatedMessage(u32),
    /// Values nest deeper than [`MAX_NESTING`].
    #[error("attribute values nest deeper than {MAX_NESTING} levels")]
    TooDeep,
    /// The lines would be longer than [`MAX_LINES_OCTETS`].
    #[error("the lines would be longer than {MAX_LINES_OCTETS} octets")]
    TooLarge,
}

/// Appends an encoded `ExportTraceServiceRequest` as OTLP/JSON, without any line break.
///
/// Ids are lower-case hexadecimal, 64-bit integers are strings, enums numbers, octets base64;
/// fields with their default are left out. Text that is not UTF-8 gets replacement characters.
///
/// # Errors
/// The octets are not a well-formed request, or values nest too deep; `out` is then unchanged.
pub fn write_request(octets: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    or_unchanged(out, |out| {
        let mut resource_spans = Repeated::none();
        for field in fields(octets) {
            let (field, at) = field?;
            if field.number == number::export_request::RESOURCE_SPANS {
                resource_spans.note(&field, at);
            }
        }
        let mut object = Object::open(out);
        object.array("resourceSpans", resource_spans, push_resource_spans)?;
        object.close();
        Ok(())
    })
}

/// Appends one JSON object for each span of an encoded `ExportTraceServiceRequest`, each ended by a
/// line feed and without one inside.
///
/// An object is the span's OTLP/JSON form, its name first, with the `resource` and the `scope` that
/// it belongs to as two more members.
///
/// # Errors
/// As [`write_request`], and when the lines grow above [`MAX_LINES_OCTETS`]; `out` is then unchanged.
pub fn write_span_lines(octets: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let limit = out.len().saturating_add(MAX_LINES_OCTETS);
    or_unchanged(out, |out| {
        let mut shared = Vec::new();
        for field in fields(octets) {
            let (field, _) = field?;
            if field.number != number::export_request::RESOURCE_SPANS {
                continue;
            }
            let resource_spans = ResourceSpans::read(field.octets()?)?;
            shared.clear();
            if let Some(resource) = resource_spans.resource {
                shared.extend_from_slice(b",\"resource\":");
                push_resource(&mut shared, resource)?;
            }
            let with_resource = shared.len();
            for scope_spans in resource_spans.scope_spans.each() {
                let scope_spans = ScopeSpans::read(scope_spans?)?;
                shared.truncate(with_resource);
                if let Some(scope) = scope_spans.scope {
                    shared.extend_from_slice(b",\"scope\":");
                    push_scope(&mut shared, scope)?;
                }
                for span in scope_spans.spans.each() {
                    push_span(out, span?, &shared)?;
                    out.push(b'\n');
                    if out.len() > limit {
                        return Err(JsonError::TooLarge);
                    }
                }
            }
        }
        Ok(())
    })
}

fn or_unchanged(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let before = out.len();
    let result = write(out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

struct ResourceSpans<'a> {
    resource: Option<&'a [u8]>,
    scope_spans: Repeated<'a>,
    schema_url: &'a [u8],
}

impl<'a> ResourceSpans<'a> {
    fn read(message: &'a [u8]) -> Result<Self, JsonError> {
        let mut read = Self {
            resource: None,
            scope_spans: Repeated::none(),
            schema_url: &[],
        };
        for field in fields(message) {
            let (field, at) = field?;
            match field.number {
                number::resource_spans::RESOURCE => once(&mut read.resource, &field)?,
                number::resource_spans::SCOPE_SPANS => read.scope_spans.note(&field, at),
                number::resource_spans::SCHEMA_URL => read.schema_url = field.octets()?,
                _ => {}
            }
        }
        Ok(read)
    }
}

struct ScopeSpans<'a> {
    scope: Option<&'a [u8]>,
    spans: Repeated<'a>,
    schema_url: &'a [u8],
}

impl<'a> ScopeSpans<'a> {
    fn read(message: &'a [u8]) -> Result<Self, JsonError> {
        let mut read = Self {
            scope: None,
            spans: Repeated::none(),
            schema_url: &[],
        };
        for field in fields(message) {
            let (field, at) = field?;
            match field.number {
                number::scope_spans::SCOPE => once(&mut read.scope, &field)?,
                number::scope_spans::SPANS => read.spans.note(&field, at),
                number::scope_spans::SCHEMA_URL => read.schema_url = field.octets()?,
                _ => {}
            }
        }
        Ok(read)
    }
}

fn push_resource_spans(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let read = ResourceSpans::read(message)?;
    let mut object = Object::open(out);
    if let Some(resource) = read.resource {
        push_resource(object.member("resource"), resource)?;
    }
    object.array("scopeSpans", read.scope_spans, push_scope_spans)?;
    object.non_default("schemaUrl", read.schema_url, push_string);
    object.close();
    Ok(())
}

fn push_scope_spans(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let read = ScopeSpans::read(message)?;
    let mut object = Object::open(out);
    if let Some(scope) = read.scope {
        push_scope(object.member("scope"), scope)?;
    }
    object.array("spans", read.spans, |out, span| push_span(out, span, &[]))?;
    object.non_default("schemaUrl", read.schema_url, push_string);
    object.close();
    Ok(())
}
