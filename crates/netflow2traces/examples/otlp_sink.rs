//! An OTLP/HTTP backend that writes every trace request to a file, as one line of OTLP JSON.
//!
//! `cargo run --example otlp_sink -- FILE [ADDRESS]`: prints the address it listens on (by default a
//! free port of loopback) and answers `POST /v1/traces` with protobuf bodies, plain or gzip, until
//! it is ended. A request is answered once its line is in the file.
#![expect(clippy::print_stdout, reason = "the caller reads the address")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;

/// Octets of a request: more than any sender's limit.
const MAX_REQUEST: usize = 64 << 20;

type Lines = Arc<Mutex<File>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments
        .next()
        .context("usage: otlp_sink FILE [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let lines = File::create(&file).with_context(|| format!("{file} can't be written"))?;
    let routes = Router::new()
        .route("/v1/traces", post(receive))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(Arc::new(Mutex::new(lines)));
    let listener = TcpListener::bind(&address)
        .await
        .with_context(|| format!("{address} can't be bound"))?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}

/// Answers with an empty `ExportTraceServiceResponse`, which is no octets at all.
async fn receive(
    State(lines): State<Lines>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(header::HeaderName, &'static str); 1]) {
    let gzip = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding == "gzip");
    let status = match write(&lines, &body, gzip) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    (status, [(header::CONTENT_TYPE, "application/x-protobuf")])
}

fn write(lines: &Lines, body: &[u8], gzip: bool) -> anyhow::Result<()> {
    let request = if gzip {
        let mut plain = Vec::new();
        GzDecoder::new(body)
            .take(MAX_REQUEST as u64)
            .read_to_end(&mut plain)?;
        ExportTraceServiceRequest::decode(plain.as_slice())?
    } else {
        ExportTraceServiceRequest::decode(body)?
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    lines
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .write_all(&line)?;
    Ok(())
}
