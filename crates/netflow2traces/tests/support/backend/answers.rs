//! What one request is answered, over gRPC and HTTP, as the script says.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use opentelemetry_proto::tonic::collector::trace::v1 as otlp;
use otlp::trace_service_server::{TraceService, TraceServiceServer};
use prost::Message as _;
use tokio::sync::Notify;
use tower_service::Service as _;

use super::{Received, Reply, Shared};

type ReplyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Reads a part of the request, then cuts the connection.
async fn cut_request(mut request: Request<Incoming>, cut: &Notify) -> Response<ReplyBody> {
    let _ = request.body_mut().frame().await;
    cut.notify_one();
    std::future::pending().await
}

/// A request that doesn't come through.
async fn on_the_way(request: Request<Incoming>, reply: Reply, cut: &Notify) -> Response<ReplyBody> {
    match reply {
        Reply::CutRequest => cut_request(request, cut).await,
        Reply::Silence => std::future::pending().await,
        Reply::Http(status, headers, body) => {
            let _ = request.into_body().collect().await;
            http_reply(status, headers, body)
        }
        Reply::Grpc(code, message) => {
            let _ = request.into_body().collect().await;
            tonic::Status::new(code, message)
                .into_http::<tonic::body::Body>()
                .map(|body| body.map_err(Into::into).boxed_unsync())
        }
        reply => panic!("{reply:?} is nothing to meet on the way"),
    }
}

fn content_length(request: &Request<Incoming>) -> Option<usize> {
    let value = request.headers().get("content-length")?;
    value.to_str().unwrap().parse().ok()
}

/// Begins an answer, then breaks it.
fn cut_answer(media_type: &'static str) -> Response<ReplyBody> {
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"\0\0\0"))),
        Err("cut".into()),
    ];
    let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
    Response::builder()
        .header("content-type", media_type)
        .body(body)
        .unwrap()
}

fn http_reply(
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static [u8],
) -> Response<ReplyBody> {
    let mut response = Response::new(full(Bytes::from_static(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

fn full(octets: Bytes) -> ReplyBody {
    Full::new(octets)
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(super) async fn answer_grpc(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    cut: &Notify,
) -> Response<ReplyBody> {
    if let Some(reply) = shared.on_the_way(content_length(&request)) {
        return on_the_way(request, reply, cut).await;
    }
    if shared.is_next(|reply| matches!(reply, Reply::CutRequest)) {
        shared.next_reply();
        return cut_request(request, cut).await;
    }
    if shared.is_next(|reply| matches!(reply, Reply::CutAnswer | Reply::Http(..))) {
        let (parts, body) = request.into_parts();
        let body = body.collect().await;
        let reply = shared.next_reply();
        if let Ok(body) = body {
            shared.keep(grpc_received(parts, &body.to_bytes(), &reply));
        }
        return match reply {
            Reply::Http(status, headers, body) => http_reply(status, headers, body),
            _ => cut_answer("application/grpc"),
        };
    }
    let path = request.uri().path().to_owned();
    let version = request.version();
    let max_body = shared.max_body;
    let mut server = TraceServiceServer::new(Export {
        shared,
        path,
        version,
    })
    .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
    .accept_compressed(tonic::codec::CompressionEncoding::Zstd)
    .max_decoding_message_size(max_body);
    let Ok(response) = server.call(request).await;
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// A gRPC request that tonic doesn't see, for its answer is none of gRPC.
fn grpc_received(parts: http::request::Parts, body: &Bytes, reply: &Reply) -> Received {
    // A flag and a length.
    let plain = decompress(parts.headers.get("grpc-encoding"), &body.slice(5..));
    Received {
        at: Instant::now(),
        path: parts.uri.path().to_owned(),
        version: parts.version,
        headers: parts.headers,
        request: otlp::ExportTraceServiceRequest::decode(&plain[..]).expect("OTLP protobuf"),
        reply: reply.clone(),
        accepted: false,
    }
}

/// tonic's side of a gRPC request.
struct Export {
    shared: Arc<Shared>,
    path: String,
    version: Version,
}

#[tonic::async_trait]
impl TraceService for Export {
    async fn export(
        &self,
        request: tonic::Request<otlp::ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<otlp::ExportTraceServiceResponse>, tonic::Status> {
        let reply = self.shared.next_reply();
        self.shared.keep(Received {
            at: Instant::now(),
            path: self.path.clone(),
            version: self.version,
            headers: request.metadata().clone().into_headers(),
            request: request.into_inner(),
            reply: reply.clone(),
            accepted: reply.accepts(),
        });
        match reply {
            Reply::Grpc(code, message) => Err(tonic::Status::new(code, message)),
            Reply::GrpcRetryInfo(code, delay) => {
                let details = retry_info_status(delay).into();
                Err(tonic::Status::with_details(code, "slow down", details))
            }
            Reply::Silence => std::future::pending().await,
            Reply::Held => {
                self.shared.released().await;
                Ok(tonic::Response::new(response_to(&Reply::Ok)))
            }
            reply => Ok(tonic::Response::new(response_to(&reply))),
        }
    }
}

fn response_to(reply: &Reply) -> otlp::ExportTraceServiceResponse {
    let partial_success = match *reply {
        Reply::Partial(rejected_spans, message) => Some(otlp::ExportTracePartialSuccess {
            rejected_spans,
            error_message: message.to_owned(),
        }),
        _ => None,
    };
    otlp::ExportTraceServiceResponse { partial_success }
}

/// A `google.rpc.Status` with one `google.rpc.RetryInfo` in its details.
fn retry_info_status(delay: Duration) -> Vec<u8> {
    #[derive(prost::Message)]
    struct ProtoDuration {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    #[derive(prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<ProtoDuration>,
    }
    #[derive(prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(prost::Message)]
    struct Status {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    let retry_delay = ProtoDuration {
        seconds: i64::try_from(delay.as_secs()).unwrap(),
        nanos: i32::try_from(delay.subsec_nanos()).unwrap(),
    };
    let retry_info = RetryInfo {
        retry_delay: Some(retry_delay),
    };
    let any = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: retry_info.encode_to_vec(),
    };
    Status { details: vec![any] }.encode_to_vec()
}

pub(super) async fn answer_http(
    request: Request<Incoming>,
    shared: &Shared,
    cut: &Notify,
) -> Response<ReplyBody> {
    if let Some(reply) = shared.on_the_way(content_length(&request)) {
        return on_the_way(request, reply, cut).await;
    }
    if shared.is_next(|reply| matches!(reply, Reply::CutRequest)) {
        shared.next_reply();
        return cut_request(request, cut).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return http_reply(400, Vec::new(), b"broken body");
    };
    let plain = decompress(parts.headers.get("content-encoding"), &body);
    if plain.len() > shared.max_body {
        return http_reply(413, Vec::new(), b"too much");
    }
    let json = parts.headers["content-type"] == "application/json";
    let decoded = if json {
        serde_json::from_slice(&plain).expect("OTLP/JSON")
    } else {
        otlp::ExportTraceServiceRequest::decode(&plain[..]).expect("OTLP protobuf")
    };
    let poisoned = shared.poisoned(&decoded);
    let reply = poisoned.unwrap_or_else(|| shared.next_reply());
    shared.keep(Received {
        at: Instant::now(),
        path: parts.uri.path().to_owned(),
        version: parts.version,
        headers: parts.headers,
        request: decoded,
        reply: reply.clone(),
        accepted: reply.accepts(),
    });
    match reply {
        Reply::Http(status, headers, body) => http_reply(status, headers, body),
        Reply::Silence => std::future::pending().await,
        Reply::CutAnswer => cut_answer("application/x-protobuf"),
        Reply::CutRequest | Reply::Grpc(..) | Reply::GrpcRetryInfo(..) => {
            panic!("{reply:?} is not for HTTP")
        }
        reply => {
            if matches!(reply, Reply::Held) {
                shared.released().await;
            }
            let response = response_to(&reply);
            let (media_type, octets) = if json {
                ("application/json", serde_json::to_vec(&response).unwrap())
            } else {
                ("application/x-protobuf", response.encode_to_vec())
            };
            let builder = Response::builder().header("content-type", media_type);
            builder.body(full(octets.into())).unwrap()
        }
    }
}

fn decompress(coding: Option<&HeaderValue>, body: &Bytes) -> Bytes {
    let mut plain = Vec::new();
    match coding.map(|value| value.to_str().unwrap()) {
        None => return body.clone(),
        Some("gzip") => flate2::read::GzDecoder::new(&body[..])
            .read_to_end(&mut plain)
            .unwrap(),
        Some("zstd") => zstd::Decoder::new(&body[..])
            .unwrap()
            .read_to_end(&mut plain)
            .unwrap(),
        Some(other) => panic!("content-encoding {other}"),
    };
    plain.into()
}
