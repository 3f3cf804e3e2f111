//! The ways to deliver, and what all have in common: the form of the octets, the headers, TLS.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::Scheme;
use tracing::warn;

use super::body::Prepared;
use super::compress::Compressor;
use super::console::Console;
use super::credentials::Credentials;
use super::kafka::KafkaSender;
use super::otlp_grpc::GrpcSender;
use super::otlp_http::HttpSender;
use super::outcome::{Cause, Outcome};
use super::spool::SpoolError;
use super::tls::TlsError;
use super::transport::{Transport, Versions};
use crate::config::{Compression, Exporter, Otlp, Protocol, Signal};

/// As the OTLP exporter specification, "User Agent", wants it.
pub(super) const OUR_USER_AGENT: &str = concat!("netflow2traces/", env!("CARGO_PKG_VERSION"));

/// Why delivery can't start. Each says variable, value and what is accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: begin it with http:// or https://")]
    Scheme { endpoint: Uri },
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT: the host {host} can't be the name in a certificate; give a DNS name or an IP \
         address"
    )]
    Host { host: String },
    #[error("NETFLOW_OTLP_HEADERS_FILE={}: {reason}", path.display())]
    HeadersFile { path: PathBuf, reason: String },
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
    Kafka(KafkaSender),
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
            Exporter::Kafka(kafka) => Ok(Self::Kafka(KafkaSender::new(
                kafka,
                &kafka.traces_topic,
                slots,
            ))),
            Exporter::Console => Ok(console.map_or(Self::Discard, Self::Console)),
            Exporter::None => Ok(Self::Discard),
        }
    }

    /// For this signal; metrics come as JSON already where that is to be sent.
    pub(super) fn otlp(otlp: &Otlp, signal: Signal, slots: usize) -> Result<Self, DeliverError> {
        let https = match otlp.endpoint.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => {
                return Err(DeliverError::Scheme {
                    endpoint: otlp.endpoint.clone(),
                });
            }
        };
        let grpc = otlp.protocol == Protocol::Grpc;
        let (versions, fixed) = if grpc {
            (Versions::Http2, GrpcSender::headers(otlp))
        } else {
            (Versions::Any, HttpSender::headers(otlp))
        };
        let credentials = Credentials::new(otlp, https, versions, fixed)?;
        let transport = Transport::new(otlp, versions, credentials, slots)?;
        let compressor = Compressor::new(otlp.compression);
        Ok(if grpc {
            Self::Grpc {
                sender: GrpcSender::new(otlp, signal, transport),
                compressor,
            }
        } else {
            Self::Http {
                sender: HttpSender::new(otlp, transport),
                compressor,
                json: otlp.protocol == Protocol::HttpJson && signal == Signal::Traces,
            }
        })
    }

    /// Opens the connection of a slot if it has none.
    ///
    /// # Errors
    /// The cause, if none could be made.
    pub(super) async fn warm_up(&self, slot: usize) -> Result<(), Cause> {
        match self {
            Self::Grpc { sender, .. } => sender.transport.warm_up(slot).await,
            Self::Http { sender, .. } => sender.transport.warm_up(slot).await,
            Self::Kafka(kafka) => kafka.warm_up().await,
            Self::Console(_) | Self::Discard => Ok(()),
        }
    }

    /// Reads the files of TLS and headers again.
    pub(super) fn reload(&self) {
        if let Some(transport) = self.transport() {
            transport.credentials().reload();
        }
    }

    const fn transport(&self) -> Option<&Transport> {
        match self {
            Self::Grpc { sender, .. } => Some(&sender.transport),
            Self::Http { sender, .. } => Some(&sender.transport),
            Self::Kafka(_) | Self::Console(_) | Self::Discard => None,
        }
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
            Self::Kafka(_) | Self::Discard => return Ok(Prepared::verbatim(octets)),
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
            Self::Kafka(kafka) => kafka.send(&body.octets).await,
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

/// The user's headers, those of the file before those of the environment; our User-Agent, which they may replace; and
/// what the protocol itself needs, which can't be set.
pub(super) fn user_headers(
    given: &[(HeaderName, HeaderValue)],
    from_file: &[(HeaderName, HeaderValue)],
    fixed: &HeaderMap,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let replaced = |name: &HeaderName| from_file.iter().any(|(other, _)| other == name);
    let given = given.iter().filter(|(name, _)| !replaced(name));
    for (name, value) in given.chain(from_file) {
        if is_reserved(name) {
            warn!(header = %name, "header ignored: the protocol sets it");
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
    for (name, value) in fixed {
        headers.insert(name, value.clone());
    }
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
        let headers = user_headers(&given, &[], &HeaderMap::new());
        assert_eq!(headers.get_all("x-tenant").iter().count(), 2);
        assert_eq!(headers.get(USER_AGENT).unwrap(), OUR_USER_AGENT);
        assert_eq!(headers.len(), 3);
        let own = [(USER_AGENT, HeaderValue::from_static("mine/1"))];
        let headers = user_headers(&own, &[], &HeaderMap::new());
        assert_eq!(headers.get(USER_AGENT).unwrap(), "mine/1");
    }

    #[test]
    fn headers_of_the_file_win_over_those_of_the_environment_and_the_protocols_over_both() {
        let header = |name, value| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let given = [header("authorization", "old"), header("x-tenant", "a")];
        let from_file = [header("authorization", "new")];
        let fixed = HeaderMap::from_iter([header("x-tenant", "b")]);
        let headers = user_headers(&given, &from_file, &fixed);
        assert_eq!(headers.get_all("authorization").iter().count(), 1);
        assert_eq!(headers.get("authorization").unwrap(), "new");
        assert_eq!(headers.get("x-tenant").unwrap(), "b");
    }
}
