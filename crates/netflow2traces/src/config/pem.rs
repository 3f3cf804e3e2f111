//! Certificates of a PEM file, each read by itself: one that is damaged doesn't hide the others. And keys that fit.

use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The certificates of a bundle in its order; in place of each that is no PEM, why.
pub(crate) fn certificates(
    octets: &[u8],
) -> impl Iterator<Item = Result<CertificateDer<'static>, String>> {
    let mut rest = find(octets);
    std::iter::from_fn(move || {
        let begin = rest.take()?;
        let after = begin.get(BEGIN.len()..).unwrap_or_default();
        rest = find(after);
        let end = begin.len() - rest.map_or(0, <[u8]>::len);
        let section = begin.get(..end).unwrap_or(begin);
        let read = CertificateDer::from_pem_slice(section);
        Some(read.map_err(|error| format!("not PEM: {error}")))
    })
}

/// From the next certificate on.
fn find(octets: &[u8]) -> Option<&[u8]> {
    let at = octets
        .windows(BEGIN.len())
        .position(|window| window == BEGIN)?;
    octets.get(at..)
}

/// What is wrong with a bundle of trusted certificates that can be used anyway, or why it can't be.
///
/// # Errors
/// A clause, if no certificate in it can be used.
pub(crate) fn trusted(octets: &[u8]) -> Result<(rustls::RootCertStore, Vec<String>), String> {
    let mut roots = rustls::RootCertStore::empty();
    let mut ignored = Vec::new();
    for (index, certificate) in certificates(octets).enumerate() {
        let added = certificate.and_then(|certificate| {
            roots.add(certificate).map_err(|error| match error {
                rustls::Error::InvalidCertificate(bad) => format!("invalid: {bad}"),
                error => error.to_string(),
            })
        });
        if let Err(reason) = added {
            ignored.push(format!("certificate {} is {reason}", index + 1));
        }
    }
    if !roots.is_empty() {
        return Ok((roots, ignored));
    }
    Err(match ignored.first() {
        None => "there is no certificate in the file".to_owned(),
        Some(first) => format!("no certificate in the file can be used: {first}"),
    })
}

/// A client certificate with its key.
///
/// # Errors
/// A clause, if the key is of a kind that TLS here doesn't support, or of another certificate.
pub(crate) fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let curve = unsupported_curve(key.secret_der());
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match (curve, error) {
        (Some(curve), _) => format!(
            "the key is on the curve {curve}, which is not supported; give a key on P-256 or P-384, an Ed25519 key or \
             an RSA key, and its certificate"
        ),
        (None, rustls::Error::InconsistentKeys(_)) => {
            "the key is not the one of the certificate; give both of one pair".to_owned()
        }
        (None, error) => format!("{error}; give the key of the certificate"),
    })
}

/// Why a client certificate and its key, in these files, are no pair; `None` also when a file can't be read, which is
/// another mistake.
pub(crate) fn mismatch(certificate: &Path, key: &Path) -> Option<String> {
    let chain = CertificateDer::pem_file_iter(certificate).ok()?;
    let chain = chain.collect::<Result<Vec<_>, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_file(key).ok()?;
    identity(chain, key, &rustls::crypto::ring::default_provider()).err()
}

/// The name of an elliptic curve that ring doesn't have, by its object identifier (RFC 5480 section 2.1.1.1, RFC 5639,
/// RFC 8410).
pub(crate) fn unsupported_curve(der: &[u8]) -> Option<&'static str> {
    const CURVES: [(&[u8], &str); 6] = [
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], "P-224"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
        (
            &[0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01],
            "brainpool",
        ),
        (&[0x06, 0x03, 0x2b, 0x65, 0x71], "Ed448"),
        (
            &[0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d],
            "SM2",
        ),
    ];
    let named = CURVES
        .iter()
        .find(|(oid, _)| der.windows(oid.len()).any(|window| window == *oid));
    named.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> String {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_damaged_certificate_hides_no_other_one() {
        let (one, two) = (authority("one"), authority("two"));
        let begin = "-----BEGIN CERTIFICATE-----";
        let end = "-----END CERTIFICATE-----";
        for damaged in [
            format!("{begin}\n!!!!\n{end}\n"),
            format!("{begin}\nAAAA\n{end}\n"),
            format!("{begin}\nMIIB"),
            format!("{begin}\n{end}\n"),
        ] {
            for bundle in [
                format!("{damaged}\n{one}{two}"),
                format!("# a comment\n{one}{damaged}\n{two}"),
                format!("{one}{two}{damaged}"),
            ] {
                let (roots, ignored) = trusted(bundle.as_bytes()).unwrap();
                assert_eq!((roots.len(), ignored.len()), (2, 1), "{bundle}");
            }
            let error = trusted(damaged.as_bytes()).unwrap_err();
            assert!(
                error.contains("no certificate in the file can be used"),
                "{error}"
            );
        }
        assert!(
            trusted(b"")
                .unwrap_err()
                .contains("there is no certificate")
        );
    }

    #[test]
    fn a_key_fits_its_certificate_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
        let certificate = write("client.pem", &params.self_signed(&key).unwrap().pem());
        let own = write("client.key", &key.serialize_pem());
        assert_eq!(mismatch(&certificate, &own), None);
        let other = rcgen::KeyPair::generate().unwrap();
        let other = write("other.key", &other.serialize_pem());
        let reason = mismatch(&certificate, &other).unwrap();
        assert!(
            reason.contains("not the one of the certificate"),
            "{reason}"
        );
        // By openssl ecparam -name secp521r1 -genkey; rcgen makes none.
        let p521 = write("p521.key", P521);
        let reason = mismatch(&certificate, &p521).unwrap();
        assert!(reason.contains("on the curve P-521"), "{reason}");
        assert_eq!(mismatch(&certificate, &folder.path().join("nowhere")), None);
    }

    const P521: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIBIZNULjG/WzrA7Wqp\n\
        FKwHt4LZq/AUCBuiBm2eHyIb9UleKOQ587iTtNwb9zsJ/WQjRhpGyvefkaUBL2Gj\n\
        NgtyJO2hgYkDgYYABAF6u0XcYBnA5bhggniIT2qK/8Pbx0IzSggh0TXzKKuaUo3r\n\
        Xp1VHP5KzTKoTZrFtukMvB0CO2STWf0qHPD76+LPmAAknY/4HHFXoSlEGv2qNs+O\n\
        hCok0lfhEMvzvpLrLDXiN0tF7bOdWh9SveuoO2rRHmBSQlxRdi74GJjEFIFbIbrv\n\
        yw==\n\
        -----END PRIVATE KEY-----";
}
