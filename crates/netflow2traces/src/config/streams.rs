//! IPFIX over TCP and TLS: where it is received, and with which certificates.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::load::{Loader, Mistake};
use super::{pem, settings};

/// Stage 1: connections.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    /// Each address with each port of TCP.
    pub tcp: Vec<SocketAddr>,
    /// Each address with each port of TLS.
    pub tls: Vec<SocketAddr>,
    /// There if `tls` is not empty.
    pub tls_files: Option<ListenTls>,
    /// Octets that connections may take: themselves, messages that wait, and incomplete ones.
    pub memory: usize,
}

/// `NETFLOW_LISTEN_TLS_…`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
}

impl Streams {
    /// Whether there are no listeners.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.tcp.is_empty() && self.tls.is_empty()
    }
}

impl Loader<'_> {
    pub(super) fn streams(&mut self) -> Streams {
        let hosts = self.value(&settings::LISTEN_HOST);
        let tcp = self
            .optional(&settings::LISTEN_TCP_PORT)
            .unwrap_or_default();
        let tls = self
            .optional(&settings::LISTEN_TLS_PORT)
            .unwrap_or_default();
        let listen = |ports: &[u16]| {
            let all = hosts.iter();
            all.flat_map(|host| ports.iter().map(|port| SocketAddr::new(*host, *port)))
                .collect()
        };
        if let Some(port) = tcp.iter().find(|port| **port != 0 && tls.contains(port)) {
            self.mistakes.push(Mistake::new(
                "NETFLOW_LISTEN_TCP_PORT and NETFLOW_LISTEN_TLS_PORT",
                &format!("both have port {port}; a port is either of TCP or of TLS: give them different ports"),
            ));
        }
        Streams {
            tls_files: self.listen_tls(!tls.is_empty()),
            tcp: listen(&tcp),
            tls: listen(&tls),
            memory: 0,
        }
    }

    /// The admin server has a TCP port too.
    pub(super) fn keep_apart(&mut self, admin: Option<SocketAddr>, streams: &Streams) {
        let Some(admin) = admin else { return };
        let is_taken = |listen: &SocketAddr| {
            let (one, other) = (listen.ip(), admin.ip());
            let meet = one == other || one.is_unspecified() || other.is_unspecified();
            listen.port() == admin.port() && meet
        };
        for (setting, addresses) in [
            ("NETFLOW_LISTEN_TCP_PORT", &streams.tcp),
            ("NETFLOW_LISTEN_TLS_PORT", &streams.tls),
        ] {
            if addresses.iter().any(is_taken) {
                let port = admin.port();
                self.mistakes.push(Mistake::new(
                    format!("NETFLOW_ADMIN_PORT and {setting}"),
                    &format!("both have port {port}: give them different ports"),
                ));
            }
        }
    }

    fn listen_tls(&mut self, is_wanted: bool) -> Option<ListenTls> {
        let certificate = self.optional(&settings::LISTEN_TLS_CERTIFICATE);
        let key = self.optional(&settings::LISTEN_TLS_KEY);
        let client_ca = self.optional(&settings::LISTEN_TLS_CLIENT_CA);
        if !is_wanted {
            let because = "NETFLOW_LISTEN_TLS_PORT is not set";
            self.warn_without_effect(&settings::LISTEN_TLS_CERTIFICATE, because);
            self.warn_without_effect(&settings::LISTEN_TLS_KEY, because);
            self.warn_without_effect(&settings::LISTEN_TLS_CLIENT_CA, because);
            return None;
        }
        for (missing, name) in [
            (
                self.is_set(&settings::LISTEN_TLS_CERTIFICATE).is_none(),
                "NETFLOW_LISTEN_TLS_CERTIFICATE",
            ),
            (
                self.is_set(&settings::LISTEN_TLS_KEY).is_none(),
                "NETFLOW_LISTEN_TLS_KEY",
            ),
        ] {
            if missing {
                self.mistakes.push(Mistake::new(
                    name,
                    "it is not set, and NETFLOW_LISTEN_TLS_PORT needs it; give a PEM file",
                ));
            }
        }
        let (certificate, key) = (certificate?, key?);
        if let Some(reason) = pem::mismatch(&certificate, &key) {
            let named = self
                .is_set(&settings::LISTEN_TLS_KEY)
                .map(|given| given.named());
            self.mistakes
                .push(Mistake::new(named.unwrap_or_default(), &reason));
        }
        Some(ListenTls {
            certificate,
            key,
            client_ca,
        })
    }
}
