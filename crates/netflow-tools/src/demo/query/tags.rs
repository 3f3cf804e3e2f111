//! Tempo's `tags` parameter: `key=value` pairs in logfmt.

use super::QueryError;
use super::cursor::Cursor;
use super::field::{Context, Field, Value};

/// A pair: a text matches when it contains the value, whatever the case; another value when it is
/// the same text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Tag {
    pub(super) field: Field,
    /// In lower case.
    like: String,
}

impl Tag {
    pub(super) fn matches(&self, at: Context<'_>) -> bool {
        let mut found = false;
        self.field.each(at, &mut |value| {
            found = found
                || match value {
                    Value::Text(text) => text.to_lowercase().contains(&self.like),
                    other => other.to_text().eq_ignore_ascii_case(&self.like),
                };
        });
        found
    }
}

pub(super) fn tags(tags: &str) -> Result<Vec<Tag>, QueryError> {
    let mut cursor = Cursor::new(tags)?;
    let tags_error = |(what, at)| QueryError::Tags { what, at };
    let mut found = Vec::new();
    loop {
        cursor.skip_spaces();
        if cursor.peek().is_none() {
            return Ok(found);
        }
        let key = cursor.take_while(|c| !c.is_whitespace() && c != '=' && c != '"');
        if key.is_empty() {
            return Err(tags_error(cursor.met("a key was expected")));
        }
        if !cursor.take("=") {
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
        found.push(Tag {
            field,
            like: value.to_lowercase(),
        });
    }
}
