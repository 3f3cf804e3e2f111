//! A request by its `ResourceSpans`: where each stands, whose it is, and the request without some of them. The lengths
//! that protobuf puts before each are the index; nothing is decoded beside the resources, and nothing is encoded again.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::EncodedBatch;
use crate::fields;
use crate::read::{Reader, WireError};
use crate::split::SpanFacts;

/// One `ResourceSpans` of a request, with its tag and length.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    place: Range<usize>,
}

impl Group {
    /// Octets that go with it.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.place.len()
    }
}

/// The groups of a request, in its order, each with the text of this attribute of its resource (empty without one).
///
/// # Errors
/// When the octets are not a well-formed request.
pub fn groups<'a>(request: &'a [u8], key: &str) -> Result<Vec<(Group, &'a [u8])>, WireError> {
    let mut groups = Vec::new();
    let mut reader = Reader::new(request);
    loop {
        let start = request.len() - reader.remaining();
        let Some(field) = reader.next() else {
            return Ok(groups);
        };
        let field = field?;
        if field.number != fields::export_request::RESOURCE_SPANS {
            continue;
        }
        let place = start..request.len() - reader.remaining();
        let text = attribute(field.octets()?, key)?;
        groups.push((Group { place }, text));
    }
}

/// The text of an attribute of the resource of a `ResourceSpans`.
fn attribute<'a>(resource_spans: &'a [u8], key: &str) -> Result<&'a [u8], WireError> {
    for field in Reader::new(resource_spans) {
        let field = field?;
        if field.number != fields::resource_spans::RESOURCE {
            continue;
        }
        for attribute in Reader::new(field.octets()?) {
            let attribute = attribute?;
            if attribute.number != fields::resource::ATTRIBUTES {
                continue;
            }
            let (mut is_key, mut value): (bool, &[u8]) = (false, &[]);
            for part in Reader::new(attribute.octets()?) {
                let part = part?;
                match part.number {
                    fields::key_value::KEY => is_key = part.octets()? == key.as_bytes(),
                    fields::key_value::VALUE => value = part.octets()?,
                    _ => {}
                }
            }
            if !is_key {
                continue;
            }
            for value in Reader::new(value) {
                let value = value?;
                if value.number == fields::any_value::STRING {
                    return value.octets();
                }
            }
        }
    }
    Ok(&[])
}

/// What is left of a batch without some of its groups, with a receipt of its own, and what was taken out, without octets.
/// `None` if the batch is not well-formed, or nothing is left.
#[must_use]
pub fn without(batch: &EncodedBatch, taken: &[Group]) -> Option<(EncodedBatch, EncodedBatch)> {
    let request = batch.octets.as_ref();
    let mut out = EncodedBatch {
        octets: Bytes::new(),
        ..batch.clone()
    };
    (out.flow_spans, out.work_spans) = (0, 0);
    let gone: usize = taken.iter().map(Group::octets).sum();
    let mut left = Vec::with_capacity(request.len().saturating_sub(gone));
    let mut at = 0;
    for Group { place } in taken {
        left.extend_from_slice(request.get(at..place.start)?);
        at = place.end;
        let group = request.get(place.clone())?;
        let resource_spans = Reader::new(group).next()?.ok()?.octets().ok()?;
        count(resource_spans, &mut out).ok()?;
    }
    left.extend_from_slice(request.get(at..)?);
    if left.is_empty() {
        return None;
    }
    let left = EncodedBatch {
        octets: left.into(),
        flow_spans: batch.flow_spans.checked_sub(out.flow_spans)?,
        work_spans: batch.work_spans.checked_sub(out.work_spans)?,
        oldest: batch.oldest,
        receipt: batch.receipt_for_another_part(),
    };
    Some((left, out))
}

fn count(resource_spans: &[u8], counted: &mut EncodedBatch) -> Result<(), WireError> {
    for scope in Reader::new(resource_spans) {
        let scope = scope?;
        if scope.number != fields::resource_spans::SCOPE_SPANS {
            continue;
        }
        for span in Reader::new(scope.octets()?) {
            let span = span?;
            if span.number != fields::scope_spans::SPANS {
                continue;
            }
            if SpanFacts::of(span.octets()?)?.is_flow {
                counted.flow_spans += 1;
            } else {
                counted.work_spans += 1;
            }
        }
    }
    Ok(())
}
