//! What is wrong with a filter, and where.

use std::fmt;

use super::lexer::{Kind, Token};

/// Why a text is no filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilterError {
    column: usize,
    length: usize,
    message: String,
}

impl FilterError {
    pub(super) fn new(column: usize, length: usize, message: impl Into<String>) -> Self {
        Self {
            column,
            length,
            message: message.into(),
        }
    }

    /// At a token.
    pub(super) fn at(token: &Token<'_>, message: impl Into<String>) -> Self {
        Self::new(token.column, token.text.chars().count(), message)
    }

    /// Something else than what was expected.
    pub(super) fn expected(what: impl fmt::Display, found: &Token<'_>) -> Self {
        let message = match found.kind {
            Kind::End => format!("expected {what}, found the end of the filter"),
            _ => format!("expected {what}, found {:?}", found.text),
        };
        Self::at(found, message)
    }

    pub(super) fn too_long() -> Self {
        Self::new(
            1,
            0,
            "the filter is too long (at most 64 KiB and 60,000 comparisons)",
        )
    }

    /// Where the trouble begins, in characters from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// The line of the filter that the column is in, and under it a mark: for a terminal.
    #[must_use]
    pub fn mark(&self, filter: &str) -> String {
        let mut before = self.column.saturating_sub(1);
        for line in filter.split('\n') {
            let length = line.chars().count();
            if before <= length {
                let blanks: String = line
                    .chars()
                    .take(before)
                    .map(|character| if character == '\t' { '\t' } else { ' ' })
                    .collect();
                let marks = "^".repeat(self.length.clamp(1, (length - before).max(1)));
                return format!("  {}\n  {blanks}{marks}", line.trim_end());
            }
            before -= length + 1;
        }
        String::new()
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for FilterError {}
