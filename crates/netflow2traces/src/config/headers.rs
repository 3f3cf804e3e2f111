//! Headers that the user gives: in a variable, as the OTLP exporter specification has them, or in a file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};

use super::Headers;
use super::values::{self, Rejection};

/// `name=value,…`, values percent-decoded. Messages show names at most.
pub(super) fn headers(text: &str) -> Result<Headers, Rejection> {
    let mut headers = Headers::new();
    for (index, item) in values::items(text).enumerate() {
        let nth = index + 1;
        let Some((name, value)) = item.split_once('=') else {
            let problem = match item.contains(':') {
                true => "has \":\" in place of \"=\"",
                false => "lacks \"=\"",
            };
            return Err(Rejection(format!("pair {nth} {problem}")));
        };
        let name = name.trim();
        if name.contains(':') {
            return Err(Rejection(format!(
                "pair {nth} has \":\" between name and value"
            )));
        }
        if name.parse::<HeaderName>().is_err() {
            return Err(Rejection(format!(
                "pair {nth} doesn't begin with the name of a header"
            )));
        }
        let (name, value) = header(name, values::percent_decoded(value.trim())?.into())?;
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(Rejection(format!("{name} is given twice")));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

/// Octets of a headers file; tokens are some hundred, seldom thousands.
const MAX_HEADERS_FILE: u64 = 64 * 1024;

/// `NETFLOW_OTLP_HEADERS_FILE` as it is now. Each line is `Name: value`, or pairs as in `OTEL_EXPORTER_OTLP_HEADERS`; empty
/// lines and those that begin with `#` are passed over.
///
/// # Errors
/// A clause that shows no values.
pub(crate) fn header_file(path: &Path) -> Result<Headers, String> {
    let cant = |error: std::io::Error| format!("the file can't be read: {error}");
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(cant)?
        .take(MAX_HEADERS_FILE)
        .read_to_string(&mut text)
        .map_err(cant)?;
    let mut all = Headers::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |Rejection(reason)| format!("line {}: {reason}", index + 1);
        // Neither stands in the name of a header.
        let found = match line.find([':', '=']) {
            Some(at) if line[at..].starts_with(':') => {
                let (name, value) = (line[..at].trim(), line[at + 1..].trim());
                header(name, value.as_bytes().to_vec()).map(|pair| vec![pair])
            }
            _ => headers(line),
        };
        for (name, value) in found.map_err(wrong)? {
            if all.iter().any(|(known, _)| *known == name) {
                return Err(format!("line {}: {name} is given twice", index + 1));
            }
            all.push((name, value));
        }
    }
    Ok(all)
}

/// A file of headers that can be used now.
pub(super) fn headers_file(text: &str) -> Result<PathBuf, Rejection> {
    let path = PathBuf::from(text);
    header_file(&path).map_err(Rejection)?;
    Ok(path)
}

fn header(name: &str, value: Vec<u8>) -> Result<(HeaderName, HeaderValue), Rejection> {
    let name: HeaderName = name
        .parse()
        .map_err(|_| Rejection::new("it doesn't begin with the name of a header"))?;
    if is_reserved(&name) {
        return Err(Rejection(format!("{name} is set by the daemon itself")));
    }
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| Rejection(format!("the value of {name} has control characters")))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Headers that frame the request; another value would break it.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("grpc-")
        || matches!(
            name,
            "connection"
                | "content-encoding"
                | "content-length"
                | "content-type"
                | "host"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(text: &str) -> Result<Vec<(String, String)>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let pairs = |headers: Headers| {
            let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
            headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect()
        };
        header_file(file.path()).map(pairs)
    }

    #[test]
    fn a_headers_file_has_lines_as_of_http_or_pairs_as_of_the_variable() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let bearer = vec![pair("authorization", "Bearer a=b:c,d")];
        assert_eq!(
            of_file("Authorization: Bearer a=b:c,d\n"),
            Ok(bearer.clone())
        );
        assert_eq!(
            of_file("# ours\r\n\r\n Authorization:Bearer a=b:c,d\r\n"),
            Ok(bearer)
        );
        assert_eq!(
            of_file("authorization=Bearer%20x,x-tenant=1\nX-Other: 2"),
            Ok(vec![
                pair("authorization", "Bearer x"),
                pair("x-tenant", "1"),
                pair("x-other", "2"),
            ])
        );
        assert_eq!(of_file(""), Ok(Vec::new()));
        for text in [
            "hunter2",
            "auth orization: hunter2",
            "Content-Type: hunter2",
            "a: hunter2\nA=hunter2",
            "a: hun\u{1}ter2",
        ] {
            let reason = of_file(text).unwrap_err();
            assert!(reason.starts_with("line "), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
        assert!(header_file(Path::new("/nowhere/headers")).is_err());
    }

    #[test]
    fn header_values_are_percent_decoded() {
        let headers = headers("Authorization=Basic%20YTpi==, x-scope-orgid = a,").unwrap();
        let pairs: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
            .collect();
        assert_eq!(
            pairs,
            [("authorization", "Basic YTpi=="), ("x-scope-orgid", "a")]
        );
        assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
    }

    #[test]
    fn messages_about_headers_show_no_values() {
        for text in [
            "Authorization: Bearer hunter2==",
            "hunter2",
            "a=1,hunter2",
            "auth orization=hunter2",
            "a=%FFhunter2",
            "a=hunter2%0D%0A",
            "content-type=hunter2",
            "grpc-timeout=hunter2",
            "a=hunter2,A=hunter2",
        ] {
            let Rejection(reason) = headers(text).unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }
}
