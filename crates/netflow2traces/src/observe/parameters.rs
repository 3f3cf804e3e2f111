//! Parameters of a request to the API, such as `?limit=10&exporter=192.0.2.1`. A name that the path doesn't have is
//! refused: whoever misspells `exporter` must not take the answer about all exporters for the one about theirs.

use std::str::FromStr;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use percent_encoding::percent_decode_str;

/// Why a request is not answered: a sentence, with status 400.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct BadParameter(String);

impl BadParameter {
    pub(super) fn new(name: &str, problem: &str) -> Self {
        Self(format!("{name}: {problem}"))
    }
}

impl IntoResponse for BadParameter {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, format!("{}\n", self.0)).into_response()
    }
}

/// What was given; an empty value counts as none.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Reads the query of a request to a path that has the parameters `known`.
    ///
    /// # Errors
    /// A parameter of another name, one that is given twice, or one that isn't UTF-8.
    pub(super) fn read(
        query: Option<&str>,
        known: &'static [&'static str],
    ) -> Result<Self, BadParameter> {
        let mut given = Vec::new();
        let pairs = query.unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let Some(known) = known.iter().find(|known| **known == name) else {
                let problem = format!("no such parameter; accepted: {}", known.join(", "));
                return Err(BadParameter::new(&name, &problem));
            };
            if given.iter().any(|(before, _)| before == known) {
                return Err(BadParameter::new(known, "given twice"));
            }
            given.push((*known, value));
        }
        Ok(Self(given))
    }

    /// The text of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// The value of a parameter; `accepted` says what it may be.
    ///
    /// # Errors
    /// A text that is no such value.
    pub(super) fn value<T: FromStr>(
        &self,
        name: &str,
        accepted: &str,
    ) -> Result<Option<T>, BadParameter> {
        let read = |text: &str| {
            let problem = || format!("{text:?} is not accepted; accepted: {accepted}");
            text.parse()
                .map_err(|_| BadParameter::new(name, &problem()))
        };
        self.text(name).map(read).transpose()
    }

    /// `limit`: rows of a list.
    ///
    /// # Errors
    /// A text that is no number.
    pub(super) fn limit(&self) -> Result<Option<usize>, BadParameter> {
        self.value("limit", "a whole number")
    }
}

fn decoded(text: &str) -> Result<String, BadParameter> {
    // As forms write it.
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(BadParameter::new(
            text,
            "a percent-encoded part is not UTF-8",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const KNOWN: &[&str] = &["limit", "exporter"];

    #[test]
    fn what_is_not_known_or_not_readable_is_refused_with_what_is_accepted() {
        let refused = |query: &str| match Parameters::read(Some(query), KNOWN) {
            Err(BadParameter(sentence)) => sentence,
            Ok(given) => {
                let address = given.value::<IpAddr>("exporter", "an IP address");
                let wrong = given.limit().err().or(address.err());
                wrong.map_or_else(String::new, |BadParameter(sentence)| sentence)
            }
        };
        for (query, sentence) in [
            ("", ""),
            ("limit=10&exporter=2001:db8::1", ""),
            ("&limit=&exporter=%31.2.3.4&", ""),
            (
                "limt=10",
                "limt: no such parameter; accepted: limit, exporter",
            ),
            ("limit=1&limit=2", "limit: given twice"),
            (
                "limit=ten",
                "limit: \"ten\" is not accepted; accepted: a whole number",
            ),
            (
                "limit=-1",
                "limit: \"-1\" is not accepted; accepted: a whole number",
            ),
            (
                "exporter=router+1",
                "exporter: \"router 1\" is not accepted; accepted: an IP address",
            ),
            ("exporter=%ff", "%ff: a percent-encoded part is not UTF-8"),
        ] {
            assert_eq!(refused(query), sentence, "{query}");
        }
    }
}
