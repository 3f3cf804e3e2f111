//! Readers of what a search asks: text in, conditions out. Whatever the text, they end, and take
//! memory in proportion to it.

use super::{Condition, Field, KINDS, MAX_QUERY_OCTETS, QueryError, STATUSES, Test, Value};

pub(super) fn tags(tags: &str) -> Result<Vec<Condition>, QueryError> {
    let mut cursor = Cursor::new(tags)?;
    let mut conditions = Vec::new();
    loop {
        cursor.skip_spaces();
        if cursor.peek().is_none() {
            return Ok(conditions);
        }
        let key = cursor.take_while(|c| !c.is_whitespace() && c != '=' && c != '"');
        let tags_error = |(what, at)| QueryError::Tags { what, at };
        if key.is_empty() {
            return Err(tags_error(cursor.met("a key was expected")));
        }
        if !cursor.take('=') {
            return Err(tags_error(cursor.met("an = was expected")));
        }
        let value = match cursor.peek() {
            Some(quote @ '"') => cursor.quoted(quote).map_err(tags_error)?,
            _ => cursor.take_while(|c| !c.is_whitespace()),
        };
        let field = match key.as_str() {
            "name" => Field::Name,
            "status.code" => Field::Status,
            "root.name" => Field::RootName,
            "root.service.name" => Field::RootServiceName,
            _ => Field::Either(key),
        };
        conditions.push(Condition {
            field,
            test: Test::Like(value.to_lowercase()),
        });
    }
}

pub(super) fn selector(query: &str) -> Result<Vec<Condition>, QueryError> {
    let mut cursor = Cursor::new(query)?;
    conditions(&mut cursor).map_err(|(what, at)| QueryError::Selector { what, at })
}

pub(super) fn field_name(name: &str) -> Option<Field> {
    let mut cursor = Cursor::new(name).ok()?;
    let field = field(&mut cursor).ok()?;
    cursor.peek().is_none().then_some(field)
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

fn go_duration(text: &str) -> Option<u64> {
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

/// What was met, and where.
type Met = (String, usize);

fn conditions(cursor: &mut Cursor) -> Result<Vec<Condition>, Met> {
    cursor.skip_spaces();
    if !cursor.take('{') {
        return Err(cursor.met("a { was expected"));
    }
    let mut conditions = Vec::new();
    cursor.skip_spaces();
    if !cursor.take('}') {
        loop {
            conditions.push(condition(cursor)?);
            cursor.skip_spaces();
            if cursor.take('}') {
                break;
            }
            if !(cursor.take('&') && cursor.take('&')) {
                return Err(cursor.met("&& or } was expected"));
            }
        }
    }
    cursor.skip_spaces();
    if cursor.peek().is_some() {
        return Err(cursor.met("the end was expected"));
    }
    Ok(conditions)
}

fn condition(cursor: &mut Cursor) -> Result<Condition, Met> {
    cursor.skip_spaces();
    let field = field(cursor)?;
    cursor.skip_spaces();
    if !cursor.take('=') || cursor.peek() == Some('~') {
        return Err(cursor.met("an = was expected"));
    }
    cursor.skip_spaces();
    let value = value(cursor)?;
    match (&field, &value) {
        (Field::Kind, Value::Keyword(word)) if KINDS.iter().any(|(_, known)| known == word) => {}
        (Field::Status, Value::Keyword(word))
            if STATUSES.iter().any(|(_, known)| known == word) => {}
        (Field::Kind, _) => {
            return Err(cursor.met("internal, server, client, producer or consumer was expected"));
        }
        (Field::Status, _) => return Err(cursor.met("ok, error or unset was expected")),
        (_, Value::Keyword(_)) => return Err(cursor.met("quotes around a text were expected")),
        _ => {}
    }
    Ok(Condition {
        field,
        test: Test::Equal(value),
    })
}

fn field(cursor: &mut Cursor) -> Result<Field, Met> {
    const INTRINSICS: [(&str, Field); 14] = [
        ("name", Field::Name),
        ("span:name", Field::Name),
        ("kind", Field::Kind),
        ("span:kind", Field::Kind),
        ("status", Field::Status),
        ("span:status", Field::Status),
        ("statusMessage", Field::StatusMessage),
        ("span:statusMessage", Field::StatusMessage),
        ("rootName", Field::RootName),
        ("trace:rootName", Field::RootName),
        ("rootServiceName", Field::RootServiceName),
        ("trace:rootService", Field::RootServiceName),
        ("trace:id", Field::TraceId),
        ("span:id", Field::SpanId),
    ];
    let expected = "a field like span.destination.port was expected";
    let name = cursor.key();
    if let Some((_, field)) = INTRINSICS.iter().find(|(known, _)| *known == name) {
        return Ok(field.clone());
    }
    let (scope, key) = name.split_once('.').ok_or_else(|| cursor.met(expected))?;
    // A key with odd characters stands in quotes: span."a key".
    let key = match cursor.peek() {
        Some(quote @ '"') if key.is_empty() => cursor.quoted(quote)?,
        _ => key.to_owned(),
    };
    match scope {
        _ if key.is_empty() => Err(cursor.met(expected)),
        "" => Ok(Field::Either(key)),
        "span" => Ok(Field::Span(key)),
        "resource" => Ok(Field::Resource(key)),
        _ => Err(cursor.met("one of the scopes span. and resource. was expected")),
    }
}

fn value(cursor: &mut Cursor) -> Result<Value, Met> {
    if let Some(quote @ ('"' | '`' | '\'')) = cursor.peek() {
        return Ok(Value::Text(cursor.quoted(quote)?));
    }
    let word = cursor.key();
    match word.as_str() {
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let keywords = KINDS
        .iter()
        .map(|(_, word)| *word)
        .chain(STATUSES.iter().map(|(_, word)| *word));
    if let Some(keyword) = keywords.into_iter().find(|keyword| *keyword == word) {
        return Ok(Value::Keyword(keyword));
    }
    if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        if let Ok(int) = word.parse() {
            return Ok(Value::Int(int));
        }
        if let Ok(float) = word.parse() {
            return Ok(Value::Float(float));
        }
    }
    Err(cursor.met("a number, true, false or a text in quotes was expected"))
}

/// A place in a query.
struct Cursor {
    characters: Vec<char>,
    at: usize,
}

impl Cursor {
    fn new(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_OCTETS {
            return Err(QueryError::TooLong { octets: text.len() });
        }
        Ok(Self {
            characters: text.chars().collect(),
            at: 0,
        })
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(next) = self.peek().filter(|next| wanted(*next)) {
            taken.push(next);
            self.at += 1;
        }
        taken
    }

    fn skip_spaces(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Characters of a TraceQL name or number.
    fn key(&mut self) -> String {
        self.take_while(|c| !c.is_whitespace() && !"{}()=~!<>&|^,\"'`".contains(c))
    }

    /// A text in quotes; a backslash takes the next character as it is, except between backquotes.
    fn quoted(&mut self, quote: char) -> Result<String, Met> {
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

    fn met(&self, expected: &str) -> Met {
        let found = match self.peek() {
            Some(found) => format!("{expected}, not {found:?},"),
            None => format!("{expected}, not the end,"),
        };
        (found, self.at + 1)
    }
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
