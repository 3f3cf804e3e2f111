//! Connections to one backend: a request in, the whole bounded answer out, within the timeout.
//!
//! Each slot keeps its own connection (HTTP/2 would put all requests on one), opens it when it is
//! first needed, and lets go of it after any answer that is worth another attempt: what answers there may be one sick
//! replica of many, or dead without a sign. A connection is also replaced when it is old, when a file of TLS has
//! changed, and when another address has fewer; the old one is kept if the new one can't be made.

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::answer::{Answer, MAX_ANSWER};
use super::body::Frames;
use super::connect::{Connector, Opened, Requests};
use super::credentials::{Credentials, Current};
use super::diagnose;
use super::outcome::{Cause, Outcome};
use super::sender::DeliverError;
use crate::config::Otlp;

/// A connection that was unused for longer is not used again; most servers and load balancers keep them longer.
const IDLE: Duration = Duration::from_secs(50);
/// A connection of this age may move to an address with fewer, and after that each time this has passed.
const SETTLED: Duration = Duration::from_secs(5);
/// When a connection could not be replaced, it serves for so long until the next attempt.
const RESPITE: Duration = Duration::from_secs(30);

/// No attempt spends longer on its connection, whatever the steps and however many addresses there are.
pub(super) const CONNECTING: Duration = Duration::from_secs(20);
/// How long to wait for the end of a connection, or its reason: it is there, or on its way from another thread.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Which HTTP versions may be spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Versions {
    /// HTTP/2 alone: by prior knowledge, or by ALPN with TLS.
    Http2,
    /// HTTP/1.1; HTTP/2 where ALPN offers it.
    Any,
}

#[derive(Debug)]
pub(super) struct Transport {
    slots: Vec<Mutex<Option<Kept>>>,
    connector: Connector,
    credentials: Credentials,
    timeout: Duration,
    max_age: Duration,
    /// `Host` of HTTP/1.1: without the port where it is the scheme's own.
    host: Option<HeaderValue>,
}

/// A connection between two requests.
#[derive(Debug)]
struct Kept {
    opened: Opened,
    /// Of the TLS files it was made with.
    generation: u64,
    used: Instant,
    /// When it is replaced for its age.
    renew: Instant,
    /// When it may next be moved to another address.
    settled: Instant,
}

impl Transport {
    /// # Errors
    /// [`DeliverError`], if the endpoint or a file can't be used.
    pub(super) fn new(
        otlp: &Otlp,
        versions: Versions,
        credentials: Credentials,
        slots: usize,
    ) -> Result<Self, DeliverError> {
        Ok(Self::with(
            otlp,
            Connector::new(otlp, versions)?,
            credentials,
            slots,
        ))
    }

    pub(super) fn with(
        otlp: &Otlp,
        connector: Connector,
        credentials: Credentials,
        slots: usize,
    ) -> Self {
        Self {
            slots: (0..slots.max(1)).map(|_| Mutex::default()).collect(),
            connector,
            credentials,
            timeout: otlp.timeout,
            max_age: otlp.connections.max_age,
            host: host(&otlp.endpoint),
        }
    }

    /// Headers and TLS as the files have them now.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Opens a connection for this slot if it has none.
    ///
    /// # Errors
    /// The cause, if none could be made.
    pub(super) async fn warm_up(&self, slot: usize) -> Result<(), Cause> {
        if self.slot(slot).is_some() {
            return Ok(());
        }
        let kept = self.open(&self.credentials.current()).await?;
        self.slot(slot).get_or_insert(kept);
        Ok(())
    }

    /// Sends a request, reads the answer and has it judged. `slot` is taken modulo the number of slots. Without a whole
    /// answer the outcome is another attempt: the request may or may not have been understood.
    pub(super) async fn exchange(
        &self,
        slot: usize,
        request: Request<Frames>,
        judge: impl FnOnce(&Answer) -> Outcome,
    ) -> Outcome {
        let retry = |cause| Outcome::Retry { after: None, cause };
        let current = self.credentials.current();
        let kept = self.slot(slot).take();
        let mut reused = kept.is_some();
        let mut kept = match self.ready(kept, &current).await {
            Ok(kept) => kept,
            Err(cause) => return retry(cause),
        };
        let uri = request.uri().clone();
        // A clone costs no copy of the body.
        let mut spare = Some(request.clone());
        let mut request = request;
        loop {
            *request.uri_mut() = uri.clone();
            let exchange = self.over(&mut kept.opened, request);
            let answer = match tokio::time::timeout(self.timeout, exchange).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(unsent)) => {
                    // The backend has not looked at the request: no failure, and not the address's.
                    let unseen = match unsent {
                        Unsent::Back(unsent) if reused => Ok(*unsent),
                        Unsent::Broken(error) if is_unprocessed(error.as_ref()) => {
                            spare.take().ok_or(Unsent::Broken(error))
                        }
                        other => Err(other),
                    };
                    let unsent = match unseen {
                        Ok(unseen) => {
                            reused = false;
                            request = unseen;
                            kept = match self.open(&current).await {
                                Ok(kept) => kept,
                                Err(cause) => return retry(cause),
                            };
                            continue;
                        }
                        Err(unsent) => unsent,
                    };
                    return retry(self.broken(&mut kept, &current, unsent, !reused).await);
                }
                Err(_) => {
                    self.connector.failed(kept.opened.lease.address);
                    let spoken = kept.opened.first.spoken();
                    let configured = self.connector.configured();
                    return retry(diagnose::silent(spoken, configured, self.timeout));
                }
            };
            let mut outcome = judge(&answer);
            if outcome.says_cut_short(answer.status) && kept.has_ended_by_now().await {
                outcome = outcome.of_a_request_cut_short();
            }
            let address = kept.opened.lease.address;
            if matches!(outcome, Outcome::Retry { .. }) {
                self.connector.failed(address);
            } else {
                self.connector.answered(address);
                if answer.body.len() < MAX_ANSWER {
                    kept.used = now();
                    *self.slot(slot) = Some(kept);
                }
            }
            return outcome;
        }
    }

    /// `fresh`: it was the connection's first request.
    async fn broken(
        &self,
        kept: &mut Kept,
        current: &Current,
        unsent: Unsent,
        fresh: bool,
    ) -> Cause {
        self.connector.failed(kept.opened.lease.address);
        let error: Box<dyn StdError + Send + Sync> = match unsent {
            Unsent::Broken(error) => error,
            Unsent::Back(_) => {
                match tokio::time::timeout(LAST_WORDS, &mut kept.opened.ended).await {
                    Ok(Ok(error)) => error.into(),
                    _ => "the backend closed the connection at once".into(),
                }
            }
        };
        let spoken = kept.opened.first.spoken();
        let asked = current.tls.was_asked();
        let configured = self.connector.configured();
        if fresh {
            diagnose::broken_at_once(error.as_ref(), spoken, asked, configured)
        } else {
            diagnose::broken(error.as_ref(), spoken, asked, configured)
        }
    }

    /// The slot's connection if it can serve once more, else a new one.
    async fn ready(&self, kept: Option<Kept>, current: &Current) -> Result<Kept, Cause> {
        let now = now();
        let Some(mut kept) = kept.filter(|kept| kept.is_alive(now)) else {
            return self.open(current).await;
        };
        if kept.generation != current.generation || kept.renew <= now {
            match self.connector.replace(&current.tls).await {
                Ok(opened) => return Ok(self.keep(opened, current)),
                Err(_) => {
                    // A new generation is tried again after the respite too.
                    kept.renew = now + RESPITE;
                    kept.generation = current.generation;
                }
            }
        }
        if kept.settled <= now {
            kept.settled = now + SETTLED;
            let from = kept.opened.lease.address;
            if let Some(opened) = self.connector.rebalance(from, &current.tls).await {
                return Ok(self.keep(opened, current));
            }
        }
        Ok(kept)
    }

    async fn open(&self, current: &Current) -> Result<Kept, Cause> {
        let connecting = self.connector.connect(&current.tls);
        let opened = match tokio::time::timeout(CONNECTING, connecting).await {
            Ok(opened) => opened?,
            Err(_) => return Err(diagnose::not_connected(CONNECTING)),
        };
        Ok(self.keep(opened, current))
    }

    fn keep(&self, opened: Opened, current: &Current) -> Kept {
        let now = now();
        // Connections that were made together don't all end together.
        let age = self.max_age.mul_f64(rand::random_range(0.8..1.0));
        Kept {
            opened,
            generation: current.generation,
            used: now,
            renew: now.checked_add(age).unwrap_or(now + self.max_age / 2),
            settled: now + SETTLED,
        }
    }

    async fn over(&self, opened: &mut Opened, request: Request<Frames>) -> Result<Answer, Unsent> {
        let sent = match &mut opened.requests {
            Requests::Http2(requests) => {
                if requests.ready().await.is_err() {
                    return Err(Unsent::Back(Box::new(request)));
                }
                requests.try_send_request(request).await
            }
            Requests::Http1(requests) => {
                let request = self.for_http1(request);
                if requests.ready().await.is_err() {
                    return Err(Unsent::Back(Box::new(request)));
                }
                requests.try_send_request(request).await
            }
        };
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(request) => Unsent::Back(Box::new(request)),
            None => Unsent::Broken(error.into_error().into()),
        })?;
        read(response)
            .await
            .map_err(|error| Unsent::Broken(error.into()))
    }

    /// The form of RFC 9112 section 3.2: the path alone, or the whole address for a proxy.
    fn for_http1(&self, mut request: Request<Frames>) -> Request<Frames> {
        match self.connector.forwarding_proxy() {
            None => {
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
            }
            Some(proxy) => {
                if let Some(authorization) = &proxy.authorization {
                    request
                        .headers_mut()
                        .insert(PROXY_AUTHORIZATION, authorization.clone());
                }
            }
        }
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        request
    }

    fn slot(&self, slot: usize) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.slots[slot % self.slots.len()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no whole answer.
enum Unsent {
    /// Nothing was sent.
    Back(Box<Request<Frames>>),
    Broken(Box<dyn StdError + Send + Sync>),
}

impl Kept {
    fn is_alive(&self, now: Instant) -> bool {
        let closed = match &self.opened.requests {
            Requests::Http1(requests) => requests.is_closed(),
            Requests::Http2(requests) => requests.is_closed(),
        };
        !closed && now.saturating_duration_since(self.used) < IDLE
    }

    /// Whether the backend ends the connection together with its answer.
    async fn has_ended_by_now(&mut self) -> bool {
        let ended = tokio::time::timeout(LAST_WORDS, &mut self.opened.ended).await;
        ended.is_ok()
    }
}

/// Whether a server of HTTP/2 says that it has not processed the request (RFC 9113 sections 6.8 and 8.7): it ends the
/// connection in order, as for its age, or refuses the stream.
fn is_unprocessed(error: &(dyn StdError + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let reason = error.reason();
            let left = error.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
            let refused = error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (left || refused);
        }
        source = error.source();
    }
    false
}

fn host(endpoint: &Uri) -> Option<HeaderValue> {
    let own = match endpoint.port_u16() {
        Some(443) => endpoint.scheme() == Some(&Scheme::HTTPS),
        Some(80) => endpoint.scheme() == Some(&Scheme::HTTP),
        _ => false,
    };
    let authority = endpoint.authority()?;
    let host = if own {
        authority.host()
    } else {
        authority.as_str()
    };
    HeaderValue::from_str(host).ok()
}

async fn read(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
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

/// tokio's clock, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
