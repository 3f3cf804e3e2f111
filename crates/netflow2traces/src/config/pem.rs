//! Certificates of a PEM file, each read by itself: one that is damaged doesn't hide the others.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

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

/// What is wrong with a bundle of trusted certificates that can be used all the same, or why it can't be.
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
}
