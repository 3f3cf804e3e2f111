//! One request in, two of about half the octets out: for backends that refuse a request as too large.
//!
//! The octets are cut between spans without decoding them. Order, unknown fields and encoding are
//! kept: from canonical octets come canonical octets.

use bytes::Bytes;

use crate::batch::EncodedBatch;
use crate::fields;
use crate::proto::push_delimited;
use crate::read::{Field, Reader, WireError};
use crate::view::is_flow_name;

/// Cuts a batch into two requests of about half the octets each.
///
/// The cut is between two spans; between two `ResourceSpans` or two traces when such a place is near
/// the middle. Where a `ResourceSpans` or `ScopeSpans` is cut, both halves have its resource and its
/// scope. The spans of each half are counted anew, by name; `oldest` is kept, and each half has a receipt. The batch's own
/// has then to be settled as the halves are.
///
/// `None` if the batch holds fewer than two spans, or is not a well-formed request.
#[must_use]
pub fn split(batch: &EncodedBatch) -> Option<(EncodedBatch, EncodedBatch)> {
    let request = batch.octets.as_ref();
    let cut = find_cut(request).ok()??;
    let (left, right) = cut_message(request, cut.at, &LEVELS).ok()?;
    let half = |octets: Vec<u8>, counts: SpanCounts| EncodedBatch {
        octets: Bytes::from(octets),
        flow_spans: counts.flow,
        work_spans: counts.work,
        oldest: batch.oldest,
        receipt: batch.receipt_for_another_part(),
    };
    Some((half(left, cut.left), half(right, cut.right)))
}

#[derive(Clone, Copy, Debug, Default)]
struct SpanCounts {
    flow: u32,
    work: u32,
}

struct Cut {
    /// Octet of the request where a span begins, or a scope or resource whose first span it is.
    at: usize,
    left: SpanCounts,
    right: SpanCounts,
}

/// A place between two spans.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: usize,
    left: SpanCounts,
    /// How much larger the one half is than the other, in octets.
    imbalance: usize,
}

/// The best candidates so far, by what the cut would part.
#[derive(Default)]
struct Candidates {
    resources: Option<Candidate>,
    traces: Option<Candidate>,
    spans: Option<Candidate>,
}

impl Candidates {
    /// A cut that parts less is preferred unless it makes the halves differ by more than a quarter
    /// of the request.
    fn best(self, request_octets: usize) -> Option<Candidate> {
        [self.resources, self.traces]
            .into_iter()
            .flatten()
            .find(|candidate| candidate.imbalance <= request_octets / 4)
            .or(self.spans)
    }
}

fn keep_better(best: &mut Option<Candidate>, candidate: Candidate) {
    if best.is_none_or(|best| candidate.imbalance < best.imbalance) {
        *best = Some(candidate);
    }
}

/// A field with the place where its octets begin and end, counted from the start of its message.
struct Placed<'a> {
    field: Field<'a>,
    start: usize,
    end: usize,
}

fn placed_fields(message: &[u8]) -> impl Iterator<Item = Result<Placed<'_>, WireError>> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(move || {
        let start = message.len() - reader.remaining();
        let field = reader.next()?;
        let end = message.len() - reader.remaining();
        Some(field.map(|field| Placed { field, start, end }))
    })
}

/// Octets of a message's fields other than `number`: what a cut of it repeats.
fn octets_beside(message: &[u8], number: u32) -> Result<usize, WireError> {
    let mut octets = 0;
    for placed in placed_fields(message) {
        let placed = placed?;
        if placed.field.number != number {
            octets += placed.end - placed.start;
        }
    }
    Ok(octets)
}

fn find_cut(request: &[u8]) -> Result<Option<Cut>, WireError> {
    let mut candidates = Candidates::default();
    let mut counts = SpanCounts::default();
    let mut spans = 0_usize;
    let mut last_trace: &[u8] = &[];
    for resource in placed_fields(request) {
        let resource = resource?;
        if resource.field.number != fields::export_request::RESOURCE_SPANS {
            continue;
        }
        let resource_spans = resource.field.octets()?;
        let resource_repeated = octets_beside(resource_spans, fields::resource_spans::SCOPE_SPANS)?;
        let resource_body = resource.end - resource_spans.len();
        let mut first_of_resource = true;
        for scope in placed_fields(resource_spans) {
            let scope = scope?;
            if scope.field.number != fields::resource_spans::SCOPE_SPANS {
                continue;
            }
            let scope_spans = scope.field.octets()?;
            let scope_repeated = octets_beside(scope_spans, fields::scope_spans::SPANS)?;
            let scope_body = resource_body + scope.end - scope_spans.len();
            let mut first_of_scope = true;
            for span in placed_fields(scope_spans) {
                let span = span?;
                if span.field.number != fields::scope_spans::SPANS {
                    continue;
                }
                let SpanFacts { trace_id, is_flow } = SpanFacts::of(span.field.octets()?)?;
                if spans > 0 {
                    let (at, repeated) = match (first_of_resource, first_of_scope) {
                        (true, _) => (resource.start, 0),
                        (false, true) => (resource_body + scope.start, resource_repeated),
                        (false, false) => {
                            (scope_body + span.start, resource_repeated + scope_repeated)
                        }
                    };
                    let right = request.len() - at + repeated;
                    let candidate = Candidate {
                        at,
                        left: counts,
                        imbalance: at.abs_diff(right),
                    };
                    if first_of_resource {
                        keep_better(&mut candidates.resources, candidate);
                    }
                    if first_of_resource || trace_id != last_trace {
                        keep_better(&mut candidates.traces, candidate);
                    }
                    keep_better(&mut candidates.spans, candidate);
                }
                if is_flow {
                    counts.flow = counts.flow.saturating_add(1);
                } else {
                    counts.work = counts.work.saturating_add(1);
                }
                last_trace = trace_id;
                spans += 1;
                (first_of_resource, first_of_scope) = (false, false);
            }
        }
    }
    Ok(candidates.best(request.len()).map(|candidate| Cut {
        at: candidate.at,
        left: candidate.left,
        right: SpanCounts {
            flow: counts.flow - candidate.left.flow,
            work: counts.work - candidate.left.work,
        },
    }))
}

/// What a cut needs to know of a span.
pub(crate) struct SpanFacts<'a> {
    trace_id: &'a [u8],
    pub(crate) is_flow: bool,
}

impl<'a> SpanFacts<'a> {
    pub(crate) fn of(span: &'a [u8]) -> Result<Self, WireError> {
        let mut facts = Self {
            trace_id: &[],
            is_flow: is_flow_name(b""),
        };
        for field in Reader::new(span) {
            let field = field?;
            match field.number {
                fields::span::TRACE_ID => facts.trace_id = field.octets()?,
                fields::span::NAME => facts.is_flow = is_flow_name(field.octets()?),
                _ => {}
            }
        }
        Ok(facts)
    }
}

/// The messages from the request down to the spans: the field that holds the next.
const LEVELS: [u32; 3] = [
    fields::export_request::RESOURCE_SPANS,
    fields::resource_spans::SCOPE_SPANS,
    fields::scope_spans::SPANS,
];

/// Both halves of a message: what `levels` names goes left or right of octet `cut`, all else into
/// both. The one field that has the cut inside is cut likewise, by the next level.
fn cut_message(
    message: &[u8],
    cut: usize,
    levels: &[u32],
) -> Result<(Vec<u8>, Vec<u8>), WireError> {
    let mut left = Vec::with_capacity(cut);
    let mut right = Vec::with_capacity(message.len().saturating_sub(cut));
    let (number, deeper) = levels
        .split_first()
        .map_or((0, levels), |(&n, deeper)| (n, deeper));
    for placed in placed_fields(message) {
        let Placed { field, start, end } = placed?;
        let raw = message.get(start..end).ok_or(WireError::Truncated)?;
        if field.number != number {
            left.extend_from_slice(raw);
            right.extend_from_slice(raw);
        } else if end <= cut {
            left.extend_from_slice(raw);
        } else if start >= cut {
            right.extend_from_slice(raw);
        } else {
            let inner = field.octets()?;
            let inner_start = end - inner.len();
            let (inner_left, inner_right) =
                cut_message(inner, cut.saturating_sub(inner_start), deeper)?;
            push_delimited(&mut left, number, &inner_left);
            push_delimited(&mut right, number, &inner_right);
        }
    }
    Ok((left, right))
}
