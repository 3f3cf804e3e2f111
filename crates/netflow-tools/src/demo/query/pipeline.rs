//! Sets of spans of a trace, and what is done with them after a `|`.

use std::borrow::Cow;

use otlp_wire::messages::Span;

use super::expression::{Comparison, Expression, Junction};
use super::field::{Context, Field, Value};
use crate::demo::store::{Origin, StoredTrace};

/// A whole query.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) spansets: Spansets,
    pub(super) stages: Vec<Stage>,
}

/// Which spans of a trace.
#[derive(Clone, Debug)]
pub(super) enum Spansets {
    /// Those of which it is true.
    Of(Expression),
    /// From left to right: && is all of both if neither is empty, || is all of both.
    Chain(Box<Self>, Vec<(Junction, Self)>),
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Keeps these.
    Filter(Spansets),
    /// Keeps all or none.
    Threshold(Aggregate, Comparison, Value<'static>),
    /// Shows more of them.
    Select(Vec<Field>),
}

/// A number from a set of spans.
#[derive(Clone, Debug)]
pub(super) enum Aggregate {
    Count,
    Min(Field),
    Max(Field),
    Avg(Field),
    Sum(Field),
}

/// The spans that are asked for.
pub(super) struct Found<'a> {
    pub(super) spans: Vec<(&'a Origin, &'a Span)>,
    /// What the thresholds compared.
    pub(super) aggregates: Vec<(String, Value<'static>)>,
}

impl Pipeline {
    /// The spans of this trace that are asked for, unless there are none.
    pub(super) fn find<'a>(&self, trace: &'a StoredTrace) -> Option<Found<'a>> {
        let all: Vec<_> = trace.spans().collect();
        let mut found = Found {
            spans: self.spansets.select(trace, &all)?,
            aggregates: Vec::new(),
        };
        for stage in &self.stages {
            match stage {
                Stage::Filter(spansets) => found.spans = spansets.select(trace, &found.spans)?,
                Stage::Threshold(aggregate, comparison, threshold) => {
                    let value = aggregate.of(trace, &found.spans)?;
                    if !comparison.accepts(value.compare(threshold)?) {
                        return None;
                    }
                    found.aggregates.push((aggregate.to_trace_ql(), value));
                }
                Stage::Select(_) => {}
            }
        }
        Some(found)
    }

    /// Every field that it speaks of, those of `select` included.
    pub(super) fn fields(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        self.spansets.fields(&mut fields);
        for stage in &self.stages {
            match stage {
                Stage::Filter(spansets) => spansets.fields(&mut fields),
                Stage::Select(selected) => fields.extend(selected),
                Stage::Threshold(..) => {}
            }
        }
        fields
    }

    /// The condition, when it is one selector and nothing else.
    pub(super) fn only_condition(&self) -> Option<&Expression> {
        match &self.spansets {
            Spansets::Of(condition) if self.stages.is_empty() => Some(condition),
            _ => None,
        }
    }
}

type Spans<'a> = [(&'a Origin, &'a Span)];

impl Spansets {
    /// Those of `among`, in their order; nothing if there are none.
    fn select<'a>(
        &self,
        trace: &'a StoredTrace,
        among: &Spans<'a>,
    ) -> Option<Vec<(&'a Origin, &'a Span)>> {
        let selected = self.marks(trace, among)?;
        let marked = among.iter().zip(selected);
        Some(
            marked
                .filter_map(|(span, is)| is.then_some(*span))
                .collect(),
        )
    }

    /// For each span whether it belongs; nothing if none does.
    fn marks<'a>(&self, trace: &'a StoredTrace, among: &Spans<'a>) -> Option<Vec<bool>> {
        let (first, rest) = match self {
            Self::Of(condition) => {
                let marks: Vec<bool> = among
                    .iter()
                    .map(|&(origin, span)| {
                        condition.holds(Context {
                            trace,
                            origin,
                            span,
                        })
                    })
                    .collect();
                return marks.contains(&true).then_some(marks);
            }
            Self::Chain(first, rest) => (first, rest),
        };
        let mut marks = first.marks(trace, among);
        for (junction, next) in rest {
            if *junction == Junction::And && marks.is_none() {
                continue;
            }
            marks = match (marks, next.marks(trace, among), junction) {
                (Some(one), Some(other), _) => {
                    let both = one.iter().zip(other);
                    Some(both.map(|(one, other)| *one || other).collect())
                }
                (one, other, Junction::Or) => one.or(other),
                (_, _, Junction::And) => None,
            };
        }
        marks
    }

    fn fields<'a>(&'a self, found: &mut Vec<&'a Field>) {
        match self {
            Self::Of(condition) => condition.fields(found),
            Self::Chain(first, rest) => {
                first.fields(found);
                for (_, next) in rest {
                    next.fields(found);
                }
            }
        }
    }
}

impl Aggregate {
    /// Its value; nothing if no span has the field as a number.
    fn of<'a>(&self, trace: &'a StoredTrace, spans: &Spans<'a>) -> Option<Value<'static>> {
        let field = match self {
            Self::Count => return i64::try_from(spans.len()).ok().map(Value::Int),
            Self::Min(field) | Self::Max(field) | Self::Avg(field) | Self::Sum(field) => field,
        };
        let mut values: Vec<(f64, Value<'static>)> = spans
            .iter()
            .filter_map(|&(origin, span)| {
                let value = field.first(Context {
                    trace,
                    origin,
                    span,
                })?;
                Some((value.number()?, value.into_owned()))
            })
            .collect();
        values.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let sum: f64 = values.iter().map(|(number, _)| number).sum();
        let number = |number: f64| match values.first() {
            Some((_, Value::Duration(_))) => Some(Value::Duration(number as i64)),
            Some(_) => Some(Value::Float(number)),
            None => None,
        };
        match self {
            Self::Avg(_) => number(sum / values.len() as f64),
            Self::Sum(_) => number(sum),
            Self::Max(_) => values.pop().map(|(_, value)| value),
            _ => (!values.is_empty()).then(|| values.swap_remove(0).1),
        }
    }

    fn to_trace_ql(&self) -> String {
        let of: (&str, Cow<'_, str>) = match self {
            Self::Count => ("count", "".into()),
            Self::Min(field) => ("min", field.to_trace_ql().into()),
            Self::Max(field) => ("max", field.to_trace_ql().into()),
            Self::Avg(field) => ("avg", field.to_trace_ql().into()),
            Self::Sum(field) => ("sum", field.to_trace_ql().into()),
        };
        format!("{}({})", of.0, of.1)
    }
}
