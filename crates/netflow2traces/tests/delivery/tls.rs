//! TLS: trusted authorities, client certificates, and what the log says when it goes wrong.

use std::path::{Path, PathBuf};

use http::Version;
use netflow2traces::config::{Otlp, Protocol, Tls};
use netflow2traces::deliver::Delivery;

use crate::backend::{FakeBackend, Setup};
use crate::certificates::Authority;
use crate::{batch, count, deliver, finish, otlp, start, to, until};

const H2: &[&str] = &["h2"];
const HTTP1: &[&str] = &["http/1.1"];
const BOTH: &[&str] = &["h2", "http/1.1"];

fn trusting(authority: &Authority, protocol: Protocol, backend: &FakeBackend) -> Otlp {
    let mut otlp = otlp(protocol, backend.endpoint("/v1/traces"));
    otlp.tls.certificate = Some(authority.file());
    otlp
}

fn setup(protocol: Protocol) -> Setup {
    if protocol == Protocol::Grpc {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    }
}

#[tokio::test]
async fn an_own_authority_is_trusted() {
    let authority = Authority::new();
    for (protocol, offered, spoken) in [
        (Protocol::Grpc, H2, Version::HTTP_2),
        (Protocol::HttpProtobuf, HTTP1, Version::HTTP_11),
        (Protocol::HttpProtobuf, BOTH, Version::HTTP_2),
        (Protocol::HttpJson, &[], Version::HTTP_11),
    ] {
        let backend = setup(protocol).tls(authority.server(offered)).start().await;
        let totals = deliver(
            &to(trusting(&authority, protocol, &backend)),
            &[batch(5, 0)],
        )
        .await;
        assert_eq!(totals.accepted, count(5, 1));
        assert_eq!(backend.received()[0].version, spoken);
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let authority = Authority::new();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let backend = setup(protocol)
            .tls(authority.mutual_server(BOTH))
            .start()
            .await;
        let mut otlp = trusting(&authority, protocol, &backend);
        let (certificate, key) = authority.client_files();
        otlp.tls.client_certificate = Some(certificate);
        otlp.tls.client_key = Some(key);
        let totals = deliver(&to(otlp), &[batch(5, 0)]).await;
        assert_eq!(totals.accepted, count(5, 1));
    }
}

/// What the log says about a backend that can't be reached.
async fn told(otlp: Otlp) -> String {
    let delivery = start(&to(otlp), &[batch(1, 0)]);
    until("an error", || delivery.counters().last_error().is_some()).await;
    let error = delivery.counters().last_error().unwrap().text;
    delivery.abort_handle().abort();
    assert_eq!(finish(&delivery).await.dropped, count(1, 1));
    error
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let backend = setup(protocol).tls(authority.server(BOTH)).start().await;
        let error = told(trusting(&other, protocol, &backend)).await;
        assert!(error.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{error}");
        assert_eq!(backend.arrivals(), 0);
    }
}

#[tokio::test]
async fn an_expired_certificate_is_reported() {
    let authority = Authority::new();
    let backend = FakeBackend::grpc()
        .tls(authority.expired_server(H2))
        .start()
        .await;
    let error = told(trusting(&authority, Protocol::Grpc, &backend)).await;
    assert!(
        error.contains("has expired, or the clock is wrong"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_reported() {
    let authority = Authority::new();
    let backend = FakeBackend::grpc()
        .tls(authority.server_elsewhere(H2))
        .start()
        .await;
    let error = told(trusting(&authority, Protocol::Grpc, &backend)).await;
    assert!(error.contains("is for another name"), "{error}");
}

#[tokio::test]
async fn a_servers_certificate_with_the_mark_of_an_authority_is_reported() {
    let authority = Authority::new();
    let backend = FakeBackend::grpc()
        .tls(authority.itself_as_server(H2))
        .start()
        .await;
    let error = told(trusting(&authority, Protocol::Grpc, &backend)).await;
    assert!(error.contains("basicConstraints=CA:FALSE"), "{error}");
}

#[tokio::test]
async fn a_missing_client_certificate_is_reported() {
    let authority = Authority::new();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let backend = setup(protocol)
            .tls(authority.mutual_server(BOTH))
            .start()
            .await;
        let error = told(trusting(&authority, protocol, &backend)).await;
        assert!(
            error.contains("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn tls_to_a_plain_port_is_reported() {
    let authority = Authority::new();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let backend = setup(protocol).start().await;
        let mut otlp = trusting(&authority, protocol, &backend);
        otlp.endpoint = format!("https://{}", backend.address).parse().unwrap();
        let error = told(otlp).await;
        assert!(error.contains("http://"), "{error}");
    }
}

#[tokio::test]
async fn plain_to_a_tls_port_is_reported() {
    let authority = Authority::new();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let backend = setup(protocol).tls(authority.server(BOTH)).start().await;
        let error = told(otlp(
            protocol,
            format!("http://{}", backend.address).parse().unwrap(),
        ))
        .await;
        assert!(error.contains("https://"), "{error}");
    }
}

#[tokio::test]
async fn one_unusable_certificate_in_a_bundle_hides_no_other_one() {
    let authority = Authority::new();
    let trusted = std::fs::read_to_string(authority.file()).unwrap();
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = authority.write("bundle.pem", &format!("{damaged}{trusted}{damaged}"));
    let backend = FakeBackend::grpc().tls(authority.server(H2)).start().await;
    let mut otlp = trusting(&authority, Protocol::Grpc, &backend);
    otlp.tls.certificate = Some(bundle);
    assert_eq!(
        deliver(&to(otlp), &[batch(5, 0)]).await.accepted,
        count(5, 1)
    );
}

/// The start-up error of a TLS configuration.
async fn refused(tls: Tls) -> String {
    let mut otlp = otlp(Protocol::Grpc, "https://localhost:4317".parse().unwrap());
    otlp.tls = tls;
    tokio::task::yield_now().await;
    Delivery::start(&to(otlp))
        .map(drop)
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.client_files();
    let empty = authority.write("empty.pem", "");
    let garbage = authority.write("garbage.pem", "-----BEGIN CERTIFICATE-----\n!!!\n");
    let ca = |path: &Path| Tls {
        certificate: Some(path.to_path_buf()),
        ..Tls::default()
    };
    let pair = |certificate: Option<PathBuf>, key: Option<PathBuf>| Tls {
        certificate: Some(authority.file()),
        client_certificate: certificate,
        client_key: key,
    };
    let other_key = Authority::new();
    let (_, other_key_file) = other_key.client_files();
    for (tls, wanted) in [
        (
            ca(Path::new("/nowhere/ca.pem")),
            "OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere/ca.pem: No such file",
        ),
        (ca(&empty), "there is no certificate in the file"),
        (ca(&garbage), "not PEM"),
        (ca(&key), "there is no certificate in the file"),
        (
            pair(Some(certificate.clone()), None),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY is not",
        ),
        (
            pair(None, Some(key)),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is not",
        ),
        (
            pair(Some(certificate.clone()), Some(certificate.clone())),
            "no private key inside",
        ),
        (
            pair(Some(certificate), Some(other_key_file)),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY=",
        ),
    ] {
        let error = refused(tls).await;
        assert!(error.contains(wanted), "{error}\nshould contain {wanted}");
    }
}

#[tokio::test]
async fn an_endpoint_without_http_stops_the_start() {
    let otlp = otlp(Protocol::Grpc, "unix://somewhere".parse().unwrap());
    let error = Delivery::start(&to(otlp))
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("OTEL_EXPORTER_OTLP_ENDPOINT=unix://somewhere"),
        "{error}"
    );
}
