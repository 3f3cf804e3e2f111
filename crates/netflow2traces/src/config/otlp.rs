//! The OTLP exporter's settings, as its specification has them.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::setting::Secrecy;
use super::values::{self, Rejection, choice};
use super::{Compression, Protocol, RetryableStatus, Signal, pem};

/// A word for a protocol.
pub(super) fn protocol(text: &str) -> Result<Protocol, Rejection> {
    choice(
        text,
        &[
            ("grpc", Protocol::Grpc),
            ("http", Protocol::HttpProtobuf),
            ("http/protobuf", Protocol::HttpProtobuf),
            ("http/json", Protocol::HttpJson),
        ],
    )
    .map_err(|_| Rejection(format!("{text} is not a protocol of OTLP")))
}

/// A word for a compression.
pub(super) fn compression(text: &str) -> Result<Compression, Rejection> {
    choice(
        text,
        &[
            ("none", Compression::None),
            ("gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
        ],
    )
    .map_err(|_| Rejection(format!("{text} is not a known compression")))
}

/// What an endpoint must be for any protocol; [`endpoint`] does the rest.
pub(super) fn url_text(text: &str) -> Result<String, Rejection> {
    if Secrecy::Url.shown(text).contains("(hidden)@") {
        // The message must not show a password.
        return Err(Rejection::new(
            "user and password don't belong in a URL but in OTEL_EXPORTER_OTLP_HEADERS, as \
             Authorization=Basic%20BASE64",
        ));
    }
    Ok(text.to_owned())
}

/// The complete address that requests go to.
///
/// `general` is whether `text` is an endpoint for all signals: then for HTTP the path of this one
/// is appended. `insecure` decides for gRPC when there is no scheme.
pub(super) fn endpoint(
    text: &str,
    signal: Signal,
    protocol: Protocol,
    general: bool,
    insecure: bool,
) -> Result<(Uri, Option<String>), Rejection> {
    if let Some(rest) = text.find("$(").and_then(|at| text.get(at..))
        && rest.contains(')')
    {
        return Err(Rejection(format!(
            "{} was not replaced by a value (Kubernetes does so only for variables that stand before this one in the \
             same container's env)",
            rest.split_inclusive(')').next().unwrap_or(rest)
        )));
    }
    if let Some(rest) = text.find("${").and_then(|at| text.get(at..)) {
        return Err(Rejection(format!(
            "{} was not replaced by a value",
            rest.split_inclusive('}').next().unwrap_or(rest)
        )));
    }
    if let Some(name) = shell_variable(text) {
        return Err(Rejection(format!("{name} was not replaced by a value")));
    }
    if let Some(reason) = misspelt(text) {
        return Err(Rejection::new(reason));
    }
    let (text, zone) = without_zone(text)?;
    let text = text.as_ref();
    let grpc = protocol == Protocol::Grpc;
    let with_scheme = match (text.contains("://"), grpc) {
        (true, _) => text.to_owned(),
        (false, true) if insecure => format!("http://{text}"),
        (false, true) => format!("https://{text}"),
        (false, false) => {
            return Err(Rejection::new("it lacks a scheme (http:// or https://)"));
        }
    };
    if lacks_brackets(&with_scheme) {
        return Err(Rejection::new(
            "an IPv6 address must be in brackets, such as http://[2001:db8::1]:4317",
        ));
    }
    let uri: Uri = with_scheme
        .parse()
        .map_err(|_| Rejection::new("it is not a URL"))?;
    let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTP);
    if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
        return Err(Rejection(format!(
            "the scheme {scheme} is neither http nor https"
        )));
    }
    let authority = uri
        .authority()
        .ok_or_else(|| Rejection::new("it lacks a host"))?
        .clone();
    if authority.host().is_empty() {
        return Err(Rejection::new("it lacks a host"));
    }
    let after_host = authority
        .as_str()
        .strip_prefix(authority.host())
        .unwrap_or_default();
    if !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(Rejection(format!(
            "{} is not a port",
            after_host.trim_start_matches(':')
        )));
    }
    let path = uri.path().trim_end_matches('/');
    let path_and_query = match (grpc, general) {
        (true, _) if !path.is_empty() || uri.query().is_some() => {
            return Err(Rejection(format!(
                "gRPC has no path ({path}); for OTLP over HTTP set \
                 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
            )));
        }
        (true, _) => "/".to_owned(),
        (false, true) => {
            let query = uri
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            format!("{path}{}{query}", signal.http_path())
        }
        (false, false) => uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
            .to_owned(),
    };
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path_and_query)
        .build()
        .map(|uri| (uri, zone))
        .map_err(|_| Rejection::new("it is not a URL"))
}

/// What is wrong with a text that can't be a URL, if it is what people often write.
fn misspelt(text: &str) -> Option<&'static str> {
    if text.matches("://").count() > 1 {
        Some(
            "it is more than one URL; spans go to one backend, and an OpenTelemetry Collector can send them to several",
        )
    } else if !text.contains("://") && (text.starts_with("http:") || text.starts_with("https:")) {
        Some("it lacks a slash after http: or https:")
    } else if !authority(text).is_ascii() {
        Some("its host has letters that aren't ASCII; write them in Punycode (xn--…)")
    } else {
        None
    }
}

/// Host and port as they are written.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// `$NAME` in place of a host or a port.
fn shell_variable(url: &str) -> Option<&str> {
    let authority = authority(url);
    let variable = authority.get(authority.find('$')?..)?;
    variable.split([':', '.', '@']).next()
}

/// Whether the host is an IPv6 address without brackets, with or without a port.
fn lacks_brackets(url: &str) -> bool {
    let authority = authority(url);
    let is_of_address = |octet: u8| octet.is_ascii_hexdigit() || b":.%".contains(&octet);
    authority.matches(':').count() > 1 && authority.bytes().all(is_of_address)
}

/// Takes the zone out of a link-local address: `[fe80::1%25eth0]` (RFC 6874), or with a bare `%` as most programs write
/// it.
fn without_zone(text: &str) -> Result<(Cow<'_, str>, Option<String>), Rejection> {
    let zone = text.find('[').and_then(|open| {
        let close = open + text.get(open..)?.find(']')?;
        let percent = open + text.get(open..close)?.find('%')?;
        Some((percent, close))
    });
    let Some((percent, close)) = zone else {
        return Ok((Cow::Borrowed(text), None));
    };
    let zone = &text[percent + 1..close];
    let zone = zone
        .strip_prefix("25")
        .filter(|rest| !rest.is_empty())
        .unwrap_or(zone);
    let zone = values::percent_decoded(zone)?;
    if zone.is_empty() || zone.contains(|c: char| c.is_control() || c == '/' || c == '%') {
        return Err(Rejection::new(
            "the zone of the address is not the name of an interface",
        ));
    }
    let text = format!("{}{}", &text[..percent], &text[close..]);
    Ok((Cow::Owned(text), Some(zone)))
}

/// What is odd about an endpoint, though it can be used.
pub(super) fn endpoint_warnings(
    text: &str,
    signal: Signal,
    uri: &Uri,
    protocol: Protocol,
) -> Vec<String> {
    let text = Secrecy::Url.shown(text);
    let mut warnings = Vec::new();
    let (grpc, plain) = (
        protocol == Protocol::Grpc,
        uri.scheme() == Some(&Scheme::HTTP),
    );
    match uri.port_u16() {
        Some(4318) if grpc => warnings.push(
            "port 4318 is usually OTLP over HTTP, and the protocol is grpc: if nothing gets \
             through, set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or port 4317"
                .to_owned(),
        ),
        Some(4317) if !grpc => warnings.push(
            "port 4317 is usually OTLP over gRPC, and the protocol is HTTP: if nothing gets \
             through, set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or port 4318"
                .to_owned(),
        ),
        None if plain => warnings.push(format!(
            "the endpoint {text} has no port, so it is port 80; OTLP is usually on port {}",
            if grpc { 4317 } else { 4318 }
        )),
        _ => {}
    }
    let path = signal.http_path();
    if uri.path().ends_with(&path.repeat(2)) {
        let name = signal.variable("ENDPOINT");
        warnings.push(format!(
            "{path} is appended to {text}; a full URL belongs in {name}"
        ));
    }
    if grpc && !text.contains("://") && !plain {
        warnings.push(format!(
            "the endpoint {text} has no scheme, so the connection is encrypted; write \
             http://{text} if the backend doesn't speak TLS"
        ));
    }
    warnings
}

/// Statuses of HTTP by number and of gRPC by name.
pub(super) fn retryable_status(text: &str) -> Result<RetryableStatus, Rejection> {
    let mut found = RetryableStatus::default();
    for item in values::items(text) {
        if let Ok(status) = item.parse::<u16>() {
            if !(300..=599).contains(&status) {
                return Err(Rejection(format!("{item} is not an HTTP error status")));
            }
            found.http.push(status);
        } else {
            let name = item.to_ascii_uppercase();
            let code = (1..=16).find(|code| GRPC_NAMES[*code] == name);
            let code = code.ok_or_else(|| {
                Rejection(format!(
                    "{item} is neither an HTTP status nor a gRPC status"
                ))
            })?;
            found.grpc.push(code as u32);
        }
    }
    if found == RetryableStatus::default() {
        return Err(Rejection::new("the list has no items"));
    }
    Ok(found)
}

/// By number (<https://grpc.io/docs/guides/status-codes/>).
const GRPC_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A PEM file with trusted authorities; some of them may be unusable.
pub(super) fn authority_file(text: &str) -> Result<PathBuf, Rejection> {
    let path = PathBuf::from(text);
    pem::trusted(&file(&path)?).map_err(Rejection)?;
    Ok(path)
}

/// What is wrong with some of the certificates in a file of [`authority_file`].
pub(super) fn ignored_authorities(path: &Path) -> Vec<String> {
    let octets = std::fs::read(path).unwrap_or_default();
    pem::trusted(&octets).map_or_else(|_| Vec::new(), |(_, ignored)| ignored)
}

/// A PEM file in which there is a certificate.
pub(super) fn certificate_file(text: &str) -> Result<PathBuf, Rejection> {
    let path = PathBuf::from(text);
    let octets = file(&path)?;
    let mut certificates = CertificateDer::pem_slice_iter(&octets);
    match certificates.next() {
        Some(Ok(_)) => {}
        Some(Err(error)) => return Err(Rejection(format!("the file is not PEM ({error})"))),
        None => return Err(Rejection::new("there is no certificate in the file")),
    }
    match certificates.find_map(Result::err) {
        Some(error) => Err(Rejection(format!(
            "the file is not PEM throughout ({error})"
        ))),
        None => Ok(path),
    }
}

/// A PEM file in which there is a private key.
pub(super) fn key_file(text: &str) -> Result<PathBuf, Rejection> {
    let path = PathBuf::from(text);
    let octets = file(&path)?;
    PrivateKeyDer::from_pem_slice(&octets)
        .map_err(|_| Rejection::new("there is no unencrypted private key in the file"))?;
    Ok(path)
}

fn file(path: &Path) -> Result<Vec<u8>, Rejection> {
    std::fs::read(path).map_err(|error| Rejection(format!("the file can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str, protocol: Protocol, general: bool, insecure: bool) -> String {
        match endpoint(text, Signal::Traces, protocol, general, insecure) {
            Ok((uri, None)) => uri.to_string(),
            Ok((uri, Some(zone))) => format!("{uri} in {zone}"),
            Err(Rejection(reason)) => format!("refused: {reason}"),
        }
    }

    #[test]
    fn a_general_http_endpoint_gets_the_path_of_traces() {
        for (text, uri) in [
            ("http://tempo:4318", "http://tempo:4318/v1/traces"),
            ("http://tempo:4318/", "http://tempo:4318/v1/traces"),
            (
                "https://cloud.example/otlp",
                "https://cloud.example/otlp/v1/traces",
            ),
            (
                "https://cloud.example/otlp/",
                "https://cloud.example/otlp/v1/traces",
            ),
            (
                "https://cloud.example/otlp?key=1",
                "https://cloud.example/otlp/v1/traces?key=1",
            ),
            (
                "http://[2001:db8::1]:4318",
                "http://[2001:db8::1]:4318/v1/traces",
            ),
        ] {
            assert_eq!(made(text, Protocol::HttpProtobuf, true, false), uri);
            assert_eq!(made(text, Protocol::HttpJson, true, false), uri);
        }
    }

    #[test]
    fn a_traces_endpoint_is_used_as_it_stands() {
        for (text, uri) in [
            ("http://tempo:4318", "http://tempo:4318/"),
            ("http://tempo:4318/custom/", "http://tempo:4318/custom/"),
            (
                "http://tempo:4318/v1/traces?a=b",
                "http://tempo:4318/v1/traces?a=b",
            ),
        ] {
            assert_eq!(made(text, Protocol::HttpProtobuf, false, false), uri);
        }
    }

    #[test]
    fn grpc_without_scheme_is_encrypted_unless_insecure() {
        assert_eq!(
            made("tempo:4317", Protocol::Grpc, true, false),
            "https://tempo:4317/"
        );
        assert_eq!(
            made("tempo:4317", Protocol::Grpc, true, true),
            "http://tempo:4317/"
        );
        assert_eq!(
            made("https://tempo:4317", Protocol::Grpc, true, true),
            "https://tempo:4317/"
        );
        assert_eq!(
            made("http://tempo:4317/", Protocol::Grpc, false, false),
            "http://tempo:4317/"
        );
        assert_eq!(
            made("[::1]:4317", Protocol::Grpc, true, true),
            "http://[::1]:4317/"
        );
    }

    #[test]
    fn a_zone_is_taken_out_of_a_link_local_address() {
        for text in ["http://[fe80::1%25eth0]:4317", "http://[fe80::1%eth0]:4317"] {
            let found = made(text, Protocol::Grpc, true, false);
            assert_eq!(found, "http://[fe80::1]:4317/ in eth0");
        }
        let found = made("http://[fe80::1%252]:4317", Protocol::Grpc, true, false);
        assert_eq!(found, "http://[fe80::1]:4317/ in 2");
        let found = made("[fe80::1%25en0]:4317", Protocol::Grpc, true, true);
        assert_eq!(found, "http://[fe80::1]:4317/ in en0");
        for text in ["http://[fe80::1%]:4317", "http://[fe80::1%25a%2Fb]:4317"] {
            let found = made(text, Protocol::Grpc, true, false);
            assert!(found.starts_with("refused"), "{found}");
        }
    }

    #[test]
    fn a_variable_that_was_left_in_an_endpoint_is_named() {
        for (text, name) in [
            ("http://$(NODE_IP):4317", "$(NODE_IP)"),
            ("$(NODE_IP):4317", "$(NODE_IP)"),
            ("http://tempo.$(POD_NAMESPACE).svc:4317", "$(POD_NAMESPACE)"),
            ("http://${HOST}:4317", "${HOST}"),
            ("http://$HOST:4317", "$HOST"),
            ("http://tempo:$PORT", "$PORT"),
        ] {
            for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
                let found = made(text, protocol, true, true);
                assert!(
                    found.contains(&format!("{name} was not replaced")),
                    "{found}"
                );
            }
        }
    }

    #[test]
    fn what_people_often_write_has_its_own_sentence() {
        for (text, sentence) in [
            ("http://a:4317,http://b:4317", "more than one URL"),
            ("http:/tempo:4317", "lacks a slash"),
            ("https:tempo:4317", "lacks a slash"),
            ("http://köln.example:4317", "Punycode"),
        ] {
            for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
                let found = made(text, protocol, true, true);
                assert!(found.contains(sentence), "{text}: {found}");
            }
        }
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_named() {
        for text in [
            "http://::1:4317",
            "http://2001:db8::1/v1/traces",
            "fe80::1:4317",
        ] {
            for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
                let found = made(text, protocol, false, true);
                let is_named = found.contains("in brackets") || found.contains("lacks a scheme");
                assert!(is_named, "{text}: {found}");
            }
        }
        assert!(made("http://::1:4317", Protocol::Grpc, true, true).contains("in brackets"));
    }

    #[test]
    fn statuses_to_retry_have_numbers_or_names() {
        let found = retryable_status("404, 500,unimplemented,INTERNAL").unwrap();
        assert_eq!((found.http, found.grpc), (vec![404, 500], vec![12, 13]));
        for text in ["200", "OK", "99", "600", "404;500", "not found", ","] {
            assert!(retryable_status(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_endpoint_is_refused() {
        for (text, protocol) in [
            ("tempo:4318", Protocol::HttpProtobuf),
            ("http://tempo:4317/v1/traces", Protocol::Grpc),
            ("unix:///run/otlp.sock", Protocol::Grpc),
            ("ftp://tempo", Protocol::HttpProtobuf),
            ("http://", Protocol::Grpc),
            ("http://:4317", Protocol::Grpc),
            ("http://tempo:99999", Protocol::Grpc),
            ("http://tempo:0", Protocol::Grpc),
            ("http://tempo:", Protocol::Grpc),
            ("http://tempo 1", Protocol::Grpc),
        ] {
            assert!(
                made(text, protocol, true, false).starts_with("refused"),
                "{text}"
            );
        }
    }
}
