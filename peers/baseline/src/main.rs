//! NetFlow v5 to OTLP spans the straight way: the crate `netflow_parser` decodes, OpenTelemetry's SDK for Rust makes
//! spans of the same names, attributes and times as netflow2traces, its batch processor and OTLP exporter send them.
//! What it costs is the bar for a program that does so by hand.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` says where to, by gRPC; `BASELINE_QUEUE` how many spans may wait (the SDK's default
//! is 2,048, which one burst of datagrams overruns; here a million). Prints the address it listens on, and at SIGTERM
//! one line of JSON with what it has read.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use netflow_parser::static_versions::v5::{FlowSet, V5};
use netflow_parser::{NetflowPacket, NetflowParser};
use opentelemetry::trace::{
    Span as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};

/// Spans of one request: about as many octets as netflow2traces sends at once.
const BATCH: usize = 4096;

fn main() -> anyhow::Result<()> {
    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT")
        .context("OTEL_EXPORTER_OTLP_ENDPOINT says where to send")?;
    let queue = match std::env::var("BASELINE_QUEUE") {
        Ok(spans) => spans
            .parse()
            .context("BASELINE_QUEUE is a number of spans")?,
        Err(_) => 1_000_000,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(queue)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(Duration::from_millis(200))
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(config)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name("baseline").build())
        .with_span_processor(processor)
        .build();
    drop(inside);

    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // The end is looked for this often.
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    println!("{}", socket.local_addr()?);

    let tracer = provider.tracer("baseline");
    let mut parser = NetflowParser::default();
    let mut room = vec![0; 65_536];
    let (mut datagrams, mut flows) = (0_u64, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let Ok((octets, source)) = socket.recv_from(&mut room) else {
            continue;
        };
        let received = SystemTime::now();
        datagrams += 1;
        let parsed = parser.parse_bytes(&room[..octets]);
        for packet in parsed.packets {
            if let NetflowPacket::V5(message) = packet {
                flows += message.flowsets.len() as u64;
                translate(&tracer, &message, octets, source, received);
            }
        }
    }
    provider.force_flush()?;
    provider.shutdown()?;
    let totals = serde_json::json!({ "datagrams": datagrams, "flow_records": flows });
    println!("{totals}");
    Ok(())
}

fn int(key: &'static str, value: impl Into<i64>) -> KeyValue {
    KeyValue::new(key, value.into())
}

/// The trace of one datagram.
fn translate(
    tracer: &SdkTracer,
    message: &V5,
    octets: usize,
    source: SocketAddr,
    received: SystemTime,
) {
    let header = &message.header;
    let flows = int("netflow.flow.count", header.count);
    let size = int("netflow.packet.size_bytes", octets as i64);
    let version = int("netflow.version", header.version);
    let start = |name: &'static str, attributes: Vec<KeyValue>, parent: &Context| {
        let builder = SpanBuilder::from_name(name)
            .with_start_time(received)
            .with_attributes(attributes);
        tracer.build_with_context(builder, parent)
    };
    let export = start(
        "netflow.export",
        vec![
            KeyValue::new("netflow.exporter.address", source.ip().to_string()),
            int("netflow.exporter.port", source.port()),
            version.clone(),
            size.clone(),
            flows.clone(),
            int("netflow.sequence", header.flow_sequence),
            int(
                "netflow.observation_domain",
                i64::from(header.engine_type) << 8 | i64::from(header.engine_id),
            ),
            int("netflow.exporter.uptime_ms", header.sys_up_time),
        ],
        &Context::new(),
    );
    let export = Context::new().with_span(export);
    let mut parse = start("netflow.parse_packet", vec![version, size], &export);
    parse.set_status(Status::Ok);
    parse.end();
    let process = export.with_span(start("netflow.process_flows", vec![flows], &export));
    let seconds = Duration::new(u64::from(header.unix_secs), header.unix_nsecs);
    let exported = UNIX_EPOCH + seconds;
    for flow in &message.flowsets {
        let before = |uptime_ms: u32| {
            exported - Duration::from_millis(header.sys_up_time.wrapping_sub(uptime_ms).into())
        };
        let builder = SpanBuilder::from_name("netflow.flow")
            .with_start_time(before(flow.first))
            .with_attributes(attributes(header.version, flow));
        let mut span = tracer.build_with_context(builder, &process);
        span.set_status(Status::Ok);
        span.end_with_timestamp(before(flow.last));
    }
    for context in [process, export] {
        context.span().set_status(Status::Ok);
        context.span().end();
    }
}

/// The fourteen of netflow2traces' level `minimal`.
fn attributes(version: u16, flow: &FlowSet) -> Vec<KeyValue> {
    let transport = match flow.protocol_number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        number => format!("protocol-{number}"),
    };
    vec![
        int("netflow.version", version),
        KeyValue::new("source.address", flow.src_addr.to_string()),
        int("source.port", flow.src_port),
        KeyValue::new("destination.address", flow.dst_addr.to_string()),
        int("destination.port", flow.dst_port),
        KeyValue::new("network.transport", transport),
        int("network.protocol.number", flow.protocol_number),
        int("netflow.flow.bytes", flow.d_octets),
        int("netflow.flow.packets", flow.d_pkts),
        KeyValue::new("netflow.nexthop", flow.next_hop.to_string()),
        int("netflow.interface.input", flow.input),
        int("netflow.interface.output", flow.output),
        int("netflow.src_as", flow.src_as),
        int("netflow.dst_as", flow.dst_as),
    ]
}
