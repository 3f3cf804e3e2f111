//! OTLP in: gRPC and HTTP requests with spans, which go to the store.
//!
//! Bodies are bounded before and after decompression. Spans with malformed ids are refused as a
//! partial success, everything else is accepted.

mod grpc;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use otlp_wire::messages::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::sync::Semaphore;

use super::store::TraceStore;

pub(super) use grpc::service as grpc;

/// Requests over each protocol that are read and decoded at once; others wait.
const MAX_CONCURRENT: usize = 8;
/// A body that takes longer makes room for others.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The HTTP routes: `POST /v1/traces`.
pub(super) fn http(store: TraceStore, max_body: usize) -> Router {
    Router::new()
        .route("/v1/traces", post(export))
        .layer(DefaultBodyLimit::disable())
        .with_state(Ingest::new(store, max_body))
}

/// What reads requests, of one protocol.
#[derive(Clone)]
struct Ingest {
    store: TraceStore,
    max_body: usize,
    permits: Arc<Semaphore>,
}

fn insert(store: &TraceStore, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse {
    let inserted = store.insert(request.resource_spans);
    let partial_success = (inserted.refused > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(inserted.refused).unwrap_or(i64::MAX),
        error_message: "a trace id has 16 octets and a span id 8, not all zero".to_owned(),
    });
    ExportTraceServiceResponse { partial_success }
}

/// The two forms of OTLP/HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let media_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match media_type
            .split(';')
            .next()?
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    fn response(self, status: StatusCode, protobuf: Vec<u8>, json: Option<Vec<u8>>) -> Response {
        let (media_type, body) = match (self, json) {
            (Self::Json, Some(json)) => ("application/json", json),
            _ => ("application/x-protobuf", protobuf),
        };
        (status, [(header::CONTENT_TYPE, media_type)], body).into_response()
    }
}

/// Why a request isn't accepted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    // "received message larger than max" are the words of gRPC's own servers.
    #[error("received message larger than max: it has more than {0} bytes")]
    TooLarge(usize),
    #[error("the body ended early")]
    Broken,
    #[error("the body is not one gRPC message")]
    Frame,
    #[error("the encoding {0:?} is not one of gzip, zstd and identity")]
    Encoding(String),
    #[error("the body is not what its content encoding says: {0}")]
    Compression(std::io::Error),
    #[error("the body is no ExportTraceServiceRequest: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("the body is no ExportTraceServiceRequest: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the request could not be processed")]
    Ended,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Ended => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken
            | Self::Frame
            | Self::Compression(_)
            | Self::Protobuf(_)
            | Self::Json(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// `google.rpc.Status`, the body of a refusal (OTLP specification, "OTLP/HTTP Response").
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

async fn export(State(ingest): State<Ingest>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(form) = Form::of(&parts.headers) else {
        let text = "the content type must be application/x-protobuf or application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    };
    match ingest.http(form, &parts.headers, body).await {
        Ok(response) => {
            let json = serde_json::to_vec(&response).ok();
            form.response(StatusCode::OK, response.encode_to_vec(), json)
        }
        Err(error) => {
            // INVALID_ARGUMENT: the client's to change, and no retry will help.
            let status = RpcStatus {
                code: 3,
                message: error.to_string(),
            };
            let json = serde_json::json!({ "code": status.code, "message": status.message });
            let json = serde_json::to_vec(&json).ok();
            form.response(error.status(), status.encode_to_vec(), json)
        }
    }
}

impl Ingest {
    fn new(store: TraceStore, max_body: usize) -> Self {
        Self {
            store,
            max_body,
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
        }
    }

    async fn http(
        self,
        form: Form,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<ExportTraceServiceResponse, Refusal> {
        let encoding = headers.get(header::CONTENT_ENCODING).map(encoding_name);
        self.take(body, 0, move |body, max_body| {
            let body = decompress(encoding, body, max_body)?;
            Ok(match form {
                Form::Protobuf => ExportTraceServiceRequest::decode(body)?,
                Form::Json => serde_json::from_slice(&body)?,
            })
        })
        .await
    }

    /// Reads a body of at most `max_body` octets and `frame`, and stores what `decode` makes of it.
    async fn take(
        self,
        body: Body,
        frame: usize,
        decode: impl FnOnce(Bytes, usize) -> Result<ExportTraceServiceRequest, Refusal> + Send + 'static,
    ) -> Result<ExportTraceServiceResponse, Refusal> {
        let permit = self
            .permits
            .acquire_owned()
            .await
            .map_err(|_| Refusal::Ended)?;
        let max_body = self.max_body;
        let body = Limited::new(body, max_body.saturating_add(frame)).collect();
        let body = tokio::time::timeout(BODY_TIME, body)
            .await
            .map_err(|_| Refusal::Broken)?;
        let body = match body {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Refusal::TooLarge(max_body));
            }
            Err(_) => return Err(Refusal::Broken),
        };
        let store = self.store;
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            Ok(insert(&store, decode(body, max_body)?))
        });
        work.await.map_err(|_| Refusal::Ended)?
    }
}

fn encoding_name(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes())
        .trim()
        .to_ascii_lowercase()
}

fn decompress(encoding: Option<String>, body: Bytes, max: usize) -> Result<Bytes, Refusal> {
    let read = |reader: &mut dyn Read| {
        let mut out = Vec::new();
        let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        reader
            .take(bound)
            .read_to_end(&mut out)
            .map_err(Refusal::Compression)?;
        if out.len() > max {
            Err(Refusal::TooLarge(max))
        } else {
            Ok(Bytes::from(out))
        }
    };
    match encoding.as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some("gzip") => read(&mut flate2::read::MultiGzDecoder::new(&*body)),
        Some("zstd") => {
            read(&mut zstd::stream::read::Decoder::new(&*body).map_err(Refusal::Compression)?)
        }
        Some(other) => Err(Refusal::Encoding(other.to_owned())),
    }
}
