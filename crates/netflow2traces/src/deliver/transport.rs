//! Connections to one backend: a request in, the whole bounded answer out, within the timeout.
//!
//! Each slot keeps its own connection (HTTP/2 would put all requests on one), opens it when it is
//! first needed and replaces it after a timeout, for a connection may be dead without a sign.

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::Frames;
use super::cork::Corking;
use super::diagnose;
use super::first_octets::{FirstOctets, Noting};
use super::outcome::Cause;

/// Octets of an answer's body that are read. Answers are a few octets; error pages may be longer.
const MAX_ANSWER: usize = 256 * 1024;
/// Octets of all header fields of an answer over HTTP/2.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Octets of a body that HTTP/2 takes at once, which copies none of them. More than most requests have: each
/// further piece would be a wake-up.
const SEND_BUFFER: usize = 8 << 20;
/// An unused connection is closed after this time; most servers and load balancers keep them longer.
const IDLE: Duration = Duration::from_secs(50);
/// The kernel asks after the other end of an unused connection this often.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Which HTTP versions may be spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Versions {
    /// HTTP/2 alone: by prior knowledge, or by ALPN with TLS.
    Http2,
    /// HTTP/1.1; HTTP/2 where ALPN offers it.
    Any,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Cut at [`MAX_ANSWER`] octets.
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

#[derive(Debug)]
pub(super) struct Transport {
    slots: Vec<Slot>,
    versions: Versions,
    tls: rustls::ClientConfig,
    timeout: Duration,
}

type HttpClient = Client<HttpsConnector<Noting<Corking>>, Frames>;

#[derive(Debug)]
struct Slot {
    client: Mutex<HttpClient>,
    first: FirstOctets,
}

impl Transport {
    pub(super) fn new(
        versions: Versions,
        tls: rustls::ClientConfig,
        timeout: Duration,
        slots: usize,
    ) -> Self {
        let slots = (0..slots.max(1))
            .map(|_| {
                let first = FirstOctets::default();
                Slot {
                    client: Mutex::new(client(versions, tls.clone(), first.clone())),
                    first,
                }
            })
            .collect();
        Self {
            slots,
            versions,
            tls,
            timeout,
        }
    }

    /// Sends a request and reads the answer. `slot` is taken modulo the number of slots.
    ///
    /// # Errors
    /// The cause, if there was no whole answer: the request may or may not have been understood.
    pub(super) async fn exchange(
        &self,
        slot: usize,
        request: Request<Frames>,
    ) -> Result<Answer, Cause> {
        let slot = &self.slots[slot % self.slots.len()];
        let client = slot
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let tls = request.uri().scheme() == Some(&http::uri::Scheme::HTTPS);
        let exchange = async {
            let response = client.request(request).await?;
            read(response).await
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(diagnose::broken(
                error.as_ref(),
                slot.first.spoken(),
                self.versions,
                tls,
            )),
            Err(_) => {
                let fresh = client_for(self, slot);
                *slot.client.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                Err(diagnose::silent(
                    slot.first.spoken(),
                    self.versions,
                    tls,
                    self.timeout,
                ))
            }
        }
    }
}

fn client_for(transport: &Transport, slot: &Slot) -> HttpClient {
    client(
        transport.versions,
        transport.tls.clone(),
        slot.first.clone(),
    )
}

fn client(versions: Versions, tls: rustls::ClientConfig, first: FirstOctets) -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    let tcp = Noting {
        inner: Corking(tcp),
        first,
    };
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    let connector = match versions {
        Versions::Http2 => builder.enable_http2().wrap_connector(tcp),
        Versions::Any => builder.enable_all_versions().wrap_connector(tcp),
    };
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1)
        .http2_only(versions == Versions::Http2)
        .http2_max_header_list_size(MAX_HEADER_LIST)
        .http2_max_send_buf_size(SEND_BUFFER)
        .build(connector)
}

async fn read(response: Response<Incoming>) -> Result<Answer, Box<dyn StdError + Send + Sync>> {
    let (parts, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = incoming.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                let room = MAX_ANSWER - body.len();
                body.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() >= room {
                    break;
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.freeze(),
        trailers,
    })
}
