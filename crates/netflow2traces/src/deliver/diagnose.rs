//! Turns a broken exchange into one sentence that names the likely setting.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::first_octets::Spoken;
use super::outcome::Cause;
use super::transport::Versions;

const HTTP_FOR_GRPC: &str = "the endpoint speaks HTTP/1 where gRPC is set; set \
     OTEL_EXPORTER_OTLP_PROTOCOL=http (usually port 4318) or the backend's gRPC port (usually 4317)";
const NO_HTTP2: &str = "the endpoint doesn't begin to speak HTTP/2, as gRPC does; if it is an HTTP \
     port set OTEL_EXPORTER_OTLP_PROTOCOL=http, if it expects TLS begin \
     OTEL_EXPORTER_OTLP_ENDPOINT with https://";
const GRPC_FOR_HTTP: &str = "the endpoint speaks HTTP/2 alone, as gRPC does; set \
     OTEL_EXPORTER_OTLP_PROTOCOL=grpc or the backend's HTTP port (usually 4318)";
const CLOSED_UNASKED: &str = "the endpoint closed the connection without an answer; if it expects \
     TLS begin OTEL_EXPORTER_OTLP_ENDPOINT with https://";
const TLS_FOR_PLAIN: &str =
    "the endpoint expects TLS; begin OTEL_EXPORTER_OTLP_ENDPOINT with https://";
const PLAIN_FOR_TLS: &str =
    "the endpoint doesn't speak TLS; begin OTEL_EXPORTER_OTLP_ENDPOINT with http://";
const NOT_A_BACKEND: &str = "the endpoint speaks neither HTTP nor gRPC; check host and port of \
     OTEL_EXPORTER_OTLP_ENDPOINT";
const NO_LISTENER: &str = "nothing listens there; check host and port of \
     OTEL_EXPORTER_OTLP_ENDPOINT, and that the backend runs";
const NO_NAME: &str =
    "the host name can't be resolved; check the host of OTEL_EXPORTER_OTLP_ENDPOINT";
const SILENT: &str = "the backend is slow or not reachable; if it only needs longer raise \
     OTEL_EXPORTER_OTLP_TIMEOUT";
const NOT_A_SERVERS: &str = "the backend shows the certificate of an authority, not of a server; \
     sign one for the server with it, or make it without the CA mark \
     (openssl req -x509 -addext basicConstraints=CA:FALSE)";
const UNKNOWN_ISSUER: &str = "the backend's certificate is signed by an authority that is not \
     trusted here; set OTEL_EXPORTER_OTLP_CERTIFICATE to that authority's PEM file";
const EXPIRED: &str = "the backend's certificate has expired, or the clock is wrong here";
const WRONG_NAME: &str = "the backend's certificate is for another name; use in \
     OTEL_EXPORTER_OTLP_ENDPOINT a name that the certificate lists";
const CLIENT_CERTIFICATE: &str = "the backend refuses the TLS client; set \
     OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY to a pair that it accepts";
const NO_COMMON_PROTOCOL: &str = "the backend doesn't offer this HTTP version over TLS; gRPC needs \
     HTTP/2: check OTEL_EXPORTER_OTLP_PROTOCOL and the port";

/// The cause of an exchange that ended without a whole answer.
pub(super) fn broken(
    error: &(dyn StdError + 'static),
    spoken: Spoken,
    versions: Versions,
    tls: bool,
) -> Cause {
    let text = chain(error);
    let remedy = remedy(error, spoken, versions, tls).or_else(|| alert_remedy(&text));
    match remedy {
        Some(remedy) => Cause::with_remedy(text, remedy),
        None => Cause::new(text),
    }
}

/// The cause of an exchange that took too long.
pub(super) fn silent(spoken: Spoken, versions: Versions, tls: bool, timeout: Duration) -> Cause {
    let remedy = mismatch(spoken, versions, tls).unwrap_or(SILENT);
    Cause::with_remedy(format!("no answer within {timeout:?}"), remedy)
}

fn remedy(
    error: &(dyn StdError + 'static),
    spoken: Spoken,
    versions: Versions,
    tls: bool,
) -> Option<&'static str> {
    for source in sources(error) {
        if let Some(error) = source.downcast_ref::<io::Error>() {
            if let Some(error) = tls_inside(error) {
                return tls_remedy(error, spoken);
            }
            if error.kind() == io::ErrorKind::ConnectionRefused {
                return Some(NO_LISTENER);
            }
        }
        if source.to_string().starts_with("dns error") {
            return Some(NO_NAME);
        }
    }
    mismatch(spoken, versions, tls).or_else(|| {
        (spoken == Spoken::Nothing && !tls && is_closed(error)).then_some(CLOSED_UNASKED)
    })
}

/// Whether the other side ended the connection. Many a TLS server does so when it gets plain text.
fn is_closed(error: &(dyn StdError + 'static)) -> bool {
    sources(error).any(|source| {
        let reset = source
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
        let ended = source
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_incomplete_message);
        reset || ended
    })
}

/// What the server's first octets say when no error of TLS is at hand: a TLS record is then an
/// answer to plain text.
const fn mismatch(spoken: Spoken, versions: Versions, tls: bool) -> Option<&'static str> {
    match (spoken, versions) {
        (Spoken::Tls, _) if !tls => Some(TLS_FOR_PLAIN),
        (Spoken::Http1, Versions::Http2) => Some(HTTP_FOR_GRPC),
        // Every HTTP/2 server begins by itself.
        (Spoken::Nothing, Versions::Http2) if !tls => Some(NO_HTTP2),
        (Spoken::Http2, Versions::Any) => Some(GRPC_FOR_HTTP),
        (Spoken::Unknown, _) if !tls => Some(NOT_A_BACKEND),
        _ => None,
    }
}

/// The error of rustls in an I/O error, which may be in another one: `source` passes over both.
fn tls_inside(mut error: &io::Error) -> Option<&rustls::Error> {
    loop {
        let inner = error.get_ref()?;
        if let Some(tls) = inner.downcast_ref() {
            return Some(tls);
        }
        error = inner.downcast_ref()?;
    }
}

fn tls_remedy(error: &rustls::Error, spoken: Spoken) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    match error {
        Error::InvalidCertificate(bad) => match bad {
            // BadSignature: a trusted authority has the same name, but another key.
            Bad::UnknownIssuer | Bad::BadSignature => Some(UNKNOWN_ISSUER),
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. } => Some(EXPIRED),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Some(WRONG_NAME),
            // webpki's error, known by its name alone.
            Bad::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                Some(NOT_A_SERVERS)
            }
            _ => None,
        },
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::AccessDenied
            | Alert::HandshakeFailure,
        ) => Some(CLIENT_CERTIFICATE),
        Error::AlertReceived(Alert::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            Some(NO_COMMON_PROTOCOL)
        }
        _ if !matches!(spoken, Spoken::Tls | Spoken::Nothing) => Some(PLAIN_FOR_TLS),
        _ => None,
    }
}

/// HTTP/2 keeps of an I/O error only its text, so an alert after the handshake is known by that.
fn alert_remedy(text: &str) -> Option<&'static str> {
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let refused = [
        "Certificate",
        "BadCertificate",
        "UnknownCA",
        "AccessDenied",
        "HandshakeFailure",
    ];
    refused
        .iter()
        .any(|name| alert.starts_with(name))
        .then_some(CLIENT_CERTIFICATE)
}

/// The messages of an error and its sources, each once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for source in sources(error) {
        if source.is::<hyper_util::client::legacy::Error>() && source.source().is_some() {
            // Says only in which of its steps the client was.
            continue;
        }
        let part = source.to_string();
        // Many errors repeat their source's message in their own.
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
    }
    text
}

fn sources<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
