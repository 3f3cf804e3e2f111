//! The syntax tree of a filter.

use std::ops::RangeInclusive;

use super::view::{Address, Name, Number, Place};

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
    /// Some term asks for the name of a network.
    pub(super) fn names_networks(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Term(term) => matches!(term, Term::Network(..)),
            Self::Not(inner) => inner.names_networks(),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::names_networks),
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
