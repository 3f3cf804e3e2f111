//! What an answer of the backend means. Status, message and headers in, [`Outcome`] out; no I/O, no
//! clock.
//!
//! Retryable is what the OTLP specification (1.x, "Failures", "Throttling") lets be retried, and
//! nothing else. The deviations: a request refused as too large is split and retried; one that was cut on the way is
//! retried, which some backends answer as if it had been sent so; and what no backend says, but a proxy or a network
//! that lets nothing through, is a connection that failed.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use otlp_wire::response::PartialSuccess;

use super::phrases::{OVER_BURST, plain_to_tls, says_compression, says_cut_short, says_too_large};

/// The outcome of one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The backend has all spans.
    Accepted,
    /// The backend has all but `rejected_spans`; they must not be retried (OTLP, "Partial
    /// Success"). Zero rejected spans with a message is a warning.
    Partial {
        rejected_spans: u64,
        message: String,
    },
    /// Worth another attempt, after the time that the backend asked for, if it did.
    Retry {
        after: Option<Duration>,
        cause: Cause,
    },
    /// Would be taken in smaller pieces.
    TooLarge { cause: Cause },
    /// Refused for good.
    Rejected { cause: Cause },
}

impl From<PartialSuccess> for Outcome {
    fn from(partial: PartialSuccess) -> Self {
        if partial.is_empty() {
            return Self::Accepted;
        }
        Self::Partial {
            rejected_spans: partial.rejected_spans,
            message: excerpt(&partial.error_message),
        }
    }
}

impl Outcome {
    /// A refusal becomes worth another attempt, for the operator says that it passes.
    #[must_use]
    pub(super) fn retried_if(self, listed: bool, after: Option<Duration>) -> Self {
        match self {
            Self::Rejected { cause } if listed => Self::Retry { after, cause },
            other => other,
        }
    }

    /// A refusal of credentials is worth another attempt if there are new ones by now.
    #[must_use]
    pub(super) fn unless_outdated(self, outdated: impl FnOnce() -> bool) -> Self {
        match self {
            Self::Rejected { cause } if cause.remedy == Some(REMEDY_CREDENTIALS) && outdated() => {
                Self::Retry { after: None, cause }
            }
            other => other,
        }
    }

    /// Whether the backend says that the request ended early. If it ends the connection, too, that is no verdict on the
    /// request.
    #[must_use]
    pub(super) fn says_cut_short(&self, status: StatusCode) -> bool {
        match self {
            Self::Rejected { cause } => match status {
                StatusCode::REQUEST_TIMEOUT => true,
                StatusCode::BAD_REQUEST => says_cut_short(&cause.text),
                _ => false,
            },
            _ => false,
        }
    }

    /// The request was cut on the way: worth another attempt, as any connection that broke.
    #[must_use]
    pub(super) fn of_a_request_cut_short(self) -> Self {
        match self {
            Self::Rejected { cause } => Self::Retry {
                after: None,
                cause: Cause {
                    remedy: Some(REMEDY_CUT_SHORT),
                    ..cause
                },
            },
            other => other,
        }
    }
}

/// Why a request was not accepted, and which setting is likely to help.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cause {
    pub text: String,
    /// A sentence for the operator, where the failure points at a setting.
    pub remedy: Option<&'static str>,
}

impl Cause {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            remedy: None,
        }
    }

    pub(super) fn with_remedy(text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            text: text.into(),
            remedy: Some(remedy),
        }
    }
}

impl Cause {
    /// Of a request with metrics: where a remedy speaks of traces, that of metrics.
    #[must_use]
    pub(super) fn of_metrics(self) -> Self {
        let remedy = self.remedy.map(|remedy| match remedy {
            REMEDY_PATH => REMEDY_METRICS_PATH,
            REMEDY_SERVICE => REMEDY_METRICS_SERVICE,
            other => other,
        });
        Self { remedy, ..self }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

const REMEDY_CREDENTIALS: &str = "the backend doesn't accept the credentials; check \
     OTEL_EXPORTER_OTLP_HEADERS (often authorization=Bearer%20… or Basic%20…)";
const REMEDY_PATH: &str = "nothing accepts traces at this path; check the path of \
     OTEL_EXPORTER_OTLP_ENDPOINT (/v1/traces is appended to it) or \
     OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (used unchanged)";
const REMEDY_SERVICE: &str = "the backend has no OTLP trace service over gRPC here; check \
     OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL";
const REMEDY_METRICS_PATH: &str = "nothing accepts metrics at this path; check the path of \
     OTEL_EXPORTER_OTLP_ENDPOINT (/v1/metrics is appended to it) or name another endpoint with \
     OTEL_EXPORTER_OTLP_METRICS_ENDPOINT (used unchanged)";
const REMEDY_METRICS_SERVICE: &str = "the backend has no OTLP metrics service over gRPC here; name another \
     endpoint with OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, or check OTEL_EXPORTER_OTLP_PROTOCOL";
const REMEDY_COMPRESSION: &str =
    "the backend doesn't read this compression; set OTEL_EXPORTER_OTLP_COMPRESSION to gzip or none";
const REMEDY_CUT_SHORT: &str = "the backend did not get the whole request and closed the connection; something \
     between here and the backend, such as a proxy or a load balancer, ends connections too early";
const REMEDY_REDIRECT: &str = "redirects are not followed; set OTEL_EXPORTER_OTLP_ENDPOINT to the \
     address that the backend names";
const REMEDY_PROXY: &str = "a proxy before the backend requires credentials; set HTTPS_PROXY (HTTP_PROXY for an http:// \
     endpoint) to http://USER:PASSWORD@HOST:PORT";
const REMEDY_PORTAL: &str =
    "the network requires a login in a browser before it lets anything through";
const REMEDY_NO_ANSWER: &str = "something other than an OTLP backend answers; check host, port and path of \
     OTEL_EXPORTER_OTLP_ENDPOINT";
const REMEDY_PLAIN_TO_TLS: &str =
    "the endpoint expects TLS; begin OTEL_EXPORTER_OTLP_ENDPOINT with https://";
const REMEDY_MEDIA_TYPE: &str = "the backend doesn't read this encoding; check \
     OTEL_EXPORTER_OTLP_PROTOCOL (http/protobuf or http/json) and OTEL_EXPORTER_OTLP_COMPRESSION";

/// A gRPC status code (<https://grpc.io/docs/guides/status-codes/>).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GrpcCode(pub u32);

impl GrpcCode {
    pub const OK: Self = Self(0);
    pub const CANCELLED: Self = Self(1);
    pub const UNKNOWN: Self = Self(2);
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    pub const PERMISSION_DENIED: Self = Self(7);
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    pub const ABORTED: Self = Self(10);
    pub const OUT_OF_RANGE: Self = Self(11);
    pub const UNIMPLEMENTED: Self = Self(12);
    pub const INTERNAL: Self = Self(13);
    pub const UNAVAILABLE: Self = Self(14);
    pub const DATA_LOSS: Self = Self(15);
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The code of an answer without `grpc-status`, from its HTTP status
    /// (grpc/doc/http-grpc-status-mapping.md).
    #[must_use]
    pub const fn from_http(status: u16) -> Self {
        match status {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// The name as the gRPC documentation writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            1 => "CANCELLED",
            2 => "UNKNOWN",
            3 => "INVALID_ARGUMENT",
            4 => "DEADLINE_EXCEEDED",
            5 => "NOT_FOUND",
            6 => "ALREADY_EXISTS",
            7 => "PERMISSION_DENIED",
            8 => "RESOURCE_EXHAUSTED",
            9 => "FAILED_PRECONDITION",
            10 => "ABORTED",
            11 => "OUT_OF_RANGE",
            12 => "UNIMPLEMENTED",
            13 => "INTERNAL",
            14 => "UNAVAILABLE",
            15 => "DATA_LOSS",
            16 => "UNAUTHENTICATED",
            _ => "a status unknown to gRPC",
        }
    }
}

/// Classifies a gRPC status other than OK.
///
/// `retry_info` is the delay of a `google.rpc.RetryInfo` in the status details. The order matters:
/// tonic reports a message over its limit as OUT_OF_RANGE, which is retryable otherwise.
#[must_use]
pub fn classify_grpc(code: GrpcCode, message: &str, retry_info: Option<Duration>) -> Outcome {
    let name = match code.0 {
        0..=16 => code.name().to_owned(),
        unknown => unknown.to_string(),
    };
    let text = if message.is_empty() {
        format!("gRPC status {name}")
    } else {
        format!("gRPC status {name}: {}", excerpt(message))
    };
    if says_too_large(message) {
        return Outcome::TooLarge {
            cause: Cause::new(text),
        };
    }
    match code {
        GrpcCode::CANCELLED
        | GrpcCode::DEADLINE_EXCEEDED
        | GrpcCode::ABORTED
        | GrpcCode::OUT_OF_RANGE
        | GrpcCode::UNAVAILABLE
        | GrpcCode::DATA_LOSS => Outcome::Retry {
            after: retry_info,
            cause: Cause::new(text),
        },
        GrpcCode::RESOURCE_EXHAUSTED if retry_info.is_some() => Outcome::Retry {
            after: retry_info,
            cause: Cause::new(text),
        },
        GrpcCode::UNAUTHENTICATED | GrpcCode::PERMISSION_DENIED => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_CREDENTIALS),
        },
        GrpcCode::UNIMPLEMENTED if says_compression(message) => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_COMPRESSION),
        },
        GrpcCode::UNIMPLEMENTED => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_SERVICE),
        },
        _ => Outcome::Rejected {
            cause: Cause::new(text),
        },
    }
}

/// Classifies an HTTP status outside 2xx. `message` is what the body says.
#[must_use]
pub fn classify_http(status: u16, message: &str, retry_after: Option<Duration>) -> Outcome {
    let text = if message.is_empty() {
        format!("HTTP status {status}")
    } else {
        format!("HTTP status {status}: {}", excerpt(message))
    };
    match status {
        413 => Outcome::TooLarge {
            cause: Cause::new(text),
        },
        // The OpenTelemetry Collector's way to say 413 (Go's http.MaxBytesReader).
        400 if message.contains("request body too large") => Outcome::TooLarge {
            cause: Cause::new(text),
        },
        429 if message.contains(OVER_BURST) => Outcome::TooLarge {
            cause: Cause::new(text),
        },
        429 | 502..=504 => Outcome::Retry {
            after: retry_after,
            cause: Cause::new(text),
        },
        // No answer of a backend: they say that there is no way to it.
        100..=199 | 407 | 511 => Outcome::Retry {
            after: None,
            cause: Cause::with_remedy(
                text,
                match status {
                    407 => REMEDY_PROXY,
                    511 => REMEDY_PORTAL,
                    _ => REMEDY_NO_ANSWER,
                },
            ),
        },
        400 if plain_to_tls(message).is_some() => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_PLAIN_TO_TLS),
        },
        300..=399 => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_REDIRECT),
        },
        401 | 403 => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_CREDENTIALS),
        },
        404 | 405 => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_PATH),
        },
        415 => Outcome::Rejected {
            cause: Cause::with_remedy(text, REMEDY_MEDIA_TYPE),
        },
        _ => Outcome::Rejected {
            cause: Cause::new(text),
        },
    }
}

/// The limit that a too-large message names, for a request of `sent` octets: the largest number in
/// it below `sent`. Servers name the size they got, the limit, or both.
///
/// Meaningful only for a request that was not compressed, else the numbers may count other octets.
#[must_use]
pub fn stated_limit(message: &str, sent: usize) -> Option<usize> {
    // A number this far below the request is not its limit: a port, a tenant, a stream id.
    let least = sent / 256;
    message
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<usize>().ok())
        .filter(|&number| number < sent && number > least)
        .max()
}

/// The delay of a `Retry-After` header: seconds, or an HTTP-date (RFC 9110 section 10.2.3). A date
/// in the past is no delay.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        return Some(Duration::from_secs(
            value.parse().unwrap_or(u64::from(u32::MAX)),
        ));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Characters of a backend's message that go into a log line.
const MAX_EXCERPT: usize = 300;

/// The first line of a message, bounded, without control characters.
pub(super) fn excerpt(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_control())
        .take(MAX_EXCERPT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_retry(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Retry { .. })
    }

    #[test]
    fn grpc_codes_are_retried_as_the_specification_says() {
        for code in 1..=17 {
            let outcome = classify_grpc(GrpcCode(code), "no", None);
            assert_eq!(
                is_retry(&outcome),
                [1, 4, 10, 11, 14, 15].contains(&code),
                "code {code}"
            );
            assert_eq!(
                matches!(outcome, Outcome::Rejected { .. }),
                ![1, 4, 10, 11, 14, 15].contains(&code),
                "code {code}"
            );
        }
    }

    #[test]
    fn resource_exhausted_is_retried_only_with_retry_info() {
        let second = Duration::from_secs(1);
        let outcome = classify_grpc(GrpcCode::RESOURCE_EXHAUSTED, "slow down", Some(second));
        assert!(matches!(outcome, Outcome::Retry { after: Some(after), .. } if after == second));
        let outcome = classify_grpc(GrpcCode::RESOURCE_EXHAUSTED, "slow down", None);
        assert!(matches!(outcome, Outcome::Rejected { .. }));
    }

    #[test]
    fn http_statuses_are_retried_as_the_specification_says() {
        for status in 300..600 {
            let outcome = classify_http(status, "", None);
            assert_eq!(
                is_retry(&outcome),
                [407, 429, 502, 503, 504, 511].contains(&status),
                "{status}"
            );
            assert_eq!(
                matches!(outcome, Outcome::TooLarge { .. }),
                status == 413,
                "{status}"
            );
        }
    }

    #[test]
    fn every_phrasing_of_too_large_is_recognised() {
        for (code, message) in [
            (
                8,
                "grpc: received message larger than max (5242880 vs. 4194304)",
            ),
            (
                8,
                "grpc: received message after decompression larger than max 4194304",
            ),
            (
                8,
                "SERVER: Received message larger than max (5242880 vs. 4194304)",
            ),
            (
                11,
                "Error, decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes",
            ),
            (
                8,
                "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing message",
            ),
            (8, "gRPC message exceeds maximum size 4194304: 5242880"),
            (8, "Decompressed gRPC message exceeds maximum size 4194304"),
            (
                8,
                "Received message exceeds the maximum configured message size.",
            ),
            (2, "Payload Too Large"),
            (3, "Request payload size exceeds the limit: 4194304 bytes."),
        ] {
            let outcome = classify_grpc(GrpcCode(code), message, None);
            assert!(matches!(outcome, Outcome::TooLarge { .. }), "{message}");
        }
    }

    /// Tempo refuses so what is larger than its rate and its burst, and would at every attempt.
    #[test]
    fn a_request_over_the_burst_of_a_rate_limit_is_too_large() {
        let message = "RATE_LIMITED: batch size (2097101 bytes) exceeds ingestion limit (local: 1000000 bytes/s, global: 0 bytes/s, burst: 500000 bytes) while adding 2097101 bytes for user single-tenant. consider reducing batch size or increasing rate limit.";
        let soon = Some(Duration::from_secs(1));
        for outcome in [
            classify_grpc(GrpcCode::RESOURCE_EXHAUSTED, message, None),
            classify_grpc(GrpcCode::RESOURCE_EXHAUSTED, message, soon),
            classify_http(429, message, soon),
        ] {
            assert!(matches!(outcome, Outcome::TooLarge { .. }), "{outcome:?}");
        }
        assert_eq!(stated_limit(message, 2_097_101), Some(1_000_000));
    }

    #[test]
    fn rate_and_trace_limits_are_not_too_large() {
        for message in [
            "RATE_LIMITED: ingestion rate limit (local: 15000000 bytes, global: 0 bytes) exceeded while adding 5242880 bytes for user single-tenant",
            "TRACE_TOO_LARGE: max size of trace (5000000) exceeded while adding 5242880 bytes to trace",
            "LIVE_TRACES_EXCEEDED: max live traces exceeded for tenant",
            "data refused due to high memory usage",
            "grpc: the client sent too many pings",
            "quota exceeded",
        ] {
            let outcome = classify_grpc(GrpcCode::RESOURCE_EXHAUSTED, message, None);
            assert!(matches!(outcome, Outcome::Rejected { .. }), "{message}");
        }
    }

    #[test]
    fn a_stated_limit_is_read() {
        let sent = 5_242_880;
        for message in [
            "grpc: received message larger than max (5242880 vs. 4194304)",
            "decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes",
            "gRPC message exceeds maximum size 4194304: 5242880",
        ] {
            assert_eq!(stated_limit(message, sent), Some(4_194_304), "{message}");
        }
        assert_eq!(stated_limit("Payload Too Large", sent), None);
        assert_eq!(stated_limit("stream 17: too large", sent), None);
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(" 0 ", now), Some(Duration::ZERO));
        let date = "Wed, 21 Oct 2026 07:28:07 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Wed, 21 Oct 2020 07:28:00 GMT", now),
            Some(Duration::ZERO)
        );
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after(bad, now), None, "{bad:?}");
        }
        assert!(retry_after("99999999999999999999999", now).is_some());
    }

    #[test]
    fn a_remedy_names_the_setting() {
        for (status, word) in [
            (401, "OTEL_EXPORTER_OTLP_HEADERS"),
            (403, "OTEL_EXPORTER_OTLP_HEADERS"),
            (404, "OTEL_EXPORTER_OTLP_ENDPOINT"),
            (302, "redirects are not followed"),
            (415, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ] {
            let Outcome::Rejected { cause } = classify_http(status, "", None) else {
                panic!("{status} is not rejected");
            };
            assert!(cause.to_string().contains(word), "{cause}");
        }
    }

    proptest! {
        #[test]
        fn no_message_confuses_the_classes(code in 1u32..20, message in ".{0,200}") {
            match classify_grpc(GrpcCode(code), &message, None) {
                Outcome::TooLarge { .. } => prop_assert!(says_too_large(&message)),
                Outcome::Retry { .. } => prop_assert!([1, 4, 10, 11, 14, 15].contains(&code)),
                Outcome::Rejected { .. } => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn a_stated_limit_is_always_below_what_was_sent(message in ".{0,100}", sent in 0usize..1 << 40) {
            if let Some(limit) = stated_limit(&message, sent) {
                prop_assert!(limit < sent);
            }
        }

        #[test]
        fn retry_after_never_panics(value in ".{0,40}") {
            let _ = retry_after(&value, SystemTime::UNIX_EPOCH);
        }
    }
}
