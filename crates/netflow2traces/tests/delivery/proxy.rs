//! The way to the backend through an HTTP proxy.

use std::sync::{Arc, Mutex};

use netflow2traces::config::{Otlp, Protocol, Proxy};
use netflow2traces::deliver::{Outcome, try_backend};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::FakeBackend;
use crate::certificates::Authority;
use crate::{batch, count, deliver, otlp, to};

/// What a proxy does with a request.
#[derive(Clone, Copy)]
enum Manner {
    /// Connects to the backend, whatever host was asked for.
    Connects(std::net::SocketAddr),
    /// Answers with this status.
    Answers(u16),
}

/// A proxy, and the heads of the requests that it got.
struct FakeProxy {
    proxy: Proxy,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeProxy {
    async fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, manner, Arc::clone(&kept)));
            }
        });
        let authorization = http::HeaderValue::from_static("Basic dXNlcjpwYXNz");
        Self {
            proxy: Proxy {
                uri: uri.parse().unwrap(),
                authorization: Some(authorization),
            },
            heads,
            task,
        }
    }

    fn before(&self, mut otlp: Otlp) -> Otlp {
        otlp.connections.proxy = Some(self.proxy.clone());
        otlp
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, manner: Manner, heads: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    heads.lock().unwrap().push(head.clone());
    let backend = match manner {
        Manner::Answers(status) => {
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        Manner::Connects(backend) => backend,
    };
    let mut far = TcpStream::connect(backend).await.unwrap();
    if head.starts_with("CONNECT ") {
        let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
        stream.write_all(established).await.unwrap();
    } else {
        far.write_all(head.as_bytes()).await.unwrap();
    }
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
}

#[tokio::test]
async fn grpc_and_tls_go_through_a_tunnel_to_a_name_that_the_proxy_knows() {
    let authority = Authority::new();
    for (protocol, tls) in [
        (Protocol::Grpc, false),
        (Protocol::Grpc, true),
        (Protocol::HttpProtobuf, true),
    ] {
        let setup = match protocol {
            Protocol::Grpc => FakeBackend::grpc(),
            _ => FakeBackend::http(),
        };
        let setup = if tls {
            setup.tls(authority.server(&["h2", "http/1.1"]))
        } else {
            setup
        };
        let backend = setup.start().await;
        let proxy = FakeProxy::new(Manner::Connects(backend.address)).await;
        // Only the proxy knows where that is; the certificate is for this name.
        let (host, scheme) = if tls {
            ("localhost", "https")
        } else {
            ("backend.invalid", "http")
        };
        let endpoint = format!("{scheme}://{host}:4399/").parse().unwrap();
        let mut otlp = proxy.before(otlp(protocol, endpoint));
        otlp.tls.certificate = tls.then(|| authority.file());
        assert_eq!(
            deliver(&to(otlp), &[batch(5, 0)]).await.accepted,
            count(5, 1)
        );
        for head in proxy.heads() {
            assert!(
                head.starts_with(&format!("CONNECT {host}:4399 HTTP/1.1\r\n")),
                "{head}"
            );
            assert!(
                head.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"),
                "{head}"
            );
        }
        let headers = &backend.received()[0].headers;
        assert!(
            !headers.contains_key("proxy-authorization"),
            "the backend sees it"
        );
    }
}

#[tokio::test]
async fn plain_http_is_sent_to_the_proxy_with_the_whole_address() {
    let backend = FakeBackend::http().start().await;
    let proxy = FakeProxy::new(Manner::Connects(backend.address)).await;
    let endpoint = "http://backend.invalid:4318/v1/traces".parse().unwrap();
    let otlp = proxy.before(otlp(Protocol::HttpProtobuf, endpoint));
    let totals = deliver(&to(otlp), &[batch(5, 0)]).await;
    assert_eq!(totals.accepted, count(5, 1));
    let head = &proxy.heads()[0];
    let line = "POST http://backend.invalid:4318/v1/traces HTTP/1.1\r\n";
    assert!(head.starts_with(line), "{head}");
    assert!(head.contains("host: backend.invalid:4318\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: Basic"), "{head}");
}

/// What the log says when the proxy refuses.
async fn said(otlp: Otlp) -> String {
    match try_backend(&to(otlp).exporter).await.unwrap() {
        Outcome::Retry { cause, .. } | Outcome::Rejected { cause } => cause.to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_named() {
    let endpoint = || "http://backend.invalid:4317".parse().unwrap();
    for (status, words) in [(407, "the proxy requires credentials"), (403, "NO_PROXY")] {
        let proxy = FakeProxy::new(Manner::Answers(status)).await;
        let error = said(proxy.before(otlp(Protocol::Grpc, endpoint()))).await;
        assert!(error.contains(words), "{error}");
        assert!(error.contains(&format!("HTTP status {status}")), "{error}");
    }
    let proxy = FakeProxy::new(Manner::Answers(200)).await;
    let uri = proxy.proxy.uri.clone();
    drop(proxy);
    let mut absent = otlp(Protocol::Grpc, endpoint());
    absent.connections.proxy = Some(Proxy {
        uri,
        authorization: None,
    });
    let error = said(absent).await;
    assert!(error.contains("the proxy can't be reached"), "{error}");
}

#[tokio::test]
async fn a_port_that_speaks_no_http_is_no_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 64]).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await;
    });
    let mut otlp = otlp(
        Protocol::Grpc,
        "http://backend.invalid:4317".parse().unwrap(),
    );
    otlp.connections.proxy = Some(Proxy {
        uri: uri.parse().unwrap(),
        authorization: None,
    });
    let error = said(otlp).await;
    assert!(
        error.contains("the proxy gives no connection to backend.invalid:4317"),
        "{error}"
    );
    task.await.unwrap();
}
