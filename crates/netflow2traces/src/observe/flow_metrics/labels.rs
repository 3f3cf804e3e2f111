//! Labels of a series and what it shows, made when they are written: a scrape keeps none of them.

use std::fmt;
use std::net::IpAddr;

use crate::translate::metrics::{Exemplar, GraphTotals};
use crate::translate::transport;

/// Labels of a series at most.
const MAX: usize = 5;

/// The value of a label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Label<'a> {
    Text(&'a str),
    Number(u32),
    Address(IpAddr),
    /// A protocol's keyword, by IANA's number.
    Transport(u8),
    /// A country's two letters.
    Country([u8; 2]),
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Transport(number) => f.write_str(&transport(*number)),
            Self::Country([first, second]) => {
                write!(f, "{}{}", char::from(*first), char::from(*second))
            }
        }
    }
}

/// Labels with their names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Labels<'a>([Option<(&'static str, Label<'a>)>; MAX]);

impl<'a> Labels<'a> {
    /// Of these at most five.
    pub(super) fn new<const N: usize>(labels: [(&'static str, Label<'a>); N]) -> Self {
        const { assert!(N <= MAX) };
        Self::some(labels.map(Some))
    }

    /// Of those that are there.
    pub(super) fn some<const N: usize>(labels: [Option<(&'static str, Label<'a>)>; N]) -> Self {
        const { assert!(N <= MAX) };
        Self(std::array::from_fn(|n| labels.get(n).copied().flatten()))
    }

    /// In the order in which they are written.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, Label<'a>)> {
        self.0.iter().flatten().copied()
    }
}

/// A series and its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    pub(super) labels: Labels<'a>,
    pub(super) number: Number<'a>,
    /// The largest kept record behind it.
    pub(super) exemplar: Option<Exemplar>,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number<'a> {
    Count(u64),
    Level(f64),
    /// Seconds, by the bounds of the service graph.
    Seconds(&'a GraphTotals),
}
