//! OTLP over HTTP: one POST a batch, protobuf or JSON. Redirects are not followed: a POST to
//! another address is the operator's decision, and headers may be secrets.

use std::time::SystemTime;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Request, Uri};
use otlp_wire::response;

use super::body::{Frames, Prepared};
use super::compress::encoding_name;
use super::outcome::{Outcome, classify_http, retry_after};
use super::transport::{Answer, Transport};
use crate::config::{Otlp, Protocol};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Sends batches to an OTLP/HTTP backend.
#[derive(Debug)]
pub(super) struct HttpSender {
    transport: Transport,
    uri: Uri,
    headers: HeaderMap,
}

impl HttpSender {
    /// `headers` are those of the user; the protocol's own are added here.
    pub(super) fn new(otlp: &Otlp, mut headers: HeaderMap, transport: Transport) -> Self {
        let media_type = if otlp.protocol == Protocol::HttpJson {
            JSON
        } else {
            PROTOBUF
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(encoding) = encoding_name(otlp.compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Self {
            transport,
            uri: otlp.endpoint.clone(),
            headers,
        }
    }

    pub(super) async fn send(&self, slot: usize, body: &Prepared) -> Outcome {
        let mut request = Request::new(Frames::plain(body.octets.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        match self.transport.exchange(slot, request).await {
            Ok(answer) => judge(&answer, SystemTime::now()),
            Err(cause) => Outcome::Retry { after: None, cause },
        }
    }
}

fn judge(answer: &Answer, now: SystemTime) -> Outcome {
    if answer.status.is_success() {
        let partial = if media_type(answer).starts_with(JSON) {
            response::read_partial_success_json(&answer.body)
        } else {
            response::read_partial_success(&answer.body)
        };
        // Whatever is wrong with the body, the status said that all is well.
        return partial.map_or(Outcome::Accepted, Outcome::from);
    }
    let message = if answer.status.is_redirection() {
        format!("to {}", header(answer, &LOCATION))
    } else {
        error_message(answer)
    };
    let after = retry_after(header(answer, &RETRY_AFTER), now);
    classify_http(answer.status.as_u16(), &message, after)
}

fn header<'a>(answer: &'a Answer, name: &http::HeaderName) -> &'a str {
    answer
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn media_type(answer: &Answer) -> &str {
    header(answer, &CONTENT_TYPE)
}

/// What the body of an error says: the message of a `google.rpc.Status`, or its text.
fn error_message(answer: &Answer) -> String {
    let media_type = media_type(answer);
    let status = if media_type.starts_with(PROTOBUF) {
        response::read_status_message(&answer.body)
    } else if media_type.starts_with(JSON) {
        response::read_status_message_json(&answer.body)
    } else {
        None
    };
    match status {
        Some(message) => message,
        None if media_type.starts_with("text/html") || media_type.starts_with(PROTOBUF) => {
            String::new()
        }
        None => response::bounded_text(&answer.body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderName, StatusCode};
    use std::time::Duration;

    fn answer(status: u16, headers: &[(HeaderName, &'static str)], body: &[u8]) -> Answer {
        let headers = headers.iter().cloned();
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .collect(),
            body: Bytes::copy_from_slice(body),
            trailers: None,
        }
    }

    #[test]
    fn a_retry_after_date_is_honoured() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let date = [(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT")];
        let outcome = judge(&answer(429, &date, b""), now);
        let Outcome::Retry { after, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn error_messages_are_read_in_every_form() {
        let status = b"\x12\x08bad span";
        for (media_type, body) in [
            (PROTOBUF, &status[..]),
            (JSON, br#"{"code":3,"message":"bad span"}"#),
            ("text/plain; charset=utf-8", b"bad span\nmore"),
        ] {
            let outcome = judge(
                &answer(400, &[(CONTENT_TYPE, media_type)], body),
                SystemTime::now(),
            );
            let Outcome::Rejected { cause } = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(cause.text, "HTTP status 400: bad span", "{media_type}");
        }
    }

    #[test]
    fn a_redirect_says_where_to() {
        let outcome = judge(
            &answer(307, &[(LOCATION, "https://example.org/v1/traces")], b""),
            SystemTime::now(),
        );
        let Outcome::Rejected { cause } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(
            cause.to_string().contains("https://example.org/v1/traces"),
            "{cause}"
        );
        assert!(cause.to_string().contains("not followed"), "{cause}");
    }
}
