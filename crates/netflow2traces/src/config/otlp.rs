//! The OTLP exporter's settings, as its specification has them.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::path::PathBuf;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::setting::Secrecy;
use super::values::{self, Rejection, choice};
use super::{Compression, Headers, Protocol, Signal};

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
) -> Result<Uri, Rejection> {
    let grpc = protocol == Protocol::Grpc;
    let with_scheme = match (text.contains("://"), grpc) {
        (true, _) => text.to_owned(),
        (false, true) if insecure => format!("http://{text}"),
        (false, true) => format!("https://{text}"),
        (false, false) => {
            return Err(Rejection::new("it lacks a scheme (http:// or https://)"));
        }
    };
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
        .map_err(|_| Rejection::new("it is not a URL"))
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

/// `name=value,…`, values percent-decoded. Messages show names at most.
pub(super) fn headers(text: &str) -> Result<Headers, Rejection> {
    let mut headers = Headers::new();
    for (index, item) in values::items(text).enumerate() {
        let nth = index + 1;
        let Some((name, value)) = item.split_once('=') else {
            return Err(Rejection(format!("pair {nth} lacks \"=\"")));
        };
        let name = name.trim();
        if name.contains(':') {
            return Err(Rejection(format!(
                "pair {nth} has \":\" between name and value"
            )));
        }
        let name: HeaderName = name.parse().map_err(|_| {
            Rejection(format!(
                "pair {nth} doesn't begin with the name of a header"
            ))
        })?;
        if is_reserved(&name) {
            return Err(Rejection(format!("{name} is set by the daemon itself")));
        }
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(Rejection(format!("{name} stands there twice")));
        }
        let mut value = HeaderValue::try_from(values::percent_decoded(value.trim())?)
            .map_err(|_| Rejection(format!("the value of {name} has control characters")))?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    Ok(headers)
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

fn file(path: &PathBuf) -> Result<Vec<u8>, Rejection> {
    std::fs::read(path).map_err(|error| Rejection(format!("the file can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str, protocol: Protocol, general: bool, insecure: bool) -> String {
        match endpoint(text, Signal::Traces, protocol, general, insecure) {
            Ok(uri) => uri.to_string(),
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
