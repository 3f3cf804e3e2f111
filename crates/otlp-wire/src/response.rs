//! What a backend answers: octets of a response in, what the sender has to know out.
//!
//! Everything here comes from outside: texts are bounded and made UTF-8, delays are clamped, unknown
//! fields are passed over, and nothing is allocated beyond a bounded text. The caller bounds the
//! body.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use thiserror::Error;

use crate::fields;
use crate::read::{Field, Reader, WireError};

/// Longest error text that is kept of a response, in octets; what is cut off is shown as `…`.
pub const MAX_ERROR_TEXT: usize = 1024;

/// Longest delay that [`read_retry_info`] reports.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest `grpc-status-details-bin` that is decoded, in characters. (gRPC servers keep all of a
/// response's headers under 8 KiB to 16 KiB by default.)
const MAX_DETAILS_HEADER: usize = 64 * 1024;

/// The backend took the request, but perhaps not all of it (OTLP specification, "Partial Success").
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PartialSuccess {
    /// Spans that were refused for good; 0 with a text is a warning. A negative number counts as 0.
    /// A backend can claim more than it was sent.
    pub rejected_spans: u64,
    /// What the backend says, at most [`MAX_ERROR_TEXT`] octets of it.
    pub error_message: String,
}

impl PartialSuccess {
    /// Whether all was taken and nothing said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rejected_spans == 0 && self.error_message.is_empty()
    }
}

/// A response that can't be understood. The request was accepted anyway, if its status says so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// Not an `ExportTraceServiceResponse` in protobuf.
    #[error("the response is not OTLP protobuf: {0}")]
    Protobuf(#[from] WireError),
    /// Not an `ExportTraceServiceResponse` in OTLP/JSON.
    #[error("the response is not OTLP/JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A message of another type.
    #[error("the response is a message of another type")]
    Foreign,
}

/// Reads an `ExportTraceServiceResponse`. An empty body, and a response without `partial_success`,
/// give the default: all was taken.
///
/// # Errors
/// The octets are not protobuf, or a known field has another type.
pub fn read_partial_success(octets: &[u8]) -> Result<PartialSuccess, ResponseError> {
    let mut found = PartialSuccess::default();
    for field in Reader::new(octets) {
        let field = field?;
        if field.number != fields::export_response::PARTIAL_SUCCESS {
            continue;
        }
        for field in Reader::new(field.octets()?) {
            let field = field?;
            match field.number {
                fields::partial_success::REJECTED_SPANS => {
                    found.rejected_spans = not_negative(field.int64()?);
                }
                fields::partial_success::ERROR_MESSAGE => {
                    found.error_message = bounded_text(field.octets()?);
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Reads an `ExportTraceServiceResponse` in OTLP/JSON. `rejectedSpans` may be a string, as protobuf's
/// JSON form of 64-bit integers is, or a number. An empty body is taken for `{}`.
///
/// # Errors
/// The octets are not JSON, or a known member has another type.
pub fn read_partial_success_json(octets: &[u8]) -> Result<PartialSuccess, ResponseError> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(default, alias = "partial_success", rename = "partialSuccess")]
        partial_success: Option<Partial>,
    }
    #[derive(Default, Deserialize)]
    struct Partial {
        #[serde(default, alias = "rejected_spans", rename = "rejectedSpans")]
        rejected_spans: Int64,
        #[serde(default, alias = "error_message", rename = "errorMessage")]
        error_message: Option<String>,
    }
    if octets.iter().all(u8::is_ascii_whitespace) {
        return Ok(PartialSuccess::default());
    }
    let response: Response = serde_json::from_slice(octets)?;
    let partial = response.partial_success.unwrap_or_default();
    Ok(PartialSuccess {
        rejected_spans: not_negative(partial.rejected_spans.0),
        error_message: bounded_text(partial.error_message.unwrap_or_default().as_bytes()),
    })
}

/// As [`read_partial_success`], for answers that may come from something else than an OTLP backend: a message that has
/// fields, but not the one of an `ExportTraceServiceResponse`, is of another type.
///
/// # Errors
/// As [`read_partial_success`], and [`ResponseError::Foreign`].
pub fn read_export_response(octets: &[u8]) -> Result<PartialSuccess, ResponseError> {
    let partial = read_partial_success(octets)?;
    let is_known = |field: Result<Field<'_>, WireError>| {
        field.is_ok_and(|field| field.number == fields::export_response::PARTIAL_SUCCESS)
    };
    if octets.is_empty() || Reader::new(octets).any(is_known) {
        Ok(partial)
    } else {
        Err(ResponseError::Foreign)
    }
}

/// As [`read_export_response`], of the JSON form.
///
/// # Errors
/// As [`read_partial_success_json`], and [`ResponseError::Foreign`].
pub fn read_export_response_json(octets: &[u8]) -> Result<PartialSuccess, ResponseError> {
    let partial = read_partial_success_json(octets)?;
    if octets.iter().all(u8::is_ascii_whitespace) {
        return Ok(partial);
    }
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(octets)?;
    let is_known = |name: &String| name == "partialSuccess" || name == "partial_success";
    if members.is_empty() || members.keys().any(is_known) {
        Ok(partial)
    } else {
        Err(ResponseError::Foreign)
    }
}

/// The delay that a backend asks for: the `google.rpc.RetryInfo` in the details of a
/// `google.rpc.Status`. It is `None` when there is none or the octets are malformed.
///
/// Its presence alone means that the request may be retried, so one without a delay is
/// `Some(ZERO)`. A negative delay is zero, one above [`MAX_RETRY_DELAY`] is that.
#[must_use]
pub fn read_retry_info(status_details: &[u8]) -> Option<Duration> {
    for field in Reader::new(status_details) {
        let field = field.ok()?;
        if field.number == fields::rpc_status::DETAILS
            && let Some(retry_info) = retry_info_in_any(field.octets().ok()?).ok()?
        {
            return retry_delay(retry_info).ok();
        }
    }
    None
}

/// The text of a `google.rpc.Status` in protobuf, which is what an OTLP/HTTP error carries in its
/// body, at most [`MAX_ERROR_TEXT`] octets of it. `None` when the octets are malformed or there is no
/// text.
#[must_use]
pub fn read_status_message(octets: &[u8]) -> Option<String> {
    let mut message = None;
    for field in Reader::new(octets) {
        let field = field.ok()?;
        if field.number == fields::rpc_status::MESSAGE {
            message = Some(field.octets().ok()?);
        }
    }
    message
        .filter(|message| !message.is_empty())
        .map(bounded_text)
}

/// As [`read_status_message`], of the JSON form.
#[must_use]
pub fn read_status_message_json(octets: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let status: Status = serde_json::from_slice(octets).ok()?;
    Some(status.message)
        .filter(|message| !message.is_empty())
        .map(|m| bounded_text(m.as_bytes()))
}

/// The octets of a binary gRPC header such as `grpc-status-details-bin`: base64 with or without
/// padding (gRPC over HTTP/2, "Custom-Metadata"). `None` when it is not that, or longer than 64 KiB.
#[must_use]
pub fn decode_binary_header(value: &[u8]) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    if value.len() > MAX_DETAILS_HEADER {
        return None;
    }
    ANY_PADDING.decode(value.trim_ascii()).ok()
}

/// A text of a backend for a log line: at most [`MAX_ERROR_TEXT`] octets, invalid UTF-8 replaced.
/// For bodies that are neither protobuf nor JSON.
#[must_use]
pub fn bounded_text(octets: &[u8]) -> String {
    // More than fits, so that a character cut here is cut off again below.
    let kept = octets.get(..=MAX_ERROR_TEXT).unwrap_or(octets);
    let mut text = String::from_utf8_lossy(kept).into_owned();
    // A replacement character may be longer than what it stands for.
    if text.len() > MAX_ERROR_TEXT {
        text.truncate(text.floor_char_boundary(MAX_ERROR_TEXT - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// The message inside, if the `Any` holds a `RetryInfo`.
fn retry_info_in_any(any: &[u8]) -> Result<Option<&[u8]>, WireError> {
    let mut is_retry_info = false;
    let mut value: &[u8] = &[];
    for field in Reader::new(any) {
        let field = field?;
        match field.number {
            fields::any::TYPE_URL => {
                // The name is what follows the last slash; the host before it is free.
                let name = field.octets()?.rsplit(|&octet| octet == b'/').next();
                is_retry_info = name == Some(b"google.rpc.RetryInfo");
            }
            fields::any::VALUE => value = field.octets()?,
            _ => {}
        }
    }
    Ok(is_retry_info.then_some(value))
}

fn retry_delay(retry_info: &[u8]) -> Result<Duration, WireError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in Reader::new(retry_info) {
        let field = field?;
        if field.number != fields::retry_info::RETRY_DELAY {
            continue;
        }
        for field in Reader::new(field.octets()?) {
            let field = field?;
            match field.number {
                fields::duration::SECONDS => seconds = field.int64()?,
                fields::duration::NANOS => nanos = field.int32()?,
                _ => {}
            }
        }
    }
    // Wide enough for every pair, whatever their signs.
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Ok(u64::try_from(total.max(0))
        .map_or(MAX_RETRY_DELAY, Duration::from_nanos)
        .min(MAX_RETRY_DELAY))
}

fn not_negative(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// protobuf's JSON form of `int64`: a string or a number, `null` for the default.
#[derive(Default)]
struct Int64(i64);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Int64Visitor;

        impl Visitor<'_> for Int64Visitor {
            type Value = Int64;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a 64-bit integer as a number or a string")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Int64, E> {
                Ok(Int64(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Int64, E> {
                Ok(Int64(i64::try_from(value).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Int64, E> {
                #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
                Ok(Int64(value as i64))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Int64, E> {
                value.trim().parse().map(Int64).map_err(E::custom)
            }

            fn visit_unit<E: Error>(self) -> Result<Int64, E> {
                Ok(Int64(0))
            }
        }

        deserializer.deserialize_any(Int64Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `partial_success { rejected_spans: 3, error_message: "no" }`
    const PARTIAL: &[u8] = &[0x0a, 6, 0x08, 3, 0x12, 2, b'n', b'o'];

    fn field(number: u8, octets: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(octets.len()).unwrap()];
        out.extend_from_slice(octets);
        out
    }

    /// A `google.rpc.Status` whose only detail has this type and content.
    fn status(type_url: &str, content: &[u8]) -> Vec<u8> {
        let any = [field(1, type_url.as_bytes()), field(2, content)].concat();
        let mut status = vec![0x08, 14]; // code: UNAVAILABLE
        status.extend(field(2, b"try later"));
        status.extend(field(3, &any));
        status
    }

    fn retry_after(duration: &[u8]) -> Option<Duration> {
        read_retry_info(&status(
            "type.googleapis.com/google.rpc.RetryInfo",
            &field(1, duration),
        ))
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        out.push(u8::try_from(value).unwrap());
        out
    }

    #[test]
    fn partial_success_is_read() {
        let partial = read_partial_success(PARTIAL).unwrap();
        assert_eq!(partial.rejected_spans, 3);
        assert_eq!(partial.error_message, "no");
        assert!(!partial.is_empty());
    }

    #[test]
    fn empty_responses_mean_that_all_was_taken() {
        assert!(read_partial_success(b"").unwrap().is_empty());
        assert!(read_partial_success(&[0x0a, 0]).unwrap().is_empty());
        for body in [
            "",
            " \n",
            "{}",
            r#"{"partialSuccess":{}}"#,
            r#"{"partialSuccess":null}"#,
        ] {
            assert!(
                read_partial_success_json(body.as_bytes())
                    .unwrap()
                    .is_empty(),
                "{body}"
            );
        }
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        let octets = [&[0x78, 1, 0x7d, 0, 0, 0, 0][..], PARTIAL, &[0x22, 1, 0]].concat();
        assert_eq!(
            read_partial_success(&octets).unwrap(),
            read_partial_success(PARTIAL).unwrap()
        );
    }

    #[test]
    fn a_negative_count_is_none() {
        let octets = field(1, &[&[0x08][..], &varint(u64::MAX)].concat());
        assert_eq!(read_partial_success(&octets).unwrap().rejected_spans, 0);
    }

    #[test]
    fn a_page_of_html_is_refused() {
        let page = b"<html><body>502</body></html>";
        assert!(matches!(
            read_partial_success(page),
            Err(ResponseError::Protobuf(_))
        ));
        assert!(matches!(
            read_partial_success_json(page),
            Err(ResponseError::Json(_))
        ));
    }

    #[test]
    fn json_takes_numbers_strings_and_null() {
        for (count, expected) in [
            ("3", 3),
            (r#""3""#, 3),
            ("3.0", 3),
            ("null", 0),
            ("-1", 0),
            ("18446744073709551615", i64::MAX as u64),
        ] {
            let body = format!(
                r#"{{"new":[1],"partialSuccess":{{"rejectedSpans":{count},"errorMessage":"no"}}}}"#
            );
            let partial = read_partial_success_json(body.as_bytes()).unwrap();
            assert_eq!(partial.rejected_spans, expected, "{count}");
            assert_eq!(partial.error_message, "no");
        }
        let other_case = br#"{"partial_success":{"rejected_spans":"2"}}"#;
        assert_eq!(
            read_partial_success_json(other_case)
                .unwrap()
                .rejected_spans,
            2
        );
        assert!(read_partial_success_json(br#"{"partialSuccess":{"rejectedSpans":[]}}"#).is_err());
    }

    #[test]
    fn texts_are_bounded_and_valid() {
        assert_eq!(bounded_text(b"a\xffb"), "a\u{fffd}b");
        let exact = "x".repeat(MAX_ERROR_TEXT);
        assert_eq!(bounded_text(exact.as_bytes()), exact);
        for long in [
            "é".repeat(4000).into_bytes(),
            vec![0xff; 100_000],
            vec![b'x'; 1025],
        ] {
            let text = bounded_text(&long);
            assert!(text.len() <= MAX_ERROR_TEXT && text.len() > MAX_ERROR_TEXT - 6);
            assert!(text.ends_with('…'));
        }
    }

    #[test]
    fn retry_info_is_found_among_the_details() {
        assert_eq!(retry_after(&[0x08, 2, 0x10, 5]), Some(Duration::new(2, 5)));
        // Two messages in a row are one with the details of both.
        let two = [
            status("type.googleapis.com/google.rpc.ErrorInfo", b"\xff"),
            status("example.org/google.rpc.RetryInfo", &field(1, &[0x08, 7])),
        ]
        .concat();
        assert_eq!(read_retry_info(&two), Some(Duration::from_secs(7)));
    }

    #[test]
    fn retry_info_without_delay_allows_a_retry() {
        let details = status("type.googleapis.com/google.rpc.RetryInfo", b"");
        assert_eq!(read_retry_info(&details), Some(Duration::ZERO));
    }

    #[test]
    fn other_details_are_not_retry_info() {
        for type_url in ["type.googleapis.com/google.rpc.ErrorInfo", "RetryInfo", ""] {
            assert_eq!(
                read_retry_info(&status(type_url, &field(1, &[0x08, 2]))),
                None
            );
        }
        assert_eq!(read_retry_info(b""), None);
        assert_eq!(read_retry_info(b"\x1a\x05no"), None);
    }

    #[test]
    fn absurd_delays_are_clamped() {
        let seconds = |value: i64| [&[0x08][..], &varint(value.cast_unsigned())].concat();
        assert_eq!(retry_after(&seconds(-1)), Some(Duration::ZERO));
        assert_eq!(retry_after(&seconds(i64::MIN)), Some(Duration::ZERO));
        assert_eq!(retry_after(&seconds(i64::MAX)), Some(MAX_RETRY_DELAY));
        assert_eq!(retry_after(&seconds(86_401)), Some(MAX_RETRY_DELAY));
        // Nanoseconds of the other sign, and beyond a second.
        let mixed = [&seconds(1)[..], &[0x10], &varint((-1_i64).cast_unsigned())].concat();
        assert_eq!(retry_after(&mixed), Some(Duration::from_nanos(999_999_999)));
        let over = [&[0x10][..], &varint(1_500_000_000)].concat();
        assert_eq!(retry_after(&over), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn status_text_is_read_from_protobuf_and_json() {
        let details = status("x", b"");
        assert_eq!(read_status_message(&details).as_deref(), Some("try later"));
        assert_eq!(read_status_message(b""), None);
        assert_eq!(read_status_message(b"<html>"), None);
        let json = br#"{"code":14,"message":"try later","details":[]}"#;
        assert_eq!(read_status_message_json(json).as_deref(), Some("try later"));
        assert_eq!(read_status_message_json(br#"{"message":""}"#), None);
        assert_eq!(read_status_message_json(b"busy"), None);
    }

    #[test]
    fn binary_headers_decode_with_and_without_padding() {
        assert_eq!(decode_binary_header(b"CA4").unwrap(), [0x08, 14]);
        assert_eq!(decode_binary_header(b"CA4=").unwrap(), [0x08, 14]);
        assert_eq!(decode_binary_header(b"").unwrap(), b"");
        assert_eq!(decode_binary_header(b"C*4"), None);
        assert_eq!(
            decode_binary_header(&vec![b'A'; MAX_DETAILS_HEADER + 4]),
            None
        );
    }
}
