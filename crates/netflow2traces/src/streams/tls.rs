//! TLS of the exporters' connections: PEM files in, a rustls configuration out, read again when they change; and why a
//! handshake failed, in words that name the setting.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::config::{ListenTls, pem};

const CERTIFICATE: &str = "NETFLOW_LISTEN_TLS_CERTIFICATE";
const KEY: &str = "NETFLOW_LISTEN_TLS_KEY";
const CLIENT_CA: &str = "NETFLOW_LISTEN_TLS_CLIENT_CA";

/// What tells a version of a file from another.
type Mark = Option<(u64, SystemTime)>;

/// The files, and what was last read from them.
#[derive(Debug)]
pub(super) struct ServerTls {
    files: ListenTls,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    marks: [Mark; 3],
}

impl ServerTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// `VARIABLE=FILE: what is wrong`.
    pub(super) fn new(files: ListenTls) -> Result<Self, String> {
        // The marks first: what changes after them is read again.
        let marks = marks(&files);
        let (config, ignored) = read(&files)?;
        for reason in ignored {
            warn!(
                variable = CLIENT_CA,
                reason, "a certificate authority is ignored"
            );
        }
        let config = Arc::new(config);
        Ok(Self {
            files,
            current: Mutex::new(Current { config, marks }),
        })
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    /// Reads the files again if they have changed. What can't be used changes nothing but the log.
    pub(super) fn look(&self) {
        let marks = marks(&self.files);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.marks == marks {
            return;
        }
        current.marks = marks;
        drop(current);
        match read(&self.files) {
            Ok((config, _)) => {
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                current.config = Arc::new(config);
                info!(
                    "the TLS certificate for exporters has changed and was read again; new connections use it"
                );
            }
            Err(error) => warn!(
                %error,
                "a TLS file for exporters has changed and can't be used; the version before stays in use"
            ),
        }
    }
}

/// Whether the files can be used.
///
/// # Errors
/// `VARIABLE=FILE: what is wrong`.
pub fn check_tls(files: &ListenTls) -> Result<(), String> {
    read(files).map(|_| ())
}

fn marks(files: &ListenTls) -> [Mark; 3] {
    let mark = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.len(), found.modified().ok()?))
    };
    [
        mark(&files.certificate),
        mark(&files.key),
        files.client_ca.as_deref().and_then(mark),
    ]
}

/// The configuration, and what of the certificate authorities can't be used.
fn read(files: &ListenTls) -> Result<(ServerConfig, Vec<String>), String> {
    let named = |variable: &str, path: &Path, reason: &dyn std::fmt::Display| {
        format!("{variable}={}: {reason}", path.display())
    };
    let file = |variable: &str, path: &Path| {
        std::fs::read(path)
            .map_err(|error| named(variable, path, &format!("the file can't be read: {error}")))
    };
    let certificate = files.certificate.as_path();
    let chain = pem::certificates(&file(CERTIFICATE, certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|reason| named(CERTIFICATE, certificate, &reason))?;
    if chain.is_empty() {
        let reason = "there is no certificate in the file";
        return Err(named(CERTIFICATE, certificate, &reason));
    }
    let key = PrivateKeyDer::from_pem_slice(&file(KEY, &files.key)?).map_err(|_| {
        named(
            KEY,
            &files.key,
            &"there is no unencrypted private key in the file",
        )
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let identity =
        pem::identity(chain, key, &provider).map_err(|reason| named(KEY, &files.key, &reason))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be set up: {error}"))?;
    let mut ignored = Vec::new();
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let (roots, unusable) = pem::trusted(&file(CLIENT_CA, path)?)
                .map_err(|reason| named(CLIENT_CA, path, &reason))?;
            ignored = unusable;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier
                .build()
                .map_err(|error| named(CLIENT_CA, path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    // An exporter connects once and stays: resumption would only cost memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((config, ignored))
}

/// Why a handshake failed, and what to change.
pub(super) fn explain(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the exporter closed the connection during the TLS handshake: it may not trust the certificate in \
                 NETFLOW_LISTEN_TLS_CERTIFICATE"
                    .to_owned()
            }
            _ => error.to_string(),
        };
    };
    match inner {
        rustls::Error::NoCertificatesPresented => {
            "the exporter sent no certificate: give it one that is signed by an authority in \
             NETFLOW_LISTEN_TLS_CLIENT_CA, or unset that to accept exporters without one"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(reason) => of_exporter(reason),
        rustls::Error::AlertReceived(alert) => of_ours(*alert),
        rustls::Error::InvalidMessage(_) => {
            "what came is not TLS: turn TLS on in the exporter, or send to NETFLOW_LISTEN_TCP_PORT"
                .to_owned()
        }
        rustls::Error::PeerIncompatible(reason) => format!(
            "the exporter offers no version or cipher of TLS that is supported here (TLS 1.2 and 1.3): {reason:?}"
        ),
        error => error.to_string(),
    }
}

/// The exporter's certificate was refused.
fn of_exporter(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the exporter's certificate has expired: renew it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the exporter's certificate is not valid yet: check the clocks of both machines".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "the exporter's certificate is not signed by an authority in NETFLOW_LISTEN_TLS_CLIENT_CA".to_owned()
        }
        CertificateError::BadSignature => {
            "the exporter's certificate has a wrong signature, or it has not the key of its certificate".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the exporter's certificate is not made for clients: it needs the extended key usage clientAuth".to_owned()
        }
        reason => format!("the exporter's certificate can't be used: {reason}"),
    }
}

/// The exporter refused our certificate, or something else.
fn of_ours(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => {
            "the exporter doesn't trust our certificate: give it the authority that signed \
             NETFLOW_LISTEN_TLS_CERTIFICATE"
                .to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the exporter says that our certificate has expired: renew NETFLOW_LISTEN_TLS_CERTIFICATE".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked => format!(
            "the exporter refuses our certificate ({alert:?}): check that NETFLOW_LISTEN_TLS_CERTIFICATE has the name \
             or address that the exporter connects to, and the authority that the exporter trusts"
        ),
        alert => format!("the exporter refused the TLS handshake: {alert:?}"),
    }
}
