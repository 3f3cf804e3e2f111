//! The syntax tree of a filter.

use std::ops::RangeInclusive;

use super::view::{Address, Asked, Name, Number, Place};

/// A filter, or a part of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Expr {
    /// Every flow.
    Any,
    Term(Term),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
}

/// Where a term looks, at one end of a flow or at both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ends<T> {
    One(T),
    /// `src or dst`, and what is meant without either.
    Either(T, T),
    /// `src and dst`.
    Both(T, T),
}

impl<T: Copy> Ends<T> {
    /// Takes in every end.
    fn fold<A>(&self, first: A, add: impl Fn(A, T) -> A) -> A {
        match *self {
            Self::One(one) => add(first, one),
            Self::Either(one, other) | Self::Both(one, other) => add(add(first, one), other),
        }
    }
}

/// Inclusive bounds of addresses of one family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AddressRange {
    pub(super) from: Address,
    /// Of the same family, and not below `from`.
    pub(super) to: u128,
}

/// A comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Term {
    /// The number lies in one of the ranges.
    Number(Ends<Number>, Vec<RangeInclusive<u64>>),
    /// All these bits are set.
    Bits(Number, u64),
    /// The address lies in one of the ranges.
    Address(Ends<Place>, Vec<AddressRange>),
    /// The network has one of the names.
    Network(Ends<Name>, Vec<Box<str>>),
}

impl Expr {
    /// What its terms ask of a flow.
    pub(super) fn asked(&self) -> Asked {
        let nothing = Asked::default();
        match self {
            Self::Any => nothing,
            Self::Term(Term::Network(..)) => nothing.and_names(),
            Self::Term(Term::Number(of, _)) => of.fold(nothing, Asked::and_number),
            Self::Term(Term::Bits(number, _)) => nothing.and_number(*number),
            Self::Term(Term::Address(of, _)) => of.fold(nothing, Asked::and_address),
            Self::Not(inner) => inner.asked(),
            Self::And(parts) | Self::Or(parts) => parts
                .iter()
                .fold(nothing, |asked, part| asked.or(part.asked())),
        }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Chains stay flat: only brackets make a tree deep.
    pub(super) fn and(self, other: Self) -> Self {
        match self {
            Self::And(mut parts) => {
                parts.push(other);
                Self::And(parts)
            }
            first => Self::And(vec![first, other]),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match self {
            Self::Or(mut parts) => {
                parts.push(other);
                Self::Or(parts)
            }
            first => Self::Or(vec![first, other]),
        }
    }
}
