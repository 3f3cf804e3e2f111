//! Settings: IPFIX over TCP and TLS.

use std::path::PathBuf;

use crate::config::otlp;
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values;

settings! { STREAMS:
    LISTEN_TCP_PORT: Vec<u16> {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_TCP_PORT"],
        flag: "listen-tcp-port",
        placeholder: "PORT,…",
        preset: Preset::Nothing("none"),
        accepted: "TCP ports from 0 to 65535, separated by commas; 0 lets the system choose",
        summary: "TCP ports to receive IPFIX on",
        details: "IPFIX over TCP, as NetObserv, Antrea and YAF send it; 4739 is the registered port. Each address of \
            `NETFLOW_LISTEN_HOST` listens on each of these ports. When the backend is slow, exporters are slowed down, and \
            nothing is dropped. docs/connections.md describes limits and log lines.",
        parse: values::ports,
    }
    LISTEN_TLS_PORT: Vec<u16> {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_TLS_PORT"],
        flag: "listen-tls-port",
        placeholder: "PORT,…",
        preset: Preset::Nothing("none"),
        accepted: "TCP ports from 0 to 65535, separated by commas; 0 lets the system choose",
        summary: "TCP ports to receive IPFIX over TLS on",
        details: "IPFIX over TLS 1.2 or 1.3; 4740 is the registered port. Needs `NETFLOW_LISTEN_TLS_CERTIFICATE` and \
            `NETFLOW_LISTEN_TLS_KEY`.",
        parse: values::ports,
    }
    LISTEN_TLS_CERTIFICATE: PathBuf {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_TLS_CERTIFICATE"],
        flag: "listen-tls-certificate",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Certificate to show exporters",
        details: "A PEM file with the daemon's certificate, followed by those of the authorities between it and the one that \
            exporters trust. It is read again when it changes.",
        parse: otlp::certificate_file,
    }
    LISTEN_TLS_KEY: PathBuf {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_TLS_KEY"],
        flag: "listen-tls-key",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable PEM file with an unencrypted private key",
        summary: "Key of that certificate",
        details: "A PEM file with the private key of `NETFLOW_LISTEN_TLS_CERTIFICATE`. It is read again when it changes.",
        parse: otlp::key_file,
    }
    LISTEN_TLS_CLIENT_CA: PathBuf {
        section: Receiving,
        variables: ["NETFLOW_LISTEN_TLS_CLIENT_CA"],
        flag: "listen-tls-client-ca",
        placeholder: "FILE",
        preset: Preset::Nothing("exporters need no certificate"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Authorities of exporters' certificates",
        details: "With it, an exporter must show a certificate that one of these authorities has signed; without it, any \
            exporter may connect. It is read again when it changes.",
        parse: otlp::authority_file,
    }
}
