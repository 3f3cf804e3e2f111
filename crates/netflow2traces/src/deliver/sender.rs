//! The ways to deliver, and what all have in common: the form of the octets, the headers, TLS.

use std::io;

use bytes::Bytes;
use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::Scheme;
use tracing::warn;

use super::body::Prepared;
use super::compress::Compressor;
use super::console::Console;
use super::otlp_grpc::GrpcSender;
use super::otlp_http::HttpSender;
use super::outcome::Outcome;
use super::spool::SpoolError;
use super::tls::{self, TlsError};
use super::transport::{Transport, Versions};
use crate::config::{Compression, Exporter, Otlp, Protocol, Signal};

/// As the OTLP exporter specification, "User Agent", wants it.
const OUR_USER_AGENT: &str = concat!("netflow2traces/", env!("CARGO_PKG_VERSION"));

/// Why delivery can't start. Each says variable, value and what is accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: begin it with http:// or https://")]
    Scheme { endpoint: Uri },
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the thread that writes to stdout could not be started: {0}")]
    Console(#[source] io::Error),
}

/// Where batches go.
#[derive(Debug)]
pub(super) enum Sender {
    Grpc {
        sender: GrpcSender,
        compressor: Compressor,
    },
    Http {
        sender: HttpSender,
        compressor: Compressor,
        json: bool,
    },
    Console(Console),
    /// Takes everything and keeps nothing.
    Discard,
}

/// The batch can't be put into the form to send.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("the batch can't be written as JSON: {0}")]
    Json(#[from] otlp_wire::json::JsonError),
    #[error("the batch can't be compressed: {0}")]
    Compress(#[source] io::Error),
    #[error("the task that prepares a batch ended early")]
    Ended,
}

impl Sender {
    pub(super) fn new(
        exporter: &Exporter,
        slots: usize,
        console: Option<Console>,
    ) -> Result<Self, DeliverError> {
        match exporter {
            Exporter::Otlp(otlp) => Self::otlp(otlp, Signal::Traces, slots),
            Exporter::Console => Ok(console.map_or(Self::Discard, Self::Console)),
            Exporter::None => Ok(Self::Discard),
        }
    }

    /// For this signal; metrics come as JSON already where that is to be sent.
    pub(super) fn otlp(otlp: &Otlp, signal: Signal, slots: usize) -> Result<Self, DeliverError> {
        let tls = match otlp.endpoint.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => tls::client_config(&otlp.tls)?,
            Some(scheme) if *scheme == Scheme::HTTP => tls::no_tls()?,
            _ => {
                return Err(DeliverError::Scheme {
                    endpoint: otlp.endpoint.clone(),
                });
            }
        };
        let headers = user_headers(&otlp.headers);
        let compressor = Compressor::new(otlp.compression);
        let versions = if otlp.protocol == Protocol::Grpc {
            Versions::Http2
        } else {
            Versions::Any
        };
        let transport = Transport::new(versions, tls, otlp.timeout, slots);
        Ok(match otlp.protocol {
            Protocol::Grpc => Self::Grpc {
                sender: GrpcSender::new(otlp, signal, headers, transport),
                compressor,
            },
            Protocol::HttpProtobuf | Protocol::HttpJson => Self::Http {
                sender: HttpSender::new(otlp, headers, transport),
                compressor,
                json: otlp.protocol == Protocol::HttpJson && signal == Signal::Traces,
            },
        })
    }

    /// Puts the octets of a batch into the form to send, once for all attempts. Nothing is copied
    /// where they are sent as they are; all else runs off the async threads.
    pub(super) async fn prepare(&self, octets: Bytes) -> Result<Prepared, PrepareError> {
        let (compressor, json) = match self {
            Self::Grpc { compressor, .. } => (compressor, false),
            Self::Http {
                compressor, json, ..
            } => (compressor, *json),
            Self::Console(_) => {
                return off_thread(move || {
                    let mut lines = Vec::new();
                    otlp_wire::json::write_span_lines(&octets, &mut lines)?;
                    Ok(Prepared {
                        octets: lines.into(),
                        verbatim: false,
                        compressed: false,
                    })
                })
                .await;
            }
            Self::Discard => return Ok(Prepared::verbatim(octets)),
        };
        let compressed = compressor.method() != Compression::None;
        if !compressed && !json {
            return Ok(Prepared::verbatim(octets));
        }
        let compressor = compressor.clone();
        off_thread(move || {
            let mut octets = octets;
            if json {
                let mut text = Vec::with_capacity(octets.len() * 2);
                otlp_wire::json::write_request(&octets, &mut text)?;
                octets = text.into();
            }
            if compressed {
                octets = compressor
                    .compress(&octets)
                    .map_err(PrepareError::Compress)?
                    .into();
            }
            Ok(Prepared {
                octets,
                verbatim: false,
                compressed,
            })
        })
        .await
    }

    /// One attempt.
    pub(super) async fn send(&self, slot: usize, body: &Prepared) -> Outcome {
        match self {
            Self::Grpc { sender, .. } => sender.send(slot, body).await,
            Self::Http { sender, .. } => sender.send(slot, body).await,
            Self::Console(console) => console.send(body).await,
            Self::Discard => Outcome::Accepted,
        }
    }
}

async fn off_thread<T, F>(work: F) -> Result<T, PrepareError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, PrepareError> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(PrepareError::Ended))
}

/// The user's headers and our User-Agent, which they may replace. What the protocol itself needs
/// can't be set.
fn user_headers(given: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        if is_reserved(name) {
            warn!(header = %name, "header in OTEL_EXPORTER_OTLP_HEADERS ignored: the protocol sets it");
            continue;
        }
        let mut value = value.clone();
        // Keeps credentials out of HTTP/2's shared compression table and of debug output.
        value.set_sensitive(true);
        headers.append(name, value);
    }
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(OUR_USER_AGENT));
    headers
}

fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [HeaderName; 8] = [
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    RESERVED.contains(name) || name.as_str().starts_with("grpc-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_headers_win_where_they_may() {
        let given = [
            (
                HeaderName::from_static("x-tenant"),
                HeaderValue::from_static("a"),
            ),
            (
                HeaderName::from_static("x-tenant"),
                HeaderValue::from_static("b"),
            ),
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            (
                HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_static("1S"),
            ),
        ];
        let headers = user_headers(&given);
        assert_eq!(headers.get_all("x-tenant").iter().count(), 2);
        assert_eq!(headers.get(USER_AGENT).unwrap(), OUR_USER_AGENT);
        assert_eq!(headers.len(), 3);
        let own = [(USER_AGENT, HeaderValue::from_static("mine/1"))];
        assert_eq!(user_headers(&own).get(USER_AGENT).unwrap(), "mine/1");
    }
}
