//! Conditions on one span, as TraceQL has them between `{` and `}`.
//!
//! What is asked of an attribute that isn't there is false, but for `= nil`; of an attribute that is
//! there several times (as an array, or at span and resource) one value has to match.

use std::cmp::Ordering;

use regex_lite::Regex;

use super::field::{Context, Field, Value};

/// Whatever has a value at a span.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    Constant(Value<'static>),
    Field(Field),
    Not(Box<Self>),
    /// Whether the field has a value: `!= nil`, or else `= nil`.
    Exists {
        field: Field,
        wanted: bool,
    },
    Compare(Box<Self>, Comparison, Box<Self>),
    /// Text on the left.
    Match {
        text: Box<Self>,
        pattern: Regex,
        wanted: bool,
    },
    /// From left to right: as in Tempo, && and || bind equally.
    Chain(Box<Self>, Vec<(Junction, Self)>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Junction {
    And,
    Or,
}

impl Comparison {
    pub(super) fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }

    /// Whether it asks for more than sameness.
    pub(super) fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }
}

impl Expression {
    /// Whether it is true of this span.
    pub(super) fn holds(&self, at: Context<'_>) -> bool {
        match self {
            Self::Constant(value) => *value == Value::Bool(true),
            Self::Field(field) => {
                let mut holds = false;
                field.each(at, &mut |value| holds = holds || value == Value::Bool(true));
                holds
            }
            Self::Not(inner) => !inner.holds(at),
            Self::Exists { field, wanted } => field.first(at).is_some() == *wanted,
            Self::Compare(left, comparison, right) => left.any(at, &mut |left| {
                right.any(at, &mut |right| {
                    let ordering = left.compare(right);
                    ordering.is_some_and(|ordering| comparison.accepts(ordering))
                })
            }),
            Self::Match {
                text,
                pattern,
                wanted,
            } => text.any(at, &mut |value| match value {
                Value::Text(text) => pattern.is_match(text) == *wanted,
                _ => false,
            }),
            Self::Chain(first, rest) => {
                rest.iter()
                    .fold(first.holds(at), |so_far, (junction, next)| match junction {
                        Junction::And => so_far && next.holds(at),
                        Junction::Or => so_far || next.holds(at),
                    })
            }
        }
    }

    /// Whether one of its values at this span is accepted.
    fn any(&self, at: Context<'_>, accept: &mut dyn FnMut(&Value<'_>) -> bool) -> bool {
        match self {
            Self::Constant(value) => accept(value),
            Self::Field(field) => {
                let mut accepted = false;
                field.each(at, &mut |value| accepted = accepted || accept(&value));
                accepted
            }
            condition => accept(&Value::Bool(condition.holds(at))),
        }
    }

    /// Every field that it speaks of.
    pub(super) fn fields<'a>(&'a self, found: &mut Vec<&'a Field>) {
        match self {
            Self::Constant(_) => {}
            Self::Field(field) | Self::Exists { field, .. } => found.push(field),
            Self::Not(inner) | Self::Match { text: inner, .. } => inner.fields(found),
            Self::Compare(left, _, right) => {
                left.fields(found);
                right.fields(found);
            }
            Self::Chain(first, rest) => {
                first.fields(found);
                for (_, next) in rest {
                    next.fields(found);
                }
            }
        }
    }
}
