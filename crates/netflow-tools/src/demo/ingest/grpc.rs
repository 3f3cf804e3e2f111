//! OTLP/gRPC: one method, whose request and response are one message each
//! (gRPC over HTTP2, <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use otlp_wire::messages::ExportTraceServiceRequest;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use super::{Ingest, Refusal, decompress, encoding_name};
use crate::demo::store::TraceStore;

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Before a message: whether it is compressed, and its length.
const FRAME: usize = 5;
/// What a `grpc-message` can't hold as it is.
const RESERVED: &AsciiSet = &CONTROLS.add(b'%');

/// The service, for HTTP/2.
pub(in crate::demo) fn service(store: TraceStore, max_body: usize) -> Router {
    Router::new()
        .route(METHOD, post(export))
        .fallback(unknown)
        .layer(DefaultBodyLimit::disable())
        .with_state(Ingest::new(store, max_body))
}

async fn export(State(ingest): State<Ingest>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !is_grpc(&parts.headers) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let encoding = parts.headers.get(ENCODING).map(encoding_name);
    let taken = ingest.take(body, FRAME, move |body, max_body| {
        let (is_compressed, message) = unframed(body)?;
        let message = decompress(encoding.filter(|_| is_compressed), message, max_body)?;
        Ok(ExportTraceServiceRequest::decode(message)?)
    });
    match taken.await {
        Ok(response) => answered(&response),
        Err(refusal) => refused(refusal.grpc_code(), &refusal.to_string()),
    }
}

async fn unknown(request: Request) -> Response {
    // UNIMPLEMENTED
    refused(
        12,
        &format!("{} is no method of this server", request.uri().path()),
    )
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE);
    media_type.is_some_and(|value| value.as_bytes().starts_with(MEDIA_TYPE.as_bytes()))
}

/// The message of a body, and whether it is compressed.
fn unframed(mut body: Bytes) -> Result<(bool, Bytes), Refusal> {
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<FRAME>() else {
        return Err(Refusal::Frame);
    };
    if flag > 1 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err(Refusal::Frame);
    }
    Ok((flag == 1, body.split_off(FRAME)))
}

fn answered(message: &impl Message) -> Response {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(FRAME + length);
    body.put_u8(0);
    // It holds one text of ours.
    body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    body.extend_from_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(body.freeze())
        .with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], Body::new(body)).into_response()
}

/// A status without a message: what would be the trailers are headers.
fn refused(code: u8, message: &str) -> Response {
    let message = utf8_percent_encode(message, RESERVED).to_string();
    let headers = [
        (header::CONTENT_TYPE, MEDIA_TYPE),
        (STATUS, HeaderValue::from(u16::from(code))),
        // Percent-encoded text is always a header's value.
        (
            MESSAGE,
            message.parse().unwrap_or(HeaderValue::from_static("")),
        ),
        (ACCEPT_ENCODING, ACCEPTED),
    ];
    (headers, Body::empty()).into_response()
}

impl Refusal {
    fn grpc_code(&self) -> u8 {
        match self {
            // INVALID_ARGUMENT
            Self::Broken
            | Self::Frame
            | Self::Compression(_)
            | Self::Protobuf(_)
            | Self::Json(_) => 3,
            // RESOURCE_EXHAUSTED, as other servers answer it
            Self::TooLarge(_) => 8,
            // UNIMPLEMENTED
            Self::Encoding(_) => 12,
            // UNAVAILABLE
            Self::Ended => 14,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_whole_message() {
        let message = |octets: &'static [u8]| unframed(Bytes::from_static(octets));
        let (is_compressed, whole) = message(&[1, 0, 0, 0, 2, 8, 9]).unwrap();
        assert!(is_compressed);
        assert_eq!(*whole, [8, 9]);
        let (is_compressed, empty) = message(&[0; 5]).unwrap();
        assert!(!is_compressed && empty.is_empty());
        for broken in [
            &[][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 8],
            &[0, 0, 0, 0, 1, 8, 9],
            &[2, 0, 0, 0, 1, 8],
            &[0, 255, 255, 255, 255, 8],
        ] {
            assert!(matches!(message(broken), Err(Refusal::Frame)), "{broken:?}");
        }
    }
}
