//! A way through an HTTP proxy (RFC 9110 section 9.3.6, CONNECT).

use std::io;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper::upgrade::Upgraded;

use super::super::sender::OUR_USER_AGENT;
use crate::config::Proxy;

/// Why a proxy gave no way.
#[derive(Debug)]
pub(super) enum Refused {
    Status(StatusCode),
    Broken(hyper::Error),
}

/// Asks the proxy at the other end of `stream` for a connection to `target`, which has a port.
///
/// # Errors
/// [`Refused`], if the proxy says no or doesn't speak HTTP.
pub(super) async fn tunnel<S>(
    stream: S,
    proxy: &Proxy,
    target: &Authority,
) -> Result<Upgraded, Refused>
where
    S: Read + Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(Refused::Broken)?;
    tokio::spawn(async move {
        // What goes wrong with it is the error of the request.
        let _ = connection.with_upgrades().await;
    });
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::from(target.clone());
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(target.as_str()) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(OUR_USER_AGENT));
    if let Some(authorization) = &proxy.authorization {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    let response = sender
        .send_request(request)
        .await
        .map_err(Refused::Broken)?;
    if !response.status().is_success() {
        return Err(Refused::Status(response.status()));
    }
    hyper::upgrade::on(response).await.map_err(Refused::Broken)
}

impl Refused {
    /// For people, without the remedy.
    pub(super) fn text(&self) -> String {
        use std::error::Error as _;
        match self {
            Self::Status(status) => format!("HTTP status {}", status.as_u16()),
            Self::Broken(error) => {
                let source = error.source().and_then(|source| source.downcast_ref());
                source.map_or_else(|| error.to_string(), io::Error::to_string)
            }
        }
    }
}
