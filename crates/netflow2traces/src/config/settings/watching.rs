//! Settings: the admin server.

use std::net::IpAddr;

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;

settings! { WATCHING:
    ADMIN_HOST: IpAddr {
        section: Watching,
        variables: ["NETFLOW_ADMIN_HOST"],
        flag: "admin-host",
        placeholder: "ADDRESS",
        preset: Preset::Text("127.0.0.1"),
        accepted: "one IP address of this machine, such as 127.0.0.1, 0.0.0.0 or ::",
        summary: "Address of the admin server",
        details: "`127.0.0.1` can only be reached from this machine. There is no password: choose another address \
            only if everyone who can reach it may see your exporters' addresses, or in containers, where the \
            published port decides.",
        parse: values::address,
    }
    ADMIN_PORT: u16 {
        section: Watching,
        variables: ["NETFLOW_ADMIN_PORT"],
        flag: "admin-port",
        placeholder: "PORT",
        preset: Preset::Text("9464"),
        accepted: "a TCP port, or 0 to turn the admin server off",
        summary: "TCP port of the admin server: the page, metrics and health",
        details: "9464 is OpenTelemetry's port for Prometheus exporters. Two daemons on one machine need different \
            ports.",
        parse: values::tcp_port,
    }
    ADMIN_ALLOWED_HOSTS: Vec<String> {
        section: Watching,
        variables: ["NETFLOW_ADMIN_ALLOWED_HOSTS"],
        flag: "admin-allowed-hosts",
        placeholder: "NAME,…",
        preset: Preset::Nothing("no further names"),
        accepted: "host names without a port, separated by commas, such as flows.example.com; *.example.com matches every name below example.com",
        summary: "Further host names that the admin server answers to",
        details: "A request is answered if its `Host` is an IP address, `localhost`, a name without a dot (such as a \
            service of Compose), this machine's own name, or one of these. Every other name gets status 421, because \
            a web site could point its own name at this address and read the answers in a visitor's browser (DNS \
            rebinding). Behind a reverse proxy, add the name that browsers use; in Kubernetes the manifests set \
            `*.svc,*.svc.cluster.local`. `/livez` and `/readyz` answer to any name.",
        parse: values::host_names,
    }
    TRACE_URL: String {
        section: Watching,
        variables: ["NETFLOW_TRACE_URL"],
        flag: "trace-url",
        placeholder: "URL",
        preset: Preset::Nothing("no links"),
        accepted: "a URL with {trace_id} in it, such as \
            http://localhost:16686/trace/{trace_id}",
        summary: "Target of the page's links to traces in your backend",
        details: "The URL at which your backend shows a trace; `{trace_id}` is replaced by the trace's ID in \
            hexadecimal. Jaeger: `http://jaeger:16686/trace/{trace_id}`. Grafana, with your data source's uid \
            instead of `tempo`: \
            `http://grafana:3000/explore?schemaVersion=1&orgId=1&panes=%7B%22a%22:%7B%22datasource%22:%22tempo%22,%22queries%22:%5B%7B%22refId%22:%22A%22,%22queryType%22:%22traceql%22,%22query%22:%22{trace_id}%22%7D%5D,%22range%22:%7B%22from%22:%22now-1h%22,%22to%22:%22now%22%7D%7D%7D`. \
            Everyone who opens the page can see this URL: don't put a password into it.",
        parse: values::trace_url,
    }
}
