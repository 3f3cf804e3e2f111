//! OTLP over HTTP: one POST a batch, protobuf or JSON. Redirects are not followed: a POST to
//! another address is the operator's decision, and headers may be secrets.

use std::time::SystemTime;

use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};
use http::{Method, Request, Uri};
use otlp_wire::response;

use super::answer::Answer;
use super::body::{Frames, Prepared};
use super::compress::encoding_name;
use super::outcome::{Outcome, classify_http};
use super::phrases::page_text;
use super::transport::Transport;
use crate::config::{Answers, Otlp, Protocol};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Sends batches to an OTLP/HTTP backend.
#[derive(Debug)]
pub(super) struct HttpSender {
    pub(super) transport: Transport,
    uri: Uri,
    answers: Answers,
}

impl HttpSender {
    /// The protocol's own headers.
    pub(super) fn headers(otlp: &Otlp) -> HeaderMap {
        let media_type = if otlp.protocol == Protocol::HttpJson {
            JSON
        } else {
            PROTOBUF
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(encoding) = encoding_name(otlp.compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        headers
    }

    pub(super) fn new(otlp: &Otlp, transport: Transport) -> Self {
        Self {
            transport,
            uri: otlp.endpoint.clone(),
            answers: otlp.answers.clone(),
        }
    }

    pub(super) async fn send(&self, slot: usize, body: &Prepared) -> Outcome {
        let credentials = self.transport.credentials();
        let headers = credentials.current().headers;
        let mut request = Request::new(Frames::plain(body.octets.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = HeaderMap::clone(&headers);
        let judge = |answer: &Answer| {
            let outcome = judge(answer, &self.answers, SystemTime::now());
            outcome.unless_outdated(|| credentials.have_changed_since(&headers))
        };
        self.transport.exchange(slot, request, judge).await
    }
}

fn judge(answer: &Answer, answers: &Answers, now: SystemTime) -> Outcome {
    if answer.status.is_success() {
        return answer.judge_success(answers);
    }
    let status = answer.status.as_u16();
    let message = if answer.status.is_redirection() {
        format!("to {}", answer.header(&LOCATION))
    } else {
        error_message(answer)
    };
    let after = answer.retry_after(now);
    classify_http(status, &message, after)
        .retried_if(answers.retryable.http.contains(&status), after)
}

/// What the body of an error says: the message of a `google.rpc.Status`, or its text.
fn error_message(answer: &Answer) -> String {
    let media_type = answer.media_type();
    let Some(body) = answer.plain_body() else {
        return String::new();
    };
    let status = if media_type == PROTOBUF {
        response::read_status_message(&body)
    } else if media_type == JSON {
        response::read_status_message_json(&body)
    } else {
        None
    };
    match status {
        Some(message) => message,
        None if media_type == PROTOBUF => String::new(),
        None if media_type == "text/html" => page_text(&String::from_utf8_lossy(&body)),
        None => response::bounded_text(&body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RetryableStatus;
    use bytes::Bytes;
    use http::header::RETRY_AFTER;
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
        let outcome = judge(&answer(429, &date, b""), &Answers::default(), now);
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
                &Answers::default(),
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
            &Answers::default(),
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

    #[test]
    fn a_status_that_the_operator_lists_is_retried() {
        let listed = Answers {
            retryable: RetryableStatus {
                http: vec![404, 500],
                grpc: Vec::new(),
            },
            ..Answers::default()
        };
        let after = [(RETRY_AFTER, "3")];
        let outcome = judge(&answer(404, &after, b""), &listed, SystemTime::now());
        let Outcome::Retry { after, cause } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(after, Some(Duration::from_secs(3)));
        assert!(
            cause.to_string().contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
            "{cause}"
        );
        for (status, answers) in [(404, &Answers::default()), (400, &listed)] {
            let outcome = judge(&answer(status, &[], b""), answers, SystemTime::now());
            assert!(matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
        }
    }
}
