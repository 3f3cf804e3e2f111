//! The table of all settings. Each stands here once; a row added here is a flag, a variable, a line
//! of `config print` and an entry of the reference.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::SpanTime;
use super::otlp;
use super::setting::{About, Preset, Secrecy, Section, Setting};
use super::values::{self, Rejection, choice};
use super::{
    AttributeLevel, Compression, ExporterKind, Headers, Protocol, SamplerKind, SamplingOverride,
    SpoolMode,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Words that name a feature of a later version.
fn later(text: &str, words: &[&str], rejection: Rejection) -> Rejection {
    let known = words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if known {
        Rejection(format!("{text} is not part of this version yet"))
    } else {
        rejection
    }
}

macro_rules! secrecy {
    () => {
        Secrecy::Open
    };
    ($secrecy:ident) => {
        Secrecy::$secrecy
    };
}

macro_rules! settings {
    ($($name:ident: $type:ty {
        section: $section:ident,
        variables: $variables:expr,
        flag: $flag:literal,
        placeholder: $placeholder:literal,
        preset: $preset:expr,
        accepted: $accepted:literal,
        summary: $summary:literal,
        details: $details:literal,
        $(secrecy: $secrecy:ident,)?
        $(switch: $switch:literal,)?
        parse: $parse:expr,
    })*) => {
        $(pub static $name: Setting<$type> = Setting {
            about: About {
                section: Section::$section,
                variables: &$variables,
                flag: $flag,
                placeholder: $placeholder,
                preset: $preset,
                accepted: $accepted,
                summary: $summary,
                details: $details,
                secrecy: secrecy!($($secrecy)?),
                switch: false $(|| $switch)?,
            },
            parse: $parse,
        };)*

        /// Every setting, in the order in which they are shown.
        pub static ALL: &[&About] = &[$(&$name.about),*];
    };
}

settings! {
    OTLP_ENDPOINT: String {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_ENDPOINT"],
        flag: "otlp-endpoint",
        placeholder: "URL",
        preset: Preset::Nothing("required"),
        accepted: "a URL such as http://localhost:4317 (gRPC) or http://localhost:4318 (HTTP)",
        summary: "Where spans go",
        details: "Required, unless the form for traces is set or `OTEL_TRACES_EXPORTER` sends \
            nothing by OTLP. `https://` encrypts, `http://` doesn't. For gRPC: scheme, host and \
            port (usually 4317); without a scheme, `OTEL_EXPORTER_OTLP_INSECURE` decides. For \
            HTTP: a base URL (usually port 4318) to which `/v1/traces` is appended.",
        secrecy: Url,
        parse: otlp::url_text,
    }
    OTLP_TRACES_ENDPOINT: String {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"],
        flag: "otlp-traces-endpoint",
        placeholder: "URL",
        preset: Preset::Nothing("the general endpoint"),
        accepted: "a URL such as http://localhost:4318/v1/traces",
        summary: "Where spans go, as the full URL",
        details: "Wins over `OTEL_EXPORTER_OTLP_ENDPOINT` and is used as it stands: for HTTP \
            nothing is appended.",
        secrecy: Url,
        parse: otlp::url_text,
    }
    OTLP_PROTOCOL: Protocol {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
        flag: "otlp-protocol",
        placeholder: "PROTOCOL",
        preset: Preset::Text("grpc"),
        accepted: "grpc, http/protobuf (or http), http/json",
        summary: "How to speak to the backend",
        details: "`grpc` is what Tempo, Jaeger and the OpenTelemetry Collector take on port 4317. \
            `http/protobuf` passes more proxies and is what Grafana Cloud takes. `http/json` is \
            for backends that can't read protobuf, and makes larger requests.",
        parse: |text| choice(text, &[
            ("grpc", Protocol::Grpc),
            ("http", Protocol::HttpProtobuf),
            ("http/protobuf", Protocol::HttpProtobuf),
            ("http/json", Protocol::HttpJson),
        ]).map_err(|_| Rejection(format!("{text} is not a protocol of OTLP"))),
    }
    OTLP_HEADERS: Headers {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
        flag: "otlp-headers",
        placeholder: "NAME=VALUE,…",
        preset: Preset::Nothing("none"),
        accepted: "name=value pairs separated by commas, the values percent-encoded (%20 is a \
            space, %2C a comma)",
        summary: "Headers of every request, such as authorization",
        details: "Sent as gRPC metadata or HTTP headers: `Authorization=Basic%20dXNlcjpwYXNz`. \
            Values are never printed or logged. A flag can be seen by other users of the machine \
            (`ps`); keep secrets in the environment or in `.env`.",
        secrecy: Secret,
        parse: otlp::headers,
    }
    OTLP_COMPRESSION: Compression {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
        flag: "otlp-compression",
        placeholder: "KIND",
        preset: Preset::Text("none"),
        accepted: "none, gzip, zstd",
        summary: "Compression of requests",
        details: "Flow spans repeat much, so they compress well: it saves network and costs \
            processor time, with `zstd` usually less than with `gzip`. Nearly every backend \
            understands `gzip`; not every one `zstd`.",
        parse: |text| choice(text, &[
            ("none", Compression::None),
            ("gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
        ]).map_err(|_| Rejection(format!("{text} is not a known compression"))),
    }
    OTLP_TIMEOUT: Duration {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
        flag: "otlp-timeout",
        placeholder: "MS",
        preset: Preset::Text("10000"),
        accepted: "milliseconds from 1 to 600000",
        summary: "How long one request may take, in milliseconds",
        details: "A request without an answer by then counts as failed and is tried again.",
        parse: |text| values::milliseconds(text, 1..=600_000),
    }
    OTLP_CERTIFICATE: PathBuf {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
        flag: "otlp-certificate",
        placeholder: "FILE",
        preset: Preset::Nothing("the system's roots"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Certificates to trust instead of the system's",
        details: "A PEM file with the certificate authorities that may vouch for the backend.",
        parse: otlp::certificate_file,
    }
    OTLP_CLIENT_CERTIFICATE: PathBuf {
        section: Backend,
        variables: [
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ],
        flag: "otlp-client-certificate",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Our certificate, for backends that ask for one (mTLS)",
        details: "A PEM file with the certificate and its chain. Needs \
            `OTEL_EXPORTER_OTLP_CLIENT_KEY` too.",
        parse: otlp::certificate_file,
    }
    OTLP_CLIENT_KEY: PathBuf {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"],
        flag: "otlp-client-key",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable PEM file with a private key",
        summary: "The key of our certificate",
        details: "A PEM file with an unencrypted private key (PKCS #8, PKCS #1 or SEC1).",
        parse: otlp::key_file,
    }
    OTLP_INSECURE: bool {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"],
        flag: "otlp-insecure",
        placeholder: "BOOL",
        preset: Preset::Text("false"),
        accepted: "true or false",
        summary: "Don't encrypt gRPC when the endpoint has no scheme",
        details: "Decides only for gRPC and an endpoint without a scheme, such as `tempo:4317`. \
            An endpoint with `http://` or `https://` has decided already.",
        switch: true,
        parse: values::switch,
    }
    TRACES_EXPORTER: ExporterKind {
        section: Backend,
        variables: ["OTEL_TRACES_EXPORTER"],
        flag: "traces-exporter",
        placeholder: "EXPORTER",
        preset: Preset::Text("otlp"),
        accepted: "otlp, console, none",
        summary: "What to do with spans: send them, print them, or nothing",
        details: "`console` prints one JSON line a span on stdout. `none` receives, decodes and \
            counts, and sends nothing.",
        parse: |text| choice(text, &[
            ("otlp", ExporterKind::Otlp),
            ("console", ExporterKind::Console),
            ("none", ExporterKind::None),
        ]).map_err(|rejection| later(text, &["kafka"], rejection)),
    }

    LISTEN_HOST: Vec<IpAddr> {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_HOST"],
        flag: "listen-host",
        placeholder: "ADDRESS,…",
        preset: Preset::Text("0.0.0.0"),
        accepted: "IP addresses of this machine, separated by commas, such as 0.0.0.0 or ::",
        summary: "Addresses to receive on",
        details: "`0.0.0.0` serves every IPv4 address, `::` every IPv4 and IPv6 address; a \
            comma-separated list binds several.",
        parse: values::addresses,
    }
    LISTEN_PORT: Vec<u16> {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_PORT"],
        flag: "listen-port",
        placeholder: "PORT,…",
        preset: Preset::Text("2055"),
        accepted: "UDP ports from 0 to 65535, separated by commas; 0 lets the system choose",
        summary: "UDP ports to receive on",
        details: "NetFlow, IPFIX and sFlow are understood on each port; a list \
            (`2055,4739`) binds several. Ports below 1024 need the capability \
            `CAP_NET_BIND_SERVICE`.",
        parse: values::ports,
    }
    WORKERS: usize {
        section: Receiving,
        variables: ["NETFLOW_WORKERS"],
        flag: "workers",
        placeholder: "N",
        preset: Preset::Computed("the number of cores, at most 4"),
        accepted: "a whole number from 1 to 256",
        summary: "Threads that receive and translate",
        details: "Each worker has a socket for each address and port. All datagrams of one \
            exporter go to the same worker, so more workers help only when several exporters \
            send.",
        parse: |text| values::count(text, 1..=256),
    }
    RECEIVE_BUFFER: usize {
        section: Receiving,
        variables: ["NETFLOW_RECEIVE_BUFFER"],
        flag: "receive-buffer",
        placeholder: "SIZE",
        preset: Preset::Text("64MiB"),
        accepted: "a size from 64KiB (one datagram of the largest kind) to 1GiB (the kernel's \
            limit)",
        summary: "Kernel buffer of each socket",
        details: "Holds what arrives while a worker is busy; larger buffers survive longer \
            bursts. The kernel caps it at `net.core.rmem_max`: a warning at start says when it \
            gave less.",
        parse: |text| values::size(text, 64 * KIB..=GIB),
    }

    TEMPLATE_LIFETIME: Duration {
        section: Decoding,
        variables: ["NETFLOW_TEMPLATE_LIFETIME"],
        flag: "template-lifetime",
        placeholder: "DURATION",
        preset: Preset::Text("24h"),
        accepted: "a duration from 1s to 365d, such as 30m or 24h",
        summary: "How long a template that isn't sent again is kept",
        details: "Exporters repeat their templates every few minutes to every hour. A lifetime \
            shorter than three of these intervals risks that data waits for a template that was \
            known before.",
        parse: |text| values::duration(text, SECOND..=365 * DAY),
    }
    MAX_EXPORTERS: usize {
        section: Decoding,
        variables: ["NETFLOW_MAX_EXPORTERS"],
        flag: "max-exporters",
        placeholder: "N",
        preset: Preset::Text("65536"),
        accepted: "a whole number from 1 to 16777216",
        summary: "Exporters to remember",
        details: "Bounds memory when many sources send, real or invented. When it is reached, the \
            source that was silent longest is forgotten, one that never sent anything decodable \
            first.",
        parse: |text| values::count(text, 1..=1 << 24),
    }
    MAX_TEMPLATES_PER_EXPORTER: usize {
        section: Decoding,
        variables: ["NETFLOW_MAX_TEMPLATES_PER_EXPORTER"],
        flag: "max-templates-per-exporter",
        placeholder: "N",
        preset: Preset::Text("4096"),
        accepted: "a whole number from 1 to 1048576",
        summary: "Templates to remember for each exporter",
        details: "Bounds memory against an exporter that invents templates without end.",
        parse: |text| values::count(text, 1..=1 << 20),
    }
    SAMPLING_OVERRIDE: Vec<SamplingOverride> {
        section: Decoding,
        variables: ["NETFLOW_SAMPLING_OVERRIDE"],
        flag: "sampling-override",
        placeholder: "CIDR=N,…",
        preset: Preset::Nothing("none"),
        accepted: "NETWORK=INTERVAL pairs separated by commas, such as \
            10.0.0.0/8=1000,192.0.2.1=100",
        summary: "Sampling intervals of exporters that don't tell theirs, or tell it wrong",
        details: "`10.0.0.0/8=1000` says that exporters in this network see one packet in 1000. \
            It wins over what they say; of several networks that match, the most specific one \
            holds.",
        parse: values::sampling_overrides,
    }
    SCALE_SAMPLED: bool {
        section: Decoding,
        variables: ["NETFLOW_SCALE_SAMPLED"],
        flag: "scale-sampled",
        placeholder: "BOOL",
        preset: Preset::Text("false"),
        accepted: "true or false",
        summary: "Multiply bytes and packets by the sampling interval",
        details: "When `true`, `netflow.flow.bytes` and `netflow.flow.packets` are estimates of \
            the real traffic, and `netflow.sampling.scaled` says so. When `false`, they are what \
            was exported.",
        switch: true,
        parse: values::switch,
    }

    TRACE_SHAPE: () {
        section: Spans,
        variables: ["NETFLOW_TRACE_SHAPE"],
        flag: "trace-shape",
        placeholder: "SHAPE",
        preset: Preset::Text("packet"),
        accepted: "packet",
        summary: "What makes a trace",
        details: "`packet`: each datagram is a trace. Its root `netflow.export` tells how it was \
            processed, and each flow record in it is a span `netflow.flow`.",
        parse: |text| choice(text, &[("packet", ())])
            .map_err(|rejection| later(text, &["flow", "conversation"], rejection)),
    }
    SPAN_TIME: SpanTime {
        section: Spans,
        variables: ["NETFLOW_SPAN_TIME"],
        flag: "span-time",
        placeholder: "TIME",
        preset: Preset::Text("flow"),
        accepted: "flow, received, clamped",
        summary: "When a flow's span starts and ends",
        details: "`flow`: the times of the flow itself, which is the truth. `received`: the time \
            of processing. `clamped`: the flow's own times, unless it ended longer ago than \
            `NETFLOW_SPAN_MAX_AGE`; then shifted to end when it was received. Choose `clamped` \
            for backends that ignore spans of the past, such as the metrics generator of Tempo. \
            Wherever the span's times aren't the flow's own, `netflow.flow.start_unix_nano` and \
            `netflow.flow.end_unix_nano` keep these.",
        parse: |text| choice(text, &[
            ("flow", SpanTime::Flow),
            ("received", SpanTime::Received),
            ("clamped", SpanTime::Clamped),
        ]),
    }
    SPAN_MAX_AGE: Duration {
        section: Spans,
        variables: ["NETFLOW_SPAN_MAX_AGE"],
        flag: "span-max-age",
        placeholder: "DURATION",
        preset: Preset::Text("25s"),
        accepted: "a duration from 1s to 24h, such as 25s",
        summary: "How old a span may be under NETFLOW_SPAN_TIME=clamped",
        details: "The default fits the metrics generator of Tempo, which by default ignores spans \
            that ended more than 30 seconds ago.",
        parse: |text| values::duration(text, SECOND..=24 * HOUR),
    }
    ATTRIBUTES: AttributeLevel {
        section: Spans,
        variables: ["NETFLOW_ATTRIBUTES"],
        flag: "attributes",
        placeholder: "LEVEL",
        preset: Preset::Text("standard"),
        accepted: "minimal, standard, all",
        summary: "How much of a flow record its span tells",
        details: "`minimal`: addresses, ports, protocol, counters, interfaces, next hop and AS \
            numbers. `standard`: also flags, VLANs, MAC addresses, NAT, MPLS, names, sampling \
            and more, where the exporter sends them. `all`: every other element too, as \
            `ipfix.<name>`. More attributes make larger spans.",
        parse: |text| choice(text, &[
            ("minimal", AttributeLevel::Minimal),
            ("standard", AttributeLevel::Standard),
            ("all", AttributeLevel::All),
        ]),
    }
    TRACES_SAMPLER: SamplerKind {
        section: Spans,
        variables: ["OTEL_TRACES_SAMPLER"],
        flag: "traces-sampler",
        placeholder: "SAMPLER",
        preset: Preset::Text("always_on"),
        accepted: "always_on, always_off, traceidratio, parentbased_always_on, \
            parentbased_always_off, parentbased_traceidratio",
        summary: "Which traces to keep",
        details: "Decided for each trace as a whole. What the sampler leaves out is counted. A \
            flow has no parent elsewhere, so the `parentbased_` forms do the same as their \
            roots.",
        parse: |text| choice(text, &[
            ("always_on", SamplerKind::AlwaysOn),
            ("always_off", SamplerKind::AlwaysOff),
            ("traceidratio", SamplerKind::Ratio),
            ("parentbased_always_on", SamplerKind::AlwaysOn),
            ("parentbased_always_off", SamplerKind::AlwaysOff),
            ("parentbased_traceidratio", SamplerKind::Ratio),
        ]),
    }
    TRACES_SAMPLER_ARG: f64 {
        section: Spans,
        variables: ["OTEL_TRACES_SAMPLER_ARG"],
        flag: "traces-sampler-arg",
        placeholder: "SHARE",
        preset: Preset::Text("1.0"),
        accepted: "a number from 0 to 1",
        summary: "The share of traces that traceidratio keeps",
        details: "`0.1` keeps one trace in ten.",
        parse: values::ratio,
    }

    SERVICE_NAME: String {
        section: Resource,
        variables: ["OTEL_SERVICE_NAME"],
        flag: "service-name",
        placeholder: "NAME",
        preset: Preset::Text("netflow-to-traces"),
        accepted: "any text",
        summary: "service.name of the resource",
        details: "The name under which backends list the spans. Wins over `service.name` in \
            `OTEL_RESOURCE_ATTRIBUTES`, which wins over the default.",
        parse: |text| Ok(text.to_owned()),
    }
    SERVICE_VERSION: String {
        section: Resource,
        variables: ["OTEL_SERVICE_VERSION"],
        flag: "service-version",
        placeholder: "VERSION",
        preset: Preset::Computed("the version of netflow2traces"),
        accepted: "any text",
        summary: "service.version of the resource",
        details: "Wins over `service.version` in `OTEL_RESOURCE_ATTRIBUTES`, which wins over the \
            default.",
        parse: |text| Ok(text.to_owned()),
    }
    RESOURCE_ATTRIBUTES: Vec<(String, String)> {
        section: Resource,
        variables: ["OTEL_RESOURCE_ATTRIBUTES"],
        flag: "resource-attributes",
        placeholder: "KEY=VALUE,…",
        preset: Preset::Nothing("none"),
        accepted: "key=value pairs separated by commas, percent-encoded (%20 is a space, %2C a \
            comma)",
        summary: "More attributes of the resource",
        details: "`deployment.environment.name=production,site=K%C3%B6ln`. A key that the daemon \
            sets itself is replaced, but for those that begin with `netflow.exporter.`.",
        parse: values::attributes,
    }

    BATCH_DELAY: Duration {
        section: Delivery,
        variables: ["OTEL_BSP_SCHEDULE_DELAY"],
        flag: "batch-delay",
        placeholder: "MS",
        preset: Preset::Text("1000"),
        accepted: "milliseconds from 1 to 60000 (older spans are of no use to most backends)",
        summary: "Age at which a batch leaves, in milliseconds",
        details: "A batch leaves when it is this old, holds `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` \
            spans, or reaches `NETFLOW_MAX_REQUEST_SIZE`, whichever is first. Shorter delays \
            show flows sooner and make more and smaller requests.",
        parse: |text| values::milliseconds(text, 1..=60_000),
    }
    BATCH_MAX_SPANS: usize {
        section: Delivery,
        variables: ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
        flag: "batch-max-spans",
        placeholder: "N",
        preset: Preset::Nothing("no limit but the size of a request"),
        accepted: "a whole number from 1 to 1000000",
        summary: "Spans at which a batch leaves",
        details: "Seldom needed: backends limit requests by their size, for which there is \
            `NETFLOW_MAX_REQUEST_SIZE`.",
        parse: |text| values::count(text, 1..=1_000_000),
    }
    MAX_REQUEST_SIZE: usize {
        section: Delivery,
        variables: ["NETFLOW_MAX_REQUEST_SIZE"],
        flag: "max-request-size",
        placeholder: "SIZE",
        preset: Preset::Text("2MiB"),
        accepted: "a size from 64KiB (less would split the spans of single datagrams) to 64MiB",
        summary: "Size of one request, before compression",
        details: "Encoded octets before compression. Most gRPC servers take up to 4MiB, the \
            Collector's HTTP receiver 20MiB.",
        parse: |text| values::size(text, 64 * KIB..=64 * MIB),
    }
    EXPORT_CONCURRENCY: usize {
        section: Delivery,
        variables: ["NETFLOW_EXPORT_CONCURRENCY"],
        flag: "export-concurrency",
        placeholder: "N",
        preset: Preset::Text("4"),
        accepted: "a whole number from 1 to 256",
        summary: "Requests in flight at the same time",
        details: "More requests hide the latency of a distant backend.",
        parse: |text| values::count(text, 1..=256),
    }
    QUEUE_SIZE: usize {
        section: Delivery,
        variables: ["NETFLOW_QUEUE_SIZE"],
        flag: "queue-size",
        placeholder: "SIZE",
        preset: Preset::Text("64MiB"),
        accepted: "a size from 1MiB to 64GiB, and not less than NETFLOW_MAX_REQUEST_SIZE",
        summary: "Memory for spans that wait for the backend",
        details: "Encoded octets. When it is full, the oldest batch is dropped and counted; with a \
            spool, the oldest are written to disk from half of it on.",
        parse: |text| values::size(text, MIB..=64 * GIB),
    }
    SPOOL_DIR: PathBuf {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_DIR"],
        flag: "spool-dir",
        placeholder: "DIR",
        preset: Preset::Nothing("none"),
        accepted: "a directory that may be written, or can be made; each daemon needs its own",
        summary: "Directory of the disk queue",
        details: "With it, spans that wait for the backend outlive an outage that is longer than \
            the memory queue, and a restart. docs/operating.md says how large it should be, and \
            docs/spool.md what the files look like.",
        parse: values::directory,
    }
    SPOOL_MODE: SpoolMode {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_MODE"],
        flag: "spool-mode",
        placeholder: "MODE",
        preset: Preset::Text("overflow"),
        accepted: "overflow, always",
        summary: "What the disk queue takes",
        details: "`overflow`: what the memory queue can't hold, and at the end of the daemon what \
            could not be delivered. `always`: every batch before it is sent, so that even a \
            daemon that is killed loses no more than the batch that it is filling.",
        parse: |text| choice(text, &[
            ("overflow", SpoolMode::Overflow),
            ("always", SpoolMode::Always),
        ]),
    }
    SPOOL_MAX_SIZE: usize {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_MAX_SIZE"],
        flag: "spool-max-size",
        placeholder: "SIZE",
        preset: Preset::Text("1GiB"),
        accepted: "a size from 4MiB to 16384GiB, and not less than four times NETFLOW_MAX_REQUEST_SIZE",
        summary: "Room of the disk queue",
        details: "Octets of all its files. When it is full, the oldest batches are dropped and \
            counted, up to a sixteenth of it at once.",
        parse: |text| values::size(text, 4 * MIB..=16_384 * GIB),
    }
    SPOOL_MAX_AGE: Duration {
        section: Delivery,
        variables: ["NETFLOW_SPOOL_MAX_AGE"],
        flag: "spool-max-age",
        placeholder: "DURATION",
        preset: Preset::Text("7d"),
        accepted: "a duration from 1s to 365d, such as 12h or 7d",
        summary: "How old spans in the disk queue may become",
        details: "Batches that were received longer ago are dropped and counted. Many backends \
            take no spans that are older than some hours or days.",
        parse: |text| values::duration(text, SECOND..=365 * DAY),
    }
    SHUTDOWN_TIMEOUT: Duration {
        section: Delivery,
        variables: ["NETFLOW_SHUTDOWN_TIMEOUT"],
        flag: "shutdown-timeout",
        placeholder: "DURATION",
        preset: Preset::Text("8s"),
        accepted: "a duration from 0s to 1h, such as 8s",
        summary: "How long to go on delivering after SIGTERM or SIGINT",
        details: "Container runtimes kill ten seconds after SIGTERM; give both more time if the \
            queue is large.",
        parse: |text| values::duration(text, Duration::ZERO..=HOUR),
    }

    ADMIN_HOST: IpAddr {
        section: Watching,
        variables: ["NETFLOW_ADMIN_HOST"],
        flag: "admin-host",
        placeholder: "ADDRESS",
        preset: Preset::Text("127.0.0.1"),
        accepted: "one IP address of this machine, such as 127.0.0.1, 0.0.0.0 or ::",
        summary: "Address of the admin server",
        details: "`127.0.0.1` is reached from this machine alone. There is no password: give \
            another address only where everyone who reaches it may see your exporters' addresses, \
            and in containers, where the published port decides.",
        parse: values::address,
    }
    ADMIN_PORT: u16 {
        section: Watching,
        variables: ["NETFLOW_ADMIN_PORT"],
        flag: "admin-port",
        placeholder: "PORT",
        preset: Preset::Text("9464"),
        accepted: "a TCP port, or 0 to turn the admin server off",
        summary: "TCP port of the admin server: metrics and health",
        details: "9464 is the port that OpenTelemetry gives to Prometheus exporters. Two daemons \
            on a machine need two ports.",
        parse: values::tcp_port,
    }

    LOG_LEVEL: &'static str {
        section: Logging,
        variables: ["LOG_LEVEL"],
        flag: "log-level",
        placeholder: "LEVEL",
        preset: Preset::Text("INFO"),
        accepted: "DEBUG, INFO, WARNING, ERROR",
        summary: "How much to log",
        details: "In any case; `WARN` is `WARNING`. `DEBUG` shows what was understood of \
            datagrams and flows, at a bounded rate.",
        parse: |text| choice(text, &[
            ("DEBUG", "debug"),
            ("INFO", "info"),
            ("WARNING", "warn"),
            ("WARN", "warn"),
            ("ERROR", "error"),
        ]).map_err(|_| {
            Rejection(format!("{text} is not a level (RUST_LOG takes finer directives)"))
        }),
    }
    LOG_FILTER: String {
        section: Logging,
        variables: ["RUST_LOG"],
        flag: "log-filter",
        placeholder: "DIRECTIVES",
        preset: Preset::Nothing("made from LOG_LEVEL"),
        accepted: "directives such as info,netflow2traces::deliver=debug",
        summary: "Log directives for experts; win over LOG_LEVEL",
        details: "Directives of `tracing_subscriber::EnvFilter`: a level for everything and \
            others for single modules, `info,netflow2traces::deliver=debug`.",
        parse: |text| match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(Rejection(error.to_string())),
        },
    }
    LOG_FORMAT: bool {
        section: Logging,
        variables: ["LOG_FORMAT"],
        flag: "log-format",
        placeholder: "FORMAT",
        preset: Preset::Text("text"),
        accepted: "text, json",
        summary: "Form of the log lines",
        details: "`json` is one object a line, for log collectors.",
        parse: |text| choice(text, &[("text", false), ("json", true)]),
    }
    METRICS_EXPORTER: () {
        section: Logging,
        variables: ["OTEL_METRICS_EXPORTER"],
        flag: "metrics-exporter",
        placeholder: "EXPORTER",
        preset: Preset::Text("none"),
        accepted: "none",
        summary: "Where the daemon's own metrics go",
        details: "This version sends no metrics of its own.",
        parse: |text| choice(text, &[("none", ())])
            .map_err(|rejection| later(text, &["otlp", "prometheus", "console"], rejection)),
    }
}
