//! Set-ups in which no span can arrive, and what `netflow2traces config check --connect` says of each. The table in
//! docs/troubleshooting.md is made here.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::backend::{FakeBackend, Reply, Setup};
use crate::certificates::Authority;

/// A wrong set-up.
struct Case {
    /// What is wrong, for the table.
    wrong: &'static str,
    variables: Vec<(&'static str, String)>,
    /// What must be said, word for word.
    says: &'static str,
    holds: Holds,
}

/// What runs for as long as the case.
#[derive(Default)]
#[expect(dead_code, reason = "it is there to be dropped")]
struct Holds {
    backend: Option<FakeBackend>,
    /// A server that is none.
    tasks: JoinSet<()>,
    authorities: Vec<Authority>,
}

impl Holds {
    fn and(mut self, authority: Authority) -> Self {
        self.authorities.push(authority);
        self
    }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const AUTHORITY: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const HTTP: &str = "http/protobuf";
const BOTH: &[&str] = &["h2", "http/1.1"];

fn case(
    wrong: &'static str,
    says: &'static str,
    protocol: &str,
    endpoint: impl Into<String>,
) -> Case {
    Case {
        wrong,
        variables: vec![(ENDPOINT, endpoint.into()), (PROTOCOL, protocol.to_owned())],
        says,
        holds: Holds::default(),
    }
}

impl Case {
    fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    fn file(self, variable: &'static str, path: &Path) -> Self {
        self.with(variable, path.to_str().unwrap())
    }

    fn holding(mut self, holds: Holds) -> Self {
        self.holds = holds;
        self
    }
}

/// A backend whose answer is wrong.
async fn answering(wrong: &'static str, says: &'static str, protocol: &str, reply: Reply) -> Case {
    let setup = if protocol == "grpc" {
        FakeBackend::grpc()
    } else {
        FakeBackend::http()
    };
    let backend = setup.script([reply]).start().await;
    case(wrong, says, protocol, backend.endpoint("").to_string()).holding(Holds {
        backend: Some(backend),
        ..Holds::default()
    })
}

/// A backend with a TLS of its own.
async fn encrypted(
    wrong: &'static str,
    says: &'static str,
    setup: Setup,
    authorities: Vec<Authority>,
) -> Case {
    let backend = setup.start().await;
    let endpoint = backend.endpoint("").to_string();
    let trusted = authorities[0].file();
    let case = case(wrong, says, HTTP, endpoint).file(AUTHORITY, &trusted);
    case.holding(Holds {
        backend: Some(backend),
        authorities,
        ..Holds::default()
    })
}

/// A server that reads a little, says this, and closes; without words it says nothing and keeps the connection.
async fn saying(words: Option<&'static [u8]>) -> (SocketAddr, Holds) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 64]).await;
            match words {
                Some(words) => {
                    let _ = stream.write_all(words).await;
                }
                None => kept.push(stream),
            }
        }
    });
    let holds = Holds {
        tasks,
        ..Holds::default()
    };
    (address, holds)
}

async fn places() -> Vec<Case> {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let absent = free.local_addr().unwrap();
    drop(free);
    let (ssh, ssh_holds) = saying(Some(b"SSH-2.0-OpenSSH_9.6\r\n")).await;
    let (silent, silent_holds) = saying(None).await;
    let http = FakeBackend::http().start().await;
    let grpc = FakeBackend::grpc().start().await;
    let (http_endpoint, grpc_endpoint) =
        (http.endpoint("").to_string(), grpc.endpoint("").to_string());
    let holding = |backend| Holds {
        backend: Some(backend),
        ..Holds::default()
    };
    vec![
        case(
            "no backend runs there, or on another port",
            "nothing listens there; check host and port",
            "grpc",
            format!("http://{absent}"),
        ),
        case(
            "the host name is misspelt",
            "the host name can't be resolved; check the host of OTEL_EXPORTER_OTLP_ENDPOINT",
            "grpc",
            "http://backend.invalid:4317",
        ),
        case(
            "gRPC is set, the port is the one of OTLP over HTTP",
            "if it is an HTTP port set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            "grpc",
            http_endpoint,
        )
        .holding(holding(http)),
        case(
            "HTTP is set, the port is the one of gRPC",
            "the endpoint speaks only HTTP/2, as gRPC does; set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            HTTP,
            grpc_endpoint,
        )
        .holding(holding(grpc)),
        case(
            "the port belongs to another program",
            "the endpoint speaks neither HTTP nor gRPC",
            HTTP,
            format!("http://{ssh}"),
        )
        .holding(ssh_holds),
        case(
            "the backend accepts connections and never answers",
            "the backend is slow or unreachable",
            HTTP,
            format!("http://{silent}"),
        )
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
        .holding(silent_holds),
    ]
}

async fn answers() -> Vec<Case> {
    let typed =
        |status, media_type, body| Reply::Http(status, vec![("content-type", media_type)], body);
    vec![
        answering(
            "a login page answers in place of the backend",
            "something else than an OTLP backend answers, such as a login page or a proxy",
            HTTP,
            typed(200, "text/html", b"<!doctype html><title>Sign in</title>"),
        )
        .await,
        answering(
            "another API answers 200 with an error of its own",
            "HTTP status 200 without an OTLP answer",
            HTTP,
            typed(200, "application/json", br#"{"error":"login required"}"#),
        )
        .await,
        answering(
            "the credentials are missing or wrong",
            "the backend doesn't accept the credentials; check OTEL_EXPORTER_OTLP_HEADERS",
            HTTP,
            Reply::http(401),
        )
        .await,
        answering(
            "the path is wrong, or the receiver accepts no traces",
            "nothing accepts traces at this path",
            HTTP,
            Reply::http(404),
        )
        .await,
        answering(
            "the backend has no trace service over gRPC",
            "the backend has no OTLP trace service over gRPC here",
            "grpc",
            Reply::Grpc(tonic::Code::Unimplemented, "unknown service"),
        )
        .await,
        answering(
            "the backend has moved, or redirects to https://",
            "redirects are not followed; set OTEL_EXPORTER_OTLP_ENDPOINT to the address that the backend names",
            HTTP,
            Reply::Http(308, vec![("location", "https://otlp.example/v1/traces")], b""),
        )
        .await,
        answering(
            "the backend can't read this encoding",
            "the backend doesn't read this encoding",
            HTTP,
            Reply::http(415),
        )
        .await,
    ]
}

async fn plain_or_tls() -> Vec<Case> {
    let authority = Authority::new();
    let tls = FakeBackend::grpc()
        .tls(authority.server(BOTH))
        .start()
        .await;
    let to_tls = format!("http://{}", tls.address);
    let plain = FakeBackend::http().start().await;
    let to_plain = format!("https://{}", plain.address);
    let trusted = authority.file();
    let (silent, silent_holds) = saying(None).await;
    let (closing, closing_holds) = saying(Some(b"")).await;
    // Alerts of TLS: 70 is protocol_version, 40 handshake_failure (RFC 8446 section 6).
    let (old, old_holds) = saying(Some(&[0x15, 3, 1, 0, 2, 2, 70])).await;
    let (other, other_holds) = saying(Some(&[0x15, 3, 3, 0, 2, 2, 40])).await;
    vec![
        case(
            "`http://` to a port that expects TLS",
            "the endpoint expects TLS; begin OTEL_EXPORTER_OTLP_ENDPOINT with https://",
            "grpc",
            to_tls,
        )
        .holding(Holds {
            backend: Some(tls),
            ..Holds::default()
        }),
        case(
            "`https://` to a port without TLS",
            "the endpoint doesn't speak TLS; begin OTEL_EXPORTER_OTLP_ENDPOINT with http://",
            HTTP,
            to_plain,
        )
        .file(AUTHORITY, &trusted)
        .holding(Holds {
            backend: Some(plain),
            ..Holds::default()
        }),
        case(
            "`https://` to a port that says nothing",
            "the port accepts connections but doesn't answer the TLS handshake",
            HTTP,
            format!("https://{silent}"),
        )
        .file(AUTHORITY, &trusted)
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
        .holding(silent_holds),
        case(
            "`https://` to a port that hangs up",
            "the endpoint closed the connection during the TLS handshake",
            HTTP,
            format!("https://{closing}"),
        )
        .file(AUTHORITY, &trusted)
        .holding(closing_holds),
        case(
            "the backend has only TLS 1.1 or older",
            "the backend doesn't offer TLS 1.2 or 1.3",
            HTTP,
            format!("https://{old}"),
        )
        .file(AUTHORITY, &trusted)
        .holding(old_holds),
        case(
            "the backend's ciphers, or the kind of its key (P-521), are not supported here",
            "the backend and this program have no TLS version, cipher or signature in common",
            HTTP,
            format!("https://{other}"),
        )
        .file(AUTHORITY, &trusted)
        .holding(other_holds.and(authority)),
    ]
}

/// A server whose certificate is signed by a P-521 key, which rcgen can't make.
fn signed_by_p521() -> (rustls::ServerConfig, std::path::PathBuf) {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/p521");
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    (config, folder.join("authority.pem"))
}

/// Makes the TLS of a server.
type Make = fn(&Authority) -> rustls::ServerConfig;

async fn certificates() -> Vec<Case> {
    let new = Authority::new;
    let server = |make: Make| {
        let authority = new();
        (FakeBackend::http().tls(make(&authority)), vec![authority])
    };
    let mut cases = Vec::new();
    let (setup, authorities) = server(|it| it.server(BOTH));
    let unknown = encrypted(
        "the backend's certificate is signed by an authority of your own",
        "set OTEL_EXPORTER_OTLP_CERTIFICATE to that authority's PEM file",
        setup,
        authorities,
    );
    let mut unknown = unknown.await;
    // The system's roots instead of the right one.
    let other = new();
    let roots = other.file().to_str().unwrap().to_owned();
    unknown.variables.retain(|(name, _)| *name != AUTHORITY);
    unknown.holds.authorities.push(other);
    cases.push(unknown.with("SSL_CERT_FILE", roots));

    let (setup, mut authorities) = server(|it| it.server(BOTH));
    authorities.insert(0, new());
    cases.push(
        encrypted(
            "`OTEL_EXPORTER_OTLP_CERTIFICATE` names another authority",
            "an authority that is not in the file of OTEL_EXPORTER_OTLP_CERTIFICATE",
            setup,
            authorities,
        )
        .await,
    );
    let makes: [(_, _, Make); 4] = [
        (
            "the backend's certificate has expired",
            "the backend's certificate has expired, or the clock is wrong here",
            |it| it.expired_server(BOTH),
        ),
        (
            "the backend's certificate is for another name",
            "the backend's certificate is for another name",
            |it| it.server_elsewhere(BOTH),
        ),
        (
            "the backend presents the certificate of its authority",
            "the backend presents the certificate of an authority, not of a server",
            |it| it.itself_as_server(BOTH),
        ),
        (
            "the backend asks for a client certificate, and none is set",
            "the backend asks for a client certificate; set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            |it| it.mutual_server(BOTH),
        ),
    ];
    for (wrong, says, make) in makes {
        let (setup, authorities) = server(make);
        cases.push(encrypted(wrong, says, setup, authorities).await);
    }
    let (setup, authorities) = server(|it| it.mutual_server(BOTH));
    let stranger = new();
    let (certificate, key) = stranger.client_files();
    let mut refused = encrypted(
        "the backend doesn't trust our client certificate",
        "the backend refuses the client certificate of OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        setup,
        authorities,
    )
    .await
    .file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate)
    .file("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key);
    refused.holds.authorities.push(stranger);
    cases.push(refused);

    let (tls, authority) = signed_by_p521();
    let backend = FakeBackend::http().tls(tls).start().await;
    let p521 = case(
        "the backend's certificate is signed by a P-521 key",
        "but not of keys on P-521; have the certificates of the backend and of its authority issued with one of these",
        HTTP,
        backend.endpoint("").to_string(),
    );
    cases.push(p521.file(AUTHORITY, &authority).holding(Holds {
        backend: Some(backend),
        ..Holds::default()
    }));
    cases
}

async fn proxies_and_settings() -> Vec<Case> {
    let wants = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let (proxy, proxy_holds) = saying(Some(wants)).await;
    let refuses = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    let (refusing, refusing_holds) = saying(Some(refuses)).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let absent = free.local_addr().unwrap();
    drop(free);
    let behind = "https://otlp.example:4317";
    let p521 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/p521/server.pem");
    let stranger = Authority::new();
    let (_, key) = stranger.client_files();
    vec![
        case("the proxy requires credentials", "the proxy requires credentials; set HTTPS_PROXY", "grpc", behind)
            .with("HTTPS_PROXY", format!("http://{proxy}"))
            .holding(proxy_holds),
        case(
            "the proxy doesn't allow the connection",
            "the proxy doesn't connect to the backend; allow it there, or exempt the backend with NO_PROXY",
            "grpc",
            behind,
        )
        .with("HTTPS_PROXY", format!("http://{refusing}"))
        .holding(refusing_holds),
        case(
            "the proxy isn't there",
            "the proxy can't be reached; check HTTPS_PROXY and HTTP_PROXY",
            "grpc",
            behind,
        )
        .with("HTTPS_PROXY", format!("http://{absent}")),
        case("the proxy is a SOCKS proxy", "a proxy of the kind socks5:// is not supported", "grpc", behind)
            .with("HTTPS_PROXY", "socks5://proxy:1080"),
        case(
            "Kubernetes left a variable in the endpoint",
            "$(NODE_IP) was not replaced by a value",
            "grpc",
            "http://$(NODE_IP):4317",
        ),
        case(
            "the protocol is misspelt",
            "http/proto is not a protocol of OTLP; accepted: grpc, http/protobuf (or http), http/json",
            "http/proto",
            "http://localhost:4318",
        ),
        case(
            "the endpoint has no scheme",
            "it lacks a scheme (http:// or https://)",
            HTTP,
            "localhost:4318",
        ),
        case(
            "gRPC with a path",
            "gRPC has no path (/v1/traces); for OTLP over HTTP set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            "grpc",
            "http://localhost:4317/v1/traces",
        ),
        case(
            "user and password in the endpoint",
            "user and password don't belong in a URL but in OTEL_EXPORTER_OTLP_HEADERS",
            HTTP,
            "http://user:password@localhost:4318",
        ),
        case(
            "the client key belongs to another certificate",
            "the key is not the one of the certificate; give both of one pair",
            HTTP,
            "https://localhost:4318",
        )
        .file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &p521)
        .file("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key)
        .holding(Holds {
            authorities: vec![stranger],
            ..Holds::default()
        }),
        case(
            "a client certificate without its key",
            "a certificate needs its key; accepted: together with OTEL_EXPORTER_OTLP_CLIENT_KEY",
            HTTP,
            "https://localhost:4318",
        )
        .file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &p521),
    ]
}

/// Runs the command.
fn check(case: &Case) -> JoinHandle<Output> {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_netflow2traces"));
    command
        .args(["config", "check", "--connect"])
        .env_clear()
        .envs(case.variables.iter().map(|(name, value)| (name, value)))
        .current_dir(directory.path());
    // The directory goes when the command has ended.
    tokio::task::spawn_blocking(move || {
        let _directory = directory;
        command.output().unwrap()
    })
}

/// Commands that run beside each other.
const AT_ONCE: usize = 4;

const BEGIN: &str = "<!-- The test wrong_setups makes this table: UPDATE_GENERATED=1 -->\n";
const END: &str = "<!-- The end of the table -->\n";

#[tokio::test]
async fn a_check_of_the_connection_names_what_is_wrong() {
    let mut table = String::from("| what is wrong | `config check --connect` says |\n|---|---|\n");
    let groups = [
        places().await,
        answers().await,
        plain_or_tls().await,
        certificates().await,
        proxies_and_settings().await,
    ];
    let cases: Vec<&Case> = groups.iter().flatten().collect();
    for some in cases.chunks(AT_ONCE) {
        let checks: Vec<_> = some.iter().map(|case| check(case)).collect();
        for (case, check) in some.iter().zip(checks) {
            let output = check.await.unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains(case.says), "{}: {text}", case.wrong);
            let code = output.status.code();
            assert!(matches!(code, Some(1 | 2)), "{}: {code:?}", case.wrong);
            table.push_str(&format!("| {} | … {} … |\n", case.wrong, case.says));
        }
    }

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/troubleshooting.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a place for the table");
    let (found, after) = rest.split_once(END).expect("its end");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}\n{table}\n{END}{after}")).unwrap();
    } else {
        assert_eq!(
            found.trim(),
            table.trim(),
            "docs/troubleshooting.md is stale"
        );
    }
}
