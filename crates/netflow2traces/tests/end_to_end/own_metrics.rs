//! `OTEL_METRICS_EXPORTER=otlp`: a backend of metrics gets what `/metrics` shows.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use netflow2traces::observe::metric_table::{METRICS, Section};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, metric, number_data_point,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;

use crate::admin_client::{Admin, value};
use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::spans::flows_at;

const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: &str = "100";

/// Takes metrics, after it has refused as often as its script says.
struct Receiver {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<ExportMetricsServiceRequest>,
}

#[derive(Clone)]
struct Taking {
    /// Whether to answer that it is unavailable, or else refuses.
    script: Arc<Mutex<VecDeque<bool>>>,
    requests: mpsc::UnboundedSender<ExportMetricsServiceRequest>,
}

#[tonic::async_trait]
impl MetricsService for Taking {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let refuse = self.script.lock().unwrap().pop_front();
        match refuse {
            Some(true) => Err(tonic::Status::unavailable("later")),
            Some(false) => Err(tonic::Status::permission_denied("not you")),
            None => {
                let _ = self.requests.send(request.into_inner());
                Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
            }
        }
    }
}

impl Receiver {
    async fn grpc(script: &[bool]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let service = MetricsServiceServer::new(Taking {
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            requests: sender,
        })
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self { address, requests }
    }

    /// At `/v1/metrics`, in protobuf or JSON.
    async fn http() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let take = move |headers: http::HeaderMap, body: Bytes| async move {
            let request = match headers["content-type"].as_bytes() {
                b"application/json" => serde_json::from_slice(&body).unwrap(),
                b"application/x-protobuf" => ExportMetricsServiceRequest::decode(body).unwrap(),
                other => panic!("{other:?}"),
            };
            let _ = sender.send(request);
            StatusCode::OK
        };
        let router = axum::Router::new().route("/v1/metrics", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, requests }
    }

    fn of(&self, setup: Setup) -> Setup {
        setup
            .with("OTEL_METRICS_EXPORTER", "otlp")
            .with("OTEL_METRIC_EXPORT_INTERVAL", INTERVAL)
            .with(
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                &format!("http://{}", self.address),
            )
    }

    async fn next(&mut self) -> ExportMetricsServiceRequest {
        let next = tokio::time::timeout(PATIENCE, self.requests.recv());
        next.await.expect("a request in time").unwrap()
    }

    /// The first request in which a series has this value.
    async fn until(&mut self, series: &str, wanted: f64) -> ExportMetricsServiceRequest {
        loop {
            let request = self.next().await;
            if series_of(&request).get(series) == Some(&wanted) {
                return request;
            }
        }
    }
}

fn metrics(request: &ExportMetricsServiceRequest) -> &[Metric] {
    &request.resource_metrics[0].scope_metrics[0].metrics
}

/// Numbers as `/metrics` names them, without histograms.
fn series_of(request: &ExportMetricsServiceRequest) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    for metric in metrics(request) {
        let points = match metric.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic, "{}", metric.name);
                let cumulative = AggregationTemporality::Cumulative as i32;
                assert_eq!(sum.aggregation_temporality, cumulative);
                &sum.data_points
            }
            metric::Data::Gauge(gauge) => &gauge.data_points,
            _ => continue,
        };
        for point in points {
            let value = match point.value.unwrap() {
                number_data_point::Value::AsInt(int) => int as f64,
                number_data_point::Value::AsDouble(float) => float,
            };
            series.insert(format!("{}{}", metric.name, labels(point)), value);
        }
    }
    series
}

fn labels(point: &NumberDataPoint) -> String {
    let labels = point.attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
        let Attribute::StringValue(value) = value else {
            panic!("{value:?}")
        };
        format!("{}=\"{value}\"", attribute.key)
    });
    match labels.collect::<Vec<_>>().join(",") {
        none if none.is_empty() => none,
        labels => format!("{{{labels}}}"),
    }
}

#[tokio::test]
async fn metrics_by_otlp_are_those_of_a_scrape() {
    let backend = FakeBackend::grpc().start().await;
    let mut receiver = Receiver::grpc(&[]).await;
    let admin = Admin::new();
    let setup = admin.of(receiver.of(Setup::to_grpc(&backend)));
    let setup = setup
        .with("OTEL_SERVICE_NAME", "flows-of-test")
        .with("NETFLOW_METRICS", "none")
        .with("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip");
    let daemon = setup.start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    flows_at(&backend, 30).await;
    let accepted = "netflow_spans_accepted_total{kind=\"flow\"}";
    let request = receiver.until(accepted, 30.0).await;
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let service = resource
        .attributes
        .iter()
        .find(|it| it.key == "service.name");
    let service = service.unwrap().value.as_ref().unwrap().value.clone();
    assert_eq!(
        service,
        Some(Attribute::StringValue("flows-of-test".to_owned()))
    );

    let text = admin.get("/metrics").await.body;
    let sent = series_of(&request);
    for (name, number) in &sent {
        let scraped = value(&text, name);
        let family = name.split('{').next().unwrap();
        let row = METRICS.iter().find(|metric| metric.name == family).unwrap();
        // The process lives on between the two.
        if row.section != Section::Process {
            assert_eq!(scraped, *number, "{name}");
        }
    }
    // Nothing of a scrape is missing, histograms apart.
    let scraped = text.lines().filter(|line| !line.starts_with('#'));
    let scraped = scraped.filter(|line| !line.contains("_bucket{"));
    let plain = scraped.filter(|line| !line.starts_with("netflow_packet_size_bytes_"));
    let plain = plain.filter(|line| !line.starts_with("netflow_flows_per_packet_"));
    assert_eq!(plain.count(), sent.len());

    let sizes = metrics(&request)
        .iter()
        .find(|metric| metric.name == "netflow_packet_size_bytes");
    let Some(metric::Data::Histogram(sizes)) = &sizes.unwrap().data else {
        panic!("no histogram")
    };
    let point = &sizes.data_points[0];
    assert_eq!((point.count, point.sum), (1, Some(1_464.0)));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 1);
    assert!(0 < point.start_time_unix_nano && point.start_time_unix_nano < point.time_unix_nano);
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn flow_metrics_over_otlp_name_the_span_behind_them() {
    let backend = FakeBackend::grpc().start().await;
    let mut receiver = Receiver::grpc(&[]).await;
    let daemon = receiver.of(Setup::to_grpc(&backend)).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    let spans = flows_at(&backend, 30).await;
    let series =
        "netflow.interface.flows{exporter=\"127.0.0.2\",interface=\"3\",direction=\"receive\"}";
    let request = receiver.until(series, 30.0).await;
    let bytes = metrics(&request).iter();
    let bytes = bytes
        .filter(|metric| metric.name == "netflow.interface.bytes")
        .collect::<Vec<_>>();
    let [bytes] = bytes.as_slice() else {
        panic!("{bytes:?}")
    };
    assert_eq!(bytes.unit, "By");
    let Some(metric::Data::Sum(sum)) = &bytes.data else {
        panic!("{bytes:?}")
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.data_points.len(), 2, "both interfaces");
    for point in &sum.data_points {
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(103_680)));
        let [exemplar] = point.exemplars.as_slice() else {
            panic!("{point:?}")
        };
        let is_behind = |seen: &&crate::spans::Seen| {
            seen.span.trace_id == exemplar.trace_id && seen.span.span_id == exemplar.span_id
        };
        let span = spans.iter().find(is_behind).expect("the span");
        assert_eq!(span.span.name, "netflow.flow");
    }
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn the_last_numbers_are_sent_at_the_end() {
    let backend = FakeBackend::grpc().start().await;
    let mut receiver = Receiver::http().await;
    let setup = receiver
        .of(Setup::to_grpc(&backend))
        .with("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
        .with(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            &format!("http://{}/v1/metrics", receiver.address),
        )
        .with("OTEL_METRIC_EXPORT_INTERVAL", "3600000");
    let daemon = setup.start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    flows_at(&backend, 30).await;
    assert_eq!(daemon.stop().await.code, Some(0));
    let accepted = "netflow_spans_accepted_total{kind=\"flow\"}";
    assert_eq!(series_of(&receiver.next().await)[accepted], 30.0);
}

#[tokio::test]
async fn json_goes_to_the_general_endpoint_too() {
    let mut receiver = Receiver::http().await;
    let daemon = Setup::to_console()
        .with("OTEL_METRICS_EXPORTER", "otlp")
        .with("OTEL_METRIC_EXPORT_INTERVAL", INTERVAL)
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .with(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("http://{}", receiver.address),
        )
        .start()
        .await;
    assert_eq!(series_of(&receiver.next().await)["netflow_workers"], 2.0);
    assert_eq!(daemon.stop().await.code, Some(0));
}

#[tokio::test]
async fn an_export_is_tried_again_and_a_refusal_is_said_once() {
    let backend = FakeBackend::grpc().start().await;
    let mut receiver = Receiver::grpc(&[true, false, false, false]).await;
    let setup = receiver.of(Setup::to_grpc(&backend));
    let daemon = setup.start().await;
    let refused = "netflow_metrics_exports_total{outcome=\"rejected\"}";
    let request = receiver.until(refused, 3.0).await;
    let failed = "netflow_metrics_exports_total{outcome=\"failed\"}";
    assert_eq!(series_of(&request)[failed], 0.0, "it was tried again");
    let refusal = "the metrics backend rejected the daemon's own metrics, or a part of them";
    let ended = daemon.stop().await;
    let said = ended.log.iter().filter(|line| line["message"] == refusal);
    let causes: Vec<&str> = said.map(|line| line["cause"].as_str().unwrap()).collect();
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert!(causes[0].contains("not you"), "{causes:?}");
    assert_eq!(ended.code, Some(0));
}

#[tokio::test]
async fn a_wrong_path_is_reported_with_the_variable_of_metrics() {
    let backend = FakeBackend::grpc().start().await;
    let receiver = Receiver::http().await;
    let admin = Admin::new();
    let setup = receiver
        .of(admin.of(Setup::to_grpc(&backend)))
        .with("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf");
    // The metrics' own endpoint is used unchanged: nothing is at `/`.
    let daemon = setup.start().await;
    let rejected = "netflow_metrics_exports_total{outcome=\"rejected\"}";
    admin
        .until("/metrics", |text| value(text, rejected) >= 1.0)
        .await;
    let ended = daemon.stop().await;
    let mut remedies = ended.log.iter().filter_map(|line| line["remedy"].as_str());
    let remedy = remedies.next().expect("a remedy");
    assert!(
        remedy.contains("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
        "{remedy}"
    );
    assert!(!remedy.contains("/v1/traces"), "{remedy}");
}

#[tokio::test]
async fn a_backend_that_is_away_is_said_once_and_harms_nothing() {
    let backend = FakeBackend::grpc().start().await;
    let (_held, address) = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    };
    // It accepts connections, by the kernel's grace, and never says a word.
    let admin = Admin::new();
    let setup = admin
        .of(Setup::to_grpc(&backend))
        .with("OTEL_METRICS_EXPORTER", "otlp")
        .with("OTEL_METRIC_EXPORT_INTERVAL", INTERVAL)
        .with("OTEL_METRIC_EXPORT_TIMEOUT", "50")
        .with(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            &format!("http://{address}"),
        );
    let daemon = setup.start().await;
    let failed = "netflow_metrics_exports_total{outcome=\"failed\"}";
    let three = |text: &str| value(text, failed) >= 3.0;
    admin.until("/metrics", three).await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    flows_at(&backend, 30).await;
    let ended = daemon.stop().await;
    let away =
        "the metrics backend is not accepting the daemon's own metrics; retrying at every interval";
    let said = ended.log.iter().filter(|line| line["message"] == away);
    assert_eq!(said.count(), 1, "{:#?}", ended.log);
    assert_eq!(ended.code, Some(0), "spans went their way");
}
