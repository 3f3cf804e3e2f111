//! Lines of comma-separated values (RFC 4180), with comments.

/// The fields of a line; `None` for one that is empty or begins with `#`.
///
/// # Errors
/// When a quoted field doesn't end, or text follows it; when fields are separated by something else.
pub(super) fn fields(line: &str) -> Result<Option<Vec<String>>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field;
        (field, rest) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, rest) = rest.split_at(end);
                (field.trim().to_owned(), rest)
            }
        };
        fields.push(field);
        match rest.trim_start().strip_prefix(',') {
            Some(after) => rest = after,
            // Spreadsheets write these, depending on the language.
            None if fields.len() == 1 && line.contains([';', '\t']) => {
                return Err("fields are separated by commas, not by semicolons or tabs");
            }
            None => return Ok(Some(fields)),
        }
    }
}

/// The field behind an opening quote, and what follows its closing one.
fn quoted_field(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"').ok_or("a quoted field doesn't end")?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None if after.trim_start().is_empty() || after.trim_start().starts_with(',') => {
                return Ok((field, after));
            }
            None => return Err("text follows a quoted field"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        for (line, expected) in [
            ("a,b", &["a", "b"][..]),
            (" a , b ", &["a", "b"]),
            ("a,", &["a", ""]),
            ("\"a,b\" , \"c \"\"d\"\"\"", &["a,b", "c \"d\""]),
        ] {
            assert_eq!(fields(line).unwrap().unwrap(), expected, "{line}");
        }
        assert_eq!(fields("  # a comment"), Ok(None));
        assert_eq!(fields(""), Ok(None));
        assert!(fields("\"a").is_err());
        assert!(fields("\"a\"b,c").is_err());
        for line in ["10.0.0.0/8;office", "10.0.0.0/8\toffice"] {
            assert!(fields(line).is_err_and(|problem| problem.contains("by commas")));
        }
        assert_eq!(
            fields("a;b,c"),
            Ok(Some(vec!["a;b".to_owned(), "c".to_owned()]))
        );
    }
}
