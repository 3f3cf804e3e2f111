//! Turns a broken exchange into one sentence that names the likely setting.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::connect::{Unresolved, Why};
use super::first_octets::Spoken;
use super::outcome::Cause;
use super::transport::Versions;
use crate::config::pem::unsupported_curve;

const HTTP_FOR_GRPC: &str = "the endpoint speaks HTTP/1.1, but the protocol is gRPC; set \
     OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or use the backend's gRPC port (usually 4317)";
const NO_HTTP2: &str = "the endpoint doesn't answer in HTTP/2, which gRPC needs; if it is an HTTP port set \
     OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, if it expects TLS begin \
     OTEL_EXPORTER_OTLP_ENDPOINT with https://";
const GRPC_FOR_HTTP: &str = "the endpoint speaks only HTTP/2, as gRPC does; set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or use \
     the backend's HTTP port (usually 4318)";
const CLOSED_UNASKED: &str = "the endpoint closed the connection without an answer; if it expects TLS begin \
     OTEL_EXPORTER_OTLP_ENDPOINT with https://";
const TLS_FOR_PLAIN: &str =
    "the endpoint expects TLS; begin OTEL_EXPORTER_OTLP_ENDPOINT with https://";
const PLAIN_FOR_TLS: &str =
    "the endpoint doesn't speak TLS; begin OTEL_EXPORTER_OTLP_ENDPOINT with http://";
const CLOSED_HANDSHAKE: &str = "the endpoint closed the connection during the TLS handshake; check host and port of \
     OTEL_EXPORTER_OTLP_ENDPOINT, and that the backend speaks TLS there (if not, begin it with \
     http://)";
const NOT_A_BACKEND: &str = "the endpoint speaks neither HTTP nor gRPC; check host and port of \
     OTEL_EXPORTER_OTLP_ENDPOINT";
const NO_LISTENER: &str = "nothing listens there; check host and port of OTEL_EXPORTER_OTLP_ENDPOINT, and that the \
     backend runs";
const NO_NAME: &str =
    "the host name can't be resolved; check the host of OTEL_EXPORTER_OTLP_ENDPOINT";
const SILENT_NAME_SERVER: &str = "the name server doesn't answer; check /etc/resolv.conf (in a container, its DNS settings), \
     or use an IP address in OTEL_EXPORTER_OTLP_ENDPOINT";
const NO_ROUTE: &str = "nothing answers at that address; check host and port of OTEL_EXPORTER_OTLP_ENDPOINT, and \
     firewalls or network policies on the way";
const NO_PROXY_THERE: &str = "the proxy can't be reached; check HTTPS_PROXY and HTTP_PROXY, or exempt the backend with \
     NO_PROXY";
const NOT_A_PROXY: &str = "what answers there is not an HTTP proxy; check HTTPS_PROXY and HTTP_PROXY, or exempt the \
     backend with NO_PROXY";
const PROXY_CREDENTIALS: &str = "the proxy requires credentials; set HTTPS_PROXY (HTTP_PROXY for an http:// endpoint) to \
     http://USER:PASSWORD@HOST:PORT";
const PROXY_REFUSES: &str = "the proxy doesn't connect to the backend; allow it there, or exempt the backend with \
     NO_PROXY";
const SILENT: &str = "the backend is slow or unreachable; if it only needs longer, raise \
     OTEL_EXPORTER_OTLP_TIMEOUT";
const SILENT_HANDSHAKE: &str = "the port accepts connections but doesn't answer the TLS handshake; check host and port of \
     OTEL_EXPORTER_OTLP_ENDPOINT, and whether it begins with https:// by mistake";
const NOT_A_SERVERS: &str = "the backend presents the certificate of an authority, not of a server; sign one for the \
     server with it, or make it without the CA mark (openssl req -x509 -addext \
     basicConstraints=CA:FALSE)";
const UNKNOWN_ISSUER: &str = "the backend's certificate is signed by an authority that is not trusted here; set \
     OTEL_EXPORTER_OTLP_CERTIFICATE to that authority's PEM file";
const ISSUER_NOT_IN_FILE: &str = "the backend's certificate is signed by an authority that is not in the file of \
     OTEL_EXPORTER_OTLP_CERTIFICATE; add that authority's certificate to it (the file is read \
     again when it changes)";
const EXPIRED: &str = "the backend's certificate has expired, or the clock is wrong here";
const NOT_YET_VALID: &str =
    "the backend's certificate is not valid yet, or the clock is wrong here";
const WRONG_NAME: &str = "the backend's certificate is for another name; use in OTEL_EXPORTER_OTLP_ENDPOINT a name \
     that the certificate lists";
const WRONG_PURPOSE: &str = "the backend's certificate may not be used by a server; have it issued with the extended key \
     usage serverAuth";
const OLD_CERTIFICATE: &str = "the backend's certificate is damaged, or has a form that TLS no longer accepts (X.509 \
     version 1); have it issued again as version 3 with subject alternative names";
const OTHER_SIGNATURE: &str = "this program verifies signatures of ECDSA keys on P-256 and P-384 (with SHA-256 or SHA-384), \
     of Ed25519 keys, and of RSA keys of 2048 to 8192 bits (with SHA-256 to SHA-512), but not of \
     keys on P-521; have the certificates of the backend and of its authority issued with one of \
     these";
const MISSING_CLIENT_CERTIFICATE: &str = "the backend asks for a client certificate; set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
     OTEL_EXPORTER_OTLP_CLIENT_KEY to a pair that it accepts";
const REFUSED_CLIENT_CERTIFICATE: &str = "the backend refuses the client certificate of OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: it may \
     have expired, or be signed by an authority that the backend doesn't trust; renew it (the \
     files are read again when they change)";
const NOTHING_IN_COMMON: &str = "the backend and this program have no TLS version, cipher or signature in common; this \
     program offers TLS 1.2 and 1.3, ECDHE with AES-GCM or ChaCha20, and certificates with ECDSA \
     keys on P-256 or P-384, Ed25519 or RSA keys (not P-521); check the backend's TLS settings \
     and the key of its certificate";
const OTHER_TLS_VERSION: &str =
    "the backend doesn't offer TLS 1.2 or 1.3; enable one of them there";
const UNKNOWN_NAME: &str =
    "the backend serves no TLS for this host name; check the host of OTEL_EXPORTER_OTLP_ENDPOINT";
const NO_COMMON_PROTOCOL: &str = "the backend doesn't offer this HTTP version over TLS (gRPC needs HTTP/2); check \
     OTEL_EXPORTER_OTLP_PROTOCOL and the port";

/// What is set, for sentences that point at a setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Configured {
    pub(super) versions: Versions,
    pub(super) tls: bool,
    /// Whether there are trusted authorities besides the system's.
    pub(super) authority: bool,
    pub(super) client_certificate: bool,
    pub(super) proxy: bool,
}

/// The cause of a look-up that found no address.
pub(super) fn unresolved(host: &str, why: &Unresolved, configured: Configured) -> Cause {
    let text = format!("{host}: {why}");
    let remedy = match why {
        _ if configured.proxy => NO_PROXY_THERE,
        Unresolved::Failed(_) => NO_NAME,
        Unresolved::Silent(_) => SILENT_NAME_SERVER,
    };
    Cause::with_remedy(format!("look-up of {text}"), remedy)
}

/// The cause when the addresses of an earlier look-up give no connection either.
pub(super) fn outdated(
    host: &str,
    why: &Unresolved,
    cause: &Cause,
    configured: Configured,
) -> Cause {
    let unresolved = unresolved(host, why, configured);
    Cause {
        text: format!(
            "{}; by its last known address: {}",
            unresolved.text, cause.text
        ),
        ..unresolved
    }
}

/// Addresses in one sentence.
const SHOWN_ADDRESSES: usize = 3;

/// The cause when no address gave a connection.
pub(super) fn unreachable(tried: &[(SocketAddr, Why)], configured: Configured) -> Cause {
    let shown: Vec<String> = tried
        .iter()
        .take(SHOWN_ADDRESSES)
        .map(|(address, why)| format!("{address}: {why}"))
        .collect();
    let more = tried.len().saturating_sub(SHOWN_ADDRESSES);
    let more = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    let what = if configured.proxy { "proxy " } else { "" };
    let text = format!("no connection to {what}{}{more}", shown.join(", "));
    let refused = |why: &Why| matches!(why, Why::Error(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    let remedy = if configured.proxy {
        NO_PROXY_THERE
    } else if tried.iter().any(|(_, why)| refused(why)) {
        NO_LISTENER
    } else {
        NO_ROUTE
    };
    Cause::with_remedy(text, remedy)
}

/// The cause when no address gave a connection in time, though each step was within its own limit.
pub(super) fn not_connected(limit: Duration) -> Cause {
    Cause::with_remedy(format!("no connection within {limit:?}"), NO_ROUTE)
}

/// The cause when the proxy said no.
pub(super) fn proxy_refused(target: &str, status: Option<u16>, text: &str) -> Cause {
    let remedy = match status {
        Some(407) => PROXY_CREDENTIALS,
        Some(_) => PROXY_REFUSES,
        None => NOT_A_PROXY,
    };
    Cause::with_remedy(
        format!("the proxy gives no connection to {target}: {text}"),
        remedy,
    )
}

/// The cause when the proxy said nothing.
pub(super) fn proxy_silent(target: &str, limit: Duration) -> Cause {
    let text = format!("the proxy gives no connection to {target}: no answer within {limit:?}");
    Cause::with_remedy(text, PROXY_REFUSES)
}

/// The cause when the TLS handshake failed. `asked`: the backend has asked for a client certificate.
pub(super) fn handshake(
    error: &io::Error,
    spoken: Spoken,
    asked: bool,
    configured: Configured,
) -> Cause {
    let tls = tls_inside(error);
    let text = tls.map_or_else(|| error.to_string(), tls_text);
    let remedy = match tls {
        Some(tls) => tls_remedy(tls, spoken, asked, configured),
        None if spoken == Spoken::Nothing => Some(CLOSED_HANDSHAKE),
        None => None,
    };
    let text = format!("TLS handshake: {text}");
    match remedy {
        Some(remedy) => Cause::with_remedy(text, remedy),
        None => Cause::new(text),
    }
}

/// The cause when the TLS handshake took too long.
pub(super) fn handshake_silent(address: SocketAddr, spoken: Spoken, limit: Duration) -> Cause {
    let remedy = match spoken {
        Spoken::Nothing | Spoken::Tls => SILENT_HANDSHAKE,
        _ => PLAIN_FOR_TLS,
    };
    let text = format!("no TLS handshake with {address} within {limit:?}");
    Cause::with_remedy(text, remedy)
}

/// The cause of an exchange that ended without a whole answer.
pub(super) fn broken(
    error: &(dyn StdError + 'static),
    spoken: Spoken,
    asked: bool,
    configured: Configured,
) -> Cause {
    let text = chain(error);
    let remedy =
        remedy(error, spoken, asked, configured).or_else(|| alert_remedy(&text, asked, configured));
    match remedy {
        Some(remedy) => Cause::with_remedy(text, remedy),
        None => Cause::new(text),
    }
}

/// As [`broken`], for the first request of a connection. A backend that refuses a client certificate over TLS 1.3 says so
/// after the handshake, and closes; when that meets our request, its alert may be lost.
pub(super) fn broken_at_once(
    error: &(dyn StdError + 'static),
    spoken: Spoken,
    asked: bool,
    configured: Configured,
) -> Cause {
    let cause = broken(error, spoken, asked, configured);
    let remedy = (asked && configured.tls).then(|| about_client_certificate(configured));
    Cause {
        remedy: cause.remedy.or(remedy),
        ..cause
    }
}

/// The cause of an exchange that took too long.
pub(super) fn silent(spoken: Spoken, configured: Configured, timeout: Duration) -> Cause {
    let remedy = mismatch(spoken, configured).unwrap_or(SILENT);
    Cause::with_remedy(format!("no answer within {timeout:?}"), remedy)
}

fn remedy(
    error: &(dyn StdError + 'static),
    spoken: Spoken,
    asked: bool,
    configured: Configured,
) -> Option<&'static str> {
    for source in sources(error) {
        if let Some(error) = source.downcast_ref::<io::Error>()
            && let Some(error) = tls_inside(error)
        {
            return tls_remedy(error, spoken, asked, configured);
        }
    }
    mismatch(spoken, configured).or_else(|| {
        let closed = spoken == Spoken::Nothing && !configured.tls && is_closed(error);
        closed.then_some(CLOSED_UNASKED)
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
const fn mismatch(spoken: Spoken, configured: Configured) -> Option<&'static str> {
    let tls = configured.tls;
    match (spoken, configured.versions) {
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

/// rustls shows the identifiers of algorithms as octets; people know names.
fn tls_text(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Bad, Error};
    match error {
        Error::InvalidCertificate(Bad::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        }) => format!(
            "the backend's certificate is signed {}, which is not supported",
            signature_name(signature_algorithm_id)
        ),
        Error::InvalidCertificate(Bad::UnsupportedSignatureAlgorithmForPublicKeyContext {
            public_key_algorithm_id,
            ..
        }) => format!(
            "the backend's certificate is signed with a key {}, which is not supported",
            unsupported_curve(public_key_algorithm_id).map_or_else(
                || "of another kind".to_owned(),
                |curve| format!("on the curve {curve}")
            )
        ),
        other => other.to_string(),
    }
}

/// RFC 5758 section 3.2, RFC 8017 appendix C, RFC 8410.
fn signature_name(id: &[u8]) -> &'static str {
    const NAMES: [(&[u8], &str); 7] = [
        (
            &[0xce, 0x3d, 0x04, 0x03, 0x04],
            "with ECDSA and SHA-512, as keys on the curve P-521 do",
        ),
        (&[0xce, 0x3d, 0x04, 0x03, 0x01], "with ECDSA and SHA-224"),
        (&[0xce, 0x3d, 0x04, 0x01], "with ECDSA and SHA-1"),
        (&[0xf7, 0x0d, 0x01, 0x01, 0x05], "with RSA and SHA-1"),
        (&[0xf7, 0x0d, 0x01, 0x01, 0x04], "with RSA and MD5"),
        (
            &[0xf7, 0x0d, 0x01, 0x01, 0x0a],
            "with RSA-PSS and other parameters than usual",
        ),
        (&[0x2b, 0x65, 0x71], "with Ed448"),
    ];
    let known = NAMES
        .iter()
        .find(|(oid, _)| id.windows(oid.len()).any(|window| window == *oid));
    known.map_or("in another way", |(_, name)| name)
}

fn tls_remedy(
    error: &rustls::Error,
    spoken: Spoken,
    asked: bool,
    configured: Configured,
) -> Option<&'static str> {
    use rustls::{CertificateError as Bad, Error};
    match error {
        Error::InvalidCertificate(bad) => match bad {
            // BadSignature: a trusted authority has the same name, but another key.
            Bad::UnknownIssuer | Bad::BadSignature if configured.authority => {
                Some(ISSUER_NOT_IN_FILE)
            }
            Bad::UnknownIssuer | Bad::BadSignature => Some(UNKNOWN_ISSUER),
            Bad::Expired | Bad::ExpiredContext { .. } => Some(EXPIRED),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => Some(NOT_YET_VALID),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Some(WRONG_NAME),
            Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => Some(WRONG_PURPOSE),
            Bad::UnsupportedSignatureAlgorithmContext { .. }
            | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Some(OTHER_SIGNATURE),
            Bad::BadEncoding => Some(OLD_CERTIFICATE),
            // webpki's errors, known by their names alone.
            Bad::Other(other) => match format!("{other:?}") {
                name if name.contains("CaUsedAsEndEntity") => Some(NOT_A_SERVERS),
                name if name.contains("UnsupportedCertVersion") => Some(OLD_CERTIFICATE),
                _ => None,
            },
            _ => None,
        },
        Error::AlertReceived(alert) => of_alert(*alert, asked, configured),
        Error::NoApplicationProtocol => Some(NO_COMMON_PROTOCOL),
        Error::PeerIncompatible(_) => Some(NOTHING_IN_COMMON),
        _ if !matches!(spoken, Spoken::Tls | Spoken::Nothing) => Some(PLAIN_FOR_TLS),
        _ => None,
    }
}

const fn about_client_certificate(configured: Configured) -> &'static str {
    if configured.client_certificate {
        REFUSED_CLIENT_CERTIFICATE
    } else {
        MISSING_CLIENT_CERTIFICATE
    }
}

/// What an alert of the backend means (RFC 8446 section 6.2).
fn of_alert(
    alert: rustls::AlertDescription,
    asked: bool,
    configured: Configured,
) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::NoApplicationProtocol => Some(NO_COMMON_PROTOCOL),
        Alert::ProtocolVersion => Some(OTHER_TLS_VERSION),
        Alert::UnrecognisedName => Some(UNKNOWN_NAME),
        // Unless the backend asked, it can't be about a client certificate. OpenSSL says so over TLS 1.2 when it asked
        // and got none.
        Alert::HandshakeFailure | Alert::InsufficientSecurity if !asked => Some(NOTHING_IN_COMMON),
        Alert::CertificateRequired
        | Alert::NoCertificate
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError
        | Alert::HandshakeFailure => Some(about_client_certificate(configured)),
        Alert::InsufficientSecurity => Some(NOTHING_IN_COMMON),
        _ => None,
    }
}

/// HTTP/2 keeps of an I/O error only its text, so an alert after the handshake is known by that.
fn alert_remedy(text: &str, asked: bool, configured: Configured) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    let (_, said) = text.split_once("received fatal alert: ")?;
    let known = [
        Alert::CertificateRequired,
        Alert::BadCertificate,
        Alert::UnsupportedCertificate,
        Alert::CertificateRevoked,
        Alert::CertificateExpired,
        Alert::CertificateUnknown,
        Alert::UnknownCA,
        Alert::AccessDenied,
        Alert::DecryptError,
        Alert::HandshakeFailure,
    ];
    let alert = known
        .into_iter()
        .find(|alert| said.starts_with(&format!("{alert:?}")))?;
    of_alert(alert, asked, configured)
}

/// The messages of an error and its sources, each once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for source in sources(error) {
        let http2 = source.downcast_ref().and_then(http2_text);
        let mut part = http2.unwrap_or_else(|| source.to_string());
        // rustls adds a page for programmers.
        if let Some(at) = part.find(": https://docs.rs/") {
            part.truncate(at);
        }
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

/// What the backend said in HTTP/2's own frames; its library calls an end in order "not a result of an error".
fn http2_text(error: &h2::Error) -> Option<String> {
    let reason = error.reason().filter(|_| error.is_remote())?;
    let ended = if error.is_go_away() {
        "connection (GOAWAY"
    } else {
        "request (RST_STREAM"
    };
    Some(format!("the backend ended the {ended} {reason:?})"))
}

fn sources<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
