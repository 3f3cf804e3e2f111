//! TLS of every client of this program: PEM files in, a rustls configuration out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::transport::Versions;
use crate::config::{Tls, pem as bundle};

const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CLIENT_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const CLIENT_KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

/// A TLS setting that can't be used. Each says variable, value and what is accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error("{variable}={}: {reason}; give a PEM file that this user may read", path.display())]
    File {
        variable: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error("{variable}={}: no {wanted} inside; give a PEM file with one", path.display())]
    Empty {
        variable: &'static str,
        path: PathBuf,
        wanted: &'static str,
    },
    #[error("{variable}={}: {reason}", path.display())]
    Unusable {
        variable: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error("{given} is set but {missing} is not; a client certificate needs its key, set both")]
    HalfOfPair {
        given: &'static str,
        missing: &'static str,
    },
    #[error(
        "the system has no trusted root certificates ({reason}); install its ca-certificates, or \
         set {CERTIFICATE} to the PEM file of the backend's certificate authority"
    )]
    NoRoots { reason: String },
    #[error("TLS can't be set up: {0}")]
    Provider(#[source] rustls::Error),
}

/// What connections to one backend have in common, until a file changes.
#[derive(Clone, Debug)]
pub(super) struct Client {
    config: Arc<ClientConfig>,
    asked: Arc<AtomicBool>,
    /// Certificates of the bundle that can't be used, and why.
    pub(super) ignored: Vec<String>,
}

impl Client {
    /// The system's roots, or those of `certificate` instead; a client certificate if one is set.
    ///
    /// # Errors
    /// [`TlsError`], if a file can't be read, doesn't hold what it should, or the pair doesn't match.
    pub(super) fn new(tls: &Tls, versions: Versions) -> Result<Self, TlsError> {
        let (roots, ignored) = match &tls.certificate {
            Some(path) => roots_of(path)?,
            None => (system_roots()?, Vec::new()),
        };
        let provider = rustls::crypto::ring::default_provider();
        let key = match (&tls.client_certificate, &tls.client_key) {
            (None, None) => None,
            (Some(_), None) => {
                return Err(TlsError::HalfOfPair {
                    given: CLIENT_CERTIFICATE,
                    missing: CLIENT_KEY,
                });
            }
            (None, Some(_)) => {
                return Err(TlsError::HalfOfPair {
                    given: CLIENT_KEY,
                    missing: CLIENT_CERTIFICATE,
                });
            }
            (Some(certificate), Some(key)) => Some(certified(certificate, key, &provider)?),
        };
        Self::with(roots, key, ignored, provider, versions)
    }

    /// For `http` endpoints: it trusts no authority, and reads nothing from disk.
    pub(super) fn plain() -> Result<Self, TlsError> {
        let provider = rustls::crypto::ring::default_provider();
        let roots = RootCertStore::empty();
        Self::with(roots, None, Vec::new(), provider, Versions::Any)
    }

    fn with(
        roots: RootCertStore,
        key: Option<Arc<CertifiedKey>>,
        ignored: Vec<String>,
        provider: CryptoProvider,
        versions: Versions,
    ) -> Result<Self, TlsError> {
        let asked = Arc::<AtomicBool>::default();
        let identity = Identity {
            key,
            asked: Arc::clone(&asked),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(identity));
        config.alpn_protocols = match versions {
            Versions::Http2 => vec![b"h2".to_vec()],
            Versions::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(Self {
            config: Arc::new(config),
            asked,
            ignored,
        })
    }

    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    /// Whether the backend has asked for a client certificate, on any connection.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }
}

/// The client certificate, if there is one, for backends that request it; and whether one did.
#[derive(Debug)]
struct Identity {
    key: Option<Arc<CertifiedKey>>,
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        // Else it would not be asked for.
        true
    }
}

fn certified(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(CLIENT_CERTIFICATE, certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| file_error(CLIENT_KEY, key, "private key", &error))?;
    let certified = bundle::identity(chain, private, provider);
    let certified = certified.map_err(|reason| TlsError::Unusable {
        variable: CLIENT_KEY,
        path: key.to_path_buf(),
        reason: format!("{reason} (certificate: {})", certificate.display()),
    })?;
    Ok(Arc::new(certified))
}

fn roots_of(path: &Path) -> Result<(RootCertStore, Vec<String>), TlsError> {
    let octets = std::fs::read(path).map_err(|error| TlsError::File {
        variable: CERTIFICATE,
        path: path.to_path_buf(),
        reason: error.to_string(),
    })?;
    bundle::trusted(&octets).map_err(|reason| TlsError::Unusable {
        variable: CERTIFICATE,
        path: path.to_path_buf(),
        reason: format!("{reason}; give the certificate of a certificate authority"),
    })
}

/// Single certificates that rustls can't use are passed over, as every TLS client does.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let reasons: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        let reason = if reasons.is_empty() {
            "none found".into()
        } else {
            reasons.join("; ")
        };
        return Err(TlsError::NoRoots { reason });
    }
    Ok(roots)
}

fn certificates(
    variable: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error: &pem::Error| file_error(variable, path, "certificate", error);
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(&error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&error))?;
    if certificates.is_empty() {
        return Err(wrong(&pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn file_error(
    variable: &'static str,
    path: &Path,
    wanted: &'static str,
    error: &pem::Error,
) -> TlsError {
    let path = path.to_path_buf();
    match error {
        pem::Error::NoItemsFound => TlsError::Empty {
            variable,
            path,
            wanted,
        },
        pem::Error::Io(error) => TlsError::File {
            variable,
            path,
            reason: error.to_string(),
        },
        error => TlsError::File {
            variable,
            path,
            reason: format!("not PEM: {error}"),
        },
    }
}
