//! TLS for every client of this program: PEM files in, a rustls configuration out. Files are read
//! here, at start-up, so that a wrong one stops the start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::Tls;

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

/// The client configuration for an `https` endpoint: the system's roots, or those of `certificate`
/// instead; a client certificate if one is set. ALPN is left to the protocol.
///
/// # Errors
/// [`TlsError`], if a file can't be read, doesn't hold what it should, or the pair doesn't match.
pub fn client_config(tls: &Tls) -> Result<ClientConfig, TlsError> {
    let roots = match &tls.certificate {
        Some(path) => roots_of(path)?,
        None => system_roots()?,
    };
    let builder = builder()?.with_root_certificates(roots);
    match (&tls.client_certificate, &tls.client_key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err(TlsError::HalfOfPair {
            given: CLIENT_CERTIFICATE,
            missing: CLIENT_KEY,
        }),
        (None, Some(_)) => Err(TlsError::HalfOfPair {
            given: CLIENT_KEY,
            missing: CLIENT_CERTIFICATE,
        }),
        (Some(certificate), Some(key)) => {
            let chain = certificates(CLIENT_CERTIFICATE, certificate)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| file_error(CLIENT_KEY, key, "private key", &error))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| TlsError::Unusable {
                    variable: CLIENT_KEY,
                    path: key.clone(),
                    reason: format!("{error}; give the key of {}", certificate.display()),
                })
        }
    }
}

/// A configuration that trusts nobody, for `http` endpoints: nothing is read from disk.
pub(super) fn no_tls() -> Result<ClientConfig, TlsError> {
    Ok(builder()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CERTIFICATE, path)? {
        roots.add(certificate).map_err(|error| TlsError::Unusable {
            variable: CERTIFICATE,
            path: path.to_path_buf(),
            reason: format!("{error}; give the certificate of a certificate authority"),
        })?;
    }
    Ok(roots)
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
