//! An encoded `ExportTraceServiceRequest` in, its spans out, one by one: for readers of finished octets
//! without building anything of them.
//!
//! Nothing is copied or collected; a field that isn't requested is skipped.

use crate::fields;
use crate::proto::push_delimited;
use crate::read::{Reader, WireError};

/// A span as it stands in a request.
#[derive(Clone, Copy, Debug)]
pub struct SpanView<'a> {
    /// The message `ResourceSpans` that it is in, from which its resource can be read.
    resource_spans: &'a [u8],
    /// The message `Span`.
    span: &'a [u8],
    /// As it is on the wire: 16 octets, if the request is sound.
    pub trace_id: &'a [u8],
    /// As it is on the wire: 8 octets, if the request is sound.
    pub span_id: &'a [u8],
    /// What the span is called.
    pub name: &'a [u8],
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
}

/// The value of an attribute, as far as records of flows have such.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValueView<'a> {
    /// A string that is UTF-8.
    Text(&'a str),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// Anything else: octets, a list, a number with a fraction.
    Other,
}

impl<'a> SpanView<'a> {
    /// The span's attributes in their order; malformed ones are left out.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, ValueView<'a>)> + use<'a> {
        attributes(self.span, fields::span::ATTRIBUTES)
    }

    /// The attributes of its resource.
    pub fn resource_attributes(&self) -> impl Iterator<Item = (&'a str, ValueView<'a>)> + use<'a> {
        let resource = messages(self.resource_spans, fields::resource_spans::RESOURCE);
        resource.flat_map(|resource| attributes(resource, fields::resource::ATTRIBUTES))
    }

    /// Spans with the same value come one after another and share their resource.
    #[must_use]
    pub fn resource_key(&self) -> usize {
        self.resource_spans.as_ptr().addr()
    }

    fn read(resource_spans: &'a [u8], span: &'a [u8]) -> Option<Self> {
        let mut view = Self {
            resource_spans,
            span,
            trace_id: &[],
            span_id: &[],
            name: &[],
            start: 0,
            end: 0,
        };
        for field in Reader::new(span) {
            let field = field.ok()?;
            match field.number {
                fields::span::TRACE_ID => view.trace_id = field.octets().ok()?,
                fields::span::SPAN_ID => view.span_id = field.octets().ok()?,
                fields::span::NAME => view.name = field.octets().ok()?,
                fields::span::START_TIME_UNIX_NANO => view.start = field.fixed64().ok()?,
                fields::span::END_TIME_UNIX_NANO => view.end = field.fixed64().ok()?,
                // What is asked for first stands first; attributes are read on demand.
                fields::span::ATTRIBUTES if view.end != 0 => break,
                _ => {}
            }
        }
        Some(view)
    }
}

/// Whether spans of this name stand for flow records. Their name can be configured; the spans of the work around them have
/// names of their own, which begin with `netflow.`.
#[must_use]
pub fn is_flow_name(name: &[u8]) -> bool {
    name == b"netflow.flow" || !name.starts_with(b"netflow.")
}

/// The spans of a request in their order; malformed ones are left out.
pub fn spans(request: &[u8]) -> impl Iterator<Item = SpanView<'_>> {
    messages(request, fields::export_request::RESOURCE_SPANS).flat_map(|resource_spans| {
        messages(resource_spans, fields::resource_spans::SCOPE_SPANS)
            .flat_map(|scope_spans| messages(scope_spans, fields::scope_spans::SPANS))
            .filter_map(|span| SpanView::read(resource_spans, span))
    })
}

/// Appends the spans of one trace to a request of the same form, with their resources and scopes, and says how many
/// they were.
///
/// # Errors
/// The request isn't well-formed; `out` then holds what was found before.
pub fn extract_trace(
    request: &[u8],
    trace_id: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize, WireError> {
    const LEVELS: [u32; 3] = [
        fields::export_request::RESOURCE_SPANS,
        fields::resource_spans::SCOPE_SPANS,
        fields::scope_spans::SPANS,
    ];
    extract(request, &LEVELS, trace_id, out)
}

/// Appends a message to `out`, of what `levels` names only that which holds spans of the trace.
fn extract(
    message: &[u8],
    levels: &[u32],
    trace_id: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize, WireError> {
    let Some((&number, deeper)) = levels.split_first() else {
        // A span.
        let is_of_trace = has_trace_id(message, trace_id)?;
        if is_of_trace {
            out.extend_from_slice(message);
        }
        return Ok(usize::from(is_of_trace));
    };
    let mut found = 0;
    let mut inner = Vec::new();
    let mut reader = Reader::new(message);
    loop {
        let from = message.len() - reader.remaining();
        let Some(field) = reader.next() else {
            return Ok(found);
        };
        let field = field?;
        if field.number == number {
            inner.clear();
            let spans = extract(field.octets()?, deeper, trace_id, &mut inner)?;
            if spans > 0 {
                push_delimited(out, number, &inner);
            }
            found += spans;
        } else {
            let to = message.len() - reader.remaining();
            out.extend_from_slice(message.get(from..to).unwrap_or_default());
        }
    }
}

fn has_trace_id(span: &[u8], trace_id: &[u8]) -> Result<bool, WireError> {
    for field in Reader::new(span) {
        let field = field?;
        if field.number == fields::span::TRACE_ID {
            return Ok(field.octets()? == trace_id);
        }
    }
    Ok(false)
}

/// The messages in a repeated field, up to the first that is malformed.
fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Reader::new(message)
        .map_while(Result::ok)
        .filter(move |field| field.number == number)
        .filter_map(|field| field.octets().ok())
}

fn attributes(message: &[u8], number: u32) -> impl Iterator<Item = (&str, ValueView<'_>)> {
    messages(message, number).filter_map(|attribute| {
        let mut key = "";
        let mut value = ValueView::Other;
        for field in Reader::new(attribute) {
            let field = field.ok()?;
            match field.number {
                fields::key_value::KEY => key = std::str::from_utf8(field.octets().ok()?).ok()?,
                fields::key_value::VALUE => value = any_value(field.octets().ok()?)?,
                _ => {}
            }
        }
        Some((key, value))
    })
}

fn any_value(message: &[u8]) -> Option<ValueView<'_>> {
    let field = Reader::new(message).next()?.ok()?;
    Some(match field.number {
        fields::any_value::STRING => {
            ValueView::Text(std::str::from_utf8(field.octets().ok()?).ok()?)
        }
        fields::any_value::INT => ValueView::Int(field.int64().ok()?),
        fields::any_value::BOOL => ValueView::Bool(field.varint().ok()? != 0),
        _ => ValueView::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Value, push_key_value};
    use crate::request::ResourceFront;

    fn span(trace: u8, id: u8, name: &str, port: u64) -> Vec<u8> {
        let mut message = Vec::new();
        push_delimited(&mut message, fields::span::TRACE_ID, &[trace; 16]);
        push_delimited(&mut message, fields::span::SPAN_ID, &[id; 8]);
        push_delimited(&mut message, fields::span::NAME, name.as_bytes());
        message.push(7 << 3 | 1);
        message.extend(1000_u64.to_le_bytes());
        message.push(8 << 3 | 1);
        message.extend(2000_u64.to_le_bytes());
        push_key_value(&mut message, 9, "source.port", Value::Unsigned(port));
        push_key_value(&mut message, 9, "network.transport", Value::Text("tcp"));
        let mut out = Vec::new();
        push_delimited(&mut out, fields::scope_spans::SPANS, &message);
        out
    }

    /// Two exporters; the second has a trace of two spans, with another's between them.
    fn request() -> Vec<u8> {
        let mut out = Vec::new();
        for (exporter, spans) in [
            ("192.0.2.1", vec![span(1, 1, "netflow.flow", 53)]),
            (
                "192.0.2.2",
                vec![
                    span(2, 2, "netflow.export", 0),
                    span(3, 3, "netflow.flow", 80),
                    span(2, 4, "netflow.flow", 443),
                ],
            ),
        ] {
            let address = [("netflow.exporter.address", Value::Text(exporter))];
            let front = ResourceFront::new(address, "scope", "1");
            let spans = spans.concat();
            front.push_before(&mut out, spans.len());
            out.extend(spans);
        }
        out
    }

    #[test]
    fn flow_spans_are_known_by_what_they_are_not_called() {
        for name in ["netflow.flow", "flow_ipv4_tcp", "https", "tcp"] {
            assert!(is_flow_name(name.as_bytes()), "{name}");
        }
        for name in [
            "netflow.export",
            "netflow.parse_packet",
            "netflow.process_flows",
        ] {
            assert!(!is_flow_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn spans_are_seen_with_their_resource() {
        let request = request();
        let seen: Vec<_> = spans(&request)
            .map(|span| {
                let exporter = span.resource_attributes().next().unwrap();
                let port = span.attributes().next().unwrap();
                (span.trace_id[0], span.name, exporter.1, port)
            })
            .collect();
        assert_eq!(seen.len(), 4);
        assert_eq!(
            seen[3],
            (
                2,
                &b"netflow.flow"[..],
                ValueView::Text("192.0.2.2"),
                ("source.port", ValueView::Int(443))
            )
        );
        let all: Vec<_> = spans(&request).collect();
        assert_eq!(
            (all[0].start, all[0].end, all[0].span_id),
            (1000, 2000, &[1; 8][..])
        );
        assert_ne!(all[0].resource_key(), all[1].resource_key());
        assert_eq!(all[1].resource_key(), all[3].resource_key());
    }

    #[test]
    fn a_trace_is_taken_out_with_its_resource_alone() {
        let mut out = Vec::new();
        assert_eq!(extract_trace(&request(), &[2; 16], &mut out), Ok(2));
        let ids: Vec<_> = spans(&out).map(|span| span.span_id[0]).collect();
        assert_eq!(ids, [2, 4]);
        let exporter = spans(&out).next().unwrap().resource_attributes().next();
        let address = ValueView::Text("192.0.2.2");
        assert_eq!(exporter, Some(("netflow.exporter.address", address)));
        let mut none = Vec::new();
        assert_eq!(extract_trace(&request(), &[9; 16], &mut none), Ok(0));
        assert!(none.is_empty());
    }

    #[test]
    fn cut_requests_end_early_and_never_panic() {
        let request = request();
        for end in 0..request.len() {
            let cut = &request[..end];
            assert!(spans(cut).count() <= 4);
            for span in spans(cut) {
                let _ = (
                    span.attributes().count(),
                    span.resource_attributes().count(),
                );
            }
            let mut out = Vec::new();
            let _ = extract_trace(cut, &[2; 16], &mut out);
        }
    }
}
