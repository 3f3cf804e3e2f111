//! Stage 3 alone: encoded requests to a backend on loopback that drains them, over gRPC and HTTP, with each compression, of traffic that does not repeat.
//! Flows a second, CPU seconds a million flows without the backend's thread, and octets of a flow on the wire. Prints
//! a line for each; run it several times and take medians.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends at the first mistake"
)]

mod support;

#[cfg(target_os = "linux")]
mod linux {
    use std::convert::Infallible;
    use std::fs;
    use std::net::SocketAddr;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Request, Response, header};
    use http_body_util::combinators::BoxBody;
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto;
    use netflow2traces::config::{self, AttributeLevel, Machine, Purpose, Sources};
    use netflow2traces::deliver::Delivery;
    use otlp_wire::EncodedBatch;
    use tokio::net::TcpListener;

    use super::support::{Batches, Form, Traffic};

    const SEED: u64 = 11;

    /// Requests of about 2 MiB that differ; with more rounds they come again.
    const BATCHES: usize = 40;
    /// Flows that are delivered in each round.
    const FLOWS: u64 = 2_000_000;
    /// Windows of HTTP/2: larger than any request, so that they never hold one up.
    const WINDOW: u32 = 64 << 20;

    pub(super) fn main() {
        let sink = sink();
        println!(
            "{:>24} {:>14} {:>6} {:>12} {:>12} {:>12}",
            "flows", "protocol", "compr.", "flows/s", "CPU-s/Mflow", "octets/flow"
        );
        let kinds = [
            ("v5, heavy-tailed", Form::V5, Traffic::HeavyTailed),
            ("v5, random", Form::V5, Traffic::Random),
            ("IPv4, heavy-tailed", Form::Ipfix4, Traffic::HeavyTailed),
            ("IPv6, heavy-tailed", Form::Ipfix6, Traffic::HeavyTailed),
        ];
        for (flows, form, traffic) in kinds {
            let batches: Vec<_> = Batches::new(form, traffic, AttributeLevel::Minimal, SEED)
                .take(BATCHES)
                .collect();
            for protocol in ["grpc", "http/protobuf"] {
                for compression in ["none", "gzip", "zstd"] {
                    print!("{flows:>24} ");
                    measure(&batches, sink, protocol, compression);
                }
            }
        }
    }

    fn measure(batches: &[EncodedBatch], sink: SocketAddr, protocol: &str, compression: &str) {
        let endpoint = format!("http://{sink}");
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
            ("NETFLOW_QUEUE_SIZE", "64MiB"),
        ];
        let sources = Sources::collect(vec![], &variables);
        let config = config::load(Purpose::Run, &sources, &Machine::read());
        let config = config.unwrap().config.deliver;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let delivery = Delivery::start(&config).unwrap();
            let queue = delivery.queue();
            let counters = delivery.counters();
            let (cpu, start) = (cpu(), Instant::now());
            let (mut pushed, mut requests) = (0_u64, 0);
            for batch in batches.iter().cycle() {
                if pushed >= FLOWS {
                    break;
                }
                // As many as the queue holds without a loss.
                while requests > counters.requests.load(Relaxed) + 16 {
                    tokio::task::yield_now().await;
                    thread::yield_now();
                }
                pushed += u64::from(batch.flow_spans);
                requests += 1;
                queue.push(batch.clone());
            }
            let totals = delivery
                .drain(Instant::now() + Duration::from_secs(60))
                .await;
            assert_eq!(totals.accepted.flow, pushed);
            let took = start.elapsed().as_secs_f64();
            let cpu = (self::cpu() - cpu).as_secs_f64();
            println!(
                "{protocol:>14} {compression:>6} {:>12.0} {:>12.3} {:>12.1}",
                pushed as f64 / took,
                cpu * 1e6 / pushed as f64,
                counters.octets_sent.load(Relaxed) as f64 / pushed as f64,
            );
        });
    }

    /// CPU time of all threads but the backend's.
    fn cpu() -> Duration {
        let mut nanos = 0;
        for task in fs::read_dir("/proc/self/task").unwrap() {
            let task = task.unwrap().path();
            // A thread that ends meanwhile has been idle.
            let (Ok(name), Ok(schedstat)) = (
                fs::read_to_string(task.join("comm")),
                fs::read_to_string(task.join("schedstat")),
            ) else {
                continue;
            };
            if name != "sink\n" {
                nanos += schedstat.split(' ').next().unwrap().parse::<u64>().unwrap();
            }
        }
        Duration::from_nanos(nanos)
    }

    /// A backend in a thread of its own.
    fn sink() -> SocketAddr {
        let (address, listening) = mpsc::channel();
        thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    address.send(listener.local_addr().unwrap()).unwrap();
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        stream.set_nodelay(true).unwrap();
                        tokio::spawn(async move {
                            let mut builder = auto::Builder::new(TokioExecutor::new());
                            builder
                                .http2()
                                .initial_stream_window_size(WINDOW)
                                .initial_connection_window_size(WINDOW);
                            let connection =
                                builder.serve_connection(TokioIo::new(stream), service_fn(answer));
                            // It ends when the sender does.
                            let _ = connection.await;
                        });
                    }
                });
            })
            .unwrap();
        listening.recv().unwrap()
    }

    type Body = BoxBody<Bytes, Infallible>;

    async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let media_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let is_grpc = media_type
            .as_ref()
            .is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/grpc"));
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        let answer: Body = if is_grpc {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            // An empty message of gRPC.
            Full::new(Bytes::from_static(&[0; 5]))
                .with_trailers(async { Some(Ok(trailers)) })
                .boxed()
        } else {
            Full::new(Bytes::new()).boxed()
        };
        let mut response = Response::new(answer);
        if let Some(media_type) = media_type {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, media_type);
        }
        Ok(response)
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
