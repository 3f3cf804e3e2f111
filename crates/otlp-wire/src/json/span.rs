//! Messages of `trace.proto` from the span downwards.

use super::JsonError;
use super::message::{Object, Repeated, fields, once};
use super::text::{push_hex, push_number, push_string, push_u64};
use super::value::push_attribute;
use crate::fields as number;
use crate::read::Reader;

struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a [u8],
    parent_span_id: &'a [u8],
    flags: u32,
    name: &'a [u8],
    kind: i32,
    start_time_unix_nano: u64,
    end_time_unix_nano: u64,
    attributes: Repeated<'a>,
    dropped_attributes_count: u32,
    events: Repeated<'a>,
    dropped_events_count: u32,
    links: Repeated<'a>,
    dropped_links_count: u32,
    status: Option<&'a [u8]>,
}

impl<'a> Span<'a> {
    fn read(message: &'a [u8]) -> Result<Self, JsonError> {
        let mut span = Self {
            trace_id: &[],
            span_id: &[],
            trace_state: &[],
            parent_span_id: &[],
            flags: 0,
            name: &[],
            kind: 0,
            start_time_unix_nano: 0,
            end_time_unix_nano: 0,
            attributes: Repeated::none(),
            dropped_attributes_count: 0,
            events: Repeated::none(),
            dropped_events_count: 0,
            links: Repeated::none(),
            dropped_links_count: 0,
            status: None,
        };
        for field in fields(message) {
            let (field, at) = field?;
            match field.number {
                number::span::TRACE_ID => span.trace_id = field.octets()?,
                number::span::SPAN_ID => span.span_id = field.octets()?,
                number::span::TRACE_STATE => span.trace_state = field.octets()?,
                number::span::PARENT_SPAN_ID => span.parent_span_id = field.octets()?,
                number::span::FLAGS => span.flags = field.fixed32()?,
                number::span::NAME => span.name = field.octets()?,
                number::span::KIND => span.kind = field.int32()?,
                number::span::START_TIME_UNIX_NANO => {
                    span.start_time_unix_nano = field.fixed64()?;
                }
                number::span::END_TIME_UNIX_NANO => span.end_time_unix_nano = field.fixed64()?,
                number::span::ATTRIBUTES => span.attributes.note(&field, at),
                number::span::DROPPED_ATTRIBUTES_COUNT => {
                    span.dropped_attributes_count = field.uint32()?;
                }
                number::span::EVENTS => span.events.note(&field, at),
                number::span::DROPPED_EVENTS_COUNT => {
                    span.dropped_events_count = field.uint32()?;
                }
                number::span::LINKS => span.links.note(&field, at),
                number::span::DROPPED_LINKS_COUNT => span.dropped_links_count = field.uint32()?,
                number::span::STATUS => once(&mut span.status, &field)?,
                _ => {}
            }
        }
        Ok(span)
    }
}

/// A span as an object. `more` are members that follow its own, written already, each with a comma
/// before it.
pub(super) fn push_span(out: &mut Vec<u8>, message: &[u8], more: &[u8]) -> Result<(), JsonError> {
    let span = Span::read(message)?;
    let mut object = Object::open(out);
    // JSON leaves the order free; this one is for people who read lines.
    object.non_default("name", span.name, push_string);
    object.non_default("traceId", span.trace_id, push_hex);
    object.non_default("spanId", span.span_id, push_hex);
    object.non_default("parentSpanId", span.parent_span_id, push_hex);
    object.non_default("traceState", span.trace_state, push_string);
    object.non_default("flags", span.flags, push_number);
    object.non_default("kind", span.kind, push_number);
    object.non_default("startTimeUnixNano", span.start_time_unix_nano, push_u64);
    object.non_default("endTimeUnixNano", span.end_time_unix_nano, push_u64);
    if let Some(status) = span.status {
        push_status(object.member("status"), status)?;
    }
    object.array("attributes", span.attributes, push_attribute)?;
    object.non_default(
        "droppedAttributesCount",
        span.dropped_attributes_count,
        push_number,
    );
    object.array("events", span.events, push_event)?;
    object.non_default("droppedEventsCount", span.dropped_events_count, push_number);
    object.array("links", span.links, push_link)?;
    object.non_default("droppedLinksCount", span.dropped_links_count, push_number);
    object.written_members(more);
    object.close();
    Ok(())
}

fn push_status(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let mut text: &[u8] = &[];
    let mut code = 0;
    for field in Reader::new(message) {
        let field = field?;
        match field.number {
            number::status::MESSAGE => text = field.octets()?,
            number::status::CODE => code = field.int32()?,
            _ => {}
        }
    }
    let mut object = Object::open(out);
    object.non_default("message", text, push_string);
    object.non_default("code", code, push_number);
    object.close();
    Ok(())
}

fn push_event(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let mut time_unix_nano = 0;
    let mut name: &[u8] = &[];
    let mut attributes = Repeated::none();
    let mut dropped_attributes_count = 0;
    for field in fields(message) {
        let (field, at) = field?;
        match field.number {
            number::event::TIME_UNIX_NANO => time_unix_nano = field.fixed64()?,
            number::event::NAME => name = field.octets()?,
            number::event::ATTRIBUTES => attributes.note(&field, at),
            number::event::DROPPED_ATTRIBUTES_COUNT => dropped_attributes_count = field.uint32()?,
            _ => {}
        }
    }
    let mut object = Object::open(out);
    object.non_default("timeUnixNano", time_unix_nano, push_u64);
    object.non_default("name", name, push_string);
    object.array("attributes", attributes, push_attribute)?;
    object.non_default(
        "droppedAttributesCount",
        dropped_attributes_count,
        push_number,
    );
    object.close();
    Ok(())
}

fn push_link(out: &mut Vec<u8>, message: &[u8]) -> Result<(), JsonError> {
    let (mut trace_id, mut span_id, mut trace_state): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let mut attributes = Repeated::none();
    let (mut dropped_attributes_count, mut flags) = (0, 0);
    for field in fields(message) {
        let (field, at) = field?;
        match field.number {
            number::link::TRACE_ID => trace_id = field.octets()?,
            number::link::SPAN_ID => span_id = field.octets()?,
            number::link::TRACE_STATE => trace_state = field.octets()?,
            number::link::ATTRIBUTES => attributes.note(&field, at),
            number::link::DROPPED_ATTRIBUTES_COUNT => dropped_attributes_count = field.uint32()?,
            number::link::FLAGS => flags = field.fixed32()?,
            _ => {}
        }
    }
    let mut object = Object::open(out);
    object.non_default("traceId", trace_id, push_hex);
    object.non_default("spanId", span_id, push_hex);
    object.non_default("traceState", trace_state, push_string);
    object.array("attributes", attributes, push_attribute)?;
    object.non_default(
        "droppedAttributesCount",
        dropped_attributes_count,
        push_number,
    );
    object.non_default("flags", flags, push_number);
    object.close();
    Ok(())
}
