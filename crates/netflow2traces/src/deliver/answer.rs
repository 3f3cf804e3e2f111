//! A whole answer of the backend, and whether it is one of OTLP. No I/O, no clock.

use std::borrow::Cow;
use std::io::Read as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use otlp_wire::response::{self, PartialSuccess};

use super::outcome::{Cause, Outcome, retry_after};
use crate::config::Answers;

/// Octets of an answer's body that are read. Answers are a few octets; error pages may be longer.
pub(super) const MAX_ANSWER: usize = 256 * 1024;
/// Characters of a foreign answer that are shown.
const SHOWN: usize = 60;

const REMEDY_FOREIGN: &str = "something else than an OTLP backend answers, such as a login page or a proxy; check \
     host, port and path of OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS; if the backend answers so \
     when it has accepted spans, set NETFLOW_OTLP_ACCEPT_ANY_2XX=true";

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Cut at [`MAX_ANSWER`] octets.
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

impl Answer {
    /// The text of a header; empty if there is none.
    pub(super) fn header(&self, name: &HeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// In lower case and without parameters; empty if there is none.
    pub(super) fn media_type(&self) -> String {
        let whole = self.header(&CONTENT_TYPE);
        let essence = whole.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }

    /// The wait that the backend asks for.
    pub(super) fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        retry_after(self.header(&RETRY_AFTER), now)
    }

    /// The body without its coding: we ask for none, but some servers compress anyway. `None`: it can't be read.
    pub(super) fn plain_body(&self) -> Option<Cow<'_, [u8]>> {
        decoded(self.header(&CONTENT_ENCODING), &self.body)
    }

    /// For a log line: the media type, and how the body begins.
    pub(super) fn shown(&self) -> String {
        let media_type = match self.media_type() {
            none if none.is_empty() => "no media type".to_owned(),
            some => some
                .chars()
                .filter(|c| !c.is_control())
                .take(SHOWN)
                .collect(),
        };
        let body = self.plain_body();
        let Some(body) = body else {
            let coding: String = self.header(&CONTENT_ENCODING).chars().take(SHOWN).collect();
            return format!("{media_type}, coded as {coding}");
        };
        let text = response::bounded_text(&body);
        let begin: String = text
            .trim_start()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SHOWN)
            .collect();
        format!("{media_type}: {begin:?}")
    }

    /// What an answer of 2xx over HTTP means: success if it is one of OTLP.
    pub(super) fn judge_success(&self, answers: &Answers) -> Outcome {
        match self.export_response() {
            Some(partial) => Outcome::from(partial),
            None if answers.accept_any_2xx => Outcome::Accepted,
            None => Outcome::Retry {
                after: None,
                cause: Cause::with_remedy(
                    format!(
                        "HTTP status {} without an OTLP answer ({})",
                        self.status.as_u16(),
                        self.shown()
                    ),
                    REMEDY_FOREIGN,
                ),
            },
        }
    }

    /// An `Export…ServiceResponse` in protobuf or JSON, or nothing at all, which stands for an empty one. Some backends
    /// label it wrongly or not at all; a page of HTML is never one.
    fn export_response(&self) -> Option<PartialSuccess> {
        let media_type = self.media_type();
        // A gRPC server says no with an empty body and 200.
        if media_type.starts_with("application/grpc") || self.headers.contains_key("grpc-status") {
            return None;
        }
        if self.body.is_empty() {
            return Some(PartialSuccess::default());
        }
        if self.body.len() >= MAX_ANSWER {
            return None;
        }
        let body = self.plain_body()?;
        let json = || response::read_export_response_json(&body).ok();
        match media_type.as_str() {
            "" | "application/octet-stream" => {
                response::read_export_response(&body).ok().or_else(json)
            }
            known if known.contains("protobuf") => {
                response::read_export_response(&body).ok().or_else(json)
            }
            known if known.contains("html") || known.contains("xml") => None,
            _ => json(),
        }
    }
}

/// Octets without their coding, at most [`MAX_ANSWER`]. `None`: the coding is unknown or the octets are not in it.
pub(super) fn decoded<'a>(coding: &str, octets: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let mut plain = Vec::new();
    let most = MAX_ANSWER as u64;
    match coding.trim() {
        "" | "identity" => return Some(Cow::Borrowed(octets)),
        coding if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => {
            let decoder = flate2::read::GzDecoder::new(octets);
            decoder.take(most).read_to_end(&mut plain).ok()?;
        }
        coding if coding.eq_ignore_ascii_case("zstd") => {
            let decoder = zstd::Decoder::new(octets).ok()?;
            decoder.take(most).read_to_end(&mut plain).ok()?;
        }
        _ => return None,
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::io::Write as _;

    fn answer(headers: &[(HeaderName, &'static str)], body: &[u8]) -> Answer {
        let headers = headers.iter().cloned();
        Answer {
            status: StatusCode::OK,
            headers: headers
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .collect(),
            body: Bytes::copy_from_slice(body),
            trailers: None,
        }
    }

    fn typed(media_type: &'static str, body: &[u8]) -> Outcome {
        let headers = [(CONTENT_TYPE, media_type)];
        let headers = if media_type.is_empty() {
            &[]
        } else {
            &headers[..]
        };
        answer(headers, body).judge_success(&Answers::default())
    }

    const PARTIAL: &[u8] = b"\x0a\x06\x08\x03\x12\x02no";

    fn partial(rejected_spans: u64, message: &str) -> Outcome {
        Outcome::Partial {
            rejected_spans,
            message: message.to_owned(),
        }
    }

    fn gzipped(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn answers_of_otlp_count_however_they_are_labelled() {
        for (media_type, body) in [
            ("", &b""[..]),
            ("text/html", b""),
            ("application/x-protobuf", b""),
            ("application/x-protobuf", b"\x0a\x00"),
            ("application/json", b"{}"),
            ("application/json; charset=utf-8", b" {} \n"),
            ("application/json", br#"{"partialSuccess":{}}"#),
            ("application/json", br#"{"partialSuccess":null}"#),
            ("Application/JSON", br#"{"partial_success":{},"hint":1}"#),
            ("text/plain", b"{}"),
            ("", b"{}"),
            ("application/octet-stream", b"\x0a\x00"),
        ] {
            assert_eq!(
                typed(media_type, body),
                Outcome::Accepted,
                "{media_type} {body:?}"
            );
        }
        assert_eq!(typed("application/x-protobuf", PARTIAL), partial(3, "no"));
        assert_eq!(typed("", PARTIAL), partial(3, "no"));
        let json = br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#;
        assert_eq!(typed("application/json", json), partial(3, "no"));
    }

    #[test]
    fn anything_else_is_tried_again() {
        for (media_type, body) in [
            ("text/html; charset=utf-8", &b"<!doctype html>"[..]),
            ("text/html", b"{}"),
            ("application/json", br#"{"error":"login required"}"#),
            ("application/json", b"[]"),
            ("application/json", b"null"),
            ("application/json", b"true"),
            ("application/json", br#"{"partialSuccess":5}"#),
            ("application/json", b"{"),
            ("application/json", PARTIAL),
            ("text/plain", b"OK"),
            ("text/plain", b"accepted\n"),
            ("", b"accepted\n"),
            ("", b"OK"),
            ("application/octet-stream", b"<html>"),
            ("application/x-protobuf", &PARTIAL[..5]),
            ("application/x-protobuf", b"\x12\x08bad span"),
            ("application/x-protobuf", b"<html>"),
            ("application/soap+xml", b"<soap/>"),
            ("application/grpc", b""),
            ("application/grpc+proto", b"\0\0\0\0\0"),
        ] {
            let outcome = typed(media_type, body);
            let Outcome::Retry { after: None, cause } = outcome else {
                panic!("{media_type} {body:?}: {outcome:?}")
            };
            assert!(
                cause.to_string().contains("NETFLOW_OTLP_ACCEPT_ANY_2XX"),
                "{cause}"
            );
        }
        let huge = vec![b' '; MAX_ANSWER];
        assert!(matches!(
            typed("application/json", &huge),
            Outcome::Retry { .. }
        ));
    }

    #[test]
    fn a_compressed_answer_is_read_though_none_was_asked_for() {
        let of = |coding, body: &[u8]| {
            let headers = [
                (CONTENT_TYPE, "application/x-protobuf"),
                (CONTENT_ENCODING, coding),
            ];
            answer(&headers, body).judge_success(&Answers::default())
        };
        assert_eq!(of("gzip", &gzipped(PARTIAL)), partial(3, "no"));
        let zstd = zstd::encode_all(PARTIAL, 1).unwrap();
        assert_eq!(of("zstd", &zstd), partial(3, "no"));
        assert!(matches!(of("br", b"\x0b\x02\x80"), Outcome::Retry { .. }));
        assert!(matches!(of("gzip", b"not gzip"), Outcome::Retry { .. }));
        // It would be 64 MiB.
        let bomb = gzipped(&vec![0; 64 << 20]);
        assert!(matches!(of("gzip", &bomb), Outcome::Retry { .. }));
    }

    #[test]
    fn with_the_setting_any_success_is_one() {
        let any = Answers {
            accept_any_2xx: true,
            ..Answers::default()
        };
        let html = answer(&[(CONTENT_TYPE, "text/html")], b"<html>");
        assert_eq!(html.judge_success(&any), Outcome::Accepted);
        let known = answer(&[(CONTENT_TYPE, "application/x-protobuf")], PARTIAL);
        assert_eq!(known.judge_success(&any), partial(3, "no"));
    }

    #[test]
    fn a_foreign_answer_is_shown_by_its_type_and_its_first_characters() {
        let page = format!("\n<html>\r\n\x1b[31m{}", "é".repeat(100));
        let Outcome::Retry { cause, .. } = typed("text/html; charset=utf-8", page.as_bytes())
        else {
            panic!("it counts")
        };
        assert!(
            cause
                .text
                .starts_with("HTTP status 200 without an OTLP answer (text/html: ")
        );
        assert!(!cause.text.contains(char::is_control), "{:?}", cause.text);
        assert_eq!(
            cause.text.matches('é').count(),
            SHOWN - "<html>   [31m".len()
        );
    }
}
