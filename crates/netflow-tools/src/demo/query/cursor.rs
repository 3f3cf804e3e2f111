//! A place in a query, and the small readers of words, quotes and durations that all of them need.

use super::{MAX_QUERY_OCTETS, QueryError};

/// What was met, and where: from 1, in characters.
pub(super) type Met = (String, usize);

/// A place in a query.
pub(super) struct Cursor {
    characters: Vec<char>,
    at: usize,
}

impl Cursor {
    pub(super) fn new(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_OCTETS {
            return Err(QueryError::TooLong { octets: text.len() });
        }
        Ok(Self {
            characters: text.chars().collect(),
            at: 0,
        })
    }

    /// The place, from 0.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Goes back to a place that was left.
    pub(super) fn return_to(&mut self, place: usize) {
        self.at = place;
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    /// Takes this text if it comes next.
    pub(super) fn take(&mut self, wanted: &str) -> bool {
        let length = wanted.chars().count();
        let found = self.characters.get(self.at..self.at + length);
        let found = found.is_some_and(|found| found.iter().copied().eq(wanted.chars()));
        self.at += if found { length } else { 0 };
        found
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(next) = self.peek().filter(|next| wanted(*next)) {
            taken.push(next);
            self.at += 1;
        }
        taken
    }

    pub(super) fn skip_spaces(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Characters of a TraceQL name or number.
    pub(super) fn word(&mut self) -> String {
        self.take_while(|c| !c.is_whitespace() && !"{}()=~!<>&|^,\"'`".contains(c))
    }

    /// A text in quotes; a backslash takes the next character as it is, except between backquotes.
    pub(super) fn quoted(&mut self, quote: char) -> Result<String, Met> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(next) = self.next() {
            match next {
                _ if next == quote => return Ok(text),
                '\\' if quote != '`' => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other) => text.push(other),
                    None => break,
                },
                _ => text.push(next),
            }
        }
        Err((
            format!("a closing {quote} is missing for the one"),
            start + 1,
        ))
    }

    /// What was expected and what is here.
    pub(super) fn met(&self, expected: &str) -> Met {
        let found = match self.peek() {
            Some(found) => format!("{expected}, not {found:?},"),
            None => format!("{expected}, not the end,"),
        };
        (found, self.at + 1)
    }
}

/// Reads a duration as Go writes it: `100ms`, `1.5s`, `2m30s`. In nanoseconds.
///
/// # Errors
/// [`QueryError::Duration`], with the parameter's name.
pub fn duration_nanos(parameter: &'static str, value: &str) -> Result<u64, QueryError> {
    go_duration(value).ok_or_else(|| QueryError::Duration {
        parameter,
        value: value.to_owned(),
    })
}

pub(super) fn go_duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut nanos = 0.0;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanos += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    // Digits make no negative number, and the cast saturates.
    Some(nanos as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("100ms", Some(100_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("2m30s", Some(150_000_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("5us", Some(5_000)),
            ("7ns", Some(7)),
            ("", None),
            ("10", None),
            ("ms", None),
            ("1d", None),
            ("-1s", None),
            ("1..5s", None),
        ] {
            assert_eq!(go_duration(text), nanos, "{text}");
        }
    }
}
