//! What a search asks for: tags or TraceQL; and which spans of a trace answer it.
//!
//! Of TraceQL these are selectors with all comparisons, joined by && and || in braces and between
//! them, and after a `|` further selectors, thresholds of count, min, max, avg and sum, and select.
//! Whatever else is asked is refused with a sentence that says where, and what is understood.

mod cursor;
mod expression;
mod field;
mod pipeline;
mod tags;
#[cfg(test)]
mod tests;
mod trace_ql;

use otlp_wire::messages::Span;

use self::pipeline::Pipeline;
use self::tags::Tag;
use super::store::{Origin, StoredTrace};

pub use cursor::duration_nanos;
pub use field::{Context, Field, INTRINSICS, Value};

/// The longest query that is read, in octets.
const MAX_QUERY_OCTETS: usize = 8 << 10;
/// Parentheses within parentheses.
const MAX_DEPTH: usize = 32;
/// Memory that a regular expression may take once it is compiled.
const MAX_PATTERN_OCTETS: usize = 1 << 20;

/// Why a query can't be answered, in a sentence for its author.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// TraceQL.
    #[error(
        "invalid TraceQL query: {what} at character {at}. This backend understands selectors like \
         {{ span.destination.port = 443 && resource.netflow.exporter.address =~ \"10[.].*\" }} with \
         =, !=, >, >=, <, <=, =~, !~, &&, ||, ! and parentheses, joined by && or ||; fields \
         span.KEY, resource.KEY, .KEY, name, duration, kind, status, statusMessage, rootName, \
         rootServiceName, traceDuration, trace:id, span:id, span:parentID, and those of event, link \
         and instrumentation; and | count() > 2, | avg(duration) > \
         1s (or min, max, sum), | select(FIELD, …). Tempo understands all of TraceQL"
    )]
    TraceQl {
        /// What was met.
        what: String,
        /// Where, from 1, in characters.
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
        /// Where, from 1, in characters.
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

/// What is looked for in each trace.
#[derive(Clone, Debug)]
pub struct Query(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// All on one span, or its resource.
    Tags(Vec<Tag>),
    TraceQl(Pipeline),
}

/// The spans of a trace that answer a query.
#[derive(Clone, Debug)]
pub struct SpanSet<'a> {
    /// In the order of the trace, at least one.
    pub spans: Vec<(&'a Origin, &'a Span)>,
    /// Numbers of the whole set that the query asked for, as `count()`.
    pub attributes: Vec<(String, Value<'static>)>,
}

impl Query {
    /// Reads Tempo's `tags` parameter: `key=value` pairs in logfmt. A text matches when it contains
    /// the value, whatever the case; a number or truth value when it is the same text. All tags are
    /// looked for on one span (or its resource).
    ///
    /// # Errors
    /// [`QueryError::Tags`], [`QueryError::TooLong`].
    pub fn from_tags(text: &str) -> Result<Self, QueryError> {
        tags::tags(text).map(|tags| Self(Kind::Tags(tags)))
    }

    /// Reads Tempo's `q` parameter as far as it is understood.
    ///
    /// # Errors
    /// [`QueryError::TraceQl`], [`QueryError::TooLong`].
    pub fn from_trace_ql(text: &str) -> Result<Self, QueryError> {
        trace_ql::pipeline(text).map(|pipeline| Self(Kind::TraceQl(pipeline)))
    }

    /// Reads a selector that may still be in the making, as editors send it: of
    /// `{ span.a = 1 && span.b = }` the first condition. What can't be used asks for nothing.
    #[must_use]
    pub fn from_unfinished_trace_ql(text: &str) -> Self {
        let whole = trace_ql::pipeline(text).ok();
        let whole = whole.filter(|pipeline| pipeline.only_condition().is_some());
        let usable = whole.or_else(|| {
            let inner = text.trim().strip_prefix('{')?;
            let inner = inner.strip_suffix('}').unwrap_or(inner);
            // Dropping a part of a choice would narrow it.
            let parts = (!inner.contains("||")).then(|| inner.split("&&"))?;
            let parts = parts.filter(|part| {
                let condition = trace_ql::pipeline(&format!("{{{part}}}"));
                !part.trim().is_empty() && condition.is_ok_and(|it| it.only_condition().is_some())
            });
            let parts: Vec<&str> = parts.collect();
            trace_ql::pipeline(&format!("{{{}}}", parts.join("&&"))).ok()
        });
        Self(usable.map_or(Kind::Tags(Vec::new()), Kind::TraceQl))
    }

    /// The spans of this trace that answer, unless there are none.
    #[must_use]
    pub fn find<'a>(&self, trace: &'a StoredTrace) -> Option<SpanSet<'a>> {
        match &self.0 {
            Kind::Tags(tags) => {
                let matching = trace.spans().filter(|&(origin, span)| {
                    let at = Context {
                        trace,
                        origin,
                        span,
                    };
                    tags.iter().all(|tag| tag.matches(at))
                });
                let spans: Vec<_> = matching.collect();
                let attributes = Vec::new();
                (!spans.is_empty()).then_some(SpanSet { spans, attributes })
            }
            Kind::TraceQl(pipeline) => pipeline.find(trace).map(|found| SpanSet {
                spans: found.spans,
                attributes: found.aggregates,
            }),
        }
    }

    /// The fields that are asked for, each with its value at this span: what Tempo shows of a
    /// matched span.
    #[must_use]
    pub fn shown<'a>(&self, at: Context<'a>) -> Vec<(String, Value<'a>)> {
        let fields: Vec<&Field> = match &self.0 {
            Kind::Tags(tags) => tags.iter().map(|tag| &tag.field).collect(),
            Kind::TraceQl(pipeline) => pipeline.fields(),
        };
        let mut shown: Vec<(String, Value<'a>)> = Vec::new();
        for field in fields {
            let Some(name) = field.shown_as() else {
                continue;
            };
            if !shown.iter().any(|(known, _)| known == name) {
                shown.extend(field.first(at).map(|value| (name.to_owned(), value)));
            }
        }
        shown
    }
}

impl Field {
    /// Reads an attribute or intrinsic name as TraceQL writes it: `span.destination.port`, `.key`,
    /// `name`.
    #[must_use]
    pub fn from_trace_ql(name: &str) -> Option<Self> {
        trace_ql::field_name(name)
    }
}
