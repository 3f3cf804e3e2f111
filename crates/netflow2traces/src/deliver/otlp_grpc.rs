//! OTLP over gRPC, framed by hand: the octets of a batch go to HTTP/2 as they are, behind a prefix
//! of five (grpc/doc/PROTOCOL-HTTP2.md).

use std::time::{Duration, SystemTime};

use bytes::{BufMut as _, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, TE};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};

use super::answer::{Answer, decoded};
use super::body::{Frames, Prepared};
use super::compress::encoding_name;
use super::outcome::{Cause, GrpcCode, Outcome, classify_grpc, classify_http};
use super::transport::Transport;
use crate::config::{Answers, Otlp, Signal};

/// Compressed flag and length.
const PREFIX: usize = 5;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

const REMEDY_NOT_GRPC: &str = "the endpoint is not an OTLP backend (a login page or a proxy answers), or speaks OTLP \
     over HTTP; check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL";

/// Sends batches to an OTLP/gRPC backend.
#[derive(Debug)]
pub(super) struct GrpcSender {
    pub(super) transport: Transport,
    uri: Uri,
    answers: Answers,
}

impl GrpcSender {
    /// The protocol's own headers.
    pub(super) fn headers(otlp: &Otlp) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(GRPC_TIMEOUT, grpc_timeout(otlp.timeout));
        if let Some(encoding) = encoding_name(otlp.compression) {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(encoding));
        }
        headers
    }

    pub(super) fn new(otlp: &Otlp, signal: Signal, transport: Transport) -> Self {
        let mut parts = otlp.endpoint.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(signal.grpc_path()));
        // Scheme and authority come from a valid URI, the path is a constant.
        let uri = Uri::from_parts(parts).unwrap_or_else(|_| otlp.endpoint.clone());
        Self {
            transport,
            uri,
            answers: otlp.answers.clone(),
        }
    }

    pub(super) async fn send(&self, slot: usize, body: &Prepared) -> Outcome {
        let credentials = self.transport.credentials();
        let headers = credentials.current().headers;
        let mut request = Request::new(framed(body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = HeaderMap::clone(&headers);
        let judge = |answer: &Answer| {
            let outcome = judge(answer, &self.answers);
            outcome.unless_outdated(|| credentials.have_changed_since(&headers))
        };
        self.transport.exchange(slot, request, judge).await
    }
}

/// A request of 4 GiB or more can't be framed; `NETFLOW_MAX_REQUEST_SIZE` is far below.
fn framed(body: &Prepared) -> Frames {
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8(u8::from(body.compressed));
    prefix.put_u32(u32::try_from(body.octets.len()).unwrap_or(u32::MAX));
    Frames::prefixed(prefix.freeze(), body.octets.clone())
}

/// At most eight digits and a unit, rounded up.
fn grpc_timeout(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let milliseconds = timeout.as_micros().div_ceil(1000);
    let text = if milliseconds <= MOST {
        format!("{milliseconds}m")
    } else {
        format!("{}S", milliseconds.div_ceil(1000).min(MOST))
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("10S"))
}

fn judge(answer: &Answer, answers: &Answers) -> Outcome {
    // In a trailers-only answer the status is among the headers.
    let with_status = answer
        .trailers
        .as_ref()
        .filter(|trailers| trailers.contains_key(GRPC_STATUS))
        .unwrap_or(&answer.headers);
    let Some(status) = with_status.get(GRPC_STATUS) else {
        return judge_without_status(answer, answers);
    };
    let code = status
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match code.map_or(GrpcCode::UNKNOWN, GrpcCode) {
        GrpcCode::OK => judge_message(answer),
        code => {
            let after = retry_info(with_status);
            let outcome = classify_grpc(code, &grpc_message(with_status), after);
            outcome.retried_if(answers.retryable.grpc.contains(&code.0), after)
        }
    }
}

/// No gRPC server answers so: a proxy or another program did, or the stream was cut.
fn judge_without_status(answer: &Answer, answers: &Answers) -> Outcome {
    let status = answer.status.as_u16();
    if answer.status.is_success() {
        let media_type = answer.headers.get(CONTENT_TYPE);
        let is_grpc =
            media_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let cause = if is_grpc {
            Cause::new("the answer ended before its gRPC status")
        } else {
            let text = format!(
                "HTTP status {status} without a gRPC answer ({})",
                answer.shown()
            );
            Cause::with_remedy(text, REMEDY_NOT_GRPC)
        };
        return Outcome::Retry { after: None, cause };
    }
    let after = answer.retry_after(SystemTime::now());
    let outcome = match status {
        // They say more than the code that stands for them.
        300..=399 => {
            let to = format!("to {}", answer.header(&LOCATION));
            classify_http(status, &to, None)
        }
        407 | 413 | 511 => classify_http(status, "", None),
        _ => {
            let text = format!("HTTP status {status}");
            match classify_grpc(GrpcCode::from_http(status), &text, after) {
                // A refusal that is no gRPC: it is another port, such as that of a backend's searches.
                Outcome::Rejected { cause } if cause.remedy.is_none() => Outcome::Rejected {
                    cause: Cause::with_remedy(cause.text, REMEDY_NOT_GRPC),
                },
                outcome => outcome,
            }
        }
    };
    outcome.retried_if(answers.retryable.http.contains(&status), after)
}

/// Reads the `ExportTraceServiceResponse`. Whatever is wrong with it, the status said OK.
fn judge_message(answer: &Answer) -> Outcome {
    let body = &answer.body;
    let message = match body.get(..PREFIX) {
        Some([flag @ 0..=1, length @ ..]) => {
            let length = length
                .iter()
                .fold(0, |sum, &octet| sum << 8 | usize::from(octet));
            let message = body.get(PREFIX..PREFIX.saturating_add(length));
            // We name no coding that we accept, but some servers compress all the same.
            let coding = match flag {
                0 => "",
                _ => answer.header(&GRPC_ENCODING),
            };
            message.and_then(|message| decoded(coding, message))
        }
        _ => None,
    };
    match message.map(|message| otlp_wire::response::read_partial_success(&message)) {
        Some(Ok(partial)) => Outcome::from(partial),
        _ => Outcome::Accepted,
    }
}

/// `grpc-message` is percent-encoded UTF-8.
fn grpc_message(headers: &HeaderMap) -> String {
    let value = headers
        .get(GRPC_MESSAGE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    percent_encoding::percent_decode(value)
        .decode_utf8_lossy()
        .into_owned()
}

fn retry_info(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(GRPC_STATUS_DETAILS)?;
    let details = otlp_wire::response::decode_binary_header(value.as_bytes())?;
    otlp_wire::response::read_retry_info(&details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::StatusCode;
    use proptest::prelude::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let headers = headers.iter().map(|&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Bytes::copy_from_slice(body),
            trailers: None,
        }
    }

    #[test]
    fn timeouts_have_at_most_eight_digits() {
        assert_eq!(grpc_timeout(Duration::from_secs(10)), "10000m");
        assert_eq!(grpc_timeout(Duration::from_micros(1)), "1m");
        assert_eq!(grpc_timeout(Duration::from_secs(1_000_000)), "1000000S");
        assert_eq!(grpc_timeout(Duration::MAX), "99999999S");
    }

    #[test]
    fn a_status_among_the_headers_counts() {
        let outcome = judge(
            &answer(
                200,
                &[
                    ("grpc-status", "14"),
                    ("grpc-message", "no%20room%20%E2%82%AC"),
                ],
                b"",
            ),
            &Answers::default(),
        );
        let Outcome::Retry { cause, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(cause.text, "gRPC status UNAVAILABLE: no room €");
    }

    #[test]
    fn answers_that_are_not_grpc_are_told_apart() {
        let html = [("content-type", "text/html")];
        assert!(matches!(
            judge(&answer(200, &html, b"<html>"), &Answers::default()),
            Outcome::Retry { .. }
        ));
        assert!(matches!(
            judge(&answer(404, &html, b""), &Answers::default()),
            Outcome::Rejected { .. }
        ));
        assert!(matches!(
            judge(&answer(503, &html, b""), &Answers::default()),
            Outcome::Retry { .. }
        ));
        assert!(matches!(
            judge(&answer(413, &html, b""), &Answers::default()),
            Outcome::TooLarge { .. }
        ));
        for status in [400, 415, 421] {
            let Outcome::Rejected { cause } =
                judge(&answer(status, &html, b""), &Answers::default())
            else {
                unreachable!("{status} is retried");
            };
            assert_eq!(cause.remedy, Some(REMEDY_NOT_GRPC), "{status}");
        }
        let grpc = [("content-type", "application/grpc+proto")];
        assert!(matches!(
            judge(&answer(200, &grpc, b""), &Answers::default()),
            Outcome::Retry { .. }
        ));
    }

    #[test]
    fn an_ok_with_nonsense_inside_is_an_ok() {
        let ok = [("grpc-status", "0")];
        for body in [
            &b""[..],
            b"\0",
            b"\0\0\0\0\0",
            b"\0\xff\xff\xff\xffxx",
            b"\x01\0\0\0\x01x",
        ] {
            assert_eq!(
                judge(&answer(200, &ok, body), &Answers::default()),
                Outcome::Accepted
            );
        }
    }

    #[test]
    fn a_compressed_partial_success_counts_though_it_was_not_asked_for() {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"\x0a\x06\x08\x03\x12\x02no").unwrap();
        let message = encoder.finish().unwrap();
        let mut body = vec![1, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        body.extend(message);
        let headers = [("grpc-status", "0"), ("grpc-encoding", "gzip")];
        let outcome = judge(&answer(200, &headers, &body), &Answers::default());
        let partial = Outcome::Partial {
            rejected_spans: 3,
            message: "no".into(),
        };
        assert_eq!(outcome, partial);
    }

    proptest! {
        #[test]
        fn no_answer_panics(
            status in "[ -~]{0,4}",
            message in "[ -~]{0,60}",
            details in "[ -~]{0,60}",
            body in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let headers =
                [("grpc-status", &status[..]), ("grpc-message", &message), ("grpc-status-details-bin", &details)];
            let _ = judge(&answer(200, &headers, &body), &Answers::default());
        }
    }
}
