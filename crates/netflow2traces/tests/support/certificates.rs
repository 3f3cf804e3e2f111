//! A certificate authority for a test, its servers and clients, and their PEM files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

/// A certificate with its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("authority {}", NUMBER.fetch_add(1, Relaxed));
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            issuer,
            files: TempDir::new().unwrap(),
        }
    }

    /// The PEM file of the authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.write("ca.pem", &self.issuer.pem())
    }

    /// PEM files of a client's certificate and key.
    pub(crate) fn client_files(&self) -> (PathBuf, PathBuf) {
        let Identity { certificate, key } = self.identity(false);
        let certificate = self.write("client.pem", &certificate.pem());
        (certificate, self.write("client.key", &key.serialize_pem()))
    }

    /// A server for `127.0.0.1` that asks no client for a certificate.
    pub(crate) fn server(&self, protocols: &[&str]) -> ServerConfig {
        let builder = server_builder().with_no_client_auth();
        with_identity(builder, self.identity(false), protocols)
    }

    /// The same with a certificate that expired long ago.
    pub(crate) fn expired_server(&self, protocols: &[&str]) -> ServerConfig {
        let builder = server_builder().with_no_client_auth();
        with_identity(builder, self.identity(true), protocols)
    }

    /// The same with a certificate for another host.
    pub(crate) fn server_elsewhere(&self, protocols: &[&str]) -> ServerConfig {
        let identity = self.identity_for(&["elsewhere.example"], false);
        with_identity(server_builder().with_no_client_auth(), identity, protocols)
    }

    /// A server that shows the authority's own certificate.
    pub(crate) fn itself_as_server(&self, protocols: &[&str]) -> ServerConfig {
        let chain = vec![self.issuer.der().clone()];
        let key = PrivatePkcs8KeyDer::from(self.issuer.key().serialize_der());
        let builder = server_builder().with_no_client_auth();
        let mut config = builder
            .with_single_cert(chain, PrivateKeyDer::Pkcs8(key))
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config
    }

    /// A server that takes only clients of this authority.
    pub(crate) fn mutual_server(&self, protocols: &[&str]) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let builder = server_builder().with_client_cert_verifier(verifier);
        with_identity(builder, self.identity(false), protocols)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn identity(&self, expired: bool) -> Identity {
        self.identity_for(&["127.0.0.1", "localhost"], expired)
    }

    fn identity_for(&self, names: &[&str], expired: bool) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap(),
            key,
        }
    }
}

fn server_builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
}

fn with_identity(
    builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    identity: Identity,
    protocols: &[&str],
) -> ServerConfig {
    let chain: Vec<CertificateDer<'static>> = vec![identity.certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    config
}
