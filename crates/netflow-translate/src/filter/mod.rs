//! The filter language: which flows to keep, in the manner of nfdump's filters.
//!
//! Text becomes tokens (`lexer`), a syntax tree (`parser`, `terms`, `values`; `words` is the vocabulary), and once a flat
//! program (`program`) of comparisons with two jumps each, which a [`FlowView`] runs without an allocation. docs/filter.md
//! describes the language; its examples are tested.

mod error;
mod lexer;
mod parser;
mod program;
mod syntax;
mod terms;
mod values;
mod view;
mod words;

use std::fmt;
use std::str::FromStr;

use program::Program;

pub use error::FilterError;
pub use view::{Address, Asked, FlowView, Name, Number, Place};

/// Octets of the longest filter.
pub const MAX_FILTER_OCTETS: usize = 64 * 1024;

/// A filter, compiled.
#[derive(Clone)]
pub struct Filter {
    text: Box<str>,
    program: Program,
    asked: Asked,
}

impl Filter {
    /// Whether the flow is one of those that the filter describes. A comparison with something that the flow doesn't have
    /// is false.
    #[inline]
    #[must_use]
    pub fn matches(&self, flow: &FlowView<'_>) -> bool {
        self.program.matches(flow)
    }

    /// The filter as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it asks of a flow.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// It asks for names of networks, which only a flow enriched from a list of networks has.
    #[must_use]
    pub fn names_networks(&self) -> bool {
        self.asked.asks_names()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    /// Compiles a filter.
    ///
    /// # Errors
    /// With the column of the first thing that can't be understood, and what was expected there.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_FILTER_OCTETS {
            return Err(FilterError::too_long());
        }
        let tokens = lexer::tokens(text)?;
        let tree = parser::parse(&tokens)?;
        Ok(Self {
            text: text.into(),
            program: Program::compile(&tree).ok_or_else(FilterError::too_long)?,
            asked: tree.asked(),
        })
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Filter {
    /// By their text, which decides everything else.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

#[cfg(test)]
mod tests;
