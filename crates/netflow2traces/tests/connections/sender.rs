//! Exporters that connect, and what they send.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netflow_wire::write::{Field, IpfixHeader, MessageWriter};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::backend::{FakeBackend, Received};
use crate::daemon::{Daemon, PATIENCE};

pub(crate) const CONNECTIONS: &str = "listening for IPFIX connections";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection of an exporter.
pub(crate) struct Sender(Box<dyn Stream>);

impl Sender {
    /// Over TCP, from an address.
    pub(crate) async fn from(source: &str, to: SocketAddr) -> Self {
        Self(Box::new(connect(source, to).await))
    }

    pub(crate) async fn tcp(to: SocketAddr) -> Self {
        Self::from("127.0.0.1", to).await
    }

    /// Over TLS; the error of its handshake, or of the first read after it, if there is one.
    pub(crate) async fn tls(to: SocketAddr, config: rustls::ClientConfig) -> std::io::Result<Self> {
        Self::tls_from("127.0.0.1", to, config).await
    }

    pub(crate) async fn tls_from(
        source: &str,
        to: SocketAddr,
        config: rustls::ClientConfig,
    ) -> std::io::Result<Self> {
        let stream = connect(source, to).await;
        let name = ServerName::from(IpAddr::from([127, 0, 0, 1]));
        let connected = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await;
        Ok(Self(Box::new(connected?)))
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.0.write_all(octets).await?;
        self.0.flush().await
    }

    /// Ends it in order.
    pub(crate) async fn close(mut self) {
        let _ = self.0.shutdown().await;
        self.closed().await;
    }

    /// Waits until the daemon has closed it.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let reading = self.0.read_to_end(&mut rest);
        // How it is closed is told by the log.
        let _ = tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("an end in time");
    }
}

async fn connect(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(source.parse().unwrap(), 0))
        .unwrap();
    let stream = socket.connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

const FIELDS: [Field; 4] = [
    Field::new(8, 4),
    Field::new(7, 2),
    Field::new(4, 1),
    Field::new(1, 4),
];

pub(crate) fn seconds() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u32::try_from(since.unwrap().as_secs()).unwrap()
}

fn message(sequence: u32, content: impl FnOnce(&mut MessageWriter)) -> Vec<u8> {
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time: seconds(),
        sequence,
        observation_domain: 1,
        length: None,
    });
    content(&mut message);
    message.finish().expect("it fits")
}

pub(crate) fn template() -> Vec<u8> {
    message(0, |message| _ = message.template(256, &FIELDS))
}

/// So many flows, the first from this source port.
pub(crate) fn data(sequence: u32, first_port: u16, flows: u16) -> Vec<u8> {
    message(sequence, |message| {
        message.declare(256, &FIELDS).data_set(256, |set| {
            for port in first_port..first_port + flows {
                set.record(|record| {
                    record.u32(0x0a00_0001).u16(port).u8(6).u32(1_000);
                });
            }
        });
    })
}

/// A template and flows of it.
pub(crate) fn both(first_port: u16, flows: u16) -> Vec<u8> {
    [template(), data(0, first_port, flows)].concat()
}

/// Where the daemon accepts connections of a transport, once it does.
pub(crate) async fn listening(daemon: &Daemon, transport: &str) -> SocketAddr {
    let address = |line: &Value| {
        let is_it = line["message"] == CONNECTIONS && line["transport"] == transport;
        line["address"].as_str().filter(|_| is_it)?.parse().ok()
    };
    let listens = |lines: &[Value]| lines.iter().find_map(address).is_some();
    daemon.until(transport, listens).await;
    daemon.log().iter().find_map(address).unwrap()
}

/// Waits until the backend has so many flow spans.
pub(crate) async fn wait_for_flows(backend: &FakeBackend, flows: usize) {
    let all = |received: &[Received]| count(received) >= flows;
    backend.until(&format!("{flows} flows"), all).await;
    assert_eq!(count(&backend.received()), flows);
}

fn count(received: &[Received]) -> usize {
    let accepted = received.iter().filter(|received| received.accepted);
    let resources = accepted.flat_map(|received| &received.request.resource_spans);
    let spans = resources.flat_map(|resource| &resource.scope_spans);
    let spans = spans.flat_map(|scope| &scope.spans);
    spans.filter(|span| span.name == "netflow.flow").count()
}

/// Waits for a line that says why a connection was closed.
pub(crate) async fn closed_for(daemon: &Daemon, reason: &str) -> String {
    let why = |line: &Value| {
        let message = line["message"].as_str()?;
        (line["reason"] == reason).then(|| message.to_owned())
    };
    daemon
        .until(reason, |lines| lines.iter().any(|line| why(line).is_some()))
        .await;
    daemon.log().iter().find_map(why).unwrap()
}
