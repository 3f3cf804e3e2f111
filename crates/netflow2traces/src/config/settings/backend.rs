//! Settings: where spans go, and how.

use std::path::PathBuf;
use std::time::Duration;

use super::{DAY, SECOND};
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;
use crate::config::{Compression, ExporterKind, Headers, Protocol, RetryableStatus};
use crate::config::{headers, otlp, proxy};

settings! { BACKEND:
    OTLP_ENDPOINT: String {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_ENDPOINT"],
        flag: "otlp-endpoint",
        placeholder: "URL",
        preset: Preset::Nothing("required"),
        accepted: "a URL such as http://localhost:4317 (gRPC) or http://localhost:4318 (HTTP)",
        summary: "Where to send spans",
        details: "Required, unless the form for traces is set, or `OTEL_TRACES_EXPORTER` doesn't use OTLP. \
            `https://` encrypts, `http://` doesn't. For gRPC: scheme, host and port (usually 4317); without a \
            scheme, `OTEL_EXPORTER_OTLP_INSECURE` decides. For HTTP: a base URL (usually port 4318) to which \
            `/v1/traces` is appended.",
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
        summary: "Where to send spans, as the full URL",
        details: "Takes precedence over `OTEL_EXPORTER_OTLP_ENDPOINT` and is used unchanged: for HTTP, nothing is \
            appended.",
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
        summary: "Protocol between the daemon and the backend",
        details: "Tempo, Jaeger and the OpenTelemetry Collector accept `grpc` on port 4317. Grafana Cloud needs \
            `http/protobuf`, which also passes more proxies. `http/json` is for backends that can't read protobuf, \
            and makes larger requests.",
        parse: otlp::protocol,
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
        parse: headers::headers,
    }
    OTLP_HEADERS_FILE: PathBuf {
        section: Backend,
        variables: ["NETFLOW_OTLP_HEADERS_FILE"],
        flag: "otlp-headers-file",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable text file with a header in each line, such as \
            `Authorization: Bearer TOKEN`",
        summary: "A file with headers, read again when it changes",
        details: "For credentials that expire, such as a bearer token that another program renews: the file is read \
            again within seconds after it changed, and on SIGHUP. Each line is `Name: value`, or has pairs as in \
            `OTEL_EXPORTER_OTLP_HEADERS`; empty lines and lines that begin with `#` are skipped. A header in the \
            file takes precedence over one with the same name in that setting. If the file becomes invalid, the \
            daemon keeps using the headers that it read before.",
        parse: headers::headers_file,
    }
    OTLP_COMPRESSION: Compression {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
        flag: "otlp-compression",
        placeholder: "KIND",
        preset: Preset::Text("none"),
        accepted: "none, gzip, zstd",
        summary: "Compression of requests",
        details: "Flow spans are repetitive, so they compress well: requests shrink to between a sixth and a tenth, \
            for some processor time. Across a network use `gzip`, which nearly every backend supports; not every one \
            supports `zstd`.",
        parse: otlp::compression,
    }
    OTLP_TIMEOUT: Duration {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
        flag: "otlp-timeout",
        placeholder: "MS",
        preset: Preset::Text("10000"),
        accepted: "milliseconds from 1 to 600000",
        summary: "How long one request may take, in milliseconds",
        details: "If no answer arrives in this time, the request counts as failed and is retried. The name look-up, \
            the connection and the TLS handshake come first and have separate time limits (8 s, 5 s, 5 s, but not \
            more than this).",
        parse: |text| values::milliseconds(text, 1..=600_000),
    }
    OTLP_CERTIFICATE: PathBuf {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"],
        flag: "otlp-certificate",
        placeholder: "FILE",
        preset: Preset::Nothing("the system's roots"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Certificate authorities to trust instead of the system's",
        details: "A PEM file with the certificate authorities that may sign the backend's certificate. It is read again when \
            it changes; a certificate in it that can't be used is ignored, with a warning.",
        parse: otlp::authority_file,
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
        summary: "Client certificate, for mutual TLS",
        details: "A PEM file with the certificate and its chain. Needs \
            `OTEL_EXPORTER_OTLP_CLIENT_KEY` too. Both are read again when they change.",
        parse: otlp::certificate_file,
    }
    OTLP_CLIENT_KEY: PathBuf {
        section: Backend,
        variables: ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"],
        flag: "otlp-client-key",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable PEM file with a private key",
        summary: "The key of the client certificate",
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
        details: "Applies only to gRPC with an endpoint without a scheme, such as `tempo:4317`. An endpoint that \
            begins with `http://` or `https://` takes precedence.",
        switch: true,
        parse: values::switch,
    }
    MAX_CONNECTION_AGE: Duration {
        section: Backend,
        variables: ["NETFLOW_OTLP_MAX_CONNECTION_AGE"],
        flag: "otlp-max-connection-age",
        placeholder: "DURATION",
        preset: Preset::Text("5m"),
        accepted: "a duration from 1s to 24h, such as 5m",
        summary: "Age at which a connection to the backend is replaced",
        details: "If the backend is behind a load balancer, or its name has several addresses, a new replica gets \
            its share of requests only through new connections. The name is resolved again, and the connections are \
            spread over all its addresses. The old connection is kept until the new one is established.",
        parse: |text| values::duration(text, SECOND..=DAY),
    }
    RETRYABLE_STATUS: RetryableStatus {
        section: Backend,
        variables: ["NETFLOW_OTLP_RETRYABLE_STATUS"],
        flag: "otlp-retryable-status",
        placeholder: "STATUS,…",
        preset: Preset::Nothing("those of the OTLP specification"),
        accepted: "HTTP statuses from 300 to 599, or gRPC statuses by name, such as 404,500 or \
            UNIMPLEMENTED,INTERNAL",
        summary: "Further statuses after which a request is retried",
        details: "For backends that answer with such a status while they are being deployed. Without this setting, \
            the daemon retries after HTTP statuses 429, 502, 503 and 504 and after the gRPC statuses that the OTLP \
            specification names; if a request is rejected with another status, its spans are lost. HTTP statuses \
            apply to gRPC too, if a proxy answers in place of the backend.",
        parse: otlp::retryable_status,
    }
    ACCEPT_ANY_2XX: bool {
        section: Backend,
        variables: ["NETFLOW_OTLP_ACCEPT_ANY_2XX"],
        flag: "otlp-accept-any-2xx",
        placeholder: "BOOL",
        preset: Preset::Text("false"),
        accepted: "true or false",
        summary: "Count every HTTP answer of 2xx as success",
        details: "Without this setting, a 2xx counts as success if its body is an OTLP answer or empty. Anything \
            else, such as a login page, means that the request did not reach an OTLP backend: it is retried, and the \
            log shows the beginning of the answer. Set it if your backend's answers don't follow OTLP.",
        switch: true,
        parse: values::switch,
    }
    HTTPS_PROXY: String {
        section: Backend,
        variables: ["https_proxy", "HTTPS_PROXY"],
        flag: "https-proxy",
        placeholder: "URL",
        preset: Preset::Nothing("none"),
        accepted: "the URL of an HTTP proxy such as http://proxy:3128, with user and password if it needs them \
            (http://USER:PASSWORD@proxy:3128); exempt the backend with NO_PROXY",
        summary: "Proxy for endpoints that begin with https://",
        details: "The daemon asks the proxy for a connection to the backend with CONNECT; TLS is between the daemon \
            and the backend. `https_proxy` takes precedence over `HTTPS_PROXY`, as in curl.",
        secrecy: Url,
        parse: proxy::url_text,
    }
    HTTP_PROXY: String {
        section: Backend,
        variables: ["http_proxy", "HTTP_PROXY"],
        flag: "http-proxy",
        placeholder: "URL",
        preset: Preset::Nothing("none"),
        accepted: "the URL of an HTTP proxy such as http://proxy:3128, with user and password if it needs them \
            (http://USER:PASSWORD@proxy:3128); exempt the backend with NO_PROXY",
        summary: "Proxy for endpoints that begin with http://",
        details: "OTLP over HTTP is sent through the proxy like any other request; for gRPC, the daemon asks the \
            proxy for a connection with CONNECT. `http_proxy` takes precedence over `HTTP_PROXY`, as in curl.",
        secrecy: Url,
        parse: proxy::url_text,
    }
    NO_PROXY: String {
        section: Backend,
        variables: ["no_proxy", "NO_PROXY"],
        flag: "no-proxy",
        placeholder: "HOST,…",
        preset: Preset::Nothing("none"),
        accepted: "names, addresses and networks separated by commas, or *",
        summary: "Backends that are reached without a proxy",
        details: "A name matches itself and all names below it (`example.com` matches `tempo.example.com`), a \
            network in CIDR form matches its addresses, and `*` matches everything.",
        parse: proxy::exempt_text,
    }
    TRACES_EXPORTER: ExporterKind {
        section: Backend,
        variables: ["OTEL_TRACES_EXPORTER"],
        flag: "traces-exporter",
        placeholder: "EXPORTER",
        preset: Preset::Text("otlp"),
        accepted: "otlp, kafka, console, none, or otlp,console",
        summary: "Where to send spans: to the backend, to Kafka, to stdout, or nowhere",
        details: "`kafka` writes the requests to `NETFLOW_KAFKA_TRACES_TOPIC` of `NETFLOW_KAFKA_BROKERS`. `console` prints each span as a line of JSON on stdout. `otlp,console` sends the spans and prints \
            a copy. If stdout isn't read fast enough, copies are dropped and counted in \
            `netflow_console_copies_dropped_total`. With `none`, the daemon receives, decodes and counts, and sends \
            nothing.",
        parse: values::traces_exporter,
    }
}
